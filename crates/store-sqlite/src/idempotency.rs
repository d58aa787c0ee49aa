//! The replies to requests with an `Idempotency-Key`.

use jiff::Timestamp;
use onerun_domain::later;
use onerun_store::{
    IDEMPOTENCY_RETENTION, IdempotencyId, IdempotencyRecord, StoreError, idempotency_body, read_idempotency,
};
use rusqlite::{Connection, params};

use crate::{rows::micros, sql};

const WHAT: &str = "idempotency record";

/// Adds the record of a request, and replaces an expired one.
pub(crate) fn insert(connection: &Connection, record: Option<&IdempotencyRecord>) -> Result<(), StoreError> {
    let Some(record) = record else { return Ok(()) };
    sql::execute(
        connection,
        WHAT,
        "DELETE FROM idempotency_records WHERE hash = ?1 AND expires_at <= ?2",
        params![record.id.hash(), record.created_at.as_second()],
    )?;
    sql::execute(
        connection,
        WHAT,
        "INSERT INTO idempotency_records (hash, expires_at, body) VALUES (?1, ?2, ?3)",
        params![record.id.hash(), record.expires_at(), idempotency_body(record)],
    )?;
    Ok(())
}

/// The record of a request, unless it has expired.
pub(crate) fn get(
    connection: &Connection,
    id: &IdempotencyId,
    now: Timestamp,
) -> Result<Option<IdempotencyRecord>, StoreError> {
    let sql = "SELECT body FROM idempotency_records WHERE hash = ?1 AND expires_at > ?2";
    sql::one(connection, WHAT, sql, params![id.hash(), now.as_second()], |columns| {
        read_idempotency(id, &columns.value::<String>()?)
    })
}

/// Removes expired records and replies, up to `limit` of each.
pub(crate) fn delete_expired(connection: &Connection, limit: u32, now: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        connection,
        WHAT,
        "DELETE FROM idempotency_records WHERE hash IN
             (SELECT hash FROM idempotency_records WHERE expires_at <= ?1 LIMIT ?2)",
        params![now.as_second(), limit],
    )?;
    sql::execute(
        connection,
        "reply",
        "DELETE FROM turns WHERE (conversation_id, key) IN
             (SELECT conversation_id, key FROM turns WHERE created_at <= ?1 LIMIT ?2)",
        params![micros(later(now, -IDEMPOTENCY_RETENTION)), limit],
    )?;
    Ok(())
}

/// Whether any record or reply has expired.
pub(crate) fn has_expired(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM idempotency_records WHERE expires_at <= ?1)
                   OR EXISTS (SELECT 1 FROM turns WHERE created_at <= ?2)";
    let times = params![now.as_second(), micros(later(now, -IDEMPOTENCY_RETENTION))];
    Ok(sql::one(connection, WHAT, sql, times, crate::columns::only::<bool>)?.unwrap_or(false))
}
