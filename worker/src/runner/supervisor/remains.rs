//! What earlier agents left, at the start of this one: jobs that nobody knows are ended, and what
//! stands beside the others makes up for a lost ledger.
//!
//! Before anything is driven, so nothing of it is this agent's own work. `wiring` calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;
use tucano_worker_core::ledger::InstanceEntry;
use tucano_worker_core::{Job, JobRun, Supervisor};

use super::{Runner, open_lock, try_lock};
use crate::runner::record::{self, ENTRY, LOCK, RUNNING, Running};
use crate::runner::sweep::{Target, sweep};
use crate::runner::{folders, process};

/// How long a job that nobody knows may take to be killed.
const STRANGER_END: Duration = Duration::from_secs(2);

impl Runner {
    /// Ends every job that it finds and nobody knows, and every process that bears the mark of such
    /// a one; then removes what folders of theirs are left.
    pub(crate) fn end_strangers(&self, supervisor: &Supervisor) {
        let known = supervisor.jobs();
        self.end_unknown_jobs(&known);
        let home = |job: &JobRun| self.home_of(&job.job).to_string_lossy().into_owned();
        let (mut homes, mut names) = (BTreeSet::new(), BTreeSet::new());
        homes.extend(known.iter().map(home));
        names.extend(known.iter().map(JobRun::to_string));
        let (instances, builds) = (self.layout.instances(), self.layout.builds());
        let gone = sweep(&Target::Strangers { below: [&instances, &builds], known: &homes });
        if !gone {
            log::warn!("processes of earlier instances could not be ended");
        }
        self.cgroups.sweep(&names);
        for (job, folder) in self.found_jobs() {
            if !known.contains(&job) {
                let _left_for_the_next_agent = folders::remove(&folder);
            }
        }
        folders::remove_strangers(&self.layout, &supervisor.folders());
    }

    fn end_unknown_jobs(&self, known: &[JobRun]) {
        for (job, folder) in self.found_jobs() {
            if known.contains(&job) {
                continue;
            }
            let running: Option<Running> = record::read(&folder.join(RUNNING));
            let holder = self.of_this_boot(running).and_then(|it| process::open(it.holder));
            let lives = open_lock(&folder.join(LOCK), false).is_ok_and(|lock| !try_lock(&lock));
            if let Some(holder) = holder.filter(|_| lives) {
                log::warn!("{job}: nobody knows it any more; it is ended");
                let _gone_meanwhile = process::signal(&holder, Signal::USR1);
                if !process::wait(&holder, STRANGER_END) {
                    let _gone_meanwhile = process::signal(&holder, Signal::KILL);
                }
            }
        }
    }

    /// The entries that stand beside the jobs' files: what a lost ledger is rebuilt from. The
    /// newest run of each instance counts.
    pub(crate) fn found_entries(&self) -> Vec<InstanceEntry> {
        let mut newest: BTreeMap<Job, InstanceEntry> = BTreeMap::new();
        for (job, folder) in self.found_jobs() {
            let Some(entry) = record::read::<InstanceEntry>(&folder.join(ENTRY)) else { continue };
            let known = newest.get(&job.job);
            if job.run == entry.run && known.is_none_or(|known| known.run < entry.run) {
                newest.insert(job.job, entry);
            }
        }
        newest.into_values().collect()
    }
}
