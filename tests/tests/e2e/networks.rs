//! Workers that can't be reached, under steady requests: real hosts (network namespaces), the real
//! binaries, Python's file server behind the balancer, every answer checked and counted.
//!
//! Where namespaces can't be made, agents are stopped instead of cables cut: the same is asked of
//! the cluster then, but for what only a cable can show; nothing is skipped.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tucano_common::id::InstanceId;
use tucano_common::wire::views::{
    DeploymentState, DeploymentView, InstanceState, InstanceView, ServiceView, WorkerState,
    WorkerView,
};
use tucano_net::Method;
use tucano_tests::{Forgets, Lab, Lost, MINUTE, NetLab, SOON, Traffic, specs};
use tucano_tools::load::{Failure, Plan, Report, Stop, run};

/// A worker is given up sooner than by default.
const SOONER: [&str; 4] = ["--worker-suspect", "2s", "--worker-timeout", "5s"];
/// Requests a second.
const RATE: u32 = 200;
const HELLO: &str = "hello from web";

fn state_of(lab: &Lab, name: &str) -> Option<WorkerState> {
    let workers: Vec<WorkerView> = lab.api.get("/v1/workers").ok()?;
    workers.into_iter().find(|worker| worker.name.as_str() == name).map(|worker| worker.state)
}

fn wait_for(lab: &Lab, name: &str, state: WorkerState) {
    lab.until(&format!("{name} {state:?}"), MINUTE, || {
        (state_of(lab, name) == Some(state)).then_some(())
    });
}

/// The instances of a service that are on this worker.
fn on_worker(lab: &Lab, service: &str, worker: &str) -> Vec<InstanceView> {
    let is_there =
        |it: &InstanceView| it.worker.as_ref().is_some_and(|name| name.as_str() == worker);
    lab.service(service).instances.into_iter().filter(is_there).collect()
}

fn ids(instances: &[InstanceView]) -> BTreeSet<InstanceId> {
    instances.iter().map(|instance| instance.id).collect()
}

/// All of these processes live.
fn live(lab: &Lab, instances: &[InstanceView]) -> bool {
    let living: BTreeSet<u32> =
        lab.cluster.strays().iter().map(|stray| stray.pid.unsigned_abs()).collect();
    !instances.is_empty()
        && instances.iter().all(|it| it.pid.is_some_and(|pid| living.contains(&pid)))
}

/// So many workers, so many instances of `web`, and its traffic.
fn loaded(workers: u8, concurrency: u32) -> (NetLab, Traffic) {
    let net = NetLab::start(workers, &SOONER);
    net.lab.deploy(&specs::python_kept("web", concurrency));
    net.lab.wait_healthy("web", concurrency as usize);
    let traffic = Traffic::start(&net.lab, "web", RATE, HELLO);
    traffic.wait_for(&net.lab, 200);
    (net, traffic)
}

/// Of so many instances each has about its part of the requests again: half of it or more.
fn wait_for_fair_shares(lab: &Lab, instances: usize) {
    let mut plan = Plan::new(lab.balancer(), "web");
    (plan.rate, plan.requests) = (Some(RATE), u64::from(RATE));
    lab.until("fair shares", SOON, || {
        let report = run(&plan, &Stop::default()).expect("clients that run");
        assert_eq!(report.failed(), 0, "{report}");
        let enough = u64::from(RATE) / instances as u64 / 2;
        let fair = report.by_instance.values().filter(|count| **count >= enough).count();
        (fair == instances).then_some(())
    });
}

#[test]
fn a_worker_that_loses_its_cable_loses_no_request() {
    let (mut net, traffic) = loaded(3, 3);
    net.cut(1, Lost::Both);
    wait_for(&net.lab, "w1", WorkerState::Dead);
    traffic.wait_for(&net.lab, 200);
    net.heal(1, Lost::Both);
    wait_for(&net.lab, "w1", WorkerState::Ready);
    net.lab.wait_healthy("web", 3);
    traffic.wait_for(&net.lab, 200);
    let slowest = traffic.end_without_loss(&net.lab);
    wait_for_fair_shares(&net.lab, 3);
    if net.has_cables() {
        assert!(slowest < Duration::from_millis(1500), "the slowest took {slowest:?}");
        let told = net.lab.events().iter().any(|event| event.kind == "host_silent");
        assert!(told, "nobody told of the silence");
    }
}

