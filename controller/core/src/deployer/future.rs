//! Stored times against a wall clock that was set back before this start.
//!
//! Times outlive a process only as wall-clock times. Where the clock was set back meanwhile they
//! lie in the future, and what is waited for would take hours: what began then begins now, and
//! nothing takes longer than it takes from its beginning. A clock that was set forward can't be
//! told from a long stop: then deadlines are over, as they should be.

use std::time::Duration;

use tucano_common::time::Wall;

use super::core::Deployer;
use super::lifecycle::after;
use crate::cluster::{Admission, DeploymentStatus, Instance, Run, State, Waiting};

impl Deployer {
    /// Brings every stored time back to what it can be at `now`.
    pub(super) fn leave_no_time_in_the_future(&mut self, now: Wall) {
        let workers: Vec<_> = self.cluster.workers().cloned().collect();
        for mut worker in workers {
            if let Admission::Draining { since, deadline } = &mut worker.admission
                && *since > now
            {
                *deadline = after(now, deadline.since(*since));
                *since = now;
                self.cluster.put_worker(worker);
            }
        }
        let deployments: Vec<_> = self.cluster.deployments().cloned().collect();
        for mut deployment in deployments {
            let revision = self.cluster.revision(&deployment.service, deployment.revision);
            let limit = revision.map(|revision| revision.spec.update.progress_deadline);
            if let DeploymentStatus::Paused { since, .. } = &mut deployment.status
                && *since > now
            {
                *since = now;
                self.cluster.put_deployment(deployment);
                continue;
            }
            if let (DeploymentStatus::InProgress { deadline }, Some(limit)) =
                (&mut deployment.status, limit)
                && *deadline > after(now, limit)
            {
                *deadline = after(now, limit);
                self.cluster.put_deployment(deployment);
            }
        }
        let instances: Vec<_> = self.cluster.instances().cloned().collect();
        for instance in instances.into_iter().filter(|each| !each.state.ended()) {
            let spec = self.cluster.born_spec(&instance);
            let limits = spec.map(|spec| (spec.stop.drain, spec.restart.backoff_max));
            let brought_back = bring_back(instance, limits.unwrap_or_default(), now);
            self.cluster.put_instance(brought_back);
        }
    }
}

fn bring_back(
    mut instance: Instance,
    (drain, backoff_max): (Duration, Duration),
    now: Wall,
) -> Instance {
    let seen = &mut instance.observed;
    let known = [&mut seen.start_seen_at, &mut seen.ready_at].into_iter().flatten();
    for time in known.chain(&mut seen.failed_at) {
        *time = (*time).min(now);
    }
    instance.since = instance.since.min(now);
    match &mut instance.state {
        State::Pending { waiting: Waiting::Backoff { until } } => {
            *until = (*until).min(after(now, backoff_max));
        }
        State::Placed { place, run, restart_by } => {
            place.at = place.at.min(now);
            if let Some(by) = restart_by {
                *by = (*by).min(after(now, drain));
            }
            if let Run::Running { healthy_since: Some(since) } = run {
                *since = (*since).min(now);
            }
        }
        State::Draining { until, .. } => *until = (*until).min(after(now, drain)),
        State::Pending { waiting: Waiting::Turn | Waiting::Room { .. } }
        | State::Stopping { .. }
        | State::Stopped { .. }
        | State::Failed { .. }
        | State::Lost { .. } => {}
    }
    instance
}
