//! Every state of an instance with every report: total, and without a step back.

use tucano_common::id::InstanceId;
use tucano_common::spec::Restart;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Cause, Failure, InstanceReport, RunState, Step, Usage};

use super::world::{service, worker};
use crate::cluster::{Instance, Leaving, Observed, Place, Run, State, Waiting};
use crate::deployer::core::At;
use crate::deployer::observe::observe;

const AT: At = At { wall: Wall(9000), steady: Wall(9000) };

pub(super) fn states() -> Vec<State> {
    let place = Place { worker: worker("w1"), generation: 3, at: Wall(1000) };
    let mut states = vec![
        State::Pending { waiting: Waiting::Turn },
        State::Pending { waiting: Waiting::Backoff { until: Wall(5000) } },
        State::Pending { waiting: Waiting::Room { hint: "room".to_owned() } },
        State::Stopped { worker: None, why: Some(Leaving::AskedFor) },
        State::Stopped { worker: Some(worker("w1")), why: None },
        State::Failed { worker: worker("w1") },
        State::Lost { place: place.clone(), wanted: true },
        State::Lost { place: place.clone(), wanted: false },
    ];
    for run in [
        Run::Assigned,
        Run::Building,
        Run::Starting,
        Run::Running { healthy_since: None },
        Run::Running { healthy_since: Some(Wall(2000)) },
    ] {
        for restart_by in [None, Some(Wall(20_000))] {
            states.push(State::Placed { place: place.clone(), run, restart_by });
        }
    }
    for why in [Leaving::Replaced, Leaving::KeptFailing] {
        let (place, until) = (place.clone(), Wall(20_000));
        states.push(State::Draining { place: place.clone(), until, why: why.clone() });
        states.push(State::Stopping { place, why });
    }
    states
}

fn restart() -> Restart {
    super::world::spec("web", 1, serde_json::json!({})).restart
}

fn instance(state: State, restart_nonce: u32) -> Instance {
    Instance {
        id: InstanceId(1),
        service: service("web"),
        revision: 1,
        born_revision: 1,
        restart_epoch: 0,
        deployment: None,
        replaces: None,
        created_at: Wall(0),
        state,
        since: Wall(1000),
        decision: None,
        restart_nonce,
        observed: Observed { restarts: 1, port: Some(20_000), ..Observed::default() },
        event: 1,
    }
}

fn reports() -> Vec<InstanceReport> {
    let mut all = Vec::new();
    for state in [
        RunState::Pending,
        RunState::Building,
        RunState::Starting,
        RunState::Running,
        RunState::Stopping,
        RunState::Stopped,
        RunState::Failed,
    ] {
        for healthy in [false, true] {
            for restarts in [1, 2] {
                for failed in [false, true] {
                    all.push(report(state, healthy, restarts, failed));
                }
            }
        }
    }
    all
}

fn report(state: RunState, healthy: bool, restarts: u32, failed: bool) -> InstanceReport {
    let failure = Failure {
        at: Wall(0),
        step: Step::Runtime,
        cause: Cause::Oom { memory_limit_bytes: Some(64 << 20), memory_peak_bytes: None },
        message: "out of memory".to_owned(),
        output_tail: String::new(),
        run: None,
    };
    InstanceReport {
        id: InstanceId(1),
        service: service("web"),
        revision: 1,
        generation: 3,
        state,
        since: Wall(0),
        healthy,
        port: Some(20_000),
        pid: Some(7),
        started_at: None,
        restarts,
        restart_nonce: 0,
        failures_in_row: 0,
        failure: failed.then_some(failure),
        waits_for: None,
        usage: Usage::default(),
    }
}

/// Every pair of a state and a report, for instances that were asked to restart and those that were
/// not.
fn every_pair(mut each: impl FnMut(&Instance, &InstanceReport)) {
    for nonce in [0, 1] {
        for state in states() {
            let instance = instance(state, nonce);
            reports().iter().for_each(|report| each(&instance, report));
        }
    }
}

