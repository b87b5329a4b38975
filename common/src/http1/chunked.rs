//! The chunked coding (RFC 9112, 7.1): a strict decoder that works in the caller's buffer, and
//! chunk heads.
//!
//! It copies nothing: each step says what the next bytes of the input are, so that a reader takes
//! the data, and a proxy passes on everything but extensions and forbidden trailers. It is stricter
//! than the RFC's grammar in one point: no white space around a chunk's size (two parsers could
//! read it differently). Called by `body`.
//!
//! ```text
//!   Size ──hex digits──► Extension* ──CRLF──► Data ──all of it──► DataEnd ──CRLF──► Size
//!    └──────── "0" CRLF ────────► Trailer* ──empty line──► Done
//! ```

use std::fmt;

use super::fields::{self, FieldName};
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, HEAD_FIELDS_MAX, TRAILER_BYTES_MAX};

/// What some bytes of a body's input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The content itself.
    Data,
    /// Sizes and line ends.
    Framing,
    /// A chunk extension, or a piece of one; it speaks to this hop alone.
    Extension,
    /// One trailer field, its line end included.
    Trailer {
        /// It frames, routes or authorises, and must not be passed on (RFC 9110, 6.5.1).
        is_forbidden: bool,
    },
}

/// The next bytes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What they are.
    pub part: Part,
    /// How many; never zero.
    pub len: usize,
}

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkedError {
    /// A chunk's size is no hexadecimal number directly before CRLF or `;`.
    Size,
    /// A chunk's size is beyond 2^63 - 1 or has over 16 digits.
    SizeTooLarge,
    /// A control character in an extension.
    Extension,
    /// The body's extensions are longer than their bound together.
    ExtensionsTooLong,
    /// The data of a chunk does not end in CRLF.
    DataEnd,
    /// A trailer line is no field line.
    Trailer,
    /// The trailers are longer, or more, than their bound.
    TrailersTooLong,
}

impl ChunkedError {
    /// What its sender has to change.
    pub fn reason(self) -> &'static str {
        match self {
            ChunkedError::Size => "a chunk's size is malformed",
            ChunkedError::SizeTooLarge => "a chunk's size is too large",
            ChunkedError::Extension => "a chunk extension has a control character",
            ChunkedError::ExtensionsTooLong => "the chunk extensions are too long",
            ChunkedError::DataEnd => "a chunk's data does not end in CRLF",
            ChunkedError::Trailer => "a trailer field is malformed",
            ChunkedError::TrailersTooLong => "the trailer section is too long",
        }
    }
}

impl fmt::Display for ChunkedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ChunkedError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// At a chunk's size, so many digits of it read.
    Size { size: u64, digits: u8 },
    /// In an extension of a chunk of that size.
    Extension { size: u64 },
    /// After the CR that ends a chunk's head.
    SizeCr { size: u64 },
    /// So much of the chunk's data is to come; not zero.
    Data { left: u64 },
    /// At the CR after the data.
    DataEnd,
    /// After that CR.
    DataCr,
    /// At the start of a line of the trailer section, so many bytes of it searched for its end.
    Trailer { searched: u16 },
    /// The last line is read.
    Done,
}

const SIZE: At = At::Size { size: 0, digits: 0 };

/// Decodes one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkedDecoder {
    at: At,
    extension_bytes: u16,
    trailer_bytes: u16,
    trailer_count: u8,
}

impl Default for ChunkedDecoder {
    fn default() -> ChunkedDecoder {
        ChunkedDecoder { at: SIZE, extension_bytes: 0, trailer_bytes: 0, trailer_count: 0 }
    }
}

impl ChunkedDecoder {
    /// What the first bytes of `input` are. The caller drops them and asks again.
    ///
    /// `None`: nothing can be told yet. Bytes that were not told are presented again, with more
    /// after them; only a trailer line is ever waited for, so they are never more than its bound.
    pub fn next(&mut self, input: &[u8]) -> Result<Option<Piece>, ChunkedError> {
        match self.at {
            _ if input.is_empty() => Ok(None),
            At::Done => Ok(None),
            At::Data { left } => Ok(Some(self.data(left, input))),
            At::Extension { size } => self.extension(size, input).map(Some),
            At::Trailer { searched } => self.trailer(searched, input),
            At::Size { .. } | At::SizeCr { .. } | At::DataEnd | At::DataCr => self.framing(input),
        }
    }

