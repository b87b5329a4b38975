//! An instance's record.
//!
//! ```text
//!            placed                   its worker reports
//!  Pending ─────────► Placed { Assigned → Building → Starting ⇄ Running }
//!     │                 │                                 │ ended and not started again ─► Failed
//!     │                 │ leaves: out of the routing first│ its worker is dead
//!     │                 ├─────────► Draining ─┐           └─► Lost ─► Placed (back in time)
//!     │                 │ (no route: at once) ▼
//!     │                 └───────────────► Stopping ─► Stopped
//!     └─────────────────────────────────────────────► Stopped
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Desired, Failure};

use super::Decision;

/// One running copy of a revision; on one worker for all its life.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Which.
    pub id: InstanceId,
    /// Of which service.
    pub service: ServiceName,
    /// Of which revision. Grows without a restart where only the number of instances changed.
    pub revision: u64,
    /// The revision that it was made for, whose spec its worker was given.
    pub born_revision: u64,
    /// The service's [`super::Service::restart_epoch`] when it was made.
    pub restart_epoch: u32,
    /// The deployment that made it; none where a failure or a drain did.
    pub deployment: Option<DeploymentId>,
    /// The instance whose place it takes.
    pub replaces: Option<InstanceId>,
    /// When it was made.
    pub created_at: Wall,
    /// Where it is.
    pub state: State,
    /// Since when it is there (in [`State::Placed`]: in that [`Run`]).
    pub since: Wall,
    /// Why it is where it is; none before it was looked at.
    pub decision: Option<Decision>,
    /// The nonce of the last restart asked for by hand.
    pub restart_nonce: u32,
    /// What its worker said of it last.
    pub observed: Observed,
    /// The last event about it: the cause of the next.
    pub event: u64,
}

/// What a worker said of an instance last, beyond its [`Run`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// The port its process was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When that process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Wall>,
    /// Starts in place after the first.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// The nonce of the last restart by hand that was carried out.
    #[serde(skip_serializing_if = "is_zero")]
    pub restart_nonce: u32,
    /// Failed starts and runs in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures_in_row: u32,
    /// When it failed: as many of the last as can move it to another worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_at: Vec<Wall>,
    /// Why it failed, last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Requests that were in flight when the run ended that it tells of; none where that is not
    /// known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_cut: Option<u32>,
    /// What it waits for on its worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When its process was first seen: its source is there and its build is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_seen_at: Option<Wall>,
    /// When it was first healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Wall>,
}

/// What is not stored of [`Observed`]: a new instance has nothing.
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// On no worker yet.
    Pending {
        /// What for.
        waiting: Waiting,
    },
    /// On a worker, to be run there.
    Placed {
        /// Where.
        place: Place,
        /// How far it is.
        run: Run,
        /// A restart by hand that waits for the requests in flight, at most until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_by: Option<Wall>,
    },
    /// Out of the rotation; its requests in flight are being answered.
    Draining {
        /// Where.
        place: Place,
        /// Then it is stopped all the same.
        until: Wall,
        /// Why it leaves.
        why: Leaving,
    },
    /// Its process is being ended.
    Stopping {
        /// Where.
        place: Place,
        /// Why it leaves.
        why: Leaving,
    },
    /// Ended as asked, or by itself with exit code 0 where it is not started again.
    Stopped {
        /// Where it was; none where it never was placed.
        worker: Option<WorkerName>,
        /// Why; none where it ended by itself.
        why: Option<Leaving>,
    },
    /// Ended otherwise; its [`Observed::failure`] says how.
    Failed {
        /// Where it was.
        worker: WorkerName,
    },
    /// Its worker is dead, or has lost it.
    Lost {
        /// Where it was.
        place: Place,
        /// Whether it was to be run there (and not about to leave): then it is taken back if it
        /// returns in time.
        wanted: bool,
    },
}

/// What an instance without a worker waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Waiting {
    /// Its turn: it was not looked at yet.
    Turn,
    /// The end of a delay, because instances of the service keep failing.
    Backoff {
        /// Until then.
        until: Wall,
    },
    /// A worker that would do; every worker's verdict is in its decision.
    Room {
        /// The shortest way to one, in words.
        hint: String,
    },
}

/// Where an instance stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// On which worker.
    pub worker: WorkerName,
    /// The worker's generation when this instance's assignment last changed.
    pub generation: u64,
    /// When it was placed there.
    pub at: Wall,
}

/// How far a placed instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "snake_case")]
pub enum Run {
    /// Given to its worker, which has not begun (or waits: [`Observed::waits_for`]).
    Assigned,
    /// Its revision is being built there.
    Building,
    /// Its process runs and is not ready, or waits to be started again.
    Starting,
    /// Its process was ready.
    Running {
        /// Since when it passes its health check; none while it does not: then it receives no
        /// requests.
        healthy_since: Option<Wall>,
    },
}

