//! Everything below a holder: reaped, signalled, killed.
//!
//! Its own children can't be mistaken for strangers, because only the holder reaps them: their
//! numbers stay theirs until then. What lies deeper is signalled through descriptors, checked by
//! start time; it is killed once its parent's end has made it a child of the holder.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};
use tucano_worker_core::Process;

use crate::runner::process;
use crate::runner::record::How;

/// What reaping found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// Somebody lives.
    SomeLeft,
    /// Nobody does.
    NobodyLeft,
}

/// The processes below a holder.
pub(super) struct Children {
    main: Pid,
    main_end: Option<How>,
}

impl Children {
    pub(super) fn new(main: u32) -> Children {
        Children { main: Pid::from_raw(i32::try_from(main).unwrap_or(0)), main_end: None }
    }

    /// Takes the remains of all that ended.
    pub(super) fn reap(&mut self) -> Reaped {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.main => {
                    self.main_end = Some(How::Code(code));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.main => {
                    self.main_end = Some(How::Signal(signal as i32));
                }
                Ok(WaitStatus::StillAlive) => return Reaped::SomeLeft,
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                // ECHILD: there are none.
                Err(_) => return Reaped::NobodyLeft,
            }
        }
    }

    /// How the main process ended, once.
    pub(super) fn take_main_end(&mut self) -> Option<How> {
        self.main_end.take()
    }

    /// SIGKILL to every child and its process group; their own children become the holder's by that
    /// and come next.
    pub(super) fn kill_all(&self) {
        let own_group = getpgrp();
        for child in children() {
            // A child that was not reaped keeps its group's number from being used again.
            if let Ok(group) = getpgid(Some(child))
                && group != own_group
            {
                let _empty_by_now = killpg(group, Signal::SIGKILL);
            }
            let _a_zombie_by_now = kill(child, Signal::SIGKILL);
        }
    }

    /// A signal to every descendant that is there now.
    pub(super) fn signal_all(&self, signal: Signal) {
        for process in descendants() {
            if let Some(fd) = process::open(process)
                && let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32)
            {
                let _gone_meanwhile = process::signal(fd, signal);
            }
        }
    }
}

/// The numbers of the holder's own children.
fn children() -> Vec<Pid> {
    // One thread: its children are all there are.
    let own = std::process::id();
    if let Ok(text) = std::fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        let numbers = text.split_ascii_whitespace().filter_map(|number| number.parse().ok());
        return numbers.map(Pid::from_raw).collect();
    }
    // A kernel without CONFIG_PROC_CHILDREN.
    let children = process::all().into_iter();
    let children = children.filter(|pid| process::stat(*pid).is_some_and(|it| it.parent == own));
    children.filter_map(|pid| i32::try_from(pid).ok()).map(Pid::from_raw).collect()
}

/// Everything below the holder, from one look at /proc.
fn descendants() -> Vec<Process> {
    let mut below: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for pid in process::all() {
        if let Some(stat) = process::stat(pid).filter(|stat| !stat.zombie) {
            below.entry(stat.parent).or_default().push(Process { pid, start: stat.start });
        }
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![std::process::id()];
    while let Some(parent) = next.pop() {
        for process in below.remove(&parent).unwrap_or_default() {
            // Numbers that were used again while this looked could make a circle.
            if seen.insert(process.pid) {
                next.push(process.pid);
                found.push(process);
            }
        }
    }
    found
}
