//! SIGHUP: an agent that becomes another one in place.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::Worker;
use crate::processes::{eventually, is_alive, is_zombie, parent_of, signal};

/// Ends with 7 by SIGUSR1.
const SCRIPT: &str = "trap 'exit 7' USR1; echo up; while :; do sleep 0.05; done";

fn running() -> (Worker, i32) {
    let mut worker = Worker::new();
    worker.push("run", &json!({"runtime-script": SCRIPT}));
    worker.wait_for_line("up");
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    (worker, i32::try_from(report["pid"].as_i64().unwrap()).unwrap())
}

fn upgraded(worker: &Worker) {
    worker.install();
    let old = format!("{} (deleted)", worker.program().display());
    let exe = format!("/proc/{}/exe", worker.agent());
    eventually("the old binary is replaced", || {
        fs::read_link(&exe).unwrap().to_string_lossy() == old
    });
    signal(worker.agent(), Signal::SIGHUP);
    eventually("it is the new binary", || fs::read_link(&exe).unwrap() == worker.program());
    eventually("it says where it listens", || worker.said("API on"));
}

#[test]
fn the_same_pid_the_same_children_and_they_can_be_ended() {
    let (mut worker, pid) = running();
    let holder = worker.holder();
    assert_eq!(parent_of(holder), Some(worker.agent()));
    upgraded(&worker);
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    assert_eq!((&report["pid"], &report["restarts"]), (&json!(pid), &json!(0)));
    assert_eq!(parent_of(holder), Some(worker.agent()), "a child still");
    worker.push("stop", &json!({"runtime-script": SCRIPT}));
    worker.wait_for("stopped", |report| report["state"] == "stopped");
    assert!(!is_alive(pid) && worker.processes().is_empty());
    eventually("its holder was reaped", || !is_alive(holder));
}

#[test]
fn an_end_in_the_middle_of_it_is_known_and_leaves_no_zombie() {
    let (worker, pid) = running();
    let holder = worker.holder();
    worker.install();
    // It ends while the agent asks the binary, becomes it, or takes up what runs.
    signal(worker.agent(), Signal::SIGHUP);
    signal(pid, Signal::SIGUSR1);
    eventually("it says where it listens", || worker.said("API on"));
    let report = worker.wait_for("the failure", |report| report["failure"].is_object());
    assert_eq!(report["failure"]["exit_code"], 7, "{report}");
    worker.wait_for("it is up again", |report| report["restarts"] == 1);
    eventually("its holder was reaped", || !is_zombie(holder));
}

#[test]
fn a_binary_that_does_not_run_is_refused_and_everything_goes_on() {
    let (worker, pid) = running();
    let part = worker.program().with_extension("part");
    fs::write(&part, "half of a binary").unwrap();
    fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(part, worker.program()).unwrap();
    signal(worker.agent(), Signal::SIGHUP);
    eventually("it says why not", || worker.said("SIGHUP: not upgraded"));
    assert_eq!(worker.report()["pid"], pid);
    // The next one is a good one.
    upgraded(&worker);
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    assert_eq!(report["pid"], pid);
}
