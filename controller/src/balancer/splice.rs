//! Long bodies from socket to socket through a pipe (splice(2)): the kernel hands its pages on, and
//! nothing of them is copied up here and down again.
//!
//! Only a body goes this way whose length was declared, once what came along with its head is
//! written. It ends no exchange and knows no HTTP; `pump` asks for each step. Without a pipe (no
//! descriptor left, too many lent) such a body is copied like any other.

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tucano_common::limits::{PIPE_BYTES, PIPES_KEPT, PIPES_MAX};

use super::socket::{Moved, Socket};

/// A pipe, and how many bytes are in it.
pub(super) struct Pipe {
    entry: OwnedFd,
    exit: OwnedFd,
    held: usize,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// So many bytes were taken from the sender, so many given to the receiver.
    Some { taken: usize, given: usize },
    /// Nothing can be moved now.
    Blocked,
    /// There is more, but the sender had its share of the turn.
    Yield,
    /// The sender's connection says so: `Closed` or `Gone`.
    Sender(Moved),
    /// The receiver is gone.
    Receiver,
}

impl Pipe {
    fn open() -> Option<Pipe> {
        let (exit, entry) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        // Refused to a user with many pipes (pipe(7)): a small one does too, in smaller steps.
        let _ = fcntl(&entry, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES as i32));
        Some(Pipe { entry, exit, held: 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves on, of `left` bytes that are to come at most `budget`.
    ///
    /// It is filled only when it is empty: the kernel says "not now" of a full pipe and of an empty
    /// socket alike.
    pub(super) fn pass(
        &mut self,
        from: &mut Socket,
        to: &mut Socket,
        left: u64,
        budget: usize,
    ) -> Passed {
        let mut taken = 0;
        if self.held == 0 {
            if budget == 0 {
                return if from.is_readable() { Passed::Yield } else { Passed::Blocked };
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(budget).min(PIPE_BYTES);
            match from.splice_into(&self.entry, most) {
                Moved::Some(count) => taken = count,
                Moved::Blocked => return Passed::Blocked,
                end @ (Moved::Closed | Moved::Gone) => return Passed::Sender(end),
            }
            self.held = taken;
        }
        match to.splice_from(&self.exit, self.held) {
            Moved::Some(given) => {
                self.held -= given;
                Passed::Some { taken, given }
            }
            Moved::Blocked if taken > 0 => Passed::Some { taken, given: 0 },
            Moved::Blocked => Passed::Blocked,
            Moved::Closed | Moved::Gone => Passed::Receiver,
        }
    }
}

/// The pipes of one loop.
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    lent: usize,
}

impl Pipes {
    pub(super) const fn new() -> Pipes {
        Pipes { idle: Vec::new(), lent: 0 }
    }

    /// An empty pipe, where one can be had. It has to come back.
    pub(super) fn take(&mut self) -> Option<Box<Pipe>> {
        if self.lent >= PIPES_MAX {
            return None;
        }
        let pipe = self.idle.pop().or_else(Pipe::open)?;
        self.lent += 1;
        Some(Box::new(pipe))
    }

    /// Whether none is lent.
    pub(super) fn are_all_here(&self) -> bool {
        self.lent == 0
    }

    /// Takes a pipe back; closes one that still has somebody's bytes in it.
    pub(super) fn put(&mut self, pipe: Pipe) {
        self.lent -= 1;
        if pipe.is_empty() && self.idle.len() < PIPES_KEPT {
            self.idle.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_with_bytes_in_it_is_not_lent_again() {
        let mut pipes = Pipes::new();
        let mut pipe = pipes.take().unwrap();
        assert_eq!(pipes.lent, 1);
        pipe.held = 1;
        pipes.put(*pipe);
        assert!(pipes.idle.is_empty());
        let pipe = pipes.take().unwrap();
        assert!(pipe.is_empty());
        pipes.put(*pipe);
        assert_eq!((pipes.idle.len(), pipes.lent), (1, 0));
    }

    #[test]
    fn lent_and_kept_pipes_are_bounded() {
        let mut pipes = Pipes::new();
        let lent: Vec<Box<Pipe>> = std::iter::from_fn(|| pipes.take()).take(PIPES_MAX).collect();
        // Where descriptors are short it ends sooner, with none just the same.
        assert!(lent.len() < PIPES_MAX || pipes.take().is_none());
        lent.into_iter().for_each(|pipe| pipes.put(*pipe));
        assert_eq!((pipes.idle.len(), pipes.lent), (PIPES_KEPT, 0));
    }
}
