//! `GET /metrics`: the machine, the instances and the agent itself, as Prometheus reads them.

use std::collections::BTreeMap;

use procfs::process::Process;
use tucano_common::metrics::{
    AGENT_GENERATION, AGENT_HEARTBEATS, BUILD_INFO, INSTANCE_CPU, INSTANCE_MEMORY,
    INSTANCE_RESTARTS, INSTANCES, PROCESS_CPU, PROCESS_MEMORY, PROCESS_OPEN_FDS, PROCESS_THREADS,
    TextWriter, WORKER_CPU, WORKER_DISK_FREE, WORKER_LOAD, WORKER_MEMORY_TOTAL, WORKER_MEMORY_USED,
    WORKER_PRESSURE,
};
use tucano_common::wire::worker::{InstanceReport, RunState, WorkerMetrics};
use tucano_net::Response;
use tucano_worker_core::Supervisor;

use super::link::{Counts, Link};

/// All of it.
pub(crate) fn respond(link: &Link, supervisor: &Supervisor) -> Response {
    let mut text = TextWriter::new();
    text.metric(BUILD_INFO).count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    agent(&mut text, link.counts(), supervisor.holds().map_or(0, |holds| holds.generation));
    machine(&mut text, supervisor.settings().worker.as_str(), link.metrics());
    instances(&mut text, &supervisor.reports());
    process(&mut text);
    Response::with_body(200, TextWriter::MEDIA_TYPE, text.finish().into_bytes())
}

fn agent(text: &mut TextWriter, counts: Counts, generation: u64) {
    text.metric(AGENT_HEARTBEATS)
        .count(&[("result", "taken")], counts.taken)
        .count(&[("result", "failed")], counts.failed);
    text.metric(AGENT_GENERATION).count(&[], generation);
}

fn machine(text: &mut TextWriter, worker: &str, metrics: &WorkerMetrics) {
    let labels = &[("worker", worker)];
    let load = metrics.load.map(|load| load[0]);
    for (metric, share) in [(WORKER_CPU, metrics.cpu_ratio), (WORKER_LOAD, load)] {
        if let Some(share) = share {
            text.metric(metric).sample(labels, f64::from(share));
        }
    }
    for (metric, bytes) in [
        (WORKER_MEMORY_USED, metrics.memory_used_bytes()),
        (WORKER_MEMORY_TOTAL, metrics.memory_total_bytes),
        (WORKER_DISK_FREE, metrics.disk_free_bytes),
    ] {
        if let Some(bytes) = bytes {
            text.metric(metric).count(labels, bytes);
        }
    }
    if let Some(pressure) = metrics.pressure {
        text.metric(WORKER_PRESSURE);
        let resources = [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)];
        for (resource, share) in resources {
            text.sample(&[("worker", worker), ("resource", resource)], f64::from(share));
        }
    }
}

fn instances(text: &mut TextWriter, reports: &[InstanceReport]) {
    let mut states: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut restarts: BTreeMap<&str, u64> = BTreeMap::new();
    for report in reports {
        let service = report.service.as_str();
        *states.entry((service, state_name(report.state))).or_default() += 1;
        *restarts.entry(service).or_default() += u64::from(report.restarts);
    }
    text.metric(INSTANCES);
    for ((service, state), count) in states {
        text.count(&[("service", service), ("state", state)], count);
    }
    text.metric(INSTANCE_RESTARTS);
    for (service, count) in restarts {
        text.count(&[("service", service)], count);
    }
    let ids: Vec<String> = reports.iter().map(|report| report.id.to_string()).collect();
    text.metric(INSTANCE_CPU);
    for (report, id) in reports.iter().zip(&ids) {
        let labels = &[("service", report.service.as_str()), ("instance", id)];
        text.sample(labels, f64::from(report.usage.cpu_cores));
    }
    text.metric(INSTANCE_MEMORY);
    for (report, id) in reports.iter().zip(&ids) {
        let labels = &[("service", report.service.as_str()), ("instance", id)];
        text.count(labels, report.usage.memory_bytes);
    }
}

fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Pending => "pending",
        RunState::Building => "building",
        RunState::Starting => "starting",
        RunState::Running => "running",
        RunState::Stopping => "stopping",
        RunState::Stopped => "stopped",
        RunState::Failed => "failed",
    }
}

/// The agent's own process, where `/proc` tells.
fn process(text: &mut TextWriter) {
    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        text.metric(PROCESS_CPU).sample(&[], seconds);
        text.metric(PROCESS_MEMORY).count(&[], stat.rss.saturating_mul(procfs::page_size()));
        text.metric(PROCESS_THREADS).count(&[], u64::try_from(stat.num_threads).unwrap_or(0));
    }
    if let Ok(descriptors) = process.fd_count() {
        text.metric(PROCESS_OPEN_FDS).count(&[], descriptors as u64);
    }
}
