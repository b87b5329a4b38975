//! Health checks of addresses outside the cluster: when each is due, and what its results mean.
//!
//! One check of an address is under way at most, and none waits for another; what is told are
//! changes. An address that is new here begins as the routing table has it. It opens no connection:
//! `controller/src/worker_mgr` does, on its loop.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tucano_common::name::ServiceName;
use tucano_common::time::Mono;

use crate::balancer::table::{Duty, OutsideCheck, RoutingTable};
use crate::deployer::OutsideHealth;

/// Which address of which service.
pub type OutsideKey = (ServiceName, SocketAddr);

/// Every address that is checked.
#[derive(Clone, Debug, Default)]
pub struct OutsideChecks {
    known: BTreeMap<OutsideKey, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    how: OutsideCheck,
    is_up: bool,
    /// Results in a row that say otherwise.
    streak: u32,
    /// Why the last check failed.
    reason: String,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Due(Mono),
    UnderWay,
}

impl OutsideChecks {
    /// Takes the addresses of a table. New ones are due at once. Returns those that the table has
    /// otherwise than they are known here: what was told of them came too early or too late.
    pub fn adopt(&mut self, table: &RoutingTable, now: Mono) -> Vec<OutsideHealth> {
        let mut told = Vec::new();
        let mut before = std::mem::take(&mut self.known);
        for route in &table.services {
            let Some(how) = &route.outside_check else { continue };
            for endpoint in &route.endpoints {
                let key = (route.name.clone(), endpoint.address);
                let is_up = endpoint.duty != Duty::Drain;
                let known = match before.remove(&key) {
                    Some(known) if known.how == *how => known,
                    Some(known) => known.checked_like(how, now),
                    None => Known::new(how, is_up, now),
                };
                if known.is_up != is_up {
                    told.push(known.told(&key));
                }
                self.known.insert(key, known);
            }
        }
        told
    }

    /// The checks to begin now; each is under way from here on.
    pub fn take_due(&mut self, now: Mono) -> Vec<(OutsideKey, OutsideCheck)> {
        let is_due = |known: &Known| matches!(known.stage, Stage::Due(at) if at <= now);
        let due = self.known.iter_mut().filter(|(_, known)| is_due(known));
        due.map(|(key, known)| {
            known.stage = Stage::UnderWay;
            (key.clone(), known.how.clone())
        })
        .collect()
    }

    /// The result of a check; returns what there is to tell. One of an address that is not checked
    /// any more, or that nobody waits for, changes nothing.
    pub fn answered(
        &mut self,
        key: &OutsideKey,
        result: Result<(), String>,
        now: Mono,
    ) -> Option<OutsideHealth> {
        let known = self.known.get_mut(key)?;
        if known.stage != Stage::UnderWay {
            return None;
        }
        known.stage = Stage::Due(now + known.how.check.interval);
        let passes = result.is_ok();
        known.reason = result.err().unwrap_or_default();
        if passes == known.is_up {
            known.streak = 0;
            return None;
        }
        known.streak += 1;
        let check = &known.how.check;
        let wanted = if passes { check.healthy_after } else { check.unhealthy_after };
        if known.streak < wanted {
            return None;
        }
        known.is_up = passes;
        known.streak = 0;
        Some(known.told(key))
    }

    /// A check that could not even begin says nothing of its address: it is due again later.
    pub fn postponed(&mut self, key: &OutsideKey, now: Mono) {
        if let Some(known) = self.known.get_mut(key) {
            known.stage = Stage::Due(now + known.how.check.interval);
        }
    }

    /// How every address is: what was told before may have been lost.
    pub fn all(&self) -> Vec<OutsideHealth> {
        self.known.iter().map(|(key, known)| known.told(key)).collect()
    }

    /// When a check is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        let due = |known: &Known| match known.stage {
            Stage::Due(at) => Some(at),
            Stage::UnderWay => None,
        };
        self.known.values().filter_map(due).min()
    }
}

impl Known {
    fn new(how: &OutsideCheck, is_up: bool, now: Mono) -> Known {
        let (how, reason) = (how.clone(), String::new());
        Known { how, is_up, streak: 0, reason, stage: Stage::Due(now) }
    }

    /// The same address, checked otherwise from here on: at once, where no check is under way.
    fn checked_like(mut self, how: &OutsideCheck, now: Mono) -> Known {
        if let Stage::Due(at) = self.stage {
            self.stage = Stage::Due(at.min(now));
        }
        Known { how: how.clone(), streak: 0, ..self }
    }

