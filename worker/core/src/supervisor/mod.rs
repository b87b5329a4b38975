//! Everything of one worker: its instances and the builds they share.
//!
//! One turn of the shell: hand in what came ([`Supervisor::assign`], [`Supervisor::push`],
//! [`Supervisor::stop`], [`Supervisor::observe`]), then [`Supervisor::drive`] until it has nothing
//! more to do, carrying out the effects, then sleep until [`Supervisor::next_deadline`] or the next
//! event:
//!
//! ```text
//! loop {
//!     let effects = supervisor.drive(now);
//!     if effects.is_empty() { break }
//!     for effect in effects { carry_out(effect) }   // may observe() facts at once
//! }
//! ```

mod assign;
mod drive;
mod observe;

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::id::InstanceId;
use tucano_common::limits::DRIVE_INTERVAL;
use tucano_common::prng::Prng;
use tucano_common::time::{Mono, Now};
use tucano_common::wire::worker::{Holding, InstanceReport, Usage};

use crate::build::Build;
use crate::effect::{Effect, Folder};
use crate::instance::Instance;
use crate::job::{BuildKey, JobRun, Run, Started};
use crate::ledger::{self, Ledger};
use crate::ports::Ports;
use crate::settings::Settings;
use crate::turn::Saves;
use crate::users::{FoundFolder, UserRange, Users};

/// All instances of a worker.
#[derive(Clone, Debug)]
pub struct Supervisor {
    settings: Settings,
    holds: Option<Holding>,
    instances: BTreeMap<InstanceId, Instance>,
    builds: BTreeMap<BuildKey, Build>,
    ports: Ports,
    prng: Prng,
    saves: Saves,
    users: Users,
    /// What facts asked for: notes, and the end of processes that nobody owns.
    pending: Vec<Effect>,
    /// More of the disk is held than may be.
    disk_is_over: bool,
    /// Something that the controller sees changed.
    changed: bool,
    /// Something was handed in since the last drive.
    stirred: bool,
    driven_at: Mono,
    /// Of the last call.
    now: Now,
}

impl Supervisor {
    /// One without instances.
    pub fn new(settings: Settings, seed: u64) -> Supervisor {
        let mut prng = Prng::new(seed);
        let salt = prng.below(u32::MAX);
        Supervisor {
            ports: Ports::new(settings.ports, settings.ephemeral, salt),
            settings,
            holds: None,
            instances: BTreeMap::new(),
            builds: BTreeMap::new(),
            prng,
            saves: Saves::default(),
            users: Users::default(),
            pending: Vec::new(),
            disk_is_over: false,
            changed: false,
            stirred: true,
            driven_at: Mono(0),
            now: Now::default(),
        }
    }

    /// One that takes up what an earlier agent left: the first drives ask for each process that was
    /// known. Before that the shell ends the jobs that it finds and [`Supervisor::jobs`] does not
    /// name, and removes the folders that [`Supervisor::folders`] does not.
    pub fn from_ledger(settings: Settings, ledger: Ledger, seed: u64, now: Now) -> Supervisor {
        let mut supervisor = Supervisor::new(settings, seed);
        supervisor.now = now;
        supervisor.holds = ledger.holds;
        if !ledger.balancer_url.is_empty() {
            supervisor.settings.balancer_url = ledger.balancer_url;
        }
        supervisor.ports.restore(&ledger.quarantine, now);
        supervisor.users = Users::restore(ledger.users);
        for entry in ledger.builds {
            let build = Build::from_entry(entry, now.mono);
            supervisor.builds.insert(build.key.clone(), build);
        }
        for entry in ledger.instances {
            let instance = Instance::from_entry(entry, now);
            if let Some(port) = instance.port() {
                // Two owners of one port would be a broken ledger; the second finds out when it
                // starts.
                let _first_come = supervisor.ports.claim(port, instance.id);
            }
            supervisor.instances.insert(instance.id, instance);
        }
        supervisor.changed = true;
        supervisor
    }

    /// Each service gets a user's number of its own, out of this range; these folders are there.
    /// Called once, before the first drive.
    pub fn number_services(&mut self, range: UserRange, found: &[FoundFolder]) {
        self.users.begin(range, found);
    }

