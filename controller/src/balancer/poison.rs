//! Requests that instances die of: one that was in flight at two deaths is not sent a third time,
//! or one bad request would kill every copy through its retries.
//!
//! A connection that breaks is no death: a service may close as it likes. Whether the instance is
//! gone a connection made anew tells, at once where its machine lives. A machine that says nothing
//! is not the request's fault. Called by `fail` for a request that would go again.

use std::io;

use mio::net::TcpStream;
use tucano_common::http1::exchange::Failure;
use tucano_common::http1::{HeadScan, RequestHead};
use tucano_common::id::InstanceId;
use tucano_common::limits::{DEATH_LOOK, DEATHS_MAX};
use tucano_controller_core::balancer::MemberIx;

use super::connections::{Client, Flow, Stage};
use super::lb::Lb;
use super::refusal::Refusal;
use super::slab::Key;
use crate::msgs::FromLoop;

/// The instances that broke while they had a request. Each counts once, however often its
/// connections break: one that is still dying takes a second try and breaks that too.
#[derive(Default)]
pub(super) struct Deaths {
    /// Found dead.
    found: Vec<InstanceId>,
    /// Asked, and not known yet.
    asked: Vec<(InstanceId, TcpStream)>,
    /// The request waits for what they say.
    is_looking: bool,
}

impl Deaths {
    fn ask(&mut self, instance: InstanceId, connection: io::Result<TcpStream>) {
        if self.found.contains(&instance) {
            return;
        }
        // What it says now counts, not what it said at an earlier break.
        self.asked.retain(|(asked, _)| *asked != instance);
        match connection {
            Ok(stream) => self.asked.push((instance, stream)),
            Err(error) if is_death(&error) => self.found.push(instance),
            Err(_) => {}
        }
    }

    fn suspected(&self) -> usize {
        self.found.len() + self.asked.len()
    }

    /// Counts those who refused by now.
    fn count(&mut self) {
        for (instance, stream) in self.asked.drain(..) {
            if matches!(stream.take_error(), Ok(Some(error)) if is_death(&error)) {
                self.found.push(instance);
            }
        }
        self.is_looking = false;
    }
}

/// Nobody listens there any more. A machine that can't be reached says nothing about the instance.
fn is_death(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

impl Lb {
    /// A connection broke that a request had been sent on. True: the request waits a moment until
    /// it is known whether its instances died.
    pub(super) fn looks_at_death(
        &mut self,
        key: Key<Client>,
        flow_key: Key<Flow>,
        member: MemberIx,
    ) -> bool {
        if !self.may_go_again(flow_key) {
            return false;
        }
        let Some(address) = self.fleet.address(member) else { return false };
        let instance = self.fleet.member(member).map(|member| member.instance);
        let Some(instance) = instance else { return false };
        let Some(flow) = self.flows.get_mut(flow_key) else { return false };
        if flow.seen.left_silent || self.config.is_off_limits(address) {
            return false;
        }
        let deaths = flow.deaths.get_or_insert_default();
        deaths.ask(instance, TcpStream::connect(address));
        if deaths.suspected() < DEATHS_MAX {
            return false;
        }
        deaths.is_looking = true;
        flow.stage = Stage::Held(self.now + DEATH_LOOK);
        self.queue(key);
        true
    }

    pub(super) fn is_looking_at_deaths(&self, flow_key: Key<Flow>) -> bool {
        let flow = self.flows.get(flow_key);
        flow.and_then(|flow| flow.deaths.as_ref()).is_some_and(|deaths| deaths.is_looking)
    }

    /// It is known now.
    pub(super) fn end_look(&mut self, key: Key<Client>, flow_key: Key<Flow>) {
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        let Some(deaths) = &mut flow.deaths else { return };
        deaths.count();
        if deaths.found.len() < DEATHS_MAX {
            self.retry_or_refuse(key, flow_key, Failure::Closed, true);
            return;
        }
        let service = flow.service;
        self.counters(service).poison.inc();
        if let Some(name) = self.fleet.service(service).map(|route| route.name.clone()) {
            let request = self.in_words(key, flow_key);
            log::warn!("instances of service {name} died of a request: {request}");
            let lb = self.config.lb;
            self.reports.tell(FromLoop::Poisoned { lb, service: name, request });
        }
        self.refuse(key, flow_key, Refusal::Poison);
    }

    /// A request for people: method, host, path and id; its query may hold secrets.
    fn in_words(&self, key: Key<Client>, flow_key: Key<Flow>) -> String {
        let id = self.client_id(key, flow_key).or_else(|| {
            let flow = self.flows.get(flow_key);
            flow.map(|flow| flow.id.to_string())
        });
        let input = self.clients.get(key).and_then(|client| client.input.as_ref());
        let bytes = input.map_or(&[][..], |input| input.bytes());
        let head = RequestHead::parse(bytes, &mut HeadScan::default());
        let Ok(Some(head)) = head else { return format!("id {}", id.unwrap_or_default()) };
        let path = head.target.path().of(bytes);
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        format!(
            "{} {}{} (id {})",
            head.method_text.of(bytes).escape_ascii(),
            head.host.of(bytes).escape_ascii(),
            path.escape_ascii(),
            id.unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstanceId = InstanceId(7);

    fn refused() -> io::Result<TcpStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn an_instance_is_counted_once() {
        let mut deaths = Deaths::default();
        deaths.ask(ONE, refused());
        deaths.ask(ONE, refused());
        assert_eq!(deaths.suspected(), 1);
        deaths.ask(InstanceId(8), refused());
        assert_eq!(deaths.suspected(), 2);
    }

    #[test]
    fn who_could_not_be_reached_is_not_dead() {
        let mut deaths = Deaths::default();
        deaths.ask(ONE, Err(io::ErrorKind::HostUnreachable.into()));
        assert_eq!(deaths.suspected(), 0);
    }
}
