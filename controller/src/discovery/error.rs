//! What can go wrong with the data folder and its database, in the classes that someone acts on.
//!
//! It does not decide what to do: a refusal at start ends the process (`main.rs`), a failed commit
//! turns the storage read-only (`deployer/storage.rs`).

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::folder::SNAPSHOTS;
use super::wal::Torn;

/// Why the data folder can't be used: the controller does not start.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It, or a file of it, can't be made, read or written.
    Folder { path: PathBuf, source: std::io::Error },
    /// Another process holds it.
    Held { path: PathBuf, by: Option<u32> },
    /// A newer release wrote it.
    Newer { path: PathBuf, found: i64, known: i64 },
    /// The file is a database of something else.
    Foreign { path: PathBuf },
    /// The database does not pass its own check, or a row makes no sense; the newest snapshot that
    /// is good, where there is one.
    Corrupt { path: PathBuf, what: String, snapshot: Option<PathBuf> },
    /// Its log lacks something in its middle that was promised.
    Torn { path: PathBuf, torn: Torn },
    /// A restore was begun and not finished.
    HalfRestored { path: PathBuf },
    /// SQLite refused otherwise.
    Store { path: PathBuf, source: StoreError },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Folder { path, .. } => write!(
                f,
                "--data-dir: {} can't be used (make it writable for this user, or name another \
                 folder)",
                path.display()
            ),
            OpenError::Held { path, by } => {
                write!(f, "--data-dir: {} is held by another controller", path.display())?;
                if let Some(pid) = by {
                    write!(f, " (pid {pid})")?;
                }
                f.write_str(": stop it first, or name another folder")
            }
            OpenError::Newer { path, found, known } => write!(
                f,
                "--data-dir: {} was written by a newer release (schema {found}, this one knows \
                 {known}): start that release, or restore a copy from before the upgrade",
                path.display()
            ),
            OpenError::Foreign { path } => write!(
                f,
                "--data-dir: {} is a database of another program: name another folder",
                path.display()
            ),
            OpenError::Corrupt { path, what, snapshot } => {
                write!(f, "--data-dir: {} is damaged ({what}): ", path.display())?;
                match snapshot {
                    Some(snapshot) => {
                        write!(f, "restore its last good copy with `{}`", Restore(snapshot))?
                    }
                    None => f.write_str(
                        "put a good copy in its place with `tucano-controller --restore FILE`, or \
                         move the folder away to begin anew",
                    )?,
                }
                f.write_str("; services go on running meanwhile")
            }
            OpenError::Torn { path, torn } => write!(
                f,
                "--data-dir: {} is damaged at byte {}, and at least {} commits behind that would \
                 be lost: go back to before them with `{}`, or restore a snapshot; services go on \
                 running meanwhile",
                path.display(),
                torn.at_byte,
                torn.commits,
                Restore(&without_wal(path))
            ),
            OpenError::HalfRestored { path } => write!(
                f,
                "--data-dir: a restore into {} was cut short: give it again, \
                 `tucano-controller --restore FILE`",
                path.display()
            ),
            OpenError::Store { path, .. } => {
                write!(f, "--data-dir: the database {} can't be opened", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Folder { source, .. } => Some(source),
            OpenError::Store { source, .. } => Some(source),
            OpenError::Held { .. }
            | OpenError::Newer { .. }
            | OpenError::Foreign { .. }
            | OpenError::Corrupt { .. }
            | OpenError::Torn { .. }
            | OpenError::HalfRestored { .. } => None,
        }
    }
}

impl OpenError {
    /// A file that is damaged.
    pub(super) fn corrupt(path: &Path, what: &str) -> OpenError {
        OpenError::Corrupt { path: path.to_owned(), what: what.to_owned(), snapshot: None }
    }

    /// The same with what to restore, where it is a matter of that.
    pub(super) fn advise(self, newest_good: impl FnOnce() -> Option<PathBuf>) -> OpenError {
        match self {
            OpenError::Corrupt { path, what, snapshot: None } => {
                OpenError::Corrupt { path, what, snapshot: newest_good() }
            }
            other => other,
        }
    }
}

