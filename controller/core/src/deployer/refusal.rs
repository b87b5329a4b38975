//! Why a command is not carried out, with what to do instead.

use std::fmt;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};

/// Why a command was refused; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such service.
    UnknownService(ServiceName),
    /// No such revision, or not kept any more.
    UnknownRevision {
        /// Of which service.
        service: ServiceName,
        /// Which.
        revision: u64,
        /// The oldest kept.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
    /// No such instance, or not kept any more.
    UnknownInstance(InstanceId),
    /// No such deployment, or not kept any more.
    UnknownDeployment(DeploymentId),
    /// The deployment has ended.
    DeploymentEnded {
        /// Which.
        deployment: DeploymentId,
        /// Its state's name.
        state: &'static str,
    },
    /// No such worker.
    UnknownWorker(WorkerName),
    /// Another service holds that host on that port.
    HostTaken {
        /// The host.
        host: String,
        /// The service's port as its clients see it.
        port: u16,
        /// Who holds it.
        by: ServiceName,
    },
    /// There is no revision to go back to.
    NothingToRollBackTo(ServiceName),
    /// The service is being ended.
    ServiceEnding(ServiceName),
    /// It has no instances of its own: it is external.
    External(ServiceName),
    /// The instance has ended or is about to.
    InstanceLeaving {
        /// Which.
        instance: InstanceId,
        /// Its state's name.
        state: &'static str,
    },
    /// The worker is neither dead nor empty.
    WorkerBusy {
        /// Which.
        worker: WorkerName,
        /// How many instances it holds.
        instances: u32,
        /// Its lease's name.
        lease: &'static str,
    },
}

/// What kind of refusal it is, for the status that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// What it names is not there.
    NotFound,
    /// It does not fit what is there.
    Conflict,
}

impl Refusal {
    /// Its kind.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Refusal::UnknownService(_)
            | Refusal::UnknownInstance(_)
            | Refusal::UnknownDeployment(_)
            | Refusal::UnknownWorker(_) => RefusalKind::NotFound,
            Refusal::UnknownRevision { .. }
            | Refusal::HostTaken { .. }
            | Refusal::DeploymentEnded { .. }
            | Refusal::NothingToRollBackTo(_)
            | Refusal::ServiceEnding(_)
            | Refusal::External(_)
            | Refusal::InstanceLeaving { .. }
            | Refusal::WorkerBusy { .. } => RefusalKind::Conflict,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownService(name) => {
                write!(f, "there is no service {name}: GET /v1/services lists them")
            }
            Refusal::UnknownRevision { service, revision, oldest, newest } => write!(
                f,
                "service {service} has no revision {revision}: {oldest} to {newest} are kept, \
                 GET /v1/services/{service}/revisions lists them"
            ),
            Refusal::UnknownInstance(id) => {
                write!(f, "there is no instance {id}: GET /v1/instances lists them")
            }
            Refusal::UnknownDeployment(id) => {
                write!(f, "there is no deployment {id}: GET /v1/deployments lists them")
            }
            Refusal::DeploymentEnded { deployment, state } => write!(
                f,
                "deployment {deployment} has ended ({state}): only one in progress is paused or \
                 resumed"
            ),
            Refusal::UnknownWorker(name) => {
                write!(f, "there is no worker {name}: GET /v1/workers lists them")
            }
            Refusal::HostTaken { host, port, by } => write!(
                f,
                "host {host} on port {port} belongs to service {by}: name other hosts in \
                 network.hosts, or delete that service"
            ),
            Refusal::NothingToRollBackTo(name) => write!(
                f,
                "service {name} has no earlier revision that was healthy: name one, as in \
                 {{\"revision\": 1}}"
            ),
            Refusal::ServiceEnding(name) => {
                write!(f, "service {name} is being ended: deploy it anew with POST /v1/services")
            }
            Refusal::External(name) => write!(
                f,
                "service {name} is external: it has addresses and no instances; deploy it with \
                 other addresses"
            ),
            Refusal::InstanceLeaving { instance, state } => {
                write!(f, "instance {instance} is {state}: it has ended or is about to")
            }
            Refusal::WorkerBusy { worker, instances, lease } => write!(
                f,
                "worker {worker} is {lease} and holds {instances} instances: drain it first \
                 (POST /v1/workers/{worker}/drain), then stop its agent"
            ),
        }
    }
}

impl std::error::Error for Refusal {}
