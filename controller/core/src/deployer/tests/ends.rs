//! Programs that end by themselves, where the spec does not want them started again, and those that
//! never ran.

use serde_json::json;

use super::world::{World, spec};
use crate::cluster::{DeploymentStatus, EventKind};

#[test]
fn a_program_that_is_done_is_no_failure_and_is_not_made_anew() {
    for policy in ["on_failure", "never"] {
        let mut world = World::new(1);
        let done = json!({
            "scripts": { "runtime-script": "done" }, "restart": { "policy": policy },
        });
        let id = world.deploy(&spec("job", 2, done));
        world.settle("job");
        assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }), "{policy}");
        world.run(30);
        assert!(world.staying("job").is_empty());
        assert_eq!(world.count(EventKind::InstancePlaced), 2, "{policy}");
    }
}

#[test]
fn one_that_its_worker_could_not_even_start_is_not_done() {
    let mut world = World::new(1);
    let unlucky = json!({
        "scripts": { "runtime-script": "done", "build-script": "no room" },
        "restart": { "policy": "never" },
    });
    let id = world.deploy(&spec("job", 1, unlucky));
    world.settle("job");
    let DeploymentStatus::Failed { reason, .. } = world.status(id) else {
        panic!("{:?}", world.status(id));
    };
    assert!(reason.contains("no space left on device"), "{reason}");
}
