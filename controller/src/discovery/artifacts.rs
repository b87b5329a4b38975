//! Which artifacts were taken: their digests and sizes. The files stand beside the database.

use rusqlite::{Connection, OptionalExtension, params};
use tucano_common::spec::Digest;
use tucano_common::time::Wall;

use super::columns::{big, number};

/// Enters an artifact; one that is there already stays as it is.
pub(super) fn insert(
    conn: &Connection,
    digest: &Digest,
    bytes: u64,
    at: Wall,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO artifacts (digest, bytes, created_at_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![digest.to_string(), big(bytes), at.0])?;
    Ok(())
}

/// An artifact's size, where it is known.
pub(super) fn bytes(conn: &Connection, digest: &Digest) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached("SELECT bytes FROM artifacts WHERE digest = ?1")?
        .query_row([digest.to_string()], |row| number(row, 0))
        .optional()
}

/// The size of all artifacts together.
pub(super) fn bytes_of_all(conn: &Connection) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM artifacts")?
        .query_row([], |row| number(row, 0))
}
