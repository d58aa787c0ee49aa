//! Usage of models: one item for each simulation, day, purpose and model, and one for each day, key,
//! purpose and model of the project.

use jiff::civil::Date;
use onerun_domain::{ModelName, ModelUsage, NanoDollars, Purpose, SimulationId, TokenUsage};
use onerun_store::{StoreError, UsageKey, UsageRow};

use super::ProjectTable;
use crate::{
    database::Written,
    item::{self, Item},
    keys::{Key, LAST},
    query::Query,
    retry::RetryPolicy,
    write::{Write, duplicate},
};

const WHAT: &str = "model usage";
const CREATED_BY: &str = "created_by";
const DAY: &str = "day";
const PURPOSE: &str = "purpose";
const MODEL: &str = "model";

pub(super) async fn add(
    table: ProjectTable<'_>,
    key: &UsageKey,
    usage: &ModelUsage,
) -> Result<(), StoreError> {
    let of_simulation = table.keys(&key.simulation).usage(key);
    let of_project = Key::model_usage(table.project, key);
    // A transaction has a token, so it is applied once although an answer may be lost.
    let writes = [write(of_simulation, key, usage), write(of_project, key, usage)];
    match table.database.write(&writes, &mut RetryPolicy::new()).await? {
        Written::All => Ok(()),
        Written::Failed(failed) => Err(duplicate(&writes, &failed)),
    }
}

fn write(at: Key, key: &UsageKey, usage: &ModelUsage) -> Write {
    let mut write = Write::update(WHAT, at)
        .set(CREATED_BY, item::text(key.created_by.as_deref().unwrap_or_default()))
        .set(DAY, item::text(key.day.to_string()))
        .set(PURPOSE, item::text(key.purpose.as_str()))
        .set(MODEL, item::text(key.model.to_string()));
    for (name, number) in numbers(usage) {
        write = write.add(name, number.into());
    }
    write
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
    let query =
        Query::new(WHAT, keys.partition.as_str()).beginning(crate::keys::SimulationKeys::usage_prefix());
    rows(table, &query).await
}

pub(super) async fn between(
    table: ProjectTable<'_>,
    first: Date,
    last: Date,
) -> Result<Vec<UsageRow>, StoreError> {
    let query = Query::new(WHAT, Key::model_usage_partition(table.project))
        .between(format!("{first}#"), format!("{last}#{LAST}"));
    rows(table, &query).await
}

async fn rows(table: ProjectTable<'_>, query: &Query) -> Result<Vec<UsageRow>, StoreError> {
    let mut rows: Vec<UsageRow> =
        table.database.query(query).await?.iter().map(row).collect::<Result<_, _>>()?;
    rows.sort_by(|a, b| {
        let order =
            |row: &UsageRow| (row.day, row.created_by.clone(), row.purpose.as_str(), row.model.to_string());
        order(a).cmp(&order(b))
    });
    Ok(rows)
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
