//! A worker's machine that is short of something: memory for one more process, descriptors. What
//! runs goes on, what can't be started says why and is tried again, the agent lives and is heard.

use std::fs;
use std::process::Command;

use serde_json::json;
use tucano_common::wire::views::WorkerView;
use tucano_tests::{Lab, MINUTE, specs};

/// Sets a limit (of prlimit(1): `nofile`, `as`) of the agent; it can be raised again.
fn limit(lab: &mut Lab, what: &str, value: &str) {
    let pid = lab.cluster.worker(0).expect("w1").pid().to_string();
    let limited =
        Command::new("prlimit").args(["--pid", &pid]).arg(format!("--{what}={value}:")).status();
    assert!(limited.expect("prlimit runs (Debian: util-linux)").success());
}

/// How much address space the agent has.
fn address_space(lab: &mut Lab) -> u64 {
    let pid = lab.cluster.worker(0).expect("w1").pid();
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).expect("its sizes");
    let pages: u64 = text.split(' ').next().and_then(|it| it.parse().ok()).expect("a size");
    pages * 4096
}

/// A start fails while the limit holds, everything else goes on, and it comes about afterwards.
fn starts_again_after(
    lab: &mut Lab,
    reason: &str,
    limit_it: impl Fn(&mut Lab),
    lift: impl Fn(&mut Lab),
) {
    let agent = lab.cluster.worker(0).expect("w1").pid();
    let mut demo = lab.demo("web", 1);
    demo["network"]["health_check"]["interval"] = json!("200ms");
    lab.deploy(&demo);
    let mut ticker = specs::shell("ticker", 1);
    ticker["restart"] = json!({ "backoff": "1s", "backoff_max": "1s", "attempts": 1000 });
    lab.deploy(&ticker);
    let served = lab.wait_healthy("web", 1).remove(0);
    let before = lab.wait_healthy("ticker", 1).remove(0);

    limit_it(lab);
    lab.kill_instance(&before);
    let event = lab.until("an event that says why", MINUTE, || {
        let mut events = lab.events().into_iter().filter(|event| event.message.contains(reason));
        events.find(|event| event.service.as_ref().is_some_and(|name| name.as_str() == "ticker"))
    });
    eprintln!("{event:?}");
    // Long enough for checks to count, if they did.
    let log = lab.folder().join("w1.log");
    lab.until("starts that failed", MINUTE, || {
        let text = fs::read_to_string(&log).ok()?;
        (text.lines().filter(|line| line.contains(reason)).count() >= 4).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(lab.fetch("web", "/").status, 200);
    }
    let seen = |lab: &Lab| lab.get::<WorkerView>("/v1/workers/w1").last_seen;
    let heard = seen(lab);
    lab.until("it is heard", MINUTE, || (seen(lab) > heard).then_some(()));

    lift(lab);
    let now = lab.wait_healthy("ticker", 1).remove(0);
    assert_eq!(now.id, before.id, "started again in its place");
    let still = lab.wait_healthy("web", 1).remove(0);
    assert_eq!((still.pid, still.restarts), (served.pid, 0));
    let daemon = lab.cluster.worker(0).expect("w1");
    assert!(daemon.status().is_none() && daemon.pid() == agent, "the agent lives");
    assert_eq!(lab.scripts_with("tick").len(), 1);
}

#[test]
fn without_memory_for_a_process_a_start_is_tried_again() {
    let mut lab = Lab::start(1);
    starts_again_after(
        &mut lab,
        "Cannot allocate memory",
        |lab| {
            let bytes = address_space(lab);
            limit(lab, "as", &bytes.to_string());
        },
        |lab| limit(lab, "as", "unlimited"),
    );
}

#[test]
fn without_descriptors_a_start_is_tried_again() {
    let mut lab = Lab::start(1);
    starts_again_after(
        &mut lab,
        "Too many open files",
        |lab| {
            // Its own files have higher numbers by now.
            limit(lab, "nofile", "8");
        },
        |lab| limit(lab, "nofile", "1024"),
    );
}
