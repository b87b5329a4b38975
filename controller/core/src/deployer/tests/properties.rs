//! What holds of whole plans, on clusters that are drawn: a cluster at rest plans nothing more,
//! whoever asks; the loss of a worker is nobody else's business.

use std::collections::BTreeMap;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;

use super::planner::drawn;
use super::world::World;
use crate::cluster::{Cluster, Instance, LeaseState, State};
use crate::deployer::{Command, Deployer, Fact};

/// Where everything is that is on a worker.
fn places(cluster: &Cluster) -> BTreeMap<InstanceId, WorkerName> {
    let all = cluster.instances();
    all.filter_map(|each| Some((each.id, each.state.place()?.worker.clone()))).collect()
}

/// A drawn cluster, once nothing of it moves: deployments may wait for room still.
fn at_rest(seed: u64) -> World {
    let mut world = drawn(seed);
    world.run(10);
    world.until(60, |world| {
        let mut instances = world.deployer.cluster().instances();
        !instances.any(|each| match &each.state {
            State::Placed { .. } => !each.healthy(),
            State::Draining { .. } | State::Stopping { .. } => true,
            State::Pending { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => false,
        })
    });
    world.run(5);
    world
}

#[test]
fn a_cluster_at_rest_plans_nothing_more() {
    for seed in 0..30 {
        let world = at_rest(seed);
        let now = world.now;
        let mut again = world.deployer.clone();
        again.drive(now);
        assert!(again.take_output().is_empty(), "seed {seed}: driven again");
        let cluster = world.deployer.cluster();
        for service in cluster.services() {
            let spec = cluster.spec_of(service).unwrap().clone();
            let mut again = world.deployer.clone();
            let accepted = again.command(Command::Deploy { spec: spec.clone() }, now).unwrap();
            again.drive(now);
            assert!(!accepted.changed, "seed {seed}: {} deployed again", service.name);
            assert!(again.take_output().is_empty(), "seed {seed}: {}", service.name);
            let preview = world.deployer.dry_run(Command::Deploy { spec }, now).unwrap();
            assert!(preview.made.is_empty() && preview.leaving.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn what_is_stored_is_planned_again_as_it_stands() {
    for seed in 0..30 {
        let mut world = at_rest(seed);
        let before = places(world.deployer.cluster());
        world.kill_controller(seed % 2 == 0);
        // Everybody says hello again, and the first look at balance and leases is over.
        world.run(40);
        let after = places(world.deployer.cluster());
        for (id, home) in &before {
            assert_eq!(after.get(id), Some(home), "seed {seed}: {id}");
        }
    }
}

/// A copy that a worker is lost to.
fn without(deployer: &Deployer, worker: &WorkerName, world: &World) -> Deployer {
    let mut copy = deployer.clone();
    let fact = Fact::Lease { worker: worker.clone(), lease: LeaseState::Dead };
    copy.observe(fact, world.now);
    copy.drive(world.now);
    copy
}

#[test]
fn the_loss_of_any_worker_touches_nothing_that_it_did_not_hold() {
    let mut moved = 0;
    for seed in 0..40 {
        let world = at_rest(seed);
        let before = world.deployer.cluster();
        for worker in before.workers().map(|worker| &worker.name) {
            let copy = without(&world.deployer, worker, &world);
            let held: Vec<&Instance> = before.on_worker(worker).collect();
            for instance in before.instances() {
                let then = copy.cluster().instance(instance.id).unwrap();
                if instance.state.worker() == Some(worker) && !instance.state.ended() {
                    assert!(matches!(then.state, State::Lost { .. }), "seed {seed}: {then:?}");
                } else if instance.state.place().is_some() {
                    assert_eq!(then, instance, "seed {seed}: without {worker}");
                }
            }
            // What is new takes the place of what was lost, one for one, and not there.
            let new = |each: &&Instance| before.instance(each.id).is_none();
            for instance in copy.cluster().instances().filter(new) {
                let lost = held.iter().any(|held| instance.replaces == Some(held.id));
                assert!(lost, "seed {seed}: {instance:?}");
                assert_ne!(instance.state.worker(), Some(worker), "seed {seed}");
                moved += 1;
            }
            assert!(copy.cluster().instances().filter(new).count() <= held.len());
            // And what a simulation of it says is what it is.
            let said = world.deployer.simulate(std::slice::from_ref(worker), world.now).unwrap();
            let placed = |cluster: &Cluster| {
                let mut all: Vec<(Option<InstanceId>, Option<WorkerName>)> = cluster
                    .instances()
                    .filter(new)
                    .map(|each| (each.replaces, each.state.worker().cloned()))
                    .collect();
                all.sort();
                all
            };
            let mut predicted: Vec<(Option<InstanceId>, Option<WorkerName>)> = said
                .moves
                .iter()
                .filter_map(|each| {
                    let successor = each.successor.as_ref()?;
                    Some((Some(each.lost.id), successor.state.worker().cloned()))
                })
                .collect();
            predicted.sort();
            assert_eq!(predicted, placed(copy.cluster()), "seed {seed}: without {worker}");
        }
    }
    assert!(moved > 100, "only {moved} instances moved: the clusters are too small");
}
