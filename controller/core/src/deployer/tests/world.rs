//! The world of a test: one deployer with its leases and its store, agents, a network, a clock.

mod checks;
mod store;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::prng::Prng;
use tucano_common::spec::Spec;
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::wire::worker::Desired;

use store::Store;

use super::agent::{Agent, no_plan};
use crate::balancer::table::{Duty, RoutingTable};
use crate::cluster::{DeploymentStatus, Event, EventKind, Load, Phase};
use crate::deployer::{
    Accepted, Command, Config, Deployer, Fact, Refusal, Rows, ServiceHealth, WorkerPlan,
};
use crate::worker_mgr::{Beat, Caller, LeaseConfig, Leases, News, smooth, usage};

pub(super) const MIB: u64 = 1 << 20;
const START: Wall = Wall(1_800_000_000_000);
const TICK_MS: u64 = 50;

/// How often the network does what it should not; 0.0 never, 1.0 always.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) push_lost: f64,
    pub(super) push_late: f64,
    pub(super) beat_lost: f64,
    pub(super) answer_lost: f64,
    pub(super) beat_late: f64,
}

type LateBeat = (Mono, Box<Agent>);
type LatePush = (Mono, Pushed);

/// A plan's changes on their way to an agent; `whole`: they are all of the difference to the plan
/// before.
#[derive(Clone)]
struct Pushed {
    plan: Arc<WorkerPlan>,
    whole: bool,
}

pub(super) struct World {
    pub(super) deployer: Deployer,
    pub(super) now: Now,
    pub(super) agents: BTreeMap<WorkerName, Agent>,
    pub(super) store: Store,
    pub(super) events: Vec<Event>,
    pub(super) table: Arc<RoutingTable>,
    pub(super) faults: Faults,
    pub(super) prng: Prng,
    leases: Leases,
    news: BTreeMap<WorkerName, News>,
    loads: BTreeMap<WorkerName, Load>,
    plans: BTreeMap<WorkerName, Arc<WorkerPlan>>,
    drains: BTreeMap<InstanceId, Mono>,
    counts: BTreeMap<ServiceName, usize>,
    /// Whose instances came back with their worker, since the last look.
    recovered: Vec<ServiceName>,
    late_beats: Vec<LateBeat>,
    late_pushes: Vec<LatePush>,
    /// How long requests in flight take, at most.
    pub(super) requests_ms: u64,
}

pub(super) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub(super) fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

/// A spec with this name, so many instances, and whatever `more` adds at its top.
pub(super) fn spec(name: &str, concurrency: u32, more: Value) -> Arc<Spec> {
    let mut value = json!({
        "name": name,
        "network": { "expose_port": 80 },
        "scripts": { "runtime-script": "run" },
        "concurrency": concurrency,
    });
    for (key, part) in more.as_object().unwrap() {
        value[key] = part.clone();
    }
    Arc::new(tucano_common::spec::parse(&value).unwrap())
}

pub(super) fn revision_of(world: &World, name: &str) -> u64 {
    world.deployer.cluster().service(&service(name)).unwrap().revision
}

pub(super) fn scale(name: &str, concurrency: u32) -> Command {
    Command::Scale { service: service(name), concurrency }
}

fn config(seed: u64) -> Config {
    Config { cluster: "test".to_owned(), seed, port_map: vec![(80, 8080)], rebalance: true }
}

fn lease_config() -> LeaseConfig {
    LeaseConfig {
        suspect_after: Duration::from_secs(3),
        dead_after: Duration::from_secs(10),
        start_grace: Duration::from_secs(30),
    }
}

impl World {
    /// So many workers of 1 GiB that have joined.
    pub(super) fn new(workers: u8) -> World {
        World::seeded(workers, 0)
    }

    pub(super) fn seeded(workers: u8, seed: u64) -> World {
        let now = Now { mono: Mono(100_000_000), wall: START };
        let mut world = World {
            deployer: Deployer::load(config(seed), Rows::default(), now).unwrap(),
            now,
            agents: BTreeMap::new(),
            store: Store::default(),
            events: Vec::new(),
            table: Arc::default(),
            faults: Faults::default(),
            prng: Prng::new(seed),
            leases: Leases::new(lease_config(), now.mono),
            news: BTreeMap::new(),
            loads: BTreeMap::new(),
            plans: BTreeMap::new(),
            drains: BTreeMap::new(),
            counts: BTreeMap::new(),
            recovered: Vec::new(),
            late_beats: Vec::new(),
            late_pushes: Vec::new(),
            requests_ms: 200,
        };
        for number in 1..=workers {
            let agent = Agent::new(number, 1024 * MIB);
            world.agents.insert(agent.name.clone(), agent);
        }
        world.tick();
        world
    }

