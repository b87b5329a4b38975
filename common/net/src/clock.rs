//! The one place that reads clocks.
//!
//! A loop reads it once a turn and hands [`Now`] down; a thread without a loop reads it where it
//! needs a time. Nothing else in the tree asks the system what time it is.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use tucano_common::time::{Mono, Now, Wall};

/// The process's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Both readings, taken together.
    pub fn now() -> Now {
        Now { mono: Clock::mono(), wall: Clock::wall() }
    }

    /// The monotonic reading: for deadlines, never stored.
    pub fn mono() -> Mono {
        static START: OnceLock<Instant> = OnceLock::new();
        // A start in the past of the first reading, so that `minus` has room and zero means
        // "never".
        let elapsed = START.get_or_init(Instant::now).elapsed() + Duration::from_secs(1);
        Mono(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// The wall reading: for people and for what is stored. A clock before 1970 reads as negative.
    pub fn wall() -> Wall {
        Wall(match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_never_goes_back_and_starts_after_zero() {
        let first = Clock::mono();
        let second = Clock::mono();
        assert!(first > Mono(0) && second >= first);
    }

    #[test]
    fn wall_is_this_century() {
        assert!(Clock::now().wall > Wall(1_700_000_000_000));
    }
}
