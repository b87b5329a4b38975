//! A deployment's beginning and its ends.

use std::sync::Arc;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::limits::{ENDED_KEPT, REVISIONS_KEPT};
use tucano_common::name::ServiceName;
use tucano_common::spec::Spec;

use super::core::{At, Deployer};
use super::journal::Story;
use super::judge::Failed;
use super::lifecycle::after;
use super::refusal::Refusal;
use crate::cluster::{
    Deployment, DeploymentKind, DeploymentStatus, EventKind, Instance, Phase, Revision, Service,
};

/// Whether instances of one spec are instances of another without being started anew: everything
/// that their workers know of is the same.
pub(super) fn same_instances(a: &Spec, b: &Spec) -> bool {
    let mut a = a.clone();
    a.concurrency = b.concurrency;
    a.update = b.update;
    a.network.hosts.clone_from(&b.network.hosts);
    a.network.hold = b.network.hold;
    a.network.max_in_flight = b.network.max_in_flight;
    a == *b
}

impl Deployer {
    /// Begins a deployment of a revision that is there; the one in progress, if one is, is
    /// superseded.
    pub(super) fn start_deployment(
        &mut self,
        mut service: Service,
        revision: u64,
        kind: DeploymentKind,
        at: At,
    ) -> DeploymentId {
        let Some(spec) = self.cluster.revision(&service.name, revision).map(|it| it.spec.clone())
        else {
            return service.deployment;
        };
        let id = self.next_deployment_id(at);
        let is_new = self.cluster.service(&service.name).is_none();
        let event_before = self.supersede(&service, Some(id), at);
        let mut deployment = Deployment {
            id,
            service: service.name.clone(),
            revision,
            from_revision: (!is_new).then_some(service.revision),
            kind,
            wanted: spec.concurrency,
            status: DeploymentStatus::InProgress {
                deadline: after(at.steady, spec.update.progress_deadline),
            },
            created_at: at.wall,
            event: 0,
        };
        let text = match kind {
            DeploymentKind::Deploy => "deploys",
            DeploymentKind::Scale => "scales to",
            DeploymentKind::Restart => "restarts",
            DeploymentKind::Rollback => "rolls back to",
        };
        let message = format!("{text} revision {revision} with {} instances", spec.concurrency);
        let story = Story::new(EventKind::DeploymentStarted, message, event_before);
        deployment.event = self.tell_deployment(&deployment, story, at);
        let event = deployment.event;
        self.cluster.put_deployment(deployment);
        service.phase = Phase::Deploying;
        service.deployment = id;
        service.updated_at = at.wall;
        let name = service.name.clone();
        self.set_revision(service, revision, Some(id));
        self.bound_revisions(&name);
        self.bound_deployments(&name);
        self.mark(&name, Some(event));
        id
    }

    /// Ends the deployment in progress, if one is, in favour of another one or of nothing.
    pub(super) fn supersede(
        &mut self,
        service: &Service,
        by: Option<DeploymentId>,
        at: At,
    ) -> Option<u64> {
        let mut deployment = self.cluster.deployment(service.deployment)?.clone();
        deployment.status.ended_at().is_none().then_some(())?;
        deployment.status = DeploymentStatus::Superseded { at: at.wall, by };
        let message = match by {
            Some(by) => format!("deployment {by} takes its place"),
            None => "its service is being deleted".to_owned(),
        };
        let cause = Some(deployment.event);
        let story = Story::new(EventKind::DeploymentSuperseded, message, cause);
        let event = self.tell_deployment(&deployment, story, at);
        self.cluster.put_deployment(deployment);
        Some(event)
    }

    /// Sets the revision asked for. Instances that already are as it has them are instances of it
    /// from now on.
    fn set_revision(&mut self, mut service: Service, revision: u64, by: Option<DeploymentId>) {
        service.revision = revision;
        let Some(spec) = self.cluster.spec_of(&service).cloned() else { return };
        let adopted: Vec<Instance> = self
            .cluster
            .alive_of(&service.name)
            .filter(|instance| instance.state.stays() && self.is_of(instance, &service, &spec))
            .cloned()
            .collect();
        for mut instance in adopted {
            instance.revision = revision;
            if instance.observed.ready_at.is_none() && by.is_some() {
                instance.deployment = by;
            }
            self.cluster.put_instance(instance);
        }
        self.cluster.put_service(service);
    }

    fn is_of(&self, instance: &Instance, service: &Service, spec: &Arc<Spec>) -> bool {
        let born = self.cluster.born_spec(instance);
        instance.restart_epoch == service.restart_epoch
            && born.is_some_and(|born| Arc::ptr_eq(born, spec) || same_instances(born, spec))
    }

    /// The revision is up, whole.
    pub(super) fn succeed(&mut self, service: &Service, at: At) {
        let Some(mut deployment) = self.cluster.deployment(service.deployment).cloned() else {
            return;
        };
        deployment.status = DeploymentStatus::Succeeded { at: at.wall };
        let took = at.wall.since(deployment.created_at).as_millis();
        let message = format!("revision {} is up after {took} ms", deployment.revision);
        let latest = self.cluster.alive_of(&service.name).map(|each| each.event).max();
        let cause = latest.filter(|seq| *seq > deployment.event).or(Some(deployment.event));
        let story = Story::new(EventKind::DeploymentSucceeded, message, cause);
        self.tell_deployment(&deployment, story, at);
        self.cluster.put_deployment(deployment);
        if let Some(mut revision) = self.cluster.revision(&service.name, service.revision).cloned()
            && revision.healthy_at.is_none()
        {
            revision.healthy_at = Some(at.wall);
            self.cluster.put_revision(revision);
        }
        let mut service = service.clone();
        service.healthy_revision = Some(service.revision);
        service.phase = Phase::Settled;
        self.cluster.put_service(service);
    }

