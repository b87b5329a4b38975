//! One loop of the balancer: its state, and one turn of it.
//!
//! ```text
//!  poll ─► one clock read ─► mark readiness ─► inbox ─► timers ─► the ready ones ─► accept
//! ```
//!
//! Share-nothing: no other thread touches what is in here. What becomes of a request is in
//! `receive` (its head), `send` (to an instance), `pump` (both bodies), `fail` and `finish`.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::event::Event;
use mio::{Events, Poll, Token};
use tucano_common::http1::HeadScan;
use tucano_common::limits::{ACCESS_LOG_RETRY, EVENTS_PER_TURN, UPSTREAM_IDLE_TIMEOUT};
use tucano_common::prng::Prng;
use tucano_common::time::Mono;
use tucano_controller_core::balancer::hold::HoldQueue;
use tucano_controller_core::balancer::silence::Doubts;
use tucano_controller_core::balancer::{Fleet, Note, ServiceIx};
use tucano_net::clock::Clock;

use super::access::Tap;
use super::buffers::Buffers;
use super::coalesce::Found;
use super::connections::{Client, Engagement, Flow, Phase, Upstream};
use super::cuts::Cuts;
use super::listen::{Accepted, Listeners};
use super::pools::Pools;
use super::report::Reports;
use super::rest::Rest;
use super::slab::{Key, Slab};
use super::socket::Socket;
use super::stats::{LoopStats, Tally};
use super::wheel::Wheel;
use super::{AskAgent, Config, WAKER};
use crate::msgs::{Keeper, ToLoop};

/// What a token's two highest bits say of it.
const KIND_SHIFT: u32 = 62;
const KIND_CLIENT: u64 = 1;
const KIND_UPSTREAM: u64 = 2;

/// How a loop ends: once nobody is connected any more, or at the deadline.
#[derive(Clone, Copy)]
pub(super) struct Stopping {
    /// Until then who is connected may bring one more request: it may be on its way. So may who
    /// comes.
    pub(super) linger: Mono,
    /// What is not finished by then is cut.
    pub(super) deadline: Mono,
}

/// One loop.
pub(super) struct Lb {
    pub(super) config: Arc<Config>,
    pub(super) poll: Poll,
    pub(super) inbox: Receiver<ToLoop>,
    pub(super) reports: Reports,
    pub(super) ask_agent: AskAgent,
    /// Requests whose connection broke.
    pub(super) cuts: Cuts,
    /// Hosts that were not heard, and what their agents said.
    pub(super) doubts: Doubts,
    pub(super) listeners: Listeners,
    /// Sockets that came before the first table.
    pub(super) early_listeners: Vec<(u16, TcpListener, Keeper)>,
    pub(super) has_table: bool,
    /// Connections just accepted; empty between turns.
    pub(super) accepted: Vec<Accepted>,
    pub(super) clients: Slab<Client>,
    pub(super) upstreams: Slab<Upstream>,
    pub(super) flows: Slab<Flow>,
    pub(super) pools: Pools,
    pub(super) wheel: Wheel,
    /// Clients with something to do.
    pub(super) ready: VecDeque<Key<Client>>,
    pub(super) fleet: Fleet,
    /// Who waits for an instance, by the service's place.
    pub(super) held: Vec<HoldQueue<Key<Client>>>,
    /// Services of which more who wait go on in a moment.
    pub(super) releasing: Vec<ServiceIx>,
    /// Counters, by the service's place.
    pub(super) counters: Vec<Option<Tally>>,
    /// The counters of requests for no service.
    pub(super) nobody: Tally,
    pub(super) stats: Arc<LoopStats>,
    pub(super) buffers: Buffers,
    pub(super) scratch: Vec<u8>,
    /// None without an access log.
    pub(super) access_log: Option<Tap>,
    pub(super) notes: Vec<Note>,
    pub(super) prng: Prng,
    /// The turn's clock reading.
    pub(super) now: Mono,
    /// When it looks for what it does not need.
    pub(super) rest: Rest,
    /// When there are chores at the latest.
    pub(super) chores_at: Option<Mono>,
    /// The loop is to end.
    pub(super) stopping: Option<Stopping>,
}

