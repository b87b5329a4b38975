//! Requests whose connection to an instance broke: how many of which instance, told now and then.
//!
//! It does not know why: whether the instance died its worker tells, and the deployer joins the
//! two. Called by `drive` for each break, and once a turn.

use tucano_common::id::InstanceId;
use tucano_common::limits::CUTS_TOLD_EVERY;
use tucano_common::time::Mono;

use super::connections::{Flow, Stage};
use super::lb::Lb;
use super::slab::Key;
use crate::msgs::FromLoop;

/// What was not told yet.
#[derive(Default)]
pub(super) struct Cuts {
    untold: Vec<(InstanceId, u32)>,
    /// Not before: a service that breaks every connection must not keep the deployer busy.
    next_at: Mono,
}

impl Cuts {
    fn add(&mut self, instance: InstanceId) {
        match self.untold.iter_mut().find(|(known, _)| *known == instance) {
            Some((_, requests)) => *requests += 1,
            None => self.untold.push((instance, 1)),
        }
    }
}

impl Lb {
    /// The connection broke that this request was on, or its answer. A request counts once for an
    /// instance: a second try on one that is still dying is the same request.
    pub(super) fn note_cut(&mut self, flow_key: Key<Flow>) {
        let Some(flow) = self.flows.get_mut(flow_key) else { return };
        let Stage::Sent(upstream) = flow.stage else { return };
        let Some(upstream) = self.upstreams.get(upstream) else { return };
        let Some(member) = self.fleet.member(upstream.member) else { return };
        // A silent host, or a connection that never was.
        if flow.seen.left_silent || !flow.seen.is_sent {
            return;
        }
        if flow.cut_by.replace(member.instance) != Some(member.instance) {
            self.cuts.add(member.instance);
        }
    }

    /// Whether the other side ended the connection that a request is on.
    pub(super) fn is_cut_off(&self, flow_key: Key<Flow>) -> bool {
        let flow = self.flows.get(flow_key);
        let Some(Stage::Sent(upstream)) = flow.map(|flow| flow.stage) else { return false };
        let upstream = self.upstreams.get(upstream);
        upstream.is_some_and(|it| it.socket.is_broken() || it.socket.peer_closed())
    }

    /// Tells the deployer.
    pub(super) fn tell_cuts(&mut self) {
        if self.cuts.untold.is_empty() {
            return;
        }
        if self.now < self.cuts.next_at {
            self.chore_by(self.cuts.next_at);
            return;
        }
        self.cuts.next_at = self.now + CUTS_TOLD_EVERY;
        let requests = std::mem::take(&mut self.cuts.untold);
        self.reports.tell(FromLoop::Cut { lb: self.config.lb, requests });
    }
}
