//! What an operator does with a rollout, and asks before doing anything: pause, resume, why,
//! simulate.

use serde_json::{Value, json};
use tucano_common::wire::views::{
    DeploymentState, DeploymentView, InstanceView, ServiceView, SimulationView, WhyView,
};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SOON, specs};

/// A program with a port of its own, on the only worker: two copies never fit, so the old one makes
/// room while the balancer holds the requests.
fn with_fixed_port(port: u16, answer: &str) -> Value {
    let mut spec = specs::python("fixed", 1);
    spec["network"]["fixed_port"] = json!(port);
    spec["env"] = json!({ "ANSWER": answer });
    spec
}

#[test]
fn a_paused_deployment_waits_for_its_operator() {
    let lab = Lab::start(2);
    lab.deploy(&lab.demo("web", 2));
    let mut next = lab.demo("web", 2);
    next["env"] = json!({ "COLOUR": "green" });
    next["update"] = json!({ "min_healthy": "3s" });
    let answer = lab.ask(Method::Post, "/v1/services", Some(&next));
    let begun: DeploymentView = answer.json().expect("a deployment");
    let own = format!("/v1/deployments/{}", begun.id);
    let paused = lab.ask(Method::Post, &format!("{own}/pause"), None);
    assert_eq!(paused.status, 202, "{}", paused.text());
    let paused: DeploymentView = paused.json().expect("a deployment");
    assert!(paused.state == DeploymentState::InProgress && paused.paused_at.is_some());
    let again = lab.ask(Method::Post, &format!("{own}/pause"), None);
    assert_eq!(again.status, 200, "it is paused");
    let service: ServiceView = lab.service("web");
    assert!(service.reason.is_some_and(|reason| reason.contains("resume")));
    // What was begun goes on, and takes nobody's place.
    lab.until("three healthy ones", SOON, || (lab.healthy("web").len() == 3).then_some(()));
    assert_eq!(lab.get::<DeploymentView>(&own).state, DeploymentState::InProgress);
    let resumed = lab.tucano(&["resume", "web"]);
    assert!(resumed.status.success(), "{resumed:?}");
    lab.until("its success", SOON, || {
        let now: DeploymentView = lab.get(&own);
        (now.state == DeploymentState::Succeeded && now.paused_at.is_none()).then_some(())
    });
    let late = lab.ask(Method::Post, &format!("{own}/resume"), None);
    assert_eq!(late.status, 409, "{}", late.text());
    assert_eq!(lab.ask(Method::Post, "/v1/deployments/0123456789abc/pause", None).status, 404);
}

#[test]
fn a_paused_deployment_stays_so_over_kill_9_of_the_controller() {
    let mut lab = Lab::start(2);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let old: Vec<String> = ids(&lab.wait_healthy("web", 2));
    let mut next = spec.clone();
    next["env"] = json!({ "COLOUR": "green" });
    next["update"] = json!({ "min_healthy": "3s" });
    let answer = lab.ask(Method::Post, "/v1/services", Some(&next));
    let begun: DeploymentView = answer.json().expect("a deployment");
    let own = format!("/v1/deployments/{}", begun.id);
    let paused = lab.ask(Method::Post, &format!("{own}/pause"), None);
    let paused: DeploymentView = paused.json().expect("a deployment");
    lab.cluster.controller().expect("a controller").kill();
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    let after: DeploymentView = lab.get(&own);
    assert_eq!((after.state, after.paused_at), (DeploymentState::InProgress, paused.paused_at));
    // What was begun is done, and takes nobody's place: four seconds after it counts.
    lab.until("three healthy ones", MINUTE, || (lab.healthy("web").len() == 3).then_some(()));
    let since = std::time::Instant::now();
    lab.until("more than min_healthy", MINUTE, || {
        let there = ids(&lab.healthy("web"));
        assert!(old.iter().all(|id| there.contains(id)), "{old:?} {there:?}");
        (since.elapsed().as_secs() >= 4).then_some(())
    });
    let resumed = lab.tucano(&["resume", "web"]);
    assert!(resumed.status.success(), "{resumed:?}");
    lab.until("its success", MINUTE, || {
        (lab.get::<DeploymentView>(&own).state == DeploymentState::Succeeded).then_some(())
    });
    let new = ids(&lab.wait_healthy("web", 2));
    assert!(old.iter().all(|id| !new.contains(id)), "{old:?} {new:?}");
}

