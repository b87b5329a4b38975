//! Where a head ends, found incrementally, and the bytes that no head may have: bare LF, bare CR,
//! NUL, lines that start with white space, more than one empty line before the start line.
//!
//! It does not look at what the lines say; `head` does, once the end is known. Called by `head`
//! alone and by whoever wants to know whether a request has begun.

use super::error::HeadError;
use crate::limits::HEAD_BYTES_MAX;

/// What the bytes so far make of the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Nothing yet.
    #[default]
    Start,
    /// CR as the first byte: an empty line before the start line.
    EmptyLineCr,
    /// After that empty line, which servers ignore (RFC 9112, 2.2).
    AfterEmptyLine,
    /// Within the start line.
    StartLine,
    /// CR in the start line.
    StartLineCr,
    /// Within a field line.
    Field,
    /// CR in a field line.
    FieldCr,
    /// At the first byte of a line after the start line.
    LineStart,
    /// CR as the first byte of a line: the end, if LF follows.
    EndCr,
}

/// How far a head was searched. One per message; [`HeadScan::default`] starts the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    searched: u16,
    at: At,
}

/// A whole head within the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the start line begins: 2 after an ignored empty line.
    pub start: usize,
    /// One past the empty line that ends the head.
    pub end: usize,
}

impl HeadScan {
    /// Searches on in `bytes`, which begin where the message begins and have grown since the last
    /// call.
    ///
    /// `None`: the head goes on. The answer depends on the bytes only, not on how they were split.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<Found>, HeadError> {
        let window = bytes.get(..HEAD_BYTES_MAX.min(bytes.len())).unwrap_or(bytes);
        let mut next = usize::from(self.searched);
        while let Some(&byte) = window.get(next) {
            match self.at {
                At::StartLine | At::Field => {
                    next += plain(window.get(next..).unwrap_or(&[]));
                    next += match window.get(next..) {
                        // A line's end in one step, as nearly all of them come.
                        Some([b'\r', b'\n', ..]) => {
                            self.at = At::LineStart;
                            2
                        }
                        Some([byte, ..]) => {
                            self.at = self.at.after(*byte)?;
                            1
                        }
                        Some([]) | None => break,
                    };
                }
                // Its first byte is looked at with the line's others.
                At::LineStart if byte > b' ' => self.at = At::Field,
                At::EndCr if byte == b'\n' => return Ok(Some(self.found(bytes, next + 1))),
                at => {
                    self.at = at.after(byte)?;
                    next += 1;
                }
            }
        }
        // The window is bounded by HEAD_BYTES_MAX, which `limits` holds below u16::MAX.
        self.searched = u16::try_from(next.min(window.len())).unwrap_or(u16::MAX);
        if bytes.len() < HEAD_BYTES_MAX {
            return Ok(None);
        }
        match self.at {
            At::Start | At::EmptyLineCr | At::AfterEmptyLine | At::StartLine => {
                Err(HeadError::TargetTooLong)
            }
            At::StartLineCr | At::Field | At::FieldCr | At::LineStart | At::EndCr => {
                Err(HeadError::HeadTooLong)
            }
        }
    }

    /// Whether a message has begun: an empty line alone is none.
    pub fn has_begun(&self) -> bool {
        !matches!(self.at, At::Start | At::EmptyLineCr | At::AfterEmptyLine)
    }

    fn found(&self, bytes: &[u8], end: usize) -> Found {
        let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        Found { start, end }
    }
}

impl At {
    /// One byte on; `EndCr` followed by LF is the caller's.
    fn after(self, byte: u8) -> Result<At, HeadError> {
        match (self, byte) {
            (_, 0) => Err(HeadError::Nul),
            (At::StartLineCr | At::FieldCr, b'\n') => Ok(At::LineStart),
            (At::EmptyLineCr, b'\n') => Ok(At::AfterEmptyLine),
            (At::EmptyLineCr | At::StartLineCr | At::FieldCr | At::EndCr, _) => {
                Err(HeadError::BareCr)
            }
            (_, b'\n') => Err(HeadError::BareLf),
            (At::Start, b'\r') => Ok(At::EmptyLineCr),
            (At::AfterEmptyLine, b'\r') => Err(HeadError::EmptyLines),
            (At::StartLine, b'\r') => Ok(At::StartLineCr),
            (At::Field, b'\r') => Ok(At::FieldCr),
            (At::LineStart, b'\r') => Ok(At::EndCr),
            (At::LineStart, b' ' | b'\t') => Err(HeadError::Folded),
            (At::Start | At::AfterEmptyLine | At::StartLine, _) => Ok(At::StartLine),
            (At::LineStart | At::Field, _) => Ok(At::Field),
        }
    }
}

/// How many bytes from the front are no control characters: CR, LF and NUL are among these, and
/// nearly every head has no other.
fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The highest bit of the lowest byte below a space, and perhaps of some above it.
        let found = word.wrapping_sub(EACH * u64::from(b' ')) & !word & (EACH << 7);
        if found != 0 {
            return place * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_control = |byte: &u8| *byte < b' ';
    bytes.len() - rest.len() + rest.iter().position(is_control).unwrap_or(rest.len())
}

