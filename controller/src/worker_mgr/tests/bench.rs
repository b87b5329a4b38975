//! The worker manager on its real loop, between an API, a deployer and agents that are played.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};
use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{Assignment, Desired, Hello, Holding};
use tucano_controller_core::cluster::LeaseState;
use tucano_controller_core::deployer::{Fact, WorkerPlan};
use tucano_controller_core::worker_mgr::LeaseConfig;
use tucano_net::clock::Clock;
use tucano_net::token::Token;
use tucano_net::{HttpConfig, HttpLoop, Sender};

use super::super::{Links, Manager, Settings};
use crate::msgs::{Answer, FromAgent, News, Reply, Ticket, ToLoop, ToManager};
use crate::outbox::TrySend;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const CLUSTER: &str = "00c0ffee00c0ffee";

pub(super) struct Bench {
    pub(super) to_manager: Sender<ToManager>,
    pub(super) answers: Receiver<Answer>,
    pub(super) news: Receiver<News>,
    pub(super) weights: Receiver<ToLoop>,
    pub(super) last_ticket: u64,
    pub(super) thread: Option<JoinHandle<()>>,
}

pub(super) fn sender<M: Send + 'static>() -> (TrySend<M>, Receiver<M>) {
    let (tx, rx) = unbounded();
    (Box::new(move |message| tx.send(message).map_err(|error| error.0)), rx)
}

impl Bench {
    /// With leases that run out only where a test wants it.
    pub(super) fn new(suspect_after: Duration) -> Bench {
        let (api, answers) = sender();
        let (deployer, news) = sender();
        let (to_loop, weights) = sender();
        let links = Links { api, deployer, loops: vec![to_loop] };
        let leases = LeaseConfig {
            suspect_after,
            dead_after: suspect_after * 2,
            start_grace: Duration::ZERO,
        };
        let settings = Settings {
            cluster: CLUSTER.to_owned(),
            leases,
            balancer: "0.0.0.0:8080".parse().expect("an address"),
            join: Some(Token::new("a-join-token")),
            off_limits: Vec::new(),
        };
        let config = HttpConfig::default();
        let (mut looped, to_manager) = HttpLoop::<ToManager>::new(config).expect("a loop");
        let mut manager = Manager::new(settings, links, Clock::mono());
        let thread = std::thread::spawn(move || looped.run(&mut manager).expect("it runs"));
        Bench { to_manager, answers, news, weights, last_ticket: 0, thread: Some(thread) }
    }

    pub(super) fn send(&self, message: ToManager) {
        self.to_manager.try_send(message).expect("there is room");
    }

    pub(super) fn ask(&mut self, ask: impl FnOnce(Ticket) -> FromAgent) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.send(ToManager::Agent(ask(ticket)));
        ticket
    }

    /// The answer to this ticket, which is the next one.
    pub(super) fn answer(&self, ticket: Ticket) -> (u16, Value) {
        let answer = self.answers.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!(answer.ticket, ticket);
        match answer.result {
            Ok(Reply::Document(document)) => {
                (document.status, serde_json::from_slice(&document.body).expect("JSON"))
            }
            Ok(Reply::Done) => (204, Value::Null),
            Ok(other) => panic!("no document: {other:?}"),
            Err(problem) => (problem.status, json!(problem.detail)),
        }
    }

    /// What the deployer hears next.
    pub(super) fn facts(&self) -> Vec<Fact> {
        match self.news.recv_timeout(PATIENCE).expect("news") {
            News::Facts(facts) => facts,
            other => panic!("no facts: {other:?}"),
        }
    }

    /// A worker says hello, and the deployer has stored it.
    pub(super) fn join(&mut self, hello: Hello, generation: u64) -> (u16, Value) {
        let worker = hello.name.clone();
        let ticket = self.hello(hello);
        let told = match self.news.recv_timeout(PATIENCE).expect("news") {
            News::Hello { ticket, introduction } => {
                assert_eq!(introduction.name, worker);
                ticket
            }
            other => panic!("no hello: {other:?}"),
        };
        assert_eq!(told, ticket);
        let ready = Fact::Lease { worker: worker.clone(), lease: LeaseState::Ready };
        assert_eq!(self.facts(), [ready]);
        self.send(ToManager::Welcome { ticket, plan: plan(&worker, generation, Vec::new()) });
        self.answer(ticket)
    }

    pub(super) fn hello(&mut self, hello: Hello) -> Ticket {
        let (peer, host) = (IpAddr::from([127, 0, 0, 1]), "ctl.lan:7070".to_owned());
        let hello = Box::new(hello);
        self.ask(|ticket| FromAgent::Hello { ticket, peer, host, hello })
    }

    pub(super) fn heartbeat(&mut self, session: u64, seq: u64, instances: Value) -> (u16, Value) {
        let heartbeat = json!({
            "session": session, "seq": seq, "at": Wall(0), "instances": instances,
            "holds": {"cluster": CLUSTER, "generation": 3},
            "metrics": {"cpu_ratio": 0.5, "memory_total_bytes": 100, "memory_available_bytes": 50},
        });
        let heartbeat = Box::new(serde_json::from_value(heartbeat).expect("a heartbeat"));
        let worker = name();
        let ticket = self.ask(|ticket| FromAgent::Heartbeat { ticket, worker, heartbeat });
        self.answer(ticket)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.to_manager.try_send(ToManager::Stop);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the manager's loop ended well");
        }
    }
}

pub(super) fn name() -> WorkerName {
    WorkerName::new("w1").expect("a name")
}

pub(super) fn hello(session: u64, agent_port: u16) -> Hello {
    Hello {
        name: name(),
        address: None,
        agent_port,
        session,
        version: "0.1.0".to_owned(),
        capacity: tucano_common::wire::worker::Capacity::default(),
        labels: std::collections::BTreeMap::new(),
        holds: Some(Holding { cluster: "another".to_owned(), generation: 9 }),
        instances: Vec::new(),
    }
}

pub(super) fn plan(
    worker: &WorkerName,
    generation: u64,
    assignments: Vec<Assignment>,
) -> Arc<WorkerPlan> {
    let previous_generation = generation - 1;
    let (worker, assignments) = (worker.clone(), assignments.into_iter().map(Arc::new).collect());
    Arc::new(WorkerPlan { worker, generation, previous_generation, assignments })
}

pub(super) fn assignment(id: u64, generation: u64, desired: Desired) -> Assignment {
    let spec = json!({"name": "web", "scripts": {"runtime-script": "exec true"}});
    Assignment {
        id: InstanceId(id),
        generation,
        service: ServiceName::new("web").expect("a name"),
        revision: 1,
        desired,
        restart_nonce: 0,
        spec: Arc::new(spec::parse(&spec).expect("a spec")),
    }
}

pub(super) fn report(id: u64) -> Value {
    json!({
        "id": InstanceId(id), "service": "web", "revision": 1, "generation": 3,
        "state": "running", "since": Wall(0), "healthy": true, "port": 20000,
    })
}

/// An agent that answers each request with the next of these statuses, and tells what it got.
pub(super) fn agent(statuses: &'static [u16]) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (tx, rx) = unbounded();
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, request) = loop {
                let Ok((mut stream, _)) = listener.accept() else { return };
                // Whether it is there is all that some want to know.
                if let Some(request) = read_request(&mut stream) {
                    break (stream, request);
                }
            };
            let answer =
                format!("HTTP/1.1 {status} Any\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
            let _ = tx.send(request);
        }
    });
    (address, rx)
}

pub(super) fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).ok().filter(|len| *len > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..len]).expect("text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
            return Some(text);
        }
    }
}
