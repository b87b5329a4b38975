//! How long the API keeps somebody waiting: `GET /healthz` and `GET /v1/status`, again and again.
//! Each in a thread of its own, so that one's wait does not hide the other's.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tucano_net::blocking::{Client, Timeouts};
use tucano_net::{Method, OutRequest};

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);
const TARGETS: [&str; 2] = ["/healthz", "/v1/status"];

/// What one of them found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    pub(super) longest: Duration,
    pub(super) requests: u64,
    pub(super) failures: u64,
}

/// Requests in progress.
pub(super) struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Waits>>,
}

/// What they found: the waits of each target.
pub(super) struct Found(pub(super) Vec<(&'static str, Waits)>);

impl Probes {
    /// Begins.
    pub(super) fn start(api: SocketAddr) -> io::Result<Probes> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for target in TARGETS {
            let stop = Arc::clone(&stop);
            let name = target.trim_start_matches('/').replace('/', "-");
            let run = move || probe(api, target, &stop);
            threads.push(thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(Probes { stop, threads })
    }

    /// Ends, and says what was found.
    pub(super) fn end(self) -> Found {
        self.stop.store(true, Ordering::Relaxed);
        let waits = self.threads.into_iter().map(|thread| thread.join().unwrap_or_default());
        Found(TARGETS.into_iter().zip(waits).collect())
    }
}

impl Found {
    /// The longest of all.
    pub(super) fn longest(&self) -> Duration {
        self.0.iter().map(|(_, waits)| waits.longest).max().unwrap_or_default()
    }

    /// Requests that were not answered with 200.
    pub(super) fn failures(&self) -> u64 {
        self.0.iter().map(|(_, waits)| waits.failures).sum()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (target, waits)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let Waits { longest, requests, failures } = waits;
            let ms = longest.as_secs_f64() * 1000.0;
            write!(f, "{comma}{target} {ms:.1} ms (of {requests}, {failures} failed)")?;
        }
        Ok(())
    }
}

fn probe(api: SocketAddr, target: &str, stop: &AtomicBool) -> Waits {
    let timeouts = Timeouts { connect: PATIENCE, head: PATIENCE, idle: PATIENCE };
    let client = Client::new(vec![api], api.to_string()).timeouts(timeouts);
    let request = OutRequest::new(Method::Get, target.to_owned());
    let mut waits = Waits::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let good = client.send(&request).is_ok_and(|answer| answer.status == 200);
        waits.longest = waits.longest.max(begun.elapsed());
        waits.requests += 1;
        waits.failures += u64::from(!good);
        thread::sleep(PAUSE);
    }
    waits
}