/// So many requests that take so long, at once.
fn slow(lab: &Lab, count: usize, ms: u32) -> std::thread::JoinHandle<Report> {
    let mut plan = Plan::new(lab.balancer(), "web");
    plan.path = format!("/slow?ms={ms}");
    (plan.connections, plan.requests) = (count, count as u64);
    std::thread::spawn(move || run(&plan, &Stop::default()).expect("it runs"))
}

fn is_told_silent(lab: &Lab) -> bool {
    lab.events().iter().any(|event| event.kind == "host_silent")
}

#[test]
fn a_slow_service_is_no_dead_host_and_a_dead_host_is_no_slow_service() {
    let mut net = NetLab::start(2, &SOONER);
    net.lab.deploy(&net.lab.demo("web", 2));
    net.lab.wait_healthy("web", 2);
    let report = slow(&net.lab, 8, 1500).join().expect("clients");
    assert_eq!((report.requests, report.failed()), (8, 0), "{report}");
    assert_eq!(report.by_instance.len(), 2, "{report}");
    assert!(!is_told_silent(&net.lab), "they were slow, no more");

    // All is sent and acknowledged when the cable goes: only the agent can tell.
    let requests = slow(&net.lab, 8, 3000);
    net.lab.until("requests in flight", SOON, || {
        (net.lab.service("web").requests.in_flight == 8).then_some(())
    });
    net.cut(1, Lost::Both);
    let report = requests.join().expect("clients");
    eprintln!("{report}");
    assert_eq!((report.requests, report.failed()), (8, 0), "{report}");
    assert_eq!(is_told_silent(&net.lab), net.has_cables(), "an agent that stopped is no dead host");
    net.heal(1, Lost::Both);
}

/// A service that starts once this file is there.
fn gated(gate: &Path) -> Value {
    let mut spec = specs::python_kept("gated", 3);
    let wait = format!("until [ -e {} ]; do sleep 0.1; done", gate.display());
    spec["scripts"]["runtime-script"] = json!(format!("{wait}; {}", specs::PYTHON_KEPT));
    spec["network"]["health_check"]["start_timeout"] = json!("5m");
    spec["update"]["healthy_deadline"] = json!("5m");
    spec
}

#[test]
fn what_a_worker_that_was_cut_off_still_runs_is_kept_or_drained() {
    let (mut net, traffic) = loaded(3, 6);
    let gate = net.lab.scratch("gate").join("open");
    std::fs::write(&gate, "").expect("a gate");
    net.lab.deploy(&gated(&gate));
    let lost = [on_worker(&net.lab, "web", "w1"), on_worker(&net.lab, "gated", "w1")];
    let kept = ids(&net.lab.wait_healthy("gated", 3));
    std::fs::remove_file(&gate).expect("a gate to close");

    net.cut(1, Lost::Both);
    wait_for(&net.lab, "w1", WorkerState::Dead);
    net.lab.until("replacements of web alone", MINUTE, || {
        let web = net.lab.healthy("web");
        let all = web.len() == 6 && ids(&web).is_disjoint(&ids(&lost[0]));
        let starting = net.lab.service("gated").instances;
        (all && starting.iter().any(|it| it.state == InstanceState::Starting)).then_some(())
    });
    assert!(lost.iter().all(|lost| live(&net.lab, lost)), "they were not to be ended");

    net.heal(1, Lost::Both);
    wait_for(&net.lab, "w1", WorkerState::Ready);
    // Web has its replacements: those that returned are extra. Gated is better off with its own.
    assert_eq!(ids(&net.lab.wait_healthy("gated", 3)), kept);
    net.lab.wait_healthy("web", 6);
    net.lab.until("the end of what is too many", SOON, || {
        let servers = net.lab.cluster.strays();
        let servers = servers.iter().filter(|stray| stray.command.contains("serve_forever"));
        (servers.count() == 9).then_some(())
    });
    traffic.wait_for(&net.lab, 200);
    traffic.end_without_loss(&net.lab);
}

