//! Tables `services` and `revisions`.

use rusqlite::{Connection, Row, params};
use tucano_common::id::DeploymentId;
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;
use tucano_controller_core::cluster::{Phase, Revision, Service};

use crate::discovery::columns::{big, from_json, json, number, number_or_none, read as value};

pub(super) const SELECT: &str = "
    SELECT name, revision, last_revision, restart_epoch, healthy_revision, phase, deployment,
           created_at_ms, updated_at_ms
    FROM services ORDER BY name";

pub(super) const SELECT_REVISIONS: &str = "
    SELECT service, number, spec, created_at_ms, healthy_at_ms
    FROM revisions ORDER BY service, number";

/// Writes a service whole.
pub(super) fn put(conn: &Connection, service: &Service) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO services VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (name) DO UPDATE SET
             revision = ?2, last_revision = ?3, restart_epoch = ?4, healthy_revision = ?5,
             phase = ?6, deployment = ?7, created_at_ms = ?8, updated_at_ms = ?9",
    )?
    .execute(params![
        service.name.as_str(),
        big(service.revision),
        big(service.last_revision),
        service.restart_epoch,
        service.healthy_revision.map(big),
        service.phase.as_str(),
        service.deployment.to_string(),
        service.created_at.0,
        service.updated_at.0,
    ])?;
    Ok(())
}

/// Reads one of [`SELECT`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Service> {
    Ok(Service {
        name: value(row, 0, |text| ServiceName::new(text).ok())?,
        revision: number(row, 1)?,
        last_revision: number(row, 2)?,
        restart_epoch: row.get(3)?,
        healthy_revision: number_or_none(row, 4)?,
        phase: value(row, 5, Phase::parse)?,
        deployment: value(row, 6, DeploymentId::parse)?,
        created_at: Wall(row.get(7)?),
        updated_at: Wall(row.get(8)?),
    })
}

/// Writes a revision whole; its spec never changes.
pub(super) fn put_revision(conn: &Connection, revision: &Revision) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO revisions VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (service, number) DO UPDATE SET
             spec = ?3, created_at_ms = ?4, healthy_at_ms = ?5",
    )?
    .execute(params![
        revision.service.as_str(),
        big(revision.number),
        json(&revision.spec)?,
        revision.created_at.0,
        revision.healthy_at.map(|at| at.0),
    ])?;
    Ok(())
}

/// Deletes a revision.
pub(super) fn drop_revision(
    conn: &Connection,
    service: &ServiceName,
    number: u64,
) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM revisions WHERE service = ?1 AND number = ?2")?
        .execute(params![service.as_str(), big(number)])?;
    Ok(())
}

/// Reads one of [`SELECT_REVISIONS`].
pub(super) fn read_revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision {
        service: value(row, 0, |text| ServiceName::new(text).ok())?,
        number: number(row, 1)?,
        spec: from_json(row, 2)?,
        created_at: Wall(row.get(3)?),
        healthy_at: row.get::<_, Option<i64>>(4)?.map(Wall),
    })
}
