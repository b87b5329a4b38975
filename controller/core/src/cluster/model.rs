//! The records together, with indices by service and by worker.
//!
//! Every change goes through `put_…` and `drop_…`, which keep the indices and remember the key, so
//! that a change costs what it touches and `take_touched` names what has to be stored.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Spec;

use super::indices::{Indices, STATES};
use super::joined::Joined;
use super::{Deployment, Instance, Live, Load, Reserved, Revision, Service, Worker};
use crate::deployer::Rows;

/// All records, each with its key; reading only, outside of the deployer.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    workers: BTreeMap<WorkerName, Worker>,
    live: BTreeMap<WorkerName, Live>,
    services: BTreeMap<ServiceName, Service>,
    revisions: BTreeMap<ServiceName, BTreeMap<u64, Revision>>,
    deployments: BTreeMap<DeploymentId, Deployment>,
    /// Shared with what is to be stored.
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    pub(super) indices: Indices,
    touched: Touched,
}

/// The keys of the records that were written or dropped since the last [`Cluster::take_touched`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) workers: BTreeSet<WorkerName>,
    /// Workers of which only the generation is to be stored, if they are not among those too.
    pub(crate) generations: BTreeSet<WorkerName>,
    pub(crate) services: BTreeSet<ServiceName>,
    pub(crate) revisions: BTreeSet<(ServiceName, u64)>,
    pub(crate) deployments: BTreeSet<DeploymentId>,
    pub(crate) instances: BTreeSet<InstanceId>,
    pub(crate) surveys: BTreeSet<u64>,
}

impl Cluster {
    /// The cluster of these rows; whether they agree with each other is `check_invariants`' to say.
    pub(crate) fn from_rows(mut rows: Rows) -> Cluster {
        rows.settle_generations();
        let mut cluster = Cluster::default();
        rows.workers.into_iter().for_each(|worker| cluster.put_worker(worker));
        rows.services.into_iter().for_each(|service| cluster.put_service(service));
        rows.revisions.into_iter().for_each(|revision| cluster.put_revision(revision));
        rows.deployments.into_iter().for_each(|deployment| cluster.put_deployment(deployment));
        rows.instances.into_iter().for_each(|instance| cluster.put_instance(instance));
        cluster.touched = Touched::default();
        cluster
    }

