//! Managed keys and their usage.
//!
//! Usage and request counts are written while a key is used. They are in separate partitions, so a
//! role can be allowed to write those and no key.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join;
use jiff::Timestamp;
use onerun_auth::{KeyId, KeyRecord, KeyUsage, KeyUse, ProjectAccess, RateLimit, WRITE_EVERY};
use onerun_domain::{Direction, Page, PageRequest, Start, later};
use onerun_store::{
    ChangeKey, DecideNewKey, ExactFilter, KEY_RETENTION, KeyChange, KeyError, KeyView, ListKeys, LiveKeys,
    NewKey, PageBuilder, StoreError, key_body, read_key, read_usage, usage_body,
};

use crate::{
    audit,
    database::{Changed, Database, Written, token},
    entries::entry,
    failure, idempotency,
    item::{self, BODY, EXPIRES, Item, REVISION},
    jobs,
    keys::{self, Key},
    lists::{Entries, GROUP},
    query::{Entry, Index, Query},
    retry::RetryPolicy,
    write::{self, Write},
};

const WHAT: &str = "key";
const USAGE: &str = "key's usage";
const COUNT: &str = "count of requests";

/// The end of a key, in its entry.
const END: &str = "end";
/// The family of a key, in its entry.
const FAMILY: &str = "family";
/// When the usage was last written, in microseconds.
const WRITTEN: &str = "written";
/// The number of requests.
const REQUESTS: &str = "requests";
/// The id of the last counted request: a retry is not counted again.
const LAST: &str = "last";

/// How long a count stays at least after its window, in seconds: clocks may differ by as much.
const KEPT_AFTER: i64 = 60;

/// Adds a key, with the records that belong to it.
pub(crate) async fn insert(
    database: &Database,
    caller: Option<&KeyId>,
    mut decide: DecideNewKey,
) -> Result<NewKey, KeyError> {
    let mut retry = RetryPolicy::new();
    loop {
        let caller = Caller::read(database, caller).await?;
        let new = decide(caller.record()?)?;
        let mut writes: Vec<Write> =
            [put_new(&new.record)].into_iter().chain(new.call.as_ref().map(idempotency::put)).collect();
        let checked = writes.len();
        writes.extend(caller.check()?);
        writes.push(put_entry(&new.record));
        writes.extend(jobs::calls(database, &new.jobs));
        let bound = Some(LiveKeys::with_new(&new));
        let Written::Failed(failed) = audit::write(database, &writes, &new.event, bound, &mut retry).await?
        else {
            return Ok(new);
        };
        if failed != [checked] {
            return Err(write::duplicate(&writes, &failed).into());
        }
        wait(&mut retry).await?;
    }
}

/// The calling key as it was read before the decision.
struct Caller(Option<Item>);

impl Caller {
    async fn read(database: &Database, id: Option<&KeyId>) -> Result<Self, StoreError> {
        let Some(id) = id else { return Ok(Self(None)) };
        database.get(WHAT, &Key::managed(id)).await.map(Self)
    }

    fn record(&self) -> Result<Option<KeyRecord>, StoreError> {
        self.0.as_ref().map(|item| read_key(item.body()?)).transpose()
    }

    /// A condition that the caller has not changed since it was read.
    fn check(&self) -> Result<Option<Write>, StoreError> {
        let check = |item: &Item| -> Result<Write, StoreError> {
            let key = Key::managed_of(item.text(item::SORT)?);
            Ok(Write::check(WHAT, key).if_equal(REVISION, item::number(item.revision()?)))
        };
        self.0.as_ref().map(check).transpose()
    }
}

async fn wait(retry: &mut RetryPolicy) -> Result<(), StoreError> {
    if retry.wait().await {
        return Ok(());
    }
    Err(failure::contended("TransactWriteItems", "other requests kept changing the key or its caller"))
}

fn put_new(record: &KeyRecord) -> Write {
    let write = Write::put_text(WHAT, Key::managed(&record.id), key_body(record))
        .set(REVISION, item::number(1))
        .if_new();
    write.set_some(EXPIRES, removed_at(record))
}

/// The entry of a key in the list. It stays where it is, and is removed with the key.
fn put_entry(record: &KeyRecord) -> Write {
    let text = format!("{}#{}", keys::time(record.created_at), record.id);
    entry(WHAT, keys::KEYS, Index::Made, &text, record.id.as_str())
        .set(END, item::text(over_at(record)))
        .set(FAMILY, item::text(record.family.as_str()))
        .set_some(EXPIRES, removed_at(record))
}

