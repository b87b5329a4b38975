//! One service's counters, as one loop writes them.
//!
//! Counting takes no lock and looks at no other loop's counters; the revision of a request is one
//! of the two or three that its service has at a time. Held by the loop for each service of its
//! table.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::http1::Method;

use super::ServiceStats;
use super::answers::RevisionStats;
use super::registry::Service;

/// The counters of one service in one loop.
#[derive(Debug)]
pub(in crate::balancer) struct Tally {
    service: Arc<Service>,
    /// The loop's place.
    number: usize,
    own: Arc<ServiceStats>,
    /// The revisions that this loop answered for lately.
    revisions: Vec<(u64, Arc<RevisionStats>)>,
}

impl Deref for Tally {
    type Target = ServiceStats;

    fn deref(&self) -> &ServiceStats {
        &self.own
    }
}

impl Tally {
    pub(super) fn new(service: Arc<Service>, number: usize) -> Tally {
        let own = service.loops().get(number).cloned().unwrap_or_default();
        Tally { service, number, own, revisions: Vec::new() }
    }

    /// A request was answered, by the service or by us.
    pub(in crate::balancer) fn answer(
        &mut self,
        revision: u64,
        method: Method,
        status: u16,
        took: Duration,
    ) {
        let known = self.revisions.iter().find(|(known, _)| *known == revision);
        if let Some((_, stats)) = known {
            stats.count(method, status, took);
        } else {
            let stats = self.begin(revision);
            stats.count(method, status, took);
        }
    }

    /// The first answer for a revision in this loop.
    #[cold]
    fn begin(&mut self, revision: u64) -> Arc<RevisionStats> {
        let stats = self.service.revision(revision, self.number);
        self.revisions.push((revision, Arc::clone(&stats)));
        stats
    }

    /// A table has these revisions of it.
    pub(in crate::balancer) fn list(&mut self, version: u64, listed: impl Iterator<Item = u64>) {
        self.service.list(version, listed);
        self.revisions.retain(|(revision, _)| self.service.has_revision(*revision));
    }

    /// Goes on with the counters that are shown, where others came in their place: what is in
    /// flight ends there.
    pub(in crate::balancer) fn go_on_in(&mut self, shown: Tally) {
        if Arc::ptr_eq(&self.service, &shown.service) {
            return;
        }
        shown.own.accepted.add(self.own.in_flight());
        shown.own.held.add(self.own.held.get());
        *self = shown;
    }
}
