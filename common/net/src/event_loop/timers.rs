//! Deadlines in order. Pure: it is told what time it is.
//!
//! Connections move their deadlines with every byte; they are armed lazily ([`Timers::arm`]): a
//! later deadline leaves the entry where it is, and whoever is woken too early arms again.

use std::collections::BTreeMap;

use tucano_common::time::Mono;

use super::slab::Key;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A connection that was accepted.
    Conn(Key),
    /// A call.
    Call(Key),
    /// The application's.
    App(Key),
    /// Accepting goes on.
    Accept,
    /// Idle connections to servers are over.
    Pool,
}

/// An entry, to find it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    at: Mono,
    serial: u64,
}

/// All deadlines of a loop.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeMap<Slot, Due>,
    serial: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Mono, due: Due) -> Slot {
        self.serial += 1;
        let slot = Slot { at, serial: self.serial };
        self.queue.insert(slot, due);
        slot
    }

    pub(super) fn cancel(&mut self, slot: Slot) {
        self.queue.remove(&slot);
    }

    /// Makes sure that there is an entry at `wanted` or before, and none where nothing is wanted.
    pub(super) fn arm(&mut self, slot: &mut Option<Slot>, wanted: Option<Mono>, due: Due) {
        match (*slot, wanted) {
            (None, None) => {}
            (Some(armed), Some(at)) if armed.at <= at => {}
            (None, Some(at)) => *slot = Some(self.set(at, due)),
            (Some(armed), Some(at)) => {
                self.cancel(armed);
                *slot = Some(self.set(at, due));
            }
            (Some(armed), None) => {
                self.cancel(armed);
                *slot = None;
            }
        }
    }

    /// When the first one is due.
    pub(super) fn next_at(&self) -> Option<Mono> {
        self.queue.first_key_value().map(|(slot, _)| slot.at)
    }

    /// Takes the first one if it is due.
    pub(super) fn pop(&mut self, now: Mono) -> Option<Due> {
        let entry = self.queue.first_entry()?;
        if entry.key().at <= now { Some(entry.remove()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_not_before() {
        let mut timers = Timers::default();
        let pool = timers.set(Mono(30), Due::Pool);
        timers.set(Mono(10), Due::Accept);
        timers.set(Mono(10), Due::Pool);
        assert_eq!(timers.next_at(), Some(Mono(10)));
        assert_eq!(timers.pop(Mono(9)), None);
        assert_eq!(timers.pop(Mono(10)), Some(Due::Accept));
        assert_eq!(timers.pop(Mono(99)), Some(Due::Pool));
        timers.cancel(pool);
        assert_eq!((timers.pop(Mono(99)), timers.next_at()), (None, None));
    }

    #[test]
    fn arming_moves_an_entry_only_forward_in_time_and_takes_it_away() {
        let mut timers = Timers::default();
        let mut slot = None;
        for (wanted, next) in [(Some(20), Some(20)), (Some(30), Some(20)), (Some(5), Some(5))] {
            timers.arm(&mut slot, wanted.map(Mono), Due::Accept);
            assert_eq!(timers.next_at(), next.map(Mono));
        }
        timers.arm(&mut slot, None, Due::Accept);
        assert_eq!((timers.next_at(), slot), (None, None));
    }
}
