//! Which instances are drained: every loop of the balancer has to say so.
//!
//! A loop's word counts only for the table that took the instance out of the rotation, or a newer
//! one: one that is late, from an earlier time out of it, is ignored.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::id::InstanceId;
use tucano_controller_core::balancer::table::{Duty, RoutingTable};

/// The instances that are out of the rotation, and which loops have none of their requests any
/// more.
#[derive(Debug)]
pub(crate) struct Drains {
    loops: usize,
    open: BTreeMap<InstanceId, Drain>,
}

#[derive(Debug)]
struct Drain {
    since_version: u64,
    drained: BTreeSet<u16>,
}

impl Drains {
    /// For so many loops.
    pub(crate) fn new(loops: usize) -> Drains {
        Drains { loops, open: BTreeMap::new() }
    }

    /// A table is about to be published.
    pub(crate) fn published(&mut self, table: &RoutingTable) {
        let endpoints = table.services.iter().flat_map(|service| &service.endpoints);
        let draining: BTreeSet<InstanceId> = endpoints
            .filter(|endpoint| matches!(endpoint.duty, Duty::Drain | Duty::Abandon))
            .map(|endpoint| endpoint.instance)
            .collect();
        self.open.retain(|instance, _| draining.contains(instance));
        for instance in draining {
            let new = || Drain { since_version: table.version, drained: BTreeSet::new() };
            self.open.entry(instance).or_insert_with(new);
        }
    }

    /// A loop has no request in flight there. True where it was the last one that had not said so.
    pub(crate) fn drained(&mut self, lb: u16, instance: InstanceId, version: u64) -> bool {
        let Some(drain) = self.open.get_mut(&instance) else { return false };
        let new = version >= drain.since_version && drain.drained.insert(lb);
        new && drain.drained.len() == self.loops
    }

    /// The instances that every loop has spoken for: to be told again to a core that was loaded
    /// anew.
    pub(crate) fn complete(&self) -> Vec<InstanceId> {
        let complete = self.open.iter().filter(|(_, drain)| drain.drained.len() == self.loops);
        complete.map(|(instance, _)| *instance).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use tucano_common::name::ServiceName;
    use tucano_common::time::Mono;
    use tucano_controller_core::balancer::table::{Endpoint, ServiceRoute};

    use super::*;

    const ONE: InstanceId = InstanceId(1);

    fn table(version: u64, duty: Option<Duty>) -> RoutingTable {
        let endpoint = |duty| Endpoint {
            instance: ONE,
            revision: 1,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            worker: None,
            duty,
            ready_at: Mono(0),
        };
        let service = ServiceRoute {
            name: ServiceName::new("web").expect("a name"),
            revision: 1,
            endpoints: duty.map(endpoint).into_iter().collect(),
            expecting: false,
            hold: Duration::ZERO,
            max_in_flight: None,
            outside_check: None,
        };
        RoutingTable { version, services: vec![Arc::new(service)], ..RoutingTable::default() }
    }

    #[test]
    fn every_loop_has_to_say_so_and_once_is_enough() {
        let mut drains = Drains::new(2);
        drains.published(&table(5, Some(Duty::Drain)));
        assert!(!drains.drained(0, ONE, 5));
        assert!(!drains.drained(0, ONE, 6), "the same loop again");
        assert!(drains.drained(1, ONE, 5));
        assert!(!drains.drained(1, ONE, 5), "told already");
        assert_eq!(drains.complete(), [ONE]);
        drains.published(&table(6, None));
        assert!(drains.complete().is_empty());
    }

    #[test]
    fn a_word_from_an_earlier_time_out_of_the_rotation_is_late() {
        let mut drains = Drains::new(1);
        drains.published(&table(5, Some(Duty::Drain)));
        drains.published(&table(6, Some(Duty::Serve)));
        drains.published(&table(7, Some(Duty::Drain)));
        assert!(!drains.drained(0, ONE, 5));
        assert!(drains.drained(0, ONE, 7));
    }

    #[test]
    fn instances_that_serve_or_are_unknown_do_not_drain() {
        let mut drains = Drains::new(1);
        drains.published(&table(5, Some(Duty::Serve)));
        assert!(!drains.drained(0, ONE, 5));
        assert!(!drains.drained(0, InstanceId(9), 5));
    }
}
