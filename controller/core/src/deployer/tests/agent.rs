//! An agent as the protocol has it, with processes that are only states and times.
//!
//! What a service does is written in its scripts: `fail` (build), `crash`, `hang`, `done`, `slow`
//! (runtime).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::RestartPolicy;
use tucano_common::time::{Mono, Wall};
use tucano_common::wire::worker::{
    Assignment, Capacity, Cause, Desired, Failure, InstanceReport, RunState, Step, Usage,
    WorkerMetrics,
};

use crate::deployer::{Introduction, WorkerPlan};

const MS: u64 = 1000;

#[derive(Clone, Debug)]
pub(super) struct Proc {
    pub(super) assignment: Assignment,
    pub(super) state: RunState,
    pub(super) healthy: bool,
    pub(super) port: Option<u16>,
    /// When its state changes by itself.
    due: Option<Mono>,
    restarts: u32,
    failures: u32,
    nonce: u32,
    failure: Option<Failure>,
    /// Named by no assignment any more: forgotten once it ended.
    orphan: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) name: WorkerName,
    pub(super) address: IpAddr,
    pub(super) capacity: Capacity,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) metrics: WorkerMetrics,
    /// The machine runs.
    pub(super) up: bool,
    /// The network between it and the controller works.
    pub(super) linked: bool,
    pub(super) session: u64,
    /// Whether the controller knows the session, as far as the agent knows.
    pub(super) greeted: bool,
    pub(super) seq: u64,
    pub(super) holds: Option<u64>,
    pub(super) procs: BTreeMap<InstanceId, Proc>,
    built: BTreeSet<(ServiceName, u64)>,
    next_port: u16,
    pub(super) changed: bool,
    pub(super) next_beat: Mono,
}

impl Agent {
    pub(super) fn new(number: u8, memory_bytes: u64) -> Agent {
        let name = WorkerName::new(&format!("w{number}")).unwrap();
        Agent {
            name,
            address: IpAddr::from([127, 0, 0, number]),
            capacity: Capacity { cpus: 4, memory_bytes },
            labels: BTreeMap::new(),
            metrics: WorkerMetrics {
                memory_total_bytes: Some(memory_bytes),
                memory_available_bytes: Some(memory_bytes / 2),
                ..WorkerMetrics::default()
            },
            up: true,
            linked: true,
            session: u64::from(number) * 1000,
            greeted: false,
            seq: 0,
            holds: None,
            procs: BTreeMap::new(),
            built: BTreeSet::new(),
            next_port: 20_000,
            changed: false,
            next_beat: Mono(0),
        }
    }

    /// The agent's process is started again; its instances ran on.
    pub(super) fn restart(&mut self) {
        self.session += 1;
        self.seq = 0;
        self.greeted = false;
    }

    /// The machine went away with all that ran on it and all that it knew.
    pub(super) fn wipe(&mut self) {
        self.restart();
        self.procs.clear();
        self.holds = None;
    }

    pub(super) fn introduction(&self) -> Introduction {
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

    pub(super) fn reports(&self) -> Vec<InstanceReport> {
        self.procs.values().map(report).collect()
    }

    /// All of what it should run.
    pub(super) fn take_plan(&mut self, plan: &WorkerPlan) {
        if self.holds.is_some_and(|holds| plan.generation < holds) {
            return;
        }
        self.holds = Some(plan.generation);
        let named: BTreeSet<InstanceId> = plan.assignments.iter().map(|each| each.id).collect();
        for (id, process) in &mut self.procs {
            process.orphan |= !named.contains(id);
        }
        self.procs.retain(|_, process| {
            !(process.orphan && matches!(process.state, RunState::Stopped | RunState::Failed))
        });
        for assignment in &plan.assignments {
            self.take(assignment);
        }
        self.changed = true;
    }

    /// A plan's changes ahead of the next heartbeat.
    pub(super) fn take_push(&mut self, plan: &WorkerPlan, whole: bool) {
        if self.holds.is_some_and(|holds| plan.generation <= holds) {
            return;
        }
        plan.changed().for_each(|assignment| self.take(assignment));
        if whole && self.holds == Some(plan.previous_generation) {
            self.holds = Some(plan.generation);
        }
    }

    fn take(&mut self, assignment: &Assignment) {
        if let Some(process) = self.procs.get_mut(&assignment.id) {
            if process.assignment.generation < assignment.generation {
                process.assignment = assignment.clone();
            }
            process.orphan = false;
            return;
        }
        let process = Proc {
            assignment: assignment.clone(),
            state: RunState::Pending,
            healthy: false,
            port: None,
            due: None,
            restarts: 0,
            failures: 0,
            nonce: assignment.restart_nonce,
            failure: None,
            orphan: false,
        };
        self.procs.insert(assignment.id, process);
        self.changed = true;
    }

    /// What happens on the machine up to now.
    pub(super) fn step(&mut self, now: Mono) {
        let built = &mut self.built;
        for process in self.procs.values_mut() {
            if process.state == RunState::Starting && process.port.is_none() {
                process.port = Some(self.next_port);
                self.next_port += 1;
            }
            self.changed |= process.step(now, built);
        }
        self.procs.retain(|_, process| {
            !(process.orphan && matches!(process.state, RunState::Stopped | RunState::Failed))
        });
    }

    /// An instance was up for so long that its failures are behind it.
    pub(super) fn forgive(&mut self, id: InstanceId) {
        if let Some(process) = self.procs.get_mut(&id) {
            process.failures = 0;
        }
    }

    /// The process of an instance dies; the agent starts it again.
    pub(super) fn kill(&mut self, id: InstanceId, now: Mono) {
        if let Some(process) = self.procs.get_mut(&id)
            && process.state == RunState::Running
        {
            process.fail_once(now);
            self.changed = true;
        }
    }
}

impl Proc {
    fn step(&mut self, now: Mono, built: &mut BTreeSet<(ServiceName, u64)>) -> bool {
        let before = (self.state, self.healthy, self.failures);
        let ended = matches!(self.state, RunState::Stopped | RunState::Failed);
        let stop = self.assignment.desired == Desired::Stop || self.orphan;
        if ended {
            return false;
        }
        if stop && self.state != RunState::Stopping {
            self.state = RunState::Stopping;
            self.healthy = false;
            self.due = Some(Mono(now.0 + 100 * MS));
        } else if self.nonce < self.assignment.restart_nonce && self.state == RunState::Running {
            self.nonce = self.assignment.restart_nonce;
            self.begin_start(now);
        } else if self.due.is_none_or(|due| due <= now) {
            self.turn(now, built);
        }
        before != (self.state, self.healthy, self.failures)
    }

