//! An instance's steps that the deployer takes: make, place, leave, stop, restart, lose.

use std::time::Duration;

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::limits::ENDED_KEPT;
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;
use tucano_common::wire::worker::InstanceReport;

use super::core::{At, Deployer};
use super::journal::Story;
use super::observe::{Step, observe};
use crate::cluster::{
    Decision, EventKind, Instance, Leaving, Observed, Place, Run, State, Waiting,
};

/// An instance to be made.
pub(super) struct Birth<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) revision: u64,
    pub(super) restart_epoch: u32,
    pub(super) deployment: Option<DeploymentId>,
    pub(super) replaces: Option<InstanceId>,
    pub(super) waiting: Waiting,
    /// The event that asked for it.
    pub(super) cause: u64,
}

impl Deployer {
    pub(super) fn make(&mut self, birth: Birth<'_>, at: At) -> InstanceId {
        let id = self.next_instance_id(at);
        self.cluster.put_instance(Instance {
            id,
            service: birth.service.clone(),
            revision: birth.revision,
            born_revision: birth.revision,
            restart_epoch: birth.restart_epoch,
            deployment: birth.deployment,
            replaces: birth.replaces,
            created_at: at.wall,
            state: State::Pending { waiting: birth.waiting },
            since: at.wall,
            decision: None,
            restart_nonce: 0,
            observed: Observed::default(),
            event: birth.cause,
        });
        id
    }

    /// Applies a decision to an instance that waits.
    pub(super) fn settle(&mut self, id: InstanceId, decision: Decision, at: At) {
        let Some(mut instance) = self.cluster.instance(id).cloned() else { return };
        let Some(worker) = decision.chosen.clone() else { return };
        let generation = self.replan(&worker);
        let place = Place { worker: worker.clone(), generation, at: at.steady };
        instance.state = State::Placed { place, run: Run::Assigned, restart_by: None };
        instance.since = at.wall;
        let message = format!("placed on {worker}");
        instance.decision = Some(decision);
        self.put_told(instance, vec![(EventKind::InstancePlaced, message)], None, at);
    }

    /// Keeps an instance waiting, with every worker's reason.
    pub(super) fn let_wait(&mut self, id: InstanceId, decision: Decision, hint: &str, at: At) {
        let Some(mut instance) = self.cluster.instance(id).cloned() else { return };
        let waiting = State::Pending { waiting: Waiting::Room { hint: hint.to_owned() } };
        let known = instance.state == waiting
            && instance.survey().map(|survey| &survey.verdicts) == Some(&decision.survey.verdicts);
        if known {
            return;
        }
        let news = !matches!(instance.state, State::Pending { waiting: Waiting::Room { .. } });
        instance.state = waiting;
        instance.decision = Some(decision);
        let told = (EventKind::InstanceWaiting, format!("waits: {hint}"));
        self.put_told(instance, if news { vec![told] } else { Vec::new() }, None, at);
    }

    /// Writes an instance and tells about it; each event is the cause of the next.
    pub(super) fn put_told(
        &mut self,
        mut instance: Instance,
        told: Vec<(EventKind, String)>,
        cause: Option<u64>,
        at: At,
    ) -> u64 {
        let mut cause = cause.unwrap_or(instance.event);
        for (kind, message) in told {
            let story = Story::new(kind, message, Some(cause).filter(|seq| *seq > 0));
            cause = self.tell_instance(&instance, story, at);
            instance.event = cause;
        }
        let was_alive = self.cluster.instance(instance.id).is_some_and(|it| !it.state.ended());
        let ends = instance.state.ended() && was_alive;
        let left = ends.then(|| (instance.service.clone(), instance.state.worker().cloned()));
        self.routes.touch(&instance.service);
        self.cluster.put_instance(instance);
        // An instance that left its worker is left out of its assignments, and made room.
        if let Some((service, worker)) = left {
            if let Some(worker) = worker {
                self.replan(&worker);
                self.cluster.store_generation(&worker);
                self.mark_waiting();
            }
            self.bound_history(&service);
        }
        cause
    }

    fn bound_history(&mut self, service: &ServiceName) {
        let surplus = self.cluster.ended_count(service).saturating_sub(ENDED_KEPT);
        if surplus == 0 {
            return;
        }
        let oldest: Vec<InstanceId> =
            self.cluster.ended_of(service).take(surplus).map(|each| each.id).collect();
        oldest.into_iter().for_each(|id| self.cluster.drop_instance(id));
    }

