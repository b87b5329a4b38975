//! The cluster's records as the API shows them.
//!
//! Pure functions from records to the shapes of `tucano_common::wire::views`; a core does not know
//! how the API prints things, so they live here. Called by the deployer's thread, which alone can
//! see the cluster.

use tucano_common::name::ServiceName;
use tucano_common::spec::Workload;
use tucano_common::time::Wall;
use tucano_common::wire::views::{
    DecisionView, DeploymentState, DeploymentView, InstanceState, InstanceView, RequestCounts,
    ReservedView, RevisionView, ServiceRequests, ServiceState, ServiceView, VerdictView,
    WorkerState, WorkerView,
};
use tucano_controller_core::cluster::{
    Admission, Cluster, Decision, Deployment, DeploymentStatus, Instance, LeaseState, Revision,
    Run, Service, State, VerdictKind, Worker,
};
use tucano_controller_core::deployer::{Deployer, OutsideAddress, ServiceCondition};

/// Whether an instance's decision is shown with it: alone it is, in lists it would drown the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// With every worker's verdict.
    Full,
    /// Without.
    Brief,
}

/// `GET /v1/services/{name}`; none where there is no such service.
pub(crate) fn service(
    deployer: &Deployer,
    name: &ServiceName,
    requests: ServiceRequests,
) -> Option<ServiceView> {
    let cluster = deployer.cluster();
    let service = cluster.service(name)?;
    let revision = cluster.revision(name, service.revision)?;
    let health = deployer.health_of(name)?;
    Some(ServiceView {
        name: name.clone(),
        state: condition(health.condition),
        reason: health.reason,
        revision: service.revision,
        healthy_revision: service.healthy_revision,
        concurrency: revision.spec.concurrency,
        healthy: health.healthy,
        deployment: Some(service.deployment),
        urls: urls(deployer, revision),
        spec: revision.spec.clone(),
        instances: cluster
            .alive_of(name)
            .map(|each| instance(cluster, each, Detail::Brief))
            .chain(deployer.outside_of(service).into_iter().map(|each| outside(service, each)))
            .collect(),
        requests,
        created_at: service.created_at,
        updated_at: service.updated_at,
    })
}

/// A service's state, for counting.
pub(crate) fn condition(condition: ServiceCondition) -> ServiceState {
    match condition {
        ServiceCondition::Deploying => ServiceState::Deploying,
        ServiceCondition::Running => ServiceState::Running,
        ServiceCondition::Degraded => ServiceState::Degraded,
        ServiceCondition::Failed => ServiceState::Failed,
        ServiceCondition::Stopping => ServiceState::Stopping,
    }
}

fn urls(deployer: &Deployer, revision: &Revision) -> Vec<String> {
    let network = &revision.spec.network;
    let Some(expose_port) = network.expose_port else { return Vec::new() };
    let port = deployer.listen_port(expose_port);
    network
        .hosts
        .iter()
        .map(|host| match port {
            80 => format!("http://{host}"),
            port => format!("http://{host}:{port}"),
        })
        .collect()
}

/// `GET /v1/services/{name}/revisions`, one of them.
pub(crate) fn revision(service: &Service, revision: &Revision) -> RevisionView {
    RevisionView {
        revision: revision.number,
        created_at: revision.created_at,
        was_healthy: revision.healthy_at.is_some(),
        current: revision.number == service.revision,
        spec: revision.spec.clone(),
    }
}

