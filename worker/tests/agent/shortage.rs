//! A disk that is full, and an agent that may open no more files or start no more processes: what
//! runs goes on and comes up again, what is new waits and says for what.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::Worker;
use crate::processes::{eventually, signal};

const SCRIPT: &str = "echo up; while :; do sleep 0.05; done";

/// Every write of the ledger fails with "no space left on device" from now on.
fn fill_disk(worker: &Worker) -> PathBuf {
    let part = worker.data().join("state/ledger.part");
    let _there_seldom_is_one = fs::remove_file(&part);
    symlink("/dev/full", &part).unwrap();
    part
}

#[test]
fn a_new_instance_waits_for_the_ledger_and_starts_once_there_is_room() {
    let mut worker = Worker::new();
    let part = fill_disk(&worker);
    worker.push("run", &json!({"runtime-script": SCRIPT}));
    let report = worker.wait_for("what it waits for", |report| {
        report["waits_for"].as_str().is_some_and(|it| it.contains("No space left"))
    });
    assert!(report["waits_for"].as_str().unwrap().starts_with("the ledger to be written"));
    assert!(worker.processes().is_empty(), "nothing runs that no later agent could find");
    eventually("it is told", || worker.said("the ledger can't be written"));
    fs::remove_file(part).unwrap();
    worker.wait_for_line("up");
    eventually("it is told", || worker.said("the ledger can be written again"));
}

#[test]
fn what_ran_before_comes_up_again_on_a_full_disk() {
    let mut worker = Worker::new();
    worker.push("run", &json!({"runtime-script": SCRIPT}));
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    let part = fill_disk(&worker);
    signal(i32::try_from(report["pid"].as_i64().unwrap()).unwrap(), Signal::SIGKILL);
    let again = worker.wait_for("its next process", |report| {
        report["restarts"] == 1 && report["pid"].is_number()
    });
    assert_eq!(again["failure"]["signal"], 9);
    assert_ne!(again["pid"], report["pid"]);
    // And it can be ended.
    worker.push("stop", &json!({"runtime-script": SCRIPT}));
    worker.wait_for("stopped", |report| report["state"] == "stopped");
    assert!(worker.processes().is_empty());
    fs::remove_file(part).unwrap();
}

/// What the agent may have from now on (prlimit(1): `nofile`, `nproc`); it can be raised again.
fn limit(worker: &Worker, what: &str, value: &str) {
    // As its own user: for another's the kernel wants more than root has everywhere.
    let mut prlimit = worker.as_its_user("prlimit");
    let pid = worker.agent().to_string();
    let limited = prlimit.args(["--pid", &pid]).arg(format!("--{what}={value}:")).status();
    assert!(limited.unwrap().success());
}

#[test]
fn without_room_for_a_process_a_start_fails_with_that_reason_and_comes_about_later() {
    let mut worker = Worker::unprivileged();
    worker.push("run", &json!({"runtime-script": SCRIPT}));
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    let pid = i32::try_from(report["pid"].as_i64().unwrap()).unwrap();
    limit(&worker, "nproc", "1");
    signal(pid, Signal::SIGKILL);
    if fs::metadata(format!("/proc/{}", worker.agent())).unwrap().uid() == 0 {
        // In a user namespace that has no others: the kernel counts none of root's.
        worker.wait_for("its next process", |report| report["restarts"] == 1);
        return;
    }
    let failed = worker.wait_for("the reason", |report| report["failure"]["step"] == "start");
    let message = failed["failure"]["message"].as_str().unwrap();
    assert!(message.contains("Resource temporarily unavailable"), "{message}");
    limit(&worker, "nproc", "1000");
    let again = worker.wait_for("its next process", |report| report["pid"].is_number());
    assert_ne!(again["pid"], pid);
}

#[test]
fn without_files_to_open_a_start_fails_with_that_reason_and_comes_about_later() {
    let mut worker = Worker::new();
    worker.push("run", &json!({"runtime-script": SCRIPT}));
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    let pid = i32::try_from(report["pid"].as_i64().unwrap()).unwrap();
    // Its sampler opens some for a moment.
    let count = |_| fs::read_dir(format!("/proc/{}/fd", worker.agent())).unwrap().count();
    let open = (0..100).map(count).min().unwrap();
    // The end of the process frees two: a start wants more. Its API may turn us away meanwhile.
    limit(&worker, "nofile", &(open - 1).to_string());
    signal(pid, Signal::SIGKILL);
    eventually("the reason", || {
        worker.said("the worker could not") && worker.said("Too many open files")
    });
    assert!(worker.said("ended with signal 9"), "how it ended is read all the same");
    limit(&worker, "nofile", "1000");
    let again = worker.wait_for("its next process", |report| report["pid"].is_number());
    assert_ne!(again["pid"], pid);
    assert_eq!(again["failure"]["step"], "start", "{again}");
}
