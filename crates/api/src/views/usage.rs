//! Usage of models in responses.

use onerun_domain::{ModelName, ModelUsage, Purpose};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::operation::Example;

/// The sum of some calls to models.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Usage")]
pub(crate) struct UsageOut {
    /// The number of calls.
    calls: u64,
    /// Calls whose answer could not be used or did not arrive. They may have been billed.
    failed_calls: u64,
    /// Calls with a cost that is unknown. `cost_usd` does not include them.
    unpriced_calls: u64,
    /// Tokens that were read and neither found in a cache nor written to one.
    input_tokens: u64,
    /// Tokens that were found in the provider's cache.
    cached_input_tokens: u64,
    /// Tokens that were written to the provider's cache.
    cache_write_tokens: u64,
    /// Tokens that were written, including those of reasoning.
    output_tokens: u64,
    /// The part of `output_tokens` that models wrote for themselves.
    reasoning_tokens: u64,
    /// The cost in US dollars, by list prices.
    cost_usd: f64,
}

impl From<ModelUsage> for UsageOut {
    fn from(usage: ModelUsage) -> Self {
        let ModelUsage { calls, failed_calls, unpriced_calls, tokens, cost } = usage;
        Self {
            calls,
            failed_calls,
            unpriced_calls,
            input_tokens: tokens.input,
            cached_input_tokens: tokens.cached_input,
            cache_write_tokens: tokens.cache_write,
            output_tokens: tokens.output,
            reasoning_tokens: tokens.reasoning,
            cost_usd: cost.dollars(),
        }
    }
}

/// The usage of one model for one purpose.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelUsage")]
pub(crate) struct ModelUsageOut {
    /// `persona`, `reply` or `judge`.
    purpose: &'static str,
    /// `offline` or `provider:model`.
    model: String,
    #[serde(flatten)]
    usage: UsageOut,
}

impl ModelUsageOut {
    pub(crate) fn new(purpose: Purpose, model: &ModelName, usage: ModelUsage) -> Self {
        Self { purpose: purpose.as_str(), model: model.to_string(), usage: usage.into() }
    }
}

/// Usage in all, and by purpose and model.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsageReport")]
pub(crate) struct UsageReportOut {
    total: UsageOut,
    /// One entry for each purpose and model.
    models: Vec<ModelUsageOut>,
}

impl UsageReportOut {
    pub(crate) fn new(rows: impl IntoIterator<Item = (Purpose, ModelName, ModelUsage)>) -> Self {
        let mut models = std::collections::BTreeMap::<_, ModelUsage>::new();
        for (purpose, model, usage) in rows {
            *models.entry((purpose, model)).or_default() += usage;
        }
        let total: ModelUsage = models.values().copied().sum();
        let models =
            models.into_iter().map(|((purpose, model), usage)| ModelUsageOut::new(purpose, &model, usage));
        Self { total: total.into(), models: models.collect() }
    }
}

impl Example for UsageOut {
    fn example() -> Value {
        json!({
            "calls": 412, "failed_calls": 3, "unpriced_calls": 0, "input_tokens": 482_110, "cached_input_tokens": 0,
            "cache_write_tokens": 0, "output_tokens": 28_450, "reasoning_tokens": 0, "cost_usd": 0.177_428,
        })
    }
}
