//! The balancer's ports beyond the main one: opened before the deploy that needs them is accepted,
//! closed once no service does.
//!
//! It opens sockets (one a loop, SO_REUSEPORT) and hands them out; the loops accept on them. Which
//! ports are needed the core says.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use tucano_common::time::Mono;
use tucano_net::listener::{self, ListenError};

/// A port that somebody else holds at the start is tried again so often.
const RETRY: Duration = Duration::from_secs(5);

/// Which ports of this machine the balancer listens on.
#[derive(Debug)]
pub(crate) struct Ports {
    main: SocketAddr,
    loops: usize,
    open: BTreeSet<u16>,
    /// Never closed: the main one, and those that systemd handed over.
    kept: BTreeSet<u16>,
    retry_at: Option<Mono>,
    complained: BTreeSet<u16>,
}

/// Sockets for one port, one a loop; closed again when dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The port of this machine.
    pub(crate) port: u16,
    /// One a loop, in their order.
    pub(crate) listeners: Vec<TcpListener>,
}

impl Ports {
    /// With the main port open, and those that were handed over.
    pub(crate) fn new(main: SocketAddr, mut kept: BTreeSet<u16>, loops: usize) -> Ports {
        kept.insert(main.port());
        let (open, complained) = (kept.clone(), BTreeSet::new());
        Ports { main, loops, open, kept, retry_at: None, complained }
    }

    /// Opens this port if it is not open. It counts as open only once it is
    /// [`adopt`](Ports::adopt)ed.
    pub(crate) fn open(&self, port: u16) -> Result<Option<Opened>, ListenError> {
        if self.open.contains(&port) {
            return Ok(None);
        }
        let address = SocketAddr::new(self.address(), port);
        let listeners = listener::listen_shared(address, self.loops)?;
        Ok(Some(Opened { port, listeners }))
    }

    /// From now on this port is open.
    pub(crate) fn adopt(&mut self, port: u16) {
        self.open.insert(port);
        self.complained.remove(&port);
    }

    /// Says once that a port can't be opened, until it was open again.
    pub(crate) fn complain(&mut self, port: u16, complain: impl FnOnce()) {
        if self.complained.insert(port) {
            complain();
        }
    }

    /// A stored service's port could not be opened just now: it is tried again later.
    pub(crate) fn try_later(&mut self, failed_at: Option<Mono>) {
        self.retry_at = failed_at.map(|now| now + RETRY);
    }

    /// When that is.
    pub(crate) fn next_try(&self) -> Option<Mono> {
        self.retry_at
    }

    /// The open ports that are not among those needed, the main one and those handed over apart:
    /// they count as closed from now on.
    pub(crate) fn retain(&mut self, needed: &BTreeSet<u16>) -> Vec<u16> {
        let idle = |port: &u16| !self.kept.contains(port) && !needed.contains(port);
        let closed: Vec<u16> = self.open.iter().copied().filter(idle).collect();
        self.open.retain(|port| !closed.contains(port));
        closed
    }

    fn address(&self) -> IpAddr {
        self.main.ip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Ports {
        Ports::new(SocketAddr::from(([127, 0, 0, 1], 1)), BTreeSet::from([2]), 2)
    }

    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address").port()
    }

    #[test]
    fn a_port_is_opened_once_and_closed_when_nobody_needs_it() {
        let mut ports = ports();
        let port = free_port();
        let opened = ports.open(port).expect("it is free").expect("it was closed");
        assert_eq!((opened.port, opened.listeners.len()), (port, 2));
        ports.adopt(port);
        assert!(ports.open(port).expect("it is open already").is_none());
        assert_eq!(ports.retain(&BTreeSet::from([port])), Vec::<u16>::new());
        assert_eq!(ports.retain(&BTreeSet::new()), vec![port]);
        drop(opened);
        assert!(ports.open(port).expect("free again").is_some());
    }

    #[test]
    fn the_main_port_and_given_ones_are_never_closed_nor_opened_again() {
        let mut ports = ports();
        assert!(ports.open(1).expect("it is open").is_none());
        assert!(ports.open(2).expect("it is open").is_none());
        assert!(ports.retain(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn a_port_of_somebody_else_is_refused_and_named() {
        let theirs = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = theirs.local_addr().expect("its address").port();
        let refusal = ports().open(port).expect_err("taken").to_string();
        assert!(refusal.contains(&port.to_string()), "{refusal}");
    }
}
