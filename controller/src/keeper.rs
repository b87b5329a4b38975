//! The thread that copies the database: snapshots every few hours, and copies for
//! `GET /v1/snapshot`.
//!
//! It waits on disks so that nobody else does: the deployer goes on writing meanwhile, and the API
//! hears when a copy is ready. What a snapshot is and which are kept, `discovery` knows. Started by
//! `wiring`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tucano_common::limits::{SNAPSHOT_AFTER_START, SNAPSHOT_RETRY};
use tucano_common::metrics::{self, TextWriter};
use tucano_common::time::Mono;
use tucano_common::units::format_size;
use tucano_net::clock::Clock;
use tucano_net::error_chain::Chain;

use crate::discovery::{CopyError, Snapshots};
use crate::http::{FromKeeper, Refused, TransferId};

/// What the keeper needs of the others.
pub(crate) struct Links {
    /// Copies that clients asked for.
    pub(crate) jobs: Receiver<TransferId>,
    /// Hands a copy to the API; may wait.
    pub(crate) api: Box<dyn Fn(FromKeeper) + Send>,
    /// Tells the deployer something for the events; what it does not take is lost.
    pub(crate) note: Box<dyn Fn(&'static str, String) + Send>,
    /// Whether the process goes on.
    pub(crate) go_on: Box<dyn Fn() -> bool + Send>,
}

/// What is counted, for `GET /metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// When the newest snapshot was taken, in milliseconds since 1970; 0 where there is none.
    newest_at_ms: AtomicI64,
    failures: AtomicU64,
}

impl Counts {
    /// Writes them.
    pub(crate) fn write(&self, out: &mut TextWriter) {
        let seconds = self.newest_at_ms.load(Ordering::Relaxed) / 1000;
        let seconds = u64::try_from(seconds).unwrap_or(0);
        out.metric(metrics::SNAPSHOT_NEWEST).count(&[], seconds);
        out.metric(metrics::SNAPSHOT_FAILURES).count(&[], self.failures.load(Ordering::Relaxed));
    }
}

/// The thread's state.
pub(crate) struct Keeper {
    snapshots: Snapshots,
    every: Duration,
    due: Mono,
    counts: Arc<Counts>,
    links: Links,
}

impl Keeper {
    /// One that takes a snapshot so often.
    pub(crate) fn new(snapshots: Snapshots, every: Duration, links: Links) -> Keeper {
        let now = Clock::now();
        let newest = snapshots.newest_at();
        let counts = Arc::new(Counts::default());
        counts.newest_at_ms.store(newest.map_or(0, |at| at.0), Ordering::Relaxed);
        // A clock that was set back must not keep it from taking any.
        let age = newest.filter(|at| *at <= now.wall).map_or(every, |at| now.wall.since(at));
        let rest = every.saturating_sub(age).max(SNAPSHOT_AFTER_START.min(every));
        Keeper { snapshots, every, due: now.mono + rest, counts, links }
    }

    /// What it counts.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Works until nobody asks any more.
    pub(crate) fn run(mut self) {
        loop {
            let rest = self.due.since(Clock::mono());
            match self.links.jobs.recv_timeout(rest) {
                Ok(id) => self.hand_out(id),
                Err(RecvTimeoutError::Timeout) => self.keep(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn hand_out(&mut self, id: TransferId) {
        let made = self.snapshots.take_away(&self.links.go_on);
        if let Err(error) = &made {
            log::error!("a snapshot was asked for and could not be made: {}", Chain(error));
        }
        (self.links.api)(FromKeeper { id, made: made.map_err(|error| refused(&error)) });
    }

    fn keep(&mut self) {
        let now = Clock::now();
        let (wait, kind, message) = match self.snapshots.take(now.wall, &self.links.go_on) {
            Ok(taken) => {
                self.counts.newest_at_ms.store(now.wall.0, Ordering::Relaxed);
                let name = taken.path.display();
                let message = format!("{name}, {}, checked", format_size(taken.bytes));
                log::info!("snapshot taken: {message}");
                (self.every, "snapshot_taken", message)
            }
            Err(CopyError::Stopped) => return,
            Err(error) => {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                let message = Chain(&error).to_string();
                log::error!("no snapshot could be taken: {message}");
                (self.every.min(SNAPSHOT_RETRY), "snapshot_failed", message)
            }
        };
        (self.links.note)(kind, message);
        self.due = now.mono + wait;
    }
}

fn refused(error: &CopyError) -> Refused {
    match error {
        error if error.is_full() => Refused::DiskFull("a copy of the database"),
        CopyError::Stopped => Refused::Stopping,
        _ => Refused::Disk("a copy of the database"),
    }
}
