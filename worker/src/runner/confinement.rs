//! How a job is kept apart from the rest of the machine: written beside its files before it is
//! started, read by its holder, its shim, and a later agent.
//!
//! What a group can do is `cgroup`'s, what is seen `view`'s. A file that is missing (a job of an
//! older agent's) means that it is not kept apart.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cgroup::Group;
use super::record::{self, CONFINEMENT};
use super::view::View;

/// One job's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Confinement {
    /// What it may take, and how all of it is ended.
    pub(super) group: Group,
    /// What it sees of the file system; none: all of it.
    pub(super) view: Option<View>,
}

/// The control group of the job with this folder, for the monitor.
pub(crate) fn group_of(job: &Path) -> Group {
    Confinement::of(job).group
}

impl Confinement {
    /// Of the job with this folder.
    pub(super) fn of(job: &Path) -> Confinement {
        record::read(&job.join(CONFINEMENT)).unwrap_or_default()
    }

    /// The same, before it is started: its own agent has always written it.
    pub(super) fn for_start(job: &Path) -> Result<Confinement, String> {
        let path = job.join(CONFINEMENT);
        record::read(&path).ok_or_else(|| {
            format!(
                "could not read {}: it is started apart from the others or not at all",
                path.display()
            )
        })
    }

    /// Puts it into the job's folder.
    pub(super) fn write(&self, job: &Path) -> io::Result<()> {
        record::write(&record::create(&job.join(CONFINEMENT))?, self)
    }
}
