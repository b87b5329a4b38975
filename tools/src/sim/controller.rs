//! The controller's process: the real deployer between an inbox, a disk that fails, and those who
//! are told afterwards. What `controller/src/deployer` does around the core, without its threads.

mod commit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::prng::Prng;
use tucano_common::time::Now;
use tucano_controller_core::balancer::table::{Duty, RoutingTable};
use tucano_controller_core::cluster::{Cluster, Event};
use tucano_controller_core::deployer::{
    Accepted, Change, Command, Config, Deployer, Fact, WorkerPlan,
};

use super::balancer::Balancer;
use super::bus::{Answer, Body, Bus, Due, Packet};
use super::clock::{Clock, MS, SECOND, Time};
use super::manager::{Manager, Tell};
use super::store::Store;
use super::{CLUSTER, names};

/// Between two tries of a disk that refuses.
const RETRY: Time = 250 * MS;

/// What became of a command.
pub(super) type Outcome = Result<Accepted, String>;

enum Inbox {
    Tell(Tell),
    Drained { instance: InstanceId, version: u64 },
    Command { ticket: u64, command: Box<Command> },
}

/// Changes that the disk did not take yet.
#[derive(Default)]
struct Unsaved {
    changes: Vec<Change>,
    events: Vec<Event>,
    plans: BTreeMap<WorkerName, Arc<WorkerPlan>>,
}

pub(super) struct Controller {
    pub(super) store: Store,
    pub(super) running: Option<Running>,
    pub(super) clock: Clock,
    pub(super) disk_full_until: Time,
    pub(super) stalled_until: Time,
    /// Whether anything changed since the last look.
    pub(super) changed: bool,
    /// What was answered since then.
    pub(super) answers: Vec<(u64, Outcome)>,
    prng: Prng,
}

pub(super) struct Running {
    pub(super) core: Deployer,
    pub(super) manager: Manager,
    pub(super) balancer: Balancer,
    /// Since when it runs and its disk takes writes.
    pub(super) good_since: Time,
    /// Healthy before the last drive.
    pub(super) serving: BTreeSet<InstanceId>,
    inbox: Vec<Inbox>,
    turn_due: bool,
    wake: Option<Time>,
    /// The disk refuses until then, at least.
    refusing: Option<Time>,
    unsaved: Unsaved,
    version_base: u64,
    version: u64,
    /// Endpoints that drain: since which table, and whether that was told.
    drains: BTreeMap<InstanceId, (u64, bool)>,
}

/// How a commit went.
enum Commit {
    Done,
    Refused,
    Crashed,
}

impl Controller {
    pub(super) fn new(prng: Prng, ppm: i64) -> Controller {
        Controller {
            store: Store::default(),
            running: None,
            clock: Clock::new(ppm),
            disk_full_until: 0,
            stalled_until: 0,
            changed: false,
            answers: Vec::new(),
            prng,
        }
    }

    pub(super) fn now(&self, bus: &Bus) -> Now {
        self.clock.now(bus.now)
    }

    fn config(&mut self) -> Config {
        let seed = self.prng.next_u64();
        Config { cluster: CLUSTER.to_owned(), seed, port_map: Vec::new(), rebalance: true }
    }

    // --- its life ----------------------------------------------------------------------------

    pub(super) fn begin(&mut self, bus: &mut Bus) {
        if self.running.is_some() {
            return;
        }
        self.clock.begin(bus.now, u64::from(self.prng.below(1 << 30)));
        let now = self.now(bus);
        let config = self.config();
        let core = match Deployer::load(config, self.store.rows(), now) {
            Ok(core) => core,
            Err(error) => return bus.fault(|| error.to_string()),
        };
        bus.controller = Some(bus.number());
        let mut manager = Manager::new(now.mono);
        for worker in core.cluster().workers() {
            manager.remember(worker, core.plan_of(&worker.name));
        }
        let balancer = Balancer::new(self.prng.fork());
        self.running = Some(Running {
            core,
            manager,
            balancer,
            good_since: bus.now,
            serving: BTreeSet::new(),
            inbox: Vec::new(),
            turn_due: false,
            wake: None,
            refusing: None,
            unsaved: Unsaved::default(),
            version_base: 0,
            version: 0,
            drains: BTreeMap::new(),
        });
        // What was stored last is looked at before anything is new: nobody did where a commit was
        // the last thing that the one before it did.
        self.changed = true;
        bus.note(|| "controller begins".to_owned());
        let table = self.running.as_ref().map(|running| running.core.table());
        if let Some(table) = table {
            self.publish_table(&table, bus);
        }
        self.turn(bus);
    }

