//! A deployment that is held where it is, and what is asked about a cluster without changing it.

use serde_json::json;
use tucano_common::id::DeploymentId;

use super::world::{World, service, spec, worker};
use crate::cluster::{DeploymentStatus, EventKind, State, VerdictKind};
use crate::deployer::{Accepted, Command, Deployer, Refusal};

fn pause(world: &mut World, deployment: DeploymentId) -> Result<Accepted, Refusal> {
    world.command(Command::PauseDeployment { deployment })
}

fn resume(world: &mut World, deployment: DeploymentId) -> Result<Accepted, Refusal> {
    world.command(Command::ResumeDeployment { deployment })
}

/// Two of revision 1, and the deployment of a revision 2 that is paused with its first instance
/// on the way.
fn paused(more: serde_json::Value) -> (World, DeploymentId) {
    let mut world = World::new(3);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let id = world.deploy(&spec("web", 2, more));
    world.tick();
    assert!(pause(&mut world, id).unwrap().changed);
    (world, id)
}

#[test]
fn a_paused_deployment_stands_still_and_goes_on_where_it_was() {
    let (mut world, id) = paused(json!({ "env": { "V": "2" } }));
    // Far longer than its whole time: what was begun is done, nothing else is begun.
    world.run(700);
    assert!(matches!(world.status(id), DeploymentStatus::Paused { .. }));
    let staying = world.staying("web");
    let count = |revision| staying.iter().filter(|each| each.1 == revision).count();
    assert_eq!((count(1), count(2)), (2, 1), "{staying:?}");
    let health = world.health("web");
    assert!(health.reason.unwrap().contains("resume"), "it says what to do");
    assert!(!pause(&mut world, id).unwrap().changed, "it is paused");
    world.kill_controller(false);
    assert!(matches!(world.status(id), DeploymentStatus::Paused { .. }), "it is stored");
    world.run(60);
    assert!(resume(&mut world, id).unwrap().changed);
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    assert!(world.staying("web").iter().all(|each| each.1 == 2));
    assert!(matches!(pause(&mut world, id), Err(Refusal::DeploymentEnded { .. })));
    let unknown = DeploymentId(7);
    assert_eq!(resume(&mut world, unknown), Err(Refusal::UnknownDeployment(unknown)));
    for kind in [EventKind::DeploymentPaused, EventKind::DeploymentResumed] {
        assert_eq!(world.count(kind), 1);
    }
}

#[test]
fn its_times_stand_still_while_it_is_paused() {
    let hang = json!({
        "scripts": { "runtime-script": "hang" },
        "update": { "healthy_deadline": "20s", "progress_deadline": "40s" },
    });
    let (mut world, id) = paused(hang);
    world.run(100);
    assert!(matches!(world.status(id), DeploymentStatus::Paused { .. }), "nothing is judged");
    resume(&mut world, id).unwrap();
    world.run(10);
    assert!(matches!(world.status(id), DeploymentStatus::InProgress { .. }), "it has time left");
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Reverted { to: 1, .. }));
    assert_eq!(world.health("web").healthy, 2, "no healthy old one was stopped");
}

#[test]
fn what_is_lost_meanwhile_is_replaced_by_its_like() {
    let (mut world, id) = paused(json!({ "env": { "V": "2" } }));
    world.run(20);
    let before = world.staying("web");
    assert_eq!(before.iter().filter(|each| each.1 == 1).count(), 2, "{before:?}");
    world.agent(&before[0].0).up = false;
    world.run(30);
    let mut revisions: Vec<u64> = world.staying("web").iter().map(|each| each.1).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [1, 1, 2], "{:?}", world.staying("web"));
    assert_eq!(world.health("web").healthy, 3);
    assert!(matches!(world.status(id), DeploymentStatus::Paused { .. }));
    // A newer deploy takes its place all the same.
    let newer = world.deploy(&spec("web", 2, json!({ "env": { "V": "3" } })));
    world.settle("web");
    assert!(matches!(world.status(newer), DeploymentStatus::Succeeded { .. }));
    assert!(matches!(world.status(id), DeploymentStatus::Superseded { .. }));
}

#[test]
fn why_names_every_worker_and_what_would_change_it() {
    let mut world = World::new(3);
    let big = json!({ "resources": { "memory": "600MiB" } });
    world.deploy(&spec("web", 2, big));
    world.settle("web");
    let ask = |deployer: &Deployer, name, now| deployer.next_place(&service(name), now);
    let next = ask(&world.deployer, "web", world.now).unwrap();
    let free = next.chosen.clone().unwrap();
    assert_eq!(next.survey.verdicts.len(), 3);
    for verdict in &next.survey.verdicts {
        let text = verdict.kind.to_string();
        let refused = matches!(verdict.kind, VerdictKind::Refused { .. });
        assert_eq!(refused, verdict.worker != free, "{text}");
        assert!(!refused || text.contains("MiB more free memory"), "{text}");
    }
    assert_eq!(ask(&world.deployer, "none", world.now), None);
}

/// What a simulation says is what happens.
#[test]
fn a_simulated_loss_is_what_a_loss_is() {
    for (memory, fits) in [("100MiB", true), ("500MiB", false)] {
        let mut world = World::new(3);
        world.deploy(&spec("web", 3, json!({ "resources": { "memory": memory } })));
        world.deploy(&spec("api", 2, json!({ "resources": { "memory": "100MiB" } })));
        world.settle("web");
        world.settle("api");
        let before = world.deployer.cluster().clone();
        let lose = [worker("w2")];
        let said = world.deployer.simulate(&lose, world.now).unwrap();
        let held = before.on_worker(&worker("w2")).count();
        assert_eq!((said.moves.len(), said.short.is_empty()), (held, fits), "{said:?}");
        assert!(world.deployer.take_output().is_empty(), "nothing was changed");
        world.agent("w2").up = false;
        world.run(15);
        let cluster = world.deployer.cluster();
        for each in &said.moves {
            let mut after = cluster.alive_of(&each.lost.service);
            let then = after.find(|it| it.replaces == Some(each.lost.id)).unwrap();
            let successor = each.successor.as_ref().unwrap();
            assert_eq!(successor.state.worker(), then.state.worker());
            let waits = matches!(then.state, State::Pending { .. });
            assert_eq!(successor.waits_for().filter(|_| waits), then.waits_for().filter(|_| waits));
        }
        let unknown = worker("w9");
        let refused = world.deployer.simulate(std::slice::from_ref(&unknown), world.now);
        assert_eq!(refused.unwrap_err(), Refusal::UnknownWorker(unknown));
    }
}
