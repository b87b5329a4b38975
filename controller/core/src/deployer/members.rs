//! How a service stands, as the rollout rule sees it: each instance that stays, and what it is
//! worth.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::spec::{RestartPolicy, Spec};
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Cause, Step};

use super::core::{At, Deployer};
use super::judge::ready_at;
use super::rollout::{Member, Progress, Standing};
use crate::cluster::{
    Admission, Cluster, DeploymentStatus, Instance, LeaseState, Leaving, Run, Service, State,
};

impl Deployer {
    /// Whether an instance is what is asked for, and stands where it may.
    pub(super) fn is_current(&self, service: &Service, instance: &Instance) -> bool {
        let moves = self.is_displaced(instance) || self.is_moving(instance.id);
        service.has_as_current(instance) && !moves
    }

    pub(super) fn is_displaced(&self, instance: &Instance) -> bool {
        let place = instance.state.place();
        place.is_some_and(|place| self.drain_deadline(&place.worker).is_some())
    }

    /// Whether its worker's drain is over time.
    pub(super) fn is_overdue(&self, instance: &Instance, at: At) -> bool {
        let place = instance.state.place();
        let deadline = place.and_then(|place| self.drain_deadline(&place.worker));
        deadline.is_some_and(|deadline| deadline <= at.steady)
    }

    fn drain_deadline(&self, worker: &WorkerName) -> Option<Wall> {
        match self.cluster.worker(worker)?.admission {
            Admission::Open => None,
            Admission::Draining { deadline, .. } => Some(deadline),
        }
    }

    pub(super) fn why_old(&self, service: &Service, id: InstanceId) -> Leaving {
        let Some(instance) = self.cluster.instance(id) else { return Leaving::Replaced };
        if service.has_as_current(instance) && self.is_displaced(instance) {
            return Leaving::WorkerDrained;
        }
        if service.has_as_current(instance) && self.is_moving(id) {
            return Leaving::Rebalanced;
        }
        let made_by = instance.deployment.and_then(|id| self.cluster.deployment(id));
        match made_by.map(|deployment| &deployment.status) {
            Some(DeploymentStatus::Failed { .. } | DeploymentStatus::Reverted { .. }) => {
                Leaving::DeploymentFailed
            }
            Some(
                DeploymentStatus::InProgress { .. }
                | DeploymentStatus::Paused { .. }
                | DeploymentStatus::Succeeded { .. }
                | DeploymentStatus::Superseded { .. },
            )
            | None => Leaving::Replaced,
        }
    }

    pub(super) fn members(&self, service: &Service, spec: &Spec, at: At) -> Vec<Member> {
        let staying = || self.cluster.alive_of(&service.name).filter(|each| each.state.stays());
        let mut by_worth: Vec<&Instance> = staying().collect();
        by_worth.sort_by_key(|each| (Reverse(progress(each, spec, at.steady)), each.id));
        let mut crowds: BTreeMap<&WorkerName, u32> = BTreeMap::new();
        let mut before: BTreeMap<InstanceId, u32> = BTreeMap::new();
        for (each, place) in by_worth.iter().filter_map(|each| Some((each, each.state.place()?))) {
            let crowd = crowds.entry(&place.worker).or_default();
            before.insert(each.id, *crowd);
            *crowd += 1;
        }
        let member = |instance: &Instance| {
            let worker = instance.state.place().map(|place| &place.worker);
            let lease = worker.and_then(|worker| self.cluster.worker(worker)).map(|it| it.lease);
            Member {
                id: instance.id,
                standing: self.standing(service, instance, at),
                progress: progress(instance, spec, at.steady),
                suspect: lease.is_some_and(|lease| lease != LeaseState::Ready),
                crowd: before.get(&instance.id).copied().unwrap_or(0),
            }
        };
        staying().map(member).collect()
    }

    /// How many members there are, where each is current and counts: the first that does not is an
    /// answer, and mostly it is the first of all.
    pub(super) fn all_ready(&self, service: &Service, spec: &Spec, at: At) -> Option<usize> {
        let mut count = 0;
        for instance in self.cluster.alive_of(&service.name).filter(|each| each.state.stays()) {
            let current = self.standing(service, instance, at) == Standing::Current;
            if !current || progress(instance, spec, at.steady) != Progress::Ready {
                return None;
            }
            count += 1;
        }
        Some(count)
    }

    fn standing(&self, service: &Service, instance: &Instance, at: At) -> Standing {
        let drain = instance.state.place().and_then(|place| self.drain_deadline(&place.worker));
        match drain {
            Some(deadline) if deadline <= at.steady => Standing::Overdue,
            Some(_) => Standing::Old,
            None if self.is_moving(instance.id) => Standing::Old,
            None if service.has_as_current(instance) => Standing::Current,
            None => Standing::Old,
        }
    }
}

/// Current instances that ended by themselves, where the spec does not want them started again.
pub(super) fn done(cluster: &Cluster, service: &Service, spec: &Spec) -> usize {
    let counts = |instance: &&Instance| {
        let over = match &instance.state {
            State::Stopped { why: None, .. } => spec.restart.policy != RestartPolicy::Always,
            State::Failed { .. } => {
                spec.restart.policy == RestartPolicy::Never && has_run(instance)
            }
            State::Pending { .. }
            | State::Placed { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Stopped { why: Some(_), .. }
            | State::Lost { .. } => false,
        };
        over && service.has_as_current(instance)
    };
    match spec.restart.policy {
        RestartPolicy::Always => 0,
        RestartPolicy::OnFailure | RestartPolicy::Never => {
            cluster.ended_of(&service.name).filter(counts).count()
        }
    }
}

/// Whether what failed is the program, and not what has to come before it.
fn has_run(instance: &Instance) -> bool {
    instance.observed.failure.as_ref().is_some_and(|failure| match failure.step {
        Step::Runtime | Step::Health => failure.cause != Cause::Worker,
        Step::Source | Step::Build | Step::Start | Step::Teardown => false,
    })
}

/// How far an instance is, towards counting.
fn progress(instance: &Instance, spec: &Spec, now: Wall) -> Progress {
    match &instance.state {
        State::Placed { run: Run::Running { healthy_since: Some(_) }, .. } => {
            let ready = ready_at(instance, spec).is_some_and(|time| time <= now);
            if ready { Progress::Ready } else { Progress::Healthy }
        }
        State::Placed { .. } => Progress::Coming,
        State::Pending { .. }
        | State::Draining { .. }
        | State::Stopping { .. }
        | State::Stopped { .. }
        | State::Failed { .. }
        | State::Lost { .. } => Progress::Waiting,
    }
}
