//! One accepted connection: its states, what it wants next, and how it ends.
//!
//! Reading is in `read`, what the application answers in `answer`. Called by the loop's `serve`.

use std::net::SocketAddr;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Registry, Token};
use tucano_common::http1::{BodyDecoder, HeadScan};
use tucano_common::time::{Mono, Now};

use super::super::buffers::{BufferPool, InBuf, OutBuf};
use super::super::config::HttpConfig;
use super::super::sock::Sock;
use super::super::timers::Slot;
use super::lent::Lent;
use super::request::{Exchange, RequestIds};
use crate::message::{Request, RequestHead, Response};

/// What a connection borrows from its loop for a moment.
pub(in crate::event_loop) struct Context<'a> {
    pub(in crate::event_loop) now: Now,
    pub(in crate::event_loop) config: &'a HttpConfig,
    pub(in crate::event_loop) pool: &'a mut BufferPool,
    pub(in crate::event_loop) ids: &'a mut RequestIds,
    /// The loop is ending: no connection is kept.
    pub(in crate::event_loop) draining: bool,
    /// What is left of this turn's bytes.
    pub(in crate::event_loop) budget: usize,
}

/// What a connection has for the loop.
pub(in crate::event_loop) enum Step {
    /// Nothing until something happens.
    Wait,
    /// More to do, after the others had their turn.
    Yield,
    /// The head of a request; [`Conn::plan`] must follow.
    Head(Box<RequestHead>),
    /// A whole request.
    Request(Request),
    /// Some of an upload.
    Data(Lent),
    /// All of an upload came.
    BodyEnd,
    /// An upload will not be whole.
    BodyAborted,
    /// The client of a request is gone.
    Gone,
    /// A streamed answer wants more.
    Drained,
    /// The connection is over.
    Close,
}

/// How far the request in progress is read.
pub(super) enum Reading {
    /// Between two requests, or in a head.
    Head { scan: HeadScan },
    /// The head is told; what becomes of the body is not decided yet.
    Planned { decoder: BodyDecoder, expects_continue: bool },
    /// The body is collected.
    Collect { head: Box<RequestHead>, body: Vec<u8>, bytes_max: usize, decoder: BodyDecoder },
    /// The body is handed over as it comes.
    Stream { left: u64, decoder: BodyDecoder, is_paused: bool },
    /// The answer is given, and the rest of the body is short enough to be dropped.
    Skip { decoder: BodyDecoder },
    /// All of it is read.
    Done,
    /// No request follows: what still comes is dropped, so that the last answer is not lost to a
    /// reset.
    Linger { left: u64, is_fin_sent: bool },
}

/// How far it is answered.
pub(super) enum Writing {
    /// No request is in progress.
    Idle,
    /// The application owes an answer.
    Due(Exchange),
    /// An answer is on its way, in pieces.
    Streaming { framing: Framing, keep: bool, wants_more: bool },
    /// All of the answer is in the buffer.
    Finished { keep: bool },
}

/// How a streamed answer is framed.
#[derive(Clone, Copy)]
pub(super) enum Framing {
    /// So many bytes are to come.
    Length {
        left: u64,
    },
    Chunked,
    UntilClose,
}

/// What the application is still to be told of a request that ended without its doing.
pub(super) enum Owed {
    Nothing,
    Gone,
    BodyAborted,
}

/// A connection.
pub(in crate::event_loop) struct Conn {
    pub(in crate::event_loop) peer: SocketAddr,
    /// Counts requests, so that an answer to one is not given to the next.
    pub(in crate::event_loop) serial: u32,
    pub(in crate::event_loop) timer: Option<Slot>,
    pub(in crate::event_loop) is_queued: bool,
    pub(super) sock: Sock,
    pub(super) input: InBuf,
    pub(super) output: OutBuf,
    pub(super) reading: Reading,
    pub(super) writing: Writing,
    pub(super) owed: Owed,
    /// When what is read for must have come.
    pub(super) read_by: Option<Mono>,
    /// When some of what is written must have been taken.
    pub(super) written_by: Option<Mono>,
    is_over: bool,
}

