//! A controller's deployer and leases with machines around them, under a clock of its own. Messages
//! come at once and none is lost: what a network does to them is the simulator's business.

use std::collections::BTreeMap;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::wire::worker::Capacity;
use tucano_controller_core::cluster::{Cluster, LeaseState, Load, State};
use tucano_controller_core::deployer::{Command, Config, Deployer, Fact, Rows};
use tucano_controller_core::worker_mgr::{Beat, Caller, LeaseConfig, Leases, smooth, usage};

use super::machine::Machine;
use super::script::Rule;

const TICK: Duration = Duration::from_millis(100);
const BEAT: Duration = Duration::from_secs(1);

/// A rule, the service it is about, and the line that said it.
pub(crate) type Held = (usize, ServiceName, Rule);

pub(crate) struct World {
    pub(crate) deployer: Deployer,
    pub(crate) now: Now,
    pub(crate) machines: BTreeMap<WorkerName, Machine>,
    /// `web.2`: the second instance of web that was ever made.
    pub(crate) names: BTreeMap<InstanceId, (ServiceName, usize)>,
    pub(crate) events: BTreeMap<String, usize>,
    pub(crate) rules: Vec<Held>,
    /// The first rule that did not hold: its line, and what was so instead.
    pub(crate) broken: Option<(usize, String)>,
    leases: Leases,
    loads: BTreeMap<WorkerName, Load>,
    made: BTreeMap<ServiceName, usize>,
    next_beat: Mono,
}

impl World {
    /// Long after the controller's start: its first half minute, in which nobody can be dead, is
    /// over.
    pub(crate) fn new() -> World {
        let started = Mono(100_000_000);
        let now = Now { mono: started + Duration::from_secs(60), wall: Wall(1_800_000_000_000) };
        let config =
            Config { cluster: "plans".to_owned(), seed: 1, port_map: Vec::new(), rebalance: true };
        let leases = LeaseConfig {
            suspect_after: Duration::from_secs(3),
            dead_after: Duration::from_secs(10),
            start_grace: Duration::from_secs(30),
        };
        World {
            deployer: Deployer::load(config, Rows::default(), now).unwrap(),
            now,
            machines: BTreeMap::new(),
            names: BTreeMap::new(),
            events: BTreeMap::new(),
            rules: Vec::new(),
            broken: None,
            leases: Leases::new(leases, started),
            loads: BTreeMap::new(),
            made: BTreeMap::new(),
            next_beat: now.mono,
        }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.deployer.cluster()
    }

    pub(crate) fn join(&mut self, name: &WorkerName, capacity: Capacity) -> &mut Machine {
        let number = u8::try_from(self.machines.len() + 1).unwrap();
        let machine = Machine::new(name.clone(), number, capacity);
        self.machines.entry(name.clone()).or_insert(machine)
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<(), String> {
        let result = self.deployer.command(command, self.now);
        self.commit();
        result.map(drop).map_err(|refusal| refusal.to_string())
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now.mono + time;
        while self.now.mono < until {
            self.tick();
        }
    }

    /// A tenth of a second.
    pub(crate) fn tick(&mut self) {
        self.now.mono = self.now.mono + TICK;
        self.now.wall = Wall(self.now.wall.0 + 100);
        let beats = self.next_beat <= self.now.mono;
        if beats {
            self.next_beat = self.now.mono + BEAT;
        }
        let names: Vec<WorkerName> = self.machines.keys().cloned().collect();
        names.iter().for_each(|name| self.turn(name, beats));
        for change in self.leases.expire(self.now.mono) {
            self.lease(change.worker, change.lease);
        }
        // Requests in flight take a tenth of a second too.
        let drains = |state: &State| matches!(state, State::Draining { .. });
        let draining = self.cluster().instances().filter(|each| drains(&each.state));
        let draining: Vec<InstanceId> = draining.map(|each| each.id).collect();
        for instance in draining {
            self.deployer.observe(Fact::Drained { instance }, self.now);
        }
        self.commit();
    }

    fn turn(&mut self, name: &WorkerName, beats: bool) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(name).filter(|machine| machine.up) else {
            return;
        };
        machine.step(now.mono);
        if !machine.linked {
            return;
        }
        if !machine.greeted {
            return self.greet(name);
        }
        machine.seq += 1;
        let (holds, instances) = (machine.holds, machine.reports());
        let metrics = machine.metrics.clone();
        let (session, seq) = (machine.session, machine.seq);
        match self.leases.heartbeat(name, session, seq, now.mono) {
            Err(_) => {
                machine.forget_session();
                return self.greet(name);
            }
            Ok(Beat::Fresh(Some(change))) => self.lease(change.worker, change.lease),
            Ok(Beat::Fresh(None) | Beat::Stale) => {}
        }
        if beats {
            let load = smooth(self.loads.get(name).copied(), &metrics, BEAT);
            self.loads.insert(name.clone(), load);
            let usage = usage(&instances);
            let (worker, metrics) = (name.clone(), Box::new(metrics));
            self.deployer.observe(Fact::Measured { worker, metrics, load: Some(load), usage }, now);
        }
        self.deployer.observe(Fact::Reports { worker: name.clone(), holds, instances }, now);
    }

