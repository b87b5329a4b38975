//! Opening the database: settings, the check at start, and the schema brought up to date.
//!
//! It knows no table. A file that is newer, damaged or something else's is refused with words;
//! nothing is repaired in silence.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Class, OpenError, StoreError};
use super::migrations::{self, MIGRATIONS};

/// `TUCA`: what `file` and a careful reader tell this database by.
pub(super) const APPLICATION_ID: i64 = 0x5455_4341;
/// For a person who looks into the database with a lock held; nobody else shares it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Every statement of the crate has its place.
const STATEMENTS_CACHED: usize = 64;

/// WAL with FULL: a commit that was answered survives a power cut. A page cache of 512 KiB and no
/// mmap: the controller idles in a few MiB.
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
    make_private(path).map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    connect(path).map_err(|refusal| match refusal {
        Refusal::Open(error) => error,
        Refusal::Store(source) if source.class == Class::Corrupt => OpenError::Corrupt {
            path: path.to_owned(),
            what: "it does not read as a database".to_owned(),
        },
        Refusal::Store(source) => OpenError::Store { path: path.to_owned(), source },
    })
}

enum Refusal {
    Open(OpenError),
    Store(StoreError),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Store(error.into())
    }
}

fn connect(path: &Path) -> Result<Connection, Refusal> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let version = recognise(&conn, path).map_err(|refusal| match refusal {
        // The first read of the file: what is wrong here is wrong with the file.
        Refusal::Store(source) if source.class == Class::Other => Refusal::Store(source),
        other => other,
    })?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.execute_batch(SETTINGS)?;
    check(&conn, path)?;
    migrations::apply(&mut conn, version)?;
    Ok(conn)
}

/// Whether the file is ours, and of a version that we know.
fn recognise(conn: &Connection, path: &Path) -> Result<i64, Refusal> {
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (id, found) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (path, known) = (path.to_owned(), MIGRATIONS.len() as i64);
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(Refusal::Open(OpenError::Foreign { path }));
    }
    if found > known {
        return Err(Refusal::Open(OpenError::Newer { path, found, known }));
    }
    if found < 0 {
        let what = format!("schema {found}");
        return Err(Refusal::Open(OpenError::Corrupt { path, what }));
    }
    Ok(found)
}

/// SQLite's own check of every page, and of every reference between rows.
fn check(conn: &Connection, path: &Path) -> Result<(), Refusal> {
    let corrupt = |what: String| OpenError::Corrupt { path: path.to_owned(), what };
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let line = verdict.lines().last().unwrap_or_default().trim().to_owned();
        return Err(Refusal::Open(corrupt(line)));
    }
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    if let Some(row) = rows.next()? {
        let table: String = row.get(0)?;
        return Err(Refusal::Open(corrupt(format!("a row of {table} refers to nothing"))));
    }
    Ok(())
}

/// The file, and what SQLite puts beside it, for this user alone. SQLite gives `-wal` and `-shm`
/// the file's own mode.
fn make_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::set_permissions(PathBuf::from(name), Permissions::from_mode(0o600)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
