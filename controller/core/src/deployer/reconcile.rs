//! One service, brought a step nearer to what is asked for: by its phase, then placement, then its
//! next deadline.

use std::collections::BTreeSet;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use super::core::{At, Deployer, Due};
use super::journal::Story;
use super::judge::{Finding, judge, ready_at, start_deadline};
use super::members::done;
use super::rollout::rollout;
use crate::cluster::{
    DeploymentStatus, EventKind, Instance, Leaving, Phase, Service, State, Waiting,
};

impl Deployer {
    /// Looks at a service; `cause` is the event that is why, if one is.
    pub(super) fn reconcile(&mut self, name: &ServiceName, cause: Option<u64>, at: At) {
        self.waiting.remove(name);
        self.end_drains(name, at);
        self.judge_deployment(name, at);
        let Some(service) = self.cluster.service(name).cloned() else { return };
        let Some(spec) = self.cluster.spec_of(&service).cloned() else { return };
        match service.phase {
            Phase::Deploying if self.is_paused(&service) => self.keep(&service, at),
            Phase::Deploying | Phase::Settled => {
                self.roll(&service, &spec, cause, at);
                self.move_failing(&service, &spec, at);
            }
            Phase::Failed => self.keep(&service, at),
            Phase::Ending => self.end_service(&service, cause, at),
        }
        self.place_waiting(name, cause, at);
        self.make_room(&service, &spec, at);
        self.judge_success(name, at);
        let next = self.next_look(name, at);
        self.deadlines.set(&Due::Service(name.clone()), next);
        self.routes.touch(name);
    }

    /// Drains whose time is over.
    fn end_drains(&mut self, name: &ServiceName, at: At) {
        let over = |instance: &&Instance| match &instance.state {
            State::Draining { until, .. } => *until <= at.steady,
            State::Placed { restart_by, .. } => restart_by.is_some_and(|by| by <= at.steady),
            State::Pending { .. }
            | State::Stopping { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => false,
        };
        let due: Vec<InstanceId> =
            self.cluster.alive_of(name).filter(over).map(|each| each.id).collect();
        due.into_iter().for_each(|id| self.drained(id, at));
    }

    /// Makes and ends what the rollout rule says.
    fn roll(&mut self, service: &Service, spec: &Arc<Spec>, cause: Option<u64>, at: At) {
        let members = self.members(service, spec, at);
        let done = done(&self.cluster, service, spec);
        let [count, surge] = [spec.concurrency, spec.update.max_surge].map(|n| n as usize);
        let moves = rollout(&members, count, surge, done);
        let of_deployment = self.deployment_event(service);
        for id in moves.retire {
            let why = self.why_old(service, id);
            self.leave(id, why, of_deployment, at);
        }
        let recovered: BTreeSet<InstanceId> = members.iter().map(|each| each.id).collect();
        for id in moves.shed {
            let replaces = self.cluster.instance(id).and_then(|each| each.replaces);
            let surplus = replaces.is_some_and(|id| recovered.contains(&id));
            let why = if surplus { Leaving::Surplus } else { Leaving::ScaledDown };
            self.leave(id, why, of_deployment.or(cause), at);
        }
        if moves.make > 0 {
            self.make_current(service, spec, moves.make, of_deployment.or(cause), at);
        }
    }

    /// Everything leaves; with the last instance the service goes.
    fn end_service(&mut self, service: &Service, cause: Option<u64>, at: At) {
        let staying: Vec<InstanceId> = self
            .cluster
            .alive_of(&service.name)
            .filter(|each| each.state.stays())
            .map(|each| each.id)
            .collect();
        for id in staying {
            self.leave(id, Leaving::ServiceDeleted, cause, at);
        }
        if self.cluster.alive_of(&service.name).next().is_none() {
            let story = Story::new(
                EventKind::ServiceDeleted,
                format!("service {} is gone", service.name),
                cause,
            );
            self.tell_service(service, story, at);
            self.cluster.drop_service(&service.name);
        }
    }

    fn judge_deployment(&mut self, name: &ServiceName, at: At) {
        let Some(service) = self.cluster.service(name).cloned() else { return };
        if service.phase != Phase::Deploying || self.is_paused(&service) {
            return;
        }
        match judge(&self.cluster, &service, at.steady) {
            Finding::Fails(failed) => self.fail_deployment(&service, failed, at),
            Finding::GoesOn => {}
        }
    }

    fn judge_success(&mut self, name: &ServiceName, at: At) {
        let Some(service) = self.cluster.service(name).cloned() else { return };
        let Some(spec) = self.cluster.spec_of(&service).cloned() else { return };
        if service.phase != Phase::Deploying || self.is_paused(&service) {
            return;
        }
        let Some(ready) = self.all_ready(&service, &spec, at) else { return };
        if ready + done(&self.cluster, &service, &spec) >= spec.concurrency as usize {
            self.succeed(&service, at);
        }
    }

    /// When the service has to be looked at though nothing happens.
    fn next_look(&self, name: &ServiceName, at: At) -> Option<Wall> {
        let service = self.cluster.service(name)?;
        let spec = self.cluster.spec_of(service)?;
        let deploying = service.phase == Phase::Deploying && !self.is_paused(service);
        let deployment = self.cluster.deployment(service.deployment).filter(|_| deploying);
        let whole = deployment.and_then(|deployment| match deployment.status {
            DeploymentStatus::InProgress { deadline } => Some(deadline),
            DeploymentStatus::Paused { .. }
            | DeploymentStatus::Succeeded { .. }
            | DeploymentStatus::Failed { .. }
            | DeploymentStatus::Reverted { .. }
            | DeploymentStatus::Superseded { .. } => None,
        });
        let each = self.cluster.alive_of(name).flat_map(|instance| {
            let own = match &instance.state {
                State::Pending { waiting: Waiting::Backoff { until } } => Some(*until),
                State::Draining { until, .. } => Some(*until),
                State::Placed { restart_by, .. } => *restart_by,
                State::Pending { waiting: Waiting::Turn | Waiting::Room { .. } }
                | State::Stopping { .. }
                | State::Stopped { .. }
                | State::Failed { .. }
                | State::Lost { .. } => None,
            };
            let counts = ready_at(instance, spec).filter(|time| *time > at.steady);
            let starts = start_deadline(instance, spec)
                .filter(|_| deploying && instance.deployment == Some(service.deployment));
            [own, counts, starts].into_iter().flatten()
        });
        // What is over already was seen; looking at it again at once would change nothing.
        whole.into_iter().chain(each).filter(|time| *time > at.steady).min()
    }

    pub(super) fn deployment_event(&self, service: &Service) -> Option<u64> {
        let deployment = self.cluster.deployment(service.deployment)?;
        (service.phase == Phase::Deploying).then_some(deployment.event)
    }
}
