//! Workers that die, come back, forget, drain; a controller that is killed; messages that repeat.

use std::time::Duration;

use serde_json::json;
use tucano_common::id::InstanceId;
use tucano_common::time::Mono;

use super::world::{World, service, spec, worker};
use crate::balancer::table::Duty;
use crate::cluster::{DeploymentStatus, EventKind, LeaseState, State, VerdictKind};
use crate::deployer::{Command, Fact, Refusal};

fn lease(world: &World, name: &str) -> LeaseState {
    world.deployer.cluster().worker(&worker(name)).unwrap().lease
}

/// The instances on a worker, by the controller.
fn on(world: &World, name: &str) -> Vec<InstanceId> {
    world.deployer.cluster().on_worker(&worker(name)).map(|each| each.id).collect()
}

#[test]
fn a_dead_workers_instances_are_replaced_and_no_other_moves() {
    let mut world = World::new(3);
    world.run(30);
    world.deploy(&spec("web", 3, json!({})));
    world.settle("web");
    let lost = on(&world, "w2");
    let others = [on(&world, "w1"), on(&world, "w3")].concat();
    world.agent("w2").up = false;
    world.until(5, |world| lease(world, "w2") == LeaseState::Suspect);
    let endpoints = world.table.services[0].endpoints.clone();
    let last = endpoints.iter().filter(|each| each.duty == Duty::LastResort).count();
    assert_eq!((endpoints.len(), last), (3, 1), "used last, nothing is moved yet");
    world.until(10, |world| lease(world, "w2") == LeaseState::Dead);
    let route = &world.table.services[0];
    assert!(
        route
            .endpoints
            .iter()
            .all(|each| { !lost.contains(&each.instance) || each.duty == Duty::Abandon })
    );
    world.until(10, |world| world.health("web").healthy == 3);
    let staying = world.ids("web");
    assert!(others.iter().all(|id| staying.contains(id)), "the others stay where they are");
    let replacement = staying.iter().find(|id| !others.contains(id)).unwrap();
    let replacement = world.deployer.cluster().instance(*replacement).unwrap();
    assert_eq!(replacement.replaces, Some(lost[0]));
    let cause = world.events.iter().find(|each| {
        each.kind == EventKind::InstancePlaced && each.instance == Some(replacement.id)
    });
    let cause = &world.events[usize::try_from(cause.unwrap().cause.unwrap()).unwrap() - 1];
    assert_eq!(cause.kind, EventKind::InstanceLost);
    let cause = &world.events[usize::try_from(cause.cause.unwrap()).unwrap() - 1];
    assert_eq!(cause.kind, EventKind::WorkerDead);
    let dead = replacement.decision.as_ref().unwrap().survey.verdicts.iter();
    let dead = dead.filter(|each| matches!(each.kind, VerdictKind::Refused { .. })).count();
    assert_eq!(dead, 1);
}

#[test]
fn a_partitioned_worker_comes_back_to_what_it_should_run() {
    // Back before its replacement is up: it keeps its instance.
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({ "scripts": { "runtime-script": "slow" } })));
    world.settle("web");
    let before = world.ids("web");
    world.agent("w2").linked = false;
    world.until(20, |world| lease(world, "w2") == LeaseState::Dead);
    world.run(1);
    world.agent("w2").linked = true;
    world.until(20, |world| lease(world, "w2") == LeaseState::Ready);
    world.until(20, |world| world.at_rest() && world.health("web").healthy == 2);
    assert_eq!(world.ids("web"), before, "its own is taken back, the replacement goes");
    assert_eq!(world.count(EventKind::InstanceRecovered), 1);

    // Back after: the replacement stays, its own is ended.
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let lost = on(&world, "w2");
    world.agent("w2").linked = false;
    world.until(30, |world| world.staying("web").iter().all(|each| each.0 == "w1"));
    world.run(10);
    world.agent("w2").linked = true;
    world.until(20, |world| lease(world, "w2") == LeaseState::Ready);
    world.until(20, World::at_rest);
    assert!(!world.ids("web").contains(&lost[0]));
    assert!(world.agents[&worker("w2")].procs.is_empty(), "it does not run what it should not");
    assert_eq!(world.count(EventKind::WorkerReturned), 1);
}

#[test]
fn an_agents_restart_touches_nothing() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let (before, events) = (world.ids("web"), world.events.len());
    world.agent("w1").restart();
    world.run(20);
    assert_eq!(world.ids("web"), before);
    assert_eq!(world.events.len(), events, "{:?}", world.kinds());
}

#[test]
fn a_worker_that_lost_its_memory_gets_new_instances() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    world.agent("w1").wipe();
    world.until(10, |world| world.count(EventKind::InstanceLost) == 1);
    world.until(10, |world| world.health("web").healthy == 2 && world.at_rest());
}

