//! Facts: what workers say of themselves and of their instances, and what their silence means.

use std::collections::{BTreeMap, BTreeSet};

use tucano_common::id::InstanceId;
use tucano_common::limits::{NOTICE_LATE_AFTER, WORKER_LOAD_PERCENT_MAX};
use tucano_common::name::WorkerName;
use tucano_common::wire::worker::{InstanceReport, Notice, RunState, Usage, WorkerMetrics};

use super::core::{At, Deployer};
use super::journal::Story;
use super::{Fact, Introduction};
use crate::cluster::{
    Admission, EventKind, Instance, LeaseState, Load, Phase, Place, Run, State, Worker,
};

/// Generations grow by one a change: no cluster lives long enough for more, and SQLite stores 63
/// bits.
const GENERATION_SANE: u64 = 1 << 62;

impl Deployer {
    pub(super) fn take_fact(&mut self, fact: Fact, at: At) {
        match fact {
            Fact::Hello(introduction) => self.take_hello(*introduction, at),
            Fact::Lease { worker, lease } => self.take_lease(&worker, lease, at),
            Fact::Reports { worker, holds, instances } => {
                // A dead one comes back by a hello alone: what it says before that is late.
                let known = self.cluster.worker(&worker);
                if let Some(known) = known.filter(|known| known.lease != LeaseState::Dead) {
                    // Who holds more than it was told says nothing about what it was told.
                    let holds_told = holds.filter(|holds| *holds <= known.generation);
                    self.catch_up(&worker, holds.unwrap_or(0));
                    self.take_reports(&worker, holds_told, &instances, false, at);
                }
            }
            Fact::Measured { worker, metrics, load, usage } => {
                self.take_measure(&worker, *metrics, load, usage, at);
            }
            Fact::Notice { worker, notice } => self.take_notice(&worker, notice, at),
            Fact::Drained { instance } => self.drained(instance, at),
            Fact::Cut { requests } => self.take_cuts(&requests, at),
            Fact::Outside(found) => self.take_outside(found, at),
        }
    }

    fn take_hello(&mut self, said: Introduction, at: At) {
        let name = said.name.clone();
        let known = self.cluster.worker(&name).cloned();
        let before = known.as_ref().map(|worker| (worker.lease, worker.address));
        let worker = Worker {
            name: name.clone(),
            address: said.address,
            agent_port: said.agent_port,
            version: said.version,
            capacity: said.capacity,
            labels: said.labels,
            admission: known.as_ref().map_or(Admission::Open, |worker| worker.admission),
            lease: LeaseState::Ready,
            // A new one may be one that was forgotten: what was told to it then is older.
            generation: known.as_ref().map_or(self.last_event + 1, |worker| worker.generation),
            joined_at: known.as_ref().map_or(at.wall, |worker| worker.joined_at),
            last_seen: at.wall,
        };
        let generation = worker.generation;
        self.cluster.put_worker(worker);
        // Its plan is told at each hello, changed or not: the worker manager answers the hello with
        // it.
        self.replanned.entry(name.clone()).or_insert(generation);
        let news = match before {
            None => Some((EventKind::WorkerJoined, format!("worker {name} joined"))),
            Some((LeaseState::Dead, _)) => {
                Some((EventKind::WorkerReturned, format!("worker {name} is back")))
            }
            Some((LeaseState::Suspect, _)) => {
                Some((EventKind::WorkerReady, format!("worker {name} is heard again")))
            }
            Some((LeaseState::Ready, _)) => None,
        };
        if let Some((kind, message)) = news {
            let event = self.tell_worker(&name, Story::new(kind, message, None), at);
            self.mark_worker(&name, Some(event));
            self.watch_balance(at);
        }
        if before.is_some_and(|(_, address)| address != said.address) {
            self.mark_worker(&name, None);
        }
        // An instance may know of a newer generation than its worker holds: a stop is told ahead.
        let told = said.instances.iter().map(|report| report.generation);
        self.catch_up(&name, told.chain(said.holds).max().unwrap_or(0));
        self.take_back(&name, &said.instances, at);
        self.take_reports(&name, said.holds, &said.instances, true, at);
        self.adopt(&name, &said.instances, at);
        self.mark_waiting();
    }

