//! What each instance uses: its processes are the ones below its holder.
//!
//! Whatever an instance starts stays below its holder, as the holder takes in what double-forks (it
//! is a subreaper). Who belongs to whom is looked up in the whole of `/proc` only now and then; in
//! between, the known processes alone are read again, through files that stay open. A process that
//! ended in between is simply gone: an open file of it is never another's. While nothing of any
//! instance runs (`quiet`) nothing of them changes, and none of it is read.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::limits::{
    SAMPLES_A_SCAN_MAX, SAMPLES_A_STALL, SAMPLES_A_STALL_IDLE, STAT_FILES_OPEN_MAX,
};
use tucano_common::wire::worker::{Pressure, Usage};
use tucano_worker_core::usage::InstanceCpu;
use tucano_worker_core::{JobRun, Layout, Process, Run};

use super::quiet::{Quiet, Stir};
use crate::runner::{Group, group_of};

/// A line of `/proc/PID/stat` is shorter: 52 numbers of at most 20 digits, and a name of 64 bytes.
const STAT_LINE_BYTES: usize = 2048;

/// One instance's processes.
struct Family {
    id: InstanceId,
    holder: Process,
    /// All that it started, as the kernel counts it.
    group: Group,
    /// Samples since the last look at what the kernel holds back of it.
    unseen_samples: u32,
    /// It ran since that look, or shortly before.
    restless: bool,
    members: Vec<Member>,
    cpu: InstanceCpu,
    /// As sampled last; the descriptors as the latest scan counted.
    usage: Usage,
}

struct Member {
    process: Process,
    /// Its stat, kept open as far as there are descriptors for it.
    stat: Option<File>,
    /// Found by the latest scan: what it used before is not of this sample.
    new: bool,
}

/// All instances' processes.
pub(super) struct Families {
    families: Vec<Family>,
    /// Something of an instance ran since the last scan: it may have started others.
    has_news: bool,
    samples_to_scan: u32,
    /// The next but one: a young instance still starts processes, an old one hardly ever.
    scan_gap: u32,
    reader: StatReader,
    all: Vec<Seen>,
}

/// A process as a scan saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    parent: u32,
    pid: u32,
    start: u64,
}

impl Families {
    pub(super) fn new() -> Families {
        let reader = StatReader::new();
        Families {
            families: Vec::new(),
            has_news: true,
            samples_to_scan: 0,
            scan_gap: 1,
            reader,
            all: Vec::new(),
        }
    }

    /// Which instances there are, each with its holder, in the order of ids.
    pub(super) fn set_targets(&mut self, targets: &[(InstanceId, Run, Process)], layout: &Layout) {
        let same = |family: &Family, target: &(InstanceId, Run, Process)| {
            family.id == target.0 && family.holder == target.2
        };
        let unchanged = targets.len() == self.families.len()
            && self.families.iter().zip(targets).all(|(family, target)| same(family, target));
        if unchanged {
            return;
        }
        let mut earlier = std::mem::take(&mut self.families);
        for target in targets {
            let known = earlier.iter().position(|family| same(family, target));
            self.families.push(match known {
                Some(index) => earlier.swap_remove(index),
                None => Family {
                    id: target.0,
                    holder: target.2,
                    group: group_of(&layout.job(&JobRun::runtime(target.0, target.1))),
                    unseen_samples: SAMPLES_A_STALL_IDLE,
                    restless: true,
                    members: Vec::new(),
                    cpu: InstanceCpu::default(),
                    usage: Usage::default(),
                },
            });
        }
        self.has_news = true;
        self.samples_to_scan = 0;
        self.scan_gap = 1;
    }

    /// What is counted of all of them together.
    pub(super) fn quiet(&self) -> Quiet {
        Quiet::of(self.families.iter().map(|family| &family.group))
    }

    /// Whether there will be nothing to see of them before something of them runs again.
    pub(super) fn are_settled(&self) -> bool {
        !self.has_news && !self.families.iter().any(|family| family.restless || family.waits())
    }

