//! The API's refusals: each says what is wrong and what to do about it, as
//! `application/problem+json`.
//!
//! What the deployer and the worker manager refuse comes as a whole [`Problem`] and is passed on.
//! Here are the ones that the API finds itself. Called by everything in `http`.

use std::fmt;

use tucano_common::http1::write::reason_phrase;
use tucano_common::wire::problem::{Problem, ProblemItem};
use tucano_net::{Method, Response};

use super::query::QueryError;
use super::router::RouteError;

/// Why the API refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No such route, or not with this method.
    Route(RouteError),
    /// A bad query string.
    Query(QueryError),
    /// A body of a media type that is not taken.
    MediaType {
        /// What was sent.
        given: String,
        /// What is taken, in words.
        wanted: &'static str,
    },
    /// A body where none is wanted.
    UnwantedBody,
    /// No body where one is wanted.
    MissingBody {
        /// What is wanted.
        wanted: &'static str,
    },
    /// A body that is no JSON; the parser's words.
    NotJson(String),
    /// JSON that says something wrong: every fault.
    Faults(Vec<ProblemItem>),
    /// JSON of another shape than an agent sends; the parser's words.
    Shape(String),
    /// A body that is no gzip.
    NotGzip,
    /// There is no artifact of this digest.
    NoArtifact(String),
    /// The service is not there, or nothing is exposed of it.
    NoRoute,
    /// Too many of one kind at a time.
    Busy(&'static str),
    /// Another thread does not take more, or has ended.
    Behind(&'static str),
    /// The process is about to end.
    Stopping,
    /// The disk is full.
    DiskFull(&'static str),
    /// The disk failed.
    Disk(&'static str),
    /// None of the agents that were to be asked answered.
    Agents(Vec<String>),
    /// The other side answered something that does not belong there: a defect.
    Defect(&'static str),
}

impl Refused {
    /// The status that says so.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Refused::Route(RouteError::Method(_)) => 405,
            Refused::Route(RouteError::Path | RouteError::Name { .. })
            | Refused::NoArtifact(_)
            | Refused::NoRoute => 404,
            Refused::Query(_)
            | Refused::NotJson(_)
            | Refused::UnwantedBody
            | Refused::MissingBody { .. } => 400,
            Refused::MediaType { .. } => 415,
            Refused::Faults(_) | Refused::Shape(_) | Refused::NotGzip => 422,
            Refused::Busy(_) | Refused::Behind(_) | Refused::Stopping => 503,
            Refused::DiskFull(_) => 507,
            Refused::Disk(_) | Refused::Defect(_) => 500,
            Refused::Agents(_) => 502,
        }
    }

    /// The same as a problem.
    pub(crate) fn problem(&self) -> Problem {
        let status = self.status();
        let title = reason_phrase(status);
        let problem = Problem::new(status, title, self.to_string());
        match self {
            Refused::Faults(faults) => problem.with_errors(faults.clone()),
            _ => problem,
        }
    }

    /// The answer that says so.
    pub(crate) fn response(&self) -> Response {
        let response = Response::problem(&self.problem());
        match self {
            Refused::Route(RouteError::Method(allowed)) => {
                response.header("Allow", &method_list(allowed))
            }
            Refused::Busy(_) | Refused::Behind(_) | Refused::Stopping => {
                response.header("Retry-After", "1")
            }
            _ => response,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Route(error) => route_text(error, f),
            Refused::Query(error) => error.fmt(f),
            Refused::MediaType { given, wanted } => {
                write!(f, "a body of type {given:?} is not taken; send {wanted}")
            }
            Refused::UnwantedBody => f.write_str("this takes no body; send none"),
            Refused::MissingBody { wanted } => write!(f, "a body is missing; send {wanted}"),
            Refused::NotJson(error) => write!(f, "the body is not JSON: {error}"),
            Refused::Faults(faults) => match faults.as_slice() {
                [one] => write!(f, "{}: {}", one.pointer, one.detail),
                many => write!(f, "{} faults; nothing was stored", many.len()),
            },
            Refused::Shape(error) => write!(
                f,
                "the body is not what an agent of this version sends: {error}; \
                 use the agent of the controller's version"
            ),
            Refused::NotGzip => f.write_str(
                "the body is no gzip; make one with tar -czf app.tar.gz -C app . and send it \
                 as it is, with curl -T app.tar.gz",
            ),
            Refused::NoArtifact(digest) => {
                write!(f, "there is no artifact {digest}; upload it with PUT /v1/artifacts")
            }
            Refused::NoRoute => f.write_str(
                "there is no such service, or it has no network.expose_port; \
                 GET /v1/services lists what there is",
            ),
            Refused::Busy(what) => write!(f, "too many {what} at a time; try again in a moment"),
            Refused::Behind(who) => write!(f, "{who} is busy; try again in a moment"),
            Refused::Stopping => f.write_str("the controller is stopping; ask again when it is up"),
            Refused::DiskFull(what) => {
                write!(f, "{what} does not fit on the controller's disk; make room in --data-dir")
            }
            Refused::Disk(what) => {
                write!(f, "{what} failed on the controller's disk; its log has the reason")
            }
            Refused::Agents(reasons) => {
                write!(f, "no agent could be asked: {}", reasons.join("; "))
            }
            Refused::Defect(what) => {
                write!(f, "{what}; this is a defect of the controller, please report it")
            }
        }
    }
}

fn route_text(error: &RouteError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        RouteError::Path => {
            f.write_str("there is nothing at this path; GET /v1/openapi.json lists what there is")
        }
        RouteError::Name { what, detail } => write!(f, "no such {what}: {detail}"),
        RouteError::Method(allowed) => {
            write!(f, "this path takes {}, not this method", method_list(allowed))
        }
    }
}

fn method_list(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(|method| method.text()).collect();
    names.join(", ")
}

impl From<RouteError> for Refused {
    fn from(error: RouteError) -> Refused {
        Refused::Route(error)
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Refused {
        Refused::Query(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<(Refused, u16)> {
        let item = |pointer: &str| ProblemItem { pointer: pointer.into(), detail: "wrong".into() };
        vec![
            (Refused::Route(RouteError::Path), 404),
            (Refused::Route(RouteError::Name { what: "service", detail: "bad".into() }), 404),
            (Refused::Route(RouteError::Method(vec![Method::Get, Method::Head])), 405),
            (Refused::Query(QueryError::Encoding), 400),
            (Refused::MediaType { given: "text/plain".into(), wanted: "JSON" }, 415),
            (Refused::UnwantedBody, 400),
            (Refused::MissingBody { wanted: "a spec" }, 400),
            (Refused::NotJson("line 1".into()), 400),
            (Refused::Faults(vec![item("/name")]), 422),
            (Refused::Faults(vec![item("/name"), item("/env")]), 422),
            (Refused::Shape("line 1".into()), 422),
            (Refused::NotGzip, 422),
            (Refused::NoArtifact("sha256:0".into()), 404),
            (Refused::NoRoute, 404),
            (Refused::Busy("uploads"), 503),
            (Refused::Behind("the deployer"), 503),
            (Refused::Stopping, 503),
            (Refused::DiskFull("the upload"), 507),
            (Refused::Disk("the upload"), 500),
            (Refused::Agents(vec!["w1 is away".into()]), 502),
            (Refused::Defect("an answer of the wrong kind"), 500),
        ]
    }

    #[test]
    fn each_refusal_is_a_problem_that_says_something() {
        for (refused, status) in every() {
            let problem = refused.problem();
            assert_eq!((problem.status, refused.status()), (status, status), "{refused:?}");
            assert!(!problem.title.is_empty() && problem.detail.len() > 10, "{refused:?}");
            let response = refused.response();
            assert_eq!(response.status, status);
            let media_type = response.headers.get("content-type");
            assert_eq!(media_type, Some("application/problem+json"), "{refused:?}");
            assert_eq!(response.body.last(), Some(&b'\n'), "a prompt stands on its own line");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let refused = Refused::Route(RouteError::Method(vec![Method::Get, Method::Head]));
        assert_eq!(refused.response().headers.get("allow"), Some("GET, HEAD"));
    }

    #[test]
    fn faults_stand_in_the_body() {
        let faults: Vec<ProblemItem> = ["/name", "/env/A"]
            .map(|pointer| ProblemItem { pointer: pointer.into(), detail: "wrong".into() })
            .into();
        let problem = Refused::Faults(faults.clone()).problem();
        assert_eq!(problem.errors, faults);
        assert_eq!(problem.detail, "2 faults; nothing was stored");
    }
}
