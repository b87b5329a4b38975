//! A request as the server got it, and one as the client is to send it.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use tucano_common::http1::write;
pub use tucano_common::http1::{Method, Version};

use super::Headers;

/// The head of a request, before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path as it was sent, still percent-encoded, beginning with `/` (or `*` of OPTIONS).
    pub path: String,
    /// What stood after `?`, still encoded.
    pub query: Option<String>,
    /// The version.
    pub version: Version,
    /// The authority: the absolute form's, else the Host field's; empty in HTTP/1.0 without either.
    pub host: String,
    /// The fields.
    pub headers: Headers,
    /// The client's `X-Request-Id` where it sent a sane one, else one made here. The answer carries
    /// it.
    pub request_id: String,
    /// The body's length where the head says it; `None` for a chunked one.
    pub body_length: Option<u64>,
}

impl RequestHead {
    /// The parameters of the query, decoded, in order.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        crate::url::query_pairs(self.query.as_deref().unwrap_or_default())
    }

    /// The first parameter of this name.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query_pairs().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// A whole request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Its head.
    pub head: RequestHead,
    /// Its body, empty where it had none.
    pub body: Vec<u8>,
}

/// Fields that the client writes itself.
const OWN_FIELDS: [&str; 4] = ["Host", "Content-Length", "Transfer-Encoding", "Connection"];

/// Neither fields' values nor the body: they may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestHead { method, path, headers, .. } = &self.head;
        write!(f, "{} {path} {headers:?} and {} bytes", method.text(), self.body.len())
    }
}

/// What is to become of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerMode {
    /// Collected, up to so many bytes, and handed over whole: `CallEvent::Answer`.
    Collect {
        /// More than so many is `CallError::TooLarge`.
        bytes_max: usize,
    },
    /// Handed over as it comes: `CallEvent::{Head, Data, End}`.
    Stream,
}

/// A request to send.
#[derive(Clone)]
pub struct OutRequest {
    /// The method.
    pub method: Method,
    /// The target in origin form, percent-encoded: `/v1/instances?x=y`.
    pub target: String,
    /// The Host field; the address itself where it is empty.
    pub host: String,
    /// Further fields. Host, Content-Length, Transfer-Encoding and Connection are the client's own.
    pub headers: Headers,
    /// The body.
    pub body: Cow<'static, [u8]>,
    /// What becomes of the answer's body.
    pub answer: AnswerMode,
    /// Whether the connection may come from the pool and go back there. A health check says no.
    pub keep_alive: bool,
}

/// Neither fields' values nor the body: they may hold secrets.
impl fmt::Debug for OutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutRequest { method, target, headers, body, .. } = self;
        write!(f, "{} {target} {headers:?} and {} bytes", method.text(), body.len())
    }
}

impl OutRequest {
    /// A request whose answer is collected up to 1 MiB, on a connection that may be reused.
    pub fn new(method: Method, target: impl Into<String>) -> OutRequest {
        OutRequest {
            method,
            target: target.into(),
            host: String::new(),
            headers: Headers::new(),
            body: Cow::Borrowed(&[]),
            answer: AnswerMode::Collect { bytes_max: tucano_common::limits::API_BODY_BYTES_MAX },
            keep_alive: true,
        }
    }

    /// The same with a Host field.
    pub fn host(mut self, host: impl Into<String>) -> OutRequest {
        self.host = host.into();
        self
    }

    /// The same with one more field.
    pub fn header(mut self, name: &str, value: &str) -> OutRequest {
        self.headers.push(name, value);
        self
    }

    /// The same with `Authorization: Bearer …`.
    pub fn bearer(self, token: &crate::token::Token) -> OutRequest {
        self.header("Authorization", &format!("Bearer {}", token.expose()))
    }

    /// The same with a body of this media type.
    pub fn body(mut self, media_type: &str, body: impl Into<Cow<'static, [u8]>>) -> OutRequest {
        self.headers.push("Content-Type", media_type);
        self.body = body.into();
        self
    }

    /// The same with a JSON body.
    pub fn json<T: Serialize>(self, value: &T) -> OutRequest {
        self.body("application/json", super::response::json_bytes(value))
    }

    /// The same with another treatment of the answer's body.
    pub fn answer(mut self, mode: AnswerMode) -> OutRequest {
        self.answer = mode;
        self
    }

    /// Writes the head; the Host field is the request's own or `default_host`.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, default_host: &str, body_len: u64) {
        let host = if self.host.is_empty() { default_host } else { &self.host };
        let mut head = write::request(out, self.method, &self.target, host).keep(self.keep_alive);
        for (name, value) in self.headers.iter() {
            if !OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                head = head.field(name, value);
            }
        }
        match self.method {
            // Nobody expects a body of these; a length of zero would only be noise.
            Method::Get | Method::Head | Method::Delete | Method::Options if body_len == 0 => {
                head.bodiless();
            }
            _ => head.length(body_len),
        }
    }

    /// The same on a connection of its own, closed after the answer.
    pub fn close(mut self) -> OutRequest {
        self.keep_alive = false;
        self
    }
}
