//! The end of an exchange: what is counted, and what becomes of both connections.
//!
//! Called by `drive` alone, once for each flow.

use tucano_common::http1::exchange::{End, Next};
use tucano_common::limits::UPSTREAM_IDLE_TIMEOUT;
use tucano_controller_core::balancer::ServiceIx;
use tucano_controller_core::balancer::hold::HoldQueue;
use tucano_controller_core::balancer::outlier::Sign;

use super::connections::{Client, Engagement, Flow, Phase, Stage, Upstream};
use super::lb::Lb;
use super::pump;
use super::slab::Key;
use super::stats::Cause;

impl Lb {
    /// Ends an exchange.
    pub(super) fn finish(&mut self, key: Key<Client>, flow_key: Key<Flow>, end: End) {
        let Some(mut flow) = self.flows.remove(flow_key) else { return };
        flow.request.leave_pipe(&mut self.buffers.pipes);
        flow.answer.leave_pipe(&mut self.buffers.pipes);
        self.count(&flow);
        if let Some(noted) = &flow.noted {
            self.log_end(key, &flow, noted);
        }
        match flow.stage {
            Stage::Held(_) => self.stop_holding(key, flow.service),
            Stage::Sent(upstream_key) => self.end_upstream(upstream_key, &flow, end.upstream),
        }
        self.fleet.release(flow.service);
        self.go_on_with_held(flow.service);
        match end.client {
            Next::Keep if self.stopping.is_none() => self.await_next(key, flow.request.ready),
            Next::Keep | Next::Close => {
                self.begin_closing(key, !flow.exchange.request_is_whole());
            }
            Next::Reset => {
                let socket = self.drop_client(key);
                if flow.leaves_open_end
                    && flow.cause.is_some()
                    && let Some(socket) = socket
                {
                    socket.reset();
                }
            }
        }
    }

    fn count(&mut self, flow: &Flow) {
        let revision = self.revision_of(flow);
        let took = self.now.since(flow.times.begun);
        let counters = self.counters(flow.service);
        counters.end(flow.end_cause());
        if flow.status != 0 {
            counters.answer(revision, flow.method, flow.status, took);
        }
    }

    /// Of the instance that has it; else the one asked for.
    pub(super) fn revision_of(&self, flow: &Flow) -> u64 {
        let asked_for = || self.fleet.service(flow.service).map_or(0, |route| route.revision);
        match flow.stage {
            Stage::Held(_) => asked_for(),
            Stage::Sent(key) => {
                let upstream = self.upstreams.get(key);
                let member = upstream.and_then(|upstream| self.fleet.member(upstream.member));
                member.map_or_else(asked_for, |member| member.revision)
            }
        }
    }

    fn end_upstream(&mut self, key: Key<Upstream>, flow: &Flow, next: Next) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let member = upstream.member;
        upstream.is_reused = true;
        self.buffers.settle(&mut upstream.input);
        let is_quiet = pump::is_quiet(&mut upstream.socket, &upstream.input);
        let leaves = self.fleet.member(member).is_none_or(|member| member.is_leaving());
        if next == Next::Keep && is_quiet && !leaves && self.stopping.is_none() {
            upstream.duty = Engagement::Idle(self.now);
            if let Some(oldest) = self.pools.put(member, key, self.now) {
                self.drop_upstream(oldest);
            }
            self.chore_by(self.now + UPSTREAM_IDLE_TIMEOUT);
        } else {
            self.drop_upstream(key);
        }
        let sign = match (flow.cause, flow.status) {
            (Some(Cause::ClientGone), _) => Sign::Nothing,
            (Some(_), _) => Sign::Broken,
            (None, 502..=504) => Sign::Bad,
            (None, _) => Sign::Good,
        };
        if let Some(answered) = flow.times.answered {
            self.fleet.answered(member, answered.since(flow.times.sent), self.now);
        }
        self.release_member(member, sign);
    }

    /// An instance may have room again for one who waits.
    fn go_on_with_held(&mut self, service: ServiceIx) {
        if self.queue_of(service).is_some_and(|queue| !queue.is_empty()) {
            self.notes.push(tucano_controller_core::balancer::Note::Changed(service));
        }
    }

    /// A client's connection is closed whatever it is doing.
    pub(super) fn abandon_client(&mut self, key: Key<Client>) {
        if let Some(flow_key) = self.flow_of(key)
            && let Some(flow) = self.flows.get_mut(flow_key)
        {
            flow.cause.get_or_insert(Cause::ClientGone);
            self.finish(key, flow_key, End { client: Next::Reset, upstream: Next::Close });
        }
        self.drop_client(key);
    }

    /// The exchange that a client is in.
    pub(super) fn flow_of(&self, key: Key<Client>) -> Option<Key<Flow>> {
        match self.clients.get(key)?.phase {
            Phase::Busy(flow) => Some(flow),
            Phase::Head(_) | Phase::Closing { .. } => None,
        }
    }

    /// Who waits for a service's instances.
    pub(super) fn queue_of(&mut self, service: ServiceIx) -> Option<&mut HoldQueue<Key<Client>>> {
        self.held.get_mut(service.0 as usize)
    }
}
