//! A script's output: each line with its time and stream, in files that are rotated.
//!
//! The format is CRI's: `2026-01-31T03:12:00.000000000Z stdout F text`; `P` instead of `F` marks a
//! line that goes on in the next record of its stream. Whole records are written at once, and files
//! change between two of them, so no line is lost or torn. A writer that floods waits: nothing is
//! read beyond the rate, and the pipe fills up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::unistd;
use tucano_common::limits::{
    OUTPUT_BURST_BYTES, OUTPUT_BYTES_PER_S, OUTPUT_FILE_BYTES_MAX, OUTPUT_FILES_KEPT,
    OUTPUT_LINE_BYTES_MAX,
};
use tucano_common::time::Wall;

use crate::runner::logs::{CURRENT, rotated};

/// Read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Made into records at once.
const PIECE_BYTES: usize = 1024;

/// What is read of the pipes after the last process: they hold no more than this.
const LAST_READS: usize = 256;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// How far a pipe is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pump {
    /// A piece, within the rate.
    Throttled,
    /// All that is there: nobody writes any more.
    ToTheEnd,
}

/// The output of one script.
pub(super) struct Output {
    sink: Sink,
    budget: Budget,
    stdout: Lines,
    stderr: Lines,
    stdout_open: bool,
    stderr_open: bool,
    chunk: Box<[u8; CHUNK_BYTES]>,
    records: Vec<u8>,
}

impl Output {
    /// Goes on where an earlier run of the same instance stopped.
    pub(super) fn open(folder: &Path) -> io::Result<Output> {
        Ok(Output {
            sink: Sink::open(folder)?,
            budget: Budget::new(Instant::now()),
            stdout: Lines::new(b" stdout "),
            stderr: Lines::new(b" stderr "),
            stdout_open: true,
            stderr_open: true,
            chunk: Box::new([0; CHUNK_BYTES]),
            records: Vec::new(),
        })
    }

    /// How long nothing is read, because too much came.
    pub(super) fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.budget.pause(now)
    }

    /// Whether a stream is to be watched.
    pub(super) fn wants(&self, stream: Stream, pause: Option<Duration>) -> bool {
        let open = match stream {
            Stream::Stdout => self.stdout_open,
            Stream::Stderr => self.stderr_open,
        };
        open && pause.is_none()
    }

    /// Takes what the pipes have.
    pub(super) fn pump(&mut self, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>, how: Pump) {
        let reads = match how {
            Pump::Throttled if self.budget.pause(Instant::now()).is_some() => return,
            Pump::Throttled => 1,
            Pump::ToTheEnd => LAST_READS,
        };
        for _ in 0..reads {
            let one = self.stdout_open && self.read(Stream::Stdout, stdout);
            let other = self.stderr_open && self.read(Stream::Stderr, stderr);
            if !one && !other {
                break;
            }
        }
        if how == Pump::ToTheEnd {
            let stamp = stamp(SystemTime::now());
            self.stdout.finish(&stamp, &mut self.records);
            self.stderr.finish(&stamp, &mut self.records);
            self.sink.write(&self.records);
            self.records.clear();
        }
    }

    /// One piece of one stream; whether there may be more.
    fn read(&mut self, stream: Stream, pipe: BorrowedFd<'_>) -> bool {
        let (lines, open) = match stream {
            Stream::Stdout => (&mut self.stdout, &mut self.stdout_open),
            Stream::Stderr => (&mut self.stderr, &mut self.stderr_open),
        };
        match unistd::read(pipe, &mut self.chunk[..]) {
            Ok(0) => {
                *open = false;
                false
            }
            Ok(n) => {
                let stamp = stamp(SystemTime::now());
                // In small pieces: a piece of nothing but line ends grows by forty times.
                for piece in self.chunk[..n].chunks(PIECE_BYTES) {
                    lines.feed(piece, &stamp, &mut self.records);
                    self.budget.take(self.records.len() as u64);
                    if !self.records.is_empty() {
                        self.sink.write(&self.records);
                        self.records.clear();
                    }
                }
                true
            }
            Err(nix::errno::Errno::EINTR) => true,
            Err(nix::errno::Errno::EAGAIN) => false,
            Err(_) => {
                *open = false;
                false
            }
        }
    }
}

