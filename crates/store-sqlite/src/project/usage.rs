//! Usage of models.

use jiff::civil::Date;
use onerun_domain::{ModelName, ModelUsage, NanoDollars, Purpose, SimulationId, TokenUsage};
use onerun_store::{StoreError, UsageKey, UsageRow};
use rusqlite::params;

use crate::{
    columns::Columns,
    sql::{self, ProjectTables},
};

const WHAT: &str = "model usage";

macro_rules! sums {
    () => {
        "created_by, day, purpose, model, SUM(calls), SUM(failed_calls), SUM(unpriced_calls), SUM(input), \
         SUM(cached_input), SUM(cache_write), SUM(output), SUM(reasoning), SUM(cost)"
    };
}

pub(super) fn add(tables: &ProjectTables<'_>, key: &UsageKey, usage: &ModelUsage) -> Result<(), StoreError> {
    let ModelUsage { calls, failed_calls, unpriced_calls, tokens, cost } = *usage;
    let TokenUsage { input, cached_input, cache_write, output, reasoning } = tokens;
    sql::execute(
        tables.connection,
        WHAT,
        "INSERT INTO model_usage
             (project_id, simulation_id, day, purpose, model, created_by, calls, failed_calls, unpriced_calls,
              input, cached_input, cache_write, output, reasoning, cost)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT DO UPDATE SET
             calls = calls + excluded.calls,
             failed_calls = failed_calls + excluded.failed_calls,
             unpriced_calls = unpriced_calls + excluded.unpriced_calls,
             input = input + excluded.input,
             cached_input = cached_input + excluded.cached_input,
             cache_write = cache_write + excluded.cache_write,
             output = output + excluded.output,
             reasoning = reasoning + excluded.reasoning,
             cost = cost + excluded.cost",
        params![
            tables.project.as_str(),
            key.simulation.as_str(),
            key.day.to_string(),
            key.purpose.as_str(),
            key.model.to_string(),
            key.created_by.as_deref().unwrap_or_default(),
            sql::integer(calls),
            sql::integer(failed_calls),
            sql::integer(unpriced_calls),
            sql::integer(input),
            sql::integer(cached_input),
            sql::integer(cache_write),
            sql::integer(output),
            sql::integer(reasoning),
            sql::integer(cost.get()),
        ],
    )?;
    Ok(())
}

pub(super) fn of_simulation(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<Vec<UsageRow>, StoreError> {
    sql::all(
        tables.connection,
        WHAT,
        concat!(
            "SELECT ",
            sums!(),
            " FROM model_usage
              WHERE project_id = ?1 AND simulation_id = (SELECT id FROM simulations WHERE id = ?2)
              GROUP BY created_by, day, purpose, model ORDER BY day, created_by, purpose, model"
        ),
        [tables.project.as_str(), id.as_str()],
        row,
    )
}

pub(super) fn between(
    tables: &ProjectTables<'_>,
    first: Date,
    last: Date,
) -> Result<Vec<UsageRow>, StoreError> {
    sql::all(
        tables.connection,
        WHAT,
        concat!(
            "SELECT ",
            sums!(),
            " FROM model_usage WHERE project_id = ?1 AND day BETWEEN ?2 AND ?3
              GROUP BY created_by, day, purpose, model ORDER BY day, created_by, purpose, model"
        ),
        [tables.project.as_str(), &first.to_string(), &last.to_string()],
        row,
    )
}

/// Reads `sums!`.
fn row(columns: &mut Columns<'_>) -> Result<UsageRow, StoreError> {
    let created_by: String = columns.value()?;
    Ok(UsageRow {
        created_by: (!created_by.is_empty()).then(|| created_by.into()),
        day: columns.parsed()?,
        purpose: columns.word(Purpose::parse)?,
        model: columns.checked(ModelName::parse)?,
        usage: ModelUsage {
            calls: columns.number()?,
            failed_calls: columns.number()?,
            unpriced_calls: columns.number()?,
            tokens: TokenUsage {
                input: columns.number()?,
                cached_input: columns.number()?,
                cache_write: columns.number()?,
                output: columns.number()?,
                reasoning: columns.number()?,
            },
            cost: NanoDollars::new(columns.number()?),
        },
    })
}
