//! One turn of the deployer's thread: take what came, ask the core, store, publish, answer.
//!
//! Persist, then publish. What came together is stored together (group commit) and answered after.
//! How the database's failures are taken stands in `save.rs`, who hears of a commit in
//! `publish.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tucano_common::name::WorkerName;
use tucano_common::time::{Mono, Now};
use tucano_common::wire::problem::Problem;
use tucano_controller_core::cluster::Worker;
use tucano_controller_core::deployer::{Config, Deployer, Fact, LoadError, WorkerPlan};

use super::answers::Answered;
use super::commands::{Outcome, Taken};
use super::drains::Drains;
use super::gauges::Counters;
use super::indices::Indices;
use super::ledger::{CountRequests, Ledger};
use super::ports::{Opened, Ports};
use super::save::Unsaved;
use super::storage::Storage;
use super::waiters::{Awaited, Waiters};
use crate::discovery::{Batch, Store, Stored};
use crate::msgs::{Answer, Ask, Block, FromLoop, News, Query, Reply, Ticket, ToLoop, ToManager};
use crate::outbox::{Outbox, TrySend};

/// A message that an inbox did not take is offered again after this.
const RESEND: Duration = Duration::from_millis(5);

/// The ways from the deployer to the other threads.
pub(crate) struct Links {
    /// To the API.
    pub(crate) api: TrySend<Answer>,
    /// Where the API listens: no external service may stand there.
    pub(crate) api_address: SocketAddr,
    /// To the worker manager.
    pub(crate) worker_mgr: TrySend<ToManager>,
    /// To each loop of the balancer.
    pub(crate) loops: Vec<TrySend<ToLoop>>,
    /// What the loops count.
    pub(crate) requests: CountRequests,
}

/// What the deployer's thread owns.
pub(crate) struct Shell {
    pub(super) core: Deployer,
    pub(super) store: Store,
    pub(super) storage: Storage,
    pub(super) unsaved: Unsaved,
    pub(super) indices: Indices,
    pub(super) counters: Counters,
    pub(super) ledger: Ledger,
    pub(super) ports: Ports,
    pub(super) drains: Drains,
    pub(super) started: Now,
    pub(super) api_address: SocketAddr,
    pub(super) api: Outbox<Answer>,
    pub(super) worker_mgr: Outbox<ToManager>,
    pub(super) loops: Vec<Outbox<ToLoop>>,
    /// Added to the core's table versions: a core that was loaded anew counts from the start again.
    pub(super) version_base: u64,
    /// The last table's; none before the first.
    pub(super) version_published: Option<u64>,
    waiters: Waiters,
}

/// Everything that came for one turn.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) loops: Vec<FromLoop>,
    pub(crate) news: Vec<News>,
    pub(crate) asks: Vec<Ask>,
}

/// What one turn has to answer, once everything is on disk.
#[derive(Default)]
pub(super) struct Turn {
    /// Beside the core's changes: minutes and artifacts.
    pub(super) batch: Batch,
    /// Ports opened for commands of this turn.
    pub(super) opened: Vec<Opened>,
    pub(super) commands: Vec<Taken>,
    hellos: Vec<(Ticket, WorkerName)>,
    stored: Vec<Ticket>,
    answers: Vec<(Ticket, Answered)>,
}

impl Turn {
    /// Whether somebody waits for this turn's being on disk who must not be told so otherwise.
    pub(super) fn commits(&self) -> bool {
        !self.commands.is_empty() || !self.stored.is_empty()
    }
}

impl Shell {
    /// Takes up what is stored.
    pub(crate) fn new(
        (store, stored): (Store, Stored),
        config: Config,
        ports: Ports,
        links: Links,
        now: Now,
    ) -> Result<Shell, LoadError> {
        let last_event = stored.rows.last_event;
        let loops = links.loops.len();
        Ok(Shell {
            core: Deployer::load(config, stored.rows, now)?,
            store,
            storage: Storage::Good,
            unsaved: Unsaved::default(),
            indices: Indices::new(last_event),
            counters: Counters::default(),
            ledger: Ledger::new(links.requests),
            ports,
            drains: Drains::new(loops),
            started: now,
            api_address: links.api_address,
            api: Outbox::new(links.api),
            worker_mgr: Outbox::new(links.worker_mgr),
            loops: links.loops.into_iter().map(Outbox::new).collect(),
            version_base: 0,
            version_published: None,
            waiters: Waiters::default(),
        })
    }