    /// What each instance uses now; what it used of the CPU is of the time that `elapsed`.
    pub(super) fn sample(&mut self, stir: Stir, elapsed: Duration) -> Vec<(InstanceId, Usage)> {
        self.samples_to_scan = self.samples_to_scan.saturating_sub(1);
        self.has_news |= stir == Stir::Ran;
        match stir {
            Stir::Quiet if !self.is_scan_due() => {
                for family in &mut self.families {
                    family.usage.cpu_cores = 0.0;
                    family.look(false);
                }
            }
            Stir::Ran | Stir::Still | Stir::Quiet => self.read(elapsed),
        }
        self.families.iter().map(|family| (family.id, family.usage)).collect()
    }

    fn is_scan_due(&self) -> bool {
        self.samples_to_scan == 0 && self.has_news
    }

    fn read(&mut self, elapsed: Duration) {
        if self.is_scan_due() {
            self.scan();
            self.has_news = false;
            self.samples_to_scan = self.scan_gap;
            self.scan_gap = (self.scan_gap * 2).min(SAMPLES_A_SCAN_MAX);
        }
        let ticks_per_second = procfs::ticks_per_second();
        let page_bytes = procfs::page_size();
        for family in &mut self.families {
            let sum = sum(&mut family.members, &mut self.reader);
            let (all, new) = (sum.ticks, sum.new_ticks);
            let usage = &mut family.usage;
            usage.cpu_cores = family.cpu.cores_in_use(all, new, elapsed, ticks_per_second);
            usage.memory_bytes = sum.pages.saturating_mul(page_bytes);
            usage.memory_peak_bytes = usage.memory_peak_bytes.max(usage.memory_bytes);
            usage.processes = sum.processes;
            family.restless |= usage.cpu_cores > 0.0;
            family.look(true);
        }
    }

    /// Looks through all processes for the ones below each holder.
    fn scan(&mut self) {
        self.all.clear();
        let Ok(entries) = std::fs::read_dir("/proc") else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(stat) = self.reader.open(pid).and_then(|file| self.reader.read(&file)) {
                self.all.push(Seen { parent: stat.parent, pid, start: stat.start });
            }
        }
        self.all.sort_unstable();
        self.find_members();
        for family in &mut self.families {
            family.usage.descriptors =
                family.members.iter().map(|it| descriptors(it.process.pid)).sum();
        }
    }

    fn find_members(&mut self) {
        let mut open = self.families.iter().flat_map(|family| &family.members).count();
        for family in &mut self.families {
            let below = below(&self.all, family.holder);
            let mut known = std::mem::take(&mut family.members);
            for process in below {
                let member = match known.iter().position(|member| member.process == process) {
                    Some(at) => known.swap_remove(at),
                    None => {
                        open += 1;
                        let keep = open <= STAT_FILES_OPEN_MAX;
                        let stat = if keep { self.reader.open(process.pid) } else { None };
                        Member { process, stat, new: true }
                    }
                };
                family.members.push(member);
            }
        }
    }
}

impl Family {
    /// Whether something of it waited when it was looked at.
    fn waits(&self) -> bool {
        self.usage.pressure.is_some_and(|it| it != Pressure::default())
    }

    /// Looks now and then how much the kernel holds it back: it averages over as long. One that
    /// does nothing is not held back, unless it waits: that began while it ran, or at least
    /// `others_run`.
    fn look(&mut self, others_run: bool) {
        self.unseen_samples += 1;
        let due = (self.restless || self.waits()) && self.unseen_samples >= SAMPLES_A_STALL;
        if due || (others_run && self.unseen_samples >= SAMPLES_A_STALL_IDLE) {
            self.usage.throttled_ms = self.group.throttled_ms();
            self.usage.pressure = self.group.pressure();
            self.unseen_samples = 0;
            self.restless = false;
        }
    }
}

