//! What is to be done for an instance: its level against where it is.

use tucano_common::limits::{KILL_REPEAT, RESTART_RESET_AFTER};
use tucano_common::spec::HealthProbe;
use tucano_common::time::Mono;
use tucano_common::wire::worker::{Cause, Desired, Step as WireStep};

use super::{BeingEnded, Instance, Step, Up, Why};
use crate::build::Ask;
use crate::effect::{Effect, Folder, Probe, Question};
use crate::health::{Change, Verdict};
use crate::ledger::Outcome;
use crate::note::Note;
use crate::turn::Turn;
use tucano_common::units::format_duration;

/// More steps than any path through the machine has.
const STEPS: usize = 8;

impl Instance {
    /// Moves as far as it can now.
    pub(crate) fn drive(&mut self, turn: &mut Turn<'_>) {
        if let Some(port) = self.lost_port.take() {
            turn.ports.release(port, self.id, turn.now.mono);
        }
        for _ in 0..STEPS {
            if !self.step_once(turn) {
                break;
            }
        }
        turn.effects.extend(self.notes.drain(..).map(Effect::Note));
        self.settle(turn.builds.get(&self.build), turn.now.wall);
    }

    /// One step; whether another one may follow.
    fn step_once(&mut self, turn: &mut Turn<'_>) -> bool {
        match (&mut self.step, self.desired) {
            (Step::Waiting | Step::Resting { .. } | Step::Intending { .. }, Desired::Stop) => {
                self.finish(Outcome::Stopped)
            }
            (Step::Waiting, Desired::Run) => self.drive_waiting(turn),
            (Step::Resting { until }, Desired::Run) => {
                let due = turn.now.mono >= *until || self.restart_nonce != self.restarted_nonce;
                if due {
                    self.set(Step::Waiting);
                }
                due
            }
            (Step::Intending { version }, Desired::Run) => {
                let version = *version;
                self.drive_intending(version, turn)
            }
            (Step::Adopting { known, ask, .. }, _) => {
                if let Ask::At(at) = *ask
                    && turn.now.mono >= at
                {
                    let known = *known;
                    *ask = Ask::Asked;
                    turn.effects.push(Effect::Adopt { job: self.runtime(), known });
                }
                false
            }
            (Step::Up(_), _) => self.drive_up(turn),
            (Step::Finishing { outcome }, _) => {
                let outcome = *outcome;
                self.drive_finishing(outcome, turn)
            }
            (Step::Teardown { .. }, _) => self.drive_teardown(turn),
            (Step::Over { outcome, removed: false }, Desired::Stop) => {
                let outcome = *outcome;
                self.remove(outcome, turn)
            }
            (Step::Over { outcome, removed }, Desired::Run) => {
                // What ended by a stop that is not wanted any more, or is asked for by hand.
                let again = *removed
                    || *outcome == Outcome::Stopped
                    || self.restart_nonce != self.restarted_nonce;
                if again {
                    self.failures_in_row = 0;
                    self.rebuild = true;
                    self.set(Step::Waiting);
                }
                // Not before its build was looked at: it may be the one that failed.
                false
            }
            (Step::Launching | Step::Removing { .. }, _)
            | (Step::Over { removed: true, .. }, Desired::Stop) => false,
        }
    }

    fn drive_waiting(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.spec.scripts().is_none() {
            let message = "an external service has no scripts that a worker could run".to_owned();
            self.fail(WireStep::Start, Cause::Worker, message, String::new(), turn.now.wall);
            return self.finish(Outcome::Failed);
        }
        if let Err(what) = self.take_port(turn) {
            self.wait_for(Some(what));
            return false;
        }
        self.wait_for(None);
        self.run = self.run.next();
        self.restarted_nonce = self.restart_nonce;
        self.set(Step::Intending { version: turn.saves.next_version() });
        true
    }

