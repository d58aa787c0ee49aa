//! The audit trail: entries by number, and its head.
//!
//! One transaction writes the change of a key, its entry and the head. Its condition is that the
//! head is still the one that the entry was sealed to. So the trail has neither gaps nor forks,
//! even if several callers write concurrently.

use onerun_auth::{AuditEntry, AuditEvent, AuditHead};
use onerun_domain::{Direction, PageRequest, Start};
use onerun_store::{
    AuditPage, KeyError, LiveKeys, PageBuilder, StoreError, audit_body, position, read_audit, read_position,
};

use crate::{
    api_keys,
    database::{Answers, Database, Written},
    failure,
    item::{self, Item},
    keys::{self, Key},
    lists::overfull,
    query::Query,
    retry::RetryPolicy,
    write::Write,
};

const WHAT: &str = "audit entry";
const HEAD: &str = "head of the audit trail";
const SEQUENCE: &str = "sequence";
const HASH: &str = "hash";

/// Writes changes and their audit entry. [`Written::Failed`] names failed conditions of the changes
/// only; conflicts about the head are retried here. If the changes add a live key, there must be
/// room for it: every new key moves the head, so no other key is added between the count and the
/// write.
pub(crate) async fn write(
    database: &Database,
    changes: &[Write],
    event: &AuditEvent,
    bound: Option<LiveKeys>,
    retry: &mut RetryPolicy,
) -> Result<Written, KeyError> {
    loop {
        let head = head(database).await?;
        if let Some(bound) = bound {
            bound.check(api_keys::live(database, bound).await?)?;
        }
        let entry = event.clone().seal(head.as_ref());
        let writes = [changes, &[put_head(&entry, head.as_ref()), put(&entry)]].concat();
        let Written::Failed(mut failed) = database.write(&writes, retry).await? else {
            return Ok(Written::All);
        };
        let only_entry = failed == [changes.len() + 1];
        failed.retain(|index| *index < changes.len());
        if !failed.is_empty() {
            return Ok(Written::Failed(failed));
        }
        if only_entry {
            let reason = "there are entries behind it".into();
            return Err(StoreError::Corrupt { what: HEAD, reason }.into());
        }
        if !retry.wait().await {
            return Err(
                failure::contended("TransactWriteItems", "others kept writing to the audit trail").into()
            );
        }
    }
}

fn put(entry: &AuditEntry) -> Write {
    Write::put_text(WHAT, Key::audit_entry(entry.sequence), audit_body(entry)).if_new()
}

fn put_head(entry: &AuditEntry, before: Option<&AuditHead>) -> Write {
    let write = Write::update(HEAD, Key::audit_head())
        .set(SEQUENCE, item::number(entry.sequence))
        .set(HASH, item::text(&entry.hash));
    match before {
        None => write.if_new(),
        Some(before) => {
            write.if_equal(SEQUENCE, item::number(before.sequence)).if_equal(HASH, item::text(&before.hash))
        }
    }
}

async fn head(database: &Database) -> Result<Option<AuditHead>, StoreError> {
    let read = |item: Item| -> Result<AuditHead, StoreError> {
        Ok(AuditHead { sequence: item.number(SEQUENCE)?, hash: item.text(HASH)?.to_owned() })
    };
    database.get(HEAD, &Key::audit_head()).await?.map(read).transpose()
}

/// One page of the trail up to its head. Entries are found by their numbers, so none is skipped. An
/// entry that someone deleted is missing from the list.
pub(crate) async fn list(
    database: &Database,
    direction: Direction,
    page: &PageRequest,
) -> Result<AuditPage, StoreError> {
    let head = head(database).await?;
    let newest = head.as_ref().map_or(0, |head| head.sequence);
    let (first, last) = match (direction, &page.start) {
        (Direction::Ascending, Start::Offset(offset)) => (u64::from(*offset) + 1, newest),
        (Direction::Ascending, Start::After(after)) => {
            (read_position::<u64>(after)?.saturating_add(1), newest)
        }
        (Direction::Descending, Start::Offset(offset)) => (1, newest.saturating_sub((*offset).into())),
        (Direction::Descending, Start::After(after)) => {
            (1, read_position::<u64>(after)?.saturating_sub(1).min(newest))
        }
    };
    let mut entries = PageBuilder::new(page.limit);
    if first <= last {
        let (first, last) = (Key::audit_entry(first), Key::audit_entry(last));
        let query = Query::new(WHAT, keys::AUDIT).between(first.sort, last.sort).directed(direction);
        let mut answers = Answers::new(database, query);
        'page: while let Some(items) = answers.next(overfull(page.limit)).await? {
            for item in items {
                let entry = read_audit(item.body()?)?;
                let position = position(&entry.sequence);
                if !entries.push(entry, position) {
                    break 'page;
                }
            }
        }
    }
    Ok(AuditPage { entries: entries.finish(), head })
}
