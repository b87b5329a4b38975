//! Opening the database: settings, the check at start, and the schema brought up to date.
//!
//! It knows no table. A file that is newer, damaged or something else's is refused with words;
//! nothing is repaired in silence.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Class, OpenError, StoreError};
use super::folder::beside;
use super::inspect::{self, Refusal};
use super::{migrations, wal};

/// For a person who looks into the database with a lock held; nobody else shares it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Every statement of the crate has its place.
const STATEMENTS_CACHED: usize = 64;

/// WAL with FULL: a commit that was answered survives a power cut. A page cache of 512 KiB and no
/// mmap: the controller idles in a few MiB.
///
/// A commit costs its pages once, and again when they are moved to the database. That happens only
/// every 1000 pages (4 MiB): a page that changes with every commit, as those of `events` and of
/// indexes do, is moved once for many of them, which is what spares an SD card.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -512;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;
    PRAGMA journal_size_limit = 4194304;
    PRAGMA wal_autocheckpoint = 1000;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
";

/// Opens the database, new or old, with the newest schema.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let unusable = |source| OpenError::Folder { path: path.to_owned(), source };
    make_private(path).map_err(unusable)?;
    let torn = wal::torn(&beside(path, "-wal")).map_err(unusable)?;
    if let Some(torn) = torn {
        return Err(OpenError::Torn { path: beside(path, "-wal"), torn });
    }
    connect(path).map_err(|refusal| refusal.of(path))
}

/// Opens it once more beside a connection of this process. The file itself is not touched: closing
/// it would give back that connection's locks.
pub(super) fn reopen(path: &Path) -> Result<Connection, OpenError> {
    connect(path).map_err(|refusal| refusal.of(path))
}

fn connect(path: &Path) -> Result<Connection, Refusal> {
    let flags = inspect::flags(OpenFlags::SQLITE_OPEN_READ_WRITE);
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let version = inspect::recognise(&conn, path)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.execute_batch(SETTINGS)?;
    inspect::check_at_start(&conn, path)?;
    settle_at_start(&conn)?;
    migrations::apply(&mut conn, version)?;
    Ok(conn)
}

/// A disk that is full now, or a person who reads with `sqlite3`, is no reason not to start.
fn settle_at_start(conn: &Connection) -> Result<(), StoreError> {
    match settle(conn).map_err(StoreError::from) {
        Err(error) if matches!(error.class, Class::Full | Class::Busy) => {
            log::warn!("the log of the database stays as long as it is: {error}");
            Ok(())
        }
        other => other,
    }
}

/// Moves everything from the log to the database, written and synced once more, and empties the
/// log.
///
/// What a reader finds in the log after a failed fsync may stand in the kernel's memory alone
/// (its next fsync succeeds, and the pages are gone after a power cut). Nothing that follows may
/// build on it: here it is either on disk, or this fails.
pub(super) fn settle(conn: &Connection) -> rusqlite::Result<()> {
    let busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(code, None));
    }
    Ok(())
}

/// The file, and what SQLite puts beside it, for this user alone. SQLite gives `-wal` and `-shm`
/// the file's own mode.
fn make_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    for suffix in ["", "-wal", "-shm"] {
        match fs::set_permissions(beside(path, suffix), Permissions::from_mode(0o600)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
