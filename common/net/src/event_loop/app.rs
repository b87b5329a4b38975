//! What an application is to the loop: the calls it gets, and the values they carry.
//!
//! All calls come from the loop's own thread, one at a time, and none may block: a turn is over in
//! microseconds, or everything else on the loop waits.

use std::fmt;
use std::io;
use std::time::Duration;

use tucano_common::limits;

use super::io::Io;
use super::slab::Key;
use crate::message::{Answer, Request, RequestHead, Response, ResponseHead};

macro_rules! key_type {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[doc = ""]
        #[doc = "A slot with a generation: one that is over is never mistaken for the next."]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) Key);
    };
}

/// One request in progress on a connection that was accepted; the next on it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(super) key: Key,
    pub(super) serial: u32,
}

key_type!(CallId, "One request that was sent.");
key_type!(TimerId, "One timer.");
key_type!(FdId, "One watched file descriptor.");

/// What is to become of a request's body, said when its head is known.
pub enum BodyPlan {
    /// Collect it, then `on_request`; more than so many bytes is 413.
    Buffer {
        /// The bound.
        bytes_max: usize,
    },
    /// Hand it over as it comes: `on_body`. More than so many bytes is 413 and
    /// `BodyEvent::Aborted`.
    Stream {
        /// The bound.
        bytes_max: u64,
    },
    /// Answer now and read no body.
    Refuse(Response),
}

/// A part of a streamed upload.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyEvent<'a> {
    /// Some of it, decoded from its framing; never empty.
    Data(&'a [u8]),
    /// All of it came; an answer is due, if none was given yet.
    End,
    /// It will never be whole: the client went away, was too slow, sent too much or broke the
    /// framing. No answer is due, and what came of it is to be thrown away.
    Aborted,
}

/// What became of a call.
pub enum CallEvent<'a> {
    /// The whole answer ([`AnswerMode::Collect`](crate::AnswerMode::Collect)); the call is over.
    Answer(Answer),
    /// The head of the answer ([`AnswerMode::Stream`](crate::AnswerMode::Stream)).
    Head(ResponseHead),
    /// Some of its body; never empty.
    Data(&'a [u8]),
    /// All of its body came; the call is over.
    End,
    /// [`Io::probe`] could connect; the call is over.
    Connected,
    /// The call is over without a (whole) answer.
    Failed(CallError),
}

/// What a call was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// The connection.
    Connect,
    /// The request to be taken, and the head of the answer.
    Head,
    /// More of the answer's body.
    Body,
}

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// No connection came about.
    Connect(io::Error),
    /// A time limit passed.
    Timeout(CallPhase),
    /// The connection broke or was closed before the answer was whole.
    Broken(CallPhase, Option<io::Error>),
    /// The answer is no HTTP that this client understands.
    BadAnswer(&'static str),
    /// The answer's body is larger than the caller wants.
    TooLarge {
        /// The caller's bound.
        bytes_max: usize,
    },
    /// So many calls were in progress that this one was not begun.
    TooManyCalls {
        /// The bound.
        calls_max: usize,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Connect(_) => f.write_str("could not connect"),
            CallError::Timeout(CallPhase::Connect) => f.write_str("could not connect in time"),
            CallError::Timeout(CallPhase::Head) => f.write_str("no answer in time"),
            CallError::Timeout(CallPhase::Body) => f.write_str("the answer stopped coming"),
            CallError::Broken(CallPhase::Connect, _) => f.write_str("the connection broke"),
            CallError::Broken(CallPhase::Head, _) => {
                f.write_str("the connection closed before an answer came")
            }
            CallError::Broken(CallPhase::Body, _) => {
                f.write_str("the connection closed within the answer")
            }
            CallError::BadAnswer(reason) => write!(f, "the answer is not valid HTTP: {reason}"),
            CallError::TooLarge { bytes_max } => {
                write!(f, "the answer is larger than {bytes_max} bytes")
            }
            CallError::TooManyCalls { calls_max } => {
                write!(f, "{calls_max} requests are in progress already")
            }
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Connect(error) | CallError::Broken(_, Some(error)) => Some(error),
            CallError::Broken(_, None)
            | CallError::Timeout(_)
            | CallError::BadAnswer(_)
            | CallError::TooLarge { .. }
            | CallError::TooManyCalls { .. } => None,
        }
    }
}

/// How long a call waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimeouts {
    /// For the connection.
    pub connect: Duration,
    /// From the connection to the end of the answer's head.
    pub head: Duration,
    /// Between two parts of the answer's body.
    pub body_idle: Duration,
    /// For everything together; a streamed answer that is to be followed for hours has none.
    pub total: Option<Duration>,
}

impl Default for CallTimeouts {
    fn default() -> CallTimeouts {
        CallTimeouts {
            connect: limits::CALL_CONNECT_TIMEOUT,
            head: limits::CALL_HEAD_TIMEOUT,
            body_idle: limits::BODY_IDLE_TIMEOUT,
            total: None,
        }
    }
}

/// Why a piece of a streamed answer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The client is gone, or the answer is no streamed one: forget it.
    Gone,
    /// Its buffer is full and nothing was taken: wait for `on_drained`.
    Full,
}

/// One thread's work, driven by an [`HttpLoop`](super::HttpLoop).
///
/// Of a request, exactly one of these ends it: an answer that was given whole (`respond`, `finish`,
/// `abort`), or `on_gone`, or `BodyEvent::Aborted`.
pub trait App {
    /// What other threads send to this one.
    type Msg: Send + 'static;

    /// Once, before the first turn: set timers, watch descriptors.
    fn on_start(&mut self, _io: &mut Io) {}

    /// A request came whole. Answer now or keep `conn` and answer later.
    fn on_request(&mut self, io: &mut Io, conn: ConnId, _request: Request) {
        io.respond(conn, Response::error(404, "nothing is served here"));
    }

    /// The head of a request came: decide about its body, and refuse here what needs no body to be
    /// refused (authentication, unknown routes), so that nobody's gigabyte is read for nothing.
    fn on_request_head(&mut self, _io: &mut Io, _conn: ConnId, _head: &RequestHead) -> BodyPlan {
        BodyPlan::Buffer { bytes_max: limits::API_BODY_BYTES_MAX }
    }

    /// A part of an upload for which `on_request_head` said [`BodyPlan::Stream`].
    fn on_body(&mut self, _io: &mut Io, _conn: ConnId, _event: BodyEvent<'_>) {}

    /// The client of a request that is not answered, or not wholly, is gone: forget `conn`.
    fn on_gone(&mut self, _io: &mut Io, _conn: ConnId) {}

    /// The buffer of a streamed answer fell below the low-water mark after it had been above: push
    /// on.
    fn on_drained(&mut self, _io: &mut Io, _conn: ConnId) {}

    /// Something became of a call.
    fn on_call(&mut self, _io: &mut Io, _call: CallId, _event: CallEvent<'_>) {}

    /// Another thread sent something.
    fn on_msg(&mut self, _io: &mut Io, _msg: Self::Msg) {}

    /// A watched descriptor turned readable (a pidfd: the process ended) or was closed at its other
    /// end. It is told once for each change: read until there is nothing more.
    fn on_fd(&mut self, _io: &mut Io, _fd: FdId) {}

    /// A timer is due; it is gone now.
    fn on_timer(&mut self, _io: &mut Io, _timer: TimerId) {}

    /// Everything of this turn is done: send what was gathered.
    fn on_turn_end(&mut self, _io: &mut Io) {}
}
