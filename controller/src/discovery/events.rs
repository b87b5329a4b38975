//! The events: appended, read in pages, the oldest dropped.
//!
//! They are bounded in number, in age and in size. Their numbers have no gaps, so what is missing
//! at the front was dropped; a reader who asks for that gets a `gap` line first. (After a restore
//! such a line is a row, where the snapshot's events end.)

use std::time::Duration;

use rusqlite::{Connection, Row, params};
use tucano_common::id::{DeploymentId, InstanceId};
use tucano_common::limits::{EVENTS_KEPT, EVENTS_KEPT_BYTES, EVENTS_KEPT_FOR, EVENTS_KEPT_MIN};
use tucano_common::name::{ServiceName, WorkerName};
use tucano_common::time::Wall;
use tucano_common::wire::views::EventView;
use tucano_controller_core::cluster::Event;

use super::columns::{big, number, number_or_none, read_or_none};

/// What a row costs beside its message.
const ROW_BYTES: u64 = 100;

/// What is kept: the numbers of the first and the last event (`first` is `last + 1` where there is
/// none), how many there are, what they take, and when the first happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) first: u64,
    pub(super) last: u64,
    count: u64,
    bytes: u64,
    first_at: Wall,
}

/// How much of history is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) age: Duration,
    /// So many in any case: a clock that jumps must not take all of history along.
    pub(super) count_min: u64,
}

/// What this program keeps.
pub(super) const BOUNDS: Bounds = Bounds {
    count: EVENTS_KEPT,
    bytes: EVENTS_KEPT_BYTES,
    age: EVENTS_KEPT_FOR,
    count_min: EVENTS_KEPT_MIN,
};

impl Bounds {
    /// Whether so much is too much that dropping is worth it: not every commit deletes.
    fn are_passed(&self, kept: &Kept, now: Wall) -> bool {
        let slack = |bound: u64| bound + bound / 100;
        let old = kept.count > self.count_min + self.count_min / 100
            && now.since(kept.first_at) > self.age + self.age / 30;
        kept.count > slack(self.count) || kept.bytes > slack(self.bytes) || old
    }

    /// Whether the oldest of so many, which happened then, goes.
    fn go_past(&self, (count, bytes): (u64, u64), at: Wall, now: Wall) -> bool {
        let old = now.since(at) > self.age && count > self.count_min;
        count > self.count || bytes > self.bytes || old
    }
}

/// What is kept now.
pub(super) fn kept(conn: &Connection) -> rusqlite::Result<Kept> {
    let sql = "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0), count(*),
                      coalesce(sum(length(message)), 0),
                      coalesce((SELECT at_ms FROM events ORDER BY seq LIMIT 1), 0)
               FROM events";
    conn.query_row(sql, [], |row| {
        let count = number(row, 2)?;
        Ok(Kept {
            first: number(row, 0)?,
            last: number(row, 1)?,
            count,
            bytes: number(row, 3)? + count * ROW_BYTES,
            first_at: Wall(row.get(4)?),
        })
    })
}

/// Appends; returns what is kept after it.
pub(super) fn append(
    conn: &Connection,
    mut kept: Kept,
    events: &[Event],
    bounds: &Bounds,
) -> rusqlite::Result<Kept> {
    let Some(newest) = events.last() else { return Ok(kept) };
    let mut statement =
        conn.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for event in events {
        if kept.count == 0 {
            (kept.first, kept.first_at) = (event.seq, event.at);
        }
        kept.count += 1;
        kept.bytes += ROW_BYTES + event.message.len() as u64;
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
    kept.last = newest.seq;
    if bounds.are_passed(&kept, newest.at) {
        drop_old(conn, kept, bounds, newest.at)
    } else {
        Ok(kept)
    }
}

/// Drops the oldest until the rest is within bounds.
fn drop_old(
    conn: &Connection,
    mut kept: Kept,
    bounds: &Bounds,
    now: Wall,
) -> rusqlite::Result<Kept> {
    let mut oldest =
        conn.prepare_cached("SELECT seq, at_ms, length(message) FROM events ORDER BY seq")?;
    let mut rows = oldest.query([])?;
    while let Some(row) = rows.next()? {
        (kept.first, kept.first_at) = (number(row, 0)?, Wall(row.get(1)?));
        if !bounds.go_past((kept.count, kept.bytes), kept.first_at, now) {
            break;
        }
        kept.count -= 1;
        kept.bytes = kept.bytes.saturating_sub(ROW_BYTES + number(row, 2)?);
    }
    drop(rows);
    conn.prepare_cached("DELETE FROM events WHERE seq < ?1")?.execute([big(kept.first)])?;
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

#[cfg(test)]
mod tests {
    use tucano_controller_core::cluster::EventKind;

    use super::super::migrations;
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;
    const SMALL: Bounds = Bounds {
        count: 200,
        bytes: 1 << 20,
        age: Duration::from_secs(30 * 24 * 3600),
        count_min: 10,
    };

    fn event(seq: u64, at: Wall, message: String) -> Event {
        Event {
            seq,
            at,
            kind: EventKind::WorkerJoined,
            service: None,
            revision: None,
            deployment: None,
            instance: None,
            worker: None,
            cause: None,
            message,
        }
    }

    /// So many, one a day, each with a message so long; what is kept of them, checked.
    fn history(bounds: &Bounds, count: u64, len: usize, step_ms: i64) -> Kept {
        let mut conn = Connection::open_in_memory().expect("in memory");
        migrations::apply(&mut conn, 0).expect("all steps");
        let mut now = kept(&conn).expect("read");
        for seq in 1..=count {
            let at = Wall(1_700_000_000_000 + seq as i64 * step_ms);
            let events = [event(seq, at, "x".repeat(len))];
            now = append(&conn, now, &events, bounds).expect("stored");
            assert_eq!(now, kept(&conn).expect("read"), "after {seq}: what is counted is there");
        }
        assert_eq!(now.last, count, "the newest is always there");
        let page = page(&conn, now, 0, 5).expect("read");
        assert_eq!((page[0].kind.as_str(), page[0].seq), ("gap", now.first - 1));
        assert_eq!(page[1].seq, now.first);
        now
    }

    #[test]
    fn their_number_is_bounded() {
        let kept = history(&SMALL, 500, 10, 1);
        assert!((200..=202).contains(&kept.count), "{kept:?}");
    }

    #[test]
    fn what_is_older_than_a_month_goes() {
        let kept = history(&SMALL, 100, 10, DAY);
        assert!((30..=32).contains(&kept.count), "{kept:?}");
    }

    #[test]
    fn some_stay_however_old_they_are() {
        let kept = history(&SMALL, 100, 10, 40 * DAY);
        assert!((10..=11).contains(&kept.count), "{kept:?}");
    }

    #[test]
    fn what_they_take_is_bounded() {
        let bounds = Bounds { bytes: 100_000, ..SMALL };
        let kept = history(&bounds, 150, 8000, 1);
        assert!(kept.bytes <= 101_000 && kept.count == 12, "{kept:?}");
    }
}
