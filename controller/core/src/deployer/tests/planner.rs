//! Placement on clusters that are drawn: what must hold of every plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::prng::Prng;
use tucano_common::spec::Spec;
use tucano_common::wire::worker::Pressure;

use super::agent::Agent;
use super::world::{MIB, World, service, spec, worker};
use crate::cluster::{Cluster, Decision, Refused, State, Survey, VerdictKind};
use crate::deployer::placement::{Ask, Violation, check, plan};
use crate::deployer::{Command, Fact};

/// A cluster with machines of different kinds and services of different wants, as it came from its
/// seed.
pub(super) fn drawn(seed: u64) -> World {
    let mut prng = Prng::new(seed);
    let mut world = World::seeded(0, seed);
    for number in 1..=2 + prng.below(6) as u8 {
        let mut agent = Agent::new(number, u64::from(512 * (1 + prng.below(4))) * MIB);
        agent.capacity.cpus = 1 + prng.below(8);
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let disk = if prng.chance(0.5) { "ssd" } else { "hdd" };
        agent.labels = [label("disk", disk)].into();
        agent.metrics.cpu_ratio = Some(prng.below(100) as f32 / 100.0);
        world.agents.insert(agent.name.clone(), agent);
    }
    world.run(1);
    for number in 0..1 + prng.below(6) {
        let concurrency = prng.below(7);
        world.deploy(&spec(&format!("s{number}"), concurrency, wants(&mut prng)));
    }
    world.run(3);
    world
}

fn wants(prng: &mut Prng) -> Value {
    let mut wants = json!({ "network": { "expose_port": 80 + prng.below(3) } });
    if prng.chance(0.5) {
        wants["resources"]["memory"] = json!(format!("{}MiB", 32 * (1 + prng.below(12))));
    }
    if prng.chance(0.3) {
        wants["resources"]["cpu"] = json!(0.25 * f64::from(1 + prng.below(8)));
    }
    match prng.below(4) {
        0 => wants["placement"]["require"] = json!({ "disk": "ssd" }),
        1 => wants["placement"]["prefer"] = json!({ "disk": "ssd" }),
        2 => wants["placement"]["max_per_worker"] = json!(1 + prng.below(2)),
        _ => {}
    }
    if prng.chance(0.2) {
        wants["network"]["fixed_port"] = json!(9000 + prng.below(2));
    }
    wants
}

fn pending(cluster: &Cluster, name: &str) -> Vec<InstanceId> {
    let name = service(name);
    let waits = cluster.alive_of(&name).filter(|each| each.state.place().is_none());
    waits.map(|each| each.id).collect()
}

fn ask(world: &World, spec: &Arc<Spec>, instances: Vec<InstanceId>) -> Ask {
    let survey_id = world.store.surveys.last().copied().unwrap_or(0) + 1;
    Ask { spec: spec.clone(), instances, cause: None, survey_id }
}

#[test]
fn a_plan_has_no_faults_and_names_every_worker() {
    for seed in 0..60 {
        let world = drawn(seed);
        let cluster = world.deployer.cluster();
        for service in cluster.services() {
            let spec = cluster.spec_of(service).unwrap();
            let waiting = pending(cluster, service.name.as_str());
            let plan = plan(cluster, &ask(&world, spec, waiting), world.now.wall);
            assert_eq!(check(cluster, &plan, world.now.wall), [], "seed {seed}");
            // What waits was looked at already: planning the result of a plan changes nothing.
            let placed = plan.placements.iter().any(|each| each.decision.chosen.is_some());
            assert!(!placed, "seed {seed}: {} could have been placed", service.name);
        }
        for instance in cluster.instances().filter(|each| each.state.place().is_some()) {
            let decision = instance.decision.as_ref().unwrap();
            let named = decision.survey.verdicts.iter();
            let chosen = named.clone().find(|each| Some(&each.worker) == decision.chosen.as_ref());
            assert!(matches!(chosen.unwrap().kind, VerdictKind::Feasible(_)));
            assert_eq!(named.count(), world.agents.len());
        }
    }
}

#[test]
fn losing_a_worker_moves_nothing_that_it_did_not_hold() {
    for seed in 0..40 {
        let mut world = drawn(seed);
        world.run(40);
        let places = |world: &World| -> BTreeMap<InstanceId, WorkerName> {
            let all = world.deployer.cluster().instances();
            all.filter_map(|each| Some((each.id, each.state.place()?.worker.clone()))).collect()
        };
        let before = places(&world);
        let names: Vec<WorkerName> = world.agents.keys().cloned().collect();
        let at = usize::try_from(seed).unwrap() % names.len();
        let victim = names[at].clone();
        world.agents.get_mut(&victim).unwrap().up = false;
        world.run(20);
        let after = places(&world);
        for (id, home) in before.iter().filter(|(_, home)| **home != victim) {
            // One whose deployment has just failed for want of room may have ended; none moves.
            let Some(now) = after.get(id) else { continue };
            assert_eq!(now, home, "seed {seed}");
        }
        assert!(after.values().all(|home| *home != victim));
    }
}

