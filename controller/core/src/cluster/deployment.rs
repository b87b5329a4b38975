//! A deployment's record.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tucano_common::id::DeploymentId;
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;
use tucano_common::wire::worker::Failure;

/// One attempt to bring a service to a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// Of which service.
    pub service: ServiceName,
    /// To which revision.
    pub revision: u64,
    /// From which, if there was one.
    pub from_revision: Option<u64>,
    /// What asked for it.
    pub kind: DeploymentKind,
    /// Instances asked for.
    pub wanted: u32,
    /// Where it is.
    pub status: DeploymentStatus,
    /// When it began.
    pub created_at: Wall,
    /// The event of its beginning: the cause of what it does.
    pub event: u64,
}

/// What asked for a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// A spec.
    Deploy,
    /// Another number of instances.
    Scale,
    /// A rolling restart.
    Restart,
    /// An older revision.
    Rollback,
}

/// Where a deployment is; what belongs to its end stands with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeploymentStatus {
    /// Not there yet.
    InProgress {
        /// It fails where it is not there by then.
        deadline: Wall,
    },
    /// Not there yet, and held where it is until somebody resumes it: its times stand still.
    Paused {
        /// Since when, on the clock that deadlines are kept in.
        since: Wall,
        /// What was left of its time.
        left: Duration,
    },
    /// Every instance was healthy for long enough.
    Succeeded {
        /// When.
        at: Wall,
    },
    /// It did not get there, and there was nothing to go back to (or that was not wanted).
    Failed {
        /// When.
        at: Wall,
        /// In a sentence.
        reason: String,
        /// The failure that ended it, with the last lines of output.
        failure: Option<Failure>,
    },
    /// It did not get there, and the service went back.
    Reverted {
        /// When.
        at: Wall,
        /// In a sentence.
        reason: String,
        /// The failure that ended it.
        failure: Option<Failure>,
        /// The revision that it went back to.
        to: u64,
    },
    /// A newer one took its place, or the service was deleted.
    Superseded {
        /// When.
        at: Wall,
        /// The newer one; none where the service was deleted.
        by: Option<DeploymentId>,
    },
}

impl DeploymentStatus {
    /// The state's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            DeploymentStatus::InProgress { .. } => "in_progress",
            DeploymentStatus::Paused { .. } => "paused",
            DeploymentStatus::Succeeded { .. } => "succeeded",
            DeploymentStatus::Failed { .. } => "failed",
            DeploymentStatus::Reverted { .. } => "reverted",
            DeploymentStatus::Superseded { .. } => "superseded",
        }
    }

    /// When it ended; none while it is in progress, paused or not.
    pub fn ended_at(&self) -> Option<Wall> {
        match self {
            DeploymentStatus::InProgress { .. } | DeploymentStatus::Paused { .. } => None,
            DeploymentStatus::Succeeded { at }
            | DeploymentStatus::Failed { at, .. }
            | DeploymentStatus::Reverted { at, .. }
            | DeploymentStatus::Superseded { at, .. } => Some(*at),
        }
    }
}
