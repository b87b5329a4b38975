//! Whether a loop lets events gather for a moment before it polls again, as network cards moderate
//! their interrupts.
//!
//! A loop that is faster than those it talks to finds one event or two at each poll, and goes to
//! sleep and is woken for each. With hundreds of exchanges in flight nobody notices a pause that is
//! a hundredth of what an exchange takes, and what came meanwhile is done in one turn.
//! It does not sleep itself. Called by the loop's `run`.

use std::time::Duration;

use tucano_common::limits::{
    COALESCE_EVENTS_MAX, COALESCE_FLOWS_MIN, COALESCE_GAP_MAX, COALESCE_PAUSE,
};

/// What a turn found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Exchanges in flight.
    pub(super) flows: usize,
    /// Events that the poll told of.
    pub(super) events: usize,
    /// Since the turn before.
    pub(super) gap: Duration,
}

impl Found {
    /// The pause after the turn, if one pays.
    pub(super) fn pause(self) -> Option<Duration> {
        let is_crowded = self.flows >= COALESCE_FLOWS_MIN;
        let is_often = self.gap <= COALESCE_GAP_MAX;
        (is_crowded && is_often && self.events <= COALESCE_EVENTS_MAX).then_some(COALESCE_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(flows: usize, events: usize, gap: Duration) -> Option<Duration> {
        Found { flows, events, gap }.pause()
    }

    #[test]
    fn many_in_flight_and_few_events_a_turn_are_let_gather() {
        let soon = Duration::from_micros(20);
        assert_eq!(pause(COALESCE_FLOWS_MIN, 2, soon), Some(COALESCE_PAUSE));
        assert_eq!(pause(10_000, COALESCE_EVENTS_MAX, COALESCE_GAP_MAX), Some(COALESCE_PAUSE));
    }

    #[test]
    fn nobody_waits_where_few_are_in_flight_or_events_are_rare_or_many() {
        let soon = Duration::from_micros(20);
        assert_eq!(pause(COALESCE_FLOWS_MIN - 1, 2, soon), None);
        assert_eq!(pause(10_000, COALESCE_EVENTS_MAX + 1, soon), None);
        // Ten thousand that wait for a slow service, and one event now and then.
        assert_eq!(pause(10_000, 1, COALESCE_GAP_MAX + Duration::from_micros(1)), None);
    }

    #[test]
    fn a_pause_is_no_reason_not_to_pause_again() {
        // Timers come late by their slack, 50 us as a rule (prctl(2), PR_SET_TIMERSLACK).
        let late = COALESCE_PAUSE + Duration::from_micros(50);
        assert!(late * 2 <= COALESCE_GAP_MAX, "{late:?}");
    }
}
