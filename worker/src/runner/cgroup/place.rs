//! Where this worker's control groups may stand: read from `/proc`, tried out by making one.
//!
//! Version 2, in this order: beside the agent's own group where systemd put it into a subgroup of
//! its delegated unit (`DelegateSubgroup=agent`); beside the unit, where an older systemd did not
//! (a unit that has controllers for groups below it could not be started again while they run); at
//! the root. Version 1: below the agent's own group, or at the root. Called by `cgroup` alone, at
//! the agent's start and with the first job.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tucano_worker_core::Priority;

use super::Place;
use super::trial::Trial;

/// What a group is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
    /// No controller: all of a group ended at once.
    Kill,
}

impl Controller {
    /// In `cgroup.controllers`, and in the options of a mount of version 1.
    fn name(self) -> Option<&'static str> {
        match self {
            Controller::Memory => Some("memory"),
            Controller::Cpu => Some("cpu"),
            Controller::Pids => Some("pids"),
            Controller::Kill => None,
        }
    }

    /// A file that a group has by it, in version 2.
    fn file(self) -> &'static str {
        match self {
            Controller::Memory => "memory.max",
            Controller::Cpu => "cpu.weight",
            Controller::Pids => "pids.max",
            Controller::Kill => "cgroup.kill",
        }
    }

    /// The hierarchy of version 1 that does the same.
    fn of_v1(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
            Controller::Pids => "pids",
            Controller::Kill => "freezer",
        }
    }
}

/// The name of the subgroup that the unit asks systemd for.
const OWN_SUBGROUP: &str = "agent";

/// What the kernel says of mounts and of this process's groups.
pub(super) struct System {
    mounts: String,
    own: String,
    /// `/proc/cgroups`: what the kernel was built with, and whether it uses it.
    known: String,
}

impl System {
    pub(super) fn read() -> System {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        System {
            mounts: read("/proc/self/mountinfo"),
            own: read("/proc/self/cgroup"),
            known: read("/proc/cgroups"),
        }
    }

    /// Whether the kernel has a memory controller and was told at its start not to use it.
    pub(super) fn hides_memory(&self) -> bool {
        // name, hierarchy, number of groups, enabled. New kernels leave out version 2's own.
        let memory = self.known.lines().find(|line| line.split('\t').next() == Some("memory"));
        let listed = memory.map(|line| line.split('\t').nth(3) == Some("1"));
        !listed.unwrap_or_else(|| self.has_memory_v2())
    }

    fn has_memory_v2(&self) -> bool {
        let mount = self.mount(|kind, _| kind == "cgroup2");
        let text =
            mount.and_then(|(mount, _)| fs::read_to_string(mount.join("cgroup.controllers")).ok());
        text.is_some_and(|text| text.split_ascii_whitespace().any(|it| it == "memory"))
    }

    /// Where this worker's group can be made for this; it is there afterwards.
    pub(super) fn place(
        &self,
        controller: Controller,
        name: &str,
        trial: &mut Trial,
    ) -> Option<Place> {
        let v2 = self.candidates_v2().into_iter().map(|base| Place::V2(base.join(name)));
        let v1 = self.candidates_v1(controller).into_iter().map(|base| Place::V1(base.join(name)));
        v2.chain(v1).find(|place| offers(place, controller, trial))
    }

    /// Every folder that a worker's group may stand in, each once.
    pub(super) fn bases(&self) -> BTreeSet<PathBuf> {
        let all = [Controller::Memory, Controller::Cpu, Controller::Pids, Controller::Kill];
        let v1 = all.into_iter().flat_map(|controller| self.candidates_v1(controller));
        self.candidates_v2().into_iter().chain(v1).collect()
    }

    fn candidates_v2(&self) -> Vec<PathBuf> {
        let Some((mount, root)) = self.mount(|kind, _| kind == "cgroup2") else {
            return Vec::new();
        };
        let own = self.own(|controllers| controllers.is_empty());
        let own = below(&mount, &root, own.unwrap_or("/"));
        let in_unit = own.file_name().is_some_and(|name| name == OWN_SUBGROUP);
        let is_unit = own.extension().is_some_and(|it| it == "service");
        let beside = own.parent().filter(|_| in_unit || is_unit).map(Path::to_owned);
        beside.into_iter().chain([mount]).collect()
    }

    fn candidates_v1(&self, controller: Controller) -> Vec<PathBuf> {
        let name = controller.of_v1();
        let has = |list: &str| list.split(',').any(|it| it == name);
        let Some((mount, root)) = self.mount(|kind, options| kind == "cgroup" && has(options))
        else {
            return Vec::new();
        };
        let own = self.own(has).unwrap_or("/");
        vec![below(&mount, &root, own), mount]
    }

    /// Mount point and root of the first mount that is right by its type and options.
    fn mount(&self, is_right: impl Fn(&str, &str) -> bool) -> Option<(PathBuf, String)> {
        self.mounts.lines().find_map(|line| {
            let (first, second) = line.split_once(" - ")?;
            let mut second = second.split(' ');
            let (kind, _source, options) = (second.next()?, second.next()?, second.next()?);
            let mut first = first.split(' ').skip(3);
            let (root, point) = (first.next()?, first.next()?);
            is_right(kind, options).then(|| (PathBuf::from(point), root.to_owned()))
        })
    }

