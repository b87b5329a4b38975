//! The API's one table: from a method and a path to a typed [`Action`].
//!
//! Pure: it looks at the method and the path alone. What an action wants of its caller (a role, a
//! body, parameters) stands beside the table, so that a route can't be added without saying it.
//! Called by `app` for every request, twice: with its head and with its body.

use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::spec::Digest;
use tucano_net::Method;

use super::query::Param;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Whether the process is alive.
    Healthz,
    /// Prometheus' text.
    Metrics,
    /// The API's own description.
    OpenApi,
    /// Counts, versions, sizes.
    Status,
    /// Everything that happened.
    Events,
    /// A copy of the database.
    Snapshot,
    /// All services.
    Services,
    /// Deploy a spec.
    Deploy,
    /// Deploy a spec whose name the path says too.
    DeployNamed(ServiceName),
    /// One service.
    Service(ServiceName),
    /// End a service.
    Delete(ServiceName),
    /// Another concurrency.
    Scale(ServiceName),
    /// Every instance anew, one after the other.
    Restart(ServiceName),
    /// Back to an older revision.
    Rollback(ServiceName),
    /// A service's history.
    Revisions(ServiceName),
    /// Why its instances are where they are.
    Why(ServiceName),
    /// A service's output.
    ServiceLogs(ServiceName),
    /// All deployments.
    Deployments,
    /// One deployment.
    Deployment(DeploymentId),
    /// Hold a deployment where it is.
    PauseDeployment(DeploymentId),
    /// Let a paused deployment go on.
    ResumeDeployment(DeploymentId),
    /// All instances.
    Instances,
    /// One instance.
    Instance(InstanceId),
    /// An instance's output.
    InstanceLogs(InstanceId),
    /// An instance's process anew.
    RestartInstance(InstanceId),
    /// End one instance.
    StopInstance(InstanceId),
    /// All workers.
    Workers,
    /// One worker.
    Worker(WorkerName),
    /// A worker's history.
    WorkerMetrics(WorkerName),
    /// Move a worker's instances away.
    Drain(WorkerName),
    /// Take a worker back.
    Activate(WorkerName),
    /// Forget a worker.
    Forget(WorkerName),
    /// What the loss of workers would do.
    Simulate,
    /// Where services are, for another program.
    DiscoveryAll,
    /// Where a service is.
    Discovery(ServiceName),
    /// Upload a source.
    PutArtifact,
    /// Download a source.
    GetArtifact(Digest),
    /// An agent introduces itself.
    Hello,
    /// An agent is alive.
    Heartbeat(WorkerName),
    /// What a worker should run.
    Assignments(WorkerName),
    /// An agent leaves.
    Bye(WorkerName),
}

/// Why a request has no action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// No such path.
    Path,
    /// The path is right, its last name can't be one: nothing of that name can exist.
    Name {
        /// `service`, `worker`, `instance`, `deployment`, `artifact`.
        what: &'static str,
        /// What a name is.
        detail: String,
    },
    /// The path is right for these methods.
    Method(Vec<Method>),
}

/// Who may ask for an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody who can connect.
    Free,
    /// The sysadmin.
    Admin,
    /// A worker, or the sysadmin.
    Worker,
}

/// What an action takes as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// None (an empty one passes, whatever the method).
    None,
    /// JSON, and there must be one.
    Json,
    /// JSON or nothing.
    OptionalJson,
    /// Bytes, streamed to disk.
    Archive,
}

/// The methods that some route takes.
pub(crate) const METHODS: [Method; 4] = [Method::Get, Method::Post, Method::Put, Method::Delete];

