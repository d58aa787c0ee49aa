//! The consumption of models in responses.

use onerun_domain::{ModelUsage, TokenUsage};
use schemars::JsonSchema;
use serde::Serialize;

/// The sum of some calls to models.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelUsage")]
pub(crate) struct ModelUsageOut {
    calls: u64,
    /// Calls whose answer could not be used or did not arrive. They may have been billed.
    failed_calls: u64,
    /// Calls with an unknown cost, because the provider reported no tokens or the model has no known price.
    unpriced_calls: u64,
    /// Tokens that were read and neither found in a cache nor written to one.
    input_tokens: u64,
    /// Tokens that were found in the provider's cache.
    cached_input_tokens: u64,
    /// Tokens that were read and written to the provider's cache.
    cache_write_tokens: u64,
    /// Tokens that were written, including those of reasoning.
    output_tokens: u64,
    /// The part of `output_tokens` that the model wrote for itself.
    reasoning_tokens: u64,
    /// The cost in US dollars, without unpriced calls.
    cost_usd: f64,
}

impl From<ModelUsage> for ModelUsageOut {
    fn from(usage: ModelUsage) -> Self {
        let ModelUsage { calls, failed_calls, unpriced_calls, tokens, cost } = usage;
        let TokenUsage { input, cached_input, cache_write, output, reasoning } = tokens;
        Self {
            calls,
            failed_calls,
            unpriced_calls,
            input_tokens: input,
            cached_input_tokens: cached_input,
            cache_write_tokens: cache_write,
            output_tokens: output,
            reasoning_tokens: reasoning,
            cost_usd: cost.dollars(),
        }
    }
}