/// The end of the key, in a form that sorts. Keys without an end sort last.
fn over_at(record: &KeyRecord) -> String {
    record.over_at().map_or(keys::LAST.to_owned(), keys::time)
}

/// When DynamoDB may remove the key.
fn removed_at(record: &KeyRecord) -> Option<AttributeValue> {
    record.over_at().map(|end| item::number(later(end, KEY_RETENTION).as_second()))
}

/// Refuses another key if the live keys have reached a bound. One query counts all and those of the family.
pub(crate) async fn refuse_too_many(database: &Database, bound: &LiveKeys) -> Result<(), KeyError> {
    let query = Query::new(WHAT, keys::KEYS)
        .by(Index::Made, Direction::Descending)
        .above(END, keys::time(bound.now))
        .with(FAMILY)
        .limit(usize::try_from(bound.limit()).unwrap_or(usize::MAX));
    let live = database.query(&query).await?;
    let mut in_family = 0;
    for entry in &live {
        in_family += u64::from(entry.optional_text(FAMILY)? == Some(bound.family.as_str()));
    }
    Ok(bound.check(u64::try_from(live.len()).unwrap_or(u64::MAX), in_family)?)
}

pub(crate) async fn get(database: &Database, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
    let item = database.get(WHAT, &Key::managed(id)).await?;
    item.map(|item| read_key(item.body()?)).transpose()
}

/// One key and its usage.
pub(crate) async fn view(database: &Database, id: &KeyId) -> Result<Option<KeyView>, StoreError> {
    let (key, usage) = both(database, id).await?;
    key.map(|key| read_view(&key, usage.as_ref())).transpose()
}

/// The items of a key and its usage. Two calls instead of one batch, because a role that looks up
/// keys may then do nothing else.
async fn both(database: &Database, id: &KeyId) -> Result<(Option<Item>, Option<Item>), StoreError> {
    let (key, usage) = (Key::managed(id), Key::usage(id));
    let (key, usage) = (Box::pin(database.get(WHAT, &key)), Box::pin(database.get(USAGE, &usage)));
    try_join(key, usage).await
}

fn read_view(key: &Item, usage: Option<&Item>) -> Result<KeyView, StoreError> {
    let usage = usage.map_or(Ok(KeyUsage::NONE), |item| read_usage(item.body()?))?;
    Ok(KeyView { record: read_key(key.body()?)?, usage })
}

/// One page of keys, newest first. A filter may read any field of a key, so it is applied to the
/// keys themselves, until the page is full. Keys that do not match are dropped at once.
pub(crate) async fn list(database: &Database, list: &ListKeys) -> Result<Page<KeyView>, StoreError> {
    let query = Query::new(WHAT, keys::KEYS).by(Index::Made, Direction::Descending);
    let (mut left_out, start) = match &list.page.start {
        Start::Offset(offset) if is_narrowed(list) => (*offset, Start::Offset(0)),
        start => (0, start.clone()),
    };
    let mut entries = Entries::new(database, query, &PageRequest { limit: list.page.limit, start })?;
    let mut page = PageBuilder::new(list.page.limit);
    loop {
        let group = entries.group(GROUP).await?;
        if group.is_empty() {
            return Ok(page.finish());
        }
        let usage = |entry: &Entry| Key::usage_of(&entry.key.sort);
        let both = group.iter().flat_map(|entry| [entry.key.clone(), usage(entry)]).collect();
        let mut items = database.get_all(WHAT, both).await?;
        for entry in group {
            let mut take = |what, key| items.remove(key).map(|attributes| Item::new(what, attributes));
            let (Some(key), usage) = (take(WHAT, &entry.key), take(USAGE, &usage(&entry))) else { continue };
            let view = read_view(&key, usage.as_ref())?;
            if !list.admits(&view) {
                continue;
            }
            if let Some(left) = left_out.checked_sub(1) {
                left_out = left;
            } else if !page.push(view, entry.position) {
                return Ok(page.finish());
            }
        }
    }
}

/// Whether the list has a filter.
fn is_narrowed(list: &ListKeys) -> bool {
    let ListKeys { within, exact, status, project, ends_by, idle_since, now: _, page: _ } = list;
    *within != ProjectAccess::All
        || *exact != ExactFilter::default()
        || status.is_some()
        || project.is_some()
        || ends_by.is_some()
        || idle_since.is_some()
}

