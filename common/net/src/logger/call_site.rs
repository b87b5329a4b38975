//! A limit on what one call site writes, so that a client can't fill the journal.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tucano_common::limits::{LOG_LIMIT_LINES, LOG_LIMIT_WINDOW};
use tucano_common::time::Mono;

/// How often one call site wrote lately. The counters are apart and two threads may race between
/// them: a line more or less does not matter.
#[derive(Debug)]
pub struct CallSite {
    /// Start of the window, µs; zero before the first line.
    since: AtomicU64,
    written: AtomicU32,
    missed: AtomicU32,
}

impl CallSite {
    /// A site that wrote nothing yet.
    #[expect(clippy::new_without_default, reason = "only ever a static")]
    pub const fn new() -> CallSite {
        CallSite { since: AtomicU64::new(0), written: AtomicU32::new(0), missed: AtomicU32::new(0) }
    }

    /// Whether to write now; `Some` holds how many lines were not written since the last one.
    pub fn admit(&self, now: Mono) -> Option<u32> {
        let since = Mono(self.since.load(Ordering::Relaxed));
        if since == Mono(0) || now.since(since) >= LOG_LIMIT_WINDOW {
            self.since.store(now.0.max(1), Ordering::Relaxed);
            self.written.store(0, Ordering::Relaxed);
        }
        if self.written.fetch_add(1, Ordering::Relaxed) < LOG_LIMIT_LINES {
            Some(self.missed.swap(0, Ordering::Relaxed))
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// Logs as `log::log!` does, but only a few lines in a few seconds for each place where it stands
/// in the source; how many were left out is said with the next. For whatever a client, a worker or
/// a service can trigger.
///
/// ```
/// tucano_net::log_limited!(log::Level::Warn, "refused a connection of {}", "192.0.2.1");
/// ```
#[macro_export]
macro_rules! log_limited {
    ($level:expr, $($arg:tt)+) => {{
        static SITE: $crate::logger::CallSite = $crate::logger::CallSite::new();
        if $level <= ::log::max_level() {
            match SITE.admit($crate::clock::Clock::mono()) {
                None => {}
                Some(0) => ::log::log!($level, $($arg)+),
                Some(missed) => ::log::log!(
                    $level,
                    "{} (and {missed} more like this before)",
                    ::std::format_args!($($arg)+)
                ),
            }
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_a_window_and_the_rest_counted() {
        let site = CallSite::new();
        let start = Mono(5_000_000);
        for _ in 0..LOG_LIMIT_LINES {
            assert_eq!(site.admit(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(site.admit(start), None);
        }
        assert_eq!(site.admit(start + LOG_LIMIT_WINDOW), Some(7));
        assert_eq!(site.admit(start + LOG_LIMIT_WINDOW), Some(0));
    }
}
