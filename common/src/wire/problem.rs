//! Errors as `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error as the API answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI reference that names the kind; `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words; the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here and what to do about it.
    pub detail: String,
    /// Each fault where there are several, as in a spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
}

/// One fault of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemItem {
    /// Where in the body (RFC 6901).
    pub pointer: String,
    /// What is wrong there, and what would be right.
    pub detail: String,
}

impl Problem {
    /// A problem whose status says its kind.
    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Problem {
        let kind = "about:blank".to_owned();
        Problem { kind, title: title.to_owned(), status, detail: detail.into(), errors: Vec::new() }
    }

    /// The same with its faults.
    pub fn with_errors(mut self, errors: Vec<ProblemItem>) -> Problem {
        self.errors = errors;
        self
    }
}
