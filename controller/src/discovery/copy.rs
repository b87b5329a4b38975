//! A consistent copy of a database that is in use: SQLite's backup, from a connection of its own.
//!
//! The copy is one transaction's view, however long it takes; whoever writes meanwhile is not kept
//! waiting. It is one plain file for this user alone, synced and checked before anybody hears of
//! it. Used for snapshots and restores, each on a thread that may wait.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tucano_common::limits::{COPY_PAGES_AT_ONCE, COPY_SPARE_BYTES};
use tucano_common::units::format_size;

use super::error::{Class, OpenError, StoreError};
use super::folder::beside;
use super::inspect::{self, Identity};

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// It would not leave enough of the disk.
    NoRoom { folder: PathBuf, needed: u64, free: u64 },
    /// The file could not be made or synced.
    File { path: PathBuf, source: io::Error },
    /// Reading or writing failed.
    Store(StoreError),
    /// The copy does not pass its check: the database is damaged.
    Unsound(OpenError),
    /// The process is about to end.
    Stopped,
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::NoRoom { folder, needed, free } => write!(
                f,
                "a copy of the database needs {} free in {}, and there are {}: make room",
                format_size(needed.next_multiple_of(1024)),
                folder.display(),
                format_size(free - free % 1024)
            ),
            CopyError::File { path, source } => write!(f, "{}: {source}", path.display()),
            CopyError::Store(error) => write!(f, "the database could not be copied: {error}"),
            CopyError::Unsound(error) => write!(f, "the copy does not pass its check: {error}"),
            CopyError::Stopped => f.write_str("the controller is stopping"),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CopyError::File { source, .. } => Some(source),
            CopyError::Store(error) => error.source(),
            CopyError::Unsound(error) => std::error::Error::source(error),
            CopyError::NoRoom { .. } | CopyError::Stopped => None,
        }
    }
}

impl CopyError {
    /// Whether there was no room for it.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            CopyError::NoRoom { .. } => true,
            CopyError::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            CopyError::Store(error) => error.class == Class::Full,
            CopyError::Unsound(_) | CopyError::Stopped => false,
        }
    }
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> CopyError {
        CopyError::Store(error.into())
    }
}

/// Copies `from` to `to`, which must not be there; says what it is. `go_on` is asked now and then.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    go_on: &dyn Fn() -> bool,
) -> Result<Identity, CopyError> {
    let made = make(from, to, go_on);
    if made.is_err() {
        // What is left of it is removed at the next start where that fails.
        let _ = fs::remove_file(to);
        let _ = fs::remove_file(beside(to, "-journal"));
    }
    made
}

fn make(from: &Path, to: &Path, go_on: &dyn Fn() -> bool) -> Result<Identity, CopyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CopyError::File { path, source }
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(failed(to))?;
    copy_pages(from, to, go_on)?;
    file.sync_all().map_err(failed(to))?;
    inspect::identify(to).map_err(CopyError::Unsound)
}

fn copy_pages(from: &Path, to: &Path, go_on: &dyn Fn() -> bool) -> Result<(), CopyError> {
    let source =
        Connection::open_with_flags(from, inspect::flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    leave_the_log(&source)?;
    source.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -64; BEGIN")?;
    // The view that all pages are read from; without it a commit meanwhile would begin it anew.
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut copy =
        Connection::open_with_flags(to, inspect::flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    // It is thrown away where it fails, and synced once at its end.
    copy.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -64")?;
    copy.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    let backup = Backup::new(&source, &mut copy)?;
    loop {
        if !go_on() {
            return Err(CopyError::Stopped);
        }
        match backup.step(COPY_PAGES_AT_ONCE)? {
            StepResult::Done => break,
            StepResult::More => {}
            _ => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None).into());
            }
        }
    }
    drop(backup);
    // The pages say that there is a log beside them; this file stands alone.
    copy.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    Ok(())
}

/// Has this connection change nothing of the file when it closes, even where nobody else has it
/// open.
pub(super) fn leave_the_log(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Whether a copy of a database fits into a folder, with something to spare.
pub(super) fn has_room(database: &Path, folder: &Path) -> Result<(), CopyError> {
    let bytes = |suffix| fs::metadata(beside(database, suffix)).map_or(0, |file| file.len());
    let needed = bytes("") + bytes("-wal") + COPY_SPARE_BYTES;
    let stat = statvfs(folder);
    let stat =
        stat.map_err(|errno| CopyError::File { path: folder.to_owned(), source: errno.into() })?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free < needed {
        return Err(CopyError::NoRoom { folder: folder.to_owned(), needed, free });
    }
    Ok(())
}

/// Makes a change of names in a folder last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
