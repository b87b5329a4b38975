//! Late, doubled and contrary facts in every order: whatever came in which order, once the last
//! word of everybody is the truth, the cluster is as asked for.

use serde_json::json;
use tucano_common::id::InstanceId;

use super::seeded::as_asked_for;
use super::world::{World, spec, worker};
use crate::cluster::LeaseState;
use crate::deployer::{Command, Fact};

/// In the middle of something, and facts of now and of before it.
fn scene(command: &dyn Fn(&mut World)) -> (World, Vec<Fact>) {
    let mut world = World::new(3);
    world.deploy(&spec("web", 3, json!({ "network": { "expose_port": 80 } })));
    world.settle("web");
    let mut facts: Vec<Fact> = ["w1", "w2"]
        .into_iter()
        .map(|name| {
            let agent = world.agent(name);
            let (worker, holds) = (agent.name.clone(), agent.holds);
            Fact::Reports { worker, holds, instances: agent.reports() }
        })
        .collect();
    let oldest: InstanceId = world.ids("web")[0];
    command(&mut world);
    world.run(2);
    facts.push(Fact::Lease { worker: worker("w2"), lease: LeaseState::Dead });
    facts.push(Fact::Hello(Box::new(world.agent("w1").introduction())));
    facts.push(Fact::Drained { instance: oldest });
    (world, facts)
}

/// Every order of so many things (Heap's algorithm).
fn orders(count: usize) -> Vec<Vec<usize>> {
    fn go(at: usize, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if at <= 1 {
            return all.push(order.clone());
        }
        for each in 0..at {
            go(at - 1, order, all);
            order.swap(if at.is_multiple_of(2) { each } else { 0 }, at - 1);
        }
    }
    let mut all = Vec::new();
    go(count, &mut (0..count).collect(), &mut all);
    all
}

fn in_every_order(command: &dyn Fn(&mut World)) {
    let (_, facts) = scene(command);
    let orders = orders(facts.len());
    assert_eq!(orders.len(), 120);
    for order in orders {
        let (mut world, facts) = scene(command);
        for at in &order {
            world.fact(facts[*at].clone());
            // One that came before comes again.
            world.fact(facts[order[0]].clone());
        }
        for name in ["w1", "w2", "w3"] {
            let hello = world.agent(name).introduction();
            world.fact(Fact::Hello(Box::new(hello)));
            world.fact(Fact::Lease { worker: worker(name), lease: LeaseState::Ready });
        }
        world.until(400, as_asked_for);
        assert_eq!(world.staying("web").len(), 3, "{order:?}");
    }
}

#[test]
fn in_the_middle_of_a_rollout() {
    in_every_order(&|world| {
        let next = json!({ "network": { "expose_port": 80 }, "env": { "V": "2" } });
        world.deploy(&spec("web", 3, next));
    });
}

#[test]
fn in_the_middle_of_a_drain() {
    in_every_order(&|world| {
        let w1 = worker("w1");
        world.command(Command::DrainWorker { worker: w1.clone(), deadline: None }).unwrap();
        world.run(1);
        world.command(Command::ActivateWorker { worker: w1 }).unwrap();
    });
}

#[test]
fn in_the_middle_of_a_restart() {
    in_every_order(&|world| {
        let instance = world.ids("web")[1];
        world.command(Command::RestartInstance { instance }).unwrap();
    });
}
