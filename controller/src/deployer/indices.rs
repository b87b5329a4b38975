//! `X-Tucano-Index`: a number for every resource that grows when that resource changes.
//!
//! The newest event's `seq`, or one more than the last index where a change told no event. They are
//! not stored: after a start every resource has the index of the newest event, and whoever waits
//! past that is answered at once.

use std::collections::BTreeMap;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_controller_core::cluster::{Cluster, Instance};
use tucano_controller_core::deployer::Change;

use crate::msgs::Query;

/// The indices of all resources; one that is not listed has not changed since the start.
#[derive(Debug)]
pub(crate) struct Indices {
    start: u64,
    newest: u64,
    last_event: u64,
    services: Table<ServiceName>,
    deployments: Table<DeploymentId>,
    instances: Table<InstanceId>,
    workers: Table<WorkerName>,
    /// Of workers' histories.
    metrics: u64,
}

/// The indices of one kind of resource, and of their list.
#[derive(Debug)]
struct Table<K> {
    list: u64,
    each: BTreeMap<K, u64>,
}

impl<K: Ord + Clone> Table<K> {
    fn new(start: u64) -> Table<K> {
        Table { list: start, each: BTreeMap::new() }
    }

    fn put(&mut self, key: &K, index: u64) {
        self.list = index;
        self.each.insert(key.clone(), index);
    }

    fn drop(&mut self, key: &K, index: u64) {
        self.list = index;
        self.each.remove(key);
    }
}

impl Indices {
    /// After a start, with the newest event there is.
    pub(crate) fn new(last_event: u64) -> Indices {
        // An index of 0 would make `?index=0` wait for a list that is there already.
        let start = last_event.max(1);
        Indices {
            start,
            newest: start,
            last_event,
            services: Table::new(start),
            deployments: Table::new(start),
            instances: Table::new(start),
            workers: Table::new(start),
            metrics: start,
        }
    }

    /// The newest event.
    pub(crate) fn last_event(&self) -> u64 {
        self.last_event
    }

    /// The newest index of all: a reader who waits past it read it from another start.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// A resource's index.
    pub(crate) fn of(&self, query: &Query) -> u64 {
        match query {
            Query::Services => self.services.list,
            Query::Discovery(None) => self.services.list.max(self.workers.list),
            Query::Service(name) | Query::Revisions(name) | Query::ServiceLogs(name) => {
                self.of_service(name)
            }
            // A worker that is late takes its addresses along.
            Query::Discovery(Some(name)) => self.of_service(name).max(self.workers.list),
            // Where one more would go depends on every worker.
            Query::Why(name) => self.of_service(name).max(self.workers.list),
            Query::Deployments => self.deployments.list,
            Query::Deployment(id) => self.at(&self.deployments, id),
            Query::Instances => self.instances.list,
            Query::Instance(id) | Query::InstanceLogs(id) => self.at(&self.instances, id),
            Query::Workers => self.workers.list,
            Query::Worker(name) => self.at(&self.workers, name),
            Query::WorkerMetrics { .. } => self.metrics,
            Query::Events { .. } => self.last_event,
            Query::Status | Query::Gauges | Query::Simulate { .. } => self.newest,
        }
    }

    fn of_service(&self, name: &ServiceName) -> u64 {
        self.at(&self.services, name)
    }

    fn at<K: Ord>(&self, table: &Table<K>, key: &K) -> u64 {
        table.each.get(key).copied().unwrap_or(self.start)
    }

    /// Takes note of a commit: what it changed, and its last event. `cluster` is as it is after it.
    pub(crate) fn committed(&mut self, changes: &[Change], last_event: u64, cluster: &Cluster) {
        self.last_event = self.last_event.max(last_event);
        self.newest = (self.newest + 1).max(last_event);
        let index = self.newest;
        for change in changes {
            match change {
                Change::PutWorker(worker) => self.workers.put(&worker.name, index),
                Change::PutGeneration { worker, .. } => self.workers.put(worker, index),
                Change::DropWorker(name) => self.workers.drop(name, index),
                Change::PutService(service) => self.services.put(&service.name, index),
                Change::DropService(name) => self.services.drop(name, index),
                Change::PutRevision(revision) => self.services.put(&revision.service, index),
                Change::DropRevision { .. } => self.services.list = index,
                Change::PutDeployment(deployment) => {
                    self.deployments.put(&deployment.id, index);
                    self.services.put(&deployment.service, index);
                }
                Change::DropDeployment(id) => self.deployments.drop(id, index),
                Change::PutInstance(instance) => self.put_instance(instance, index, cluster),
                Change::DropInstance(id) => self.instances.drop(id, index),
                Change::PutSurvey(_) | Change::DropSurvey(_) => {}
            }
        }
    }

    /// An instance shows in its service, its deployment and its worker.
    fn put_instance(&mut self, instance: &Instance, index: u64, cluster: &Cluster) {
        self.instances.put(&instance.id, index);
        self.services.put(&instance.service, index);
        let current = cluster.service(&instance.service).map(|service| service.deployment);
        for deployment in [instance.deployment, current].into_iter().flatten() {
            self.deployments.put(&deployment, index);
        }
        if let Some(worker) = instance.state.worker() {
            self.workers.put(worker, index);
        }
    }

    /// Workers' histories grew.
    pub(crate) fn metrics_grew(&mut self) {
        self.newest += 1;
        self.metrics = self.newest;
    }
}
