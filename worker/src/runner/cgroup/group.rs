//! One job's control group: joined by its shim, ended as a whole, asked how it ended, removed.
//!
//! It is written down beside the job's files, so that its holder and a later agent find it. What
//! its limits are is `cgroup`'s.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tucano_common::wire::worker::Pressure;
use tucano_worker_core::{Oom, Priority};

use super::place;
use crate::runner::process;

/// Between two looks at a group that is being ended.
const ROUND: Duration = Duration::from_millis(5);
/// So many looks: two seconds, for a bomb whose thousands of processes have to go.
const ROUNDS: u32 = 400;
/// Looks at an empty group that the kernel calls busy: it is for less than one, as a rule.
const ROUNDS_BUSY: u32 = 20;
/// A group's file with the processes in it; one is moved by its number, written to it.
pub(super) const MEMBERS: &str = "cgroup.procs";
/// The same by threads, in version 1. The kernel moves a thread that moves itself at once; for a
/// process it waits until every core has been through its scheduler, 10 ms as a rule.
const THREADS_V1: &str = "tasks";
/// "No limit" of version 1 is a number; everything from here on means it.
const UNLIMITED: u64 = 1 << 60;

/// A group's folder in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// Of version 2.
    V2(PathBuf),
    /// Of version 1.
    V1(PathBuf),
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        match self {
            Place::V2(path) | Place::V1(path) => path,
        }
    }

    /// This worker's group for such jobs, beside its first one.
    pub(super) fn of(&self, priority: Priority) -> Place {
        match self {
            Place::V2(path) => Place::V2(place::top(path, priority)),
            Place::V1(path) => Place::V1(place::top(path, priority)),
        }
    }

    pub(super) fn below(&self, name: &OsStr) -> Place {
        match self {
            Place::V2(path) => Place::V2(path.join(name)),
            Place::V1(path) => Place::V1(path.join(name)),
        }
    }
}

/// One job's; each field is none where this worker can't have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(super) memory: Option<Place>,
    pub(super) cpu: Option<Place>,
    pub(super) pids: Option<Place>,
    pub(super) kill: Option<Place>,
}

impl Group {
    /// Its folders, each once.
    fn folders(&self) -> Vec<&Path> {
        self.places().into_iter().map(Place::path).collect()
    }

    /// Where it stands, each once.
    fn places(&self) -> Vec<&Place> {
        let mut places = Vec::new();
        for place in [&self.memory, &self.cpu, &self.pids, &self.kill].into_iter().flatten() {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Its folder in version 2, where a process can be born into it.
    pub(crate) fn birthplace(&self) -> Option<&Path> {
        self.places().into_iter().find_map(|place| match place {
            Place::V2(path) => Some(path.as_path()),
            Place::V1(_) => None,
        })
    }

    /// Where the kernel counts the CPU of all services of this worker together; only version 2 does
    /// so with no controller at all.
    pub(crate) fn cpu_of_all(&self) -> Option<PathBuf> {
        Some(self.birthplace()?.parent()?.join("cpu.stat"))
    }

    /// Puts the calling process, which has one thread, into it, with all that it will start; but
    /// not into the folder that it was born in. Where this worker can't have groups there is none
    /// to enter; one that was made has to be entered, or its limits, and the end of all that is in
    /// it, would be words.
    pub(crate) fn join(&self, born_in: Option<&Path>) -> Result<(), String> {
        for place in self.places().into_iter().filter(|place| Some(place.path()) != born_in) {
            let (folder, file) = match place {
                Place::V2(path) => (path, MEMBERS),
                Place::V1(path) => (path, THREADS_V1),
            };
            fs::write(folder.join(file), "0").map_err(|error| {
                format!(
                    "could not enter the control group {}: {error}; start the worker's agent \
                     again, which finds out anew what groups it may use",
                    folder.display()
                )
            })?;
        }
        Ok(())
    }

    /// SIGKILL to everything in it. What forks at this moment may need another call.
    pub(crate) fn kill(&self) {
        match &self.kill {
            Some(Place::V2(path)) if fs::write(path.join("cgroup.kill"), "1").is_ok() => {}
            Some(Place::V1(path)) => {
                // While it is frozen nothing forks; SIGKILL takes effect with the thaw.
                let state = path.join("freezer.state");
                let _as_well_without = fs::write(&state, "FROZEN");
                self.kill_each();
                let _as_well_without = fs::write(&state, "THAWED");
            }
            Some(Place::V2(_)) | None => self.kill_each(),
        }
    }

    fn kill_each(&self) {
        for folder in self.folders() {
            for pid in members(folder) {
                // The number is its own still if it is a member after the descriptor was opened.
                if let Ok(fd) = process::open_number(pid)
                    && members(folder).contains(&pid)
                {
                    let _gone_meanwhile = process::signal(fd, rustix::process::Signal::KILL);
                }
            }
        }
    }

    /// Whether nothing lives in it (or it is not there).
    fn is_empty(&self) -> bool {
        self.folders().iter().all(|folder| members(folder).is_empty())
    }

    /// Removes it where it is empty; the worker's own group goes with the last one.
    pub(crate) fn remove(&self) {
        for folder in self.folders() {
            if remove_empty(folder)
                && let Some(top) = folder.parent()
            {
                let _others_are_there = fs::remove_dir(top);
            }
        }
    }

    /// Ends everything in it and removes it; whether it is gone. Waits, for what nobody watches.
    pub(crate) fn end(&self) -> bool {
        for _ in 0..ROUNDS {
            if self.is_empty() {
                self.remove();
                if !self.folders().iter().any(|folder| folder.exists()) {
                    return true;
                }
            }
            self.kill();
            std::thread::sleep(ROUND);
        }
        false
    }

    /// Whether the kernel ended something of it for its memory, and what is known of that.
    pub(crate) fn oom(&self) -> Option<Oom> {
        let (folder, events, limit) = match self.memory.as_ref()? {
            Place::V2(folder) => (folder, "memory.events", "memory.max"),
            Place::V1(folder) => (folder, "memory.oom_control", "memory.limit_in_bytes"),
        };
        let kills = count(&fs::read_to_string(folder.join(events)).ok()?, "oom_kill")?;
        let limit_bytes = number(&folder.join(limit)).filter(|limit| *limit < UNLIMITED);
        // Before Linux 5.19 version 2 keeps no peak; what was ended for its limit had reached it.
        (kills > 0).then(|| Oom { limit_bytes, peak_bytes: self.peak_bytes().or(limit_bytes) })
    }

    /// The most memory that all of it together had at a time, with the pages of files that it read.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        match self.memory.as_ref()? {
            Place::V2(folder) => number(&folder.join("memory.peak")),
            Place::V1(folder) => number(&folder.join("memory.max_usage_in_bytes")),
        }
    }

