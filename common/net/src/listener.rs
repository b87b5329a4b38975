//! Listening sockets: bound so that a port somebody else holds is an error that names it.
//!
//! They come back non-blocking, ready for a loop. Sockets handed over by systemd are taken here
//! too, once a unit does it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, getsockname,
    listen, setsockopt, socket, sockopt,
};
use tucano_common::limits::LISTEN_BACKLOG;

/// Why an address can't be listened on.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody listens there already.
    Taken(SocketAddr),
    /// A port under 1024 without the right to it.
    Forbidden(SocketAddr),
    /// The address is none of this machine's.
    NotOurs(SocketAddr),
    /// Anything else.
    Failed(SocketAddr, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Taken(addr) => {
                write!(f, "cannot listen on {addr}: another program has this port; ")?;
                write!(
                    f,
                    "stop it (`ss -ltnp sport = :{}` names it) or choose another",
                    addr.port()
                )
            }
            ListenError::Forbidden(addr) => {
                write!(f, "cannot listen on {addr}: ports under 1024 need root or ")?;
                f.write_str("CAP_NET_BIND_SERVICE")
            }
            ListenError::NotOurs(addr) => {
                write!(f, "cannot listen on {addr}: this machine has no address {}", addr.ip())
            }
            ListenError::Failed(addr, _) => write!(f, "cannot listen on {addr}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ListenError::Failed(_, error) => Some(error),
            ListenError::Taken(_) | ListenError::Forbidden(_) | ListenError::NotOurs(_) => None,
        }
    }
}

/// Listens on one address.
pub fn listen_on(addr: SocketAddr) -> Result<TcpListener, ListenError> {
    open(addr, false).map_err(|error| explain(addr, error))
}

/// Opens `count` listeners on one address (SO_REUSEPORT): the kernel spreads connections over them.
///
/// SO_REUSEPORT would share the port silently with another program of the same user, so it is
/// first bound without.
pub fn listen_shared(addr: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    let bound = listen_on(addr)?.local_addr().map_err(|error| ListenError::Failed(addr, error))?;
    (0..count).map(|_| open(bound, true).map_err(|error| explain(addr, error))).collect()
}

fn open(addr: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    // A port of zero was chosen by now; asking here turns a failure into an error of this call.
    getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
    listen(&fd, Backlog::new(LISTEN_BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

fn explain(addr: SocketAddr, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(addr),
        io::ErrorKind::PermissionDenied => ListenError::Forbidden(addr),
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs(addr),
        _ => ListenError::Failed(addr, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let first = listen_on(loopback()).expect("a free port");
        let addr = first.local_addr().expect("its address");
        for error in [listen_on(addr).err(), listen_shared(addr, 2).err()] {
            let error = error.expect("taken");
            assert!(matches!(error, ListenError::Taken(a) if a == addr));
            assert!(error.to_string().contains(&addr.to_string()));
        }
    }

    #[test]
    fn a_port_held_by_others_with_reuseport_is_not_shared_silently() {
        let theirs = listen_shared(loopback(), 1).expect("a free port");
        let addr = theirs[0].local_addr().expect("its address");
        assert!(matches!(listen_shared(addr, 1), Err(ListenError::Taken(_))));
    }

    #[test]
    fn shared_listeners_have_one_address() {
        let listeners = listen_shared(loopback(), 3).expect("a free port");
        let addrs: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("address")).collect();
        assert!(addrs.len() == 3 && addrs.iter().all(|a| a == &addrs[0] && a.port() != 0));
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = listen_on(SocketAddr::from(([192, 0, 2, 1], 0))).expect_err("not ours");
        assert!(matches!(error, ListenError::NotOurs(_)), "{error}");
    }
}
