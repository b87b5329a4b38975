//! A connection's socket, and what the kernel said of it last.
//!
//! mio is edge-triggered: it tells once that a socket turned readable or writable. That word is
//! kept here until a read or a write finds the opposite, so nothing is tried in vain and nothing is
//! missed. Registered with the poll once, at the first time there is something to wait for, and
//! never again.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use nix::{getsockopt_impl, libc, sockopt_impl};
use tucano_common::limits::{SILENCE_ASK_S, SILENCE_GIVE_UP_S};
use tucano_controller_core::balancer::silence::Evidence;

sockopt_impl!(
    /// `TCP_INFO`.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    InfoStart
);

/// The first fields of the kernel's `tcp_info`, as far as one is wanted: every kernel has these,
/// and fills no more than it is asked for. The whole struct grows with kernels, and what asks an
/// older one for it gets less than it expects.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct InfoStart {
    _state_and_retransmits: [u8; 3],
    probes: u8,
    _backoff_and_options: [u8; 4],
    _timeouts_and_segment_sizes: [u32; 4],
    unacked: u32,
    _losses: [u32; 4],
    _last_sent_and_received: [u32; 3],
    last_ack_recv_ms: u32,
    _path_mtu_and_window: [u32; 2],
    rtt_us: u32,
}

/// Congestion control for connections that cross one switch or none: by loss, without a model of
/// the path. Every kernel has it and lets everybody choose it (tcp(7), `TCP_CONGESTION`). Where the
/// machine's own choice is BBR, made for the internet, each packet pays for its model and its
/// pacing, a tenth of what a small request costs.
const NEARBY_CONGESTION: &str = "reno";

/// What a read or a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes; more may follow at once.
    Some(usize),
    /// Nothing now; the poll tells when.
    Blocked,
    /// The peer closed its sending side (reads only).
    Closed,
    /// The connection is broken.
    Gone,
}

/// One connected (or connecting) socket.
pub(super) struct Socket {
    stream: TcpStream,
    is_readable: bool,
    is_writable: bool,
    /// The peer's FIN was seen by the poll: a short read is not the last.
    peer_closed: bool,
    /// The poll told of an error or of both sides closed.
    is_broken: bool,
    is_registered: bool,
}

