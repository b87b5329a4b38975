//! One direction of a body through the proxy: which bytes of a buffer may be written as they are,
//! and how.
//!
//! It owns no bytes and no sockets. A body passes verbatim but for chunk extensions and forbidden
//! trailers, so what comes after its head is copied only where chunks are made of it and the
//! receiver is slow. A head, which is made of a few short pieces, is put together with what of its
//! body is there, where both are short.

use std::io::IoSlice;

use tucano_common::http1::chunked::{ChunkHead, ChunkedError, Part};
use tucano_common::http1::framing::Recoding;
use tucano_common::http1::{Body, BodyDecoder};
use tucano_common::limits::{GATHERED_BYTES_MAX, OWN_CHUNK_BYTES_MAX, SPLICED_BYTES_MIN};

use super::buffers::{Buf, Buffers};
use super::socket::{Moved, Socket};
use super::splice::{Passed, Pipe, Pipes};

/// A body on its way. Places are counted from the first byte of the buffer it is read into.
pub(super) struct Relay {
    decoder: BodyDecoder,
    recoding: Recoding,
    /// Bytes before this are written.
    pub(super) sent: usize,
    /// Bytes before this may be written.
    pub(super) ready: usize,
    /// So many bytes after `ready` are dropped.
    cut: usize,
    /// What it goes through past the buffer, once there is much left of it.
    pipe: Option<Box<Pipe>>,
}

impl Relay {
    /// A body that begins at `start`.
    pub(super) fn new(body: Body, recoding: Recoding, start: usize) -> Relay {
        let decoder = BodyDecoder::new(body);
        Relay { decoder, recoding, sent: start, ready: start, cut: 0, pipe: None }
    }

    /// Everything from `start` on, as it is, until the connection's end.
    pub(super) fn tunnel(start: usize) -> Relay {
        Relay::new(Body::UntilClose, Recoding::UntilClose, start)
    }

    /// What comes after this body, all of which was read, goes on as it is: after what of the body
    /// is not written yet, in the buffer or in a pipe.
    pub(super) fn become_tunnel(&mut self) {
        debug_assert!(self.is_whole() && self.cut == 0, "a tunnel begins behind a whole body");
        self.decoder = BodyDecoder::new(Body::UntilClose);
        self.recoding = Recoding::UntilClose;
    }

    /// Decodes on in `bytes`, up to what must be dropped. Call again once that is written.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), ChunkedError> {
        if self.sent == self.ready {
            self.skip_cut();
        }
        while self.cut == 0 {
            let rest = bytes.get(self.ready..).unwrap_or(&[]);
            let Some(piece) = self.decoder.next(rest)? else { break };
            if self.passes(piece.part) {
                self.ready += piece.len;
            } else {
                self.cut = piece.len;
                if self.sent == self.ready {
                    self.skip_cut();
                }
            }
        }
        Ok(())
    }

    /// Whether the body was read to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether the body was read to its end and written.
    pub(super) fn is_over(&self) -> bool {
        self.is_whole() && !self.has_ready() && self.cut == 0 && self.pipe.is_none()
    }

    /// Whether there are bytes to write.
    pub(super) fn has_ready(&self) -> bool {
        self.sent < self.ready
    }

    /// Whether it is the receiver that has to move next.
    pub(super) fn waits_for_receiver(&self) -> bool {
        self.has_ready() || self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty())
    }

    /// Whether the connection's end is the body's.
    pub(super) fn may_end_at_close(&self) -> bool {
        self.decoder.may_end_at_close()
    }

    /// Whether the body is told in chunks of our own.
    pub(super) fn makes_chunks(&self) -> bool {
        self.recoding == Recoding::IntoChunks
    }

    /// Whether the rest of it goes past the buffer, of which everything is written. From then on
    /// [`Relay::pass`] moves it.
    pub(super) fn is_piped(&mut self, pipes: &mut Pipes) -> bool {
        if self.pipe.is_none()
            && self.decoder.length_left().is_some_and(|left| left >= SPLICED_BYTES_MIN)
        {
            self.pipe = pipes.take();
        }
        self.pipe.is_some()
    }

    /// Moves a piped body on; the pipe goes back with its last byte.
    pub(super) fn pass(
        &mut self,
        from: &mut Socket,
        to: &mut Socket,
        pipes: &mut Pipes,
        budget: usize,
    ) -> Passed {
        let left = self.decoder.length_left().unwrap_or(0);
        let Some(pipe) = &mut self.pipe else { return Passed::Blocked };
        let passed = pipe.pass(from, to, left, budget);
        if let Passed::Some { taken, .. } = passed {
            self.decoder.skip(taken as u64);
            if left == taken as u64 && pipe.is_empty() {
                self.leave_pipe(pipes);
            }
        }
        passed
    }

    /// Gives its pipe back, if it has one, also where it broke off.
    pub(super) fn leave_pipe(&mut self, pipes: &mut Pipes) {
        self.pipe.take().into_iter().for_each(|pipe| pipes.put(*pipe));
    }

    /// Drops what is written from the buffer.
    pub(super) fn release(&mut self, buf: &mut Buf) {
        buf.consume(self.sent);
        self.ready -= self.sent;
        self.sent = 0;
    }

    fn skip_cut(&mut self) {
        self.ready += self.cut;
        self.sent = self.ready;
        self.cut = 0;
    }

    fn passes(&self, part: Part) -> bool {
        match (part, self.recoding) {
            (Part::Data, _) => true,
            (_, Recoding::OutOfChunks) => false,
            (Part::Framing | Part::Trailer { is_forbidden: false }, _) => true,
            (Part::Extension | Part::Trailer { is_forbidden: true }, _) => false,
        }
    }
}

