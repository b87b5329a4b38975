//! One instance: its assignment's level against what is known of its processes.
//!
//! ```text
//!             a port           ledger saved,
//!             is its own       build ready        the script runs
//!  Waiting ─────────────▶ Intending ──▶ Launching ────────────▶ Up
//!     ▲                       │             │ could not start    │ ended by itself, or was ended
//!     │ backoff over          │ build       ▼                    │ (stop, restart, unhealthy)
//!  Resting ◀──────────────────┼─────────────┴────────────────────┤ restart policy
//!     :                       │ failed                           │
//!     :                       └─────▶ Finishing ◀────────────────┘ stop, or not started again
//!     : the level is run again         │     ▲
//!     :                it has a script ▼     │
//!     :                             Teardown─┘
//!     :                                │
//!     ...... Over ◀── Removing ◀───────┴ (its folder goes once the level is stop)
//! ```
//!
//! An agent that takes up what an earlier one left begins in Adopting. `observe` has no effects,
//! `drive` is idempotent.

mod drive;
mod ending;
mod entry;
mod launch;
mod observe;
mod report;
mod teardown;

use std::net::SocketAddr;
use std::sync::Arc;

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::{HealthProbe, Spec};
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::wire::worker::{
    Assignment, Cause, Desired, Failure, RunState, Step as WireStep, Usage,
};

use crate::build::{Ask, Tenants};
use crate::health::Health;
use crate::job::{BuildKey, Cluster, Job, JobRun, Run, Started};
use crate::ledger::Outcome;
use crate::note::Note;

pub(crate) use observe::{InstanceFact, Script};

/// One running copy of a revision on this worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) cluster: Cluster,
    /// Of the assignment it acts on.
    pub(crate) generation: u64,
    pub(crate) service: ServiceName,
    pub(crate) revision: u64,
    pub(crate) spec: Arc<Spec>,
    pub(crate) desired: Desired,
    /// The controller does not name it any more: it is forgotten once it is over.
    pub(crate) unassigned: bool,
    restart_nonce: u32,
    /// The folder it works in: its revision's, or an earlier one's that was built in the same way.
    pub(crate) build: BuildKey,
    step: Step,
    pub(crate) run: Run,
    restarted_nonce: u32,
    starts: u32,
    /// Its runtime ran since its last teardown.
    ran: bool,
    failures_in_row: u32,
    address: Option<SocketAddr>,
    /// A port that something else has: to be given back at the next drive.
    lost_port: Option<u16>,
    failure: Option<Failure>,
    waits_for: Option<String>,
    since: Wall,
    told: RunState,
    pub(crate) usage: Usage,
    /// What the controller sees of it changed.
    pub(crate) changed: bool,
    /// What the ledger has of it changed.
    pub(crate) dirty: bool,
    /// Begun anew by hand after its build failed: the build is to be begun anew too.
    pub(crate) rebuild: bool,
    notes: Vec<Note>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Wants to run; waits for a port if there is none.
    Waiting,
    /// Waits for the end of a backoff.
    Resting { until: Mono },
    /// Will start as soon as its revision's folder is ready and the ledger says so on disk. The
    /// ledger is written while the source comes, so that nothing waits for a disk twice.
    Intending { version: u64 },
    /// Its script is being started.
    Launching,
    /// An earlier agent started its script. `ready`: it had been ready.
    Adopting { known: Option<Started>, ready: bool, ask: Ask },
    /// Its script runs.
    Up(Up),
    /// Its process is gone and is not started again; teardown, if there is anything to tear down.
    Finishing { outcome: Outcome },
    /// Its teardown script.
    Teardown { outcome: Outcome, stage: Teardown },
    /// Its folder is being removed.
    Removing { outcome: Outcome },
    /// Nothing of it runs. `removed`: its folder is gone too.
    Over { outcome: Outcome, removed: bool },
}

/// A runtime script that runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Up {
    started: Started,
    since: Mono,
    health: Health,
    ending: Option<BeingEnded>,
}

/// A process that was asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BeingEnded {
    why: Why,
    kill_at: Mono,
    kills: u32,
}

/// Why a process is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// The level is stop.
    Stop,
    /// A restart was asked for by hand.
    Restart,
    /// It was not ready in time, or unhealthy for too long: the message.
    Health(String),
}

/// How far a teardown is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Teardown {
    /// Will start as soon as the ledger says so on disk.
    Intending { version: u64 },
    /// It is being started.
    Launching,
    /// An earlier agent started it.
    Adopting { known: Option<Started>, ask: Ask },
    /// It runs; killed at `kill_at`.
    Up { started: Started, kill_at: Mono, kills: u32 },
}

impl Instance {
    /// One that was never seen before.
    pub(crate) fn new(
        assignment: Assignment,
        cluster: Cluster,
        build: BuildKey,
        now: Now,
    ) -> Instance {
        Instance {
            id: assignment.id,
            cluster,
            generation: assignment.generation,
            service: assignment.service,
            revision: assignment.revision,
            spec: assignment.spec,
            desired: assignment.desired,
            unassigned: false,
            restart_nonce: assignment.restart_nonce,
            build,
            step: Step::Waiting,
            run: Run(0),
            restarted_nonce: assignment.restart_nonce,
            starts: 0,
            ran: false,
            failures_in_row: 0,
            address: None,
            lost_port: None,
            failure: None,
            waits_for: None,
            since: now.wall,
            told: RunState::Pending,
            usage: Usage::default(),
            changed: true,
            dirty: true,
            rebuild: false,
            notes: vec![Note::Taken(assignment.id)],
        }
    }

