//! Managed keys and their usage.

use jiff::Timestamp;
use onerun_auth::{KeyId, KeyRecord, KeyUsage, KeyUse, WRITE_EVERY};
use onerun_domain::{Page, Start, later};
use onerun_store::{
    DecideKey, DecideNewKey, KEY_RETENTION, KeyChange, KeyError, KeyView, ListKeys, LiveKeys, NewKey,
    PageBuilder, StoreError, key_body, position, read_key, read_position, read_usage, usage_body,
};
use rusqlite::{Connection, params};

use crate::{
    audit,
    columns::{Columns, only},
    idempotency, jobs,
    rows::micros,
    sql,
};

const WHAT: &str = "key";
const USAGE: &str = "key's usage";

/// Adds a key with its audit entry, idempotency record and jobs.
pub(crate) fn insert(
    connection: &Connection,
    caller: Option<&KeyId>,
    mut decide: DecideNewKey,
) -> Result<NewKey, KeyError> {
    let new = decide(caller_record(connection, caller)?)?;
    refuse_too_many(connection, &LiveKeys::with_new(&new))?;
    insert_record(connection, &new.record)?;
    idempotency::insert(connection, new.call.as_ref())?;
    audit::append(connection, new.event.clone())?;
    jobs::add(connection, &new.jobs)?;
    Ok(new)
}

/// The calling key's record, read in the transaction that writes the change.
fn caller_record(connection: &Connection, caller: Option<&KeyId>) -> Result<Option<KeyRecord>, StoreError> {
    caller.map_or(Ok(None), |id| get(connection, id))
}

pub(crate) fn get(connection: &Connection, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
    let sql = "SELECT body FROM keys WHERE id = ?1";
    sql::one(connection, WHAT, sql, [id.as_str()], |columns| read_key(&columns.value::<String>()?))
}

/// One key and its usage.
pub(crate) fn view(connection: &Connection, id: &KeyId) -> Result<Option<KeyView>, StoreError> {
    sql::one(
        connection,
        WHAT,
        "SELECT keys.body, key_uses.body FROM keys LEFT JOIN key_uses ON key_uses.key_id = keys.id
         WHERE keys.id = ?1",
        [id.as_str()],
        read_view,
    )
}

/// One page of keys, newest first. A filter may read any field of a key, so it is applied to the
/// keys themselves, until the page is full. Keys that do not match are dropped at once.
pub(crate) fn list(connection: &Connection, list: &ListKeys) -> Result<Page<KeyView>, StoreError> {
    let (mut left_out, created_at, inserted) = match &list.page.start {
        Start::Offset(offset) => (*offset, i64::MAX, i64::MAX),
        Start::After(position) => {
            let (created_at, id) = read_position::<(i64, String)>(position)?;
            let sql = "SELECT inserted FROM keys WHERE id = ?1";
            let inserted = sql::one(connection, WHAT, sql, [id], only)?;
            (0, created_at, inserted.ok_or(StoreError::UnknownPosition)?)
        }
    };
    let mut page = PageBuilder::new(list.page.limit);
    sql::each(
        connection,
        WHAT,
        "SELECT keys.body, key_uses.body FROM keys LEFT JOIN key_uses ON key_uses.key_id = keys.id
         WHERE (keys.created_at, keys.inserted) < (?1, ?2)
         ORDER BY keys.created_at DESC, keys.inserted DESC",
        params![created_at, inserted],
        |columns| {
            let view = read_view(columns)?;
            if !list.admits(&view) {
                return Ok(true);
            }
            if left_out > 0 {
                left_out -= 1;
                return Ok(true);
            }
            let position = position(&(micros(view.record.created_at), view.record.id.as_str()));
            Ok(page.push(view, position))
        },
    )?;
    Ok(page.finish())
}

pub(crate) fn change(
    connection: &Connection,
    id: &KeyId,
    caller: Option<&KeyId>,
    decide: &mut DecideKey,
) -> Result<Option<KeyChange>, KeyError> {
    let Some(before) = get(connection, id)? else { return Ok(None) };
    let change = decide(before, caller_record(connection, caller)?)?;
    if let Some(bound) = LiveKeys::with_change(&change) {
        refuse_too_many(connection, &bound)?;
    }
    match &change {
        KeyChange::None(_) => {}
        KeyChange::To { record, event, jobs } => {
            update_record(connection, id, record)?;
            audit::append(connection, event.clone())?;
            jobs::add(connection, jobs)?;
        }
        KeyChange::Rotation { record, new, event, call, jobs, .. } => {
            update_record(connection, id, record)?;
            insert_record(connection, new)?;
            idempotency::insert(connection, call.as_ref())?;
            audit::append(connection, event.clone())?;
            jobs::add(connection, jobs)?;
        }
    }
    Ok(Some(change))
}

