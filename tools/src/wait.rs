//! Waiting for something to become true, with a deadline: what the demo and the end-to-end tests
//! do instead of sleeping and hoping.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: short at first, so that a fast thing is seen at once.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// It did not become true in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLate {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub after: Duration,
}

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not happen within {:?}", self.what, self.after)
    }
}

impl std::error::Error for TooLate {}

/// Looks until `look` has something, for `patience` at most; looks once at least.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, TooLate> {
    let started = Instant::now();
    let mut pause = LOOKS.0;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if started.elapsed() >= patience {
            return Err(TooLate { what: what.to_owned(), after: patience });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOKS.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_until_it_is_there_or_too_late() {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Ok(3));
        let late = until::<()>("a blue moon", Duration::ZERO, || None).unwrap_err();
        assert_eq!(late.to_string(), "a blue moon did not happen within 0ns");
    }
}
