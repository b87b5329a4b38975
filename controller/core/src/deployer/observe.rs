//! What a report makes of an instance: total over every state and every report, without effects.
//!
//! A report is whole and says where the process is now, so the same report again, or a late one
//! that is no news, changes nothing. What the deployer wants of the instance (to run, to leave) is
//! never changed by a report.

use tucano_common::spec::Restart;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{InstanceReport, RunState};

use super::core::At;
use crate::cluster::{EventKind, Instance, Leaving, Observed, Place, Run, State};

/// An instance after a report, and what there is to tell about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) next: Instance,
    pub(super) told: Vec<(EventKind, String)>,
}

/// What a report makes of an instance; none where it is no news. `restart`: its spec's.
pub(super) fn observe(
    instance: &Instance,
    report: &InstanceReport,
    restart: &Restart,
    at: At,
) -> Option<Step> {
    let mut next = instance.clone();
    let mut told = Vec::new();
    match &instance.state {
        // Not on a worker, or not any more: a late report. Its worker drops it by the assignments.
        State::Pending { .. }
        | State::Stopped { .. }
        | State::Failed { .. }
        | State::Lost { .. } => return None,
        State::Placed { place, run, .. } => match report.state {
            RunState::Pending | RunState::Building | RunState::Starting | RunState::Running => {
                next.observed = observed(instance, report, at.steady);
                count_failures(&mut next.observed, &instance.observed, restart, at.steady);
                let now = run_now(*run, instance, report, at.steady);
                set_run(&mut next, now);
                told = tell_run(instance, &next, *run, now);
            }
            // It was told to stop before it was taken back: then it is not taken back.
            RunState::Stopping => {
                next.observed = observed(instance, report, at.steady);
                next.observed.waits_for = None;
                next.state = State::Stopping { place: place.clone(), why: Leaving::Surplus };
            }
            RunState::Stopped => {
                next.observed = observed(instance, report, at.steady);
                next.state = State::Stopped { worker: Some(place.worker.clone()), why: None };
                told.push((EventKind::InstanceStopped, "ended by itself".to_owned()));
            }
            RunState::Failed => {
                next.observed = observed(instance, report, at.steady);
                told.push(fail(&mut next, place));
            }
        },
        State::Draining { place, why, .. } | State::Stopping { place, why } => match report.state {
            RunState::Pending
            | RunState::Building
            | RunState::Starting
            | RunState::Running
            | RunState::Stopping => {
                next.observed = observed(instance, report, at.steady);
                // While it leaves its health is of no interest, only its process.
                next.observed.waits_for = None;
            }
            RunState::Stopped | RunState::Failed => {
                next.observed = observed(instance, report, at.steady);
                told.push(end(&mut next, place, why));
            }
        },
    }
    if next.state.as_str() != instance.state.as_str() {
        next.since = at.wall;
    }
    (next != *instance || !told.is_empty()).then_some(Step { next, told })
}

fn observed(instance: &Instance, report: &InstanceReport, now: Wall) -> Observed {
    let before = &instance.observed;
    let started = matches!(report.state, RunState::Starting | RunState::Running);
    let ready = report.state == RunState::Running && report.healthy;
    Observed {
        failed_at: before.failed_at.clone(),
        port: report.port.or(before.port),
        pid: report.pid,
        started_at: report.started_at,
        restarts: report.restarts,
        restart_nonce: report.restart_nonce,
        failures_in_row: report.failures_in_row,
        failure: report.failure.clone().or_else(|| before.failure.clone()),
        requests_cut: before.requests_cut,
        waits_for: report.waits_for.clone(),
        start_seen_at: before.start_seen_at.or(started.then_some(now)),
        ready_at: before.ready_at.or(ready.then_some(now)),
    }
}

