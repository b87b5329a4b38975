//! Whether a process is well: when it is checked, what its answers mean, when it has to be
//! replaced.
//!
//! ```text
//!            healthy_after passes          unhealthy_after failures
//!  Warming ───────────────────────▶ Well ───────────────────────────▶ Unwell
//!     │ start_timeout                 ▲          healthy_after passes    │ 30 s
//!     ▼                               └──────────────────────────────────┤
//!  Verdict::Unready                                                      ▼
//!                                                             Verdict::Unhealthy
//! ```
//!
//! The instance's state machine owns one of these for each run, sends the probes and acts on the
//! verdict.

use std::time::Duration;

use tucano_common::limits::{
    PROBE_GAP_FIRST, PROBE_GAP_MAX, READY_UPTIME, UNHEALTHY_RESTART_AFTER,
};
use tucano_common::spec::HealthCheck;
use tucano_common::time::Mono;

/// An answer that is later than the check's own timeout by so much was lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// The health of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Health {
    stage: Stage,
    probing: Probing,
    /// Passes in a row while not well, failures in a row while well.
    streak: u32,
    /// Why the last check failed.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Warming { since: Mono, gap: Duration },
    Well,
    Unwell { since: Mono },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probing {
    /// Nothing to ask: without a port the process is well once it is up for a second.
    ByUptime,
    /// The next check is due then.
    Next(Mono),
    /// One is under way; it is lost if no answer came by then.
    UnderWay { lost_at: Mono },
}

/// What follows from a process's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing now.
    Wait,
    /// Send a check.
    Probe,
    /// It did not become ready in time: the start failed.
    Unready(String),
    /// It was unhealthy for too long.
    Unhealthy(String),
}

/// How a process's health changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not.
    None,
    /// Ready for the first time.
    Ready,
    /// Healthy again.
    Recovered,
    /// Not healthy any more.
    Fell,
}

impl Health {
    /// Of a process that started at `since`; `has_check`: it has a port that can be asked.
    pub(crate) fn warming(since: Mono, has_check: bool) -> Health {
        let probing =
            if has_check { Probing::Next(since + PROBE_GAP_FIRST) } else { Probing::ByUptime };
        let stage = Stage::Warming { since, gap: PROBE_GAP_FIRST };
        Health { stage, probing, streak: 0, reason: String::new() }
    }

    /// Of a process that was ready when its agent ended: well until a check says otherwise, and
    /// asked at once.
    pub(crate) fn adopted(now: Mono, has_check: bool) -> Health {
        let probing = if has_check { Probing::Next(now) } else { Probing::ByUptime };
        Health { stage: Stage::Well, probing, streak: 0, reason: String::new() }
    }

    /// Whether it receives requests.
    pub(crate) fn is_well(&self) -> bool {
        self.stage == Stage::Well
    }

    /// Whether it was ready once.
    pub(crate) fn was_ready(&self) -> bool {
        match self.stage {
            Stage::Warming { .. } => false,
            Stage::Well | Stage::Unwell { .. } => true,
        }
    }

    /// Why the last check failed.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// What is to be done now.
    pub(crate) fn verdict(&self, check: &HealthCheck, now: Mono) -> Verdict {
        match self.stage {
            Stage::Warming { since, .. }
                if self.probing != Probing::ByUptime && now >= since + check.start_timeout =>
            {
                return Verdict::Unready(self.reason.clone());
            }
            Stage::Unwell { since } if now >= since + UNHEALTHY_RESTART_AFTER => {
                return Verdict::Unhealthy(self.reason.clone());
            }
            Stage::Warming { .. } | Stage::Well | Stage::Unwell { .. } => {}
        }
        match self.probing {
            Probing::Next(at) if now >= at => Verdict::Probe,
            Probing::Next(_) | Probing::ByUptime | Probing::UnderWay { .. } => Verdict::Wait,
        }
    }