/// Finds the action of a method and a path as it was sent. `HEAD` is `GET` without the body.
pub(crate) fn route(method: Method, path: &str) -> Result<Action, RouteError> {
    let method = if method == Method::Head { Method::Get } else { method };
    let segments = segments(path).ok_or(RouteError::Path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let Some(action) = table(method, &segments)? {
        return Ok(action);
    }
    let fits = |other: &Method| !matches!(table(*other, &segments), Ok(None));
    let mut allowed: Vec<Method> = METHODS.into_iter().filter(fits).collect();
    if allowed.first() == Some(&Method::Get) {
        allowed.insert(1, Method::Head);
    }
    Err(if allowed.is_empty() { RouteError::Path } else { RouteError::Method(allowed) })
}

/// Every route of the API, once.
fn table(method: Method, path: &[&str]) -> Result<Option<Action>, RouteError> {
    use Method::{Delete, Get, Post, Put};
    Ok(Some(match (method, path) {
        (Get, ["healthz"]) => Action::Healthz,
        (Get, ["metrics"]) => Action::Metrics,
        (Get, ["v1", "openapi.json"]) => Action::OpenApi,
        (Get, ["v1", "status"]) => Action::Status,
        (Get, ["v1", "events"]) => Action::Events,
        (Get, ["v1", "snapshot"]) => Action::Snapshot,

        (Get, ["v1", "services"]) => Action::Services,
        (Post, ["v1", "services"]) => Action::Deploy,
        (Get, ["v1", "services", name]) => Action::Service(service(name)?),
        (Put, ["v1", "services", name]) => Action::DeployNamed(service(name)?),
        (Delete, ["v1", "services", name]) => Action::Delete(service(name)?),
        (Post, ["v1", "services", name, "scale"]) => Action::Scale(service(name)?),
        (Post, ["v1", "services", name, "restart"]) => Action::Restart(service(name)?),
        (Post, ["v1", "services", name, "rollback"]) => Action::Rollback(service(name)?),
        (Get, ["v1", "services", name, "revisions"]) => Action::Revisions(service(name)?),
        (Get, ["v1", "services", name, "why"]) => Action::Why(service(name)?),
        (Get, ["v1", "services", name, "logs"]) => Action::ServiceLogs(service(name)?),

        (Get, ["v1", "deployments"]) => Action::Deployments,
        (Get, ["v1", "deployments", id]) => Action::Deployment(deployment(id)?),
        (Post, ["v1", "deployments", id, "pause"]) => Action::PauseDeployment(deployment(id)?),
        (Post, ["v1", "deployments", id, "resume"]) => Action::ResumeDeployment(deployment(id)?),

        (Get, ["v1", "instances"]) => Action::Instances,
        (Get, ["v1", "instances", id]) => Action::Instance(instance(id)?),
        (Get, ["v1", "instances", id, "logs"]) => Action::InstanceLogs(instance(id)?),
        (Post, ["v1", "instances", id, "restart"]) => Action::RestartInstance(instance(id)?),
        (Post, ["v1", "instances", id, "stop"]) => Action::StopInstance(instance(id)?),

        (Get, ["v1", "workers"]) => Action::Workers,
        (Get, ["v1", "workers", name]) => Action::Worker(worker(name)?),
        (Get, ["v1", "workers", name, "metrics"]) => Action::WorkerMetrics(worker(name)?),
        (Post, ["v1", "workers", name, "drain"]) => Action::Drain(worker(name)?),
        (Post, ["v1", "workers", name, "activate"]) => Action::Activate(worker(name)?),
        (Delete, ["v1", "workers", name]) => Action::Forget(worker(name)?),

        (Post, ["v1", "workers"]) => Action::Hello,
        (Post, ["v1", "workers", name, "heartbeat"]) => Action::Heartbeat(worker(name)?),
        (Get, ["v1", "workers", name, "assignments"]) => Action::Assignments(worker(name)?),
        (Delete, ["v1", "workers", name, "session"]) => Action::Bye(worker(name)?),

        (Post, ["v1", "simulate"]) => Action::Simulate,
        (Get, ["v1", "discovery"]) => Action::DiscoveryAll,
        (Get, ["v1", "discovery", name]) => Action::Discovery(service(name)?),

        (Put, ["v1", "artifacts"]) => Action::PutArtifact,
        (Get, ["v1", "artifacts", digest]) => Action::GetArtifact(artifact(digest)?),
        _ => return Ok(None),
    }))
}

impl Action {
    /// Who may ask for it.
    pub(crate) fn access(&self) -> Access {
        match self {
            Action::Healthz => Access::Free,
            Action::Hello
            | Action::Heartbeat(_)
            | Action::Assignments(_)
            | Action::Bye(_)
            | Action::GetArtifact(_) => Access::Worker,
            Action::Metrics
            | Action::OpenApi
            | Action::Status
            | Action::Events
            | Action::Snapshot
            | Action::Services
            | Action::Deploy
            | Action::DeployNamed(_)
            | Action::Service(_)
            | Action::Delete(_)
            | Action::Scale(_)
            | Action::Restart(_)
            | Action::Rollback(_)
            | Action::Revisions(_)
            | Action::ServiceLogs(_)
            | Action::Deployments
            | Action::Deployment(_)
            | Action::Why(_)
            | Action::Simulate
            | Action::PauseDeployment(_)
            | Action::ResumeDeployment(_)
            | Action::Instances
            | Action::Instance(_)
            | Action::InstanceLogs(_)
            | Action::RestartInstance(_)
            | Action::StopInstance(_)
            | Action::Workers
            | Action::Worker(_)
            | Action::WorkerMetrics(_)
            | Action::Drain(_)
            | Action::Activate(_)
            | Action::Forget(_)
            | Action::DiscoveryAll
            | Action::Discovery(_)
            | Action::PutArtifact => Access::Admin,
        }
    }

    /// What it takes as its body.
    pub(crate) fn body(&self) -> BodyKind {
        match self {
            Action::Deploy
            | Action::DeployNamed(_)
            | Action::Scale(_)
            | Action::Simulate
            | Action::Hello
            | Action::Heartbeat(_) => BodyKind::Json,
            Action::Rollback(_) => BodyKind::OptionalJson,
            Action::PutArtifact => BodyKind::Archive,
            Action::Healthz
            | Action::Metrics
            | Action::OpenApi
            | Action::Status
            | Action::Events
            | Action::Snapshot
            | Action::Services
            | Action::Service(_)
            | Action::Delete(_)
            | Action::Restart(_)
            | Action::Revisions(_)
            | Action::ServiceLogs(_)
            | Action::Deployments
            | Action::Deployment(_)
            | Action::Why(_)
            | Action::PauseDeployment(_)
            | Action::ResumeDeployment(_)
            | Action::Instances
            | Action::Instance(_)
            | Action::InstanceLogs(_)
            | Action::RestartInstance(_)
            | Action::StopInstance(_)
            | Action::Workers
            | Action::Worker(_)
            | Action::WorkerMetrics(_)
            | Action::Drain(_)
            | Action::Activate(_)
            | Action::Forget(_)
            | Action::DiscoveryAll
            | Action::Discovery(_)
            | Action::GetArtifact(_)
            | Action::Assignments(_)
            | Action::Bye(_) => BodyKind::None,
        }
    }

    /// The parameters that its query may have.
    pub(crate) fn params(&self) -> &'static [Param] {
        match self {
            Action::Deploy
            | Action::DeployNamed(_)
            | Action::Delete(_)
            | Action::Scale(_)
            | Action::Restart(_)
            | Action::Rollback(_) => &[Param::DryRun, Param::Wait],
            Action::RestartInstance(_)
            | Action::StopInstance(_)
            | Action::PauseDeployment(_)
            | Action::ResumeDeployment(_)
            | Action::Activate(_)
            | Action::Forget(_) => &[Param::DryRun],
            Action::Drain(_) => &[Param::DryRun, Param::Deadline],
            Action::Services
            | Action::Service(_)
            | Action::Revisions(_)
            | Action::Deployments
            | Action::Deployment(_)
            | Action::Why(_)
            | Action::Instances
            | Action::Instance(_)
            | Action::Workers
            | Action::Worker(_)
            | Action::Status
            | Action::Discovery(_) => &[Param::Index, Param::Wait],
            Action::WorkerMetrics(_) => &[Param::Since, Param::Index, Param::Wait],
            Action::DiscoveryAll => &[Param::Format, Param::Index, Param::Wait],
            Action::Events => &[Param::After, Param::Follow, Param::Index, Param::Wait],
            Action::ServiceLogs(_) | Action::InstanceLogs(_) => {
                &[Param::Tail, Param::Follow, Param::Since]
            }
            Action::Bye(_) => &[Param::Session],
            Action::Healthz
            | Action::Metrics
            | Action::OpenApi
            | Action::Snapshot
            | Action::PutArtifact
            | Action::GetArtifact(_)
            | Action::Simulate
            | Action::Hello
            | Action::Heartbeat(_)
            | Action::Assignments(_) => &[],
        }
    }
}

