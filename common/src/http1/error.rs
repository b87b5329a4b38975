//! Why a message is refused: one enum, each value with the status that answers it and a reason for
//! its sender.
//!
//! Called by everything in `http1`; the servers turn it into an answer, the balancer into 502 when
//! the message came from a service.

use std::fmt;

/// A head, or the framing it declares, that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A line that ends in LF without CR.
    BareLf,
    /// A CR that no LF follows.
    BareCr,
    /// A NUL byte.
    Nul,
    /// A field line that starts with white space (obs-fold), or white space before the first field.
    Folded,
    /// More than one empty line before the start line.
    EmptyLines,
    /// The start line is not `method SP target SP version`, or `version SP status SP reason`.
    StartLine,
    /// A protocol version other than HTTP/1.0 and HTTP/1.1.
    VersionUnsupported,
    /// A field name that is no token, or white space between it and the colon.
    FieldName,
    /// A field value with a control character.
    FieldValue,
    /// Too many fields.
    FieldsTooMany,
    /// `Connection` names too many fields.
    NominatedTooMany,
    /// The head goes on past its bound.
    HeadTooLong,
    /// The request target goes on past its bound.
    TargetTooLong,
    /// The target is in none of the forms that the method allows.
    Target,
    /// CONNECT: this is a gateway, no tunnel.
    Connect,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// Several Host fields.
    HostRepeated,
    /// A Host, or an authority in the target, that is no `host [":" port]`.
    HostMalformed,
    /// Content-Length beside Transfer-Encoding.
    LengthAndCoding,
    /// Content-Length more than once, in one field or in several, equal or not.
    LengthRepeated,
    /// Content-Length that is not 1 to 19 digits, or beyond 2^63 - 1.
    LengthMalformed,
    /// Transfer-Encoding that does not end in exactly one `chunked`.
    CodingMalformed,
    /// Transfer codings before `chunked` that nobody here decodes.
    CodingUnsupported,
    /// Transfer-Encoding in HTTP/1.0.
    CodingInHttp10,
    /// A status outside 100..=999.
    Status,
}

impl HeadError {
    /// The status that answers a request refused for this.
    pub fn status(self) -> u16 {
        match self {
            HeadError::HeadTooLong | HeadError::FieldsTooMany | HeadError::NominatedTooMany => 431,
            HeadError::TargetTooLong => 414,
            HeadError::CodingUnsupported | HeadError::Connect => 501,
            HeadError::VersionUnsupported => 505,
            HeadError::BareLf
            | HeadError::BareCr
            | HeadError::Nul
            | HeadError::Folded
            | HeadError::EmptyLines
            | HeadError::StartLine
            | HeadError::FieldName
            | HeadError::FieldValue
            | HeadError::Target
            | HeadError::HostMissing
            | HeadError::HostRepeated
            | HeadError::HostMalformed
            | HeadError::LengthAndCoding
            | HeadError::LengthRepeated
            | HeadError::LengthMalformed
            | HeadError::CodingMalformed
            | HeadError::CodingInHttp10
            | HeadError::Status => 400,
        }
    }

    /// What its sender has to change.
    pub fn reason(self) -> &'static str {
        match self {
            HeadError::BareLf => "a line ends in LF without CR; end lines in CRLF",
            HeadError::BareCr => "a CR without LF; end lines in CRLF",
            HeadError::Nul => "a NUL byte in the head",
            HeadError::Folded => "a line starts with white space; put each field on one line",
            HeadError::EmptyLines => "empty lines instead of a start line",
            HeadError::StartLine => "the start line is malformed",
            HeadError::VersionUnsupported => "only HTTP/1.1 and HTTP/1.0 are spoken here",
            HeadError::FieldName => "a field name is malformed, or white space before its colon",
            HeadError::FieldValue => "a field value has a control character",
            HeadError::FieldsTooMany => "too many fields; 100 are allowed",
            HeadError::NominatedTooMany => "Connection names too many fields; 32 are allowed",
            HeadError::HeadTooLong => "the head is too long; 16 KiB are allowed",
            HeadError::TargetTooLong => "the target is too long; 8 KiB are allowed",
            HeadError::Target => "the target is malformed; percent-encode what a URI can't have",
            HeadError::Connect => "CONNECT is not offered; this is a gateway",
            HeadError::HostMissing => "Host is missing",
            HeadError::HostRepeated => "several Host fields; send one",
            HeadError::HostMalformed => "Host is malformed; send host or host:port",
            HeadError::LengthAndCoding => "both Content-Length and Transfer-Encoding; send one",
            HeadError::LengthRepeated => "several Content-Length values; send one",
            HeadError::LengthMalformed => "Content-Length is not a number of bytes",
            HeadError::CodingMalformed => "Transfer-Encoding must be chunked",
            HeadError::CodingUnsupported => "no transfer coding but chunked is decoded here",
            HeadError::CodingInHttp10 => "Transfer-Encoding in HTTP/1.0; send Content-Length",
            HeadError::Status => "the status is outside 100..=999",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HeadError {}
