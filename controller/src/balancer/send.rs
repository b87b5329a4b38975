//! A request on its way to an instance: chosen, connected, its head written; or held until there is
//! one.
//!
//! It reads nothing and decides nothing about failures (`fail` does). Called for a new request, for
//! one that goes again, and for those who were held.

use std::io;

use nix::errno::Errno;
use tucano_common::http1::exchange::Failure;
use tucano_common::http1::{Body, HeadScan, RequestHead};
use tucano_common::limits::{
    CRASH_GRACE, CRASH_RETRY, HELD_RELEASE_PAUSE, HELD_RELEASED_AT_ONCE, SILENCE_CHECK,
    UPSTREAM_FRESH,
};
use tucano_common::time::Mono;
use tucano_controller_core::balancer::outlier::Sign;
use tucano_controller_core::balancer::{Choice, MemberIx, ServiceIx};

use super::connections::{Client, Engagement, Flow, Stage, Upstream, Watch};
use super::forward::{self, Origin};
use super::lb::{Lb, upstream_token};
use super::pump::Sides;
use super::refusal::Refusal;
use super::relay::{self, Relay};
use super::slab::Key;
use super::socket::Socket;
use tucano_common::http1::framing::Recoding;

impl Lb {
    /// Sends a request to an instance, or holds it, or refuses it. `head` is parsed anew where the
    /// caller has it no more.
    pub(super) fn place(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        head: Option<&RequestHead>,
    ) {
        let Some(flow) = self.flows.get(flow_key) else { return };
        let (service, tries) = (flow.service, flow.tries);
        match self.fleet.choose(service, tries.instances(), self.now) {
            Choice::Use(member) => self.send(key, flow_key, member, head),
            Choice::Full => self.hold(key, flow_key, Refusal::Overload),
            Choice::Nobody if !tries.instances().is_empty() => self.hold_after_crash(key, flow_key),
            Choice::Nobody if self.fleet.is_expecting(service) => {
                self.hold(key, flow_key, Refusal::NoInstance);
            }
            Choice::Nobody => {
                self.refuse(key, flow_key, Refusal::NoInstance);
            }
        }
    }

    /// Sends a request to this instance.
    pub(super) fn send(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        member: MemberIx,
        head: Option<&RequestHead>,
    ) {
        let Some(instance) = self.fleet.member(member).map(|member| member.instance) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        flow.tries.add(instance);
        flow.total_tries += 1;
        flow.times.sent = self.now;
        flow.times.moved = self.now;
        flow.seen.is_sent = false;
        flow.seen.left_silent = false;
        flow.seen.upstream_is_deaf = false;
        flow.answer_scan = HeadScan::default();
        flow.exchange.try_again();
        // What may not be sent twice takes no connection that the service may be about to close.
        let fresh_since = match (flow.tries.was_stale, flow.is_repeatable) {
            (true, _) => Mono(u64::MAX),
            (false, true) => Mono(0),
            (false, false) => self.now.minus(UPSTREAM_FRESH),
        };
        self.fleet.begin(member);
        let upstream = match self.pools.take(member, fresh_since) {
            Some(kept) => Ok(kept),
            None => self.connect(member),
        };
        let upstream_key = match upstream {
            Ok(upstream_key) => upstream_key,
            Err(sign) => {
                self.release_member(member, sign);
                self.retry_or_refuse(key, flow_key, Failure::Closed, true);
                return;
            }
        };
        if let Some(upstream) = self.upstreams.get_mut(upstream_key) {
            upstream.duty = Engagement::Busy(key);
        }
        if let Some(flow) = self.flows.get_mut(flow_key) {
            flow.stage = Stage::Sent(upstream_key);
        }
        self.write_head(key, flow_key, head);
        self.chore_by(self.now + SILENCE_CHECK);
    }

    fn write_head(&mut self, key: Key<Client>, flow_key: Key<Flow>, head: Option<&RequestHead>) {
        let config = std::sync::Arc::clone(&self.config);
        let mut budget = usize::MAX;
        let Some(mut sides) = self.sides(key, flow_key, &mut budget) else { return };
        match head {
            Some(head) => sides.send_head(head, &config),
            None => {
                let bytes = sides.client.input.as_ref().map_or(&[][..], |input| input.bytes());
                // It was parsed before, and is kept: it parses again.
                if let Ok(Some(mut head)) = RequestHead::parse(bytes, &mut HeadScan::default()) {
                    if head.asks_upgrade && forward::asks_http2(&head, bytes) {
                        head.asks_upgrade = false;
                    }
                    sides.send_head(&head, &config);
                }
            }
        }
    }

