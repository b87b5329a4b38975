//! Scenes by hand: what happens, in which order, and what the controller sees of it.

use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::wire::worker::{Cause, Desired, RunState, Step};

use super::world::{FULL, Faults, PLAIN, World, assignment, set, spec};
use crate::disk::DiskUse;
use crate::effect::Effect;
use crate::fact::Fact;
use crate::job::End;
use crate::note::Note;

fn world() -> World {
    World::new(7, Faults::NONE)
}

const SECOND: Duration = Duration::from_secs(1);

fn is(id: u64, state: RunState) -> impl Fn(&World) -> bool {
    move |world| world.state(id) == state
}

/// One instance that is ready.
fn running(spec: &str) -> World {
    let mut world = world();
    world.supervisor.assign(set(1, vec![assignment(1, 1, spec)]), world.now).unwrap();
    world.run_until("running", is(1, RunState::Running));
    world
}

#[test]
fn from_an_assignment_to_running_and_away_again() {
    let mut world = world();
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.settle();
    assert_eq!(world.state(1), RunState::Pending);
    assert_eq!(world.report(1).waits_for.as_deref(), Some("its source to be fetched"));
    world.run_until("building", is(1, RunState::Building));
    assert_eq!(world.jobs_running(), ["build.c.web.1.1"]);
    world.run_until("starting", is(1, RunState::Starting));
    world.run_until("running", is(1, RunState::Running));
    let report = world.report(1);
    assert!(report.healthy && report.port.is_some() && report.pid.is_some());
    assert_eq!((report.restarts, report.failures_in_row, report.failure), (0, 0, None));
    assert_eq!(world.jobs_running(), ["runtime.0000000000001.1"]);

    world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
    world.settle();
    assert_eq!(world.state(1), RunState::Stopping);
    assert!(!world.report(1).healthy);
    world.run_until("gone", |world| !world.supervisor.has(InstanceId(1)));
    world.run(SECOND);
    assert!(world.jobs_running().is_empty() && world.folders().is_empty());
    let scripts: Vec<String> = world.starts.iter().map(|it| it.script.clone()).collect();
    assert_eq!(scripts, ["b", "r", "t"]);
    let ledger = world.ledger_on_disk().unwrap();
    assert!(ledger.instances.is_empty() && ledger.builds.is_empty(), "{ledger:?}");
    assert_eq!(ledger.quarantine.len(), 1);
}

#[test]
fn an_ended_instance_is_reported_until_the_controller_drops_it() {
    let mut world = running(PLAIN);
    let mut stop = assignment(1, 2, PLAIN);
    stop.desired = Desired::Stop;
    world.supervisor.assign(set(2, vec![stop]), world.now).unwrap();
    world.run_until("stopped", is(1, RunState::Stopped));
    world.run(60 * SECOND);
    assert_eq!(world.state(1), RunState::Stopped);
    assert!(world.folders().is_empty());
    world.supervisor.assign(set(3, Vec::new()), world.now).unwrap();
    world.settle();
    assert!(world.supervisor.reports().is_empty());
}

#[test]
fn a_runtime_that_ends_is_started_again_with_growing_delays() {
    let mut world = running(PLAIN);
    let mut delays = Vec::new();
    for n in 1..=4 {
        world.kill(1, End::Code(3));
        world.run_until("starting", is(1, RunState::Starting));
        let report = world.report(1);
        assert_eq!(report.failures_in_row, n);
        let failure = report.failure.unwrap();
        assert_eq!((failure.step, failure.cause), (Step::Runtime, Cause::Exit { exit_code: 3 }));
        assert_eq!(failure.output_tail, "last words");
        assert!(report.waits_for.unwrap().starts_with("its next start, in "));
        let before = world.now.mono;
        world.run_until("running", is(1, RunState::Running));
        delays.push(world.now.mono.since(before).as_millis() - 1000);
        assert_eq!(world.report(1).restarts, n);
    }
    for (delay, expected) in delays.iter().zip([1000, 2000, 4000, 8000]) {
        assert!((expected * 8 / 10..expected * 12 / 10 + 50).contains(delay), "{delays:?}");
    }
    world.run(61 * SECOND);
    assert_eq!(world.report(1).failures_in_row, 0, "up for a minute");
    assert!(world.report(1).failure.is_some(), "the last failure stays to be seen");
}

