//! A process that does nothing, moved into the groups that this worker would use: some can be made
//! and written and still not be entered (a container's, a delegation that ends above).
//!
//! `place` asks it at the agent's start, once; jobs are never tried out. It goes with its groups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::group::{MEMBERS, remove_empty};

/// What the names of groups of trial begin with; the agent's number follows.
const PROBE: &str = "probe.";

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
        let group = top.join(probe_name(std::process::id()));
        super::place::make(&group).ok()?;
        self.groups.insert(group.clone());
        if let Some(sleeper) = &self.sleeper {
            fs::write(group.join(MEMBERS), sleeper.id().to_string()).ok()?;
        }
        self.groups.get(&group).map(PathBuf::as_path)
    }
}

/// It names the agent that made it: one that is killed meanwhile leaves it behind.
fn probe_name(agent: u32) -> String {
    format!("{PROBE}{agent}")
}

/// Removes what agents left that were killed while they tried: their groups of trial, and the
/// workers' groups that had nothing else. Those of an agent that lives are in use.
pub(super) fn remove_left(base: &Path) {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let ours = |name: &str| name.starts_with(super::TOP);
    for top in folders(base).filter(|it| it.file_name().to_str().is_some_and(ours)) {
        for probe in folders(&top.path()) {
            let name = probe.file_name();
            let agent = name.to_str().and_then(|name| name.strip_prefix(PROBE)?.parse().ok());
            if agent.is_some_and(|agent: u32| !Path::new(&format!("/proc/{agent}")).exists()) {
                let _next_start_tries_again = fs::remove_dir(probe.path());
                let _has_others = fs::remove_dir(top.path());
            }
        }
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
            // Also one that turned out to be of no use, beside a better one.
            if let Some(top) = group.parent() {
                let _jobs_are_in_it = fs::remove_dir(top);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_can_not_be_entered_is_none() {
        let top = std::env::temp_dir().join(format!("tucano-trial-{}", std::process::id()));
        let probe = top.join(probe_name(std::process::id()));
        for (members, enters) in [("other", true), ("cgroup.procs", false)] {
            // A folder where the file of members should be can't be written.
            fs::create_dir_all(probe.join(members)).unwrap();
            let mut trial = Trial::start();
            assert_eq!(trial.enters(&top), enters.then_some(probe.as_path()));
            assert_eq!(trial.enters(&top.join("no/such")), None);
            drop(trial);
            fs::remove_dir_all(&top).unwrap();
        }
    }

    #[test]
    fn what_a_killed_agent_left_goes_and_nothing_else() {
        let base = std::env::temp_dir().join(format!("tucano-left-{}", std::process::id()));
        let mut ended = Command::new("true").spawn().unwrap();
        let gone = ended.id();
        ended.wait().unwrap();
        let lives = probe_name(std::process::id());
        let gone = probe_name(gone);
        let stays = [format!("tucano-1/{lives}"), "tucano-2/runtime.x.1".to_owned()];
        let goes = [format!("tucano-2/{gone}"), format!("tucano-3/{gone}"), "tucano-3".to_owned()];
        let others = format!("other/{gone}");
        for path in stays.iter().chain(&goes).chain([&others]) {
            fs::create_dir_all(base.join(path)).unwrap();
        }
        remove_left(&base);
        assert!(stays.iter().chain([&others]).all(|path| base.join(path).exists()));
        assert!(!goes.iter().any(|path| base.join(path).exists()));
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn nothing_of_it_is_left() {
        let trial = Trial::start();
        let pid = trial.sleeper.as_ref().unwrap().id();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(trial);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        let base = std::env::temp_dir().join(format!("tucano-tried-{}", std::process::id()));
        let (tried, used) = (base.join("tucano-1"), base.join("tucano-2"));
        fs::create_dir_all(&tried).unwrap();
        fs::create_dir_all(used.join("runtime.x.1")).unwrap();
        let mut trial = Trial { sleeper: None, groups: BTreeSet::new() };
        assert!([&tried, &used].into_iter().all(|top| trial.enters(top).is_some()));
        drop(trial);
        assert!(!tried.exists() && fs::read_dir(&used).unwrap().count() == 1);
        fs::remove_dir_all(base).unwrap();
    }
}
