//! A process that does nothing, moved into the groups that this worker would use: some can be made
//! and written and still not be entered (a container's, a delegation that ends above).
//!
//! `place` asks it at the agent's start, once; jobs are never tried out. It goes with its groups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::group::{MEMBERS, remove_empty};

/// The process, and where it was put.
pub(super) struct Trial {
    /// None: nothing can be started now; groups are taken for what they look like.
    sleeper: Option<Child>,
    groups: BTreeSet<PathBuf>,
}

impl Trial {
    /// Starts it: it waits for words that never come.
    pub(super) fn start() -> Trial {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read word"]).env_clear().current_dir("/");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Trial { sleeper: shell.spawn().ok(), groups: BTreeSet::new() }
    }

    /// Makes a group below this one, and whether it could be made and entered. It is removed with
    /// the trial.
    pub(super) fn enters(&mut self, top: &Path) -> Option<&Path> {
        let group = top.join("probe");
        super::place::make(&group).ok()?;
        self.groups.insert(group.clone());
        if let Some(sleeper) = &self.sleeper {
            fs::write(group.join(MEMBERS), sleeper.id().to_string()).ok()?;
        }
        self.groups.get(&group).map(PathBuf::as_path)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(sleeper) = &mut self.sleeper {
            let _gone_already = sleeper.kill();
            let _reaped = sleeper.wait();
        }
        for group in &self.groups {
            let _never_made = remove_empty(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_can_not_be_entered_is_none() {
        let top = std::env::temp_dir().join(format!("tucano-trial-{}", std::process::id()));
        for (members, enters) in [("probe/other", true), ("probe/cgroup.procs", false)] {
            // A folder where the file of members should be can't be written.
            fs::create_dir_all(top.join(members)).unwrap();
            let mut trial = Trial::start();
            assert_eq!(trial.enters(&top), enters.then(|| top.join("probe")).as_deref());
            assert_eq!(trial.enters(&top.join("no/such")), None);
            drop(trial);
            fs::remove_dir_all(&top).unwrap();
        }
    }

    #[test]
    fn nothing_of_it_is_left() {
        let trial = Trial::start();
        let pid = trial.sleeper.as_ref().unwrap().id();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(trial);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
