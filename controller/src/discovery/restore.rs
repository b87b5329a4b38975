//! `tucano-controller --restore FILE`: a snapshot takes the place of the database.
//!
//! Nothing is moved before the file is copied into the data folder, brought to this release's
//! schema and looked through whole. The database of before stays beside it under another name. The
//! numbers of events go on after the last one that was given, so that nobody who reads them from a
//! number on misses what comes; workers that know of newer generations are caught up with by the
//! deployer, as after any loss of memory. Called by `main.rs`, in a process of its own: it takes
//! the folder's lock, so never under a controller that runs.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use tucano_common::limits::RESTORED_SEQ_SKIP;
use tucano_common::time::{Mono, Now, Wall};
use tucano_controller_core::deployer::{Config, Deployer};

use super::columns::big;
use super::copy::{self, CopyError, sync_folder};
use super::error::{Class, OpenError, StoreError};
use super::folder::{DataDir, beside};
use super::inspect::{self, Identity};
use super::{connection, events, meta, rows, snapshots, wal};

const NEW: &str = "restored.db";
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// What was restored.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Its cluster.
    pub(crate) cluster: String,
    /// The newest event of the snapshot.
    pub(crate) last_event: u64,
    /// Where the database of before is; none where there was none.
    pub(crate) aside: Option<PathBuf>,
    /// Artifacts that it names and the folder has not.
    pub(crate) missing_artifacts: Vec<String>,
}

/// Why nothing was restored; the database is as it was, unless it says otherwise.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// The file to be restored is not there, or not readable.
    Unreadable { file: PathBuf, source: io::Error },
    /// The file is no good.
    Unsound { file: PathBuf, what: String },
    /// It is another cluster's than the folder's.
    OtherCluster { file: PathBuf, theirs: String, ours: String },
    /// It could not be copied into the folder.
    Copy(CopyError),
    /// Files could not be put in place: it has to be given again.
    Place { path: PathBuf, source: io::Error },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::Unreadable { file, .. } => {
                write!(f, "--restore: {} can't be read", file.display())
            }
            RestoreError::Unsound { file, what } => {
                write!(f, "--restore: {} {what}; nothing was changed", file.display())
            }
            RestoreError::OtherCluster { file, theirs, ours } => write!(
                f,
                "--restore: {} is of cluster {theirs}, and this folder's is {ours}: workers that \
                 joined one take no orders of the other; name another --data-dir, or move this \
                 one's files away first; nothing was changed",
                file.display()
            ),
            RestoreError::Copy(_) => f.write_str("--restore: nothing was changed"),
            RestoreError::Place { path, .. } => {
                write!(f, "--restore: {} could not be put in place: give it again", path.display())
            }
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RestoreError::Unreadable { source, .. } | RestoreError::Place { source, .. } => {
                Some(source)
            }
            RestoreError::Copy(error) => Some(error),
            RestoreError::Unsound { .. } | RestoreError::OtherCluster { .. } => None,
        }
    }
}

/// Puts a file in the place of the folder's database.
pub(crate) fn restore(dir: &DataDir, file: &Path, now: Wall) -> Result<Restored, RestoreError> {
    let readable = File::open(file).and_then(|opened| opened.metadata());
    readable.map_err(|source| RestoreError::Unreadable { file: file.to_owned(), source })?;
    let new = dir.path().join(NEW);
    let placed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Place { path, source }
    };
    for part in PARTS {
        remove(&beside(&new, part)).map_err(placed(&new))?;
    }
    let found = take_in(dir, file, &new)?;
    let ours = present(dir);
    if let Some(ours) = ours.cluster.filter(|ours| *ours != found.cluster) {
        let (file, theirs) = (file.to_owned(), found.cluster);
        let _ = remove(&new);
        return Err(RestoreError::OtherCluster { file, theirs, ours });
    }
    let given = ours.last_event.unwrap_or(found.last_event + RESTORED_SEQ_SKIP);
    let missing_artifacts = bring_up(dir, &new, (&found, given), now)
        .map_err(|what| RestoreError::Unsound { file: file.to_owned(), what })?;
    let aside = put_in_place(dir, &new, now).map_err(placed(&dir.database()))?;
    let Identity { cluster, last_event } = found;
    Ok(Restored { cluster, last_event, aside, missing_artifacts })
}

/// Copies the file, and says what it is.
fn take_in(dir: &DataDir, file: &Path, new: &Path) -> Result<Identity, RestoreError> {
    copy::has_room(file, dir.path()).map_err(RestoreError::Copy)?;
    copy::copy(file, new, &|| true).map_err(|error| {
        let what = match &error {
            CopyError::Unsound(OpenError::Corrupt { what, .. }) => format!("is damaged ({what})"),
            CopyError::Unsound(OpenError::Newer { found, known, .. }) => {
                format!("was written by a newer release (schema {found}, this one knows {known})")
            }
            CopyError::Unsound(OpenError::Foreign { .. }) => {
                "is a database of another program".to_owned()
            }
            CopyError::Store(store) if store.class == Class::Corrupt => {
                "is damaged, or no database".to_owned()
            }
            _ => return RestoreError::Copy(error),
        };
        RestoreError::Unsound { file: file.to_owned(), what }
    })
}

