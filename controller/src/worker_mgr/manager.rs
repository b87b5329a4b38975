//! The application of the worker manager's loop: messages in, timers, and what leaves at the end of
//! a turn.
//!
//! What agents say is taken in `agents.rs`; what is sent to them stands in `push.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tucano_common::name::WorkerName;
use tucano_common::time::{Mono, Now};
use tucano_common::wire::problem::Problem;
use tucano_common::wire::worker::HelloAnswer;
use tucano_controller_core::cluster::{LeaseState, Load, Worker};
use tucano_controller_core::deployer::{Fact, WorkerPlan};
use tucano_controller_core::worker_mgr::{
    self as leases, LeaseChange, LeaseConfig, Leases, PushPace,
};
use tucano_net::token::Token;
use tucano_net::{App, CallEvent, CallId, Io, TimerId};

use super::asks::{Asks, Found};
use super::checks::Checks;
use super::minutes::Minutes;
use super::pushes::Order;
use super::weights::Weigher;
use crate::msgs::{Answer, Document, FromAgent, News, Reply, Ticket, ToLoop, ToManager};
use crate::outbox::{Outbox, TrySend};

/// What the worker manager is told at its start.
pub(crate) struct Settings {
    /// The cluster's id.
    pub(crate) cluster: String,
    /// Suspect, dead, and the grace at the start.
    pub(crate) leases: LeaseConfig,
    /// Where the balancer's main port is.
    pub(crate) balancer: SocketAddr,
    /// What agents want to see.
    pub(crate) join: Option<Token>,
    /// Addresses that are no service's: the controller's own API.
    pub(crate) off_limits: Vec<SocketAddr>,
}

/// The ways from the worker manager to the other threads.
pub(crate) struct Links {
    /// To the API.
    pub(crate) api: TrySend<Answer>,
    /// To the deployer.
    pub(crate) deployer: TrySend<News>,
    /// To each loop of the balancer.
    pub(crate) loops: Vec<TrySend<ToLoop>>,
}

/// What is known of one worker.
pub(super) struct Known {
    /// Where its instances are, and its agent.
    pub(super) address: IpAddr,
    /// 0 where the agent can't be reached.
    pub(super) agent_port: u16,
    /// As the deployer was last told.
    pub(super) lease: LeaseState,
    /// What it should run, committed.
    pub(super) plan: Option<Arc<WorkerPlan>>,
    /// Its reports as the deployer was last told.
    pub(super) news: leases::News,
    /// Its notices that the deployer was told.
    pub(super) notices: leases::NoticesTaken,
    /// When it was last measured.
    pub(super) measured_at: Mono,
    /// Orders on their way to its agent, the first one sent.
    pub(super) orders: VecDeque<Order>,
    /// Whether the last order arrived: said once in the log when that changes.
    pub(super) is_reached: bool,
}

/// The worker manager.
pub(crate) struct Manager {
    pub(super) settings: Settings,
    pub(super) leases: Leases,
    pub(super) workers: BTreeMap<WorkerName, Known>,
    pub(super) loads: BTreeMap<WorkerName, Load>,
    pub(super) minutes: Minutes,
    pub(super) weigher: Weigher,
    /// Hellos that wait for the disk, each with the host that the agent called us by.
    pub(super) hellos: BTreeMap<Ticket, (WorkerName, String)>,
    /// What is to be told to the deployer at the end of the turn.
    pub(super) facts: Vec<Fact>,
    pub(super) calls: BTreeMap<CallId, WorkerName>,
    pub(super) pace: PushPace,
    pub(super) api: Outbox<Answer>,
    pub(super) deployer: Outbox<News>,
    loops: Vec<Outbox<ToLoop>>,
    checks: Checks,
    asks: Asks,
    timer: Option<(TimerId, Mono)>,
}

impl Manager {
    /// With no workers yet.
    pub(crate) fn new(settings: Settings, links: Links, now: Mono) -> Manager {
        Manager {
            leases: Leases::new(settings.leases, now),
            checks: Checks::new(settings.off_limits.clone()),
            settings,
            asks: Asks::default(),
            workers: BTreeMap::new(),
            loads: BTreeMap::new(),
            minutes: Minutes::default(),
            weigher: Weigher::default(),
            hellos: BTreeMap::new(),
            facts: Vec::new(),
            calls: BTreeMap::new(),
            pace: PushPace::new(now),
            api: Outbox::new(links.api),
            deployer: Outbox::new(links.deployer),
            loops: links.loops.into_iter().map(Outbox::new).collect(),
            timer: None,
        }
    }

