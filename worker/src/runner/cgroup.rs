//! Control groups: which controllers this worker can use, and a group for each job.
//!
//! Version 2 where it is delegated and has the controller, version 1 where it has not, nothing
//! where neither is there or may be written: then [`Cgroups::missing`] says so, once, and services
//! start all the same. All services' groups stand in one group of this worker (named after its data
//! folder), and builds' in another beside it, which has next to no weight: in the first one they
//! would weigh as much as all services where those sleep, against whatever else the machine does.
//! Each is made with the first job's and goes with the last one's. What is done with one
//! job's group is `group`'s; the runner calls both. Where the groups may stand is `place`'s.

mod group;
mod place;
mod trial;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tucano_common::limits::{CPU_WEIGHT_ALL, SERVICE_PROCESSES_MAX};
use tucano_common::spec::Resources;
use tucano_worker_core::{JobRun, Priority};

pub(crate) use group::Group;
pub(super) use group::Place;
use place::{Controller, System};
use trial::Trial;

/// A job's group is made again so often where the worker's own went meanwhile, with its last job.
const TRIES: u32 = 5;

/// What the names of workers' groups begin with.
const TOP: &str = "tucano-";

/// The least that a group can weigh, in version 2 and in version 1.
const LEAST: (u64, u64) = (1, 2);

/// What this worker's control groups can do; by default nothing.
#[derive(Default)]
pub(crate) struct Cgroups {
    memory: Option<Place>,
    cpu: Option<Place>,
    pids: Option<Place>,
    /// Where everything of a group is ended at once.
    kill: Option<Place>,
    missing: Option<String>,
}

impl Cgroups {
    /// Looks what there is for the worker with this data folder.
    pub(crate) fn find(data_dir: &Path) -> Cgroups {
        let system = System::read();
        let name = name_of(data_dir);
        system.bases().iter().for_each(|base| trial::remove_left(base));
        let mut trial = Trial::start();
        let mut place = |controller| system.place(controller, &name, &mut trial);
        let (memory, cpu) = (place(Controller::Memory), place(Controller::Cpu));
        let (pids, kill) = (place(Controller::Pids), place(Controller::Kill));
        drop(trial);
        let mut found = Cgroups { memory, cpu, pids, kill, missing: None };
        found.missing = found.say_what_is_missing(system.hides_memory());
        found.remove_top();
        found
    }

    /// `memory v1, cpu v1, processes v1, kill v2`, for the log.
    pub(crate) fn summary(&self) -> String {
        let all = self.each().map(|(name, place)| match place {
            Some(Place::V2(_)) => format!("{name} v2"),
            Some(Place::V1(_)) => format!("{name} v1"),
            None => format!("{name} none"),
        });
        all.join(", ")
    }

    /// What can't be enforced, and what to do about it.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    fn each(&self) -> [(&'static str, Option<&Place>); 4] {
        [
            ("memory", self.memory.as_ref()),
            ("cpu", self.cpu.as_ref()),
            ("processes", self.pids.as_ref()),
            ("kill", self.kill.as_ref()),
        ]
    }

    fn say_what_is_missing(&self, memory_is_hidden: bool) -> Option<String> {
        let missing: Vec<&str> = self
            .each()
            .iter()
            .filter(|(_, place)| place.is_none())
            .map(|(name, _)| *name)
            .collect();
        if missing.is_empty() {
            return None;
        }
        let what = match missing.as_slice() {
            ["kill"] => "services are ended process by process".to_owned(),
            _ => format!("resources are not enforced here for: {}", missing.join(", ")),
        };
        let why = if memory_is_hidden && missing == ["memory"] {
            // As Raspberry Pi OS ships.
            "the kernel's memory controller is switched off; append cgroup_enable=memory \
             cgroup_memory=1 to the one line of /boot/firmware/cmdline.txt (before Bookworm: \
             /boot/cmdline.txt), and reboot"
        } else if nix::unistd::Uid::effective().is_root() {
            "no control group of this worker may be made and entered; start it by its systemd unit \
             (which has Delegate=yes), or mount /sys/fs/cgroup writable"
        } else {
            "an agent that isn't root needs control groups delegated to it (Delegate=yes in a \
             systemd user unit)"
        };
        Some(format!("{what}: {why}"))
    }

    /// A group for one job, with its limits; what can't be set is left out, and why is told, all
    /// of it in one text.
    pub(crate) fn make(
        &self,
        job: &JobRun,
        resources: &Resources,
        priority: Priority,
    ) -> (Group, Option<String>) {
        let name = job.to_string();
        let mut problems = Vec::new();
        let mut make = |top: &Option<Place>| {
            let top = top.as_ref()?;
            match make_in(&top.of(priority), &name, priority) {
                Ok(place) => Some(place),
                Err(error) => {
                    problems.push(format!("{}: {error}", top.path().display()));
                    None
                }
            }
        };
        let group = Group {
            memory: make(&self.memory),
            cpu: make(&self.cpu),
            pids: make(&self.pids),
            kill: make(&self.kill),
        };
        problems.extend(limit(&group, resources, priority));
        (group, (!problems.is_empty()).then(|| problems.join("; ")))
    }

    /// Ends and removes the groups of jobs that nobody knows; those that are left.
    pub(crate) fn sweep(&self, known: &BTreeSet<String>) {
        for (top, priority) in self.tops() {
            let Ok(entries) = fs::read_dir(top) else { continue };
            let folders = entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
            for entry in folders {
                if entry.file_name().to_str().is_some_and(|name| known.contains(name)) {
                    continue;
                }
                let group = self.of_name(&entry.file_name(), priority);
                if !group.end() {
                    let path = entry.path();
                    log::warn!("{}: what runs in it could not be ended", path.display());
                }
            }
        }
        self.remove_top();
    }

    /// A job's group, whether it is there or not.
    fn of_name(&self, name: &std::ffi::OsStr, priority: Priority) -> Group {
        let of = |top: &Option<Place>| top.as_ref().map(|top| top.of(priority).below(name));
        Group {
            memory: of(&self.memory),
            cpu: of(&self.cpu),
            pids: of(&self.pids),
            kill: of(&self.kill),
        }
    }

    /// This worker's own groups, each once.
    fn tops(&self) -> Vec<(PathBuf, Priority)> {
        let mut all = Vec::new();
        for path in self.each().into_iter().filter_map(|(_, place)| Some(place?.path())) {
            for priority in [Priority::Normal, Priority::Low] {
                let top = (place::top(path, priority), priority);
                if !all.contains(&top) {
                    all.push(top);
                }
            }
        }
        all
    }

    fn remove_top(&self) {
        for (top, _) in self.tops() {
            let _jobs_are_in_it = fs::remove_dir(top);
        }
    }
}

