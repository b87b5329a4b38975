//! What must hold at every step, and at rest.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::id::InstanceId;
use tucano_common::wire::worker::{Desired, RunState};

use super::World;
use crate::balancer::table::Duty;
use crate::cluster::{Deployment, LeaseState, Phase, Service, State};

impl World {
    pub(super) fn check(&mut self) {
        self.check_counts();
        self.check_routes();
        let cluster = self.deployer.cluster();
        assert_eq!(cluster.check_invariants(), Vec::<String>::new());
        for instance in cluster.instances() {
            assert_eq!(self.store.instances.get(&instance.id), Some(instance), "stored");
            if let Some(survey) = instance.survey() {
                assert!(self.store.surveys.contains(&survey.id), "its survey is stored");
            }
        }
        assert_eq!(self.store.instances.len(), cluster.instances().count());
        assert!(cluster.services().all(|each| self.store.services.get(&each.name) == Some(each)));
        assert_eq!(self.store.services.len(), cluster.services().count());
        let stored = |each: &Deployment| self.store.deployments.get(&each.id) == Some(each);
        assert!(cluster.deployments().all(stored));
        // A start must never give a generation a second time.
        let mut stored = self.store.rows();
        stored.settle_generations();
        for (worker, stored) in cluster.workers().zip(&stored.workers) {
            assert_eq!(worker.generation, stored.generation, "{}", worker.name);
        }
    }

    /// Never more that stay than asked for and the surge, except what an earlier wish left behind:
    /// that does not grow. Not where a failed deployment froze what was there.
    fn check_counts(&mut self) {
        let cluster = self.deployer.cluster();
        let mut counts = BTreeMap::new();
        for service in cluster.services() {
            let spec = cluster.spec_of(service).unwrap();
            let staying = cluster.alive_of(&service.name).filter(|each| each.state.stays()).count();
            let before = self.counts.get(&service.name).copied().unwrap_or(0);
            let most = ((spec.concurrency + spec.update.max_surge) as usize).max(before);
            // What came back with its worker may be one too many, until its successor has gone.
            let recovered = self.recovered.iter().filter(|name| **name == service.name).count();
            let most = most + recovered;
            // Its successor waits while an instance makes room for it, also without a surge.
            let most = most + usize::from(spec.update.max_surge == 0);
            let frozen = service.phase == Phase::Failed;
            assert!(frozen || staying <= most, "{service:?}\n{}", self.stands());
            counts.insert(service.name.clone(), staying);
        }
        self.counts = counts;
        self.recovered.clear();
    }

    fn check_routes(&self) {
        let cluster = self.deployer.cluster();
        for endpoint in self.table.services.iter().flat_map(|service| &service.endpoints) {
            let Some(instance) = cluster.instance(endpoint.instance) else { continue };
            let lease = instance.state.worker().and_then(|name| cluster.worker(name));
            let lease = lease.map(|worker| worker.lease);
            match endpoint.duty {
                Duty::Serve => {
                    assert!(instance.healthy() && lease == Some(LeaseState::Ready), "{instance:?}");
                }
                Duty::LastResort => {
                    assert!(instance.healthy() && lease == Some(LeaseState::Suspect));
                }
                Duty::Drain => assert!(instance.state.place().is_some(), "{instance:?}"),
                Duty::Abandon => assert!(matches!(instance.state, State::Lost { .. })),
            }
        }
    }

    /// Whether agents run what they should, nothing else, and the controller knows.
    pub(in super::super) fn at_rest(&self) -> bool {
        let cluster = self.deployer.cluster();
        let calm = |service: &Service| {
            let mut alive = cluster.alive_of(&service.name);
            let steady = alive.all(|each| matches!(each.state, State::Placed { .. }));
            service.phase != Phase::Deploying && service.phase != Phase::Ending && steady
        };
        cluster.services().all(calm)
            && self.agents.values().all(|agent| {
                let wanted: BTreeSet<InstanceId> =
                    cluster.on_worker(&agent.name).map(|each| each.id).collect();
                let runs: BTreeSet<InstanceId> = agent.procs.keys().copied().collect();
                let good = agent.procs.values().all(|process| {
                    process.assignment.desired == Desired::Run
                        && process.state != RunState::Stopping
                });
                !agent.up || (runs == wanted && good)
            })
    }
}