#[test]
fn the_linter_finds_what_is_wrong_with_a_plan() {
    let mut world = World::new(2);
    let big = spec("big", 3, json!({ "resources": { "memory": "700MiB" } }));
    world.deploy(&big);
    let cluster = world.deployer.cluster();
    let waiting = pending(cluster, "big");
    let placed = cluster.instances().find(|each| each.state.place().is_some()).unwrap().id;
    let good = plan(cluster, &ask(&world, &big, waiting.clone()), world.now.wall);
    let chosen = |name: &str, survey: &Arc<Survey>| Decision {
        chosen: Some(worker(name)),
        survey: survey.clone(),
    };
    let survey = good.placements[0].decision.survey.clone();
    let faults = |change: &dyn Fn(&mut crate::deployer::placement::Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        check(cluster, &plan, world.now.wall)
    };
    assert_eq!(faults(&|_| {}), []);
    let found = faults(&|plan| plan.placements[0].decision = chosen("w1", &survey));
    assert!(matches!(found[..], [Violation::Infeasible { .. }]), "{found:?}");
    let found = faults(&|plan| plan.placements[0].decision = chosen("w9", &survey));
    assert!(matches!(found[..], [Violation::UnknownWorker(..)]), "{found:?}");
    let found = faults(&|plan| plan.placements[0].instance = placed);
    assert!(matches!(found[..], [Violation::NotWaiting(_)]), "{found:?}");
    let found = faults(&|plan| plan.placements.push(plan.placements[0].clone()));
    assert!(matches!(found[..], [Violation::Twice(_)]), "{found:?}");
    let nobody = Arc::new(Survey { verdicts: Vec::new(), ..(*survey).clone() });
    let found = faults(&|plan| {
        plan.placements[0].decision = Decision { chosen: None, survey: nobody.clone() };
    });
    assert!(matches!(found[..], [Violation::Unnamed(..), Violation::Unnamed(..)]), "{found:?}");
    let small = spec("big", 3, json!({}));
    let found = faults(&|plan| plan.spec = small.clone());
    assert!(matches!(found[..], [Violation::LeftOut(..)]), "{found:?}");
}

