//! Looking at a database before it is trusted: whose it is, its version, and SQLite's own check of
//! it.
//!
//! It changes nothing. Called at every start (`connection.rs`), for every copy that was made
//! (`copy.rs`), and for a file that is to be restored (`restore.rs`).

use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tucano_common::limits::CHECK_TIME_MAX;
use tucano_net::threads::{self, Stack};

use super::error::{Class, OpenError, StoreError};
use super::migrations::MIGRATIONS;
use super::{events, meta};

/// `TUCA`: what `file` and a careful reader tell this database by.
pub(super) const APPLICATION_ID: i64 = 0x5455_4341;

/// Why a file is not trusted.
pub(super) enum Refusal {
    Open(OpenError),
    Store(StoreError),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Store(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Store(error)
    }
}

impl Refusal {
    /// The same of this file.
    pub(super) fn of(self, path: &Path) -> OpenError {
        match self {
            Refusal::Open(error) => error,
            Refusal::Store(source) if source.class == Class::Corrupt => {
                OpenError::corrupt(path, "it does not read as a database")
            }
            Refusal::Store(source) => OpenError::Store { path: path.to_owned(), source },
        }
    }
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its cluster's id.
    pub(crate) cluster: String,
    /// The newest event in it.
    pub(crate) last_event: u64,
}

/// Looks through a database that nobody has open, and says what it is.
pub(super) fn identify(path: &Path) -> Result<Identity, OpenError> {
    let read = || -> Result<Identity, Refusal> {
        let conn = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
        if recognise(&conn, path)? == 0 {
            return Err(Refusal::Open(OpenError::corrupt(path, "nothing is in it")));
        }
        check(&conn, path, None)?;
        let last_event = events::kept(&conn)?.last;
        let cluster = meta::cluster_of(&conn)?
            .ok_or_else(|| OpenError::corrupt(path, "it has no cluster"))
            .map_err(Refusal::Open)?;
        Ok(Identity { cluster, last_event })
    };
    read().map_err(|refusal| refusal.of(path))
}

/// How this program opens any database.
pub(super) fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE
}

/// Whether the file is ours, and of a version that we know.
pub(super) fn recognise(conn: &Connection, path: &Path) -> Result<i64, Refusal> {
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (id, found) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if id != APPLICATION_ID && (id != 0 || tables != 0) {
        return Err(Refusal::Open(OpenError::Foreign { path: path.to_owned() }));
    }
    if found > known {
        let path = path.to_owned();
        return Err(Refusal::Open(OpenError::Newer { path, found, known }));
    }
    if found < 0 {
        return Err(Refusal::Open(OpenError::corrupt(path, &format!("schema {found}"))));
    }
    Ok(found)
}

/// Whether a check came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Every page was looked at.
    Whole,
    /// Its time was over first; what was looked at is good.
    InPart,
}

/// SQLite's own check of every page, and of every reference between rows; at most for so long.
pub(super) fn check(
    conn: &Connection,
    path: &Path,
    at_most: Option<Duration>,
) -> Result<Checked, Refusal> {
    let checked = match at_most {
        None => look_through(conn, path),
        Some(at_most) => interrupted_after(conn, at_most, || look_through(conn, path)),
    };
    match checked {
        Ok(()) => Ok(Checked::Whole),
        Err(Refusal::Store(error)) if error.class == Class::Interrupted => Ok(Checked::InPart),
        Err(refusal) => Err(refusal),
    }
}

/// At a start: a large database on a slow card must not keep requests from being routed.
pub(super) fn check_at_start(conn: &Connection, path: &Path) -> Result<(), Refusal> {
    if check(conn, path, Some(CHECK_TIME_MAX))? == Checked::InPart {
        log::warn!(
            "{} is so large that only a part of it was checked in {CHECK_TIME_MAX:?}; the next \
             snapshot checks all of it",
            path.display()
        );
    }
    Ok(())
}

fn look_through(conn: &Connection, path: &Path) -> Result<(), Refusal> {
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let line = verdict.lines().last().unwrap_or_default().trim();
        return Err(Refusal::Open(OpenError::corrupt(path, line)));
    }
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    let lost = match rows.next()? {
        Some(row) => Some(row.get::<_, String>(0)?),
        None => instance_without(conn)?.then(|| "instances".to_owned()),
    };
    match lost {
        Some(table) => {
            let what = format!("a row of {table} refers to nothing");
            Err(Refusal::Open(OpenError::corrupt(path, &what)))
        }
        None => Ok(()),
    }
}

/// Whether an instance's service or survey is not there: no foreign keys hold that, see
/// [`VERSION_2`](super::schema::VERSION_2).
fn instance_without(conn: &Connection) -> rusqlite::Result<bool> {
    let is_new = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'instances')";
    if conn.query_row(is_new, [], |row| row.get(0))? {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (
                   SELECT 1 FROM instances
                   WHERE service NOT IN (SELECT name FROM services)
                      OR survey NOT IN (SELECT id FROM surveys)
               )";
    conn.query_row(sql, [], |row| row.get(0))
}

/// Does something that is interrupted after so long. The thread that would do so has ended when
/// this returns: nothing later is interrupted.
fn interrupted_after<T>(conn: &Connection, at_most: Duration, work: impl FnOnce() -> T) -> T {
    let (done, wait) = bounded::<()>(0);
    let handle: InterruptHandle = conn.get_interrupt_handle();
    let watch = move || {
        if wait.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout) {
            handle.interrupt();
        }
    };
    // Without a thread to watch it, it is checked whole, however long that takes.
    let watcher = threads::spawn("check", Stack::Helper, watch);
    let result = work();
    drop(done);
    if let Ok(watcher) = watcher {
        // A panic of it has ended the process.
        let _ = watcher.join();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_ends_when_its_time_is_over_and_nothing_later_is_cut() {
        let conn = Connection::open_in_memory().expect("in memory");
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
                       SELECT count(*) FROM n";
        let cut = interrupted_after(&conn, Duration::from_millis(20), || {
            conn.query_row(endless, [], |row| row.get::<_, i64>(0))
        });
        let error = StoreError::from(cut.expect_err("it never ends"));
        assert_eq!(error.class, Class::Interrupted);
        let one: i64 = conn.query_row("SELECT 1", [], |row| row.get(0)).expect("not cut");
        assert_eq!(one, 1);
        let quick = interrupted_after(&conn, Duration::from_secs(600), || 7);
        assert_eq!(quick, 7, "it does not wait for the time to be over");
    }
}
