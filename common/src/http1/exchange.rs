//! Both sides of one exchange (a request and its answer, through a proxy) as one state: what each
//! fact from the sockets means, and what becomes of the two connections at the end.
//!
//! It holds no bytes, reads no sockets, and does not decide whether a failed try is repeated: it
//! says that nothing of an answer has begun ([`Verdict::Fail`]), and its caller chooses. Total:
//! every fact has an answer in every state; late ones are ignored by name. Called by the balancer's
//! loops.
//!
//! ```text
//!  request:  Coming ──RequestWhole──► Whole ──RequestSent──► Sent
//!               └──────malformed, client closed─────► Broken
//!
//!  answer:   Awaited ──Final──► Coming ──AnswerWhole──► Whole
//!               │ │  Interim: again                 ▲ a failure from here on: Broken (Cut)
//!               │ └──Switch (asked, request whole)──► Tunnel ──both sides closed──► Whole
//!               └──a failure: Fail; a try elsewhere begins at Awaited again
//! ```
//!
//! One exchange, as it goes: `POST` with `Expect: 100-continue` and a body of 5 bytes. The client's
//! head makes (Coming, Awaited); the service's `100 Continue` is an Interim and is passed on; the
//! body's last byte makes (Whole, Awaited), its last byte written to the service (Sent, Awaited);
//! the head of `200` is Final: (Sent, Coming); its end makes (Sent, Whole), and both connections
//! are kept.

use super::head::RequestHead;
use super::method::Version;

/// How far the request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    /// Its body is being read.
    Coming,
    /// All of it was read.
    Whole,
    /// All of it was written to the service.
    Sent,
    /// It will never be whole.
    Broken,
}

/// How far the answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerState {
    /// No final head yet.
    Awaited,
    /// Its head passed on, its body is coming.
    Coming,
    /// All of it was read.
    Whole,
    /// 101 passed on; bytes go both ways until both sides closed.
    Tunnel { client_closed: bool, upstream_closed: bool },
    /// It broke off after its head had passed on, or the client is gone.
    Broken,
}

/// What happened on one of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The last byte of the request was read.
    RequestWhole,
    /// The last byte of the request was written to the service.
    RequestSent,
    /// The request's body can't be read on: its framing is malformed.
    RequestMalformed,
    /// The client closed its sending side.
    ClientClosed,
    /// The client's connection was reset, or takes no more bytes.
    ClientGone,
    /// The head of an interim answer (1xx but 101).
    Interim,
    /// The head of `101 Switching Protocols`.
    Switch,
    /// The head of a final answer.
    Final {
        /// `ResponseHead::keeps_alive`.
        keeps_alive: bool,
    },
    /// The last byte of the answer was read; for `Body::UntilClose` that is the service's close.
    AnswerWhole,
    /// The answer's head or its body's framing is malformed.
    AnswerMalformed,
    /// Bytes after the end of the answer, or before its request: whose they are nobody knows.
    AnswerExtra,
    /// The service closed its sending side.
    UpstreamClosed,
    /// The service's connection was reset or could not be made.
    UpstreamGone,
    /// A time bound on the service is over.
    UpstreamLate,
    /// The service takes no more of the request; its answer may still be there to read.
    UpstreamDeaf,
}

/// Why a try failed before anything of an answer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service's connection ended, or never came about.
    Closed,
    /// What came is no answer to this request.
    Malformed,
    /// Too slow.
    Late,
}

/// What a fact means for the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Noted; go on.
    GoOn,
    /// Pass this head on to the client.
    Pass,
    /// Drop this interim head: HTTP/1.0 does not know them.
    Swallow,
    /// From here on bytes go both ways as they are; pass the head on first.
    Tunnel,
    /// Nothing of an answer has reached the client: try another service, or answer for it.
    Fail(Failure),
    /// The request itself is at fault and nothing of an answer has reached the client: 400.
    Refuse,
    /// The answer broke off: the client must see its connection break, never a complete-looking
    /// answer.
    Cut,
    /// The client is gone: drop everything.
    Drop,
    /// The fact came late and means nothing any more.
    Ignore,
}

/// What becomes of a connection after its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It may carry another exchange.
    Keep,
    /// What is written is delivered, then it is closed.
    Close,
    /// It is torn down at once (a reset), so that nobody takes what it carried for complete.
    Reset,
}

