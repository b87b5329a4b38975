//! What a fact means for a revision's folder. Every pair of step and fact has an answer; one that
//! is late is `false`.

use tucano_common::limits::ADOPT_RETRY;
use tucano_common::time::Now;
use tucano_common::units::format_duration;
use tucano_common::wire::worker::{Cause, Failure, Step};

use super::{Ask, Build, BuildStep, Building, KillReason};
use crate::job::{End, Ending, Run, Started};

/// A fact about a build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BuildFact {
    SourceReady,
    SourceFailed(String),
    Started(Started),
    StartFailed(String),
    NotYet,
    NeverStarted,
    Ended(Ending),
    Removed,
}

impl Build {
    /// Takes a fact of this run; whether it meant anything.
    pub(crate) fn observe(&mut self, run: Run, fact: BuildFact, now: Now) -> bool {
        if run != self.run && fact != BuildFact::Removed {
            return false;
        }
        match fact {
            BuildFact::SourceReady => self.source_ready(),
            BuildFact::SourceFailed(message) => self.source_failed(message, now),
            BuildFact::Started(started) => self.started(started, now),
            BuildFact::StartFailed(message) => self.start_failed(message, now),
            BuildFact::NotYet => self.not_yet(now),
            BuildFact::NeverStarted => self.never_started(),
            BuildFact::Ended(ending) => self.ended(&ending, now),
            BuildFact::Removed => self.removed(),
        }
    }

    fn source_ready(&mut self) -> bool {
        let expected = self.step == BuildStep::Preparing;
        if expected {
            self.set(BuildStep::Prepared);
        }
        expected
    }

    fn source_failed(&mut self, message: String, now: Now) -> bool {
        let expected = self.step == BuildStep::Preparing;
        if expected {
            self.fail(Step::Source, Cause::Worker, message, String::new(), now);
        }
        expected
    }

    fn started(&mut self, started: Started, now: Now) -> bool {
        match &mut self.step {
            BuildStep::Launching | BuildStep::Adopting { .. } => {
                let since = now.mono.minus(now.wall.since(started.at));
                self.set(BuildStep::Building(Building {
                    started,
                    since,
                    outgrown: None,
                    killed: None,
                }));
                true
            }
            BuildStep::Building(building) => {
                building.started = started;
                true
            }
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Ready
            | BuildStep::Failed(_)
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => false,
        }
    }

    fn start_failed(&mut self, message: String, now: Now) -> bool {
        let expected = self.occupies();
        if expected {
            self.fail(Step::Build, Cause::Worker, message, String::new(), now);
        }
        expected
    }

    fn not_yet(&mut self, now: Now) -> bool {
        let BuildStep::Adopting { ask, .. } = &mut self.step else { return false };
        *ask = Ask::At(now.mono + ADOPT_RETRY);
        true
    }

    fn never_started(&mut self) -> bool {
        let expected = self.occupies();
        if expected {
            self.set(BuildStep::Spoiled);
        }
        expected
    }

    fn ended(&mut self, ending: &Ending, now: Now) -> bool {
        if !self.occupies() {
            return false;
        }
        let killed = match &self.step {
            BuildStep::Building(building) => building.killed.map(|killed| killed.why),
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Launching
            | BuildStep::Adopting { .. }
            | BuildStep::Ready
            | BuildStep::Failed(_)
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => None,
        };
        let tail = ending.output_tail.clone();
        match (killed, ending.end) {
            (_, End::Code(0)) => self.set(BuildStep::Ready),
            (Some(KillReason::Timeout), _) => {
                let limit = format_duration(self.spec.build_timeout);
                let message =
                    format!("the build script took longer than its build_timeout of {limit}");
                self.fail(Step::Build, Cause::Timeout, message, tail, now);
            }
            (Some(KillReason::Disk(why)), _) => {
                let message = format!("the build script was ended: {why}");
                self.fail(Step::Build, Cause::Worker, message, tail, now);
            }
            // It may be wanted again by now: then it begins anew.
            (Some(KillReason::Unwanted), _) => self.set(BuildStep::Spoiled),
            (None, end) => {
                let message = format!("the build script ended with {end}{}", hint(end));
                self.fail(Step::Build, end.cause(), message, tail, now);
            }
        }
        true
    }

    fn removed(&mut self) -> bool {
        let expected = self.step == BuildStep::Removing;
        if expected {
            self.set(BuildStep::Waiting);
        }
        expected
    }

    fn fail(&mut self, step: Step, cause: Cause, message: String, output_tail: String, now: Now) {
        let failure = Failure { at: now.wall, step, cause, message, output_tail, run: None };
        self.set(BuildStep::Failed(failure));
    }
}

/// What an exit code of the shell usually means.
pub(crate) fn hint(end: End) -> &'static str {
    match end {
        End::Code(127) => ": a command was not found; is it installed on this worker, and in PATH?",
        End::Code(126) => ": a command could not be executed; is it executable for this user?",
        End::Signal(9) => ": if nobody sent it, the kernel ended it for its memory",
        End::Code(_) | End::Signal(_) | End::Oom(_) | End::Unknown => "",
    }
}
