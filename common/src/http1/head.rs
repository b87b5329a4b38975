//! Request heads and response heads, parsed strictly and whole, as spans into the caller's buffer.
//!
//! It copies nothing, and allocates only for heads of unusually many fields; what it learnt on the
//! way (method, version, framing, connection options, the fields this project acts on) stands
//! beside the spans. It does not decide what to do with a message. Called by the servers and
//! clients of `tucano-net` and by the balancer's loops.
//!
//! ```
//! use tucano_common::http1::{Body, HeadScan, RequestHead};
//! let bytes = b"GET /a HTTP/1.1\r\nHost: web\r\n\r\nnext";
//! let head = RequestHead::parse(bytes, &mut HeadScan::default()).unwrap().unwrap();
//! assert_eq!((head.target.path().of(bytes), head.host.of(bytes)), (&b"/a"[..], &b"web"[..]));
//! assert_eq!((head.body, head.len()), (Body::None, bytes.len() - 4));
//! ```

use std::mem::MaybeUninit;

use super::error::HeadError;
use super::fields::FieldName;
use super::framing::{self, Body};
use super::lines::{ConnectionOptions, Fields, Learnt, Span, collect};
use super::method::{Method, Version};
use super::scan::{Found, HeadScan};
use super::target::{self, Target};
use crate::limits::{HEAD_FIELDS_MAX, TARGET_BYTES_MAX};

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The start line and all fields, without an ignored empty line before, with the empty line at
    /// the end.
    pub whole: Span,
    /// The method.
    pub method: Method,
    /// The method as it came.
    pub method_text: Span,
    /// The target.
    pub target: Target,
    /// The version in the start line.
    pub version: Version,
    /// The authority that is asked for: the target's in absolute form, else Host's; empty in
    /// HTTP/1.0 without Host.
    pub host: Span,
    /// How the body ends.
    pub body: Body,
    /// What the `Connection` fields say.
    pub connection: ConnectionOptions,
    /// The client waits for `100 Continue` (never in HTTP/1.0).
    pub expects_continue: bool,
    /// The client asks for another protocol: an `Upgrade` field that `Connection` names (never in
    /// HTTP/1.0).
    pub asks_upgrade: bool,
    /// All fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The start line and all fields, with the empty line at the end.
    pub whole: Span,
    /// 100..=999; 600 and above are final and mean what 5xx means (RFC 9110, 15).
    pub status: u16,
    /// The version in the start line.
    pub version: Version,
    /// How the body ends.
    pub body: Body,
    /// The body's framing contradicts the status: nothing after it can be trusted.
    pub is_suspect: bool,
    /// What the `Connection` fields say.
    pub connection: ConnectionOptions,
    /// All fields.
    pub fields: Fields,
}

impl RequestHead {
    /// Parses the head at the start of `bytes`, which have grown since the last call with the same
    /// `scan`.
    /// `None`: it goes on.
    pub fn parse(bytes: &[u8], scan: &mut HeadScan) -> Result<Option<RequestHead>, HeadError> {
        match scan.find(bytes)? {
            None => Ok(None),
            Some(found) => RequestHead::of(bytes, found).map(Some),
        }
    }

    fn of(bytes: &[u8], found: Found) -> Result<RequestHead, HeadError> {
        let head = bytes.get(found.start..found.end).unwrap_or(&[]);
        let mut table = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, &mut table) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(HeadError::StartLine),
            Err(error) => return Err(refusal(error, head)),
        }
        let (Some(method), Some(path)) = (parsed.method, parsed.path) else {
            return Err(HeadError::StartLine);
        };
        if path.len() > TARGET_BYTES_MAX {
            return Err(HeadError::TargetTooLong);
        }
        let version = version(parsed.version);
        let method_text = Span::within(bytes, method.as_bytes());
        let path = Span::within(bytes, path.as_bytes());
        let method = Method::of(method)?;
        let target = target::parse(path.of(bytes), usize::from(path.at), method)?;
        let (fields, learnt) = collect(bytes, parsed.headers);
        learnt.connection.check()?;
        let body = framing::of_request(version, learnt.declared(bytes))?;
        let is_11 = version == Version::Http11;
        Ok(RequestHead {
            whole: Span::new(found.start, found.end - found.start),
            method,
            method_text,
            target,
            version,
            host: host(bytes, target, version, &learnt)?,
            body,
            connection: learnt.connection,
            expects_continue: is_11 && learnt.expects_continue,
            asks_upgrade: is_11 && learnt.has_upgrade && learnt.connection.upgrade,
            fields,
        })
    }

    /// How many bytes of the buffer are this head, an ignored empty line before it included.
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub fn len(&self) -> usize {
        usize::from(self.whole.end())
    }

    /// Whether the client's connection may carry another request after this one (RFC 9112, 9.3).
    pub fn keeps_alive(&self) -> bool {
        self.connection.keeps_alive(self.version)
    }

    /// Whether the request may be sent again although it may have been acted on.
    pub fn is_safe_to_repeat(&self) -> bool {
        self.method.is_idempotent() || self.fields.first(FieldName::IdempotencyKey).is_some()
    }
}