impl Socket {
    /// A socket of which nothing is known: both directions are tried first.
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            is_readable: true,
            is_writable: true,
            peer_closed: false,
            is_broken: false,
            is_registered: false,
        }
    }

    /// Begins a connection to an instance; its handshake may still be under way.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Socket> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None)?;
        // Before it is connected: what a model once set up for pacing stays.
        choose_nearby_congestion(&fd);
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = Socket::new(TcpStream::from_std(fd.into()));
        // Each write at once: there is one for each head and each piece of a body. Slower without,
        // not wrong.
        let _ = socket.stream.set_nodelay(true);
        Ok(socket)
    }

    /// Notes what the poll told.
    pub(super) fn note(&mut self, event: &Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed();
        self.is_writable |= event.is_writable() || event.is_write_closed();
        self.peer_closed |= event.is_read_closed();
        self.is_broken |= event.is_error() || (event.is_write_closed() && event.is_read_closed());
        if self.is_broken {
            self.is_readable = true;
            self.is_writable = true;
        }
    }

    /// Registers with the poll, once.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if !self.is_registered {
            let both = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut self.stream, token, both)?;
            self.is_registered = true;
        }
        Ok(())
    }

    /// Whether the poll tells of this socket.
    pub(super) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Whether a read may find something.
    pub(super) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// Whether the poll told that the connection is broken in both directions.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether the poll told that the peer sends no more.
    pub(super) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    pub(super) fn read(&mut self, room: &mut [u8]) -> Moved {
        if !self.is_readable || room.is_empty() {
            return Moved::Blocked;
        }
        loop {
            return match self.stream.read(room) {
                Ok(0) => Moved::Closed,
                Ok(count) => {
                    // A short read has emptied the kernel's buffer; what comes later is told anew.
                    self.is_readable = count == room.len() || self.peer_closed;
                    Moved::Some(count)
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => {
                        self.is_readable = false;
                        Moved::Blocked
                    }
                    _ => Moved::Gone,
                },
            };
        }
    }

    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> Moved {
        if !self.is_writable {
            return Moved::Blocked;
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        loop {
            let written = match slices {
                [one] => self.stream.write(one),
                many => self.stream.write_vectored(many),
            };
            return match written {
                Ok(count) => {
                    self.is_writable = count == total;
                    Moved::Some(count)
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    // A connection that is still being made says so too.
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => {
                        self.is_writable = false;
                        Moved::Blocked
                    }
                    _ => Moved::Gone,
                },
            };
        }
    }

    /// Moves at most so many bytes from here into a pipe that is empty.
    pub(super) fn splice_into(&mut self, pipe: &OwnedFd, most: usize) -> Moved {
        if !self.is_readable {
            return Moved::Blocked;
        }
        // Fewer than asked for says nothing: a pipe is full by its number of pieces too.
        let moved = spliced(&self.stream, pipe, most);
        self.is_readable = moved != Moved::Blocked;
        moved
    }

    /// Moves so many bytes that are in a pipe out through here.
    pub(super) fn splice_from(&mut self, pipe: &OwnedFd, count: usize) -> Moved {
        if !self.is_writable {
            return Moved::Blocked;
        }
        let moved = spliced(pipe, &self.stream, count);
        self.is_writable = match moved {
            Moved::Some(given) => given == count,
            Moved::Blocked => false,
            Moved::Closed | Moved::Gone => true,
        };
        moved
    }

    /// Says that nothing more will be sent.
    pub(super) fn close_sending(&self) {
        // A socket that is broken already has nothing left to say.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset, so that the peer can't take what it got for complete.
    pub(super) fn reset(self) {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // Without the option the peer sees an ordinary close, which is the best that is left.
        let _ = setsockopt(&self.stream.as_fd(), sockopt::Linger, &at_once);
    }

    /// What the kernel knows of the other side; none where it does not say.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let info = nix::sys::socket::getsockopt(&self.stream.as_fd(), TcpInfo).ok()?;
        Some(Evidence {
            has_unacknowledged: info.unacked > 0,
            unacknowledged_for: Duration::from_millis(info.last_ack_recv_ms.into()),
            round_trip: Duration::from_micros(info.rtt_us.into()),
            questions: info.probes,
        })
    }

    /// Has the kernel ask the other side whether it is there.
    pub(super) fn ask(&self) {
        let fd = self.stream.as_fd();
        // Where it can't, the worker's heartbeats tell, later.
        let _ = setsockopt(&fd, sockopt::KeepAlive, &true);
        let _ = setsockopt(&fd, sockopt::TcpKeepInterval, &SILENCE_ASK_S);
        let _ = setsockopt(&fd, sockopt::TcpKeepIdle, &SILENCE_ASK_S);
    }

    /// Has the kernel break the connection where the other side stays silent.
    pub(super) fn give_up_in_time(&self) {
        self.ask();
        let patience_ms = SILENCE_GIVE_UP_S * 1000;
        let _ = setsockopt(&self.stream.as_fd(), sockopt::TcpUserTimeout, &patience_ms);
    }

    /// The peer is on this machine: there is no path to find out about.
    pub(super) fn peer_is_here(&self) {
        choose_nearby_congestion(&self.stream);
    }
}

/// splice(2), without waiting.
fn spliced(from: &impl AsFd, to: &impl AsFd, most: usize) -> Moved {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    loop {
        return match splice(from, None, to, None, most, flags) {
            Ok(0) => Moved::Closed,
            Ok(count) => Moved::Some(count),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Moved::Blocked,
            Err(_) => Moved::Gone,
        };
    }
}

/// What a path between neighbours needs; slower without, not wrong.
fn choose_nearby_congestion(fd: &impl AsFd) {
    let _ = setsockopt(fd, sockopt::TcpCongestion, &OsString::from(NEARBY_CONGESTION));
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn what_is_wanted_of_a_connection_stands_where_the_oldest_kernel_has_it() {
        assert_eq!(offset_of!(InfoStart, probes), offset_of!(libc::tcp_info, tcpi_probes));
        assert_eq!(offset_of!(InfoStart, unacked), offset_of!(libc::tcp_info, tcpi_unacked));
        let last_ack = offset_of!(libc::tcp_info, tcpi_last_ack_recv);
        assert_eq!(offset_of!(InfoStart, last_ack_recv_ms), last_ack);
        assert_eq!(offset_of!(InfoStart, rtt_us), offset_of!(libc::tcp_info, tcpi_rtt));
        // Up to here it is as it was in Linux 2.6.2.
        assert!(size_of::<InfoStart>() <= offset_of!(libc::tcp_info, tcpi_total_retrans) + 4);
    }

    #[test]
    fn the_kernel_tells_of_a_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = Socket::connect(listener.local_addr().unwrap()).unwrap();
        let (_far, _) = listener.accept().unwrap();
        while socket.write(&[IoSlice::new(b"x")]) == Moved::Blocked {
            socket.is_writable = true;
        }
        let evidence = socket.evidence().unwrap();
        assert!(evidence.round_trip > Duration::ZERO, "{evidence:?}");
        assert_eq!(evidence.questions, 0);
    }
}
