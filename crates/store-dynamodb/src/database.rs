//! Calls to DynamoDB, with retries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    operation::{
        query::QueryOutput, transact_get_items::TransactGetItemsError,
        transact_write_items::TransactWriteItemsError,
    },
    types::{AttributeValue, CancellationReason, Get, KeysAndAttributes, ReturnValue, TransactGetItem},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::Position;
use onerun_store::StoreError;

use crate::{
    failure,
    item::{Attributes, Item, PARTITION, SORT},
    keys::{self, Key},
    query::{Asked, Entry, Query},
    retry::RetryPolicy,
    write::{Write, key_attributes},
};

/// The most keys in one `BatchGetItem`.
const MAX_BATCH: usize = 100;

/// How many calls one method makes concurrently.
pub(crate) const AT_ONCE: usize = 16;

pub(crate) struct Database {
    client: Client,
    table: String,
    /// The number of shards of jobs.
    pub(crate) job_shards: u32,
    /// The last number that [`order`](Self::order) returned.
    last: AtomicU64,
}

/// Items by key.
pub(crate) type Found = BTreeMap<Key, Attributes>;

/// The outcome of a transaction.
#[derive(Debug)]
pub(crate) enum Written {
    All,
    /// Nothing was written, because conditions did not hold. The positions of the failed writes,
    /// from 0.
    Failed(Vec<usize>),
}

/// The outcome of a write outside a transaction.
pub(crate) enum Changed {
    /// It was written; the attributes after the write.
    Yes(Attributes),
    /// The condition did not hold.
    No,
}

/// A query that is read answer by answer, so that at most one answer is held.
pub(crate) struct Answers<'a> {
    database: &'a Database,
    query: Query,
    start: Option<Attributes>,
    is_over: bool,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(database: &'a Database, query: Query) -> Self {
        Self { database, query, start: None, is_over: false }
    }

    /// Starts after the row at a position.
    pub(crate) fn after(
        database: &'a Database,
        query: Query,
        position: &Position,
    ) -> Result<Self, StoreError> {
        let start = Some(query.start_after(position)?);
        Ok(Self { database, query, start, is_over: false })
    }

    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    /// Whether there are no more answers.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The items of the next answer: at most `limit`, unless the query has filters, and possibly
    /// none. `None` if there are no more answers.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Option<Vec<Item>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let output = self.ask(Asked::Items, limit).await?;
        let items = output.items.unwrap_or_default().into_iter();
        Ok(Some(items.map(|attributes| Item::new(self.query.what, attributes)).collect()))
    }

    /// Skips rows without reading them. Only for a query without filters: with filters, a count
    /// does not say where the next answer begins.
    pub(crate) async fn skip(&mut self, mut count: usize) -> Result<(), StoreError> {
        while count > 0 && !self.is_over {
            let output = self.ask(Asked::Count, count).await?;
            count = count.saturating_sub(usize::try_from(output.count).unwrap_or(0));
        }
        Ok(())
    }

    /// A query over many answers has no deadline as a whole; each answer has its own.
    async fn ask(&mut self, asked: Asked, limit: usize) -> Result<QueryOutput, StoreError> {
        let Self { database, query, start, is_over } = self;
        let mut retry = RetryPolicy::new();
        loop {
            let request = query
                .request(&database.client, &database.table, asked, limit)
                .set_exclusive_start_key(start.clone());
            match retry.attempt(request.send()).await {
                Ok(mut output) => {
                    *start = output.last_evaluated_key.take();
                    *is_over = start.is_none();
                    return Ok(output);
                }
                Err(error) if failure::is_passing(&error) && retry.wait().await => {}
                Err(error) => return Err(failure::of("Query", query.what, &error)),
            }
        }
    }
}

impl Database {
    pub(crate) fn new(client: Client, table: String) -> Self {
        Self { client, table, job_shards: keys::SHARDS, last: AtomicU64::new(0) }
    }

    /// The same table with this number of shards of jobs.
    pub(crate) fn with_job_shards(&self, job_shards: u32) -> Self {
        Self { job_shards, ..Self::new(self.client.clone(), self.table.clone()) }
    }

