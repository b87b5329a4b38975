//! Between the controller and the agents: hello, heartbeat, assignments.
//!
//! Push is for speed, the generation in the heartbeat is for truth. A worker's generation counts
//! the changes of what it should run; a message of an older one is refused on both sides.
//! Heartbeats carry every instance's whole state, so a lost, late or doubled one changes nothing.
//! `cluster` tells apart a controller whose database is another one: an agent never stops instances
//! of a cluster because a different one does not know them.

mod metrics;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::name::{ServiceName, WorkerName};
use crate::spec::Spec;
use crate::time::Wall;

pub use metrics::{Pressure, WorkerMetrics};

/// `POST /v1/workers`: an agent introduces itself, at its start and whenever the controller answers
/// that it does not know the session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The worker's identity.
    pub name: WorkerName,
    /// Where the balancer reaches its instances; absent: the address the connection came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The port of the agent's own API, on `address`; 0 where it has none that the controller can
    /// reach.
    pub agent_port: u16,
    /// Drawn at the agent's start: a second agent under the same name shows by it.
    pub session: u64,
    /// The agent's version.
    pub version: String,
    /// What the machine has.
    pub capacity: Capacity,
    /// `--label`s and the ones that come by themselves.
    pub labels: BTreeMap<String, String>,
    /// The cluster and generation of the last assignments it took; none where it never took any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Holding>,
    /// The instances it still runs.
    pub instances: Vec<InstanceReport>,
}

/// Which assignments an agent holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Whose.
    pub cluster: String,
    /// Which.
    pub generation: u64,
}

/// The answer to hello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HelloAnswer {
    /// Which cluster this is.
    pub cluster: String,
    /// The controller's version.
    pub version: String,
    /// The controller's clock, for the offset.
    pub at: Wall,
    /// The generation of what the worker should run: fetch the assignments if it differs from
    /// yours.
    pub generation: u64,
    /// The balancer's URL, for `TUCANO_BALANCER`.
    pub balancer_url: String,
}

/// What a machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Logical CPUs.
    pub cpus: u32,
    /// All memory, in bytes.
    pub memory_bytes: u64,
}

/// `POST /v1/workers/{name}/heartbeat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// From hello; another one is answered 409, an unknown one 404: say hello again.
    pub session: u64,
    /// Grows by one a heartbeat; an older one than the last is ignored.
    pub seq: u64,
    /// The worker's clock.
    pub at: Wall,
    /// What the worker holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Holding>,
    /// The machine now.
    pub metrics: WorkerMetrics,
    /// Every instance it has, whole.
    pub instances: Vec<InstanceReport>,
    /// What happened that is worth an event and is not an instance's state (cgroups missing, disk
    /// short …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// How many notices of this session went before these: one whose heartbeat's answer got lost is
    /// sent again, and is no other one. Agents that do not say have theirs taken as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices_before: Option<u64>,
}

/// Something an operator should know, told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// When, by the worker's clock.
    pub at: Wall,
    /// A short name such as `cgroup_unavailable`.
    pub kind: String,
    /// What, and what to do.
    pub message: String,
    /// The instance it is about, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// Which cluster this is.
    pub cluster: String,
    /// The generation of what the worker should run.
    pub generation: u64,
    /// The controller's clock, for the offset.
    pub at: Wall,
    /// How many notices of this session it has; none: all that were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices_taken: Option<u64>,
}

/// `GET /v1/workers/{name}/assignments`: all of what a worker should run. What it runs beside them
/// (of this cluster) it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignments {
    /// Whose.
    pub cluster: String,
    /// Which; an older one than the worker holds is refused.
    pub generation: u64,
    /// Everything.
    pub instances: Vec<Assignment>,
}

/// One instance as it should be; also the body of the agent's `PUT /v1/instances/{id}` (wrapped in
/// [`Push`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which instance.
    pub id: InstanceId,
    /// The worker's generation when this assignment last changed.
    pub generation: u64,
    /// Whose.
    pub service: ServiceName,
    /// Of which revision.
    pub revision: u64,
    /// The level it should be brought to.
    pub desired: Desired,
    /// Grows when the process should be replaced in place (a restart asked for by hand).
    #[serde(default)]
    pub restart_nonce: u32,
    /// The revision's content.
    pub spec: std::sync::Arc<Spec>,
}

/// The level an instance should be brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Running.
    Run,
    /// Ended: signal, grace, SIGKILL, teardown. It is left out of the assignments once the worker
    /// reports it ended.
    Stop,
}

