//! Table `deployments`.

use rusqlite::{Connection, Row, params};
use tucano_common::id::DeploymentId;
use tucano_common::name::ServiceName;
use tucano_common::time::Wall;
use tucano_controller_core::cluster::Deployment;

use crate::discovery::columns::{big, from_json, json, number, number_or_none, read as value};

pub(super) const SELECT: &str = "
    SELECT id, service, revision, from_revision, kind, wanted, status, created_at_ms, event
    FROM deployments ORDER BY id";

/// Writes one whole.
pub(super) fn put(conn: &Connection, deployment: &Deployment) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET
             service = ?2, revision = ?3, from_revision = ?4, kind = ?5, wanted = ?6, state = ?7,
             status = ?8, created_at_ms = ?9, event = ?10",
    )?
    .execute(params![
        deployment.id.to_string(),
        deployment.service.as_str(),
        big(deployment.revision),
        deployment.from_revision.map(big),
        json(&deployment.kind)?,
        deployment.wanted,
        deployment.status.as_str(),
        json(&deployment.status)?,
        deployment.created_at.0,
        big(deployment.event),
    ])?;
    Ok(())
}

/// Reads one of [`SELECT`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Deployment> {
    Ok(Deployment {
        id: value(row, 0, DeploymentId::parse)?,
        service: value(row, 1, |text| ServiceName::new(text).ok())?,
        revision: number(row, 2)?,
        from_revision: number_or_none(row, 3)?,
        kind: from_json(row, 4)?,
        wanted: row.get(5)?,
        status: from_json(row, 6)?,
        created_at: Wall(row.get(7)?),
        event: number(row, 8)?,
    })
}
