//! An agent that is made up: it says hello and sends heartbeats with the measurements that a test
//! wants, takes what it is assigned, and reports it as running where the test's own server answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_common::wire::worker::{
    Assignments, Capacity, Desired, Heartbeat, HeartbeatAnswer, Hello, HelloAnswer, Holding,
    InstanceReport, RunState, Usage, WorkerMetrics,
};
use tucano_net::Method;
use tucano_tools::load::upstream::{Behaviour, Upstream};

use crate::Lab;

/// One made-up worker.
pub struct Puppet {
    name: WorkerName,
    server: SocketAddr,
    session: u64,
    seq: u64,
    holds: Option<Holding>,
    metrics: WorkerMetrics,
    instances: Vec<InstanceReport>,
}

impl Puppet {
    /// Joins under this name, with so much of its CPU and memory in use (0 to 1).
    pub fn join(lab: &Lab, name: &str, cpu: f32, memory: f32) -> Puppet {
        let address = lab.cluster.layout.api.ip();
        let upstream = Upstream { default: Behaviour::Fine, body_bytes: 10 };
        let server = upstream.start(SocketAddr::new(address, 0)).expect("a server");
        let total = 8u64 << 30;
        // Exact enough: a share of a size.
        let available = (f64::from(1.0 - memory) * total as f64) as u64;
        let mut puppet = Puppet {
            name: WorkerName::new(name).expect("a name"),
            server,
            session: u64::from(server.port()),
            seq: 0,
            holds: None,
            metrics: WorkerMetrics {
                cpu_ratio: Some(cpu),
                cpu_each: vec![cpu; 4],
                memory_total_bytes: Some(total),
                memory_available_bytes: Some(available),
                load: Some([cpu * 4.0; 3]),
                ..WorkerMetrics::default()
            },
            instances: Vec::new(),
        };
        let hello = Hello {
            name: puppet.name.clone(),
            address: Some(server.ip()),
            agent_port: 0,
            session: puppet.session,
            version: "0.1.0".to_owned(),
            capacity: Capacity { cpus: 4, memory_bytes: total },
            labels: BTreeMap::new(),
            holds: None,
            instances: Vec::new(),
        };
        let answer = lab.ask(Method::Post, "/v1/workers", Some(&json!(hello)));
        let _: HelloAnswer = answer.json().unwrap_or_else(|_| panic!("{}", answer.text()));
        puppet.beat(lab);
        puppet
    }

    /// One heartbeat; what it is assigned by then runs at once.
    pub fn beat(&mut self, lab: &Lab) {
        self.seq += 1;
        let heartbeat = Heartbeat {
            session: self.session,
            seq: self.seq,
            at: now(),
            holds: self.holds.clone(),
            metrics: self.metrics.clone(),
            instances: self.instances.clone(),
            notices: Vec::new(),
            notices_before: None,
        };
        let target = format!("/v1/workers/{}", self.name);
        let beat = lab.ask(Method::Post, &format!("{target}/heartbeat"), Some(&json!(heartbeat)));
        let answer: HeartbeatAnswer = beat.json().unwrap_or_else(|_| panic!("{}", beat.text()));
        if self.holds.as_ref().is_some_and(|holds| holds.generation == answer.generation) {
            return;
        }
        let assigned: Assignments = lab.get(&format!("{target}/assignments"));
        self.instances = assigned
            .instances
            .iter()
            .filter(|assignment| assignment.desired == Desired::Run)
            .map(|assignment| InstanceReport {
                id: assignment.id,
                service: assignment.service.clone(),
                revision: assignment.revision,
                generation: assignment.generation,
                state: RunState::Running,
                since: now(),
                healthy: true,
                port: Some(self.server.port()),
                pid: Some(1),
                started_at: Some(now()),
                restarts: 0,
                restart_nonce: assignment.restart_nonce,
                failures_in_row: 0,
                failure: None,
                waits_for: None,
                usage: Usage::default(),
            })
            .collect();
        self.holds = Some(Holding { cluster: assigned.cluster, generation: assigned.generation });
    }

    /// Instances that it was given.
    pub fn count(&self) -> usize {
        self.instances.len()
    }
}

fn now() -> Wall {
    tucano_net::clock::Clock::wall()
}
