//! What the deployer and the worker manager answer the API.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_common::wire::problem::Problem;
use tucano_common::wire::worker::{Usage, WorkerMetrics};

use super::Ticket;

/// The answer to a ticket. Every ticket is answered exactly once, except cancelled ones (at most
/// once).
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whose.
    pub(crate) ticket: Ticket,
    /// A problem is sent as it is, with its status.
    pub(crate) result: Result<Reply, Problem>,
}

/// A good answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// JSON to be sent as it is.
    Document(Document),
    /// Carried out; there is nothing to say about it.
    Done,
    /// `GET /v1/events`.
    Events(EventsPage),
    /// Whose output to fetch, and where.
    LogTargets(Vec<LogTarget>),
    /// The healthy addresses of services.
    Discovery {
        /// One a service with a route, by name.
        services: Vec<Discovered>,
        /// For `X-Tucano-Index`.
        index: u64,
    },
    /// For `GET /metrics`.
    Gauges(Box<Gauges>),
}

/// JSON to be sent as it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// 200, 202, 424.
    pub(crate) status: u16,
    /// For `X-Tucano-Index`; none where the answer is to a command that changed nothing.
    pub(crate) index: Option<u64>,
    /// For `Location`.
    pub(crate) location: Option<String>,
    /// The JSON, without a newline at the end.
    pub(crate) body: Vec<u8>,
}

impl Document {
    /// What this value is as JSON.
    pub(crate) fn new(status: u16, body: &impl Serialize) -> Document {
        // Views are maps with text keys: writing them can't fail, and an empty body would show it.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Document { status, index: None, location: None, body }
    }

    /// The same with its resource's index.
    pub(crate) fn index(mut self, index: u64) -> Document {
        self.index = Some(index);
        self
    }

    /// The same with the place of what it is about.
    pub(crate) fn location(mut self, location: String) -> Document {
        self.location = Some(location);
        self
    }
}

/// Some events, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventsPage {
    /// NDJSON: each an `EventView` and a newline.
    pub(crate) lines: Vec<u8>,
    /// The last event in `lines`; what was asked for as `after` where there is none.
    pub(crate) last: u64,
    /// The newest event that there is, for `X-Tucano-Index`: more are to be had while `last` is
    /// below it.
    pub(crate) newest: u64,
}

/// Where an instance's output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogTarget {
    /// Whose output.
    pub(crate) instance: InstanceId,
    /// Of which service.
    pub(crate) service: ServiceName,
    /// On which worker.
    pub(crate) worker: WorkerName,
    /// Its agent's API; none where the controller can't reach it (dead, or it has none).
    pub(crate) agent: Option<SocketAddr>,
    /// Whether it has ended for good: nothing will follow.
    pub(crate) ended: bool,
}

/// The healthy addresses of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// Its name.
    pub(crate) service: ServiceName,
    /// The revision asked for.
    pub(crate) revision: u64,
    /// Its healthy instances' addresses.
    pub(crate) addresses: Vec<(InstanceId, SocketAddr, Option<WorkerName>)>,
}

/// Numbers of the cluster, for `GET /metrics`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gauges {
    /// Instances by service and state.
    pub(crate) instances: Vec<(ServiceName, &'static str, u64)>,
    /// Services by state.
    pub(crate) services: Vec<(&'static str, u64)>,
    /// Workers by state.
    pub(crate) workers: Vec<(&'static str, u64)>,
    /// Deployments that ended since the start of the process, by their end.
    pub(crate) deployments: Vec<(&'static str, u64)>,
    /// The newest event.
    pub(crate) last_event: u64,
    /// The database with its log, in bytes.
    pub(crate) database_bytes: u64,
    /// Transactions since the start of the process.
    pub(crate) commits: u64,
    /// Of them failed.
    pub(crate) commit_failures: u64,
    /// Time spent in them.
    pub(crate) commit_time: Duration,
    /// When each worker was last heard of.
    pub(crate) last_seen: Vec<(WorkerName, Wall)>,
    /// The machines as they were measured last.
    pub(crate) machines: Vec<(WorkerName, WorkerMetrics)>,
    /// What each instance that lives uses, and its starts in place.
    pub(crate) usage: Vec<(ServiceName, InstanceId, Usage, u32)>,
}
