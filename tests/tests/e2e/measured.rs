//! What agents measure decides: a worker with less free CPU and memory gets fewer new instances and
//! fewer requests. The agents are made up, so that the measurements are what the test says.

use serde_json::json;
use tucano_common::wire::views::WorkerView;
use tucano_net::Method;
use tucano_tests::{Lab, Puppet, SOON, specs};
use tucano_tools::load::{Plan, Report, Stop, run};

/// Two workers that differ in nothing but what they measure, heard often enough to be smoothed.
fn two(lab: &Lab) -> (Puppet, Puppet) {
    let mut busy = Puppet::join(lab, "busy", 0.80, 0.80);
    let mut idle = Puppet::join(lab, "idle", 0.05, 0.10);
    for _ in 0..10 {
        busy.beat(lab);
        idle.beat(lab);
    }
    (busy, idle)
}

/// Heartbeats until each of the two has taken what it was given, `wanted` in all.
fn settle(lab: &Lab, busy: &mut Puppet, idle: &mut Puppet, wanted: usize) {
    lab.until("every instance taken up", SOON, || {
        busy.beat(lab);
        idle.beat(lab);
        (busy.count() + idle.count() == wanted).then_some(())
    });
    busy.beat(lab);
    idle.beat(lab);
}

#[test]
fn a_measured_worker_gets_fewer_new_instances() {
    let lab = Lab::start(0);
    let (mut busy, mut idle) = two(&lab);
    let seen: WorkerView = lab.get("/v1/workers/busy");
    assert!(seen.metrics.is_some_and(|metrics| metrics.cpu_ratio > Some(0.7)), "it is measured");
    for number in 0..6 {
        let spec = specs::shell(&format!("single-{number}"), 1);
        let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
        assert_eq!(answer.status, 202, "{}", answer.text());
        settle(&lab, &mut busy, &mut idle, number + 1);
    }
    assert!(idle.count() > busy.count(), "idle {}, busy {}", idle.count(), busy.count());
}

#[test]
fn a_measured_worker_gets_fewer_requests() {
    let lab = Lab::start(0);
    let (mut busy, mut idle) = two(&lab);
    let spec = json!({
        "name": "web",
        "network": { "expose_port": 80 },
        "scripts": { "runtime-script": "made up" },
        "concurrency": 2,
    });
    let answer = lab.ask(Method::Post, "/v1/services", Some(&spec));
    assert_eq!(answer.status, 202, "{}", answer.text());
    settle(&lab, &mut busy, &mut idle, 2);
    assert_eq!((busy.count(), idle.count()), (1, 1), "spread comes first");
    lab.until("both instances healthy", SOON, || (lab.healthy("web").len() == 2).then_some(()));
    let requests = |report: &Report, worker: &str| {
        let service = lab.service("web");
        let on = |id: &str| {
            let mut instances = service.instances.iter().filter(|i| i.id.to_string() == id);
            instances.any(|i| i.worker.as_ref().is_some_and(|name| name.as_str() == worker))
        };
        report.by_instance.iter().filter(|(id, _)| on(id)).map(|(_, count)| count).sum::<u64>()
    };
    let mut plan = Plan::new(lab.balancer(), "web");
    (plan.connections, plan.requests) = (32, 4000);
    let report = run(&plan, &Stop::default()).expect("the generator runs");
    assert_eq!(report.failed(), 0, "{report}");
    let (of_busy, of_idle) = (requests(&report, "busy"), requests(&report, "idle"));
    assert!(of_busy > 0, "less is not nothing: {report}");
    assert!(of_idle * 10 > of_busy * 12, "idle {of_idle}, busy {of_busy}: {report}");
}
