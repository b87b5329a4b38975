//! The routing table: what is shared between two of them, and that nothing is told twice.

use std::sync::Arc;

use serde_json::json;

use super::world::{World, service, spec};
use crate::balancer::table::{Duty, Endpoint, RoutingTable};
use crate::cluster::EventKind;
use crate::deployer::Command;

fn route<'a>(table: &'a RoutingTable, name: &str) -> &'a Arc<crate::balancer::table::ServiceRoute> {
    table.services.iter().find(|each| each.name.as_str() == name).unwrap()
}

#[test]
fn services_that_did_not_change_are_shared() {
    let mut world = World::new(2);
    world.deploy(&spec("web", 2, json!({})));
    world.deploy(&spec("api", 2, json!({})));
    world.settle("web");
    world.settle("api");
    let before = world.table.clone();
    world.command(Command::Scale { service: service("api"), concurrency: 3 }).unwrap();
    world.settle("api");
    let after = world.table.clone();
    assert!(after.version > before.version);
    assert!(Arc::ptr_eq(route(&before, "web"), route(&after, "web")));
    assert!(!Arc::ptr_eq(route(&before, "api"), route(&after, "api")));
    assert_eq!(before.workers, after.workers[..before.workers.len()], "places do not change");
    world.run(20);
    assert_eq!(world.table.version, after.version, "nothing happened, nothing is told");
}

#[test]
fn an_instance_is_routed_while_it_is_healthy_and_not_before_or_after() {
    let mut world = World::new(1);
    world.deploy(&spec("web", 1, json!({})));
    assert!(route(&world.table, "web").endpoints.is_empty());
    assert!(route(&world.table, "web").expecting, "requests wait for it");
    world.until(5, |world| world.health("web").healthy == 1);
    let endpoint = route(&world.table, "web").endpoints[0].clone();
    assert!(!route(&world.table, "web").expecting);
    assert_eq!(endpoint.duty, Duty::Serve);
    let ready = world.now.mono.since(endpoint.ready_at);
    assert!(ready < std::time::Duration::from_millis(200), "{ready:?} ago");
    // It dies: out of the rotation with the first word of it, back when it is ready again.
    let now = world.now.mono;
    world.agent("w1").kill(endpoint.instance, now);
    world.tick();
    world.tick();
    assert!(route(&world.table, "web").endpoints.is_empty());
    assert!(route(&world.table, "web").expecting);
    world.until(5, |world| world.health("web").healthy == 1);
    let again: &Endpoint = &route(&world.table, "web").endpoints[0];
    assert!(again.ready_at > endpoint.ready_at, "it starts slowly again");
    assert_eq!(world.count(EventKind::InstanceRestarting), 1);
}

#[test]
fn a_service_without_a_port_has_no_route() {
    let mut world = World::new(1);
    world.deploy(&spec("job", 1, json!({ "network": {} })));
    world.settle("job");
    assert!(world.table.services.is_empty() && world.table.ports.is_empty());
    assert!(world.deployer.ports().is_empty());
}

#[test]
fn a_forgotten_workers_place_goes_to_another() {
    let mut world = World::new(3);
    world.run(12);
    world.deploy(&spec("web", 3, json!({})));
    world.settle("web");
    world.agent("w1").up = false;
    world.until(20, |world| world.count(EventKind::WorkerDead) == 1);
    world.until(20, |world| world.health("web").healthy == 3);
    let worker = super::world::worker("w1");
    world.command(Command::ForgetWorker { worker: worker.clone() }).unwrap();
    let names: Vec<&str> = world.table.workers.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let cluster = world.deployer.cluster();
    for endpoint in &route(&world.table, "web").endpoints {
        let at = endpoint.worker.unwrap() as usize;
        let instance = cluster.instance(endpoint.instance).unwrap();
        assert_eq!(instance.state.worker(), Some(&world.table.workers[at].name));
    }
}