    pub(super) fn crash(&mut self, bus: &mut Bus) {
        if self.running.take().is_none() {
            return;
        }
        bus.controller = None;
        bus.note(|| "controller crashes".to_owned());
        bus.stir(99);
        let away = 100 * MS + u64::from(self.prng.below(12_000)) * MS;
        bus.after(away, Due::ControllerStart);
    }

    // --- what comes --------------------------------------------------------------------------

    pub(super) fn command(&mut self, ticket: u64, command: Command, bus: &mut Bus) {
        let command = Box::new(command);
        self.put(vec![Inbox::Command { ticket, command }], bus);
    }

    /// Instances that the balancer has no request on any more.
    pub(super) fn drained(&mut self, instances: Vec<InstanceId>, bus: &mut Bus) {
        let Some(running) = &self.running else { return };
        let version = running.balancer.version();
        let all = instances.into_iter().map(|instance| Inbox::Drained { instance, version });
        let all: Vec<Inbox> = all.collect();
        if !all.is_empty() {
            self.put(all, bus);
        }
    }

    fn put(&mut self, what: Vec<Inbox>, bus: &mut Bus) {
        let delay = u64::from(self.prng.below(8)) * MS;
        let Some(running) = &mut self.running else { return };
        running.inbox.extend(what);
        if !running.turn_due {
            running.turn_due = true;
            let incarnation = bus.controller.unwrap_or(0);
            let at = (bus.now + delay).max(self.stalled_until);
            bus.at(at, Due::Turn { incarnation });
        }
    }

    fn tell(&mut self, told: Vec<Tell>, bus: &mut Bus) {
        if !told.is_empty() {
            self.put(told.into_iter().map(Inbox::Tell).collect(), bus);
        }
    }

    pub(super) fn hear(&mut self, packet: Packet, bus: &mut Bus) {
        let now = self.now(bus);
        let Some(running) = &mut self.running else { return };
        let (worker, call) = (packet.worker, packet.call);
        match packet.body {
            Body::Hello(hello) => match running.manager.hello(worker, call, *hello, now) {
                Ok(told) => self.tell(told, bus),
                Err(answer) => {
                    bus.tell_agent(worker, call, Body::Answer(answer));
                }
            },
            Body::Heartbeat(beat) => {
                let (told, answer) = running.manager.heartbeat(worker, *beat, now);
                bus.tell_agent(worker, call, Body::Answer(answer));
                self.tell(told, bus);
            }
            Body::GetAssignments => {
                let answer = running.manager.assignments(worker);
                bus.tell_agent(worker, call, Body::Answer(answer));
            }
            Body::OrderTaken(taken) => running.manager.order_ended(worker, call, taken, bus),
            Body::Answer(_) | Body::Order(_) => {}
        }
        self.sleep(bus);
    }

    pub(super) fn order_timed_out(&mut self, worker: usize, call: u64, bus: &mut Bus) {
        if let Some(running) = &mut self.running {
            running.manager.order_ended(worker, call, false, bus);
        }
    }

    /// Looks at the clock: leases, and what the core or the disk waits for.
    pub(super) fn wake(&mut self, bus: &mut Bus) {
        let now = self.now(bus);
        let Some(running) = &mut self.running else { return };
        running.wake = None;
        let told = running.manager.expire(now.mono);
        self.tell(told, bus);
        if self.running.as_ref().is_some_and(|running| !running.turn_due) {
            self.turn(bus);
        }
        self.sleep(bus);
    }

