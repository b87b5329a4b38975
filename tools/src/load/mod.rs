//! The load generator: many connections from one thread, at a fixed rate or as fast as answers
//! come, every answer checked.
//!
//! It measures from the moment when a request was due, not from when it could be sent, so that a
//! stalled server does not hide its stall. It is no benchmark of itself: one thread, one target.
//! Used by `tucano-load` and, in a thread, by the end-to-end tests.

mod connection;
mod engine;
mod histogram;
mod report;
pub mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tucano_common::http1::Method;

pub use engine::run;
pub use histogram::Histogram;
pub use report::{Failure, Report};

/// What is sent, how often, and what has to come back.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// The Host field.
    pub host: String,
    /// The method.
    pub method: Method,
    /// The request target.
    pub path: String,
    /// The request's body.
    pub body: Vec<u8>,
    /// Connections.
    pub connections: usize,
    /// A new connection for each request.
    pub close: bool,
    /// At a fixed rate: the connections take turns, so that all of them are made and kept, in place
    /// of the first that is free.
    pub in_turn: bool,
    /// Requests a second over all connections; none: each connection sends as soon as it can.
    pub rate: Option<u32>,
    /// The last request is begun after so long.
    pub duration: Duration,
    /// So many requests at most.
    pub requests: u64,
    /// An answer that takes longer is a failure.
    pub timeout: Duration,
    /// The status that every answer has to have; none: any of 200 to 299.
    pub status: Option<u16>,
    /// What every body has to contain.
    pub contains: Option<String>,
}

impl Plan {
    /// `GET /` for ten seconds on sixteen connections, as fast as answers come.
    pub fn new(target: SocketAddr, host: &str) -> Plan {
        Plan {
            target,
            host: host.to_owned(),
            method: Method::Get,
            path: "/".to_owned(),
            body: Vec::new(),
            connections: 16,
            close: false,
            in_turn: false,
            rate: None,
            duration: Duration::from_secs(10),
            requests: u64::MAX,
            timeout: Duration::from_secs(35),
            status: None,
            contains: None,
        }
    }
}

/// Ends a run early from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// No further request is begun; the ones in flight are waited for.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