/// Writes `head` and what of the body is ready. What the socket does not take of the head, or of a
/// chunk of our own, is put into `output`, which was empty; a body's own bytes stay where they are.
/// `head` is left with anything behind it: each piece of a write costs the kernel a look and a copy
/// of its own, so that what is short is put together there.
///
/// `None`: the receiver is gone. Else how many bytes were written.
pub(super) fn write(
    socket: &mut Socket,
    output: &mut Option<Buf>,
    buffers: &mut Buffers,
    head: &mut Vec<u8>,
    relay: &mut Relay,
    bytes: &[u8],
) -> Option<usize> {
    let mut data = bytes.get(relay.sent..relay.ready).unwrap_or(&[]);
    if relay.makes_chunks() {
        data = data.get(..OWN_CHUNK_BYTES_MAX).unwrap_or(data);
    }
    let chunk = (relay.makes_chunks() && !data.is_empty()).then(|| ChunkHead::new(data.len()));
    let mut after: &[u8] = &[];
    if let Some(chunk) = &chunk {
        head.extend_from_slice(chunk.as_ref());
        after = b"\r\n";
    }
    let head_len = head.len();
    let len = head_len + data.len() + after.len();
    let moved = if head_len == 0 {
        // A body on its way: as it is.
        socket.write(&[IoSlice::new(data)])
    } else if len <= GATHERED_BYTES_MAX {
        head.extend_from_slice(data);
        head.extend_from_slice(after);
        socket.write(&[IoSlice::new(head)])
    } else {
        socket.write(&[head.as_slice(), data, after].map(IoSlice::new))
    };
    let written = match moved {
        Moved::Some(written) => written,
        Moved::Blocked => 0,
        Moved::Closed | Moved::Gone => return None,
    };
    let taken = written.saturating_sub(head_len);
    let (head, sent) = (head.get(..head_len).unwrap_or(&[]), taken.min(data.len()));
    let mut fits = buffers.append(output, head.get(written..).unwrap_or(&[]));
    if chunk.is_some() {
        fits &= buffers.append(output, data.get(sent..).unwrap_or(&[]));
        fits &= buffers.append(output, after.get(taken - sent..).unwrap_or(&[]));
        relay.sent += data.len();
    } else {
        relay.sent += sent;
    }
    debug_assert!(fits, "one head, or one buffer's data in a chunk, fits an empty buffer");
    Some(written)
}

/// Writes what waits in `output`. True: it is empty; none: the receiver is gone.
pub(super) fn flush(
    socket: &mut Socket,
    output: &mut Option<Buf>,
    buffers: &mut Buffers,
) -> Option<bool> {
    while let Some(buf) = output.as_mut().filter(|buf| !buf.is_empty()) {
        match socket.write(&[IoSlice::new(buf.bytes())]) {
            Moved::Some(written) => buf.consume(written),
            Moved::Blocked => return Some(false),
            Moved::Closed | Moved::Gone => return None,
        }
    }
    buffers.settle(output);
    Some(true)
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
