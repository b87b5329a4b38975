//! A controller that is away or slow while things happen: agents go on, and tell it afterwards,
//! once.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::json;
use tucano_common::time::Wall;
use tucano_common::wire::worker::InstanceReport;
use tucano_net::blocking::Client;
use tucano_net::{Answer, Method, OutRequest};
use tucano_tests::{Lab, MINUTE, Pace, SlowWay, specs};
use tucano_tools::cluster::{Folder, Layout, Options};

#[test]
fn what_happened_meanwhile_is_told_with_its_own_time() {
    let mut lab = Lab::start(1);
    let mut spec = specs::shell("ticker", 1);
    spec["restart"] = json!({ "backoff": "1s", "backoff_max": "1s" });
    lab.deploy(&spec);
    let before = lab.wait_healthy("ticker", 1);
    lab.cluster.controller().expect("a controller").kill();

    // More ends than the last state could tell of. The first may still be before the agent noticed.
    let mut pid = before[0].pid.expect("a process");
    for _ in 0..4 {
        pid = kill_ticker(&lab, pid);
    }
    lab.cluster.start_controller().unwrap_or_else(|error| panic!("{error}"));
    lab.wait_ready(1);
    let told = lab.until("the ends of meanwhile", MINUTE, || {
        let events = lab.events();
        let ends = events.into_iter().filter(|event| event.kind == "process_ended");
        let messages = ends.map(|event| event.message);
        let late: Vec<String> = messages.filter(|it| it.contains("told late")).collect();
        (late.len() >= 2).then_some(late)
    });
    let times: Vec<Wall> = told.iter().map(|message| time_of(message)).collect();
    assert!(times.is_sorted() && times[0] < times[1], "{told:?}");
    let now = lab.wait_healthy("ticker", 1);
    assert_eq!(now[0].id, before[0].id, "it stayed where it was");
    assert!(now[0].restarts >= 4, "{now:?}");
}

/// Ends the ticker's process; the one that its agent starts instead.
fn kill_ticker(lab: &Lab, pid: u32) -> u32 {
    lab.kill_process(pid);
    lab.until("its next process", MINUTE, || {
        lab.scripts_with("tick").into_iter().find(|found| *found != pid)
    })
}

/// A worker whose controller's answers come this way.
fn behind_a_slow_way() -> (Lab, SlowWay) {
    let mut layout = Layout::private(1).expect("addresses");
    let way = SlowWay::start(layout.api);
    layout.workers[0].controller = Some(way.address);
    let folder = Folder::new("test").expect("a folder");
    (Lab::laid_out(folder, layout, Options::default(), None), way)
}

fn ask_agent(lab: &Lab, path: &str) -> Option<Answer> {
    let agent = lab.cluster.layout.workers[0].agent;
    let client = Client::new(vec![agent], agent.to_string());
    client.send(&OutRequest::new(Method::Get, path)).ok()
}

/// Whether an agent itself says that a service's one instance is well.
fn is_healthy(lab: &Lab, service: &str) -> Option<bool> {
    let reports: Vec<InstanceReport> = ask_agent(lab, "/v1/instances")?.json().ok()?;
    let of_service = |report: &&InstanceReport| report.service.as_str() == service;
    reports.iter().find(of_service).map(|report| report.healthy)
}

/// Waits until an agent had no answer to so many more heartbeats.
fn wait_unanswered(lab: &Lab, more: u64) {
    let unanswered = || -> Option<u64> {
        let text = ask_agent(lab, "/metrics")?.text().into_owned();
        let is_failed = |line: &&str| line.contains("heartbeats_total{result=\"failed\"}");
        text.lines().find(is_failed)?.rsplit_once(' ')?.1.parse().ok()
    };
    let before = lab.until("heartbeats so far", MINUTE, unanswered);
    lab.until("heartbeats without an answer", MINUTE, || {
        unanswered().filter(|count| *count >= before + more)
    });
}

/// The ends of processes that were told, each by its run: `runtime.ID.RUN`.
fn ends(lab: &Lab) -> Vec<String> {
    let ends = lab.events().into_iter().filter(|event| event.kind == "process_ended");
    ends.filter_map(|end| end.message.split_once(": ").map(|(run, _)| run.to_owned())).collect()
}

#[test]
fn a_controller_that_is_slow_stops_nothing_and_is_told_everything_once() {
    let (lab, way) = behind_a_slow_way();
    let mut ticker = specs::shell("ticker", 1);
    ticker["restart"] = json!({ "backoff": "1s", "backoff_max": "1s" });
    lab.deploy(&ticker);
    let mut checked = specs::python("checked", 1);
    checked["network"]["health_check"] =
        json!({ "path": "/index.html", "interval": "200ms", "unhealthy_after": 2 });
    lab.deploy(&checked);
    let before = lab.wait_healthy("ticker", 1).remove(0);
    let served = lab.wait_healthy("checked", 1).remove(0);
    let mut pid = before.pid.expect("a process");
    let mut ended = 0;

    // Later than an agent waits, then so slow that no answer gets whole: it hears nothing, and is
    // heard.
    for pace in [Pace::Late(Duration::from_secs(7)), Pace::Trickle(Duration::from_millis(500))] {
        way.set(pace);
        wait_unanswered(&lab, 1);
        for _ in 0..2 {
            pid = kill_ticker(&lab, pid);
        }
        // Checks go on.
        let builds = fs::read_dir(lab.folder().join("w1/builds")).expect("builds").flatten();
        let mut builds = builds.map(|entry| entry.path());
        let build = builds.find(|path| path.to_string_lossy().ends_with(".checked.1"));
        let page = build.expect("its build").join("index.html");
        let hidden = page.with_extension("hidden");
        for (from, to, healthy) in [(&page, &hidden, false), (&hidden, &page, true)] {
            fs::rename(from, to).expect("its page");
            lab.until("its health is seen", MINUTE, || {
                (is_healthy(&lab, "checked") == Some(healthy)).then_some(())
            });
        }
        // The controller knows all of it, and the agent does not know that: it says it again.
        ended += 2;
        lab.until("the ends are told", MINUTE, || (ends(&lab).len() >= ended).then_some(()));
        wait_unanswered(&lab, 1);
        way.set(Pace::Fine);
        lab.until("its process is known", MINUTE, || {
            let known = lab.wait_healthy("ticker", 1).remove(0);
            (known.pid == Some(pid)).then_some(())
        });
    }

    let now = lab.wait_healthy("ticker", 1).remove(0);
    assert_eq!((now.id, now.restarts), (before.id, 4), "it stayed where it was");
    let now = lab.wait_healthy("checked", 1).remove(0);
    assert_eq!((now.id, now.pid, now.restarts), (served.id, served.pid, 0));
    let events = lab.events();
    let told = ends(&lab);
    let different: BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), different.len()), (ended, ended), "{told:#?}");
    assert!(!events.iter().any(|event| event.kind == "worker_dead"), "slow is not dead");
}

/// `… (at 2026-01-31T03:12:00.000Z, told late)`.
fn time_of(message: &str) -> Wall {
    let (_, rest) = message.split_once("(at ").expect("a time");
    let (time, _) = rest.split_once(',').expect("its end");
    serde_json::from_value(json!(time)).expect("a time")
}
