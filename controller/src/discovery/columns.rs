//! Values as columns have them, there and back.
//!
//! SQLite's integers are signed, ours are not; names and ids are text, so that a person with
//! `sqlite3` reads them; what is nested is JSON. A column that does not read back is a damaged row,
//! never a panic.

use rusqlite::Row;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An unsigned number as a column has it. Ours are far below 2^63; one that is not would only be
/// cut off.
pub(super) fn big(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An unsigned number of a row.
pub(super) fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

/// An unsigned number of a row, where there is one.
pub(super) fn number_or_none(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    match row.get::<_, Option<i64>>(at)? {
        Some(_) => number(row, at).map(Some),
        None => Ok(None),
    }
}

/// A text of a row that means something: a name, an id, a state.
pub(super) fn read<T>(
    row: &Row<'_>,
    at: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    parse(text).ok_or_else(|| unreadable(at, format!("{text:?} has no meaning")))
}

/// The same, where there is one.
pub(super) fn read_or_none<T>(
    row: &Row<'_>,
    at: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(at)?.as_str_or_null()? {
        Some(_) => read(row, at, parse).map(Some),
        None => Ok(None),
    }
}

/// A nested value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// A nested value of a row.
pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into()))
}

fn unreadable(at: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, what.into())
}
