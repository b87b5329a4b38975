//! Questions that wait: for news past an index (`?index=&wait=`), or for the end of what a command
//! began (`?wait=`).
//!
//! A bounded table, looked through after every commit. What is asked for and how it is answered the
//! deployer knows; here stand only who waits, for what, and until when.

use std::time::Duration;

use tucano_common::id::DeploymentId;
use tucano_common::limits::{WAIT_MAX, WAITERS_MAX};
use tucano_common::name::ServiceName;
use tucano_common::time::Mono;

use crate::msgs::{Query, Ticket};

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// Whom to answer.
    pub(crate) ticket: Ticket,
    /// What for.
    pub(crate) what: Awaited,
    /// Answered then at the latest, with what there is.
    pub(crate) deadline: Mono,
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The answer to `query` with an index past this one.
    News { query: Query, past: u64 },
    /// The end of a deployment.
    End(DeploymentId),
    /// The end of a service.
    Gone(ServiceName),
}

/// Everybody who waits, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Vec<Waiter>,
}

impl Waiters {
    /// Takes one in; gives it back where the table is full: it is answered as if its time was over.
    pub(crate) fn add(
        &mut self,
        ticket: Ticket,
        what: Awaited,
        (now, wait): (Mono, Duration),
    ) -> Result<(), Waiter> {
        let waiter = Waiter { ticket, what, deadline: now + wait.min(WAIT_MAX) };
        if self.waiting.len() >= WAITERS_MAX {
            return Err(waiter);
        }
        self.waiting.push(waiter);
        Ok(())
    }

    /// Forgets one whose asker is gone.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiter| waiter.ticket != ticket);
    }

    /// Takes those who wait no longer: what they wait for is there, or their time is over.
    pub(crate) fn take_due(
        &mut self,
        now: Mono,
        mut is_there: impl FnMut(&Awaited) -> bool,
    ) -> Vec<Waiter> {
        let due = |waiter: &mut Waiter| waiter.deadline <= now || is_there(&waiter.what);
        self.waiting.extract_if(.., due).collect()
    }

    /// When the next one's time is over.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.waiting.iter().map(|waiter| waiter.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn news(past: u64) -> Awaited {
        Awaited::News { query: Query::Services, past }
    }

    fn tickets(due: &[Waiter]) -> Vec<u64> {
        due.iter().map(|waiter| waiter.ticket.0).collect()
    }

    #[test]
    fn who_gets_what_they_wait_for_leaves_and_the_others_stay() {
        let mut waiters = Waiters::default();
        for (ticket, past) in [(1, 10), (2, 11), (3, 12)] {
            waiters.add(Ticket(ticket), news(past), (Mono(0), SECOND)).expect("room");
        }
        let index = 11;
        let newer = |what: &Awaited| matches!(what, Awaited::News { past, .. } if index > *past);
        assert_eq!(tickets(&waiters.take_due(Mono(5), newer)), [1]);
        assert_eq!(tickets(&waiters.take_due(Mono(5), newer)), [0u64; 0]);
        assert_eq!(tickets(&waiters.take_due(Mono(0) + SECOND, |_| false)), [2, 3]);
        assert_eq!(waiters.next_deadline(), None);
    }

    #[test]
    fn the_earliest_deadline_is_the_next() {
        let mut waiters = Waiters::default();
        waiters.add(Ticket(1), news(0), (Mono(0), 3 * SECOND)).expect("room");
        let end = Awaited::End(DeploymentId(7));
        waiters.add(Ticket(2), end, (Mono(0), SECOND)).expect("room");
        assert_eq!(waiters.next_deadline(), Some(Mono(0) + SECOND));
        waiters.cancel(Ticket(2));
        assert_eq!(waiters.next_deadline(), Some(Mono(0) + 3 * SECOND));
    }

    #[test]
    fn a_wait_has_a_bound_and_so_has_the_table() {
        let mut waiters = Waiters::default();
        for ticket in 0..WAITERS_MAX as u64 {
            waiters.add(Ticket(ticket), news(0), (Mono(0), Duration::MAX)).expect("room");
        }
        assert_eq!(waiters.next_deadline(), Some(Mono(0) + WAIT_MAX));
        assert!(waiters.add(Ticket(u64::MAX), news(0), (Mono(0), SECOND)).is_err());
    }
}
