//! What can be derived from the records, kept beside them so that nobody walks all of them for it.
//!
//! It follows what [`super::Cluster`] writes and drops, and must always be what a fresh count of
//! the records would be: `invariants.rs` compares. Nothing here is stored.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};

use super::{Deployment, Instance, Reserved, State};

/// All of it. What has nothing in it is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Indices {
    pub(super) services: BTreeMap<ServiceName, OfService>,
    pub(super) workers: BTreeMap<WorkerName, OnWorker>,
    /// Instances that name a survey.
    pub(super) surveys: BTreeMap<u64, u32>,
    /// Instances by their state, as [`STATES`] has them.
    pub(super) states: [u32; STATES.len()],
}

/// The names of an instance's states ([`State::as_str`]).
pub(super) const STATES: [&str; 9] = [
    "pending", "building", "starting", "running", "draining", "stopping", "stopped", "failed",
    "lost",
];

/// One of the counts by state.
fn of_state<'a>(
    states: &'a mut [u32; STATES.len()],
    state: &State,
) -> impl Iterator<Item = &'a mut u32> {
    let own = state.as_str();
    states.iter_mut().zip(STATES).filter(move |(_, name)| *name == own).map(|(count, _)| count)
}

/// What a service has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfService {
    pub(super) alive: BTreeSet<InstanceId>,
    pub(super) ended: BTreeSet<InstanceId>,
    pub(super) deployments: BTreeSet<DeploymentId>,
    /// How many instances may receive requests.
    pub(super) healthy: usize,
}

/// What stands on a worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OnWorker {
    /// By their ids, each with its assignment's generation.
    pub(super) instances: Vec<(InstanceId, u64)>,
    pub(super) reserved: Reserved,
}

impl Indices {
    /// An instance is new, or was another before; each with what it takes of its worker.
    pub(super) fn replace(
        &mut self,
        old: Option<(&Instance, Reserved)>,
        (new, takes): (&Instance, Reserved),
    ) {
        let Some((old, took)) = old else { return self.add(new, takes) };
        let stays = old.service == new.service && old.state.ended() == new.state.ended();
        if !stays {
            self.remove(old, took);
            return self.add(new, takes);
        }
        if old.healthy() != new.healthy() {
            let of_service = self.services.entry(new.service.clone()).or_default();
            of_service.healthy -= usize::from(old.healthy());
            of_service.healthy += usize::from(new.healthy());
        }
        of_state(&mut self.states, &old.state).for_each(|count| *count -= 1);
        of_state(&mut self.states, &new.state).for_each(|count| *count += 1);
        let [was, is] = [old, new].map(|each| each.survey().map(|survey| survey.id));
        if was != is {
            was.into_iter().for_each(|id| self.forget_survey(id));
            is.into_iter().for_each(|id| *self.surveys.entry(id).or_default() += 1);
        }
        match (old.state.place(), new.state.place()) {
            (Some(was), Some(is)) if was.worker == is.worker => {
                if let Some(on_worker) = self.workers.get_mut(&is.worker)
                    && (was.generation, took) != (is.generation, takes)
                {
                    on_worker.set(new.id, is.generation);
                    on_worker.reserved.give_back(took);
                    on_worker.reserved.give_away(takes);
                }
            }
            _ => {
                self.take_off(old, took);
                self.put_on(new, takes);
            }
        }
    }

    pub(super) fn add(&mut self, instance: &Instance, takes: Reserved) {
        let of_service = self.services.entry(instance.service.clone()).or_default();
        of_service.ids(instance).insert(instance.id);
        of_service.healthy += usize::from(instance.healthy());
        of_state(&mut self.states, &instance.state).for_each(|count| *count += 1);
        if let Some(survey) = instance.survey() {
            *self.surveys.entry(survey.id).or_default() += 1;
        }
        self.put_on(instance, takes);
    }

    pub(super) fn remove(&mut self, instance: &Instance, took: Reserved) {
        self.change_service(&instance.service, |of_service| {
            of_service.ids(instance).remove(&instance.id);
            of_service.healthy -= usize::from(instance.healthy());
        });
        of_state(&mut self.states, &instance.state).for_each(|count| *count -= 1);
        if let Some(survey) = instance.survey() {
            self.forget_survey(survey.id);
        }
        self.take_off(instance, took);
    }

    pub(super) fn add_deployment(&mut self, deployment: &Deployment) {
        let of_service = self.services.entry(deployment.service.clone()).or_default();
        of_service.deployments.insert(deployment.id);
    }

    pub(super) fn remove_deployment(&mut self, deployment: &Deployment) {
        self.change_service(&deployment.service, |of_service| {
            of_service.deployments.remove(&deployment.id);
        });
    }

    fn forget_survey(&mut self, id: u64) {
        if let Some(uses) = self.surveys.get_mut(&id) {
            *uses -= 1;
            if *uses == 0 {
                self.surveys.remove(&id);
            }
        }
    }

    fn change_service(&mut self, name: &ServiceName, change: impl FnOnce(&mut OfService)) {
        if let Some(of_service) = self.services.get_mut(name) {
            change(of_service);
            if *of_service == OfService::default() {
                self.services.remove(name);
            }
        }
    }

    fn put_on(&mut self, instance: &Instance, takes: Reserved) {
        let Some(place) = instance.state.place() else { return };
        let on_worker = self.workers.entry(place.worker.clone()).or_default();
        on_worker.set(instance.id, place.generation);
        on_worker.reserved.give_away(takes);
    }

    fn take_off(&mut self, instance: &Instance, took: Reserved) {
        let Some(place) = instance.state.place() else { return };
        let Some(on_worker) = self.workers.get_mut(&place.worker) else { return };
        if let Ok(at) = on_worker.find(instance.id) {
            on_worker.instances.remove(at);
        }
        on_worker.reserved.give_back(took);
        if on_worker.instances.is_empty() {
            self.workers.remove(&place.worker);
        }
    }
}

impl OnWorker {
    /// Where an instance is, or would be.
    fn find(&self, id: InstanceId) -> Result<usize, usize> {
        self.instances.binary_search_by_key(&id, |(id, _)| *id)
    }

    fn set(&mut self, id: InstanceId, generation: u64) {
        match self.find(id) {
            Ok(at) => self.instances[at].1 = generation,
            Err(at) => self.instances.insert(at, (id, generation)),
        }
    }
}

impl OfService {
    fn ids(&mut self, instance: &Instance) -> &mut BTreeSet<InstanceId> {
        if instance.state.ended() { &mut self.ended } else { &mut self.alive }
    }
}

impl Reserved {
    fn give_away(&mut self, one: Reserved) {
        self.cpu_millis += one.cpu_millis;
        self.memory_bytes += one.memory_bytes;
        self.instances += one.instances;
        self.coming += one.coming;
    }

    /// What one instance took is free again.
    pub(crate) fn give_back(&mut self, one: Reserved) {
        self.cpu_millis -= one.cpu_millis;
        self.memory_bytes -= one.memory_bytes;
        self.instances -= one.instances;
        self.coming -= one.coming;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_counted() {
        let mut counts = [0; STATES.len()];
        let failed = State::Failed { worker: WorkerName::new("w1").unwrap() };
        for state in [failed, State::Stopped { worker: None, why: None }] {
            of_state(&mut counts, &state).for_each(|count| *count += 1);
        }
        assert_eq!(counts, [0, 0, 0, 0, 0, 0, 1, 1, 0]);
    }
}
