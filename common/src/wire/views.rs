//! What the API answers: one shape a resource, the same in lists and alone. Lists are JSON arrays.
//!
//! The controller fills them in, the `tucano` client and the tests read them. A field without a
//! value is left out.

mod cluster;
mod placement;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::worker::{Failure, Pressure};
use crate::id::{DeploymentId, InstanceId};
use crate::name::{ServiceName, WorkerName};
use crate::spec::Spec;
use crate::time::Wall;

pub use cluster::{ArtifactView, EventView, StatusView};
pub use placement::{DecisionView, MoveView, ShortView, SimulationView, VerdictView, WhyView};
pub use workers::{MetricsPoint, ReservedView, WorkerView};

/// A service's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// A deployment is on its way.
    Deploying,
    /// As many healthy instances as asked for.
    Running,
    /// Fewer.
    Degraded,
    /// Its last deployment failed and nothing of it runs.
    Failed,
    /// It is being ended.
    Stopping,
}

/// A deployment's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Not there yet.
    InProgress,
    /// Every instance of the revision was healthy for long enough.
    Succeeded,
    /// It did not get there, and there was nothing to go back to (or that was not wanted).
    Failed,
    /// It did not get there, and the service went back to its last healthy revision.
    Reverted,
    /// A newer one took its place.
    Superseded,
}

/// An instance's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Not placed, or placed and not taken up yet; `waits_for` says why.
    Pending,
    /// Its revision is being built on its worker.
    Building,
    /// Its process runs and is not ready yet.
    Starting,
    /// Ready once; it receives requests while it is healthy.
    Running,
    /// Out of the rotation; its requests in flight are being answered.
    Draining,
    /// Its process is being ended.
    Stopping,
    /// Ended as asked.
    Stopped,
    /// Ended otherwise; `failure` says how.
    Failed,
    /// Its worker is dead.
    Lost,
}

/// A worker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Takes instances.
    Ready,
    /// Gives its instances away, takes none.
    Draining,
    /// Its heartbeats are late: used last.
    Suspect,
    /// Given up: its instances are replaced.
    Dead,
}

macro_rules! state_text {
    ($($name:ident { $($variant:ident => $text:literal),+ $(,)? })+) => {$(
        impl $name {
            /// Every one.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// Its name, as the JSON has it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// Reads its name.
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    )+};
}

state_text! {
    ServiceState {
        Deploying => "deploying", Running => "running", Degraded => "degraded",
        Failed => "failed", Stopping => "stopping",
    }
    DeploymentState {
        InProgress => "in_progress", Succeeded => "succeeded", Failed => "failed",
        Reverted => "reverted", Superseded => "superseded",
    }
    InstanceState {
        Pending => "pending", Building => "building", Starting => "starting",
        Running => "running", Draining => "draining", Stopping => "stopping",
        Stopped => "stopped", Failed => "failed", Lost => "lost",
    }
    WorkerState {
        Ready => "ready", Draining => "draining", Suspect => "suspect", Dead => "dead",
    }
}

/// `GET /v1/services/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// The service.
    pub name: ServiceName,
    /// Where it is.
    pub state: ServiceState,
    /// Why it is there, where that needs words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision asked for.
    pub revision: u64,
    /// The last revision that a deployment brought up whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_revision: Option<u64>,
    /// Instances asked for.
    pub concurrency: u32,
    /// Instances that receive requests now.
    pub healthy: u32,
    /// Its current or last deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// Where the balancer answers for it: `http://host:port`, one a host.
    pub urls: Vec<String>,
    /// That revision's content.
    pub spec: Arc<Spec>,
    /// Its instances, those that have ended for good left out; of an external one its addresses.
    pub instances: Vec<InstanceView>,
    /// What became of its requests since the controller's start.
    #[serde(default)]
    pub requests: ServiceRequests,
    /// First deployed.
    pub created_at: Wall,
    /// Last changed.
    pub updated_at: Wall,
}

/// `GET /v1/services/{name}/revisions`, one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionView {
    /// Its number.
    pub revision: u64,
    /// When it was accepted.
    pub created_at: Wall,
    /// Whether a deployment brought it up whole once.
    pub was_healthy: bool,
    /// Whether the service is at it now.
    pub current: bool,
    /// Its content.
    pub spec: Arc<Spec>,
}

/// `GET /v1/deployments/{id}`, and what a deploy answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Which.
    pub id: DeploymentId,
    /// Of which service.
    pub service: ServiceName,
    /// To which revision.
    pub revision: u64,
    /// From which, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_revision: Option<u64>,
    /// Where it is.
    pub state: DeploymentState,
    /// What it waits for, or why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The failure that ended it, with the last lines of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The revision that it went back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted_to: Option<u64>,
    /// Instances asked for.
    pub wanted: u32,
    /// Instances of the revision that are healthy.
    pub healthy: u32,
    /// Instances of the revision, each with its state.
    pub instances: Vec<InstanceView>,
    /// Requests that the balancer took for the service meanwhile, and lost; once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestCounts>,
    /// When it began.
    pub created_at: Wall,
    /// Since when it is paused: nothing of it is begun or judged until it is resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Wall>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Wall>,
}

/// What a command with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviewView {
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// Whether anything would change.
    pub changed: bool,
    /// The deployment that it would begin, with its first instances and where each would be placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentView>,
    /// The instances that would leave in its first step.
    pub leaving: Vec<InstanceId>,
}

/// What the balancer took for a service since the controller's start, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRequests {
    /// Taken from clients: all that ended and those in flight.
    pub accepted: u64,
    /// Not ended.
    pub in_flight: u64,
    /// Ended without the answer of the service, through no fault of the client.
    pub lost: u64,
    /// Ended, by cause.
    pub ended: BTreeMap<String, u64>,
}

/// The ledger's sums over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Taken from clients.
    pub accepted: u64,
    /// Ended without the answer of the service, through no fault of the client.
    pub lost: u64,
}

/// `GET /v1/instances/{id}`, and in services and deployments (there without `decision`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Which.
    pub id: InstanceId,
    /// Of which service.
    pub service: ServiceName,
    /// Of which revision.
    pub revision: u64,
    /// On which worker; none while it is not placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    /// Where its process listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Where it is.
    pub state: InstanceState,
    /// Since when.
    pub since: Wall,
    /// Whether it receives requests.
    pub healthy: bool,
    /// Starts in place after the first.
    pub restarts: u32,
    /// Its process, on its worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Memory of all its processes.
    pub memory_bytes: u64,
    /// CPU over the last sample, in cores.
    pub cpu_cores: f32,
    /// The most memory that was sampled of its process of now.
    #[serde(default)]
    pub memory_peak_bytes: u64,
    /// Its processes.
    #[serde(default)]
    pub processes: u32,
    /// Descriptors that they have open, counted now and then.
    #[serde(default)]
    pub descriptors: u32,
    /// How long a quota of its control group kept it from free CPUs, since its process's start;
    /// none where its worker's kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_ms: Option<u64>,
    /// Share of the last 10 s in which some task of it waited; none where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// The instance whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<InstanceId>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Its last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it is where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionView>,
    /// When it was made.
    pub created_at: Wall,
}
