//! Where instances are placed and why, and what a loss would come to.

use serde::{Deserialize, Serialize};

use super::{InstanceView, ServiceState};
use crate::id::InstanceId;
use crate::name::{ServiceName, WorkerName};
use crate::time::Wall;

/// A placement and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// When.
    pub at: Wall,
    /// The event that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// The worker that was chosen; none where none would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<WorkerName>,
    /// Every worker's verdict.
    pub verdicts: Vec<VerdictView>,
}

/// What one worker was found to be for an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictView {
    /// Which worker.
    pub worker: WorkerName,
    /// `chosen`, `feasible` or `refused`.
    pub verdict: String,
    /// Why, and what would change it ("needs 40 MiB more free memory").
    pub reason: String,
}

/// `GET /v1/services/{name}/why`: why its instances are where they are, and where one more would
/// go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyView {
    /// The service.
    pub service: ServiceName,
    /// Where it is.
    pub state: ServiceState,
    /// Why it is there, where that needs words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision asked for.
    pub revision: u64,
    /// Instances asked for.
    pub wanted: u32,
    /// Instances that receive requests now.
    pub healthy: u32,
    /// Where one more instance of that revision would go now, with every worker's verdict and what
    /// would change it; none for an external service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<DecisionView>,
    /// Its instances that have not ended, each with its own decision.
    pub instances: Vec<InstanceView>,
}

/// `POST /v1/simulate`: what would come of the loss of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulationView {
    /// Always true: nothing was changed.
    pub simulated: bool,
    /// The workers that would be lost.
    pub lose: Vec<WorkerName>,
    /// Whether every service would have as many instances on workers as are asked for.
    pub fits: bool,
    /// Instances that would be lost, each with where its successor would go.
    pub moves: Vec<MoveView>,
    /// Services that would have fewer instances than are asked for.
    pub short: Vec<ShortView>,
}

/// An instance that would be lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveView {
    /// Of which service.
    pub service: ServiceName,
    /// Which.
    pub instance: InstanceId,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<WorkerName>,
    /// Where its successor would go; none where none would be made, or it would wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<WorkerName>,
    /// What its successor would wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Every worker's verdict on its successor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionView>,
}

/// A service that would have too few instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShortView {
    /// Which.
    pub service: ServiceName,
    /// Instances asked for.
    pub wanted: u32,
    /// Instances that would be on a worker.
    pub placed: u32,
}
