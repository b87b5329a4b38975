//! An agent that is killed, and the next one.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::Worker;
use crate::processes::{eventually, is_alive, signal};

/// Ends with 7 by SIGUSR1, and writes whatever else happens.
const SCRIPT: &str = "trap 'exit 7' USR1; echo up; while :; do sleep 0.05; done";

fn running() -> (Worker, i32) {
    let mut worker = Worker::new();
    worker.push("run", &json!({"runtime-script": SCRIPT}));
    worker.wait_for_line("up");
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    let pid = i32::try_from(report["pid"].as_i64().unwrap()).unwrap();
    (worker, pid)
}

#[test]
fn a_killed_agents_instance_runs_on_and_is_taken_up() {
    let (mut worker, pid) = running();
    worker.kill_agent();
    assert!(is_alive(pid));
    worker.start();
    let report = worker.wait_for("its process", |report| report["pid"].is_number());
    assert_eq!((&report["pid"], &report["restarts"]), (&json!(pid), &json!(0)));
    // And it can be ended.
    worker.push("stop", &json!({"runtime-script": SCRIPT}));
    worker.wait_for("stopped", |report| report["state"] == "stopped");
    assert!(!is_alive(pid) && worker.processes().is_empty());
}

#[test]
fn an_exit_while_nobody_watched_is_known_with_its_code_or_signal() {
    for (by, cause, value) in
        [(Signal::SIGUSR1, "exit_code", 7), (Signal::SIGSEGV, "signal", Signal::SIGSEGV as i32)]
    {
        let (mut worker, pid) = running();
        worker.kill_agent();
        signal(pid, by);
        eventually("it ended", || !is_alive(pid));
        eventually("its holder too", || worker.processes().is_empty());
        worker.start();
        let report = worker.wait_for("the failure", |report| report["failure"].is_object());
        assert_eq!(report["failure"][cause], value, "{report}");
        assert_eq!(report["failure"]["output_tail"], "up\n");
        let run = &report["failure"]["run"];
        assert!(run["uptime_ms"].as_u64().unwrap() > 0, "{run}");
        assert!(run["memory_peak_bytes"].as_u64().unwrap() > 100_000, "{run}");
        worker.wait_for("it is up again", |report| report["restarts"] == 1);
    }
}

#[test]
fn a_holder_that_was_killed_meanwhile_is_swept_after() {
    let mut worker = Worker::new();
    let script = "setsid sleep 1000 & echo up; while :; do sleep 0.1; done";
    worker.push("run", &json!({"runtime-script": script}));
    worker.wait_for_line("up");
    worker.wait_for("its process", |report| report["pid"].is_number());
    let before = worker.processes();
    worker.kill_agent();
    signal(worker.holder(), Signal::SIGKILL);
    worker.start();
    let report = worker.wait_for("started again", |report| report["restarts"] == 1);
    assert_eq!(report["failure"]["cause"], "unknown", "{report}");
    let now = worker.processes();
    assert!(!before.iter().any(|pid| now.contains(pid)), "{before:?} {now:?}");
}

#[test]
fn a_torn_or_lost_ledger_is_rebuilt_from_what_runs() {
    for torn in [Some(""), Some("{\"version\": 1, \"holds\""), Some("{\"version\": 999}"), None] {
        let (mut worker, pid) = running();
        worker.kill_agent();
        let ledger = worker.forget_ledger();
        if let Some(torn) = torn {
            fs::write(&ledger, torn).unwrap();
        }
        worker.start();
        let report = worker.wait_for("its process", |report| report["pid"].is_number());
        assert_eq!(report["pid"], pid, "{torn:?}");
        let kept = worker.names("state").into_iter().filter(|it| it.starts_with("ledger.json."));
        assert_eq!(kept.count(), usize::from(torn.is_some()), "what can't be read is kept");
    }
}

#[test]
fn what_no_ledger_and_no_record_knows_is_ended() {
    let (mut worker, pid) = running();
    worker.kill_agent();
    worker.forget_ledger();
    fs::remove_file(worker.job().join("entry.json")).unwrap();
    worker.start();
    assert_eq!(worker.report(), Value::Null);
    assert!(!is_alive(pid) && worker.processes().is_empty());
    assert!(worker.names("state/jobs").is_empty() && worker.names("instances").is_empty());
}

#[test]
fn a_number_that_is_a_strangers_by_now_is_not_signalled() {
    let (mut worker, pid) = running();
    worker.kill_agent();
    let record = worker.job().join("running.json");
    let written = fs::read_to_string(&record).unwrap();
    signal(worker.holder(), Signal::SIGKILL);
    signal(pid, Signal::SIGKILL);
    eventually("all is gone", || worker.processes().is_empty());
    // Another process has both numbers now; its start differs.
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let number = stranger.id().to_string();
    let mut forged: Value = serde_json::from_str(&written).unwrap();
    forged["holder"]["pid"] = serde_json::from_str(&number).unwrap();
    forged["main"]["pid"] = serde_json::from_str(&number).unwrap();
    fs::write(&record, forged.to_string()).unwrap();
    worker.start();
    worker.wait_for("started again", |report| report["restarts"] == 1);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// Before the ledger, between it and the start, in the middle of the start, after it.
#[test]
fn killed_at_any_moment_of_a_start_it_leaves_one_process() {
    let scripts = json!({"runtime-script": "exec sleep 1000"});
    for moment in 0..12 {
        let mut worker = Worker::new();
        worker.push("run", &scripts);
        let at = Instant::now() + Duration::from_micros(700 * moment);
        while Instant::now() < at {
            std::hint::spin_loop();
        }
        worker.kill_agent();
        worker.start();
        if worker.report() == Value::Null {
            // It had not written down yet what it was given: its controller gives it again.
            worker.push("run", &scripts);
        }
        worker.wait_for("its process", |report| report["pid"].is_number());
        assert_eq!(worker.processes().len(), 1, "{moment}: {:?}", worker.processes());
        worker.push("stop", &scripts);
        worker.wait_for("stopped", |report| report["state"] == "stopped");
        assert!(worker.processes().is_empty(), "{moment}");
    }
}
