//! What is to be done, from [`Supervisor::drive`](crate::Supervisor::drive), in this order. The
//! shell decides nothing: it carries out each effect and tells how it went with the
//! [`Fact`](crate::Fact) that the effect names.
//!
//! An effect is not repeated while its answer is outstanding, so an answer must not be lost; after
//! a restart of the agent the supervisor asks again for everything by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::spec::{EnvValue, Resources, Source, Stop};

use crate::job::{BuildKey, JobRun, Run, Started};
use crate::ledger::InstanceEntry;
use crate::note::Note;

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make the revision's folder anew from its source (download, verify, unpack or copy; an empty
    /// one for [`Source::Empty`]), owned by the services' user, put in place by a rename. Answer:
    /// `SourceReady`, `SourceFailed`.
    PrepareSource {
        /// Of which; [`Layout::build`](crate::Layout::build) is its place.
        build: BuildKey,
        /// For the answer.
        attempt: Run,
        /// From what.
        source: Source,
        /// As in [`Launch::user`].
        user: Option<u32>,
    },
    /// Check the port, make the folders, start a holder. Answer: `Started`, `StartFailed` or
    /// `PortTaken`; then `Ended`.
    Start(Box<Launch>),
    /// Find out what became of a job that ran when the agent ended, and watch it again. Answer:
    /// `Started`, `NotYet`, `NeverStarted`, or `Ended`.
    Adopt {
        /// What.
        job: JobRun,
        /// Its processes, as the ledger knew them; the holder's own record goes first.
        known: Option<Started>,
    },
    /// Tell the holder to end the job: send its stop signal to everything it runs, and SIGKILL
    /// after its grace. Answer: `Ended`, in its time.
    SignalStop(JobRun),
    /// Tell the holder to SIGKILL everything now. Answer: `Ended`. May come again for the same run.
    SignalKill(JobRun),
    /// Check an instance's health once. Answer: `Probed`.
    Probe(Probe),
    /// Remove a folder with all that is in it, and the files of its ended jobs. Answer: `Removed`,
    /// `RemoveFailed`.
    Remove(Folder),
    /// Put [`Supervisor::ledger`](crate::Supervisor::ledger) on disk (temporary file, fsync,
    /// rename, fsync of the folder). Answer: `LedgerSaved`, `LedgerFailed`. At most one is
    /// outstanding.
    SaveLedger {
        /// For the answer.
        version: u64,
    },
    /// Send a heartbeat now: a state changed.
    Report,
    /// Something for the log, and for the controller where [`Note::is_notice`] says so. No answer.
    Note(Note),
}

/// A folder to remove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// An instance's own: [`Layout::instance`](crate::Layout::instance). Its logs stay (24 h).
    Instance(InstanceId),
    /// A revision's: [`Layout::build`](crate::Layout::build), `build_home`, `build_logs`.
    Build(BuildKey),
}

/// One start of one script.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What, and the how many-th.
    pub job: JobRun,
    /// For `/bin/sh -c`.
    pub script: String,
    /// Its working directory: the revision's folder. It must stand.
    pub folder: PathBuf,
    /// HOME and TMPDIR; made if missing, 0700, owned by the services' user. The mark for the sweep:
    /// each process of the job has `TUCANO_INSTANCE_DIR` with it in its environment.
    pub home: PathBuf,
    /// TUCANO_DATA_DIR; made if missing, owned by the services' user.
    pub data: PathBuf,
    /// Where its output goes; made if missing, the agent's own.
    pub logs: PathBuf,
    /// Its whole environment, sorted by name.
    pub environment: Vec<(String, EnvValue)>,
    /// Where it tells that it is ready (`NOTIFY_SOCKET`), if it does so.
    pub notify: Option<PathBuf>,
    /// Where it will listen: refuse with `PortTaken` if something else does.
    pub address: Option<SocketAddr>,
    /// The signal that asks it to end, and how long it may take.
    pub stop: Stop,
    /// The number that its service has where each has one of its own; none: it has none (all run as
    /// one user, or every number is taken; the shell knows which).
    pub user: Option<u32>,
    /// Builds yield to what serves.
    pub priority: Priority,
    /// Its limits.
    pub resources: Resources,
    /// To be written beside the job's files, so that a lost ledger can be rebuilt from what runs.
    pub entry: Option<Box<InstanceEntry>>,
}

/// How a job stands against others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As other services.
    Normal,
    /// nice 19, idle I/O.
    Low,
}

/// One health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Of which instance.
    pub id: InstanceId,
    /// Of which of its runs; for the answer.
    pub run: Run,
    /// What is asked.
    pub question: Question,
    /// Of the whole check.
    pub timeout: Duration,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A TCP connect.
    Connect(SocketAddr),
    /// `GET path`, `Host: host`: passed by 2xx and 3xx.
    Get {
        /// Where.
        address: SocketAddr,
        /// What.
        path: String,
        /// The `Host` field.
        host: String,
    },
    /// Whether it said by itself that it is ready: its holder wrote it down.
    Notice,
}
