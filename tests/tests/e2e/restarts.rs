//! kill -9 and restarts of the controller and of agents: nothing that was promised is forgotten, no
//! instance is touched.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use tucano_common::metrics;
use tucano_common::wire::views::{
    DeploymentView, EventView, InstanceView, RevisionView, ServiceState, WorkerView,
};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SOON, specs};
use tucano_tools::load::{Plan, Report, Stop, run};

/// Ids, processes and restarts: what must not change.
fn identity(instances: &[InstanceView]) -> BTreeMap<String, (Option<u32>, u32)> {
    let pairs = instances.iter().map(|i| (i.id.to_string(), (i.pid, i.restarts)));
    pairs.collect()
}

#[test]
fn a_killed_controller_forgets_nothing_and_touches_nothing() {
    let mut lab = Lab::start(2);
    let spec = lab.demo("web", 3);
    let deployment = lab.deploy(&spec);
    lab.deploy(&specs::shell("ticker", 1));
    let before = lab.wait_healthy("web", 3);
    let events = lab.events();
    lab.cluster.controller().expect("a controller").kill();
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));

    // At once: everything that was answered with 2xx.
    let after: DeploymentView = lab.get(&format!("/v1/deployments/{}", deployment.id));
    assert_eq!((after.state, after.revision), (deployment.state, deployment.revision));
    let revisions: Vec<RevisionView> = lab.get("/v1/services/web/revisions");
    assert_eq!(revisions.len(), 1);
    assert_eq!(lab.get::<Vec<WorkerView>>("/v1/workers").len(), 2);
    let kept: Vec<EventView> = lab.events();
    assert!(kept.starts_with(&events), "events were lost or changed");

    // As soon as the agents reported: the same processes, routed again.
    let again = lab.wait_healthy("web", 3);
    assert_eq!(identity(&again), identity(&before));
    lab.answering("web", 3);
    lab.wait_healthy("ticker", 1);
    assert_eq!(lab.service("web").state, ServiceState::Running);
    // And it goes on working.
    lab.remove("ticker");
}

#[test]
fn a_controller_that_is_asked_to_stop_exits_0_and_comes_back() {
    let mut lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 1);
    let status = lab.cluster.controller().expect("a controller").stop(MINUTE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(identity(&lab.wait_healthy("web", 1)), identity(&before));
}

#[test]
fn a_killed_agent_takes_its_instances_up_again() {
    let mut lab = Lab::start(2);
    let spec = lab.demo("web", 4);
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 4);
    lab.cluster.worker(0).expect("w1").kill();
    // Nobody watches, and everybody serves.
    lab.answering("web", 4);
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(2);
    assert_eq!(identity(&lab.wait_healthy("web", 4)), identity(&before));
    lab.answering("web", 4);
    // It watches them again: what it takes up, it can end.
    lab.remove("web");
    lab.assert_no_process();
}

#[test]
fn an_agent_that_is_asked_to_stop_leaves_its_instances() {
    let mut lab = Lab::start(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 2);
    let status = lab.cluster.worker(0).expect("w1").stop(SOON);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let pids: Vec<i32> = lab.cluster.strays().iter().map(|stray| stray.pid).collect();
    for instance in &before {
        let pid = i32::try_from(instance.pid.expect("a process")).expect("a pid");
        assert!(pids.contains(&pid), "{pid} is gone: {pids:?}");
    }
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(identity(&lab.wait_healthy("web", 2)), identity(&before));
}

#[test]
fn what_died_while_nobody_watched_is_noticed_and_started_again() {
    let mut lab = Lab::start(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 2);
    lab.cluster.worker(0).expect("w1").kill();
    lab.kill_instance(&before[0]);
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    let after = lab.until("two healthy instances, one of them anew", MINUTE, || {
        let healthy = lab.healthy("web");
        let anew = healthy.iter().any(|i| i.pid.is_some() && before.iter().all(|b| b.pid != i.pid));
        (healthy.len() == 2 && anew).then_some(healthy)
    });
    assert!(after.iter().any(|instance| instance.pid == before[1].pid), "{after:?}");
}

#[test]
fn services_go_on_while_the_controller_is_away() {
    let mut lab = Lab::start(1);
    let mut spec = lab.demo("web", 1);
    spec["restart"] = serde_json::json!({ "backoff": "100ms" });
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 1).remove(0);
    lab.cluster.controller().expect("a controller").kill();
    lab.kill_instance(&before);
    // The agent starts it again without being told.
    let killed = before.pid.and_then(|pid| i32::try_from(pid).ok());
    lab.until("another process", SOON, || {
        let strays = lab.cluster.strays();
        let anew = |pid: i32, command: &str| command.contains("tucano-demo") && Some(pid) != killed;
        strays.iter().any(|stray| anew(stray.pid, &stray.command)).then_some(())
    });
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    let after = lab.until("its report", SOON, || {
        lab.healthy("web").into_iter().find(|instance| instance.restarts == 1)
    });
    assert_eq!(after.id, before.id);
    assert_eq!(lab.fetch("web", "/").status, 200);
}

