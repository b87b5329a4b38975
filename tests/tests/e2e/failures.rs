//! Things that go wrong: builds, starts, ports, processes, workers.

use std::net::TcpListener;

use serde_json::json;
use tucano_common::wire::views::{
    DeploymentState, DeploymentView, InstanceState, ServiceState, ServiceView, WorkerState,
    WorkerView,
};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SOON, specs};

#[test]
fn a_build_that_fails_says_why() {
    let lab = Lab::start(2);
    let mut spec = specs::shell("unbuilt", 2);
    spec["scripts"]["build-script"] = json!("echo compiling; echo no such module >&2; exit 7");
    let answer = lab.try_deploy(&spec);
    assert_eq!(answer.status, 424, "{}", answer.text());
    let text = answer.text().into_owned();
    assert!(text.contains("no such module") && text.contains('7'), "{text}");
    let detail =
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["detail"].to_string();
    assert_eq!(detail.matches("the build script ended with exit code 7").count(), 1, "{detail}");
    let service = lab.service("unbuilt");
    assert_eq!((service.state, service.healthy), (ServiceState::Failed, 0), "{service:?}");
    let deployments: Vec<DeploymentView> = lab.get("/v1/deployments");
    assert_eq!(deployments[0].state, DeploymentState::Failed);
    let failure = deployments[0].failure.as_ref().expect("the failure");
    assert!(failure.output_tail.contains("no such module"), "{failure:?}");
    lab.assert_no_process();
}

#[test]
fn a_build_that_hangs_is_ended_with_what_it_started() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("slow-build", 1);
    spec["scripts"]["build-script"] = json!("echo begun; sleep 600 & sleep 600");
    spec["build_timeout"] = json!("1s");
    let answer = lab.try_deploy(&spec);
    assert_eq!(answer.status, 424, "{}", answer.text());
    lab.assert_no_process();
}

#[test]
fn a_runtime_that_dies_at_once_fails_the_deployment() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("stillborn", 1);
    spec["scripts"]["runtime-script"] = json!("echo cannot open config.yml; exit 3");
    spec["restart"] = json!({ "backoff": "50ms", "backoff_max": "100ms" });
    spec["update"] = json!({ "min_healthy": "100ms", "healthy_deadline": "5s" });
    let answer = lab.try_deploy(&spec);
    assert_eq!(answer.status, 424, "{}", answer.text());
    let text = answer.text().into_owned();
    assert!(text.contains("cannot open config.yml"), "{text}");
    assert_eq!(lab.service("stillborn").healthy, 0);
}

#[test]
fn a_bad_revision_goes_back_to_the_last_good_one() {
    let lab = Lab::start(2);
    let good = lab.demo("web", 2);
    lab.deploy(&good);
    let before: Vec<_> = lab.service("web").instances.iter().map(|i| i.id).collect();
    let mut bad = good;
    bad["scripts"]["runtime-script"] = json!("echo broken release >&2; exit 1");
    bad["restart"] = json!({ "backoff": "50ms", "backoff_max": "100ms" });
    bad["update"] = json!({ "min_healthy": "100ms", "healthy_deadline": "5s" });
    let answer = lab.try_deploy(&bad);
    assert_eq!(answer.status, 424, "{}", answer.text());
    assert!(answer.text().contains("broken release"), "{}", answer.text());
    let deployments: Vec<DeploymentView> = lab.get("/v1/deployments");
    let failed = deployments.iter().find(|deployment| deployment.revision == 2);
    let failed = failed.expect("the second deployment");
    assert_eq!(failed.state, DeploymentState::Reverted, "{failed:?}");
    // No healthy instance was stopped because a new one failed.
    let after = lab.wait_healthy("web", 2);
    assert!(after.iter().all(|instance| before.contains(&instance.id)), "{after:?}");
    assert_eq!(lab.fetch("web", "/").status, 200);
}

#[test]
fn a_runtime_that_ignores_sigterm_is_killed_after_its_grace() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("stubborn", 1);
    spec["scripts"]["runtime-script"] =
        json!("trap 'echo not yet' TERM; while true; do sleep 0.1; done");
    spec["stop"] = json!({ "drain": "0s", "grace": "1s" });
    lab.deploy(&spec);
    lab.remove("stubborn");
    lab.assert_no_process();
}

#[test]
fn what_a_service_forked_away_ends_with_it() {
    let lab = Lab::start(1);
    let mut spec = specs::shell("forker", 1);
    spec["scripts"]["runtime-script"] = json!(
        "setsid sh -c 'trap \"\" TERM; while true; do sleep 1; done' & \
         (sleep 3600 &); while true; do sleep 0.2; done"
    );
    spec["stop"] = json!({ "drain": "0s", "grace": "1s" });
    lab.deploy(&spec);
    lab.until("its children", SOON, || (lab.cluster.strays().len() >= 3).then_some(()));
    lab.remove("forker");
    lab.assert_no_process();
}

