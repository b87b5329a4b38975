//! `tucano-sim agents`: thousands of fake workers in one process and one thread, for a real
//! controller.
//!
//! To the controller each is a worker: an address of its own, a kept connection for its hello,
//! heartbeats and assignments, a listener for orders. Instances are a number and a state; nothing
//! is built or started, and nobody listens on their ports. It judges nothing: it counts, and
//! measures how long heartbeats wait for their answers. Used by the bench and by hand.

mod conn;
mod fleet;
mod worker;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use fleet::Fleet;

/// What the fleet is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The controller's API.
    pub controller: SocketAddr,
    /// So many workers.
    pub workers: usize,
    /// The first one's address; the others have the ones after it.
    pub first: Ipv4Addr,
    /// Where each listens for orders.
    pub port: u16,
    /// Between two heartbeats of a worker.
    pub heartbeat: Duration,
    /// From an instance's assignment to its being healthy.
    pub start: Duration,
}

impl Plan {
    fn address(&self, worker: usize) -> IpAddr {
        let offset = u32::try_from(worker).unwrap_or(u32::MAX);
        IpAddr::V4(Ipv4Addr::from_bits(self.first.to_bits().saturating_add(offset)))
    }
}

/// What the fleet counts, to be read from another thread.
#[derive(Debug, Default)]
pub struct Counts {
    /// Heartbeats that were answered.
    pub heartbeats: AtomicU64,
    /// Requests of the workers that failed or were refused.
    pub failures: AtomicU64,
    /// Orders taken.
    pub orders: AtomicU64,
    /// Instances reported as running and healthy.
    pub running: AtomicU64,
    /// The longest wait for a heartbeat's answer since it was last asked for, in microseconds.
    longest_us: AtomicU64,
    /// Set, and the fleet ends.
    stop: AtomicBool,
}

impl Counts {
    /// The longest wait of a heartbeat since this was called last.
    pub fn take_longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.swap(0, Ordering::Relaxed))
    }

    /// Ends the fleet.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn answered(&self, wait: Duration) {
        let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
        self.longest_us.fetch_max(wait_us, Ordering::Relaxed);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        write!(
            f,
            "{} heartbeats answered, {} requests failed, {} orders taken, {} instances running",
            load(&self.heartbeats),
            load(&self.failures),
            load(&self.orders),
            load(&self.running)
        )
    }
}

/// Lets this process have a socket for each worker, its listener and an order's connection.
pub fn raise_descriptor_limit() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
