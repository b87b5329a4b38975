//! The cluster's records as rows, there and back; a file a table.
//!
//! Each record is written whole (insert, or update all of it) and read whole. What changed, and in
//! which order, the core says.

mod deployments;
mod instances;
mod services;
mod workers;

use rusqlite::{Connection, Row, Statement};
use tucano_controller_core::deployer::{Change, Rows};

/// Carries out changes, in their order. Instances are what there may be thousands of: their
/// statement is looked for once.
pub(super) fn apply(conn: &Connection, changes: &[Change]) -> rusqlite::Result<()> {
    let mut put_instance = conn.prepare_cached(instances::PUT)?;
    changes.iter().try_for_each(|change| apply_one(conn, &mut put_instance, change))
}

fn apply_one(
    conn: &Connection,
    put_instance: &mut Statement<'_>,
    change: &Change,
) -> rusqlite::Result<()> {
    match change {
        Change::PutWorker(worker) => workers::put(conn, worker),
        Change::PutGeneration { worker, generation } => {
            workers::put_generation(conn, worker, *generation)
        }
        Change::DropWorker(name) => drop_row(conn, "DELETE FROM workers WHERE name = ?1", name),
        Change::PutService(service) => services::put(conn, service),
        Change::DropService(name) => drop_row(conn, "DELETE FROM services WHERE name = ?1", name),
        Change::PutRevision(revision) => services::put_revision(conn, revision),
        Change::DropRevision { service, number } => services::drop_revision(conn, service, *number),
        Change::PutDeployment(deployment) => deployments::put(conn, deployment),
        Change::DropDeployment(id) => drop_row(conn, "DELETE FROM deployments WHERE id = ?1", id),
        Change::PutSurvey(survey) => instances::put_survey(conn, survey),
        Change::DropSurvey(id) => instances::drop_survey(conn, *id),
        Change::PutInstance(instance) => instances::put(put_instance, instance),
        Change::DropInstance(id) => instances::delete(conn, *id),
    }
}

/// Reads the whole cluster.
pub(super) fn load(conn: &Connection) -> rusqlite::Result<Rows> {
    let last_event = conn.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| {
        super::columns::number(row, 0)
    })?;
    Ok(Rows {
        workers: all(conn, workers::SELECT, workers::read)?,
        services: all(conn, services::SELECT, services::read)?,
        revisions: all(conn, services::SELECT_REVISIONS, services::read_revision)?,
        deployments: all(conn, deployments::SELECT, deployments::read)?,
        instances: instances::load(conn)?,
        last_event,
    })
}

fn all<T>(
    conn: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare(sql)?.query_map([], read)?.collect()
}

fn drop_row(conn: &Connection, sql: &str, key: &impl ToString) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([key.to_string()])?;
    Ok(())
}
