//! Instances that move to a worker that came: one at a time, none lost, and only where it helps.

use serde_json::json;

use super::agent::Agent;
use super::world::{MIB, World, spec};
use crate::cluster::EventKind;
use crate::deployer::balance::Balance;

fn join(world: &mut World, number: u8) {
    let agent = Agent::new(number, 1024 * MIB);
    world.agents.insert(agent.name.clone(), agent);
}

fn held(world: &World) -> Vec<u32> {
    let cluster = world.deployer.cluster();
    cluster.workers().map(|worker| cluster.reserved(&worker.name).instances).collect()
}

/// Two services on two workers.
fn two_services(more: &serde_json::Value) -> World {
    let mut world = World::new(2);
    world.deploy(&spec("web", 4, more.clone()));
    world.deploy(&spec("api", 2, more.clone()));
    world.settle("web");
    world.settle("api");
    world.until(30, |world| world.deployer.balance == Balance::Rest);
    assert_eq!(held(&world), [3, 3]);
    world
}

#[test]
fn a_worker_that_joins_is_given_its_share_one_at_a_time_and_nobody_is_missed() {
    let mut world = two_services(&json!({}));
    join(&mut world, 3);
    world.run(55);
    assert_eq!(held(&world), [3, 3, 0], "it has not lasted yet");
    for _ in 0..120 * 20 {
        world.tick();
        let (web, api) = (world.staying("web").len(), world.staying("api").len());
        assert!(web + api <= 7, "one at a time");
        assert!(world.health("web").healthy >= 4 && world.health("api").healthy >= 2);
    }
    assert_eq!(held(&world), [2, 2, 2]);
    assert_eq!(world.count(EventKind::InstanceMoving), 2);
    assert_eq!(world.deployer.balance, Balance::Rest, "nothing is looked at any more");
}

#[test]
fn a_worker_that_returns_is_given_its_share() {
    let mut world = two_services(&json!({}));
    world.agent("w2").up = false;
    world.run(15);
    assert_eq!(held(&world), [6, 0]);
    world.agent("w2").wipe();
    world.agent("w2").up = true;
    world.until(200, |world| held(world) == [3, 3]);
    world.run(120);
    assert_eq!(world.count(EventKind::InstanceMoving), 3);
}

#[test]
fn nothing_moves_where_it_is_off_or_does_not_help() {
    let mut off = two_services(&json!({}));
    off.deployer.config.rebalance = false;
    join(&mut off, 3);
    off.run(200);
    assert_eq!(held(&off), [3, 3, 0]);

    let mut swaps = two_services(&json!({ "update": { "max_surge": 0 } }));
    join(&mut swaps, 3);
    swaps.run(200);
    assert_eq!(held(&swaps), [3, 3, 0], "two copies may not be: a move would be a gap");

    let mut world = World::new(2);
    world.deploy(&spec("web", 3, json!({})));
    world.settle("web");
    world.run(200);
    assert_eq!(held(&world), [2, 1], "one the other way round is as uneven");
    for world in [off, swaps, world] {
        assert_eq!(world.count(EventKind::InstanceMoving), 0);
        assert_eq!(world.deployer.balance, Balance::Rest);
    }
}

#[test]
fn a_move_to_a_worker_that_dies_leaves_everything_running() {
    let mut world = two_services(&json!({}));
    join(&mut world, 3);
    world.until(90, |world| world.count(EventKind::InstanceMoving) == 1);
    world.agent("w3").up = false;
    for _ in 0..300 * 20 {
        world.tick();
        assert!(world.health("web").healthy >= 4 && world.health("api").healthy >= 2);
    }
    assert_eq!(held(&world).iter().sum::<u32>(), 6);
    assert_eq!(world.deployer.balance, Balance::Rest);
}