    /// A worker that holds a newer generation than ours, because our memory is older than what we
    /// told it: from now on everything we say is newer still.
    fn catch_up(&mut self, name: &WorkerName, holds: u64) {
        let Some(worker) = self.cluster.worker(name) else { return };
        // One near the end of the numbers is nobody's that we told: there is no newer one to say.
        if holds <= worker.generation || holds > GENERATION_SANE {
            return;
        }
        let mut worker = worker.clone();
        worker.generation = holds + 1;
        self.replanned.insert(name.clone(), holds);
        let generation = worker.generation;
        self.cluster.put_worker(worker);
        let all: Vec<Instance> = self.cluster.on_worker(name).cloned().collect();
        for mut instance in all {
            match &mut instance.state {
                State::Placed { place, .. }
                | State::Draining { place, .. }
                | State::Stopping { place, .. } => place.generation = generation,
                State::Pending { .. }
                | State::Stopped { .. }
                | State::Failed { .. }
                | State::Lost { .. } => {}
            }
            self.cluster.put_instance(instance);
        }
    }

    /// Lost instances that are still there are taken back while what replaced them is not up yet.
    fn take_back(&mut self, name: &WorkerName, reports: &[InstanceReport], at: At) {
        for report in reports {
            let Some(instance) = self.cluster.instance(report.id).cloned() else { continue };
            let State::Lost { place, wanted: true } = &instance.state else { continue };
            let runs = matches!(
                report.state,
                RunState::Pending | RunState::Building | RunState::Starting | RunState::Running
            );
            let missed = place.worker == *name && runs && self.is_missed(&instance);
            if missed && self.fits_again(&instance, name, at) {
                self.recover(instance, at);
            }
        }
    }

    /// Whether a lost instance would make up for one that is not healthy yet.
    fn is_missed(&self, lost: &Instance) -> bool {
        let Some(service) = self.cluster.service(&lost.service) else { return false };
        let healthy = |instance: &&Instance| {
            instance.healthy()
                && instance.revision == lost.revision
                && instance.restart_epoch == lost.restart_epoch
        };
        match service.phase {
            Phase::Ending => false,
            // There, each has one successor of its own.
            Phase::Failed | Phase::Deploying if self.is_frozen(service) => {
                let mut others = self.cluster.alive_of(&lost.service);
                !others.any(|each| each.replaces == Some(lost.id) && each.healthy())
            }
            Phase::Failed | Phase::Deploying | Phase::Settled => {
                let wanted = self.cluster.spec_of(service).map_or(0, |spec| spec.concurrency);
                let have = self.cluster.alive_of(&lost.service).filter(healthy).count();
                service.has_as_current(lost) && have < wanted as usize
            }
        }
    }

    fn recover(&mut self, mut instance: Instance, at: At) {
        let State::Lost { place, .. } = &instance.state else { return };
        let worker = place.worker.clone();
        let generation = self.replan(&worker);
        let place = Place { generation, ..place.clone() };
        instance.state = State::Placed { place, run: Run::Assigned, restart_by: None };
        instance.since = at.wall;
        let (id, service) = (instance.id, instance.service.clone());
        let message = format!("worker {worker} is back with it");
        let told = vec![(EventKind::InstanceRecovered, message)];
        let event = self.put_told(instance, told, None, at);
        self.drop_frozen_successor(id, event, at);
        self.mark(&service, Some(event));
    }

    fn take_lease(&mut self, name: &WorkerName, lease: LeaseState, at: At) {
        let Some(worker) = self.cluster.worker(name) else { return };
        if worker.lease == lease || (worker.lease == LeaseState::Dead && lease != LeaseState::Dead)
        {
            return; // The same again, or a late word: only a hello brings a dead one back.
        }
        let mut worker = worker.clone();
        worker.lease = lease;
        worker.last_seen = self
            .cluster
            .live(name)
            .map_or(worker.last_seen, |live| live.measured_at.max(worker.last_seen));
        self.cluster.put_worker(worker);
        let (kind, message) = match lease {
            LeaseState::Ready => (EventKind::WorkerReady, format!("worker {name} is heard again")),
            LeaseState::Suspect => {
                (EventKind::WorkerSuspect, format!("worker {name} is late with its heartbeats"))
            }
            LeaseState::Dead => {
                (EventKind::WorkerDead, format!("worker {name} is not heard any more"))
            }
        };
        let event = self.tell_worker(name, Story::new(kind, message, None), at);
        match lease {
            LeaseState::Ready => {
                self.mark_worker(name, None);
                self.mark_waiting();
                self.watch_balance(at);
            }
            LeaseState::Suspect => self.mark_worker(name, None),
            LeaseState::Dead => {
                let ids: Vec<InstanceId> =
                    self.cluster.on_worker(name).map(|each| each.id).collect();
                let why = format!("worker {name} is dead");
                for id in ids {
                    self.lose(id, true, &why, Some(event), at);
                }
                self.cluster.forget_live(name);
            }
        }
    }

