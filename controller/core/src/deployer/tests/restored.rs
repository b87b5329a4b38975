//! A controller that goes on with an older copy of its database.

use serde_json::json;

use super::world::{World, service, spec, worker};
use crate::cluster::EventKind;
use crate::deployer::Command;

/// The database is brought back from a copy that was made before `since`, under running workers.
fn restored(mut world: World, since: impl FnOnce(&mut World)) -> World {
    let copy = world.store.clone();
    since(&mut world);
    let last_event = world.store.last_event;
    world.store = copy;
    // A restore goes on with the numbers of events.
    world.store.last_event = last_event;
    world.kill_controller(false);
    world
}

#[test]
fn what_was_started_anew_after_a_copy_is_not_stopped_when_it_is_restored() {
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let before = world.ids("web");
    let mut now = Vec::new();
    let mut world = restored(world, |world| {
        world.command(Command::Restart { service: service("web") }).unwrap();
        world.settle("web");
        world.until(20, World::at_rest);
        now = world.ids("web");
    });
    assert!(before.iter().all(|id| !now.contains(id)));
    world.run(2);
    world.until(20, |world| world.at_rest() && world.health("web").healthy == 2);
    assert_eq!(world.ids("web"), now, "they run, and stay");
    assert_eq!(world.count(EventKind::InstanceRecovered), 2);
    world.command(Command::Scale { service: service("web"), concurrency: 3 }).unwrap();
    world.settle("web");
    assert!(now.iter().all(|id| world.ids("web").contains(id)));
}

#[test]
fn what_moved_after_a_copy_stays_where_it_is_whoever_is_heard_first() {
    for late in ["w1", "w2", "w3"] {
        let mut world = World::new(3);
        world.run(30);
        world.deploy(&spec("web", 2, json!({})));
        world.settle("web");
        let mut now = Vec::new();
        let mut world = restored(world, |world| {
            world.command(Command::DrainWorker { worker: worker("w1"), deadline: None }).unwrap();
            world.until(60, |world| {
                let staying = world.staying("web");
                staying.len() == 2 && staying.iter().all(|each| each.0 != "w1") && world.at_rest()
            });
            now = world.ids("web");
        });
        world.agent(late).linked = false;
        world.run(3);
        world.agent(late).linked = true;
        world.until(30, |world| world.at_rest() && world.health("web").healthy == 2);
        assert_eq!(world.ids("web"), now, "{late} was heard last");
    }
}

#[test]
fn what_a_copy_is_too_old_for_is_replaced_by_what_it_knows() {
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    let mut world = restored(world, |world| {
        world.deploy(&spec("web", 2, json!({ "env": { "A": "2" } })));
        world.settle("web");
    });
    world.until(60, |world| world.at_rest() && world.health("web").healthy == 2);
    assert_eq!(world.count(EventKind::InstanceRecovered), 0);
    let revisions: Vec<u64> = world.staying("web").iter().map(|each| each.1).collect();
    assert_eq!(revisions, [1, 1]);
}

#[test]
fn an_instance_of_an_earlier_service_of_that_name_is_not_taken_for_the_new_ones() {
    let mut world = World::new(2);
    world.run(30);
    world.deploy(&spec("web", 2, json!({})));
    world.settle("web");
    world.agent("w2").linked = false;
    world.until(30, |world| world.staying("web").iter().all(|each| each.0 == "w1"));
    world.command(Command::Delete { service: service("web") }).unwrap();
    world.until(60, |world| world.deployer.cluster().service(&service("web")).is_none());
    world.kill_controller(false);
    world.deploy(&spec("web", 1, json!({ "env": { "A": "another" } })));
    world.agent("w2").linked = true;
    world.until(60, |world| world.at_rest() && world.health("web").healthy == 1);
    assert_eq!(world.count(EventKind::InstanceRecovered), 0);
}
