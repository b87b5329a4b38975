//! One turn: builds, then instances, until nothing moves any more.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::time::Now;

use super::Supervisor;
use crate::build::{Build, BuildStep, BuildTurn, Tenants};
use crate::effect::Effect;
use crate::job::{BuildKey, Job};
use crate::note::Note;
use crate::turn::Turn;

/// More rounds than news needs to go from a build to its instances and back.
const ROUNDS: usize = 6;

impl Supervisor {
    /// What is to be done now. Call again after carrying it out, until nothing comes.
    pub fn drive(&mut self, now: Now) -> Vec<Effect> {
        self.now = now;
        self.driven_at = now.mono;
        self.stirred = false;
        let mut effects = std::mem::take(&mut self.pending);
        self.give_users();
        for _ in 0..ROUNDS {
            self.drive_builds(&mut effects);
            self.drive_instances(&mut effects);
            self.forget(&mut effects);
            if !self.collect_changes() {
                break;
            }
        }
        self.put_users(&mut effects);
        // The ledger goes first: what follows may be carried out by an agent that dies in the
        // middle.
        if let Some(version) = self.saves.take(now.mono) {
            effects.insert(0, Effect::SaveLedger { version });
        }
        if std::mem::take(&mut self.changed) {
            effects.push(Effect::Report);
        }
        effects
    }

    fn drive_builds(&mut self, effects: &mut Vec<Effect>) {
        for instance in self.instances.values_mut() {
            if !instance.needs_build() {
                continue;
            }
            let (key, spec) = (instance.build.clone(), instance.spec.clone());
            let build = self.builds.entry(key.clone()).or_insert_with(|| Build::new(key, spec));
            if std::mem::take(&mut instance.rebuild) {
                build.retry();
            }
        }
        let needed = self.instances.values().filter(|instance| instance.needs_build());
        let mut wanted = BTreeSet::new();
        wanted.extend(needed.map(|instance| instance.build.clone()));
        let mut tenants: BTreeMap<BuildKey, Tenants> = BTreeMap::new();
        for instance in self.instances.values() {
            let all = tenants.entry(instance.build.clone()).or_default();
            *all = (*all).max(instance.tenant());
        }
        let mut place = !self.builds.values().any(Build::occupies);
        for build in self.builds.values_mut() {
            let turn = BuildTurn {
                wanted: wanted.contains(&build.key),
                tenants: tenants.get(&build.key).copied().unwrap_or_default(),
                place,
                settings: &self.settings,
                saves: &self.saves,
                now: self.now.mono,
            };
            build.drive(&turn, effects);
            place &= !build.occupies();
        }
    }

    /// Before anything of a service is made; a number goes back once nothing is left of it.
    fn give_users(&mut self) {
        let mut changed = false;
        for instance in self.instances.values() {
            changed |= self.users.give(&instance.service);
        }
        let (instances, builds) = (&self.instances, &self.builds);
        changed |= self.users.take_back(|service| {
            instances.values().any(|instance| instance.service == *service)
                || builds.keys().any(|key| key.service == *service)
        });
        if changed {
            self.saves.touch();
        }
    }

    /// Whose number each script and each folder gets.
    fn put_users(&mut self, effects: &mut [Effect]) {
        for effect in effects {
            match effect {
                Effect::PrepareSource { build, user, .. } => *user = self.users.of(&build.service),
                Effect::Start(launch) => {
                    let service = match &launch.job.job {
                        Job::Build(key) => Some(&key.service),
                        Job::Runtime(id) | Job::Teardown(id) => {
                            self.instances.get(id).map(|instance| &instance.service)
                        }
                    };
                    launch.user = service.and_then(|service| self.users.of(service));
                    if let Some(service) = service {
                        self.users.set_data(service, true);
                    }
                }
                Effect::Adopt { .. }
                | Effect::SignalStop(_)
                | Effect::SignalKill(_)
                | Effect::Probe(_)
                | Effect::Remove(_)
                | Effect::SaveLedger { .. }
                | Effect::Report
                | Effect::Note(_) => {}
            }
        }
    }

    fn drive_instances(&mut self, effects: &mut Vec<Effect>) {
        let mut turn = Turn {
            settings: &self.settings,
            ports: &mut self.ports,
            builds: &self.builds,
            saves: &self.saves,
            now: self.now,
            effects,
        };
        for instance in self.instances.values_mut() {
            instance.drive(&mut turn);
        }
    }

    /// Drops what is over and asked for by nobody.
    fn forget(&mut self, effects: &mut Vec<Effect>) {
        let over = self.instances.values().filter(|instance| instance.is_forgotten());
        let over: Vec<_> = over.map(|instance| instance.id).collect();
        for id in over {
            self.instances.remove(&id);
            effects.push(Effect::Note(Note::Forgotten(id)));
            self.saves.touch();
            self.changed = true;
        }
        let builds = self.builds.len();
        self.builds.retain(|_, build| build.step != BuildStep::Gone);
        if self.builds.len() != builds {
            self.saves.touch();
        }
    }

    /// Gathers what changed; whether anything did.
    fn collect_changes(&mut self) -> bool {
        let mut dirty = false;
        for build in self.builds.values_mut() {
            dirty |= std::mem::take(&mut build.dirty);
        }
        for instance in self.instances.values_mut() {
            dirty |= std::mem::take(&mut instance.dirty);
            self.changed |= std::mem::take(&mut instance.changed);
        }
        if dirty {
            self.saves.touch();
        }
        dirty
    }
}