    /// A number greater than all earlier ones of this process, and roughly ordered between
    /// processes: microseconds since 1970. It only orders what was added at one time.
    #[expect(clippy::disallowed_methods, reason = "an order of arrival is no fact of the domain")]
    pub(crate) fn order(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros();
        let now = u64::try_from(now).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        // The closure always returns a value.
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
        now.max(last + 1)
    }

    /// One item, read consistently.
    pub(crate) async fn get(&self, what: &'static str, key: &Key) -> Result<Option<Item>, StoreError> {
        let mut retry = RetryPolicy::new();
        loop {
            let request = self
                .client
                .get_item()
                .table_name(&self.table)
                .set_key(Some(key_attributes(key)))
                .consistent_read(true);
            match retry.attempt(request.send()).await {
                Ok(output) => return Ok(output.item.map(|attributes| Item::new(what, attributes))),
                Err(error) if failure::is_passing(&error) && retry.wait().await => {}
                Err(error) => return Err(failure::of("GetItem", what, &error)),
            }
        }
    }

    /// Items, each read consistently, but not all at one moment.
    pub(crate) async fn get_all(&self, what: &'static str, keys: BTreeSet<Key>) -> Result<Found, StoreError> {
        self.get_batches(what, keys, None, true).await
    }

    /// Items that change rarely, at half the price. What was written in the last second may be missing or old.
    pub(crate) async fn get_all_lagging(
        &self,
        what: &'static str,
        keys: BTreeSet<Key>,
    ) -> Result<Found, StoreError> {
        self.get_batches(what, keys, None, false).await
    }

    /// How many of these keys have an item. The items are not transferred.
    pub(crate) async fn count(&self, what: &'static str, keys: BTreeSet<Key>) -> Result<usize, StoreError> {
        let only_keys = format!("{PARTITION}, {SORT}");
        Ok(self.get_batches(what, keys, Some(&only_keys), true).await?.len())
    }