    /// Begins a connection to an instance; its handshake may still be under way. Where it can't
    /// be begun: what that says about the instance.
    fn connect(&mut self, member: MemberIx) -> Result<Key<Upstream>, Sign> {
        let address = self.fleet.address(member).ok_or(Sign::Nothing)?;
        if self.config.is_off_limits(address) {
            log::warn!("the balancer does not connect to {address}: it is not a service's");
            return Err(Sign::Broken);
        }
        let socket = Socket::connect(address).map_err(|error| sign_of(&error))?;
        let upstream = Upstream {
            socket,
            member,
            duty: Engagement::Idle(self.now),
            is_reused: false,
            watch: Watch::None,
            input: None,
            output: None,
        };
        let key = self.upstreams.insert(upstream);
        match self.register_upstream(key) {
            Ok(()) => Ok(key),
            Err(error) => {
                log::warn!("a connection to an instance cannot be watched: {error}");
                self.drop_upstream(key);
                Err(Sign::Nothing)
            }
        }
    }

    fn register_upstream(&mut self, key: Key<Upstream>) -> io::Result<()> {
        match self.upstreams.get_mut(key) {
            Some(upstream) => upstream.socket.register(self.poll.registry(), upstream_token(key)),
            None => Ok(()),
        }
    }

    /// Keeps a request until an instance is there, for as long as its service says.
    fn hold(&mut self, key: Key<Client>, flow_key: Key<Flow>, otherwise: Refusal) {
        let Some(flow) = self.flows.get(flow_key) else { return };
        let hold =
            self.fleet.service(flow.service).map_or_else(Default::default, |route| route.hold);
        let until = flow.times.begun + hold;
        if hold.is_zero() {
            self.refuse(key, flow_key, otherwise);
            return;
        }
        self.hold_until(key, flow_key, until);
    }

    /// Every instance refused its connection. One on a worker may have crashed, and the table that
    /// says so (or it itself, started again in place) comes in a moment; one that just turned ready
    /// may not keep up with all who waited for it. So it is asked again and again: for a short
    /// while, or, where another is on its way, for as long as the service has requests wait.
    pub(super) fn hold_after_crash(&mut self, key: Key<Client>, flow_key: Key<Flow>) {
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        let grace_until = *flow.refused_since.get_or_insert(self.now) + CRASH_GRACE;
        let (service, begun, is_kept) = (flow.service, flow.times.begun, flow.is_kept);
        let (until, may_wait) = match self.fleet.is_expecting(service) {
            true => {
                let hold = self.fleet.service(service).map(|route| route.hold);
                (grace_until.max(begun + hold.unwrap_or_default()), true)
            }
            false => (grace_until, is_kept && self.fleet.is_managed(service)),
        };
        if may_wait && self.now < until {
            self.hold_until(key, flow_key, until.min(self.now + CRASH_RETRY));
        } else {
            self.refuse(key, flow_key, Refusal::Unreachable);
        }
    }

    /// The time of a request that waits is over: it is tried once more after a crash, or refused.
    pub(super) fn hold_is_over(&mut self, key: Key<Client>, flow_key: Key<Flow>) {
        if self.is_looking_at_deaths(flow_key) {
            self.end_look(key, flow_key);
            return;
        }
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        if flow.refused_since.is_none() {
            self.refuse(key, flow_key, Refusal::HeldInVain);
            return;
        }
        flow.tries.forget_all();
        let service = flow.service;
        self.stop_holding(key, service);
        self.place(key, flow_key, None);
    }

    fn hold_until(&mut self, key: Key<Client>, flow_key: Key<Flow>, until: Mono) {
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        let service = flow.service;
        flow.stage = Stage::Held(until);
        let took_place = self.queue_of(service).is_some_and(|queue| queue.push(key));
        if took_place {
            self.counters(service).held.add(1);
            if let Some(client) = self.clients.get_mut(key) {
                self.buffers.settle(&mut client.input);
            }
        } else {
            self.refuse(key, flow_key, Refusal::Overload);
        }
    }

    /// A service's instances changed: those who wait go on, or learn that they wait in vain.
    ///
    /// So many at a time: an instance that has just turned ready has a short queue for connections,
    /// and those beyond it would be dropped by its kernel without a word. In the pause between one
    /// may go on for each that is answered, on its connection.
    pub(super) fn wake_held(&mut self, service: ServiceIx) {
        if self.releasing.contains(&service) {
            self.wake_first_held(service);
            return;
        }
        for _ in 0..HELD_RELEASED_AT_ONCE {
            if !self.wake_first_held(service) {
                return;
            }
        }
        self.releasing.push(service);
        self.chore_by(self.now + HELD_RELEASE_PAUSE);
    }

