//! Why an instance is where it is: every worker's verdict.
//!
//! Instances that are placed together share one survey, so that a thousand workers' verdicts are
//! kept once for a deploy and not once for each of its instances.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_common::units::format_size;

use super::LeaseState;

/// A placement and its reasons.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The worker that was chosen; none where none would do.
    pub chosen: Option<WorkerName>,
    /// What was found; shared by the instances that were placed together.
    pub survey: Arc<Survey>,
}

/// Instances are compared at every report: the same survey, a verdict for each worker, is not read
/// for that.
impl PartialEq for Decision {
    fn eq(&self, other: &Decision) -> bool {
        let same = || Arc::ptr_eq(&self.survey, &other.survey) || self.survey == other.survey;
        self.chosen == other.chosen && same()
    }
}

/// What every worker was found to be for instances of one service, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// Its number, unique in the cluster and growing.
    pub id: u64,
    /// When.
    pub at: Wall,
    /// The event that asked for it.
    pub cause: Option<u64>,
    /// Every worker of the cluster, by name.
    pub verdicts: Vec<Verdict>,
}

/// What one worker was found to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which.
    pub worker: WorkerName,
    /// What.
    #[serde(flatten)]
    pub kind: VerdictKind,
}

/// A worker that would do and how well, or one that would not and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum VerdictKind {
    /// It would do.
    Feasible(Score),
    /// It would not, for each of these reasons.
    Refused {
        /// Never empty.
        reasons: Vec<Refused>,
    },
}

/// What feasible workers are compared by, in this order; the lower the better, except free memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Score {
    /// Its CPUs are overloaded or its processes stalled, and another worker's are clearly not.
    #[serde(default)]
    pub overloaded: bool,
    /// Instances of this service that kept failing there lately.
    pub failures: u32,
    /// Instances of this service there.
    pub same_service: u32,
    /// Those of them that newer ones are about to replace.
    #[serde(default)]
    pub outdated: u32,
    /// Labels in `prefer` that it lacks.
    pub missing_labels: u32,
    /// Memory that is not reserved yet.
    pub free_memory_bytes: u64,
    /// Measured load in percent: the mean of CPU and memory, or the pressure where that is more,
    /// smoothed; none before the first heartbeat.
    pub load_percent: Option<u32>,
    /// Instances on their way there, whose load is not measured yet.
    pub coming: u32,
    /// Instances of any service there.
    pub instances: u32,
}

/// Why a worker would not do, with what would change it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Refused {
    /// Its heartbeats do not come.
    Lease {
        /// Suspect or dead.
        lease: LeaseState,
    },
    /// The operator drains it.
    Draining,
    /// It lacks a label that the spec requires.
    Label {
        /// Which.
        key: String,
        /// With which value.
        wanted: String,
        /// The value that it has, if any.
        found: Option<String>,
    },
    /// It holds as many instances of the service as the spec allows.
    MaxPerWorker {
        /// How many it holds.
        has: u32,
        /// How many may be there.
        max: u32,
    },
    /// The port that the process insists on is taken there.
    FixedPort {
        /// Which.
        port: u16,
    },
    /// Too little memory is left unreserved.
    Memory {
        /// How much more is needed.
        short_bytes: u64,
    },
    /// Too little CPU is left unreserved.
    Cpu {
        /// How much more is needed, in thousandths of a core.
        short_millis: u64,
    },
    /// It is measured to be overloaded.
    Load {
        /// `cpu`, `memory`.
        of: String,
        /// How much, in percent.
        percent: u32,
    },
    /// It holds as many instances as an agent may.
    Full {
        /// How many.
        max: u32,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Lease { lease } => write!(f, "is {}: its agent must be heard", lease.as_str()),
            Refused::Draining => f.write_str("is being drained: activate it"),
            Refused::Label { key, wanted, found: None } => {
                write!(f, "needs the label {key}={wanted}")
            }
            Refused::Label { key, wanted, found: Some(found) } => {
                write!(f, "needs the label {key}={wanted}, has {key}={found}")
            }
            Refused::MaxPerWorker { has, max } => {
                write!(f, "holds {has} of this service, max_per_worker is {max}")
            }
            Refused::FixedPort { port } => write!(f, "needs its port {port} to be free"),
            Refused::Memory { short_bytes } => {
                write!(f, "needs {} more free memory", readable_size(*short_bytes))
            }
            Refused::Cpu { short_millis } => {
                let (whole, part) = (short_millis / 1000, short_millis % 1000);
                write!(f, "needs {whole}.{part:03} more free cores")
            }
            Refused::Load { of, percent } => {
                write!(f, "is overloaded: {of} at {percent} %, must be under 90 %")
            }
            Refused::Full { max } => write!(f, "holds {max} instances, as many as an agent may"),
        }
    }
}

/// A size rounded up to whole MiB where it is that large: for people, not exact.
fn readable_size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < MIB { format_size(bytes) } else { format!("{} MiB", bytes.div_ceil(MIB)) }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = readable_size(self.free_memory_bytes);
        write!(f, "{} of this service, {free} unreserved memory", self.same_service)?;
        if self.outdated > 0 {
            write!(f, ", {} of them about to be replaced", self.outdated)?;
        }
        if let Some(percent) = self.load_percent {
            write!(f, ", load {percent} %")?;
        }
        if self.coming > 0 {
            write!(f, ", {} on their way", self.coming)?;
        }
        if self.missing_labels > 0 {
            write!(f, ", lacks {} preferred labels", self.missing_labels)?;
        }
        if self.overloaded {
            f.write_str(", overloaded: used last")?;
        }
        if self.failures > 0 {
            write!(f, ", failed here {} times lately", self.failures)?;
        }
        Ok(())
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerdictKind::Feasible(score) => score.fmt(f),
            VerdictKind::Refused { reasons } => {
                for (at, reason) in reasons.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { "; " })?;
                    reason.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}