#[test]
fn policies_decide_what_an_end_means() {
    use RunState::{Failed, Starting, Stopped};
    for (policy, code, expected) in [
        ("always", 0, Starting),
        ("always", 1, Starting),
        ("on_failure", 0, Stopped),
        ("on_failure", 1, Starting),
        ("never", 0, Stopped),
        ("never", 1, Failed),
    ] {
        let json = format!(
            r#"{{"name": "web", "scripts": {{"runtime-script": "r", "teardown_script": "t"}},
                "restart": {{"policy": "{policy}"}}}}"#
        );
        let mut world = running(&json);
        world.kill(1, End::Code(code));
        world.run_until("the end is seen", |world| world.state(1) != RunState::Running);
        if expected != Starting {
            assert_eq!(world.state(1), RunState::Stopping, "its teardown runs");
            world.run_until("over", |world| world.state(1) == expected);
            assert_eq!(world.starts.last().unwrap().script, "t");
            assert!(!world.folders().is_empty(), "its folder stays to be looked at");
        }
        assert_eq!(world.state(1), expected, "{policy} {code}");
        world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
        world.run_until("gone", |world| world.supervisor.reports().is_empty());
        world.run(SECOND);
        let teardowns = world.starts.iter().filter(|it| it.script == "t").count();
        assert_eq!(teardowns, 1, "once an instance");
        assert!(world.folders().is_empty());
    }
}

#[test]
fn instances_of_a_revision_share_its_build_and_builds_wait_for_each_other() {
    let mut world = world();
    let other = FULL.replace("web", "api");
    let mut instances: Vec<_> = (1..=3).map(|id| assignment(id, 1, FULL)).collect();
    instances.push(assignment(4, 1, &other));
    // The same build under another revision: nothing is built again.
    let mut scaled = assignment(5, 1, &FULL.replace("80", "81"));
    scaled.revision = 2;
    instances.push(scaled);
    world.supervisor.assign(set(1, instances), world.now).unwrap();
    world.run_until("one builds", |world| !world.jobs_running().is_empty());
    let waits = world.supervisor.reports().into_iter().filter_map(|it| it.waits_for);
    let waits: Vec<String> = waits.collect();
    assert!(waits.iter().any(|it| it == "its build script to end"), "{waits:?}");
    let all = |state| move |world: &World| (1..=5).all(|id| world.state(id) == state);
    world.run_until("all running", all(RunState::Running));
    let builds = world.starts.iter().filter(|it| it.script == "b").count();
    assert_eq!(builds, 2);
    assert_eq!(world.folders().iter().filter(|it| it.starts_with("build")).count(), 2);
}

#[test]
fn a_failed_build_fails_its_instances_and_a_later_one_tries_again() {
    let mut world = World::new(7, Faults { script: 1.0, ..Faults::NONE });
    let instances = vec![assignment(1, 1, FULL), assignment(2, 1, FULL)];
    world.supervisor.assign(set(1, instances), world.now).unwrap();
    world.run_until("failed", is(1, RunState::Failed));
    assert_eq!(world.state(2), RunState::Failed);
    let failure = world.report(1).failure.unwrap();
    assert_eq!((failure.step, failure.cause), (Step::Build, Cause::Exit { exit_code: 1 }));
    assert_eq!(failure.output_tail, "last words");
    assert!(world.starts.iter().all(|it| it.script == "b"), "no teardown of what never ran");

    world.faults = Faults::NONE;
    let next = vec![assignment(1, 1, FULL), assignment(2, 1, FULL), assignment(3, 2, FULL)];
    world.supervisor.assign(set(2, next), world.now).unwrap();
    world.run_until("the later one runs", is(3, RunState::Running));
    assert_eq!(world.state(1), RunState::Failed, "what failed stays failed");
}

#[test]
fn a_build_that_nobody_wants_any_more_is_killed() {
    let mut world = world();
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.run_until("building", is(1, RunState::Building));
    world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
    world.run(SECOND);
    assert!(world.jobs_running().is_empty() && world.folders().is_empty());
    assert!(world.supervisor.reports().is_empty());
}

