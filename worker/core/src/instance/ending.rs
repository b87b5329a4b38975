//! What follows when an instance's process ended, or did not come to run.

use std::time::Duration;

use tucano_common::prng::Prng;
use tucano_common::time::Now;
use tucano_common::units::format_duration;
use tucano_common::wire::worker::{Cause, Desired, RunSummary, Step as WireStep, Usage};

use super::{Instance, Step, Why};
use crate::build::hint;
use crate::job::{End, Ending};
use crate::note::Note;
use crate::restart::{self, Next};

impl Instance {
    /// Its runtime is gone, with everything that it had started.
    pub(super) fn ended(&mut self, ending: Ending, now: Now, prng: &mut Prng) -> bool {
        // `counted`: the news of its start came before the news of its end.
        let (why, up, counted) = match &self.step {
            Step::Up(up) => {
                let why = up.ending.as_ref().map(|ending| ending.why.clone());
                // By the clock that nobody sets: the other one may have been stepped meanwhile.
                (why, now.mono.since(up.since), true)
            }
            Step::Adopting { known: Some(known), .. } => (None, ending.at.since(known.at), true),
            // Its record may know more than the agent that ended before it could.
            Step::Adopting { known: None, .. } | Step::Launching => {
                let up = ending.started_at.map(|started_at| ending.at.since(started_at));
                (None, up.unwrap_or_default(), false)
            }
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => return false,
        };
        if !counted {
            self.starts = self.starts.saturating_add(1);
            self.ran = true;
        }
        let memory_peak_bytes = self.usage.memory_peak_bytes.max(ending.memory_peak_bytes);
        self.usage = Usage::default();
        self.notes.push(Note::Ended { job: self.runtime(), end: ending.end });
        if self.desired == Desired::Stop {
            return self.finish(crate::ledger::Outcome::Stopped);
        }
        match why {
            // The level changed back, or it was asked for: at once, and no failure.
            Some(Why::Stop | Why::Restart) => {
                self.set(Step::Waiting);
                true
            }
            Some(Why::Health(message)) => {
                let tail = ending.output_tail;
                self.fail(WireStep::Health, Cause::Timeout, message, tail, now.wall);
                self.sum_up(up, memory_peak_bytes);
                self.go_on(restart::after_failure(self.spec.restart.policy), up, now, prng)
            }
            None => {
                let next = restart::after_end(self.spec.restart.policy, ending.end);
                let over_and_well = ending.end.is_success() && next != Next::Again;
                if !over_and_well {
                    let message = runtime_message(ending.end, up);
                    let (cause, tail) = (ending.end.cause(), ending.output_tail);
                    self.fail(WireStep::Runtime, cause, message, tail, ending.at);
                    self.sum_up(up, memory_peak_bytes);
                }
                self.go_on(next, up, now, prng)
            }
        }
    }

    /// What the failed run was, for the failure's record.
    fn sum_up(&mut self, up: Duration, memory_peak_bytes: u64) {
        if let Some(failure) = &mut self.failure {
            let uptime_ms = u64::try_from(up.as_millis()).unwrap_or(u64::MAX);
            failure.run =
                Some(RunSummary { uptime_ms, memory_peak_bytes, requests_in_flight: None });
        }
    }

    /// It did not come to run.
    pub(super) fn start_failed(&mut self, message: String, now: Now, prng: &mut Prng) -> bool {
        if !matches!(self.step, Step::Launching | Step::Adopting { .. }) {
            return false;
        }
        self.starts = self.starts.saturating_add(1);
        self.notes.push(Note::Failed { job: self.runtime().job, message: message.clone() });
        self.fail(WireStep::Start, Cause::Worker, message, String::new(), now.wall);
        if self.desired == Desired::Stop {
            return self.finish(crate::ledger::Outcome::Stopped);
        }
        let next = restart::after_failure(self.spec.restart.policy);
        self.go_on(next, Duration::ZERO, now, prng)
    }

    /// Something that is not an instance listens on its port: another port, or a failure where it
    /// insists on this one.
    pub(super) fn port_taken(&mut self, now: Now, prng: &mut Prng) -> bool {
        let (Step::Launching, Some(port)) = (&self.step, self.port()) else { return false };
        self.notes.push(Note::PortTaken { id: self.id, port });
        if self.spec.network.fixed_port == Some(port) {
            let message = format!(
                "port {port} is taken by another program on this worker; end it, or leave \
                 fixed_port out"
            );
            return self.start_failed(message, now, prng);
        }
        self.address = None;
        self.lost_port = Some(port);
        self.set(Step::Waiting);
        true
    }

    fn go_on(&mut self, next: Next, up: Duration, now: Now, prng: &mut Prng) -> bool {
        self.failures_in_row = restart::count(self.failures_in_row, up);
        match next {
            Next::Again => {
                let failures = self.failures_in_row;
                let delay = restart::delay(&self.spec.restart, failures, prng);
                self.notes.push(Note::RestartIn { id: self.id, delay, failures });
                self.set(Step::Resting { until: now.mono + delay });
                true
            }
            Next::Over(outcome) => self.finish(outcome),
        }
    }
}

fn runtime_message(end: End, up: Duration) -> String {
    let up = format_duration(up);
    let what = hint(end);
    match end {
        End::Code(0) => {
            format!("the runtime script ended with exit code 0 after {up}; it has to keep running")
        }
        End::Code(_) | End::Signal(_) => {
            format!("the runtime script ended with {end} after {up}{what}")
        }
        End::Oom(oom) if oom.limit_bytes.is_some() => format!(
            "the kernel ended it for its memory after {up} ({oom}); raise resources.memory, or \
             find what takes so much"
        ),
        End::Oom(oom) => format!(
            "the worker ran out of memory, and the kernel ended it after {up} ({oom}); give it \
             resources.memory, so that it is placed where there is enough"
        ),
        End::Unknown => {
            "it ended while nobody could watch: its holder was killed or the worker restarted"
                .to_owned()
        }
    }
}
