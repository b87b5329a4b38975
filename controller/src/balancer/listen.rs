//! The loop's listening sockets: accepts in batches, pauses where there is no room.
//!
//! It does not bind (the deployer does, so that a port that is taken refuses the deploy) and does
//! not know what a connection is for.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use tucano_common::limits::{ACCEPT_DEFER_S, ACCEPT_PAUSE, ACCEPTS_PER_TURN};
use tucano_common::time::Mono;
use tucano_net::log_limited;

use crate::msgs::Keeper;

sockopt_impl!(
    /// `TCP_DEFER_ACCEPT` (tcp(7)).
    DeferAccept,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// Tokens of listeners follow the waker's.
const FIRST_TOKEN: usize = 1;

struct Listener {
    socket: TcpListener,
    port: u16,
    keeper: Keeper,
    /// The kernel said that somebody waits.
    has_waiting: bool,
}

/// All listening sockets of a loop.
#[derive(Default)]
pub(super) struct Listeners {
    slots: Vec<Option<Listener>>,
    /// No descriptors are left, or no room: nobody is accepted until then.
    paused_until: Option<Mono>,
}

/// A connection, where it comes from, and the port it came in on.
pub(super) type Accepted = (TcpStream, SocketAddr, u16);

impl Listeners {
    /// Accepts on one more socket.
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        port: u16,
        listener: std::net::TcpListener,
        keeper: Keeper,
    ) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(listener);
        // What is accepted inherits it: one call here instead of one a connection.
        let _ = setsockopt(&socket.as_fd(), sockopt::TcpNoDelay, &true);
        if keeper == Keeper::Us {
            // A connection comes up when its request is there: one wake-up for both, and it is read
            // at once instead of being watched first. One of systemd's is as its unit says.
            let _ = setsockopt(&socket.as_fd(), DeferAccept, &ACCEPT_DEFER_S);
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        registry.register(&mut socket, Token(FIRST_TOKEN + free), Interest::READABLE)?;
        if free == self.slots.len() {
            self.slots.push(None);
        }
        // Connections may wait since before it was registered.
        self.slots[free] = Some(Listener { socket, port, keeper, has_waiting: true });
        Ok(())
    }

    /// Stops accepting on a port.
    pub(super) fn remove(&mut self, registry: &Registry, port: u16) {
        self.remove_if(registry, |listener| listener.port == port);
    }

    /// Stops accepting on the sockets that this one keeps.
    pub(super) fn leave(&mut self, registry: &Registry, keeper: Keeper) {
        self.remove_if(registry, |listener| listener.keeper == keeper);
    }

    fn remove_if(&mut self, registry: &Registry, is_over: impl Fn(&Listener) -> bool) {
        for slot in &mut self.slots {
            if let Some(listener) = slot.as_mut().filter(|listener| is_over(listener)) {
                // Closing does not take a socket out of the poll that somebody else has too.
                let _ = registry.deregister(&mut listener.socket);
                *slot = None;
            }
        }
    }

    /// The poll told that somebody waits.
    pub(super) fn note(&mut self, token: Token) {
        let place = token.0.wrapping_sub(FIRST_TOKEN);
        if let Some(Some(listener)) = self.slots.get_mut(place) {
            listener.has_waiting = true;
        }
    }

    /// Whether there is somebody to accept now.
    pub(super) fn has_waiting(&self) -> bool {
        self.paused_until.is_none() && self.slots.iter().flatten().any(|each| each.has_waiting)
    }

    /// Whether there is no socket to accept on.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// Somebody may wait whom the poll has not told of yet.
    pub(super) fn look_again(&mut self) {
        self.slots.iter_mut().flatten().for_each(|each| each.has_waiting = true);
    }

    /// When a pause ends.
    pub(super) fn resume_at(&self) -> Option<Mono> {
        self.paused_until
    }

    /// Takes who waits, at most `room`, at most so many a turn.
    pub(super) fn accept(&mut self, batch: &mut Vec<Accepted>, room: usize, now: Mono) {
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
        }
        if room == 0 && self.has_waiting() {
            self.pause(now, ACCEPT_PAUSE);
        }
        let mut left = if self.paused_until.is_some() { 0 } else { room.min(ACCEPTS_PER_TURN) };
        for place in 0..self.slots.len() {
            while left > 0 {
                let Some(accepted) = self.accept_one(place, now) else { break };
                batch.push(accepted);
                left -= 1;
            }
        }
    }

    fn accept_one(&mut self, place: usize, now: Mono) -> Option<Accepted> {
        let listener = self.slots.get_mut(place)?.as_mut().filter(|each| each.has_waiting)?;
        loop {
            match listener.socket.accept() {
                Ok((stream, peer)) => return Some((stream, peer, listener.port)),
                Err(error) => match error.kind() {
                    // The one who waited has left again; the next one may be there.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    io::ErrorKind::WouldBlock => {
                        listener.has_waiting = false;
                        return None;
                    }
                    _ => {
                        // Without descriptors or memory left, others must end first.
                        log_limited!(
                            log::Level::Warn,
                            "the balancer cannot accept connections for now: {error}",
                        );
                        self.pause(now, ACCEPT_PAUSE);
                        return None;
                    }
                },
            }
        }
    }

    fn pause(&mut self, now: Mono, length: Duration) {
        self.paused_until = Some(now + length);
    }
}
