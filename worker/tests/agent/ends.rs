//! Stops and ends while the agent is there.

use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::Worker;
use crate::processes::signal;

/// Listens on its port until it is told to end; python is on every machine that runs these tests.
const SERVER: &str = "exec python3 -m http.server $PORT --bind $HOST";

#[test]
fn from_a_push_to_running_and_away_without_a_trace() {
    let mut worker = Worker::new();
    let scripts = json!({
        "build-script": "echo built > built; echo $PWD",
        "runtime-script": format!("cat built; {SERVER}"),
        "teardown_script": "cp built $TUCANO_DATA_DIR/torn-down",
    });
    worker.push("run", &scripts);
    let report = worker.wait_for("running", |report| report["healthy"] == true);
    assert_eq!(report["state"], "running");
    worker.wait_for_line("built");
    let port = u16::try_from(report["port"].as_u64().unwrap()).unwrap();
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "it has its port");

    worker.push("stop", &scripts);
    let report = worker.wait_for("stopped", |report| report["state"] == "stopped");
    assert_eq!(report["failure"], Value::Null, "{report}");
    assert!(worker.processes().is_empty());
    let _free_again = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let torn_down = worker.data().join("data/web/torn-down");
    assert_eq!(std::fs::read_to_string(torn_down).unwrap(), "built\n");
    crate::processes::eventually("no folder is left", || {
        ["instances", "builds", "state/jobs"].iter().all(|folder| worker.names(folder).is_empty())
    });
}

#[test]
fn a_build_that_fails_says_what_it_wrote() {
    let mut worker = Worker::new();
    let scripts = json!({"build-script": "echo no luck >&2; exit 3", "runtime-script": SERVER});
    worker.push("run", &scripts);
    let report = worker.wait_for("failed", |report| report["state"] == "failed");
    let failure = &report["failure"];
    assert_eq!((&failure["step"], &failure["exit_code"]), (&json!("build"), &json!(3)));
    assert_eq!(failure["output_tail"], "no luck\n");
}

#[test]
fn a_killed_runtime_comes_up_again_in_place() {
    let mut worker = Worker::new();
    worker.push("run", &json!({"runtime-script": SERVER}));
    let first = worker.wait_for("running", |report| report["healthy"] == true);
    signal(i32::try_from(first["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
    let again = worker
        .wait_for("running again", |report| report["restarts"] == 1 && report["healthy"] == true);
    assert_eq!(again["failure"]["signal"], 9);
    assert_eq!(again["port"], first["port"], "in place");
}

#[test]
fn a_killed_holder_leaves_nothing_that_escaped() {
    let mut worker = Worker::new();
    let script = "setsid sh -c 'setsid sleep 1000 & exec sleep 1000' &
        echo up; while :; do sleep 0.1; done";
    worker.push("run", &json!({"runtime-script": script}));
    worker.wait_for_line("up");
    let before = worker.processes();
    signal(worker.holder(), Signal::SIGKILL);
    let report = worker.wait_for("started again", |report| report["restarts"] == 1);
    assert_eq!(report["failure"]["cause"], "unknown", "{report}");
    let now = worker.processes();
    let left: Vec<_> = before.iter().filter(|pid| now.contains(pid)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_taken_port_is_found_before_the_start() {
    let mut worker = Worker::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    worker.push_fixed(port, &json!({"runtime-script": "echo started"}));
    let report = worker.wait_for("a failure", |report| report["failure"].is_object());
    let message = report["failure"]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("port {port} is taken by another program")), "{message}");
    assert_eq!(report["failure"]["step"], "start");
    assert!(!worker.data().join("logs").join(crate::bench::ID).exists(), "nothing was started");
}
