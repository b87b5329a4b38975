//! Deploys as a person sees them: scripted histories, each with what has to come of it.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{MIB, World, revision_of, scale, service, spec, worker};
use crate::balancer::table::Duty;
use crate::cluster::{DeploymentStatus, EventKind, State};
use crate::deployer::{Command, Refusal, ServiceCondition};

#[test]
fn three_on_three() {
    let mut world = World::new(3);
    let id = world.deploy(&spec("web", 3, json!({})));
    let placed = world.staying("web");
    assert_eq!(placed.len(), 3, "all at once: there is nothing to surge over");
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    let staying = world.staying("web");
    let on = |worker: &str| (worker.to_owned(), 1, "running");
    assert_eq!(staying, [on("w1"), on("w2"), on("w3")]);
    assert_eq!(world.health("web").condition, ServiceCondition::Running);
    let route = &world.table.services[0];
    assert_eq!(route.endpoints.len(), 3);
    assert!(route.endpoints.iter().all(|each| each.duty == Duty::Serve));
    assert_eq!(world.table.ports[0].port, 8080, "expose_port 80 by --map-port");
    assert_eq!(world.table.ports[0].hosts, [("web".to_owned(), 0)]);
    let kinds = world.kinds();
    let first = kinds.iter().position(|kind| *kind == "deployment_started").unwrap();
    assert_eq!(kinds[first + 1..first + 4], ["instance_placed"; 3]);
    assert_eq!(kinds.last(), Some(&"deployment_succeeded"));
}

#[test]
fn more_than_the_workers_and_fewer() {
    let mut world = World::new(3);
    world.deploy(&spec("web", 7, json!({})));
    world.deploy(&spec("one", 1, json!({})));
    world.settle("web");
    world.settle("one");
    let per_worker = |name: &str| {
        let on = world.staying("web").iter().filter(|each| each.0 == name).count();
        (2..=3).contains(&on)
    };
    assert!(["w1", "w2", "w3"].into_iter().all(per_worker), "{:?}", world.staying("web"));
    assert_eq!(world.staying("one").len(), 1);
}

