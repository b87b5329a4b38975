//! The agent: one loop that serves the controller, talks to it, and keeps the instances of this
//! worker as they should be.
//!
//! It decides nothing about instances (the supervisor of `worker_core` does) and waits for nothing
//! (the helpers do). Each turn: take what came, drive the supervisor until it has nothing more to
//! do, carry that out, say what changed.

mod api;
mod clock_offset;
mod disk_use;
mod effects;
#[cfg(test)]
mod fake_controller;
mod fetch;
mod guard;
mod helpers;
mod introduction;
mod ledger_file;
mod ledgers;
mod link;
mod link_state;
mod link_text;
mod logs;
mod metrics;
mod probes;
mod sweep;
mod upgrade;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tucano_common::limits::{API_BODY_BYTES_MAX, DRIVE_ROUNDS_MAX, LATE_ANSWERS_MAX};
use tucano_common::time::Mono;
use tucano_common::wire::worker::{Notice, WorkerMetrics};
use tucano_net::signals::{Signal, read_signal};
use tucano_net::threads::{self, Stack};
use tucano_net::{
    App, BodyPlan, CallEvent, CallId, ConnId, FdId, Io, Request, RequestHead, Response, Sender,
    TimerId,
};
use tucano_worker_core::{Fact, Supervisor};

use api::Action;
pub(crate) use effects::Hands;
use effects::Reach;
pub(crate) use fetch::Fetcher;
pub(crate) use guard::Guard;
use guard::{Denied, Guesses};
use helpers::Helper;
pub(crate) use helpers::deliver;
pub(crate) use introduction::Introduction;
pub(crate) use ledger_file::{Found, load, rebuild};
pub(crate) use link::Link;
use link::Need;
use logs::Logs;
pub(crate) use upgrade::Restart;
use upgrade::Upgrade;

use disk_use::{DiskLooks, Look};

use crate::monitor::{Beat, Pulse, Sample};

/// Logs of instances that are gone are looked through so often, and code that is needed seldom is
/// let go of.
const LOGS_SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// What other threads say to the agent's loop.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The sampler measured.
    Sample(Box<Sample>),
    /// A helper is done with a job.
    Done(Helper, Option<Box<Fact>>),
    /// The controller's name was looked up.
    Resolved(std::io::Result<Vec<SocketAddr>>),
    /// The binary of an upgrade was asked for its version.
    Checked(Result<String, String>),
}

/// The agent.
pub(crate) struct Agent {
    pub(crate) supervisor: Supervisor,
    pub(crate) hands: Hands,
    pub(crate) link: Link,
    pub(crate) guard: Guard,
    pub(crate) pulse: Pulse,
    pub(crate) inbox: Sender<Msg>,
    /// The signalfd, until the loop watches it.
    pub(crate) signals: Option<std::os::fd::OwnedFd>,
    pub(crate) restart: Restart,
    pub(crate) state: Inner,
}

/// What nobody hands in.
#[derive(Default)]
pub(crate) struct Inner {
    signals: Option<FdId>,
    timer: Option<(Mono, TimerId)>,
    guesses: Guesses,
    late: Vec<(Mono, ConnId, Response)>,
    /// Requests whose answer will be late, until they are whole.
    sentenced: Vec<(ConnId, Mono, Response)>,
    logs: Logs,
    logs_swept: Option<Mono>,
    disk: DiskLooks,
    upgrade: Upgrade,
}

impl App for Agent {
    type Msg = Msg;

    fn on_start(&mut self, io: &mut Io) {
        if let Some(signals) = self.signals.take() {
            match io.watch_fd(signals) {
                Ok(fd) => self.state.signals = Some(fd),
                Err(error) => {
                    log::error!("signals can't be watched ({error}); ending");
                    io.stop();
                }
            }
        }
        // Begins the first turn.
        self.set_timer(io);
    }

    fn on_request_head(&mut self, io: &mut Io, conn: ConnId, head: &RequestHead) -> BodyPlan {
        let action = match api::route(head) {
            Ok(Action::Health) => return BodyPlan::Buffer { bytes_max: 0 },
            action => action,
        };
        let peer = io.peer(conn).map(|peer| peer.ip());
        if let Err(denied) = self.guard.check(head, peer) {
            return self.deny(io, conn, denied);
        }
        match action {
            Ok(Action::Run(_) | Action::Stop(_)) => {
                BodyPlan::Buffer { bytes_max: API_BODY_BYTES_MAX }
            }
            Ok(_) => BodyPlan::Buffer { bytes_max: 0 },
            Err(refusal) => BodyPlan::Refuse(refusal),
        }
    }

