//! Every state of an instance with every fact, through the deployer itself: no pair breaks a rule,
//! and no fact does anything when it comes again.

use std::time::Duration;

use serde_json::json;
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::time::Wall;
use tucano_common::wire::worker::RunState;

use super::observe::states;
use super::world::{World, spec, worker};
use crate::cluster::{DeploymentStatus, LeaseState, State};
use crate::deployer::{Command, Fact};

/// A settled service whose only instance is put into a state.
fn with(state: &State) -> (World, InstanceId) {
    let mut world = World::new(2);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let id = world.ids("web")[0];
    let mut instance = world.deployer.cluster().instance(id).unwrap().clone();
    let home = instance.state.place().unwrap().clone();
    instance.state = at_home(state, &home.worker, home.generation, world.now.wall);
    world.deployer.cluster.put_instance(instance);
    // It was not told by a new generation, as everything is that the deployer itself does.
    world.deployer.plans.clear();
    (world, id)
}

/// The state with a place that there is, and times around now.
fn at_home(
    state: &State,
    home: &tucano_common::name::WorkerName,
    generation: u64,
    now: Wall,
) -> State {
    let mut state = state.clone();
    match &mut state {
        State::Placed { place, restart_by, .. } => {
            (place.worker, place.generation) = (home.clone(), generation);
            *restart_by = restart_by.map(|_| Wall(now.0 + 5000));
        }
        State::Draining { place, until, .. } => {
            (place.worker, place.generation) = (home.clone(), generation);
            *until = Wall(now.0 + 5000);
        }
        State::Stopping { place, .. } | State::Lost { place, .. } => {
            (place.worker, place.generation) = (home.clone(), generation);
        }
        State::Stopped { worker, .. } => *worker = worker.as_ref().map(|_| home.clone()),
        State::Failed { worker } => *worker = home.clone(),
        State::Pending { .. } => {}
    }
    state
}

fn facts(world: &World, id: InstanceId) -> Vec<Fact> {
    let mut facts = vec![Fact::Drained { instance: id }];
    for name in ["w1", "w2", "w9"] {
        for lease in [LeaseState::Ready, LeaseState::Suspect, LeaseState::Dead] {
            facts.push(Fact::Lease { worker: worker(name), lease });
        }
        for holds in [None, Some(0), Some(3), Some(1 << 40), Some(u64::MAX)] {
            facts.push(Fact::Reports { worker: worker(name), holds, instances: Vec::new() });
        }
    }
    for agent in world.agents.values() {
        let mut hello = agent.introduction();
        facts.push(Fact::Hello(Box::new(hello.clone())));
        let reports = agent.reports();
        for state in [
            RunState::Pending,
            RunState::Building,
            RunState::Starting,
            RunState::Running,
            RunState::Stopping,
            RunState::Stopped,
            RunState::Failed,
        ] {
            let mut instances = reports.clone();
            instances.iter_mut().for_each(|report| report.state = state);
            let (worker, holds) = (agent.name.clone(), agent.holds);
            facts.push(Fact::Reports { worker, holds, instances: instances.clone() });
            hello.instances = instances;
            facts.push(Fact::Hello(Box::new(hello.clone())));
        }
        hello.instances = Vec::new();
        facts.push(Fact::Hello(Box::new(hello)));
    }
    facts
}

#[test]
fn every_state_takes_every_fact_once() {
    let mut pairs = 0;
    for state in states() {
        let (world, id) = with(&state);
        for fact in facts(&world, id) {
            let (mut world, _) = with(&state);
            world.deployer.drive(world.now);
            world.deployer.take_output();
            world.deployer.observe(fact.clone(), world.now);
            world.deployer.drive(world.now);
            let faults = world.deployer.cluster().check_invariants();
            assert!(faults.is_empty(), "{state:?} {fact:?}: {faults:?}");
            world.deployer.take_output();
            world.deployer.observe(fact.clone(), world.now);
            world.deployer.drive(world.now);
            let again = world.deployer.take_output();
            // A hello is always answered with the worker's plan.
            let said = matches!(fact, Fact::Hello(_));
            let silent = again.changes.is_empty() && again.events.is_empty();
            assert!(silent && (said || again.is_empty()), "{state:?} {fact:?}: {again:?}");
            pairs += 1;
        }
    }
    assert!(pairs > 1000, "{pairs}");
}

