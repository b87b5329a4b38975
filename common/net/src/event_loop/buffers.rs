//! Bytes on their way in and out of a socket.
//!
//! A connection holds a read buffer only while unused bytes are in it: an idle one holds none. Read
//! buffers are lent from the loop's pool; what is to be written is kept as it was given, without
//! copying large bodies.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};

use tucano_common::limits::{READ_BUFFER_BYTES, READ_BUFFERS_KEPT, WRITE_PIECE_BYTES_MAX};

/// Read buffers that nobody holds.
#[derive(Default)]
pub(super) struct BufferPool {
    spare: Vec<Vec<u8>>,
}

impl BufferPool {
    fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; READ_BUFFER_BYTES])
    }

    fn give(&mut self, bytes: Vec<u8>) {
        if bytes.len() == READ_BUFFER_BYTES && self.spare.len() < READ_BUFFERS_KEPT {
            self.spare.push(bytes);
        }
    }
}

/// Bytes that were read and not used yet.
#[derive(Default)]
pub(super) struct InBuf {
    /// Empty, or a whole buffer of the pool.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl InBuf {
    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
    }

    /// Gives the buffer back if nothing is in it.
    pub(super) fn release(&mut self, pool: &mut BufferPool) {
        if self.is_empty() && !self.bytes.is_empty() {
            pool.give(std::mem::take(&mut self.bytes));
            (self.start, self.end) = (0, 0);
        }
    }

    /// One read into what is free; also returns how much was free, as a shorter read emptied the
    /// socket. Nothing is free when a whole buffer waits to be used: the caller uses bytes first.
    pub(super) fn read_from(
        &mut self,
        pool: &mut BufferPool,
        source: &mut impl Read,
    ) -> io::Result<(usize, usize)> {
        if self.bytes.is_empty() {
            self.bytes = pool.take();
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let free = &mut self.bytes[self.end..];
        let room = free.len();
        let len = source.read(free)?;
        self.end += len;
        Ok((len, room))
    }
}

/// Pieces given to one write.
const SLICES_PER_WRITE: usize = 16;

/// Bytes that wait to be written.
#[derive(Default)]
pub(super) struct OutBuf {
    pieces: VecDeque<Cow<'static, [u8]>>,
    /// How much of the first piece is written.
    written: usize,
    len: usize,
}

impl OutBuf {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(Cow::Owned(last)) if last.len() + bytes.len() <= WRITE_PIECE_BYTES_MAX => {
                last.extend_from_slice(bytes);
            }
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(Cow::Owned(bytes.to_vec())),
        }
    }

    /// Appends without a copy where it is large.
    pub(super) fn append(&mut self, bytes: Cow<'static, [u8]>) {
        if bytes.len() <= WRITE_PIECE_BYTES_MAX / 4 && !self.pieces.is_empty() {
            self.extend(&bytes);
        } else if !bytes.is_empty() {
            self.len += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// One write of as much as is there; returns how much was taken.
    pub(super) fn write_to(&mut self, sink: &mut impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let mut skip = self.written;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&piece[skip..]);
            skip = 0;
            count += 1;
        }
        let taken = sink.write_vectored(&slices[..count])?;
        self.drop_front(taken);
        Ok(taken)
    }

    fn drop_front(&mut self, taken: usize) {
        self.len -= taken;
        self.written += taken;
        while let Some(first) = self.pieces.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            // An idle connection holds no table of pieces either.
            self.pieces = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at each write, as a slow socket does.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_the_writes_take() {
        for taken in [1, 3, 7, 1000, 100_000] {
            let mut out = OutBuf::default();
            let mut all = Vec::new();
            for (i, len) in [5, 0, 3000, 20_000, 1, 16_000, 900].into_iter().enumerate() {
                let bytes = vec![i as u8; len];
                all.extend_from_slice(&bytes);
                if i % 2 == 0 {
                    out.extend(&bytes)
                } else {
                    out.append(Cow::Owned(bytes))
                }
                assert_eq!(out.len(), all.len());
            }
            let mut slow = Slow(Vec::new(), taken);
            while !out.is_empty() {
                assert!(out.write_to(&mut slow).expect("a write") > 0);
            }
            assert!(slow.0 == all && out.pieces.is_empty() && out.written == 0);
        }
    }

    #[test]
    fn reads_fill_a_lent_buffer_and_give_it_back_empty() {
        let mut pool = BufferPool::default();
        let mut input = InBuf::default();
        let mut source: &[u8] = &[7; READ_BUFFER_BYTES + 10];
        let (len, room) = input.read_from(&mut pool, &mut source).expect("a read");
        assert_eq!((len, room), (READ_BUFFER_BYTES, READ_BUFFER_BYTES));
        assert_eq!(input.read_from(&mut pool, &mut source).expect("full"), (0, 0));
        input.consume(READ_BUFFER_BYTES - 1);
        input.release(&mut pool);
        assert_eq!(input.data(), [7]);
        assert_eq!(input.read_from(&mut pool, &mut source).expect("a read").0, 10);
        input.consume(11);
        input.release(&mut pool);
        assert!(input.bytes.is_empty() && pool.spare.len() == 1);
    }
}
