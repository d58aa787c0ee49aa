//! The audit trail: entries by number, in partitions by month, and its head.
//!
//! One transaction writes the change of a key, its entry and the head. Its condition is that the
//! head is still the one that the entry was sealed to. So the trail has neither gaps nor forks,
//! even if several callers write concurrently.
//!
//! The head knows the first entry of each month. The chain of hashes goes on from one month to the next. The first
//! entry of all also writes an item that says so, without which a trail whose head was lost could begin again in a new
//! month.

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
    keys::Key,
    lists::overfull,
    query::Query,
    retry::RetryPolicy,
    write::Write,
};

const WHAT: &str = "audit entry";
const HEAD: &str = "head of the audit trail";
const SEQUENCE: &str = "sequence";
const HASH: &str = "hash";
/// The months that have entries, each with its first one.
const MONTHS: &str = "months";

/// The newest entry of the trail, and where its entries are.
struct Head {
    newest: AuditHead,
    months: Months,
}

/// The months that have entries in ascending order, each with the number of its first entry.
type Months = Vec<(String, u64)>;

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
        if let Some(bound) = &bound {
            api_keys::refuse_too_many(database, bound).await?;
        }
        let entry = event.clone().seal(head.as_ref().map(|head| &head.newest));
        let months = with_entry(head.as_ref().map_or(&[], |head| &head.months), &entry);
        let mut writes = changes.to_vec();
        writes.push(put_head(&entry, &months, head.as_ref()));
        writes.push(put(&entry, &months));
        writes.extend(head.is_none().then(|| Write::put_bare(WHAT, Key::audit_start()).if_new()));
        let Written::Failed(mut failed) = database.write(&writes, retry).await? else {
            return Ok(Written::All);
        };
        let head_is_as_read = failed.iter().all(|index| *index > changes.len());
        failed.retain(|index| *index < changes.len());
        if !failed.is_empty() {
            return Ok(Written::Failed(failed));
        }
        if head_is_as_read {
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

/// The months with a new entry. Its month is the last one, also if its clock is behind.
fn with_entry(months: &[(String, u64)], entry: &AuditEntry) -> Months {
    // The form of times in events begins with year and month.
    let month = entry.event.at.get(..7).unwrap_or_default();
    let mut months = months.to_vec();
    if months.last().is_none_or(|(last, _)| last.as_str() < month) {
        months.push((month.to_owned(), entry.sequence));
    }
    months
}

fn put(entry: &AuditEntry, months: &Months) -> Write {
    let month = months.last().map_or("", |(month, _)| month);
    Write::put_text(WHAT, Key::audit_entry(month, entry.sequence), audit_body(entry)).if_new()
}

fn put_head(entry: &AuditEntry, months: &Months, before: Option<&Head>) -> Write {
    let months = serde_json::to_string(months).unwrap_or_default();
    let write = Write::update(HEAD, Key::audit_head())
        .set(SEQUENCE, item::number(entry.sequence))
        .set(HASH, item::text(&entry.hash))
        .set(MONTHS, item::text(months));
    match before {
        None => write.if_new(),
        Some(Head { newest, .. }) => {
            write.if_equal(SEQUENCE, item::number(newest.sequence)).if_equal(HASH, item::text(&newest.hash))
        }
    }
}

async fn head(database: &Database) -> Result<Option<Head>, StoreError> {
    let read = |item: Item| -> Result<Head, StoreError> {
        let months = serde_json::from_str(item.text(MONTHS)?);
        Ok(Head {
            newest: AuditHead { sequence: item.number(SEQUENCE)?, hash: item.text(HASH)?.to_owned() },
            months: months
                .map_err(|_| StoreError::Corrupt { what: HEAD, reason: "its months are unknown".into() })?,
        })
    };
    database.get(HEAD, &Key::audit_head()).await?.map(read).transpose()
}

/// The queries of the entries from `first` to `last`, one for each month that has some.
fn queries(months: &[(String, u64)], first: u64, last: u64, direction: Direction) -> Vec<Query> {
    let ends = months.iter().skip(1).map(|(_, next)| next.saturating_sub(1)).chain([u64::MAX]);
    let query = |((month, begins), ends): (&(String, u64), u64)| {
        let (first, last) = (first.max(*begins), last.min(ends));
        let [first, last] = [first, last].map(|sequence| Key::audit_entry(month, sequence));
        let query = Query::new(WHAT, first.partition).between(first.sort.clone(), last.sort.clone());
        (first.sort <= last.sort).then(|| query.directed(direction))
    };
    let mut queries: Vec<Query> = months.iter().zip(ends).filter_map(query).collect();
    if direction == Direction::Descending {
        queries.reverse();
    }
    queries
}

/// One page of the trail up to its head. Entries are found by their numbers, so none is skipped. An
/// entry that someone deleted is missing from the list.
pub(crate) async fn list(
    database: &Database,
    direction: Direction,
    page: &PageRequest,
) -> Result<AuditPage, StoreError> {
    let head = head(database).await?;
    let newest = head.as_ref().map_or(0, |head| head.newest.sequence);
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
    let months = head.as_ref().map_or(&[][..], |head| &head.months);
    'page: for query in queries(months, first, last, direction) {
        let mut answers = Answers::new(database, query);
        while let Some(items) = answers.next(overfull(page.limit)).await? {
            for item in items {
                let entry = read_audit(item.body()?)?;
                let position = position(&entry.sequence);
                if !entries.push(entry, position) {
                    break 'page;
                }
            }
        }
    }
    Ok(AuditPage { entries: entries.finish(), head: head.map(|head| head.newest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_read_from_the_months_that_have_its_entries() {
        let months =
            [("2031-02", 1), ("2031-04", 5), ("2031-05", 6)].map(|(month, first)| (month.to_owned(), first));
        let query = |month: &str, first, last, direction| {
            let [first, last] = [first, last].map(|sequence| Key::audit_entry(month, sequence));
            Query::new(WHAT, first.partition).between(first.sort, last.sort).directed(direction)
        };
        let (up, down) = (Direction::Ascending, Direction::Descending);
        let found = |first, last, direction| format!("{:?}", queries(&months, first, last, direction));
        let expected = [query("2031-02", 4, 4, up), query("2031-04", 5, 5, up), query("2031-05", 6, 9, up)];
        assert_eq!(found(4, 9, up), format!("{expected:?}"));
        assert_eq!(found(6, 7, down), format!("{:?}", [query("2031-05", 6, 7, down)]));
        assert_eq!(
            found(2, 5, down),
            format!("{:?}", [query("2031-04", 5, 5, down), query("2031-02", 2, 4, down)])
        );
        assert!(queries(&months, 1, 0, up).is_empty() && queries(&[], 1, 9, up).is_empty());
    }
}