/// The command that restores a file of the data folder, as it is typed.
struct Restore<'a>(&'a Path);

impl fmt::Display for Restore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.0;
        let folder = file.parent().map(|folder| match folder.file_name() {
            Some(name) if name == SNAPSHOTS => folder.parent().unwrap_or(folder),
            _ => folder,
        });
        f.write_str("tucano-controller ")?;
        if let Some(folder) = folder {
            write!(f, "--data-dir {} ", folder.display())?;
        }
        write!(f, "--restore {}", file.display())
    }
}

fn without_wal(log: &Path) -> PathBuf {
    let text = log.to_string_lossy();
    PathBuf::from(text.strip_suffix("-wal").unwrap_or(&text))
}

/// What kind of failure a read or a write met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// No space left.
    Full,
    /// The file system or the file turned read-only.
    ReadOnly,
    /// A read, a write or an fsync failed: what the file holds now is not known.
    Io,
    /// The database is damaged.
    Corrupt,
    /// Someone else holds its lock (a person with `sqlite3`).
    Busy,
    /// It was told to stop before its end.
    Interrupted,
    /// Anything else: a fault of this program.
    Other,
}

/// A failed read or write.
#[derive(Debug)]
pub(crate) struct StoreError {
    /// Its kind.
    pub(crate) class: Class,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// A database that could not be opened again while the controller runs.
    pub(crate) fn of_open(error: OpenError) -> StoreError {
        let class = match &error {
            OpenError::Store { source, .. } => source.class,
            OpenError::Folder { .. } => Class::ReadOnly,
            OpenError::Held { .. } => Class::Busy,
            OpenError::Newer { .. }
            | OpenError::Foreign { .. }
            | OpenError::Corrupt { .. }
            | OpenError::Torn { .. }
            | OpenError::HalfRestored { .. } => Class::Corrupt,
        };
        StoreError { class, source: error.into() }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> StoreError {
        // Its own source says the same again.
        StoreError { class: classify(&source), source: source.to_string().into() }
    }
}

fn classify(error: &rusqlite::Error) -> Class {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => Class::Full,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
                Class::ReadOnly
            }
            ErrorCode::SystemIoFailure => Class::Io,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Class::Corrupt,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Class::Busy,
            ErrorCode::OperationInterrupted => Class::Interrupted,
            _ => Class::Other,
        },
        // A row that does not read as what this program writes.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => Class::Corrupt,
        _ => Class::Other,
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.class {
            Class::Full => "the data folder's disk is full: free some space there",
            Class::ReadOnly => "the data folder can't be written: check its mount and its owner",
            Class::Io => "the data folder's disk fails: check it and the kernel's log",
            Class::Corrupt => "the database is damaged",
            Class::Busy => "another program holds the database: end it",
            Class::Interrupted => "the database was told to stop",
            Class::Other => "the database refuses",
        })
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_an_operator_can_do_something_about_has_its_class() {
        for (code, class) in [
            (rusqlite::ffi::SQLITE_FULL, Class::Full),
            (rusqlite::ffi::SQLITE_READONLY_DBMOVED, Class::ReadOnly),
            (rusqlite::ffi::SQLITE_CANTOPEN, Class::ReadOnly),
            (rusqlite::ffi::SQLITE_IOERR_FSYNC, Class::Io),
            (rusqlite::ffi::SQLITE_CORRUPT_INDEX, Class::Corrupt),
            (rusqlite::ffi::SQLITE_NOTADB, Class::Corrupt),
            (rusqlite::ffi::SQLITE_BUSY, Class::Busy),
            (rusqlite::ffi::SQLITE_CONSTRAINT, Class::Other),
        ] {
            let failure = rusqlite::ffi::Error::new(code);
            let error = StoreError::from(rusqlite::Error::SqliteFailure(failure, None));
            assert_eq!(error.class, class, "{code}");
        }
    }
}