fn ids(instances: &[InstanceView]) -> Vec<String> {
    instances.iter().map(|each| each.id.to_string()).collect()
}

#[test]
fn why_and_simulate_say_what_a_loss_would_do() {
    let lab = Lab::start(2);
    let mut spec = specs::shell("big", 2);
    spec["placement"] = json!({ "max_per_worker": 1 });
    lab.deploy(&spec);
    lab.deploy(&specs::shell("small", 2));
    let why: WhyView = lab.get("/v1/services/big/why");
    assert_eq!((why.wanted, why.healthy, why.instances.len()), (2, 2, 2));
    assert!(why.instances.iter().all(|each| each.decision.is_some()));
    let next = why.next.expect("where one more would go");
    assert!(next.chosen.is_none() && next.verdicts.len() == 2);
    assert!(next.verdicts.iter().all(|each| each.reason.contains("max_per_worker is 1")));
    let worker = why.instances[0].worker.clone().expect("a worker");
    let answer = lab.ask(Method::Post, "/v1/simulate", Some(&json!({ "lose": [worker] })));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found: SimulationView = answer.json().expect("a simulation");
    assert!(found.simulated && !found.fits && found.moves.len() == 2, "{found:?}");
    let short: Vec<_> = found.short.iter().map(|it| (it.service.as_str(), it.placed)).collect();
    assert_eq!(short, [("big", 1)]);
    let big = found.moves.iter().find(|it| it.service.as_str() == "big").expect("a move");
    assert!(big.to.is_none() && big.waits_for.is_some(), "{big:?}");
    assert!(found.moves.iter().any(|it| it.to.is_some()), "the small one fits");
    let nobody = lab.ask(Method::Post, "/v1/simulate", Some(&json!({ "lose": ["w99"] })));
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    let nothing = lab.ask(Method::Post, "/v1/simulate", Some(&json!({ "lose": [] })));
    assert_eq!(nothing.status, 422, "{}", nothing.text());
    assert!(lab.tucano(&["why", "big"]).status.success());
    assert!(lab.tucano(&["simulate", worker.as_str()]).status.success());
    assert_eq!(lab.healthy("big").len(), 2, "nothing was changed");
}

#[test]
fn where_two_copies_do_not_fit_requests_are_held_while_they_swap() {
    let lab = Lab::start(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let port = port.expect("a free port").port();
    lab.deploy(&with_fixed_port(port, "one"));
    let answer = lab.ask(Method::Post, "/v1/services", Some(&with_fixed_port(port, "two")));
    let begun: DeploymentView = answer.json().expect("a deployment");
    let own = format!("/v1/deployments/{}", begun.id);
    // Requests without a pause, one after the other, from before the swap to after it.
    let mut count = 0;
    let ended = lab.until("the swap", SOON, || {
        let answer = lab.fetch("fixed", "/");
        assert_eq!(answer.status, 200, "request {count}: {}", answer.text());
        count += 1;
        let now: DeploymentView = lab.get(&own);
        (now.state != DeploymentState::InProgress).then_some(now)
    });
    assert_eq!(ended.state, DeploymentState::Succeeded, "{ended:?}");
    assert_eq!(lab.fetch("fixed", "/").status, 200);
    let made_room = lab.events().into_iter().any(|event| event.message.contains("makes room"));
    assert!(made_room, "it was a swap");
    assert_eq!(ended.requests.map(|counts| counts.lost), Some(0));
}
