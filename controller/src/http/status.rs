//! `GET /healthz`. (`GET /v1/status` is the deployer's own document.)

use tucano_net::Response;

use super::start::Start;

/// The loop turns, so the process is alive: a thread of it that ends takes the process with it.
pub(crate) fn healthz() -> Start {
    Start::Answer(Response::text(200, "ok\n"))
}
