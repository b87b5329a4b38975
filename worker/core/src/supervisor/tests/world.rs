//! A worker's surroundings without a process or a disk: it carries effects out after a while, lets
//! processes end, loses the agent, and checks after each step what must always hold.

mod checks;
mod doing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::prng::Prng;
use tucano_common::spec::Spec;
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::wire::worker::{
    Assignment, Assignments, Desired, InstanceReport, Push, RunState,
};

use crate::effect::{Folder, Launch};
use crate::fact::Fact;
use crate::job::{End, Ending, Job, JobRun, Started};
use crate::layout::Layout;
use crate::ledger::Ledger;
use crate::note::Note;
use crate::ports::PortRange;
use crate::settings::Settings;
use crate::supervisor::Supervisor;
use crate::users::{FoundFolder, UserRange};

/// How the world treats the worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// A source can't be had.
    pub(super) source: f64,
    /// A script can't be started.
    pub(super) start: f64,
    /// Something else listens on the port.
    pub(super) port: f64,
    /// A runtime ends by itself within some seconds.
    pub(super) exit: f64,
    /// A build or a teardown fails.
    pub(super) script: f64,
    /// A stop signal is ignored.
    pub(super) stubborn: f64,
    /// A check fails.
    pub(super) probe: f64,
    /// The ledger can't be written.
    pub(super) ledger: f64,
    /// A folder can't be removed.
    pub(super) remove: f64,
}

impl Faults {
    pub(super) const NONE: Faults = Faults {
        source: 0.0,
        start: 0.0,
        port: 0.0,
        exit: 0.0,
        script: 0.0,
        stubborn: 0.0,
        probe: 0.0,
        ledger: 0.0,
        remove: 0.0,
    };
    pub(super) const SOME: Faults = Faults {
        source: 0.05,
        start: 0.05,
        port: 0.05,
        exit: 0.3,
        script: 0.2,
        stubborn: 0.3,
        probe: 0.1,
        ledger: 0.1,
        remove: 0.1,
    };
}

/// A process of the world.
#[derive(Clone, Debug)]
struct Running {
    started: Started,
    port: Option<u16>,
    ends: Option<(Mono, End)>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) now: Now,
    pub(super) faults: Faults,
    pub(super) notes: Vec<Note>,
    pub(super) starts: Vec<Launch>,
    pub(super) reports_sent: usize,
    /// How long builds and teardowns take; none: up to two seconds.
    pub(super) scripts_take: Option<Duration>,
    /// `--service-uids`, and services' own folders with their owners.
    pub(super) users: Option<UserRange>,
    pub(super) data: BTreeMap<ServiceName, u32>,
    prng: Prng,
    disk: Option<Ledger>,
    due: Vec<(Mono, Fact)>,
    processes: BTreeMap<JobRun, Running>,
    /// Ends that an agent has not been told of.
    exits: BTreeMap<JobRun, Ending>,
    folders: BTreeSet<String>,
    pids: u32,
}

pub(super) fn settings() -> Settings {
    Settings {
        worker: WorkerName::new("w").unwrap(),
        layout: Layout::new("/d"),
        host: "127.0.0.1".parse().unwrap(),
        balancer_url: "http://127.0.0.1:8080".to_owned(),
        ports: PortRange::new(20_000, 20_099).unwrap(),
        ephemeral: None,
    }
}

pub(super) fn spec(json: &str) -> std::sync::Arc<Spec> {
    std::sync::Arc::new(serde_json::from_str(json).unwrap())
}

/// With all three scripts and a port.
pub(super) const FULL: &str = r#"{"name": "web", "network": {"expose_port": 80},
    "scripts": {"build-script": "b", "runtime-script": "r", "teardown_script": "t"}}"#;
/// With nothing but a runtime.
pub(super) const PLAIN: &str = r#"{"name": "web", "scripts": {"runtime-script": "r"}}"#;

pub(super) fn assignment(id: u64, generation: u64, spec: &str) -> Assignment {
    let spec = self::spec(spec);
    Assignment {
        id: InstanceId(id),
        generation,
        service: spec.name.clone(),
        revision: 1,
        desired: Desired::Run,
        restart_nonce: 0,
        spec,
    }
}

pub(super) fn set(generation: u64, instances: Vec<Assignment>) -> Assignments {
    Assignments { cluster: "c".to_owned(), generation, instances }
}

