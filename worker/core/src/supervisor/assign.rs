//! Messages of the controller: which are taken, and what they change.
//!
//! A generation counts the changes of what this worker should run. Each instance remembers the one
//! of its own assignment, because a push may be ahead of the last full set; an older one never
//! overwrites a newer one.

use tucano_common::id::InstanceId;
use tucano_common::limits::WORKER_INSTANCES_MAX;
use tucano_common::time::Now;
use tucano_common::wire::worker::{Assignment, Assignments, Holding, Push};

use super::Supervisor;
use crate::assignments::{Refused, Taken};
use crate::build::Build;
use crate::instance::Instance;
use crate::job::{BuildKey, Cluster};

impl Supervisor {
    /// Takes the whole of what this worker should run. What it runs beside that (of the same
    /// cluster, and not newer) it ends. Another cluster's instances are left alone.
    pub fn assign(&mut self, set: Assignments, now: Now) -> Result<Taken, Refused> {
        self.now = now;
        self.stirred = true;
        let cluster = Cluster::new(&set.cluster).ok_or(Refused::BadCluster)?;
        if set.instances.len() > WORKER_INSTANCES_MAX {
            return Err(Refused::TooMany(set.instances.len()));
        }
        let generation = set.generation;
        let held = self.held_of(&cluster);
        if held.is_some_and(|held| generation < held) {
            return Err(Refused::Older { generation, held: held.unwrap_or(0) });
        }
        let mut changed = held != Some(generation);
        let mut named: Vec<InstanceId> = set.instances.iter().map(|each| each.id).collect();
        named.sort_unstable();
        for assignment in set.instances {
            changed |= self.take(assignment, &cluster, now);
        }
        for instance in self.instances.values_mut() {
            let ours = instance.cluster == cluster && instance.generation <= generation;
            if ours && named.binary_search(&instance.id).is_err() {
                changed |= instance.unassign();
            }
        }
        self.hold(&cluster, generation);
        Ok(self.taken(changed))
    }

    /// Takes one assignment ahead of the next full set (`PUT /v1/instances/{id}`).
    pub fn push(&mut self, push: Push, now: Now) -> Result<Taken, Refused> {
        self.now = now;
        self.stirred = true;
        let cluster = self.own_cluster(&push.cluster)?;
        if self.holds.is_none() {
            // Who pushes ahead of the first full set speaks of a machine that had this name before,
            // whose instances are routed still: one that began now could be given a port of theirs.
            return Err(Refused::NotJoined);
        }
        let (generation, held) = (push.generation, self.held_of(&cluster));
        match self.instances.get(&push.assignment.id) {
            Some(instance)
                if instance.cluster == cluster
                    && push.assignment.generation < instance.generation =>
            {
                let held = instance.generation;
                return Err(Refused::Older { generation: push.assignment.generation, held });
            }
            // What is held does not name it, so that it is being ended (its own generation is still
            // that of its assignment) or forgotten: a late message must not bring it back.
            Some(Instance { unassigned: true, .. }) | None
                if held.is_some_and(|held| generation <= held) =>
            {
                return Err(Refused::Older { generation, held: held.unwrap_or(0) });
            }
            None if self.instances.len() >= WORKER_INSTANCES_MAX => {
                return Err(Refused::TooMany(self.instances.len() + 1));
            }
            Some(_) | None => {}
        }
        let mut changed = self.take(push.assignment, &cluster, now);
        if held == Some(push.previous_generation) && generation > push.previous_generation {
            self.hold(&cluster, generation);
            changed = true;
        }
        Ok(self.taken(changed))
    }

    /// Brings one instance's level to stopped (`DELETE /v1/instances/{id}`); one that isn't there
    /// is no error.
    pub fn stop(
        &mut self,
        id: InstanceId,
        cluster: &str,
        generation: u64,
        now: Now,
    ) -> Result<Taken, Refused> {
        self.now = now;
        self.stirred = true;
        let cluster = self.own_cluster(cluster)?;
        let Some(instance) = self.instances.get_mut(&id) else { return Ok(Taken::Known) };
        if instance.cluster != cluster {
            return Err(Refused::ForeignCluster);
        }
        if generation < instance.generation {
            return Err(Refused::Older { generation, held: instance.generation });
        }
        let changed = instance.stop(generation);
        Ok(self.taken(changed))
    }

    /// The generation that is held of this cluster.
    fn held_of(&self, cluster: &Cluster) -> Option<u64> {
        let holds = self.holds.as_ref()?;
        (holds.cluster == cluster.as_str()).then_some(holds.generation)
    }

    /// A push comes from the cluster that was joined; before the first full set there is none yet.
    fn own_cluster(&self, text: &str) -> Result<Cluster, Refused> {
        let cluster = Cluster::new(text).ok_or(Refused::BadCluster)?;
        match &self.holds {
            Some(holds) if holds.cluster != text => Err(Refused::ForeignCluster),
            Some(_) | None => Ok(cluster),
        }
    }

    fn hold(&mut self, cluster: &Cluster, generation: u64) {
        self.holds = Some(Holding { cluster: cluster.as_str().to_owned(), generation });
    }

    fn taken(&mut self, changed: bool) -> Taken {
        if !changed {
            return Taken::Known;
        }
        self.saves.touch();
        Taken::Changed
    }

    /// Takes one assignment, unless what the instance has is newer.
    fn take(&mut self, assignment: Assignment, cluster: &Cluster, now: Now) -> bool {
        if let Some(instance) = self.instances.get_mut(&assignment.id) {
            let older = instance.cluster == *cluster && assignment.generation < instance.generation;
            // An id belongs to one service for ever; anything else is a mistake that must not touch
            // what runs.
            let other = instance.service != assignment.service;
            return !older && !other && instance.assign(assignment, cluster.clone());
        }
        let build = self.build_for(&assignment, cluster);
        let instance = Instance::new(assignment, cluster.clone(), build, now);
        self.instances.insert(instance.id, instance);
        true
    }

    /// The folder that a new instance works in: its revision's, or one of another revision whose
    /// build would be the same.
    fn build_for(&mut self, assignment: &Assignment, cluster: &Cluster) -> BuildKey {
        let (service, revision) = (assignment.service.clone(), assignment.revision);
        let own = BuildKey { cluster: cluster.clone(), service, revision };
        if let Some(build) = self.builds.get_mut(&own) {
            // It failed for those that were there then; who comes later deserves another try.
            build.retry();
            return own;
        }
        let shared = self.builds.values().find(|build| {
            build.key.cluster == own.cluster
                && build.key.service == own.service
                && build.is_shareable()
                && build.spec.same_build(&assignment.spec)
        });
        let key = shared.map_or(own, |build| build.key.clone());
        if !self.builds.contains_key(&key) {
            self.builds.insert(key.clone(), Build::new(key.clone(), assignment.spec.clone()));
        }
        key
    }
}
