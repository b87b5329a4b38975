//! What must hold at each start, and always.

use std::collections::BTreeSet;

use tucano_common::wire::worker::RunState;

use super::{World, name};
use crate::effect::{Folder, Launch};
use crate::job::{Job, JobRun};

impl World {
    /// What a start needs.
    pub(super) fn check_start(&self, launch: &Launch) {
        let build = match &launch.job.job {
            Job::Build(key) => key.clone(),
            Job::Runtime(id) | Job::Teardown(id) => {
                let ledger = self.supervisor.ledger();
                let entry = ledger.instances.iter().find(|it| it.id == *id);
                entry.expect("a start of a known instance").build.clone()
            }
        };
        if let Some(user) = launch.user {
            let ledger = self.disk.as_ref().expect("a start waits for the ledger");
            let entry = (build.service.clone(), user);
            assert!(ledger.users.contains(&entry), "{entry:?} is given and not written down");
        }
        let folder = name(&Folder::Build(build));
        assert!(self.folders.contains(&folder), "{}: {folder} isn't there", launch.job);
        let same = self.processes.keys().filter(|job| shares_place(&job.job, &launch.job.job));
        let same: Vec<&JobRun> = same.collect();
        assert!(same.is_empty(), "{} starts beside {same:?}", launch.job);
    }

    /// What always holds.
    pub(super) fn check(&self) {
        let mut ports = BTreeSet::new();
        let mut builds = 0;
        for (job, running) in &self.processes {
            if let Some(port) = running.port {
                assert!(ports.insert(port), "port {port} is used twice: {:?}", self.processes);
            }
            builds += usize::from(matches!(job.job, Job::Build(_)));
        }
        assert!(builds <= 1, "one build at a time");
        for report in self.supervisor.reports() {
            let running = report.state == RunState::Running;
            assert!(!report.healthy || running, "healthy and {:?}", report.state);
            assert!(report.state != RunState::Failed || report.failure.is_some(), "{report:?}");
        }
    }
}

/// Whether two jobs must never run at the same time.
fn shares_place(one: &Job, other: &Job) -> bool {
    let instance = |job: &Job| match job {
        Job::Build(_) => None,
        Job::Runtime(id) | Job::Teardown(id) => Some(*id),
    };
    match (one, other) {
        (Job::Build(_), Job::Build(_)) => true,
        _ => instance(one).is_some() && instance(one) == instance(other),
    }
}
