//! One fake worker: what it should run, what it says about it, and what to ask next. No sockets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::from_slice;
use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_common::wire::worker::{
    Capacity, Desired, Heartbeat, HeartbeatAnswer, Hello, HelloAnswer, Holding, InstanceReport,
    RunState, Usage, WorkerMetrics,
};

use super::Plan;

/// Changes within so long go out in one heartbeat, as the real agent has it.
const COALESCE: Duration = Duration::from_millis(3);
/// After a failed request.
const RETRY: Duration = Duration::from_millis(500);
const MEMORY_BYTES: u64 = 64 << 30;
/// Instances are told apart by their ports: so many are handed out in turn.
const PORTS: u16 = 10_000;

/// A request to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Hello,
    Heartbeat,
    Assignments,
}

/// Of an assignment what a fake worker needs. Specs are not read: a thousand agents have their own
/// CPUs for that, these share one with the controller that is measured.
#[derive(Deserialize)]
struct Assignment {
    id: InstanceId,
    generation: u64,
    service: ServiceName,
    revision: u64,
    desired: Desired,
    #[serde(default)]
    restart_nonce: u32,
}

#[derive(Deserialize)]
struct Assignments {
    cluster: String,
    generation: u64,
    instances: Vec<Assignment>,
}

#[derive(Deserialize)]
struct Push {
    cluster: String,
    generation: u64,
    previous_generation: u64,
    assignment: Assignment,
}

struct Fake {
    report: InstanceReport,
    /// When a starting one is healthy.
    healthy_at: Option<Instant>,
}

pub(super) struct Worker {
    name: WorkerName,
    address: IpAddr,
    agent_port: u16,
    heartbeat: Duration,
    start: Duration,
    session: u64,
    seq: u64,
    joined: bool,
    holds: Option<Holding>,
    /// What it was told that it should hold.
    wanted: Option<Holding>,
    instances: BTreeMap<InstanceId, Fake>,
    next_port: u16,
    next_beat: Instant,
    /// Something changed that is to be told soon.
    news_at: Option<Instant>,
    /// Not before this, after a failure.
    not_before: Instant,
}

impl Worker {
    /// A worker whose first word is due at `first`.
    pub(super) fn new(number: usize, plan: &Plan, first: Instant, wall: Wall) -> Option<Worker> {
        let session = u64::try_from(wall.0).unwrap_or(1) << 12 | number as u64;
        Some(Worker {
            name: WorkerName::new(&format!("w{number:05}")).ok()?,
            address: plan.address(number),
            agent_port: plan.port,
            heartbeat: plan.heartbeat,
            start: plan.start,
            session,
            seq: 0,
            joined: false,
            holds: None,
            wanted: None,
            instances: BTreeMap::new(),
            next_port: 0,
            next_beat: first,
            news_at: None,
            not_before: first,
        })
    }

    /// Instances that it reports as running and healthy.
    pub(super) fn running(&self) -> usize {
        self.instances.values().filter(|fake| fake.report.healthy).count()
    }

    /// What is to be asked now.
    pub(super) fn next(&mut self, now: Instant, wall: Wall) -> Option<Ask> {
        self.start_due(now, wall);
        if now < self.not_before {
            return None;
        }
        if !self.joined {
            return Some(Ask::Hello);
        }
        if self.wanted.is_some() && self.wanted != self.holds {
            return Some(Ask::Assignments);
        }
        let due = now >= self.next_beat || self.news_at.is_some_and(|at| now >= at);
        due.then_some(Ask::Heartbeat)
    }

    /// When [`Worker::next`] has something though nothing comes.
    pub(super) fn deadline(&self) -> Instant {
        let healthy = self.instances.values().filter_map(|fake| fake.healthy_at);
        let soon = healthy.chain(self.news_at).min().unwrap_or(self.next_beat);
        soon.min(self.next_beat).max(self.not_before)
    }

    fn start_due(&mut self, now: Instant, wall: Wall) {
        for fake in self.instances.values_mut() {
            if fake.healthy_at.is_some_and(|at| at <= now) {
                fake.healthy_at = None;
                fake.report.state = RunState::Running;
                fake.report.healthy = true;
                fake.report.since = wall;
                self.news_at.get_or_insert(now + COALESCE);
            }
        }
    }

