//! Usage of models: one item for each simulation, day, purpose, model and writer, and one for each day, key, purpose,
//! model and writer of the project.
//!
//! A *writer* is a store of one process. It alone writes its items, so it knows their totals and puts them whole. That
//! costs one unit, cannot count a call twice although an answer was lost, and never meets another writer. Readers add
//! up the writers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError},
};

use futures_util::future::try_join;
use jiff::civil::Date;
use onerun_domain::{ModelName, ModelUsage, NanoDollars, Purpose, SimulationId, TokenUsage};
use onerun_store::{StoreError, UsageKey, UsageRow};
use tokio::sync::Mutex;

use super::ProjectTable;
use crate::{
    database::token,
    item::{self, Item},
    keys::{Key, LAST, USAGE_SHARDS},
    query::Query,
    write::Write,
};

const WHAT: &str = "model usage";
const CREATED_BY: &str = "created_by";
const DAY: &str = "day";
const PURPOSE: &str = "purpose";
const MODEL: &str = "model";

/// How many totals a writer remembers. Beyond that it begins anew under another name.
const MAX_TOTALS: usize = 10_000;

/// The totals of this process, by the keys of their items.
#[derive(Default)]
pub(crate) struct UsageWriter(std::sync::Mutex<Totals>);

#[derive(Default)]
struct Totals {
    /// Random. Empty before the first use.
    name: String,
    totals: HashMap<Key, Arc<Mutex<ModelUsage>>>,
}

impl UsageWriter {
    /// The item that this writer has for a usage, and its total.
    fn total(&self, item: impl FnOnce(&str) -> Key) -> Result<(Key, Arc<Mutex<ModelUsage>>), StoreError> {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.name.is_empty() || own.totals.len() >= MAX_TOTALS {
            *own = Totals { name: token()?, totals: HashMap::new() };
        }
        let key = item(&own.name);
        let total = Arc::clone(own.totals.entry(key.clone()).or_default());
        Ok((key, total))
    }
}

pub(super) async fn add(
    table: ProjectTable<'_>,
    key: &UsageKey,
    usage: &ModelUsage,
) -> Result<(), StoreError> {
    let writer = &table.memory.usage;
    let of_simulation = writer.total(|name| table.keys(&key.simulation).usage(key, name))?;
    let of_project = writer.total(|name| Key::model_usage(table.project, key, name))?;
    try_join(add_to(table, of_simulation, key, usage), add_to(table, of_project, key, usage)).await?;
    Ok(())
}

/// Adds to a total and stores it. If that fails, the next addition stores both.
async fn add_to(
    table: ProjectTable<'_>,
    (at, total): (Key, Arc<Mutex<ModelUsage>>),
    key: &UsageKey,
    usage: &ModelUsage,
) -> Result<(), StoreError> {
    let mut total = total.lock().await;
    *total = [*total, *usage].into_iter().sum();
    table.database.put(&write(at, key, &total)).await.map(drop)
}

fn write(at: Key, key: &UsageKey, usage: &ModelUsage) -> Write {
    let write = Write::put_bare(WHAT, at)
        .set(CREATED_BY, item::text(key.created_by.as_deref().unwrap_or_default()))
        .set(DAY, item::text(key.day.to_string()))
        .set(PURPOSE, item::text(key.purpose.as_str()))
        .set(MODEL, item::text(key.model.to_string()));
    let write =
        numbers(usage).into_iter().fold(write, |write, (name, number)| write.set(name, item::number(number)));
    // An earlier put that was believed lost must not replace this one.
    write.if_new_or_at_most("calls", usage.calls.into())
}

fn numbers(usage: &ModelUsage) -> [(&'static str, u64); 9] {
    let ModelUsage { calls, failed_calls, unpriced_calls, tokens, cost } = *usage;
    let TokenUsage { input, cached_input, cache_write, output, reasoning } = tokens;
    [
        ("calls", calls),
        ("failed_calls", failed_calls),
        ("unpriced_calls", unpriced_calls),
        ("input", input),
        ("cached_input", cached_input),
        ("cache_write", cache_write),
        ("output", output),
        ("reasoning", reasoning),
        ("cost", cost.get()),
    ]
}

pub(super) async fn of_simulation(
    table: ProjectTable<'_>,
    id: &SimulationId,
) -> Result<Vec<UsageRow>, StoreError> {
    let keys = table.keys(id);
    rows(table, |shard| Query::new(WHAT, keys.usage_partition(shard))).await
}

pub(super) async fn between(
    table: ProjectTable<'_>,
    first: Date,
    last: Date,
) -> Result<Vec<UsageRow>, StoreError> {
    rows(table, |shard| {
        Query::new(WHAT, Key::model_usage_partition(table.project, shard))
            .between(format!("{first}#"), format!("{last}#{LAST}"))
    })
    .await
}

/// The sums over all shards and writers.
async fn rows(table: ProjectTable<'_>, query: impl Fn(u32) -> Query) -> Result<Vec<UsageRow>, StoreError> {
    let queries: Vec<Query> = (0..USAGE_SHARDS).map(query).collect();
    let found = table.database.query_all(queries).await?;
    let mut sums = BTreeMap::new();
    for item in found.iter().flatten() {
        let row = row(item)?;
        let order = (row.day, row.created_by.clone(), row.purpose.as_str(), row.model.to_string());
        let sum: &mut UsageRow =
            sums.entry(order).or_insert_with(|| UsageRow { usage: ModelUsage::default(), ..row.clone() });
        sum.usage = [sum.usage, row.usage].into_iter().sum();
    }
    Ok(sums.into_values().collect())
}

fn row(item: &Item) -> Result<UsageRow, StoreError> {
    let corrupt =
        |name: &str| StoreError::Corrupt { what: WHAT, reason: format!("attribute `{name}`: not valid") };
    let created_by = item.text(CREATED_BY)?;
    Ok(UsageRow {
        created_by: (!created_by.is_empty()).then(|| created_by.into()),
        day: item.text(DAY)?.parse().map_err(|_| corrupt(DAY))?,
        purpose: Purpose::parse(item.text(PURPOSE)?).ok_or_else(|| corrupt(PURPOSE))?,
        model: ModelName::parse(item.text(MODEL)?).map_err(|_| corrupt(MODEL))?,
        usage: ModelUsage {
            calls: item.number("calls")?,
            failed_calls: item.number("failed_calls")?,
            unpriced_calls: item.number("unpriced_calls")?,
            tokens: TokenUsage {
                input: item.number("input")?,
                cached_input: item.number("cached_input")?,
                cache_write: item.number("cache_write")?,
                output: item.number("output")?,
                reasoning: item.number("reasoning")?,
            },
            cost: NanoDollars::new(item.number("cost")?),
        },
    })
}
