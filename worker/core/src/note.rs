//! Typed events for the log, the counters and (some of them) the controller's events.
//!
//! Never an environment's values, a script or a token: ids, names, numbers and reasons only.

use std::fmt;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::units::format_duration;

use crate::job::{BuildKey, End, Job, JobRun};

/// Something worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An instance was taken up.
    Taken(InstanceId),
    /// A script runs.
    Started {
        /// What.
        job: JobRun,
        /// The script's shell.
        pid: u32,
    },
    /// A script that ran when the agent ended still runs.
    Adopted {
        /// What.
        job: JobRun,
        /// The script's shell.
        pid: u32,
    },
    /// An instance passed its check for the first time.
    Ready {
        /// Which.
        id: InstanceId,
        /// How long after its process's start.
        after: Duration,
    },
    /// A running instance fails its check.
    Unhealthy {
        /// Which.
        id: InstanceId,
        /// Why.
        reason: String,
    },
    /// It passes again.
    Healthy(InstanceId),
    /// A script ended.
    Ended {
        /// What.
        job: JobRun,
        /// How.
        end: End,
    },
    /// It will be started again.
    RestartIn {
        /// Which.
        id: InstanceId,
        /// In how long.
        delay: Duration,
        /// Failures in a row.
        failures: u32,
    },
    /// Something could not be done; the message says what to do.
    Failed {
        /// Of what.
        job: Job,
        /// Why.
        message: String,
    },
    /// A port that the agent would give out is used by something else.
    PortTaken {
        /// For which instance.
        id: InstanceId,
        /// Which port.
        port: u16,
    },
    /// A script is started without some of its limits: they could not be set.
    NotLimited {
        /// What.
        job: JobRun,
        /// Which, and why.
        message: String,
    },
    /// A process does not end although it was sent SIGKILL (it hangs in the kernel).
    Unkillable(JobRun),
    /// The source of a revision is there.
    SourceReady(BuildKey),
    /// A folder could not be removed.
    NotRemoved {
        /// Which.
        folder: String,
        /// Why.
        message: String,
    },
    /// The ledger could not be written.
    LedgerFailed(String),
    /// It can be written again.
    LedgerBack,
    /// More of the disk is held than may be, after all was removed that nobody needs; or no more.
    DiskHeld {
        /// Which of both.
        is_over: bool,
        /// In builds, artifacts and outputs.
        held_bytes: u64,
        /// So much may be.
        held_bytes_max: u64,
    },
    /// The controller wants nothing of it any more, and it is ended and forgotten.
    Forgotten(InstanceId),
    /// A fact came too late to mean anything.
    Late(String),
}

impl Note {
    /// Whether the controller should hear of it (as a `Notice` in the heartbeat); states it hears
    /// of anyway.
    pub fn is_notice(&self) -> bool {
        match self {
            Note::NotLimited { .. }
            | Note::Unkillable(_)
            | Note::NotRemoved { .. }
            | Note::LedgerFailed(_)
            | Note::LedgerBack
            | Note::DiskHeld { .. }
            | Note::PortTaken { .. } => true,
            Note::Taken(_)
            | Note::Started { .. }
            | Note::Adopted { .. }
            | Note::Ready { .. }
            | Note::Unhealthy { .. }
            | Note::Healthy(_)
            | Note::Ended { .. }
            | Note::RestartIn { .. }
            | Note::Failed { .. }
            | Note::SourceReady(_)
            | Note::Forgotten(_)
            | Note::Late(_) => false,
        }
    }

    /// Whether it is part of an instance's history that the controller would miss if it is away: it
    /// hears of the last state only, and not of what was between.
    pub fn is_history(&self) -> bool {
        match self {
            Note::Ready { .. } | Note::Unhealthy { .. } | Note::Healthy(_) | Note::Ended { .. } => {
                true
            }
            Note::Taken(_)
            | Note::Started { .. }
            | Note::Adopted { .. }
            | Note::RestartIn { .. }
            | Note::Failed { .. }
            | Note::PortTaken { .. }
            | Note::NotLimited { .. }
            | Note::Unkillable(_)
            | Note::SourceReady(_)
            | Note::NotRemoved { .. }
            | Note::LedgerFailed(_)
            | Note::LedgerBack
            | Note::DiskHeld { .. }
            | Note::Forgotten(_)
            | Note::Late(_) => false,
        }
    }

