//! What goes into the deployer and what comes out of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Spec;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Capacity, InstanceReport, Notice, Usage, WorkerMetrics};

use crate::cluster::{Decision, Deployment, Instance, LeaseState, Load, Revision, Service, Worker};

/// What a deployer is told at its start and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This cluster's id, made with its database.
    pub cluster: String,
    /// For the ids it makes; differs from start to start.
    pub seed: u64,
    /// `--map-port`: a service's `expose_port` and the port of this machine that it is served on.
    pub port_map: Vec<(u16, u16)>,
    /// Whether instances are moved by themselves to workers that come.
    pub rebalance: bool,
}

/// Everything that is stored, in any order.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Every worker.
    pub workers: Vec<Worker>,
    /// Every service.
    pub services: Vec<Service>,
    /// Every kept revision.
    pub revisions: Vec<Revision>,
    /// Every kept deployment.
    pub deployments: Vec<Deployment>,
    /// Every kept instance; the surveys that decisions name may be one `Arc` each or shared.
    pub instances: Vec<Instance>,
    /// The newest event's `seq`, 0 where there is none.
    pub last_event: u64,
}

/// Why stored rows are no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Every contradiction, in a sentence each.
    pub faults: Vec<String>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored cluster contradicts itself: {}", self.faults.join("; "))
    }
}

impl std::error::Error for LoadError {}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A new service, or a new revision of one.
    Deploy {
        /// What it should be.
        spec: Arc<Spec>,
    },
    /// The end of a service.
    Delete {
        /// Which.
        service: ServiceName,
    },
    /// Another number of instances: a new revision.
    Scale {
        /// Of which service.
        service: ServiceName,
        /// How many.
        concurrency: u32,
    },
    /// A rolling restart.
    Restart {
        /// Of which service.
        service: ServiceName,
    },
    /// Back to a revision.
    Rollback {
        /// Of which service.
        service: ServiceName,
        /// Which; none: the last healthy one before the current one.
        revision: Option<u64>,
    },
    /// Holds a deployment where it is: nothing of it is begun or judged, its times stand still.
    PauseDeployment {
        /// Which.
        deployment: DeploymentId,
    },
    /// Lets a paused deployment go on.
    ResumeDeployment {
        /// Which.
        deployment: DeploymentId,
    },
    /// A restart of one instance in place, once its requests in flight are answered.
    RestartInstance {
        /// Which.
        instance: InstanceId,
    },
    /// The end of one instance; another takes its place.
    StopInstance {
        /// Which.
        instance: InstanceId,
    },
    /// Moves a worker's instances away and gives it no new ones.
    DrainWorker {
        /// Which.
        worker: WorkerName,
        /// What has not moved by then is stopped all the same; none:
        /// [`tucano_common::limits::WORKER_DRAIN`].
        deadline: Option<Duration>,
    },
    /// Takes a drained worker back.
    ActivateWorker {
        /// Which.
        worker: WorkerName,
    },
    /// Removes a worker that is dead or empty.
    ForgetWorker {
        /// Which.
        worker: WorkerName,
    },
}

/// A command that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Whether anything changed: the same spec again does not.
    pub changed: bool,
    /// The service it was about.
    pub service: Option<ServiceName>,
    /// The deployment that it began, or the one that already brings (or brought) that very state.
    pub deployment: Option<DeploymentId>,
    /// The instance it was about.
    pub instance: Option<InstanceId>,
    /// The worker it was about.
    pub worker: Option<WorkerName>,
}

/// What a command would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// As the command itself would answer.
    pub accepted: Accepted,
    /// The deployment that it would begin.
    pub deployment: Option<Deployment>,
    /// The instances that would be made in the first step, with their placement.
    pub made: Vec<PreviewInstance>,
    /// The instances that would leave in the first step.
    pub leaving: Vec<InstanceId>,
}

/// An instance that would be made.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewInstance {
    /// As it would be stored. Its id is not the one it will have.
    pub instance: Instance,
    /// Every worker's verdict.
    pub decision: Option<Decision>,
}

