//! Asks the controller's API: JSON in, JSON out, its problems as errors that say what to do.
//!
//! Blocking, one connection a request. It retries nothing: whoever asked decides. Used by the
//! client, the demo and the end-to-end tests.

use std::error::Error;
use std::fmt;
use std::io::Read;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tucano_common::wire::problem::Problem;
use tucano_net::blocking::{Client, ClientError, Streamed, Timeouts};
use tucano_net::token::Token;
use tucano_net::url::HttpUrl;
use tucano_net::{Answer, AnswerMode, Method, OutRequest};

use crate::text;

/// The largest answer that is taken; lists of a large cluster are megabytes.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// How long an answer may take where nothing is waited for.
const HEAD_WAIT: Duration = Duration::from_secs(15);

/// Why a call failed.
#[derive(Debug)]
pub enum ApiError {
    /// The controller could not be reached, or the connection broke.
    Reach(String, ClientError),
    /// It said no, and why.
    Refused(Problem),
    /// It answered with an error that is no problem document: perhaps not the controller at all.
    Status(u16, String),
    /// Its answer is not the JSON that was expected: perhaps another version.
    Shape(String, serde_json::Error),
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiError::Reach(url, _) => {
                write!(f, "the controller at {url} could not be asked (--controller names another)")
            }
            ApiError::Refused(problem) => {
                let detail = text::escape(&problem.detail);
                write!(f, "{} ({}): {detail}", text::escape(&problem.title), problem.status)?;
                problem.errors.iter().try_for_each(|item| {
                    let pointer = text::escape(&item.pointer);
                    write!(f, "\n  {pointer}: {}", text::escape(&item.detail))
                })
            }
            ApiError::Status(status, body) => {
                write!(f, "the answer was {status}, without an explanation: {}", text::escape(body))
            }
            ApiError::Shape(target, _) => {
                write!(f, "the answer to {target} has another shape: is this version the same?")
            }
        }
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ApiError::Reach(_, error) => Some(error),
            ApiError::Shape(_, error) => Some(error),
            ApiError::Refused(_) | ApiError::Status(..) => None,
        }
    }
}

impl ApiError {
    /// The status of an answer that said no.
    pub fn status(&self) -> Option<u16> {
        match self {
            ApiError::Refused(problem) => Some(problem.status),
            ApiError::Status(status, _) => Some(*status),
            ApiError::Reach(..) | ApiError::Shape(..) => None,
        }
    }
}

/// The API of one controller.
#[derive(Clone, Debug)]
pub struct Api {
    url: HttpUrl,
    token: Option<Token>,
}

impl Api {
    /// The API at this URL; the token opens it where it wants one.
    pub fn new(url: HttpUrl, token: Option<Token>) -> Api {
        Api { url, token }
    }

    fn client(&self, head: Duration, idle: Duration) -> Result<Client, ApiError> {
        let timeouts = Timeouts { connect: Duration::from_secs(3), head, idle };
        let client = Client::of_url(&self.url).map_err(|error| self.unreached(error))?;
        Ok(client.timeouts(timeouts))
    }

    fn unreached(&self, error: ClientError) -> ApiError {
        ApiError::Reach(self.url.to_string(), error)
    }

    fn request(&self, method: Method, target: &str) -> OutRequest {
        let request = OutRequest::new(method, self.url.target(target));
        let request = request.answer(AnswerMode::Collect { bytes_max: ANSWER_BYTES });
        match &self.token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    /// Asks, and gives the answer whatever its status; with a body, as JSON. `wait` is how long the
    /// request itself asks the controller to wait.
    pub fn ask(
        &self,
        method: Method,
        target: &str,
        body: Option<&[u8]>,
        wait: Duration,
    ) -> Result<Answer, ApiError> {
        let mut request = self.request(method, target);
        if let Some(body) = body {
            request = request.body("application/json", body.to_vec());
        }
        let client = self.client(HEAD_WAIT + wait, HEAD_WAIT)?;
        client.send(&request).map_err(|error| self.unreached(error))
    }

    /// Asks; anything but 2xx is an error.
    pub fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, ApiError> {
        let answer = self.ask(method, target, body, Duration::ZERO)?;
        if answer.is_success() { Ok(answer) } else { Err(refusal(answer.status, &answer.body)) }
    }

    /// Reads a resource.
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ApiError> {
        read(target, &self.send(Method::Get, target, None)?)
    }

    /// Reads what is streamed; a silence longer than `idle` ends it with an error of its kind.
    pub fn open(&self, target: &str, idle: Duration) -> Result<Streamed, ApiError> {
        self.stream(target, HEAD_WAIT, idle)
    }

    /// The same where the controller has to make the answer first: neither its beginning nor any
    /// part of it takes longer than this.
    pub fn open_within(&self, target: &str, wait: Duration) -> Result<Streamed, ApiError> {
        self.stream(target, wait, wait)
    }

    fn stream(&self, target: &str, head: Duration, idle: Duration) -> Result<Streamed, ApiError> {
        let request = self.request(Method::Get, target);
        let client = self.client(head, idle)?;
        let mut answer = client.open(&request).map_err(|error| self.unreached(error))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let mut body = Vec::new();
        let _ = answer.by_ref().take(1024 * 1024).read_to_end(&mut body); // as much as there is
        Err(refusal(answer.status, &body))
    }

    /// Sends `len` bytes of `body`.
    pub fn upload(
        &self,
        target: &str,
        media_type: &str,
        body: &mut dyn Read,
        len: u64,
    ) -> Result<Answer, ApiError> {
        let request = self.request(Method::Put, target).header("Content-Type", media_type);
        let client = self.client(Duration::from_secs(120), Duration::from_secs(60))?;
        let sent = client.upload(&request, body, len).map_err(|error| self.unreached(error))?;
        if sent.is_success() { Ok(sent) } else { Err(refusal(sent.status, &sent.body)) }
    }
}

/// Reads an answer's JSON.
pub fn read<T: DeserializeOwned>(target: &str, answer: &Answer) -> Result<T, ApiError> {
    answer.json().map_err(|error| ApiError::Shape(target.to_owned(), error))
}

/// The error that an answer with such a status is.
pub fn refusal(status: u16, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ApiError::Refused(problem),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            ApiError::Status(status, text.chars().take(200).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_every_fault() {
        let body = br#"{"type":"about:blank","title":"Unprocessable Content","status":422,
            "detail":"2 faults","errors":[{"pointer":"/name","detail":"a\u001b[0m"}]}"#;
        let error = refusal(422, body);
        assert_eq!(error.status(), Some(422));
        let text = "Unprocessable Content (422): 2 faults\n  /name: a\\u{1b}[0m";
        assert_eq!(error.to_string(), text);
        let other = refusal(502, b"<html>");
        assert_eq!(other.status(), Some(502));
        assert!(other.to_string().contains("502"), "{other}");
    }
}
