//! Workers' history: one point a minute, a week of it.

use rusqlite::{Connection, Row, params};
use tucano_common::limits::METRICS_POINTS_KEPT;
use tucano_common::name::WorkerName;
use tucano_common::time::Wall;
use tucano_common::wire::views::MetricsPoint;

use super::columns::{big, number};

const MINUTE_MS: i64 = 60_000;

/// Stores points, and drops those that are too old. A worker that is not known (any more) has no
/// history.
pub(super) fn insert(
    conn: &Connection,
    points: &[(WorkerName, MetricsPoint)],
) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(
        "INSERT OR REPLACE INTO worker_metrics
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
         WHERE EXISTS (SELECT 1 FROM workers WHERE name = ?1)",
    )?;
    let mut prune =
        conn.prepare_cached("DELETE FROM worker_metrics WHERE worker = ?1 AND at_ms < ?2")?;
    let kept_ms = i64::try_from(METRICS_POINTS_KEPT).unwrap_or(i64::MAX).saturating_mul(MINUTE_MS);
    for (worker, point) in points {
        insert.execute(params![
            worker.as_str(),
            point.at.0,
            f64::from(point.cpu_ratio),
            big(point.memory_used_bytes),
            big(point.memory_total_bytes),
            f64::from(point.load1),
            big(point.disk_free_bytes),
            point.samples,
        ])?;
        prune.execute(params![worker.as_str(), point.at.0.saturating_sub(kept_ms)])?;
    }
    Ok(())
}

/// The points of one worker from `since` on, oldest first.
pub(super) fn read(
    conn: &Connection,
    worker: &WorkerName,
    since: Wall,
) -> rusqlite::Result<Vec<MetricsPoint>> {
    let mut statement = conn.prepare_cached(
        "SELECT at_ms, cpu_ratio, memory_used_bytes, memory_total_bytes, load1, disk_free_bytes,
                samples
         FROM worker_metrics WHERE worker = ?1 AND at_ms >= ?2 ORDER BY at_ms",
    )?;
    let points = statement.query_map(params![worker.as_str(), since.0], point)?;
    points.collect()
}

fn point(row: &Row<'_>) -> rusqlite::Result<MetricsPoint> {
    Ok(MetricsPoint {
        at: Wall(row.get(0)?),
        cpu_ratio: row.get::<_, f64>(1)? as f32,
        memory_used_bytes: number(row, 2)?,
        memory_total_bytes: number(row, 3)?,
        load1: row.get::<_, f64>(4)? as f32,
        disk_free_bytes: number(row, 5)?,
        samples: row.get(6)?,
    })
}
