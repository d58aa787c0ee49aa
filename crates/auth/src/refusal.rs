//! Why a request is refused, and which part of the reason the caller sees.
//!
//! Status, code, message and challenge are public. [`Refusal::cause`] and [`Refusal::key_id`] are
//! for the request's log line. This module writes no response; `onerun_api` does.
//!
//! Invariants: all invalid keys get the same public bytes. Only a caller that sent a valid secret
//! learns that its key is expired, disabled, revoked or used from a forbidden address. The answer
//! for a project out of reach does not depend on whether the project exists.

use http::HeaderValue;

use crate::key::KeyId;
use crate::limit::RateStatus;
use crate::scope::Scope;

/// The `Retry-After` when the keys cannot be read. They are not read again any sooner.
const RETRY_AFTER_SECONDS: u32 = 5;

/// The reason for a refused request. Its `Display` is the public message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No key was sent.
    #[error(
        "no API key was sent; send one in the `x-api-key` header, or in `Authorization` with the scheme `Bearer`"
    )]
    MissingKey,
    /// The key is not accepted, or more than one key was sent.
    #[error(
        "the API key is not valid; send exactly one accepted key, in the `x-api-key` header, or in `Authorization` \
         with the scheme `Bearer`"
    )]
    InvalidKey {
        /// The cause. Not public.
        cause: InvalidCause,
    },
    /// A valid key after its expiry.
    #[error("the API key has expired; use the key that replaced it")]
    ExpiredKey {
        /// The key's id. Not public.
        key_id: KeyId,
    },
    /// A valid key before its `not_before`.
    #[error("the API key is not valid yet; use it from its `not_before` on")]
    EarlyKey {
        /// The key's id. Not public.
        key_id: KeyId,
    },
    /// A valid key that is disabled.
    #[error("the API key is disabled; enable it, or use another")]
    DisabledKey {
        /// The key's id. Not public.
        key_id: KeyId,
    },
    /// A valid key that was revoked.
    #[error("the API key was revoked; use another")]
    RevokedKey {
        /// The key's id. Not public.
        key_id: KeyId,
    },
    /// A valid key, used from an address that it does not allow.
    #[error("the API key may not be used from this address; call from one of its allowed addresses")]
    WrongAddress {
        /// The key's id. Not public.
        key_id: KeyId,
    },
    /// A valid key over its rate limit.
    #[error("the API key is over its rate limit; try again in {} seconds", .status.resets_in_seconds)]
    RateLimited {
        /// The key's id. Not public.
        key_id: KeyId,
        /// The state of the rate limit.
        status: RateStatus,
    },
    /// The key lacks a scope.
    #[error("the API key lacks the scope `{needed}`; use a key that has it")]
    InsufficientScope {
        /// The scope that the route requires.
        needed: Scope,
    },
    /// The key is not bound to the project, whether or not the project exists.
    #[error("the API key is not bound to that project; use a key that is")]
    WrongProject,
    /// The host could not read the keys, so the key cannot be checked.
    #[error("API keys cannot be checked at the moment; try again later")]
    AuthUnavailable,
}

/// Why a key is invalid. For the log only: the public answer is the same for all causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCause {
    /// Longer than any key.
    TooLong,
    /// Contains a comma: several values in one field.
    CommaJoined,
    /// Contains a character that is not visible ASCII.
    Malformed,
    /// The header was sent more than once.
    Repeated,
    /// A key in `x-api-key` and a second one, or the same one, in `Authorization`.
    TwoForms,
    /// Neither a managed key nor a possible root key. No store needs to be read.
    NotAKey,
    /// Well formed, but not an accepted key.
    Unknown,
    /// The id of a managed key with a wrong secret.
    WrongSecret,
}

impl InvalidCause {
    /// The cause as a log field.
    pub const fn as_str(self) -> &'static str {
        match self {
            InvalidCause::TooLong => "too_long",
            InvalidCause::CommaJoined => "comma_joined",
            InvalidCause::Malformed => "malformed",
            InvalidCause::Repeated => "repeated",
            InvalidCause::TwoForms => "two_forms",
            InvalidCause::NotAKey => "not_a_key",
            InvalidCause::Unknown => "unknown",
            InvalidCause::WrongSecret => "wrong_secret",
        }
    }
}

impl Refusal {
    /// The HTTP status code.
    pub const fn status(&self) -> u16 {
        match self {
            Refusal::MissingKey
            | Refusal::InvalidKey { .. }
            | Refusal::ExpiredKey { .. }
            | Refusal::EarlyKey { .. }
            | Refusal::DisabledKey { .. }
            | Refusal::RevokedKey { .. } => 401,
            Refusal::InsufficientScope { .. } | Refusal::WrongProject | Refusal::WrongAddress { .. } => 403,
            Refusal::RateLimited { .. } => 429,
            Refusal::AuthUnavailable => 503,
        }
    }

