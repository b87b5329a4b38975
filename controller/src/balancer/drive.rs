//! Drives one client's connection as far as it goes now, whatever it is doing, and says what it
//! waits for.
//!
//! The one place that leads from a client's phase to what is done in it. Called by the turn for
//! everyone who has something to do, and by accept for everyone who is new.

use tucano_common::http1::exchange::{Failure, Verdict};
use tucano_common::limits::{LINGER_TIMEOUT, TURN_BYTES_MAX};
use tucano_common::time::Mono;

use super::connections::{Client, Flow, Phase, Stage};
use super::fail::malformed_reason;
use super::lb::{Lb, client_token};
use super::pump::{Sides, Step};
use super::refusal::Refusal;
use super::relay;
use super::slab::Key;
use super::socket::Moved;
use super::stats::Cause;

/// Whether a connection can go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Look again.
    Again,
    /// It waits, or is gone.
    Wait,
}

impl Lb {
    /// Does everything that can be done for a client now.
    pub(super) fn drive(&mut self, key: Key<Client>) {
        let mut budget = TURN_BYTES_MAX;
        while let Some(client) = self.clients.get(key) {
            let turn = match client.phase {
                Phase::Head(scan) => self.receive(key, scan, &mut budget),
                Phase::Busy(flow) => self.go_on(key, flow, &mut budget),
                Phase::Closing { linger, is_shut } => self.close(key, linger, is_shut),
            };
            if turn == Turn::Wait {
                break;
            }
        }
        self.settle(key);
    }

    /// One step of an exchange.
    fn go_on(&mut self, key: Key<Client>, flow_key: Key<Flow>, budget: &mut usize) -> Turn {
        let step = match self.sides(key, flow_key, budget) {
            Some(mut sides) => both(&mut sides),
            None => self.step_held(key, flow_key),
        };
        let turn = match step {
            Step::Moved => Turn::Again,
            Step::Judge(verdict) => self.judge(key, flow_key, verdict),
            Step::Blocked => Turn::Wait,
            Step::Yield => {
                self.queue(key);
                Turn::Wait
            }
        };
        match self.flows.get(flow_key).and_then(|flow| flow.exchange.end()) {
            None => turn,
            Some(end) => {
                self.finish(key, flow_key, end);
                Turn::Again
            }
        }
    }

    /// A request that waits for an instance moves nothing; its client may leave.
    fn step_held(&mut self, key: Key<Client>, flow_key: Key<Flow>) -> Step {
        let is_broken = self.clients.get(key).is_none_or(|client| client.socket.is_broken());
        match self.flows.get_mut(flow_key) {
            Some(flow) if is_broken => {
                Step::Judge(flow.exchange.on(tucano_common::http1::exchange::Fact::ClientGone))
            }
            Some(_) | None => Step::Blocked,
        }
    }

    /// Acts on what a fact means.
    pub(super) fn judge(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        verdict: Verdict,
    ) -> Turn {
        let cause = match verdict {
            Verdict::GoOn
            | Verdict::Pass
            | Verdict::Swallow
            | Verdict::Tunnel
            | Verdict::Ignore => return Turn::Again,
            Verdict::Fail(failure) => {
                if failure == Failure::Closed {
                    self.note_cut(flow_key);
                }
                return self.try_failed(key, flow_key, failure);
            }
            Verdict::Refuse => {
                let malformed = self.flows.get(flow_key).and_then(|flow| flow.malformed);
                return self.refuse(key, flow_key, Refusal::Body(malformed_reason(malformed)));
            }
            Verdict::Cut => {
                if self.is_cut_off(flow_key) {
                    self.note_cut(flow_key);
                }
                Cause::UpstreamFailed
            }
            Verdict::Drop => Cause::ClientGone,
        };
        if let Some(flow) = self.flows.get_mut(flow_key) {
            flow.cause.get_or_insert(cause);
        }
        Turn::Again
    }