    fn sleep(&mut self, bus: &mut Bus) {
        let incarnation = bus.controller.unwrap_or(0);
        let Some(running) = &mut self.running else { return };
        let deadlines = [running.core.next_deadline(), running.manager.leases.next_deadline()];
        let own = deadlines.into_iter().flatten().map(|at| self.clock.when(at, bus.now));
        let has_unsaved = !running.unsaved.changes.is_empty();
        let retry = running.refusing.filter(|_| has_unsaved);
        let Some(at) = own.chain(retry).min() else { return };
        let at = at.max(bus.now + 100).max(self.stalled_until);
        if running.wake.is_none_or(|wake| at < wake) {
            running.wake = Some(at);
            bus.at(at, Due::ControllerWake { incarnation });
        }
    }

    // --- one turn ----------------------------------------------------------------------------

    pub(super) fn turn(&mut self, bus: &mut Bus) {
        let now = self.now(bus);
        let Some(running) = &mut self.running else { return };
        running.turn_due = false;
        let inbox = std::mem::take(&mut running.inbox);
        let mut hellos = Vec::new();
        let mut commands = Vec::new();
        let writes = inbox.iter().any(|it| matches!(it, Inbox::Command { .. }));
        if writes && running.refusing.is_some_and(|at| at <= bus.now) && !self.save(false, bus) {
            return;
        }
        let Some(running) = &mut self.running else { return };
        for item in inbox {
            match item {
                Inbox::Tell(Tell::Hello { worker, call, introduction }) => {
                    hellos.push((worker, call));
                    running.core.observe(Fact::Hello(introduction), now);
                }
                Inbox::Tell(Tell::Fact(fact)) => running.core.observe(fact, now),
                Inbox::Drained { instance, version } => {
                    if running.is_drained(instance, version) {
                        running.core.observe(Fact::Drained { instance }, now);
                    }
                }
                Inbox::Command { ticket, command } => {
                    let result = if running.refusing.is_some() {
                        Err("the disk is full".to_owned())
                    } else {
                        running.core.command(*command, now).map_err(|it| it.to_string())
                    };
                    commands.push((ticket, result));
                }
            }
        }
        let commits = commands.iter().any(|(_, result)| result.is_ok());
        if !self.save(commits, bus) {
            return;
        }
        let saved = self.running.as_ref().is_some_and(|running| running.refusing.is_none());
        for (ticket, result) in commands {
            let refused = Err("not stored".to_owned());
            self.answers.push((ticket, if saved { result } else { refused }));
        }
        self.answer_hellos(hellos, saved, now, bus);
        self.sleep(bus);
    }

    fn answer_hellos(&mut self, hellos: Vec<(usize, u64)>, saved: bool, now: Now, bus: &mut Bus) {
        let Some(running) = &mut self.running else { return };
        for (worker, call) in hellos {
            let plan = running.core.plan_of(&names::worker(worker)).filter(|_| saved);
            let answer = match plan {
                Some(plan) => running.manager.welcome(worker, plan, now),
                None => Answer::Unavailable,
            };
            bus.tell_agent(worker, call, Body::Answer(answer));
        }
    }

    /// Stands still for a while.
    pub(super) fn stall(&mut self, bus: &mut Bus) {
        self.stalled_until = bus.now + 500 * MS + u64::from(self.prng.below(12)) * SECOND;
        bus.note(|| "controller stands still".to_owned());
    }
}

/// The instances that may receive requests.
fn serving(cluster: &Cluster) -> BTreeSet<InstanceId> {
    let alive = cluster.services().flat_map(|service| cluster.alive_of(&service.name));
    alive.filter(|each| each.healthy()).map(|each| each.id).collect()
}

impl Running {
    /// As `controller/src/deployer/drains.rs`, for one loop.
    fn note_drains(&mut self, table: &RoutingTable) {
        let endpoints = table.services.iter().flat_map(|service| &service.endpoints);
        let draining: Vec<InstanceId> = endpoints
            .filter(|endpoint| matches!(endpoint.duty, Duty::Drain | Duty::Abandon))
            .map(|endpoint| endpoint.instance)
            .collect();
        self.drains.retain(|instance, _| draining.contains(instance));
        for instance in draining {
            self.drains.entry(instance).or_insert((table.version, false));
        }
    }

    fn is_drained(&mut self, instance: InstanceId, version: u64) -> bool {
        let Some((since, told)) = self.drains.get_mut(&instance) else { return false };
        version >= *since && !std::mem::replace(told, true)
    }
}
