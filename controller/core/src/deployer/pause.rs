//! A deployment that is held where it is, and let go on: pause and resume.
//!
//! While it is paused nothing of it is begun, judged or retired: what was begun goes on, what runs
//! is kept, what is lost or has to leave its worker is replaced by its like (`replace.rs`). Its
//! times stand still: what was left of the whole is stored with it, and what each start had used up
//! counts on from there. Called by `commands`; it does not decide what a rollout does next.

use tucano_common::id::DeploymentId;
use tucano_common::time::Wall;

use super::core::{At, Deployer};
use super::journal::Story;
use super::lifecycle::after;
use super::{Accepted, Refusal};
use crate::cluster::{Deployment, DeploymentStatus, EventKind, Instance, Phase, Service, State};

impl Deployer {
    pub(super) fn pause(&mut self, id: DeploymentId, at: At) -> Result<Accepted, Refusal> {
        let mut deployment = self.open_deployment(id)?.clone();
        let DeploymentStatus::InProgress { deadline } = deployment.status else {
            return Ok(accepted(&deployment, false));
        };
        let left = deadline.since(at.steady);
        deployment.status = DeploymentStatus::Paused { since: at.steady, left };
        self.put_held(deployment, EventKind::DeploymentPaused, "is held where it is", at)
    }

    pub(super) fn resume(&mut self, id: DeploymentId, at: At) -> Result<Accepted, Refusal> {
        let mut deployment = self.open_deployment(id)?.clone();
        let DeploymentStatus::Paused { since, left } = deployment.status else {
            return Ok(accepted(&deployment, false));
        };
        let unready: Vec<Instance> = self
            .cluster
            .of_deployment(id)
            .filter(|each| each.state.stays() && each.observed.ready_at.is_none())
            .cloned()
            .collect();
        for instance in unready {
            self.cluster.put_instance(moved_on(instance, since, at.steady));
        }
        deployment.status = DeploymentStatus::InProgress { deadline: after(at.steady, left) };
        self.put_held(deployment, EventKind::DeploymentResumed, "goes on", at)
    }

    fn put_held(
        &mut self,
        deployment: Deployment,
        kind: EventKind,
        what: &str,
        at: At,
    ) -> Result<Accepted, Refusal> {
        let message = format!("deployment {} {what}", deployment.id);
        let story = Story::new(kind, message, Some(deployment.event));
        let event = self.tell_deployment(&deployment, story, at);
        let accepted = accepted(&deployment, true);
        self.mark(&deployment.service, Some(event));
        self.cluster.put_deployment(deployment);
        Ok(accepted)
    }

    fn open_deployment(&self, id: DeploymentId) -> Result<&Deployment, Refusal> {
        let deployment = self.cluster.deployment(id).ok_or(Refusal::UnknownDeployment(id))?;
        match deployment.status.ended_at() {
            None => Ok(deployment),
            Some(_) => {
                let state = deployment.status.as_str();
                Err(Refusal::DeploymentEnded { deployment: id, state })
            }
        }
    }

    /// Whether a service's deployment is held where it is.
    pub(super) fn is_paused(&self, service: &Service) -> bool {
        let deployment = self.cluster.deployment(service.deployment);
        service.phase == Phase::Deploying
            && deployment.is_some_and(|it| matches!(it.status, DeploymentStatus::Paused { .. }))
    }

    /// Whether a service is kept as it is, whatever it is asked to be.
    pub(super) fn is_frozen(&self, service: &Service) -> bool {
        service.phase == Phase::Failed || self.is_paused(service)
    }
}

fn accepted(deployment: &Deployment, changed: bool) -> Accepted {
    Accepted {
        changed,
        service: Some(deployment.service.clone()),
        deployment: Some(deployment.id),
        ..Accepted::default()
    }
}

/// A start that had used up so much of its time at the pause has used up as much at its end.
fn moved_on(mut instance: Instance, paused: Wall, now: Wall) -> Instance {
    let move_on = |time: &mut Wall| {
        let used = i64::try_from(paused.since(*time).as_millis()).unwrap_or(i64::MAX);
        *time = Wall(now.0.saturating_sub(used));
    };
    if let State::Placed { place, .. } = &mut instance.state {
        move_on(&mut place.at);
    }
    instance.observed.start_seen_at.as_mut().map(move_on);
    instance
}