    /// A worker that is stored, and what it should run: not heard yet.
    pub(crate) fn remember(&mut self, worker: &Worker, plan: Option<Arc<WorkerPlan>>) {
        self.leases.remember(worker.name.clone(), worker.lease);
        let mut known = Known::new(worker.address, worker.agent_port, worker.lease);
        known.plan = plan;
        self.workers.insert(worker.name.clone(), known);
    }

    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<Reply, Problem>) {
        self.api.send(Answer { ticket, result });
    }

    /// A lease changed: the deployer is to know.
    pub(super) fn lease_changed(&mut self, LeaseChange { worker, lease }: LeaseChange) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.lease = lease;
        }
        self.facts.push(Fact::Lease { worker, lease });
    }

    /// A worker's hello is on disk.
    fn welcome(&mut self, io: &mut Io, ticket: Ticket, plan: Arc<WorkerPlan>) {
        let Some((worker, host)) = self.hellos.remove(&ticket) else { return };
        let answer = HelloAnswer {
            cluster: self.settings.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: io.now().wall,
            generation: plan.generation,
            balancer_url: balancer_url(self.settings.balancer, &host),
        };
        if let Some(known) = self.workers.get_mut(&worker) {
            known.plan = Some(plan);
            // Whether it can be reached at all: later it may matter.
            self.asks.forget(known.address);
            let host = known.address;
            self.ask_agent(io, host);
        }
        self.answer(ticket, Ok(Reply::Document(Document::new(200, &answer))));
    }

    /// Asks whether a worker's machine is there; hosts that are no worker's have nobody to ask.
    fn ask_agent(&mut self, io: &mut Io, host: IpAddr) {
        let is_there = |known: &&Known| known.address == host && known.agent_port != 0;
        if let Some(known) = self.workers.values().find(is_there) {
            self.asks.ask(io, SocketAddr::new(host, known.agent_port));
        }
    }

    /// Tells the loops what came of asking; only the newest word of a host counts.
    fn tell_heard(&mut self, found: Found) {
        let (host, is_there) = match found {
            Found::There(host) => (host, true),
            Found::Gone(host) => (host, false),
            Found::Nothing => return,
        };
        for outbox in &mut self.loops {
            outbox
                .supersede(|it| matches!(it, ToLoop::Heard { host: older, .. } if *older == host));
            outbox.send(ToLoop::Heard { host, is_there });
        }
    }

    fn forget(&mut self, worker: &WorkerName) {
        self.leases.forget(worker);
        self.workers.remove(worker);
        self.loads.remove(worker);
    }

    /// The deployer lost what it was told since its last commit: everything counts as untold.
    fn retell(&mut self) {
        for (worker, known) in &mut self.workers {
            known.news = leases::News::default();
            self.facts.push(Fact::Lease { worker: worker.clone(), lease: known.lease });
        }
        self.facts.extend(self.checks.all().into_iter().map(Fact::Outside));
    }

    fn tell_loops(&mut self, message: impl Fn() -> ToLoop) {
        for outbox in &mut self.loops {
            outbox.supersede(|message| matches!(message, ToLoop::Weights(_)));
            outbox.send(message());
        }
    }

    /// Whatever a deadline came for.
    fn look_at_clock(&mut self, now: Now) {
        for change in self.leases.expire(now.mono) {
            self.lease_changed(change);
        }
        if let Some(weights) = self.weigher.take_due(&self.loads, now.mono) {
            self.tell_loops(|| ToLoop::Weights(Arc::clone(&weights)));
        }
        let ended = self.minutes.take_ended(now.wall);
        if !ended.is_empty() {
            self.deployer.send(News::Minutes(ended));
        }
    }

    pub(super) fn tell_deployer(&mut self) {
        if !self.facts.is_empty() {
            self.deployer.send(News::Facts(std::mem::take(&mut self.facts)));
        }
    }

    fn next_deadline(&self, now: Now) -> Option<Mono> {
        let unsent = !self.api.is_empty()
            || !self.deployer.is_empty()
            || self.loops.iter().any(|outbox| !outbox.is_empty());
        let minute = self.minutes.next_end(now.wall).map(|end| now.mono + end.since(now.wall));
        [
            self.leases.next_deadline(),
            self.checks.next_deadline(),
            self.weigher.next_due(),
            minute,
            unsent.then(|| now.mono + super::RESEND),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// One timer for everything. One that is too early only looks at the clock and sets the next.
    fn set_timer(&mut self, io: &mut Io) {
        let Some(at) = self.next_deadline(io.now()) else { return };
        match self.timer {
            Some((_, set)) if set <= at => {}
            before => {
                if let Some((timer, _)) = before {
                    io.cancel_timer(timer);
                }
                self.timer = Some((io.set_timer(at), at));
            }
        }
    }
}

impl Known {
    pub(super) fn new(address: IpAddr, agent_port: u16, lease: LeaseState) -> Known {
        Known {
            address,
            agent_port,
            lease,
            plan: None,
            news: leases::News::default(),
            notices: leases::NoticesTaken::default(),
            measured_at: Mono(0),
            orders: VecDeque::new(),
            is_reached: true,
        }
    }

    /// An agent that starts again may be elsewhere, and everything it says is news.
    pub(super) fn begin_session(&mut self, address: IpAddr, agent_port: u16) {
        self.address = address;
        self.agent_port = agent_port;
        self.news = leases::News::default();
        self.is_reached = true;
    }
}

impl App for Manager {
    type Msg = ToManager;

    fn on_start(&mut self, io: &mut Io) {
        self.set_timer(io);
    }

    fn on_msg(&mut self, io: &mut Io, message: ToManager) {
        let now = io.now();
        match message {
            ToManager::Agent(FromAgent::Hello { ticket, peer, host, hello }) => {
                self.on_hello((ticket, peer, host), *hello, now);
            }
            ToManager::Agent(FromAgent::Heartbeat { ticket, worker, heartbeat }) => {
                self.on_heartbeat(ticket, &worker, *heartbeat, now);
            }
            ToManager::Agent(FromAgent::Assignments { ticket, worker }) => {
                self.on_assignments(ticket, &worker);
            }
            ToManager::Agent(FromAgent::Bye { ticket, worker, session }) => {
                self.on_bye(ticket, &worker, session);
            }
            ToManager::Plans(plans) => {
                plans.into_iter().for_each(|plan| self.on_plan(io, plan));
            }
            ToManager::Welcome { ticket, plan } => self.welcome(io, ticket, plan),
            ToManager::HelloFailed { ticket, problem } => {
                if self.hellos.remove(&ticket).is_some() {
                    self.answer(ticket, Err(problem));
                }
            }
            ToManager::Table(table) => {
                let told = self.checks.adopt(&table, now.mono);
                self.facts.extend(told.into_iter().map(Fact::Outside));
                let weights = self.weigher.adopt(table, &self.loads, now.mono);
                self.tell_loops(|| ToLoop::Weights(Arc::clone(&weights)));
            }
            ToManager::Doubt(host) => self.ask_agent(io, host),
            ToManager::Forgotten(worker) => self.forget(&worker),
            ToManager::Retell => self.retell(),
            ToManager::Stop => io.stop(),
        }
    }

    fn on_call(&mut self, io: &mut Io, call: CallId, event: CallEvent<'_>) {
        if let Some(found) = self.checks.on_call(io, call, &event) {
            self.facts.extend(found.into_iter().map(Fact::Outside));
        } else if let Some(found) = self.asks.on_call(io, call, &event) {
            self.tell_heard(found);
        } else {
            self.on_pushed(io, call, event);
        }
    }

    fn on_timer(&mut self, io: &mut Io, timer: TimerId) {
        if self.timer.is_some_and(|(set, _)| set == timer) {
            self.timer = None;
            self.look_at_clock(io.now());
        }
    }

    fn on_turn_end(&mut self, io: &mut Io) {
        let found = self.checks.begin(io);
        self.facts.extend(found.into_iter().map(Fact::Outside));
        self.tell_deployer();
        self.api.flush();
        self.deployer.flush();
        for outbox in &mut self.loops {
            outbox.flush();
        }
        self.set_timer(io);
    }
}

/// Where a worker's instances reach the balancer: at its own address, or, where it listens on all
/// of them, at the name that the agent reached this machine by.
fn balancer_url(balancer: SocketAddr, host: &str) -> String {
    let host = match balancer.ip() {
        ip if !ip.is_unspecified() => match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        },
        _ => without_port(host).to_owned(),
    };
    format!("http://{host}:{}", balancer.port())
}

fn without_port(host: &str) -> &str {
    let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
    match &host[..port.unwrap_or(host.len())] {
        "" => "127.0.0.1",
        name => name,
    }
}

#[cfg(test)]
mod url_tests {
    use super::*;

    #[test]
    fn the_balancer_is_where_the_agent_can_reach_it() {
        for (balancer, host, url) in [
            ("0.0.0.0:8080", "ctl.lan:7070", "http://ctl.lan:8080"),
            ("0.0.0.0:8080", "10.0.0.1", "http://10.0.0.1:8080"),
            ("[::]:80", "[fd00::1]:7070", "http://[fd00::1]:80"),
            ("0.0.0.0:8080", "", "http://127.0.0.1:8080"),
            ("10.0.0.9:8080", "ctl.lan:7070", "http://10.0.0.9:8080"),
            ("[fd00::9]:8080", "ctl.lan:7070", "http://[fd00::9]:8080"),
        ] {
            let balancer = balancer.parse().expect("an address");
            assert_eq!(balancer_url(balancer, host), url, "{balancer} {host}");
        }
    }
}