/// How many descriptors a process has open. Linux 6.2 tells it as the folder's size.
fn descriptors(pid: u32) -> u32 {
    let folder = format!("/proc/{pid}/fd");
    let told = std::fs::metadata(&folder).map_or(0, |folder| folder.len());
    let count = if told > 0 {
        told
    } else {
        // Also where it may not be looked at: then there are none to be seen.
        std::fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Everything below `holder`, without it. `all` is sorted by parent.
fn below(all: &[Seen], holder: Process) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let holder_lives = all.iter().any(|it| it.pid == holder.pid && it.start == holder.start);
    let mut parents = if holder_lives { vec![holder.pid] } else { Vec::new() };
    while let Some(parent) = parents.pop() {
        let first = all.partition_point(|it| it.parent < parent);
        for child in all[first..].iter().take_while(|it| it.parent == parent) {
            // The list is of many moments: a number used anew could make a circle.
            if child.pid != holder.pid && !found.iter().any(|known| known.pid == child.pid) {
                found.push(Process { pid: child.pid, start: child.start });
                parents.push(child.pid);
            }
        }
    }
    found
}

#[derive(Default)]
struct Sum {
    ticks: u64,
    new_ticks: u64,
    pages: u64,
    processes: u32,
}

/// Reads the members again; the ones that are gone are forgotten.
fn sum(members: &mut Vec<Member>, reader: &mut StatReader) -> Sum {
    let mut sum = Sum::default();
    members.retain_mut(|member| {
        let stat = match &member.stat {
            Some(file) => reader.read(file),
            None => reader.open(member.process.pid).and_then(|file| reader.read(&file)),
        };
        let Some(stat) = stat.filter(|stat| stat.start == member.process.start) else {
            return false;
        };
        sum.ticks += stat.ticks;
        sum.new_ticks += if member.new { stat.ticks } else { 0 };
        sum.pages += stat.pages;
        sum.processes += 1;
        member.new = false;
        true
    });
    sum
}

/// Reads `/proc/PID/stat` without a new buffer each time.
struct StatReader {
    path: String,
    line: [u8; STAT_LINE_BYTES],
}

impl StatReader {
    fn new() -> StatReader {
        StatReader { path: String::new(), line: [0; STAT_LINE_BYTES] }
    }

    fn open(&mut self, pid: u32) -> Option<File> {
        self.path.clear();
        let _a_string_takes_all = write!(self.path, "/proc/{pid}/stat");
        File::open(&self.path).ok()
    }

    /// The kernel gives the whole line at once.
    fn read(&mut self, file: &File) -> Option<Stat> {
        let length = file.read_at(&mut self.line, 0).ok()?;
        Stat::parse(&self.line[..length])
    }
}

/// The few of its fields that are wanted here. `procfs` would make owned values of all 52, which
/// for the processes of fifty instances is most of what a sample costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Its own, and that of the children it has waited for.
    ticks: u64,
    start: u64,
    pages: u64,
}