/// What becomes of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The client's connection.
    pub client: Next,
    /// The service's.
    pub upstream: Next,
}

/// The state of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    request: RequestState,
    answer: AnswerState,
    client_keeps: bool,
    client_version: Version,
    asks_upgrade: bool,
    upstream_keeps: bool,
}

impl Exchange {
    /// The exchange that this request begins.
    pub fn new(request: &RequestHead) -> Exchange {
        let state =
            if request.body.is_empty() { RequestState::Whole } else { RequestState::Coming };
        Exchange {
            request: state,
            answer: AnswerState::Awaited,
            client_keeps: request.keeps_alive(),
            client_version: request.version,
            asks_upgrade: request.asks_upgrade,
            upstream_keeps: true,
        }
    }

    /// Takes a fact and says what it means.
    pub fn on(&mut self, fact: Fact) -> Verdict {
        match fact {
            Fact::RequestWhole => self.request_moves(RequestState::Coming, RequestState::Whole),
            Fact::RequestSent => self.request_moves(RequestState::Whole, RequestState::Sent),
            Fact::RequestMalformed => self.request_breaks(Verdict::Refuse),
            Fact::ClientClosed => self.client_closed(),
            Fact::ClientGone => self.client_gone(),
            Fact::Interim => self.interim(),
            Fact::Switch => self.switch(),
            Fact::Final { keeps_alive } => self.answer_begins(keeps_alive),
            Fact::AnswerWhole => self.answer_ends(),
            Fact::AnswerMalformed => self.upstream_fails(Failure::Malformed),
            Fact::AnswerExtra => self.answer_extra(),
            Fact::UpstreamClosed => self.upstream_closed(),
            Fact::UpstreamGone => self.upstream_fails(Failure::Closed),
            Fact::UpstreamLate => self.upstream_fails(Failure::Late),
            Fact::UpstreamDeaf => self.upstream_deaf(),
        }
    }

    /// The failed try's request goes to another connection, from its first byte; the answer is
    /// awaited anew.
    pub fn try_again(&mut self) {
        if self.answer == AnswerState::Awaited {
            self.upstream_keeps = true;
            if self.request == RequestState::Sent {
                self.request = RequestState::Whole;
            }
        }
    }

    /// The proxy answers itself: no service takes part any more.
    pub fn answer_ourselves(&mut self) {
        self.upstream_keeps = false;
        if self.answer == AnswerState::Awaited {
            self.answer = AnswerState::Whole;
        }
    }

    /// Whether the answer's head has to tell the client that its connection closes after it.
    pub fn tells_close(&self) -> bool {
        match self.request {
            RequestState::Coming | RequestState::Broken => true,
            RequestState::Whole | RequestState::Sent => !self.client_keeps,
        }
    }

    /// The answer is told as "until close": the client's connection can't be kept after it.
    pub fn answer_closes(&mut self) {
        self.client_keeps = false;
    }

    /// Whether the request was read to its end.
    pub fn request_is_whole(&self) -> bool {
        matches!(self.request, RequestState::Whole | RequestState::Sent)
    }

    /// Whether nothing of a final answer has begun.
    pub fn awaits_answer(&self) -> bool {
        self.answer == AnswerState::Awaited
    }

