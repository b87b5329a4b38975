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
    instances: BTreeMap<InstanceId, Instance>,
    pub(super) indices: Indices,
    touched: Touched,
}

/// What can be derived from the records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Indices {
    pub(super) alive: BTreeMap<ServiceName, BTreeSet<InstanceId>>,
    pub(super) ended: BTreeMap<ServiceName, BTreeSet<InstanceId>>,
    pub(super) deployments: BTreeMap<ServiceName, BTreeSet<DeploymentId>>,
    pub(super) on_worker: BTreeMap<WorkerName, BTreeSet<InstanceId>>,
    pub(super) reserved: BTreeMap<WorkerName, Reserved>,
    pub(super) surveys: BTreeMap<u64, u32>,
}

/// The keys of the records that were written or dropped since the last [`Cluster::take_touched`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) workers: BTreeSet<WorkerName>,
    pub(crate) services: BTreeSet<ServiceName>,
    pub(crate) revisions: BTreeSet<(ServiceName, u64)>,
    pub(crate) deployments: BTreeSet<DeploymentId>,
    pub(crate) instances: BTreeSet<InstanceId>,
    pub(crate) surveys: BTreeSet<u64>,
}

impl Cluster {
    /// The cluster of these rows; whether they agree with each other is `check_invariants`' to say.
    pub(crate) fn from_rows(rows: Rows) -> Cluster {
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
        let mut reserved = Joined::new(self.indices.reserved.iter());
        self.workers.values().map(move |worker| {
            let load = live.at(&worker.name).and_then(|live| live.load);
            (worker, load, reserved.at(&worker.name).copied().unwrap_or_default())
        })
    }

    /// What placement has given away of a worker.
    pub fn reserved(&self, worker: &WorkerName) -> Reserved {
        self.indices.reserved.get(worker).copied().unwrap_or_default()
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
        let ids = self.indices.deployments.get(service).into_iter().flatten();
        ids.filter_map(|id| self.deployments.get(id))
    }

    /// One deployment.
    pub fn deployment(&self, id: DeploymentId) -> Option<&Deployment> {
        self.deployments.get(&id)
    }

    /// Every kept instance, oldest first, the ended ones too.
    pub fn instances(&self) -> impl DoubleEndedIterator<Item = &Instance> {
        self.instances.values()
    }

    /// One instance.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.get(&id)
    }

    /// A service's instances that have not ended, oldest first.
    pub fn alive_of(&self, service: &ServiceName) -> impl DoubleEndedIterator<Item = &Instance> {
        let ids = self.indices.alive.get(service).into_iter().flatten();
        ids.filter_map(|id| self.instances.get(id))
    }

    /// A service's ended instances that are kept, oldest first.
    pub fn ended_of(&self, service: &ServiceName) -> impl DoubleEndedIterator<Item = &Instance> {
        let ids = self.indices.ended.get(service).into_iter().flatten();
        ids.filter_map(|id| self.instances.get(id))
    }

    /// How many they are.
    pub(crate) fn ended_count(&self, service: &ServiceName) -> usize {
        self.indices.ended.get(service).map_or(0, BTreeSet::len)
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
        let ids = self.indices.on_worker.get(worker).into_iter().flatten();
        ids.filter_map(|id| self.instances.get(id))
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
        self.indices.deployments.entry(deployment.service.clone()).or_default().insert(id);
        self.touched.deployments.insert(id);
        self.deployments.insert(id, deployment);
    }

    pub(crate) fn drop_deployment(&mut self, id: DeploymentId) {
        if let Some(deployment) = self.deployments.remove(&id) {
            remove_from(&mut self.indices.deployments, &deployment.service, &id);
            self.touched.deployments.insert(id);
        }
    }

    /// Writes an instance; one that is written as it stands is not touched. False then.
    pub(crate) fn put_instance(&mut self, instance: Instance) {
        let id = instance.id;
        let old = self.instances.remove(&id);
        if old.as_ref() == Some(&instance) {
            self.instances.insert(id, instance);
            return;
        }
        if let Some(old) = &old {
            self.unindex(old);
        }
        self.index(&instance);
        if let Some(survey) = old.as_ref().and_then(Instance::survey)
            && instance.survey().map(|each| each.id) != Some(survey.id)
        {
            self.touched.surveys.insert(survey.id);
        }
        if let Some(survey) = instance.survey()
            && old.as_ref().and_then(Instance::survey).map(|each| each.id) != Some(survey.id)
        {
            self.touched.surveys.insert(survey.id);
        }
        self.touched.instances.insert(id);
        self.instances.insert(id, instance);
    }

    pub(crate) fn drop_instance(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.remove(&id) {
            self.unindex(&instance);
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

    fn index(&mut self, instance: &Instance) {
        let reserved = self.reservation(instance);
        self.indices.add(instance, reserved);
    }

    fn unindex(&mut self, instance: &Instance) {
        let reserved = self.reservation(instance);
        self.indices.remove(instance, reserved);
    }

    /// What one instance takes of its worker, by the revision that it was made with.
    pub(crate) fn reservation(&self, instance: &Instance) -> Reserved {
        let resources = self.born_spec(instance).map(|spec| spec.resources);
        Reserved {
            cpu_millis: resources.and_then(|each| each.cpu_millis).map_or(0, u64::from),
            memory_bytes: resources.and_then(|each| each.memory_bytes).unwrap_or(0),
            instances: 1,
            coming: u32::from(instance.state.stays() && !instance.healthy()),
        }
    }
}

impl Indices {
    pub(super) fn add(&mut self, instance: &Instance, reservation: Reserved) {
        let by_end = if instance.state.ended() { &mut self.ended } else { &mut self.alive };
        by_end.entry(instance.service.clone()).or_default().insert(instance.id);
        if let Some(survey) = instance.survey() {
            *self.surveys.entry(survey.id).or_default() += 1;
        }
        let Some(place) = instance.state.place() else { return };
        self.on_worker.entry(place.worker.clone()).or_default().insert(instance.id);
        let reserved = self.reserved.entry(place.worker.clone()).or_default();
        reserved.cpu_millis += reservation.cpu_millis;
        reserved.memory_bytes += reservation.memory_bytes;
        reserved.instances += reservation.instances;
        reserved.coming += reservation.coming;
    }

    fn remove(&mut self, instance: &Instance, reservation: Reserved) {
        let by_end = if instance.state.ended() { &mut self.ended } else { &mut self.alive };
        remove_from(by_end, &instance.service, &instance.id);
        if let Some(survey) = instance.survey()
            && let Some(uses) = self.surveys.get_mut(&survey.id)
        {
            *uses -= 1;
            if *uses == 0 {
                self.surveys.remove(&survey.id);
            }
        }
        let Some(place) = instance.state.place() else { return };
        remove_from(&mut self.on_worker, &place.worker, &instance.id);
        if let Some(reserved) = self.reserved.get_mut(&place.worker) {
            reserved.cpu_millis -= reservation.cpu_millis;
            reserved.memory_bytes -= reservation.memory_bytes;
            reserved.instances -= reservation.instances;
            reserved.coming -= reservation.coming;
            if reserved.instances == 0 {
                self.reserved.remove(&place.worker);
            }
        }
    }
}

/// Removes a value from a key's set, and the set with its last value.
fn remove_from<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