    /// The cluster's id.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.core.config().cluster
    }

    /// The workers that are stored, each with what it should run.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (&Worker, Option<Arc<WorkerPlan>>)> {
        let workers = self.core.cluster().workers();
        workers.map(|worker| (worker, self.core.plan_of(&worker.name)))
    }

    /// Before the first turn: what runs is routed at once, as it is stored.
    pub(crate) fn start(&mut self, now: Now) {
        self.reopen_ports(now);
        let table = self.core.table();
        self.publish_table(&table);
        self.turn(Arrived::default(), now);
    }

    /// One turn.
    pub(crate) fn turn(&mut self, arrived: Arrived, now: Now) {
        let mut turn = Turn::default();
        self.read_anew(now);
        // Nothing is known here that others may not know: who only asks does not wait for what this
        // turn has to write.
        let (queries, asks): (Vec<Ask>, Vec<Ask>) =
            arrived.asks.into_iter().partition(|ask| matches!(ask, Ask::Query { .. }));
        for query in queries {
            self.on_ask(query, &mut turn, now);
        }
        for report in arrived.loops {
            self.on_loop(report, now);
        }
        for news in arrived.news {
            self.on_news(news, &mut turn, now);
        }
        if asks.iter().any(Ask::writes) {
            self.try_again(&mut turn, now);
        }
        for ask in asks {
            self.on_ask(ask, &mut turn, now);
        }
        if self.ports.next_try().is_some_and(|at| at <= now.mono) {
            self.reopen_ports(now);
        }
        let saved = self.save(&mut turn, now);
        self.answer_turn(turn, saved, now);
        self.answer_waiters(now);
        self.flush();
    }

    /// When there is something to do though nothing came.
    pub(crate) fn next_wake(&self, now: Mono) -> Option<Mono> {
        let unsent = !self.api.is_empty()
            || !self.worker_mgr.is_empty()
            || self.loops.iter().any(|outbox| !outbox.is_empty());
        let broken = matches!(self.storage, Storage::Broken { .. });
        [
            // A core that is not asked any more has deadlines that never go.
            self.core.next_deadline().filter(|_| !broken),
            self.waiters.next_deadline(),
            unsent.then(|| now + RESEND),
            self.next_try(),
            self.ports.next_try(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_loop(&mut self, report: FromLoop, now: Now) {
        match report {
            FromLoop::Drained { lb, instance, version } => {
                if self.drains.drained(lb, instance, version) {
                    self.observe(Fact::Drained { instance }, now);
                }
            }
            FromLoop::Ejected { lb, instance, out_for: Some(out_for) } => {
                let message = format!(
                    "instance {instance} fails requests: loop {lb} of the balancer leaves it out \
                     for {out_for:?}"
                );
                self.note("instance_ejected", message, now);
            }
            FromLoop::Ejected { lb, instance, out_for: None } => {
                let message = format!("loop {lb} of the balancer tries instance {instance} again");
                self.note("instance_readmitted", message, now);
            }
            FromLoop::Silent { lb, host, moved } => {
                let message = format!(
                    "{host} acknowledges nothing: loop {lb} of the balancer sends {moved} of its \
                     requests elsewhere and uses it last"
                );
                self.note("host_silent", message, now);
            }
            FromLoop::Poisoned { lb: _, service, request } => {
                let message = format!(
                    "instances of service {service} died while they had this request, it is not \
                     sent to another: {request}"
                );
                self.note("request_poison", message, now);
            }
            FromLoop::Cut { lb: _, requests } => self.observe(Fact::Cut { requests }, now),
            FromLoop::Stopped { lb, cut: 0 } => log::debug!("loop {lb} of the balancer has ended"),
            FromLoop::Stopped { lb, cut } => {
                log::warn!("loop {lb} of the balancer has ended, {cut} requests were cut");
            }
        }
    }

    fn on_news(&mut self, news: News, turn: &mut Turn, now: Now) {
        match news {
            News::Hello { ticket, introduction } => {
                turn.hellos.push((ticket, introduction.name.clone()));
                self.observe(Fact::Hello(introduction), now);
            }
            News::Facts(facts) => {
                for fact in facts {
                    self.observe(fact, now);
                }
            }
            News::Minutes(points) => turn.batch.points.extend(points),
        }
    }

    fn observe(&mut self, fact: Fact, now: Now) {
        if !matches!(self.storage, Storage::Broken { .. }) {
            self.core.observe(fact, now);
        }
    }

    fn note(&mut self, kind: &str, message: String, now: Now) {
        if !matches!(self.storage, Storage::Broken { .. }) {
            self.core.note(kind, message, now);
        }
    }

    fn on_ask(&mut self, ask: Ask, turn: &mut Turn, now: Now) {
        match ask {
            Ask::Command { ticket, command, dry_run: true, wait: _ } => {
                let answer = self.dry_run(command, now);
                turn.answers.push((ticket, answer));
            }
            Ask::Command { ticket, command, dry_run: false, wait } => {
                if self.storage != Storage::Good {
                    turn.answers.push((ticket, Err(self.storage.problem())));
                    return;
                }
                match self.take(ticket, (command, wait), &mut turn.opened, now) {
                    Ok(taken) => turn.commands.push(taken),
                    Err(problem) => turn.answers.push((ticket, Err(problem))),
                }
            }
            Ask::Query { ticket, query, block } => self.answer_query(ticket, query, block, now),
            Ask::ArtifactStored { ticket, digest, bytes } => {
                if self.storage == Storage::Good {
                    turn.batch.artifacts.push((digest, bytes, now.wall));
                    turn.stored.push(ticket);
                } else {
                    turn.answers.push((ticket, Err(self.storage.problem())));
                }
            }
            Ask::Note { kind, message } => self.note(kind, message, now),
            Ask::Cancel(ticket) => self.waiters.cancel(ticket),
        }
    }

    /// Answers what a turn brought. What was not saved is answered with the reason.
    fn answer_turn(&mut self, turn: Turn, saved: Result<(), Problem>, now: Now) {
        for (ticket, answer) in turn.answers {
            self.send_answer(ticket, answer);
        }
        for ticket in turn.stored {
            self.send_answer(ticket, saved.clone().map(|()| Reply::Done));
        }
        for (ticket, worker) in turn.hellos {
            self.welcome(ticket, &worker, saved.clone());
        }
        for taken in turn.commands {
            match saved.clone() {
                Ok(()) => self.answer_command(&taken, now),
                Err(problem) => self.send_answer(taken.ticket, Err(problem)),
            }
        }
    }

    fn answer_command(&mut self, taken: &Taken, now: Now) {
        match self.outcome(taken) {
            Outcome::Now(answer) => self.send_answer(taken.ticket, answer),
            Outcome::After { what, wait } => self.wait(taken.ticket, what, wait, now),
        }
    }

    fn answer_query(&mut self, ticket: Ticket, query: Query, block: Option<Block>, now: Now) {
        let answer = self.answer(&query, now);
        match block.filter(|block| answer.is_ok() && !self.is_news(&query, block.index)) {
            Some(block) => {
                let what = Awaited::News { query, past: block.index };
                self.wait(ticket, what, block.wait, now);
            }
            None => self.send_answer(ticket, answer),
        }
    }

    /// Whether a resource has changed since somebody read it. An index from the future is one of
    /// before a start.
    fn is_news(&self, query: &Query, past: u64) -> bool {
        self.indices.of(query) > past || past > self.indices.newest()
    }

    fn wait(&mut self, ticket: Ticket, what: Awaited, wait: Duration, now: Now) {
        if let Err(waiter) = self.waiters.add(ticket, what, (now.mono, wait)) {
            let answer = self.awaited(&waiter.what, now);
            self.send_answer(ticket, answer);
        }
    }

    fn answer_waiters(&mut self, now: Now) {
        let mut waiters = std::mem::take(&mut self.waiters);
        let due = waiters.take_due(now.mono, |what| self.is_there(what));
        self.waiters = waiters;
        for waiter in due {
            let answer = self.awaited(&waiter.what, now);
            self.send_answer(waiter.ticket, answer);
        }
    }

    fn is_there(&self, what: &Awaited) -> bool {
        let cluster = self.core.cluster();
        match what {
            Awaited::News { query, past } => self.is_news(query, *past),
            Awaited::End(id) => {
                cluster.deployment(*id).is_none_or(|each| each.status.ended_at().is_some())
            }
            Awaited::Gone(service) => cluster.service(service).is_none(),
        }
    }

    /// What somebody is answered who waited, by now as it is.
    fn awaited(&self, what: &Awaited, now: Now) -> Answered {
        match what {
            Awaited::News { query, .. } => self.answer(query, now),
            Awaited::End(id) => self.ended(*id),
            Awaited::Gone(service) => self.gone(service, 200),
        }
    }

    fn send_answer(&mut self, ticket: Ticket, result: Answered) {
        self.api.send(Answer { ticket, result });
    }

    fn flush(&mut self) {
        self.api.flush();
        self.worker_mgr.flush();
        for outbox in &mut self.loops {
            outbox.flush();
        }
    }
}