    // --- commands and questions ---------------------------------------------------------------

    pub(super) fn command(&mut self, command: Command) -> Result<Accepted, Refusal> {
        let forgotten = match &command {
            Command::ForgetWorker { worker } => Some(worker.clone()),
            _ => None,
        };
        let result = self.deployer.command(command, self.now);
        if let Some(worker) = forgotten.filter(|_| result.is_ok()) {
            self.leases.forget(&worker);
            self.news.remove(&worker);
            self.plans.remove(&worker);
        }
        self.commit();
        result
    }

    pub(super) fn deploy(&mut self, spec: &Arc<Spec>) -> DeploymentId {
        let accepted = self.command(Command::Deploy { spec: spec.clone() }).unwrap();
        accepted.deployment.unwrap()
    }

    pub(super) fn status(&self, id: DeploymentId) -> &DeploymentStatus {
        &self.deployer.cluster().deployment(id).unwrap().status
    }

    pub(super) fn health(&self, name: &str) -> ServiceHealth {
        self.deployer.health_of(&service(name)).unwrap()
    }

    /// The instances that stay: `(worker, revision, state)`.
    pub(super) fn staying(&self, name: &str) -> Vec<(String, u64, &'static str)> {
        let name = service(name);
        let alive = self.deployer.cluster().alive_of(&name);
        let staying = alive.filter(|each| each.state.stays());
        let mut found: Vec<_> = staying
            .map(|each| {
                let worker = each.state.worker().map(ToString::to_string).unwrap_or_default();
                (worker, each.revision, each.state.as_str())
            })
            .collect();
        found.sort();
        found
    }

    pub(super) fn ids(&self, name: &str) -> Vec<InstanceId> {
        let name = service(name);
        let alive = self.deployer.cluster().alive_of(&name);
        alive.filter(|each| each.state.stays()).map(|each| each.id).collect()
    }

