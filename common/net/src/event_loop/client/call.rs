//! One request that is sent: its states, its limits, and what is tried again.
//!
//! The answer is read in `receive`. Called by the loop's `calls`.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use mio::Registry;
use mio::net::TcpStream;
use tucano_common::http1::{BodyDecoder, HeadScan, Method};
use tucano_common::limits::BODY_WITH_HEAD_BYTES_MAX;
use tucano_common::time::{Mono, Now};

use super::super::app::{CallError, CallPhase, CallTimeouts};
use super::super::buffers::{BufferPool, InBuf};
use super::super::config::HttpConfig;
use super::super::server::Lent;
use super::super::slab::Key;
use super::super::sock::Sock;
use super::super::timers::Slot;
use super::super::token::{Kind, token};
use super::pool::{Pool, Upstream, User};
use crate::keepalive;
use crate::message::{Answer, AnswerMode, OutRequest, ResponseHead};

/// What a call borrows from its loop for a moment.
pub(in crate::event_loop) struct Context<'a> {
    pub(in crate::event_loop) now: Now,
    pub(in crate::event_loop) config: &'a HttpConfig,
    pub(in crate::event_loop) buffers: &'a mut BufferPool,
    pub(in crate::event_loop) registry: &'a Registry,
    pub(in crate::event_loop) pool: &'a mut Pool,
    /// What is left of this turn's bytes.
    pub(in crate::event_loop) budget: usize,
}

/// What a call has for the loop. After `Answer`, `End`, `Connected` and `Failed` it is over.
pub(in crate::event_loop) enum Step {
    Wait,
    Yield,
    Answer(Answer),
    Head(ResponseHead),
    Data(Lent),
    End,
    Connected,
    Failed(CallError),
}

/// What is asked.
pub(in crate::event_loop) enum Spec {
    /// Only whether a connection comes about.
    Probe,
    /// A request.
    Request {
        /// With a short body right behind it.
        head: Vec<u8>,
        body: Cow<'static, [u8]>,
        method: Method,
        answer: AnswerMode,
        keep_alive: bool,
    },
}

impl Spec {
    pub(in crate::event_loop) fn request(addr: SocketAddr, request: OutRequest) -> Spec {
        let mut head = Vec::with_capacity(256);
        request.write_head(&mut head, &addr.to_string(), request.body.len() as u64);
        let OutRequest { method, mut body, answer, keep_alive, .. } = request;
        if body.len() <= BODY_WITH_HEAD_BYTES_MAX {
            head.extend_from_slice(&body);
            body = Cow::Borrowed(&[]);
        }
        Spec::Request { head, body, method, answer, keep_alive }
    }
}

/// How far a call is.
pub(super) enum State {
    /// Not begun.
    New,
    /// There are too many: never begun.
    Refused,
    Connecting {
        up: Key,
    },
    /// The request is being sent, and the head of the answer awaited.
    Asking {
        up: Key,
        sent: usize,
        scan: HeadScan,
        interims: u32,
        /// From the pool, and nothing of the answer came: a break means that it was stale.
        may_be_stale: bool,
    },
    /// The body of the answer is read.
    Receiving {
        up: Key,
        decoder: BodyDecoder,
        sink: Sink,
        keep: bool,
    },
    /// Over; the loop takes it away.
    Over,
}

/// Where the answer's body goes.
pub(super) enum Sink {
    Collect { answer: Answer, bytes_max: usize },
    Stream,
}

/// A call.
pub(in crate::event_loop) struct Call {
    pub(in crate::event_loop) timer: Option<Slot>,
    pub(in crate::event_loop) is_queued: bool,
    pub(super) is_paused: bool,
    pub(super) key: Key,
    pub(super) addr: SocketAddr,
    pub(super) spec: Spec,
    pub(super) timeouts: CallTimeouts,
    pub(super) state: State,
    /// When what is waited for must have come.
    pub(super) due_by: Option<Mono>,
    /// When all must be over.
    total_by: Option<Mono>,
    /// A stale connection was replaced once.
    is_second_try: bool,
}

impl Call {
    pub(in crate::event_loop) fn new(
        key: Key,
        addr: SocketAddr,
        spec: Spec,
        timeouts: CallTimeouts,
        now: Mono,
    ) -> Call {
        Call {
            timer: None,
            is_queued: false,
            is_paused: false,
            key,
            addr,
            spec,
            timeouts,
            state: State::New,
            due_by: None,
            total_by: timeouts.total.map(|total| now + total),
            is_second_try: false,
        }
    }

    /// The same, to be told that there are too many.
    pub(in crate::event_loop) fn refused(mut self) -> Call {
        self.state = State::Refused;
        self
    }

    /// Stops or goes on reading the answer.
    pub(in crate::event_loop) fn pause(&mut self, pause: bool, now: Mono) {
        self.is_paused = pause;
        if matches!(self.state, State::Receiving { .. }) {
            // Who does not read can't blame the server for sending nothing.
            self.due_by = (!pause).then(|| now + self.timeouts.body_idle);
        }
    }