/// Adds uses of a key, unless uses were written within the last minute.
pub(crate) fn add_use(
    connection: &Connection,
    id: &KeyId,
    uses: &KeyUse,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let exists = "SELECT 1 FROM keys WHERE id = ?1";
    if sql::one(connection, WHAT, exists, [id.as_str()], only::<i64>)?.is_none() {
        return Ok(true);
    }
    let sql = "SELECT written_at, body FROM key_uses WHERE key_id = ?1";
    let stored = sql::one(connection, USAGE, sql, [id.as_str()], |columns| {
        Ok((columns.time()?, read_usage(&columns.value::<String>()?)?))
    })?;
    // A time that is far ahead comes from a clock that has been set back since.
    let is_recent = |at: Timestamp| now.duration_since(at).abs() < WRITE_EVERY;
    if stored.as_ref().is_some_and(|(at, usage)| is_recent(*at) && !usage.lacks(uses)) {
        return Ok(false);
    }
    let usage = stored.map_or(KeyUsage::NONE, |(_, usage)| usage).with(uses);
    sql::execute(
        connection,
        USAGE,
        "INSERT INTO key_uses (key_id, written_at, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (key_id) DO UPDATE SET written_at = ?2, body = ?3",
        params![id.as_str(), micros(now), usage_body(&usage)],
    )?;
    Ok(true)
}

fn refuse_too_many(connection: &Connection, bound: &LiveKeys) -> Result<(), KeyError> {
    let live = sql::one(
        connection,
        WHAT,
        "SELECT COUNT(*), COUNT(*) FILTER (WHERE family = ?3)
         FROM (SELECT family FROM keys WHERE over_at > ?1 LIMIT ?2)",
        params![micros(bound.now), bound.limit(), bound.family.as_str()],
        |columns| Ok((columns.number()?, columns.number()?)),
    )?;
    let (all, in_family) = live.unwrap_or((0, 0));
    Ok(bound.check(all, in_family)?)
}

/// Whether any ended key has expired.
pub(crate) fn has_expired(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE over_at <= ?1)";
    Ok(sql::one(connection, WHAT, sql, [over_by(now)], only::<bool>)?.unwrap_or(false))
}

/// Removes up to `limit` keys whose retention time is over, and their usage.
pub(crate) fn delete_expired(connection: &Connection, limit: u32, now: Timestamp) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM key_uses WHERE key_id IN
             (SELECT id FROM keys WHERE over_at <= ?1 ORDER BY over_at, inserted LIMIT ?2)",
        "DELETE FROM keys WHERE inserted IN
             (SELECT inserted FROM keys WHERE over_at <= ?1 ORDER BY over_at, inserted LIMIT ?2)",
    ] {
        sql::execute(connection, WHAT, sql, params![over_by(now), limit])?;
    }
    Ok(())
}

fn over_by(now: Timestamp) -> i64 {
    micros(later(now, -KEY_RETENTION))
}

fn insert_record(connection: &Connection, record: &KeyRecord) -> Result<(), StoreError> {
    sql::execute(
        connection,
        WHAT,
        "INSERT INTO keys (id, family, created_at, over_at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            record.id.as_str(),
            record.family.as_str(),
            micros(record.created_at),
            over_at(record),
            key_body(record)
        ],
    )?;
    Ok(())
}

fn update_record(connection: &Connection, id: &KeyId, record: &KeyRecord) -> Result<(), StoreError> {
    let sql = "UPDATE keys SET over_at = ?2, body = ?3 WHERE id = ?1";
    sql::execute(connection, WHAT, sql, params![id.as_str(), over_at(record), key_body(record)])?;
    Ok(())
}

fn over_at(record: &KeyRecord) -> i64 {
    record.over_at().map_or(i64::MAX, micros)
}

fn read_view(columns: &mut Columns<'_>) -> Result<KeyView, StoreError> {
    let record = read_key(&columns.value::<String>()?)?;
    let usage: Option<String> = columns.value()?;
    Ok(KeyView { record, usage: usage.map_or(Ok(KeyUsage::NONE), |body| read_usage(&body))? })
}