    fn told(&self, (service, address): &OutsideKey) -> OutsideHealth {
        let result = if self.is_up { Ok(()) } else { Err(self.reason.clone()) };
        OutsideHealth { service: service.clone(), address: *address, result }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use tucano_common::id::InstanceId;
    use tucano_common::spec;

    use super::*;
    use crate::balancer::table::{Endpoint, ServiceRoute};

    const SECOND: Duration = Duration::from_secs(1);

    fn table(addresses: &[(&str, Duty)], interval: &str) -> RoutingTable {
        let check = json!({ "interval": interval, "unhealthy_after": 3, "healthy_after": 2 });
        let value = json!({ "name": "old", "network": { "expose_port": 80, "health_check": check },
            "external": { "addresses": ["10.0.0.1:1"] } });
        let spec = spec::parse(&value).unwrap();
        let endpoint = |(address, duty): &(&str, Duty)| Endpoint {
            instance: InstanceId(1),
            revision: 1,
            address: address.parse().unwrap(),
            worker: None,
            duty: *duty,
            ready_at: Mono(0),
        };
        let check = spec.network.health_check;
        let route = ServiceRoute {
            name: spec.name,
            revision: 1,
            endpoints: addresses.iter().map(endpoint).collect(),
            expecting: false,
            hold: SECOND,
            max_in_flight: None,
            outside_check: Some(OutsideCheck { check, host: "old".to_owned() }),
        };
        RoutingTable { services: vec![Arc::new(route)], ..RoutingTable::default() }
    }

    fn fail() -> Result<(), String> {
        Err("status 500".to_owned())
    }

    #[test]
    fn an_address_falls_after_so_many_failures_and_comes_back_after_so_many_passes() {
        let mut checks = OutsideChecks::default();
        checks.adopt(&table(&[("10.0.0.1:1", Duty::Serve)], "2s"), Mono(0));
        let mut now = Mono(0);
        let results = [
            fail(),
            fail(),
            Ok(()),
            fail(),
            fail(),
            fail(),
            fail(),
            Ok(()),
            fail(),
            Ok(()),
            Ok(()),
        ];
        let mut told = Vec::new();
        for (turn, result) in results.into_iter().enumerate() {
            let due = checks.take_due(now);
            assert_eq!(due.len(), 1, "{turn}");
            assert_eq!(checks.next_deadline(), None, "one at a time");
            assert!(checks.take_due(now).is_empty());
            let change = checks.answered(&due[0].0, result, now);
            told.extend(change.map(|change| (turn, change.result)));
            assert_eq!(checks.next_deadline(), Some(now + 2 * SECOND));
            now = now + 2 * SECOND;
        }
        assert_eq!(told, [(5, fail()), (10, Ok(()))]);
    }

    #[test]
    fn what_the_table_has_otherwise_is_told_again() {
        let mut checks = OutsideChecks::default();
        let (up, down) = (
            table(&[("10.0.0.1:1", Duty::Serve)], "2s"),
            table(&[("10.0.0.1:1", Duty::Drain)], "2s"),
        );
        assert_eq!(checks.adopt(&up, Mono(0)), []);
        // Named anew meanwhile, and an old failure was told late.
        let told = checks.adopt(&down, Mono(0));
        assert_eq!(told.into_iter().map(|each| each.result).collect::<Vec<_>>(), [Ok(())]);
        assert_eq!(checks.adopt(&up, Mono(0)), []);
    }

    #[test]
    fn none_waits_for_another_and_those_that_are_gone_say_nothing() {
        let both = [("10.0.0.1:1", Duty::Serve), ("10.0.0.2:1", Duty::Drain)];
        let mut checks = OutsideChecks::default();
        checks.adopt(&table(&both, "2s"), Mono(0));
        let due = checks.take_due(Mono(0));
        assert_eq!(due.len(), 2);
        // The second begins as the table has it: down. The first never answers.
        checks.answered(&due[1].0, Ok(()), Mono(0));
        let later = Mono(0) + 2 * SECOND;
        assert_eq!(checks.take_due(later).len(), 1);
        let up = checks.answered(&due[1].0, Ok(()), later);
        assert_eq!(up.map(|up| up.result), Some(Ok(())));
        checks.adopt(&table(&both[1..], "2s"), later);
        assert_eq!(checks.answered(&due[0].0, fail(), later), None);
        assert_eq!(checks.all().len(), 1);
        // Late or doubled results change nothing.
        assert_eq!(checks.answered(&due[1].0, fail(), later), None);
        assert_eq!(checks.next_deadline(), Some(later + 2 * SECOND));
        // Another interval: what is known stays, the next check is at once.
        checks.adopt(&table(&both[1..], "5s"), later);
        assert_eq!(checks.next_deadline(), Some(later));
        checks.take_due(later);
        checks.postponed(&due[1].0, later);
        assert_eq!(checks.next_deadline(), Some(later + 5 * SECOND));
    }
}