/// The decoded segments of an absolute path; none for a bad escape, an empty segment or a trailing
/// slash.
fn segments(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix('/')?;
    let decoded = rest.split('/').map(tucano_net::url::percent_decode);
    decoded.map(|segment| segment.filter(|text| !text.is_empty())).collect()
}

fn service(text: &str) -> Result<ServiceName, RouteError> {
    ServiceName::new(text)
        .map_err(|error| RouteError::Name { what: "service", detail: error.to_string() })
}

fn worker(text: &str) -> Result<WorkerName, RouteError> {
    WorkerName::new(text)
        .map_err(|error| RouteError::Name { what: "worker", detail: error.to_string() })
}

const ID_SHAPE: &str = "an id is 13 letters and digits, as lists and events show it";

fn instance(text: &str) -> Result<InstanceId, RouteError> {
    InstanceId::parse(text)
        .ok_or(RouteError::Name { what: "instance", detail: ID_SHAPE.to_owned() })
}

fn deployment(text: &str) -> Result<DeploymentId, RouteError> {
    DeploymentId::parse(text)
        .ok_or(RouteError::Name { what: "deployment", detail: ID_SHAPE.to_owned() })
}

fn artifact(text: &str) -> Result<Digest, RouteError> {
    let detail = "an artifact is named by its digest: sha256: and 64 of 0-9 a-f";
    Digest::parse(text).ok_or(RouteError::Name { what: "artifact", detail: detail.to_owned() })
}

#[cfg(test)]
#[path = "router_tests.rs"]
pub(crate) mod tests;