    /// A check was sent.
    pub(crate) fn sent(&mut self, check: &HealthCheck, now: Mono) {
        self.probing = Probing::UnderWay { lost_at: now + check.timeout + LOST_AFTER };
    }

    /// A check's answer. One that nobody waits for changes nothing.
    pub(crate) fn answered(
        &mut self,
        check: &HealthCheck,
        result: Result<(), String>,
        now: Mono,
    ) -> Change {
        let Probing::UnderWay { .. } = self.probing else {
            return Change::None;
        };
        self.take(check, result, now)
    }

    /// The check could not be sent: the next one is due as if it had been, and nothing is known.
    pub(crate) fn not_asked(&mut self, check: &HealthCheck, reason: String, now: Mono) {
        if let Probing::UnderWay { .. } = self.probing {
            self.reason = reason;
            self.probing = Probing::Next(now + self.gap(check));
        }
    }

    /// Time passed: readiness by uptime, and a check whose answer was lost.
    pub(crate) fn tick(&mut self, check: &HealthCheck, now: Mono) -> Change {
        match (self.probing, self.stage) {
            (Probing::UnderWay { lost_at }, _) if now >= lost_at => {
                self.take(check, Err("no answer came".to_owned()), now)
            }
            (Probing::ByUptime, Stage::Warming { since, .. }) if now >= since + READY_UPTIME => {
                self.stage = Stage::Well;
                Change::Ready
            }
            (Probing::UnderWay { .. } | Probing::ByUptime | Probing::Next(_), _) => Change::None,
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self, check: &HealthCheck) -> Option<Mono> {
        let probe = match self.probing {
            Probing::Next(at) | Probing::UnderWay { lost_at: at } => Some(at),
            Probing::ByUptime => None,
        };
        let stage = match (self.stage, self.probing) {
            (Stage::Warming { since, .. }, Probing::ByUptime) => Some(since + READY_UPTIME),
            (Stage::Warming { since, .. }, Probing::Next(_) | Probing::UnderWay { .. }) => {
                Some(since + check.start_timeout)
            }
            (Stage::Unwell { since }, _) => Some(since + UNHEALTHY_RESTART_AFTER),
            (Stage::Well, _) => None,
        };
        probe.into_iter().chain(stage).min()
    }

    fn take(&mut self, check: &HealthCheck, result: Result<(), String>, now: Mono) -> Change {
        let passed = result.is_ok();
        if let Err(reason) = result {
            self.reason = reason;
        }
        // Warming and unwell count passes, well counts failures; the other kind begins the row
        // anew.
        let counts = passed != self.is_well();
        self.streak = if counts { self.streak.saturating_add(1) } else { 0 };
        let change = self.turn(check, now);
        if change != Change::None {
            self.streak = 0;
        }
        self.probing = Probing::Next(now + self.gap(check));
        change
    }

    fn turn(&mut self, check: &HealthCheck, now: Mono) -> Change {
        match self.stage {
            Stage::Warming { .. } if self.streak >= check.healthy_after.max(1) => {
                self.stage = Stage::Well;
                Change::Ready
            }
            Stage::Unwell { .. } if self.streak >= check.healthy_after.max(1) => {
                self.stage = Stage::Well;
                Change::Recovered
            }
            Stage::Well if self.streak >= check.unhealthy_after.max(1) => {
                self.stage = Stage::Unwell { since: now };
                Change::Fell
            }
            Stage::Warming { .. } | Stage::Unwell { .. } | Stage::Well => Change::None,
        }
    }

    /// Until the next check; while warming it grows by half each time.
    fn gap(&mut self, check: &HealthCheck) -> Duration {
        match &mut self.stage {
            Stage::Warming { gap, .. } => {
                *gap = (*gap * 3 / 2).min(PROBE_GAP_MAX);
                *gap
            }
            Stage::Well | Stage::Unwell { .. } => check.interval,
        }
    }
}

#[cfg(test)]
mod tests;
