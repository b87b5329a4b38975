//! One decoder over all framings: what the next bytes after a head are, until the body has ended.
//!
//! It holds no bytes and does not know which side of a proxy it reads. Called by the servers and
//! clients of
//! `tucano-net` and by the balancer's loops.

use super::chunked::{ChunkedDecoder, ChunkedError, Part, Piece};
use super::framing::Body;

/// Reads one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyDecoder {
    /// So many bytes are to come; at zero it has ended.
    Length {
        /// How many.
        left: u64,
    },
    /// Chunked.
    Chunked(ChunkedDecoder),
    /// Everything until the connection's end.
    UntilClose,
}

impl BodyDecoder {
    /// A decoder for a body that a head declares.
    pub fn new(body: Body) -> BodyDecoder {
        match body {
            Body::None => BodyDecoder::Length { left: 0 },
            Body::Length(left) => BodyDecoder::Length { left },
            Body::Chunked => BodyDecoder::Chunked(ChunkedDecoder::default()),
            Body::UntilClose => BodyDecoder::UntilClose,
        }
    }

    /// What the first bytes of `input` are; see [`ChunkedDecoder::next`]. After the end: always
    /// `None`, and the input's bytes are the next message's.
    pub fn next(&mut self, input: &[u8]) -> Result<Option<Piece>, ChunkedError> {
        let len = match self {
            BodyDecoder::Chunked(decoder) => return decoder.next(input),
            BodyDecoder::UntilClose => input.len(),
            BodyDecoder::Length { left } => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= len as u64;
                len
            }
        };
        Ok((len > 0).then_some(Piece { part: Part::Data, len }))
    }

    /// How much is to come, where its length was declared.
    pub fn length_left(&self) -> Option<u64> {
        match self {
            BodyDecoder::Length { left } => Some(*left),
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => None,
        }
    }

    /// So many bytes of a body with a declared length were taken without being shown to this.
    pub fn skip(&mut self, count: u64) {
        if let BodyDecoder::Length { left } = self {
            *left = left.saturating_sub(count);
        }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        match self {
            BodyDecoder::Length { left } => *left == 0,
            BodyDecoder::Chunked(decoder) => decoder.is_done(),
            BodyDecoder::UntilClose => false,
        }
    }

    /// Whether the connection's end here ends the body too; else the message is cut off.
    pub fn may_end_at_close(&self) -> bool {
        self.is_done() || matches!(self, BodyDecoder::UntilClose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Body, input: &[u8]) -> (Vec<u8>, usize, BodyDecoder) {
        let mut decoder = BodyDecoder::new(body);
        let (mut data, mut at) = (Vec::new(), 0);
        while let Some(piece) = decoder.next(&input[at..]).unwrap() {
            if piece.part == Part::Data {
                data.extend_from_slice(&input[at..at + piece.len]);
            }
            at += piece.len;
        }
        (data, at, decoder)
    }

    #[test]
    fn every_framing_reads_its_bytes_and_no_more() {
        let (data, used, decoder) = read(Body::None, b"next");
        assert_eq!((data.len(), used, decoder.is_done()), (0, 0, true));
        let (data, used, decoder) = read(Body::Length(3), b"abcnext");
        assert_eq!((data.as_slice(), used, decoder.is_done()), (b"abc".as_slice(), 3, true));
        let (data, used, decoder) = read(Body::Length(9), b"abc");
        assert_eq!((data.as_slice(), used, decoder.is_done()), (b"abc".as_slice(), 3, false));
        assert!(!decoder.may_end_at_close());
        let mut skipped = decoder;
        skipped.skip(5);
        assert_eq!((skipped.length_left(), skipped.is_done()), (Some(1), false));
        skipped.skip(1);
        assert!(skipped.is_done());
        let (data, used, decoder) = read(Body::Chunked, b"3\r\nabc\r\n0\r\n\r\nnext");
        assert_eq!((data.as_slice(), used, decoder.is_done()), (b"abc".as_slice(), 13, true));
        let (data, used, decoder) = read(Body::UntilClose, b"abc");
        assert_eq!((data.as_slice(), used, decoder.is_done()), (b"abc".as_slice(), 3, false));
        assert!(decoder.may_end_at_close());
        let (_, _, decoder) = read(Body::Chunked, b"3\r\nabc\r\n");
        assert!(!decoder.may_end_at_close());
    }
}