#[test]
fn a_killed_controller_goes_on_where_it_was() {
    for before_publishing in [false, true] {
        for killed_after_ms in [0, 50, 150, 300, 600, 1500, 2500] {
            let mut world = World::new(3);
            world.deploy(&spec("web", 3, json!({})));
            world.settle("web");
            let id = world.deploy(&spec("web", 3, json!({ "env": { "V": "2" } })));
            for _ in 0..killed_after_ms / 50 {
                world.tick();
            }
            world.kill_controller(before_publishing);
            let serving = world.table.services[0]
                .endpoints
                .iter()
                .filter(|each| matches!(each.duty, Duty::Serve | Duty::LastResort));
            assert!(serving.count() >= 3, "routed again at once, from what is stored");
            world.until(60, |world| world.status(id).ended_at().is_some());
            assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
            world.until(20, World::at_rest);
            assert_eq!(world.count(EventKind::InstanceRestarting), 0);
        }
    }
}

#[test]
fn deadlines_hold_over_a_restart_of_the_controller() {
    let mut world = World::new(1);
    let update = json!({ "update": { "progress_deadline": "60s", "healthy_deadline": "10m" },
        "scripts": { "runtime-script": "hang" } });
    let id = world.deploy(&spec("web", 1, update));
    world.run(40);
    world.kill_controller(false);
    world.run(15);
    assert!(matches!(world.status(id), DeploymentStatus::InProgress { .. }));
    world.run(10);
    let DeploymentStatus::Failed { reason, .. } = world.status(id) else { panic!() };
    assert!(reason.contains("update.progress_deadline"), "{reason}");
}

#[test]
fn a_step_of_the_wall_clock_ends_no_deployment() {
    let mut world = World::new(1);
    let id = world.deploy(&spec("web", 1, json!({})));
    world.tick();
    world.now.wall.0 += 10 * 365 * 86_400_000;
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
}

#[test]
fn after_a_restart_of_the_controller_nobody_is_dead_for_30_s() {
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    world.agent("w2").linked = false;
    world.kill_controller(false);
    world.run(28);
    assert_eq!(lease(&world, "w2"), LeaseState::Suspect);
    assert_eq!(world.count(EventKind::InstanceLost), 0);
    world.until(4, |world| lease(world, "w2") == LeaseState::Dead);
}

#[test]
fn draining_moves_everything_healthy_first() {
    let mut world = World::new(3);
    world.deploy(&spec("web", 3, json!({})));
    world.deploy(&spec("api", 2, json!({})));
    world.settle("web");
    world.settle("api");
    let drain = Command::DrainWorker { worker: worker("w1"), deadline: None };
    world.command(drain).unwrap();
    for _ in 0..400 {
        world.tick();
        assert!(world.health("web").healthy >= 3 && world.health("api").healthy >= 2);
    }
    assert!(on(&world, "w1").is_empty());
    assert_eq!(world.count(EventKind::WorkerDrained), 1);
    world.run(20);
    assert!(on(&world, "w1").is_empty(), "it gets nothing new");
    world.command(Command::ActivateWorker { worker: worker("w1") }).unwrap();
    world.command(Command::Scale { service: service("web"), concurrency: 5 }).unwrap();
    world.settle("web");
    assert!(!on(&world, "w1").is_empty());
}

#[test]
fn a_drain_that_has_nowhere_to_go_ends_with_its_deadline() {
    let mut world = World::new(1);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let deadline = Some(Duration::from_secs(20));
    world.command(Command::DrainWorker { worker: worker("w1"), deadline }).unwrap();
    world.run(19);
    assert_eq!(world.health("web").healthy, 1, "a healthy one is not stopped for nothing");
    world.until(5, |world| on(world, "w1").is_empty());
    assert_eq!(world.count(EventKind::WorkerDrained), 1);
}

#[test]
fn a_worker_is_forgotten_when_it_is_dead_or_empty() {
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let forget = || Command::ForgetWorker { worker: worker("w2") };
    assert!(matches!(world.command(forget()), Err(Refusal::WorkerBusy { .. })));
    world.agent("w2").up = false;
    world.until(20, |world| lease(world, "w2") == LeaseState::Dead);
    world.command(forget()).unwrap();
    assert_eq!(world.store.workers.len(), 1);
    world.until(10, |world| world.health("web").healthy == 2);
}

