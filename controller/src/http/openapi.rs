//! `GET /v1/openapi.json`: the API's own description, part of the program.

use tucano_net::Response;

use super::start::Start;

/// The document, as the repository has it in `docs/`.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// The answer.
pub(crate) fn document() -> Start {
    Start::Answer(Response::with_body(200, "application/json", DOCUMENT.as_bytes()))
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
