//! Bounded numbers from callers.

use std::fmt;

/// Why a number was refused. The message completes a sentence that starts with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an integer from {min} to {max}")]
pub struct NumberError {
    min: u64,
    max: u64,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident: $inner:ty, $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const MIN: $inner = $min;
            /// The largest value.
            pub const MAX: $inner = $max;

            /// Parses a value; the only way to create one.
            pub fn parse(number: u64) -> Result<Self, NumberError> {
                match <$inner>::try_from(number) {
                    Ok(number) if (Self::MIN..=Self::MAX).contains(&number) => Ok(Self(number)),
                    _ => Err(NumberError { min: $min, max: $max }),
                }
            }

            /// The number.
            pub fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = NumberError;

            fn try_from(number: u64) -> Result<Self, NumberError> {
                Self::parse(number)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0.into()
            }
        }
    };
}

number!(
    /// The number of conversations or personas of a simulation.
    Target: u32, 1..=10_000
);
number!(
    /// The maximum number of messages of both sides in a conversation. A turn is one message, as in
    /// the published service.
    MaxTurns: u32, 1..=200
);
number!(
    /// The seed of a simulation's personas, replies and evaluations: the same seed gives the same
    /// bytes. Bounded so that every JSON parser represents it exactly.
    Seed: u64, 0..=9_007_199_254_740_991
);

impl Seed {
    /// A seed from random bits; surplus bits are dropped.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MAX)
    }
}

impl Default for MaxTurns {
    /// The default of the published service.
    fn default() -> Self {
        Self(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        assert!(Target::parse(0).is_err());
        assert_eq!(Target::parse(1).map(Target::get), Ok(1));
        assert_eq!(Target::parse(10_000).map(Target::get), Ok(10_000));
        assert!(Target::parse(10_001).is_err());
        assert!(MaxTurns::parse(u64::MAX).is_err());
        assert!(Seed::parse(9_007_199_254_740_992).is_err());
    }

    #[test]
    fn error_names_the_bounds() {
        assert_eq!(
            MaxTurns::parse(201).map_err(|error| error.to_string()),
            Err("must be an integer from 1 to 200".to_owned())
        );
    }
}
