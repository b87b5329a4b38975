//! The way into a loop from other threads: a bounded queue and one wake-up for many messages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, TrySendError};
use mio::Waker;

/// Why a message was not taken; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<M> {
    /// The loop is behind; what to do about it is the sender's decision.
    Full(M),
    /// The loop has ended.
    Closed(M),
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "Full",
            SendError::Closed(_) => "Closed",
        })
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "the thread's inbox is full",
            SendError::Closed(_) => "the thread has ended",
        })
    }
}

impl<M> std::error::Error for SendError<M> {}

#[derive(Debug)]
struct Bell {
    waker: Waker,
    /// Whether the loop was woken and has not looked since: further senders need not wake it.
    rung: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            // The loop looks into its inbox on its next turn, whatever begins that.
            log::error!("could not wake a loop: {error}");
        }
    }
}

/// Sends messages to a loop; clones reach the same one.
pub struct Sender<M> {
    queue: crossbeam_channel::Sender<M>,
    bell: Arc<Bell>,
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Sender<M> {
        Sender { queue: self.queue.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<M: Send> Sender<M> {
    /// Puts a message into the loop's inbox and wakes it. Never waits.
    pub fn try_send(&self, msg: M) -> Result<(), SendError<M>> {
        self.queue.try_send(msg).map_err(|error| match error {
            TrySendError::Full(msg) => SendError::Full(msg),
            TrySendError::Disconnected(msg) => SendError::Closed(msg),
        })?;
        self.bell.ring();
        Ok(())
    }

    /// Begins a turn of the loop without a message: for a slot that holds the latest value.
    pub fn wake(&self) {
        self.bell.ring();
    }
}

/// The loop's end of the queue.
pub(super) struct Inbox<M> {
    queue: Receiver<M>,
    bell: Arc<Bell>,
}

impl<M> Inbox<M> {
    pub(super) fn new(waker: Waker, capacity: usize) -> (Inbox<M>, Sender<M>) {
        let (tx, rx) = crossbeam_channel::bounded(capacity);
        let bell = Arc::new(Bell { waker, rung: AtomicBool::new(false) });
        (Inbox { queue: rx, bell: Arc::clone(&bell) }, Sender { queue: tx, bell })
    }

    /// Says that the loop looks now; a message sent from here on wakes it again.
    pub(super) fn open(&self) {
        self.bell.rung.store(false, Ordering::Release);
    }

    pub(super) fn next(&self) -> Option<M> {
        self.queue.try_recv().ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
