//! The audit trail: entries by number, in partitions by month, and its head.
//!
//! One transaction writes the change of a key, its entry and the head. Its condition is that the
//! head is still the one that the entry was sealed to. So the trail has neither gaps nor forks,
//! even if several callers write concurrently.
//!
//! The head knows the first entry of each month. The chain of hashes goes on from one month to the next. The first
//! entry of all also writes an item that says so, without which a trail whose head was lost could begin again in a new
//! month.
//!
//! The head also knows the last archived entry, after which all lists begin: see [`archive`].

mod archive;

pub(crate) use archive::{delete_archived, set_archived};

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

/// The number and the hash of the last archived entry.
const ARCHIVED: &str = "archived";
const ARCHIVED_HASH: &str = "archived_hash";

/// The newest entry of the trail, and where its entries are.
struct Head {
    newest: AuditHead,
    /// The last archived entry.
    archived: Option<AuditHead>,
    months: Months,
    /// The months as they are stored.
    stored_months: String,
}

impl Head {
    /// The number of the last archived entry, or 0.
    fn last_archived(&self) -> u64 {
        self.archived.as_ref().map_or(0, |archived| archived.sequence)
    }
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
    let write = Write::update(HEAD, Key::audit_head())
        .set(SEQUENCE, item::number(entry.sequence))
        .set(HASH, item::text(&entry.hash))
        .set(MONTHS, item::text(months_text(months)));
    match before {
        None => write.if_new(),
        // The archive changes the months, too.
        Some(Head { newest, stored_months, .. }) => write
            .if_equal(SEQUENCE, item::number(newest.sequence))
            .if_equal(HASH, item::text(&newest.hash))
            .if_equal(MONTHS, item::text(stored_months)),
    }
}

fn months_text(months: &Months) -> String {
    serde_json::to_string(months).unwrap_or_default()
}

async fn head(database: &Database) -> Result<Option<Head>, StoreError> {
    let read = |item: Item| -> Result<Head, StoreError> {
        let stored_months = item.text(MONTHS)?.to_owned();
        let months = serde_json::from_str(&stored_months)
            .map_err(|_| StoreError::Corrupt { what: HEAD, reason: "its months are unknown".into() })?;
        let archived = match item.optional_number(ARCHIVED)? {
            Some(sequence) => Some(AuditHead { sequence, hash: item.text(ARCHIVED_HASH)?.to_owned() }),
            None => None,
        };
        let newest = AuditHead { sequence: item.number(SEQUENCE)?, hash: item.text(HASH)?.to_owned() };
        Ok(Head { newest, archived, months, stored_months })
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
/// entry that someone deleted is missing from the list. If entries were archived and deleted while the page was read,
/// it is read again.
pub(crate) async fn list(
    database: &Database,
    direction: Direction,
    page: &PageRequest,
) -> Result<AuditPage, StoreError> {
    let mut head = self::head(database).await?;
    loop {
        let (first, last) = range(head.as_ref(), direction, &page.start)?;
        let read = read(database, head, direction, page, first, last).await?;
        if is_whole(&read, direction, first, last) {
            return Ok(read);
        }
        head = self::head(database).await?;
        if head.as_ref().and_then(|head| head.archived.as_ref()) == read.archived.as_ref() {
            return Ok(read);
        }
    }
}

/// The numbers of the first and the last entry from which a page is read.
fn range(head: Option<&Head>, direction: Direction, start: &Start) -> Result<(u64, u64), StoreError> {
    let newest = head.map_or(0, |head| head.newest.sequence);
    let archived = head.map_or(0, Head::last_archived);
    let (first, last) = (archived.saturating_add(1), newest);
    Ok(match (direction, start) {
        (Direction::Ascending, Start::Offset(offset)) => (first.saturating_add((*offset).into()), last),
        (Direction::Descending, Start::Offset(offset)) => (first, last.saturating_sub((*offset).into())),
        (Direction::Ascending, Start::After(after)) => match read_position::<u64>(after)? {
            after if after < archived => return Err(StoreError::ArchivedPosition),
            after => (after.saturating_add(1), last),
        },
        (Direction::Descending, Start::After(after)) => match read_position::<u64>(after)? {
            after if archived > 0 && after <= archived => return Err(StoreError::ArchivedPosition),
            after => (first, after.saturating_sub(1).min(last)),
        },
    })
}

/// Whether a page has all entries of its range up to its end.
fn is_whole(page: &AuditPage, direction: Direction, first: u64, last: u64) -> bool {
    let mut expected: Box<dyn Iterator<Item = u64>> = match direction {
        Direction::Ascending => Box::new(first..=last),
        Direction::Descending => Box::new((first..=last).rev()),
    };
    let entries = &page.entries;
    entries.data.iter().all(|entry| expected.next() == Some(entry.sequence))
        && (entries.has_more() || expected.next().is_none())
}

async fn read(
    database: &Database,
    head: Option<Head>,
    direction: Direction,
    page: &PageRequest,
    first: u64,
    last: u64,
) -> Result<AuditPage, StoreError> {
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
    let (newest, archived) = head.map_or((None, None), |head| (Some(head.newest), head.archived));
    Ok(AuditPage { entries: entries.finish(), head: newest, archived })
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
