//! Workers and what they measured.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::WorkerState;
use crate::id::InstanceId;
use crate::name::WorkerName;
use crate::time::Wall;
use crate::wire::worker::{Capacity, WorkerMetrics};

/// `GET /v1/workers/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its name.
    pub name: WorkerName,
    /// Where it is.
    pub state: WorkerState,
    /// Where its instances are reached.
    pub address: IpAddr,
    /// Its agent's port there.
    pub agent_port: u16,
    /// Its agent's version.
    pub version: String,
    /// What it has.
    pub capacity: Capacity,
    /// What placement has given away of it.
    pub reserved: ReservedView,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The machine now; none before the first heartbeat after the controller's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<WorkerMetrics>,
    /// Its instances.
    pub instances: Vec<InstanceId>,
    /// The generation of what it should run.
    pub generation: u64,
    /// Its first hello.
    pub joined_at: Wall,
    /// Its last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Wall>,
}

/// What placement has given away of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedView {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// One line of `GET /v1/workers/{name}/metrics`: a minute's averages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsPoint {
    /// The minute's start.
    pub at: Wall,
    /// Busy share of all CPUs.
    pub cpu_ratio: f32,
    /// Used memory (total less available).
    pub memory_used_bytes: u64,
    /// All memory.
    pub memory_total_bytes: u64,
    /// Load average over a minute.
    pub load1: f32,
    /// Free bytes of the data folder's file system.
    pub disk_free_bytes: u64,
    /// Heartbeats in that minute.
    pub samples: u32,
}
