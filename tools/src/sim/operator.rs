//! Whoever gives commands, and the reference model beside the cluster: what was answered with yes
//! must never be forgotten, whatever died meanwhile.
//!
//! The model is far simpler than the cluster: a few facts for each service and worker. An answer
//! that never came (the controller died) leaves it open whether the command was carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use tucano_common::id::DeploymentId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::prng::Prng;
use tucano_common::spec::Spec;
use tucano_controller_core::cluster::{Admission, Cluster, DeploymentStatus, Phase};
use tucano_controller_core::deployer::Command;

use super::controller::Outcome;
use super::names::{self, Kind, SERVICES};
use super::store::Store;

/// What must be true of a service.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// The newest deployment that was answered, with the content if it was a deploy.
    deployment: Option<(DeploymentId, Option<Arc<Spec>>)>,
    /// A delete was answered.
    deleted: bool,
    /// A later command's answer never came: anything may be.
    open: bool,
}

pub(super) struct Operator {
    prng: Prng,
    workers: u32,
    services: BTreeMap<ServiceName, Promise>,
    drains: BTreeMap<WorkerName, Option<bool>>,
    /// Deployments that were paused (true) or let go on; none where that is open.
    holds: BTreeMap<DeploymentId, Option<bool>>,
    asked: BTreeMap<u64, Command>,
    pub(super) accepted: u64,
}

impl Operator {
    pub(super) fn new(prng: Prng, workers: usize) -> Operator {
        Operator {
            prng,
            workers: u32::try_from(workers).unwrap_or(1),
            services: BTreeMap::new(),
            drains: BTreeMap::new(),
            holds: BTreeMap::new(),
            asked: BTreeMap::new(),
            accepted: 0,
        }
    }

    fn any_service(&mut self) -> ServiceName {
        names::service(self.prng.below(SERVICES as u32) as usize)
    }

    fn any_worker(&mut self) -> WorkerName {
        names::worker(self.prng.below(self.workers) as usize)
    }

    /// What the operator wants now.
    pub(super) fn think(&mut self, cluster: &Cluster) -> Command {
        let service = self.any_service();
        if cluster.service(&service).is_none() {
            return self.deploy(&service, Kind::Good);
        }
        match self.prng.below(100) {
            0..30 => self.deploy(&service, Kind::Good),
            30..42 => {
                let kinds = [Kind::Crashes, Kind::NeverReady, Kind::BuildFails];
                let kind = kinds[self.prng.below(3) as usize];
                self.deploy(&service, kind)
            }
            42..57 => {
                let most = if service.as_str() == "s2" { self.workers } else { 7 };
                Command::Scale { service, concurrency: self.prng.below(most) }
            }
            57..65 => Command::Restart { service },
            65..69 => Command::Rollback { service, revision: None },
            69..72 => self.hold(cluster, &service),
            72..75 => Command::Delete { service },
            75..83 => {
                let alive: Vec<_> = cluster.alive_of(&service).map(|each| each.id).collect();
                match alive.get(self.prng.below(alive.len() as u32) as usize) {
                    Some(instance) if self.prng.chance(0.5) => {
                        Command::RestartInstance { instance: *instance }
                    }
                    Some(instance) => Command::StopInstance { instance: *instance },
                    None => Command::Restart { service },
                }
            }
            83..90 => Command::DrainWorker {
                worker: self.any_worker(),
                deadline: Some(std::time::Duration::from_secs(20)),
            },
            90..98 => Command::ActivateWorker { worker: self.any_worker() },
            _ => Command::ForgetWorker { worker: self.any_worker() },
        }
    }

    /// Pauses a service's deployment, or lets it go on.
    fn hold(&mut self, cluster: &Cluster, service: &ServiceName) -> Command {
        let deployment = cluster.service(service).map_or(DeploymentId(0), |row| row.deployment);
        if self.prng.chance(0.5) {
            Command::PauseDeployment { deployment }
        } else {
            Command::ResumeDeployment { deployment }
        }
    }

    /// A content for a service, to be asked for.
    pub(super) fn deploy(&mut self, service: &ServiceName, kind: Kind) -> Command {
        let spec = names::draw_spec(service, kind, self.workers, &mut self.prng);
        Command::Deploy { spec }
    }

    pub(super) fn asks(&mut self, ticket: u64, command: Command) {
        self.asked.insert(ticket, command);
    }

    /// An answer came.
    pub(super) fn hears(&mut self, ticket: u64, outcome: &Outcome) {
        let Some(command) = self.asked.remove(&ticket) else { return };
        let Ok(accepted) = outcome else { return };
        self.accepted += 1;
        match command {
            Command::Deploy { spec } => {
                let content = Some(Arc::clone(&spec));
                self.promise(&spec.name, accepted.deployment, content);
            }
            Command::Scale { service, .. }
            | Command::Restart { service }
            | Command::Rollback { service, .. } => {
                self.promise(&service, accepted.deployment, None);
            }
            Command::Delete { service } => {
                let deleted = Promise { deployment: None, deleted: true, open: false };
                self.services.insert(service, deleted);
            }
            Command::DrainWorker { worker, .. } => drop(self.drains.insert(worker, Some(true))),
            Command::ActivateWorker { worker } => drop(self.drains.insert(worker, Some(false))),
            Command::ForgetWorker { worker } => drop(self.drains.remove(&worker)),
            Command::PauseDeployment { deployment } => {
                self.holds.insert(deployment, Some(true));
            }
            Command::ResumeDeployment { deployment } => {
                self.holds.insert(deployment, Some(false));
            }
            Command::RestartInstance { .. } | Command::StopInstance { .. } => {}
        }
    }

