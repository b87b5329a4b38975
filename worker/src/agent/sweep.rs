//! The `sweep` thread's work: removes an instance's or a revision's folder, and outputs that are
//! too old; has the disk looked at.
//!
//! What is too old is `runner::logs`' to say. The files of ended jobs are the runner's own.

use std::collections::BTreeSet;

use tucano_common::id::InstanceId;
use tucano_common::time::Wall;
use tucano_net::error_chain::Chain;
use tucano_worker_core::{Fact, Folder, Job, Layout};

use super::disk_use::{Look, Sizes};
use crate::runner::{folders, logs};

/// Something to remove.
#[derive(Debug)]
pub(crate) enum SweepJob {
    /// A folder, for the supervisor.
    Remove(Folder),
    /// Outputs of instances that are gone.
    Logs {
        /// The ones that are there.
        keep: BTreeSet<InstanceId>,
        /// For ages.
        now: Wall,
    },
    /// Everything is to be measured.
    Disk(Look),
}

/// Does it.
pub(crate) fn run(layout: &Layout, sizes: &mut Sizes, job: SweepJob) -> Option<Fact> {
    match job {
        SweepJob::Disk(look) => Some(Fact::DiskSeen(sizes.look(layout, &look))),
        SweepJob::Remove(folder) => Some(remove(layout, folder)),
        SweepJob::Logs { keep, now } => {
            if let Err(error) = logs::clean(&layout.logs(), &keep, now) {
                log::warn!("old outputs can't be removed: {}", Chain(&error));
            }
            None
        }
    }
}

/// Removes it, and says how it went.
fn remove(layout: &Layout, folder: Folder) -> Fact {
    let paths = match &folder {
        Folder::Instance(id) => vec![layout.instance(*id)],
        Folder::Build(key) => vec![
            layout.build(key),
            layout.build_home(key),
            layout.build_logs(key),
            layout.build_partial(key),
        ],
    };
    let mut failed = None;
    for path in paths {
        if let Err(error) = folders::remove(&path) {
            failed = Some(format!("{}: {}", path.display(), Chain(&error)));
        }
    }
    match failed {
        None => Fact::Removed { folder },
        Some(message) => Fact::RemoveFailed { folder, message },
    }
}

/// Whether a job's files go with a folder.
pub(crate) fn is_of(job: &Job, folder: &Folder) -> bool {
    match (job, folder) {
        (Job::Build(key), Folder::Build(gone)) => key == gone,
        (Job::Runtime(id) | Job::Teardown(id), Folder::Instance(gone)) => id == gone,
        (Job::Build(_), Folder::Instance(_))
        | (Job::Runtime(_) | Job::Teardown(_), Folder::Build(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tucano_common::name::ServiceName;
    use tucano_worker_core::{BuildKey, Cluster};

    use super::*;

    #[test]
    fn a_folder_goes_and_nothing_else_does() {
        let root = std::env::temp_dir().join(format!("tucano-sweep-{}", std::process::id()));
        let layout = Layout::new(&root);
        let (gone, stays) = (InstanceId(7), InstanceId(8));
        for id in [gone, stays] {
            fs::create_dir_all(layout.instance(id).join("deep/er")).unwrap();
            fs::create_dir_all(layout.instance_logs(id)).unwrap();
        }
        let folder = Folder::Instance(gone);
        for _ in ["removes", "does not mind"] {
            let fact = run(&layout, &mut Sizes::default(), SweepJob::Remove(folder.clone()));
            assert_eq!(fact, Some(Fact::Removed { folder: folder.clone() }));
        }
        assert!(!layout.instance(gone).exists() && layout.instance(stays).exists());
        assert!(layout.instance_logs(gone).exists(), "its logs stay");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn jobs_go_with_their_own_folder() {
        let key = |revision| BuildKey {
            cluster: Cluster::new("c").unwrap(),
            service: ServiceName::new("web").unwrap(),
            revision,
        };
        let (one, other) = (InstanceId(1), InstanceId(2));
        for (job, folder, expected) in [
            (Job::Runtime(one), Folder::Instance(one), true),
            (Job::Teardown(one), Folder::Instance(one), true),
            (Job::Runtime(one), Folder::Instance(other), false),
            (Job::Build(key(1)), Folder::Build(key(1)), true),
            (Job::Build(key(1)), Folder::Build(key(2)), false),
            (Job::Build(key(1)), Folder::Instance(one), false),
            (Job::Runtime(one), Folder::Build(key(1)), false),
        ] {
            assert_eq!(is_of(&job, &folder), expected, "{job} {folder:?}");
        }
    }
}
