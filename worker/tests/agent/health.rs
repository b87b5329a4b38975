//! Processes that say by themselves whether they are well.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::Worker;
use crate::processes::{is_alive, signal};

/// Says what it reads from a file of its own folder, each time that it is sent SIGUSR1.
const SCRIPT: &str = r#"exec python3 -c '
import os, signal, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text):
    s.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
signal.signal(signal.SIGUSR1, lambda *_: say(open("words").read()))
say("STATUS=reading the index")
print("up", flush=True)
while True: signal.pause()
'"#;

#[test]
fn ready_when_it_says_so_and_not_before_also_to_a_later_agent() {
    let mut worker = Worker::new();
    let check = json!({"notify": true, "interval": "100ms", "unhealthy_after": 1});
    let build = "echo READY=1 > words";
    worker.push_checked(&check, &json!({"build-script": build, "runtime-script": SCRIPT}));
    worker.wait_for_line("up");
    let report = worker.wait_for("what it waits for", |report| {
        report["waits_for"].as_str().is_some_and(|it| it.contains("reading the index"))
    });
    assert_eq!((&report["state"], &report["healthy"]), (&json!("starting"), &json!(false)));
    let pid = i32::try_from(report["pid"].as_i64().unwrap()).unwrap();

    // It says so while nobody listens but its holder.
    worker.kill_agent();
    signal(pid, Signal::SIGUSR1);
    worker.start();
    let report = worker.wait_for("ready", |report| report["healthy"] == true);
    assert_eq!((&report["state"], &report["pid"]), (&json!("running"), &json!(pid)));

    std::fs::write(worker.words(), "STOPPING=1").unwrap();
    signal(pid, Signal::SIGUSR1);
    worker.wait_for("out of the rotation", |report| report["healthy"] == false);
    std::fs::write(worker.words(), "READY=1").unwrap();
    signal(pid, Signal::SIGUSR1);
    let report = worker.wait_for("well again", |report| report["healthy"] == true);
    assert_eq!(report["restarts"], 0);
    assert!(is_alive(pid));
}

#[test]
fn one_that_never_says_so_is_a_failed_start_that_says_what_is_missing() {
    let mut worker = Worker::new();
    let check = json!({"notify": true, "start_timeout": "300ms"});
    worker.push_checked(&check, &json!({"runtime-script": "exec sleep 1000"}));
    let report = worker.wait_for("a failure", |report| report["failure"].is_object());
    let failure = &report["failure"];
    assert_eq!((&failure["step"], &failure["cause"]), (&json!("health"), &json!("timeout")));
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("READY=1 to $NOTIFY_SOCKET"), "{message}");
}
