//! An instance as the controller sees it.

use tucano_common::time::{Mono, Wall};
use tucano_common::units::format_duration;
use tucano_common::wire::worker::{Desired, InstanceReport, RunState};

use super::{Instance, Step, Up};
use crate::build::Build;
use crate::ledger::Outcome;

impl Instance {
    /// The whole report.
    pub(crate) fn report(&self, build: Option<&Build>, now: Mono) -> InstanceReport {
        let started = match &self.step {
            // As the ledger knew it, until its holder was asked.
            Step::Adopting { known, .. } => *known,
            Step::Up(up) => Some(up.started),
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Launching
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => None,
        };
        InstanceReport {
            id: self.id,
            service: self.service.clone(),
            revision: self.revision,
            generation: self.generation,
            state: self.state(build),
            since: self.since,
            healthy: self.is_healthy(),
            port: self.port(),
            pid: started.map(|started| started.main.pid),
            started_at: started.map(|started| started.at),
            restarts: self.starts.saturating_sub(1),
            restart_nonce: self.restarted_nonce,
            failures_in_row: self.failures_in_row,
            failure: self.failure.clone(),
            waits_for: self.waits_for(now),
            usage: self.usage,
        }
    }

    /// Notes when its state changed, for `since`.
    pub(super) fn settle(&mut self, build: Option<&Build>, now: Wall) {
        let state = self.state(build);
        if state != self.told {
            (self.told, self.since) = (state, now);
            (self.changed, self.dirty) = (true, true);
        }
    }

    fn is_healthy(&self) -> bool {
        match &self.step {
            Step::Up(Up { health, ending: None, .. }) => health.is_well(),
            // An instance that was ready is not taken out because its agent starts again.
            Step::Adopting { ready, known: Some(_), .. } => *ready && self.desired == Desired::Run,
            Step::Up(Up { ending: Some(_), .. })
            | Step::Adopting { .. }
            | Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Launching
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => false,
        }
    }

    pub(super) fn state(&self, build: Option<&Build>) -> RunState {
        match &self.step {
            Step::Waiting | Step::Intending { .. } if self.starts > 0 => RunState::Starting,
            Step::Waiting | Step::Intending { .. } => match build {
                Some(build) if build.is_building() => RunState::Building,
                Some(_) | None => RunState::Pending,
            },
            Step::Resting { .. } => RunState::Starting,
            Step::Launching | Step::Adopting { .. } | Step::Up(_)
                if self.desired == Desired::Stop =>
            {
                RunState::Stopping
            }
            Step::Launching => RunState::Starting,
            Step::Adopting { ready, .. } => running(*ready),
            Step::Up(up) => running(up.health.was_ready() && up.ending.is_none()),
            Step::Finishing { outcome: Outcome::Failed }
            | Step::Teardown { outcome: Outcome::Failed, .. }
            | Step::Finishing { outcome: Outcome::Stopped | Outcome::Done }
            | Step::Teardown { outcome: Outcome::Stopped | Outcome::Done, .. }
            | Step::Removing { outcome: Outcome::Stopped | Outcome::Done } => RunState::Stopping,
            Step::Over { outcome: Outcome::Stopped | Outcome::Done, .. } => RunState::Stopped,
            Step::Removing { outcome: Outcome::Failed }
            | Step::Over { outcome: Outcome::Failed, .. } => RunState::Failed,
        }
    }

    fn waits_for(&self, now: Mono) -> Option<String> {
        match &self.step {
            Step::Waiting | Step::Intending { .. } => self.waits_for.clone(),
            Step::Resting { until } => {
                let left = std::time::Duration::from_secs(until.since(now).as_secs() + 1);
                Some(format!("its next start, in {}", format_duration(left)))
            }
            Step::Up(Up { ending: Some(_), .. }) if self.desired == Desired::Run => {
                Some("its process to end, before it is started again".to_owned())
            }
            Step::Up(up) if !up.health.was_ready() && !up.health.reason().is_empty() => {
                Some(format!("its health check to pass: {}", up.health.reason()))
            }
            Step::Up(_)
            | Step::Launching
            | Step::Adopting { .. }
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => None,
        }
    }
}

fn running(ready: bool) -> RunState {
    if ready { RunState::Running } else { RunState::Starting }
}