    fn on_request(&mut self, io: &mut Io, conn: ConnId, request: Request) {
        let sentenced = &mut self.state.sentenced;
        if let Some(found) = sentenced.iter().position(|(other, ..)| *other == conn) {
            let (_, at, response) = sentenced.swap_remove(found);
            self.state.late.push((at, conn, response));
            return;
        }
        let now = io.now();
        let response = match api::route(&request.head) {
            Ok(Action::Health) => Response::text(200, "ok\n"),
            Ok(Action::Metrics) => metrics::respond(&self.link, &self.supervisor),
            Ok(Action::List) => Response::json(200, &self.supervisor.reports()),
            Ok(Action::Run(id)) => api::run(id, &request, &mut self.supervisor, now),
            Ok(Action::Stop(id)) => api::stop(id, &request, &mut self.supervisor, now),
            Ok(Action::Logs(id, query)) => {
                let running = self.supervisor.has(id);
                let layout = &self.supervisor.settings().layout;
                match self.state.logs.begin(io, conn, layout, (id, query, running)) {
                    Ok(()) => return,
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        io.respond(conn, response);
    }

    fn on_gone(&mut self, _io: &mut Io, conn: ConnId) {
        self.state.logs.forget(conn);
        self.state.late.retain(|(_, other, _)| *other != conn);
        self.state.sentenced.retain(|(other, ..)| *other != conn);
    }

    fn on_drained(&mut self, io: &mut Io, conn: ConnId) {
        self.state.logs.drained(io, conn);
    }

    fn on_call(&mut self, io: &mut Io, call: CallId, event: CallEvent<'_>) {
        if self.link.owns(call) {
            self.link.on_call(io, event, &mut self.supervisor);
        } else if let Some(fact) = self.hands.probes.on_call(io, call, event) {
            self.supervisor.observe(fact, io.now());
        }
    }

    fn on_msg(&mut self, io: &mut Io, msg: Msg) {
        let now = io.now();
        match msg {
            Msg::Sample(sample) => {
                let (usages, metrics) = self.pulse.take(*sample);
                for (id, usage) in usages {
                    self.supervisor.set_usage(id, usage);
                }
                self.measured(metrics, now.mono);
            }
            Msg::Done(helper, fact) => {
                if let Some(Fact::DiskSeen(seen)) = fact.as_deref() {
                    self.state.disk.seen(seen, now.mono);
                }
                self.hands.done(helper, fact.map(|fact| *fact), io, &mut self.supervisor);
            }
            Msg::Resolved(found) => self.link.resolved(found, self.supervisor.holds(), now),
            Msg::Checked(said) => self.checked(io, said),
        }
    }

    fn on_fd(&mut self, io: &mut Io, fd: FdId) {
        if self.state.signals == Some(fd) {
            self.on_signals(io, fd);
        } else {
            self.hands.on_fd(fd, io, &mut self.supervisor);
        }
    }

    fn on_timer(&mut self, _io: &mut Io, _timer: TimerId) {
        // There is one, for whatever is due first; the end of the turn looks at everything.
        self.state.timer = None;
    }

    fn on_turn_end(&mut self, io: &mut Io) {
        self.drive(io);
        self.measure(io);
        self.answer_late(io);
        self.state.logs.follow(io, |id| self.supervisor.has(id));
        self.sweep_logs(io);
        self.look_at_disk(io);
        if self.link.pump(io, &mut self.supervisor) == Need::Resolve {
            self.resolve();
        }
        self.set_timer(io);
    }
}

impl Agent {
    fn on_signals(&mut self, io: &mut Io, fd: FdId) {
        while let Some(signal) = io.fd(fd).and_then(read_signal) {
            match signal {
                // There is nothing to wait for, so the first signal ends as fast as a second one
                // could.
                Signal::SIGTERM | Signal::SIGINT => {
                    log::info!("{signal}: ending; instances are left running");
                    io.stop();
                }
                Signal::SIGHUP => self.begin_upgrade(),
                _ => log::info!("{signal}: ignored"),
            }
        }
    }

    /// Lets the supervisor go on until it has nothing more to do.
    fn drive(&mut self, io: &mut Io) {
        if !self.supervisor.is_due(io.now().mono) {
            return;
        }
        for _ in 0..DRIVE_ROUNDS_MAX {
            let effects = self.supervisor.drive(io.now());
            if effects.is_empty() {
                return;
            }
            let (supervisor, link) = (&mut self.supervisor, &mut self.link);
            let mut reach = Reach { io, supervisor, link };
            for effect in effects {
                self.hands.carry_out(effect, &mut reach);
            }
        }
        log::error!("a defect: the supervisor wants more than {DRIVE_ROUNDS_MAX} rounds of a turn");
    }

    /// Measures, if it is time; says before whose processes there are, if that changed.
    fn measure(&mut self, io: &Io) {
        let running = || self.supervisor.running().map(|(id, run, it)| (id, run, it.holder));
        if !running().eq(self.pulse.watched().iter().copied()) {
            let running = running().collect();
            self.pulse.watch(running);
        }
        let now = io.now().mono;
        match self.pulse.beat(now) {
            Beat::NotYet | Beat::Asked => {}
            Beat::Behind(metrics) => self.measured(metrics, now),
            Beat::AtRest(metrics) => {
                self.supervisor.rest();
                self.measured(metrics, now);
            }
        }
    }

    fn measured(&mut self, mut metrics: WorkerMetrics, now: Mono) {
        (metrics.disk_held_bytes, metrics.disk_held_bytes_max) = self.state.disk.held();
        self.link.measured(metrics, now);
    }

    /// A wrong token is answered late once there were several; everything else at once.
    fn deny(&mut self, io: &mut Io, conn: ConnId, denied: Denied) -> BodyPlan {
        let now = io.now();
        if denied != Denied::WrongToken {
            return BodyPlan::Refuse(denied.response());
        }
        let (delay, tell) = self.state.guesses.count(now.mono);
        let peer = io.peer(conn).map(|peer| peer.ip().to_string()).unwrap_or_default();
        if tell {
            let message = format!("{peer} came with a wrong token to the agent's API");
            log::warn!("{message}");
            let kind = "agent_auth_failed".to_owned();
            self.link.notice(Notice { at: now.wall, kind, message, instance: None }, now.mono);
        }
        let waiting = self.state.late.len() + self.state.sentenced.len();
        match delay {
            Some(delay) if waiting < LATE_ANSWERS_MAX => {
                self.state.sentenced.push((conn, now.mono + delay, denied.response()));
                BodyPlan::Buffer { bytes_max: API_BODY_BYTES_MAX }
            }
            Some(_) => BodyPlan::Refuse(Response::error(429, "too many wrong tokens")),
            None => BodyPlan::Refuse(denied.response()),
        }
    }

    fn answer_late(&mut self, io: &mut Io) {
        let now = io.now().mono;
        let due = self.state.late.extract_if(.., |(at, ..)| *at <= now);
        for (_, conn, response) in due {
            io.respond(conn, response);
        }
    }

    /// Asks the resolver on a thread of its own: it may take half a minute, and it is seldom
    /// needed.
    fn resolve(&mut self) {
        let (controller, inbox) = (self.link.controller().clone(), self.inbox.clone());
        let look_up = move || {
            deliver(&inbox, Msg::Resolved(controller.resolve()));
        };
        if let Err(error) = threads::spawn("resolve", Stack::Helper, look_up) {
            deliver(&self.inbox, Msg::Resolved(Err(error)));
        }
    }

    fn sweep_logs(&mut self, io: &Io) {
        let now = io.now();
        let swept = self.state.logs_swept;
        if swept.is_none_or(|swept| now.mono.since(swept) >= LOGS_SWEEP_INTERVAL) {
            self.state.logs_swept = Some(now.mono);
            let mut keep = BTreeSet::new();
            keep.extend(self.supervisor.ids());
            self.hands.sweep_logs(keep, now.wall);
            crate::runner::let_go_of_code();
        }
    }

    /// Has the disk looked at, often while something is built there.
    fn look_at_disk(&mut self, io: &Io) {
        let building = self.supervisor.building();
        if let Some(anew) = self.state.disk.is_due(building, io.now().mono) {
            let live = self.supervisor.ids().collect();
            let building = building.cloned();
            self.hands.look_at_disk(Look { building, live, anew });
        }
    }

    fn set_timer(&mut self, io: &mut Io) {
        let late = self.state.late.iter().map(|(at, ..)| *at).min();
        let sweep = self.state.logs_swept.map(|swept| swept + LOGS_SWEEP_INTERVAL);
        let deadlines = [
            self.supervisor.next_deadline(),
            self.link.deadline(self.supervisor.holds()),
            Some(self.pulse.deadline()),
            self.state.logs.deadline(),
            late,
            sweep,
            self.state.disk.deadline(),
        ];
        let next = deadlines.into_iter().flatten().min();
        let set = self.state.timer.map(|(at, _)| at);
        if next == set {
            return;
        }
        if let Some((_, timer)) = self.state.timer.take() {
            io.cancel_timer(timer);
        }
        self.state.timer = next.map(|at| (at, io.set_timer(at)));
    }
}

#[cfg(test)]
mod tests;