    async fn get_batches(
        &self,
        what: &'static str,
        keys: BTreeSet<Key>,
        projection: Option<&str>,
        is_consistent: bool,
    ) -> Result<Found, StoreError> {
        let keys: Vec<Key> = keys.into_iter().collect();
        let batches: Vec<Vec<Key>> = keys.chunks(MAX_BATCH).map(<[Key]>::to_vec).collect();
        let found: Vec<Found> = stream::iter(batches)
            .map(|batch| self.get_batch(what, batch, projection, is_consistent))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn get_batch(
        &self,
        what: &'static str,
        keys: Vec<Key>,
        projection: Option<&str>,
        is_consistent: bool,
    ) -> Result<Found, StoreError> {
        let mut retry = RetryPolicy::new();
        let mut found = Found::new();
        let mut wanted: Vec<Attributes> = keys.iter().map(key_attributes).collect();
        while !wanted.is_empty() {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted.clone()))
                .set_projection_expression(projection.map(str::to_owned))
                .consistent_read(is_consistent)
                .build()
                .map_err(failure::unavailable)?;
            let request = self.client.batch_get_item().request_items(&self.table, request);
            match retry.attempt(request.send()).await {
                Ok(output) => {
                    for attributes in output.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                        found.insert(key_of(what, &attributes)?, attributes);
                    }
                    let left = output.unprocessed_keys.into_iter().flatten().map(|(_, keys)| keys.keys);
                    wanted = left.flatten().collect();
                    // Unprocessed keys were throttled, or did not fit into one reply.
                    if !wanted.is_empty() && !retry.wait().await {
                        return Err(failure::contended("BatchGetItem", "not all items were read in time"));
                    }
                }
                Err(error) if failure::is_passing(&error) && retry.wait().await => {}
                Err(error) => return Err(failure::of("BatchGetItem", what, &error)),
            }
        }
        Ok(found)
    }

    /// A snapshot of at most 100 items, in the order of their keys, for a decision.
    pub(crate) async fn snapshot(
        &self,
        what: &'static str,
        keys: &[Key],
        retry: &mut RetryPolicy,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let mut items = Vec::new();
        for key in keys {
            let get = Get::builder()
                .table_name(&self.table)
                .set_key(Some(key_attributes(key)))
                .build()
                .map_err(failure::unavailable)?;
            items.push(TransactGetItem::builder().get(get).build());
        }
        loop {
            let request = self.client.transact_get_items().set_transact_items(Some(items.clone()));
            let error = match retry.attempt(request.send()).await {
                Ok(output) => {
                    let responses = output.responses.unwrap_or_default().into_iter();
                    let item = |attributes: Attributes| {
                        (!attributes.is_empty()).then(|| Item::new(what, attributes))
                    };
                    let mut read: Vec<_> = responses.map(|response| response.item.and_then(item)).collect();
                    read.resize_with(keys.len(), || None);
                    return Ok(read);
                }
                Err(error) => error,
            };
            // The read was canceled because one of the items is being written.
            let canceled = matches!(
                error.as_service_error(),
                Some(TransactGetItemsError::TransactionCanceledException(_))
            );
            if !(canceled || failure::is_passing(&error)) || !retry.wait().await {
                return Err(failure::of("TransactGetItems", what, &error));
            }
        }
    }

    /// The items of a query, in its order.
    pub(crate) async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        let mut answers = Answers::new(self, query.clone());
        let mut found = Vec::new();
        while found.len() < query.want
            && let Some(items) = answers.next(query.want - found.len()).await?
        {
            found.extend(items);
        }
        found.truncate(query.want);
        Ok(found)
    }

    /// The items of each query, several queries at a time.
    pub(crate) async fn query_all(&self, queries: Vec<Query>) -> Result<Vec<Vec<Item>>, StoreError> {
        stream::iter(queries)
            .map(|query| async move { self.query(&query).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// The index entries of a query, in its order.
    pub(crate) async fn entries(&self, query: &Query) -> Result<Vec<Entry>, StoreError> {
        self.query(query).await?.iter().map(|item| query.entry(item)).collect()
    }

    /// Writes at most 100 items, all or none.
    pub(crate) async fn write(
        &self,
        writes: &[Write],
        retry: &mut RetryPolicy,
    ) -> Result<Written, StoreError> {
        let what = writes.first().map_or("nothing", Write::what);
        let items: Vec<_> =
            writes.iter().map(|write| write.to_transact_item(&self.table)).collect::<Result<_, _>>()?;
        // With the same token, a repeated call after a lost answer is applied once.
        let mut token = token()?;
        let mut lost = false;
        loop {
            let request = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token);
            let Err(error) = retry.attempt(request.send()).await else { return Ok(Written::All) };
            if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
                error.as_service_error()
            {
                let reasons = canceled.cancellation_reasons();
                let failed = reasons_of(reasons, canceled.message(), "ConditionalCheckFailed");
                if !failed.is_empty() {
                    return Ok(Written::Failed(failed));
                }
                for hopeless in ["ValidationError", "ItemCollectionSizeLimitExceeded"] {
                    let found = reasons_of(reasons, canceled.message(), hopeless);
                    if let Some(write) = found.first().and_then(|index| writes.get(*index)) {
                        let reason = format!("DynamoDB does not take it: {hopeless}");
                        return Err(StoreError::Corrupt { what: write.what(), reason });
                    }
                }
                // The attempt lost a conflict or was throttled, so it wrote nothing. An earlier
                // attempt whose answer was lost may still have been applied; a new token would
                // apply it twice.
                if !lost {
                    token = self::token()?;
                }
            } else if !failure::is_passing(&error) {
                return Err(failure::of("TransactWriteItems", what, &error));
            } else {
                lost = true;
            }
            if !retry.wait().await {
                return Err(failure::of("TransactWriteItems", what, &error));
            }
        }
    }

    /// Writes one item outside a transaction, and returns it. After a lost answer it may be written
    /// twice.
    pub(crate) async fn update(&self, write: &Write) -> Result<Changed, StoreError> {
        self.update_and_return(write, ReturnValue::AllNew).await
    }

    /// Like [`update`](Self::update), without reading the item: a role may be allowed to write an
    /// attribute and to read none.
    pub(crate) async fn update_unread(&self, write: &Write) -> Result<(), StoreError> {
        self.update_and_return(write, ReturnValue::None).await.map(|_| ())
    }

    async fn update_and_return(&self, write: &Write, returned: ReturnValue) -> Result<Changed, StoreError> {
        let mut retry = RetryPolicy::new();
        loop {
            let request = write.as_update(&self.client, &self.table).return_values(returned.clone());
            match retry.attempt(request.send()).await {
                Ok(output) => return Ok(Changed::Yes(output.attributes.unwrap_or_default())),
                Err(error) if is_condition(&error) => return Ok(Changed::No),
                Err(error) if failure::is_passing(&error) && retry.wait().await => {}
                Err(error) => return Err(failure::of("UpdateItem", write.what(), &error)),
            }
        }
    }

    /// Puts one item outside a transaction. After a lost answer it may be put twice: a condition on the item before
    /// then fails although it was written.
    pub(crate) async fn put(&self, write: &Write) -> Result<Changed, StoreError> {
        let mut retry = RetryPolicy::new();
        loop {
            match retry.attempt(Box::pin(write.as_put(&self.client, &self.table)?.send())).await {
                Ok(_) => return Ok(Changed::Yes(Attributes::new())),
                Err(error) if is_condition(&error) => return Ok(Changed::No),
                Err(error) if failure::is_passing(&error) && retry.wait().await => {}
                Err(error) => return Err(failure::of("PutItem", write.what(), &error)),
            }
        }
    }

    /// Deletes one item outside a transaction.
    pub(crate) async fn delete(&self, write: &Write) -> Result<Changed, StoreError> {
        let mut retry = RetryPolicy::new();
        loop {
            match retry.attempt(write.as_delete(&self.client, &self.table).send()).await {
                Ok(_) => return Ok(Changed::Yes(Attributes::new())),
                Err(error) if is_condition(&error) => return Ok(Changed::No),
                Err(error) if failure::is_passing(&error) && retry.wait().await => {}
                Err(error) => return Err(failure::of("DeleteItem", write.what(), &error)),
            }
        }
    }
}

fn is_condition(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

/// The positions of the writes of a canceled transaction whose reason is `code`.
fn reasons_of(reasons: &[CancellationReason], message: Option<&str>, code: &str) -> Vec<usize> {
    if !reasons.is_empty() {
        let coded = reasons.iter().enumerate().filter(|(_, reason)| reason.code() == Some(code));
        return coded.map(|(index, _)| index).collect();
    }
    // Older local versions report the reasons in the message only: "… [None,
    // ConditionalCheckFailed]".
    let Some((_, list)) = message.and_then(|message| message.rsplit_once('[')) else { return Vec::new() };
    let codes = list.trim_end_matches(']').split(',').map(str::trim).enumerate();
    codes.filter(|(_, found)| *found == code).map(|(index, _)| index).collect()
}

fn key_of(what: &'static str, attributes: &Attributes) -> Result<Key, StoreError> {
    let text = |name: &'static str| match attributes.get(name) {
        Some(AttributeValue::S(text)) => Ok(text.clone()),
        _ => Err(StoreError::Corrupt { what, reason: format!("attribute `{name}`: not a text") }),
    };
    Ok(Key { partition: text(PARTITION)?, sort: text(SORT)? })
}

/// A unique text for one call.
pub(crate) fn token() -> Result<String, StoreError> {
    Ok(keys::hex(&unique()?))
}

/// Unique bytes for one call.
pub(crate) fn unique() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(failure::unavailable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canceled_transaction_reports_its_failed_writes() {
        let reason = |code: &str| CancellationReason::builder().code(code).build();
        let reasons = [reason("None"), reason("ConditionalCheckFailed"), reason("TransactionConflict")];
        assert_eq!(reasons_of(&reasons, None, "ConditionalCheckFailed"), [1]);
        let message = Some("Transaction cancelled, please refer [None, ConditionalCheckFailed, None]");
        assert_eq!(reasons_of(&[], message, "ConditionalCheckFailed"), [1]);
        assert!(reasons_of(&[], None, "ConditionalCheckFailed").is_empty());
    }
}