#[test]
fn measured_load_steers_placement_and_vetoes() {
    let mut world = World::new(3);
    world.agent("w1").metrics.cpu_ratio = Some(0.7);
    world.agent("w3").metrics.cpu_ratio = Some(0.4);
    world.run(40);
    for number in 0..6 {
        world.deploy(&spec(&format!("s{number}"), 1, json!({ "network": {} })));
        world.run(4);
    }
    let on = |world: &World, name: &str| world.deployer.cluster().reserved(&worker(name)).instances;
    assert_eq!((on(&world, "w1"), on(&world, "w2"), on(&world, "w3")), (0, 6, 0));
    // At once, before anything of them is measured: the idle one gets the most, not all.
    for number in 6..18 {
        world.deploy(&spec(&format!("s{number}"), 1, json!({ "network": {} })));
    }
    let [w1, w2, w3] = ["w1", "w2", "w3"].map(|name| on(&world, name));
    assert!(w1 < w3 && w3 < w2 && w1 > 0, "{w1} {w2} {w3}");

    // Over 90 % of CPU it is the last choice, though the others have instances already …
    let mut world = World::new(2);
    world.agent("w1").metrics.cpu_ratio = Some(1.0);
    world.run(60);
    world.deploy(&spec("web", 3, json!({})));
    world.run(1);
    assert_eq!((on(&world, "w1"), on(&world, "w2")), (0, 3));
    // … and so it is where its processes stand still, for whatever they wait …
    for stalled in ["cpu", "memory", "io"] {
        let mut world = World::new(2);
        let share = |of| if of == stalled { 0.95 } else { 0.0 };
        let (cpu, memory, io) = (share("cpu"), share("memory"), share("io"));
        world.agent("w1").metrics.pressure = Some(Pressure { cpu, memory, io });
        world.run(60);
        let next = spec("web", 3, json!({}));
        world.deploy(&next);
        world.run(1);
        assert_eq!((on(&world, "w1"), on(&world, "w2")), (0, 3), "{stalled}");
        let why = world.deployer.next_place(&service("web"), world.now).unwrap();
        let text = why.survey.verdicts[0].kind.to_string();
        assert!(text.contains("overloaded: used last"), "{text}");
    }
    // … but where all are, the spread decides, and nothing waits.
    let mut world = World::new(2);
    world.agent("w1").metrics.cpu_ratio = Some(1.0);
    world.agent("w2").metrics.cpu_ratio = Some(0.95);
    world.run(60);
    world.deploy(&spec("web", 2, json!({})));
    world.run(1);
    assert_eq!((on(&world, "w1"), on(&world, "w2")), (1, 1));

    // One that has just joined was not measured yet: no reason to place everything there.
    let mut world = World::new(2);
    for name in ["w1", "w2"] {
        world.agent(name).metrics.pressure = Some(Pressure { cpu: 1.0, memory: 0.0, io: 0.0 });
    }
    world.run(60);
    let third = Agent::new(3, 1024 * MIB);
    world.fact(Fact::Hello(Box::new(third.introduction())));
    world.deploy(&spec("web", 6, json!({})));
    assert_eq!([on(&world, "w1"), on(&world, "w2"), on(&world, "w3")], [2, 2, 2]);

    // Over 90 % of memory nothing at all, with the reason; under it again, what waits is placed.
    let mut world = World::new(1);
    world.agent("w1").metrics.memory_available_bytes = Some(30 * MIB);
    world.run(60);
    world.deploy(&spec("web", 1, json!({})));
    world.run(1);
    let cluster = world.deployer.cluster();
    let instance = cluster.alive_of(&service("web")).next().unwrap();
    let verdict = &instance.decision.as_ref().unwrap().survey.verdicts[0];
    let VerdictKind::Refused { reasons } = &verdict.kind else { panic!("{verdict:?}") };
    assert!(matches!(&reasons[..], [Refused::Load { of, .. }] if of == "memory"), "{reasons:?}");
    world.agent("w1").metrics.memory_available_bytes = Some(600 * MIB);
    world.until(30, |world| world.health("web").healthy == 1);
}

#[test]
fn every_reason_says_what_would_change_it() {
    let mut world = World::new(3);
    world.agent("w2").labels = [("disk".to_owned(), "hdd".to_owned())].into();
    world.agent("w2").restart();
    world.run(2);
    world.command(Command::DrainWorker { worker: worker("w1"), deadline: None }).unwrap();
    let picky = json!({
        "resources": { "memory": "2GiB", "cpu": 6 },
        "placement": { "require": { "disk": "ssd" } },
    });
    world.deploy(&spec("web", 1, picky));
    let cluster = world.deployer.cluster();
    let instance = cluster.alive_of(&service("web")).next().unwrap();
    assert!(matches!(instance.state, State::Pending { .. }));
    let survey = &instance.decision.as_ref().unwrap().survey;
    let texts: Vec<String> = survey.verdicts.iter().map(|each| each.kind.to_string()).collect();
    let needs = "needs 1127 MiB more free memory; needs 2.000 more free cores";
    assert_eq!(
        texts,
        [
            format!("is being drained: activate it; needs the label disk=ssd; {needs}"),
            format!("needs the label disk=ssd, has disk=hdd; {needs}"),
            format!("needs the label disk=ssd; {needs}"),
        ]
    );
}

#[test]
fn preferred_labels_come_before_free_memory_and_after_the_spread() {
    let mut world = World::new(3);
    world.agent("w3").labels = [("disk".to_owned(), "ssd".to_owned())].into();
    world.agent("w3").restart();
    world.run(2);
    let prefer = json!({ "placement": { "prefer": { "disk": "ssd" } } });
    world.deploy(&spec("one", 1, prefer.clone()));
    assert_eq!(world.staying("one")[0].0, "w3");
    world.deploy(&spec("three", 3, prefer));
    let on: Vec<String> = world.staying("three").into_iter().map(|each| each.0).collect();
    assert_eq!(on, ["w1", "w2", "w3"]);
}

#[test]
fn a_fixed_port_is_held_by_one_instance_of_a_worker_whatever_its_service() {
    let mut world = World::new(2);
    let fixed = |expose: u16| json!({ "network": { "expose_port": expose, "fixed_port": 9000 } });
    world.deploy(&spec("one", 1, fixed(80)));
    world.deploy(&spec("two", 2, fixed(81)));
    world.run(3);
    assert_eq!(world.health("one").healthy + world.health("two").healthy, 2);
    assert_eq!(pending(world.deployer.cluster(), "two").len(), 1);
}