    /// Takes a newer assignment of the same instance; whether it changed anything. Its process goes
    /// on: whether a new revision needs a new process is decided by who makes instances.
    pub(crate) fn assign(&mut self, assignment: Assignment, cluster: Cluster) -> bool {
        let same = self.cluster == cluster
            && self.generation == assignment.generation
            && self.revision == assignment.revision
            && self.desired == assignment.desired
            && self.restart_nonce == assignment.restart_nonce
            && !self.unassigned
            && self.spec == assignment.spec;
        if same {
            return false;
        }
        self.cluster = cluster;
        self.generation = assignment.generation;
        self.revision = assignment.revision;
        self.spec = assignment.spec;
        self.desired = assignment.desired;
        self.restart_nonce = assignment.restart_nonce;
        self.unassigned = false;
        (self.changed, self.dirty) = (true, true);
        true
    }

    /// Brings the level to stop.
    pub(crate) fn stop(&mut self, generation: u64) -> bool {
        let changes = self.desired != Desired::Stop || self.generation != generation;
        if changes {
            (self.desired, self.generation) = (Desired::Stop, generation);
            (self.changed, self.dirty) = (true, true);
        }
        changes
    }

    /// The controller does not name it any more.
    pub(crate) fn unassign(&mut self) -> bool {
        let changes = !self.unassigned;
        if changes {
            (self.desired, self.unassigned) = (Desired::Stop, true);
            (self.changed, self.dirty) = (true, true);
        }
        changes
    }

    /// Whether its revision's folder is in use, or will be.
    pub(crate) fn needs_build(&self) -> bool {
        match &self.step {
            Step::Waiting | Step::Resting { .. } | Step::Intending { .. } => {
                self.desired == Desired::Run || (self.ran && self.has_teardown())
            }
            Step::Launching
            | Step::Adopting { .. }
            | Step::Up(_)
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Over { removed: false, .. } => true,
            Step::Removing { .. } | Step::Over { removed: true, .. } => false,
        }
    }

    /// Whether its processes run in its revision's folder, or ran there and have something left to
    /// tear down.
    pub(crate) fn tenant(&self) -> Tenants {
        match &self.step {
            Step::Launching | Step::Up(_) | Step::Teardown { .. } => Tenants::Some,
            Step::Adopting { .. } if self.ran => Tenants::Some,
            Step::Adopting { .. } => Tenants::Perhaps,
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Finishing { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => {
                if self.ran {
                    Tenants::Some
                } else {
                    Tenants::None
                }
            }
        }
    }

    /// Whether nothing of it is left and nobody asks for it.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.unassigned && matches!(self.step, Step::Over { removed: true, .. })
    }

    /// The port it holds.
    pub(crate) fn port(&self) -> Option<u16> {
        self.address.map(|address| address.port())
    }

    /// Whether it may wait for a port to become free.
    pub(crate) fn waits_for_port(&self) -> bool {
        self.step == Step::Waiting && self.address.is_none() && self.wants_port()
    }

    /// Its runtime's processes.
    pub(crate) fn running(&self) -> Option<Started> {
        match &self.step {
            Step::Up(up) => Some(up.started),
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Launching
            | Step::Adopting { .. }
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => None,
        }
    }

    /// The jobs that may be running for it.
    pub(crate) fn job(&self) -> Option<JobRun> {
        match &self.step {
            Step::Launching | Step::Adopting { .. } | Step::Up(_) => Some(self.runtime()),
            Step::Teardown { .. } => Some(self.teardown()),
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Finishing { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => None,
        }
    }

    fn runtime(&self) -> JobRun {
        JobRun::runtime(self.id, self.run)
    }

    fn teardown(&self) -> JobRun {
        JobRun { job: Job::Teardown(self.id), run: self.run }
    }

    fn has_teardown(&self) -> bool {
        self.spec.scripts().is_some_and(|scripts| scripts.teardown.is_some())
    }

    /// Whether its processes get a port.
    fn wants_port(&self) -> bool {
        self.spec.network.expose_port.is_some() || self.spec.network.fixed_port.is_some()
    }

    /// Whether there is more to its health than being up.
    fn has_check(&self) -> bool {
        match self.spec.network.health_check.probe {
            HealthProbe::Connect | HealthProbe::Get(_) => self.spec.network.expose_port.is_some(),
            HealthProbe::Notify => true,
        }
    }

    fn set(&mut self, step: Step) {
        self.step = step;
        (self.changed, self.dirty) = (true, true);
    }

    fn wait_for(&mut self, what: Option<String>) {
        if self.waits_for != what {
            self.waits_for = what;
            self.changed = true;
        }
    }

    fn fail(&mut self, step: WireStep, cause: Cause, message: String, tail: String, at: Wall) {
        let failure = Failure { at, step, cause, message, output_tail: tail, run: None };
        self.failure = Some(failure);
        (self.changed, self.dirty) = (true, true);
    }
}

#[cfg(test)]
mod tests;