    /// A port of its own, kept over restarts in place; `Err`: what it waits for.
    fn take_port(&mut self, turn: &mut Turn<'_>) -> Result<(), String> {
        if !self.wants_port() || self.address.is_some() {
            return Ok(());
        }
        let port = match self.spec.network.fixed_port {
            Some(port) => {
                let claimed = turn.ports.claim(port, self.id);
                claimed.map(|()| port).map_err(|owner| {
                    format!("port {port}, which instance {owner} holds on this worker")
                })?
            }
            None => turn.ports.allocate(self.id, turn.now.mono).ok_or_else(|| {
                format!("a free port in {}; widen --port-range", turn.settings.ports)
            })?,
        };
        self.address = Some(std::net::SocketAddr::new(turn.settings.host, port));
        Ok(())
    }

    fn drive_intending(&mut self, version: u64, turn: &mut Turn<'_>) -> bool {
        let build = turn.builds.get(&self.build);
        if let Some(failure) = build.and_then(|build| build.failure()) {
            self.failure = Some(failure.clone());
            return self.finish(Outcome::Failed);
        }
        // What ran before comes up again on a full disk too; what never ran waits until a later
        // agent could find it.
        let saved =
            if self.ran { turn.saves.is_attempted(version) } else { turn.saves.is_saved(version) };
        if !build.is_some_and(|build| build.is_ready()) {
            let what = build.and_then(|build| build.waits_for()).unwrap_or("its source");
            self.wait_for(Some(what.to_owned()));
            return false;
        }
        if !saved {
            let what = turn.saves.failure().map(|why| format!("the ledger to be written: {why}"));
            self.wait_for(what);
            return false;
        }
        self.wait_for(None);
        let Some(launch) = self.to_launch(turn.settings) else { return false };
        self.set(Step::Launching);
        turn.effects.push(Effect::Start(Box::new(launch)));
        false
    }

    fn drive_up(&mut self, turn: &mut Turn<'_>) -> bool {
        let now = turn.now.mono;
        self.note_uptime(now);
        let job = self.runtime();
        let restart = self.restart_nonce != self.restarted_nonce;
        let why = match self.desired {
            Desired::Stop => Some(Why::Stop),
            Desired::Run if restart => Some(Why::Restart),
            Desired::Run => self.drive_health(turn),
        };
        let grace = self.spec.stop.grace;
        let Step::Up(up) = &mut self.step else { return false };
        match (&mut up.ending, why) {
            (None, None) => {}
            (None, Some(why)) => {
                up.ending = Some(BeingEnded { why, kill_at: now + grace, kills: 0 });
                self.changed = true;
                turn.effects.push(Effect::SignalStop(job));
            }
            (Some(ending), why) => {
                if let Some(Why::Stop) = why {
                    ending.why = Why::Stop;
                }
                if now >= ending.kill_at {
                    ending.kill_at = now + KILL_REPEAT;
                    ending.kills += 1;
                    if ending.kills == 2 {
                        turn.effects.push(Effect::Note(Note::Unkillable(job.clone())));
                    }
                    turn.effects.push(Effect::SignalKill(job));
                }
            }
        }
        false
    }

    /// Its health: a check to be sent, a change to be told; and why it is to be ended, if it is.
    fn drive_health(&mut self, turn: &mut Turn<'_>) -> Option<Why> {
        let now = turn.now.mono;
        let spec = self.spec.clone();
        let check = &spec.network.health_check;
        let Step::Up(up) = &mut self.step else { return None };
        if up.ending.is_some() {
            return None;
        }
        let change = up.health.tick(check, now);
        let verdict = up.health.verdict(check, now);
        let after = now.since(up.since);
        self.note_health(change, after);
        match verdict {
            Verdict::Wait => None,
            Verdict::Probe => {
                self.probe(turn);
                None
            }
            Verdict::Unready(reason) => Some(Why::Health(self.unready_message(&reason))),
            Verdict::Unhealthy(reason) => {
                Some(Why::Health(format!("its health check failed for 30s: {reason}")))
            }
        }
    }

