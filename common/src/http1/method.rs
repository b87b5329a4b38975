//! The methods and versions whose rules differ.
//!
//! It knows what a method means for repeating a request, not what its body may be. Called by `head`
//! and by everything that asks a head for them.

use super::error::HeadError;

/// The methods whose rules differ, and any other token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the methods of RFC 9110 and 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Trace,
    /// Its text is the head's `method_text`.
    Other,
}

impl Method {
    pub(super) fn of(text: &str) -> Result<Method, HeadError> {
        match text {
            "GET" => Ok(Method::Get),
            "HEAD" => Ok(Method::Head),
            "POST" => Ok(Method::Post),
            "PUT" => Ok(Method::Put),
            "PATCH" => Ok(Method::Patch),
            "DELETE" => Ok(Method::Delete),
            "OPTIONS" => Ok(Method::Options),
            "TRACE" => Ok(Method::Trace),
            "CONNECT" => Err(HeadError::Connect),
            _ => Ok(Method::Other),
        }
    }

    /// As it is written in a request of our own; GET for [`Method::Other`], which has no text of
    /// its own.
    pub fn text(self) -> &'static str {
        match self {
            Method::Get | Method::Other => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
        }
    }

    /// Whether sending it twice means the same as sending it once (RFC 9110, 9.2.2).
    pub fn is_idempotent(self) -> bool {
        match self {
            Method::Get
            | Method::Head
            | Method::Put
            | Method::Delete
            | Method::Options
            | Method::Trace => true,
            Method::Post | Method::Patch | Method::Other => false,
        }
    }
}

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Version {
    Http10,
    Http11,
}