/// What would come of the loss of workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulation {
    /// Every instance that would be lost and is to be replaced, by service, oldest first.
    pub moves: Vec<Move>,
    /// Services that would have fewer instances on workers than are asked for: asked for, and
    /// placed.
    pub short: Vec<(ServiceName, u32, u32)>,
}

/// An instance that would be lost, and the one that would take its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// As it is now.
    pub lost: Instance,
    /// As it would be stored, with every worker's verdict; its id is not the one it will have. None
    /// where none would be made.
    pub successor: Option<Instance>,
}

/// Something that was observed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A worker introduced itself. The worker manager answers its hello after the plan that comes
    /// of this.
    Hello(Box<Introduction>),
    /// A worker's lease changed (to [`LeaseState::Ready`] from dead only ever by a hello).
    Lease {
        /// Whose.
        worker: WorkerName,
        /// To what.
        lease: LeaseState,
    },
    /// A worker's instances: all that it has.
    Reports {
        /// Whose.
        worker: WorkerName,
        /// The generation of this cluster's assignments that it held when it said so; none where it
        /// held none.
        holds: Option<u64>,
        /// All of them.
        instances: Vec<InstanceReport>,
    },
    /// A worker's newest measurement. Not stored.
    Measured {
        /// Whose.
        worker: WorkerName,
        /// The machine.
        metrics: Box<WorkerMetrics>,
        /// The same, smoothed; none before its first measurement.
        load: Option<Load>,
        /// Its instances.
        usage: BTreeMap<InstanceId, Usage>,
    },
    /// A worker's notice.
    Notice {
        /// Whose.
        worker: WorkerName,
        /// What.
        notice: Notice,
    },
    /// No loop of the balancer has a request in flight on this endpoint, nor will have.
    Drained {
        /// Which.
        instance: InstanceId,
    },
    /// Connections broke that requests were on: so many of each endpoint.
    Cut {
        /// Of which endpoint, how many.
        requests: Vec<(InstanceId, u32)>,
    },
    /// An address outside the cluster was found well or not. Not stored.
    Outside(OutsideHealth),
}

/// What checks say of an address of an external service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideHealth {
    /// Whose.
    pub service: ServiceName,
    /// Which.
    pub address: SocketAddr,
    /// Well, or why not.
    pub result: Result<(), String>,
}

/// An address of an external service, as `GET /v1/services/{name}` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideAddress {
    /// Its id, the same as long as the address is.
    pub id: InstanceId,
    /// Where.
    pub address: SocketAddr,
    /// Since when its service names it.
    pub named_since: Wall,
    /// Since when it passes its checks, or fails them.
    pub since: Wall,
    /// Why it fails them; none while it passes.
    pub down: Option<String>,
}

/// What a worker says of itself at hello.
#[derive(Clone, Debug, PartialEq)]
pub struct Introduction {
    /// Its identity.
    pub name: WorkerName,
    /// Where its instances are reached.
    pub address: IpAddr,
    /// Its agent's port there; 0 where it has none.
    pub agent_port: u16,
    /// Its agent's version.
    pub version: String,
    /// What it has.
    pub capacity: Capacity,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The generation of this cluster's assignments that it holds; none where it holds none of this
    /// cluster.
    pub holds: Option<u64>,
    /// The instances it still runs.
    pub instances: Vec<InstanceReport>,
}

/// How a service is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHealth {
    /// In a word.
    pub condition: ServiceCondition,
    /// Why, where that needs words.
    pub reason: Option<String>,
    /// Instances that may receive requests now.
    pub healthy: u32,
    /// Instances asked for.
    pub wanted: u32,
}

/// How a service is; the contract's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceCondition {
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

impl ServiceCondition {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceCondition::Deploying => "deploying",
            ServiceCondition::Running => "running",
            ServiceCondition::Degraded => "degraded",
            ServiceCondition::Failed => "failed",
            ServiceCondition::Stopping => "stopping",
        }
    }
}