    /// Both sides of an exchange that is on a connection.
    pub(super) fn sides<'a>(
        &'a mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        budget: &'a mut usize,
    ) -> Option<Sides<'a>> {
        let flow = self.flows.get_mut(flow_key)?;
        let Stage::Sent(upstream_key) = flow.stage else { return None };
        let upstream = self.upstreams.get_mut(upstream_key)?;
        Some(Sides {
            client: self.clients.get_mut(key)?,
            instance: self.fleet.member(upstream.member).map(|member| member.instance),
            flow,
            upstream,
            buffers: &mut self.buffers,
            scratch: &mut self.scratch,
            stats: &self.stats,
            is_stopping: self.stopping.is_some(),
            now: self.now,
            budget,
        })
    }

    /// Delivers what is left and closes; where the client may still be sending, reads that first.
    fn close(&mut self, key: Key<Client>, linger: Option<u32>, is_shut: bool) -> Turn {
        let Some(client) = self.clients.get_mut(key) else { return Turn::Wait };
        match (relay::flush(&mut client.socket, &mut client.output, &mut self.buffers), linger) {
            (Some(false), _) => return Turn::Wait,
            (None, _) | (Some(true), None) => {
                self.drop_client(key);
                return Turn::Wait;
            }
            (Some(true), Some(_)) => {}
        }
        let mut left = linger.unwrap_or(0);
        if !is_shut {
            client.socket.close_sending();
            client.deadline = self.now + LINGER_TIMEOUT;
        }
        let mut buf = self.buffers.take();
        let is_over = loop {
            match client.socket.read(buf.room()) {
                Moved::Some(count) if count as u64 <= u64::from(left) => left -= count as u32,
                Moved::Blocked => break false,
                Moved::Some(_) | Moved::Closed | Moved::Gone => break true,
            }
        };
        self.buffers.put(buf);
        client.phase = Phase::Closing { linger: Some(left), is_shut: true };
        if is_over {
            self.drop_client(key);
        }
        Turn::Wait
    }

    /// Writes down by when something has to have happened, and has the poll tell what happens.
    fn settle(&mut self, key: Key<Client>) {
        let Some(client) = self.clients.get(key) else { return };
        let mut may_wait_unseen = false;
        let deadline = match client.phase {
            Phase::Head(_) | Phase::Closing { .. } => client.deadline,
            Phase::Busy(flow_key) => match self.flows.get(flow_key) {
                Some(flow) => {
                    may_wait_unseen = waits_for_service_alone(client, flow);
                    self.flow_deadline(flow)
                }
                None => client.deadline,
            },
        };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.deadline = deadline;
        if client.socket.is_registered() {
            self.wheel.watch(key.index, deadline);
            return;
        }
        if may_wait_unseen {
            // Most answers come before this, and a connection that is closed then is never
            // registered.
            self.wheel.watch(key.index, deadline.min(self.now + self.config.timeouts.unseen));
            return;
        }
        self.wheel.watch(key.index, deadline);
        self.register_client(key);
    }

    /// Has the poll tell of a client's connection from here on.
    pub(super) fn register_client(&mut self, key: Key<Client>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.peer.is_loopback() && !client.socket.is_registered() {
            // It is here to stay, or takes long: by now the call pays.
            client.socket.peer_is_here();
        }
        if let Err(error) = client.socket.register(self.poll.registry(), client_token(key)) {
            // Out of memory in the kernel: a connection that can't be watched can't be served.
            log::warn!("a connection cannot be watched: {error}");
            self.abandon_client(key);
        }
    }

    /// By when something has to have moved in an exchange.
    fn flow_deadline(&self, flow: &Flow) -> Mono {
        let timeouts = &self.config.timeouts;
        let moved = flow.times.moved;
        match flow.stage {
            Stage::Held(until) => until,
            Stage::Sent(_) if flow.exchange.is_tunnel() => moved + timeouts.tunnel,
            Stage::Sent(_) if !flow.exchange.awaits_answer() => moved + timeouts.body,
            Stage::Sent(_) if !flow.seen.is_sent => flow.times.sent + timeouts.connect,
            Stage::Sent(_) if !flow.exchange.request_is_whole() => moved + timeouts.body,
            Stage::Sent(_) => moved + timeouts.answer,
        }
    }
}

/// Whether nothing that the client does now matters: its request is read and its answer has not
/// begun.
fn waits_for_service_alone(client: &Client, flow: &Flow) -> bool {
    matches!(flow.stage, Stage::Sent(_))
        && flow.exchange.request_is_whole()
        && flow.exchange.awaits_answer()
        && client.output.is_none()
}

/// Moves both directions one step.
fn both(sides: &mut Sides<'_>) -> Step {
    let request = sides.request();
    if let Step::Judge(_) = request {
        return request;
    }
    match (request, sides.answer()) {
        (_, Step::Judge(verdict)) => Step::Judge(verdict),
        (Step::Moved, _) | (_, Step::Moved) => Step::Moved,
        (Step::Yield, _) | (_, Step::Yield) => Step::Yield,
        (_, other) => other,
    }
}