    /// When to drive again, if no fact comes before.
    pub fn next_deadline(&self) -> Option<Mono> {
        let instances = self.instances.values().filter_map(Instance::deadline);
        let builds = self.builds.values().filter_map(Build::deadline);
        let ports = self.instances.values().any(Instance::waits_for_port);
        let ports = if ports { self.ports.deadline(self.now.mono) } else { None };
        instances.chain(builds).chain(self.saves.deadline()).chain(ports).min()
    }

    /// Whether a drive could find something to do. A turn that only sends or reads a heartbeat has
    /// nothing for it; now and then it is driven in any case.
    pub fn is_due(&self, now: Mono) -> bool {
        self.stirred
            || now.since(self.driven_at) >= DRIVE_INTERVAL
            || self.next_deadline().is_some_and(|at| at <= now)
    }

    /// Every instance, whole, in the order of ids.
    pub fn reports(&self) -> Vec<InstanceReport> {
        let report =
            |instance: &Instance| instance.report(self.builds.get(&instance.build), self.now.mono);
        self.instances.values().map(report).collect()
    }

    /// Which assignments are held: for hello and heartbeat.
    pub fn holds(&self) -> Option<&Holding> {
        self.holds.as_ref()
    }

    /// For the file, in answer to [`Effect::SaveLedger`].
    pub fn ledger(&self) -> Ledger {
        Ledger {
            version: ledger::VERSION,
            holds: self.holds.clone(),
            balancer_url: self.settings.balancer_url.clone(),
            instances: self.instances.values().map(Instance::entry).collect(),
            builds: self.builds.values().map(Build::entry).collect(),
            quarantine: self.ports.quarantined(self.now),
            users: self.users.entries(),
        }
    }

    /// Nothing of any instance ran since the last sample.
    pub fn rest(&mut self) {
        for instance in self.instances.values_mut() {
            instance.usage.cpu_cores = 0.0;
        }
    }

    /// What the sampler measured of an instance; shown in its next report.
    pub fn set_usage(&mut self, id: InstanceId, usage: Usage) {
        if let Some(instance) = self.instances.get_mut(&id)
            && instance.running().is_some()
        {
            instance.usage = usage;
        }
    }

    /// The runtime processes that are known to run, for the sampler.
    pub fn running(&self) -> impl Iterator<Item = (InstanceId, Run, Started)> + '_ {
        let instances = self.instances.values();
        instances.filter_map(|instance| Some((instance.id, instance.run, instance.running()?)))
    }

    /// The revision whose build script runs.
    pub fn building(&self) -> Option<&BuildKey> {
        self.builds.values().find(|build| build.is_building()).map(|build| &build.key)
    }

    /// Every job that may have a holder: what the shell finds beside them at its start belongs to
    /// nobody.
    pub fn jobs(&self) -> Vec<JobRun> {
        let instances = self.instances.values().filter_map(Instance::job);
        let builds = self.builds.values().filter(|build| build.occupies()).map(Build::job);
        instances.chain(builds).collect()
    }

    /// Every folder that is in use or will be removed in its time: others that the shell finds at
    /// its start are an earlier agent's remains.
    pub fn folders(&self) -> BTreeSet<Folder> {
        let instances = self.instances.keys().map(|id| Folder::Instance(*id));
        let builds = self.builds.keys().map(|key| Folder::Build(key.clone()));
        let mut folders = BTreeSet::new();
        folders.extend(instances.chain(builds));
        folders
    }

    /// Whether it is there at all (its logs may outlive it).
    pub fn has(&self, id: InstanceId) -> bool {
        self.instances.contains_key(&id)
    }

    /// The instances that are there, in the order of ids: their logs are kept.
    pub fn ids(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.instances.keys().copied()
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where services bind from now on, once the agent knows its address.
    pub fn set_host(&mut self, host: std::net::IpAddr) {
        self.stirred = true;
        self.settings.host = host;
    }

    /// TUCANO_BALANCER from now on, as the controller's hello said.
    pub fn set_balancer_url(&mut self, url: String) {
        self.stirred = true;
        if self.settings.balancer_url != url {
            self.settings.balancer_url = url;
            self.saves.touch();
        }
    }
}

#[cfg(test)]
mod tests;
