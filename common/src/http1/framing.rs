//! How long a body is, in one table, or why nobody may guess (RFC 9112, 6).
//!
//! It does not read bodies (`body`, `chunked`) and does not decide whether a connection is kept,
//! except where the framing itself is suspect. Called by `head`.

use super::error::HeadError;
use super::fields::{members, trim};
use super::method::{Method, Version};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The message ends with its head.
    None,
    /// So many bytes; may be zero.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Until the sender closes; responses only.
    UntilClose,
}

impl Body {
    /// Whether no byte follows the head.
    pub fn is_empty(self) -> bool {
        matches!(self, Body::None | Body::Length(0))
    }
}

/// What a head says of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared<'a> {
    /// Content-Length's value and how many such fields there are.
    pub length: Option<(&'a [u8], usize)>,
    /// Transfer-Encoding's value and how many such fields there are.
    pub coding: Option<(&'a [u8], usize)>,
}

/// The body of a request.
///
/// | Transfer-Encoding | Content-Length | version | body |
/// | --- | --- | --- | --- |
/// | - | - | any | none |
/// | - | one number | any | that length |
/// | `chunked` | - | 1.1 | chunked |
/// | everything else | | | refused |
pub fn of_request(version: Version, declared: Declared<'_>) -> Result<Body, HeadError> {
    match (coding(declared, version)?, length(declared)?) {
        (true, _) => Ok(Body::Chunked),
        (false, Some(length)) => Ok(Body::Length(length)),
        (false, None) => Ok(Body::None),
    }
}

/// The body of a response, and whether its framing can be trusted for what follows on the
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfResponse {
    /// How its end is found.
    pub body: Body,
    /// A body was declared where none may be (1xx, 204): its bytes may follow, so the connection
    /// must not be used again.
    pub is_suspect: bool,
}

/// The body of a response to `method`.
///
/// | request, status | Transfer-Encoding | Content-Length | body |
/// | --- | --- | --- | --- |
/// | 1xx, 204 | any | any | none; suspect where one was declared |
/// | HEAD, 304 | valid | valid | none |
/// | other | `chunked`, 1.1 | - | chunked |
/// | other | - | one number | that length |
/// | other | - | - | until close |
/// | everything else | | | refused |
pub fn of_response(
    method: Method,
    status: u16,
    version: Version,
    declared: Declared<'_>,
) -> Result<OfResponse, HeadError> {
    let trusted = |body| Ok(OfResponse { body, is_suspect: false });
    let chunked = coding(declared, version)?;
    let length = length(declared)?;
    match status {
        100..200 | 204 => {
            let is_suspect = chunked || length.is_some_and(|length| length > 0);
            Ok(OfResponse { body: Body::None, is_suspect })
        }
        304 => trusted(Body::None),
        _ if method == Method::Head => trusted(Body::None),
        _ => match (chunked, length) {
            (true, _) => trusted(Body::Chunked),
            (false, Some(length)) => trusted(Body::Length(length)),
            (false, None) => trusted(Body::UntilClose),
        },
    }
}

/// How an answer's body is told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recoding {
    /// As it came.
    Same,
    /// Its end is the service's close: told in chunks, so that the client's connection is kept and
    /// a break shows.
    IntoChunks,
    /// It came in chunks, which HTTP/1.0 does not know: told until close.
    OutOfChunks,
    /// Until close, as it came.
    UntilClose,
}

impl Recoding {
    /// How a body of an answer is told to a client of that version.
    pub fn of(body: Body, client: Version) -> Recoding {
        match (body, client) {
            (Body::None | Body::Length(_), _) | (Body::Chunked, Version::Http11) => Recoding::Same,
            (Body::UntilClose, Version::Http11) => Recoding::IntoChunks,
            (Body::Chunked, Version::Http10) => Recoding::OutOfChunks,
            (Body::UntilClose, Version::Http10) => Recoding::UntilClose,
        }
    }
}

