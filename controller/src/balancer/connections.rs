//! What a loop holds of a client's connection, of a service's connection, and of the exchange
//! between them.
//!
//! Records only; what is done with them is in `receive`, `send`, `pump`, `fail` and `finish`.

use std::net::IpAddr;

use tucano_common::http1::chunked::ChunkedError;
use tucano_common::http1::exchange::Exchange;
use tucano_common::http1::framing::Recoding;
use tucano_common::http1::{Body, HeadScan, Method, RequestHead, Version};
use tucano_common::id::InstanceId;
use tucano_common::limits::TRIES_MAX;
use tucano_common::time::Mono;
use tucano_controller_core::balancer::{MemberIx, ServiceIx};

use super::access::Noted;
use super::buffers::Buf;
use super::poison::Deaths;
use super::relay::Relay;
use super::slab::Key;
use super::socket::Socket;
use super::stats::Cause;

/// A client's connection.
pub(super) struct Client {
    pub(super) socket: Socket,
    pub(super) peer: IpAddr,
    /// The port it came in on.
    pub(super) port: u16,
    /// It is on the list of those who have something to do.
    pub(super) is_queued: bool,
    pub(super) phase: Phase,
    /// When something has to have happened; looked at by the wheel.
    pub(super) deadline: Mono,
    /// Bytes read and not yet passed on, or kept in case they have to be sent again.
    pub(super) input: Option<Buf>,
    /// Bytes that the client has not taken yet.
    pub(super) output: Option<Buf>,
}

/// Where a client's connection is.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// Between two requests, or in the head of one.
    Head(HeadScan),
    /// A request is being answered by a service, or waits for one.
    Busy(Key<Flow>),
    /// What is in the output is delivered, then the connection is closed. Where the client may
    /// still be sending, its bytes are read and dropped first, so that it sees the answer and not a
    /// reset.
    Closing {
        /// How many more bytes are read; none where the client is not waited for.
        linger: Option<u32>,
        /// Our sending side is closed.
        is_shut: bool,
    },
}

/// A connection to an instance.
pub(super) struct Upstream {
    pub(super) socket: Socket,
    pub(super) member: MemberIx,
    pub(super) duty: Engagement,
    /// It has carried an exchange before.
    pub(super) is_reused: bool,
    pub(super) watch: Watch,
    /// Bytes of an answer, read and not yet passed on.
    pub(super) input: Option<Buf>,
    /// Bytes of a request's head that the service has not taken yet.
    pub(super) output: Option<Buf>,
}

/// Whom a connection to an instance serves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Engagement {
    /// Nobody, since then.
    Idle(Mono),
    /// This client.
    Busy(Key<Client>),
}

/// What the kernel was told to do about a silent host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watch {
    /// Nothing.
    None,
    /// To ask it.
    Asks,
    /// To ask it, and to break the connection where it does not answer.
    GivesUp,
}

/// One request and its answer.
pub(super) struct Flow {
    pub(super) exchange: Exchange,
    pub(super) id: RequestId,
    pub(super) method: Method,
    pub(super) version: Version,
    /// It may be sent again although an instance may have acted on it.
    pub(super) is_repeatable: bool,
    /// All of it that was read is still in the client's input, from its head on.
    pub(super) is_kept: bool,
    pub(super) service: ServiceIx,
    pub(super) stage: Stage,
    pub(super) request: Relay,
    pub(super) answer: Relay,
    pub(super) answer_scan: HeadScan,
    /// The answer's status; zero before its head.
    pub(super) status: u16,
    /// The answer's end is told by the connection's: only a reset shows that it broke off.
    pub(super) leaves_open_end: bool,
    /// What is wrong with the request's body.
    pub(super) malformed: Option<ChunkedError>,
    pub(super) seen: Seen,
    pub(super) tries: Tries,
    /// How often it was sent, forgotten tries included.
    pub(super) total_tries: u32,
    /// Since when every instance refuses its connection.
    pub(super) refused_since: Option<Mono>,
    /// What is known of the instances that broke under it; none for nearly every request.
    pub(super) deaths: Option<Box<Deaths>>,
    /// The last instance whose end broke it.
    pub(super) cut_by: Option<InstanceId>,
    /// What the access log will say of it; none without one.
    pub(super) noted: Option<Box<Noted>>,
    /// Bytes of its answer that were written to the client.
    pub(super) sent_bytes: u64,
    /// How it ended, where it was not answered.
    pub(super) cause: Option<Cause>,
    pub(super) times: Times,
}

