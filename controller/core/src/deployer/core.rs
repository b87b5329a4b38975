//! The deployer itself: owns the cluster, takes commands and facts, hands over what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tucano_common::id::{DeploymentId, IdSource, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::prng::Prng;
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::timers::Deadlines;

use super::balance::Balance;
use super::cuts::Cuts;
use super::placement::{Ask, plan};
use super::routes::Routes;
use super::{Accepted, Command, Config, Fact, LoadError, Output, Preview, Refusal, Rows};
use super::{ServiceCondition, ServiceHealth, Simulation, WorkerPlan};
use crate::balancer::table::RoutingTable;
use crate::cluster::{Admission, Cluster, Decision, Event, LeaseState, Service};

/// Desired state against observed state.
#[derive(Clone, Debug)]
pub struct Deployer {
    pub(super) config: Config,
    pub(super) cluster: Cluster,
    pub(super) origin: Now,
    pub(super) ids: IdSource,
    /// The largest id that was stored at the load.
    pub(super) known_at_load: u64,
    pub(super) prng: Prng,
    pub(super) last_event: u64,
    pub(super) last_survey: u64,
    /// Events since the last output.
    pub(super) events: Vec<Event>,
    /// Services to look at, each with the event that is why.
    pub(super) dirty: BTreeMap<ServiceName, Option<u64>>,
    /// Services with an instance that found no worker: looked at when there may be room.
    pub(super) waiting: BTreeSet<ServiceName>,
    /// Workers that are being drained and hold instances still.
    pub(super) draining: BTreeSet<WorkerName>,
    /// Workers whose plan is to be published, with the generation published before.
    pub(super) replanned: BTreeMap<WorkerName, u64>,
    /// The plans as they were handed over last: what did not change since is taken from there.
    pub(super) plans: BTreeMap<WorkerName, Arc<WorkerPlan>>,
    /// When to look at something again though nothing happened.
    pub(super) deadlines: Deadlines<Due, Wall>,
    pub(super) routes: Routes,
    /// What is done about an imbalance.
    pub(super) balance: Balance,
    /// Requests that broke, and deaths, of the last seconds.
    pub(super) cuts: Cuts,
}

/// What a deadline is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A service: its deployment, an instance's start, drain or delay.
    Service(ServiceName),
    /// A worker's drain.
    Worker(WorkerName),
    /// How evenly the workers are filled.
    Balance,
}

/// The two times of one call: what people read, and what deadlines are kept in.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// The wall clock as it is.
    pub(super) wall: Wall,
    /// The wall clock as it was at the start plus the monotonic time since: it does not jump, and
    /// can be stored.
    pub(super) steady: Wall,
}

impl Deployer {
    /// Takes up what is stored. Workers that were not dead are suspect until they are heard: they
    /// are given nothing new, and what they run is routed as before.
    pub fn load(config: Config, rows: Rows, now: Now) -> Result<Deployer, LoadError> {
        let last_event = rows.last_event;
        let cluster = Cluster::from_rows(rows);
        let faults = cluster.check_invariants();
        if !faults.is_empty() {
            return Err(LoadError { faults });
        }
        let deployments = cluster.deployments().map(|each| each.id.0);
        let largest_id = deployments.chain(cluster.instances().map(|each| each.id.0)).max();
        let surveys = cluster.instances().filter_map(|each| Some(each.survey()?.id));
        let last_survey = surveys.max().unwrap_or(0);
        let mut deployer = Deployer {
            ids: IdSource::after(largest_id.unwrap_or(0)),
            known_at_load: largest_id.unwrap_or(0),
            prng: Prng::new(config.seed),
            routes: Routes::new(config.port_map.clone(), now),
            config,
            cluster,
            origin: now,
            last_event,
            last_survey,
            events: Vec::new(),
            dirty: BTreeMap::new(),
            waiting: BTreeSet::new(),
            draining: BTreeSet::new(),
            replanned: BTreeMap::new(),
            plans: BTreeMap::new(),
            deadlines: Deadlines::default(),
            balance: Balance::default(),
            cuts: Cuts::default(),
        };
        deployer.take_up();
        Ok(deployer)
    }

