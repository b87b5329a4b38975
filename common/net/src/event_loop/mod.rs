//! One thread's mio loop: HTTP in and out, timers, foreign descriptors and an inbox, for one
//! application.
//!
//! One turn: poll → one clock read → mark readiness → drain the inbox (bounded) → timers → run what
//! is ready, each with a byte budget → accept → the application's end of turn. What the kernel said
//! ([`sock`]) and what a state wants ([`server`], [`client`]) are kept apart; work is done where
//! they meet.

mod accept;
mod app;
mod buffers;
mod calls;
mod client;
mod config;
mod inbox;
mod io;
mod serve;
mod server;
mod slab;
mod sock;
mod timers;
mod token;

use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Waker};
use tucano_common::limits::{EVENTS_PER_POLL, INBOX_PER_TURN};

pub use app::{
    App, BodyEvent, BodyPlan, CallError, CallEvent, CallId, CallPhase, CallTimeouts, ConnId, FdId,
    PushError, TimerId,
};
pub use config::HttpConfig;
pub use inbox::{SendError, Sender};
pub use io::Io;

pub(crate) use client::owned_head;

use crate::clock::Clock;
use client::User;
use inbox::Inbox;
use io::Run;
use slab::Slab;
use timers::Due;
use token::{Kind, token};

/// A loop whose application gets messages of type `M`.
///
/// Made before its thread starts, so that whoever sends to it can have its [`Sender`].
pub struct HttpLoop<M> {
    poll: Poll,
    io: Io,
    inbox: Inbox<M>,
}

impl<M: Send + 'static> HttpLoop<M> {
    /// A loop that serves nothing yet, and the way into it.
    pub fn new(config: HttpConfig) -> std::io::Result<(HttpLoop<M>, Sender<M>)> {
        let poll = Poll::new()?;
        let waker_key = Slab::new().insert(());
        let waker = Waker::new(poll.registry(), token(Kind::Waker, waker_key))?;
        let (inbox, sender) = Inbox::new(waker, config.inbox_messages_max);
        let io = Io::new(config, poll.registry().try_clone()?);
        Ok((HttpLoop { poll, io, inbox }, sender))
    }

    /// The loop's side for what happens before [`HttpLoop::run`], such as [`Io::listen`].
    pub fn io(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Turns until the application calls [`Io::stop`]; an error is one of the poll itself.
    pub fn run<A: App<Msg = M>>(&mut self, app: &mut A) -> std::io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        self.io.now = Clock::now();
        app.on_start(&mut self.io);
        while !self.io.is_stopping {
            match self.poll.poll(&mut events, self.wait()) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.io.now = Clock::now();
            for event in &events {
                self.io.mark(event);
            }
            self.turn(app);
        }
        Ok(())
    }

    fn turn<A: App<Msg = M>>(&mut self, app: &mut A) {
        let HttpLoop { io, inbox, .. } = self;
        inbox.open();
        for _ in 0..INBOX_PER_TURN {
            let Some(msg) = inbox.next() else { break };
            app.on_msg(io, msg);
        }
        io.run_timers(app);
        // What is queued meanwhile waits for the next turn: the others come first.
        for _ in 0..io.ready.len() {
            match io.ready.pop_front() {
                Some(Run::Conn(key)) => io.run_conn(app, key),
                Some(Run::Call(key)) => io.run_call(app, key),
                Some(Run::Fd(key)) => app.on_fd(io, FdId(key)),
                None => break,
            }
        }
        io.accept(app);
        app.on_turn_end(io);
    }

    /// How long the poll may wait: not at all while there is work left, for ever without a
    /// deadline.
    fn wait(&self) -> Option<Duration> {
        let io = &self.io;
        let has_work = !io.ready.is_empty()
            || !self.inbox.is_empty()
            || io.acceptor.has_work(io.conns.len(), &io.config);
        if has_work {
            return Some(Duration::ZERO);
        }
        // The clock went on since the turn began; a deadline that passed meanwhile is due at once.
        io.timers.next_at().map(|at| at.since(Clock::mono()))
    }
}

impl Io {
    /// Notes what the kernel said, and has whoever it concerns run.
    fn mark(&mut self, event: &Event) {
        let Some((kind, key)) = token::read(event.token()) else { return };
        match kind {
            Kind::Waker => {}
            Kind::Listener => self.acceptor.mark(key),
            Kind::Conn => {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.mark(event);
                    self.queue_conn(key);
                }
            }
            Kind::Upstream => {
                let Some(upstream) = self.pool.get_mut(key) else { return };
                upstream.sock.mark(event);
                match upstream.user {
                    User::Call(call) => self.queue_call(call),
                    // Whatever an idle server says, it is nothing that was asked for. Being
                    // writable again says nothing.
                    User::Idle { .. } if event.is_readable() || event.is_read_closed() => {
                        self.pool.drop_upstream(key, &self.registry);
                    }
                    User::Idle { .. } => {}
                }
            }
            Kind::Fd => {
                if self.fds.get(key).is_some() {
                    self.ready.push_back(Run::Fd(key));
                }
            }
        }
    }

    fn run_timers<A: App>(&mut self, app: &mut A) {
        let now = self.now.mono;
        while let Some(due) = self.timers.pop(now) {
            match due {
                Due::Conn(key) => {
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.timer = None;
                        self.queue_conn(key);
                    }
                }
                Due::Call(key) => {
                    if let Some(call) = self.calls.get_mut(key) {
                        call.timer = None;
                        self.queue_call(key);
                    }
                }
                Due::App(key) => {
                    if self.app_timers.remove(key).is_some() {
                        app.on_timer(self, TimerId(key));
                    }
                }
                Due::Accept => self.acceptor.resume(),
                Due::Pool => {
                    self.pool_timer = None;
                    self.pool.sweep(now, &self.registry);
                    let next_at = self.pool.next_at();
                    self.timers.arm(&mut self.pool_timer, next_at, Due::Pool);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
