//! What a request begins: each action becomes one [`Start`], which `app` carries out.
//!
//! Pure: it reads the body and the parameters and asks nobody. The resources' own files say what
//! each of their actions wants.

use std::net::IpAddr;
use std::time::Duration;

use tucano_common::spec::Digest;
use tucano_common::time::Wall;
use tucano_controller_core::deployer::Command;
use tucano_net::{Method, Request, Response};

use super::events::EventStream;
use super::json;
use super::logs::LogStream;
use super::problems::Refused;
use super::query::{Format, Params};
use super::router::{Action, BodyKind};
use super::{discovery, openapi, services, status, workers};
use crate::msgs::{Block, FromAgent, Query, Ticket};

/// What a request begins.
pub(crate) enum Start {
    /// An answer at once.
    Answer(Response),
    /// A change of the cluster.
    Command {
        /// What is wanted.
        command: Command,
        /// Only say what would happen.
        dry_run: bool,
        /// Wait so long for its deployment's end.
        wait: Option<Duration>,
    },
    /// A question to the deployer.
    Query {
        /// What is asked.
        query: Query,
        /// Wait for news.
        block: Option<Block>,
        /// How the answer is written.
        then: Then,
    },
    /// What an agent says to the worker manager.
    Agent(Box<dyn FnOnce(Ticket) -> FromAgent>),
    /// Events, streamed.
    Events(EventStream),
    /// Output, streamed.
    Logs(Box<LogStream>),
    /// A file, streamed.
    Download(Digest),
    /// A copy of the database as of now, streamed.
    Snapshot(Wall),
}

/// How an answer that comes from another thread is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// As it is.
    Document,
    /// The addresses of one service, or of all.
    Discovery {
        /// How.
        format: Format,
        /// Of one: an object in place of a list.
        single: bool,
    },
    /// Prometheus' text.
    Metrics,
    /// An artifact's digest and size.
    Artifact {
        /// Which.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// It was there before.
        known: bool,
    },
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Start::Answer(response) => write!(f, "Answer({})", response.status),
            Start::Command { command, dry_run, wait } => {
                write!(f, "Command({command:?}, {dry_run}, {wait:?})")
            }
            Start::Query { query, block, then } => {
                write!(f, "Query({query:?}, {block:?}, {then:?})")
            }
            Start::Agent(_) => f.write_str("Agent"),
            Start::Events(_) => f.write_str("Events"),
            Start::Logs(_) => f.write_str("Logs"),
            Start::Download(digest) => write!(f, "Download({digest})"),
            Start::Snapshot(at) => write!(f, "Snapshot({at})"),
        }
    }
}

/// Reads a request. `peer` is where it came from, `now` what its `since` counts from.
pub(crate) fn start(
    action: Action,
    params: &Params,
    request: &Request,
    peer: IpAddr,
    now: Wall,
) -> Result<Start, Refused> {
    let body = request.body.as_slice();
    if action.body() == BodyKind::None {
        json::nothing(body)?;
    }
    // HEAD wants the head alone: nothing is followed for it.
    let follow = params.follow && request.head.method != Method::Head;
    let document =
        |query: Query| Start::Query { query, block: params.block(), then: Then::Document };
    Ok(match action {
        Action::Healthz => status::healthz(),
        Action::OpenApi => openapi::document(),
        Action::Metrics => Start::Query { query: Query::Gauges, block: None, then: Then::Metrics },
        Action::Status => document(Query::Status),
        Action::Events => Start::Events(EventStream::new(params, follow)),
        Action::Snapshot => Start::Snapshot(now),

        Action::Services => document(Query::Services),
        Action::Deploy => services::deploy(None, body, params)?,
        Action::DeployNamed(name) => services::deploy(Some(&name), body, params)?,
        Action::Service(name) => document(Query::Service(name)),
        Action::Delete(name) => services::delete(name, params),
        Action::Scale(name) => services::scale(name, body, params)?,
        Action::Restart(name) => services::restart(name, params),
        Action::Rollback(name) => services::rollback(name, body, params)?,
        Action::Revisions(name) => document(Query::Revisions(name)),
        Action::Why(name) => document(Query::Why(name)),
        Action::ServiceLogs(name) => {
            Start::Logs(Box::new(LogStream::of_service(name, params, follow, now)))
        }

        Action::Deployments => document(Query::Deployments),
        Action::Deployment(id) => document(Query::Deployment(id)),
        Action::PauseDeployment(deployment) => {
            services::command(Command::PauseDeployment { deployment }, params)
        }
        Action::ResumeDeployment(deployment) => {
            services::command(Command::ResumeDeployment { deployment }, params)
        }

        Action::Instances => document(Query::Instances),
        Action::Instance(id) => document(Query::Instance(id)),
        Action::InstanceLogs(id) => {
            Start::Logs(Box::new(LogStream::of_instance(id, params, follow, now)))
        }
        Action::RestartInstance(instance) => {
            services::command(Command::RestartInstance { instance }, params)
        }
        Action::StopInstance(instance) => {
            services::command(Command::StopInstance { instance }, params)
        }

        Action::Workers => document(Query::Workers),
        Action::Worker(name) => document(Query::Worker(name)),
        Action::WorkerMetrics(name) => document(workers::metrics(name, params)),
        Action::Drain(name) => workers::drain(name, params),
        Action::Activate(name) => workers::activate(name, params),
        Action::Forget(name) => workers::forget(name, params),

        Action::Hello => workers::hello(body, peer, &request.head.host)?,
        Action::Heartbeat(name) => workers::heartbeat(name, body)?,
        Action::Assignments(name) => workers::assignments(name),
        Action::Bye(name) => workers::bye(name, params),

        Action::Simulate => document(workers::simulate(body)?),
        Action::DiscoveryAll => discovery::all(params),
        Action::Discovery(name) => discovery::one(name, params),

        Action::PutArtifact => return Err(Refused::Defect("an upload came as a whole body")),
        Action::GetArtifact(digest) => Start::Download(digest),
    })
}
