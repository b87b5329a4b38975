//! Every message that crosses a thread of the controller, in one place.
//!
//! Shapes only: who sends what to whom is the map in `wiring.rs`. Channels are bounded. A loop
//! (`api`, `worker_mgr`, `lb-N`) only ever `try_send`s; where that fails it says so to its own side
//! (503, or again at the next turn). Replies go by ticket: the one who asks draws it, and nobody
//! else reads a meaning into it.
//!
//! ```text
//! api        ── Ask ────────────────────► deployer   ── Answer ────► api
//! api        ── ToManager::Agent ───────► worker_mgr ── Answer ────► api
//! worker_mgr ── News ───────────────────► deployer   ── ToManager ─► worker_mgr
//! deployer   ── ToLoop (tables, ports) ─► lb-N       ── FromLoop ──► deployer
//! worker_mgr ── ToLoop (weights, Heard) ► lb-N       ── ToManager::Doubt ► worker_mgr
//! main       ── Stop ───────────────────► everybody
//! ```

mod answers;
mod loops;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Digest;
use tucano_common::wire::problem::Problem;
use tucano_common::wire::views::MetricsPoint;
use tucano_common::wire::worker::{Heartbeat, Hello};
use tucano_controller_core::balancer::table::RoutingTable;
use tucano_controller_core::deployer::{Command, Fact, Introduction, WorkerPlan};

pub(crate) use answers::{Answer, Discovered, Document, EventsPage, Gauges, LogTarget, Reply};
pub(crate) use loops::{FromLoop, Keeper, ToLoop};

/// One question's number, drawn by the one who asks; it comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

// --- api → deployer ------------------------------------------------------------------------------

/// What the API sends to the deployer.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A change. Answered once it is on disk; with `wait`, once its deployment ended or the time is
    /// over.
    Command {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What is wanted.
        command: Command,
        /// Only say what would happen; nothing is stored.
        dry_run: bool,
        /// `?wait=`.
        wait: Option<Duration>,
    },
    /// A question. With `block`, answered once its index is past the one given or the time is over.
    Query {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What is asked.
        query: Query,
        /// `?index=N&wait=30s`.
        block: Option<Block>,
    },
    /// An artifact's file is in place: it is entered before its uploader hears of it.
    ArtifactStored {
        /// Comes back with a [`Reply::Done`].
        ticket: Ticket,
        /// Which.
        digest: Digest,
        /// Its size.
        bytes: u64,
    },
    /// Something that belongs into the events and is no change of the cluster (refused logins …).
    /// Not answered.
    Note {
        /// A short name such as `auth_failed`.
        kind: &'static str,
        /// In a sentence, without secrets.
        message: String,
    },
    /// Whoever asked is gone: a question that waits is forgotten. A command is carried out all the
    /// same.
    Cancel(Ticket),
}

impl Ask {
    /// Whether it is answered by way of the disk.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Ask::Command { dry_run, .. } => !dry_run,
            Ask::ArtifactStored { .. } => true,
            Ask::Query { .. } | Ask::Note { .. } | Ask::Cancel(_) => false,
        }
    }
}

/// Until when a question may wait for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// News are what is past this index.
    pub(crate) index: u64,
    /// At most so long ([`tucano_common::limits::WAIT_MAX`]).
    pub(crate) wait: Duration,
}

/// What can be asked. Each has an index of its own that grows when that resource changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// `GET /v1/services`.
    Services,
    /// `GET /v1/services/{name}`.
    Service(ServiceName),
    /// `GET /v1/services/{name}/revisions`.
    Revisions(ServiceName),
    /// `GET /v1/services/{name}/why`.
    Why(ServiceName),
    /// `POST /v1/simulate`: changes nothing.
    Simulate {
        /// The workers that are lost in it.
        lose: Vec<WorkerName>,
    },
    /// `GET /v1/deployments`.
    Deployments,
    /// `GET /v1/deployments/{id}`.
    Deployment(DeploymentId),
    /// `GET /v1/instances`.
    Instances,
    /// `GET /v1/instances/{id}`.
    Instance(InstanceId),
    /// `GET /v1/workers`.
    Workers,
    /// `GET /v1/workers/{name}`.
    Worker(WorkerName),
    /// `GET /v1/workers/{name}/metrics?since=1h`: the points of the last so long.
    WorkerMetrics {
        /// Which.
        worker: WorkerName,
        /// How far back.
        since: Duration,
    },
    /// `GET /v1/events?after=N`: answered with [`Reply::Events`]. The API follows by asking again,
    /// blocking on the last `seq` it got, when its client has taken what there was.
    Events {
        /// Those past this one.
        after: u64,
        /// At most so many ([`tucano_common::limits::EVENTS_PAGE_MAX`] at most).
        limit: usize,
    },
    /// `GET /v1/status`.
    Status,
    /// `GET /v1/discovery/{name}`, `GET /v1/discovery`: answered with [`Reply::Discovery`].
    Discovery(Option<ServiceName>),
    /// Whose output to merge for a service: answered with [`Reply::LogTargets`].
    ServiceLogs(ServiceName),
    /// Where an instance's output is: answered with [`Reply::LogTargets`].
    InstanceLogs(InstanceId),
    /// Numbers for `GET /metrics`: answered with [`Reply::Gauges`].
    Gauges,
}

