//! Refused changes of keys.

use crate::grant::Excess;
use crate::key::KeyId;

/// Why a key is not created or changed. The message is for people and safe to show to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyChangeError {
    /// The key is revoked, which is final.
    #[error("the key was revoked, which is final; create another")]
    Revoked,
    /// The key has expired.
    #[error("the key has expired; create another")]
    Expired,
    /// The key is disabled, and only an enabled key is rotated.
    #[error("the key is disabled; enable it first")]
    Disabled,
    /// The key was replaced by a rotation.
    #[error("the key was rotated; change key `{by}`, which replaced it")]
    Replaced {
        /// The id of the new key.
        by: KeyId,
    },
    /// The maximum number of live keys is reached.
    #[error(
        "{limit} keys are neither revoked nor expired, which is the maximum: revoke keys that are not used, or wait until some expire"
    )]
    TooManyKeys {
        /// The maximum number.
        limit: u32,
    },
    /// The maximum number of live keys of the calling key's family is reached.
    #[error(
        "{limit} keys of the calling key's family are neither revoked nor expired, which is the maximum: revoke those that are not used, wait until some expire, or call with a key of another family"
    )]
    TooManyKeysOfFamily {
        /// The maximum number.
        limit: u32,
    },
    /// The key exceeds the key that would create, change or end it.
    #[error(
        "a key may create, change and end only keys within its own grant; this one exceeds it in {}",
        list(.excess)
    )]
    ExceedsOwnKey {
        /// The exceeded dimensions.
        excess: Vec<Excess>,
    },
}

fn list(excess: &[Excess]) -> String {
    excess.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
