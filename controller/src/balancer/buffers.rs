//! Buffers, lent only while bytes are in them: an idle connection holds none.
//!
//! Two sizes: a large one that a whole request which may be sent again fits (and that bodies stream
//! through), a small one for what usually has to be kept of a request. The pool hands out the large
//! one used last, so a loop with little to do touches the same memory again and again.

use super::splice::Pipes;
use tucano_common::limits::{
    BODY_BUFFER_BYTES, KEPT_BUFFER_BYTES, LARGE_BUFFERS_AT_REST, LARGE_BUFFERS_KEPT,
    SMALL_BUFFERS_AT_REST,
};

/// Some bytes, and room behind them.
pub(super) struct Buf {
    data: Box<[u8]>,
    start: u32,
    end: u32,
}

impl Buf {
    fn new(size: usize) -> Buf {
        Buf { data: vec![0; size].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.data[self.start as usize..self.end as usize]
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether a read would find no room, even after moving the bytes to the front.
    pub(super) fn is_full(&self) -> bool {
        self.len() == self.data.len()
    }

    /// Room behind the bytes, which move to the front where that makes it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 && (self.start == self.end || self.end as usize == self.data.len()) {
            self.data.copy_within(self.start as usize..self.end as usize, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.data[self.end as usize..]
    }

    /// So many bytes were put into the room.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end as usize + count).min(self.data.len()) as u32;
    }

    /// Drops bytes from the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start as usize + count).min(self.end as usize) as u32;
    }

    fn is_large(&self) -> bool {
        self.data.len() == BODY_BUFFER_BYTES
    }
}

/// The buffers of one loop that nobody uses now.
pub(super) struct Buffers {
    large: Vec<Buf>,
    small: Vec<Buf>,
    /// What long bodies go through instead.
    pub(super) pipes: Pipes,
}

impl Buffers {
    pub(super) const fn new() -> Buffers {
        Buffers { large: Vec::new(), small: Vec::new(), pipes: Pipes::new() }
    }

    /// An empty large buffer.
    pub(super) fn take(&mut self) -> Buf {
        self.large.pop().unwrap_or_else(|| Buf::new(BODY_BUFFER_BYTES))
    }

    /// Takes a buffer back.
    pub(super) fn put(&mut self, mut buf: Buf) {
        buf.start = 0;
        buf.end = 0;
        let is_large = buf.is_large();
        let shelf = if is_large { &mut self.large } else { &mut self.small };
        if shelf.len() < if is_large { LARGE_BUFFERS_KEPT } else { 16 * LARGE_BUFFERS_KEPT } {
            shelf.push(buf);
        }
    }

    /// Takes back a buffer that has become empty; keeps the bytes of one that has not, in a small
    /// one where they fit.
    pub(super) fn settle(&mut self, slot: &mut Option<Buf>) {
        match slot {
            Some(buf) if buf.is_empty() => {
                if let Some(buf) = slot.take() {
                    self.put(buf);
                }
            }
            Some(buf) if buf.is_large() && buf.len() <= KEPT_BUFFER_BYTES => {
                let mut small = self.small.pop().unwrap_or_else(|| Buf::new(KEPT_BUFFER_BYTES));
                let len = buf.len();
                small.room()[..len].copy_from_slice(buf.bytes());
                small.filled(len);
                if let Some(large) = slot.replace(small) {
                    self.put(large);
                }
            }
            Some(_) | None => {}
        }
    }

    /// A buffer to read into: the slot's own, moved into a large one where it is a small one.
    pub(super) fn open<'a>(&mut self, slot: &'a mut Option<Buf>) -> &'a mut Buf {
        if slot.as_ref().is_none_or(|buf| !buf.is_large()) {
            let mut large = self.take();
            if let Some(small) = slot.take() {
                large.room()[..small.len()].copy_from_slice(small.bytes());
                large.filled(small.len());
                self.put(small);
            }
            *slot = Some(large);
        }
        slot.get_or_insert_with(|| Buf::new(BODY_BUFFER_BYTES))
    }

    /// Appends to what waits in `slot`. False where it does not fit: the peer takes too little.
    #[must_use]
    pub(super) fn append(&mut self, slot: &mut Option<Buf>, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let buf = self.open(slot);
        let Some(room) = buf.room().get_mut(..bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        buf.filled(bytes.len());
        true
    }

    /// Whether more lies here than a loop with little to do needs.
    pub(super) fn have_spare(&self) -> bool {
        self.large.len() > LARGE_BUFFERS_AT_REST || self.small.len() > SMALL_BUFFERS_AT_REST
    }

    /// Gives back what lies here unused, but for a few.
    pub(super) fn give_back(&mut self) {
        self.large.truncate(LARGE_BUFFERS_AT_REST);
        self.small.truncate(SMALL_BUFFERS_AT_REST);
    }

    /// Large buffers that lie here.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.large.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_and_out() {
        let mut buf = Buf::new(8);
        buf.room()[..5].copy_from_slice(b"abcde");
        buf.filled(5);
        buf.consume(2);
        assert_eq!(buf.bytes(), b"cde");
        assert_eq!(buf.room().len(), 3);
        buf.room()[..3].copy_from_slice(b"fgh");
        buf.filled(3);
        assert!(!buf.is_full());
        assert_eq!(buf.room().len(), 2, "the bytes moved to the front");
        assert_eq!(buf.bytes(), b"cdefgh");
        buf.filled(99);
        assert!(buf.is_full() && buf.room().is_empty());
        buf.consume(99);
        assert!(buf.is_empty() && buf.room().len() == 8);
    }

    #[test]
    fn what_is_kept_is_kept_small_and_nothing_is_kept_of_nothing() {
        let mut buffers = Buffers::new();
        let mut slot = None;
        assert!(buffers.append(&mut slot, b"GET / HTTP/1.1\r\n"));
        buffers.settle(&mut slot);
        assert_eq!(slot.as_ref().map(|buf| buf.data.len()), Some(KEPT_BUFFER_BYTES));
        assert_eq!(buffers.idle(), 1);
        assert_eq!(buffers.open(&mut slot).bytes(), b"GET / HTTP/1.1\r\n");
        assert_eq!(buffers.idle(), 0);
        buffers.open(&mut slot).consume(99);
        buffers.settle(&mut slot);
        assert!(slot.is_none());
        assert_eq!(buffers.idle(), 1);
    }

    #[test]
    fn what_waits_is_bounded_and_so_is_the_pool() {
        let mut buffers = Buffers::new();
        let mut slot = None;
        assert!(buffers.append(&mut slot, &vec![0; BODY_BUFFER_BYTES]));
        assert!(!buffers.append(&mut slot, b"x"));
        let many: Vec<Buf> = (0..LARGE_BUFFERS_KEPT + 9).map(|_| buffers.take()).collect();
        many.into_iter().for_each(|buf| buffers.put(buf));
        assert_eq!(buffers.idle(), LARGE_BUFFERS_KEPT);
    }
}
