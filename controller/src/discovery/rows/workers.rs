//! Table `workers`.

use rusqlite::{Connection, Row, params};
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_common::wire::worker::Capacity;
use tucano_controller_core::cluster::{LeaseState, Worker};

use crate::discovery::columns::{big, from_json, json, number, read as value};

pub(super) const SELECT: &str = "
    SELECT name, address, agent_port, version, cpus, memory_bytes, labels, admission, lease,
           generation, joined_at_ms, last_seen_ms
    FROM workers ORDER BY name";

/// A worker's row is there almost always: a plain update is half the work of an insert that may
/// become one.
const UPDATE: &str = "
    UPDATE workers SET
        address = ?2, agent_port = ?3, version = ?4, cpus = ?5, memory_bytes = ?6, labels = ?7,
        admission = ?8, lease = ?9, generation = ?10, joined_at_ms = ?11, last_seen_ms = ?12
    WHERE name = ?1";

const INSERT: &str =
    "INSERT INTO workers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Writes one whole. Not REPLACE: that would delete the row first, and its history with it.
pub(super) fn put(conn: &Connection, worker: &Worker) -> rusqlite::Result<()> {
    let address = worker.address.to_string();
    let (labels, admission) = (json(&worker.labels)?, json(&worker.admission)?);
    for sql in [UPDATE, INSERT] {
        let written = conn.prepare_cached(sql)?.execute(params![
            worker.name.as_str(),
            address,
            worker.agent_port,
            worker.version,
            worker.capacity.cpus,
            big(worker.capacity.memory_bytes),
            labels,
            admission,
            worker.lease.as_str(),
            big(worker.generation),
            worker.joined_at.0,
            worker.last_seen.0,
        ])?;
        if written > 0 {
            break;
        }
    }
    Ok(())
}

/// Writes a worker's generation.
pub(super) fn put_generation(
    conn: &Connection,
    worker: &WorkerName,
    generation: u64,
) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE workers SET generation = ?2 WHERE name = ?1")?
        .execute(params![worker.as_str(), big(generation)])?;
    Ok(())
}

/// Reads one of [`SELECT`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Worker> {
    Ok(Worker {
        name: value(row, 0, |text| WorkerName::new(text).ok())?,
        address: value(row, 1, |text| text.parse().ok())?,
        agent_port: row.get(2)?,
        version: row.get(3)?,
        capacity: Capacity { cpus: row.get(4)?, memory_bytes: number(row, 5)? },
        labels: from_json(row, 6)?,
        admission: from_json(row, 7)?,
        lease: value(row, 8, LeaseState::parse)?,
        generation: number(row, 9)?,
        joined_at: Wall(row.get(10)?),
        last_seen: Wall(row.get(11)?),
    })
}
