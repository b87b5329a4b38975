//! A service's record and its revisions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tucano_common::id::DeploymentId;
use tucano_common::name::ServiceName;
use tucano_common::spec::Spec;
use tucano_common::time::Wall;

use super::Instance;

/// A named unit of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The revision asked for. A rollback and a revert set it to an older one.
    pub revision: u64,
    /// The largest revision ever given: the next one is larger.
    pub last_revision: u64,
    /// Counts the rolling restarts; an instance of an older count is replaced.
    pub restart_epoch: u32,
    /// The last revision that a deployment brought up whole.
    pub healthy_revision: Option<u64>,
    /// What the deployer does about it.
    pub phase: Phase,
    /// Its current or last deployment.
    pub deployment: DeploymentId,
    /// First deployed.
    pub created_at: Wall,
    /// Last changed by a command.
    pub updated_at: Wall,
}

impl Service {
    /// Whether an instance is of the revision and the restart that are asked for.
    pub fn has_as_current(&self, instance: &Instance) -> bool {
        instance.revision == self.revision && instance.restart_epoch == self.restart_epoch
    }
}

/// What the deployer does about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its deployment is in progress: brings the revision up, and judges it.
    Deploying,
    /// Keeps the revision up.
    Settled,
    /// The last deployment failed and there was nothing to go back to: keeps what runs, replaces
    /// what is lost, starts nothing else until the next command.
    Failed,
    /// Ends everything; the service goes with its last instance.
    Ending,
}

impl Phase {
    /// Every phase with its name.
    pub const ALL: [(Phase, &'static str); 4] = [
        (Phase::Deploying, "deploying"),
        (Phase::Settled, "settled"),
        (Phase::Failed, "failed"),
        (Phase::Ending, "ending"),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(each, _)| *each == self).map_or("", |(_, name)| name)
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Phase> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(phase, _)| *phase)
    }
}

/// One accepted content of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Whose.
    pub service: ServiceName,
    /// Which: 1, 2, 3 …
    pub number: u64,
    /// Its content.
    pub spec: Arc<Spec>,
    /// When it was accepted.
    pub created_at: Wall,
    /// When a deployment first brought it up whole; none where none did.
    pub healthy_at: Option<Wall>,
}
