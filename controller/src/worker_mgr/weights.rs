//! When the balancer's loops hear how much of the traffic each worker should get.
//!
//! With every new table at once, and once more a little later: a loop that had not adopted the
//! table yet has ignored the first. After that at most once a second, and only where a weight
//! moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use tucano_common::limits::{WEIGHT_STEP, WEIGHTS_INTERVAL};
use tucano_common::name::WorkerName;
use tucano_common::time::Mono;
use tucano_controller_core::balancer::table::{RoutingTable, Weights};
use tucano_controller_core::cluster::Load;
use tucano_controller_core::worker_mgr;

/// The weights as the loops were last told.
#[derive(Debug, Default)]
pub(super) struct Weigher {
    table: Arc<RoutingTable>,
    sent: Weights,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing to say.
    #[default]
    Quiet,
    /// A load moved: at this time the weights are looked at.
    Look(Mono),
    /// At this time the weights are told again, moved or not.
    Tell(Mono),
}

impl Weigher {
    /// Takes a new table; returns what to tell the loops with it.
    pub(super) fn adopt(
        &mut self,
        table: Arc<RoutingTable>,
        loads: &BTreeMap<WorkerName, Load>,
        now: Mono,
    ) -> Arc<Weights> {
        self.table = table;
        self.state = State::Tell(now + WEIGHTS_INTERVAL);
        self.weigh(loads)
    }

    /// A worker was measured.
    pub(super) fn measured(&mut self, now: Mono) {
        if self.state == State::Quiet {
            self.state = State::Look(now + WEIGHTS_INTERVAL);
        }
    }

    /// What to tell the loops now, if anything.
    pub(super) fn take_due(
        &mut self,
        loads: &BTreeMap<WorkerName, Load>,
        now: Mono,
    ) -> Option<Arc<Weights>> {
        let told = match self.state {
            State::Quiet => return None,
            State::Look(at) | State::Tell(at) if at > now => return None,
            State::Look(_) => false,
            State::Tell(_) => true,
        };
        self.state = State::Quiet;
        let before = std::mem::take(&mut self.sent);
        let weights = self.weigh(loads);
        if told || moved(&before, &weights) {
            return Some(weights);
        }
        self.sent = before;
        None
    }

    /// When to look again.
    pub(super) fn next_due(&self) -> Option<Mono> {
        match self.state {
            State::Quiet => None,
            State::Look(at) | State::Tell(at) => Some(at),
        }
    }

    fn weigh(&mut self, loads: &BTreeMap<WorkerName, Load>) -> Arc<Weights> {
        self.sent = worker_mgr::weights(&self.table, loads);
        Arc::new(self.sent.clone())
    }
}

fn moved(before: &Weights, after: &Weights) -> bool {
    let pairs = before.by_worker.iter().zip(&after.by_worker);
    before.by_worker.len() != after.by_worker.len()
        || pairs.into_iter().any(|(a, b)| a.abs_diff(*b) >= WEIGHT_STEP)
}

#[cfg(test)]
mod tests {
    use tucano_controller_core::balancer::table::RouteWorker;

    use super::*;

    const T0: Mono = Mono(0);

    fn name() -> WorkerName {
        WorkerName::new("w1").expect("a name")
    }

    fn table(version: u64) -> Arc<RoutingTable> {
        let workers = vec![RouteWorker { name: name() }];
        Arc::new(RoutingTable { version, workers, ..RoutingTable::default() })
    }

    fn loads(cpu: f32) -> BTreeMap<WorkerName, Load> {
        BTreeMap::from([(name(), Load { cpu, memory: 0.0, pressure: 0.0 })])
    }

    #[test]
    fn a_new_table_has_its_weights_at_once_and_once_more() {
        let mut weigher = Weigher::default();
        let first = weigher.adopt(table(3), &loads(0.5), T0);
        assert_eq!((first.table_version, first.by_worker.len()), (3, 1));
        assert_eq!(weigher.take_due(&loads(0.5), T0), None);
        let later = T0 + WEIGHTS_INTERVAL;
        assert_eq!(weigher.take_due(&loads(0.5), later), Some(first));
        assert_eq!(weigher.next_due(), None);
    }

    #[test]
    fn a_load_that_moved_is_told_after_a_second_and_one_that_did_not_is_not() {
        let mut weigher = Weigher::default();
        weigher.adopt(table(3), &loads(0.5), T0);
        let mut now = T0 + WEIGHTS_INTERVAL;
        weigher.take_due(&loads(0.5), now);
        for (cpu, told) in [(0.501, false), (0.9, true), (0.9, false)] {
            weigher.measured(now);
            assert_eq!(weigher.take_due(&loads(cpu), now), None, "not before its time");
            now = now + WEIGHTS_INTERVAL;
            assert_eq!(weigher.take_due(&loads(cpu), now).is_some(), told, "{cpu}");
        }
    }
}
