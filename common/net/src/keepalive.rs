//! TCP keepalive: a peer whose machine is gone says nothing, and a connection that only waits would
//! wait for ever.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use tucano_common::limits::{
    TCP_KEEPALIVE_IDLE_SECONDS, TCP_KEEPALIVE_INTERVAL_SECONDS, TCP_KEEPALIVE_PROBES,
};

/// Has the kernel ask a silent peer whether it is still there. Connections inherit it from the
/// listener that accepts them.
pub(crate) fn enable(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &TCP_KEEPALIVE_IDLE_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &TCP_KEEPALIVE_INTERVAL_SECONDS)?;
    setsockopt(socket, sockopt::TcpKeepCount, &TCP_KEEPALIVE_PROBES)?;
    Ok(())
}