pub(super) fn push(previous_generation: u64, assignment: Assignment) -> Push {
    let generation = assignment.generation;
    Push { cluster: "c".to_owned(), generation, previous_generation, assignment }
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> World {
        World {
            supervisor: Supervisor::new(settings(), seed),
            now: Now { mono: Mono(1_000_000), wall: Wall(1_000_000_000_000) },
            faults,
            notes: Vec::new(),
            starts: Vec::new(),
            reports_sent: 0,
            scripts_take: None,
            users: None,
            data: BTreeMap::new(),
            prng: Prng::new(seed),
            disk: None,
            due: Vec::new(),
            processes: BTreeMap::new(),
            exits: BTreeMap::new(),
            folders: BTreeSet::new(),
            pids: 100,
        }
    }

    /// The agent's own loop: drive, carry out, until nothing comes.
    pub(super) fn settle(&mut self) {
        if !self.supervisor.is_due(self.now.mono) {
            let found = self.supervisor.clone().drive(self.now);
            assert_eq!(found, [], "a turn that drives nothing would miss it: {self:?}");
        }
        for _ in 0..100 {
            let effects = self.supervisor.drive(self.now);
            if effects.is_empty() {
                self.check();
                let due = self.supervisor.next_deadline();
                let now = self.now.mono;
                assert!(due.is_none_or(|due| due > now), "a loop would spin: {self:?}");
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
        panic!("drive does not come to rest");
    }

    /// Goes to the next thing that is due, up to `until`.
    fn step(&mut self, until: Mono) {
        self.settle();
        let facts = self.due.iter().map(|(at, _)| *at);
        let ends = self.processes.values().filter_map(|it| it.ends.map(|(at, _)| at));
        let next = facts.chain(ends).chain(self.supervisor.next_deadline()).min();
        let next = next.unwrap_or(until).clamp(self.now.mono, until);
        self.advance(next.since(self.now.mono).max(Duration::from_micros(1)));
        self.end_processes();
        let now = self.now.mono;
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|it| it.0 <= now);
        self.due = later;
        let due: Vec<(Mono, Fact)> = due;
        for (_, fact) in due {
            self.supervisor.observe(fact, self.now);
        }
        self.settle();
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now.mono + time;
        while self.now.mono < until {
            self.step(until);
        }
    }

    /// Until something holds, at most a (simulated) hour.
    pub(super) fn run_until(&mut self, what: &str, holds: impl Fn(&World) -> bool) {
        let until = self.now.mono + Duration::from_secs(3600);
        self.settle();
        while !holds(self) {
            assert!(self.now.mono < until, "never: {what}: {:?}", self.supervisor.reports());
            self.step(until);
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now = Now { mono: self.now.mono + by, wall: self.now.wall };
        self.now.wall = Wall(1_000_000_000_000 + i64::try_from(self.now.mono.0 / 1000).unwrap());
    }

    fn later(&mut self, ms: u64, fact: Fact) {
        let delay = Duration::from_millis(self.prng.jitter(ms, 0.5));
        self.due.push((self.now.mono + delay, fact));
    }

    fn chance(&mut self, of: f64) -> bool {
        self.prng.chance(of)
    }

    /// Ends a runtime from outside.
    pub(super) fn kill(&mut self, id: u64, end: End) {
        let now = self.now.mono;
        for (job, running) in &mut self.processes {
            if job.job == Job::Runtime(InstanceId(id)) {
                running.ends = Some((now, end));
            }
        }
    }

    /// The agent dies, and another one takes its place after a while.
    pub(super) fn crash(&mut self, away: Duration) {
        self.due.clear();
        let until = self.now.mono + away;
        self.advance(away);
        self.end_processes();
        self.due.clear();
        assert!(self.now.mono >= until);
        let ledger = self.disk.clone().unwrap_or_else(|| Supervisor::new(settings(), 0).ledger());
        let seed = self.prng.next_u64();
        self.supervisor = Supervisor::from_ledger(settings(), ledger, seed, self.now);
        self.number_services();
        // What nobody knows is ended before the first drive.
        let known = self.supervisor.jobs();
        let strangers: Vec<JobRun> =
            self.processes.keys().filter(|job| !known.contains(job)).cloned().collect();
        for job in strangers {
            // With a disk that fails, what ran before was started all the same: it is started anew.
            if let (Job::Runtime(id), true) = (&job.job, self.faults.ledger == 0.0) {
                assert!(
                    !self.supervisor.has(*id),
                    "{job} was started without a ledger that says so"
                );
            }
            self.processes.remove(&job);
        }
        let known: BTreeSet<String> = self.supervisor.folders().iter().map(name).collect();
        self.folders.retain(|folder| known.contains(folder));
        self.settle();
    }

    /// As an agent that starts does.
    pub(super) fn number_services(&mut self) {
        let Some(range) = self.users else { return };
        let found = self.data.iter().map(|(service, owner)| FoundFolder {
            service: service.clone(),
            owner: *owner,
            is_data: true,
        });
        self.supervisor.number_services(range, &found.collect::<Vec<_>>());
    }

    pub(super) fn report(&self, id: u64) -> InstanceReport {
        let found = self.supervisor.reports().into_iter().find(|it| it.id == InstanceId(id));
        found.unwrap_or_else(|| panic!("no report of {id}"))
    }

    pub(super) fn state(&self, id: u64) -> RunState {
        self.report(id).state
    }

    pub(super) fn jobs_running(&self) -> Vec<String> {
        self.processes.keys().map(|job| job.to_string()).collect()
    }

    pub(super) fn folders(&self) -> Vec<&str> {
        self.folders.iter().map(String::as_str).collect()
    }

    pub(super) fn ledger_on_disk(&self) -> Option<&Ledger> {
        self.disk.as_ref()
    }
}

fn name(folder: &Folder) -> String {
    match folder {
        Folder::Instance(id) => format!("instance {id}"),
        Folder::Build(key) => format!("build {} {}", key.service, key.revision),
    }
}