/// One in each byte of a word.
const EACH: u64 = u64::from_le_bytes([1; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Result<Option<Found>, HeadError> {
        HeadScan::default().find(bytes)
    }

    /// Feeds one byte more at a time until there is an answer.
    fn drip(bytes: &[u8]) -> Result<Option<Found>, HeadError> {
        let mut scan = HeadScan::default();
        for len in 0..=bytes.len() {
            match scan.find(&bytes[..len]) {
                Ok(None) => {}
                answer => return answer,
            }
        }
        Ok(None)
    }

    type Case = (&'static [u8], Result<Option<Found>, HeadError>);

    const CASES: &[Case] = &[
        (b"", Ok(None)),
        (b"\r\n", Ok(None)),
        (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(Found { start: 0, end: 18 }))),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(Found { start: 2, end: 20 }))),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\nBODY\n", Ok(Some(Found { start: 0, end: 24 }))),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r", Ok(None)),
        (b"GET / HTTP/1.1\nA: b\r\n\r\n", Err(HeadError::BareLf)),
        (b"GET / HTTP/1.1\r\nA: b\n\r\n", Err(HeadError::BareLf)),
        (b"GET / HTTP/1.1\r\nA: b\r\n\n", Err(HeadError::BareLf)),
        (b"\n", Err(HeadError::BareLf)),
        (b"\r\n\n", Err(HeadError::BareLf)),
        (b"\r\n\r\n", Err(HeadError::EmptyLines)),
        (b"\rG", Err(HeadError::BareCr)),
        (b"GET / HTTP/1.1\r\r\n", Err(HeadError::BareCr)),
        (b"GET / HTTP/1.1\r\nA: b\rc\r\n", Err(HeadError::BareCr)),
        (b"GET / HTTP/1.1\r\nA: b\r\n\rX", Err(HeadError::BareCr)),
        (b"GET / HTTP/1.1\r\nA: \0\r\n\r\n", Err(HeadError::Nul)),
        (b"GET \0 HTTP/1.1\r\n", Err(HeadError::Nul)),
        (b"\0", Err(HeadError::Nul)),
        (b"GET / HTTP/1.1\r\n A: b\r\n\r\n", Err(HeadError::Folded)),
        (b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", Err(HeadError::Folded)),
        (b"GET / HTTP/1.1\r\n \r\n\r\n", Err(HeadError::Folded)),
    ];

    #[test]
    fn table_whole_and_byte_by_byte() {
        for (bytes, expected) in CASES {
            let text = bytes.escape_ascii();
            assert_eq!(whole(bytes), *expected, "{text}");
            assert_eq!(drip(bytes), *expected, "{text} by bytes");
        }
    }

    #[test]
    fn every_split_in_two_gives_the_same() {
        for (bytes, expected) in CASES {
            for cut in 0..=bytes.len() {
                let mut scan = HeadScan::default();
                let answer = match scan.find(&bytes[..cut]) {
                    Ok(None) => scan.find(bytes),
                    early => early,
                };
                assert_eq!(answer, *expected, "{} cut at {cut}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn every_control_byte_at_every_place_of_a_word_is_seen_and_no_other_is_taken_for_one() {
        for len in 0..=24 {
            for around in b' '..=255 {
                let mut bytes = vec![around; len];
                assert_eq!(plain(&bytes), len, "{around} only");
                for special in 0..b' ' {
                    bytes.truncate(len);
                    bytes.push(special);
                    bytes.extend_from_slice(&[special, around, 1, 0x1f, b' ', 0x7f, 0x80]);
                    assert_eq!(plain(&bytes), len, "{special} after {len} of {around}");
                }
            }
        }
    }

    #[test]
    fn a_head_at_its_bound_passes_and_one_byte_more_does_not() {
        let head = |len: usize| {
            let mut head = b"GET / HTTP/1.1\r\nA: ".to_vec();
            head.resize(len - 4, b'a');
            head.extend_from_slice(b"\r\n\r\n");
            head
        };
        let fits = head(HEAD_BYTES_MAX);
        assert_eq!(whole(&fits), Ok(Some(Found { start: 0, end: HEAD_BYTES_MAX })));
        assert_eq!(drip(&fits), whole(&fits));
        let over = head(HEAD_BYTES_MAX + 1);
        assert_eq!(whole(&over), Err(HeadError::HeadTooLong));
        assert_eq!(drip(&over), Err(HeadError::HeadTooLong));
    }

    #[test]
    fn a_start_line_without_end_is_a_long_target() {
        let line = [b"GET /".as_slice(), &[b'a'; HEAD_BYTES_MAX]].concat();
        assert_eq!(whole(&line), Err(HeadError::TargetTooLong));
        assert_eq!(drip(&line), Err(HeadError::TargetTooLong));
    }

    #[test]
    fn an_empty_line_alone_is_no_message() {
        let mut scan = HeadScan::default();
        assert_eq!(scan.find(b"\r\n"), Ok(None));
        assert!(!scan.has_begun());
        assert_eq!(scan.find(b"\r\nG"), Ok(None));
        assert!(scan.has_begun());
    }
}