/// Keeps the times of the failures that this report is the first to tell of. A report that was lost
/// may have told of the one before: then the failures in a row say how many there were.
fn count_failures(next: &mut Observed, before: &Observed, restart: &Restart, now: Wall) {
    let told = next.failure != before.failure;
    let grown = next.failures_in_row.saturating_sub(before.failures_in_row);
    let count = grown.max(u32::from(told)).min(restart.attempts);
    if count == 0 {
        return;
    }
    next.failed_at.extend((0..count).map(|_| now));
    next.failed_at.retain(|at| now.since(*at) < restart.window);
    let surplus = next.failed_at.len().saturating_sub(restart.attempts as usize);
    next.failed_at.drain(..surplus);
}

fn run_now(before: Run, instance: &Instance, report: &InstanceReport, now: Wall) -> Run {
    match report.state {
        RunState::Pending => Run::Assigned,
        RunState::Building => Run::Building,
        RunState::Running if report.restart_nonce >= instance.restart_nonce => {
            let same_process = report.restarts == instance.observed.restarts
                && report.restart_nonce == instance.observed.restart_nonce;
            let since = match before {
                Run::Running { healthy_since } if same_process => healthy_since,
                Run::Running { .. } | Run::Assigned | Run::Building | Run::Starting => None,
            };
            let healthy_since = report.healthy.then(|| since.unwrap_or(now));
            Run::Running { healthy_since }
        }
        // Of a running one: it was asked to restart and has not yet.
        RunState::Starting
        | RunState::Running
        | RunState::Stopping
        | RunState::Stopped
        | RunState::Failed => Run::Starting,
    }
}

fn set_run(instance: &mut Instance, now: Run) {
    if let State::Placed { run, .. } = &mut instance.state {
        *run = now;
    }
}

fn tell_run(before: &Instance, after: &Instance, was: Run, now: Run) -> Vec<(EventKind, String)> {
    let mut told = Vec::new();
    let seen = &after.observed;
    if seen.restarts > before.observed.restarts {
        let why = seen.failure.as_ref().map_or("its process ended", |failure| &failure.message);
        told.push((EventKind::InstanceRestarting, format!("started again in place: {why}")));
    }
    let news = match (was, now) {
        (_, Run::Assigned) => None,
        (Run::Building, Run::Building) | (Run::Starting, Run::Starting) => None,
        (_, Run::Building) => Some((EventKind::InstanceBuilding, "is being built".to_owned())),
        (_, Run::Starting) if told.is_empty() => {
            Some((EventKind::InstanceStarting, "its process was started".to_owned()))
        }
        (_, Run::Starting) => None,
        (Run::Running { healthy_since: Some(_) }, Run::Running { healthy_since: None }) => {
            Some((EventKind::InstanceUnhealthy, "fails its health check".to_owned()))
        }
        (Run::Running { healthy_since: None }, Run::Running { healthy_since: Some(_) }) => {
            Some((EventKind::InstanceHealthy, "passes its health check again".to_owned()))
        }
        (Run::Running { .. }, Run::Running { .. }) => None,
        (Run::Assigned | Run::Building | Run::Starting, Run::Running { .. }) => {
            Some((EventKind::InstanceRunning, ready_text(after)))
        }
    };
    told.extend(news);
    told
}

fn ready_text(instance: &Instance) -> String {
    match instance.observed.port {
        Some(port) => format!("is ready on port {port}"),
        None => "is ready".to_owned(),
    }
}

fn fail(next: &mut Instance, place: &Place) -> (EventKind, String) {
    next.state = State::Failed { worker: place.worker.clone() };
    (EventKind::InstanceFailed, failure_text(next))
}

fn end(next: &mut Instance, place: &Place, why: &Leaving) -> (EventKind, String) {
    if *why == Leaving::KeptFailing {
        return fail(next, place);
    }
    next.state = State::Stopped { worker: Some(place.worker.clone()), why: Some(why.clone()) };
    (EventKind::InstanceStopped, format!("ended, because {}", why.text()))
}

/// Why an instance failed, in a sentence.
pub(super) fn failure_text(instance: &Instance) -> String {
    match &instance.observed.failure {
        Some(failure) => failure.message.clone(),
        None => "failed; its worker does not say why".to_owned(),
    }
}
