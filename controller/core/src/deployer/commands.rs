//! Commands: each either changes what is asked for, or is refused and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::limits::WORKER_DRAIN;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::{Spec, Workload};

use super::core::{At, Deployer, Due};
use super::journal::Story;
use super::lifecycle::after;
use super::{Accepted, Command, Refusal};
use crate::cluster::{
    Admission, DeploymentKind, EventKind, LeaseState, Leaving, Phase, Revision, Service,
};

impl Deployer {
    pub(super) fn carry_out(&mut self, command: Command, at: At) -> Result<Accepted, Refusal> {
        match command {
            Command::Deploy { spec } => self.deploy(spec, at),
            Command::Delete { service } => self.delete(&service, at),
            Command::Scale { service, concurrency } => self.scale(&service, concurrency, at),
            Command::Restart { service } => self.restart(&service, at),
            Command::Rollback { service, revision } => self.roll_back(&service, revision, at),
            Command::PauseDeployment { deployment } => self.pause(deployment, at),
            Command::ResumeDeployment { deployment } => self.resume(deployment, at),
            Command::RestartInstance { instance } => {
                self.staying(instance)?;
                self.restart_instance(instance, at);
                Ok(self.accepted_instance(instance))
            }
            Command::StopInstance { instance } => {
                self.staying(instance)?;
                self.leave(instance, Leaving::AskedFor, None, at);
                Ok(self.accepted_instance(instance))
            }
            Command::DrainWorker { worker, deadline } => self.drain(&worker, deadline, at),
            Command::ActivateWorker { worker } => self.activate(&worker, at),
            Command::ForgetWorker { worker } => self.forget(&worker, at),
        }
    }

    fn deploy(&mut self, spec: Arc<Spec>, at: At) -> Result<Accepted, Refusal> {
        let name = spec.name.clone();
        self.check_hosts(&spec)?;
        let Some(service) = self.cluster.service(&name).cloned() else {
            let service = Service {
                name: name.clone(),
                revision: 1,
                last_revision: 1,
                restart_epoch: 0,
                healthy_revision: None,
                phase: Phase::Deploying,
                deployment: DeploymentId(0),
                created_at: at.wall,
                updated_at: at.wall,
            };
            self.put_new_revision(&name, 1, spec, at);
            let id = self.start_deployment(service, 1, DeploymentKind::Deploy, at);
            return Ok(accepted(name, id, true));
        };
        if self.cluster.spec_of(&service) != Some(&spec) {
            return Ok(self.deploy_new(service, spec, DeploymentKind::Deploy, at));
        }
        match service.phase {
            Phase::Deploying | Phase::Settled => Ok(accepted(name, service.deployment, false)),
            // Once more, or back from its end.
            Phase::Failed | Phase::Ending => {
                let number = service.revision;
                let id = self.start_deployment(service, number, DeploymentKind::Deploy, at);
                Ok(accepted(name, id, true))
            }
        }
    }

    fn deploy_new(
        &mut self,
        mut service: Service,
        spec: Arc<Spec>,
        kind: DeploymentKind,
        at: At,
    ) -> Accepted {
        let number = service.last_revision + 1;
        let name = service.name.clone();
        service.last_revision = number;
        self.put_new_revision(&name, number, spec, at);
        let id = self.start_deployment(service, number, kind, at);
        accepted(name, id, true)
    }

    fn put_new_revision(&mut self, name: &ServiceName, number: u64, spec: Arc<Spec>, at: At) {
        let (service, created_at) = (name.clone(), at.wall);
        self.cluster.put_revision(Revision { service, number, spec, created_at, healthy_at: None });
    }