#[test]
fn a_build_that_takes_too_long_is_killed_and_says_so() {
    let mut world = world();
    let json = FULL.replace(r#""scripts""#, r#""build_timeout": "5s", "scripts""#);
    world.scripts_take = Some(6 * SECOND);
    world.supervisor.assign(set(1, vec![assignment(1, 1, &json)]), world.now).unwrap();
    world.run_until("failed", is(1, RunState::Failed));
    let failure = world.report(1).failure.unwrap();
    assert_eq!((failure.step, failure.cause), (Step::Build, Cause::Timeout));
    assert!(failure.message.contains("build_timeout of 5s"), "{}", failure.message);
}

#[test]
fn a_teardown_that_takes_too_long_is_killed_and_the_instance_ends_all_the_same() {
    let mut world = running(FULL);
    world.scripts_take = Some(90 * SECOND);
    let mut stop = assignment(1, 2, FULL);
    stop.desired = Desired::Stop;
    world.supervisor.assign(set(2, vec![stop]), world.now).unwrap();
    world.run_until("stopped", is(1, RunState::Stopped));
    let failure = world.report(1).failure.unwrap();
    assert_eq!((failure.step, failure.cause), (Step::Teardown, Cause::Timeout));
    assert!(world.jobs_running().is_empty());
}

#[test]
fn a_process_that_ignores_its_stop_signal_is_killed_after_the_grace() {
    let mut world = World::new(7, Faults { stubborn: 1.0, ..Faults::NONE });
    world.supervisor.assign(set(1, vec![assignment(1, 1, PLAIN)]), world.now).unwrap();
    world.run_until("running", is(1, RunState::Running));
    let asked = world.now.mono;
    world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
    world.run_until("gone", |world| world.supervisor.reports().is_empty());
    let took = world.now.mono.since(asked);
    assert!((30 * SECOND..31 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn a_restart_by_hand_is_no_failure_and_keeps_the_port() {
    let mut world = running(FULL);
    let before = world.report(1);
    let mut again = assignment(1, 2, FULL);
    again.restart_nonce = 1;
    world.supervisor.assign(set(2, vec![again]), world.now).unwrap();
    world.settle();
    assert_eq!(world.state(1), RunState::Starting);
    assert!(!world.report(1).healthy);
    world.run_until("running", is(1, RunState::Running));
    let after = world.report(1);
    assert_eq!((after.restarts, after.restart_nonce, after.failures_in_row), (1, 1, 0));
    assert_eq!((after.port, after.failure), (before.port, None));
    assert_ne!(after.pid, before.pid);
    assert!(!world.starts.iter().any(|it| it.script == "t"), "teardown is for the end");
}

#[test]
fn an_unhealthy_instance_is_out_at_once_and_replaced_after_30_s() {
    let mut world = running(FULL);
    world.faults.probe = 1.0;
    world.run_until("out", |world| !world.report(1).healthy);
    assert_eq!(world.state(1), RunState::Running);
    let out = world.now.mono;
    world.run_until("being replaced", is(1, RunState::Starting));
    assert_eq!(world.now.mono.since(out), 30 * SECOND);
    world.faults.probe = 0.0;
    world.run_until("healthy again", |world| world.report(1).healthy);
    let report = world.report(1);
    assert_eq!((report.restarts, report.failures_in_row), (1, 1));
    assert_eq!(report.failure.unwrap().step, Step::Health);
}

#[test]
fn a_start_that_is_never_ready_is_a_failure_with_the_reason() {
    let mut world = World::new(7, Faults { probe: 1.0, ..Faults::NONE });
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.run_until("a failure", |world| world.report(1).failure.is_some());
    let failure = world.report(1).failure.unwrap();
    assert_eq!((failure.step, failure.cause), (Step::Health, Cause::Timeout));
    assert!(failure.message.contains("within 30s: connection refused"), "{}", failure.message);
    assert_eq!(world.report(1).failures_in_row, 1);
}

#[test]
fn a_taken_port_is_no_failure_unless_the_service_insists_on_it() {
    let mut world = World::new(7, Faults { port: 1.0, ..Faults::NONE });
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.run_until("some ports", |world| world.starts.len() > 3);
    world.faults.port = 0.0;
    world.run_until("running", is(1, RunState::Running));
    let report = world.report(1);
    assert_eq!((report.restarts, report.failures_in_row, report.failure), (0, 0, None));
    let ports: Vec<_> = world.starts.iter().filter_map(|it| it.address).collect();
    assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");

    let fixed = FULL.replace(r#""expose_port": 80"#, r#""expose_port": 80, "fixed_port": 9000"#);
    let mut world = World::new(7, Faults { port: 1.0, ..Faults::NONE });
    let two = vec![assignment(1, 1, &fixed), assignment(2, 1, &fixed)];
    world.supervisor.assign(set(1, two), world.now).unwrap();
    world.run_until("a failure", |world| world.report(1).failure.is_some());
    let failure = world.report(1).failure.unwrap();
    assert_eq!((failure.step, failure.cause), (Step::Start, Cause::Worker));
    assert!(failure.message.starts_with("port 9000 is taken"), "{}", failure.message);
    let waits = world.report(2).waits_for.unwrap();
    assert_eq!(waits, "port 9000, which instance 0000000000001 holds on this worker");
    world.faults.port = 0.0;
    world.run_until("running", is(1, RunState::Running));
    world.supervisor.assign(set(2, vec![assignment(2, 1, &fixed)]), world.now).unwrap();
    world.run_until("the other has the port", is(2, RunState::Running));
}

#[test]
fn no_port_left_is_said_and_waited_for() {
    let mut world = world();
    let hundred =
        (1..=101).map(|id| assignment(id, 1, &FULL.replace("\"build-script\": \"b\",", "")));
    world.supervisor.assign(set(1, hundred.collect()), world.now).unwrap();
    world.run(5 * SECOND);
    let waits: Vec<_> = world.supervisor.reports();
    let waits: Vec<_> = waits.iter().filter_map(|it| it.waits_for.as_deref()).collect();
    assert_eq!(waits, ["a free port in 20000-20099; widen --port-range"]);
}

#[test]
fn a_new_instance_waits_for_the_ledger_and_a_restart_does_not() {
    let mut world = World::new(7, Faults { ledger: 1.0, ..Faults::NONE });
    world.supervisor.assign(set(1, vec![assignment(1, 1, PLAIN)]), world.now).unwrap();
    world.run(10 * SECOND);
    assert!(world.starts.is_empty());
    let waits = world.report(1).waits_for.unwrap();
    assert_eq!(waits, "the ledger to be written: disk full");
    let told = |world: &World, note: &Note| world.notes.iter().filter(|it| *it == note).count();
    assert_eq!(told(&world, &Note::LedgerFailed("disk full".to_owned())), 1);
    world.faults.ledger = 0.0;
    world.run_until("running", is(1, RunState::Running));
    assert_eq!(told(&world, &Note::LedgerBack), 1);
    world.faults.ledger = 1.0;
    world.kill(1, End::Signal(9));
    world.run_until("down", is(1, RunState::Starting));
    world.run_until("up again", is(1, RunState::Running));
}

#[test]
fn driving_twice_is_driving_once_and_reports_come_once() {
    let mut world = running(FULL);
    world.run(3 * SECOND);
    let (sent, now) = (world.reports_sent, world.now);
    let mut supervisor = world.supervisor.clone();
    assert_eq!(supervisor.drive(now), []);
    assert!(!supervisor.is_due(now.mono));
    assert!(supervisor.is_due(now.mono + SECOND), "in any case");
    supervisor.stop(InstanceId(1), "c", 2, now).unwrap();
    assert!(supervisor.is_due(now.mono));
    let effects = supervisor.drive(now);
    assert_eq!(effects.iter().filter(|it| **it == Effect::Report).count(), 1);
    assert_eq!(supervisor.drive(now), []);
    world.run(3 * SECOND);
    assert_eq!(world.reports_sent, sent, "a quiet instance has no news");
}

#[test]
fn an_external_service_has_nothing_to_run() {
    let mut world = world();
    let json = r#"{"name": "web", "network": {"expose_port": 80},
        "external": {"addresses": ["10.0.0.7:9000"]}}"#;
    let mut odd = assignment(1, 1, PLAIN);
    odd.spec = spec(json);
    world.supervisor.assign(set(1, vec![odd]), world.now).unwrap();
    world.run_until("failed", is(1, RunState::Failed));
    world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
    world.run_until("gone", |world| world.supervisor.reports().is_empty());
    assert!(world.starts.is_empty());
}

#[test]
fn a_disk_that_holds_too_much_of_what_is_in_use_is_told_once_and_when_it_is_over() {
    let mut world = world();
    let seen = |builds| DiskUse { builds, total: 1000, free: 500, ..DiskUse::default() };
    let told = |world: &World| world.notes.iter().filter(|it| it.is_notice()).count();
    for (builds, notices) in [(400, 0), (501, 1), (600, 1), (500, 2), (500, 2)] {
        world.supervisor.observe(Fact::DiskSeen(seen(builds)), world.now);
        world.settle();
        assert_eq!(told(&world), notices, "{builds}");
    }
}
