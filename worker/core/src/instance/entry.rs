//! An instance in the ledger, and out of it.

use tucano_common::time::Now;
use tucano_common::wire::worker::{RunState, Usage};

use super::{Instance, Step, Teardown};
use crate::build::Ask;
use crate::ledger::{InstanceEntry, StepEntry};

impl Instance {
    /// For the ledger, and beside its job's files.
    pub(crate) fn entry(&self) -> InstanceEntry {
        InstanceEntry {
            id: self.id,
            cluster: self.cluster.clone(),
            generation: self.generation,
            service: self.service.clone(),
            revision: self.revision,
            spec: self.spec.clone(),
            desired: self.desired,
            unassigned: self.unassigned,
            restart_nonce: self.restart_nonce,
            build: self.build.clone(),
            step: self.step_entry(),
            run: self.run,
            restarted_nonce: self.restarted_nonce,
            starts: self.starts,
            ran: self.ran,
            failures_in_row: self.failures_in_row,
            address: self.address,
            failure: self.failure.clone(),
            since: self.since,
        }
    }

    fn step_entry(&self) -> StepEntry {
        match &self.step {
            Step::Waiting | Step::Resting { .. } => StepEntry::Idle,
            Step::Intending { .. } | Step::Launching => {
                StepEntry::Runtime { started: None, ready: false }
            }
            Step::Adopting { known, ready, .. } => {
                StepEntry::Runtime { started: *known, ready: *ready }
            }
            Step::Up(up) => {
                StepEntry::Runtime { started: Some(up.started), ready: up.health.was_ready() }
            }
            Step::Finishing { outcome } | Step::Removing { outcome } => {
                StepEntry::Finishing { outcome: *outcome }
            }
            Step::Teardown { outcome, stage } => {
                let started = match stage {
                    Teardown::Intending { .. } | Teardown::Launching => None,
                    Teardown::Adopting { known, .. } => *known,
                    Teardown::Up { started, .. } => Some(*started),
                };
                StepEntry::Teardown { started, outcome: *outcome }
            }
            Step::Over { outcome, removed } => {
                StepEntry::Over { outcome: *outcome, removed: *removed }
            }
        }
    }

    /// As an earlier agent left it.
    pub(crate) fn from_entry(entry: InstanceEntry, now: Now) -> Instance {
        let ask = Ask::At(now.mono);
        let step = match entry.step {
            StepEntry::Idle => Step::Waiting,
            StepEntry::Runtime { started, ready } => Step::Adopting { known: started, ready, ask },
            StepEntry::Finishing { outcome } => Step::Finishing { outcome },
            StepEntry::Teardown { started, outcome } => {
                Step::Teardown { outcome, stage: Teardown::Adopting { known: started, ask } }
            }
            StepEntry::Over { outcome, removed } => Step::Over { outcome, removed },
        };
        let mut instance = Instance {
            id: entry.id,
            cluster: entry.cluster,
            generation: entry.generation,
            service: entry.service,
            revision: entry.revision,
            spec: entry.spec,
            desired: entry.desired,
            unassigned: entry.unassigned,
            restart_nonce: entry.restart_nonce,
            build: entry.build,
            step,
            run: entry.run,
            restarted_nonce: entry.restarted_nonce,
            starts: entry.starts,
            ran: entry.ran,
            failures_in_row: entry.failures_in_row,
            address: entry.address,
            lost_port: None,
            failure: entry.failure,
            waits_for: None,
            since: entry.since,
            told: RunState::Pending,
            usage: Usage::default(),
            changed: true,
            dirty: false,
            rebuild: false,
            notes: Vec::new(),
        };
        instance.told = instance.state(None);
        instance
    }
}
