//! Refusals of the deployer as the API answers them.

use tucano_common::id::DeploymentId;
use tucano_common::spec::Digest;
use tucano_common::wire::problem::{Problem, ProblemItem};
use tucano_controller_core::deployer::{Refusal, RefusalKind};
use tucano_net::error_chain::Chain;
use tucano_net::listener::ListenError;

use crate::discovery::StoreError;

/// What the core refused.
pub(crate) fn refused(refusal: &Refusal) -> Problem {
    match refusal.kind() {
        RefusalKind::NotFound => Problem::new(404, "Not Found", refusal.to_string()),
        RefusalKind::Conflict => Problem::new(409, "Conflict", refusal.to_string()),
    }
}

/// No such deployment, or not kept any more.
pub(crate) fn unknown_deployment(id: DeploymentId) -> Problem {
    let detail = format!("there is no deployment {id}: GET /v1/deployments lists them");
    Problem::new(404, "Not Found", detail)
}

/// A spec names an artifact that was never uploaded.
pub(crate) fn unknown_artifact(digest: &Digest) -> Problem {
    let detail = format!("{digest} is not here: upload it first with PUT /v1/artifacts");
    let item = ProblemItem { pointer: "/source/artifact".to_owned(), detail: detail.clone() };
    Problem::new(422, "Unprocessable Content", detail).with_errors(vec![item])
}

/// An external address is the controller's own API.
pub(crate) fn address_of_the_api(at: usize) -> Problem {
    let detail = "this is the controller's own API, which is never reached through the balancer";
    let pointer = format!("/external/addresses/{at}");
    let item = ProblemItem { pointer, detail: detail.to_owned() };
    Problem::new(422, "Unprocessable Content", detail).with_errors(vec![item])
}

/// A service's port can't be opened on this machine.
pub(crate) fn port(expose_port: u16, port: u16, error: &ListenError) -> Problem {
    let reason = Chain(error);
    let detail = if expose_port == port {
        format!(
            "network.expose_port {port}: {reason}; or start the controller with \
             --map-port {port}:OTHER"
        )
    } else {
        format!("network.expose_port {expose_port} is served on {port} (--map-port): {reason}")
    };
    Problem::new(409, "Conflict", detail)
}

/// The database could not be read.
pub(crate) fn unreadable(error: &StoreError) -> Problem {
    log::error!("{}", Chain(error));
    Problem::new(503, "Service Unavailable", error.to_string())
}
