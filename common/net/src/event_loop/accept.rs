//! Accepting: as many connections as there is room for, and none while there are too many or no
//! descriptors.
//!
//! What is not accepted waits in the kernel's queue. Without descriptors left, the one that is kept
//! in reserve lets the loop refuse a connection instead of leaving it hanging.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use tucano_common::limits::ACCEPT_PAUSE;
use tucano_common::time::Mono;

use super::config::HttpConfig;
use super::slab::{Key, Slab};
use super::timers::{Due, Slot, Timers};
use super::token::{Kind, token};
use crate::keepalive;

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// There are as many as there may be, until some have gone.
    Full,
    /// No descriptors were left; a timer opens again.
    Paused,
}

/// A listening socket, and whether the kernel said that somebody waits.
struct Listener {
    socket: TcpListener,
    is_ready: bool,
}

/// All listeners of a loop.
pub(super) struct Acceptor {
    listeners: Slab<Listener>,
    mode: Mode,
    /// A descriptor that can be given up.
    reserve: Option<File>,
    /// When to look again, where only time makes room.
    timer: Option<Slot>,
}

impl Acceptor {
    pub(super) const fn new() -> Acceptor {
        Acceptor { listeners: Slab::new(), mode: Mode::Open, reserve: None, timer: None }
    }

    pub(super) fn add(
        &mut self,
        listener: std::net::TcpListener,
        registry: &Registry,
    ) -> io::Result<SocketAddr> {
        listener.set_nonblocking(true)?;
        // Inherited by what is accepted: answers are written whole, so that waiting for more to
        // send only adds delay; and who follows a log is noticed when its machine is gone.
        setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
        keepalive::enable(&listener)?;
        let addr = listener.local_addr()?;
        if self.reserve.is_none() {
            self.reserve = Some(File::open("/dev/null")?);
        }
        self.listeners.try_insert_with(|key| {
            let mut socket = TcpListener::from_std(listener);
            registry.register(&mut socket, token(Kind::Listener, key), Interest::READABLE)?;
            Ok::<_, io::Error>(Listener { socket, is_ready: true })
        })?;
        Ok(addr)
    }

    /// Closes all listeners: who connects from now on is refused by the kernel.
    pub(super) fn close(&mut self, registry: &Registry) {
        for key in self.listeners.keys() {
            if let Some(mut listener) = self.listeners.remove(key) {
                // Closing takes it away as well; a failure leaves nothing behind.
                let _ = registry.deregister(&mut listener.socket);
            }
        }
    }

    pub(super) fn mark(&mut self, key: Key) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.is_ready = true;
        }
    }

    /// Has the loop turn again at `at` where nothing else does it.
    pub(super) fn look_again(&mut self, at: Mono, timers: &mut Timers) {
        timers.arm(&mut self.timer, Some(at), Due::Accept);
    }

    /// That moment has come.
    pub(super) fn resume(&mut self) {
        self.timer = None;
        if self.mode == Mode::Paused {
            self.mode = Mode::Open;
        }
    }

    /// Whether somebody waits for whom there is no room. Looks at the sockets: without accepting,
    /// nothing else says that nobody waits any more.
    pub(super) fn is_overfull(&mut self, open: usize, config: &HttpConfig) -> bool {
        if open < config.connections_max || self.mode == Mode::Paused {
            return false;
        }
        for key in self.listeners.keys() {
            if let Some(listener) = self.listeners.get_mut(key).filter(|l| l.is_ready) {
                listener.is_ready = has_waiting(&listener.socket);
            }
        }
        self.listeners.values().any(|listener| listener.is_ready)
    }

    /// Whether somebody waits who could be accepted now.
    pub(super) fn has_work(&self, open: usize, config: &HttpConfig) -> bool {
        let has_room = match self.mode {
            Mode::Open => open < config.connections_max,
            Mode::Full => open + config.accept_resume_free <= config.connections_max,
            Mode::Paused => false,
        };
        has_room && self.listeners.values().any(|listener| listener.is_ready)
    }

    /// The next connection, while there is room for it beside the `open` ones.
    pub(super) fn next(
        &mut self,
        open: usize,
        config: &HttpConfig,
        timers: &mut Timers,
        now: Mono,
    ) -> Option<(TcpStream, SocketAddr)> {
        if !self.has_work(open, config) {
            return None;
        }
        self.mode = Mode::Open;
        for key in self.listeners.keys() {
            while let Some(listener) = self.listeners.get_mut(key).filter(|l| l.is_ready) {
                match listener.socket.accept() {
                    Ok(accepted) => {
                        if open + 1 >= config.connections_max {
                            crate::log_limited!(
                                log::Level::Warn,
                                "{} connections are open, the most there may be: others wait",
                                config.connections_max
                            );
                            self.mode = Mode::Full;
                        }
                        return Some(accepted);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        listener.is_ready = false;
                    }
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        self.pause(key, &error);
                        self.look_again(now + ACCEPT_PAUSE, timers);
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Nothing can be opened: refuses one connection by the reserve, and waits.
    fn pause(&mut self, key: Key, error: &io::Error) {
        crate::log_limited!(
            log::Level::Error,
            "cannot accept connections: {error}; raise LimitNOFILE where it is the number of files"
        );
        self.mode = Mode::Paused;
        if self.reserve.take().is_some()
            && let Some(listener) = self.listeners.get(key)
        {
            // Closed at once: its client sees an end instead of waiting for its own limit.
            drop(listener.socket.accept());
            self.reserve = File::open("/dev/null").ok();
        }
    }
}

fn has_waiting(socket: &TcpListener) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // An error is as good as somebody: accepting tells more about it.
    poll(&mut fds, PollTimeout::ZERO) != Ok(0)
}

/// Errors that concern the connection that was to be accepted, not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(
        errno,
        Errno::EINTR
            | Errno::ECONNABORTED
            | Errno::EPROTO
            | Errno::EPERM
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
    )
}
