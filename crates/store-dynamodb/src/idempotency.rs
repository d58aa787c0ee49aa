//! The replies to requests with an `Idempotency-Key`. DynamoDB removes records some time after they
//! expire, so reads compare the expiry with the time.

use jiff::Timestamp;
use onerun_store::{IdempotencyId, IdempotencyRecord, StoreError, idempotency_body, read_idempotency};

use crate::{
    database::Database,
    item::{self, EXPIRES},
    keys::Key,
    write::Write,
};

pub(crate) const WHAT: &str = "idempotency record";

/// Adds a record, in place of one that no longer counts.
pub(crate) fn put(record: &IdempotencyRecord) -> Write {
    Write::put_text(WHAT, Key::idempotency(&record.id), idempotency_body(record))
        .set(EXPIRES, item::number(record.expires_at()))
        .if_new_or_at_most(EXPIRES, record.created_at.as_second().into())
}

/// The record of a request, unless it no longer counts.
pub(crate) async fn get(
    database: &Database,
    id: &IdempotencyId,
    now: Timestamp,
) -> Result<Option<IdempotencyRecord>, StoreError> {
    let Some(item) = database.get(WHAT, &Key::idempotency(id)).await? else { return Ok(None) };
    let record = read_idempotency(id, item.body()?)?;
    Ok((!record.is_expired(now)).then_some(record))
}