    pub(super) fn kinds(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.kind.as_str()).collect()
    }

    pub(super) fn count(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|event| event.kind == kind).count()
    }

    pub(super) fn agent(&mut self, name: &str) -> &mut Agent {
        self.agents.get_mut(&worker(name)).unwrap()
    }

    // --- time ---------------------------------------------------------------------------------

    pub(super) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 1000 / TICK_MS {
            self.tick();
        }
    }

    /// Runs until it is so; panics where it is not within `seconds`.
    pub(super) fn until(&mut self, seconds: u64, is: impl Fn(&World) -> bool) {
        for _ in 0..seconds * 1000 / TICK_MS {
            if is(self) {
                return;
            }
            self.tick();
        }
        let log: Vec<String> = self.events.iter().rev().take(40).map(line).collect();
        let (log, stands) = (log.join("\n"), self.stands());
        panic!("not within {seconds} s:\n{stands}\nthe last events, newest first:\n{log}");
    }

    /// How everything stands, for whoever reads why a test failed.
    pub(super) fn stands(&self) -> String {
        let cluster = self.deployer.cluster();
        let mut text = String::new();
        for service in cluster.services() {
            let health = self.deployer.health_of(&service.name);
            text += &format!("{} {:?} {health:?}\n", service.name, service.phase);
            for each in cluster.alive_of(&service.name) {
                text += &format!("  {} r{} {:?}\n", each.id, each.revision, each.state);
            }
        }
        for worker in cluster.workers() {
            text += &format!("{} {:?} {:?}\n", worker.name, worker.lease, worker.admission);
        }
        for agent in self.agents.values() {
            let (up, linked, session, seq) = (agent.up, agent.linked, agent.session, agent.seq);
            let (name, holds) = (&agent.name, agent.holds);
            text += &format!("{name} {up} {linked} {session}:{seq} holds {holds:?}\n");
            for (id, process) in &agent.procs {
                text += &format!("  {id} {:?} healthy {}\n", process.state, process.healthy);
            }
        }
        text
    }

    pub(super) fn settle(&mut self, name: &str) {
        let name = service(name);
        self.until(120, |world| {
            let service = world.deployer.cluster().service(&name);
            service.is_none_or(|service| service.phase != Phase::Deploying)
        });
    }

    // --- the controller's shell ---------------------------------------------------------------

    /// Something that no agent of this world says.
    pub(super) fn fact(&mut self, fact: Fact) {
        self.deployer.observe(fact, self.now);
        self.commit();
    }

    /// One transaction: store, then publish.
    pub(super) fn commit(&mut self) {
        self.deployer.drive(self.now);
        let plans = self.store_output();
        for plan in plans {
            let before = self.plans.insert(plan.worker.clone(), plan.clone());
            let plan = Pushed { whole: is_whole(before.as_deref(), &plan), plan };
            if self.prng.chance(self.faults.push_late) {
                let late = Duration::from_millis(u64::from(self.prng.below(5000)));
                self.late_pushes.push((self.now.mono + late, plan.clone()));
            }
            if !self.prng.chance(self.faults.push_lost) {
                self.push(&plan);
            }
        }
        self.check();
    }

    fn store_output(&mut self) -> Vec<Arc<WorkerPlan>> {
        let output = self.deployer.take_output();
        for event in &output.events {
            assert_eq!(event.seq, self.store.last_event + 1, "seq without gaps");
            assert!(event.cause.is_none_or(|cause| cause < event.seq), "{event:?}");
            self.store.last_event = event.seq;
            if event.kind == EventKind::InstanceRecovered {
                self.recovered.extend(event.service.clone());
            }
        }
        self.events.extend(output.events);
        output.changes.into_iter().for_each(|change| self.store.apply(change));
        if let Some(table) = output.routing {
            assert!(table.version > self.table.version || self.table.version == 0);
            self.table = table;
            self.watch_drains();
        }
        output.plans
    }

    fn watch_drains(&mut self) {
        let all = self.table.services.iter().flat_map(|service| &service.endpoints);
        let draining: BTreeSet<InstanceId> =
            all.filter(|each| each.duty == Duty::Drain).map(|each| each.instance).collect();
        self.drains.retain(|id, _| draining.contains(id));
        for id in draining {
            let takes = self.prng.below(u32::try_from(self.requests_ms).unwrap() + 1);
            let at = self.now.mono + Duration::from_millis(u64::from(takes));
            self.drains.entry(id).or_insert(at);
        }
    }

    fn push(&mut self, pushed: &Pushed) {
        let Some(agent) = self.agents.get_mut(&pushed.plan.worker) else { return };
        if agent.up && agent.linked && agent.greeted {
            agent.take_push(&pushed.plan, pushed.whole);
        }
    }

    /// The controller is killed and started again; what was not published is published by the new
    /// one.
    pub(super) fn kill_controller(&mut self, before_publishing: bool) {
        if before_publishing {
            self.deployer.drive(self.now);
            self.store_output();
        }
        let seed = self.prng.next_u64();
        let rows = self.store.rows();
        self.deployer = Deployer::load(config(seed), rows, self.now).unwrap();
        self.table = self.deployer.table();
        self.leases = Leases::new(lease_config(), self.now.mono);
        for worker in self.store.workers.values() {
            self.leases.remember(worker.name.clone(), worker.lease);
        }
        self.news.clear();
        self.plans.clear();
        self.drains.clear();
        self.watch_drains();
        self.commit();
    }
}

/// Whether a plan's pushes say all of the difference: nothing is stopped or left out.
fn is_whole(before: Option<&WorkerPlan>, plan: &WorkerPlan) -> bool {
    let named: BTreeSet<InstanceId> = plan.assignments.iter().map(|each| each.id).collect();
    before.is_some_and(|before| {
        before.generation == plan.previous_generation
            && before.assignments.iter().all(|each| named.contains(&each.id))
            && plan.changed().all(|each| each.desired == Desired::Run)
    })
}

pub(super) fn line(event: &Event) -> String {
    let part = |text: Option<String>| text.unwrap_or_default();
    format!(
        "{} #{} {} {} {} {} <- {:?}",
        event.at,
        event.seq,
        event.kind,
        part(event.service.as_ref().map(ToString::to_string)),
        part(event.worker.as_ref().map(ToString::to_string)),
        event.message,
        event.cause,
    )
}
