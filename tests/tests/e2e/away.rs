//! A controller that is away while things happen: agents go on, and tell it afterwards.

use serde_json::json;
use tucano_common::time::Wall;
use tucano_tests::{Lab, MINUTE, specs};

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
        lab.kill_process(pid);
        pid = lab.until("its next process", MINUTE, || {
            let shells = lab.cluster.strays().into_iter().filter(|it| it.command.contains("tick"));
            shells.map(|it| it.pid.unsigned_abs()).find(|found| *found != pid)
        });
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

/// `… (at 2026-01-31T03:12:00.000Z, told late)`.
fn time_of(message: &str) -> Wall {
    let (_, rest) = message.split_once("(at ").expect("a time");
    let (time, _) = rest.split_once(',').expect("its end");
    serde_json::from_value(json!(time)).expect("a time")
}