/// What was seen once and must not be acted on twice.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    /// Something of the request was written to the service.
    pub(super) is_sent: bool,
    pub(super) client_has_closed: bool,
    pub(super) upstream_has_closed: bool,
    /// The last try's host fell silent.
    pub(super) left_silent: bool,
    /// The service takes no more of the request.
    pub(super) upstream_is_deaf: bool,
}

/// Where a flow's request is.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// It waits for an instance until then.
    Held(Mono),
    /// On this connection.
    Sent(Key<Upstream>),
}

/// On whom a request was tried.
#[derive(Clone, Copy)]
pub(super) struct Tries {
    instances: [InstanceId; TRIES_MAX as usize],
    count: usize,
    /// A kept connection turned out closed; that once is not counted.
    pub(super) was_stale: bool,
}

impl Tries {
    const NONE: Tries =
        Tries { instances: [InstanceId(0); TRIES_MAX as usize], count: 0, was_stale: false };

    pub(super) fn add(&mut self, instance: InstanceId) {
        if let Some(slot) = self.instances.get_mut(self.count) {
            *slot = instance;
            self.count += 1;
        }
    }

    /// Takes the last one back: it was not the instance that failed.
    pub(super) fn forget_last(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// Begins anew: the instances are others now.
    pub(super) fn forget_all(&mut self) {
        self.count = 0;
    }

    pub(super) fn instances(&self) -> &[InstanceId] {
        self.instances.get(..self.count).unwrap_or(&[])
    }

    pub(super) fn are_used_up(&self) -> bool {
        self.count >= self.instances.len()
    }
}

/// When what happened.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// The head was read.
    pub(super) begun: Mono,
    /// The connection was asked for.
    pub(super) sent: Mono,
    /// Something was written on a connection that was not there at once; before `sent`: it was.
    pub(super) connected: Mono,
    /// The answer's head came.
    pub(super) answered: Option<Mono>,
    /// A byte moved.
    pub(super) moved: Mono,
}

/// A request's number, for `X-Request-Id`.
#[derive(Clone, Copy)]
pub(super) struct RequestId(pub(super) u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl RequestId {
    /// As it is written: 16 hexadecimal digits.
    pub(super) fn digits(self) -> [u8; 16] {
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(self.0 >> (4 * place) & 15) as usize];
        }
        digits
    }
}

impl Flow {
    /// The exchange that this head begins; the head stands at the start of the client's input.
    pub(super) fn new(head: &RequestHead, service: ServiceIx, id: RequestId, now: Mono) -> Flow {
        Flow {
            exchange: Exchange::new(head),
            id,
            method: head.method,
            version: head.version,
            is_repeatable: head.is_safe_to_repeat(),
            is_kept: true,
            service,
            stage: Stage::Held(now),
            request: Relay::new(head.body, Recoding::Same, head.len()),
            answer: Relay::new(Body::None, Recoding::Same, 0),
            answer_scan: HeadScan::default(),
            status: 0,
            leaves_open_end: false,
            malformed: None,
            seen: Seen::default(),
            tries: Tries::NONE,
            total_tries: 0,
            refused_since: None,
            deaths: None,
            cut_by: None,
            noted: None,
            sent_bytes: 0,
            cause: None,
            times: Times { begun: now, sent: now, connected: now, answered: None, moved: now },
        }
    }

    /// For the ledger, once it ended.
    pub(super) fn end_cause(&self) -> Cause {
        self.cause.unwrap_or(match self.total_tries {
            0 | 1 => Cause::Answered,
            _ => Cause::AnsweredAfterRetry,
        })
    }
}
