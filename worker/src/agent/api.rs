//! The agent's API, for the controller alone: run this instance, stop it, list them, show its
//! output.
//!
//! One match from method and path to an [`Action`]; what an action does is the supervisor's, and
//! streaming output is `logs`'. The loop calls it with every request's head before its body is
//! read.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tucano_common::id::InstanceId;
use tucano_common::limits::{LOG_TAIL_LINES_DEFAULT, LOG_TAIL_LINES_MAX};
use tucano_common::time::{Now, Wall};
use tucano_common::wire::worker::Push;
use tucano_net::url::percent_decode;
use tucano_net::{Method, Request, RequestHead, Response};
use tucano_worker_core::{Refused, Supervisor, Taken};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `GET /healthz`, for everybody.
    Health,
    /// `GET /metrics`
    Metrics,
    /// `GET /v1/instances`
    List,
    /// `PUT /v1/instances/{id}`
    Run(InstanceId),
    /// `DELETE /v1/instances/{id}`
    Stop(InstanceId),
    /// `GET /v1/instances/{id}/logs`
    Logs(InstanceId, LogQuery),
}

/// What of an instance's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogQuery {
    /// So many of the last lines.
    pub(crate) tail: usize,
    /// And what comes from then on.
    pub(crate) follow: bool,
    /// Nothing older than this.
    pub(crate) since: Option<Wall>,
}

/// Finds what a request asks for; the answer where it asks for nothing that there is.
pub(crate) fn route(head: &RequestHead) -> Result<Action, Response> {
    let mut segments = head.path.split('/').skip(1);
    let parts = [(); 4].map(|()| segments.next());
    let longer = segments.next().is_some();
    match (parts, longer) {
        ([Some("healthz"), None, ..], _) => only(head, Action::Health),
        ([Some("metrics"), None, ..], _) => only(head, Action::Metrics),
        ([Some("v1"), Some("instances"), None, _], _) => only(head, Action::List),
        ([Some("v1"), Some("instances"), Some(id), None], _) if !id.is_empty() => match head.method
        {
            Method::Put => Ok(Action::Run(instance(id)?)),
            Method::Delete => Ok(Action::Stop(instance(id)?)),
            _ => Err(wrong_method("PUT, DELETE")),
        },
        ([Some("v1"), Some("instances"), Some(id), Some("logs")], false) => {
            only(head, Action::Logs(instance(id)?, log_query(head)?))
        }
        _ => Err(Response::error(404, "the agent has no such route")),
    }
}

/// A route that is only read.
fn only(head: &RequestHead, action: Action) -> Result<Action, Response> {
    match head.method {
        Method::Get | Method::Head => Ok(action),
        _ => Err(wrong_method("GET, HEAD")),
    }
}

fn wrong_method(allowed: &str) -> Response {
    Response::error(405, format!("this route takes {allowed}")).header("Allow", allowed)
}

fn instance(segment: &str) -> Result<InstanceId, Response> {
    percent_decode(segment)
        .and_then(|id| InstanceId::parse(&id))
        .ok_or_else(|| Response::error(404, "not an instance's id: 13 letters and digits"))
}

fn log_query(head: &RequestHead) -> Result<LogQuery, Response> {
    let mut query = LogQuery { tail: LOG_TAIL_LINES_DEFAULT, follow: false, since: None };
    for (name, value) in head.query_pairs() {
        let refused = |wanted: &str| Response::error(400, format!("{name}: {wanted}"));
        match name.as_str() {
            "tail" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let lines = value.parse().ok().filter(|_| digits);
                let lines: usize = lines.ok_or_else(|| refused("write a number of lines"))?;
                query.tail = lines.min(LOG_TAIL_LINES_MAX);
            }
            "follow" => {
                query.follow = match value.as_str() {
                    "true" | "1" | "" => true,
                    "false" | "0" => false,
                    _ => return Err(refused("write true or false")),
                };
            }
            "since" => {
                let since = Wall::parse(&value);
                let wanted = || refused("write a time such as 2026-01-31T03:12:00.000Z");
                query.since = Some(since.ok_or_else(wanted)?);
            }
            _ => return Err(refused("not a parameter of this route; it has tail, follow, since")),
        }
    }
    Ok(query)
}

/// `PUT /v1/instances/{id}`.
pub(crate) fn run(
    id: InstanceId,
    request: &Request,
    supervisor: &mut Supervisor,
    now: Now,
) -> Response {
    let push: Push = match read_json(request) {
        Ok(push) => push,
        Err(refusal) => return refusal,
    };
    if push.assignment.id != id {
        let inside = push.assignment.id;
        return Response::error(422, format!("the path names {id}, and the body {inside}"));
    }
    answer(supervisor.push(push, now))
}

/// The body or the query of `DELETE /v1/instances/{id}`.
#[derive(Deserialize)]
struct StopOrder<'a> {
    #[serde(borrow)]
    cluster: Cow<'a, str>,
    generation: u64,
}

/// `DELETE /v1/instances/{id}`.
pub(crate) fn stop(
    id: InstanceId,
    request: &Request,
    supervisor: &mut Supervisor,
    now: Now,
) -> Response {
    let order = if request.body.is_empty() {
        let head = &request.head;
        let generation = head.query_param("generation").and_then(|text| text.parse().ok());
        let (Some(cluster), Some(generation)) = (head.query_param("cluster"), generation) else {
            let wanted = "whose word is this? give cluster= and generation=, or both in JSON";
            return Response::error(422, wanted);
        };
        StopOrder { cluster: cluster.into(), generation }
    } else {
        match serde_json::from_slice(&request.body) {
            Ok(order) => order,
            Err(error) => return unreadable(&error),
        }
    };
    answer(supervisor.stop(id, &order.cluster, order.generation, now))
}

fn read_json<T: DeserializeOwned>(request: &Request) -> Result<T, Response> {
    let media = request.head.headers.get("content-type").unwrap_or("application/json");
    let media = media.split(';').next().unwrap_or_default().trim();
    let json = media.eq_ignore_ascii_case("application/json")
        || media.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    if !json {
        return Err(Response::error(415, "write application/json"));
    }
    serde_json::from_slice(&request.body).map_err(|error| unreadable(&error))
}

/// JSON of another shape is 422, anything else 400. The error names a place, never a value of
/// `env`.
fn unreadable(error: &serde_json::Error) -> Response {
    let status = if error.is_data() { 422 } else { 400 };
    Response::error(status, error.to_string())
}

fn answer(result: Result<Taken, Refused>) -> Response {
    match result {
        Ok(Taken::Changed) => Response::new(202),
        Ok(Taken::Known) => Response::new(200),
        Err(refused) => {
            let status = match refused {
                Refused::Older { .. } | Refused::ForeignCluster | Refused::NotJoined => 409,
                Refused::BadCluster | Refused::TooMany(_) => 422,
            };
            Response::error(status, refused.to_string())
        }
    }
}

#[cfg(test)]
#[path = "api_tests.rs"]
pub(super) mod tests;