    /// How long a quota kept it from CPUs that were free, since it was made; none where the kernel
    /// does not count it.
    pub(crate) fn throttled_ms(&self) -> Option<u64> {
        let (folder, name, a_ms) = match self.cpu.as_ref()? {
            Place::V2(folder) => (folder, "throttled_usec", 1000),
            Place::V1(folder) => (folder, "throttled_time", 1_000_000),
        };
        Some(count(&fs::read_to_string(folder.join("cpu.stat")).ok()?, name)? / a_ms)
    }

    /// How much its tasks waited over the last 10 s. Only version 2 tells it, and there with no
    /// controller at all.
    pub(crate) fn pressure(&self) -> Option<Pressure> {
        let folder = self.birthplace()?;
        let some = |kind: &str| some_avg10(&fs::read_to_string(folder.join(kind)).ok()?);
        Some(Pressure {
            cpu: some("cpu.pressure")?,
            memory: some("memory.pressure")?,
            io: some("io.pressure")?,
        })
    }
}

/// The share of the last 10 s in which some task waited, of a pressure file.
fn some_avg10(text: &str) -> Option<f32> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    Some(percent.parse::<f32>().ok()? / 100.0)
}

/// Removes one group where nobody is in it; whether it is gone. The kernel counts a process as a
/// member for a moment after it was waited for.
pub(super) fn remove_empty(folder: &Path) -> bool {
    for _ in 0..ROUNDS_BUSY {
        match fs::remove_dir(folder) {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::ResourceBusy && members(folder).is_empty() => {
                std::thread::sleep(ROUND);
            }
            Err(_) => return false,
        }
    }
    false
}

/// The processes of a group and of the groups below it, as a service might have made some.
fn members(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join(MEMBERS)).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A file that is one number.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A counter of a file with `name number` lines.
fn count(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let v2 = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(count(v2, "oom_kill"), Some(1));
        assert_eq!(count(v2, "oom"), Some(2));
        assert_eq!(count(v1, "oom_kill"), Some(3));
        assert_eq!(count("", "oom_kill"), None);
    }

    #[test]
    fn pressure_is_what_some_task_waited() {
        let text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=2726\n\
                    full avg10=99.00 avg60=0.00 avg300=0.00 total=2398\n";
        assert_eq!(some_avg10(text), Some(0.125));
        assert_eq!(some_avg10("full avg10=1.00 avg60=0.00\n"), None);
        assert_eq!(Group::default().pressure(), None);
        assert_eq!(Group::default().throttled_ms(), None);
    }

    #[test]
    fn a_group_is_read_back_as_it_was_written() {
        let group = Group {
            memory: Some(Place::V1("/m/a".into())),
            cpu: None,
            pids: Some(Place::V2("/u/a".into())),
            kill: Some(Place::V2("/u/a".into())),
        };
        let text = serde_json::to_string(&group).unwrap();
        assert_eq!(serde_json::from_str::<Group>(&text).unwrap(), group);
        assert_eq!(group.folders().len(), 2, "a folder counts once");
        assert_eq!(serde_json::from_str::<Group>("{}").unwrap(), Group::default());
        assert!(Group::default().end(), "nothing is nothing to end");
    }

    #[test]
    fn a_group_that_can_not_be_entered_is_an_error_that_names_it() {
        assert_eq!(Group::default().join(None), Ok(()), "no group, nothing to enter");
        let gone = PathBuf::from("/no/such/group");
        let group = Group { kill: Some(Place::V2(gone.clone())), ..Group::default() };
        let error = group.join(None).unwrap_err();
        assert!(error.contains("control group /no/such/group: No such file"), "{error}");
        assert_eq!(group.birthplace(), Some(&*gone));
        assert_eq!(group.join(Some(&gone)), Ok(()), "it is in there already");
        let of_v1 = Group { pids: Some(Place::V1("/no/such/v1".into())), ..group };
        assert!(of_v1.join(Some(&gone)).unwrap_err().contains("/no/such/v1: "));
    }
}
