//! `/v1/workers`: for the sysadmin, and the four routes of the agents.

use std::net::IpAddr;
use std::time::Duration;

use tucano_common::name::WorkerName;
use tucano_common::wire::worker::{Heartbeat, Hello};
use tucano_controller_core::deployer::Command;

use super::json;
use super::problems::Refused;
use super::query::Params;
use super::services::command;
use super::start::Start;
use crate::msgs::{FromAgent, Query};

/// What `GET /v1/workers/{name}/metrics` shows without `?since=`.
const SINCE_DEFAULT: Duration = Duration::from_secs(3600);

/// `GET /v1/workers/{name}/metrics`.
pub(crate) fn metrics(worker: WorkerName, params: &Params) -> Query {
    Query::WorkerMetrics { worker, since: params.since.unwrap_or(SINCE_DEFAULT) }
}

/// `POST /v1/workers/{name}/drain`.
pub(crate) fn drain(worker: WorkerName, params: &Params) -> Start {
    command(Command::DrainWorker { worker, deadline: params.deadline }, params)
}

/// `POST /v1/workers/{name}/activate`.
pub(crate) fn activate(worker: WorkerName, params: &Params) -> Start {
    command(Command::ActivateWorker { worker }, params)
}

/// `DELETE /v1/workers/{name}`.
pub(crate) fn forget(worker: WorkerName, params: &Params) -> Start {
    command(Command::ForgetWorker { worker }, params)
}

/// `POST /v1/simulate`.
pub(crate) fn simulate(body: &[u8]) -> Result<Query, Refused> {
    const EXAMPLE: &str = "{\"lose\": [\"w2\"]}";
    let value = json::value(body, EXAMPLE)?;
    let lose = json::only_names(&value, "lose", EXAMPLE)?;
    Ok(Query::Simulate { lose })
}

/// `POST /v1/workers`.
pub(crate) fn hello(body: &[u8], peer: IpAddr, host: &str) -> Result<Start, Refused> {
    let hello = Box::new(json::shape::<Hello>(body)?);
    let host = host.to_owned();
    Ok(Start::Agent(Box::new(move |ticket| FromAgent::Hello { ticket, peer, host, hello })))
}

/// `POST /v1/workers/{name}/heartbeat`.
pub(crate) fn heartbeat(worker: WorkerName, body: &[u8]) -> Result<Start, Refused> {
    let heartbeat = Box::new(json::shape::<Heartbeat>(body)?);
    Ok(Start::Agent(Box::new(move |ticket| FromAgent::Heartbeat { ticket, worker, heartbeat })))
}

/// `GET /v1/workers/{name}/assignments`.
pub(crate) fn assignments(worker: WorkerName) -> Start {
    Start::Agent(Box::new(move |ticket| FromAgent::Assignments { ticket, worker }))
}

/// `DELETE /v1/workers/{name}/session`.
pub(crate) fn bye(worker: WorkerName, params: &Params) -> Start {
    let session = params.session;
    Start::Agent(Box::new(move |ticket| FromAgent::Bye { ticket, worker, session }))
}
