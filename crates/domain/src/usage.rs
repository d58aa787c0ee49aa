//! The consumption of calls to models.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
};

use serde::{Deserialize, Serialize};

/// The tokens of one or more calls. Providers count differently; these words mean the same for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens that were read and neither found in a cache nor written to one.
    pub input: u64,
    /// Tokens that were found in the provider's cache.
    pub cached_input: u64,
    /// Tokens that were read and written to the provider's cache.
    pub cache_write: u64,
    /// Tokens that were written, including those of reasoning.
    pub output: u64,
    /// The part of `output` that the model wrote for itself.
    pub reasoning: u64,
}

impl TokenUsage {
    /// All tokens that were read or written.
    pub fn total(self) -> u64 {
        [self.input, self.cached_input, self.cache_write, self.output]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

impl Add for TokenUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached_input: self.cached_input.saturating_add(other.cached_input),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// An amount of money, in billionths of a US dollar. Prices are per million tokens, so a token's price is
/// a whole number of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoDollars(u64);

impl NanoDollars {
    /// An amount in billionths of a dollar.
    pub const fn new(billionths: u64) -> Self {
        Self(billionths)
    }

    /// An amount in dollars, rounded to billionths; `None` if it is negative, infinite or above a
    /// billion dollars.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number is between 0 and 10^18"
        )]
        (0.0..=1e9).contains(&dollars).then(|| Self((dollars * 1e9).round() as u64))
    }

    /// The amount in billionths of a dollar.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The amount in dollars.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for NanoDollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for NanoDollars {
    /// Dollars with at least two decimals, and as many as the amount needs to show two digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0 {
            0 | 10_000_000.. => 2,
            1_000_000.. => 3,
            100_000.. => 4,
            10_000.. => 5,
            _ => 9,
        };
        write!(formatter, "${:.decimals$}", self.dollars())
    }
}

/// The sum of some calls to models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsage {
    /// The number of calls.
    pub calls: u64,
    /// Calls whose answer could not be used or did not arrive. They may have been billed.
    pub failed_calls: u64,
    /// Calls with a cost that is unknown, because the provider reported no tokens or the model has no
    /// known price.
    pub unpriced_calls: u64,
    /// The tokens that providers reported.
    pub tokens: TokenUsage,
    /// The cost of all other calls.
    pub cost: NanoDollars,
}

impl Add for ModelUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failed_calls: self.failed_calls.saturating_add(other.failed_calls),
            unpriced_calls: self.unpriced_calls.saturating_add(other.unpriced_calls),
            tokens: self.tokens + other.tokens,
            cost: self.cost + other.cost,
        }
    }
}

impl AddAssign for ModelUsage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for ModelUsage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_amounts_show_two_digits() {
        for (billionths, text) in [
            (0, "$0.00"),
            (12_345_678_900, "$12.35"),
            (56_000_000, "$0.06"),
            (5_600_000, "$0.006"),
            (123_000, "$0.0001"),
            (12_000, "$0.00001"),
            (50, "$0.000000050"),
        ] {
            assert_eq!(NanoDollars::new(billionths).to_string(), text);
        }
        assert_eq!(NanoDollars::from_dollars(0.05).map(NanoDollars::get), Some(50_000_000));
        assert_eq!(NanoDollars::from_dollars(-0.1), None);
        assert_eq!(NanoDollars::from_dollars(f64::NAN), None);
    }
}
