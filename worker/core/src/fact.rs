//! What the shell saw, for [`Supervisor::observe`](crate::Supervisor::observe).
//!
//! Every fact names the job and the run it is about; one that is late (of an earlier run, of an
//! instance that is gone) is named in a [`Note`](crate::Note) and changes nothing. Facts may be
//! lost or doubled only where the text says so.

use tucano_common::id::InstanceId;
use tucano_common::name::ServiceName;

use crate::disk::DiskUse;
use crate::effect::Folder;
use crate::job::{BuildKey, Ending, JobRun, Run, Started};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// After [`Effect::PrepareSource`](crate::Effect::PrepareSource): the revision's folder stands.
    SourceReady {
        /// Of which.
        build: BuildKey,
        /// From the effect.
        attempt: Run,
    },
    /// After [`Effect::PrepareSource`](crate::Effect::PrepareSource): it could not be made.
    SourceFailed {
        /// Of which.
        build: BuildKey,
        /// From the effect.
        attempt: Run,
        /// Why, in one sentence, with what to do.
        message: String,
    },
    /// After [`Effect::Start`](crate::Effect::Start) or [`Effect::Adopt`](crate::Effect::Adopt):
    /// the script runs. May come again for the same run.
    Started {
        /// What.
        job: JobRun,
        /// Its processes.
        started: Started,
    },
    /// After [`Effect::Start`](crate::Effect::Start): it did not come to run; nothing of it is
    /// left.
    StartFailed {
        /// What.
        job: JobRun,
        /// Why, in one sentence, with what to do.
        message: String,
    },
    /// After [`Effect::Start`](crate::Effect::Start): it is started, but some of its limits could
    /// not be set. Told once a job, in a note, and nothing else.
    NotLimited {
        /// What.
        job: JobRun,
        /// Which, and why.
        message: String,
    },
    /// After [`Effect::Start`](crate::Effect::Start): nothing was started, because something else
    /// listens on its port.
    PortTaken {
        /// What.
        job: JobRun,
    },
    /// After [`Effect::Adopt`](crate::Effect::Adopt): its holder lives but has not said yet what it
    /// started; asked again soon.
    NotYet {
        /// What.
        job: JobRun,
    },
    /// After [`Effect::Adopt`](crate::Effect::Adopt): its holder was never started; the agent ended
    /// before that.
    NeverStarted {
        /// What.
        job: JobRun,
    },
    /// The holder is gone and so is everything that it had started (the shell has swept where the
    /// holder could not).
    Ended {
        /// What.
        job: JobRun,
        /// How.
        ending: Ending,
    },
    /// After [`Effect::Probe`](crate::Effect::Probe).
    Probed {
        /// Which instance.
        id: InstanceId,
        /// From the effect.
        run: Run,
        /// Passed, or why not in a few words (`connection refused`, `status 500`, `no answer within
        /// 1s`).
        result: Result<(), String>,
    },
    /// After [`Effect::Probe`](crate::Effect::Probe): this worker could not ask, which says nothing
    /// about the instance.
    NotProbed {
        /// Which instance.
        id: InstanceId,
        /// From the effect.
        run: Run,
        /// What it lacks.
        reason: String,
    },
    /// After [`Effect::Remove`](crate::Effect::Remove): it is gone (or was not there).
    Removed {
        /// What.
        folder: Folder,
    },
    /// After [`Effect::Remove`](crate::Effect::Remove): not all of it went. Told in a note, and
    /// taken as removed: a folder that can't be removed must not keep an instance from ending.
    RemoveFailed {
        /// What.
        folder: Folder,
        /// Why.
        message: String,
    },
    /// The data folder was measured, and what nobody needs removed where it was too much. Told now
    /// and then.
    DiskSeen(DiskUse),
    /// Nothing is left of a service's own folder; told while no instance of it runs.
    DataGone {
        /// Whose.
        service: ServiceName,
    },
    /// After [`Effect::SaveLedger`](crate::Effect::SaveLedger): a later agent finds it.
    LedgerSaved {
        /// From the effect.
        version: u64,
    },
    /// After [`Effect::SaveLedger`](crate::Effect::SaveLedger): it is not. New instances wait; it
    /// is tried again.
    LedgerFailed {
        /// From the effect.
        version: u64,
        /// Why.
        message: String,
    },
}
