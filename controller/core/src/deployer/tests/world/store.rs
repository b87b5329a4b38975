//! What is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};

use crate::cluster::{Deployment, Instance, Revision, Service, Worker};
use crate::deployer::{Change, Rows};

/// What is stored: the changes applied, as SQLite would.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Store {
    pub(in super::super) workers: BTreeMap<WorkerName, Worker>,
    pub(in super::super) services: BTreeMap<ServiceName, Service>,
    pub(in super::super) revisions: BTreeMap<(ServiceName, u64), Revision>,
    pub(in super::super) deployments: BTreeMap<DeploymentId, Deployment>,
    pub(in super::super) instances: BTreeMap<InstanceId, Instance>,
    pub(in super::super) surveys: BTreeSet<u64>,
    pub(in super::super) last_event: u64,
}

impl Store {
    pub(in super::super) fn apply(&mut self, change: Change) {
        match change {
            Change::PutWorker(row) => drop(self.workers.insert(row.name.clone(), row)),
            Change::PutGeneration { worker, generation } => {
                self.workers.get_mut(&worker).expect("a stored worker").generation = generation;
            }
            Change::DropWorker(name) => drop(self.workers.remove(&name)),
            Change::PutService(row) => drop(self.services.insert(row.name.clone(), row)),
            Change::DropService(name) => drop(self.services.remove(&name)),
            Change::PutRevision(row) => {
                self.revisions.insert((row.service.clone(), row.number), row);
            }
            Change::DropRevision { service, number } => {
                self.revisions.remove(&(service, number));
            }
            Change::PutDeployment(row) => drop(self.deployments.insert(row.id, row)),
            Change::DropDeployment(id) => drop(self.deployments.remove(&id)),
            Change::PutSurvey(survey) => drop(self.surveys.insert(survey.id)),
            Change::DropSurvey(id) => drop(self.surveys.remove(&id)),
            Change::PutInstance(row) => {
                self.instances.insert(row.id, Arc::unwrap_or_clone(row));
            }
            Change::DropInstance(id) => drop(self.instances.remove(&id)),
        }
    }

    pub(in super::super) fn rows(&self) -> Rows {
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
