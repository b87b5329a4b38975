//! A machine, measured.

use serde::{Deserialize, Serialize};

/// A machine as its agent measured it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerMetrics {
    /// Busy share of all CPUs over the last sample, 0 to 1.
    pub cpu_ratio: f32,
    /// The same of each CPU.
    pub cpu_each: Vec<f32>,
    /// Share of time waiting for disks.
    pub iowait_ratio: f32,
    /// Share of time taken by the hypervisor.
    pub steal_ratio: f32,
    /// All memory.
    pub memory_total_bytes: u64,
    /// What could be used without swapping (MemAvailable).
    pub memory_available_bytes: u64,
    /// All swap.
    pub swap_total_bytes: u64,
    /// Free swap.
    pub swap_free_bytes: u64,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f32; 3],
    /// Pressure stall, share of the last 10 s in which some task waited for CPU, memory, I/O; none
    /// where the kernel does not tell.
    pub pressure: Option<Pressure>,
    /// The file system of the data folder.
    pub disk_total_bytes: u64,
    /// Free there, for the agent's user.
    pub disk_free_bytes: u64,
    /// What builds, artifacts and outputs hold of it; none before it was looked at.
    pub disk_held_bytes: Option<u64>,
    /// The most that they may hold.
    pub disk_held_bytes_max: Option<u64>,
    /// Files (inodes) that the data folder's file system has room for; 0 where it has no bound.
    pub inodes_total: u64,
    /// Free of them, for the agent's user.
    pub inodes_free: u64,
    /// The hottest of the machine's sensors, in degrees Celsius; none where it has none.
    pub temperature_c: Option<f32>,
    /// Whether its CPUs were slowed down for heat (or, on a Raspberry Pi, for want of power) since
    /// the last sample; none where the machine does not tell.
    pub throttled: Option<bool>,
    /// The worker's clock less the controller's, from the last answer; good to half its round trip.
    pub clock_offset_ms: Option<i64>,
    /// Bytes a second in, without loopback.
    pub network_in_bytes_per_s: u64,
    /// Bytes a second out, without loopback.
    pub network_out_bytes_per_s: u64,
    /// Since boot.
    pub uptime_s: u64,
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
