//! A service that forks as fast as it can, for as long as it is let: the others serve on, and its
//! end takes all of it.

use std::fs;

use serde_json::json;
use tucano_common::wire::views::InstanceView;
use tucano_tests::{Lab, MINUTE, SOON, specs};

/// What it may have.
const PROCESSES: usize = 64;
/// Requests that have to be answered meanwhile.
const REQUESTS: usize = 100;

/// Each process forks for ever, where the kernel holds it; a machine that can't hold it gets one
/// that ends at as many processes by itself.
fn bomb(is_held: bool) -> serde_json::Value {
    let generations = if is_held { 1_000_000 } else { 6 };
    let mut spec = specs::shell("bomb", 1);
    let script = format!(
        "exec python3 -c '
import os, time
left = {generations}
while True:
    try:
        if left > 0:
            left -= 1
            os.fork()
        else:
            time.sleep(1)
    except OSError:
        time.sleep(0.02)'"
    );
    spec["scripts"]["runtime-script"] = json!(script);
    spec["resources"] = json!({ "pids": PROCESSES });
    spec
}

/// Its processes, by the environment that they have in common.
fn count() -> usize {
    let is_its_own = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|it| it == b"TUCANO_SERVICE=bomb")
    };
    fs::read_dir("/proc").expect("/proc").flatten().filter(is_its_own).count()
}

#[test]
fn a_fork_bomb_leaves_the_others_serving() {
    let lab = Lab::start(1);
    let spec = lab.demo("web", 2);
    lab.deploy(&spec);
    let before = lab.wait_healthy("web", 2);
    let missing = lab.events().into_iter().find(|event| event.kind == "cgroup_unavailable");
    let is_held = !missing.is_some_and(|event| event.message.contains("processes"));
    lab.deploy(&bomb(is_held));
    lab.until("it has all that it may", MINUTE, || (count() >= PROCESSES - 4).then_some(()));
    for n in 0..REQUESTS {
        let answer = lab.fetch("web", "/");
        assert_eq!(answer.status, 200, "request {n}: {}", answer.text());
        if n % 20 == 0 {
            let processes = count();
            assert!(processes <= PROCESSES, "{processes} processes");
        }
    }
    let identity = |all: &[InstanceView]| -> Vec<_> {
        all.iter().map(|it| (it.id, it.pid, it.restarts)).collect()
    };
    assert_eq!(identity(&lab.wait_healthy("web", 2)), identity(&before), "none was hit");
    lab.remove("bomb");
    lab.until("nothing is left of it", SOON, || (count() == 0).then_some(()));
    assert_eq!(lab.fetch("web", "/").status, 200);
}
