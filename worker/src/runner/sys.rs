//! The system calls that no safe wrapper has: dispositions of signals, descriptors by number, the
//! priority of I/O, memory. Called by the holder and the shim, each of which has one thread; what
//! the agent calls too may be called by any thread.
#![expect(unsafe_code, reason = "each block stands alone and says why it is sound")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};

/// Standard descriptors; everything from here on was opened by somebody else.
const FIRST_FOREIGN: u32 = 3;

/// The kernel's, numbered from 1.
const SIGNALS: libc::c_long = 64;
/// A bit for each.
const SIGSET_BYTES: libc::c_long = SIGNALS / 8;

/// Which of the two a fork goes on in.
pub(super) enum Forked {
    Child,
    /// With the child's number.
    Parent(u32),
}

/// For a process with one thread, which the holder is.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: there is no other thread whose locks or half-done work the child would have without
    // their owner; it may do whatever the parent may.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
        nix::unistd::ForkResult::Parent { child } => {
            u32::try_from(child.as_raw()).map(Forked::Parent).map_err(io::Error::other)
        }
    }
}

/// The same, with the child in this control group of version 2 from its first moment on: to move it
/// later the kernel waits for every core, 10 ms as a rule.
pub(super) fn fork_into(group: BorrowedFd<'_>) -> io::Result<Forked> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let args = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.as_raw_fd() as u64,
    };
    let size = std::mem::size_of::<libc::clone_args>();
    // SAFETY: no memory is shared and no stack given, so it is a fork, of a process with one thread
    // as above; the kernel reads the structure, which lives until it returns, and nothing else.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) } {
        0 => Ok(Forked::Child),
        child => match u32::try_from(child) {
            Ok(child) => Ok(Forked::Parent(child)),
            Err(_) => Err(io::Error::last_os_error()),
        },
    }
}

/// Every descriptor but the standard ones closes at the next execve.
pub(super) fn close_others_at_exec() {
    let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
    // SAFETY: it changes a flag of descriptors and closes none now, so no owner is harmed.
    let result = unsafe { libc::close_range(FIRST_FOREIGN, libc::c_uint::MAX, flags) };
    if result == 0 {
        return;
    }
    // Before Linux 5.11: one by one.
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return };
    for entry in folder.flatten() {
        let name = entry.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse::<libc::c_int>().ok()) else {
            continue;
        };
        if u32::try_from(fd).is_ok_and(|fd| fd >= FIRST_FOREIGN) {
            // SAFETY: as above; a number that is closed meanwhile is an error that changes nothing.
            let _closed_meanwhile = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// Lets go of the pages of code that the start needed: a process that sleeps for days keeps none of
/// them mapped, so the kernel may take them where memory is short. What is needed again is mapped
/// again, from the page cache as a rule.
pub(crate) fn let_go_of_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(code_mapping) {
        let address = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start);
        // SAFETY: code of a file is never written, so each page comes back as it was; the kernel
        // maps it at its next use, also the one that runs now.
        let _as_it_was = unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) };
    }
}

/// Start and length of a mapping of a file's code, out of a line of `/proc/self/maps`. What is only
/// readable is left out: a part of it was written while it was relocated.
fn code_mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (rights, file) = (fields.next()?, fields.nth(3)?);
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    (rights == "r-xp" && file.starts_with('/')).then_some((start, end.checked_sub(start)?))
}

/// Every signal as a fresh process has it: default disposition, none blocked.
pub(super) fn reset_signals() -> io::Result<()> {
    // The kernel's own call: libc keeps two of the real-time signals to itself, and whoever started
    // the agent may have left them ignored. SIGKILL and SIGSTOP can't be changed: an error.
    let default = [0u64; 8];
    for signal in 1..=SIGNALS {
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: all zeroes are the default disposition, with no code of ours, no flags and an
        // empty mask; the buffer is larger than the kernel's structure on every architecture.
        let _two_are_fixed = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, SIGSET_BYTES)
        };
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// The idle class of I/O: its requests wait while anybody else has one. Not every disk's scheduler
/// knows it.
pub(super) fn idle_io() {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    const IOPRIO_CLASS_IDLE: libc::c_long = 3 << 13;
    // SAFETY: it takes numbers only; 0 is the calling process.
    let _best_effort =
        unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE) };
}

/// A session keyring of its own, empty. Whoever has one has all that is in it, whatever user they
/// become: the agent's may hold its operator's keys, and would be one that all services share.
pub(super) fn own_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: it takes a number and no name; what it changes is the calling thread's own.
    let _no_keys_here = unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the calling thread's session keyring; none where the kernel has no keys, or
    /// whoever runs this may not use them.
    fn session_keyring() -> Option<libc::c_long> {
        const GET_KEYRING_ID: libc::c_long = 0;
        const SESSION: libc::c_long = -3;
        // SAFETY: it takes numbers only.
        let id = unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION, 0) };
        (id > 0).then_some(id)
    }

    #[test]
    fn a_keyring_is_shared_with_nobody() {
        let of_another = || std::thread::spawn(session_keyring).join().unwrap();
        let of_its_own = || {
            let found = || (own_keyring(), session_keyring()).1;
            std::thread::spawn(found).join().unwrap()
        };
        let (inherited, own, next) = (of_another(), of_its_own(), of_its_own());
        // Both are nothing where there are no keys, as in most containers.
        assert!(own.is_none() || (own != inherited && own != next), "{own:?} {inherited:?}");
        assert_eq!(own.is_none(), next.is_none());
        assert_eq!(of_another(), inherited, "it was the thread's own");
    }

    #[test]
    fn only_code_of_files_is_let_go() {
        for (line, found) in [
            ("5600-5700 r-xp 00001000 fe:00 77   /usr/bin/tucano worker", Some((0x5600, 0x100))),
            ("5600-5700 r--p 00001000 fe:00 77   /usr/bin/tucano", None),
            ("5600-5700 rw-p 00001000 fe:00 77   /usr/bin/tucano", None),
            ("5600-5700 rwxp 00001000 fe:00 77   /usr/bin/tucano", None),
            ("5600-5700 r-xp 00000000 00:00 0    [vdso]", None),
            ("5600-5700 r-xp 00000000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(code_mapping(line), found, "{line}");
        }
    }

    #[test]
    fn code_that_was_let_go_still_runs() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.lines().filter_map(code_mapping).count() > 0, "{maps}");
        let_go_of_code();
        assert_eq!("12".parse(), Ok(12));
    }
}
