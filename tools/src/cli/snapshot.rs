//! `tucano snapshot FILE`: the controller's database as of now, whole or not at all.
//!
//! The copy holds what specs hold, `env` values included: the file is for its owner alone. It is
//! written beside its place first, so that a copy that breaks off leaves the one of before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tucano_net::blocking::Streamed;
use tucano_net::config::Flags;

use super::{CliError, Session, argument, print};
use crate::text;

/// The controller copies the database before it answers; nothing may come for so long.
const SILENCE: Duration = Duration::from_secs(600);
/// How every SQLite database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const PIECE_BYTES: usize = 64 * 1024;

/// `tucano snapshot FILE`.
pub(super) fn snapshot(session: &Session, flags: Flags) -> Result<(), CliError> {
    let path = PathBuf::from(argument(flags, "FILE")?);
    let copy = session.api.open_within("/v1/snapshot", SILENCE)?;
    let undone = beside(&path);
    let bytes = receive(copy, &undone, &path).inspect_err(|_| {
        // The next one takes its place where that fails.
        let _ = fs::remove_file(&undone);
    })?;
    if session.json {
        return print(&format!("{}\n", serde_json::json!({ "file": path, "bytes": bytes })));
    }
    print(&format!("{}: {bytes} bytes\n", text::escape(&path.display().to_string())))
}

fn receive(mut copy: Streamed, undone: &Path, path: &Path) -> Result<u64, CliError> {
    let name = path.display().to_string();
    let failed = |error: io::Error| CliError::File(name.clone(), error);
    let cut = |error: io::Error| CliError::Failed(format!("the copy was cut off: {error}"));
    let mut file = private(undone).map_err(failed)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut start = Vec::new();
    let mut bytes = 0;
    loop {
        let len = copy.read(&mut piece).map_err(cut)?;
        if len == 0 {
            break;
        }
        let missing = MAGIC.len().saturating_sub(start.len()).min(len);
        start.extend_from_slice(&piece[..missing]);
        file.write_all(&piece[..len]).map_err(failed)?;
        bytes += len as u64;
    }
    if start != MAGIC {
        return Err(CliError::Failed("what came is no database: is it a controller?".to_owned()));
    }
    file.sync_all().and_then(|()| fs::rename(undone, path)).map_err(failed)?;
    Ok(bytes)
}

/// A file of before that was left there may be open to others: this one is made anew.
fn private(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}