    /// This process's group in the hierarchy with these controllers.
    fn own(&self, is_right: impl Fn(&str) -> bool) -> Option<&str> {
        self.own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            is_right(controllers).then_some(path)
        })
    }
}

/// A group's folder. What is mounted may be a part of the hierarchy only, in a container.
fn below(mount: &Path, root: &str, own: &str) -> PathBuf {
    let inside = Path::new(own).strip_prefix(root).unwrap_or(Path::new(""));
    let folder = mount.join(inside);
    if folder.is_dir() { folder } else { mount.to_owned() }
}

/// Tries it out: makes the worker's group, and looks what groups in it would have.
fn offers(top: &Place, controller: Controller, trial: &mut Trial) -> bool {
    if make_top(top, Priority::Normal).is_err() {
        return false;
    }
    let Some(probe) = trial.enters(top.path()) else { return false };
    match top {
        Place::V2(_) => probe.join(controller.file()).exists(),
        Place::V1(_) => true,
    }
}

/// The worker's group for such jobs, by the one for services.
pub(super) fn top(path: &Path, priority: Priority) -> PathBuf {
    match priority {
        Priority::Normal => path.to_owned(),
        Priority::Low => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push("-low");
            path.with_file_name(name)
        }
    }
}

/// Makes the worker's group, if it is not there.
pub(super) fn make_top(top: &Place, priority: Priority) -> io::Result<()> {
    let path = top.path();
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    match top {
        Place::V2(_) => {
            // Each by itself: one that is not there must not keep the others out. The unit's group
            // first, where it is ours: what it does not hand down can't be had below.
            for folder in path.parent().into_iter().chain([path]) {
                for controller in [Controller::Memory, Controller::Cpu, Controller::Pids] {
                    if let Some(name) = controller.name() {
                        let _not_there =
                            fs::write(folder.join("cgroup.subtree_control"), format!("+{name}"));
                    }
                }
            }
        }
        Place::V1(_) => {
            // Before Linux 5.11 a limit counted its own group alone unless it was told.
            let _not_there = fs::write(path.join("memory.use_hierarchy"), "1");
        }
    }
    super::weigh_all(top, priority);
    Ok(())
}

/// Makes a group; one that is there is taken.
pub(super) fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(mounts: &str, own: &str, known: &str) -> System {
        System { mounts: mounts.to_owned(), own: own.to_owned(), known: known.to_owned() }
    }

    #[test]
    fn mounts_and_groups_are_found_by_what_they_control() {
        let system = system(
            "24 1 0:21 / /proc rw - proc proc rw\n\
             30 1 0:26 / /no/such/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             31 1 0:27 /docker/x /no/such/memory rw - cgroup cgroup rw,memory\n\
             32 1 0:28 / /no/such/unified rw - cgroup2 cgroup2 rw,nsdelegate\n",
            "4:cpu,cpuacct:/a\n3:memory:/docker/x/b\n0::/tucano.slice/tucano-worker.service\n",
            "",
        );
        let cpu = system.candidates_v1(Controller::Cpu);
        // Folders that are not there fall back to the mount.
        assert_eq!(cpu, [Path::new("/no/such/cpu"), Path::new("/no/such/cpu")]);
        assert_eq!(system.candidates_v1(Controller::Pids), Vec::<PathBuf>::new());
        assert_eq!(system.own(|it| it == "memory"), Some("/docker/x/b"));
        assert_eq!(system.own(str::is_empty), Some("/tucano.slice/tucano-worker.service"));
        let found = system.mount(|kind, _| kind == "cgroup2");
        assert_eq!(found, Some((PathBuf::from("/no/such/unified"), "/".to_owned())));
    }

    #[test]
    fn groups_stand_beside_a_unit_and_inside_one_with_a_subgroup() {
        let root = std::env::temp_dir().join(format!("tucano-place-{}", std::process::id()));
        fs::create_dir_all(root.join("t.slice/w.service/agent")).unwrap();
        let mounts = format!("32 1 0:28 / {} rw - cgroup2 cgroup2 rw\n", root.display());
        for (own, expected) in [
            ("/t.slice/w.service/agent", vec![root.join("t.slice/w.service"), root.clone()]),
            ("/t.slice/w.service", vec![root.join("t.slice"), root.clone()]),
            ("/t.slice", vec![root.clone()]),
            ("/", vec![root.clone()]),
            ("/gone.service", vec![root.clone()]),
        ] {
            let system = system(&mounts, &format!("0::{own}\n"), "");
            assert_eq!(system.candidates_v2(), expected, "{own}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_memory_controller_that_is_switched_off_is_told_from_one_that_is_not_there() {
        let head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t60\t1\n";
        for (rest, hidden) in
            [("memory\t0\t60\t0\n", true), ("memory\t0\t60\t1\n", false), ("", true)]
        {
            assert_eq!(system("", "", &format!("{head}{rest}")).hides_memory(), hidden, "{rest}");
        }
    }
}
