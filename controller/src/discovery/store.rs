//! The database as the deployer uses it: one batch, one transaction.

use std::fs;
use std::path::PathBuf;

use rusqlite::{Connection, TransactionBehavior};
use tucano_common::name::WorkerName;
use tucano_common::spec::Digest;
use tucano_common::time::Wall;
use tucano_common::wire::views::{EventView, MetricsPoint};
use tucano_controller_core::cluster::Event;
use tucano_controller_core::deployer::{Change, Rows};

use super::error::{Class, OpenError, StoreError};
use super::events::{self, Kept};
use super::folder::{DataDir, beside};
use super::{artifacts, connection, meta, metrics, rows, snapshots};

/// What is written in one transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// The core's changes, in its order.
    pub(crate) changes: Vec<Change>,
    /// The core's events.
    pub(crate) events: Vec<Event>,
    /// Minutes of workers that are over.
    pub(crate) points: Vec<(WorkerName, MetricsPoint)>,
    /// Artifacts whose files are in place: digest, size, when.
    pub(crate) artifacts: Vec<(Digest, u64, Wall)>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.events.is_empty()
            && self.points.is_empty()
            && self.artifacts.is_empty()
    }
}

/// What is stored, read at the start.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The cluster.
    pub(crate) rows: Rows,
    /// Its id.
    pub(crate) cluster: String,
}

/// The open database. Whoever has it is the only writer.
#[derive(Debug)]
pub(crate) struct Store {
    conn: Connection,
    path: PathBuf,
    kept: Kept,
    /// The code that the next commit fails with.
    #[cfg(test)]
    pub(crate) failing: Option<i32>,
}

impl Store {
    /// Opens the database of a data folder, new or old, checks it and reads it.
    pub(crate) fn open(dir: &DataDir) -> Result<(Store, Stored), OpenError> {
        let opened = Store::open_database(dir);
        opened.map_err(|error| error.advise(|| snapshots::newest_good(&dir.snapshots())))
    }

    fn open_database(dir: &DataDir) -> Result<(Store, Stored), OpenError> {
        let path = dir.database();
        if dir.restoring().exists() {
            return Err(OpenError::HalfRestored { path: dir.path().to_owned() });
        }
        let conn = connection::open(&path)?;
        let random = meta::random_bytes()
            .map_err(|source| OpenError::Folder { path: "/dev/urandom".into(), source })?;
        let read = || -> rusqlite::Result<(Kept, Stored)> {
            let cluster = meta::cluster_id(&conn, &random)?;
            Ok((events::kept(&conn)?, Stored { rows: rows::load(&conn)?, cluster }))
        };
        let (kept, stored) = read().map_err(|error| refuse(&path, error))?;
        let store = Store {
            conn,
            path,
            kept,
            #[cfg(test)]
            failing: None,
        };
        Ok((store, stored))
    }

    /// Reads the cluster again: what was committed, and nothing else.
    pub(crate) fn load(&self) -> Result<Rows, StoreError> {
        Ok(rows::load(&self.conn)?)
    }

    /// Closes and opens the file anew: a connection to a file system that was read-only stays so.
    pub(crate) fn reopen(&mut self) -> Result<(), StoreError> {
        let conn = connection::reopen(&self.path).map_err(StoreError::of_open)?;
        self.kept = events::kept(&conn)?;
        self.conn = conn;
        Ok(())
    }

    /// After a write or an fsync that failed. What this connection knows to be committed was synced
    /// before; all of it is written to the database once more and synced, nothing is left in the
    /// log, and the file is opened and checked anew. That failed write is not among it.
    pub(crate) fn recover(&mut self) -> Result<(), StoreError> {
        connection::settle(&self.conn)?;
        self.reopen()
    }

    /// Writes a batch whole, or nothing of it. After `Ok` it survives a power cut.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::apply(&transaction, &batch.changes)?;
        let kept = events::append(&transaction, self.kept, &batch.events, &events::BOUNDS)?;
        metrics::insert(&transaction, &batch.points)?;
        for (digest, bytes, at) in &batch.artifacts {
            artifacts::insert(&transaction, digest, *bytes, *at)?;
        }
        #[cfg(test)]
        Store::fail_as_told(self.failing)?;
        transaction.commit()?;
        self.kept = kept;
        Ok(())
    }

    /// Writes something small, to see whether writing works.
    pub(crate) fn probe(&mut self) -> Result<(), StoreError> {
        Ok(meta::probe(&self.conn)?)
    }

    /// Events past `after`, oldest first, at most `limit`.
    pub(crate) fn events(&self, after: u64, limit: usize) -> Result<Vec<EventView>, StoreError> {
        Ok(events::page(&self.conn, self.kept, after, limit)?)
    }

    /// A worker's minutes from `since` on.
    pub(crate) fn metrics(
        &self,
        worker: &WorkerName,
        since: Wall,
    ) -> Result<Vec<MetricsPoint>, StoreError> {
        Ok(metrics::read(&self.conn, worker, since)?)
    }

    /// An artifact's size, where it is known.
    pub(crate) fn artifact_bytes(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(artifacts::bytes(&self.conn, digest)?)
    }

    /// All artifacts together.
    pub(crate) fn artifacts_bytes(&self) -> Result<u64, StoreError> {
        Ok(artifacts::bytes_of_all(&self.conn)?)
    }

    /// The database's files together.
    pub(crate) fn database_bytes(&self) -> u64 {
        let sizes = ["", "-wal", "-shm"].map(|suffix| {
            fs::metadata(beside(&self.path, suffix)).map_or(0, |metadata| metadata.len())
        });
        sizes.iter().sum()
    }

    #[cfg(test)]
    fn fail_as_told(failing: Option<i32>) -> rusqlite::Result<()> {
        let error = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        failing.map_or(Ok(()), |code| Err(error(code)))
    }

    /// Leaves out what makes a commit last, for tests that write much and cut no power.
    #[cfg(test)]
    pub(crate) fn trust_the_cache(&self) {
        self.conn.pragma_update(None, "synchronous", "OFF").expect("a pragma");
    }

    /// Lets the database have so many pages more than now, to make it run full in tests.
    #[cfg(test)]
    pub(crate) fn limit_growth(&self, pages: Option<i64>) {
        let now: i64 =
            self.conn.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a count");
        let max = pages.map_or(1 << 30, |pages| now + pages);
        self.conn
            .pragma_update_and_check(None, "max_page_count", max, |_| Ok(()))
            .expect("a pragma");
    }
}

fn refuse(path: &std::path::Path, error: rusqlite::Error) -> OpenError {
    let what = error.to_string();
    let source = StoreError::from(error);
    match source.class {
        Class::Corrupt => OpenError::corrupt(path, &what),
        Class::Full
        | Class::ReadOnly
        | Class::Io
        | Class::Busy
        | Class::Interrupted
        | Class::Other => OpenError::Store { path: path.to_owned(), source },
    }
}