    fn take_up(&mut self) {
        let heard: Vec<_> = self.cluster.workers().cloned().collect();
        for mut worker in heard {
            self.replanned.insert(worker.name.clone(), worker.generation);
            if let Admission::Draining { deadline, .. } = worker.admission
                && self.cluster.reserved(&worker.name).instances > 0
            {
                self.draining.insert(worker.name.clone());
                self.deadlines.set(&Due::Worker(worker.name.clone()), Some(deadline));
            }
            if worker.lease == LeaseState::Ready {
                worker.lease = LeaseState::Suspect;
                self.cluster.put_worker(worker);
            }
        }
        // That nobody was heard yet is no news: it is not stored.
        self.cluster.take_touched();
        self.leave_no_time_in_the_future(self.origin.wall);
        let names: Vec<ServiceName> =
            self.cluster.services().map(|each| each.name.clone()).collect();
        for name in names {
            self.routes.touch(&name);
            self.dirty.insert(name, None);
        }
        self.routes.rebuild(&self.cluster);
    }

    /// Takes a command, or says why not and changes nothing.
    pub fn command(&mut self, command: Command, now: Now) -> Result<Accepted, Refusal> {
        let at = self.at(now);
        self.carry_out(command, at)
    }

    /// What a command would do, found by doing it to a copy.
    pub fn dry_run(&self, command: Command, now: Now) -> Result<Preview, Refusal> {
        let mut copy = self.clone();
        let accepted = copy.command(command, now)?;
        copy.drive(now);
        Ok(super::preview::preview(&self.cluster, &copy.cluster, accepted))
    }

    /// What would come of the loss of workers, found by losing them in a copy.
    pub fn simulate(&self, lose: &[WorkerName], now: Now) -> Result<Simulation, Refusal> {
        let unknown = lose.iter().find(|name| self.cluster.worker(name).is_none());
        if let Some(name) = unknown {
            return Err(Refusal::UnknownWorker(name.clone()));
        }
        let mut copy = self.clone();
        for worker in lose {
            let (worker, lease) = (worker.clone(), LeaseState::Dead);
            copy.observe(Fact::Lease { worker, lease }, now);
        }
        copy.drive(now);
        Ok(super::preview::simulation(&self.cluster, &copy.cluster))
    }

    /// Where one more instance of a service would go as of now, with every worker's verdict; none
    /// where it has no instances of its own.
    pub fn next_place(&self, service: &ServiceName, now: Now) -> Option<Decision> {
        let spec = self.cluster.spec_of(self.cluster.service(service)?)?.clone();
        spec.scripts()?;
        // No instance has the id 0: the planner reads no more of one than its place in the row.
        let ask = Ask { spec, instances: vec![InstanceId(0)], cause: None, survey_id: 0 };
        let mut plan = plan(&self.cluster, &ask, self.at(now).wall);
        plan.placements.pop().map(|placement| placement.decision)
    }

    /// Takes a fact; a late or doubled one changes nothing.
    pub fn observe(&mut self, fact: Fact, now: Now) {
        let at = self.at(now);
        self.take_fact(fact, at);
    }

    /// Appends an event that is no change of the cluster (`auth_failed` …).
    pub fn note(&mut self, kind: &str, message: String, now: Now) {
        let at = self.at(now);
        self.tell_note(kind, message, at);
    }

    /// Moves what does not match a step; does nothing where everything matches. Call it after the
    /// last of a group of commands and facts, and when a deadline came.
    pub fn drive(&mut self, now: Now) {
        let at = self.at(now);
        self.routes.now = at.wall;
        while let Some(due) = self.deadlines.pop_due(at.steady) {
            match due {
                Due::Service(name) => self.mark(&name, None),
                Due::Worker(name) => self.mark_worker(&name, None),
                Due::Balance => self.look_at_balance(at),
            }
        }
        while let Some((name, cause)) = self.dirty.pop_first() {
            self.reconcile(&name, cause, at);
        }
        self.finish_drains(at);
    }

    /// When `drive` has something to do by itself.
    pub fn next_deadline(&self) -> Option<Mono> {
        let at = self.deadlines.next()?;
        Some(self.origin.mono + at.since(self.origin.wall))
    }

