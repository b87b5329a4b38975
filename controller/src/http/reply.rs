//! Other threads' answers as HTTP.

use tucano_common::wire::problem;
use tucano_net::Response;

use super::problems::Refused;
use super::start::Then;
use super::{artifacts, discovery};
use crate::msgs::{Document, Reply};

/// Writes an answer the way its request wants it. (`GET /metrics` is written by `app`, which has
/// the other half of the numbers.)
pub(crate) fn write(then: &Then, reply: Reply) -> Result<Response, Refused> {
    match (then, reply) {
        (Then::Document, Reply::Document(document)) => Ok(of_document(document)),
        (Then::Document, Reply::Done) => Ok(Response::new(204)),
        (Then::Artifact { digest, bytes, known }, Reply::Done) => {
            Ok(artifacts::stored(digest, *bytes, *known))
        }
        (Then::Discovery { format, single }, Reply::Discovery { services, index }) => {
            let response = discovery::answer(services, *format, *single);
            let response = response.ok_or(Refused::NoRoute)?;
            Ok(response.header("X-Tucano-Index", &index.to_string()))
        }
        (Then::Document | Then::Artifact { .. } | Then::Discovery { .. } | Then::Metrics, _) => {
            Err(Refused::Defect("an answer of the wrong kind came"))
        }
    }
}

fn of_document(document: Document) -> Response {
    let Document { status, index, location, mut body } = document;
    body.push(b'\n'); // a terminal's prompt stands on a line of its own
    // What was waited for and failed is a problem that carries the whole deployment.
    let media_type = if status < 400 { "application/json" } else { problem::MEDIA_TYPE };
    let mut response = Response::with_body(status, media_type, body);
    if let Some(index) = index {
        response = response.header("X-Tucano-Index", &index.to_string());
    }
    if let Some(location) = location {
        response = response.header("Location", &location);
    }
    response
}

#[cfg(test)]
mod tests {
    use tucano_common::spec::Digest;

    use super::super::query::Format;
    use super::*;
    use crate::msgs::EventsPage;

    #[test]
    fn documents_carry_index_and_place() {
        let document = Document {
            status: 202,
            index: Some(7),
            location: Some("/v1/deployments/x".into()),
            body: b"{}".to_vec(),
        };
        let response = write(&Then::Document, Reply::Document(document)).expect("an answer");
        assert_eq!((response.status, response.body.as_ref()), (202, &b"{}\n"[..]));
        assert_eq!(response.headers.get("x-tucano-index"), Some("7"));
        assert_eq!(response.headers.get("location"), Some("/v1/deployments/x"));
        assert_eq!(response.headers.get("content-type"), Some("application/json"));
        let bare = Document { status: 200, index: None, location: None, body: b"[]".to_vec() };
        let response = write(&Then::Document, Reply::Document(bare)).expect("an answer");
        assert!(!response.headers.contains("location"));
        assert!(!response.headers.contains("x-tucano-index"));
        let failed = Document { status: 424, index: None, location: None, body: b"{}".to_vec() };
        let response = write(&Then::Document, Reply::Document(failed)).expect("an answer");
        assert_eq!(response.headers.get("content-type"), Some("application/problem+json"));
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_a_defect_and_no_panic() {
        let digest = Digest::from_bytes(&[0; 32]);
        let discovery = Then::Discovery { format: Format::Tucano, single: false };
        for then in [
            Then::Document,
            Then::Metrics,
            Then::Artifact { digest, bytes: 1, known: false },
            discovery,
        ] {
            let page = EventsPage { lines: Vec::new(), last: 0, newest: 0 };
            let refused = write(&then, Reply::Events(page)).err();
            assert_eq!(refused.map(|refused| refused.status()), Some(500));
        }
    }

    #[test]
    fn a_service_without_a_route_is_not_found() {
        let then = Then::Discovery { format: Format::Tucano, single: true };
        let reply = Reply::Discovery { services: Vec::new(), index: 3 };
        assert_eq!(write(&then, reply).err(), Some(Refused::NoRoute));
    }
}