/// What the folder has now, as far as it can be read.
struct Present {
    cluster: Option<String>,
    /// None where later numbers may have been given.
    last_event: Option<u64>,
}

fn present(dir: &DataDir) -> Present {
    let database = dir.database();
    let glance = |path: &Path| -> rusqlite::Result<(Option<String>, u64)> {
        let flags = inspect::flags(OpenFlags::SQLITE_OPEN_READ_WRITE);
        let conn = Connection::open_with_flags(path, flags)?;
        // What a later look wants to see stays as it is.
        copy::leave_the_log(&conn)?;
        Ok((meta::cluster_of(&conn)?, events::kept(&conn)?.last))
    };
    let whole = matches!(wal::torn(&beside(&database, "-wal")), Ok(None));
    if let Ok((cluster, last_event)) = glance(&database) {
        return Present { cluster, last_event: whole.then_some(last_event) };
    }
    // It is damaged or lost: whose it was, its snapshots know.
    let snapshots = snapshots::newest_first(&dir.snapshots()).unwrap_or_default();
    let known = snapshots.iter().find_map(|path| Some(inspect::identify(path).ok()?.cluster));
    Present { cluster: known, last_event: None }
}

/// Brings the copy to the newest schema, looks at its rows, and has its events go on after the last
/// that was given. Says which artifacts are missing.
fn bring_up(
    dir: &DataDir,
    new: &Path,
    (found, given): (&Identity, u64),
    now: Wall,
) -> Result<Vec<String>, String> {
    let damaged = |error: &dyn fmt::Display| format!("is damaged ({error})");
    let conn = connection::open(new).map_err(|error| damaged(&error))?;
    let stored = rows::load(&conn).map_err(|error| damaged(&error))?;
    let config =
        Config { cluster: found.cluster.clone(), seed: 0, port_map: Vec::new(), rebalance: false };
    let as_of = Now { mono: Mono(0), wall: now };
    Deployer::load(config, stored, as_of).map_err(|error| damaged(&error))?;
    let finish = || -> rusqlite::Result<Vec<String>> {
        go_on_after(&conn, found.last_event, given, now)?;
        let digests: Vec<String> = conn
            .prepare("SELECT digest FROM artifacts")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        connection::settle(&conn)?;
        Ok(digests)
    };
    let digests =
        finish().map_err(|error| format!("could not be read: {}", StoreError::from(error)))?;
    let is_missing = |digest: &String| {
        let hex = digest.trim_start_matches("sha256:");
        !dir.path().join("artifacts").join(format!("{hex}.tar.gz")).exists()
    };
    Ok(digests.into_iter().filter(is_missing).collect())
}

/// The events between are not there any more, and that is told as it is for any that are missing.
fn go_on_after(conn: &Connection, last: u64, given: u64, now: Wall) -> rusqlite::Result<()> {
    let mut insert =
        conn.prepare("INSERT INTO events (seq, at_ms, type, message) VALUES (?1, ?2, ?3, ?4)")?;
    let first = last + 1;
    if given > last {
        let message = format!("events {first} to {given} are not kept: a snapshot was restored");
        insert.execute(params![big(given), now.0, "gap", message])?;
    }
    let message = format!("the database was restored from a snapshot with the events up to {last}");
    insert.execute(params![big(given.max(last) + 1), now.0, "restored", message])?;
    Ok(())
}

/// From the marker's being there to its being gone no controller starts in this folder.
fn put_in_place(dir: &DataDir, new: &Path, now: Wall) -> io::Result<Option<PathBuf>> {
    let database = dir.database();
    let marker = dir.restoring();
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&marker)?;
    sync_folder(dir.path())?;
    let aside = beside(&database, &format!(".before-{}", snapshots::stamp(now)));
    let was_there = database.exists();
    for part in PARTS {
        let from = beside(&database, part);
        if from.exists() {
            fs::rename(&from, beside(&aside, part))?;
        }
    }
    fs::rename(new, &database)?;
    for part in ["-wal", "-shm"] {
        remove(&beside(new, part))?;
    }
    // Run by root for a controller that is not, it must stay the controller's.
    let owner = fs::metadata(dir.path())?;
    for path in [database, dir.path().join("lock"), dir.path().join("artifacts")] {
        let of = fs::metadata(&path)?;
        if (of.uid(), of.gid()) != (owner.uid(), owner.gid()) {
            chown(&path, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    sync_folder(dir.path())?;
    fs::remove_file(&marker)?;
    sync_folder(dir.path())?;
    Ok(was_there.then_some(aside))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
