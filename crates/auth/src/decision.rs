//! The one path from a request's headers to who sent it.
//!
//! Every host and every route come through [`recognize`], for a root key, or [`recognize_managed`]; there is no other way to
//! a [`Principal`]. What that
//! principal may do is asked of it, and keys are read by whoever made the [`KeyRing`].
//!
//! Invariant: a principal comes out only for exactly one key, which is in the ring and whose life has not ended.

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

/// Says who presented a credential, at this wall-clock time: [`authenticate`], for a host that may have to read the
/// keys anew in between.
pub fn recognize(ring: &KeyRing, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal> {
    let Some(entry) = ring.find(&credential.digest()) else {
        let could_be = credential.could_be_a_root_key();
        let cause = if could_be { InvalidCause::Unknown } else { InvalidCause::NotAKey };
        return Err(Refusal::InvalidKey { cause });
    };
    // After the key is known to be right: that it has expired is told only to one who holds it.
    if entry.is_expired(now) {
        return Err(Refusal::ExpiredKey { key_id: entry.id().clone() });
    }
    Ok(Principal::root(entry))
}

/// Says who presented a managed key, of which this record is kept, from an address, at this wall-clock time.
///
/// Whether there is a record and whether the secret is that of the key, it takes the same steps to the same answer. What
/// else is wrong with a key is told only once the secret is known to be right.
pub fn recognize_managed(
    key: &ManagedKey,
    record: Option<&KeyRecord>,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    // Beside the record's, so that neither is nearer to the processor than the other.
    let stored = record.map_or(KeyDigest::of_nothing(), |record| record.digest.clone());
    let is_right = key.digest().ct_eq(&stored);
    let cause = [InvalidCause::Unknown, InvalidCause::WrongSecret][usize::from(record.is_some())];
    // Only here, after the comparison, does the outcome become a branch, and whether there is a record one behind it.
    if !bool::from(is_right) {
        return Err(Refusal::InvalidKey { cause });
    }
    recognize_again(record.filter(|record| record.id == *key.id()), address, now)
}

/// Says who presented a key whose secret was found right before, by the record that is kept of it now.
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

    /// Both keys, the previous one until [`END`].
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
    fn the_root_key_may_do_everything_and_does_not_expire() {
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
    fn the_previous_key_is_accepted_until_its_end_and_not_at_it() {
        let sent = [("x-api-key", PREVIOUS)];
        let principal = decide(&sent, BEFORE).unwrap();
        assert_eq!(principal.key_id().as_str(), "root-previous");
        assert_eq!(principal.expires_at(), Some(time(END)));

        let refusal = decide(&sent, END).unwrap_err();
        assert_eq!((refusal.code(), refusal.cause()), ("expired_api_key", "expired"));
        assert_eq!(refusal.key_id().map(ToString::to_string).as_deref(), Some("root-previous"));
    }

    #[test]
    fn a_request_without_one_accepted_key_is_refused_for_its_cause() {
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
    fn a_key_that_is_yet_to_come_into_force_may_only_ask_who_it_is() {
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
    fn that_a_key_expired_is_not_told_for_another_key() {
        assert_eq!(decide(&[("x-api-key", OTHER)], END).unwrap_err().code(), "invalid_api_key");
    }

    #[test]
    fn nothing_that_is_printed_holds_a_key() {
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

    /// The managed key with this id and secret, each one byte over and over.
    fn managed(id: u8, secret: u8) -> ManagedKey {
        let made = ManagedKey::generate(|bytes| {
            bytes[..9].fill(id);
            bytes[9..].fill(secret);
            Ok::<(), Infallible>(())
        });
        let Ok(key) = made;
        key
    }

    /// A key from 10.0.0.0/8 that ends at [`END`].
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

    /// A code and a cause.
    type Told = (&'static str, &'static str);

    /// That key in every state, each with when it is asked, from where, and what its holder is told.
    fn states() -> Vec<(KeyRecord, &'static str, Option<&'static str>, Option<Told>)> {
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
            // Nor is it told where it could be used from.
            (record().revoke(now), BEFORE, None, Some(("revoked_api_key", "revoked"))),
        ]
    }

    #[test]
    fn who_has_the_secret_is_told_how_the_key_stands() {
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
    fn who_has_not_is_told_the_same_however_the_key_stands() {
        let told = |refusal: &Refusal| {
            (refusal.status(), refusal.code(), refusal.message(), refusal.www_authenticate())
        };
        let invalid = told(&Refusal::InvalidKey { cause: InvalidCause::Unknown });
        for (record, now, address, _) in states() {
            let address = address.map(|text| text.parse().unwrap());
            let refused = |key: &ManagedKey, record: Option<&KeyRecord>| {
                recognize_managed(key, record, address, time(now)).unwrap_err()
            };
            let cases = [
                (refused(&managed(1, 2), Some(&record)), "wrong_secret"),
                (refused(&managed(1, 1), None), "unknown"),
                // The record of another key, though the secret is the same: a store that mixed them up.
                (refused(&managed(2, 1), Some(&record)), "unknown"),
            ];
            for (refusal, cause) in cases {
                assert_eq!((told(&refusal), refusal.cause()), (invalid.clone(), cause), "{record:?}");
                assert_eq!(refusal.key_id(), None);
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_key_never_authenticates(
            place in 0..CURRENT.len(),
            character in "[!-~]",
            change in 0..4,
            in_force: bool,
        ) {
            let original = if in_force { CURRENT } else { PREVIOUS };
            let mut changed = original.to_owned();
            match change {
                0 => changed.replace_range(place..=place, &character),
                1 => changed.insert_str(place, &character),
                2 => changed.push_str(&character),
                _ => drop(changed.remove(place)),
            }
            prop_assume!(changed != original);
            let refusal = decide(&[("x-api-key", &changed)], BEFORE).unwrap_err();
            prop_assert_eq!(refusal.code(), "invalid_api_key");
        }

        #[test]
        fn only_the_bytes_of_an_accepted_key_authenticate(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert("x-api-key", value);
                prop_assert!(authenticate(&ring(), &headers, time(BEFORE)).is_err());
            }
        }

        #[test]
        fn once_a_key_is_refused_for_its_age_it_stays_refused(seconds in 0..4_000_000_000_i64, later in 0..4_000_000_000_i64) {
            let at = |second| Timestamp::from_second(second).unwrap();
            let sent = headers(&[("x-api-key", PREVIOUS)]);
            if authenticate(&ring(), &sent, at(seconds)).is_err() {
                prop_assert!(authenticate(&ring(), &sent, at(seconds + later)).is_err());
            }
        }
    }
}
