//! The thread that writes the access log.
//!
//! It sleeps until lines wait, writes all of them at once, and lets a moment pass before the next:
//! a hundred writes a second at most, whatever the traffic. A line that the disk did not take
//! whole is cut off again and counted; requests go on all the same.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;

use crossbeam_channel::Receiver;
use nix::fcntl::OFlag;
use tucano_common::limits::{ACCESS_LOG_KEPT_BYTES, ACCESS_LOG_PAUSE};

use super::{Order, Shared};

/// Opens the log to be appended to. What is not a file must not make the process wait for a reader.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    options.append(true).create(true).mode(0o600).custom_flags(flags.bits()).open(path)
}

/// The log's only writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    path: PathBuf,
    file: File,
    /// What is being written; swapped with each loop's.
    lines: Vec<u8>,
    /// The file ends in the middle of a line, which could not be cut off.
    is_torn: bool,
    /// Lines that were not written since the disk took none.
    lost: u64,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: Receiver<Order>,
        path: PathBuf,
        file: File,
    ) -> Writer {
        Writer { shared, orders, path, file, lines: Vec::new(), is_torn: false, lost: 0 }
    }

    /// Writes until it is told to stop.
    pub(crate) fn run(mut self) {
        while let Ok(order) = self.orders.recv() {
            self.write_waiting();
            match order {
                Order::Write => thread::sleep(ACCESS_LOG_PAUSE),
                Order::Reopen => self.reopen(),
                Order::Stop => return,
            }
        }
    }

    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
                log::info!("the access log goes on in {}", self.path.display());
            }
            Err(error) => {
                let path = self.path.display();
                log::error!(
                    "the access log stays in its old file: {path} can't be opened: {error}"
                );
            }
        }
    }

    fn write_waiting(&mut self) {
        self.shared.is_asked.store(false, Ordering::Release);
        let ways = self.shared.ways.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for way in ways {
            let mut lines = mem::take(&mut self.lines);
            mem::swap(&mut *way.lock().unwrap_or_else(PoisonError::into_inner), &mut lines);
            self.write(&lines);
            lines.clear();
            lines.shrink_to(ACCESS_LOG_KEPT_BYTES);
            self.lines = lines;
        }
    }

    pub(super) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let (written, result) = self.write_as_far_as_it_goes(lines);
        let (done, rest) = lines.split_at(written);
        self.shared.counts.written.add(count_lines(done));
        let Err(error) = result else {
            if mem::take(&mut self.lost) > 0 {
                log::info!("the access log is written again");
            }
            return;
        };
        let torn = done.len() - done.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.cut(torn as u64);
        let failed = count_lines(rest);
        self.shared.counts.failed.add(failed);
        if self.lost == 0 {
            let path = self.path.display();
            log::warn!("the access log loses lines: {path} can't be written: {error}");
        }
        self.lost += failed;
    }

    fn write_as_far_as_it_goes(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.is_torn {
            match self.file.write_all(b"\n") {
                Ok(()) => self.is_torn = false,
                Err(error) => return (0, Err(error)),
            }
        }
        let mut written = 0;
        while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Takes the first part of a line back, so that every line is whole.
    pub(super) fn cut(&mut self, torn: u64) {
        if torn == 0 {
            return;
        }
        let end = self.file.metadata().map(|file| file.len());
        let cut = end.and_then(|end| self.file.set_len(end.saturating_sub(torn)));
        self.is_torn = cut.is_err();
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