#[test]
fn the_same_report_again_changes_nothing() {
    every_pair(|instance, report| {
        if let Some(step) = observe(instance, report, &restart(), AT) {
            let again = observe(&step.next, report, &restart(), AT);
            assert_eq!(again, None, "{:?} with {report:?}", instance.state);
        }
    });
}

#[test]
fn what_is_not_on_a_worker_is_not_changed_by_one() {
    every_pair(|instance, report| {
        if instance.state.place().is_none() {
            assert_eq!(observe(instance, report, &restart(), AT), None);
        }
    });
}

#[test]
fn an_end_is_an_end_and_leaving_is_not_taken_back() {
    every_pair(|instance, report| {
        let Some(step) = observe(instance, report, &restart(), AT) else { return };
        let ends = matches!(report.state, RunState::Stopped | RunState::Failed);
        assert_eq!(step.next.state.ended(), ends, "{:?} {report:?}", instance.state);
        if !instance.state.stays() {
            assert!(!step.next.state.stays());
            let kept_failing = matches!(
                &instance.state,
                State::Draining { why: Leaving::KeptFailing, .. }
                    | State::Stopping { why: Leaving::KeptFailing, .. }
            );
            let failed = matches!(step.next.state, State::Failed { .. });
            assert_eq!(failed, ends && kept_failing);
        }
        assert_eq!(step.told.is_empty(), step.told.iter().all(|(_, text)| text.is_empty()));
    });
}

#[test]
fn only_a_running_and_healthy_report_makes_it_healthy() {
    every_pair(|instance, report| {
        let Some(step) = observe(instance, report, &restart(), AT) else { return };
        let restarting = instance.restart_nonce > report.restart_nonce
            || matches!(instance.state, State::Placed { restart_by: Some(_), .. });
        let may = report.state == RunState::Running
            && report.healthy
            && instance.state.stays()
            && !restarting;
        assert_eq!(step.next.healthy(), may, "{:?} {report:?}", instance.state);
    });
}

#[test]
fn what_counts_begins_anew_with_another_process() {
    let place = Place { worker: worker("w1"), generation: 3, at: Wall(1000) };
    let run = Run::Running { healthy_since: Some(Wall(2000)) };
    let running = instance(State::Placed { place, run, restart_by: None }, 0);
    let since = |restarts| {
        let report = report(RunState::Running, true, restarts, false);
        observe(&running, &report, &restart(), AT).unwrap().next.state.healthy_since()
    };
    assert_eq!(since(1), Some(Wall(2000)));
    assert_eq!(since(2), Some(AT.steady));
}

#[test]
fn failures_are_counted_once_each_and_the_old_ones_forgotten() {
    let running = State::Placed {
        place: Place { worker: worker("w1"), generation: 3, at: Wall(1000) },
        run: Run::Running { healthy_since: None },
        restart_by: None,
    };
    let restart = restart();
    assert_eq!((restart.attempts, restart.window.as_secs()), (5, 600));
    let mut at = AT;
    let mut now = instance(running, 0);
    let mut hear = |in_row: u32, failed_at: i64, later_s: i64| {
        at.steady = Wall(at.steady.0 + later_s * 1000);
        let mut said = report(RunState::Starting, false, 1, true);
        said.failures_in_row = in_row;
        said.failure.as_mut().unwrap().at = Wall(failed_at);
        if let Some(step) = observe(&now, &said, &restart, at) {
            now = step.next;
        }
        assert_eq!(observe(&now, &said, &restart, at), None, "the same again");
        now.observed.failed_at.len()
    };
    assert_eq!(hear(1, 1, 0), 1);
    assert_eq!(hear(1, 1, 5), 1, "told before");
    assert_eq!(hear(1, 2, 90), 2, "it was up for a while between");
    assert_eq!(hear(3, 4, 5), 4, "one of them was not told");
    assert_eq!(hear(1, 5, 499), 5);
    assert_eq!(hear(2, 6, 1), 5, "the first is too long ago");
    assert_eq!(hear(u32::MAX, 7, 1), 5, "no more than can move it");
    assert_eq!(hear(1, 8, 3000), 1);
}
