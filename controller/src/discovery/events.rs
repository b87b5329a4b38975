//! The events: appended, read in pages, the oldest dropped.
//!
//! Their numbers have no gaps, so what is missing at the front was dropped; a reader who asks for
//! that gets a `gap` line first.

use rusqlite::{Connection, Row, params};
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::limits::EVENTS_KEPT;
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_common::wire::views::EventView;
use tucano_controller_core::cluster::Event;

use super::columns::{big, number, number_or_none, read_or_none};

/// Dropped only once so many are too many, so that not every commit deletes.
const SLACK: u64 = EVENTS_KEPT / 100;

/// What is kept: the numbers of the first and the last event; `first` is `last + 1` where there is
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What is kept now.
pub(super) fn kept(conn: &Connection) -> rusqlite::Result<Kept> {
    let sql = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM events";
    conn.query_row(sql, [], |row| Ok(Kept { first: number(row, 0)?, last: number(row, 1)? }))
}

/// Appends; returns what is kept after it.
pub(super) fn append(conn: &Connection, kept: Kept, events: &[Event]) -> rusqlite::Result<Kept> {
    let mut statement =
        conn.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for event in events {
        statement.execute(params![
            big(event.seq),
            event.at.0,
            event.kind.as_str(),
            event.service.as_ref().map(ServiceName::as_str),
            event.revision.map(big),
            event.deployment.map(|id| id.to_string()),
            event.instance.map(|id| id.to_string()),
            event.worker.as_ref().map(WorkerName::as_str),
            event.cause.map(big),
            event.message,
        ])?;
    }
    let last = events.last().map_or(kept.last, |event| event.seq);
    let mut kept = Kept { last, ..kept };
    if last + 1 - kept.first > EVENTS_KEPT + SLACK {
        kept.first = last + 1 - EVENTS_KEPT;
        conn.prepare_cached("DELETE FROM events WHERE seq < ?1")?.execute([big(kept.first)])?;
    }
    Ok(kept)
}

/// The events past `after`, at most `limit`, oldest first, with a `gap` where the next ones were
/// dropped.
pub(super) fn page(
    conn: &Connection,
    kept: Kept,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Vec<EventView>> {
    let mut views = Vec::new();
    let mut after = after;
    if after + 1 < kept.first {
        views.push(gap(after + 1, kept.first - 1));
        after = kept.first - 1;
    }
    let mut statement = conn.prepare_cached(
        "SELECT seq, at_ms, type, service, revision, deployment, instance, worker, cause, message
         FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let limit = i64::try_from(limit.saturating_sub(views.len())).unwrap_or(i64::MAX);
    for view in statement.query_map(params![big(after), limit], read)? {
        views.push(view?);
    }
    Ok(views)
}

fn gap(from: u64, to: u64) -> EventView {
    EventView {
        seq: to,
        at: Wall(0),
        kind: "gap".to_owned(),
        service: None,
        revision: None,
        deployment: None,
        instance: None,
        worker: None,
        cause: None,
        message: format!("events {from} to {to} are not kept any more"),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<EventView> {
    Ok(EventView {
        seq: number(row, 0)?,
        at: Wall(row.get(1)?),
        kind: row.get(2)?,
        service: read_or_none(row, 3, |text| ServiceName::new(text).ok())?,
        revision: number_or_none(row, 4)?,
        deployment: read_or_none(row, 5, DeploymentId::parse)?,
        instance: read_or_none(row, 6, InstanceId::parse)?,
        worker: read_or_none(row, 7, |text| WorkerName::new(text).ok())?,
        cause: number_or_none(row, 8)?,
        message: row.get(9)?,
    })
}