    fn turn(&mut self, now: Mono, built: &mut BTreeSet<(ServiceName, u64)>) {
        let spec = self.assignment.spec.clone();
        let Some(scripts) = spec.scripts() else { return };
        let key = (self.assignment.service.clone(), self.assignment.revision);
        match self.state {
            RunState::Pending if scripts.build.is_some() && !built.contains(&key) => {
                self.state = RunState::Building;
                self.due = Some(Mono(now.0 + 300 * MS));
            }
            RunState::Pending => self.begin_start(now),
            RunState::Building if scripts.build.as_deref() == Some("fail") => {
                self.state = RunState::Failed;
                let message = "the build script exited with code 1";
                self.failure = Some(failure(Step::Build, message, now));
            }
            RunState::Building if scripts.build.as_deref() == Some("no room") => {
                self.state = RunState::Failed;
                let failure = failure(Step::Build, "no space left on device", now);
                self.failure = Some(Failure { cause: Cause::Worker, ..failure });
            }
            RunState::Building => {
                built.insert(key);
                self.begin_start(now);
            }
            RunState::Starting => match scripts.runtime.as_str() {
                "crash" => self.fail_once(now),
                "hang" => self.due = None,
                "done" => {
                    self.state = if spec.restart.policy == RestartPolicy::Always {
                        RunState::Starting
                    } else {
                        RunState::Stopped
                    };
                }
                _ => {
                    self.state = RunState::Running;
                    self.healthy = true;
                    self.due = Some(Mono(u64::MAX));
                }
            },
            RunState::Stopping => self.state = RunState::Stopped,
            RunState::Running | RunState::Stopped | RunState::Failed => {}
        }
    }

    fn begin_start(&mut self, now: Mono) {
        let slow = self.assignment.spec.scripts().is_some_and(|it| it.runtime == "slow");
        self.state = RunState::Starting;
        self.healthy = false;
        self.due = Some(Mono(now.0 + if slow { 5000 * MS } else { 200 * MS }));
    }

    fn fail_once(&mut self, now: Mono) {
        self.state = RunState::Starting;
        self.healthy = false;
        self.restarts += 1;
        self.failures += 1;
        let message = "the runtime script exited with code 3";
        self.failure = Some(failure(Step::Runtime, message, now));
        self.due = Some(Mono(now.0 + 1000 * MS));
    }
}

fn failure(step: Step, message: &str, now: Mono) -> Failure {
    Failure {
        at: Wall(i64::try_from(now.0 / MS).unwrap()),
        step,
        cause: Cause::Exit { exit_code: 1 },
        message: message.to_owned(),
        output_tail: "Error: Cannot find module 'express'".to_owned(),
        run: None,
    }
}

fn report(process: &Proc) -> InstanceReport {
    let running = matches!(process.state, RunState::Starting | RunState::Running);
    InstanceReport {
        id: process.assignment.id,
        service: process.assignment.service.clone(),
        revision: process.assignment.revision,
        generation: process.assignment.generation,
        state: process.state,
        since: Wall(0),
        healthy: process.healthy,
        port: process.port,
        pid: running.then_some(4242),
        started_at: None,
        restarts: process.restarts,
        restart_nonce: process.nonce,
        failures_in_row: if process.healthy { 0 } else { process.failures },
        failure: process.failure.clone(),
        waits_for: None,
        usage: Usage::default(),
    }
}

/// The plan of a worker that should run nothing.
pub(super) fn no_plan(worker: &WorkerName) -> Arc<WorkerPlan> {
    Arc::new(WorkerPlan {
        worker: worker.clone(),
        generation: 0,
        previous_generation: 0,
        assignments: Vec::new(),
    })
}
