//! The access log: one line of JSON for each request that ended, in a file, where the operator
//! wants it.
//!
//! ```text
//! lb-0 ─ Tap ─┐ a buffer each, swapped, never waited for
//! lb-N ─ Tap ─┴─► access (Writer) ─► the file
//! ```
//!
//! A loop never touches the disk and never waits for who does: its lines go into a bounded buffer,
//! and where that is full they are dropped and counted. Without a log there is no thread and no
//! buffer, and a request costs a branch where it begins and one where it ends. What a line says is
//! in `line`; rotation is the operator's (a rename, then SIGHUP). Made by `wiring`.

mod hooks;
mod line;
mod tap;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use crossbeam_channel::{Sender, bounded};
use tucano_common::limits::ACCESS_LOG_ORDERS_QUEUED_MAX;
use tucano_common::metrics::{self, Counter, TextWriter};

pub(super) use self::line::Noted;
pub(super) use self::tap::Tap;
pub(crate) use self::writer::Writer;

/// What the writer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Lines wait.
    Write,
    /// The file was renamed: go on in a new one of its name.
    Reopen,
    /// Write what waits, and end.
    Stop,
}

/// The log as everybody but its writer sees it.
#[derive(Clone)]
pub(crate) struct AccessLog(Arc<Shared>);

struct Shared {
    /// One of so many requests that were answered well gets a line.
    one_of: u32,
    orders: Sender<Order>,
    /// The writer has an order to write that it did not begin yet.
    is_asked: AtomicBool,
    /// The lines of each loop that wait.
    ways: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    written: Counter,
    /// Dropped as the writer was behind.
    behind: Counter,
    /// Not written as the disk did not take them.
    failed: Counter,
}

impl AccessLog {
    /// Opens the log, which is appended to; its writer is to be run on a thread of its own.
    pub(crate) fn open(path: &Path, one_of: u32) -> io::Result<(AccessLog, Writer)> {
        let file = writer::open(path)?;
        let (orders, heard) = bounded(ACCESS_LOG_ORDERS_QUEUED_MAX);
        let log = AccessLog(Arc::new(Shared {
            one_of: one_of.max(1),
            orders,
            is_asked: AtomicBool::new(false),
            ways: Mutex::default(),
            counts: Counts::default(),
        }));
        let writer = Writer::new(Arc::clone(&log.0), heard, path.to_owned(), file);
        Ok((log, writer))
    }

    /// What one loop writes through.
    pub(super) fn tap(&self) -> Tap {
        let way = Arc::default();
        let mut ways = self.0.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.push(Arc::clone(&way));
        Tap::new(Arc::clone(&self.0), way)
    }

    /// The file was renamed: what comes from now on goes into a new one.
    pub(crate) fn reopen(&self) {
        // Full of orders: one of them is this one.
        let _ = self.0.orders.try_send(Order::Reopen);
    }

    /// What waits is written, then the writer ends.
    pub(crate) fn stop(&self) -> bool {
        self.0.orders.try_send(Order::Stop).is_ok()
    }

    /// Writes the log's own counters.
    pub(crate) fn write(&self, text: &mut TextWriter) {
        let counts = &self.0.counts;
        text.counter(metrics::ACCESS_LOG_LINES, &counts.written);
        text.metric(metrics::ACCESS_LOG_DROPPED)
            .count(&[("reason", "behind")], counts.behind.get())
            .count(&[("reason", "failed")], counts.failed.get());
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessLog(one of {})", self.0.one_of)
    }
}

impl Shared {
    /// Lines wait that did not before.
    fn ask(&self) {
        if self.is_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.orders.try_send(Order::Write).is_err() {
            // It has orders to look at, and after each it writes what waits.
            self.is_asked.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;
