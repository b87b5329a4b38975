//! Who writes the ledger: the `disk` thread, which answers as soon as a later agent would find it,
//! and the `sync` thread, which brings the newest one onto the disk behind its back.
//!
//! Once the disk refuses, the `disk` thread does both, until it takes one again: then nothing new
//! starts, and what it says of the disk is true. How the files change is `ledger_file`'s.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Sender, TrySendError, bounded};
use tucano_common::limits::LEDGER_SYNC_DELAY;
use tucano_net::threads::{self, Stack};
use tucano_worker_core::{Fact, Ledger};

use super::Msg;
use super::helpers::{Helper, deliver};
use super::ledger_file;

/// A ledger to be written.
pub(super) struct SaveJob {
    pub(super) version: u64,
    pub(super) ledger: Ledger,
}

/// The `disk` thread's end.
pub(super) struct Ledgers {
    path: PathBuf,
    /// One wake-up is enough: what is newest then is synced.
    wake: Sender<()>,
    refused: Arc<AtomicBool>,
}

impl Ledgers {
    /// Starts the `sync` thread.
    pub(super) fn start(path: PathBuf, answers: tucano_net::Sender<Msg>) -> io::Result<Ledgers> {
        let (wake, woken) = bounded(1);
        let refused = Arc::new(AtomicBool::new(false));
        let (its_path, its_refused) = (path.clone(), Arc::clone(&refused));
        let body = move || {
            for () in woken {
                // One for all changes of a start, and not while the start makes its folders: the
                // file system's journal would make it wait after all.
                std::thread::sleep(LEDGER_SYNC_DELAY);
                if let Err(error) = ledger_file::sync(&its_path) {
                    its_refused.store(true, Ordering::Release);
                    // Of no version: all are to be tried again.
                    let fact = Fact::LedgerFailed { version: 0, message: error.to_string() };
                    if !deliver(&answers, Msg::Done(Helper::Disk, Some(Box::new(fact)))) {
                        return;
                    }
                }
            }
        };
        threads::spawn("sync", Stack::Helper, body)?;
        Ok(Ledgers { path, wake, refused })
    }

    /// Writes one.
    pub(super) fn save(&mut self, job: &SaveJob) -> Fact {
        let version = job.version;
        let done = if self.refused.load(Ordering::Acquire) {
            let saved = ledger_file::save(&self.path, &job.ledger);
            saved.map(|()| self.refused.store(false, Ordering::Release))
        } else {
            ledger_file::write(&self.path, &job.ledger).map(|()| self.wake_sync())
        };
        match done {
            Ok(()) => Fact::LedgerSaved { version },
            Err(error) => Fact::LedgerFailed { version, message: error.to_string() },
        }
    }

    fn wake_sync(&self) {
        match self.wake.try_send(()) {
            // Woken already, it takes this one.
            Ok(()) | Err(TrySendError::Full(())) => {}
            // It ends only with the loop.
            Err(TrySendError::Disconnected(())) => {}
        }
    }
}