/// Whether the message is chunked; refuses every other coding, and a coding beside a length.
fn coding(declared: Declared<'_>, version: Version) -> Result<bool, HeadError> {
    let Some((value, count)) = declared.coding else { return Ok(false) };
    if declared.length.is_some() {
        return Err(HeadError::LengthAndCoding);
    }
    if version == Version::Http10 {
        return Err(HeadError::CodingInHttp10);
    }
    if count == 1 && value.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    if count > 1 {
        return Err(HeadError::CodingMalformed);
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends_in_one = members(value).last().is_some_and(is_chunked)
        && members(value).filter(|coding| is_chunked(coding)).count() == 1
        && members(value).all(super::fields::is_token);
    Err(if ends_in_one { HeadError::CodingUnsupported } else { HeadError::CodingMalformed })
}

fn length(declared: Declared<'_>) -> Result<Option<u64>, HeadError> {
    match declared.length {
        None => Ok(None),
        Some((_, count)) if count > 1 => Err(HeadError::LengthRepeated),
        Some((value, _)) if value.contains(&b',') => Err(HeadError::LengthRepeated),
        Some((value, _)) => number(value).map(Some).ok_or(HeadError::LengthMalformed),
    }
}

/// Digits only (Rust's own parsing takes `+5`), and no more than a signed 64-bit integer holds, so
/// that no recipient down the line reads it as negative.
pub fn number(value: &[u8]) -> Option<u64> {
    let value = trim(value);
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // 19 digits fit 64 bits.
    let number = value.iter().fold(0u64, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    (number <= i64::MAX.unsigned_abs()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V11: Version = Version::Http11;
    const V10: Version = Version::Http10;

    fn declared<'a>(length: &'a [&'a [u8]], coding: &'a [&'a [u8]]) -> Declared<'a> {
        Declared {
            length: length.first().map(|value| (*value, length.len())),
            coding: coding.first().map(|value| (*value, coding.len())),
        }
    }

    #[test]
    fn request_table() {
        type Row =
            (Version, &'static [&'static [u8]], &'static [&'static [u8]], Result<Body, HeadError>);
        let rows: &[Row] = &[
            (V11, &[], &[], Ok(Body::None)),
            (V10, &[], &[], Ok(Body::None)),
            (V11, &[b"0"], &[], Ok(Body::Length(0))),
            (V10, &[b"5"], &[], Ok(Body::Length(5))),
            (V11, &[b"0005"], &[], Ok(Body::Length(5))),
            (V11, &[b"9223372036854775807"], &[], Ok(Body::Length(i64::MAX.unsigned_abs()))),
            (V11, &[b"9223372036854775808"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"18446744073709551617"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"+5"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"-5"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b""], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"5 5"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"0x5"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"5."], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"5_0"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"\xd9\xa5"], &[], Err(HeadError::LengthMalformed)),
            (V11, &[b"5, 5"], &[], Err(HeadError::LengthRepeated)),
            (V11, &[b"5", b"5"], &[], Err(HeadError::LengthRepeated)),
            (V11, &[b"5", b"6"], &[], Err(HeadError::LengthRepeated)),
            (V11, &[], &[b"chunked"], Ok(Body::Chunked)),
            (V11, &[], &[b"CHUNKED"], Ok(Body::Chunked)),
            (V10, &[], &[b"chunked"], Err(HeadError::CodingInHttp10)),
            (V11, &[b"5"], &[b"chunked"], Err(HeadError::LengthAndCoding)),
            (V11, &[b"x"], &[b"chunked"], Err(HeadError::LengthAndCoding)),
            (V11, &[b"5"], &[b"identity"], Err(HeadError::LengthAndCoding)),
            (V11, &[], &[b"gzip, chunked"], Err(HeadError::CodingUnsupported)),
            (V11, &[], &[b"identity, chunked"], Err(HeadError::CodingUnsupported)),
            (V11, &[], &[b"chunked", b"chunked"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"chunked, chunked"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"chunked, gzip"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"gzip"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"identity"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b""], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"chunked;x=1"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"\"chunked\""], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"\x0bchunked"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"x=\"a, chunked"], Err(HeadError::CodingMalformed)),
            (V11, &[], &[b"chun\xe2\x84\xaaed"], Err(HeadError::CodingMalformed)),
        ];
        for (version, length, coding, expected) in rows {
            let got = of_request(*version, declared(length, coding));
            assert_eq!(got, *expected, "{version:?} {length:?} {coding:?}");
        }
    }

    #[test]
    fn response_table() {
        let some = |body| Ok(OfResponse { body, is_suspect: false });
        let suspect = Ok(OfResponse { body: Body::None, is_suspect: true });
        let (get, head) = (Method::Get, Method::Head);
        let five: &[&[u8]] = &[b"5"];
        let zero: &[&[u8]] = &[b"0"];
        let chunked: &[&[u8]] = &[b"chunked"];
        let rows = [
            (get, 200, V11, five, &[] as &[&[u8]], some(Body::Length(5))),
            (get, 200, V11, &[], chunked, some(Body::Chunked)),
            (get, 200, V11, &[], &[], some(Body::UntilClose)),
            (get, 200, V10, &[], &[], some(Body::UntilClose)),
            (get, 200, V10, &[], chunked, Err(HeadError::CodingInHttp10)),
            (get, 200, V11, five, chunked, Err(HeadError::LengthAndCoding)),
            (get, 200, V11, &[b"5", b"42"], &[], Err(HeadError::LengthRepeated)),
            (get, 200, V11, &[], &[b"gzip"], Err(HeadError::CodingMalformed)),
            (head, 200, V11, five, &[], some(Body::None)),
            (head, 200, V11, &[], chunked, some(Body::None)),
            (head, 200, V11, &[], &[], some(Body::None)),
            (head, 200, V11, &[b"x"], &[], Err(HeadError::LengthMalformed)),
            (get, 304, V11, five, &[], some(Body::None)),
            (get, 204, V11, &[], &[], some(Body::None)),
            (get, 204, V11, zero, &[], some(Body::None)),
            (get, 204, V11, five, &[], suspect),
            (get, 204, V11, &[], chunked, suspect),
            (get, 100, V11, &[], &[], some(Body::None)),
            (get, 103, V11, five, &[], suspect),
            (get, 101, V11, &[], &[], some(Body::None)),
            (get, 205, V11, zero, &[], some(Body::Length(0))),
            (get, 999, V11, five, &[], some(Body::Length(5))),
        ];
        for (method, status, version, length, coding, expected) in rows {
            let got = of_response(method, status, version, declared(length, coding));
            assert_eq!(got, expected, "{method:?} {status} {version:?} {length:?} {coding:?}");
        }
    }

    #[test]
    fn answers_are_told_as_the_clients_version_can_read_them() {
        assert_eq!(Recoding::of(Body::Chunked, V11), Recoding::Same);
        assert_eq!(Recoding::of(Body::Chunked, V10), Recoding::OutOfChunks);
        assert_eq!(Recoding::of(Body::UntilClose, V11), Recoding::IntoChunks);
        assert_eq!(Recoding::of(Body::UntilClose, V10), Recoding::UntilClose);
        for version in [V10, V11] {
            assert_eq!(Recoding::of(Body::Length(1), version), Recoding::Same);
            assert_eq!(Recoding::of(Body::None, version), Recoding::Same);
        }
    }
}
