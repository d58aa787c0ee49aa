//! Why a request may not proceed, and what is said about it to whom.
//!
//! A refusal has two sides. Status, code, message and challenge are public; [`Refusal::cause`] and [`Refusal::key_id`]
//! are for the one log line of the request. This module writes no response: whoever speaks HTTP does.
//!
//! Invariants: all invalid keys get the same public bytes, whatever is wrong with them. That a key has expired, is disabled
//! or revoked, or may not be used from here is told only to one who sent that key. A project out of reach gets the same answer whether or not it exists.

use http::HeaderValue;

use crate::key::KeyId;
use crate::limit::RateStatus;
use crate::scope::Scope;

/// How long a client waits before it tries again when the keys cannot be read: they are read again no sooner.
const RETRY_AFTER_SECONDS: u32 = 5;

/// A row of the decision table other than "may proceed". Its `Display` is the public message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No key was sent.
    #[error(
        "no API key was sent; send one in the `x-api-key` header, or in `Authorization` with the scheme `Bearer`"
    )]
    MissingKey,
    /// A key that is not accepted, or more than one key.
    #[error(
        "the API key is not valid; send exactly one accepted key, in the `x-api-key` header, or in `Authorization` \
         with the scheme `Bearer`"
    )]
    InvalidKey {
        /// What is wrong with it. Not public.
        cause: InvalidCause,
    },
    /// The right key, too late.
    #[error("the API key has expired; use the key that replaced it")]
    ExpiredKey {
        /// Which key it was. Not public.
        key_id: KeyId,
    },
    /// The right key, which is not valid yet.
    #[error("the API key is not valid yet; use it from its `not_before` on")]
    EarlyKey {
        /// Which key it was. Not public.
        key_id: KeyId,
    },
    /// The right key, which is disabled.
    #[error("the API key is disabled; enable it, or use another")]
    DisabledKey {
        /// Which key it was. Not public.
        key_id: KeyId,
    },
    /// The right key, which was revoked.
    #[error("the API key was revoked; use another")]
    RevokedKey {
        /// Which key it was. Not public.
        key_id: KeyId,
    },
    /// The right key, from an address that it may not be used from.
    #[error("the API key may not be used from this address; call from one of its allowed addresses")]
    WrongAddress {
        /// Which key it was. Not public.
        key_id: KeyId,
    },
    /// The right key, too often.
    #[error("the API key is over its rate limit; try again in {} seconds", .status.resets_in_seconds)]
    RateLimited {
        /// Which key it was. Not public.
        key_id: KeyId,
        /// How it stands with its limit.
        status: RateStatus,
    },
    /// The key may not do this.
    #[error("the API key lacks the scope `{needed}`; use a key that has it")]
    InsufficientScope {
        /// What the route asks for.
        needed: Scope,
    },
    /// The key may not do this in that project, if there is such a project.
    #[error("the API key is not bound to that project; use a key that is")]
    WrongProject,
    /// Nobody can say whether the key is accepted. Made by the host that could not read the keys.
    #[error("API keys cannot be checked at the moment; try again later")]
    AuthUnavailable,
}

/// What is wrong with a key. For the log: the public answer is the same for all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCause {
    /// Longer than any key.
    TooLong,
    /// With a comma: several values in one field.
    CommaJoined,
    /// With a character that is not visible ASCII.
    Malformed,
    /// The same header more than once.
    Repeated,
    /// A key in `x-api-key` and another, or the same, in `Authorization`.
    TwoForms,
    /// Well formed, and no text of which a key can be made: nobody need be asked whether it is one.
    NotAKey,
    /// What could be a key, and is not one of the accepted ones.
    Unknown,
    /// The id of a managed key, with another secret.
    WrongSecret,
}

impl InvalidCause {
    /// The cause as a log field has it.
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

    /// The public message, for people: what is wrong and what to do.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The reason as a log field has it. Not for a response: it tells the invalid keys apart.
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

    /// The key that was refused, where it was recognised and there is no [`Principal`](crate::Principal) to name it.
    /// For the log.
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

    /// The value of `Retry-After`, in seconds, where trying again can help.
    pub const fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Refusal::AuthUnavailable => Some(RETRY_AFTER_SECONDS),
            Refusal::RateLimited { status, .. } => Some(status.resets_in_seconds),
            _ => None,
        }
    }

    /// How the key stands with its limit, where that is why it was refused.
    pub const fn rate(&self) -> Option<&RateStatus> {
        match self {
            Refusal::RateLimited { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate`: on every 401 (RFC 9110, 11.6.1) and, as RFC 6750, 3 asks, on a 403 too.
    ///
    /// The one challenge is `Bearer`. A challenge names a scheme for `Authorization`, and `x-api-key` is a header of its
    /// own: no scheme for it is registered, and a made-up `ApiKey` would have generic clients send
    /// `Authorization: ApiKey ...`, which is not accepted. The message names both headers for people instead.
    ///
    /// There is no `error` if no key was sent (RFC 6750, 3.1), and no `scope` for a project out of reach, because no
    /// scope would help.
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
                // A scope is letters and a colon, so this is never `None`; a test goes through all of them.
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

    /// Everything a client can see.
    fn public(refusal: &Refusal) -> (u16, &'static str, String, Option<String>, Option<u32>) {
        let retry_after = refusal.retry_after_seconds();
        (refusal.status(), refusal.code(), refusal.message(), challenge(refusal), retry_after)
    }

    #[test]
    fn each_row_has_its_status_code_and_challenge() {
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
    fn all_invalid_keys_look_the_same_from_outside() {
        let seen: BTreeSet<_> = INVALID.map(|cause| public(&Refusal::InvalidKey { cause })).into();
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn the_log_tells_the_causes_apart() {
        let refusals = all();
        let causes: BTreeSet<_> = refusals.iter().map(Refusal::cause).collect();
        // All scopes are one cause.
        assert_eq!(causes.len(), refusals.len() - Scope::ALL.len() + 1);
    }

    #[test]
    fn a_missing_scope_is_named() {
        for needed in Scope::ALL {
            let message = Refusal::InsufficientScope { needed }.message();
            assert!(message.contains(&format!("`{needed}`")), "{message}");
        }
    }

    #[test]
    fn only_what_passes_by_itself_is_worth_trying_again() {
        for refusal in all() {
            let passes = [429, 503].contains(&refusal.status());
            assert_eq!(refusal.retry_after_seconds().is_some(), passes, "{refusal:?}");
        }
    }

    #[test]
    fn only_a_recognised_key_is_named_in_the_log() {
        let expired = Refusal::ExpiredKey { key_id: KeyId::ROOT_PREVIOUS };
        assert_eq!(expired.key_id().map(KeyId::as_str), Some("root-previous"));
        assert_eq!(Refusal::InvalidKey { cause: InvalidCause::Unknown }.key_id(), None);
        assert!(!expired.message().contains("root"));
    }
}
