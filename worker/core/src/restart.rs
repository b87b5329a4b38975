//! Whether and when a runtime that ended is started again, in place, on its worker.
//!
//! It never gives up: moving an instance elsewhere is the controller's decision, for which failures
//! are counted. Called by the instance's state machine; it keeps no state.

use std::time::Duration;

use tucano_common::limits::RESTART_RESET_AFTER;
use tucano_common::prng::Prng;
use tucano_common::spec::{Restart, RestartPolicy};

use crate::job::End;
use crate::ledger::Outcome;

/// Delays are moved by up to this share in either direction, so that instances that failed together
/// do not start together.
const JITTER: f64 = 0.2;

/// What follows the end of a runtime that should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is started again, after [`delay`].
    Again,
    /// It stays ended.
    Over(Outcome),
}

/// After a runtime script that ended by itself.
pub(crate) fn after_end(policy: RestartPolicy, end: End) -> Next {
    match (policy, end.is_success()) {
        (RestartPolicy::Always, _) | (RestartPolicy::OnFailure, false) => Next::Again,
        (RestartPolicy::OnFailure | RestartPolicy::Never, true) => Next::Over(Outcome::Done),
        (RestartPolicy::Never, false) => Next::Over(Outcome::Failed),
    }
}

/// After a start that did not come about, or a health check that ended the process.
pub(crate) fn after_failure(policy: RestartPolicy) -> Next {
    match policy {
        RestartPolicy::Always | RestartPolicy::OnFailure => Next::Again,
        RestartPolicy::Never => Next::Over(Outcome::Failed),
    }
}

/// Failures in a row with this one, which comes after `up`.
pub(crate) fn count(failures_in_row: u32, up: Duration) -> u32 {
    if up >= RESTART_RESET_AFTER { 1 } else { failures_in_row.saturating_add(1) }
}

/// How long to wait after so many failures in a row (from 1): `backoff`, doubling up to
/// `backoff_max`.
pub(crate) fn delay(restart: &Restart, failures_in_row: u32, prng: &mut Prng) -> Duration {
    let first_ms = u64::try_from(restart.backoff.as_millis()).unwrap_or(u64::MAX);
    let max_ms = u64::try_from(restart.backoff_max.as_millis()).unwrap_or(u64::MAX);
    let doublings = failures_in_row.saturating_sub(1).min(63);
    let ms = first_ms.saturating_mul(1 << doublings).min(max_ms.max(first_ms));
    Duration::from_millis(prng.jitter(ms, JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_and_end() {
        use RestartPolicy::{Always, Never, OnFailure};
        let (done, failed) = (Next::Over(Outcome::Done), Next::Over(Outcome::Failed));
        let ends = [
            End::Code(0),
            End::Code(1),
            End::Signal(9),
            End::Oom(crate::job::Oom::default()),
            End::Unknown,
        ];
        for (policy, expected) in [
            (Always, [Next::Again; 5]),
            (OnFailure, [done, Next::Again, Next::Again, Next::Again, Next::Again]),
            (Never, [done, failed, failed, failed, failed]),
        ] {
            assert_eq!(ends.map(|end| after_end(policy, end)), expected, "{policy:?}");
        }
        let failures = [Always, OnFailure, Never].map(after_failure);
        assert_eq!(failures, [Next::Again, Next::Again, failed]);
    }

    #[test]
    fn the_delay_doubles_to_its_largest_with_jitter() {
        let restart = Restart {
            policy: RestartPolicy::Always,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            attempts: 5,
            window: Duration::from_secs(600),
        };
        let mut prng = Prng::new(1);
        let expected =
            [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (u32::MAX, 60)];
        for (failures, seconds) in expected {
            for _ in 0..100 {
                let ms = delay(&restart, failures, &mut prng).as_millis();
                assert!((800 * seconds..=1200 * seconds).contains(&ms), "{failures}: {ms}");
            }
        }
    }

    #[test]
    fn a_long_run_wipes_the_slate() {
        assert_eq!(count(0, Duration::ZERO), 1);
        assert_eq!(count(4, Duration::from_secs(59)), 5);
        assert_eq!(count(4, RESTART_RESET_AFTER), 1);
        assert_eq!(count(u32::MAX, Duration::ZERO), u32::MAX);
    }
}
