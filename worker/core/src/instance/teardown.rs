//! The end of an instance: its teardown script, then its folder.

use tucano_common::limits::{KILL_REPEAT, TEARDOWN_TIMEOUT};
use tucano_common::time::{Mono, Now};
use tucano_common::units::format_duration;
use tucano_common::wire::worker::{Cause, Desired, Step as WireStep};

use super::{Instance, Step, Teardown};
use crate::build::Ask;
use crate::effect::Effect;
use crate::job::{Ending, Started};
use crate::ledger::Outcome;
use crate::note::Note;
use crate::turn::Turn;

impl Instance {
    /// After its last process: teardown if it ran and has a script, and its folder once the level
    /// is stop.
    pub(super) fn drive_finishing(&mut self, outcome: Outcome, turn: &mut Turn<'_>) -> bool {
        if self.ran && self.has_teardown() {
            let stage = Teardown::Intending { version: turn.saves.next_version() };
            self.set(Step::Teardown { outcome, stage });
            return true;
        }
        self.ran = false;
        self.give_port_back(turn);
        match self.desired {
            Desired::Stop => self.remove(outcome, turn),
            Desired::Run => {
                self.set(Step::Over { outcome, removed: false });
                // A restart by hand may have been asked for meanwhile.
                true
            }
        }
    }

    pub(super) fn drive_teardown(&mut self, turn: &mut Turn<'_>) -> bool {
        let now = turn.now.mono;
        let job = self.teardown();
        let Step::Teardown { outcome, stage } = &mut self.step else { return false };
        let outcome = *outcome;
        match stage {
            Teardown::Intending { version } if turn.saves.is_attempted(*version) => {
                match self.to_teardown(turn.settings) {
                    Some(launch) => {
                        self.set(Step::Teardown { outcome, stage: Teardown::Launching });
                        turn.effects.push(Effect::Start(Box::new(launch)));
                        false
                    }
                    None => self.torn_down(outcome),
                }
            }
            Teardown::Adopting { known, ask } => {
                if let Ask::At(at) = *ask
                    && now >= at
                {
                    let known = *known;
                    *ask = Ask::Asked;
                    turn.effects.push(Effect::Adopt { job, known });
                }
                false
            }
            Teardown::Up { kill_at, kills, .. } if now >= *kill_at => {
                *kill_at = now + KILL_REPEAT;
                *kills += 1;
                if *kills == 2 {
                    turn.effects.push(Effect::Note(Note::Unkillable(job.clone())));
                }
                turn.effects.push(Effect::SignalKill(job));
                false
            }
            Teardown::Intending { .. } | Teardown::Launching | Teardown::Up { .. } => false,
        }
    }

    /// Its script is over, whatever became of it.
    pub(super) fn torn_down(&mut self, outcome: Outcome) -> bool {
        self.ran = false;
        self.set(Step::Finishing { outcome });
        true
    }

    /// It runs.
    pub(super) fn teardown_started(&mut self, started: Started, now: Now) -> bool {
        let Step::Teardown { outcome, stage } = &self.step else { return false };
        let outcome = *outcome;
        let stage = match stage {
            Teardown::Launching | Teardown::Adopting { .. } => {
                let since = now.mono.minus(now.wall.since(started.at));
                Teardown::Up { started, kill_at: since + TEARDOWN_TIMEOUT, kills: 0 }
            }
            Teardown::Up { kill_at, kills, .. } => {
                Teardown::Up { started, kill_at: *kill_at, kills: *kills }
            }
            Teardown::Intending { .. } => return false,
        };
        self.set(Step::Teardown { outcome, stage });
        true
    }

    /// It ended, or could not be started.
    pub(super) fn teardown_ended(&mut self, result: Result<Ending, String>, now: Now) -> bool {
        let Step::Teardown { outcome, stage } = &self.step else { return false };
        let (outcome, killed) = match stage {
            Teardown::Intending { .. } => return false,
            Teardown::Launching | Teardown::Adopting { .. } => (*outcome, false),
            Teardown::Up { kills, .. } => (*outcome, *kills > 0),
        };
        match result {
            Ok(ending) if ending.end.is_success() => {}
            Ok(ending) => {
                let (cause, message) = if killed {
                    let limit = format_duration(TEARDOWN_TIMEOUT);
                    (Cause::Timeout, format!("the teardown script took longer than {limit}"))
                } else {
                    (ending.end.cause(), format!("the teardown script ended with {}", ending.end))
                };
                self.note_teardown_failure(outcome, cause, message, ending.output_tail, now);
            }
            Err(message) => {
                self.note_teardown_failure(outcome, Cause::Worker, message, String::new(), now);
            }
        }
        self.torn_down(outcome)
    }

    /// A failure of the runtime goes first: it is what a person has to act upon.
    fn note_teardown_failure(
        &mut self,
        outcome: Outcome,
        cause: Cause,
        message: String,
        tail: String,
        now: Now,
    ) {
        if outcome != Outcome::Failed || self.failure.is_none() {
            self.fail(WireStep::Teardown, cause, message, tail, now.wall);
        }
    }
}

impl Teardown {
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self {
            Teardown::Adopting { ask: Ask::At(at), .. } => Some(*at),
            Teardown::Up { kill_at, .. } => Some(*kill_at),
            Teardown::Intending { .. }
            | Teardown::Launching
            | Teardown::Adopting { ask: Ask::Asked, .. } => None,
        }
    }
}
