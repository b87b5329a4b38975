//! New instances in place of others: how many at once, after which delay, in whose place.

use std::collections::BTreeSet;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use super::core::{At, Deployer};
use super::lifecycle::{Birth, after};
use crate::cluster::{Instance, Leaving, Phase, Service, State, Waiting};

impl Deployer {
    pub(super) fn make_current(
        &mut self,
        service: &Service,
        spec: &Arc<Spec>,
        count: usize,
        cause: Option<u64>,
        at: At,
    ) {
        let mut predecessors = self.without_successor(service).into_iter();
        let deploying = service.phase == Phase::Deploying;
        let until = if deploying { None } else { self.delay(service, spec, at) };
        let deployed = self.cluster.deployment(service.deployment).map(|each| each.event);
        for _ in 0..count {
            let replaces = predecessors.next();
            let story = replaces.and_then(|id| self.cluster.instance(id)).map(|each| each.event);
            let birth = Birth {
                service: &service.name,
                revision: service.revision,
                restart_epoch: service.restart_epoch,
                deployment: deploying.then_some(service.deployment),
                replaces,
                waiting: until.map_or(Waiting::Turn, |until| Waiting::Backoff { until }),
                cause: cause.or(story).or(deployed).unwrap_or(0),
            };
            self.make(birth, at);
        }
    }

    /// The instances whose place a new one takes: those that ended otherwise than asked, newest
    /// first, then old ones that still stay.
    fn without_successor(&self, service: &Service) -> Vec<InstanceId> {
        let alive = || self.cluster.alive_of(&service.name);
        let ended = || self.cluster.ended_of(&service.name);
        let replaced: BTreeSet<InstanceId> =
            alive().chain(ended()).filter_map(|each| each.replaces).collect();
        let broke = ended().rev().filter(|each| {
            matches!(each.state, State::Failed { .. } | State::Lost { wanted: true, .. })
                && each.since >= service.updated_at
        });
        let old = alive().filter(|each| each.state.stays() && !self.is_current(service, each));
        broke.chain(old).map(|each| each.id).filter(|id| !replaced.contains(id)).collect()
    }

    /// Until when a replacement waits because instances keep failing: the first comes at once, the
    /// next ones after the spec's backoff, doubled each time. What another revision did is no
    /// reason: a revert comes at once.
    pub(super) fn delay(&self, service: &Service, spec: &Spec, at: At) -> Option<Wall> {
        let failed = self.cluster.ended_of(&service.name).filter(|each| {
            matches!(each.state, State::Failed { .. })
                && at.wall.since(each.since) < spec.restart.window
                && each.since >= service.updated_at
                && each.revision == service.revision
        });
        let failures = u32::try_from(failed.count()).unwrap_or(u32::MAX);
        let doublings = failures.checked_sub(2)?.min(16);
        let backoff = spec.restart.backoff.saturating_mul(1 << doublings);
        Some(after(at.steady, backoff.min(spec.restart.backoff_max)))
    }

    /// Moves instances that failed `attempts` times within `window`, in a row or not: they end as
    /// failed, and others take their place.
    pub(super) fn move_failing(&mut self, service: &Service, spec: &Spec, at: At) {
        if service.phase != Phase::Settled || spec.restart.attempts == 0 {
            return;
        }
        let failures = |each: &Instance| {
            let lately = |time: &&Wall| at.steady.since(**time) < spec.restart.window;
            each.observed.failed_at.iter().filter(lately).count()
        };
        // One that is up again is not stopped for what it did: at its next failure, it goes.
        let failing = |each: &&Instance| {
            each.state.stays()
                && !each.healthy()
                && failures(each) >= spec.restart.attempts as usize
        };
        let ids: Vec<InstanceId> =
            self.cluster.alive_of(&service.name).filter(failing).map(|each| each.id).collect();
        ids.into_iter().for_each(|id| self.leave(id, Leaving::KeptFailing, None, at));
    }

    /// Keeps what runs, and replaces first, by its like, what has to leave its worker. After a
    /// deployment that failed with nothing to go back to, what never got ready is ended; while one
    /// is paused, it goes on.
    pub(super) fn keep(&mut self, service: &Service, at: At) {
        let staying: Vec<Instance> = self
            .cluster
            .alive_of(&service.name)
            .filter(|each| each.state.stays())
            .cloned()
            .collect();
        for instance in &staying {
            // A deployment made it, this one or one that it superseded: not the replacements of
            // here.
            let failed = service.phase == Phase::Failed && instance.deployment.is_some();
            if failed && instance.observed.ready_at.is_none() {
                self.leave(instance.id, Leaving::DeploymentFailed, None, at);
            } else if self.is_displaced(instance) {
                let overdue = self.is_overdue(instance, at);
                match staying.iter().find(|each| each.replaces == Some(instance.id)) {
                    Some(successor) if !successor.healthy() && !overdue => {}
                    Some(_) => self.leave(instance.id, Leaving::WorkerDrained, None, at),
                    None => self.make_like(instance, instance.event, at),
                }
            }
        }
    }

    /// A lost instance of a service that is kept as it is (its deployment failed or is paused) is
    /// replaced by its like, one for one: there is no number of instances that such a service is
    /// brought to.
    pub(super) fn replace_frozen(&mut self, lost: InstanceId, cause: u64, at: At) {
        let Some(instance) = self.cluster.instance(lost).cloned() else { return };
        let service = self.cluster.service(&instance.service);
        let frozen = service.is_some_and(|service| self.is_frozen(service));
        let wanted = matches!(instance.state, State::Lost { wanted: true, .. });
        if frozen && wanted && instance.observed.ready_at.is_some() {
            self.make_like(&instance, cause, at);
        }
    }

    /// The successor of an instance that came back is not needed; elsewhere the rollout rule sees
    /// to that.
    pub(super) fn drop_frozen_successor(&mut self, back: InstanceId, cause: u64, at: At) {
        let Some(instance) = self.cluster.instance(back) else { return };
        let service = self.cluster.service(&instance.service);
        if service.is_none_or(|service| !self.is_frozen(service)) {
            return;
        }
        let successor = self
            .cluster
            .alive_of(&instance.service)
            .find(|each| each.state.stays() && each.replaces == Some(back));
        if let Some(id) = successor.map(|each| each.id) {
            self.leave(id, Leaving::Surplus, Some(cause), at);
        }
    }

    fn make_like(&mut self, instance: &Instance, cause: u64, at: At) {
        let birth = Birth {
            service: &instance.service,
            revision: instance.revision,
            restart_epoch: instance.restart_epoch,
            deployment: None,
            replaces: Some(instance.id),
            waiting: Waiting::Turn,
            cause,
        };
        self.make(birth, at);
    }
}
