//! Turns a presented key into a [`Principal`].
//!
//! [`recognize`] (root keys) and [`recognize_managed`] (managed keys) are the only way to a
//! principal. The principal answers what its key may do. The host reads the keys and builds the
//! [`KeyRing`].
//!
//! Invariant: a principal results only from one accepted key whose life has not ended.

use std::net::IpAddr;

use jiff::Timestamp;
use subtle::ConstantTimeEq;

use crate::credential::Credential;
use crate::key::KeyDigest;
use crate::managed::ManagedKey;
use crate::principal::Principal;
use crate::record::{KeyRecord, KeyStatus};
use crate::refusal::{InvalidCause, Refusal};
use crate::ring::KeyRing;

/// Recognises the root key that a credential contains.
pub fn recognize(ring: &KeyRing, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal> {
    let Some(entry) = ring.find(&credential.digest()) else {
        let could_be = credential.could_be_a_root_key();
        let cause = if could_be { InvalidCause::Unknown } else { InvalidCause::NotAKey };
        return Err(Refusal::InvalidKey { cause });
    };
    // Checked after the key itself: only the holder of a key learns that it has expired.
    if entry.is_expired(now) {
        return Err(Refusal::ExpiredKey { key_id: entry.id().clone() });
    }
    Ok(Principal::root(entry))
}

/// Recognises a managed key by its stored record. `address` is the caller's address, if known.
///
/// The same steps are taken whether or not a record exists and whether or not the secret is right.
/// Only a caller with the right secret learns what else is wrong with the key.
pub fn recognize_managed(
    key: &ManagedKey,
    record: Option<&KeyRecord>,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    // Copied to the stack, so that a stored digest and the substitute take equally long to read.
    let stored = record.map_or(KeyDigest::of_nothing(), |record| record.digest.clone());
    let is_right = key.digest().ct_eq(&stored);
    let cause = [InvalidCause::Unknown, InvalidCause::WrongSecret][usize::from(record.is_some())];
    // The first branch on the outcome, after the constant-time comparison.
    if !bool::from(is_right) {
        return Err(Refusal::InvalidKey { cause });
    }
    recognize_again(record.filter(|record| record.id == *key.id()), address, now)
}

/// Checks a key again by its current record, after its secret was verified.
pub fn recognize_again(
    record: Option<&KeyRecord>,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    let Some(record) = record else {
        return Err(Refusal::InvalidKey { cause: InvalidCause::Unknown });
    };
    let key_id = || record.id.clone();
    match record.status(now) {
        KeyStatus::Revoked => Err(Refusal::RevokedKey { key_id: key_id() }),
        KeyStatus::Expired => Err(Refusal::ExpiredKey { key_id: key_id() }),
        KeyStatus::Disabled => Err(Refusal::DisabledKey { key_id: key_id() }),
        KeyStatus::Pending => Err(Refusal::EarlyKey { key_id: key_id() }),
        KeyStatus::Active if !record.grant.addresses.allows(address) => {
            Err(Refusal::WrongAddress { key_id: key_id() })
        }
        KeyStatus::Active => Ok(Principal::managed(record)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{HeaderMap, HeaderValue};
    use jiff::SignedDuration;
    use onerun_domain::{Metadata, Name};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Access, AddressAccess, Grant, KeyId, KeyKind, NewKeySpec, ProjectAccess, RootKey, Scope, ScopeSet,
        parse_block,
    };

    const CURRENT: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";
    const PREVIOUS: &str = "0hH2m7yTq4fVJx9b3kRzW8sLcN5pUeGdA1oXiKtMw6Y=";
    const OTHER: &str = "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=";

    const BEFORE: &str = "2025-12-31T23:59:59.999999999Z";
    const END: &str = "2026-01-01T00:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A ring of both keys; the previous one ends at [`END`].
    fn ring() -> KeyRing {
        let [current, previous] = [CURRENT, PREVIOUS].map(|text| RootKey::parse(text).unwrap());
        KeyRing::new(&current).with_previous(&previous, time(END))
    }

    /// The headers of a request: names and values.
    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn headers(fields: Fields<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn authenticate(ring: &KeyRing, headers: &HeaderMap, now: Timestamp) -> Result<Principal, Refusal> {
        recognize(ring, &Credential::of_request(headers)?, now)
    }

    fn decide(fields: Fields<'_>, now: &str) -> Result<Principal, Refusal> {
        authenticate(&ring(), &headers(fields), time(now))
    }

    #[test]
    fn root_key_may_do_everything_and_does_not_expire() {
        for fields in [("x-api-key", CURRENT.to_owned()), ("authorization", format!("Bearer {CURRENT}"))] {
            let principal = decide(&[(fields.0, &fields.1)], END).unwrap();
            assert_eq!(principal.key_id().as_str(), "root");
            assert_eq!(principal.kind(), KeyKind::Root);
            assert_eq!(principal.scopes(), ScopeSet::ALL);
            assert_eq!(principal.projects(), &ProjectAccess::All);
            assert_eq!(principal.expires_at(), None);
            for scope in Scope::ALL {
                assert_eq!(principal.authorize(Access::Requires(scope)), Ok(()));
            }
        }
    }

    #[test]
    fn previous_key_is_accepted_until_just_before_its_end() {
        let sent = [("x-api-key", PREVIOUS)];
        let principal = decide(&sent, BEFORE).unwrap();
        assert_eq!(principal.key_id().as_str(), "root-previous");
        assert_eq!(principal.expires_at(), Some(time(END)));

        let refusal = decide(&sent, END).unwrap_err();
        assert_eq!((refusal.code(), refusal.cause()), ("expired_api_key", "expired"));
        assert_eq!(refusal.key_id().map(ToString::to_string).as_deref(), Some("root-previous"));
    }

    #[test]
    fn request_without_one_accepted_key_is_refused() {
        let joined = format!("{CURRENT},{PREVIOUS}");
        let bearer = format!("Bearer {CURRENT}");
        let long = CURRENT.repeat(24);
        let unpadded = CURRENT.trim_end_matches('=');
        let cases: [(Fields<'_>, &str, &str); 12] = [
            (&[], "missing_api_key", "absent"),
            (&[("x-api-key", " ")], "missing_api_key", "absent"),
            (&[("authorization", "Basic dXNlcjpwYXNz")], "missing_api_key", "absent"),
            (&[("x-api-key", OTHER)], "invalid_api_key", "unknown"),
            (&[("x-api-key", "a")], "invalid_api_key", "not_a_key"),
            (&[("x-api-key", unpadded)], "invalid_api_key", "unknown"),
            (&[("x-api-key", "a b")], "invalid_api_key", "malformed"),
            (&[("x-api-key", &long)], "invalid_api_key", "too_long"),
            (&[("x-api-key", &joined)], "invalid_api_key", "comma_joined"),
            (&[("x-api-key", CURRENT), ("x-api-key", CURRENT)], "invalid_api_key", "repeated"),
            (&[("x-api-key", CURRENT), ("authorization", &bearer)], "invalid_api_key", "two_forms"),
            (&[("cookie", CURRENT)], "missing_api_key", "absent"),
        ];
        for (fields, code, cause) in cases {
            let refusal = decide(fields, BEFORE).unwrap_err();
            assert_eq!((refusal.status(), refusal.code(), refusal.cause()), (401, code, cause), "{fields:?}");
        }
    }

    #[test]
    fn pending_key_may_only_ask_who_it_is() {
        let [current, pending] = [CURRENT, OTHER].map(|text| RootKey::parse(text).unwrap());
        let ring = KeyRing::new(&current).with_pending(&pending);
        let principal = authenticate(&ring, &headers(&[("x-api-key", OTHER)]), time(END)).unwrap();
        assert_eq!(principal.key_id().as_str(), "root-pending");
        assert!(principal.is_pending());
        assert_eq!(principal.authorize(Access::AnyKey), Ok(()));
        for needed in Scope::ALL {
            let refused = Err(Refusal::InsufficientScope { needed });
            assert_eq!(principal.authorize(Access::Requires(needed)), refused);
        }
        assert_eq!(principal.projects(), &ProjectAccess::Only(std::collections::BTreeSet::new()));
        assert!(!decide(&[("x-api-key", CURRENT)], END).unwrap().is_pending());
    }

    #[test]
    fn unknown_key_is_invalid_and_not_expired() {
        assert_eq!(decide(&[("x-api-key", OTHER)], END).unwrap_err().code(), "invalid_api_key");
    }

    #[test]
    fn debug_and_messages_do_not_contain_keys() {
        let mut printed = Vec::new();
        for fields in [
            vec![("x-api-key", CURRENT)],
            vec![("x-api-key", PREVIOUS)],
            vec![("x-api-key", OTHER)],
            vec![("x-api-key", CURRENT), ("x-api-key", OTHER)],
        ] {
            let headers = headers(&fields);
            printed.push(format!("{:?} {:#?}", Credential::from_headers(&headers), ring()));
            for now in [BEFORE, END] {
                printed.push(match authenticate(&ring(), &headers, time(now)) {
                    Ok(principal) => format!("{principal:?} {}", principal.key_id()),
                    Err(refusal) => {
                        let challenge = refusal.www_authenticate();
                        format!("{refusal:?} {refusal} {} {challenge:?}", refusal.cause())
                    }
                });
            }
        }
        let printed = printed.join("\n");
        for text in [CURRENT, PREVIOUS, OTHER] {
            for eight in text.as_bytes().windows(8) {
                assert!(!printed.contains(str::from_utf8(eight).unwrap()), "{printed}");
            }
        }
    }

    /// A managed key whose id and secret each repeat one byte.
    fn managed(id: u8, secret: u8) -> ManagedKey {
        let generated = ManagedKey::generate(|bytes| {
            bytes[..9].fill(id);
            bytes[9..].fill(secret);
            Ok::<(), Infallible>(())
        });
        let Ok(key) = generated;
        key
    }

    /// A key for 10.0.0.0/8 that ends at [`END`].
    fn record() -> KeyRecord {
        let spec = NewKeySpec {
            name: Name::parse("ci").unwrap(),
            grant: Grant {
                addresses: AddressAccess::Only(vec![parse_block("10.0.0.0/8").unwrap()]),
                expires_at: Some(time(END)),
                ..Grant::everything()
            },
            not_before: None,
            metadata: Metadata::default(),
        };
        KeyRecord::new(&managed(1, 1), spec, KeyId::ROOT, time("2025-10-01T00:00:00Z"))
    }

    /// A refusal's code and cause.
    type CodeAndCause = (&'static str, &'static str);

    /// The key in every state, with the time, the address and the expected refusal.
    fn states() -> Vec<(KeyRecord, &'static str, Option<&'static str>, Option<CodeAndCause>)> {
        let (from, now) = (Some("10.1.2.3"), time(BEFORE));
        let early = KeyRecord { not_before: Some(time(END)), ..record() };
        let rotated = |overlap: SignedDuration| {
            record().rotate(&managed(2, 2), overlap, None, KeyId::ROOT, now - overlap).unwrap().0
        };
        vec![
            (record(), BEFORE, from, None),
            (record(), BEFORE, Some("::ffff:10.1.2.3"), None),
            (record(), END, from, Some(("expired_api_key", "expired"))),
            (rotated(SignedDuration::from_secs(1)), BEFORE, from, Some(("expired_api_key", "expired"))),
            (rotated(SignedDuration::ZERO), BEFORE, from, Some(("revoked_api_key", "revoked"))),
            (early, BEFORE, from, Some(("inactive_api_key", "not_yet_valid"))),
            (record().disable(now).unwrap(), BEFORE, from, Some(("inactive_api_key", "disabled"))),
            (record().revoke(now), BEFORE, from, Some(("revoked_api_key", "revoked"))),
            (record(), BEFORE, Some("11.1.2.3"), Some(("wrong_address", "address"))),
            (record(), BEFORE, None, Some(("wrong_address", "address"))),
            // A revoked key does not reveal its allowed addresses.
            (record().revoke(now), BEFORE, None, Some(("revoked_api_key", "revoked"))),
        ]
    }

    #[test]
    fn right_secret_reveals_the_state_of_the_key() {
        for (record, now, address, expected) in states() {
            let address = address.map(|text| text.parse().unwrap());
            match recognize_managed(&managed(1, 1), Some(&record), address, time(now)) {
                Ok(principal) => {
                    assert_eq!(expected, None, "{record:?}");
                    assert_eq!(principal.key_id(), &record.id);
                    assert_eq!(principal.kind(), KeyKind::Managed);
                    assert_eq!(principal.expires_at(), Some(time(END)));
                }
                Err(refusal) => {
                    assert_eq!(Some((refusal.code(), refusal.cause())), expected, "{record:?}");
                    assert_eq!(refusal.key_id(), Some(&record.id));
                }
            }
        }
    }

    #[test]
    fn wrong_secret_gets_one_answer_in_every_state() {
        let public = |refusal: &Refusal| {
            (refusal.status(), refusal.code(), refusal.message(), refusal.www_authenticate())
        };
        let invalid = public(&Refusal::InvalidKey { cause: InvalidCause::Unknown });
        for (record, now, address, _) in states() {
            let address = address.map(|text| text.parse().unwrap());
            let refused = |key: &ManagedKey, record: Option<&KeyRecord>| {
                recognize_managed(key, record, address, time(now)).unwrap_err()
            };
            let cases = [
                (refused(&managed(1, 2), Some(&record)), "wrong_secret"),
                (refused(&managed(1, 1), None), "unknown"),
                // The record of another key with the same secret, as a faulty store could return
                // it.
                (refused(&managed(2, 1), Some(&record)), "unknown"),
            ];
            for (refusal, cause) in cases {
                assert_eq!((public(&refusal), refusal.cause()), (invalid.clone(), cause), "{record:?}");
                assert_eq!(refusal.key_id(), None);
            }
        }
    }

    proptest! {
        #[test]
        fn changed_key_is_refused(
            index in 0..CURRENT.len(),
            character in "[!-~]",
            change in 0..4,
            in_force: bool,
        ) {
            let original = if in_force { CURRENT } else { PREVIOUS };
            let mut changed = original.to_owned();
            match change {
                0 => changed.replace_range(index..=index, &character),
                1 => changed.insert_str(index, &character),
                2 => changed.push_str(&character),
                _ => drop(changed.remove(index)),
            }
            prop_assume!(changed != original);
            let refusal = decide(&[("x-api-key", &changed)], BEFORE).unwrap_err();
            prop_assert_eq!(refusal.code(), "invalid_api_key");
        }

        #[test]
        fn random_bytes_are_refused(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert("x-api-key", value);
                prop_assert!(authenticate(&ring(), &headers, time(BEFORE)).is_err());
            }
        }

        #[test]
        fn expired_key_stays_refused(seconds in 0..4_000_000_000_i64, later in 0..4_000_000_000_i64) {
            let at = |second| Timestamp::from_second(second).unwrap();
            let sent = headers(&[("x-api-key", PREVIOUS)]);
            if authenticate(&ring(), &sent, at(seconds)).is_err() {
                prop_assert!(authenticate(&ring(), &sent, at(seconds + later)).is_err());
            }
        }
    }
}
