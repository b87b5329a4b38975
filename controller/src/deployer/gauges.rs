//! Counts of the cluster: for `GET /v1/status` and `GET /metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use tucano_common::id::InstanceId;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Now;
use tucano_common::wire::views::{InstanceState, ServiceState, StatusView, WorkerState};
use tucano_common::wire::worker::{Usage, WorkerMetrics};
use tucano_controller_core::cluster::{Event, EventKind, Instance};

use super::shell::Shell;
use crate::msgs::Gauges;
use crate::views;

/// What is counted since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: u64,
    pub(super) commit_failures: u64,
    pub(super) commit_time: Duration,
    ended: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Counts a committed event.
    pub(super) fn event(&mut self, event: &Event) {
        let end = match event.kind {
            EventKind::DeploymentSucceeded => "succeeded",
            EventKind::DeploymentFailed => "failed",
            EventKind::DeploymentReverted => "reverted",
            EventKind::DeploymentSuperseded => "superseded",
            _ => return,
        };
        *self.ended.entry(end).or_default() += 1;
    }
}

/// `GET /v1/status`.
pub(super) fn status(shell: &Shell, now: Now) -> StatusView {
    let cluster = shell.core.cluster();
    let instances = cluster.instance_counts();
    let artifacts = shell.store.artifacts_bytes().unwrap_or(0);
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: shell.core.config().cluster.clone(),
        started_at: shell.started.wall,
        uptime_s: now.mono.since(shell.started.mono).as_secs(),
        services: by_name(service_states(shell).map(ServiceState::as_str)),
        instances: instances.map(|(state, count)| (state.to_owned(), count)).collect(),
        workers: by_name(cluster.workers().map(|each| views::worker_state(each).as_str())),
        last_event: shell.indices.last_event(),
        data_bytes: shell.store.database_bytes().saturating_add(artifacts),
        storage: shell.storage.text(),
    }
}

fn service_states(shell: &Shell) -> impl Iterator<Item = ServiceState> {
    let services = shell.core.cluster().services();
    services.filter_map(|each| Some(views::condition(shell.core.condition_of(each)?)))
}

fn by_name(states: impl Iterator<Item = &'static str>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for state in states {
        *counts.entry(state.to_owned()).or_default() += 1;
    }
    counts
}

/// Numbers for `GET /metrics`. Every state is there, also with nothing in it: a series that comes
/// and goes is hard to alert on.
pub(super) fn gauges(shell: &Shell) -> Gauges {
    let cluster = shell.core.cluster();
    let services: Vec<ServiceState> = service_states(shell).collect();
    let workers: Vec<WorkerState> = cluster.workers().map(views::worker_state).collect();
    Gauges {
        instances: instances(shell),
        services: ServiceState::ALL
            .iter()
            .map(|state| count(state.as_str(), *state, &services))
            .collect(),
        workers: WorkerState::ALL
            .iter()
            .map(|state| count(state.as_str(), *state, &workers))
            .collect(),
        deployments: shell.counters.ended.iter().map(|(end, number)| (*end, *number)).collect(),
        last_event: shell.indices.last_event(),
        database_bytes: shell.store.database_bytes(),
        commits: shell.counters.commits,
        commit_failures: shell.counters.commit_failures,
        commit_time: shell.counters.commit_time,
        last_seen: cluster
            .workers()
            .map(|each| (each.name.clone(), views::last_seen(cluster, each)))
            .collect(),
        machines: machines(shell),
        usage: usage(shell),
    }
}

fn machines(shell: &Shell) -> Vec<(WorkerName, WorkerMetrics)> {
    let cluster = shell.core.cluster();
    let measured = cluster.workers().filter_map(|worker| {
        let live = cluster.live(&worker.name).filter(|live| live.load.is_some())?;
        Some((worker.name.clone(), live.metrics.clone()))
    });
    measured.collect()
}

fn usage(shell: &Shell) -> Vec<(ServiceName, InstanceId, Usage, u32)> {
    let cluster = shell.core.cluster();
    let living = cluster.instances().filter(|instance| !instance.state.ended());
    let row = |instance: &Instance| {
        let live = instance.state.worker().and_then(|worker| cluster.live(worker));
        let usage = live.and_then(|live| live.usage.get(&instance.id)).copied();
        let restarts = instance.observed.restarts;
        (instance.service.clone(), instance.id, usage.unwrap_or_default(), restarts)
    };
    living.map(row).collect()
}

fn count<S: PartialEq>(name: &'static str, state: S, all: &[S]) -> (&'static str, u64) {
    (name, all.iter().filter(|each| **each == state).count() as u64)
}

/// Instances that live, by service and state; ended ones are history.
fn instances(shell: &Shell) -> Vec<(ServiceName, &'static str, u64)> {
    let mut counts: BTreeMap<(&ServiceName, InstanceState), u64> = BTreeMap::new();
    for instance in shell.core.cluster().instances().filter(|each| !each.state.ended()) {
        let key = (&instance.service, views::instance_state(&instance.state));
        *counts.entry(key).or_default() += 1;
    }
    let row = |((service, state), number): ((&ServiceName, InstanceState), u64)| {
        (service.clone(), state.as_str(), number)
    };
    counts.into_iter().map(row).collect()
}
