//! Signals as readable events: blocked in every thread, read from one descriptor by the loop that
//! watches it.
//!
//! What a signal means (a second one ends at once, for example) is the application's business.
//! SIGPIPE is ignored by Rust's runtime before `main`. Children inherit the blocked mask: whoever
//! starts one resets it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

pub use nix::sys::signal::Signal;

/// Blocked signals and the descriptor that they are read from.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks these signals. Call it in `main` before any thread is started:
    /// the others inherit the mask, and one that doesn't would be killed by them.
    pub fn block(signals: &[Signal]) -> io::Result<Signals> {
        let mask: SigSet = signals.iter().copied().collect();
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&mask, flags)?.as_fd().try_clone_to_owned()?;
        Ok(Signals { fd })
    }

    /// The descriptor, for [`Io::watch_fd`](crate::Io::watch_fd); read it by [`read_signal`].
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// The next signal that came; `None` when there is no more.
pub fn read_signal(fd: BorrowedFd<'_>) -> Option<Signal> {
    // `struct signalfd_siginfo` begins with the number of the signal.
    let mut info = [0u8; size_of::<nix::sys::signalfd::siginfo>()];
    let len = nix::unistd::read(fd, &mut info).ok()?;
    let number = info[..len].first_chunk::<4>()?;
    Signal::try_from(i32::from_ne_bytes(*number)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigpipe_is_ignored() {
        let status = std::fs::read_to_string("/proc/self/status").expect("the status");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        let mask = u64::from_str_radix(ignored.expect("a mask"), 16).expect("hexadecimal");
        assert_ne!(mask & 1 << (Signal::SIGPIPE as i32 - 1), 0);
    }

    #[test]
    fn signals_are_read_in_place_of_killing() {
        let run = || {
            // To this thread alone: the others of the test's process have not blocked it.
            let signals = Signals::block(&[Signal::SIGHUP]).expect("blocked").into_fd();
            assert_eq!(read_signal(signals.as_fd()), None);
            nix::sys::signal::raise(Signal::SIGHUP).expect("sent");
            assert_eq!(read_signal(signals.as_fd()), Some(Signal::SIGHUP));
            assert_eq!(read_signal(signals.as_fd()), None);
        };
        std::thread::spawn(run).join().expect("the thread");
    }
}