/// `GET /v1/deployments/{id}`; the sums over the requests meanwhile are the balancer's.
pub(crate) fn deployment(
    cluster: &Cluster,
    deployment: &Deployment,
    requests: Option<RequestCounts>,
) -> DeploymentView {
    let instances: Vec<&Instance> = cluster.of_deployment(deployment.id).collect();
    let external = cluster
        .revision(&deployment.service, deployment.revision)
        .is_some_and(|revision| matches!(revision.spec.workload, Workload::External(_)));
    let healthy = instances.iter().filter(|each| each.healthy()).count();
    let (state, reason, failure, reverted_to) = status(&deployment.status);
    let paused_at = match deployment.status {
        DeploymentStatus::Paused { since, .. } => Some(since),
        DeploymentStatus::InProgress { .. }
        | DeploymentStatus::Succeeded { .. }
        | DeploymentStatus::Failed { .. }
        | DeploymentStatus::Reverted { .. }
        | DeploymentStatus::Superseded { .. } => None,
    };
    DeploymentView {
        id: deployment.id,
        service: deployment.service.clone(),
        revision: deployment.revision,
        from_revision: deployment.from_revision,
        state,
        reason: reason.or_else(|| instances.iter().find_map(|each| waits(each))),
        failure,
        reverted_to,
        wanted: deployment.wanted,
        healthy: if external { deployment.wanted } else { count(healthy) },
        instances: instances
            .into_iter()
            .map(|each| instance(cluster, each, Detail::Brief))
            .collect(),
        requests,
        created_at: deployment.created_at,
        paused_at,
        ended_at: deployment.status.ended_at(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn waits(instance: &Instance) -> Option<String> {
    let waits_for = instance.state.stays().then(|| instance.waits_for()).flatten()?;
    Some(format!("instance {} waits for {waits_for}", instance.id))
}

type StatusParts =
    (DeploymentState, Option<String>, Option<tucano_common::wire::worker::Failure>, Option<u64>);

fn status(status: &DeploymentStatus) -> StatusParts {
    match status {
        DeploymentStatus::InProgress { .. } => (DeploymentState::InProgress, None, None, None),
        DeploymentStatus::Paused { .. } => {
            let reason = "is paused: resume it to go on".to_owned();
            (DeploymentState::InProgress, Some(reason), None, None)
        }
        DeploymentStatus::Succeeded { .. } => (DeploymentState::Succeeded, None, None, None),
        DeploymentStatus::Failed { reason, failure, .. } => {
            (DeploymentState::Failed, Some(reason.clone()), failure.clone(), None)
        }
        DeploymentStatus::Reverted { reason, failure, to, .. } => {
            (DeploymentState::Reverted, Some(reason.clone()), failure.clone(), Some(*to))
        }
        DeploymentStatus::Superseded { by, .. } => {
            let reason = match by {
                Some(by) => format!("deployment {by} took its place"),
                None => "its service was deleted".to_owned(),
            };
            (DeploymentState::Superseded, Some(reason), None, None)
        }
    }
}

/// `GET /v1/instances/{id}`.
pub(crate) fn instance(cluster: &Cluster, instance: &Instance, detail: Detail) -> InstanceView {
    let observed = &instance.observed;
    let worker = instance.state.worker();
    let usage = worker
        .and_then(|worker| cluster.live(worker)?.usage.get(&instance.id))
        .copied()
        .unwrap_or_default();
    let ended = instance.state.ended();
    InstanceView {
        id: instance.id,
        service: instance.service.clone(),
        revision: instance.revision,
        worker: worker.cloned(),
        address: cluster.address_of(instance),
        state: instance_state(&instance.state),
        since: instance.since,
        healthy: instance.healthy(),
        restarts: observed.restarts,
        pid: observed.pid.filter(|_| !ended),
        memory_bytes: if ended { 0 } else { usage.memory_bytes },
        cpu_cores: if ended { 0.0 } else { usage.cpu_cores },
        memory_peak_bytes: if ended { 0 } else { usage.memory_peak_bytes },
        processes: if ended { 0 } else { usage.processes },
        descriptors: if ended { 0 } else { usage.descriptors },
        throttled_ms: usage.throttled_ms.filter(|_| !ended),
        pressure: usage.pressure.filter(|_| !ended),
        replaces: instance.replaces,
        waits_for: instance.waits_for().filter(|_| !ended),
        failure: instance.dossier(),
        decision: match detail {
            Detail::Full => instance.decision.as_ref().map(decision),
            Detail::Brief => None,
        },
        created_at: instance.created_at,
    }
}

/// An address of an external service, as an instance that runs elsewhere.
fn outside(service: &Service, outside: OutsideAddress) -> InstanceView {
    let OutsideAddress { id, address, named_since, since, down } = outside;
    let waits_for = down.map(|reason| format!("its health check: {reason}"));
    InstanceView {
        id,
        service: service.name.clone(),
        revision: service.revision,
        worker: None,
        address: Some(address),
        state: InstanceState::Running,
        since,
        healthy: waits_for.is_none(),
        restarts: 0,
        pid: None,
        memory_bytes: 0,
        memory_peak_bytes: 0,
        processes: 0,
        descriptors: 0,
        throttled_ms: None,
        pressure: None,
        cpu_cores: 0.0,
        replaces: None,
        waits_for,
        failure: None,
        decision: None,
        created_at: named_since,
    }
}

/// An instance's state, for counting.
pub(crate) fn instance_state(state: &State) -> InstanceState {
    match state {
        State::Pending { .. } => InstanceState::Pending,
        State::Placed { run, .. } => match run {
            Run::Assigned => InstanceState::Pending,
            Run::Building => InstanceState::Building,
            Run::Starting => InstanceState::Starting,
            Run::Running { .. } => InstanceState::Running,
        },
        State::Draining { .. } => InstanceState::Draining,
        State::Stopping { .. } => InstanceState::Stopping,
        State::Stopped { .. } => InstanceState::Stopped,
        State::Failed { .. } => InstanceState::Failed,
        State::Lost { .. } => InstanceState::Lost,
    }
}

/// A placement with every worker's verdict.
pub(crate) fn decision(decision: &Decision) -> DecisionView {
    let survey = &decision.survey;
    let verdicts = survey.verdicts.iter().map(|verdict| {
        let chosen = decision.chosen.as_ref() == Some(&verdict.worker);
        VerdictView {
            worker: verdict.worker.clone(),
            verdict: match &verdict.kind {
                VerdictKind::Feasible(_) if chosen => "chosen",
                VerdictKind::Feasible(_) => "feasible",
                VerdictKind::Refused { .. } => "refused",
            }
            .to_owned(),
            reason: verdict.kind.to_string(),
        }
    });
    DecisionView {
        at: survey.at,
        cause: survey.cause,
        chosen: decision.chosen.clone(),
        verdicts: verdicts.collect(),
    }
}

/// `GET /v1/workers/{name}`.
pub(crate) fn worker(cluster: &Cluster, worker: &Worker) -> WorkerView {
    let live = cluster.live(&worker.name);
    let reserved = cluster.reserved(&worker.name);
    let measured = live.filter(|live| live.load.is_some());
    WorkerView {
        name: worker.name.clone(),
        state: worker_state(worker),
        address: worker.address,
        agent_port: worker.agent_port,
        version: worker.version.clone(),
        capacity: worker.capacity,
        reserved: ReservedView {
            cpu_millis: reserved.cpu_millis,
            memory_bytes: reserved.memory_bytes,
        },
        labels: worker.labels.clone(),
        metrics: measured.map(|live| live.metrics.clone()),
        instances: cluster.on_worker(&worker.name).map(|instance| instance.id).collect(),
        generation: worker.generation,
        joined_at: worker.joined_at,
        last_seen: Some(last_seen(cluster, worker)),
    }
}

/// When a worker was last heard of.
pub(crate) fn last_seen(cluster: &Cluster, worker: &Worker) -> Wall {
    let live = cluster.live(&worker.name).filter(|live| live.load.is_some());
    live.map_or(worker.last_seen, |live| live.measured_at)
}

/// A worker's state: what its heartbeats say goes before what the operator wants, since it decides
/// what can be done.
pub(crate) fn worker_state(worker: &Worker) -> WorkerState {
    match (worker.lease, worker.admission) {
        (LeaseState::Dead, _) => WorkerState::Dead,
        (LeaseState::Suspect, _) => WorkerState::Suspect,
        (LeaseState::Ready, Admission::Draining { .. }) => WorkerState::Draining,
        (LeaseState::Ready, Admission::Open) => WorkerState::Ready,
    }
}