#[test]
fn an_instance_that_keeps_failing_moves_and_later_ones_wait_longer() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let first = world.ids("web")[0];
    let home = world.staying("web")[0].0.clone();
    // It dies again and again as soon as it is up.
    for _ in 0..400 {
        let now = world.now.mono;
        for agent in world.agents.values_mut() {
            agent.kill(first, now);
        }
        world.tick();
    }
    let failed = world.deployer.cluster().instance(first).unwrap();
    assert!(matches!(failed.state, State::Failed { .. }), "{:?}", failed.state);
    world.until(10, |world| world.health("web").healthy == 1);
    assert_ne!(world.staying("web")[0].0, home, "where it did not fail");

    let mut world = World::new(2);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let mut made: Vec<(InstanceId, Mono)> = Vec::new();
    for _ in 0..200 * 20 {
        let ids = world.ids("web");
        if let Some(id) = ids.first().filter(|id| made.last().map(|made| made.0) != Some(**id)) {
            made.push((*id, world.now.mono));
        }
        let now = world.now.mono;
        for agent in world.agents.values_mut() {
            ids.iter().for_each(|id| agent.kill(*id, now));
        }
        world.tick();
    }
    let gaps: Vec<u64> = made.windows(2).map(|pair| (pair[1].1.0 - pair[0].1.0) / 1000).collect();
    assert!(gaps.len() >= 5, "{gaps:?}");
    assert!(world.kinds().contains(&"instance_failed"));
    let backoffs =
        world.store.instances.values().filter(|each| matches!(each.state, State::Failed { .. }));
    assert!(backoffs.count() >= 4);
}

/// Fails `times` times on its worker, each so long after the one before and up meanwhile.
fn failing_now_and_then(times: usize, seconds: u64) -> (World, InstanceId) {
    let mut world = World::new(2);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let id = world.ids("web")[0];
    for at in 0..times {
        let now = world.now.mono;
        world.agents.values_mut().for_each(|agent| agent.kill(id, now));
        world.run(seconds - 1);
        // A minute up, and the next failure is the first in a row again.
        world.agents.values_mut().for_each(|agent| agent.forgive(id));
        world.run(1);
        if at == 1 {
            world.kill_controller(false);
        }
    }
    (world, id)
}

#[test]
fn five_failures_in_ten_minutes_move_an_instance_though_it_was_up_between() {
    let (world, id) = failing_now_and_then(4, 110);
    let instance = world.deployer.cluster().instance(id).unwrap();
    assert!(instance.healthy(), "{:?}", instance.state);
    assert_eq!(instance.observed.failed_at.len(), 4, "over the controller's restart too");
    let (world, id) = failing_now_and_then(5, 110);
    let instance = world.deployer.cluster().instance(id).unwrap();
    assert!(matches!(instance.state, State::Failed { .. }), "{:?}", instance.state);
    let (next, home) = (world.staying("web"), instance.state.worker().unwrap().to_string());
    assert!(next[0].0 != home && next[0].2 == "running", "{next:?}");
    // One in 160 s is four in ten minutes.
    let (world, id) = failing_now_and_then(12, 160);
    assert_eq!(world.ids("web"), [id]);
}

#[test]
fn doubled_late_and_foreign_words_change_nothing() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    world.run(2);
    let before = (world.store.last_event, world.deployer.cluster().clone());
    let reports = world.agents[&worker("w1")].reports();
    let holds = world.agents[&worker("w1")].holds;
    for _ in 0..3 {
        for name in ["w1", "w9"] {
            let fact = Fact::Reports { worker: worker(name), holds, instances: reports.clone() };
            world.deployer.observe(fact, world.now);
        }
        let again = Fact::Lease { worker: worker("w1"), lease: LeaseState::Ready };
        world.deployer.observe(again, world.now);
        for instance in world.ids("web").into_iter().chain([InstanceId(7)]) {
            world.deployer.observe(Fact::Drained { instance }, world.now);
        }
    }
    world.deployer.drive(world.now);
    let output = world.deployer.take_output();
    assert!(output.is_empty(), "{output:?}");
    assert_eq!(before.0, world.store.last_event);
    let instances =
        |cluster: &crate::cluster::Cluster| cluster.instances().cloned().collect::<Vec<_>>();
    assert_eq!(instances(&before.1), instances(world.deployer.cluster()));
}

#[test]
fn a_worker_that_holds_a_newer_generation_is_told_newer_ones() {
    let mut world = World::new(1);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    // The controller's memory is older than what it told: a database brought back from a copy.
    world.agent("w1").holds = Some(500);
    world.agent("w1").restart();
    world.run(3);
    let generation = world.deployer.cluster().worker(&worker("w1")).unwrap().generation;
    assert_eq!(generation, 501);
    assert_eq!(world.agents[&worker("w1")].holds, Some(501));
    world.command(Command::Scale { service: service("web"), concurrency: 2 }).unwrap();
    world.settle("web");
    assert_eq!(world.health("web").healthy, 2);
}
