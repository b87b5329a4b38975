//! A revision's folder on this worker: its source, then its build script, once for all its
//! instances.
//!
//! ```text
//! Waiting ──▶ Preparing ──▶ Prepared ──▶ Launching ──▶ Building ──▶ Ready
//!    ▲            │            (its turn)     │            │
//!    │            ▼                           ▼            │
//!    │         Failed ◀───────────────────────┴────────────┤ exit code, timeout
//!    │                                                     │ killed, because nobody wants it
//!    └──────── Removing ◀── nobody wants it ── Spoiled ◀───┘
//! ```
//!
//! The desired level is whether an instance wants it. One script runs at a time on a worker;
//! sources are not held up by it.

mod drive;
mod observe;

use std::sync::Arc;

use tucano_common::spec::{Scripts, Spec};
use tucano_common::time::Mono;
use tucano_common::wire::worker::Failure;

pub(crate) use drive::{BuildTurn, Tenants};
pub(crate) use observe::{BuildFact, hint};

use crate::disk::Overfull;
use crate::job::{BuildKey, Job, JobRun, Run, Started};
use crate::ledger::{BuildEntry, BuildStepEntry};

/// One revision's folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Build {
    pub(crate) key: BuildKey,
    pub(crate) spec: Arc<Spec>,
    pub(crate) run: Run,
    pub(crate) step: BuildStep,
    /// What the ledger has of it changed.
    pub(crate) dirty: bool,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BuildStep {
    /// Nothing is there.
    Waiting,
    /// Its source was asked for.
    Preparing,
    /// Its source is there; its script waits for its turn.
    Prepared,
    /// Its script is being started.
    Launching,
    /// An earlier agent started its script.
    Adopting { known: Option<Started>, ask: Ask },
    /// Its script runs.
    Building(Building),
    /// Done.
    Ready,
    /// It went wrong.
    Failed(Failure),
    /// Nobody wants it: removed once the ledger on disk does not call it ready any more, because an
    /// agent that dies in between must not take what is half removed for whole.
    Doomed { version: u64 },
    /// What is there is of no use: it goes before anything else happens. Out of a ledger it may be
    /// of use all the same: the ledger is not written between a build's end and the first start in
    /// it.
    Spoiled,
    /// Its folder is being removed.
    Removing,
    /// Its folder is gone, and nobody wants it: to be forgotten.
    Gone,
}

/// Whether the shell was asked what became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Not before then.
    At(Mono),
    /// It was.
    Asked,
}

/// A build script that runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Building {
    pub(crate) started: Started,
    pub(crate) since: Mono,
    /// It takes too much of the disk.
    pub(crate) outgrown: Option<Overfull>,
    pub(crate) killed: Option<Killed>,
}

/// Why a script was sent SIGKILL, and when it will be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Killed {
    pub(crate) why: KillReason,
    pub(crate) again_at: Mono,
}

/// Why a build was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// It took longer than `build_timeout`.
    Timeout,
    /// It took too much of the disk.
    Disk(Overfull),
    /// Nobody wants it any more.
    Unwanted,
}

impl Build {
    /// One that nobody has begun.
    pub(crate) fn new(key: BuildKey, spec: Arc<Spec>) -> Build {
        Build { key, spec, run: Run(0), step: BuildStep::Waiting, dirty: true }
    }

    /// As an earlier agent left it. What was half done is begun anew.
    pub(crate) fn from_entry(entry: BuildEntry, now: Mono) -> Build {
        let step = match entry.step {
            BuildStepEntry::Idle => BuildStep::Spoiled,
            BuildStepEntry::Building { started } => {
                BuildStep::Adopting { known: started, ask: Ask::At(now) }
            }
            BuildStepEntry::Ready => BuildStep::Ready,
            BuildStepEntry::Failed { failure } => BuildStep::Failed(failure),
        };
        Build { key: entry.key, spec: entry.spec, run: entry.run, step, dirty: false }
    }

    /// For the ledger.
    pub(crate) fn entry(&self) -> BuildEntry {
        let step = match &self.step {
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => BuildStepEntry::Idle,
            BuildStep::Launching => BuildStepEntry::Building { started: None },
            BuildStep::Adopting { known, .. } => BuildStepEntry::Building { started: *known },
            BuildStep::Building(building) => {
                BuildStepEntry::Building { started: Some(building.started) }
            }
            BuildStep::Ready => BuildStepEntry::Ready,
            BuildStep::Failed(failure) => BuildStepEntry::Failed { failure: failure.clone() },
        };
        BuildEntry { key: self.key.clone(), spec: self.spec.clone(), run: self.run, step }
    }

    /// Its current job.
    pub(crate) fn job(&self) -> JobRun {
        JobRun { job: Job::Build(self.key.clone()), run: self.run }
    }

    /// Whether its script occupies the worker's one place for builds.
    pub(crate) fn occupies(&self) -> bool {
        match self.step {
            BuildStep::Launching | BuildStep::Adopting { .. } | BuildStep::Building(_) => true,
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Ready
            | BuildStep::Failed(_)
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => false,
        }
    }

    /// A failed one is begun anew for an instance that comes after the failure.
    pub(crate) fn retry(&mut self) {
        if matches!(self.step, BuildStep::Failed(_)) {
            self.set(BuildStep::Spoiled);
        }
    }

    /// Its script takes too much of the disk: it is ended at the next drive.
    pub(crate) fn outgrow(&mut self, why: Overfull) {
        if let BuildStep::Building(building) = &mut self.step {
            building.outgrown = Some(why);
        }
    }

    /// Whether instances can start in it.
    pub(crate) fn is_ready(&self) -> bool {
        self.step == BuildStep::Ready
    }

    /// Whether its script is at work.
    pub(crate) fn is_building(&self) -> bool {
        self.occupies()
    }

    /// Whether an instance of another revision may work in it: it is there, or on its way.
    pub(crate) fn is_shareable(&self) -> bool {
        match self.step {
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Launching
            | BuildStep::Adopting { .. }
            | BuildStep::Building(_)
            | BuildStep::Ready => true,
            BuildStep::Failed(_)
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => false,
        }
    }

    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.step {
            BuildStep::Failed(failure) => Some(failure),
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Launching
            | BuildStep::Adopting { .. }
            | BuildStep::Building(_)
            | BuildStep::Ready
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => None,
        }
    }

    /// What its instances wait for, in words; none once it is ready.
    pub(crate) fn waits_for(&self) -> Option<&'static str> {
        match &self.step {
            BuildStep::Waiting | BuildStep::Preparing => Some("its source to be fetched"),
            BuildStep::Prepared => Some("the build of another service on this worker to end"),
            BuildStep::Launching | BuildStep::Adopting { .. } | BuildStep::Building(_) => {
                Some("its build script to end")
            }
            BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => Some("what an earlier build left to be removed"),
            BuildStep::Ready | BuildStep::Failed(_) => None,
        }
    }

    fn scripts(&self) -> Option<&Scripts> {
        self.spec.scripts()
    }

    fn set(&mut self, step: BuildStep) {
        self.step = step;
        self.dirty = true;
    }
}

#[cfg(test)]
mod tests;
