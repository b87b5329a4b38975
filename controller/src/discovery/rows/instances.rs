//! Tables `instances` and `surveys`.
//!
//! A survey is stored once for all instances that were placed by it, and is one `Arc` for them
//! after loading too.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_controller_core::cluster::{Decision, Instance, Survey};

use crate::discovery::columns::{
    big, from_json, json, number, number_or_none, read as value, read_or_none,
};

const SELECT: &str = "
    SELECT id, service, revision, born_revision, restart_epoch, deployment, replaces, status,
           since_ms, survey, chosen, restart_nonce, observed, created_at_ms, event
    FROM instances ORDER BY id";

type Surveys = BTreeMap<u64, Arc<Survey>>;

/// Writes one whole.
pub(super) fn put(conn: &Connection, instance: &Instance) -> rusqlite::Result<()> {
    let decision = instance.decision.as_ref();
    conn.prepare_cached(
        "INSERT INTO instances VALUES
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (id) DO UPDATE SET
             service = ?2, revision = ?3, born_revision = ?4, restart_epoch = ?5, deployment = ?6,
             replaces = ?7, worker = ?8, state = ?9, status = ?10, since_ms = ?11, survey = ?12,
             chosen = ?13, restart_nonce = ?14, observed = ?15, created_at_ms = ?16, event = ?17",
    )?
    .execute(params![
        instance.id.to_string(),
        instance.service.as_str(),
        big(instance.revision),
        big(instance.born_revision),
        instance.restart_epoch,
        instance.deployment.map(|id| id.to_string()),
        instance.replaces.map(|id| id.to_string()),
        instance.state.worker().map(WorkerName::as_str),
        instance.state.as_str(),
        json(&instance.state)?,
        instance.since.0,
        decision.map(|decision| big(decision.survey.id)),
        decision.and_then(|decision| decision.chosen.as_ref()).map(WorkerName::as_str),
        instance.restart_nonce,
        json(&instance.observed)?,
        instance.created_at.0,
        big(instance.event),
    ])?;
    Ok(())
}

/// Writes a survey; it never changes.
pub(super) fn put_survey(conn: &Connection, survey: &Survey) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO surveys VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET at_ms = ?2, cause = ?3, verdicts = ?4",
    )?
    .execute(params![
        big(survey.id),
        survey.at.0,
        survey.cause.map(big),
        json(&survey.verdicts)?
    ])?;
    Ok(())
}

/// Deletes a survey.
pub(super) fn drop_survey(conn: &Connection, id: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM surveys WHERE id = ?1")?.execute([big(id)])?;
    Ok(())
}

/// Reads all instances with their decisions.
pub(super) fn load(conn: &Connection) -> rusqlite::Result<Vec<Instance>> {
    let surveys: Surveys = conn
        .prepare("SELECT id, at_ms, cause, verdicts FROM surveys")?
        .query_map([], read_survey)?
        .map(|survey| survey.map(|survey| (survey.id, Arc::new(survey))))
        .collect::<Result<_, _>>()?;
    conn.prepare(SELECT)?.query_map([], |row| read(row, &surveys))?.collect()
}

fn read_survey(row: &Row<'_>) -> rusqlite::Result<Survey> {
    Ok(Survey {
        id: number(row, 0)?,
        at: Wall(row.get(1)?),
        cause: number_or_none(row, 2)?,
        verdicts: from_json(row, 3)?,
    })
}

fn read(row: &Row<'_>, surveys: &Surveys) -> rusqlite::Result<Instance> {
    Ok(Instance {
        id: value(row, 0, InstanceId::parse)?,
        service: value(row, 1, |text| ServiceName::new(text).ok())?,
        revision: number(row, 2)?,
        born_revision: number(row, 3)?,
        restart_epoch: row.get(4)?,
        deployment: read_or_none(row, 5, DeploymentId::parse)?,
        replaces: read_or_none(row, 6, InstanceId::parse)?,
        state: from_json(row, 7)?,
        since: Wall(row.get(8)?),
        decision: decision(row, surveys)?,
        restart_nonce: row.get(11)?,
        observed: from_json(row, 12)?,
        created_at: Wall(row.get(13)?),
        event: number(row, 14)?,
    })
}

fn decision(row: &Row<'_>, surveys: &Surveys) -> rusqlite::Result<Option<Decision>> {
    let Some(id) = number_or_none(row, 9)? else { return Ok(None) };
    let survey = surveys.get(&id).ok_or(rusqlite::Error::IntegralValueOutOfRange(9, big(id)))?;
    let chosen = read_or_none(row, 10, |text| WorkerName::new(text).ok())?;
    Ok(Some(Decision { chosen, survey: Arc::clone(survey) }))
}
