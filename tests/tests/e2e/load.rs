//! Under load: deploys, restarts, scaling and crashes while requests go on, and none of them fails.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tucano_common::metrics::{self, Metric};
use tucano_common::wire::views::InstanceView;
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE};
use tucano_tools::load::{Plan, Report, Stop, run};

/// GETs at a steady rate, for as long as nobody stops them.
fn plan(lab: &Lab) -> Plan {
    let mut plan = Plan::new(lab.balancer(), "web");
    plan.rate = Some(300);
    plan.connections = 16;
    plan.duration = MINUTE * 3;
    plan.contains = Some("service=web".to_owned());
    plan
}

/// Sends them while `during` happens, and on until there were enough to tell (what happens may be
/// over in a blink); gives what was counted.
fn under_load(lab: &Lab, during: impl FnOnce()) -> Report {
    let enough = sum(lab, metrics::HTTP_ACCEPTED) + 100.0;
    let plan = plan(lab);
    let stop = Stop::default();
    let of_thread = stop.clone();
    let load = thread::spawn(move || run(&plan, &of_thread).expect("the generator runs"));
    during();
    lab.until("a hundred requests", MINUTE, || {
        (sum(lab, metrics::HTTP_ACCEPTED) >= enough).then_some(())
    });
    stop.stop();
    load.join().expect("the generator ends")
}

/// A metric, summed over its labels.
fn sum(lab: &Lab, metric: Metric) -> f64 {
    let text = lab.ask(Method::Get, "/metrics", None).text().into_owned();
    let own = |line: &&str| {
        line.strip_prefix(metric.name).is_some_and(|rest| rest.starts_with([' ', '{']))
    };
    let values = text.lines().filter(own).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum()
}

fn assert_lossless(report: &Report) {
    assert!(report.succeeded > 50, "hardly any load: {report}");
    assert_eq!(report.failed(), 0, "{report}");
}

#[test]
fn a_deploy_under_load_loses_no_request() {
    let lab = Lab::start(2);
    let mut spec = lab.demo("web", 3);
    lab.deploy(&spec);
    lab.wait_healthy("web", 3);
    let report = under_load(&lab, || {
        for round in 0..3 {
            spec["env"] = json!({ "ROUND": round.to_string() });
            lab.deploy(&spec);
        }
        lab.wait_healthy("web", 3);
    });
    assert_lossless(&report);
    assert!(report.by_instance.len() > 3, "new instances answered: {report}");
}

#[test]
fn a_rebalance_under_load_loses_no_request() {
    let lab = Lab::start(3);
    let drained = lab.ask(Method::Post, "/v1/workers/w3/drain", None);
    assert_eq!(drained.status, 202, "{}", drained.text());
    lab.deploy(&lab.demo("web", 4));
    let before = lab.wait_healthy("web", 4);
    let on_w3 = |each: &InstanceView| each.worker.as_ref().is_some_and(|it| it.as_str() == "w3");
    assert!(!before.iter().any(on_w3), "{before:?}");
    let report = under_load(&lab, || {
        let taken_back = lab.ask(Method::Post, "/v1/workers/w3/activate", None);
        assert_eq!(taken_back.status, 202, "{}", taken_back.text());
        // The imbalance has to last for a minute.
        lab.until("a move to the worker that is back", MINUTE * 2, || {
            let all = lab.service("web").instances;
            let whole = all.len() == 4 && all.iter().all(|each| each.healthy);
            (whole && all.iter().any(on_w3)).then_some(())
        });
        lab.answering("web", 4);
    });
    assert_lossless(&report);
    assert!(report.by_instance.len() >= 4, "all four answered: {report}");
    let moves = lab.events().iter().filter(|event| event.kind == "instance_moving").count();
    assert_eq!(moves, 1, "one move makes it even");
}

#[test]
fn scaling_under_load_loses_no_request() {
    let lab = Lab::start(2);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    lab.wait_healthy("web", 2);
    let report = under_load(&lab, || {
        for count in [5, 1, 3] {
            let body = json!({ "concurrency": count });
            let answer = lab.ask(Method::Post, "/v1/services/web/scale", Some(&body));
            assert_eq!(answer.status, 202, "{}", answer.text());
            lab.wait_healthy("web", count);
        }
    });
    assert_lossless(&report);
}

#[test]
fn crashes_under_load_lose_no_safe_request() {
    let mut lab = Lab::start(2);
    let mut spec = lab.demo("web", 3);
    spec["restart"] = json!({ "backoff": "200ms" });
    lab.deploy(&spec);
    let victims = lab.wait_healthy("web", 3);
    let plan = plan(&lab);
    let stop = Stop::default();
    let of_thread = stop.clone();
    let load = thread::spawn(move || run(&plan, &of_thread).expect("the generator runs"));
    for victim in &victims[..2] {
        lab.kill_instance(victim);
        lab.until("its return", MINUTE, || {
            let back = |i: &&InstanceView| i.id == victim.id && i.restarts > 0 && i.healthy;
            lab.service("web").instances.iter().find(back).map(|_| ())
        });
    }
    // The agent too; its instances go on.
    lab.cluster.worker(0).expect("w1").kill();
    lab.cluster.start_worker(0).unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(2);
    stop.stop();
    assert_lossless(&load.join().expect("the generator ends"));
}

#[test]
fn long_requests_are_finished_before_their_instance_ends() {
    let lab = Lab::start(1);
    let mut spec = lab.demo("web", 1);
    spec["stop"] = json!({ "drain": "20s", "grace": "2s" });
    lab.deploy(&spec);
    let mut plan = Plan::new(lab.balancer(), "web");
    plan.path = "/slow?ms=3000".to_owned();
    plan.connections = 4;
    plan.requests = 4;
    let slow = thread::spawn(move || run(&plan, &Stop::default()).expect("the generator runs"));
    lab.until("four requests in flight", Duration::from_secs(10), || {
        (sum(&lab, metrics::HTTP_IN_FLIGHT) >= 4.0).then_some(())
    });
    spec["env"] = json!({ "NEW": "1" });
    lab.deploy(&spec);
    let report = slow.join().expect("the generator ends");
    assert_eq!((report.succeeded, report.failed()), (4, 0), "{report}");
}

#[test]
fn the_ledger_balances() {
    let lab = Lab::start(2);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let report = under_load(&lab, || {
        for _ in 0..50 {
            assert_eq!(lab.fetch("nobody", "/").status, 404);
        }
        lab.until("two hundred requests", MINUTE, || {
            (sum(&lab, metrics::HTTP_ACCEPTED) >= 200.0).then_some(())
        });
    });
    assert_lossless(&report);
    let accepted = sum(&lab, metrics::HTTP_ACCEPTED);
    assert!(accepted >= 200.0, "{accepted}");
    // Nothing is in flight any more but what asks for the metrics, and that is the API's.
    let ended = sum(&lab, metrics::HTTP_ENDED) + sum(&lab, metrics::HTTP_IN_FLIGHT);
    assert_eq!(accepted, ended);
}
