//! A deployer's shell with a real database, and everybody else played.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};
use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec;
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::wire::problem::Problem;
use tucano_common::wire::views::ServiceRequests;
use tucano_common::wire::worker::{Assignment, Capacity, Desired, InstanceReport, RunState, Usage};
use tucano_controller_core::balancer::table::{Duty, RoutingTable};
use tucano_controller_core::cluster::LeaseState;
use tucano_controller_core::deployer::{Command, Config, Fact, Introduction, Rows, WorkerPlan};

use super::super::ports::Ports;
use super::super::shell::{Arrived, Links, Shell};
use crate::discovery::tests::{Scratch, as_the_first_release};
use crate::discovery::{DataDir, Store};
use crate::msgs::{
    Answer, Ask, Block, Document, FromLoop, News, Query, Reply, Ticket, ToLoop, ToManager,
};
use crate::outbox::TrySend;

pub(super) const LOOPS: u16 = 2;

/// What one answer was: the status, and the body as JSON.
pub(super) type Told = (u16, Value);

pub(super) struct Bench {
    pub(super) scratch: Scratch,
    pub(super) shell: Shell,
    pub(super) now: Now,
    answers: Receiver<Answer>,
    manager: Receiver<ToManager>,
    loops: Vec<Receiver<ToLoop>>,
    last_ticket: u64,
    answered: BTreeMap<Ticket, Result<Reply, Problem>>,
    /// The newest plan of each worker that was published.
    pub(super) plans: BTreeMap<WorkerName, Arc<WorkerPlan>>,
    table: Option<Arc<RoutingTable>>,
    pub(super) retold: u32,
    pub(super) ports: Vec<(u16, bool)>,
    _dir: DataDir,
}

