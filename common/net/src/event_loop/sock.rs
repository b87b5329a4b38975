//! A stream socket with what the kernel said about it.
//!
//! mio is edge-triggered: what can be done is remembered here until a call says it can't be done
//! any more, and what is wanted stands elsewhere, in the state of whoever owns the socket.

use std::io::{self, ErrorKind};
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};

use super::buffers::{BufferPool, InBuf, OutBuf};

/// A socket and its readiness.
pub(super) struct Sock {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer sends no more; what it sent may still have to be read.
    read_closed: bool,
    /// All that it sent is read.
    read_finished: bool,
    /// Nothing can be sent or received any more.
    broken: bool,
}

/// What a read came to.
#[derive(Debug)]
pub(super) enum Fill {
    /// So many bytes more.
    Got(usize),
    /// Nothing now.
    Wait,
    /// The peer has ended its side.
    Eof,
    /// The connection is broken.
    Broken(io::Error),
}

impl Sock {
    /// Registers the socket. It counts as ready until tried: a request is often there already.
    pub(super) fn register(
        mut stream: TcpStream,
        registry: &Registry,
        token: Token,
        is_connected: bool,
    ) -> io::Result<Sock> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let (readable, writable) = (is_connected, is_connected);
        Ok(Sock {
            stream,
            readable,
            writable,
            read_closed: false,
            read_finished: false,
            broken: false,
        })
    }

    /// Notes what the kernel said.
    pub(super) fn mark(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed();
        self.writable |= event.is_writable();
        self.read_closed |= event.is_read_closed();
        // EPOLLHUP or EPOLLERR: both directions are over (a reset).
        self.broken |= event.is_error() || (event.is_write_closed() && event.is_read_closed());
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Whether the kernel said anything yet, which is what a connection that was begun waits for.
    pub(super) fn is_told(&self) -> bool {
        self.readable || self.writable || self.broken
    }

    pub(super) fn is_read_closed(&self) -> bool {
        self.read_closed
    }

    pub(super) fn is_read_finished(&self) -> bool {
        self.read_finished
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// One read.
    pub(super) fn fill(&mut self, input: &mut InBuf, pool: &mut BufferPool) -> Fill {
        if !self.readable {
            return Fill::Wait;
        }
        loop {
            return match input.read_from(pool, &mut self.stream) {
                Ok((0, 0)) => Fill::Wait,
                Ok((0, _)) => {
                    (self.read_closed, self.read_finished) = (true, true);
                    Fill::Eof
                }
                Ok((len, room)) => {
                    // A short read emptied the socket, and what comes later is told again. An end
                    // that was told already is not: it has to be read.
                    self.readable = len == room || self.read_closed;
                    Fill::Got(len)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    Fill::Wait
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.broken = true;
                    Fill::Broken(error)
                }
            };
        }
    }

    /// Writes until there is no more, the socket is full, or `budget` is used up; returns how much
    /// went.
    pub(super) fn flush(&mut self, output: &mut OutBuf, budget: usize) -> io::Result<usize> {
        let mut written = 0;
        while self.writable && !output.is_empty() && written < budget {
            match output.write_to(&mut self.stream) {
                Ok(len) => written += len,
                Err(error) => self.note_write_error(error)?,
            }
        }
        Ok(written)
    }

    /// One write of a slice; zero when the socket is full.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match io::Write::write(&mut self.stream, bytes) {
            Ok(len) => Ok(len),
            Err(error) => self.note_write_error(error).map(|()| 0),
        }
    }

    fn note_write_error(&mut self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Whether a connection that was begun has come about; `None`: not decided yet.
    pub(super) fn connected(&mut self) -> Option<io::Result<()>> {
        match self.stream.take_error() {
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
            Ok(None) => {}
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.writable = true;
                Some(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Says that nothing more is sent.
    pub(super) fn finish_sending(&mut self) {
        // A peer that is gone already needs not be told.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the close a reset, so that the peer can't take what it got for all.
    pub(super) fn reset_on_close(&mut self) {
        let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // Without it the close is an ordinary one: worse, not wrong.
        let _ = setsockopt(&self.stream, sockopt::Linger, &now);
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes the socket from the poll before it is closed by being dropped.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        // Closing takes it away as well; a failure leaves nothing behind.
        let _ = registry.deregister(&mut self.stream);
    }
}
