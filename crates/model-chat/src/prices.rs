//! The prices of tokens, and the retirement of models. Both are data: see `prices.json`.

use std::collections::BTreeMap;

use jiff::{Span, civil::Date};
use onerun_domain::{ModelName, NanoDollars, Provider, TokenUsage};
use serde::Deserialize;

/// The prices that are built in.
const BUILT_IN: &str = include_str!("../prices.json");

/// The highest price that is accepted, in US dollars per million tokens.
const HIGHEST: f64 = 1e6;

/// The maximum number of models in a table.
const MAX_MODELS: usize = 10_000;

/// A table of prices.
#[derive(Clone, Debug, Default)]
pub struct Prices(BTreeMap<String, Price>);

/// The price of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Each amount is for a million tokens.
    input: NanoDollars,
    cached_input: NanoDollars,
    cache_write: NanoDollars,
    output: NanoDollars,
    retires: Option<Date>,
}

/// Why a table of prices was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PricesError {
    /// It is not JSON of the expected form.
    #[error("the prices cannot be read: {0}")]
    Form(String),
    /// A price is negative, too high or not a number.
    #[error("`{0}`: `{1}` must be a price in US dollars per million tokens, from 0 to 1000000")]
    Price(String, &'static str),
    /// A name is not a model's name.
    #[error("`{0}`: the model must be `provider:model`, such as `openai:gpt-5.4-mini`")]
    Model(String),
    /// The table is too large.
    #[error("the prices must be of at most {MAX_MODELS} models")]
    TooMany,
}

/// The form of a table. Prices are in US dollars per million tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Where the prices come from; not used here.
    #[serde(default, rename = "source")]
    _source: Option<String>,
    models: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    model: String,
    input: f64,
    /// By default, cached tokens cost as much as others.
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    output: f64,
    retires: Option<Date>,
}

impl Prices {
    /// The prices that are built in.
    pub fn built_in() -> Result<Self, PricesError> {
        Self::default().with(BUILT_IN)
    }

    /// Adds the prices of another table of the same form as `prices.json`, which take precedence.
    pub fn with(mut self, json: &str) -> Result<Self, PricesError> {
        let table: Table =
            serde_json::from_str(json).map_err(|error| PricesError::Form(error.to_string()))?;
        for row in table.models {
            let name = ModelName::parse(&row.model).ok().filter(|name| !name.is_offline());
            let name = name.ok_or_else(|| PricesError::Model(row.model.chars().take(100).collect()))?;
            self.0.insert(name.to_string(), row.price()?);
        }
        if self.0.len() > MAX_MODELS {
            return Err(PricesError::TooMany);
        }
        Ok(self)
    }

    /// The price of a model. The version that answered is looked up first, if it is known. `None` if the
    /// model has no known price; the offline model has none either, since it costs nothing.
    pub fn price(&self, name: &ModelName, version: Option<&str>) -> Option<&Price> {
        let provider = name.provider();
        let of_version = version.and_then(|version| self.find(provider, version));
        of_version.or_else(|| self.find(provider, name.model()))
    }

    /// The date on which a model retires, if that is at most `days` after a date, or before it.
    pub fn retires_within(&self, name: &ModelName, today: Date, days: u16) -> Option<Date> {
        let retires = self.price(name, None)?.retires?;
        let end = today.checked_add(Span::new().days(days)).ok()?;
        (retires <= end).then_some(retires)
    }

    fn find(&self, provider: Provider, model: &str) -> Option<&Price> {
        let lookup = |model: &str| self.find_version(&format!("{}:{model}", provider.as_str()));
        if provider != Provider::Bedrock {
            return lookup(model);
        }
        // The ARN of a model or of AWS's inference profile ends with its id. That of an application's
        // inference profile does not name the model.
        let id = match model.rsplit_once('/') {
            Some((kind, id))
                if kind.ends_with("foundation-model") || kind.ends_with(":inference-profile") =>
            {
                id
            }
            Some(_) => return None,
            None => model,
        };
        // Inference in any region costs as much as in one. That within a geography, such as `eu.`, costs more
        // for most models, and has its own prices.
        lookup(id.strip_prefix("global.").unwrap_or(id))
    }

    /// The longest entry that the name extends by a version alone.
    fn find_version(&self, name: &str) -> Option<&Price> {
        self.0.get(name).or_else(|| {
            name.char_indices()
                .rev()
                .filter(|(_, character)| matches!(character, '-' | '@' | ':'))
                .find_map(|(end, _)| is_version(&name[end..]).then(|| self.0.get(&name[..end])).flatten())
        })
    }
}

impl Row {
    fn price(&self) -> Result<Price, PricesError> {
        let amount = |dollars: f64, field| {
            NanoDollars::from_dollars(dollars)
                .filter(|_| dollars <= HIGHEST)
                .ok_or_else(|| PricesError::Price(self.model.clone(), field))
        };
        Ok(Price {
            input: amount(self.input, "input")?,
            cached_input: amount(self.cached_input.unwrap_or(self.input), "cached_input")?,
            cache_write: amount(self.cache_write.unwrap_or(self.input), "cache_write")?,
            output: amount(self.output, "output")?,
            retires: self.retires,
        })
    }
}

impl Price {
    /// The cost of tokens, rounded up to a billionth of a dollar.
    pub fn cost(&self, tokens: TokenUsage) -> NanoDollars {
        let parts = [
            (tokens.input, self.input),
            (tokens.cached_input, self.cached_input),
            (tokens.cache_write, self.cache_write),
            (tokens.output, self.output),
        ];
        // Each product is below 2^64 * 10^15, so the sum fits.
        let sum: u128 =
            parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(price.get())).sum();
        NanoDollars::new(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The date on which the model retires, if it is known.
    pub fn retires(&self) -> Option<Date> {
        self.retires
    }
}

/// Whether the end of a name is a date or a version such as `-2025-08-07`, `-20250929-v1:0`,
/// `@20250929` or `-latest`. A single digit is not a version: `-5` names another model.
fn is_version(text: &str) -> bool {
    let mut parts = text.split(['-', '@', ':']).skip(1);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_marked = |part: &str| part.strip_prefix('v').is_some_and(is_digits);
    let starts = parts
        .next()
        .is_some_and(|part| part == "latest" || is_marked(part) || (part.len() >= 4 && is_digits(part)));
    starts && parts.all(|part| is_digits(part) || is_marked(part))
}

#[cfg(test)]
mod tests;
