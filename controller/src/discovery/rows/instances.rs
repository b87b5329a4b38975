//! Tables `instances` and `surveys`.
//!
//! A survey is stored once for all instances that were placed by it, and is one `Arc` for them
//! after loading too.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, Statement, params};
use serde::{Deserialize, Serialize};
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_controller_core::cluster::{Decision, Instance, Survey, Verdict, VerdictKind};

use crate::discovery::columns::{
    big, from_json, json, number, number_or_none, read as value, read_or_none,
};

const SELECT: &str = "
    SELECT id, service, revision, born_revision, restart_epoch, deployment, replaces, status,
           since_ms, survey, chosen, restart_nonce, observed, created_at_ms, event
    FROM instances ORDER BY key";

/// Writes an instance whole, new or not.
pub(super) const PUT: &str = "
    REPLACE INTO instances VALUES
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

type Surveys = BTreeMap<u64, Arc<Survey>>;

/// An instance's key: its id as a number. The sign bit is a bit as any other.
pub(super) fn key(id: InstanceId) -> i64 {
    id.0.cast_signed()
}

/// Writes one whole; `statement` is [`PUT`].
pub(super) fn put(statement: &mut Statement<'_>, instance: &Instance) -> rusqlite::Result<()> {
    let decision = instance.decision.as_ref();
    statement.execute(params![
        key(instance.id),
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

/// Deletes one.
pub(super) fn delete(conn: &Connection, id: InstanceId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM instances WHERE key = ?1")?.execute([key(id)])?;
    Ok(())
}

/// The workers that a survey found to be the same; one beside a thousand that differ in their names
/// alone would be written a thousand times.
#[derive(Serialize)]
struct Alike<'a> {
    workers: Vec<&'a WorkerName>,
    #[serde(flatten)]
    kind: &'a VerdictKind,
}

/// The same as it is read; rows of before have one worker each.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    worker: Option<WorkerName>,
    #[serde(default)]
    workers: Vec<WorkerName>,
    #[serde(flatten)]
    kind: VerdictKind,
}

/// Neighbours are alike more often than not: a group is looked for only where they differ.
fn grouped(verdicts: &[Verdict]) -> Vec<Alike<'_>> {
    let mut groups: BTreeMap<&VerdictKind, usize> = BTreeMap::new();
    let mut alike: Vec<Alike<'_>> = Vec::new();
    let mut last = 0;
    for Verdict { worker, kind } in verdicts {
        if alike.get(last).is_none_or(|group| group.kind != kind) {
            last = *groups.entry(kind).or_insert(alike.len());
            if last == alike.len() {
                alike.push(Alike { workers: Vec::new(), kind });
            }
        }
        alike[last].workers.push(worker);
    }
    alike
}

fn ungrouped(found: Vec<Found>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for Found { worker, workers, kind } in found {
        let names = worker.into_iter().chain(workers);
        verdicts.extend(names.map(|worker| Verdict { worker, kind: kind.clone() }));
    }
    verdicts.sort_by(|a, b| a.worker.cmp(&b.worker));
    verdicts
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
        json(&grouped(&survey.verdicts))?
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
        verdicts: ungrouped(from_json(row, 3)?),
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

#[cfg(test)]
mod tests {
    use tucano_controller_core::cluster::{Refused, Score};

    use super::*;

    fn verdict(worker: &str, memory: u64) -> Verdict {
        let kind = match memory {
            0 => VerdictKind::Refused { reasons: vec![Refused::Draining] },
            free_memory_bytes => VerdictKind::Feasible(Score {
                overloaded: false,
                failures: 0,
                same_service: 0,
                outdated: 0,
                missing_labels: 0,
                free_memory_bytes,
                load_percent: Some(10),
                coming: 0,
                instances: 0,
            }),
        };
        Verdict { worker: WorkerName::new(worker).expect("a name"), kind }
    }

    #[test]
    fn workers_that_were_found_alike_are_written_once_and_read_back_by_name() {
        let verdicts = vec![verdict("w1", 7), verdict("w2", 0), verdict("w3", 7), verdict("w4", 9)];
        let text = json(&grouped(&verdicts)).expect("JSON");
        assert_eq!(text.matches("free_memory_bytes").count(), 2, "{text}");
        let back = ungrouped(serde_json::from_str(&text).expect("our own"));
        assert_eq!(back, verdicts);
        // As the first release wrote them.
        let old = json(&verdicts).expect("JSON");
        assert_eq!(ungrouped(serde_json::from_str(&old).expect("an old row")), verdicts);
    }
}