    fn greet(&mut self, name: &WorkerName) {
        let Some(machine) = self.machines.get(name) else { return };
        let (session, address) = (machine.session, machine.address);
        let caller = Caller { session, address, agent_port: 7071 };
        let introduction = Box::new(machine.introduction());
        if self.leases.hello(name, caller, self.now.mono).is_err() {
            return;
        }
        self.deployer.observe(Fact::Hello(introduction), self.now);
        self.commit();
        let plan = self.deployer.plan_of(name);
        if let (Some(machine), Some(plan)) = (self.machines.get_mut(name), plan) {
            machine.greeted = true;
            machine.take(&plan);
        }
    }

    fn lease(&mut self, worker: WorkerName, lease: LeaseState) {
        self.deployer.observe(Fact::Lease { worker, lease }, self.now);
    }

    /// What the deployer's thread does after each group of news: decides, stores, tells.
    fn commit(&mut self) {
        self.deployer.drive(self.now);
        let output = self.deployer.take_output();
        for event in &output.events {
            *self.events.entry(event.kind.as_str().to_owned()).or_default() += 1;
        }
        for plan in output.plans {
            let machine = self.machines.get_mut(&plan.worker);
            if let Some(machine) = machine.filter(|it| it.up && it.linked && it.greeted) {
                machine.take(&plan);
            }
        }
        let new: Vec<(InstanceId, ServiceName)> = {
            let unnamed = self.cluster().instances().filter(|it| !self.names.contains_key(&it.id));
            unnamed.map(|each| (each.id, each.service.clone())).collect()
        };
        for (id, service) in new {
            let made = self.made.entry(service.clone()).or_default();
            *made += 1;
            self.names.insert(id, (service, *made));
        }
        let faults = self.cluster().check_invariants();
        assert!(faults.is_empty(), "{faults:?}");
        self.look_at_rules();
    }

    fn look_at_rules(&mut self) {
        for (line, service, rule) in &self.rules {
            let staying =
                || self.deployer.cluster().alive_of(service).filter(|each| each.state.stays());
            let healthy = staying().filter(|each| each.healthy()).count();
            let what = match *rule {
                Rule::HealthyAtLeast(least) if healthy < least => {
                    format!("{service} has {healthy} healthy instances, always >= {least}")
                }
                Rule::InstancesAtMost(most) if staying().count() > most => {
                    format!("{service} has {} instances, always <= {most}", staying().count())
                }
                Rule::HealthyAtLeast(_) | Rule::InstancesAtMost(_) => continue,
            };
            self.broken.get_or_insert((*line, what));
        }
    }
}
