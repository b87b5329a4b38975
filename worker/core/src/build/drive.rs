//! What is to be done for a revision's folder.

use std::time::Duration;

use tucano_common::limits::KILL_REPEAT;
use tucano_common::spec::{Resources, Stop, StopSignal};
use tucano_common::time::Mono;

use super::{Ask, Build, BuildStep, KillReason, Killed};
use crate::effect::{Effect, Folder, Launch, Priority};
use crate::environment::{Subject, environment};
use crate::note::Note;
use crate::settings::Settings;
use crate::turn::Saves;

/// Whether instances' processes run in a build's folder, or ran there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tenants {
    /// None do.
    #[default]
    None,
    /// An earlier agent may have started one.
    Perhaps,
    /// At least one does or did: then the folder was ready, whatever an old ledger says.
    Some,
}

/// What a build may look at while it drives.
pub(crate) struct BuildTurn<'a> {
    /// An instance needs it.
    pub(crate) wanted: bool,
    /// Whether something may be running in its folder.
    pub(crate) tenants: Tenants,
    /// No other script is being built.
    pub(crate) place: bool,
    pub(crate) settings: &'a Settings,
    pub(crate) saves: &'a Saves,
    pub(crate) now: Mono,
}

impl Build {
    /// Moves as far as it can now.
    pub(crate) fn drive(&mut self, turn: &BuildTurn<'_>, effects: &mut Vec<Effect>) {
        // Waiting → Preparing and Prepared → Launching end a turn; nothing takes more steps.
        for _ in 0..2 {
            if !self.step_once(turn, effects) {
                break;
            }
        }
    }

    fn step_once(&mut self, turn: &BuildTurn<'_>, effects: &mut Vec<Effect>) -> bool {
        match &mut self.step {
            BuildStep::Waiting if turn.wanted => self.prepare(effects),
            BuildStep::Waiting => {
                self.set(BuildStep::Gone);
                true
            }
            BuildStep::Prepared if turn.wanted => self.launch(turn, effects),
            BuildStep::Ready if !turn.wanted => {
                self.set(BuildStep::Doomed { version: turn.saves.next_version() });
                false
            }
            BuildStep::Doomed { version } if turn.saves.is_saved(*version) => self.remove(effects),
            BuildStep::Prepared | BuildStep::Failed(_) if !turn.wanted => self.remove(effects),
            BuildStep::Spoiled => match turn.tenants {
                Tenants::None => self.remove(effects),
                Tenants::Perhaps => false,
                Tenants::Some => {
                    self.set(BuildStep::Ready);
                    true
                }
            },
            BuildStep::Adopting { known, ask } => {
                if let Ask::At(at) = *ask
                    && turn.now >= at
                {
                    let known = *known;
                    *ask = Ask::Asked;
                    effects.push(Effect::Adopt { job: self.job(), known });
                }
                false
            }
            BuildStep::Building(_) => {
                self.watch(turn.wanted, turn.now, effects);
                false
            }
            BuildStep::Prepared
            | BuildStep::Preparing
            | BuildStep::Launching
            | BuildStep::Ready
            | BuildStep::Failed(_)
            | BuildStep::Doomed { .. }
            | BuildStep::Removing
            | BuildStep::Gone => false,
        }
    }

    fn remove(&mut self, effects: &mut Vec<Effect>) -> bool {
        self.set(BuildStep::Removing);
        effects.push(Effect::Remove(Folder::Build(self.key.clone())));
        false
    }

    fn prepare(&mut self, effects: &mut Vec<Effect>) -> bool {
        let Some(source) = self.scripts().map(|scripts| scripts.source.clone()) else {
            // An instance of an external service never comes to ask for a folder.
            self.set(BuildStep::Ready);
            return true;
        };
        self.run = self.run.next();
        self.set(BuildStep::Preparing);
        let build = self.key.clone();
        effects.push(Effect::PrepareSource { build, attempt: self.run, source, user: None });
        true
    }

    fn launch(&mut self, turn: &BuildTurn<'_>, effects: &mut Vec<Effect>) -> bool {
        let Some(script) = self.scripts().and_then(|scripts| scripts.build.clone()) else {
            self.set(BuildStep::Ready);
            return true;
        };
        if !turn.place {
            return false;
        }
        self.set(BuildStep::Launching);
        let launch = self.to_launch(script, turn.settings);
        effects.push(Effect::Start(Box::new(launch)));
        true
    }

    fn to_launch(&self, script: String, settings: &Settings) -> Launch {
        let layout = &settings.layout;
        let home = layout.build_home(&self.key);
        let subject = Subject {
            service: &self.key.service,
            revision: self.key.revision,
            instance: None,
            home: &home,
            address: None,
            env: &self.spec.env,
        };
        Launch {
            job: self.job(),
            script,
            folder: layout.build(&self.key),
            environment: environment(&subject, settings),
            data: layout.data(&self.key.service),
            logs: layout.build_logs(&self.key),
            home,
            notify: None,
            address: None,
            stop: Stop { signal: StopSignal::Kill, drain: Duration::ZERO, grace: Duration::ZERO },
            user: None,
            priority: Priority::Low,
            resources: Resources { cpu_millis: None, memory_bytes: None, pids: None },
            entry: None,
        }
    }

    /// Ends a script that takes too long or that nobody wants.
    pub(super) fn watch(&mut self, wanted: bool, now: Mono, effects: &mut Vec<Effect>) {
        let job = self.job();
        let timeout = self.spec.build_timeout;
        let BuildStep::Building(building) = &mut self.step else { return };
        match &mut building.killed {
            None => {
                let is_late = now >= building.since + timeout;
                let why = match (wanted, building.outgrown, is_late) {
                    (false, _, _) => KillReason::Unwanted,
                    (true, Some(why), _) => KillReason::Disk(why),
                    (true, None, true) => KillReason::Timeout,
                    (true, None, false) => return,
                };
                building.killed = Some(Killed { why, again_at: now + KILL_REPEAT });
                effects.push(Effect::SignalKill(job));
            }
            Some(killed) if now >= killed.again_at => {
                killed.again_at = now + KILL_REPEAT;
                effects.push(Effect::Note(Note::Unkillable(job.clone())));
                effects.push(Effect::SignalKill(job));
            }
            Some(_) => {}
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        match &self.step {
            BuildStep::Adopting { ask: Ask::At(at), .. } => Some(*at),
            BuildStep::Building(building) => Some(match building.killed {
                None => building.since + self.spec.build_timeout,
                Some(killed) => killed.again_at,
            }),
            BuildStep::Waiting
            | BuildStep::Preparing
            | BuildStep::Prepared
            | BuildStep::Launching
            | BuildStep::Adopting { ask: Ask::Asked, .. }
            | BuildStep::Ready
            | BuildStep::Failed(_)
            | BuildStep::Doomed { .. }
            | BuildStep::Spoiled
            | BuildStep::Removing
            | BuildStep::Gone => None,
        }
    }
}
