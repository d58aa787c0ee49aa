//! Runs statements, and translates SQLite's errors into those of a store.

use onerun_domain::{Limit, Metadata, ProjectId};
use onerun_store::StoreError;
use rusqlite::{Connection, ErrorCode, Params, ffi, functions::FunctionFlags};

use crate::columns::Columns;

/// A connection, bound to a project.
pub(crate) struct ProjectTables<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) project: &'a ProjectId,
}

/// The first row, if there is one.
pub(crate) fn one<T>(
    connection: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&mut Columns<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|error| failure(what, error))?;
    let mut rows = statement.query(params).map_err(|error| failure(what, error))?;
    match rows.next().map_err(|error| failure(what, error))? {
        Some(row) => read(&mut Columns::new(what, row)).map(Some),
        None => Ok(None),
    }
}

/// All rows.
pub(crate) fn all<T>(
    connection: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&mut Columns<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    each(connection, what, sql, params, |columns| {
        found.push(read(columns)?);
        Ok(true)
    })?;
    Ok(found)
}

/// Passes rows to `row`, one by one, while it wants more.
pub(crate) fn each(
    connection: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
    mut wants_more: impl FnMut(&mut Columns<'_>) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|error| failure(what, error))?;
    let mut rows = statement.query(params).map_err(|error| failure(what, error))?;
    while let Some(row) = rows.next().map_err(|error| failure(what, error))? {
        if !wants_more(&mut Columns::new(what, row))? {
            break;
        }
    }
    Ok(())
}

/// Runs a statement that returns no rows. Returns the number of changed rows.
pub(crate) fn execute(
    connection: &Connection,
    what: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<usize, StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map_err(|error| failure(what, error))
}

/// Fails unless an `INSERT … SELECT` found the rows that it refers to. Callers check this before;
/// here it only keeps a caller's bug from linking two projects.
pub(crate) fn require_one(
    inserted: usize,
    what: &'static str,
    reason: &'static str,
) -> Result<(), StoreError> {
    if inserted == 1 { Ok(()) } else { Err(StoreError::Corrupt { what, reason: reason.into() }) }
}

/// The meaning of an SQLite error for the store's callers.
fn failure(what: &'static str, error: rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(code, _) = &error else {
        // Other errors mean a value of an unexpected type.
        return StoreError::Corrupt { what, reason: error.to_string() };
    };
    match code.extended_code {
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_ROWID => {
            return StoreError::Duplicate { what };
        }
        _ => {}
    }
    match code.code {
        ErrorCode::ConstraintViolation
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::TypeMismatch => StoreError::Corrupt { what, reason: error.to_string() },
        _ => unavailable(error),
    }
}

/// The error of a failed write, which distinguishes a full disk.
pub(crate) fn unavailable(error: rusqlite::Error) -> StoreError {
    if is_full(&error) { StoreError::Full(Box::new(error)) } else { StoreError::Unavailable(Box::new(error)) }
}

/// Whether the disk is full, or a quota or limit of the process is reached.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    const FULL: [i32; 3] = [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE];
    error.sqlite_error().is_some_and(|error| FULL.contains(&error.extended_code))
}

/// Adds `metadata_has`, which filters as [`Metadata::has`] does. SQLite's own JSON functions change how
/// numbers are written.
pub(crate) fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("metadata_has", 2, flags, |context| {
        let failed = |error: serde_json::Error| rusqlite::Error::UserFunctionError(Box::new(error));
        let metadata: Metadata =
            serde_json::from_str(context.get_raw(0).as_str()?).map_err(failed).and_then(|object| {
                Metadata::parse(object).map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))
            })?;
        let (key, text): (String, String) =
            serde_json::from_str(context.get_raw(1).as_str()?).map_err(failed)?;
        Ok(metadata.has(&key, &text))
    })
}

/// One more than the limit, to find out whether more rows follow.
pub(crate) fn overfull(limit: Limit) -> i64 {
    i64::from(limit.get()) + 1
}

/// A name in the form that lists compare, regardless of case. Both small sigmas become one letter,
/// because which of them a capital becomes depends on the next letter, and a filter may end
/// anywhere.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase().replace('ς', "σ")
}

/// A number for SQLite. All stored numbers are far below its bound.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_name_folds_to_part_of_the_folded_name() {
        for (name, part) in [("ÄRGER Ж", "ger ж"), ("ΟΔΟΣ ΑΒ", "δοσ α"), ("ΟΔΟΣΑ", "ΔΟΣ"), ("οδος", "ΔΟΣ")]
        {
            assert!(fold(name).contains(&fold(part)), "{name} {part}");
        }
    }
}