    /// Every worker, by name.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = &Worker> {
        self.workers.values()
    }

    /// One worker.
    pub fn worker(&self, name: &WorkerName) -> Option<&Worker> {
        self.workers.get(name)
    }

    /// What is known of a worker while its heartbeats come.
    pub fn live(&self, worker: &WorkerName) -> Option<&Live> {
        self.live.get(worker)
    }

    /// Every worker, by name, with its load and what is given away of it: one walk instead of a
    /// search for each.
    pub(crate) fn seats(&self) -> impl Iterator<Item = (&Worker, Option<Load>, Reserved)> {
        let mut live = Joined::new(self.live.iter());
        let mut on_worker = Joined::new(self.indices.workers.iter());
        self.workers.values().map(move |worker| {
            let load = live.at(&worker.name).and_then(|live| live.load);
            let reserved = on_worker.at(&worker.name).map(|on_worker| on_worker.reserved);
            (worker, load, reserved.unwrap_or_default())
        })
    }

    /// What placement has given away of a worker.
    pub fn reserved(&self, worker: &WorkerName) -> Reserved {
        self.indices.workers.get(worker).map_or(Reserved::default(), |on_worker| on_worker.reserved)
    }

    /// Every service, by name.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Service> {
        self.services.values()
    }

    /// One service.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    /// A service's kept revisions, oldest first.
    pub fn revisions(&self, service: &ServiceName) -> impl DoubleEndedIterator<Item = &Revision> {
        self.revisions.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// One revision.
    pub fn revision(&self, service: &ServiceName, number: u64) -> Option<&Revision> {
        self.revisions.get(service)?.get(&number)
    }

    /// The content of the revision that a service is asked to be at.
    pub fn spec_of(&self, service: &Service) -> Option<&Arc<Spec>> {
        self.revision(&service.name, service.revision).map(|revision| &revision.spec)
    }

    /// The content that an instance was made with.
    pub fn born_spec(&self, instance: &Instance) -> Option<&Arc<Spec>> {
        self.revision(&instance.service, instance.born_revision).map(|revision| &revision.spec)
    }

    /// Every kept deployment, oldest first.
    pub fn deployments(&self) -> impl DoubleEndedIterator<Item = &Deployment> {
        self.deployments.values()
    }

    /// A service's kept deployments, oldest first.
    pub fn deployments_of(
        &self,
        service: &ServiceName,
    ) -> impl DoubleEndedIterator<Item = &Deployment> {
        let of_service = self.indices.services.get(service).into_iter();
        let ids = of_service.flat_map(|of_service| &of_service.deployments);
        ids.filter_map(|id| self.deployments.get(id))
    }

    /// One deployment.
    pub fn deployment(&self, id: DeploymentId) -> Option<&Deployment> {
        self.deployments.get(&id)
    }

    /// Every kept instance, oldest first, the ended ones too.
    pub fn instances(&self) -> impl DoubleEndedIterator<Item = &Instance> {
        self.instances.values().map(Arc::as_ref)
    }

    /// One instance.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(&id).map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub(crate) fn shared_instance(&self, id: InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(&id)
    }

    /// A service's instances that have not ended, oldest first.
    pub fn alive_of(&self, service: &ServiceName) -> impl DoubleEndedIterator<Item = &Instance> {
        let of_service = self.indices.services.get(service).into_iter();
        let ids = of_service.flat_map(|of_service| &of_service.alive);
        ids.filter_map(|id| self.instance(*id))
    }

    /// A service's ended instances that are kept, oldest first.
    pub fn ended_of(&self, service: &ServiceName) -> impl DoubleEndedIterator<Item = &Instance> {
        let of_service = self.indices.services.get(service).into_iter();
        let ids = of_service.flat_map(|of_service| &of_service.ended);
        ids.filter_map(|id| self.instance(*id))
    }

    /// How many they are.
    pub(crate) fn ended_count(&self, service: &ServiceName) -> usize {
        self.indices.services.get(service).map_or(0, |of_service| of_service.ended.len())
    }

    /// How many of a service's instances may receive requests.
    pub fn healthy_count(&self, service: &ServiceName) -> usize {
        self.indices.services.get(service).map_or(0, |of_service| of_service.healthy)
    }

    /// How many instances are kept in each state that any is in, by its name.
    pub fn instance_counts(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = STATES.into_iter().zip(self.indices.states);
        all.filter(|(_, count)| *count > 0)
    }

    /// A deployment's instances, ended ones too, oldest first: those that it made, and while it is
    /// the service's last one those that it found and kept.
    pub fn of_deployment(&self, id: DeploymentId) -> impl Iterator<Item = &Instance> {
        let deployment = self.deployments.get(&id);
        let service = deployment.and_then(|deployment| self.services.get(&deployment.service));
        let kept = service.filter(|service| service.deployment == id);
        let name = deployment.map(|deployment| &deployment.service);
        let all = name.into_iter().flat_map(|name| self.alive_of(name).chain(self.ended_of(name)));
        all.filter(move |instance| {
            let is_kept = kept.is_some_and(|service| service.has_as_current(instance));
            instance.deployment == Some(id) || is_kept && instance.state.stays()
        })
    }

    /// The instances that stand on a worker, oldest first.
    pub fn on_worker(&self, worker: &WorkerName) -> impl Iterator<Item = &Instance> {
        self.generations_on(worker).filter_map(|(id, _)| self.instance(id))
    }

    /// The same by their ids, each with its assignment's generation.
    pub(crate) fn generations_on(
        &self,
        worker: &WorkerName,
    ) -> impl Iterator<Item = (InstanceId, u64)> {
        let on_worker = self.indices.workers.get(worker);
        on_worker.map_or(&[][..], |on_worker| &on_worker.instances).iter().copied()
    }

    /// Where an instance's process listens; none before its worker said so.
    pub fn address_of(&self, instance: &Instance) -> Option<SocketAddr> {
        let worker = self.workers.get(instance.state.worker()?)?;
        Some(SocketAddr::new(worker.address, instance.observed.port?))
    }
}

/// Writing: the deployer's alone.
impl Cluster {
    pub(crate) fn put_worker(&mut self, worker: Worker) {
        if self.workers.get(&worker.name) != Some(&worker) {
            self.touched.workers.insert(worker.name.clone());
            self.workers.insert(worker.name.clone(), worker);
        }
    }

