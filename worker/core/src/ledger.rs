//! What an agent must know again after its end: everything that it should run, and what it knew of
//! what runs.
//!
//! Data only. The shell reads and writes the file (JSON); a ledger of another version than
//! [`VERSION`] is refused there, set aside, and rebuilt from the entries that stand beside the
//! jobs' files.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;
use tucano_common::spec::Spec;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Desired, Failure, Holding};

use crate::job::{BuildKey, Cluster, Run, Started};

/// The version that this code writes and reads.
pub const VERSION: u32 = 1;

/// Read first: whether the rest can be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// See [`VERSION`].
    pub version: u32,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// See [`VERSION`].
    pub version: u32,
    /// The last full assignments that were taken.
    pub holds: Option<Holding>,
    /// TUCANO_BALANCER, as the controller told it last.
    pub balancer_url: String,
    /// Every instance.
    pub instances: Vec<InstanceEntry>,
    /// Every revision's folder.
    pub builds: Vec<BuildEntry>,
    /// Ports that were in use, each with when it was given back.
    pub quarantine: Vec<(u16, Wall)>,
    /// Services' users, where each has a number of its own.
    #[serde(default)]
    pub users: Vec<(ServiceName, u32)>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceEntry {
    /// Which.
    pub id: InstanceId,
    /// Whose.
    pub cluster: Cluster,
    /// The generation of the assignment.
    pub generation: u64,
    /// Of which service.
    pub service: ServiceName,
    /// Of which revision.
    pub revision: u64,
    /// Its content.
    pub spec: Arc<Spec>,
    /// Its level.
    pub desired: Desired,
    /// Whether the controller had ceased to name it.
    #[serde(default)]
    pub unassigned: bool,
    /// The assignment's.
    pub restart_nonce: u32,
    /// Whose folder it works in.
    pub build: BuildKey,
    /// Its step.
    pub step: StepEntry,
    /// Its last start's number.
    pub run: Run,
    /// The nonce of the last restart by hand that was carried out.
    pub restarted_nonce: u32,
    /// Starts so far.
    pub starts: u32,
    /// Whether its runtime ran since the last teardown.
    pub ran: bool,
    /// Failures in a row.
    pub failures_in_row: u32,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Its last failure.
    pub failure: Option<Failure>,
    /// Since when it is where it is.
    pub since: Wall,
}

/// How far an instance is, as far as a new agent must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum StepEntry {
    /// No process: it waits for its build or for its next start.
    Idle,
    /// Its runtime was being started, or runs.
    Runtime {
        /// Its processes, once known.
        started: Option<Started>,
        /// Whether it had been ready.
        ready: bool,
    },
    /// Its process is gone and is not started again; its teardown, if there is any, has not begun.
    Finishing {
        /// How the instance will have ended.
        outcome: Outcome,
    },
    /// Its teardown script was to run, or runs.
    Teardown {
        /// Its processes, once known.
        started: Option<Started>,
        /// How the instance will have ended.
        outcome: Outcome,
    },
    /// It ended and nothing of it runs.
    Over {
        /// How.
        outcome: Outcome,
        /// Whether its folder is gone too.
        removed: bool,
    },
}

/// How an instance ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As asked.
    Stopped,
    /// By itself with exit code 0, where it is not started again.
    Done,
    /// Otherwise; its failure says how.
    Failed,
}

/// One revision's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildEntry {
    /// Whose.
    pub key: BuildKey,
    /// What it was made of.
    pub spec: Arc<Spec>,
    /// The number of the last attempt.
    pub run: Run,
    /// How far it is.
    pub step: BuildStepEntry,
}

/// How far a revision's folder is, as far as a new agent must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum BuildStepEntry {
    /// Not begun, or its source was being fetched: it begins anew.
    Idle,
    /// Its script was being started, or runs.
    Building {
        /// Its processes, once known.
        started: Option<Started>,
    },
    /// Done.
    Ready,
    /// Failed.
    Failed {
        /// How.
        failure: Failure,
    },
}