impl ResponseHead {
    /// Parses the head at the start of `bytes`, the answer to a request of that method, as
    /// [`RequestHead::parse`] does.
    pub fn parse(
        bytes: &[u8],
        scan: &mut HeadScan,
        method: Method,
    ) -> Result<Option<ResponseHead>, HeadError> {
        match scan.find(bytes)? {
            None => Ok(None),
            // Empty lines are ignored before requests only.
            Some(found) if found.start > 0 => Err(HeadError::EmptyLines),
            Some(found) => ResponseHead::of(bytes, found, method).map(Some),
        }
    }

    fn of(bytes: &[u8], found: Found, method: Method) -> Result<ResponseHead, HeadError> {
        let head = bytes.get(..found.end).unwrap_or(&[]);
        let mut table = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, head, &mut table) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(HeadError::StartLine),
            Err(error) => return Err(refusal(error, head)),
        }
        let status = parsed.code.filter(|code| (100..=999).contains(code));
        let status = status.ok_or(HeadError::Status)?;
        let version = version(parsed.version);
        let (fields, learnt) = collect(bytes, parsed.headers);
        learnt.connection.check()?;
        let framed = framing::of_response(method, status, version, learnt.declared(bytes))?;
        Ok(ResponseHead {
            whole: Span::new(0, found.end),
            status,
            version,
            body: framed.body,
            is_suspect: framed.is_suspect,
            connection: learnt.connection,
            fields,
        })
    }

    /// How many bytes of the buffer are this head.
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub fn len(&self) -> usize {
        usize::from(self.whole.end())
    }

    /// Whether another answer follows to the same request (1xx but 101).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Whether the connection may be used again after this answer.
    pub fn keeps_alive(&self) -> bool {
        self.connection.keeps_alive(self.version)
            && self.body != Body::UntilClose
            && !self.is_suspect
    }
}

fn host(
    buffer: &[u8],
    target: Target,
    version: Version,
    learnt: &Learnt,
) -> Result<Span, HeadError> {
    let field = match (learnt.host.times, version) {
        (0, Version::Http11) => return Err(HeadError::HostMissing),
        (0, Version::Http10) => Span::default(),
        (1, _) if target::is_authority(learnt.host.first.of(buffer)) => learnt.host.first,
        (1, _) => return Err(HeadError::HostMalformed),
        (2.., _) => return Err(HeadError::HostRepeated),
    };
    match target {
        Target::Absolute { authority, .. } => Ok(authority),
        Target::Origin(_) | Target::Asterisk(_) => Ok(field),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

/// httparse's refusal in our words. The version is looked at once more: a well-formed one that
/// nobody speaks here is 505, anything else 400.
fn refusal(error: httparse::Error, head: &[u8]) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::FieldName,
        httparse::Error::HeaderValue => HeadError::FieldValue,
        httparse::Error::TooManyHeaders => HeadError::FieldsTooMany,
        httparse::Error::Version if names_other_version(head) => HeadError::VersionUnsupported,
        httparse::Error::Version
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token => HeadError::StartLine,
    }
}

/// Whether the start line is well formed but for a version that isn't ours: a request's third word
/// of three, or a response's first.
fn names_other_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or(&[]);
    let is_other = |word: &[u8]| {
        matches!(word, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
            && !matches!(word, b"HTTP/1.0" | b"HTTP/1.1")
    };
    let mut words = line.split(|&byte| byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(first), Some(_), _, _) if is_other(first) => true,
        (Some(_), Some(_), Some(third), None) => is_other(third),
        _ => false,
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