#[test]
fn a_fixed_port_that_is_taken_is_named() {
    let lab = Lab::start(1);
    let address = lab.cluster.layout.workers[0].agent.ip();
    let held = TcpListener::bind((address, 0)).expect("a port");
    let port = held.local_addr().expect("its number").port();
    let mut spec = specs::python("fixed", 1);
    spec["network"]["fixed_port"] = json!(port);
    spec["restart"] = json!({ "backoff": "50ms", "backoff_max": "100ms" });
    spec["update"] = json!({ "min_healthy": "100ms", "healthy_deadline": "4s" });
    let answer = lab.try_deploy(&spec);
    assert_eq!(answer.status, 424, "{}", answer.text());
    assert!(answer.text().contains(&port.to_string()), "{}", answer.text());
    drop(held);
    spec["env"] = json!({ "TRY": "2" });
    lab.deploy(&spec);
    assert_eq!(lab.service("fixed").instances[0].address.expect("an address").port(), port);
}

#[test]
fn an_expose_port_that_is_taken_refuses_the_deploy() {
    let lab = Lab::start(1);
    let held = TcpListener::bind((lab.balancer().ip(), 0)).expect("a port");
    let port = held.local_addr().expect("its number").port();
    let mut spec = specs::python("exposed", 1);
    spec["network"]["expose_port"] = json!(port);
    let answer = lab.try_deploy(&spec);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains(&port.to_string()), "{}", answer.text());
    assert_eq!(lab.ask(Method::Get, "/v1/services/exposed", None).status, 404);
    drop(held);
    lab.deploy(&spec);
}

#[test]
fn a_host_that_another_service_holds_refuses_the_deploy() {
    let lab = Lab::start(1);
    let mut first = lab.demo("first", 1);
    first["network"]["hosts"] = json!(["shop.lan", "*.shop.lan"]);
    lab.deploy(&first);
    let mut second = lab.demo("second", 1);
    second["network"]["hosts"] = json!(["SHOP.lan."]);
    let answer = lab.try_deploy(&second);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("first"), "{}", answer.text());
    assert_eq!(lab.ask(Method::Get, "/v1/services/second", None).status, 404);
}

#[test]
fn a_killed_instance_starts_again_in_its_place() {
    let lab = Lab::start(2);
    let mut spec = lab.demo("web", 2);
    spec["restart"] = json!({ "backoff": "200ms" });
    lab.deploy(&spec);
    let killed = lab.healthy("web").remove(0);
    lab.kill_instance(&killed);
    for _ in 0..10 {
        assert_eq!(lab.fetch("web", "/").status, 200);
    }
    let back = lab.until("its return", MINUTE, || {
        let instances = lab.healthy("web");
        instances.into_iter().find(|i| i.id == killed.id && i.restarts == 1)
    });
    assert_ne!(back.pid, killed.pid);
    assert_eq!(back.worker, killed.worker);
    lab.wait_healthy("web", 2);
}

#[test]
fn a_dead_workers_instances_move_and_the_worker_is_welcomed_back() {
    let mut lab = Lab::with(
        3,
        &["--worker-suspect", "2s", "--worker-timeout", "5s"],
        &["--heartbeat", "200ms"],
    );
    let spec = lab.demo("web", 3);
    lab.deploy(&spec);
    // Wherever it is: on a machine that others keep busy, load decides.
    let lost = lab.service("web").instances.remove(0);
    let name = lost.worker.clone().expect("a worker");
    let place: usize = name.as_str()[1..].parse().expect("w1, w2, w3");
    // The machine loses its power: the agent and what it runs are gone at once.
    lab.cluster.worker(place - 1).expect("its agent").kill();
    let there = lab.service("web").instances.into_iter();
    there.filter(|it| it.worker == lost.worker).for_each(|it| lab.kill_instance(&it));
    lab.until("the worker's death", MINUTE, || {
        let worker: WorkerView = lab.get(&format!("/v1/workers/{name}"));
        (worker.state == WorkerState::Dead).then_some(())
    });
    let instances = lab.until("three instances on two workers", MINUTE, || {
        let healthy = lab.healthy("web");
        let elsewhere = healthy.iter().all(|it| it.worker.is_some() && it.worker != lost.worker);
        (healthy.len() == 3 && elsewhere).then_some(healthy)
    });
    assert!(instances.iter().any(|instance| instance.replaces == Some(lost.id)), "{instances:?}");
    for _ in 0..10 {
        assert_eq!(lab.fetch("web", "/").status, 200);
    }
    lab.cluster.start_worker(place - 1).expect("it starts again");
    lab.wait_ready(3);
    let settled = lab.wait_healthy("web", 3);
    assert!(settled.iter().all(|instance| instance.id != lost.id), "{settled:?}");
}

#[test]
fn without_workers_a_service_waits_and_says_so() {
    let lab = Lab::start(0);
    let answer = lab.ask(Method::Post, "/v1/services", Some(&specs::shell("early", 1)));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let service: ServiceView = lab.until("the pending instance", SOON, || {
        let service: ServiceView = lab.api.get("/v1/services/early").ok()?;
        (!service.instances.is_empty()).then_some(service)
    });
    assert_eq!(service.instances[0].state, InstanceState::Pending);
    assert!(service.instances[0].waits_for.as_ref().is_some_and(|text| text.contains("worker")));
}
