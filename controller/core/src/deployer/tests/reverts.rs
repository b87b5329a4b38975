//! Deploys that fail, are overtaken or taken back: scripted histories.

use serde_json::json;

use super::world::{World, revision_of, service, spec};
use crate::cluster::{DeploymentStatus, EventKind};
use crate::deployer::{Command, Refusal, ServiceCondition};

#[test]
fn a_build_that_fails_reverts_or_fails_and_says_why() {
    let broken = |auto_revert: bool| {
        json!({
            "scripts": { "runtime-script": "run", "build-script": "fail" },
            "update": { "auto_revert": auto_revert },
        })
    };
    let mut world = World::new(3);
    let id = world.deploy(&spec("web", 3, broken(true)));
    world.settle("web");
    let DeploymentStatus::Failed { reason, failure, .. } = world.status(id).clone() else {
        panic!("{:?}", world.status(id));
    };
    assert!(reason.contains("the build script exited with code 1"), "{reason}");
    assert!(failure.unwrap().output_tail.contains("Cannot find module"));
    world.until(10, |world| world.staying("web").is_empty());
    assert_eq!(world.health("web").condition, ServiceCondition::Failed);
    world.run(30);
    assert!(world.staying("web").is_empty(), "nothing is tried again without a command");

    let good = world.deploy(&spec("web", 3, json!({})));
    world.settle("web");
    assert!(matches!(world.status(good), DeploymentStatus::Succeeded { .. }));
    let old = world.ids("web");

    let id = world.deploy(&spec("web", 3, broken(true)));
    while matches!(world.status(id), DeploymentStatus::InProgress { .. }) {
        world.tick();
        assert_eq!(world.health("web").healthy, 3);
    }
    assert!(matches!(world.status(id), DeploymentStatus::Reverted { to: 2, .. }));
    world.run(10);
    assert_eq!(world.ids("web"), old, "the healthy ones were never touched");
    assert_eq!((revision_of(&world, "web"), world.health("web").healthy), (2, 3));
    assert_eq!(world.health("web").condition, ServiceCondition::Running);

    let id = world.deploy(&spec("web", 3, broken(false)));
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Failed { .. }));
    world.run(10);
    assert_eq!(world.ids("web"), old, "kept, though nothing goes back");
    assert_eq!(world.count(EventKind::DeploymentFailed), 2);
    assert_eq!(world.count(EventKind::DeploymentReverted), 1);
}

#[test]
fn a_crash_loop_and_one_that_never_gets_healthy_fail_within_their_bounds() {
    for (runtime, within, text) in
        [("crash", 10, "5 times in a row"), ("hang", 62, "update.healthy_deadline")]
    {
        let mut world = World::new(2);
        let scripts = json!({ "scripts": { "runtime-script": runtime } });
        let id = world.deploy(&spec("web", 2, scripts));
        let over = |world: &World| world.status(id).ended_at().is_some();
        world.until(within, over);
        let DeploymentStatus::Failed { reason, .. } = world.status(id) else { panic!() };
        assert!(reason.contains(text), "{reason}");
        world.until(10, World::at_rest);
    }
}

#[test]
fn a_long_build_is_not_late() {
    let mut world = World::new(1);
    let scripts = json!({
        "scripts": { "runtime-script": "slow", "build-script": "make" },
        "update": { "healthy_deadline": "6s" },
    });
    let id = world.deploy(&spec("web", 1, scripts));
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }), "5 s from its start");
    let fast = json!({ "scripts": { "runtime-script": "slow" }, "update": {
        "healthy_deadline": "4s" }, "env": { "V": "2" } });
    let id = world.deploy(&spec("web", 1, fast));
    world.settle("web");
    assert!(matches!(world.status(id), DeploymentStatus::Reverted { .. }));
}

#[test]
fn a_newer_deploy_supersedes() {
    let mut world = World::new(2);
    let first = world.deploy(&spec("web", 2, json!({ "scripts": { "runtime-script": "hang" } })));
    world.run(2);
    let second = world.deploy(&spec("web", 2, json!({})));
    let DeploymentStatus::Superseded { by, .. } = world.status(first) else { panic!() };
    assert_eq!(*by, Some(second));
    world.settle("web");
    assert!(matches!(world.status(second), DeploymentStatus::Succeeded { .. }));
    world.until(10, World::at_rest);
}

#[test]
fn rollback_goes_to_the_last_healthy_or_the_one_named() {
    let mut world = World::new(2);
    let roll_back = |revision| Command::Rollback { service: service("web"), revision };
    assert!(matches!(world.command(roll_back(None)), Err(Refusal::UnknownService(_))));
    for version in ["1", "2", "3"] {
        world.deploy(&spec("web", 1, json!({ "env": { "V": version } })));
        world.settle("web");
    }
    world.command(roll_back(None)).unwrap();
    world.settle("web");
    assert_eq!(world.staying("web").iter().map(|each| each.1).collect::<Vec<_>>(), [2]);
    world.command(roll_back(Some(1))).unwrap();
    world.settle("web");
    assert_eq!(revision_of(&world, "web"), 1);
    assert!(matches!(world.command(roll_back(None)), Err(Refusal::NothingToRollBackTo(_))));
    let unknown = world.command(roll_back(Some(9))).unwrap_err();
    assert!(unknown.to_string().contains("1 to 3 are kept"), "{unknown}");
    world.deploy(&spec("web", 1, json!({ "env": { "V": "4" } })));
    assert_eq!(revision_of(&world, "web"), 4, "numbers are never used again");
}