    /// Whether the hosts of a spec are free on its port.
    fn check_hosts(&self, spec: &Spec) -> Result<(), Refusal> {
        let Some(port) = spec.network.expose_port else { return Ok(()) };
        let listen_port = self.listen_port(port);
        for other in self.cluster.services().filter(|other| other.name != spec.name) {
            for revision in self.claimed_revisions(other) {
                let network = &revision.spec.network;
                let same_port =
                    network.expose_port.map(|port| self.listen_port(port)) == Some(listen_port);
                let both = |host: &&String| network.hosts.contains(host);
                if same_port && let Some(host) = spec.network.hosts.iter().find(both) {
                    let (host, by) = (host.clone(), other.name.clone());
                    return Err(Refusal::HostTaken { host, port, by });
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, name: &ServiceName, at: At) -> Result<Accepted, Refusal> {
        let mut service = self.known(name)?.clone();
        if service.phase == Phase::Ending {
            return Ok(accepted(name.clone(), service.deployment, false));
        }
        let cause = self.supersede(&service, None, at);
        let message = format!("service {name} is being ended");
        let story = Story::new(EventKind::ServiceDeleting, message, cause);
        let event = self.tell_service(&service, story, at);
        service.phase = Phase::Ending;
        service.updated_at = at.wall;
        let id = service.deployment;
        self.cluster.put_service(service);
        self.mark(name, Some(event));
        Ok(accepted(name.clone(), id, true))
    }

    fn scale(&mut self, name: &ServiceName, concurrency: u32, at: At) -> Result<Accepted, Refusal> {
        let (service, spec) = self.with_instances(name)?;
        if spec.concurrency == concurrency {
            return Ok(accepted(name.clone(), service.deployment, false));
        }
        let spec = Arc::new(Spec { concurrency, ..(*spec).clone() });
        Ok(self.deploy_new(service, spec, DeploymentKind::Scale, at))
    }

    fn restart(&mut self, name: &ServiceName, at: At) -> Result<Accepted, Refusal> {
        let (mut service, _) = self.with_instances(name)?;
        // Larger than any that is in use: a restart that was taken back leaves its epoch behind.
        let used = self.cluster.alive_of(name).map(|each| each.restart_epoch).max();
        service.restart_epoch = service.restart_epoch.max(used.unwrap_or(0)) + 1;
        let revision = service.revision;
        let id = self.start_deployment(service, revision, DeploymentKind::Restart, at);
        Ok(accepted(name.clone(), id, true))
    }

    fn roll_back(
        &mut self,
        name: &ServiceName,
        revision: Option<u64>,
        at: At,
    ) -> Result<Accepted, Refusal> {
        let service = self.known(name)?.clone();
        if service.phase == Phase::Ending {
            return Err(Refusal::ServiceEnding(name.clone()));
        }
        let to = self.rollback_target(&service, revision)?;
        if to == service.revision && service.phase != Phase::Failed {
            return Ok(accepted(name.clone(), service.deployment, false));
        }
        if let Some(target) = self.cluster.revision(name, to) {
            self.check_hosts(&target.spec)?;
        }
        let id = self.start_deployment(service, to, DeploymentKind::Rollback, at);
        Ok(accepted(name.clone(), id, true))
    }

    fn drain(
        &mut self,
        name: &WorkerName,
        deadline: Option<Duration>,
        at: At,
    ) -> Result<Accepted, Refusal> {
        let mut worker = self.known_worker(name)?.clone();
        let deadline = after(at.steady, deadline.unwrap_or(WORKER_DRAIN));
        let since = match worker.admission {
            Admission::Open => at.wall,
            Admission::Draining { since, .. } => since,
        };
        let message = format!("worker {name} gives its instances away");
        let story = Story::new(EventKind::WorkerDraining, message, None);
        let event = self.tell_worker(name, story, at);
        worker.admission = Admission::Draining { since, deadline };
        self.cluster.put_worker(worker);
        self.deadlines.set(&Due::Worker(name.clone()), Some(deadline));
        self.draining.insert(name.clone());
        self.mark_worker(name, Some(event));
        Ok(Accepted { changed: true, worker: Some(name.clone()), ..Accepted::default() })
    }

    fn activate(&mut self, name: &WorkerName, at: At) -> Result<Accepted, Refusal> {
        let mut worker = self.known_worker(name)?.clone();
        let changed = worker.admission != Admission::Open;
        if changed {
            let message = format!("worker {name} takes instances again");
            let story = Story::new(EventKind::WorkerActivated, message, None);
            let event = self.tell_worker(name, story, at);
            worker.admission = Admission::Open;
            self.cluster.put_worker(worker);
            self.deadlines.set(&Due::Worker(name.clone()), None);
            self.draining.remove(name);
            self.mark_worker(name, Some(event));
            self.mark_waiting();
            self.watch_balance(at);
        }
        Ok(Accepted { changed, worker: Some(name.clone()), ..Accepted::default() })
    }

    fn forget(&mut self, name: &WorkerName, at: At) -> Result<Accepted, Refusal> {
        let worker = self.known_worker(name)?;
        let instances = self.cluster.reserved(name).instances;
        if worker.lease != LeaseState::Dead && instances > 0 {
            let (worker, lease) = (name.clone(), worker.lease.as_str());
            return Err(Refusal::WorkerBusy { worker, instances, lease });
        }
        let message = format!("worker {name} was removed");
        self.tell_worker(name, Story::new(EventKind::WorkerForgotten, message, None), at);
        self.deadlines.set(&Due::Worker(name.clone()), None);
        self.draining.remove(name);
        self.replanned.remove(name);
        self.cluster.drop_worker(name);
        self.plans.remove(name);
        self.routes.forget_workers();
        // The reasons of what waits name every worker: this one no more.
        self.mark_waiting();
        Ok(Accepted { changed: true, worker: Some(name.clone()), ..Accepted::default() })
    }

    fn known(&self, name: &ServiceName) -> Result<&Service, Refusal> {
        self.cluster.service(name).ok_or_else(|| Refusal::UnknownService(name.clone()))
    }

    fn known_worker(&self, name: &WorkerName) -> Result<&crate::cluster::Worker, Refusal> {
        self.cluster.worker(name).ok_or_else(|| Refusal::UnknownWorker(name.clone()))
    }

    /// A service that has instances of its own and is not being ended.
    fn with_instances(&self, name: &ServiceName) -> Result<(Service, Arc<Spec>), Refusal> {
        let service = self.known(name)?;
        if service.phase == Phase::Ending {
            return Err(Refusal::ServiceEnding(name.clone()));
        }
        match self.cluster.spec_of(service) {
            Some(spec) if matches!(spec.workload, Workload::Scripts(_)) => {
                Ok((service.clone(), spec.clone()))
            }
            Some(_) | None => Err(Refusal::External(name.clone())),
        }
    }

    fn accepted_instance(&self, id: InstanceId) -> Accepted {
        let service = self.cluster.instance(id).map(|each| each.service.clone());
        Accepted { changed: true, service, instance: Some(id), ..Accepted::default() }
    }
}

fn accepted(service: ServiceName, deployment: DeploymentId, changed: bool) -> Accepted {
    Accepted {
        changed,
        service: Some(service),
        deployment: Some(deployment),
        ..Accepted::default()
    }
}