impl Conn {
    /// Takes a connection in; its first head has to come until `first_head_by`.
    pub(in crate::event_loop) fn accept(
        stream: TcpStream,
        peer: SocketAddr,
        registry: &Registry,
        token: Token,
        first_head_by: Mono,
    ) -> std::io::Result<Conn> {
        Ok(Conn {
            peer,
            serial: 0,
            timer: None,
            is_queued: false,
            sock: Sock::register(stream, registry, token, true)?,
            input: InBuf::default(),
            output: OutBuf::default(),
            reading: Reading::Head { scan: HeadScan::default() },
            writing: Writing::Idle,
            owed: Owed::Nothing,
            read_by: Some(first_head_by),
            written_by: None,
            is_over: false,
        })
    }

    pub(in crate::event_loop) fn mark(&mut self, event: &Event) {
        self.sock.mark(event);
    }

    pub(in crate::event_loop) fn close(mut self, registry: &Registry, pool: &mut BufferPool) {
        self.sock.deregister(registry);
        self.input.consume(usize::MAX);
        self.input.release(pool);
    }

    /// The next moment at which time alone changes something.
    pub(in crate::event_loop) fn deadline(&self) -> Option<Mono> {
        match (self.read_by, self.written_by) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// Whether a request is in progress, or its answer on its way.
    pub(in crate::event_loop) fn is_busy(&self) -> bool {
        self.is_answerable() || !self.output.is_empty()
    }

    /// Whether it waits for its first request, of which nothing came yet.
    pub(in crate::event_loop) fn is_fresh(&self) -> bool {
        let is_new = self.serial == 0 && !self.is_over;
        is_new && matches!(&self.reading, Reading::Head { scan } if !scan.has_begun())
    }

    /// Its first request has to begin by then.
    pub(in crate::event_loop) fn hurry(&mut self, by: Mono) {
        if self.is_fresh() {
            self.read_by = self.read_by.map(|own| own.min(by));
        }
    }

    /// Since when it has been waiting for a request of which nothing came; `None` where it is in
    /// use.
    pub(in crate::event_loop) fn idle_since(&self, config: &HttpConfig) -> Option<Mono> {
        let is_first = self.serial == 0;
        let wait = if is_first { config.head_timeout } else { config.keep_alive_idle };
        match &self.reading {
            Reading::Head { scan } if !scan.has_begun() && self.input.is_empty() => {
                self.read_by.map(|by| by.minus(wait))
            }
            Reading::Head { .. }
            | Reading::Planned { .. }
            | Reading::Collect { .. }
            | Reading::Stream { .. }
            | Reading::Skip { .. }
            | Reading::Done
            | Reading::Linger { .. } => None,
        }
    }

    /// Whether an answer, or more of one, can still be given.
    pub(in crate::event_loop) fn is_answerable(&self) -> bool {
        !self.is_over && matches!(self.writing, Writing::Due(_) | Writing::Streaming { .. })
    }

    pub(in crate::event_loop) fn stream(&self) -> &TcpStream {
        self.sock.stream()
    }

    /// Goes on as far as it can; called again and again until it waits, yields or closes.
    pub(in crate::event_loop) fn step(&mut self, cx: &mut Context<'_>) -> Step {
        self.pass_time(cx);
        if self.sock.is_broken() {
            self.is_over = true;
        }
        loop {
            match std::mem::replace(&mut self.owed, Owed::Nothing) {
                Owed::Nothing => {}
                Owed::Gone => return Step::Gone,
                Owed::BodyAborted => return Step::BodyAborted,
            }
            if self.is_over {
                if self.owe_the_end() {
                    continue;
                }
                return Step::Close;
            }
            if let Some(step) = self.advance(cx) {
                return step;
            }
        }
    }

    /// One piece of work; `None` where there may be more at once.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        self.flush(cx);
        if self.is_over {
            return None;
        }
        if let Writing::Streaming { wants_more, .. } = &mut self.writing
            && *wants_more
            && self.output.len() < cx.config.stream_low_water_bytes
        {
            *wants_more = false;
            return Some(Step::Drained);
        }
        if cx.budget == 0 {
            return Some(Step::Yield);
        }
        match self.reading {
            Reading::Head { .. } => self.read_head(cx),
            // The loop plans at once; an application that panicked between is no longer there.
            Reading::Planned { .. } => Some(Step::Wait),
            Reading::Collect { .. } => self.read_collected(cx),
            Reading::Stream { .. } => self.read_streamed(cx),
            Reading::Skip { .. } => self.read_skipped(cx),
            Reading::Done => self.await_answer(cx),
            Reading::Linger { .. } => self.linger(cx),
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        let Ok(written) = self.sock.flush(&mut self.output, cx.budget) else {
            self.is_over = true;
            return;
        };
        cx.budget = cx.budget.saturating_sub(written);
        if written > 0 && matches!(self.reading, Reading::Done) && self.read_by.is_some() {
            // Half-closed, and taking its answer.
            self.read_by = Some(cx.now.mono + cx.config.half_close_grace);
        }
        if self.output.is_empty() {
            self.written_by = None;
        } else if written > 0 || self.written_by.is_none() {
            self.written_by = Some(cx.now.mono + cx.config.write_stall);
        }
    }

    /// The request is read: waits for the answer to be given and taken, then begins the next.
    fn await_answer(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        match self.writing {
            Writing::Finished { keep } if self.output.is_empty() => {
                if keep && !cx.draining {
                    self.begin_next(cx);
                } else {
                    self.begin_linger(cx);
                }
                None
            }
            Writing::Finished { .. } => Some(Step::Wait),
            Writing::Idle | Writing::Due(_) | Writing::Streaming { .. } => {
                if self.sock.is_read_closed() && self.read_by.is_none() {
                    self.read_by = Some(cx.now.mono + cx.config.half_close_grace);
                }
                Some(Step::Wait)
            }
        }
    }

    /// The connection ends now; the next step says so.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// What the application does not know yet of a request that ends here; whether there was
    /// anything.
    pub(super) fn owe_the_end(&mut self) -> bool {
        let writing = std::mem::replace(&mut self.writing, Writing::Idle);
        match (writing, &self.reading) {
            (Writing::Idle | Writing::Finished { .. }, _) => return false,
            (Writing::Due(_) | Writing::Streaming { .. }, Reading::Stream { .. }) => {
                self.owed = Owed::BodyAborted;
            }
            (
                Writing::Due(_) | Writing::Streaming { .. },
                Reading::Head { .. }
                | Reading::Planned { .. }
                | Reading::Collect { .. }
                | Reading::Skip { .. }
                | Reading::Done
                | Reading::Linger { .. },
            ) => self.owed = Owed::Gone,
        }
        true
    }

    fn pass_time(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.mono;
        if self.written_by.is_some_and(|by| by <= now) {
            self.is_over = true;
        }
        if self.read_by.is_none_or(|by| by > now) {
            return;
        }
        self.read_by = None;
        match &self.reading {
            Reading::Head { scan } if scan.has_begun() => {
                self.refuse(408, "the head of the request did not come in time", cx);
            }
            Reading::Collect { .. } | Reading::Stream { .. } => {
                self.refuse(408, "the body of the request stopped coming", cx);
            }
            // Idle; half-closed without an answer; or everything was said.
            Reading::Head { .. }
            | Reading::Planned { .. }
            | Reading::Skip { .. }
            | Reading::Done
            | Reading::Linger { .. } => self.is_over = true,
        }
    }

    /// The answer of the server itself to what it does not take; the connection ends after it.
    pub(super) fn refuse(&mut self, status: u16, detail: &str, cx: &mut Context<'_>) {
        let mut exchange = match &self.writing {
            Writing::Due(exchange) => exchange.clone(),
            Writing::Idle => Exchange::unknown(cx.ids.next(cx.now.wall)),
            Writing::Streaming { .. } | Writing::Finished { .. } => {
                // An answer has begun: only a break tells the client that something is wrong.
                self.sock.reset_on_close();
                self.is_over = true;
                return;
            }
        };
        self.owe_the_end();
        exchange.keeps_alive = false;
        self.give(&exchange, Response::error(status, detail), false);
        self.begin_linger(cx);
    }
}
