//! What a fact means for an instance. Every pair of step and fact has an answer; one that is late
//! is `false`.

use tucano_common::limits::ADOPT_RETRY;
use tucano_common::prng::Prng;
use tucano_common::time::Now;

use super::{Instance, Step, Teardown, Up};
use crate::build::Ask;
use crate::health::Health;
use crate::job::{Ending, Run, Started};
use crate::ledger::Outcome;
use crate::note::Note;

/// A fact about one of an instance's jobs, or its folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InstanceFact {
    Started(Started),
    StartFailed(String),
    PortTaken,
    NotYet,
    NeverStarted,
    Ended(Ending),
    Probed(Result<(), String>),
    NotProbed(String),
}

/// Which of an instance's scripts a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Runtime,
    Teardown,
}

impl Instance {
    /// Takes a fact of this run; whether it meant anything.
    pub(crate) fn observe(
        &mut self,
        script: Script,
        run: Run,
        fact: InstanceFact,
        now: Now,
        prng: &mut Prng,
    ) -> bool {
        if run != self.run {
            return false;
        }
        match (script, fact) {
            (Script::Runtime, InstanceFact::Started(started)) => self.started(started, now),
            (Script::Runtime, InstanceFact::StartFailed(message)) => {
                self.start_failed(message, now, prng)
            }
            (Script::Runtime, InstanceFact::PortTaken) => self.port_taken(now, prng),
            (Script::Runtime, InstanceFact::NotYet) => self.not_yet(now),
            (Script::Runtime, InstanceFact::NeverStarted) => self.never_started(),
            (Script::Runtime, InstanceFact::Ended(ending)) => self.ended(ending, now, prng),
            (Script::Runtime, InstanceFact::Probed(result)) => self.probed(result, now),
            (Script::Runtime, InstanceFact::NotProbed(reason)) => self.not_probed(reason, now),
            (Script::Teardown, InstanceFact::Started(started)) => {
                self.teardown_started(started, now)
            }
            (Script::Teardown, InstanceFact::StartFailed(message)) => {
                self.teardown_ended(Err(message), now)
            }
            (Script::Teardown, InstanceFact::NotYet) => self.teardown_not_yet(now),
            (Script::Teardown, InstanceFact::NeverStarted) => self.teardown_never_started(),
            (Script::Teardown, InstanceFact::Ended(ending)) => self.teardown_ended(Ok(ending), now),
            // A teardown has none of them.
            (
                Script::Teardown,
                InstanceFact::PortTaken | InstanceFact::Probed(_) | InstanceFact::NotProbed(_),
            ) => false,
        }
    }

    /// Its folder is gone.
    pub(crate) fn folder_removed(&mut self) -> bool {
        let Step::Removing { outcome } = self.step else { return false };
        self.set(Step::Over { outcome, removed: true });
        true
    }

    fn started(&mut self, started: Started, now: Now) -> bool {
        let has_check = self.has_check();
        let since = now.mono.minus(now.wall.since(started.at));
        let pid = started.main.pid;
        let job = self.runtime();
        match &mut self.step {
            Step::Launching => {
                self.starts = self.starts.saturating_add(1);
                self.ran = true;
                let health = Health::warming(since, has_check);
                self.set(Step::Up(Up { started, since, health, ending: None }));
                self.notes.push(Note::Started { job, pid });
                true
            }
            Step::Adopting { known, ready, .. } => {
                // An agent that ended between the start and the ledger had not counted it.
                let counted = known.is_some();
                let health = if *ready {
                    Health::adopted(now.mono, has_check)
                } else {
                    // Nobody could ask it meanwhile: its time begins now.
                    Health::warming(now.mono, has_check)
                };
                if !counted {
                    self.starts = self.starts.saturating_add(1);
                }
                self.ran = true;
                self.set(Step::Up(Up { started, since, health, ending: None }));
                self.notes.push(Note::Adopted { job, pid });
                true
            }
            Step::Up(up) => {
                up.started = started;
                true
            }
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => false,
        }
    }

    fn not_yet(&mut self, now: Now) -> bool {
        let Step::Adopting { ask, .. } = &mut self.step else { return false };
        *ask = Ask::At(now.mono + ADOPT_RETRY);
        true
    }

    fn never_started(&mut self) -> bool {
        let expected = matches!(self.step, Step::Adopting { .. });
        if expected {
            self.set(Step::Waiting);
        }
        expected
    }

    fn probed(&mut self, result: Result<(), String>, now: Now) -> bool {
        let spec = self.spec.clone();
        let Step::Up(up) = &mut self.step else { return false };
        if up.ending.is_some() {
            return false;
        }
        let change = up.health.answered(&spec.network.health_check, result, now.mono);
        let after = now.mono.since(up.since);
        self.note_health(change, after);
        true
    }

    fn not_probed(&mut self, reason: String, now: Now) -> bool {
        let spec = self.spec.clone();
        let Step::Up(up) = &mut self.step else { return false };
        if up.ending.is_some() {
            return false;
        }
        up.health.not_asked(&spec.network.health_check, reason, now.mono);
        true
    }

    fn teardown_not_yet(&mut self, now: Now) -> bool {
        let Step::Teardown { stage: Teardown::Adopting { ask, .. }, .. } = &mut self.step else {
            return false;
        };
        *ask = Ask::At(now.mono + ADOPT_RETRY);
        true
    }

    fn teardown_never_started(&mut self) -> bool {
        let Step::Teardown { outcome, stage: Teardown::Adopting { .. } } = &self.step else {
            return false;
        };
        // `ran` is true still: finishing begins it anew.
        let outcome: Outcome = *outcome;
        self.finish(outcome)
    }
}
