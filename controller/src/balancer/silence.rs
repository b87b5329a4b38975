//! Hosts that answer nothing: a worker that lost power, or its cable, without a reset.
//!
//! Ten times a second, while requests wait, it looks for hosts that were not heard; one connection
//! of each is shown to `core::silence`, which tells dead from slow. What the kernel can't tell of a
//! host its agent is asked, by the worker manager, at once. What waits on a dead host and may be
//! sent again goes elsewhere, all of it in one sweep; the rest is given up by the kernel in time.
//! It costs a request nothing. Called by the loop's chores.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tucano_common::http1::exchange::{Fact, Verdict};
use tucano_common::limits::{SILENCE_AFTER, SILENCE_CHECK, SILENCE_DOUBT};
use tucano_common::time::Mono;
use tucano_controller_core::balancer::silence::Step;

use super::connections::{Client, Engagement, Stage, Upstream, Watch};
use super::lb::Lb;
use super::slab::Key;
use crate::msgs::FromLoop;

/// What waits on one host.
#[derive(Default)]
struct Host {
    /// When it was heard last.
    heard: Mono,
    /// The request sent last of those that wait long enough to be judged, and when.
    witness: Option<(Mono, Key<Upstream>)>,
    /// The same of those that wait long enough to raise a doubt.
    early: Option<(Mono, Key<Upstream>)>,
    waiting: Vec<Key<Client>>,
}

impl Lb {
    /// Looks for hosts that were not heard while requests wait for them.
    pub(super) fn look_for_silence(&mut self) {
        let mut hosts: BTreeMap<IpAddr, Host> = BTreeMap::new();
        let since = self.now.minus(SILENCE_DOUBT);
        for (ip, heard) in self.fleet.awaited_hosts() {
            let host = hosts.entry(ip).or_default();
            host.heard = host.heard.max(heard);
        }
        self.doubts.forget(self.now);
        if hosts.is_empty() {
            return;
        }
        if hosts.values().all(|host| host.heard > since) {
            self.chore_by(self.now + SILENCE_CHECK);
            return;
        }
        self.find_waiting(&mut hosts);
        if hosts.values().any(|host| !host.waiting.is_empty()) {
            self.chore_by(self.now + SILENCE_CHECK);
        }
        for (ip, host) in hosts {
            if host.heard <= since && self.is_silent(ip, &host) {
                self.leave_host(ip, &host.waiting);
            }
        }
    }

    /// Every request that waits for its answer, by host.
    fn find_waiting(&self, hosts: &mut BTreeMap<IpAddr, Host>) {
        for (upstream_key, upstream) in self.upstreams.iter() {
            let Engagement::Busy(client) = upstream.duty else { continue };
            let Some(flow) = self.flow_of(client).and_then(|key| self.flows.get(key)) else {
                continue;
            };
            let address = self.fleet.address(upstream.member);
            let Some(host) = address.and_then(|address| hosts.get_mut(&address.ip())) else {
                continue;
            };
            if flow.exchange.is_tunnel() || !flow.seen.is_sent {
                continue;
            }
            if !flow.exchange.awaits_answer() {
                host.heard = host.heard.max(flow.times.moved);
                continue;
            }
            host.waiting.push(client);
            let sent = flow.times.sent;
            let place = match self.now.since(sent) {
                waited if waited >= SILENCE_AFTER => &mut host.witness,
                waited if waited >= SILENCE_DOUBT => &mut host.early,
                _ => continue,
            };
            if place.is_none_or(|(newest, _)| newest < sent) {
                *place = Some((sent, upstream_key));
            }
        }
    }

    /// Whether nobody is there. Where that is not known yet the host is asked.
    fn is_silent(&mut self, ip: IpAddr, host: &Host) -> bool {
        let Some((sent, witness)) = host.witness.or(host.early) else { return false };
        let Some(upstream) = self.upstreams.get_mut(witness) else { return false };
        let Some(evidence) = upstream.socket.evidence() else { return false };
        let step = self.doubts.consider(ip, (self.now.since(sent), &evidence), self.now);
        if matches!(step, Step::Ask { .. }) && upstream.watch == Watch::None {
            upstream.watch = Watch::Asks;
            upstream.socket.ask();
        }
        if matches!(step, Step::AskAgent | Step::Ask { agent: true }) {
            (self.ask_agent)(ip);
        }
        step == Step::Leave
    }

    /// Sends what waits on a host elsewhere.
    fn leave_host(&mut self, host: IpAddr, waiting: &[Key<Client>]) {
        let mut notes = std::mem::take(&mut self.notes);
        self.fleet.fell_silent(host, self.now, &mut notes);
        self.notes = notes;
        // Its idle connections first, or they would be taken for the retries.
        self.act_on_notes();
        let mut moved = 0;
        for key in waiting {
            moved += usize::from(self.leave_silent(*key));
        }
        if moved > 0 {
            log::warn!("{host} acknowledges nothing: {moved} of its requests go elsewhere");
            self.reports.tell(FromLoop::Silent { lb: self.config.lb, host, moved });
        }
    }

    /// One request that waits on a silent host. False: it stays there, for it may not be sent twice
    /// or there is no retry left for now; the kernel gives it up in time.
    fn leave_silent(&mut self, key: Key<Client>) -> bool {
        let Some(flow_key) = self.flow_of(key) else { return false };
        let may_go = self.may_go_again(flow_key);
        let Some(flow) = self.flows.get_mut(flow_key) else { return false };
        let Stage::Sent(upstream_key) = flow.stage else { return false };
        let Some(upstream) = self.upstreams.get_mut(upstream_key) else { return false };
        if !may_go || flow.tries.are_used_up() || !self.fleet.has_retry(flow.service, self.now) {
            if upstream.watch != Watch::GivesUp {
                upstream.watch = Watch::GivesUp;
                upstream.socket.give_up_in_time();
            }
            return false;
        }
        // Not a connection that had been closed meanwhile: the same instance is not tried again.
        flow.tries.was_stale = true;
        flow.seen.left_silent = true;
        let verdict = flow.exchange.on(Fact::UpstreamGone);
        let is_moved = matches!(verdict, Verdict::Fail(_));
        self.judge(key, flow_key, verdict);
        self.queue(key);
        is_moved
    }
}
