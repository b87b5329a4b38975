//! What a loop is told, and what it has to tell: tables, weights, ports, the end.
//!
//! Called once a turn.

use std::net::TcpListener;
use std::sync::Arc;

use tucano_common::limits::{HELD_REQUESTS_MAX, LOOP_MESSAGES_PER_TURN};
use tucano_common::name::ServiceName;
use tucano_controller_core::balancer::hold::HoldQueue;
use tucano_controller_core::balancer::table::RoutingTable;
use tucano_controller_core::balancer::{Note, ServiceIx};

use super::connections::{Client, Phase};
use super::lb::{Lb, Stopping};
use super::slab::Key;
use crate::msgs::{FromLoop, Keeper, ToLoop};

impl Lb {
    /// Takes what came.
    pub(super) fn read_inbox(&mut self) {
        for _ in 0..LOOP_MESSAGES_PER_TURN {
            let Ok(message) = self.inbox.try_recv() else { break };
            match message {
                ToLoop::Table(table) => self.adopt(&table),
                ToLoop::Weights(weights) => self.fleet.weigh(&weights),
                ToLoop::Heard { host, is_there } => {
                    self.doubts.heard(host, is_there, self.now);
                    self.chore_by(self.now);
                }
                ToLoop::Listen { port, listener, keeper } => self.listen(port, listener, keeper),
                ToLoop::Close { port } => {
                    self.early_listeners.retain(|(early, _, _)| *early != port);
                    self.listeners.remove(self.poll.registry(), port);
                }
                ToLoop::Stop { deadline } => {
                    let linger = deadline.min(self.now + self.config.timeouts.linger);
                    self.stopping = Some(Stopping { linger, deadline });
                    self.begin_stopping();
                }
            }
        }
        self.act_on_notes();
    }

    /// Accepts on one more socket, but nobody before there is a table: without one every request
    /// would be refused that the next moment's table has a service for.
    fn listen(&mut self, port: u16, listener: TcpListener, keeper: Keeper) {
        if !self.has_table {
            self.early_listeners.push((port, listener, keeper));
            return;
        }
        if self.stopping.is_some() {
            return;
        }
        if let Err(error) = self.listeners.add(self.poll.registry(), port, listener, keeper) {
            log::error!("the balancer cannot accept on port {port}: {error}");
        }
    }

    fn adopt(&mut self, table: &Arc<RoutingTable>) {
        self.has_table = true;
        let mut notes = std::mem::take(&mut self.notes);
        self.fleet.adopt(table, self.now, &mut notes);
        self.notes = notes;
        for route in &table.services {
            let Some(place) = self.fleet.place_of(&route.name) else { continue };
            let place = place.0 as usize;
            if self.counters.len() <= place {
                self.counters.resize_with(place + 1, || None);
                self.held.resize_with(place + 1, || HoldQueue::new(HELD_REQUESTS_MAX));
            }
            let Some(slot) = self.counters.get_mut(place) else { continue };
            let shown = self.stats.service(route.name.as_str(), table.version);
            match slot {
                Some(tally) => tally.go_on_in(shown),
                None => *slot = Some(shown),
            }
            if let Some(tally) = slot {
                let listed = route.endpoints.iter().map(|endpoint| endpoint.revision);
                tally.list(table.version, listed.chain([route.revision]));
            }
        }
        let fleet = &self.fleet;
        self.stats.keep(table.version, |name| {
            ServiceName::new(name).is_ok_and(|name| fleet.place_of(&name).is_some())
        });
        for (port, listener, keeper) in std::mem::take(&mut self.early_listeners) {
            self.listen(port, listener, keeper);
        }
    }

    /// Does and tells what the fleet noted; acting on one note may bring others.
    pub(super) fn act_on_notes(&mut self) {
        while !self.notes.is_empty() {
            let mut notes = std::mem::take(&mut self.notes);
            for note in notes.drain(..) {
                self.act_on(note);
            }
            if self.notes.is_empty() {
                self.notes = notes;
            }
        }
    }

    fn act_on(&mut self, note: Note) {
        let lb = self.config.lb;
        match note {
            Note::Drained(instance) => {
                let version = self.fleet.version();
                self.reports.tell(FromLoop::Drained { lb, instance, version });
            }
            Note::Retired(member) => {
                for (key, _) in self.pools.drain(member) {
                    self.drop_upstream(key);
                }
            }
            Note::Abandoned(member) => self.abandon(member),
            Note::Changed(service) => {
                self.wake_held(service);
                self.count_ejected(service);
            }
            Note::Ejected { instance, service, out_for } => {
                self.reports.tell(FromLoop::Ejected { lb, instance, out_for });
                if let Some(next) = self.fleet.next_return(self.now) {
                    self.chore_by(next);
                }
                self.count_ejected(service);
            }
        }
    }

    fn count_ejected(&mut self, service: ServiceIx) {
        let ejected = self.fleet.ejected(service, self.now) as i64;
        self.counters(service).ejected.set(ejected);
    }

    /// Queues that outlive the loop are left to the next one. The loop's own stay open while who is
    /// connected may still ask: whoever has said nothing yet is in their care, and would be refused
    /// with them.
    fn begin_stopping(&mut self) {
        self.listeners.leave(self.poll.registry(), Keeper::Systemd);
        let idle = |client: &Client| matches!(client.phase, Phase::Head(_));
        let idle: Vec<Key<Client>> =
            self.clients.iter().filter(|(_, client)| idle(client)).map(|(key, _)| key).collect();
        idle.into_iter().for_each(|key| self.queue(key));
    }

    /// Takes those who wait in the loop's own queues by the end of the linger, and nobody after
    /// them.
    pub(super) fn stop_accepting(&mut self) {
        if self.listeners.is_empty() || self.stopping.is_none_or(|end| self.now < end.linger) {
            return;
        }
        self.listeners.look_again();
        while self.listeners.has_waiting() && self.clients.len() < self.config.clients_max {
            self.accept();
        }
        self.listeners.leave(self.poll.registry(), Keeper::Us);
    }

    /// Whether the loop has nothing more to do, or no more time.
    pub(super) fn has_stopped(&self) -> bool {
        let is_done = self.clients.len() == 0 && self.listeners.is_empty();
        let is_over = |end: Stopping| is_done || self.now >= end.deadline;
        self.stopping.is_some_and(is_over)
    }

    /// Tells that the loop has ended. The process may be waiting for this: it is tried until it is
    /// taken.
    pub(super) fn end(mut self) {
        let cut = self.flows.len() as u64;
        debug_assert!(cut > 0 || self.buffers.pipes.are_all_here(), "a pipe was not given back");
        self.reports.tell(FromLoop::Stopped { lb: self.config.lb, cut });
        self.reports.flush();
        if let Some(log) = &mut self.access_log {
            log.hand_over_all();
        }
    }
}