    /// Takes an instance out of the rotation and, once its requests are answered, to its end.
    pub(super) fn leave(&mut self, id: InstanceId, why: Leaving, cause: Option<u64>, at: At) {
        let Some(mut instance) = self.cluster.instance(id).cloned() else { return };
        let service = instance.service.clone();
        match &instance.state {
            State::Pending { .. } => {
                let text = format!("ended before it was placed, because {}", why.text());
                instance.state = State::Stopped { worker: None, why: Some(why) };
                instance.since = at.wall;
                self.put_told(instance, vec![(EventKind::InstanceStopped, text)], cause, at);
            }
            State::Placed { place, run, .. } => {
                let drain = self.drain_time(&instance);
                match (run, drain) {
                    (Run::Running { .. }, Some(drain)) => {
                        let text = format!("leaves the rotation, because {}", why.text());
                        let until = after(at.steady, drain);
                        instance.state = State::Draining { place: place.clone(), until, why };
                        instance.since = at.wall;
                        let told = vec![(EventKind::InstanceDraining, text)];
                        self.put_told(instance, told, cause, at);
                    }
                    (Run::Running { .. } | Run::Assigned | Run::Building | Run::Starting, _) => {
                        let place = place.clone();
                        self.begin_stop(instance, place, why, cause, at);
                    }
                }
            }
            // It leaves already, or is gone.
            State::Draining { .. }
            | State::Stopping { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => {}
        }
        self.mark(&service, None);
    }

    /// How long an instance's requests in flight may take; none where it has none.
    fn drain_time(&self, instance: &Instance) -> Option<Duration> {
        let spec = self.cluster.born_spec(instance)?;
        let routed = spec.network.expose_port.is_some() && instance.observed.port.is_some();
        Some(spec.stop.drain).filter(|drain| routed && !drain.is_zero())
    }

    /// The stop signal, by the worker's assignments.
    fn begin_stop(
        &mut self,
        mut instance: Instance,
        mut place: Place,
        why: Leaving,
        cause: Option<u64>,
        at: At,
    ) {
        let text = format!("is being ended, because {}", why.text());
        place.generation = self.replan(&place.worker);
        instance.state = State::Stopping { place, why };
        instance.since = at.wall;
        self.put_told(instance, vec![(EventKind::InstanceStopping, text)], cause, at);
    }

    /// No request is in flight on it any more, or its time for that is over: on with what it was
    /// drained for.
    pub(super) fn drained(&mut self, id: InstanceId, at: At) {
        let Some(instance) = self.cluster.instance(id).cloned() else { return };
        match instance.state.clone() {
            State::Draining { place, why, .. } => {
                let service = instance.service.clone();
                self.begin_stop(instance, place, why, None, at);
                self.mark(&service, None);
            }
            State::Placed { place, run: _, restart_by: Some(_) } => {
                self.restart_in_place(instance, place, at);
            }
            // A late or doubled word.
            State::Placed { restart_by: None, .. }
            | State::Pending { .. }
            | State::Stopping { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => {}
        }
    }

    /// A restart by hand: at once where it answers no requests, else once they are answered.
    pub(super) fn restart_instance(&mut self, id: InstanceId, at: At) {
        let Some(mut instance) = self.cluster.instance(id).cloned() else { return };
        let drain = self.drain_time(&instance);
        let State::Placed { place, run, restart_by } = &mut instance.state else { return };
        match (run, drain) {
            (Run::Running { .. }, Some(drain)) => {
                *restart_by = Some(restart_by.unwrap_or(after(at.steady, drain)));
                let text = "leaves the rotation to be restarted".to_owned();
                let service = instance.service.clone();
                self.put_told(instance, vec![(EventKind::InstanceDraining, text)], None, at);
                self.mark(&service, None);
            }
            (Run::Running { .. } | Run::Assigned | Run::Building | Run::Starting, _) => {
                let place = place.clone();
                self.restart_in_place(instance, place, at);
            }
        }
    }

    fn restart_in_place(&mut self, mut instance: Instance, mut place: Place, at: At) {
        instance.restart_nonce += 1;
        place.generation = self.replan(&place.worker);
        instance.state = State::Placed { place, run: Run::Starting, restart_by: None };
        instance.since = at.wall;
        let text = "is restarted, because it was asked for".to_owned();
        let service = instance.service.clone();
        self.put_told(instance, vec![(EventKind::InstanceRestarting, text)], None, at);
        self.mark(&service, None);
    }

    /// Its worker is dead, or has lost it. `wanted`: it is taken back if it returns in time.
    pub(super) fn lose(
        &mut self,
        id: InstanceId,
        wanted: bool,
        why: &str,
        cause: Option<u64>,
        at: At,
    ) {
        let Some(mut instance) = self.cluster.instance(id).cloned() else { return };
        let Some(place) = instance.state.place().cloned() else { return };
        let wanted = wanted && matches!(instance.state, State::Placed { .. });
        instance.state = State::Lost { place, wanted };
        instance.since = at.wall;
        let service = instance.service.clone();
        let told = vec![(EventKind::InstanceLost, why.to_owned())];
        let event = self.put_told(instance, told, cause, at);
        self.replace_frozen(id, event, at);
        self.mark(&service, Some(event));
    }

    /// Takes in what a worker says of one of its instances.
    pub(super) fn take_report(&mut self, report: &InstanceReport, at: At) {
        let Some(instance) = self.cluster.instance(report.id) else { return };
        // What is assigned is of a revision that is kept: an instance without one is none.
        let Some(spec) = self.cluster.born_spec(instance) else { return };
        let Some(Step { mut next, told }) = observe(instance, report, &spec.restart, at) else {
            return;
        };
        let instance = instance.clone();
        self.join_cuts(&instance, &mut next, at);
        let stopping_now = matches!(next.state, State::Stopping { .. })
            && matches!(instance.state, State::Placed { .. });
        if stopping_now && let State::Stopping { place, .. } = &mut next.state {
            let worker = place.worker.clone();
            let generation = self.replan(&worker);
            if let State::Stopping { place, .. } = &mut next.state {
                place.generation = generation;
            }
        }
        let service = next.service.clone();
        let quiet = told.is_empty();
        let event = self.put_told(next, told, None, at);
        self.mark(&service, (!quiet).then_some(event));
    }
}

/// A time so much later.
pub(super) fn after(time: Wall, by: Duration) -> Wall {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Wall(time.0.saturating_add(millis))
}
