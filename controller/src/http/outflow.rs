//! What a streamed answer has still to send, in pieces that its connection takes.
//!
//! The connection's buffer is bounded: whoever makes an answer fills an [`Outflow`] with one page,
//! and makes the next only when it has run empty, so a slow reader slows down the source and costs
//! no memory. Used by events, logs and downloads.

use tucano_common::limits::{STREAM_BUFFER_BYTES_MAX, STREAM_LOW_WATER_BYTES};
use tucano_net::{ConnId, Io, PushError};

/// One push: small enough that a full buffer is one above the low-water mark, so that the loop says
/// when there is room again.
const PIECE_BYTES: usize = 64 * 1024;

const _: () = assert!(PIECE_BYTES + STREAM_LOW_WATER_BYTES < STREAM_BUFFER_BYTES_MAX);

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// All was taken, and there is room: make more.
    Open,
    /// The client is slower: wait for `on_drained`.
    Full,
    /// There is nobody to send to.
    Gone,
}

/// Bytes on their way to one connection.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    bytes: Vec<u8>,
    sent: usize,
    /// The connection's buffer was above the low-water mark: it will say when it is not any more.
    full: bool,
}

impl Outflow {
    /// Appends.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether everything was handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// The connection took what it had: go on.
    pub(crate) fn drained(&mut self) {
        self.full = false;
    }

    /// Hands over what the connection takes.
    pub(crate) fn pump(&mut self, io: &mut Io, conn: ConnId) -> Flow {
        while !self.full && !self.is_empty() {
            let end = self.bytes.len().min(self.sent + PIECE_BYTES);
            match io.push(conn, &self.bytes[self.sent..end]) {
                Ok(buffered) => {
                    self.sent = end;
                    self.full = buffered > STREAM_LOW_WATER_BYTES;
                }
                Err(PushError::Full) => self.full = true,
                Err(PushError::Gone) => return Flow::Gone,
            }
        }
        if self.is_empty() {
            // An idle follower keeps no page in memory.
            self.bytes = Vec::new();
            self.sent = 0;
        }
        if self.full { Flow::Full } else { Flow::Open }
    }
}