    fn unready_message(&self, reason: &str) -> String {
        let limit = format_duration(self.spec.network.health_check.start_timeout);
        let port = self.port().unwrap_or(0);
        match self.spec.network.health_check.probe {
            HealthProbe::Connect | HealthProbe::Get(_) => format!(
                "it was not ready on port {port} within {limit}: {reason}; does it listen on \
                 $HOST and $PORT?"
            ),
            HealthProbe::Notify => format!(
                "it was not ready within {limit}: {reason}; does it send READY=1 to \
                 $NOTIFY_SOCKET?"
            ),
        }
    }

    fn probe(&mut self, turn: &mut Turn<'_>) {
        let Some(question) = self.question() else { return };
        let check = &self.spec.network.health_check;
        let Step::Up(up) = &mut self.step else { return };
        up.health.sent(check, turn.now.mono);
        let (id, run, timeout) = (self.id, self.run, check.timeout);
        turn.effects.push(Effect::Probe(Probe { id, run, question, timeout }));
    }

    fn question(&self) -> Option<Question> {
        match &self.spec.network.health_check.probe {
            HealthProbe::Connect => self.address.map(Question::Connect),
            HealthProbe::Get(path) => {
                let hosts = &self.spec.network.hosts;
                let plain = hosts.iter().find(|host| !host.starts_with('*'));
                let host = plain.map_or(self.service.as_str(), String::as_str).to_owned();
                let (address, path) = (self.address?, path.clone());
                Some(Question::Get { address, path, host })
            }
            HealthProbe::Notify => Some(Question::Notice),
        }
    }

    /// Tells of a change of health.
    pub(super) fn note_health(&mut self, change: Change, after: std::time::Duration) {
        let id = self.id;
        let reason = match &self.step {
            Step::Up(up) => up.health.reason().to_owned(),
            Step::Waiting
            | Step::Resting { .. }
            | Step::Intending { .. }
            | Step::Launching
            | Step::Adopting { .. }
            | Step::Finishing { .. }
            | Step::Teardown { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => return,
        };
        match change {
            Change::None => return,
            Change::Ready => {
                self.dirty = true;
                self.notes.push(Note::Ready { id, after });
            }
            Change::Recovered => self.notes.push(Note::Healthy(id)),
            Change::Fell => self.notes.push(Note::Unhealthy { id, reason }),
        }
        self.changed = true;
    }

    /// A process that is up for long enough has no failures behind it.
    fn note_uptime(&mut self, now: Mono) {
        let Step::Up(up) = &self.step else { return };
        if self.failures_in_row > 0 && now >= up.since + RESTART_RESET_AFTER {
            self.failures_in_row = 0;
            (self.changed, self.dirty) = (true, true);
        }
    }

    /// Its process is gone for good.
    pub(super) fn finish(&mut self, outcome: Outcome) -> bool {
        self.wait_for(None);
        self.set(Step::Finishing { outcome });
        true
    }

    pub(super) fn remove(&mut self, outcome: Outcome, turn: &mut Turn<'_>) -> bool {
        self.set(Step::Removing { outcome });
        turn.effects.push(Effect::Remove(Folder::Instance(self.id)));
        false
    }

    /// Its port goes back once nothing of it can listen there any more.
    pub(super) fn give_port_back(&mut self, turn: &mut Turn<'_>) {
        if let Some(address) = self.address.take() {
            turn.ports.release(address.port(), self.id, turn.now.mono);
            self.dirty = true;
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        match &self.step {
            Step::Resting { until } => Some(*until),
            Step::Adopting { ask: Ask::At(at), .. } => Some(*at),
            Step::Up(up) => self.up_deadline(up),
            Step::Teardown { stage, .. } => stage.deadline(),
            Step::Waiting
            | Step::Intending { .. }
            | Step::Launching
            | Step::Adopting { ask: Ask::Asked, .. }
            | Step::Finishing { .. }
            | Step::Removing { .. }
            | Step::Over { .. } => None,
        }
    }

    fn up_deadline(&self, up: &Up) -> Option<Mono> {
        let reset = (self.failures_in_row > 0).then_some(up.since + RESTART_RESET_AFTER);
        let next = match &up.ending {
            Some(ending) => Some(ending.kill_at),
            None => up.health.deadline(&self.spec.network.health_check),
        };
        reset.into_iter().chain(next).min()
    }
}