    /// Whether bytes go both ways.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.answer, AnswerState::Tunnel { .. })
    }

    /// What becomes of the connections, once the exchange is over.
    pub fn end(&self) -> Option<End> {
        let client = match self.answer {
            AnswerState::Awaited | AnswerState::Coming => return None,
            AnswerState::Tunnel { client_closed: true, upstream_closed: true } => Next::Close,
            AnswerState::Tunnel { .. } => return None,
            AnswerState::Broken => Next::Reset,
            AnswerState::Whole if self.tells_close() => Next::Close,
            AnswerState::Whole => Next::Keep,
        };
        let keeps = self.answer == AnswerState::Whole
            && self.request == RequestState::Sent
            && self.upstream_keeps;
        Some(End { client, upstream: if keeps { Next::Keep } else { Next::Close } })
    }

    fn request_moves(&mut self, from: RequestState, to: RequestState) -> Verdict {
        if self.request != from {
            return Verdict::Ignore;
        }
        self.request = to;
        Verdict::GoOn
    }

    fn request_breaks(&mut self, before_answer: Verdict) -> Verdict {
        if self.request != RequestState::Coming {
            return Verdict::Ignore;
        }
        self.request = RequestState::Broken;
        self.upstream_keeps = false;
        match self.answer {
            AnswerState::Awaited => before_answer,
            AnswerState::Coming => self.cut(),
            AnswerState::Whole => Verdict::GoOn,
            AnswerState::Tunnel { .. } | AnswerState::Broken => Verdict::Ignore,
        }
    }

    fn client_closed(&mut self) -> Verdict {
        self.client_keeps = false;
        if let AnswerState::Tunnel { client_closed, .. } = &mut self.answer {
            *client_closed = true;
            return Verdict::GoOn;
        }
        match self.request {
            // A client that sent all of its request may wait for the answer with its sending side
            // closed.
            RequestState::Whole | RequestState::Sent => Verdict::GoOn,
            RequestState::Broken => Verdict::Ignore,
            RequestState::Coming => {
                self.request = RequestState::Broken;
                self.client_gone()
            }
        }
    }

    fn client_gone(&mut self) -> Verdict {
        self.client_keeps = false;
        self.upstream_keeps = false;
        match self.answer {
            AnswerState::Whole | AnswerState::Broken => Verdict::Ignore,
            AnswerState::Awaited | AnswerState::Coming | AnswerState::Tunnel { .. } => {
                self.answer = AnswerState::Broken;
                Verdict::Drop
            }
        }
    }

    fn interim(&mut self) -> Verdict {
        match (self.answer, self.client_version) {
            (AnswerState::Awaited, Version::Http11) => Verdict::Pass,
            (AnswerState::Awaited, Version::Http10) => Verdict::Swallow,
            _ => Verdict::Ignore,
        }
    }

    fn switch(&mut self) -> Verdict {
        if self.answer != AnswerState::Awaited {
            return Verdict::Ignore;
        }
        // The client may speak the new protocol only once its request is whole (RFC 9110, 7.8).
        if !self.asks_upgrade || self.request == RequestState::Coming {
            return self.upstream_fails(Failure::Malformed);
        }
        self.client_keeps = false;
        self.upstream_keeps = false;
        self.answer = AnswerState::Tunnel { client_closed: false, upstream_closed: false };
        Verdict::Tunnel
    }

    fn answer_begins(&mut self, keeps_alive: bool) -> Verdict {
        if self.answer != AnswerState::Awaited {
            return Verdict::Ignore;
        }
        self.answer = AnswerState::Coming;
        self.upstream_keeps &= keeps_alive;
        Verdict::Pass
    }

    fn answer_ends(&mut self) -> Verdict {
        if self.answer != AnswerState::Coming {
            return Verdict::Ignore;
        }
        self.answer = AnswerState::Whole;
        Verdict::GoOn
    }

    fn answer_extra(&mut self) -> Verdict {
        self.upstream_keeps = false;
        match self.answer {
            AnswerState::Awaited => Verdict::Fail(Failure::Malformed),
            AnswerState::Whole => Verdict::GoOn,
            AnswerState::Coming | AnswerState::Tunnel { .. } | AnswerState::Broken => {
                Verdict::Ignore
            }
        }
    }

    fn upstream_closed(&mut self) -> Verdict {
        if let AnswerState::Tunnel { upstream_closed, .. } = &mut self.answer {
            *upstream_closed = true;
            return Verdict::GoOn;
        }
        self.upstream_fails(Failure::Closed)
    }

    fn upstream_fails(&mut self, failure: Failure) -> Verdict {
        self.upstream_keeps = false;
        match self.answer {
            AnswerState::Awaited => Verdict::Fail(failure),
            AnswerState::Coming | AnswerState::Tunnel { .. } => self.cut(),
            AnswerState::Whole => Verdict::GoOn,
            AnswerState::Broken => Verdict::Ignore,
        }
    }

    fn upstream_deaf(&mut self) -> Verdict {
        self.upstream_keeps = false;
        Verdict::GoOn
    }

    fn cut(&mut self) -> Verdict {
        self.answer = AnswerState::Broken;
        Verdict::Cut
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
