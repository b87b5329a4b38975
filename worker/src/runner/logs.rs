//! Reading what holders wrote: the last lines, from a time on, and on and on while files are
//! rotated.
//!
//! A reader gives a bounded piece at a time, so a loop can use it; it never waits for more.
//! Whatever a service wrote comes out escaped: its lines end up in terminals and pages. Writing is
//! `hold`'s.

mod reader;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tucano_common::id::InstanceId;
use tucano_common::limits::{OUTPUT_FILES_KEPT, OUTPUT_TAIL_BYTES};
use tucano_common::time::Wall;
use tucano_worker_core::log_rotation::{LogFolder, expired};

pub(crate) use reader::{Begin, Reader};

/// The file that is written.
pub(super) const CURRENT: &str = "current.log";

/// The files of a folder by age: 0 is the one that is written.
pub(super) fn rotated(folder: &Path, number: u32) -> PathBuf {
    match number {
        0 => folder.join(CURRENT),
        _ => folder.join(format!("{CURRENT}.{number}")),
    }
}

/// The last of what a script wrote since `since`, escaped, at most `OUTPUT_TAIL_BYTES`: for a
/// failure.
pub(super) fn output_tail(folder: &Path, since: Wall) -> String {
    let mut room = OUTPUT_TAIL_BYTES;
    let mut fitting = Vec::new();
    // From the end, so that what does not fit is the oldest.
    for mut line in reader::last_lines(folder, since, OUTPUT_TAIL_BYTES).into_iter().rev() {
        line.push('\n');
        if line.len() > room && fitting.is_empty() {
            // Alone it is too long: its end says more than nothing.
            let cut = (line.len() - room..).find(|at| line.is_char_boundary(*at));
            line.drain(..cut.unwrap_or(0));
        }
        if line.len() > room {
            break;
        }
        room -= line.len();
        fitting.push(line);
    }
    fitting.into_iter().rev().collect()
}

/// Removes the output of instances that are gone: after a day, and the oldest first beyond the
/// bound of all. `live` are those that are there.
pub(crate) fn clean(logs: &Path, live: &BTreeSet<InstanceId>, now: Wall) -> io::Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(logs)? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(InstanceId::parse);
        if let Some(id) = id.filter(|id| !live.contains(id)) {
            folders.push(measure(id, &entry.path()));
        }
    }
    for id in expired(folders, now) {
        super::folders::remove(&logs.join(id.to_string()))?;
    }
    Ok(())
}

fn measure(id: InstanceId, folder: &Path) -> LogFolder {
    let files = (0..OUTPUT_FILES_KEPT).filter_map(|n| fs::metadata(rotated(folder, n)).ok());
    let mut measured = LogFolder { id, bytes: 0, last_write: Wall(0) };
    for file in files {
        let written = file.modified().ok().and_then(|at| {
            let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
            i64::try_from(since.as_millis()).ok()
        });
        measured.bytes += file.len();
        measured.last_write = measured.last_write.max(Wall(written.unwrap_or(0)));
    }
    measured
}

#[cfg(test)]
mod tests;
