//! A machine with its agent, as the protocol has it: it takes plans and reports what it runs. Its
//! processes are only states and times; what they do is the name of their script: `fine`, `slow`
//! (five seconds to its start), `hang` (never ready) or `crash`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::time::{Mono, Wall};
use tucano_common::wire::worker::{
    Assignment, Capacity, Cause, Desired, Failure, InstanceReport, RunState, Step, Usage,
    WorkerMetrics,
};
use tucano_controller_core::deployer::{Introduction, WorkerPlan};

const MS: u64 = 1000;

#[derive(Clone, Debug)]
struct Process {
    assignment: Arc<Assignment>,
    state: RunState,
    /// When its state changes by itself.
    due: Mono,
    restarts: u32,
    failures: u32,
    nonce: u32,
    failure: Option<Failure>,
    /// Named by no plan any more: forgotten once it ended.
    orphan: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: WorkerName,
    pub(crate) address: IpAddr,
    pub(crate) capacity: Capacity,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) up: bool,
    pub(crate) linked: bool,
    pub(crate) greeted: bool,
    pub(crate) session: u64,
    pub(crate) seq: u64,
    pub(crate) holds: Option<u64>,
    processes: BTreeMap<InstanceId, Process>,
}

impl Machine {
    pub(crate) fn new(name: WorkerName, number: u8, capacity: Capacity) -> Machine {
        Machine {
            address: IpAddr::from([10, 0, 0, number]),
            labels: BTreeMap::from([
                ("arch".to_owned(), "x86_64".to_owned()),
                ("hostname".to_owned(), name.to_string()),
            ]),
            metrics: WorkerMetrics {
                cpu_ratio: Some(0.1),
                memory_total_bytes: Some(capacity.memory_bytes),
                memory_available_bytes: Some(capacity.memory_bytes / 2),
                ..WorkerMetrics::default()
            },
            name,
            capacity,
            up: true,
            linked: true,
            greeted: false,
            session: u64::from(number) * 1000,
            seq: 0,
            holds: None,
            processes: BTreeMap::new(),
        }
    }

    /// The power goes, with all that ran and all that was held.
    pub(crate) fn power_off(&mut self) {
        self.up = false;
        self.processes.clear();
        self.holds = None;
        self.forget_session();
    }

    pub(crate) fn forget_session(&mut self) {
        self.session += 1;
        self.seq = 0;
        self.greeted = false;
    }

    pub(crate) fn introduction(&self) -> Introduction {
        Introduction {
            name: self.name.clone(),
            address: self.address,
            agent_port: 7071,
            version: "0.1.0".to_owned(),
            capacity: self.capacity,
            labels: self.labels.clone(),
            holds: self.holds,
            instances: self.reports(),
        }
    }

    pub(crate) fn reports(&self) -> Vec<InstanceReport> {
        self.processes.values().map(Process::report).collect()
    }

    /// All of what it should run.
    pub(crate) fn take(&mut self, plan: &WorkerPlan) {
        self.holds = Some(plan.generation);
        let named: BTreeSet<InstanceId> = plan.assignments.iter().map(|each| each.id).collect();
        for (id, process) in &mut self.processes {
            process.orphan = !named.contains(id);
        }
        for assignment in &plan.assignments {
            let process = self.processes.entry(assignment.id);
            let new = || Process::new(assignment.clone());
            process.or_insert_with(new).assignment = assignment.clone();
        }
    }

    /// What happens on it up to now.
    pub(crate) fn step(&mut self, now: Mono) {
        self.processes.values_mut().for_each(|process| process.step(now));
        self.processes.retain(|_, process| !(process.orphan && process.is_over()));
    }

    /// The processes of a service die; how many there were.
    pub(crate) fn kill(&mut self, service: &str, now: Mono) -> usize {
        let of = |each: &&mut Process| {
            each.assignment.service.as_str() == service && each.state == RunState::Running
        };
        self.processes.values_mut().filter(of).map(|process| process.fail(now)).count()
    }
}

impl Process {
    fn new(assignment: Arc<Assignment>) -> Process {
        Process {
            state: RunState::Pending,
            due: Mono(0),
            restarts: 0,
            failures: 0,
            nonce: assignment.restart_nonce,
            failure: None,
            orphan: false,
            assignment,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, RunState::Stopped | RunState::Failed)
    }

    fn script(&self) -> &str {
        self.assignment.spec.scripts().map_or("fine", |scripts| scripts.runtime.as_str())
    }

    fn step(&mut self, now: Mono) {
        let stop = self.assignment.desired == Desired::Stop || self.orphan;
        let restart = self.nonce < self.assignment.restart_nonce;
        if self.is_over() {
        } else if stop && self.state != RunState::Stopping {
            (self.state, self.due) = (RunState::Stopping, Mono(now.0 + 100 * MS));
        } else if restart && self.state == RunState::Running {
            self.nonce = self.assignment.restart_nonce;
            self.start(now);
        } else if self.due <= now {
            match self.state {
                RunState::Pending | RunState::Building => self.start(now),
                RunState::Starting if self.script() == "crash" => self.fail(now),
                RunState::Starting if self.script() == "hang" => {}
                RunState::Starting => {
                    // After a minute up it has no failures behind it.
                    (self.state, self.due) = (RunState::Running, Mono(now.0 + 60_000 * MS));
                }
                RunState::Stopping => self.state = RunState::Stopped,
                RunState::Running => self.failures = 0,
                RunState::Stopped | RunState::Failed => {}
            }
        }
    }

    fn start(&mut self, now: Mono) {
        let takes_ms = if self.script() == "slow" { 5000 } else { 200 };
        (self.state, self.due) = (RunState::Starting, Mono(now.0 + takes_ms * MS));
    }

    fn fail(&mut self, now: Mono) {
        self.state = RunState::Starting;
        self.restarts += 1;
        self.failures += 1;
        self.due = Mono(now.0 + 1000 * MS);
        self.failure = Some(Failure {
            at: Wall(i64::try_from(now.0 / MS).unwrap_or(0)),
            step: Step::Runtime,
            cause: Cause::Exit { exit_code: 3 },
            message: "the runtime script ended with exit code 3".to_owned(),
            output_tail: String::new(),
            run: None,
        });
    }

    fn report(&self) -> InstanceReport {
        let healthy = self.state == RunState::Running;
        let fixed = self.assignment.spec.network.fixed_port;
        InstanceReport {
            id: self.assignment.id,
            service: self.assignment.service.clone(),
            revision: self.assignment.revision,
            generation: self.assignment.generation,
            state: self.state,
            since: Wall(0),
            healthy,
            port: fixed.or(Some(20_000)),
            pid: Some(4242),
            started_at: None,
            restarts: self.restarts,
            restart_nonce: self.nonce,
            failures_in_row: self.failures,
            failure: self.failure.clone(),
            waits_for: None,
            usage: Usage::default(),
        }
    }
}
