//! How scripts end, and that nothing of them is left.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Job, eventually, numbers};

/// Everything but the time.
fn how(exit: Value) -> Value {
    let Value::Object(mut exit) = exit else { panic!("no record: {exit}") };
    assert!(exit.remove("at").is_some_and(|at| at.as_str().is_some_and(|it| it.ends_with('Z'))));
    let peak = exit.remove("memory_peak_bytes").and_then(|peak| peak.as_u64());
    assert!(peak.is_some_and(|peak| peak > 100_000), "{peak:?}");
    Value::Object(exit)
}

#[test]
fn codes_and_signals_are_known() {
    for (script, expected) in [
        ("exit 0", json!({"code": 0})),
        ("exit 3", json!({"code": 3})),
        ("kill -SEGV $$", json!({"signal": 11})),
        ("kill -KILL $$", json!({"signal": 9})),
        ("no-such-command", json!({"code": 127})),
    ] {
        let mut held = Job::new(script).start();
        assert_eq!(how(held.end()), expected, "{script}");
        assert!(held.processes().is_empty(), "{script}");
    }
}

#[test]
fn a_start_is_told_and_written_down() {
    let mut held = Job::new("read line < /dev/zero").start();
    let status = held.status();
    let written = fs::read(held.root().join("job/running.json")).unwrap();
    let mut written: Value = serde_json::from_slice(&written).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(written.as_object_mut().unwrap().remove("boot_id").unwrap(), boot.trim_end());
    assert_eq!(status["started"], written);
    assert_eq!(written["holder"]["pid"], held.holder());
    held.signal(Signal::SIGUSR1);
    assert_eq!(how(held.end()), json!({"signal": 9}));
}

#[test]
fn what_cannot_be_started_says_why() {
    let mut job = Job::new("true");
    job.folder_exists = false;
    let mut held = job.start();
    let status = held.status();
    let message = status["not_started"].as_str().unwrap();
    assert!(message.starts_with("could not enter the revision's folder"), "{message}");
    assert!(message.contains("ENOENT"), "{message}");
    assert_eq!(how(held.end()), status);
}

#[test]
fn a_script_that_could_not_be_kept_apart_never_runs() {
    let nowhere = r#"{"group":{"pids":{"v1":"/no/such/group"}}}"#;
    for (confinement, word) in [
        (Some(nowhere), "could not enter the control group /no/such/group: No such file"),
        (Some("{"), "confinement.json"),
        (None, "confinement.json"),
    ] {
        let mut job = Job::new("echo it ran");
        job.confinement = confinement;
        let mut held = job.start();
        let status = held.status();
        let message = status["not_started"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
        assert_eq!(held.end()["not_started"], status["not_started"]);
        assert!(!held.log().contains("it ran"));
    }
}

#[test]
fn an_end_takes_all_with_it_also_what_forked_twice_and_began_a_session() {
    let script = "
        (setsid sh -c 'setsid sleep 1000 & sleep 1001' &)
        (sleep 1002 &)
        sh -c 'sleep 1003 & sleep 1004 & wait' &
        while [ $(ps -eo args | grep -c '^sleep 100[0-4]') -lt 5 ]; do :; done
        exit 4";
    let mut held = Job::new(script).start();
    assert_eq!(how(held.end()), json!({"code": 4}));
    assert!(held.processes().is_empty());
}

#[test]
fn a_stop_reaches_everything_and_leaves_it_its_grace() {
    // The shell dies at once by the signal; what it started ends in its own time.
    let script = "
        drain() { sleep 0.3; echo drained; exit 0; }
        (trap drain TERM; echo ready; while :; do sleep 0.02; done) &
        wait";
    let mut held = Job::new(script).start();
    held.wait_for_line("ready");
    held.signal(Signal::SIGTERM);
    assert_eq!(how(held.end()), json!({"signal": 15}));
    assert!(held.lines().contains(&"drained".to_owned()), "{}", held.log());
    assert!(held.processes().is_empty());
}

#[test]
fn the_stop_signal_is_the_one_that_was_asked_for() {
    for (signal, name) in [(Signal::SIGQUIT, "QUIT"), (Signal::SIGUSR2, "USR2")] {
        let mut job = Job::new(&format!(
            "trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.02; done"
        ));
        job.signal = signal;
        let mut held = job.start();
        held.wait_for_line("ready");
        held.signal(Signal::SIGTERM);
        assert_eq!(how(held.end()), json!({"code": 5}));
        assert!(held.lines().contains(&format!("got {name}")));
    }
}

#[test]
fn what_ignores_its_stop_signal_is_killed_after_the_grace() {
    let mut job = Job::new("trap '' TERM; echo ready; while :; do sleep 0.02; done");
    job.grace = Duration::from_millis(200);
    let mut held = job.start();
    held.wait_for_line("ready");
    held.signal(Signal::SIGTERM);
    assert_eq!(how(held.end()), json!({"signal": 9}));
    assert!(held.processes().is_empty());
}

#[test]
fn a_kill_is_at_once_also_during_a_grace() {
    let mut held = Job::new("trap '' TERM; echo ready; while :; do sleep 0.02; done").start();
    held.wait_for_line("ready");
    held.signal(Signal::SIGTERM);
    held.signal(Signal::SIGTERM);
    held.signal(Signal::SIGUSR1);
    assert_eq!(how(held.end()), json!({"signal": 9}));
}

#[test]
fn zombies_are_reaped_while_the_script_runs() {
    let script = "
        i=0; while [ $i -lt 200 ]; do (true &); i=$((i+1)); done
        echo made; while :; do sleep 1; done";
    let held = Job::new(script).start();
    held.wait_for_line("made");
    let own = held.holder();
    let children = || {
        let path = format!("/proc/{own}/task/{own}/children");
        fs::read_to_string(path).unwrap().split_ascii_whitespace().count()
    };
    eventually("only the script is left", || children() == 1);
}

#[test]
fn a_tree_of_forks_ends_as_a_whole() {
    // A bomb with a bound: three to the fifth, each in a group or session of its own.
    let script = "
        export BOMB='
            [ $1 -gt 0 ] && for i in 1 2 3; do setsid sh -c \"$BOMB\" sh $(($1 - 1)) & done
            sleep 1000'
        sh -c \"$BOMB\" sh 5";
    let mut held = Job::new(script).start();
    eventually("a hundred processes", || held.processes().len() > 100);
    held.signal(Signal::SIGUSR1);
    held.end();
    assert!(held.processes().is_empty());
}

#[test]
fn a_killed_holder_takes_its_script_with_it() {
    let mut held = Job::new("echo ready; while :; do sleep 0.02; done").start();
    let main = held.main();
    held.wait_for_line("ready");
    held.signal(Signal::SIGKILL);
    assert_eq!(held.end(), Value::Null, "nobody could say how it ended");
    eventually("the script is gone", || !numbers("/proc").contains(&main));
}

#[test]
fn signals_of_a_terminal_do_not_end_a_holder() {
    let mut held = Job::new("echo ready; read line < /dev/zero").start();
    held.wait_for_line("ready");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGPIPE] {
        held.signal(signal);
    }
    held.signal(Signal::SIGTERM);
    assert_eq!(how(held.end()), json!({"signal": 15}));
}