/// After the data folder: two workers of one machine have two.
fn name_of(data_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    // FNV-1a: the name has to be the same in every version of the agent.
    let bytes = data_dir.as_os_str().as_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{TOP}{hash:016x}")
}

/// One job's group in a hierarchy.
fn make_in(top: &Place, name: &str, priority: Priority) -> io::Result<Place> {
    let place = top.below(name.as_ref());
    for _ in 0..TRIES {
        match place::make_top(top, priority).and_then(|()| place::make(place.path())) {
            // The last job went with the worker's group in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            made => return made.map(|()| place),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Sets what a job may take; what could not be set, and why.
fn limit(group: &Group, resources: &Resources, priority: Priority) -> Vec<String> {
    let mut problems = Vec::new();
    let mut set = |path: &Path, file: &str, value: u64| {
        let path = path.join(file);
        if let Err(error) = fs::write(&path, value.to_string()) {
            problems.push(format!("{}: {error}", path.display()));
        }
    };
    // Files that not every kernel has.
    let try_set = |path: &Path, file: &str, value: u64| {
        let _not_there = fs::write(path.join(file), value.to_string());
    };
    if let (Some(place), Some(bytes)) = (&group.memory, resources.memory_bytes) {
        match place {
            Place::V2(path) => {
                set(path, "memory.max", bytes);
                // A limit that swaps instead would make the whole machine slow.
                try_set(path, "memory.swap.max", 0);
            }
            Place::V1(path) => {
                set(path, "memory.limit_in_bytes", bytes);
                try_set(path, "memory.memsw.limit_in_bytes", bytes);
            }
        }
    }
    if let Some(place) = &group.pids {
        let most = resources.pids.map_or(SERVICE_PROCESSES_MAX, u64::from);
        set(place.path(), "pids.max", most);
    }
    if let Some(place) = &group.cpu {
        let low = match priority {
            Priority::Normal => false,
            Priority::Low => true,
        };
        let millis = resources.cpu_millis.map_or(1000, u64::from);
        match place {
            Place::V2(path) => {
                let weight = if low { LEAST.0 } else { (millis / 10).clamp(1, 10_000) };
                set(path, "cpu.weight", weight);
            }
            Place::V1(path) => {
                let shares = if low { LEAST.1 } else { (millis * 1024 / 1000).clamp(2, 262_144) };
                set(path, "cpu.shares", shares);
            }
        }
        if low {
            try_set(place.path(), "cpu.idle", 1);
        }
    }
    problems
}

/// All services together weigh more than one program beside them; builds run where nobody else
/// would.
fn weigh_all(top: &Place, priority: Priority) {
    let (weight, shares) = match priority {
        Priority::Normal => (CPU_WEIGHT_ALL, CPU_WEIGHT_ALL * 1024 / 100),
        Priority::Low => LEAST,
    };
    let set = |file: &str, value: u64| {
        let _best_effort = fs::write(top.path().join(file), value.to_string());
    };
    match top {
        Place::V2(_) => set("cpu.weight", weight),
        Place::V1(_) => set("cpu.shares", shares),
    }
    match priority {
        Priority::Normal => {}
        Priority::Low => set("cpu.idle", 1),
    }
}

#[cfg(test)]
mod tests;