#[test]
fn packets_lost_in_one_direction_lose_no_request() {
    let (mut net, traffic) = loaded(3, 3);
    for lost in [Lost::ToController, Lost::ToWorker] {
        net.cut(1, lost);
        wait_for(&net.lab, "w1", WorkerState::Dead);
        traffic.wait_for(&net.lab, 200);
        net.heal(1, lost);
        wait_for(&net.lab, "w1", WorkerState::Ready);
        net.lab.wait_healthy("web", 3);
    }
    traffic.wait_for(&net.lab, 200);
    traffic.end_without_loss(&net.lab);
}

#[test]
fn connections_that_are_half_dead_lose_no_request_and_no_instance() {
    let (mut net, traffic) = loaded(3, 3);
    let before = ids(&net.lab.healthy("web"));
    for forgets in [Forgets::Controller, Forgets::Worker] {
        net.cut(1, Lost::Both);
        net.halve(1, forgets);
        wait_for(&net.lab, "w1", WorkerState::Suspect);
        net.heal(1, Lost::Both);
        wait_for(&net.lab, "w1", WorkerState::Ready);
        traffic.wait_for(&net.lab, 200);
    }
    assert_eq!(ids(&net.lab.wait_healthy("web", 3)), before, "nobody was to be replaced");
    traffic.end_without_loss(&net.lab);
    wait_for_fair_shares(&net.lab, 3);
}

#[test]
fn a_controller_killed_in_mid_rollout_goes_on_with_it() {
    let (mut net, traffic) = loaded(2, 4);
    let mut next = specs::python_kept("web", 4);
    next["env"] = json!({ "NEXT": "1" });
    next["update"]["min_healthy"] = json!("1s");
    let answer = net.lab.ask(Method::Post, "/v1/services", Some(&next));
    assert_eq!(answer.status, 202, "{}", answer.text());
    net.lab.until("a rollout in its middle", MINUTE, || {
        let healthy = net.lab.healthy("web");
        healthy.iter().any(|instance| instance.revision == 2).then_some(())
    });
    net.lab.cluster.controller().expect("a controller").kill();
    let report = traffic.end();
    let gone = [Failure::Connect, Failure::Broken, Failure::Cut, Failure::NeverSent];
    assert!(report.failures.keys().all(|failure| gone.contains(failure)), "{report}");

    net.lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    let traffic = Traffic::start(&net.lab, "web", RATE, HELLO);
    let deployments: Vec<DeploymentView> = net.lab.get("/v1/deployments");
    let open = |it: &DeploymentView| it.state == DeploymentState::InProgress;
    assert!(deployments.iter().any(open), "it was over: {deployments:?}");
    net.lab.until("the end of the rollout", MINUTE, || {
        let service: ServiceView = net.lab.api.get("/v1/services/web").ok()?;
        let right = service.instances.iter().filter(|it| it.revision == 2 && it.healthy).count();
        (right == 4 && service.instances.len() == 4).then_some(())
    });
    traffic.wait_for(&net.lab, 200);
    traffic.end_without_loss(&net.lab);
}

#[test]
fn a_worker_is_drained_under_load_without_loss() {
    let (net, traffic) = loaded(3, 6);
    let moved = ids(&on_worker(&net.lab, "web", "w1"));
    assert_eq!(net.lab.ask(Method::Post, "/v1/workers/w1/drain", None).status, 202);
    net.lab.until("a worker that is empty", MINUTE, || {
        let all = net.lab.healthy("web");
        let empty = on_worker(&net.lab, "web", "w1").is_empty();
        (empty && all.len() == 6 && ids(&all).is_disjoint(&moved)).then_some(())
    });
    traffic.wait_for(&net.lab, 200);
    traffic.end_without_loss(&net.lab);
}