    /// It does not get there: back to what was healthy, or stop here.
    pub(super) fn fail_deployment(&mut self, service: &Service, failed: Failed, at: At) {
        let Some(mut deployment) = self.cluster.deployment(service.deployment).cloned() else {
            return;
        };
        let Failed { reason, failure, cause } = failed;
        let mut service = service.clone();
        let (kind, message) = match self.revert_target(&service) {
            Some((to, epoch)) => {
                let message = format!("goes back to revision {to}: {reason}");
                deployment.status = DeploymentStatus::Reverted { at: at.wall, reason, failure, to };
                service.phase = Phase::Settled;
                service.restart_epoch = epoch;
                self.cluster.put_deployment(deployment.clone());
                self.set_revision(service.clone(), to, None);
                (EventKind::DeploymentReverted, message)
            }
            None => {
                let message = reason.clone();
                deployment.status = DeploymentStatus::Failed { at: at.wall, reason, failure };
                service.phase = Phase::Failed;
                self.cluster.put_deployment(deployment.clone());
                self.cluster.put_service(service.clone());
                (EventKind::DeploymentFailed, message)
            }
        };
        let event = self.tell_deployment(&deployment, Story::new(kind, message, cause), at);
        self.mark(&service.name, Some(event));
    }

    /// The revision and restart that a failed deployment goes back to; none where it stays as it
    /// is.
    fn revert_target(&self, service: &Service) -> Option<(u64, u32)> {
        let spec = self.cluster.spec_of(service)?;
        let to = service.healthy_revision.filter(|_| spec.update.auto_revert)?;
        self.cluster.revision(&service.name, to)?;
        if to != service.revision {
            return Some((to, service.restart_epoch));
        }
        // A restart that failed: back to the instances that were there before it.
        let before = self.cluster.alive_of(&service.name).filter(|each| {
            each.state.stays() && each.revision == to && each.restart_epoch < service.restart_epoch
        });
        Some((to, before.map(|each| each.restart_epoch).max()?))
    }

    /// The revision that a rollback without or with a number goes to.
    pub(super) fn rollback_target(
        &self,
        service: &Service,
        revision: Option<u64>,
    ) -> Result<u64, Refusal> {
        let kept = || self.cluster.revisions(&service.name);
        let Some(revision) = revision else {
            if let Some(healthy) = service.healthy_revision
                && healthy != service.revision
                && self.cluster.revision(&service.name, healthy).is_some()
            {
                return Ok(healthy);
            }
            let mut before = kept().rev().filter(|each| each.number < service.revision);
            let healthy = before.find(|each| each.healthy_at.is_some()).map(|each| each.number);
            return healthy.ok_or_else(|| Refusal::NothingToRollBackTo(service.name.clone()));
        };
        if self.cluster.revision(&service.name, revision).is_some() {
            return Ok(revision);
        }
        Err(Refusal::UnknownRevision {
            service: service.name.clone(),
            revision,
            oldest: kept().next().map_or(0, |each| each.number),
            newest: kept().next_back().map_or(0, |each| each.number),
        })
    }

    /// The revisions whose hosts and ports a service holds: what is asked for, and what it may go
    /// back to by itself.
    pub(super) fn claimed_revisions(&self, service: &Service) -> Vec<&Revision> {
        let going_back = match service.phase {
            Phase::Deploying => service.healthy_revision,
            Phase::Settled | Phase::Failed => None,
            Phase::Ending => return Vec::new(),
        };
        let numbers = std::iter::once(service.revision).chain(going_back);
        numbers.filter_map(|number| self.cluster.revision(&service.name, number)).collect()
    }

    /// Keeps the last so many revisions, and what is still referred to.
    fn bound_revisions(&mut self, name: &ServiceName) {
        let Some(service) = self.cluster.service(name).cloned() else { return };
        let count = self.cluster.revisions(&service.name).count();
        let used = |number: u64| {
            number == service.revision
                || service.healthy_revision == Some(number)
                || self
                    .cluster
                    .alive_of(&service.name)
                    .any(|each| each.revision == number || each.born_revision == number)
        };
        let surplus: Vec<u64> = self
            .cluster
            .revisions(&service.name)
            .take(count.saturating_sub(REVISIONS_KEPT))
            .map(|each| each.number)
            .filter(|number| !used(*number))
            .collect();
        surplus.into_iter().for_each(|number| self.cluster.drop_revision(&service.name, number));
    }

    fn bound_deployments(&mut self, name: &ServiceName) {
        let count = self.cluster.deployments_of(name).count();
        let surplus: Vec<DeploymentId> = self
            .cluster
            .deployments_of(name)
            .take(count.saturating_sub(ENDED_KEPT + 1))
            .map(|each| each.id)
            .collect();
        surplus.into_iter().for_each(|id| self.cluster.drop_deployment(id));
    }

    /// Its instances that a command about one may name: those that stay.
    pub(super) fn staying(&self, id: InstanceId) -> Result<&Instance, Refusal> {
        let instance = self.cluster.instance(id).ok_or(Refusal::UnknownInstance(id))?;
        if instance.state.stays() {
            return Ok(instance);
        }
        Err(Refusal::InstanceLeaving { instance: id, state: instance.state.as_str() })
    }
}