#[test]
fn every_event_has_its_cause_and_leads_back_to_the_deploy() {
    let mut world = World::new(2);
    world.deploy(&spec(
        "web",
        2,
        json!({ "scripts": {
        "runtime-script": "run", "build-script": "make" } }),
    ));
    world.settle("web");
    let started = world.events.iter().find(|each| each.kind == EventKind::DeploymentStarted);
    let started = started.unwrap().seq;
    let mut kinds = BTreeSet::new();
    for event in world.events.iter().filter(|event| event.seq > started) {
        let mut at = event;
        while let Some(cause) = at.cause {
            at = &world.events[usize::try_from(cause).unwrap() - 1];
        }
        assert_eq!(at.seq, started, "{event:?}");
        kinds.insert(event.kind.as_str());
    }
    let expected = [
        "deployment_succeeded",
        "instance_building",
        "instance_placed",
        "instance_running",
        "instance_starting",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_same_again_is_no_deploy() {
    let mut world = World::new(2);
    let one = spec("web", 2, json!({}));
    let id = world.deploy(&one);
    let again = world.command(Command::Deploy { spec: one.clone() }).unwrap();
    assert!(!again.changed && again.deployment == Some(id));
    world.settle("web");
    let events = world.events.len();
    let again = world.command(Command::Deploy { spec: one }).unwrap();
    assert!(!again.changed && again.deployment == Some(id));
    assert_eq!((world.events.len(), revision_of(&world, "web")), (events, 1));
}

#[test]
fn start_first_never_takes_a_healthy_one_before_its_successor_counts() {
    for concurrency in [1, 3] {
        for (surge, fewest) in [(1, concurrency), (2, concurrency), (0, concurrency - 1)] {
            let mut world = World::new(3);
            let update = json!({ "max_surge": surge });
            world.deploy(&spec("web", concurrency, json!({ "update": update })));
            world.settle("web");
            let next = json!({ "update": update, "env": { "V": "2" } });
            let id = world.deploy(&spec("web", concurrency, next));
            let mut most = 0;
            while matches!(world.status(id), DeploymentStatus::InProgress { .. }) {
                world.tick();
                let serving = world.health("web").healthy;
                assert!(serving >= fewest, "{serving} of {concurrency}, surge {surge}");
                most = most.max(world.staying("web").len());
            }
            assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
            assert!(most <= (concurrency + surge) as usize, "{most}");
            assert!(world.staying("web").iter().all(|each| each.1 == 2));
            world.until(10, World::at_rest);
        }
    }
}

#[test]
fn drained_instances_get_their_signal_when_they_are_drained() {
    let mut world = World::new(2);
    world.requests_ms = 0;
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let old = world.ids("web")[0];
    world.deploy(&spec("web", 1, json!({ "env": { "V": "2" } })));
    let state = |world: &World| world.deployer.cluster().instance(old).unwrap().state.clone();
    world.until(20, |world| matches!(state(world), State::Draining { .. }));
    world.until(1, |world| state(world).ended());
    // Requests that do not end: the stop comes with the deadline, not before.
    let mut world = World::new(2);
    world.requests_ms = 600_000;
    let drain = json!({ "stop": { "drain": "7s" } });
    world.deploy(&spec("web", 1, drain.clone()));
    world.settle("web");
    let old = world.ids("web")[0];
    world.command(Command::StopInstance { instance: old }).unwrap();
    let state = |world: &World| world.deployer.cluster().instance(old).unwrap().state.clone();
    world.run(6);
    assert!(matches!(state(&world), State::Draining { .. }));
    world.until(2, |world| !matches!(state(world), State::Draining { .. }));
}

#[test]
fn scaling_keeps_what_runs_and_takes_the_newest() {
    let mut world = World::new(3);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let first = world.ids("web");
    world.command(scale("web", 5)).unwrap();
    assert_eq!(revision_of(&world, "web"), 2);
    world.settle("web");
    let five = world.ids("web");
    assert_eq!(five[..2], first, "the same processes, of the new revision");
    assert!(world.staying("web").iter().all(|each| each.1 == 2));
    assert_eq!(world.count(EventKind::InstanceRestarting), 0);
    world.command(scale("web", 1)).unwrap();
    world.settle("web");
    world.until(10, World::at_rest);
    let one = world.ids("web");
    assert!(one.len() == 1 && first.contains(&one[0]), "{one:?} of {first:?}");
    world.command(scale("web", 0)).unwrap();
    world.settle("web");
    world.until(10, |world| world.staying("web").is_empty());
    assert_eq!(world.health("web").condition, ServiceCondition::Running);
    assert!(!world.table.services[0].expecting, "503, not held: none is asked for");
    let unchanged = world.command(scale("web", 0)).unwrap();
    assert!(!unchanged.changed);
}

#[test]
fn what_workers_do_not_see_restarts_nothing() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let before = world.ids("web");
    let network = json!({ "network": { "expose_port": 80, "hosts": ["a.lan", "b.lan"] } });
    let id = world.deploy(&spec("web", 2, network));
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    assert_eq!(world.ids("web"), before);
    assert_eq!(world.table.ports[0].hosts.len(), 2);
}

#[test]
fn a_rolling_restart_replaces_each_without_a_gap() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let before = world.ids("web");
    let accepted = world.command(Command::Restart { service: service("web") }).unwrap();
    let id = accepted.deployment.unwrap();
    while matches!(world.status(id), DeploymentStatus::InProgress { .. }) {
        world.tick();
        assert!(world.health("web").healthy >= 2);
    }
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    let after = world.ids("web");
    assert!(after.len() == 2 && after.iter().all(|id| !before.contains(id)));
    assert_eq!(revision_of(&world, "web"), 1);
}

#[test]
fn one_instance_is_restarted_in_place_and_out_of_the_rotation() {
    let mut world = World::new(1);
    world.deploy(&spec("web", 1, json!({})));
    world.settle("web");
    let id = world.ids("web")[0];
    world.command(Command::RestartInstance { instance: id }).unwrap();
    let route = &world.table.services[0];
    assert_eq!(route.endpoints[0].duty, Duty::Drain);
    assert!(route.expecting, "requests wait for it");
    world.until(5, |world| world.health("web").healthy == 1);
    assert_eq!(world.ids("web"), [id]);
    let instance = world.deployer.cluster().instance(id).unwrap();
    assert_eq!((instance.restart_nonce, instance.observed.restart_nonce), (1, 1));
    assert_eq!(world.count(EventKind::InstanceRestarting), 1);
}

#[test]
fn deleting_ends_everything_and_leaves_nothing() {
    let mut world = World::new(3);
    world.deploy(&spec("web", 3, json!({})));
    world.settle("web");
    let delete = || Command::Delete { service: service("web") };
    assert!(world.command(delete()).unwrap().changed);
    assert!(!world.command(delete()).unwrap().changed, "already on its way");
    assert_eq!(world.health("web").condition, ServiceCondition::Stopping);
    assert!(world.table.ports.is_empty(), "its hosts are free at once");
    world.until(10, |world| world.store.services.is_empty());
    let store = &world.store;
    assert!(store.revisions.is_empty() && store.deployments.is_empty());
    assert!(store.instances.is_empty() && store.surveys.is_empty());
    world.until(5, World::at_rest);
    assert_eq!(world.kinds().last(), Some(&"service_deleted"));
    assert!(world.table.services.is_empty());
    assert!(matches!(world.command(delete()), Err(Refusal::UnknownService(_))));
}

