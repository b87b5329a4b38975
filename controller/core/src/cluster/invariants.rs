//! What must hold of a cluster at every moment; a contradiction is a bug of the deployer, or a row
//! changed by hand.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::name::{ServiceName, WorkerName};

use super::indices::Indices;
use super::{Cluster, Instance, LeaseState, Phase, Service, State};

impl Cluster {
    /// Every contradiction in it, in a sentence each.
    pub fn check_invariants(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.services().for_each(|service| self.check_service(service, &mut faults));
        self.instances().for_each(|instance| self.check_instance(instance, &mut faults));
        self.check_deployments(&mut faults);
        self.check_fixed_ports(&mut faults);
        self.check_indices(&mut faults);
        faults
    }

    fn check_service(&self, service: &Service, faults: &mut Vec<String>) {
        let name = &service.name;
        if self.spec_of(service).is_none() {
            faults.push(format!("service {name} is at revision {}, not kept", service.revision));
        }
        if service.revision > service.last_revision {
            faults.push(format!("service {name} is past its last revision"));
        }
        match self.deployment(service.deployment) {
            None => faults.push(format!("service {name} names a deployment that is not there")),
            Some(deployment) => {
                let in_progress = deployment.status.ended_at().is_none();
                if deployment.service != *name {
                    faults.push(format!("service {name} names another's deployment"));
                }
                if in_progress != (service.phase == Phase::Deploying) {
                    let phase = service.phase.as_str();
                    let state = deployment.status.as_str();
                    faults.push(format!("service {name} is {phase}, its deployment {state}"));
                }
                if in_progress && deployment.revision != service.revision {
                    faults.push(format!("service {name} and its deployment differ in revision"));
                }
            }
        }
    }

    fn check_instance(&self, instance: &Instance, faults: &mut Vec<String>) {
        let id = instance.id;
        if self.service(&instance.service).is_none() {
            faults.push(format!("instance {id} is of a service that is not there"));
        }
        if instance.state.ended() {
            return;
        }
        if self.born_spec(instance).is_none() {
            faults.push(format!("instance {id} is of a revision that is not kept"));
        }
        let Some(place) = instance.state.place() else { return };
        match self.worker(&place.worker) {
            None => faults.push(format!("instance {id} is on a worker that is not there")),
            Some(worker) if worker.lease == LeaseState::Dead => {
                faults.push(format!("instance {id} is on {}, which is dead", worker.name));
            }
            Some(worker) if worker.generation < place.generation => {
                faults.push(format!("instance {id} is newer than its worker's generation"));
            }
            Some(_) => {}
        }
    }

    fn check_deployments(&self, faults: &mut Vec<String>) {
        let mut in_progress: BTreeSet<&ServiceName> = BTreeSet::new();
        for deployment in self.deployments() {
            if self.service(&deployment.service).is_none() {
                faults.push(format!("deployment {} is of no service", deployment.id));
            }
            let open = deployment.status.ended_at().is_none();
            if open && !in_progress.insert(&deployment.service) {
                faults.push(format!("service {} has two deployments", deployment.service));
            }
        }
    }

    /// No two instances that are to run hold one port of one worker.
    fn check_fixed_ports(&self, faults: &mut Vec<String>) {
        let mut taken: BTreeMap<(&WorkerName, u16), &Instance> = BTreeMap::new();
        for instance in self.instances() {
            let State::Placed { place, .. } = &instance.state else { continue };
            let spec = self.born_spec(instance);
            let Some(port) = spec.and_then(|spec| spec.network.fixed_port) else { continue };
            if let Some(other) = taken.insert((&place.worker, port), instance) {
                let worker = &place.worker;
                faults.push(format!(
                    "instances {} and {} hold port {port} of {worker}",
                    other.id, instance.id
                ));
            }
        }
    }

    fn check_indices(&self, faults: &mut Vec<String>) {
        let mut fresh = Indices::default();
        for instance in self.instances() {
            fresh.add(instance, self.reservation(instance));
        }
        for deployment in self.deployments() {
            fresh.add_deployment(deployment);
        }
        if fresh != self.indices {
            faults.push("an index differs from the records".to_owned());
        }
    }
}