fn sender<M: Send + 'static>() -> (TrySend<M>, Receiver<M>) {
    let (tx, rx) = unbounded();
    (Box::new(move |message| tx.send(message).map_err(|error| error.0)), rx)
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::open(Scratch::new(), Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000) })
    }

    fn open(scratch: Scratch, now: Now) -> Bench {
        let dir = DataDir::open(scratch.path()).expect("a folder");
        let (store, stored) = Store::open(&dir).expect("a database");
        store.trust_the_cache();
        let config = Config {
            cluster: stored.cluster.clone(),
            seed: 7,
            port_map: vec![(80, 1)],
            rebalance: true,
        };
        let (api, answers) = sender();
        let (worker_mgr, manager) = sender();
        let (to_loops, loops) = (0..LOOPS).map(|_| sender()).unzip();
        let requests = Box::new(|_: &ServiceName| ServiceRequests::default());
        let api_address = "127.0.0.1:2".parse().expect("an address");
        let links = Links { api, api_address, worker_mgr, loops: to_loops, requests };
        let balancer = "127.0.0.1:1".parse().expect("an address");
        let ports = Ports::new(balancer, BTreeSet::new(), LOOPS.into());
        let mut shell = Shell::new((store, stored), config, ports, links, now).expect("a cluster");
        shell.start(now);
        let mut bench = Bench {
            scratch,
            shell,
            now,
            answers,
            manager,
            loops,
            last_ticket: 0,
            answered: BTreeMap::new(),
            plans: BTreeMap::new(),
            table: None,
            retold: 0,
            ports: Vec::new(),
            _dir: dir,
        };
        bench.listen();
        bench
    }

    /// The process dies here, and another one starts on the same folder.
    pub(super) fn crash(self) -> Bench {
        let now = self.now;
        Bench::open(self.end(), now)
    }

    /// The same, and what stands there was written by the first release.
    pub(super) fn upgrade(self) -> Bench {
        let now = self.now;
        let scratch = self.end();
        as_the_first_release(&scratch);
        Bench::open(scratch, now)
    }

    /// The process dies here.
    pub(super) fn end(self) -> Scratch {
        let Bench { scratch, shell, loops, _dir, .. } = self;
        drop((shell, loops, _dir));
        scratch
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.wall = self.now.wall + time;
    }

    /// One turn with all of this at once.
    pub(super) fn turn(&mut self, arrived: Arrived) {
        self.shell.turn(arrived, self.now);
        self.listen();
    }

    /// Lets a deadline pass.
    pub(super) fn tick(&mut self, time: Duration) {
        self.wait(time);
        self.turn(Arrived::default());
    }

    fn listen(&mut self) {
        for answer in self.answers.try_iter() {
            let before = self.answered.insert(answer.ticket, answer.result);
            assert!(before.is_none(), "a ticket is answered once");
        }
        for message in self.manager.try_iter() {
            match message {
                ToManager::Plans(plans) => {
                    self.plans.extend(plans.into_iter().map(|plan| (plan.worker.clone(), plan)));
                }
                ToManager::Welcome { plan, .. } => {
                    self.plans.insert(plan.worker.clone(), plan);
                }
                ToManager::Retell => self.retold += 1,
                ToManager::Agent(_)
                | ToManager::HelloFailed { .. }
                | ToManager::Table(_)
                | ToManager::Forgotten(_)
                | ToManager::Doubt(_)
                | ToManager::Stop => {}
            }
        }
        for message in self.loops[0].try_iter() {
            match message {
                ToLoop::Table(table) => {
                    let before = self.table.as_ref().map(|table| table.version);
                    assert!(Some(table.version) > before, "versions grow");
                    self.table = Some(table);
                }
                ToLoop::Listen { port, .. } => self.ports.push((port, true)),
                ToLoop::Close { port } => self.ports.push((port, false)),
                ToLoop::Weights(_) | ToLoop::Heard { .. } | ToLoop::Stop { .. } => {}
            }
        }
    }

    /// The newest table that was published.
    pub(super) fn table(&self) -> &RoutingTable {
        self.table.as_ref().expect("there is one from the start")
    }

    /// So many endpoints take requests, if need be.
    pub(super) fn serving(&self) -> usize {
        let endpoints = self.table().services.iter().flat_map(|service| &service.endpoints);
        let serves = |duty| matches!(duty, Duty::Serve | Duty::LastResort);
        endpoints.filter(|endpoint| serves(endpoint.duty)).count()
    }

    /// What the worker manager does when it is asked to: all of these workers are well.
    pub(super) fn retell(&mut self, workers: &[&str]) {
        let lease = LeaseState::Ready;
        let ready = workers.iter().map(|name| Fact::Lease { worker: worker(name), lease });
        let facts = ready.collect();
        self.news(vec![News::Facts(facts)]);
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// A command that is to be answered with this turn.
    pub(super) fn command(&mut self, command: Command) -> Told {
        let ticket = self.send_command(command, None);
        self.told(ticket).expect("answered with its turn")
    }

    pub(super) fn send_command(&mut self, command: Command, wait: Option<Duration>) -> Ticket {
        let ticket = self.ticket();
        let ask = Ask::Command { ticket, command, dry_run: false, wait };
        self.turn(Arrived { asks: vec![ask], ..Arrived::default() });
        ticket
    }

    pub(super) fn query(&mut self, query: Query, block: Option<Block>) -> Ticket {
        let ticket = self.ticket();
        let ask = Ask::Query { ticket, query, block };
        self.turn(Arrived { asks: vec![ask], ..Arrived::default() });
        ticket
    }

    pub(super) fn get(&mut self, query: Query) -> Told {
        let ticket = self.query(query, None);
        self.told(ticket).expect("answered with its turn")
    }

    pub(super) fn reply(&mut self, ticket: Ticket) -> Option<Result<Reply, Problem>> {
        self.answered.remove(&ticket)
    }

    /// What a ticket was answered, if it was.
    pub(super) fn told(&mut self, ticket: Ticket) -> Option<Told> {
        self.reply(ticket).map(|result| match result {
            Ok(Reply::Document(Document { status, body, .. })) => {
                (status, serde_json::from_slice(&body).expect("JSON"))
            }
            Ok(Reply::Done) => (204, Value::Null),
            Ok(other) => panic!("no document: {other:?}"),
            Err(problem) => (problem.status, serde_json::to_value(problem).expect("JSON")),
        })
    }

    pub(super) fn news(&mut self, news: Vec<News>) {
        self.turn(Arrived { news, ..Arrived::default() });
    }

    /// A worker joins, with room.
    pub(super) fn join(&mut self, name: &str) {
        let ticket = self.ticket();
        let introduction = Box::new(Introduction {
            name: worker(name),
            address: "127.0.0.1".parse().expect("an address"),
            agent_port: 7071,
            version: "0.1.0".to_owned(),
            capacity: Capacity { cpus: 4, memory_bytes: 8 << 30 },
            labels: BTreeMap::new(),
            holds: None,
            instances: Vec::new(),
        });
        let ready = Fact::Lease { worker: worker(name), lease: LeaseState::Ready };
        let hello = News::Hello { ticket, introduction };
        self.news(vec![hello, News::Facts(vec![ready])]);
    }

    /// Every worker does what its newest plan says, at once, and reports it.
    pub(super) fn obey(&mut self) {
        let plans: Vec<_> = self.plans.values().cloned().collect();
        let reports = plans.iter().map(|plan| Fact::Reports {
            worker: plan.worker.clone(),
            holds: Some(plan.generation),
            instances: plan.assignments.iter().map(|each| self.report(each)).collect(),
        });
        let facts = reports.collect();
        self.news(vec![News::Facts(facts)]);
    }

    fn report(&self, assignment: &Assignment) -> InstanceReport {
        let runs = assignment.desired == Desired::Run;
        InstanceReport {
            id: assignment.id,
            service: assignment.service.clone(),
            revision: assignment.revision,
            generation: assignment.generation,
            state: if runs { RunState::Running } else { RunState::Stopped },
            since: self.now.wall,
            healthy: runs,
            port: Some(20_000 + (assignment.id.0 % 10_000) as u16),
            pid: runs.then_some(100),
            started_at: Some(self.now.wall),
            restarts: 0,
            restart_nonce: assignment.restart_nonce,
            failures_in_row: 0,
            failure: None,
            waits_for: None,
            usage: Usage::default(),
        }
    }

    /// Every loop says that this instance is drained.
    pub(super) fn drained(&mut self, instance: InstanceId) {
        let version = self.table().version;
        let told = |lb| FromLoop::Drained { lb, instance, version };
        self.turn(Arrived { loops: (0..LOOPS).map(told).collect(), ..Arrived::default() });
    }

    /// The cluster in memory, as rows.
    pub(super) fn in_memory(&self) -> Rows {
        let cluster = self.shell.core.cluster();
        let services: Vec<_> = cluster.services().cloned().collect();
        Rows {
            workers: cluster.workers().cloned().collect(),
            revisions: services
                .iter()
                .flat_map(|service| cluster.revisions(&service.name).cloned())
                .collect(),
            services,
            deployments: cluster.deployments().cloned().collect(),
            instances: cluster.instances().cloned().collect(),
            last_event: self.shell.indices.last_event(),
        }
    }
}

pub(super) fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).expect("a name")
}

pub(super) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a name")
}

/// A service behind the main port.
pub(super) fn deploy(name: &str, concurrency: u32) -> Command {
    deploy_json(json!({
        "name": name,
        "network": {"expose_port": 80},
        "scripts": {"runtime-script": "exec true"},
        "concurrency": concurrency,
    }))
}

pub(super) fn deploy_json(spec: Value) -> Command {
    Command::Deploy { spec: Arc::new(spec::parse(&spec).expect("a spec")) }
}
