//! A worker's clock that is stepped while everything runs: pauses, health checks, quarantines and
//! uptimes don't notice; times that are shown follow it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tucano_common::wire::views::{InstanceView, WorkerView};
use tucano_net::Method;
use tucano_tests::{Lab, MINUTE, SteppedClock, specs};

/// Far more than any pause, and another year.
const STEP_S: i64 = 400 * 86_400;

/// Steps the clock, and waits until the controller knows: the agent went by it meanwhile.
fn step(lab: &Lab, clock: &SteppedClock, seconds: i64) {
    clock.set(seconds);
    lab.until("a stepped clock", MINUTE, || {
        let worker: WorkerView = lab.api.get("/v1/workers/w1").ok()?;
        let offset = worker.metrics?.clock_offset_ms?;
        ((offset - seconds * 1000).abs() < 120_000).then_some(())
    });
}

fn ticker() -> Value {
    let mut spec = specs::shell("ticker", 1);
    spec["scripts"]["runtime-script"] = json!("while :; do echo tick $(date +%s); sleep 0.2; done");
    spec["restart"] = json!({ "backoff": "10s", "backoff_max": "10s" });
    spec
}

/// One with a port of the two that there are.
fn checked(name: &str) -> Value {
    let mut spec = specs::python(name, 1);
    spec["network"]["health_check"] =
        json!({ "path": "/index.html", "interval": "200ms", "unhealthy_after": 2 });
    spec
}

fn page(lab: &Lab) -> PathBuf {
    let builds = fs::read_dir(lab.folder().join("w1/builds")).expect("builds").flatten();
    let mut builds = builds.map(|entry| entry.path());
    let build = builds.find(|path| path.to_string_lossy().ends_with(".checked.1"));
    build.expect("its build").join("index.html")
}

fn wait_health(lab: &Lab, healthy: bool) -> InstanceView {
    lab.until("its health", MINUTE, || {
        let found = lab.service("checked").instances.into_iter().next()?;
        (found.healthy == healthy).then_some(found)
    })
}

/// A line of a service's own: the year of its stamp, and the seconds that the service itself saw.
fn years(lab: &Lab, id: &str) -> Vec<(i64, i64)> {
    let path = lab.folder().join("w1/logs").join(id).join("current.log");
    let text = fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| {
        let seconds: i64 = line.rsplit_once(" tick ")?.1.parse().ok()?;
        Some((line.get(..4)?.parse().ok()?, seconds))
    };
    text.lines().filter_map(parse).collect()
}

#[test]
fn nothing_but_the_times_that_are_shown_goes_by_a_clock_that_is_stepped() {
    let flags = ["--port-range", "24000-24001"];
    let Some((lab, clock)) = SteppedClock::lab(&flags) else { return };
    lab.deploy(&checked("checked"));
    lab.deploy(&ticker());
    let served = lab.wait_healthy("checked", 1).remove(0);
    let before = lab.wait_healthy("ticker", 1).remove(0);

    // Running: nobody starts again, ahead and back.
    for seconds in [STEP_S, -STEP_S, 0] {
        step(&lab, &clock, seconds);
        let still =
            [lab.wait_healthy("checked", 1).remove(0), lab.wait_healthy("ticker", 1).remove(0)];
        assert_eq!(still.map(|it| (it.pid, it.restarts)), [(served.pid, 0), (before.pid, 0)]);
    }

    // Unwell for 30 s is told by the other clock.
    let page = page(&lab);
    let hidden = page.with_extension("hidden");
    fs::rename(&page, &hidden).expect("its page");
    wait_health(&lab, false);
    step(&lab, &clock, STEP_S);
    fs::rename(&hidden, &page).expect("its page");
    let well = wait_health(&lab, true);
    assert_eq!((well.pid, well.restarts), (served.pid, 0), "it was not unwell for 30 s");

    // A pause before a start is not over because the clock says so, and not endless either.
    lab.kill_instance(&before);
    let log = lab.folder().join("w1.log");
    let paused = lab.until("its pause", MINUTE, || {
        let text = fs::read_to_string(&log).ok()?;
        text.lines().find(|line| line.contains("starts again in")).map(str::to_owned)
    });
    step(&lab, &clock, 2 * STEP_S);
    let text = fs::read_to_string(&log).expect("the agent's log");
    assert!(!text.contains(&format!("runtime.{}.2: started", before.id)), "at once:\n{text}");
    step(&lab, &clock, -STEP_S);
    let again = lab.wait_healthy("ticker", 1).remove(0);
    assert_eq!((again.id, again.restarts), (before.id, 1));

    // A port rests for 60 s, whatever the clock says: the other one is taken.
    lab.deploy(&checked("second"));
    lab.remove("second");
    step(&lab, &clock, STEP_S);
    let answer = lab.ask(Method::Post, "/v1/services", Some(&checked("third")));
    assert_eq!(answer.status, 202, "{}", answer.text());
    lab.until("what it waits for", MINUTE, || {
        let found = lab.service("third").instances.into_iter().next()?;
        assert!(!found.healthy, "a port was given again at once: {found:?}");
        format!("{found:?}").contains("port").then_some(())
    });

    // What is shown follows: the agent's own log, and the stamps of lines.
    let year = |text: &str| text.get(..4).and_then(|year| year.parse::<i64>().ok());
    let now = year(&paused).expect("a year");
    assert!(text.lines().filter_map(year).any(|year| year < now), "{text}");
    let lines = years(&lab, &before.id.to_string());
    let first = lines.first().expect("lines").1;
    for (year, seconds) in &lines {
        let steps = (seconds - first + STEP_S / 2).div_euclid(STEP_S);
        let ahead = year - lines[0].0;
        assert!((steps - 1..=steps + 1).contains(&ahead), "{year} at {seconds}");
    }
    assert!(lines.iter().any(|(year, _)| *year > lines[0].0), "a step ahead is seen: {lines:?}");
}
