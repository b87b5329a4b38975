//! The schema's versions: each step is applied once, in order, in a transaction of its own that
//! also counts it.
//!
//! `PRAGMA user_version` is how many steps a file has taken. A step that was released is never
//! edited: the next change is a step of its own.

use rusqlite::{Connection, TransactionBehavior};

use super::inspect::APPLICATION_ID;
use super::schema;

/// Every step since the first release.
pub(super) const MIGRATIONS: [&str; 2] = [schema::VERSION_1, schema::VERSION_2];

/// Brings a file of version `from` to the newest.
pub(super) fn apply(conn: &mut Connection, from: i64) -> rusqlite::Result<()> {
    apply_steps(conn, from, &MIGRATIONS)
}

fn apply_steps(conn: &mut Connection, from: i64, steps: &[&str]) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    for (index, step) in steps.iter().enumerate().skip(done) {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(conn: &Connection) -> i64 {
        conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version")
    }

    fn tables(conn: &Connection) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
        let mut statement = conn.prepare(sql).expect("prepared");
        let names = statement.query_map([], |row| row.get(0)).expect("read");
        names.collect::<Result<_, _>>().expect("names")
    }

    #[test]
    fn steps_are_taken_once_and_in_order() {
        let steps = ["CREATE TABLE a (x INTEGER) STRICT", "ALTER TABLE a ADD COLUMN y INTEGER"];
        let mut conn = Connection::open_in_memory().expect("in memory");
        apply_steps(&mut conn, 0, &steps[..1]).expect("the first step");
        assert_eq!(version(&conn), 1);
        conn.execute("INSERT INTO a (x) VALUES (7)", []).expect("a row");
        apply_steps(&mut conn, 1, &steps).expect("the second step");
        assert_eq!(version(&conn), 2);
        apply_steps(&mut conn, 2, &steps).expect("nothing left to do");
        let row = conn.query_row("SELECT x, y FROM a", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        });
        assert_eq!(row.expect("the row of before"), (7, None));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let steps = ["CREATE TABLE a (x INTEGER) STRICT", "CREATE TABLE b (y INTEGER); nonsense"];
        let mut conn = Connection::open_in_memory().expect("in memory");
        apply_steps(&mut conn, 0, &steps).expect_err("the second step is no SQL");
        assert_eq!((version(&conn), tables(&conn)), (1, vec!["a".to_owned()]));
    }

    #[test]
    fn every_table_is_strict() {
        let mut conn = Connection::open_in_memory().expect("in memory");
        apply(&mut conn, 0).expect("all steps");
        for table in tables(&conn) {
            let sql = "SELECT strict FROM pragma_table_list WHERE name = ?1";
            let strict: bool = conn.query_row(sql, [&table], |row| row.get(0)).expect("listed");
            assert!(strict || table.starts_with("sqlite_"), "{table}");
        }
    }
}
