//! What a loop counts: the ledger of causes, and what `/metrics` shows.
//!
//! Every accepted request ends in exactly one [`Cause`]; accepted = ended + in flight, always. Each
//! loop writes counters of its own (`Tally`), which nobody else does; a lock is taken only when a
//! service or a revision comes or goes, or a reader asks.
//!
//! | file | what it has |
//! | --- | --- |
//! | `tally` | one service's counters, as one loop writes them |
//! | `answers` | one revision's answers: by method and status, and how long they took |
//! | `registry` | which services and revisions are counted, for all loops together |
//! | `show` | the text of `/metrics` |

mod answers;
mod registry;
mod show;
mod tally;

use std::sync::Arc;

use tucano_common::metrics::{Counter, Gauge};
use tucano_common::name::ServiceName;

use self::registry::Registry;
pub(super) use self::tally::Tally;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Its service answered, on the first try.
    Answered,
    /// Its service answered, on a later try.
    AnsweredAfterRetry,
    /// The client left before its answer was complete.
    ClientGone,
    /// No service has its Host, or the service has no instance.
    NoService,
    /// Too many requests wait already.
    Overload,
    /// The instance broke.
    UpstreamFailed,
    /// The instance or the client was too slow.
    Timeout,
    /// The request is refused.
    BadRequest,
}

impl Cause {
    /// Every one, in the order of the contract.
    pub(crate) const ALL: [Cause; 8] = [
        Cause::Answered,
        Cause::AnsweredAfterRetry,
        Cause::ClientGone,
        Cause::NoService,
        Cause::Overload,
        Cause::UpstreamFailed,
        Cause::Timeout,
        Cause::BadRequest,
    ];

    /// As the contract spells it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Cause::Answered => "answered",
            Cause::AnsweredAfterRetry => "answered_after_retry",
            Cause::ClientGone => "client_gone",
            Cause::NoService => "no_service",
            Cause::Overload => "overload",
            Cause::UpstreamFailed => "upstream_failed",
            Cause::Timeout => "timeout",
            Cause::BadRequest => "bad_request",
        }
    }
}

/// Why a request was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Its connection could not be made.
    Refused,
    /// Its connection broke before the answer.
    Broken,
    /// Its instance's host fell silent.
    Silent,
}

impl Again {
    const ALL: [(Again, &'static str); 3] =
        [(Again::Refused, "refused"), (Again::Broken, "broken"), (Again::Silent, "silent")];
}

/// One service in one loop, on cache lines of its own: loops share nothing.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct ServiceStats {
    pub(super) accepted: Counter,
    ended: [Counter; Cause::ALL.len()],
    pub(super) held: Gauge,
    /// Requests sent again, by reason.
    retries: [Counter; Again::ALL.len()],
    pub(super) poison: Counter,
    pub(super) ejected: Gauge,
}

impl ServiceStats {
    /// A request ended.
    pub(super) fn end(&self, cause: Cause) {
        if let Some(counter) = self.ended.get(cause as usize) {
            counter.inc();
        }
    }

    /// A request is sent again.
    pub(super) fn again(&self, why: Again) {
        if let Some(counter) = self.retries.get(why as usize) {
            counter.inc();
        }
    }

    /// Requests that ended so.
    pub(crate) fn ended(&self, cause: Cause) -> u64 {
        self.ended.get(cause as usize).map_or(0, Counter::get)
    }

    /// Requests taken and not ended.
    fn in_flight(&self) -> u64 {
        let ended: u64 = Cause::ALL.into_iter().map(|cause| self.ended(cause)).sum();
        self.accepted.get().saturating_sub(ended)
    }
}

/// One loop.
#[derive(Debug)]
pub(crate) struct LoopStats {
    registry: Arc<Registry>,
    /// Its place among the loops.
    number: usize,
    pub(super) clients: Gauge,
    pub(super) upstreams: Gauge,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl LoopStats {
    /// The counters in this loop of a service of a table: the same ones for the same name.
    pub(super) fn service(&self, name: &str, version: u64) -> Tally {
        Tally::new(self.registry.service(name, version), self.number)
    }

    /// Services that a table does not have are counted no more: their series end.
    pub(super) fn keep(&self, version: u64, is_kept: impl Fn(&str) -> bool) {
        self.registry.keep(version, is_kept);
    }
}

/// All loops.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    registry: Arc<Registry>,
    loops: Vec<Arc<LoopStats>>,
}

/// What became of a service's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Taken.
    pub(crate) accepted: u64,
    /// Ended, by cause, in the order of [`Cause::ALL`].
    pub(crate) ended: [u64; Cause::ALL.len()],
}

impl Totals {
    /// Requests that ended so.
    pub(crate) fn of(&self, cause: Cause) -> u64 {
        self.ended.get(cause as usize).copied().unwrap_or_default()
    }

    /// Requests that ended without the answer of their service, through no fault of their client.
    pub(crate) fn lost(&self) -> u64 {
        let lost = [Cause::NoService, Cause::Overload, Cause::UpstreamFailed, Cause::Timeout];
        lost.into_iter().map(|cause| self.of(cause)).sum()
    }

    /// Requests taken and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.accepted.saturating_sub(self.ended.iter().sum())
    }
}

impl Stats {
    /// The counters of so many loops.
    pub(super) fn new(loops: usize) -> Stats {
        let registry = Arc::new(Registry::new(loops));
        let new = |number| LoopStats {
            registry: Arc::clone(&registry),
            number,
            clients: Gauge::default(),
            upstreams: Gauge::default(),
            received: Counter::new(),
            sent: Counter::new(),
        };
        let loops = (0..loops).map(|number| Arc::new(new(number))).collect();
        Stats { registry, loops }
    }

    /// What each loop counts in.
    pub(super) fn loops(&self) -> &[Arc<LoopStats>] {
        &self.loops
    }

    /// What became of a service's requests since the start of the process.
    pub(crate) fn totals(&self, service: &ServiceName) -> Totals {
        let mut totals = Totals::default();
        let Some(service) = self.registry.known(service.as_str()) else { return totals };
        for stats in service.loops() {
            // Ended first: what ends in between makes the sum of those in flight too large, never
            // negative.
            for (sum, cause) in totals.ended.iter_mut().zip(Cause::ALL) {
                *sum += stats.ended(cause);
            }
            totals.accepted += stats.accepted.get();
        }
        totals
    }

    /// Open connections: clients', and to instances.
    #[cfg(test)]
    pub(super) fn connections(&self) -> (i64, i64) {
        let sum = |read: fn(&LoopStats) -> i64| self.loops.iter().map(|each| read(each)).sum();
        (sum(|each| each.clients.get()), sum(|each| each.upstreams.get()))
    }
}

#[cfg(test)]
mod tests;