impl Stat {
    /// proc_pid_stat(5). The name in the second field may hold anything, brackets too: what counts
    /// comes after the last one.
    fn parse(text: &[u8]) -> Option<Stat> {
        let name_end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&text[name_end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // The third field is the first one here.
        let parent = fields.nth(1)?.parse().ok()?;
        let mut next = |skipped: usize| fields.nth(skipped)?.parse::<u64>().ok();
        let (user, system) = (next(9)?, next(0)?);
        // Signed in the kernel; there is no time before its beginning.
        let (waited_user, waited_system) = (next(0)?, next(0)?);
        let ticks = user + system + waited_user + waited_system;
        let (start, pages) = (next(4)?, next(1)?);
        Some(Stat { parent, ticks, start, pages })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn this_process() -> Process {
        let mut reader = StatReader::new();
        let pid = std::process::id();
        Process { pid, start: reader.open(pid).and_then(|file| reader.read(&file)).unwrap().start }
    }

    const SECOND: Duration = Duration::from_secs(1);

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn fields_are_read_as_procfs_reads_them() {
        let text = std::fs::read("/proc/self/stat").unwrap();
        let theirs = <procfs::process::Stat as procfs::FromRead>::from_read(&text[..]).unwrap();
        let ours = Stat::parse(&text).unwrap();
        let waited_for = u64::try_from(theirs.cutime + theirs.cstime).unwrap();
        let expected = Stat {
            parent: u32::try_from(theirs.ppid).unwrap(),
            ticks: theirs.utime + theirs.stime + waited_for,
            start: theirs.starttime,
            pages: theirs.rss,
        };
        assert_eq!(ours, expected);
    }

    #[test]
    fn each_field_is_its_own_and_what_is_cut_off_is_none() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let line = format!("7 (a) Z (1 2) S {}", fields.join(" "));
        let stat = Stat { parent: 4, ticks: 14 + 15 + 16 + 17, start: 22, pages: 24 };
        assert_eq!(Stat::parse(line.as_bytes()), Some(stat));
        let whole = line.find(" 25").unwrap();
        for length in 0..whole - 2 {
            assert_eq!(Stat::parse(&line.as_bytes()[..length]), None, "{length}");
        }
    }

    #[test]
    fn who_is_below_whom() {
        let seen = |parent, pid| Seen { parent, pid, start: u64::from(pid) * 10 };
        let mut all = vec![
            seen(0, 1),
            seen(1, 50),
            seen(50, 51),
            seen(51, 60),
            seen(51, 61),
            seen(60, 7),
            seen(1, 70),
            seen(70, 71),
        ];
        all.sort_unstable();
        let pids = |pid, start| {
            let mut pids: Vec<u32> =
                below(&all, Process { pid, start }).iter().map(|it| it.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(50, 500), [7, 51, 60, 61]);
        assert_eq!(pids(70, 700), [71]);
        assert!(pids(71, 710).is_empty());
        assert!(pids(50, 499).is_empty(), "another process with the holder's number");
        assert!(pids(99, 990).is_empty());
        let circle = [seen(1, 2), seen(2, 1)];
        assert_eq!(below(&circle, Process { pid: 1, start: 10 }).len(), 1);
    }

    /// This process's children, as one instance, and their first sample that has memory: the kernel
    /// adds up what a process holds in pieces, and one that has just begun may have none yet.
    fn own_family() -> (Families, Usage) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut families = Families::new();
            let target = (InstanceId(1), Run(1), this_process());
            families.set_targets(&[target], &Layout::new("/no/such"));
            let first = families.sample(Stir::Ran, SECOND)[0].1;
            if first.memory_bytes > 0 {
                return (families, first);
            }
            assert!(std::time::Instant::now() < deadline, "no memory: {first:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn real_processes_are_found_summed_and_forgotten() {
        let mut families = Families::new();
        assert!(families.sample(Stir::Ran, SECOND).is_empty());
        let busy = "while :; do :; done";
        let child = Killed(Command::new("/bin/sh").args(["-c", busy]).spawn().unwrap());
        let (mut families, first) = own_family();
        assert!(first.processes >= 1 && first.cpu_cores == 0.0);
        assert!(first.descriptors >= 3, "the standard ones at least");
        assert_eq!(descriptors(u32::MAX), 0);
        // The kernel's clock ticks in hundredths: until the busy one has used some, there is
        // nothing to see.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            if families.sample(Stir::Ran, SECOND)[0].1.cpu_cores > 0.0 {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "its CPU time never showed");
            std::thread::yield_now();
        }
        let pid = child.0.id();
        assert!(families.families[0].members.iter().any(|member| member.process.pid == pid));
        drop(child);
        families.sample(Stir::Ran, SECOND);
        assert!(families.families[0].members.iter().all(|member| member.process.pid != pid));
        families.set_targets(&[], &Layout::new("/no/such"));
        assert!(families.sample(Stir::Ran, SECOND).is_empty());
    }
    #[test]
    fn while_nothing_runs_nothing_is_read_and_all_of_it_afterwards() {
        let child = Killed(Command::new("/bin/sleep").arg("1000").spawn().unwrap());
        let (mut families, first) = own_family();
        assert!(first.processes >= 1);
        let has_it = |families: &Families| {
            let mut members = families.families[0].members.iter();
            members.any(|member| member.process.pid == child.0.id())
        };
        families.families[0].members.clear();
        families.families[0].usage.cpu_cores = 1.0;
        let quiet = families.sample(Stir::Quiet, SECOND)[0].1;
        assert_eq!(quiet, Usage { cpu_cores: 0.0, ..first }, "as it was, at rest");
        assert!(!has_it(&families));
        families.sample(Stir::Still, SECOND);
        assert!(!has_it(&families), "nobody could have started it");
        families.sample(Stir::Ran, SECOND);
        assert!(has_it(&families));
    }
}
