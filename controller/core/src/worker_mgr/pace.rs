//! How many orders may be pushed to agents: a burst at once, then so many a second.
//!
//! A push only saves the time until its worker's next heartbeat. It knows neither workers nor
//! orders; what it refuses is not kept, but fetched by the agents. Called by the worker manager for
//! every plan.

use tucano_common::limits::{PUSHES_BURST, PUSHES_PER_S};
use tucano_common::time::Mono;

/// What one push takes of the time that is saved up.
const COST_US: u64 = 1_000_000 / PUSHES_PER_S as u64;
const FULL_US: u64 = PUSHES_BURST as u64 * COST_US;

/// The pushes of all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushPace {
    saved_us: u64,
    filled_at: Mono,
}

impl PushPace {
    /// With a whole burst.
    pub fn new(now: Mono) -> PushPace {
        PushPace { saved_us: FULL_US, filled_at: now }
    }

    /// Takes so many pushes out, all of them or none.
    pub fn take(&mut self, pushes: usize, now: Mono) -> bool {
        let passed_us = u64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(FULL_US);
        self.saved_us = self.saved_us.saturating_add(passed_us).min(FULL_US);
        self.filled_at = now;
        let cost_us = (pushes as u64).saturating_mul(COST_US);
        let paid = cost_us <= self.saved_us;
        if paid {
            self.saved_us -= cost_us;
        }
        paid
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_its_time() {
        let mut now = Mono(5);
        let mut pace = PushPace::new(now);
        assert!(!pace.take(PUSHES_BURST as usize + 1, now), "all or none");
        assert!(pace.take(PUSHES_BURST as usize, now));
        assert!(!pace.take(1, now));
        let mut sent = 0;
        for _ in 0..4000 {
            now = now + Duration::from_micros(250);
            sent += u32::from(pace.take(1, now));
        }
        assert_eq!(sent, PUSHES_PER_S);
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let mut pace = PushPace::new(Mono(0));
        assert!(pace.take(0, Mono(u64::MAX)));
        assert!(!pace.take(PUSHES_BURST as usize + 1, Mono(u64::MAX)));
        assert!(!pace.take(usize::MAX, Mono(u64::MAX)));
    }
}
