//! Ids of resources: random letters and digits, 12 for resources that people create, 21 for those
//! that simulations generate.
//!
//! An id is opaque and unique, and not a secret.

use std::{fmt, str::FromStr};

use crate::{Random, sha256_hex};

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A text that follows from `parts`, and is different for different parts.
fn derived_text(parts: &[&str], length: usize) -> String {
    let digits = sha256_hex(parts.iter().copied());
    let bytes = (0..length).filter_map(|place| digits.get(2 * place..2 * place + 2));
    let letters = bytes.filter_map(|digits| u8::from_str_radix(digits, 16).ok());
    letters.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {length} letters or digits")]
pub struct IdError {
    length: usize,
}

fn random_text(random: &dyn Random, length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 32];
    while text.len() < length {
        random.fill(&mut bytes);
        for byte in bytes {
            // Rejecting 62 and 63 keeps every letter equally likely.
            if let Some(letter) = ALPHABET.get(usize::from(byte & 63))
                && text.len() < length
            {
                text.push(char::from(*letter));
            }
        }
    }
    text
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The length of an id in characters.
            pub const LENGTH: usize = $length;

            /// Generates an id.
            pub fn generate(random: &dyn Random) -> Self {
                Self(random_text(random, $length).into_boxed_str())
            }

            /// The id that follows from `parts`: the same parts give the same id.
            pub fn derive(parts: &[&str]) -> Self {
                Self(derived_text(parts, $length).into_boxed_str())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() == $length && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { length: $length })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id!(
    /// Identifies a [`Project`](crate::Project).
    ProjectId,
    12
);
id!(
    /// Identifies an [`Agent`](crate::Agent).
    AgentId,
    12
);
id!(
    /// Identifies an [`Objective`](crate::Objective) in all its versions.
    ObjectiveId,
    12
);
id!(
    /// Identifies a [`Simulation`](crate::Simulation).
    SimulationId,
    21
);
id!(
    /// Identifies a [`Persona`](crate::Persona).
    PersonaId,
    21
);
id!(
    /// Identifies a [`Conversation`](crate::Conversation) in all its attempts.
    ConversationId,
    21
);
id!(
    /// Identifies a message of a conversation.
    ItemId,
    21
);
id!(
    /// Identifies an [`Evaluation`](crate::Evaluation).
    EvaluationId,
    21
);
id!(
    /// Identifies an [`EvaluationRun`](crate::EvaluationRun).
    EvaluationRunId,
    21
);
id!(
    /// Identifies a [`Monitor`](crate::Monitor).
    MonitorId,
    12
);
id!(
    /// Identifies a [`MonitorRun`](crate::MonitorRun).
    MonitorRunId,
    21
);
id!(
    /// Identifies a [`Batch`](crate::Batch).
    BatchId,
    12
);
id!(
    /// Identifies a [`Webhook`](crate::Webhook).
    WebhookId,
    12
);
id!(
    /// Identifies a [`WebhookDelivery`](crate::WebhookDelivery).
    WebhookDeliveryId,
    21
);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use proptest::prelude::*;

    use super::*;

    struct Counting(AtomicU8);

    impl Random for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn generated_id_parses_to_itself() {
        let random = Counting(AtomicU8::new(0));
        for _ in 0..100 {
            let id = SimulationId::generate(&random);
            assert_eq!(id.as_str().parse::<SimulationId>(), Ok(id));
        }
    }

    #[test]
    fn derived_id_follows_from_its_parts() {
        let id = SimulationId::derive(&["monitor", "2031-03-14T09:26:53Z"]);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(SimulationId::derive(&["monitor", "2031-03-14T09:26:53Z"]), id);
        assert_ne!(SimulationId::derive(&["monitor", "2031-03-14T09:26:54Z"]), id);
    }

    #[test]
    fn id_of_wrong_length_or_alphabet_is_refused() {
        for text in ["", "abc", "abcdefghijkl-", "abcdefghijk-", "abcdefghijk\u{e9}", "abcdefghijklm"] {
            assert!(text.parse::<ProjectId>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_text(text in ".{0,30}") {
            if let Ok(id) = text.parse::<AgentId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