/// Why an instance leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Leaving {
    /// Newer instances took its place.
    Replaced,
    /// Fewer are asked for.
    ScaledDown,
    /// Its service was deleted.
    ServiceDeleted,
    /// Its worker is being drained.
    WorkerDrained,
    /// Another worker has more room: its successor there is up.
    Rebalanced,
    /// Its worker came back after others had taken its place.
    Surplus,
    /// Somebody asked for it.
    AskedFor,
    /// Its deployment failed.
    DeploymentFailed,
    /// It kept failing on that worker; it ends as failed.
    KeptFailing,
    /// It makes room for its successor on the same worker.
    MakesRoom,
}

impl Leaving {
    /// In words, after "because".
    pub fn text(&self) -> &'static str {
        match self {
            Leaving::Replaced => "newer instances took its place",
            Leaving::ScaledDown => "fewer instances are asked for",
            Leaving::ServiceDeleted => "its service was deleted",
            Leaving::WorkerDrained => "its worker is being drained",
            Leaving::Rebalanced => "its successor on a worker with fewer instances is up",
            Leaving::Surplus => "its worker came back after others had taken its place",
            Leaving::AskedFor => "it was asked for",
            Leaving::DeploymentFailed => "its deployment failed",
            Leaving::KeptFailing => "it kept failing on this worker",
            Leaving::MakesRoom => "it makes room for its successor",
        }
    }
}

impl State {
    /// The contract's name of the state.
    pub fn as_str(&self) -> &'static str {
        match self {
            State::Pending { .. } => "pending",
            State::Placed { run, .. } => match run {
                Run::Assigned => "pending",
                Run::Building => "building",
                Run::Starting => "starting",
                Run::Running { .. } => "running",
            },
            State::Draining { .. } => "draining",
            State::Stopping { .. } => "stopping",
            State::Stopped { .. } => "stopped",
            State::Failed { .. } => "failed",
            State::Lost { .. } => "lost",
        }
    }

    /// Where it stands now: none before it is placed and after it ended.
    pub fn place(&self) -> Option<&Place> {
        match self {
            State::Placed { place, .. }
            | State::Draining { place, .. }
            | State::Stopping { place, .. } => Some(place),
            State::Pending { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => None,
        }
    }

    /// Where it stands or stood.
    pub fn worker(&self) -> Option<&WorkerName> {
        match self {
            State::Pending { .. } => None,
            State::Placed { place, .. }
            | State::Draining { place, .. }
            | State::Stopping { place, .. }
            | State::Lost { place, .. } => Some(&place.worker),
            State::Stopped { worker, .. } => worker.as_ref(),
            State::Failed { worker } => Some(worker),
        }
    }

    /// Whether its life is over.
    pub fn ended(&self) -> bool {
        match self {
            State::Stopped { .. } | State::Failed { .. } | State::Lost { .. } => true,
            State::Pending { .. }
            | State::Placed { .. }
            | State::Draining { .. }
            | State::Stopping { .. } => false,
        }
    }

    /// Whether it counts towards what is asked for: not ended, not about to.
    pub fn stays(&self) -> bool {
        matches!(self, State::Pending { .. } | State::Placed { .. })
    }

    /// Since when it may receive requests; none while it may not.
    pub fn healthy_since(&self) -> Option<Wall> {
        match self {
            State::Placed { run: Run::Running { healthy_since }, restart_by: None, .. } => {
                *healthy_since
            }
            State::Placed { .. }
            | State::Pending { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => None,
        }
    }

    /// The level that its worker should bring it to; none where its worker should not know it.
    pub fn desired(&self) -> Option<Desired> {
        match self {
            State::Placed { .. } | State::Draining { .. } => Some(Desired::Run),
            State::Stopping { .. } => Some(Desired::Stop),
            State::Pending { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => None,
        }
    }
}

impl Instance {
    /// Whether it may receive requests.
    pub fn healthy(&self) -> bool {
        self.state.healthy_since().is_some()
    }

    /// What it waits for, in words.
    pub fn waits_for(&self) -> Option<String> {
        match &self.state {
            State::Pending { waiting: Waiting::Turn } => Some("its placement".to_owned()),
            State::Pending { waiting: Waiting::Backoff { until } } => {
                Some(format!("{until}, because instances of this service keep failing"))
            }
            State::Pending { waiting: Waiting::Room { hint } } => Some(hint.clone()),
            State::Placed { run: Run::Assigned, place, .. } => Some(
                self.observed
                    .waits_for
                    .clone()
                    .unwrap_or_else(|| format!("worker {} to take it up", place.worker)),
            ),
            State::Placed { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => self.observed.waits_for.clone(),
        }
    }

    /// Its last failure, with what this side knows of it.
    pub fn dossier(&self) -> Option<Failure> {
        let mut failure = self.observed.failure.clone()?;
        if let Some(run) = &mut failure.run {
            run.requests_in_flight = self.observed.requests_cut;
        }
        Some(failure)
    }

    /// Its decision's survey, where it has one.
    pub fn survey(&self) -> Option<&Arc<super::Survey>> {
        self.decision.as_ref().map(|decision| &decision.survey)
    }
}