#[test]
fn every_state_takes_every_command() {
    for state in states() {
        let (world, id) = with(&state);
        let name = super::world::service("web");
        let deployment = world.deployer.cluster().service(&name).unwrap().deployment;
        let of_service = [
            Command::Deploy { spec: spec("web", 2, json!({ "env": { "V": "2" } })) },
            Command::Delete { service: name.clone() },
            Command::Scale { service: name.clone(), concurrency: 0 },
            Command::Restart { service: name.clone() },
            Command::Rollback { service: name, revision: Some(1) },
            Command::PauseDeployment { deployment },
            Command::ResumeDeployment { deployment },
            Command::RestartInstance { instance: id },
            Command::StopInstance { instance: id },
        ];
        let of_workers = ["w1", "w2"].into_iter().flat_map(|name| {
            [
                Command::DrainWorker { worker: worker(name), deadline: Some(Duration::ZERO) },
                Command::ActivateWorker { worker: worker(name) },
                Command::ForgetWorker { worker: worker(name) },
            ]
        });
        drop(world);
        for command in of_service.into_iter().chain(of_workers) {
            let (mut world, id) = with(&state);
            let about_it =
                matches!(command, Command::RestartInstance { .. } | Command::StopInstance { .. });
            let result = world.deployer.command(command.clone(), world.now);
            world.deployer.drive(world.now);
            let faults = world.deployer.cluster().check_invariants();
            assert!(faults.is_empty(), "{state:?} {command:?}: {faults:?}");
            if about_it {
                assert_eq!(result.is_ok(), state.stays(), "{state:?} {command:?} of {id}");
            }
        }
    }
}

/// A deployment that is paused with its first instance on the way; that one, or the old one, is
/// put into a state.
fn with_paused(state: &State, of_new: bool) -> (World, InstanceId, DeploymentId) {
    let mut world = World::new(2);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let deployment = world.deploy(&spec("web", 1, json!({ "env": { "V": "2" } })));
    world
        .until(10, |world| world.staying("web").iter().filter(|it| it.2 == "running").count() == 2);
    world.command(Command::PauseDeployment { deployment }).unwrap();
    let ids = world.ids("web");
    let id = if of_new { ids[1] } else { ids[0] };
    let mut instance = world.deployer.cluster().instance(id).unwrap().clone();
    let home = instance.state.place().unwrap().clone();
    instance.state = at_home(state, &home.worker, home.generation, world.now.wall);
    world.deployer.cluster.put_instance(instance);
    // It did not come there by itself: no plan was published with it.
    world.deployer.plans.clear();
    (world, id, deployment)
}

#[test]
fn while_a_deployment_is_paused_every_state_takes_every_fact_once() {
    let mut pairs = 0;
    for (state, of_new) in states().into_iter().flat_map(|it| [(it.clone(), false), (it, true)]) {
        let (mut world, id, deployment) = with_paused(&state, of_new);
        world.deployer.drive(world.now);
        world.deployer.take_output();
        let start = &world.deployer;
        for fact in facts(&world, id) {
            let mut deployer = start.clone();
            deployer.observe(fact.clone(), world.now);
            deployer.drive(world.now);
            let what = || format!("{state:?} (new: {of_new}) {fact:?}");
            let faults = deployer.cluster().check_invariants();
            assert!(faults.is_empty(), "{}: {faults:?}", what());
            // Nothing is judged: not failed, not reverted, and not succeeded either.
            let status = &deployer.cluster().deployment(deployment).unwrap().status;
            assert!(matches!(status, DeploymentStatus::Paused { .. }), "{}: {status:?}", what());
            // Nothing is begun but the like of what was lost or has to leave.
            let name = super::world::service("web");
            let before = start.cluster();
            for new in deployer.cluster().alive_of(&name) {
                let takes_over = new.replaces.and_then(|id| before.instance(id));
                let known = before.instance(new.id).is_some();
                let like = takes_over.is_some_and(|it| it.revision == new.revision);
                assert!(known || like, "{}: {new:?}", what());
            }
            deployer.take_output();
            deployer.observe(fact.clone(), world.now);
            deployer.drive(world.now);
            let again = deployer.take_output();
            let said = matches!(fact, Fact::Hello(_));
            let silent = again.changes.is_empty() && again.events.is_empty();
            assert!(silent && (said || again.is_empty()), "{}: {again:?}", what());
            pairs += 1;
        }
    }
    assert!(pairs > 2000, "{pairs}");
}