    /// The public code, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Refusal::MissingKey => "missing_api_key",
            Refusal::InvalidKey { .. } => "invalid_api_key",
            Refusal::ExpiredKey { .. } => "expired_api_key",
            Refusal::EarlyKey { .. } | Refusal::DisabledKey { .. } => "inactive_api_key",
            Refusal::RevokedKey { .. } => "revoked_api_key",
            Refusal::WrongAddress { .. } => "wrong_address",
            Refusal::RateLimited { .. } => "rate_limited",
            Refusal::InsufficientScope { .. } => "insufficient_scope",
            Refusal::WrongProject => "wrong_project",
            Refusal::AuthUnavailable => "auth_unavailable",
        }
    }

    /// The public message: what is wrong and what to do.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The reason as a log field. Never put it in a response: it distinguishes invalid keys.
    pub const fn cause(&self) -> &'static str {
        match self {
            Refusal::MissingKey => "absent",
            Refusal::InvalidKey { cause } => cause.as_str(),
            Refusal::ExpiredKey { .. } => "expired",
            Refusal::EarlyKey { .. } => "not_yet_valid",
            Refusal::DisabledKey { .. } => "disabled",
            Refusal::RevokedKey { .. } => "revoked",
            Refusal::WrongAddress { .. } => "address",
            Refusal::RateLimited { .. } => "rate_limit",
            Refusal::InsufficientScope { .. } => "scope",
            Refusal::WrongProject => "project",
            Refusal::AuthUnavailable => "keys_unreadable",
        }
    }

    /// The refused key, if it was recognised, for the log. Accepted keys are named by their
    /// [`Principal`](crate::Principal).
    pub fn key_id(&self) -> Option<&KeyId> {
        match self {
            Refusal::ExpiredKey { key_id }
            | Refusal::EarlyKey { key_id }
            | Refusal::DisabledKey { key_id }
            | Refusal::RevokedKey { key_id }
            | Refusal::WrongAddress { key_id }
            | Refusal::RateLimited { key_id, .. } => Some(key_id),
            _ => None,
        }
    }

    /// The value of `Retry-After` in seconds, if a retry can help.
    pub const fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Refusal::AuthUnavailable => Some(RETRY_AFTER_SECONDS),
            Refusal::RateLimited { status, .. } => Some(status.resets_in_seconds),
            _ => None,
        }
    }

    /// The state of the rate limit, if that is why the request was refused.
    pub const fn rate(&self) -> Option<&RateStatus> {
        match self {
            Refusal::RateLimited { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate`: on every 401 (RFC 9110, 11.6.1) and, as RFC 6750, 3
    /// requires, on a 403.
    ///
    /// The only challenge is `Bearer`. A challenge names a scheme for `Authorization`, and no
    /// scheme is registered for `x-api-key`. With an invented `ApiKey`, generic clients would send
    /// `Authorization: ApiKey ...`, which is not accepted. The message names both headers instead.
    ///
    /// There is no `error` if no key was sent (RFC 6750, 3.1), and no `scope` for a project out of
    /// reach, because no scope would help.
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Refusal::MissingKey => r#"Bearer realm="OneRun""#,
            Refusal::InvalidKey { .. }
            | Refusal::ExpiredKey { .. }
            | Refusal::EarlyKey { .. }
            | Refusal::DisabledKey { .. }
            | Refusal::RevokedKey { .. } => r#"Bearer realm="OneRun", error="invalid_token""#,
            Refusal::InsufficientScope { needed } => {
                let challenge =
                    format!(r#"Bearer realm="OneRun", error="insufficient_scope", scope="{needed}""#);
                // A scope is letters and a colon, so this is never `None`; a test covers every
                // scope.
                return HeaderValue::try_from(challenge).ok();
            }
            Refusal::WrongProject | Refusal::WrongAddress { .. } => {
                r#"Bearer realm="OneRun", error="insufficient_scope""#
            }
            Refusal::RateLimited { .. } | Refusal::AuthUnavailable => return None,
        };
        Some(HeaderValue::from_static(challenge))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::RateLimit;

    const INVALID: [InvalidCause; 8] = [
        InvalidCause::TooLong,
        InvalidCause::CommaJoined,
        InvalidCause::Malformed,
        InvalidCause::Repeated,
        InvalidCause::TwoForms,
        InvalidCause::NotAKey,
        InvalidCause::Unknown,
        InvalidCause::WrongSecret,
    ];

    fn key_id() -> KeyId {
        "AAECAwQFBgcI".parse().unwrap()
    }

    fn status() -> RateStatus {
        RateLimit::new(3, 60).unwrap().status(4, "2026-01-01T00:00:20Z".parse().unwrap())
    }

    fn all() -> Vec<Refusal> {
        let mut refusals = vec![
            Refusal::MissingKey,
            Refusal::ExpiredKey { key_id: KeyId::ROOT_PREVIOUS },
            Refusal::EarlyKey { key_id: key_id() },
            Refusal::DisabledKey { key_id: key_id() },
            Refusal::RevokedKey { key_id: key_id() },
            Refusal::WrongAddress { key_id: key_id() },
            Refusal::RateLimited { key_id: key_id(), status: status() },
            Refusal::WrongProject,
            Refusal::AuthUnavailable,
        ];
        refusals.extend(INVALID.map(|cause| Refusal::InvalidKey { cause }));
        refusals.extend(Scope::ALL.map(|needed| Refusal::InsufficientScope { needed }));
        refusals
    }

    fn challenge(refusal: &Refusal) -> Option<String> {
        refusal.www_authenticate().map(|value| value.to_str().unwrap().to_owned())
    }

    /// Everything that a client sees.
    fn public(refusal: &Refusal) -> (u16, &'static str, String, Option<String>, Option<u32>) {
        let retry_after = refusal.retry_after_seconds();
        (refusal.status(), refusal.code(), refusal.message(), challenge(refusal), retry_after)
    }

    #[test]
    fn each_refusal_has_its_status_code_and_challenge() {
        let expired = Refusal::ExpiredKey { key_id: KeyId::ROOT_PREVIOUS };
        let invalid = Refusal::InvalidKey { cause: InvalidCause::Unknown };
        let scope = Refusal::InsufficientScope { needed: Scope::SimulationsWrite };
        let rows = [
            (Refusal::MissingKey, 401, "missing_api_key", Some(r#"Bearer realm="OneRun""#)),
            (invalid, 401, "invalid_api_key", Some(r#"Bearer realm="OneRun", error="invalid_token""#)),
            (expired, 401, "expired_api_key", Some(r#"Bearer realm="OneRun", error="invalid_token""#)),
            (
                scope,
                403,
                "insufficient_scope",
                Some(r#"Bearer realm="OneRun", error="insufficient_scope", scope="simulations:write""#),
            ),
            (
                Refusal::WrongProject,
                403,
                "wrong_project",
                Some(r#"Bearer realm="OneRun", error="insufficient_scope""#),
            ),
            (
                Refusal::EarlyKey { key_id: key_id() },
                401,
                "inactive_api_key",
                Some(r#"Bearer realm="OneRun", error="invalid_token""#),
            ),
            (
                Refusal::DisabledKey { key_id: key_id() },
                401,
                "inactive_api_key",
                Some(r#"Bearer realm="OneRun", error="invalid_token""#),
            ),
            (
                Refusal::RevokedKey { key_id: key_id() },
                401,
                "revoked_api_key",
                Some(r#"Bearer realm="OneRun", error="invalid_token""#),
            ),
            (
                Refusal::WrongAddress { key_id: key_id() },
                403,
                "wrong_address",
                Some(r#"Bearer realm="OneRun", error="insufficient_scope""#),
            ),
            (Refusal::RateLimited { key_id: key_id(), status: status() }, 429, "rate_limited", None),
            (Refusal::AuthUnavailable, 503, "auth_unavailable", None),
        ];
        for (refusal, status, code, expected) in rows {
            assert_eq!((refusal.status(), refusal.code()), (status, code));
            assert_eq!(challenge(&refusal).as_deref(), expected);
        }
    }

    #[test]
    fn every_401_and_403_has_a_challenge() {
        for refusal in all() {
            let is_about_the_key = [401, 403].contains(&refusal.status());
            assert_eq!(refusal.www_authenticate().is_some(), is_about_the_key, "{refusal:?}");
        }
    }

    #[test]
    fn all_invalid_keys_get_the_same_public_answer() {
        let seen: BTreeSet<_> = INVALID.map(|cause| public(&Refusal::InvalidKey { cause })).into();
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn log_causes_are_distinct() {
        let refusals = all();
        let causes: BTreeSet<_> = refusals.iter().map(Refusal::cause).collect();
        // All scopes share one cause.
        assert_eq!(causes.len(), refusals.len() - Scope::ALL.len() + 1);
    }

    #[test]
    fn missing_scope_is_named_in_the_message() {
        for needed in Scope::ALL {
            let message = Refusal::InsufficientScope { needed }.message();
            assert!(message.contains(&format!("`{needed}`")), "{message}");
        }
    }

    #[test]
    fn only_temporary_refusals_have_retry_after() {
        for refusal in all() {
            let passes = [429, 503].contains(&refusal.status());
            assert_eq!(refusal.retry_after_seconds().is_some(), passes, "{refusal:?}");
        }
    }

    #[test]
    fn only_recognised_keys_are_logged_by_id() {
        let expired = Refusal::ExpiredKey { key_id: KeyId::ROOT_PREVIOUS };
        assert_eq!(expired.key_id().map(KeyId::as_str), Some("root-previous"));
        assert_eq!(Refusal::InvalidKey { cause: InvalidCause::Unknown }.key_id(), None);
        assert!(!expired.message().contains("root"));
    }
}
