//! The planner alone: the deployer's core on generated clusters, without sockets and disks.
//!
//! For each size: what a placement costs in a deploy of a hundred instances, what one more instance
//! costs, and what a heartbeat costs that says nothing new. The second and the third are what must
//! not grow with the cluster, but for the survey that names every worker. All of it is the CPU time
//! of one thread: on a machine that others share wall time says little.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec;
use tucano_common::time::{Mono, Now, Wall};
use tucano_common::wire::worker::{Capacity, Desired, InstanceReport, RunState, Usage};
use tucano_controller_core::deployer::{
    Command, Config, Deployer, Fact, Introduction, Output, Rows, WorkerPlan,
};

use super::Report;

/// Instances on each worker before anything is measured.
const FULL: usize = 20;
const EACH: usize = 100;
const ROUNDS: u32 = 20;

/// What this thread used of a CPU so far.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    used.unwrap_or_default() // Linux has had this clock for twenty years
}

/// Measures clusters of these sizes.
pub fn planner(sizes: &[usize]) -> Report {
    let mut report = Report::default();
    for workers in sizes {
        match Generated::new(*workers) {
            Some(mut cluster) => cluster.measure(*workers, &mut report),
            None => report.bar(false, format_args!("planner: {workers} workers: no such names")),
        }
    }
    report
}

struct Generated {
    deployer: Deployer,
    plans: BTreeMap<WorkerName, Arc<WorkerPlan>>,
    now: Now,
    services: usize,
}

impl Generated {
    fn new(workers: usize) -> Option<Generated> {
        let config =
            Config { cluster: "bench".to_owned(), seed: 1, port_map: Vec::new(), rebalance: false };
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_700_000_000_000) };
        let deployer = Deployer::load(config, Rows::default(), now).ok()?;
        let plans = BTreeMap::new();
        let mut cluster = Generated { deployer, plans, now, services: 0 };
        for number in 0..workers {
            let introduction = Introduction {
                name: WorkerName::new(&format!("w{number:05}")).ok()?,
                address: IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0001 + number as u32)),
                agent_port: 7071,
                version: String::new(),
                capacity: Capacity { cpus: 16, memory_bytes: 64 << 30 },
                labels: BTreeMap::new(),
                holds: None,
                instances: Vec::new(),
            };
            cluster.deployer.observe(Fact::Hello(Box::new(introduction)), now);
        }
        for _ in 0..workers * FULL / EACH {
            cluster.deploy();
            cluster.drive();
        }
        cluster.obey();
        Some(cluster)
    }

    fn name(&self) -> String {
        format!("s{:05}", self.services)
    }

    fn deploy(&mut self) {
        self.services += 1;
        let spec = json!({
            "name": self.name(),
            "network": { "expose_port": 80 },
            "scripts": { "runtime-script": "exec true" },
            "concurrency": EACH,
            "resources": { "cpu": 0.05, "memory": "16MiB" },
        });
        if let Ok(spec) = spec::parse(&spec) {
            // A refusal shows in the counts.
            let _ = self.deployer.command(Command::Deploy { spec: Arc::new(spec) }, self.now);
        }
    }

    fn drive(&mut self) -> Output {
        self.deployer.drive(self.now);
        let output = self.deployer.take_output();
        let plans = output.plans.iter().map(|plan| (plan.worker.clone(), Arc::clone(plan)));
        self.plans.extend(plans);
        output
    }

    /// Every worker runs what it should, and time passes.
    fn obey(&mut self) {
        let plans: Vec<_> = self.plans.values().cloned().collect();
        for plan in &plans {
            self.deployer.observe(self.reports(plan), self.now);
        }
        self.drive();
        for _ in 0..10 {
            self.now.mono = self.now.mono + Duration::from_secs(1);
            self.now.wall = self.now.wall + Duration::from_secs(1);
            self.drive();
        }
    }

    fn reports(&self, plan: &WorkerPlan) -> Fact {
        let running = plan.assignments.iter().filter(|each| each.desired == Desired::Run);
        let report = running.enumerate().map(|(at, each)| InstanceReport {
            id: each.id,
            service: each.service.clone(),
            revision: each.revision,
            generation: each.generation,
            state: RunState::Running,
            since: self.now.wall,
            healthy: true,
            port: Some(20_000 + at as u16),
            pid: Some(1),
            started_at: Some(Wall(1_700_000_000_000)),
            restarts: 0,
            restart_nonce: each.restart_nonce,
            failures_in_row: 0,
            failure: None,
            waits_for: None,
            usage: Usage::default(),
        });
        Fact::Reports {
            worker: plan.worker.clone(),
            holds: Some(plan.generation),
            instances: report.collect(),
        }
    }

    fn measure(&mut self, workers: usize, report: &mut Report) {
        let before = self.deployer.cluster().instances().count();
        let mut deploys = Duration::ZERO;
        for _ in 0..ROUNDS {
            let begun = cpu_time();
            self.deploy();
            self.drive();
            deploys += cpu_time() - begun;
        }
        let placed = self.deployer.cluster().instances().count() - before;
        self.obey();
        let one = self.one_more();
        let silent = self.same_again();
        report.line(format_args!(
            "planner: {workers} workers, {} instances: {:.0} placements per second of CPU, \
             one more instance {:.0} us, a report without news {:.1} us",
            before,
            placed as f64 / deploys.as_secs_f64(),
            one.as_secs_f64() * 1e6,
            silent.as_secs_f64() * 1e6
        ));
    }

    /// A service that gets one more instance.
    fn one_more(&mut self) -> Duration {
        let Ok(service) = ServiceName::new(&self.name()) else { return Duration::ZERO };
        let begun = cpu_time();
        for round in 1..=ROUNDS {
            let concurrency = EACH as u32 + round;
            let command = Command::Scale { service: service.clone(), concurrency };
            let _ = self.deployer.command(command, self.now); // a refusal would show as speed
            self.drive();
        }
        (cpu_time() - begun) / ROUNDS
    }

    /// What every worker said before, once more.
    fn same_again(&mut self) -> Duration {
        self.obey();
        let plans: Vec<_> = self.plans.values().cloned().collect();
        let facts: Vec<Fact> = plans.iter().map(|plan| self.reports(plan)).collect();
        let count = u32::try_from(facts.len()).unwrap_or(1).max(1);
        let begun = cpu_time();
        for fact in facts {
            self.deployer.observe(fact, self.now);
        }
        self.drive();
        (cpu_time() - begun) / count
    }
}