#[test]
fn a_service_deleted_while_its_worker_was_away_ends_when_it_returns() {
    let mut lab = Lab::start(1);
    lab.deploy(&specs::shell("ticker", 1));
    lab.cluster.worker(0).expect("w1").stop(SOON);
    let answer = lab.ask(Method::Delete, "/v1/services/ticker", None);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(!lab.cluster.strays().is_empty());
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.until("the service's end", MINUTE, || {
        let answer = lab.ask(Method::Get, "/v1/services/ticker", None);
        (answer.status == 404).then_some(())
    });
    lab.assert_no_process();
}

#[test]
fn a_second_agent_under_the_same_name_is_refused_while_the_first_lives() {
    let mut lab = Lab::start(1);
    let other = lab.scratch("other").display().to_string();
    let api = lab.url();
    let log = lab.folder().join("second.log");
    let binary = lab.cluster.binary("tucano-worker").expect("it is built");
    let mut flags: Vec<String> =
        ["--controller", &api, "--name", "w1", "--data-dir", &other].map(str::to_owned).to_vec();
    flags.extend(["--listen".to_owned(), format!("{}:7072", lab.balancer().ip())]);
    if nix::unistd::geteuid().is_root() {
        flags.extend(["--run-as".to_owned(), "nobody".to_owned()]);
    }
    let mut second = tucano_tools::cluster::Daemon::start(binary, &flags, &log).expect("it starts");
    lab.until("a word on the name", SOON, || second.log().contains("w1").then_some(()));
    let worker: WorkerView = lab.get("/v1/workers/w1");
    assert_eq!(worker.agent_port, 7071, "the first one stays");
    second.signal(Signal::SIGKILL).expect("it is ours");
    assert!(lab.cluster.worker(0).expect("w1").status().is_none());
}

#[test]
fn a_controller_that_lost_its_memory_stops_nothing() {
    let mut lab = Lab::start(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 2);
    lab.cluster.controller().expect("a controller").kill();
    std::fs::remove_dir_all(lab.folder().join("controller")).expect("its memory");
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    // It is told what to do several times over, by a controller that knows of no service.
    let mut heard = Vec::new();
    lab.until("several heartbeats", MINUTE, || {
        let worker: WorkerView = lab.get("/v1/workers/w1");
        heard.extend(worker.last_seen.filter(|at| !heard.contains(at)));
        (heard.len() > 4).then_some(())
    });
    let pids: Vec<i32> = lab.cluster.strays().iter().map(|stray| stray.pid).collect();
    for instance in &before {
        let pid = i32::try_from(instance.pid.expect("a process")).expect("a pid");
        assert!(pids.contains(&pid), "{pid} is gone: {pids:?}");
    }
}

#[test]
fn a_damaged_database_is_refused_by_name_and_services_go_on() {
    let mut lab = Lab::start(1);
    lab.deploy(&specs::shell("ticker", 1));
    lab.cluster.controller().expect("a controller").stop(MINUTE);
    let database = lab.folder().join("controller/tucano.db");
    std::fs::write(&database, vec![b'x'; 65_536]).expect("damage");
    let refused = lab.cluster.start_controller().expect_err("a damaged database").to_string();
    assert!(refused.contains("tucano.db"), "{refused}");
    let status = lab.cluster.controller().expect("a controller").wait(SOON);
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{refused}");
    assert!(!lab.cluster.strays().is_empty(), "the service was ended");
}

/// A request that takes so long, sent and in flight.
fn slow(lab: &Lab, ms: u32) -> std::thread::JoinHandle<Report> {
    let mut plan = Plan::new(lab.balancer(), "web");
    plan.path = format!("/slow?ms={ms}");
    (plan.connections, plan.requests) = (1, 1);
    let load = std::thread::spawn(move || run(&plan, &Stop::default()).expect("it runs"));
    lab.until("a request in flight", SOON, || {
        let text = lab.ask(Method::Get, "/metrics", None).text().into_owned();
        let in_flight = |line: &&str| line.starts_with(metrics::HTTP_IN_FLIGHT.name);
        text.lines().filter(in_flight).any(|line| line.ends_with(" 1")).then_some(())
    });
    load
}

#[test]
fn requests_in_flight_are_answered_before_the_controller_leaves() {
    let mut lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    let request = slow(&lab, 2000);
    let status = lab.cluster.controller().expect("a controller").stop(MINUTE);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let report = request.join().expect("the request ended");
    assert_eq!((report.succeeded, report.failed()), (1, 0), "{report}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut lab = Lab::start(1);
    let spec = lab.demo("web", 1);
    lab.deploy(&spec);
    let request = slow(&lab, 50_000);
    let balancer = lab.balancer();
    let controller = lab.cluster.controller().expect("a controller");
    controller.signal(Signal::SIGTERM).expect("it is ours");
    tucano_tools::wait::until("the balancer's end of listening", SOON, || {
        std::net::TcpStream::connect(balancer).is_err().then_some(())
    })
    .expect("it stops accepting");
    assert!(controller.status().is_none(), "it waits for the request");
    controller.signal(Signal::SIGTERM).expect("it is ours");
    assert!(controller.wait(SOON).is_some());
    // It did not wait for it.
    let report = request.join().expect("the request ended");
    assert_eq!(report.succeeded, 0, "{report}");
}
