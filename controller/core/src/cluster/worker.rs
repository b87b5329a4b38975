//! A worker's record, and what is known of it only while its heartbeats come.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tucano_common::id::InstanceId;
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Capacity, Usage, WorkerMetrics};

/// A machine with the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its identity.
    pub name: WorkerName,
    /// Where its instances are reached.
    pub address: IpAddr,
    /// Its agent's port there; 0 where the controller can't reach it.
    pub agent_port: u16,
    /// Its agent's version.
    pub version: String,
    /// What it has.
    pub capacity: Capacity,
    /// `--label`s and the ones that come by themselves.
    pub labels: BTreeMap<String, String>,
    /// Whether the operator lets it take instances.
    pub admission: Admission,
    /// What its heartbeats say of it.
    pub lease: LeaseState,
    /// Counts the transactions that changed what it should run.
    pub generation: u64,
    /// Its first hello.
    pub joined_at: Wall,
    /// When it was last heard of, as of the last change of its lease; the newest is in [`Live`].
    pub last_seen: Wall,
}

/// Whether the operator lets a worker take instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "admission", rename_all = "snake_case")]
pub enum Admission {
    /// It does.
    Open,
    /// Its instances move away.
    Draining {
        /// When that was asked for.
        since: Wall,
        /// What has not moved by then is stopped all the same.
        deadline: Wall,
    },
}

/// What a worker's heartbeats say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// They come.
    Ready,
    /// They are late: used last, given nothing new.
    Suspect,
    /// Given up: its instances are lost and replaced.
    Dead,
}

impl LeaseState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            LeaseState::Ready => "ready",
            LeaseState::Suspect => "suspect",
            LeaseState::Dead => "dead",
        }
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<LeaseState> {
        [LeaseState::Ready, LeaseState::Suspect, LeaseState::Dead]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// What is known of a worker only while its heartbeats come; never stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// The machine as it was last measured.
    pub metrics: WorkerMetrics,
    /// What placement makes of it; none before the first heartbeat.
    pub load: Option<Load>,
    /// What its instances use.
    pub usage: BTreeMap<InstanceId, Usage>,
    /// When that was.
    pub measured_at: Wall,
}

/// A machine's load, smoothed, so that one busy second moves nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Busy share of all CPUs, 0 to 1.
    pub cpu: f32,
    /// Used share of the memory, 0 to 1.
    pub memory: f32,
    /// Share of time in which tasks waited for CPU, memory or disks (the largest of the three), 0
    /// to 1.
    pub pressure: f32,
}

/// What placement has given away of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Instances.
    pub instances: u32,
    /// Of them not healthy (yet): what they will use is not measured.
    pub coming: u32,
}