/// The body of `PUT /v1/instances/{id}` on the agent: one assignment ahead of the next heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Whose.
    pub cluster: String,
    /// The worker's generation with this change in it.
    pub generation: u64,
    /// The generation right before it: a worker that holds this one holds `generation` after the
    /// push; any other takes the instance, and fetches the rest at its next heartbeat.
    pub previous_generation: u64,
    /// The change.
    pub assignment: Assignment,
}

/// Where an instance is in its life, as its worker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Taken; waits for its build's turn, its artifact, or the end of a backoff.
    Pending,
    /// Its revision is being built on this worker.
    Building,
    /// Its process runs and has not passed its check yet, or waits to be started again.
    Starting,
    /// Its process runs and passed its check.
    Running,
    /// It is being ended.
    Stopping,
    /// It ended as asked (or by itself with exit code 0 where it is not started again); teardown is
    /// done.
    Stopped,
    /// It ended and is not started again.
    Failed,
}

/// An instance as its worker reports it: whole, each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Which.
    pub id: InstanceId,
    /// Whose (for a controller that lost its memory).
    pub service: ServiceName,
    /// Of which revision.
    pub revision: u64,
    /// The generation of the assignment it acts on.
    pub generation: u64,
    /// Where it is.
    pub state: RunState,
    /// Since when, by the worker's clock.
    pub since: Wall,
    /// Whether it passes its health check now: only then it receives requests.
    pub healthy: bool,
    /// The port its process was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When that process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Wall>,
    /// Starts in place after the first.
    #[serde(default)]
    pub restarts: u32,
    /// The nonce of the last restart by hand that it carried out.
    #[serde(default)]
    pub restart_nonce: u32,
    /// Failed starts and failed runs in a row: 0 once it was up for long enough.
    #[serde(default)]
    pub failures_in_row: u32,
    /// Why it failed, last; kept while it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it waits for, in words, where `state` is pending, or starting between two starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What it uses.
    #[serde(default)]
    pub usage: Usage,
}

/// What an instance uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Memory of all its processes, in bytes.
    pub memory_bytes: u64,
    /// The most of it that was sampled.
    #[serde(default)]
    pub memory_peak_bytes: u64,
    /// CPU over the last sample, in cores (0.5: half of one).
    pub cpu_cores: f32,
    /// Its processes.
    pub processes: u32,
    /// Descriptors that they have open, counted now and then; 0 where the agent may not look.
    #[serde(default)]
    pub descriptors: u32,
    /// How long its control group was kept from CPUs that were free, by a quota (a systemd unit's
    /// `CPUQuota=` …), since it was made; none where the kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_ms: Option<u64>,
    /// How much its own tasks waited, looked at now and then; none where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// Why something of an instance failed: what a person needs to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When, by the worker's clock.
    pub at: Wall,
    /// In which step.
    pub step: Step,
    /// How.
    #[serde(flatten)]
    pub cause: Cause,
    /// In one sentence, with what to do where that is known.
    pub message: String,
    /// The last of what the script wrote, at most [`crate::limits::OUTPUT_TAIL_BYTES`]; control
    /// characters escaped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_tail: String,
    /// The run that ended, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunSummary>,
}

/// What a process was, once it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// From its start to its end.
    pub uptime_ms: u64,
    /// The most memory: of all its processes together as sampled, or of the largest single one as
    /// the kernel counted it, whichever is more. 0 where nobody could tell.
    #[serde(default)]
    pub memory_peak_bytes: u64,
    /// Requests of the balancer that it had not answered; known to the controller alone, and to it
    /// only where the worker told of the end at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_in_flight: Option<u32>,
}

/// The step of an instance's life in which something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Getting and unpacking its source.
    Source,
    /// The build script.
    Build,
    /// Starting the runtime script: port, user, limits.
    Start,
    /// The runtime script.
    Runtime,
    /// The health check.
    Health,
    /// The teardown script.
    Teardown,
}

/// How a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// It exited with this code.
    Exit {
        /// 0 to 255.
        exit_code: i32,
    },
    /// A signal ended it.
    Signal {
        /// As in signal(7).
        signal: i32,
    },
    /// The kernel ended it, or a process of it, for its memory.
    Oom {
        /// What it was allowed, in bytes; absent where the machine itself ran out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_limit_bytes: Option<u64>,
        /// The most that it used at a time, in bytes; absent where the kernel does not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_peak_bytes: Option<u64>,
    },
    /// It took too long.
    Timeout,
    /// It ended while nobody could watch: how is not known.
    Unknown,
    /// The worker could not do its part (no space, no port, a bad archive …).
    Worker,
}
