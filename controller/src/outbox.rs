//! What one thread has to say to another that does not take it right now.
//!
//! In order, and in full: inboxes are bounded, and nobody may wait on one. What an outbox holds is
//! bounded by what it is for: one answer a ticket, the newest table, one message a port. Used by
//! the deployer and the worker manager.

use std::collections::VecDeque;

/// Hands a message to another thread without waiting; gives it back where it is not taken now.
pub(crate) type TrySend<M> = Box<dyn Fn(M) -> Result<(), M> + Send>;

/// Messages on their way to one inbox.
pub(crate) struct Outbox<M> {
    send: TrySend<M>,
    waiting: VecDeque<M>,
}

impl<M> Outbox<M> {
    /// An empty one.
    pub(crate) fn new(send: TrySend<M>) -> Outbox<M> {
        Outbox { send, waiting: VecDeque::new() }
    }

    /// Sends a message after all that still waits.
    pub(crate) fn send(&mut self, message: M) {
        self.waiting.push_back(message);
        self.flush();
    }

    /// Tries again to send what waits.
    pub(crate) fn flush(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            if let Err(message) = (self.send)(message) {
                self.waiting.push_front(message);
                return;
            }
        }
    }

    /// Drops from what waits what a newer message makes useless.
    pub(crate) fn supersede(&mut self, useless: impl Fn(&M) -> bool) {
        self.waiting.retain(|message| !useless(message));
    }

    /// Whether everything was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_over_a_full_inbox() {
        let (tx, rx) = crossbeam_channel::bounded(2);
        let send = move |m| tx.try_send(m).map_err(|error| error.into_inner());
        let mut outbox = Outbox::new(Box::new(send));
        for number in 0..5 {
            outbox.send(number);
        }
        assert!(!outbox.is_empty());
        let mut got: Vec<i32> = rx.try_iter().collect();
        outbox.supersede(|&number| number == 3);
        outbox.flush();
        got.extend(rx.try_iter());
        assert_eq!(got, [0, 1, 2, 4]);
        assert!(outbox.is_empty());
    }
}