    /// Sizes and line ends, up to what is neither.
    fn framing(&mut self, input: &[u8]) -> Result<Option<Piece>, ChunkedError> {
        let mut len = 0;
        for &byte in input {
            self.at = match (self.at, byte) {
                // What opens an extension belongs to it, so that a proxy that drops it drops all.
                (At::Size { size, digits: 1.. }, b';') => {
                    self.at = At::Extension { size };
                    break;
                }
                (At::Size { size, digits }, _) => size_byte(size, digits, byte)?,
                (At::SizeCr { size: 0 }, b'\n') => At::Trailer { searched: 0 },
                (At::SizeCr { size }, b'\n') => At::Data { left: size },
                (At::DataEnd, b'\r') => At::DataCr,
                (At::DataCr, b'\n') => SIZE,
                (At::SizeCr { .. }, _) => return Err(ChunkedError::Size),
                (At::DataEnd | At::DataCr, _) => return Err(ChunkedError::DataEnd),
                (At::Data { .. } | At::Extension { .. } | At::Trailer { .. } | At::Done, _) => {
                    break;
                }
            };
            len += 1;
        }
        if len == 0 { self.next(input) } else { Ok(Some(Piece { part: Part::Framing, len })) }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    fn data(&mut self, left: u64, input: &[u8]) -> Piece {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - len as u64;
        self.at = if left == 0 { At::DataEnd } else { At::Data { left } };
        Piece { part: Part::Data, len }
    }

    fn extension(&mut self, size: u64, input: &[u8]) -> Result<Piece, ChunkedError> {
        let room = CHUNK_EXTENSION_BYTES_MAX - usize::from(self.extension_bytes);
        let end = input.iter().position(|&byte| !fields::is_value_byte(byte));
        let len = end.unwrap_or(input.len());
        if len > room {
            return Err(ChunkedError::ExtensionsTooLong);
        }
        if end.and_then(|end| input.get(end)).is_some_and(|&byte| byte != b'\r') {
            return Err(ChunkedError::Extension);
        }
        // Within CHUNK_EXTENSION_BYTES_MAX, which `limits` holds below u16::MAX.
        self.extension_bytes += u16::try_from(len).unwrap_or(0);
        if len > 0 {
            return Ok(Piece { part: Part::Extension, len });
        }
        self.at = At::SizeCr { size };
        Ok(Piece { part: Part::Framing, len: 1 })
    }

    fn trailer(&mut self, searched: u16, input: &[u8]) -> Result<Option<Piece>, ChunkedError> {
        let room = TRAILER_BYTES_MAX - usize::from(self.trailer_bytes);
        let window = input.get(..input.len().min(room)).unwrap_or(input);
        let rest = window.get(usize::from(searched)..).unwrap_or(&[]);
        let plain =
            rest.iter().position(|&byte| !fields::is_value_byte(byte)).unwrap_or(rest.len());
        let line_len = usize::from(searched) + plain;
        match (window.get(line_len), window.get(line_len + 1)) {
            (None, _) | (Some(b'\r'), None) if input.len() >= room => {
                Err(ChunkedError::TrailersTooLong)
            }
            (None, _) | (Some(b'\r'), None) => {
                // Below TRAILER_BYTES_MAX, which `limits` holds below u16::MAX.
                self.at = At::Trailer { searched: u16::try_from(line_len).unwrap_or(0) };
                Ok(None)
            }
            (Some(b'\r'), Some(b'\n')) if line_len == 0 => {
                self.at = At::Done;
                Ok(Some(Piece { part: Part::Framing, len: 2 }))
            }
            (Some(b'\r'), Some(b'\n')) => {
                self.trailer_line(window.get(..line_len).unwrap_or(&[])).map(Some)
            }
            (Some(_), _) => Err(ChunkedError::Trailer),
        }
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<Piece, ChunkedError> {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(ChunkedError::Trailer)?;
        let name = line.get(..colon).unwrap_or(&[]);
        if !fields::is_token(name) {
            return Err(ChunkedError::Trailer);
        }
        if usize::from(self.trailer_count) >= HEAD_FIELDS_MAX {
            return Err(ChunkedError::TrailersTooLong);
        }
        let len = line.len() + 2;
        self.trailer_count += 1;
        self.trailer_bytes += u16::try_from(len).unwrap_or(0);
        self.at = At::Trailer { searched: 0 };
        let is_forbidden = !FieldName::of(name).is_allowed_in_trailer();
        Ok(Piece { part: Part::Trailer { is_forbidden }, len })
    }
}

fn size_byte(size: u64, digits: u8, byte: u8) -> Result<At, ChunkedError> {
    match byte {
        b'\r' if digits > 0 => Ok(At::SizeCr { size }),
        _ => {
            let digit = char::from(byte).to_digit(16).ok_or(ChunkedError::Size)?;
            let size = size.checked_mul(16).map(|size| size + u64::from(digit));
            match size {
                Some(size) if digits < 16 && size <= i64::MAX.unsigned_abs() => {
                    Ok(At::Size { size, digits: digits + 1 })
                }
                _ => Err(ChunkedError::SizeTooLarge),
            }
        }
    }
}

/// The last chunk, and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A chunk's head: its size in hexadecimal and CRLF, without allocation.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    bytes: [u8; ChunkHead::LENGTH],
    start: u8,
}

impl ChunkHead {
    const LENGTH: usize = 18;

    /// The head of a chunk of `len` bytes; `len` is not zero, which would be the last chunk.
    pub fn new(len: usize) -> ChunkHead {
        debug_assert!(len > 0, "a chunk of zero bytes ends the body");
        let mut bytes = *b"................\r\n";
        let mut left = len;
        let mut start = ChunkHead::LENGTH - 2;
        for slot in bytes.iter_mut().rev().skip(2) {
            *slot = b"0123456789abcdef"[left & 0xf];
            left >>= 4;
            start -= 1;
            if left == 0 {
                break;
            }
        }
        ChunkHead { bytes, start: u8::try_from(start).unwrap_or(0) }
    }
}

impl AsRef<[u8]> for ChunkHead {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or(&[])
    }
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
