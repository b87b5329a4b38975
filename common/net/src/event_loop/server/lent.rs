//! Read bytes on their way to the application.

use super::super::buffers::{BufferPool, InBuf};

/// Read bytes outside of their connection, so that the application may use the connection
/// meanwhile.
pub(in crate::event_loop) struct Lent {
    input: InBuf,
    len: usize,
}

impl Lent {
    pub(in crate::event_loop) fn new(input: InBuf, len: usize) -> Lent {
        Lent { input, len }
    }

    pub(in crate::event_loop) fn bytes(&self) -> &[u8] {
        &self.input.data()[..self.len]
    }

    /// Gives the buffer back: nobody wants the rest.
    pub(in crate::event_loop) fn discard(mut self, pool: &mut BufferPool) {
        self.input.consume(usize::MAX);
        self.input.release(pool);
    }

    /// The buffer without what was used.
    pub(in crate::event_loop) fn used(mut self) -> InBuf {
        self.input.consume(self.len);
        self.input
    }
}
