//! The controller's disk: what is committed, as SQLite would have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_controller_core::cluster::{Deployment, Event, Instance, Revision, Service, Worker};
use tucano_controller_core::deployer::{Change, Rows};

/// All rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub(super) workers: BTreeMap<WorkerName, Worker>,
    pub(super) services: BTreeMap<ServiceName, Service>,
    pub(super) revisions: BTreeMap<(ServiceName, u64), Revision>,
    pub(super) deployments: BTreeMap<DeploymentId, Deployment>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) surveys: BTreeSet<u64>,
    pub(super) last_event: u64,
}

impl Store {
    /// One transaction; what contradicts the schema is a fault.
    pub(super) fn commit(&mut self, changes: &[Change], events: &[Event]) -> Result<(), String> {
        for change in changes {
            self.apply(change)?;
        }
        for event in events {
            if event.seq != self.last_event + 1 {
                return Err(format!("event {} follows {}", event.seq, self.last_event));
            }
            if event.cause.is_some_and(|cause| cause == 0 || cause >= event.seq) {
                return Err(format!("event {} is caused by {:?}", event.seq, event.cause));
            }
            if event.kind.as_str() == "plan_refused" {
                return Err(format!("the planner's plan was refused: {}", event.message));
            }
            self.last_event = event.seq;
        }
        Ok(())
    }

    fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change.clone() {
            Change::PutWorker(row) => drop(self.workers.insert(row.name.clone(), row)),
            Change::PutGeneration { worker, generation } => {
                let known = self.workers.get_mut(&worker);
                let row = known.ok_or_else(|| format!("worker {worker} is not stored"))?;
                row.generation = generation;
            }
            Change::DropWorker(name) => drop(self.workers.remove(&name)),
            Change::PutService(row) => drop(self.services.insert(row.name.clone(), row)),
            Change::DropService(name) => {
                let left = self.instances.values().any(|each| each.service == name)
                    || self.deployments.values().any(|each| each.service == name)
                    || self.revisions.keys().any(|(service, _)| *service == name);
                if left {
                    return Err(format!("service {name} goes before its rows"));
                }
                self.services.remove(&name);
            }
            Change::PutRevision(row) => {
                self.needs_service(&row.service)?;
                self.revisions.insert((row.service.clone(), row.number), row);
            }
            Change::DropRevision { service, number } => {
                self.revisions.remove(&(service, number));
            }
            Change::PutDeployment(row) => {
                self.needs_service(&row.service)?;
                self.deployments.insert(row.id, row);
            }
            Change::DropDeployment(id) => drop(self.deployments.remove(&id)),
            Change::PutSurvey(survey) => drop(self.surveys.insert(survey.id)),
            Change::DropSurvey(id) => drop(self.surveys.remove(&id)),
            Change::PutInstance(row) => {
                self.needs_service(&row.service)?;
                if let Some(survey) = row.survey().filter(|it| !self.surveys.contains(&it.id)) {
                    return Err(format!("{} names survey {}, not stored", row.id, survey.id));
                }
                self.instances.insert(row.id, Arc::unwrap_or_clone(row));
            }
            Change::DropInstance(id) => drop(self.instances.remove(&id)),
        }
        Ok(())
    }

    fn needs_service(&self, name: &ServiceName) -> Result<(), String> {
        let known = self.services.contains_key(name);
        if known { Ok(()) } else { Err(format!("a row of service {name}, which is not stored")) }
    }

    pub(super) fn rows(&self) -> Rows {
        Rows {
            workers: self.workers.values().cloned().collect(),
            services: self.services.values().cloned().collect(),
            revisions: self.revisions.values().cloned().collect(),
            deployments: self.deployments.values().cloned().collect(),
            instances: self.instances.values().cloned().collect(),
            last_event: self.last_event,
        }
    }
}