    /// The next moment at which time alone changes something.
    pub(in crate::event_loop) fn deadline(&self) -> Option<Mono> {
        match (self.due_by, self.total_by) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// Goes on as far as it can; called again and again until it waits, yields or is over.
    pub(in crate::event_loop) fn step(&mut self, cx: &mut Context<'_>) -> Step {
        if self.deadline().is_some_and(|by| by <= cx.now.mono) {
            return self.fail(CallError::Timeout(self.phase()), cx);
        }
        loop {
            if cx.budget == 0 {
                return Step::Yield;
            }
            let step = match self.state {
                State::New => self.begin(cx),
                State::Refused => {
                    let calls_max = cx.config.calls_max;
                    Some(self.fail(CallError::TooManyCalls { calls_max }, cx))
                }
                State::Connecting { up } => self.connect(up, cx),
                State::Asking { up, .. } => self.ask(up, cx),
                State::Receiving { up, .. } => self.receive(up, cx),
                State::Over => Some(Step::Wait),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Drops its connection: nobody wants the answer any more.
    pub(in crate::event_loop) fn cancel(&mut self, cx: &mut Context<'_>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::New | State::Refused | State::Over => {}
            State::Connecting { up } | State::Asking { up, .. } | State::Receiving { up, .. } => {
                cx.pool.drop_used(up, cx.registry, cx.buffers);
            }
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Option<Step> {
        if let Spec::Request { keep_alive: true, .. } = self.spec
            && !self.is_second_try
            && let Some(up) = cx.pool.take(self.addr, self.key)
        {
            self.begin_asking(up, true, cx.now.mono);
            return None;
        }
        let (addr, call) = (self.addr, self.key);
        let connected = cx.pool.add(|key| {
            let stream = TcpStream::connect(addr)?;
            // A request is written whole; waiting for more to send only adds delay.
            stream.set_nodelay(true)?;
            keepalive::enable(&stream)?;
            let sock = Sock::register(stream, cx.registry, token(Kind::Upstream, key), false)?;
            Ok(Upstream { sock, input: InBuf::default(), addr, user: User::Call(call) })
        });
        match connected {
            Ok(up) => {
                self.due_by = Some(cx.now.mono + self.timeouts.connect);
                self.state = State::Connecting { up };
                Some(Step::Wait)
            }
            Err(error) => Some(self.fail(CallError::Connect(error), cx)),
        }
    }

    fn connect(&mut self, up: Key, cx: &mut Context<'_>) -> Option<Step> {
        let upstream = cx.pool.get_mut(up)?;
        if !upstream.sock.is_told() {
            return Some(Step::Wait);
        }
        match upstream.sock.connected() {
            None => Some(Step::Wait),
            Some(Err(error)) => Some(self.fail(CallError::Connect(error), cx)),
            Some(Ok(())) if matches!(self.spec, Spec::Probe) => {
                self.cancel(cx);
                Some(Step::Connected)
            }
            Some(Ok(())) => {
                self.begin_asking(up, false, cx.now.mono);
                None
            }
        }
    }

    fn begin_asking(&mut self, up: Key, may_be_stale: bool, now: Mono) {
        self.due_by = Some(now + self.timeouts.head);
        let scan = HeadScan::default();
        self.state = State::Asking { up, sent: 0, scan, interims: 0, may_be_stale };
    }

    /// Sends what can be sent of the request.
    pub(super) fn send(&mut self, up: Key, cx: &mut Context<'_>) -> io::Result<()> {
        let (Some(upstream), State::Asking { sent, .. }, Spec::Request { head, body, .. }) =
            (cx.pool.get_mut(up), &mut self.state, &self.spec)
        else {
            return Ok(());
        };
        while upstream.sock.is_writable() && *sent < head.len() + body.len() {
            let rest = match head.get(*sent..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &body[*sent - head.len()..],
            };
            *sent += upstream.sock.write(rest)?;
        }
        Ok(())
    }

    /// Whether all of the request has left.
    pub(super) fn is_sent(&self) -> bool {
        match (&self.state, &self.spec) {
            (State::Asking { sent, .. }, Spec::Request { head, body, .. }) => {
                *sent == head.len() + body.len()
            }
            (State::Receiving { .. } | State::Over, _) => true,
            (State::New | State::Refused | State::Connecting { .. } | State::Asking { .. }, _) => {
                false
            }
        }
    }

    /// The connection broke before the head of an answer: a pooled one was stale, and is replaced
    /// once.
    pub(super) fn broke(
        &mut self,
        up: Key,
        error: Option<io::Error>,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        let may_be_stale = matches!(self.state, State::Asking { may_be_stale: true, .. });
        if may_be_stale && !self.is_second_try {
            cx.pool.drop_used(up, cx.registry, cx.buffers);
            self.is_second_try = true;
            self.state = State::New;
            return None;
        }
        Some(self.fail(CallError::Broken(self.phase(), error), cx))
    }

    fn phase(&self) -> CallPhase {
        match self.state {
            State::New | State::Refused | State::Connecting { .. } => CallPhase::Connect,
            State::Asking { .. } => CallPhase::Head,
            State::Receiving { .. } | State::Over => CallPhase::Body,
        }
    }

    pub(super) fn fail(&mut self, error: CallError, cx: &mut Context<'_>) -> Step {
        self.cancel(cx);
        Step::Failed(error)
    }
}
