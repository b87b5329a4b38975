//! What the database knows of itself: the cluster's id, drawn when the file is made.

use std::fs::File;
use std::io::{self, Read};

use rusqlite::{Connection, OptionalExtension};

/// The cluster's id, where there is one.
pub(super) fn cluster_of(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let read = "SELECT value FROM meta WHERE key = 'cluster'";
    conn.query_row(read, [], |row| row.get(0)).optional()
}

/// The cluster's id; made here where the file is new.
pub(super) fn cluster_id(conn: &Connection, random: &[u8; 8]) -> rusqlite::Result<String> {
    if let Some(id) = cluster_of(conn)? {
        return Ok(id);
    }
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    conn.execute("INSERT INTO meta (key, value) VALUES ('cluster', ?1)", [&id])?;
    Ok(id)
}

/// Writes something small and makes it last.
pub(super) fn probe(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES ('probe', '1')
         ON CONFLICT (key) DO UPDATE SET value = value + 1",
    )?
    .execute([])?;
    Ok(())
}

/// Eight bytes from the kernel: two clusters must not have one id, because agents end what a
/// cluster of theirs does not know.
pub(super) fn random_bytes() -> io::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