    /// The first of those who wait; false where nobody goes on now.
    fn wake_first_held(&mut self, service: ServiceIx) -> bool {
        if self.queue_of(service).is_none_or(|queue| queue.is_empty()) {
            return false;
        }
        let choice = self.fleet.choose(service, &[], self.now);
        match choice {
            Choice::Full => return false,
            Choice::Nobody if self.fleet.is_expecting(service) => {
                self.extend_holds(service);
                return false;
            }
            Choice::Use(_) | Choice::Nobody => {}
        }
        let Some(key) = self.queue_of(service).and_then(|queue| queue.pop()) else { return false };
        self.counters(service).held.add(-1);
        let Some(flow_key) = self.flow_of(key) else { return true };
        match choice {
            Choice::Use(member) => {
                if let Some(flow) = self.flows.get_mut(flow_key) {
                    flow.tries.forget_all();
                }
                self.send(key, flow_key, member, None);
            }
            Choice::Full | Choice::Nobody => {
                self.refuse(key, flow_key, Refusal::NoInstance);
            }
        }
        self.queue(key);
        true
    }

    /// An instance is on its way: who waited on a chance waits as long as the service says.
    fn extend_holds(&mut self, service: ServiceIx) {
        let hold = self.fleet.service(service).map_or_else(Default::default, |route| route.hold);
        let waiting: Vec<Key<Client>> =
            self.queue_of(service).map(|queue| queue.iter().collect()).unwrap_or_default();
        for key in waiting {
            let Some(flow_key) = self.flow_of(key) else { continue };
            if let Some(flow) = self.flows.get_mut(flow_key)
                && let Stage::Held(until) = flow.stage
            {
                flow.stage = Stage::Held(until.max(flow.times.begun + hold));
                flow.refused_since = None;
                self.queue(key);
            }
        }
    }

    /// Gives a place among those who wait up, where the flow has one.
    pub(super) fn stop_holding(&mut self, key: Key<Client>, service: ServiceIx) {
        if let Some(queue) = self.queue_of(service) {
            let before = queue.len();
            queue.remove(key);
            let gone = before - queue.len();
            self.counters(service).held.add(-(gone as i64));
        }
    }
}

/// What it says about an instance that a connection to it can't even be begun: nothing where it is
/// this machine that has no descriptor, no memory or no port left.
fn sign_of(error: &io::Error) -> Sign {
    use Errno::{EADDRNOTAVAIL, EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    match error.raw_os_error().map(Errno::from_raw) {
        Some(EADDRNOTAVAIL | EAGAIN | EMFILE | ENFILE | ENOBUFS | ENOMEM) => Sign::Nothing,
        Some(_) | None => Sign::Broken,
    }
}

impl Sides<'_> {
    /// Writes the request's head to the instance, with what of its body is there.
    fn send_head(&mut self, head: &RequestHead, config: &super::Config) {
        let Some(input) = &self.client.input else { return };
        let bytes = input.bytes();
        let origin = Origin {
            peer: self.client.peer,
            is_trusted: config.trusts(self.client.peer),
            id: self.flow.id,
        };
        forward::request(head, bytes, &origin, self.scratch);
        self.flow.request = Relay::new(head.body, Recoding::Same, head.len());
        if !matches!(head.body, Body::None) && self.flow.request.advance(bytes).is_err() {
            // Its next look at these bytes finds the same fault, and says so.
            self.flow.request = Relay::new(head.body, Recoding::Same, head.len());
        }
        let Upstream { socket, output, .. } = &mut *self.upstream;
        let request = &mut self.flow.request;
        match relay::write(socket, output, self.buffers, self.scratch, request, bytes) {
            // The connection is broken; reading from it says how.
            None => self.flow.seen.upstream_is_deaf = true,
            Some(written) => self.flow.seen.is_sent = written > 0,
        }
        // One without a body is sent by now.
        if self.flow.seen.is_sent && self.upstream.output.is_none() && self.flow.request.is_over() {
            self.request_is_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_not_the_instances_fault() {
        for ours in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL, Errno::ENOBUFS] {
            assert_eq!(sign_of(&ours.into()), Sign::Nothing, "{ours}");
        }
        for theirs in [Errno::ECONNREFUSED, Errno::ENETUNREACH, Errno::EHOSTUNREACH] {
            assert_eq!(sign_of(&theirs.into()), Sign::Broken, "{theirs}");
        }
    }
}