pub(crate) async fn change(
    database: &Database,
    id: &KeyId,
    change: ChangeKey,
) -> Result<Option<KeyChange>, KeyError> {
    let ChangeKey { caller, is_ending: _, mut decide } = change;
    // A key that changes itself is checked by its own revision, and a transaction may name an item
    // only once.
    let other = caller.as_ref().filter(|caller| *caller != id);
    let mut retry = RetryPolicy::new();
    loop {
        let Some(item) = database.get(WHAT, &Key::managed(id)).await? else { return Ok(None) };
        let record = read_key(item.body()?)?;
        let before = put_entry(&record);
        let asks = Caller::read(database, other).await?;
        let asking = if caller.as_ref() == Some(id) { Some(record.clone()) } else { asks.record()? };
        let revision = item.revision()?;
        let update = |record: &KeyRecord| {
            let write = Write::update(WHAT, Key::managed(id))
                .set(BODY, item::text(key_body(record)))
                .revise(revision);
            write.set_or_remove(EXPIRES, removed_at(record))
        };
        let change = decide(record, asking)?;
        let (mut writes, mut entries, event, jobs) = match &change {
            KeyChange::None(_) => return Ok(Some(change)),
            KeyChange::To { record, event, jobs } => {
                (vec![update(record)], vec![put_entry(record)], event, jobs)
            }
            KeyChange::Rotation { record, new, event, call, jobs, .. } => {
                let mut writes = vec![update(record), put_new(new)];
                writes.extend(call.as_ref().map(idempotency::put));
                (writes, vec![put_entry(record), put_entry(new)], event, jobs)
            }
        };
        let checked = writes.len();
        writes.extend(asks.check()?);
        entries.retain(|entry| *entry != before);
        writes.extend(entries);
        writes.extend(jobs::calls(database, jobs));
        let bound = LiveKeys::with_change(&change);
        let failed = match audit::write(database, &writes, event, bound, &mut retry).await? {
            Written::All => return Ok(Some(change)),
            Written::Failed(failed) => failed,
        };
        // An item that must be new exists. If one of the two keys has changed meanwhile, the
        // decision may differ, so it is made again.
        if !failed.contains(&0) && !failed.contains(&checked) {
            return Err(write::duplicate(&writes, &failed).into());
        }
        wait(&mut retry).await?;
    }
}

/// Adds uses of a key, unless uses were written within the last minute, by any process.
pub(crate) async fn add_use(
    database: &Database,
    id: &KeyId,
    uses: &KeyUse,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut retry = RetryPolicy::new();
    loop {
        let (Some(key), stored) = both(database, id).await? else { return Ok(true) };
        let removed_at = removed_at(&read_key(key.body()?)?);
        let write = Write::update(USAGE, Key::usage(id))
            .set(WRITTEN, item::number(now.as_microsecond()))
            .set_or_remove(EXPIRES, removed_at);
        let (usage, write) = match stored {
            None => (KeyUsage::NONE, write.set(REVISION, item::number(1)).if_new()),
            Some(item) => {
                let written = Timestamp::from_microsecond(item.number(WRITTEN)?).map_err(|error| {
                    let reason = format!("attribute `{WRITTEN}`: {error}");
                    StoreError::Corrupt { what: USAGE, reason }
                })?;
                let usage = read_usage(item.body()?)?;
                // A time that is far ahead comes from a clock that has been set back since.
                if now.duration_since(written).abs() < WRITE_EVERY && !usage.lacks(uses) {
                    return Ok(false);
                }
                (usage, write.revise(item.revision()?))
            }
        };
        let write = write.set(BODY, item::text(usage_body(&usage.with(uses))));
        // A transaction, because its token makes it happen once even if the answer is lost.
        if let Written::All = database.write(&[write], &mut retry).await? {
            return Ok(true);
        }
        if !retry.wait().await {
            return Err(failure::contended("TransactWriteItems", "others kept adding uses of a key"));
        }
    }
}

/// Counts a request in the current window of a limit.
pub(crate) async fn count(
    database: &Database,
    bucket: &str,
    limit: RateLimit,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let (start, seconds) = (limit.window(now), limit.window_seconds());
    let key = Key::requests(bucket, seconds, start);
    let request = token()?;
    let write = Write::update(COUNT, key.clone())
        .add(REQUESTS, 1)
        .set(LAST, item::text(&request))
        .set(EXPIRES, item::number(start + i64::from(seconds) + KEPT_AFTER))
        .if_other(LAST, item::text(&request));
    let item = match database.update(&write).await? {
        Changed::Yes(attributes) => Some(Item::new(COUNT, attributes)),
        // The request may have been counted and the answer lost. If another request was counted in
        // between, this one counts twice, which refuses one request too many and never one too few.
        Changed::No => database.get(COUNT, &key).await?,
    };
    item.map_or(Ok(1), |item| item.number(REQUESTS))
}