/// One stream's line that has no end yet.
struct Lines {
    name: &'static [u8],
    partial: Vec<u8>,
}

impl Lines {
    fn new(name: &'static [u8]) -> Lines {
        Lines { name, partial: Vec::new() }
    }

    fn feed(&mut self, mut bytes: &[u8], stamp: &str, records: &mut Vec<u8>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end], stamp, records);
            self.record(b"F ", stamp, records);
            bytes = &bytes[end + 1..];
        }
        self.add(bytes, stamp, records);
    }

    /// The last line of a script that ended in the middle of it.
    fn finish(&mut self, stamp: &str, records: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            self.record(b"F ", stamp, records);
        }
    }

    /// Adds to the line; what is too long for one record goes ahead in parts.
    fn add(&mut self, mut bytes: &[u8], stamp: &str, records: &mut Vec<u8>) {
        while self.partial.len() + bytes.len() > OUTPUT_LINE_BYTES_MAX {
            let (now, later) = bytes.split_at(OUTPUT_LINE_BYTES_MAX - self.partial.len());
            self.partial.extend_from_slice(now);
            self.record(b"P ", stamp, records);
            bytes = later;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn record(&mut self, tag: &[u8], stamp: &str, records: &mut Vec<u8>) {
        for part in [stamp.as_bytes(), self.name, tag, &self.partial, b"\n"] {
            records.extend_from_slice(part);
        }
        self.partial.clear();
    }
}

/// RFC 3339 with nanoseconds.
fn stamp(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall = Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let text = wall.to_string();
    let to_millis = text.strip_suffix('Z').unwrap_or(&text);
    format!("{to_millis}{:06}Z", since.subsec_nanos() % 1_000_000)
}

/// How much may be taken: a burst, then a rate.
struct Budget {
    bytes: u64,
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget { bytes: OUTPUT_BURST_BYTES, at: now }
    }

    fn take(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// None while there is room for a piece.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_micros());
        let earned = passed.unwrap_or(u64::MAX).saturating_mul(OUTPUT_BYTES_PER_S) / 1_000_000;
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(OUTPUT_BURST_BYTES);
            self.at = now;
        }
        let missing = (CHUNK_BYTES as u64).saturating_sub(self.bytes);
        let wait = Duration::from_micros(missing * 1_000_000 / OUTPUT_BYTES_PER_S);
        (missing > 0).then_some(wait)
    }
}

/// The files.
struct Sink {
    folder: PathBuf,
    file: File,
    size: u64,
    /// Bytes that could not be written, and why.
    lost: Option<(u64, io::Error)>,
}

impl Sink {
    fn open(folder: &Path) -> io::Result<Sink> {
        let file = append(&folder.join(CURRENT))?;
        let size = file.metadata()?.len();
        Ok(Sink { folder: folder.to_owned(), file, size, lost: None })
    }

    /// Writes whole records. What can't be written is counted and told later: a service must not
    /// wait for a full disk.
    fn write(&mut self, records: &[u8]) {
        if self.size > 0 && self.size + records.len() as u64 > OUTPUT_FILE_BYTES_MAX {
            self.rotate();
        }
        if let Some((bytes, error)) = self.lost.take() {
            let stamp = stamp(SystemTime::now());
            let told = format!("{stamp} stderr F tucano: {bytes} bytes of output lost: {error}\n");
            if let Err(again) = self.put(told.as_bytes()) {
                self.lost = Some((bytes + records.len() as u64, again));
                return;
            }
        }
        if let Err(error) = self.put(records) {
            self.lost = Some((records.len() as u64, error));
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.size += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record would join the next one.
                let _torn_then = self.file.set_len(self.size);
                Err(error)
            }
        }
    }

    /// Moves every file on by one; the last one goes. A failure leaves the current one in use: it
    /// is tried again with the next write.
    fn rotate(&mut self) {
        for number in (1..OUTPUT_FILES_KEPT).rev() {
            let from = rotated(&self.folder, number - 1);
            let _there_are_fewer = fs::rename(from, rotated(&self.folder, number));
        }
        if let Ok(file) = append(&self.folder.join(CURRENT)) {
            self.file = file;
            self.size = self.file.metadata().map_or(0, |data| data.len());
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