    /// All of a worker's instances. What it should have and does not, though it has taken it up, is
    /// gone.
    fn take_reports(
        &mut self,
        name: &WorkerName,
        holds: Option<u64>,
        reports: &[InstanceReport],
        at_hello: bool,
        at: At,
    ) {
        let on_worker: BTreeSet<InstanceId> =
            self.cluster.on_worker(name).map(|each| each.id).collect();
        for report in reports.iter().filter(|report| on_worker.contains(&report.id)) {
            self.take_report(report, at);
        }
        let reported: BTreeSet<InstanceId> = reports.iter().map(|report| report.id).collect();
        for id in on_worker.difference(&reported) {
            self.take_absence(*id, holds, at_hello, at);
        }
    }

    fn take_absence(&mut self, id: InstanceId, holds: Option<u64>, at_hello: bool, at: At) {
        let Some(instance) = self.cluster.instance(id).cloned() else { return };
        let knew = |place: &Place| holds.is_some_and(|holds| holds >= place.generation);
        match &instance.state {
            State::Placed { place, run, .. } => {
                if *run != Run::Assigned || knew(place) {
                    let why = format!("worker {} does not have it any more", place.worker);
                    self.lose(id, false, &why, None, at);
                }
            }
            State::Draining { place, why, .. } | State::Stopping { place, why } => {
                // It drained or was told to stop and is not there: it is over, whoever ended it.
                let drained = matches!(instance.state, State::Draining { .. });
                if drained || at_hello || knew(place) {
                    let mut ended = instance.clone();
                    let (worker, why) = (Some(place.worker.clone()), Some(why.clone()));
                    ended.state = State::Stopped { worker, why };
                    ended.since = at.wall;
                    let text = "ended: its worker does not have it any more".to_owned();
                    let service = ended.service.clone();
                    let told = vec![(EventKind::InstanceStopped, text)];
                    let event = self.put_told(ended, told, None, at);
                    self.mark(&service, Some(event));
                }
            }
            State::Pending { .. }
            | State::Stopped { .. }
            | State::Failed { .. }
            | State::Lost { .. } => {}
        }
    }

    fn take_measure(
        &mut self,
        name: &WorkerName,
        metrics: WorkerMetrics,
        load: Option<Load>,
        usage: BTreeMap<InstanceId, Usage>,
        at: At,
    ) {
        if self.cluster.worker(name).is_none() {
            return;
        }
        let vetoed = |load: Load| (load.memory * 100.0).round() > WORKER_LOAD_PERCENT_MAX as f32;
        let live = self.cluster.live_mut(name);
        let was_vetoed = live.load.is_some_and(vetoed);
        live.metrics = metrics;
        live.load = load;
        live.usage = usage;
        live.measured_at = at.wall;
        if was_vetoed && !load.is_some_and(vetoed) {
            self.mark_waiting();
        }
    }

    fn take_notice(&mut self, name: &WorkerName, notice: Notice, at: At) {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = !notice.kind.is_empty() && notice.kind.len() <= 48;
        let named = is_name && notice.kind.chars().all(letter);
        let kind = if named { notice.kind } else { "worker_notice".to_owned() };
        // It may have waited for this controller to be back; an event's time is when it is told.
        let message = if at.wall.since(notice.at) >= NOTICE_LATE_AFTER {
            format!("{} (at {}, told late)", notice.message, notice.at)
        } else {
            notice.message
        };
        let story = Story::new(EventKind::Notice(kind), message, None);
        self.tell_notice(name, notice.instance, story, at);
    }

    /// Says so of drained workers that hold nothing any more.
    pub(super) fn finish_drains(&mut self, at: At) {
        let empty: Vec<WorkerName> = self
            .draining
            .iter()
            .filter(|name| self.cluster.reserved(name).instances == 0)
            .cloned()
            .collect();
        for name in empty {
            self.draining.remove(&name);
            let message = format!("worker {name} holds no instance any more");
            self.tell_worker(&name, Story::new(EventKind::WorkerDrained, message, None), at);
        }
    }
}
