//! Processes that can't be mistaken for others: a number with its start time, and a descriptor of
//! it that no later process takes over.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tucano_worker_core::Process;

/// What is read of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    /// Field 22: clock ticks after boot.
    pub(super) start: u64,
    pub(super) zombie: bool,
}

/// Reads it; none where there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in the second field may hold anything, brackets too: what counts comes after the last
/// one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Fields 7 to 21 lie between.
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat { parent, group, session, start, zombie: matches!(state, "Z" | "X") })
}

/// This process.
pub(super) fn myself() -> Option<Process> {
    identify(std::process::id())
}

/// The process that has this number now.
pub(super) fn identify(pid: u32) -> Option<Process> {
    Some(Process { pid, start: stat(pid)?.start })
}

/// A descriptor of exactly this process; none where it is gone.
pub(super) fn open(process: Process) -> Option<OwnedFd> {
    let fd = open_number(process.pid).ok()?;
    // The descriptor holds the number's owner of now: it is the right one if its start is.
    (stat(process.pid)?.start == process.start).then_some(fd)
}

/// A descriptor of whoever has this number: for a child that was not waited for yet.
pub(super) fn open_number(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal; one that is gone already is no error.
pub(super) fn signal(pidfd: impl AsFd, signal: Signal) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits for its end; whether it came in time.
pub(super) fn wait(pidfd: impl AsFd, at_most: Duration) -> bool {
    let mut set = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(at_most.as_millis()).unwrap_or(PollTimeout::MAX);
    poll(&mut set, timeout).is_ok_and(|ready| ready > 0)
}

/// Takes a child's remains; what is no child of ours has none.
pub(super) fn reap(pidfd: impl AsFd) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let _no_child_of_ours = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options);
}

/// Waits for a child that was not waited for yet; whether it ended in time. It is to be reaped
/// still.
pub(crate) fn ends_within(child: &Child, at_most: Duration) -> bool {
    open_number(child.id()).is_ok_and(|pidfd| wait(pidfd, at_most))
}

/// Takes the remains of every child that has ended: at the start of an agent that was another one
/// before (`SIGHUP`), whose children are its own. How they ended is in their records.
pub(crate) fn reap_ended() {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    while let Ok(Some(_)) = rustix::process::waitid(WaitId::All, options) {}
}

/// Every process's number.
pub(super) fn all() -> Vec<u32> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.collect()
}

/// Which boot this is: processes of another one are gone, whatever their numbers.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_skipped() {
        // Each field from the seventh on has its own number.
        let fields: Vec<String> = (7..=52).map(|n| n.to_string()).collect();
        let line = format!("7 (a) Z (1 2) S 11 22 33 {}\n", fields.join(" "));
        let expected = Stat { parent: 11, group: 22, session: 33, start: 22, zombie: false };
        assert_eq!(parse_stat(&line), Some(expected));
        let zombie = parse_stat(&line.replace(") S", ") Z"));
        assert_eq!(zombie, Some(Stat { zombie: true, ..expected }));
        for text in ["", "1", "1 (a", "1 (a) S", "1 (a) S 1 2 3 4 5", "1 (a) S x 2 3 4"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_with_another_start_is_a_stranger() {
        let me = myself().unwrap();
        assert_eq!(me.pid, std::process::id());
        assert!(open(me).is_some());
        assert!(open(Process { start: me.start + 1, ..me }).is_none());
        assert!(open(Process { pid: u32::MAX, start: 1 }).is_none());
        assert!(all().contains(&me.pid));
        assert_eq!(boot_id().len(), 36);
    }
}