    /// A request with its body.
    pub(super) fn request(&mut self, ask: Ask, now: Instant, wall: Wall) -> (String, Vec<u8>) {
        let name = &self.name;
        match ask {
            Ask::Hello => ("POST /v1/workers".to_owned(), json(&self.hello())),
            Ask::Assignments => (format!("GET /v1/workers/{name}/assignments"), Vec::new()),
            Ask::Heartbeat => {
                let line = format!("POST /v1/workers/{name}/heartbeat");
                self.seq += 1;
                self.news_at = None;
                self.next_beat = now + self.heartbeat;
                (line, json(&self.told(wall)))
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            name: self.name.clone(),
            address: Some(self.address),
            agent_port: self.agent_port,
            session: self.session,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capacity: Capacity { cpus: 16, memory_bytes: MEMORY_BYTES },
            labels: BTreeMap::from([("arch".to_owned(), "x86_64".to_owned())]),
            holds: self.holds.clone(),
            instances: self.reports(),
        }
    }

    fn told(&self, wall: Wall) -> Heartbeat {
        // Loads differ and move a little, as real ones do.
        let noise = ((self.session ^ self.seq.wrapping_mul(2_654_435_761)) % 100) as f32;
        Heartbeat {
            session: self.session,
            seq: self.seq,
            at: wall,
            holds: self.holds.clone(),
            metrics: WorkerMetrics {
                cpu_ratio: Some(0.1 + noise / 1000.0),
                cpu_each: vec![0.1; 16],
                memory_total_bytes: Some(MEMORY_BYTES),
                memory_available_bytes: Some(MEMORY_BYTES / 2),
                uptime_s: Some(self.seq),
                ..WorkerMetrics::default()
            },
            instances: self.reports(),
            notices: Vec::new(),
            notices_before: None,
        }
    }

    fn reports(&self) -> Vec<InstanceReport> {
        self.instances.values().map(|fake| fake.report.clone()).collect()
    }

    /// Takes the answer to a request.
    pub(super) fn answered(
        &mut self,
        ask: Ask,
        status: u16,
        body: &[u8],
        now: Instant,
        wall: Wall,
    ) {
        let known = match (ask, status) {
            (Ask::Hello, 200) => from_slice::<HelloAnswer>(body).ok().map(|answer| {
                self.joined = true;
                Holding { cluster: answer.cluster, generation: answer.generation }
            }),
            (Ask::Heartbeat, 200) => from_slice::<HeartbeatAnswer>(body)
                .ok()
                .map(|answer| Holding { cluster: answer.cluster, generation: answer.generation }),
            (Ask::Assignments, 200) => from_slice::<Assignments>(body).ok().map(|answer| {
                let holding = Holding { cluster: answer.cluster, generation: answer.generation };
                self.assign(answer.instances, now, wall);
                self.holds = Some(holding.clone());
                holding
            }),
            _ => None,
        };
        match known {
            Some(holding) => self.wanted = Some(holding),
            None => self.failed(status == 404, now),
        }
    }

    /// A request was refused, or never answered.
    pub(super) fn failed(&mut self, unknown: bool, now: Instant) {
        self.joined &= !unknown;
        self.not_before = now + RETRY;
    }

    fn assign(&mut self, all: Vec<Assignment>, now: Instant, wall: Wall) {
        let before = std::mem::take(&mut self.instances);
        let kept = before.into_iter().filter(|(id, _)| all.iter().any(|each| each.id == *id));
        self.instances = kept.collect();
        all.into_iter().for_each(|assignment| self.take(assignment, now, wall));
    }

    fn take(&mut self, assignment: Assignment, now: Instant, wall: Wall) {
        self.news_at.get_or_insert(now + COALESCE);
        let id = assignment.id;
        if !self.instances.contains_key(&id) {
            let fake = self.begin(&assignment, now, wall);
            self.instances.insert(id, fake);
        }
        let Some(fake) = self.instances.get_mut(&id) else { return };
        fake.report.generation = assignment.generation;
        fake.report.restart_nonce = assignment.restart_nonce;
        if assignment.desired == Desired::Stop {
            fake.healthy_at = None;
            fake.report.state = RunState::Stopped;
            fake.report.healthy = false;
            fake.report.pid = None;
        }
    }

    fn begin(&mut self, assignment: &Assignment, now: Instant, wall: Wall) -> Fake {
        self.next_port = (self.next_port + 1) % PORTS;
        let report = InstanceReport {
            id: assignment.id,
            service: assignment.service.clone(),
            revision: assignment.revision,
            generation: assignment.generation,
            state: RunState::Starting,
            since: wall,
            healthy: false,
            port: Some(20_000 + self.next_port),
            pid: Some(1000 + u32::from(self.next_port)),
            started_at: Some(wall),
            restarts: 0,
            restart_nonce: assignment.restart_nonce,
            failures_in_row: 0,
            failure: None,
            waits_for: None,
            usage: Usage {
                memory_bytes: 12 << 20,
                cpu_cores: 0.01,
                processes: 2,
                ..Usage::default()
            },
        };
        Fake { report, healthy_at: Some(now + self.start) }
    }

    /// An order: a start, or a stop of the instance that the path names. The status of the answer.
    pub(super) fn order(&mut self, line: &str, body: &[u8], now: Instant, wall: Wall) -> u16 {
        let mut words = line.split(' ');
        match (words.next(), words.next().unwrap_or_default()) {
            (Some("PUT"), _) => match from_slice::<Push>(body) {
                Ok(push) => self.pushed(push, now, wall),
                Err(_) => return 400,
            },
            (Some("DELETE"), target) => {
                let path = target.split('?').next().unwrap_or_default();
                let id = path.rsplit('/').next().and_then(InstanceId::parse);
                if let Some(fake) = id.and_then(|id| self.instances.get_mut(&id)) {
                    fake.healthy_at = None;
                    fake.report.state = RunState::Stopped;
                    fake.report.healthy = false;
                    self.news_at.get_or_insert(now + COALESCE);
                }
            }
            _ => return 404,
        }
        202
    }

    fn pushed(&mut self, push: Push, now: Instant, wall: Wall) {
        let known = self.holds.as_ref().filter(|holds| holds.cluster == push.cluster);
        let held = known.map_or(0, |holds| holds.generation);
        if push.generation <= held {
            return;
        }
        self.take(push.assignment, now, wall);
        if held == push.previous_generation {
            let (cluster, generation) = (push.cluster, push.generation);
            self.holds = Some(Holding { cluster, generation });
            self.wanted.clone_from(&self.holds);
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys can't fail; an empty body would show it.
    serde_json::to_vec(value).unwrap_or_default()
}
