//! What a loop tells its access log: of a request that ended, and of one that was refused before it
//! had a service.
//!
//! Called by `finish`, `receive` and `fail`, with a log alone.

use std::net::IpAddr;

use tucano_common::http1::{FieldName, RequestHead};
use tucano_net::clock::Clock;

use super::super::Config;
use super::super::connections::{Client, Flow, RequestId, Stage};
use super::super::lb::Lb;
use super::super::refusal::Refusal;
use super::super::slab::Key;
use super::line::{Noted, Outcome, Took};

/// Where a request comes from: behind proxies that are believed, what they say of it.
pub(super) fn client_of(config: &Config, peer: IpAddr, head: &RequestHead, bytes: &[u8]) -> IpAddr {
    let mut client = peer;
    let fields = head.fields.as_slice().iter().rev();
    let fields = fields.filter(|field| field.known == FieldName::XForwardedFor);
    for part in fields.flat_map(|field| field.value.of(bytes).rsplit(|byte| *byte == b',')) {
        if !config.trusts(client) {
            break;
        }
        let address = std::str::from_utf8(part.trim_ascii()).ok().and_then(|it| it.parse().ok());
        let Some(address) = address.map(|it: IpAddr| it.to_canonical()) else { break };
        client = address;
    }
    client
}

impl Lb {
    /// A request of a service ended.
    #[inline(never)]
    pub(in crate::balancer) fn log_end(&mut self, key: Key<Client>, flow: &Flow, noted: &Noted) {
        let route = self.fleet.service(flow.service).cloned();
        let on_it = match flow.stage {
            Stage::Held(_) => None,
            Stage::Sent(key) => self.upstreams.get(key).map(|upstream| upstream.member),
        };
        let on_it = on_it.and_then(|member| self.fleet.member(member)).map(|it| it.instance);
        // A request that failed names the instance that it was tried on last, and its revision.
        let instance = on_it.or_else(|| flow.tries.instances().last().copied());
        let endpoints = route.iter().flat_map(|route| &route.endpoints);
        let tried = endpoints.filter(|_| on_it.is_none()).find(|it| Some(it.instance) == instance);
        let revision = tried.map_or_else(|| self.revision_of(flow), |it| it.revision);
        let client = self.clients.get(key);
        // The end of an answer, or one of our own, is on its way.
        let unsent = client.and_then(|client| client.output.as_ref());
        let unsent = unsent.map_or(0, |output| output.bytes().len()) as u64;
        let outcome = Outcome {
            service: route.as_ref().map(|route| (&route.name, revision)),
            instance,
            status: flow.status,
            sent_bytes: flow.sent_bytes + unsent,
            tries: flow.total_tries,
            cause: flow.end_cause(),
            took: self.times_of(flow),
        };
        if let Some(log) = &mut self.access_log {
            log.end(noted, Clock::wall(), &outcome);
        }
    }

    fn times_of(&self, flow: &Flow) -> Took {
        let times = &flow.times;
        let total = self.now.since(times.begun);
        if flow.total_tries == 0 {
            return Took { queued: total, total, ..Took::default() };
        }
        let connected = times.connected.max(times.sent);
        Took {
            queued: times.sent.since(times.begun),
            connect: flow.seen.is_sent.then(|| connected.since(times.sent)),
            first_byte: times.answered.map(|answered| answered.since(connected)),
            total,
        }
    }

    /// A request was refused before it had a service; without a head nothing is known of it.
    pub(in crate::balancer) fn log_refusal(
        &mut self,
        key: Key<Client>,
        refusal: Refusal,
        head: Option<(&RequestHead, RequestId)>,
        sent_bytes: u64,
    ) {
        let Some(log) = &mut self.access_log else { return };
        let Some(client) = self.clients.get(key) else { return };
        let bytes = client.input.as_ref().map_or(&[][..], |input| input.bytes());
        let mut noted = match head {
            Some((head, id)) => log.note(&self.config, client.peer, (head, bytes), id),
            None => Box::new(Noted::new(client.peer, &Default::default())),
        };
        noted.error = Some(refusal.code());
        let outcome = Outcome {
            service: None,
            instance: None,
            status: refusal.status(),
            sent_bytes,
            tries: 0,
            cause: refusal.cause(),
            took: Took::default(),
        };
        log.end(&noted, Clock::wall(), &outcome);
    }
}
