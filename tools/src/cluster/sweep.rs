//! Finds and ends what services of a cluster left behind, by the marks that every instance carries.
//!
//! A process belongs to a cluster if its environment names the cluster's folder
//! (`TUCANO_INSTANCE_DIR`), or if it works in it. Nothing else is ever signalled.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// A process that belongs to a cluster's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its process id.
    pub pid: i32,
    /// Its arguments, for people.
    pub command: String,
}

/// Every living process that belongs to services of the cluster in `folder`.
pub fn strays(folder: &Path) -> Vec<Stray> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids.filter(|pid| *pid != own && belongs(*pid, folder))
        .map(|pid| Stray { pid, command: command(pid) })
        .collect()
}

fn belongs(pid: i32, folder: &Path) -> bool {
    let works_there = fs::read_link(format!("/proc/{pid}/cwd"));
    if works_there.is_ok_and(|cwd| cwd.starts_with(folder)) {
        return true;
    }
    let mark = [b"TUCANO_INSTANCE_DIR=", folder.as_os_str().as_bytes(), b"/"].concat();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(&mark))
}

fn command(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Ends them all, also those that start others meanwhile.
pub(super) fn end(folder: &Path) {
    let gone = wait::until("the end of every process", Duration::from_secs(10), || {
        let left = strays(folder);
        for stray in &left {
            let _ = kill(Pid::from_raw(stray.pid), Signal::SIGKILL);
        }
        left.is_empty().then_some(())
    });
    drop(gone); // what can't be ended shows in `strays`
}