// --- api → worker_mgr ----------------------------------------------------------------------------

/// What an agent said to the API, for the worker manager, which answers it.
#[derive(Debug)]
pub(crate) enum FromAgent {
    /// `POST /v1/workers`: answered with a document (`HelloAnswer`).
    Hello {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Where the connection came from: the worker's address where it names none.
        peer: IpAddr,
        /// The Host it called us by: its instances reach the balancer under that name too.
        host: String,
        /// What it says.
        hello: Box<Hello>,
    },
    /// `POST /v1/workers/{name}/heartbeat`: answered with a document (`HeartbeatAnswer`).
    Heartbeat {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Whose.
        worker: WorkerName,
        /// What it says.
        heartbeat: Box<Heartbeat>,
    },
    /// `GET /v1/workers/{name}/assignments`: answered with a document (`Assignments`).
    Assignments {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Whose.
        worker: WorkerName,
    },
    /// `DELETE /v1/workers/{name}/session`: answered with [`Reply::Done`].
    Bye {
        /// Comes back with the answer.
        ticket: Ticket,
        /// Whose.
        worker: WorkerName,
        /// `?session=`: a bye of an older session is ignored.
        session: Option<u64>,
    },
}

// --- worker_mgr ⇄ deployer -----------------------------------------------------------------------

/// What the worker manager tells the deployer: only what is news.
#[derive(Debug)]
pub(crate) enum News {
    /// An agent introduced itself and its session was taken: answered with [`ToManager::Welcome`]
    /// once it is on disk.
    Hello {
        /// The agent's request, to be answered by the worker manager.
        ticket: Ticket,
        /// What it said.
        introduction: Box<Introduction>,
    },
    /// Everything of one turn: reports that changed, leases, measurements, notices.
    Facts(Vec<Fact>),
    /// Workers' minutes that are over.
    Minutes(Vec<(WorkerName, MetricsPoint)>),
}

/// What the worker manager hears.
#[derive(Debug)]
pub(crate) enum ToManager {
    /// An agent said something to the API.
    Agent(FromAgent),
    /// What workers should run from now on, committed: all that one commit changed, so that a storm
    /// leaves the inbox to what agents say.
    Plans(Vec<Arc<WorkerPlan>>),
    /// A hello is on disk.
    Welcome {
        /// The agent's request.
        ticket: Ticket,
        /// What its worker should run.
        plan: Arc<WorkerPlan>,
    },
    /// A hello could not be stored.
    HelloFailed {
        /// The agent's request.
        ticket: Ticket,
        /// Why.
        problem: Problem,
    },
    /// The newest routes, for the weights that go with them.
    Table(Arc<RoutingTable>),
    /// A loop of the balancer hears nothing of this host: its agent is to be asked, now.
    Doubt(IpAddr),
    /// An operator removed this worker.
    Forgotten(WorkerName),
    /// What was told since the last commit is lost: tell everything again as it comes.
    Retell,
    /// End the loop.
    Stop,
}

/// The way into one loop of the balancer: a bounded queue and the loop's waker.
#[derive(Clone, Debug)]
pub(crate) struct LoopSender {
    queue: crossbeam_channel::Sender<ToLoop>,
    waker: Arc<mio::Waker>,
}

impl LoopSender {
    /// A sender to the loop that reads the other end of `queue` whenever `waker` wakes it.
    pub(crate) fn new(
        queue: crossbeam_channel::Sender<ToLoop>,
        waker: Arc<mio::Waker>,
    ) -> LoopSender {
        LoopSender { queue, waker }
    }

    /// Sends, and wakes the loop. Never waits; what a full or ended loop does not take comes back.
    pub(crate) fn try_send(&self, message: ToLoop) -> Result<(), ToLoop> {
        self.queue.try_send(message).map_err(|error| error.into_inner())?;
        // Only a closed poll refuses, and then nobody reads any more.
        let _ = self.waker.wake();
        Ok(())
    }
}