    /// Sets a worker's generation, which an instance is about to have too: it is stored with that.
    pub(crate) fn set_generation(&mut self, name: &WorkerName, generation: u64) {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.generation = generation;
        }
    }

    /// Has a worker's generation stored, which no instance may have.
    pub(crate) fn store_generation(&mut self, name: &WorkerName) {
        self.touched.generations.insert(name.clone());
    }

    pub(crate) fn drop_worker(&mut self, name: &WorkerName) {
        self.workers.remove(name);
        self.live.remove(name);
        self.touched.workers.insert(name.clone());
    }

    pub(crate) fn live_mut(&mut self, worker: &WorkerName) -> &mut Live {
        self.live.entry(worker.clone()).or_default()
    }

    pub(crate) fn forget_live(&mut self, worker: &WorkerName) {
        self.live.remove(worker);
    }

    pub(crate) fn put_service(&mut self, service: Service) {
        if self.services.get(&service.name) != Some(&service) {
            self.touched.services.insert(service.name.clone());
            self.services.insert(service.name.clone(), service);
        }
    }

    /// Drops a service with its revisions, deployments and instances.
    pub(crate) fn drop_service(&mut self, name: &ServiceName) {
        let instances: Vec<InstanceId> =
            self.alive_of(name).chain(self.ended_of(name)).map(|each| each.id).collect();
        instances.into_iter().for_each(|id| self.drop_instance(id));
        let deployments: Vec<DeploymentId> =
            self.deployments_of(name).map(|each| each.id).collect();
        deployments.into_iter().for_each(|id| self.drop_deployment(id));
        let revisions: Vec<u64> = self.revisions(name).map(|each| each.number).collect();
        revisions.into_iter().for_each(|number| self.drop_revision(name, number));
        self.services.remove(name);
        self.touched.services.insert(name.clone());
    }

    pub(crate) fn put_revision(&mut self, revision: Revision) {
        self.touched.revisions.insert((revision.service.clone(), revision.number));
        let of_service = self.revisions.entry(revision.service.clone()).or_default();
        of_service.insert(revision.number, revision);
    }

    pub(crate) fn drop_revision(&mut self, service: &ServiceName, number: u64) {
        self.touched.revisions.insert((service.clone(), number));
        if let Some(of_service) = self.revisions.get_mut(service) {
            of_service.remove(&number);
            if of_service.is_empty() {
                self.revisions.remove(service);
            }
        }
    }

    pub(crate) fn put_deployment(&mut self, deployment: Deployment) {
        let id = deployment.id;
        self.indices.add_deployment(&deployment);
        self.touched.deployments.insert(id);
        self.deployments.insert(id, deployment);
    }

    pub(crate) fn drop_deployment(&mut self, id: DeploymentId) {
        if let Some(deployment) = self.deployments.remove(&id) {
            self.indices.remove_deployment(&deployment);
            self.touched.deployments.insert(id);
        }
    }

    /// Writes an instance; one that is written as it stands is not touched.
    pub(crate) fn put_instance(&mut self, instance: Instance) {
        let id = instance.id;
        let old = self.instances.get(&id).map(Arc::as_ref);
        if old == Some(&instance) {
            return;
        }
        let takes = self.reservation(&instance);
        // Its revision, and so what it takes, is the same for all its life; only whether it is on
        // its way changes.
        let before = old.map(|old| (old, Reserved { coming: coming(old), ..takes }));
        self.indices.replace(before, (&instance, takes));
        let [was, is] = [old, Some(&instance)].map(|each| each?.survey().map(|survey| survey.id));
        if was != is {
            self.touched.surveys.extend(was.into_iter().chain(is));
        }
        self.touched.instances.insert(id);
        self.instances.insert(id, Arc::new(instance));
    }

    pub(crate) fn drop_instance(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.remove(&id) {
            let takes = self.reservation(&instance);
            self.indices.remove(&instance, takes);
            self.touched.instances.insert(id);
            self.touched.surveys.extend(instance.survey().map(|survey| survey.id));
        }
    }

    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// How many kept instances name a survey.
    pub(crate) fn survey_uses(&self, id: u64) -> u32 {
        self.indices.surveys.get(&id).copied().unwrap_or(0)
    }

    /// What one instance takes of its worker, by the revision that it was made with.
    pub(crate) fn reservation(&self, instance: &Instance) -> Reserved {
        let resources = self.born_spec(instance).map(|spec| spec.resources);
        Reserved {
            cpu_millis: resources.and_then(|each| each.cpu_millis).map_or(0, u64::from),
            memory_bytes: resources.and_then(|each| each.memory_bytes).unwrap_or(0),
            instances: 1,
            coming: coming(instance),
        }
    }
}

impl Rows {
    /// A worker's generation is the newest that its own row or an instance on it has.
    pub fn settle_generations(&mut self) {
        let mut newest: BTreeMap<&WorkerName, u64> = BTreeMap::new();
        for place in self.instances.iter().filter_map(|each| each.state.place()) {
            let newest = newest.entry(&place.worker).or_default();
            *newest = (*newest).max(place.generation);
        }
        for worker in &mut self.workers {
            let by_instances = newest.get(&worker.name).copied().unwrap_or(0);
            worker.generation = worker.generation.max(by_instances);
        }
    }
}

/// 1 where an instance is on its way to what its worker will be measured with.
fn coming(instance: &Instance) -> u32 {
    u32::from(instance.state.stays() && !instance.healthy())
}
