//! An agent that takes up what an earlier one left.

use std::time::Duration;

use tucano_common::wire::worker::{Cause, RunState};

use super::world::{FULL, Faults, World, assignment, set};
use crate::job::End;

const SECOND: Duration = Duration::from_secs(1);

fn running() -> World {
    let mut world = World::new(11, Faults::NONE);
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.run_until("running", |world| world.state(1) == RunState::Running);
    world.run(SECOND);
    world
}

#[test]
fn what_runs_goes_on_and_is_never_out() {
    let mut world = running();
    let before = world.report(1);
    world.crash(5 * SECOND);
    let during = world.report(1);
    assert!(during.healthy && during.state == RunState::Running, "{during:?}");
    world.run(5 * SECOND);
    let after = world.report(1);
    assert_eq!((after.pid, after.port, after.restarts), (before.pid, before.port, 0));
    assert!(after.healthy);
    assert_eq!(world.supervisor.holds().unwrap().generation, 1);
}

#[test]
fn an_exit_meanwhile_is_known_with_its_code() {
    let mut world = running();
    world.kill(1, End::Code(7));
    world.crash(5 * SECOND);
    world.run_until("the failure", |world| world.report(1).failure.is_some());
    let failure = world.report(1).failure.unwrap();
    assert_eq!(failure.cause, Cause::Exit { exit_code: 7 });
    world.run_until("up again", |world| world.state(1) == RunState::Running);
    assert_eq!(world.report(1).restarts, 1);
}

#[test]
fn a_build_goes_on_too() {
    let mut world = World::new(11, Faults::NONE);
    world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
    world.run_until("building", |world| world.state(1) == RunState::Building);
    world.run(Duration::from_millis(100));
    world.crash(Duration::from_millis(100));
    world.run_until("running", |world| world.state(1) == RunState::Running);
    let builds = world.starts.iter().filter(|it| it.script == "b").count();
    assert_eq!(builds, 1);
}

#[test]
fn an_agent_that_dies_at_any_moment_leaves_one_process_at_most() {
    // From the assignment to running there are some fifty moments; each gets its crash.
    for moment_ms in (0..4000).step_by(13) {
        let mut world = World::new(moment_ms, Faults::NONE);
        let (now, at) = (world.now, Duration::from_millis(moment_ms));
        world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), now).unwrap();
        world.settle();
        world.run(at);
        world.crash(Duration::from_millis(moment_ms % 50));
        // The controller says it again: the push may not have reached the disk.
        world.supervisor.assign(set(1, vec![assignment(1, 1, FULL)]), world.now).unwrap();
        world.run_until("running", |world| world.state(1) == RunState::Running);
        assert_eq!(world.jobs_running().len(), 1, "{moment_ms} ms");
        let report = world.report(1);
        assert_eq!((report.restarts, report.failures_in_row), (0, 0), "{moment_ms} ms");
    }
}

#[test]
fn an_agent_that_dies_at_any_moment_of_a_stop_ends_it_all() {
    for moment_ms in (0..3000).step_by(11) {
        let mut world = running();
        world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
        world.settle();
        world.run(Duration::from_millis(moment_ms));
        world.crash(Duration::from_millis(moment_ms % 50));
        world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
        world.run_until("gone", |world| world.supervisor.reports().is_empty());
        world.run(60 * SECOND);
        assert!(world.jobs_running().is_empty() && world.folders().is_empty(), "{moment_ms} ms");
    }
}

#[test]
fn a_folder_that_was_worked_in_is_not_taken_for_half_made() {
    let spec = r#"{"name": "web",
        "scripts": {"runtime-script": "r", "teardown_script": "t"}}"#;
    for moment_ms in 0..40 {
        let mut world = World::new(moment_ms, Faults::NONE);
        world.supervisor.assign(set(1, vec![assignment(1, 1, spec)]), world.now).unwrap();
        // The intent is written while the source comes; then the disk is full, and the ledger never
        // says that the folder is ready.
        world.settle();
        world.run(Duration::from_millis(12));
        world.faults.ledger = 1.0;
        world.run_until("running", |world| world.state(1) == RunState::Running);
        world.kill(1, End::Code(3));
        world.faults.ledger = 0.0;
        world.crash(SECOND);
        world.run(Duration::from_millis(moment_ms));
        world.supervisor.assign(set(2, Vec::new()), world.now).unwrap();
        world.run_until("torn down", |world| world.starts.iter().any(|it| it.script == "t"));
        world.run_until("gone", |world| world.folders().is_empty());
    }
}

#[test]
fn a_ledger_comes_back_as_it_was_through_json() {
    let world = running();
    let ledger = world.ledger_on_disk().unwrap();
    let text = serde_json::to_string(ledger).unwrap();
    assert_eq!(&serde_json::from_str::<crate::ledger::Ledger>(&text).unwrap(), ledger);
    let head: crate::ledger::LedgerHead = serde_json::from_str(&text).unwrap();
    assert_eq!(head.version, crate::ledger::VERSION);
}
