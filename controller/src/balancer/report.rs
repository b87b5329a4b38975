//! What a loop has to tell the deployer, kept in order while its inbox is full.

use std::collections::VecDeque;
use std::time::Duration;

use super::Report;
use crate::msgs::FromLoop;

/// A full inbox is tried again so soon.
const RETRY: Duration = Duration::from_millis(20);

/// Reports on their way.
pub(super) struct Reports {
    send: Report,
    waiting: VecDeque<FromLoop>,
}

impl Reports {
    pub(super) fn new(send: Report) -> Reports {
        Reports { send, waiting: VecDeque::new() }
    }

    /// Tells this, after all that still waits.
    pub(super) fn tell(&mut self, report: FromLoop) {
        self.waiting.push_back(report);
    }

    /// Sends what waits, as far as it is taken.
    pub(super) fn flush(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            if let Err(report) = (self.send)(report) {
                self.waiting.push_front(report);
                return;
            }
        }
    }

    /// When to try again, where something waits.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(RETRY)
    }
}