    fn promise(
        &mut self,
        service: &ServiceName,
        deployment: Option<DeploymentId>,
        content: Option<Arc<Spec>>,
    ) {
        let deployment = deployment.map(|id| (id, content));
        let promise = Promise { deployment, deleted: false, open: false };
        self.services.insert(service.clone(), promise);
    }

    /// The controller died: what is unanswered may have been carried out or not.
    pub(super) fn loses_answers(&mut self) {
        for command in std::mem::take(&mut self.asked).into_values() {
            match command {
                Command::Deploy { spec } => self.leave_open(spec.name.clone()),
                Command::Scale { service, .. }
                | Command::Restart { service }
                | Command::Rollback { service, .. }
                | Command::Delete { service } => self.leave_open(service),
                Command::DrainWorker { worker, .. }
                | Command::ActivateWorker { worker }
                | Command::ForgetWorker { worker } => drop(self.drains.insert(worker, None)),
                Command::PauseDeployment { deployment }
                | Command::ResumeDeployment { deployment } => {
                    self.holds.insert(deployment, None);
                }
                Command::RestartInstance { .. } | Command::StopInstance { .. } => {}
            }
        }
    }

    fn leave_open(&mut self, service: ServiceName) {
        self.services.entry(service).or_default().open = true;
    }

    /// Whether what is on disk keeps every promise; the first one that it does not.
    pub(super) fn broken_promise(&self, store: &Store) -> Option<String> {
        let unanswered = |service: &ServiceName| {
            self.asked.values().any(|command| match command {
                Command::Deploy { spec } => spec.name == *service,
                Command::Scale { service: of, .. }
                | Command::Restart { service: of }
                | Command::Rollback { service: of, .. }
                | Command::Delete { service: of } => of == service,
                Command::PauseDeployment { .. }
                | Command::ResumeDeployment { .. }
                | Command::RestartInstance { .. }
                | Command::StopInstance { .. }
                | Command::DrainWorker { .. }
                | Command::ActivateWorker { .. }
                | Command::ForgetWorker { .. } => false,
            })
        };
        let services = self.services.iter().filter(|(name, it)| !it.open && !unanswered(name));
        let broken = services.filter_map(|(name, promise)| {
            let row = store.services.get(name);
            let Some((id, content)) = &promise.deployment else {
                let back = promise.deleted && row.is_some_and(|row| row.phase != Phase::Ending);
                return back.then(|| format!("the delete of {name} is forgotten"));
            };
            let Some(row) = row else { return Some(format!("service {name} is forgotten")) };
            let Some(deployment) = store.deployments.get(id) else {
                return Some(format!("deployment {id} of {name} is forgotten"));
            };
            if row.deployment != *id {
                return Some(format!("{name} is at {} and not at {id}", row.deployment));
            }
            let revision = store.revisions.get(&(name.clone(), deployment.revision));
            let other = content
                .as_ref()
                .is_some_and(|content| revision.is_none_or(|revision| revision.spec != *content));
            other.then(|| format!("{name} is not what was deployed by {id}"))
        });
        let workers = self.drains.iter().filter_map(|(name, wanted)| {
            let wanted = (*wanted)?;
            let asked = self.asked.values().any(|command| match command {
                Command::DrainWorker { worker, .. }
                | Command::ActivateWorker { worker }
                | Command::ForgetWorker { worker } => worker == name,
                Command::Deploy { .. }
                | Command::Delete { .. }
                | Command::Scale { .. }
                | Command::Restart { .. }
                | Command::Rollback { .. }
                | Command::PauseDeployment { .. }
                | Command::ResumeDeployment { .. }
                | Command::RestartInstance { .. }
                | Command::StopInstance { .. } => false,
            });
            let worker = store.workers.get(name);
            let is = worker.is_some_and(|row| row.admission != Admission::Open);
            let wrong = !asked && is != wanted;
            wrong.then(|| format!("{name}: a drain or its end is forgotten"))
        });
        broken.chain(workers).chain(self.broken_holds(store)).next()
    }

    /// A deployment that was paused stays so until it is resumed or another takes its place.
    fn broken_holds<'a>(&'a self, store: &'a Store) -> impl Iterator<Item = String> + 'a {
        self.holds.iter().filter_map(|(id, wanted)| {
            let wanted = (*wanted)?;
            let asked = self.asked.values().any(|command| {
                let pauses = Command::PauseDeployment { deployment: *id };
                let resumes = Command::ResumeDeployment { deployment: *id };
                *command == pauses || *command == resumes
            });
            let deployment = store.deployments.get(id)?;
            let open = deployment.status.ended_at().is_none();
            let is = is_paused(&deployment.status);
            // A paused one ends only where a newer one or a delete takes its place.
            let ended = matches!(
                deployment.status,
                DeploymentStatus::Succeeded { .. }
                    | DeploymentStatus::Failed { .. }
                    | DeploymentStatus::Reverted { .. }
            );
            let wrong = !asked && (open && is != wanted || wanted && ended);
            wrong.then(|| format!("deployment {id}: a pause or its end is forgotten"))
        })
    }
}

fn is_paused(status: &DeploymentStatus) -> bool {
    matches!(status, DeploymentStatus::Paused { .. })
}

/// Deployments that wait for the operator to let them go on.
pub(super) fn paused(cluster: &Cluster) -> impl Iterator<Item = DeploymentId> + '_ {
    cluster.deployments().filter(|each| is_paused(&each.status)).map(|each| each.id)
}
