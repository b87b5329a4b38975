//! What a holder writes of its job, for the agent of now and for a later one: `running.json` once
//! the script runs, `exit.json` once all is over.
//!
//! Both files are made by the agent before it starts the holder, filled with blanks: where the disk
//! is full nothing is started, and what was started can always say how it ended.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tucano_common::time::Wall;
use tucano_worker_core::{End, Oom, Started};

/// In a job's folder.
pub(super) const RUNNING: &str = "running.json";
/// In a job's folder.
pub(super) const EXIT: &str = "exit.json";
/// In a job's folder: the holder's stderr. Who lives has it locked.
pub(super) const LOCK: &str = "holder.log";
/// In a job's folder: how it is kept apart from the rest of the machine.
pub(super) const CONFINEMENT: &str = "confinement.json";
/// In a job's folder: the ledger's entry.
pub(super) const ENTRY: &str = "entry.json";

/// In a job's folder, where its script is to say that it is ready: what it said last.
pub(super) const READINESS: &str = "readiness.json";

/// Room for either record.
const RECORD_BYTES: usize = 512;

/// A script that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// Of which boot its processes are.
    pub(super) boot_id: String,
    /// The processes.
    #[serde(flatten)]
    pub(super) started: Started,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exit {
    /// When its main process ended.
    pub(super) at: Wall,
    /// How.
    #[serde(flatten)]
    pub(super) how: How,
    /// The memory of the largest process of all that it reaped, at its largest.
    #[serde(default)]
    pub(super) memory_peak_bytes: u64,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel ended it, or something of it, for its memory.
    Oom(Oom),
    /// It never ran.
    NotStarted(String),
}

impl How {
    /// As the core has it; `Err`: why it never ran.
    pub(super) fn end(self) -> Result<End, String> {
        match self {
            How::Code(code) => Ok(End::Code(code)),
            How::Signal(signal) => Ok(End::Signal(signal)),
            How::Oom(oom) => Ok(End::Oom(oom)),
            How::NotStarted(message) => Err(message),
        }
    }
}

/// What a script said of itself through `NOTIFY_SOCKET` (sd_notify(3)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Readiness {
    /// The last of READY=1, RELOADING=1 and STOPPING=1.
    pub(super) state: ReadyState,
    /// The last STATUS=, cut and without control characters.
    pub(super) status: String,
}

/// See [`Readiness`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReadyState {
    /// Nothing yet.
    #[default]
    Starting,
    /// READY=1.
    Ready,
    /// RELOADING=1.
    Reloading,
    /// STOPPING=1.
    Stopping,
}

impl Readiness {
    /// As a health check's result.
    pub(super) fn judge(&self) -> Result<(), String> {
        let said = match self.state {
            ReadyState::Ready => return Ok(()),
            ReadyState::Starting => "it has not said READY=1 yet",
            ReadyState::Reloading => "it said RELOADING=1",
            ReadyState::Stopping => "it said STOPPING=1",
        };
        let status = &self.status;
        Err(if status.is_empty() { said.to_owned() } else { format!("{said} ({status})") })
    }
}

/// What the holder tells the agent through its pipe, one JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// The script runs.
    Started(Started),
    /// It never will.
    NotStarted(String),
}

/// Makes room for a record. What is there is written over in its place, which wants no more room:
/// on a full disk, too, a run has that of the one before it.
pub(super) fn reserve(path: &Path) -> io::Result<()> {
    put(&create(path)?, &[b' '; RECORD_BYTES])
}

/// Opens a record to write it, new or in its earlier one's place.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens the room, to write into it later.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

/// Writes a record at once, into the room that is there.
pub(super) fn write<T: Serialize>(file: &File, record: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(record)?;
    text.resize(text.len().max(RECORD_BYTES), b' ');
    put(file, &text)
}

fn put(file: &File, text: &[u8]) -> io::Result<()> {
    file.write_all_at(text, 0)?;
    // An earlier one may have been longer.
    file.set_len(text.len() as u64)
}

/// Reads a record; none where it is not written yet.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    serde_json::from_slice(bytes.trim_ascii_end()).ok()
}

#[cfg(test)]
mod tests {
    use tucano_worker_core::Process;

    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let folder = std::env::temp_dir().join(format!("tucano-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(RUNNING);
        reserve(&path).unwrap();
        assert_eq!(read::<Running>(&path), None, "blanks are no record");
        let file = open(&path).unwrap();
        let process = |pid| Process { pid, start: u64::MAX };
        let started = Started { holder: process(1), main: process(u32::MAX), at: Wall(5) };
        let running = Running { boot_id: "b".repeat(36), started };
        write(&file, &running).unwrap();
        assert_eq!(read::<Running>(&path), Some(running));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RECORD_BYTES as u64);
        let hows = [How::Code(3), How::Signal(9), How::NotStarted("é\n\"".repeat(300))];
        for how in hows {
            reserve(&path).unwrap();
            let exit = Exit { at: Wall(7), how, memory_peak_bytes: u64::MAX };
            write(&file, &exit).unwrap();
            assert_eq!(read::<Exit>(&path), Some(exit));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