#[test]
fn a_deploy_while_it_is_being_deleted_brings_it_back() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    world.command(Command::Delete { service: service("web") }).unwrap();
    let id = world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    world.until(10, World::at_rest);
    assert_eq!(world.staying("web").len(), 2);
}

#[test]
fn what_has_no_room_waits_and_says_for_what() {
    let mut world = World::new(2);
    let big = json!({ "resources": { "memory": "700MiB" } });
    world.deploy(&spec("big", 3, big));
    world.run(5);
    assert_eq!(world.health("big").healthy, 2);
    let waits = world
        .deployer
        .cluster()
        .alive_of(&service("big"))
        .find_map(|each| each.state.place().is_none().then(|| each.waits_for().unwrap()));
    let waits = waits.unwrap();
    assert!(waits.contains("more free memory"), "{waits}");
    let pending = world
        .ids("big")
        .into_iter()
        .find(|id| world.deployer.cluster().instance(*id).unwrap().state.place().is_none());
    let decision = world.deployer.cluster().instance(pending.unwrap()).unwrap().decision.clone();
    assert_eq!(decision.unwrap().survey.verdicts.len(), 2, "every worker is named");
    // Room comes: a worker joins.
    let third = super::agent::Agent::new(3, 1024 * MIB);
    world.agents.insert(third.name.clone(), third);
    world.settle("big");
    assert_eq!(world.health("big").healthy, 3);
}

#[test]
fn where_two_do_not_fit_the_old_one_makes_room() {
    for more in [
        json!({ "resources": { "memory": "700MiB" } }),
        json!({ "network": { "expose_port": 80, "fixed_port": 9000 } }),
    ] {
        let mut world = World::new(1);
        world.deploy(&spec("web", 1, more.clone()));
        world.settle("web");
        let mut next = more;
        next["env"] = json!({ "V": "2" });
        let id = world.deploy(&spec("web", 1, next));
        world.until(20, |world| world.status(id).ended_at().is_some());
        assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
        assert_eq!(world.staying("web"), [("w1".to_owned(), 2, "running")]);
    }
}

#[test]
fn a_job_that_is_done_is_not_started_again() {
    let mut world = World::new(2);
    let job = json!({
        "network": {},
        "scripts": { "runtime-script": "done" },
        "restart": { "policy": "on_failure" },
    });
    let id = world.deploy(&spec("job", 2, job));
    world.settle("job");
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    world.run(30);
    assert!(world.staying("job").is_empty());
    assert_eq!(world.deployer.cluster().instances().count(), 2);
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let mut world = World::new(3);
    let three = Command::Deploy { spec: spec("web", 3, json!({})) };
    let before = (world.store.last_event, world.deployer.cluster().instances().count());
    let preview = world.deployer.dry_run(three.clone(), world.now).unwrap();
    assert_eq!((preview.made.len(), preview.leaving.len()), (3, 0));
    let chosen: BTreeSet<_> =
        preview.made.iter().filter_map(|each| each.decision.clone()?.chosen).collect();
    assert_eq!(chosen.len(), 3);
    world.commit();
    let after = (world.store.last_event, world.deployer.cluster().instances().count());
    assert_eq!(before, after);
    world.command(three).unwrap();
    world.settle("web");
    let fewer = Command::Scale { service: service("web"), concurrency: 1 };
    let preview = world.deployer.dry_run(fewer, world.now).unwrap();
    assert_eq!((preview.made.len(), preview.leaving.len()), (0, 2));
    assert_eq!(preview.deployment.unwrap().revision, 2);
}

#[test]
fn history_is_bounded() {
    use tucano_common::limits::REVISIONS_KEPT;
    let mut world = World::new(1);
    for version in 0..REVISIONS_KEPT + 10 {
        world.deploy(&spec("web", 1, json!({ "env": { "V": version.to_string() } })));
        world.tick();
    }
    world.settle("web");
    let kept = world.deployer.cluster().revisions(&service("web")).count();
    assert!(kept <= REVISIONS_KEPT + 1, "{kept}");
    assert_eq!(world.store.revisions.len(), kept);
    let unknown = Command::ForgetWorker { worker: worker("w9") };
    assert!(matches!(world.command(unknown), Err(Refusal::UnknownWorker(_))));
}
