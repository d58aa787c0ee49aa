//! How archived entries leave the table.
//!
//! One write of the head records the last archived entry, and from then on no list has it and those before it. The
//! entries are deleted afterwards, in steps. As long as the first month of the head begins with an archived entry,
//! some may be left. So a step that was interrupted is repeated, and a trail without archived entries costs one read.

use std::future::ready;

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_auth::AuditHead;
use onerun_store::{StoreError, read_audit};

use super::{ARCHIVED, ARCHIVED_HASH, HEAD, Head, MONTHS, Months, WHAT, head, months_text};
use crate::{
    database::{AT_ONCE, Changed, Database},
    item::{self, SORT},
    keys::Key,
    query::Query,
    write::Write,
};

/// Records that the archive has all entries up to `last`.
pub(crate) async fn set_archived(database: &Database, last: &AuditHead) -> Result<bool, StoreError> {
    let mut is_tried = false;
    // Another process may record an entry, or delete archived ones, in between.
    while let Some(before) = head(database).await? {
        // The reply to the write was lost, or another process has written the same.
        if is_tried && before.archived.as_ref() == Some(last) {
            return Ok(true);
        }
        if last.sequence <= before.last_archived() || !has(database, &before, last).await? {
            return Ok(false);
        }
        let write = Write::update(HEAD, Key::audit_head())
            .set(ARCHIVED, item::number(last.sequence))
            .set(ARCHIVED_HASH, item::text(&last.hash));
        if let Changed::Yes(_) = database.update(&unchanged(write, &before)).await? {
            return Ok(true);
        }
        is_tried = true;
    }
    Ok(false)
}

/// Deletes up to `limit` archived entries. Returns whether some may be left.
pub(crate) async fn delete_archived(database: &Database, limit: u32) -> Result<bool, StoreError> {
    let Some(before) = head(database).await? else { return Ok(false) };
    let archived = before.last_archived();
    let Some((month, begins)) = before.months.first().filter(|(_, begins)| *begins <= archived) else {
        return Ok(false);
    };
    let next = before.months.get(1).map(|(_, begins)| *begins);
    let last = next.map_or(archived, |next| archived.min(next.saturating_sub(1)));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let [begin, end] = [*begins, last].map(|sequence| Key::audit_entry(month, sequence));
    let found = if begin.sort <= end.sort {
        let partition = begin.partition.clone();
        let query = Query::new(WHAT, partition).between(begin.sort, end.sort).limit(limit);
        database.query(&query).await?
    } else {
        Vec::new()
    };
    let keys: Vec<Key> = found
        .iter()
        .map(|item| Ok(Key { partition: end.partition.clone(), sort: item.text(SORT)?.to_owned() }))
        .collect::<Result<_, StoreError>>()?;
    let deleted = keys.len();
    stream::iter(keys)
        .map(async |key| database.delete(&Write::delete(WHAT, key)).await.map(drop))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| ready(Ok(())))
        .await?;
    if deleted >= limit {
        return Ok(true);
    }
    let months = without_archived(&before.months, archived);
    let write = Write::update(HEAD, Key::audit_head()).set(MONTHS, item::text(months_text(&months)));
    // If the head has changed meanwhile, the next step looks again.
    let changed = database.update(&unchanged(write, &before)).await?;
    let is_left = months.first().is_some_and(|(_, begins)| *begins <= archived);
    Ok(is_left || matches!(changed, Changed::No))
}

/// The months after the archived entries of the first one were deleted. The last month stays, because entries may be
/// added to it.
fn without_archived(months: &Months, archived: u64) -> Months {
    let is_over = months.get(1).is_some_and(|(_, next)| *next <= archived.saturating_add(1));
    let mut months = months.clone();
    if is_over {
        months.remove(0);
    } else if let Some((_, begins)) = months.first_mut() {
        *begins = archived.saturating_add(1);
    }
    months
}

/// Only if no other process has archived, deleted or begun a month.
fn unchanged(write: Write, before: &Head) -> Write {
    let write = write.if_equal(MONTHS, item::text(&before.stored_months));
    match &before.archived {
        Some(archived) => write.if_equal(ARCHIVED, item::number(archived.sequence)),
        None => write.if_absent(ARCHIVED),
    }
}

/// Whether the trail has this entry.
async fn has(database: &Database, head: &Head, entry: &AuditHead) -> Result<bool, StoreError> {
    let of_entry = |(_, begins): &&(String, u64)| *begins <= entry.sequence;
    let Some((month, _)) = head.months.iter().rev().find(of_entry) else { return Ok(false) };
    let found = database.get(WHAT, &Key::audit_entry(month, entry.sequence)).await?;
    let found = found.map(|item| read_audit(item.body()?)).transpose()?;
    Ok(found.is_some_and(|found| found.head() == *entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_month_stays_until_all_of_it_is_archived() {
        let months = |list: &[(&str, u64)]| -> Months {
            list.iter().map(|(month, begins)| ((*month).to_owned(), *begins)).collect()
        };
        let three = months(&[("2031-02", 1), ("2031-04", 5), ("2031-05", 6)]);
        assert_eq!(without_archived(&three, 3), months(&[("2031-02", 4), ("2031-04", 5), ("2031-05", 6)]));
        assert_eq!(without_archived(&three, 4), months(&[("2031-04", 5), ("2031-05", 6)]));
        assert_eq!(without_archived(&three, 9), months(&[("2031-04", 5), ("2031-05", 6)]));
        let last = months(&[("2031-05", 6)]);
        assert_eq!(without_archived(&last, 9), months(&[("2031-05", 10)]));
        // The next entry begins another month.
        let next = months(&[("2031-05", 10), ("2031-06", 10)]);
        assert_eq!(without_archived(&next, 10), months(&[("2031-06", 10)]));
    }
}
