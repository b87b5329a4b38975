//! What has to be stored and told: events, changed rows, workers' plans.

use std::collections::BTreeSet;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::wire::worker::Assignment;

use super::core::{At, Deployer};
use super::{Change, WorkerPlan};
use crate::cluster::{Deployment, Event, EventKind, Instance, Service, Survey, Worker};

/// An event in the making: who it concerns, and why it came.
pub(super) struct Story {
    kind: EventKind,
    message: String,
    cause: Option<u64>,
}

impl Story {
    pub(super) fn new(kind: EventKind, message: impl Into<String>, cause: Option<u64>) -> Story {
        Story { kind, message: message.into(), cause }
    }

    fn event(self, seq: u64, at: At) -> Event {
        Event {
            seq,
            at: at.wall,
            kind: self.kind,
            service: None,
            revision: None,
            deployment: None,
            instance: None,
            worker: None,
            cause: self.cause,
            message: self.message,
        }
    }
}

impl Deployer {
    fn tell(&mut self, story: Story, at: At, concerns: impl FnOnce(&mut Event)) -> u64 {
        self.last_event += 1;
        let mut event = story.event(self.last_event, at);
        concerns(&mut event);
        self.events.push(event);
        self.last_event
    }

    pub(super) fn tell_worker(&mut self, worker: &WorkerName, story: Story, at: At) -> u64 {
        self.tell(story, at, |event| event.worker = Some(worker.clone()))
    }

    pub(super) fn tell_service(&mut self, service: &Service, story: Story, at: At) -> u64 {
        self.tell(story, at, |event| {
            event.service = Some(service.name.clone());
            event.revision = Some(service.revision);
        })
    }

    pub(super) fn tell_deployment(&mut self, deployment: &Deployment, story: Story, at: At) -> u64 {
        self.tell(story, at, |event| {
            event.service = Some(deployment.service.clone());
            event.revision = Some(deployment.revision);
            event.deployment = Some(deployment.id);
        })
    }

    pub(super) fn tell_instance(&mut self, instance: &Instance, story: Story, at: At) -> u64 {
        self.tell(story, at, |event| {
            event.service = Some(instance.service.clone());
            event.revision = Some(instance.revision);
            event.deployment = instance.deployment;
            event.instance = Some(instance.id);
            event.worker = instance.state.worker().cloned();
        })
    }

    /// About an address of an external service.
    pub(super) fn tell_outside(&mut self, about: &Service, id: InstanceId, story: Story, at: At) {
        self.tell(story, at, |event| {
            event.service = Some(about.name.clone());
            event.revision = Some(about.revision);
            event.instance = Some(id);
        });
    }

    /// A worker's notice, perhaps about one of its instances.
    pub(super) fn tell_notice(
        &mut self,
        worker: &WorkerName,
        instance: Option<InstanceId>,
        story: Story,
        at: At,
    ) {
        let instance = instance.and_then(|id| self.cluster.instance(id));
        let about = instance.map(|each| (each.id, each.service.clone(), each.revision));
        self.tell(story, at, |event| {
            event.worker = Some(worker.clone());
            if let Some((id, service, revision)) = about {
                event.instance = Some(id);
                event.service = Some(service);
                event.revision = Some(revision);
            }
        });
    }

    pub(super) fn tell_note(&mut self, kind: &str, message: String, at: At) {
        self.tell(Story::new(EventKind::parse(kind), message, None), at, |_| {});
    }

    /// The worker's generation with a change of its assignments in it: one more than what was last
    /// published, however many changes there are until then. It is for an instance's place, and
    /// stored with it: a storm of placements would write every worker's row again and again.
    pub(super) fn replan(&mut self, name: &WorkerName) -> u64 {
        let Some(worker) = self.cluster.worker(name) else { return 0 };
        let generation = worker.generation;
        let published = match self.replanned.get(name) {
            Some(published) => *published,
            None => *self.replanned.entry(name.clone()).or_insert(generation),
        };
        if generation == published {
            self.cluster.set_generation(name, published + 1);
        }
        published + 1
    }