    /// The cluster as of now: what `take_output` hands over next included.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What it was told at its start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The newest event's `seq`, what `take_output` hands over next included.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    /// The plan of a worker as of now.
    pub fn plan_of(&self, worker: &WorkerName) -> Option<Arc<WorkerPlan>> {
        let worker = self.cluster.worker(worker)?;
        Some(self.worker_plan(worker, worker.generation))
    }

    /// The routes as of the last `take_output`, or of `load`.
    pub fn table(&self) -> Arc<RoutingTable> {
        self.routes.table()
    }

    /// The port of this machine that `expose_port` is served on.
    pub fn listen_port(&self, expose_port: u16) -> u16 {
        self.routes.listen_port(expose_port)
    }

    /// The port of this machine that must be open before the command is given, if it needs one.
    pub fn port_wanted(&self, command: &Command) -> Option<u16> {
        let spec = match command {
            Command::Deploy { spec } => Some(spec),
            Command::Rollback { service, revision } => {
                let service = self.cluster.service(service)?;
                let number = self.rollback_target(service, *revision).ok()?;
                self.cluster.revision(&service.name, number).map(|revision| &revision.spec)
            }
            Command::Delete { .. }
            | Command::Scale { .. }
            | Command::Restart { .. }
            | Command::PauseDeployment { .. }
            | Command::ResumeDeployment { .. }
            | Command::RestartInstance { .. }
            | Command::StopInstance { .. }
            | Command::DrainWorker { .. }
            | Command::ActivateWorker { .. }
            | Command::ForgetWorker { .. } => None,
        };
        Some(self.listen_port(spec?.network.expose_port?))
    }

    /// The ports of this machine that services need now: those of the revisions asked for, and of
    /// the ones that may be gone back to.
    pub fn ports(&self) -> BTreeSet<u16> {
        let claims = self.cluster.services().flat_map(|service| self.claimed_revisions(service));
        claims
            .filter_map(|revision| Some(self.listen_port(revision.spec.network.expose_port?)))
            .collect()
    }

    /// How a service is and why, for people.
    pub fn health_of(&self, service: &ServiceName) -> Option<ServiceHealth> {
        let service = self.cluster.service(service)?;
        super::health::health(&self.cluster, service, &self.outside_of(service))
    }

    /// The same in a word, and cheap: for counting.
    pub fn condition_of(&self, service: &Service) -> Option<ServiceCondition> {
        super::health::condition_of(&self.cluster, service, &self.outside_of(service))
    }

    /// What came of everything since the last time.
    pub fn take_output(&mut self) -> Output {
        Output {
            changes: self.take_changes(),
            events: std::mem::take(&mut self.events),
            plans: self.take_plans(),
            routing: self.routes.rebuild(&self.cluster),
        }
    }

    pub(super) fn at(&self, now: Now) -> At {
        let passed = now.mono.since(self.origin.mono).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        At { wall: now.wall, steady: Wall(self.origin.wall.0.saturating_add(passed)) }
    }

    /// Has a service looked at, because of an event.
    pub(super) fn mark(&mut self, service: &ServiceName, cause: Option<u64>) {
        let entry = self.dirty.entry(service.clone()).or_default();
        *entry = entry.or(cause);
        self.routes.touch(service);
    }

    /// Has every service looked at that has an instance on a worker.
    pub(super) fn mark_worker(&mut self, worker: &WorkerName, cause: Option<u64>) {
        let services: BTreeSet<ServiceName> =
            self.cluster.on_worker(worker).map(|each| each.service.clone()).collect();
        services.iter().for_each(|service| self.mark(service, cause));
    }

    /// Has the services looked at that wait for room: there may be some.
    pub(super) fn mark_waiting(&mut self) {
        for service in self.waiting.clone() {
            self.mark(&service, None);
        }
    }

    pub(super) fn next_instance_id(&mut self, at: At) -> InstanceId {
        let salt = self.prng.next_u64();
        InstanceId(self.ids.next(at.wall, salt))
    }

    pub(super) fn next_deployment_id(&mut self, at: At) -> DeploymentId {
        let salt = self.prng.next_u64();
        DeploymentId(self.ids.next(at.wall, salt))
    }
}