impl Lb {
    /// Turns until it is told to stop and has.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        while !self.has_stopped() {
            if let Err(error) = self.poll.poll(&mut events, self.timeout())
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Nothing else here can go on without it.
                log::error!("a loop of the balancer cannot poll: {error}");
                break;
            }
            let found = self.turn(&events);
            if let Some(pause) = found.pause()
                && self.timeout() != Some(Duration::ZERO)
            {
                thread::sleep(pause);
            }
        }
        self.end();
    }

    fn turn(&mut self, events: &Events) -> Found {
        let before = std::mem::replace(&mut self.now, Clock::mono());
        let mut count = 0;
        for event in events {
            self.mark(event);
            count += 1;
        }
        self.read_inbox();
        self.look_at_deadlines();
        self.do_chores();
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(key) {
                client.is_queued = false;
                self.drive(key);
            }
        }
        self.accept();
        self.stop_accepting();
        self.act_on_notes();
        self.tell_cuts();
        self.plan_rest();
        self.reports.flush();
        if let Some(log) = &mut self.access_log
            && !log.hand_over()
        {
            self.chore_by(self.now + ACCESS_LOG_RETRY);
        }
        Found { flows: self.flows.len(), events: count, gap: self.now.since(before) }
    }

    /// How long the poll may sleep; none: until something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.listeners.has_waiting() {
            return Some(Duration::ZERO);
        }
        let ends_at = self.stopping.map(|end| match self.listeners.is_empty() {
            true => end.deadline,
            false => end.linger,
        });
        let deadlines =
            [self.wheel.next_deadline(), self.chores_at, ends_at, self.listeners.resume_at()];
        let next = deadlines.into_iter().flatten().min().map(|at| at.since(self.now));
        match self.reports.retry_in() {
            None => next,
            Some(retry) => Some(next.map_or(retry, |next| next.min(retry))),
        }
    }

    /// Notes what the poll told of a socket.
    fn mark(&mut self, event: &Event) {
        let word = event.token().0 as u64;
        match word >> KIND_SHIFT {
            KIND_CLIENT => {
                let key = Key::from_word(word & !(3 << KIND_SHIFT));
                if let Some(client) = self.clients.get_mut(key) {
                    client.socket.note(event);
                    self.queue(key);
                }
            }
            KIND_UPSTREAM => {
                let key = Key::from_word(word & !(3 << KIND_SHIFT));
                let Some(upstream) = self.upstreams.get_mut(key) else { return };
                upstream.socket.note(event);
                match upstream.duty {
                    Engagement::Busy(client) => self.queue(client),
                    Engagement::Idle(_) => self.mark_idle(key),
                }
            }
            _ if event.token() == WAKER => {}
            _ => self.listeners.note(event.token()),
        }
    }

    /// An idle connection has nothing to say: whatever comes on it (an answer that nobody asked
    /// for, its end) makes it useless.
    fn mark_idle(&mut self, key: Key<Upstream>) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        if upstream.socket.is_readable() || upstream.socket.is_broken() {
            self.pools.remove(upstream.member, key);
            self.drop_upstream(key);
        }
    }

    /// Puts a client on the list of those who have something to do.
    pub(super) fn queue(&mut self, key: Key<Client>) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.is_queued
        {
            client.is_queued = true;
            self.ready.push_back(key);
        }
    }

    fn look_at_deadlines(&mut self) {
        while let Some(index) = self.wheel.pop(self.now) {
            let Some(key) = self.clients.key_at(index) else { continue };
            let Some(client) = self.clients.get(key) else { continue };
            if client.deadline > self.now {
                self.wheel.watch(index, client.deadline);
                self.register_client(key);
            } else {
                self.deadline_is_over(key);
            }
        }
    }

    /// What is done about once in a while: idle connections closed, ejected instances taken back.
    fn do_chores(&mut self) {
        if self.chores_at.is_none_or(|at| at > self.now) {
            return;
        }
        let old = self.now.minus(UPSTREAM_IDLE_TIMEOUT);
        while let Some(key) = self.pools.pop_older(old) {
            self.drop_upstream(key);
        }
        let mut notes = std::mem::take(&mut self.notes);
        self.fleet.tick(self.now, &mut notes);
        self.notes = notes;
        self.chores_at = None;
        self.look_for_silence();
        self.give_back();
        let releasing = self.releasing.drain(..).map(Note::Changed);
        self.notes.extend(releasing);
        if let Some(oldest) = self.pools.oldest() {
            self.chore_by(oldest + UPSTREAM_IDLE_TIMEOUT + Duration::from_millis(1));
        }
        if let Some(next) = self.fleet.next_return(self.now) {
            self.chore_by(next);
        }
    }

    /// Chores are done by this time at the latest.
    pub(super) fn chore_by(&mut self, at: Mono) {
        self.chores_at = Some(self.chores_at.map_or(at, |known| known.min(at)));
    }

    /// Takes new connections, and reads from each at once: most bring their request along.
    pub(super) fn accept(&mut self) {
        let room = self.config.clients_max.saturating_sub(self.clients.len());
        let mut batch = std::mem::take(&mut self.accepted);
        let pause = self.listeners.resume_at();
        self.listeners.accept(&mut batch, room, self.now);
        for (stream, peer, port) in batch.drain(..) {
            let client = Client {
                socket: Socket::new(stream),
                peer: peer.ip().to_canonical(),
                port,
                is_queued: false,
                phase: Phase::Head(HeadScan::default()),
                deadline: self.now + self.config.timeouts.head,
                input: None,
                output: None,
            };
            let key = self.clients.insert(client);
            self.drive(key);
        }
        self.accepted = batch;
        if self.listeners.resume_at().is_some_and(|until| Some(until) != pause) {
            self.make_room();
        }
        self.stats.clients.set(self.clients.len() as i64);
        self.stats.upstreams.set(self.upstreams.len() as i64);
    }

    /// Closes a connection to an instance.
    pub(super) fn drop_upstream(&mut self, key: Key<Upstream>) {
        let Some(upstream) = self.upstreams.remove(key) else { return };
        upstream.input.into_iter().chain(upstream.output).for_each(|buf| self.buffers.put(buf));
    }

    /// Closes a client's connection.
    pub(super) fn drop_client(&mut self, key: Key<Client>) -> Option<Socket> {
        let client = self.clients.remove(key)?;
        self.wheel.forget(key.index);
        client.input.into_iter().chain(client.output).for_each(|buf| self.buffers.put(buf));
        Some(client.socket)
    }

    /// The counters of a service.
    pub(super) fn counters(&mut self, service: ServiceIx) -> &mut Tally {
        let known = self.counters.get_mut(service.0 as usize).and_then(Option::as_mut);
        known.unwrap_or(&mut self.nobody)
    }
}

/// The token of a client's connection.
pub(super) fn client_token(key: Key<Client>) -> Token {
    Token((KIND_CLIENT << KIND_SHIFT | key.to_word()) as usize)
}

/// The token of a connection to an instance.
pub(super) fn upstream_token(key: Key<Upstream>) -> Token {
    Token((KIND_UPSTREAM << KIND_SHIFT | key.to_word()) as usize)
}
