//! Hosts, and services whose addresses stand outside the cluster: scripted histories.

use serde_json::json;
use tucano_common::time::Wall;

use super::world::{World, scale, service, spec};
use crate::balancer::table::Duty;
use crate::cluster::{DeploymentStatus, EventKind};
use crate::deployer::{Command, Fact, OutsideHealth, Refusal, ServiceCondition};

#[test]
fn a_host_belongs_to_one_service_on_a_port() {
    let mut world = World::new(1);
    let host = |name: &str, port: u16| {
        let network = json!({ "network": { "expose_port": port, "hosts": ["x.lan"] } });
        Command::Deploy { spec: spec(name, 1, network) }
    };
    world.command(host("one", 80)).unwrap();
    let events = world.events.len();
    let refused = world.command(host("two", 8080)).unwrap_err();
    let by_same = matches!(&refused, Refusal::HostTaken { by, .. } if by.as_str() == "one");
    assert!(by_same, "80 is mapped to 8080: {refused}");
    assert_eq!(world.events.len(), events, "nothing changed");
    assert!(world.deployer.cluster().service(&service("two")).is_none());
    world.command(host("two", 81)).unwrap();
    assert_eq!(world.deployer.ports().into_iter().collect::<Vec<_>>(), [81, 8080]);
    world.command(Command::Delete { service: service("one") }).unwrap();
    world.command(host("three", 80)).unwrap();
}

#[test]
fn an_external_service_has_routes_and_no_instances() {
    let mut world = World::new(1);
    let value = json!({ "name": "ext", "network": { "expose_port": 80 },
        "external": { "addresses": ["10.0.0.7:9000", "10.0.0.8:9000"] } });
    let external = std::sync::Arc::new(tucano_common::spec::parse(&value).unwrap());
    let id = world.deploy(&external);
    assert!(matches!(world.status(id), DeploymentStatus::Succeeded { .. }));
    let endpoints = &world.table.services[0].endpoints;
    assert_eq!(endpoints.len(), 2);
    assert_ne!(endpoints[0].instance, endpoints[1].instance);
    assert!(matches!(world.command(scale("ext", 3)), Err(Refusal::External(_))));
    assert_eq!(world.health("ext").condition, ServiceCondition::Running);
    // From scripts to outside and back.
    world.deploy(&spec("ext", 1, json!({})));
    world.settle("ext");
    assert_eq!(world.staying("ext").len(), 1);
    world.deploy(&external);
    world.until(10, |world| world.staying("ext").is_empty());
}

#[test]
fn an_external_address_that_fails_leaves_the_rotation_until_it_is_well() {
    let mut world = World::new(1);
    let value = json!({ "name": "ext", "network": { "expose_port": 80 },
        "external": { "addresses": ["10.0.0.7:9000", "10.0.0.8:9000"] } });
    world.deploy(&std::sync::Arc::new(tucano_common::spec::parse(&value).unwrap()));
    let found = |address: &str, result: Result<(), String>| {
        let address = address.parse().unwrap();
        Fact::Outside(OutsideHealth { service: service("ext"), address, result })
    };
    let fails = || found("10.0.0.7:9000", Err("status 500".to_owned()));
    for fact in [fails(), fails(), found("10.0.0.9:9000", Err("not listed".to_owned()))] {
        world.fact(fact);
    }
    let duties = |world: &World| -> Vec<Duty> {
        world.table.services[0].endpoints.iter().map(|endpoint| endpoint.duty).collect()
    };
    assert_eq!(duties(&world), [Duty::Drain, Duty::Serve]);
    let health = world.health("ext");
    assert_eq!((health.condition, health.healthy), (ServiceCondition::Degraded, 1));
    assert!(health.reason.unwrap().contains("10.0.0.7:9000 fails its health check: status 500"));
    world.fact(found("10.0.0.7:9000", Ok(())));
    assert_eq!(duties(&world), [Duty::Serve, Duty::Serve]);
    assert_eq!(world.health("ext").condition, ServiceCondition::Running);
    let told = [EventKind::InstanceUnhealthy, EventKind::InstanceHealthy];
    assert_eq!(told.map(|kind| world.count(kind)), [1, 1]);
}

#[test]
fn an_external_address_that_is_named_again_begins_anew() {
    let mut world = World::new(1);
    let external = |addresses: &[&str]| {
        let value = json!({ "name": "ext", "network": { "expose_port": 80 },
            "external": { "addresses": addresses } });
        std::sync::Arc::new(tucano_common::spec::parse(&value).unwrap())
    };
    let (both, one) = (["10.0.0.7:9000", "10.0.0.8:9000"], ["10.0.0.8:9000"]);
    let found = |result| {
        let address = both[0].parse().unwrap();
        Fact::Outside(OutsideHealth { service: service("ext"), address, result })
    };
    /// Of the first address: since when it is named, since when it is as it is, whether it fails.
    fn first(world: &World) -> (Wall, Wall, bool) {
        let service = world.deployer.cluster().service(&service("ext")).unwrap();
        let first = world.deployer.outside_of(service).remove(0);
        (first.named_since, first.since, first.down.is_some())
    }
    world.deploy(&external(&both));
    let begun = first(&world);
    assert_eq!((begun.0, begun.2), (begun.1, false), "well since it is named");
    world.run(5);
    assert_eq!(first(&world), begun);
    world.fact(found(Err("status 500".to_owned())));
    let down = first(&world);
    assert!(down.2 && down.1 > begun.1 && down.0 == begun.0);
    world.run(5);
    world.fact(found(Ok(())));
    let up = first(&world);
    assert!(!up.2 && up.1 > down.1 && up.0 == begun.0, "well since it is well again");
    world.fact(found(Err("status 500".to_owned())));
    world.deploy(&external(&one));
    world.run(5);
    world.deploy(&external(&both));
    let again = first(&world);
    assert!(!again.2 && again.0 == again.1 && again.0 > up.1, "{again:?}");
    assert_eq!(world.table.services[0].endpoints[0].duty, Duty::Serve);
    // Back to where it was not named, and back again.
    for revision in [2, 3] {
        world.run(5);
        let name = service("ext");
        world.command(Command::Rollback { service: name, revision: Some(revision) }).unwrap();
    }
    let back = first(&world);
    assert!(back.0 > again.0 && back.0 == back.1, "{back:?}");
}
