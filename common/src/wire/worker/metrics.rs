//! A machine, measured.

use serde::{Deserialize, Serialize};

/// A machine as its agent measured it. What its kernel does not tell is left out, and never 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerMetrics {
    /// Busy share of all CPUs over the last sample, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ratio: Option<f32>,
    /// The same of each CPU.
    pub cpu_each: Vec<f32>,
    /// Share of time waiting for disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iowait_ratio: Option<f32>,
    /// Share of time taken by the hypervisor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal_ratio: Option<f32>,
    /// All memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// What could be used without swapping (MemAvailable).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_available_bytes: Option<u64>,
    /// All swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_total_bytes: Option<u64>,
    /// Free swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_free_bytes: Option<u64>,
    /// Load averages over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f32; 3]>,
    /// Pressure stall, share of the last 10 s in which some task waited for CPU, memory, I/O; none
    /// where the kernel does not tell.
    pub pressure: Option<Pressure>,
    /// The file system of the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_total_bytes: Option<u64>,
    /// Free there, for the agent's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// What builds, artifacts and outputs hold of it; none before it was looked at.
    pub disk_held_bytes: Option<u64>,
    /// The most that they may hold.
    pub disk_held_bytes_max: Option<u64>,
    /// Files (inodes) that the data folder's file system has room for; 0 where it has no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_total: Option<u64>,
    /// Free of them, for the agent's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<u64>,
    /// The hottest of the machine's sensors, in degrees Celsius; none where it has none.
    pub temperature_c: Option<f32>,
    /// Whether its CPUs were slowed down for heat (or, on a Raspberry Pi, for want of power) since
    /// the last sample; none where the machine does not tell.
    pub throttled: Option<bool>,
    /// The worker's clock less the controller's, from the last answer; good to half its round trip.
    pub clock_offset_ms: Option<i64>,
    /// Bytes a second in, without loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_in_bytes_per_s: Option<u64>,
    /// Bytes a second out, without loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_out_bytes_per_s: Option<u64>,
    /// Since boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
}

impl WorkerMetrics {
    /// Memory that could not be used without swapping.
    pub fn memory_used_bytes(&self) -> Option<u64> {
        Some(self.memory_total_bytes?.saturating_sub(self.memory_available_bytes?))
    }
}

/// Pressure stall information (PSI), `some avg10`, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// CPU.
    pub cpu: f32,
    /// Memory.
    pub memory: f32,
    /// I/O.
    pub io: f32,
}