    /// A short name, as `process_unkillable`: the notice's kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Note::Taken(_) => "instance_taken",
            Note::Started { .. } => "process_started",
            Note::Adopted { .. } => "process_adopted",
            Note::Ready { .. } => "instance_ready",
            Note::Unhealthy { .. } => "instance_unhealthy",
            Note::Healthy(_) => "instance_healthy",
            Note::Ended { .. } => "process_ended",
            Note::RestartIn { .. } => "restart_scheduled",
            Note::Failed { .. } => "step_failed",
            Note::PortTaken { .. } => "port_taken",
            Note::NotLimited { .. } => "limits_not_set",
            Note::Unkillable(_) => "process_unkillable",
            Note::SourceReady(_) => "source_ready",
            Note::NotRemoved { .. } => "folder_not_removed",
            Note::LedgerFailed(_) => "ledger_failed",
            Note::LedgerBack => "ledger_back",
            Note::DiskHeld { is_over: true, .. } => "disk_held_too_much",
            Note::DiskHeld { is_over: false, .. } => "disk_held_back",
            Note::Forgotten(_) => "instance_forgotten",
            Note::Late(_) => "late_fact",
        }
    }

    /// The instance it is about, if one.
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            Note::Taken(id)
            | Note::Ready { id, .. }
            | Note::Unhealthy { id, .. }
            | Note::Healthy(id)
            | Note::RestartIn { id, .. }
            | Note::PortTaken { id, .. }
            | Note::Forgotten(id) => Some(*id),
            Note::Started { job, .. }
            | Note::Adopted { job, .. }
            | Note::Ended { job, .. }
            | Note::NotLimited { job, .. }
            | Note::Unkillable(job) => instance_of(&job.job),
            Note::Failed { job, .. } => instance_of(job),
            Note::SourceReady(_)
            | Note::NotRemoved { .. }
            | Note::LedgerFailed(_)
            | Note::LedgerBack
            | Note::DiskHeld { .. }
            | Note::Late(_) => None,
        }
    }
}

fn instance_of(job: &Job) -> Option<InstanceId> {
    match job {
        Job::Build(_) => None,
        Job::Runtime(id) | Job::Teardown(id) => Some(*id),
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Taken(id) => write!(f, "instance {id}: taken up"),
            Note::Started { job, pid } => write!(f, "{job}: started, pid {pid}"),
            Note::Adopted { job, pid } => write!(f, "{job}: still runs, pid {pid}"),
            Note::Ready { id, after } => {
                write!(f, "instance {id}: ready {} after its start", format_duration(*after))
            }
            Note::Unhealthy { id, reason } => write!(f, "instance {id}: unhealthy: {reason}"),
            Note::Healthy(id) => write!(f, "instance {id}: healthy again"),
            Note::Ended { job, end } => write!(f, "{job}: ended with {end}"),
            Note::RestartIn { id, delay, failures } => {
                let delay = format_duration(*delay);
                write!(f, "instance {id}: starts again in {delay}, failures in a row: {failures}")
            }
            Note::Failed { job, message } => write!(f, "{job}: {message}"),
            Note::PortTaken { id, port } => {
                write!(f, "instance {id}: port {port} is taken by another program on this worker")
            }
            Note::NotLimited { job, message } => {
                write!(
                    f,
                    "{job}: runs without some of its limits, which could not be set: {message}"
                )
            }
            Note::Unkillable(job) => {
                write!(f, "{job}: a process hangs in the kernel and does not end by SIGKILL")
            }
            Note::SourceReady(key) => {
                write!(f, "{} revision {}: its source is there", key.service, key.revision)
            }
            Note::NotRemoved { folder, message } => {
                write!(f, "{folder}: not removed: {message}; remove it by hand")
            }
            Note::LedgerFailed(message) => {
                write!(f, "the ledger can't be written: {message}; new instances wait")
            }
            Note::LedgerBack => f.write_str("the ledger can be written again"),
            Note::DiskHeld { is_over: true, held_bytes, held_bytes_max } => write!(
                f,
                "builds, artifacts and logs hold {held_bytes} bytes of the disk, {held_bytes_max} \
                 at most: what is in use is more; builds are ended until services are removed from \
                 this worker, or its data folder has a larger disk"
            ),
            Note::DiskHeld { is_over: false, held_bytes, held_bytes_max } => write!(
                f,
                "builds, artifacts and logs hold {held_bytes} bytes of the disk, no more than the \
                 {held_bytes_max} that they may"
            ),
            Note::Forgotten(id) => write!(f, "instance {id}: ended and forgotten"),
            Note::Late(what) => write!(f, "too late to mean anything: {what}"),
        }
    }
}