    pub(super) fn take_plans(&mut self) -> Vec<Arc<WorkerPlan>> {
        let replanned = std::mem::take(&mut self.replanned);
        let mut plans = Vec::with_capacity(replanned.len());
        for (name, published) in replanned {
            let Some(worker) = self.cluster.worker(&name) else { continue };
            let plan = self.worker_plan(worker, published);
            self.plans.insert(name, plan.clone());
            plans.push(plan);
        }
        plans
    }

    /// A worker's plan as of now. An assignment that changes has another generation.
    pub(super) fn worker_plan(&self, worker: &Worker, published: u64) -> Arc<WorkerPlan> {
        let before = self.plans.get(&worker.name).map_or(&[][..], |plan| &plan.assignments);
        let mut before = before.iter().peekable();
        let assignments =
            self.cluster.generations_on(&worker.name).filter_map(|(id, generation)| {
                while before.next_if(|each| each.id < id).is_some() {}
                let same = before.next_if(|each| each.id == id && each.generation == generation);
                debug_assert!(
                    same.is_none_or(|same| self.assignment(id).as_ref() == Some(&**same))
                );
                same.cloned().or_else(|| self.assignment(id).map(Arc::new))
            });
        Arc::new(WorkerPlan {
            worker: worker.name.clone(),
            generation: worker.generation,
            previous_generation: published,
            assignments: assignments.collect(),
        })
    }

    fn assignment(&self, id: InstanceId) -> Option<Assignment> {
        let instance = self.cluster.instance(id)?;
        Some(Assignment {
            id,
            generation: instance.state.place()?.generation,
            service: instance.service.clone(),
            revision: instance.born_revision,
            desired: instance.state.desired()?,
            restart_nonce: instance.restart_nonce,
            spec: self.cluster.born_spec(instance)?.clone(),
        })
    }

    /// The touched rows as they are now: what others refer to is written before them and deleted
    /// after them.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let touched = self.cluster.take_touched();
        let cluster = &self.cluster;
        let (mut puts, mut drops) = (Vec::new(), Vec::new());
        for name in touched.generations {
            if let Some(worker) = cluster.worker(&name).filter(|_| !touched.workers.contains(&name))
            {
                let generation = worker.generation;
                puts.push(Change::PutGeneration { worker: name, generation });
            }
        }
        for name in touched.workers {
            match cluster.worker(&name) {
                Some(worker) => puts.push(Change::PutWorker(worker.clone())),
                None => drops.push(Change::DropWorker(name)),
            }
        }
        for name in touched.services {
            match cluster.service(&name) {
                Some(service) => puts.push(Change::PutService(service.clone())),
                None => drops.push(Change::DropService(name)),
            }
        }
        for (service, number) in touched.revisions {
            match cluster.revision(&service, number) {
                Some(revision) => puts.push(Change::PutRevision(revision.clone())),
                None => drops.push(Change::DropRevision { service, number }),
            }
        }
        for id in touched.deployments {
            match cluster.deployment(id) {
                Some(deployment) => puts.push(Change::PutDeployment(deployment.clone())),
                None => drops.push(Change::DropDeployment(id)),
            }
        }
        let (surveys, gone) = self.surveys(&touched.surveys, &touched.instances);
        puts.extend(surveys.into_iter().map(Change::PutSurvey));
        drops.extend(gone.into_iter().map(Change::DropSurvey));
        for id in touched.instances {
            match cluster.shared_instance(id) {
                Some(instance) => puts.push(Change::PutInstance(instance.clone())),
                None => drops.push(Change::DropInstance(id)),
            }
        }
        puts.extend(drops.into_iter().rev());
        puts
    }

    /// The touched surveys that are named by an instance, and the others.
    fn surveys(
        &self,
        touched: &BTreeSet<u64>,
        instances: &BTreeSet<InstanceId>,
    ) -> (Vec<Arc<Survey>>, Vec<u64>) {
        let mut used = Vec::new();
        let mut found = BTreeSet::new();
        for survey in instances.iter().filter_map(|id| self.cluster.instance(*id)?.survey()) {
            if touched.contains(&survey.id) && found.insert(survey.id) {
                used.push(survey.clone());
            }
        }
        let gone = touched.iter().copied().filter(|id| self.cluster.survey_uses(*id) == 0);
        (used, gone.collect())
    }
}
