//! The routing table: what the balancer needs to know of the cluster, and nothing else.
//!
//! The deployer builds a new one from the committed cluster after every change that matters here,
//! sharing the services that did not change (`Arc`), and hands the same `Arc<RoutingTable>` to
//! every loop. A loop adopts it between two turns, so no request sees half of a change. Weights
//! change every second and travel apart, as [`Weights`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::HealthCheck;
use tucano_common::time::Mono;

/// All routes of the cluster at one instant.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    /// Grows with every table; a loop never adopts an older one.
    pub version: u64,
    /// One entry for each port that the balancer answers on.
    pub ports: Vec<PortRoutes>,
    /// Every service that has a route, by name.
    pub services: Vec<Arc<ServiceRoute>>,
    /// Every worker that an endpoint stands on; endpoints name them by their place here.
    pub workers: Vec<RouteWorker>,
}

/// The hosts of one port.
#[derive(Clone, Debug)]
pub struct PortRoutes {
    /// The port that is listened on (after `--map-port`).
    pub port: u16,
    /// Hosts as the spec has them (`*.` in front: one or more labels), each with the service's
    /// place in `services`.
    pub hosts: Vec<(String, usize)>,
}

/// One service's instances.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRoute {
    /// Its name.
    pub name: ServiceName,
    /// The revision asked for.
    pub revision: u64,
    /// Every instance that receives requests or still answers some.
    pub endpoints: Vec<Endpoint>,
    /// Whether an instance is on its way: then requests that find none ready wait instead of being
    /// refused.
    pub expecting: bool,
    /// How long they wait.
    pub hold: Duration,
    /// Requests in flight an instance, over all loops.
    pub max_in_flight: Option<u32>,
    /// How its addresses are checked from here; none where workers check its instances.
    pub outside_check: Option<OutsideCheck>,
}

/// How the addresses of an external service are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct OutsideCheck {
    /// What, and how often.
    pub check: HealthCheck,
    /// The Host that a `GET` names.
    pub host: String,
}

/// One instance, or one address of an external service.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Which; for an external address an id of its own that stays the same as long as the address.
    pub instance: InstanceId,
    /// Of which revision.
    pub revision: u64,
    /// Where.
    pub address: SocketAddr,
    /// On which worker (a place in [`RoutingTable::workers`]); none for an external address.
    pub worker: Option<u32>,
    /// What may be sent there.
    pub duty: Duty,
    /// Since when it may receive requests, for the slow start.
    pub ready_at: Mono,
}

/// What may be sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Requests.
    Serve,
    /// Requests only where no other will do: its worker is suspect.
    LastResort,
    /// No new ones. The loop reports the endpoint drained once none is in flight on it.
    Drain,
    /// No new ones, and those in flight are lost or to be tried elsewhere: its worker is dead.
    Abandon,
}

/// A worker as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteWorker {
    /// Its name.
    pub name: WorkerName,
}

/// How much of the traffic each worker of a table should get, relative to the others: 100 to 1000,
/// by its free CPU and memory as its agent measured them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// The table that they are for; ignored with another.
    pub table_version: u64,
    /// In the order of [`RoutingTable::workers`].
    pub by_worker: Vec<u16>,
}
