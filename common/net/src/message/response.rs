//! An answer as the application gives it, and one as the client got it.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tucano_common::http1::write::reason_phrase;
use tucano_common::wire::problem::{MEDIA_TYPE, Problem};

use super::Headers;

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 200 to 599: 1xx never gets this far.
    pub status: u16,
    /// The fields. Content-Length, Transfer-Encoding, Connection and X-Request-Id are the server's
    /// own.
    pub headers: Headers,
}

impl ResponseHead {
    /// A head without fields.
    pub fn new(status: u16) -> ResponseHead {
        ResponseHead { status, headers: Headers::new() }
    }

    /// The same with one more field.
    pub fn header(mut self, name: &str, value: &str) -> ResponseHead {
        self.headers.push(name, value);
        self
    }
}

/// A whole answer to give.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The fields, as in [`ResponseHead::headers`].
    pub headers: Headers,
    /// The body; not sent to HEAD, nor with 204 and 304.
    pub body: Cow<'static, [u8]>,
}

/// Neither fields' values nor the body: they may hold secrets.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} and {} bytes", self.status, self.headers, self.body.len())
    }
}

impl Response {
    /// An answer without a body.
    pub fn new(status: u16) -> Response {
        Response { status, headers: Headers::new(), body: Cow::Borrowed(&[]) }
    }

    /// An answer with a body of this media type.
    pub fn with_body(
        status: u16,
        media_type: &str,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Response {
        let mut response = Response::new(status).header("Content-Type", media_type);
        response.body = body.into();
        response
    }

    /// An answer in JSON.
    pub fn json<T: Serialize>(status: u16, value: &T) -> Response {
        Response::with_body(status, "application/json", json_bytes(value))
    }

    /// An answer in plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Response {
        Response::with_body(status, "text/plain; charset=utf-8", text.into().into_bytes())
    }

    /// An error as `application/problem+json`.
    pub fn problem(problem: &Problem) -> Response {
        Response::with_body(problem.status, MEDIA_TYPE, json_bytes(problem))
    }

    /// An error whose kind its status says.
    pub fn error(status: u16, detail: impl Into<String>) -> Response {
        Response::problem(&Problem::new(status, reason_phrase(status), detail))
    }

    /// The same with one more field.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        self.headers.push(name, value);
        self
    }
}

/// The JSON of a value with a newline at its end, so that a terminal's prompt stands on a line of
/// its own. A value that has no JSON (a map with keys that are no strings) is a defect; it becomes
/// `null`.
pub(crate) fn json_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_else(|error| {
        log::error!("a value could not be written as JSON: {error}");
        b"null".to_vec()
    });
    bytes.push(b'\n');
    bytes
}

/// A whole answer as it was got.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields.
    pub headers: Headers,
    /// The body, decoded from its framing.
    pub body: Vec<u8>,
}

/// Neither fields' values nor the body: they may hold secrets.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} and {} bytes", self.status, self.headers, self.body.len())
    }
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// The body as text, with U+FFFD where it is no UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}
