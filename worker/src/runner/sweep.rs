//! Ends what a job left behind where its holder could not: it was killed, or the machine was too
//! full to start another one.
//!
//! A process belongs to a job if its environment says so (`TUCANO_INSTANCE_DIR`, which names this
//! data folder too), if it is the recorded process itself, or if it is below one of those. A number
//! alone is never enough: it may be a stranger's by now.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tucano_worker_core::Process;

use super::process::{self, Stat};

/// A process may fork while it is looked for: so often is looked again.
const ROUNDS: usize = 50;

/// How long the killed ones may take to go, before the next look.
const GO: Duration = Duration::from_millis(20);

/// What a sweep looks for.
pub(super) enum Target<'a> {
    /// One job's processes: the mark, and its main process.
    Job { home: &'a Path, main: Option<Process> },
    /// Everything marked with a folder below these, except with those.
    Strangers { below: [&'a Path; 2], known: &'a BTreeSet<String> },
}

/// Kills all of them; whether they are gone.
pub(super) fn sweep(target: &Target<'_>) -> bool {
    for _ in 0..ROUNDS {
        let found = find(target);
        if found.is_empty() {
            return true;
        }
        let killed: Vec<OwnedFd> = found.into_iter().filter_map(kill).collect();
        for fd in &killed {
            let _gone_or_not = process::wait(fd, GO);
        }
    }
    false
}

fn kill(process: Process) -> Option<OwnedFd> {
    let fd = process::open(process)?;
    process::signal(&fd, Signal::KILL).ok()?;
    Some(fd)
}

fn find(target: &Target<'_>) -> Vec<Process> {
    let own = std::process::id();
    let mut stats: BTreeMap<u32, Stat> = BTreeMap::new();
    for pid in process::all() {
        if let Some(stat) = process::stat(pid).filter(|stat| !stat.zombie) {
            stats.insert(pid, stat);
        }
    }
    let matches = |(pid, stat): &(&u32, &Stat)| belongs(target, **pid, stat);
    let mut found = BTreeSet::new();
    found.extend(stats.iter().filter(matches).map(|(pid, _)| *pid));
    // What is below them, however deep: each round goes one level down.
    loop {
        let below = |(pid, stat): &(&u32, &Stat)| {
            found.contains(&stat.parent) && !found.contains(pid) && **pid != own
        };
        let more: Vec<u32> = stats.iter().filter(below).map(|(pid, _)| *pid).collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found.remove(&own);
    let with_start = |pid: u32| Some(Process { pid, start: stats.get(&pid)?.start });
    found.into_iter().filter_map(with_start).collect()
}

fn belongs(target: &Target<'_>, pid: u32, stat: &Stat) -> bool {
    match target {
        Target::Job { home, main } => {
            let is_main = *main == Some(Process { pid, start: stat.start });
            // Its session bears its number for as long as it lives itself.
            let in_session = main.is_some_and(|main| {
                stat.session == main.pid && process::identify(main.pid) == Some(main)
            });
            is_main || in_session || mark(pid).is_some_and(|mark| mark == home.to_string_lossy())
        }
        Target::Strangers { below, known } => mark(pid).is_some_and(|mark| {
            let ours = below.iter().any(|folder| Path::new(&mark).starts_with(folder));
            ours && !known.contains(&mark)
        }),
    }
}

/// The instance's folder that a process has in its environment.
fn mark(pid: u32) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|it| it.strip_prefix(b"TUCANO_INSTANCE_DIR="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}
