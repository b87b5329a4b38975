//! The listening sockets that systemd hands over (sd_listen_fds(3)): taken once, at the start.
//!
//! Such a socket outlives this process: who connects while the controller is started again waits in
//! the kernel's queue instead of being refused. Here they are only taken and looked at; what each
//! is for is found in `wiring/sockets.rs`. Called by `main`, before there is a second thread.
#![expect(unsafe_code, reason = "each block stands alone and says why it is sound")]

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage};
use nix::sys::socket::{getsockname, getsockopt, sockopt};
use tucano_common::limits::GIVEN_SOCKETS_MAX;

/// The first descriptor handed over; the others follow it (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";

/// A socket that was handed over.
#[derive(Debug)]
pub(crate) struct Given {
    /// Its `FileDescriptorName=`; by default the name of its unit.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Itself.
    pub(crate) listener: TcpListener,
}

/// Why what was handed over can't be used.
#[derive(Debug)]
pub(crate) enum GivenError {
    /// `LISTEN_FDS` is not a number that there can be.
    Count(String),
    /// One of them is no listening TCP socket.
    Unfit { name: String, number: RawFd, is: &'static str },
}

impl fmt::Display for GivenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GivenError::Count(text) => {
                write!(f, "{COUNT}={text:?}: not a number of sockets from 0 to {GIVEN_SOCKETS_MAX}")
            }
            GivenError::Unfit { name, number, is } => write!(
                f,
                "{COUNT}: descriptor {number} ({name:?}) is {is}, not a listening TCP socket: \
                 write ListenStream=ADDRESS:PORT and Accept=no in the socket unit"
            ),
        }
    }
}

/// Takes the sockets that are for this process, and takes the variables out of its environment:
/// they are for nobody after it. To be called once, while this is the only thread.
pub(crate) fn take() -> Result<Vec<Given>, GivenError> {
    let [pid, count, names] = [PID, COUNT, NAMES].map(|name| {
        let value = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        // SAFETY: the caller promises that no other thread is there to read the environment.
        unsafe { std::env::remove_var(name) };
        value
    });
    let is_ours = pid.is_some_and(|pid| pid.parse() == Ok(std::process::id()));
    let Some(count) = count.filter(|_| is_ours) else { return Ok(Vec::new()) };
    let many = count.parse().ok().filter(|many| *many <= GIVEN_SOCKETS_MAX);
    let many = many.ok_or(GivenError::Count(count))?;
    let names = names.unwrap_or_default();
    let names = names.split(':').chain(std::iter::repeat("unknown"));
    (FIRST..).take(many).zip(names).map(|(number, name)| take_one(number, name)).collect()
}

fn take_one(number: RawFd, name: &str) -> Result<Given, GivenError> {
    let unfit = |is| GivenError::Unfit { name: name.to_owned(), number, is };
    // What is closed already is refused before it counts as owned.
    // SAFETY: the number is borrowed for this one call, which fails where nothing is open there.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| unfit("not open"))?;
    // SAFETY: it is open, this process was given it (LISTEN_PID), and nobody else in it knows the
    // number: it is taken once, before anything else was opened by this program's own code.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let address = address_of(&fd).map_err(unfit)?;
    Ok(Given { name: name.to_owned(), address, listener: TcpListener::from(fd) })
}

/// The address it listens on, or what it is instead.
fn address_of(fd: &OwnedFd) -> Result<SocketAddr, &'static str> {
    let number = std::os::fd::AsRawFd::as_raw_fd(fd);
    let kind = getsockopt(&fd.as_fd(), sockopt::SockType).map_err(|_| "no socket")?;
    let name: SockaddrStorage = getsockname(number).map_err(|_| "no socket")?;
    let address = match name.family() {
        Some(AddressFamily::Inet) => name.as_sockaddr_in().map(|own| SocketAddr::V4((*own).into())),
        Some(AddressFamily::Inet6) => {
            name.as_sockaddr_in6().map(|own| SocketAddr::V6((*own).into()))
        }
        _ => None,
    };
    let address = address.ok_or("a socket of another family")?;
    if kind != SockType::Stream {
        return Err("a datagram socket");
    }
    match getsockopt(&fd.as_fd(), sockopt::AcceptConn) {
        Ok(true) => Ok(address),
        Ok(false) | Err(_) => Err("a socket that does not listen"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_listening_tcp_sockets_are_fit() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = tcp.local_addr().expect("its address");
        assert_eq!(address_of(&tcp.into()), Ok(address));
        let six = TcpListener::bind("[::1]:0").expect("a free port");
        let address = six.local_addr().expect("its address");
        assert_eq!(address_of(&six.into()), Ok(address));

        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        assert_eq!(address_of(&udp.into()), Err("a datagram socket"));
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = std::net::TcpStream::connect(tcp.local_addr().expect("its address"));
        let client = client.expect("a connection");
        assert_eq!(address_of(&client.into()), Err("a socket that does not listen"));
        let path = std::env::temp_dir().join(format!("tucano-given-{}", std::process::id()));
        let unix = UnixListener::bind(&path).expect("a path");
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(address_of(&unix.into()), Err("a socket of another family"));
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert_eq!(address_of(&file.into()), Err("no socket"));
    }
}
