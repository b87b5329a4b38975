//! Whether a deployment has failed, and how long an instance may take: functions of the cluster and
//! the time.

use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::DEPLOYMENT_START_ATTEMPTS;
use tucano_common::spec::{Source, Spec};
use tucano_common::time::Wall;
use tucano_common::units::format_duration;
use tucano_common::wire::worker::{Cause, Failure};

use super::lifecycle::after;
use super::observe::failure_text;
use crate::cluster::{Cluster, Deployment, DeploymentStatus, Instance, Run, Service, State};

/// What is found of a deployment in progress.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// Nothing speaks against it.
    GoesOn,
    /// It does not get there.
    Fails(Failed),
}

/// Why a deployment does not get there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failed {
    pub(super) reason: String,
    pub(super) failure: Option<Failure>,
    pub(super) cause: Option<u64>,
}

/// Looks at a service's deployment in progress.
pub(super) fn judge(cluster: &Cluster, service: &Service, now: Wall) -> Finding {
    let Some(deployment) = cluster.deployment(service.deployment) else { return Finding::GoesOn };
    let Some(spec) = cluster.spec_of(service) else { return Finding::GoesOn };
    let own = |each: &&Instance| each.deployment == Some(deployment.id);
    let mut workers_failed = 0;
    for instance in cluster.ended_of(&service.name).filter(own) {
        if !matches!(instance.state, State::Failed { .. }) {
            continue;
        }
        // What a worker could not do, another one may.
        let failure = instance.observed.failure.as_ref();
        workers_failed += u32::from(failure.is_some_and(|it| it.cause == Cause::Worker));
        if failure.is_none_or(|it| it.cause != Cause::Worker)
            || workers_failed >= DEPLOYMENT_START_ATTEMPTS
        {
            return fails(instance, failure_text(instance));
        }
    }
    for instance in cluster.alive_of(&service.name).filter(own) {
        if let Some(why) = start_failed(instance, spec, now) {
            return fails(instance, why);
        }
    }
    match deployment.status {
        DeploymentStatus::InProgress { deadline } if deadline <= now => {
            late(cluster, service, deployment, spec)
        }
        DeploymentStatus::InProgress { .. }
        | DeploymentStatus::Paused { .. }
        | DeploymentStatus::Succeeded { .. }
        | DeploymentStatus::Failed { .. }
        | DeploymentStatus::Reverted { .. }
        | DeploymentStatus::Superseded { .. } => Finding::GoesOn,
    }
}

fn start_failed(instance: &Instance, spec: &Spec, now: Wall) -> Option<String> {
    let State::Placed { run, .. } = &instance.state else { return None };
    let attempts = instance.observed.failures_in_row;
    match run {
        Run::Running { healthy_since: Some(_) } => return None,
        Run::Assigned | Run::Building | Run::Starting | Run::Running { healthy_since: None } => {}
    }
    if attempts >= DEPLOYMENT_START_ATTEMPTS {
        return Some(format!("failed {attempts} times in a row: {}", failure_text(instance)));
    }
    let deadline = start_deadline(instance, spec)?;
    (deadline <= now).then(|| {
        let limit = format_duration(spec.update.healthy_deadline);
        let last = instance.observed.failure.as_ref();
        let last = last.map(|failure| format!("; last: {}", failure.message)).unwrap_or_default();
        format!("was not healthy within {limit} (update.healthy_deadline){last}")
    })
}

fn fails(instance: &Instance, why: String) -> Finding {
    let on = instance.state.worker().map(|worker| format!(" on {worker}")).unwrap_or_default();
    Finding::Fails(Failed {
        reason: format!("instance {}{on}: {why}", instance.id),
        failure: instance.observed.failure.clone(),
        cause: Some(instance.event).filter(|seq| *seq > 0),
    })
}

fn late(cluster: &Cluster, service: &Service, deployment: &Deployment, spec: &Spec) -> Finding {
    let current =
        || cluster.alive_of(&service.name).filter(|instance| service.has_as_current(instance));
    let healthy = current().filter(|instance| instance.healthy()).count();
    let waits = current().find_map(|instance| waits_text(instance.id, instance.waits_for()?));
    Finding::Fails(Failed {
        reason: format!(
            "not done within {} (update.progress_deadline): {healthy} of {} healthy{}",
            format_duration(spec.update.progress_deadline),
            deployment.wanted,
            waits.unwrap_or_default(),
        ),
        failure: current().find_map(|instance| instance.observed.failure.clone()),
        cause: Some(deployment.event),
    })
}

fn waits_text(id: InstanceId, waits_for: String) -> Option<String> {
    Some(format!("; instance {id} waits for {waits_for}"))
}

/// When an instance counts, if it stays healthy until then.
pub(super) fn ready_at(instance: &Instance, spec: &Spec) -> Option<Wall> {
    Some(after(instance.state.healthy_since()?, spec.update.min_healthy))
}

/// Until when an instance that was not ready yet has to be.
///
/// From its process's first start it has `healthy_deadline`. What comes before (the source, the
/// build) has its own limit, `build_timeout`: a build is not late because it takes longer than a
/// start may.
pub(super) fn start_deadline(instance: &Instance, spec: &Spec) -> Option<Wall> {
    let State::Placed { place, .. } = &instance.state else { return None };
    if instance.observed.ready_at.is_some() {
        return None;
    }
    let from = instance.observed.start_seen_at.unwrap_or_else(|| {
        let prepares = spec
            .scripts()
            .is_some_and(|scripts| scripts.build.is_some() || scripts.source != Source::Empty);
        after(place.at, if prepares { spec.build_timeout } else { Duration::ZERO })
    });
    Some(after(from, spec.update.healthy_deadline))
}
