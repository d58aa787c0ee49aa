//! Request headers against a key ring and a managed key: exactly one right key is accepted and
//! nothing else, a proxy that joins repeated fields changes nothing, and no refusal repeats a part
//! of the headers.
//!
//! An input is lines of `name: value`, as bytes. A fuzzer cannot guess keys, so bytes in a value
//! stand for them: the current root key 1, the previous one 2, an unknown one 3; the known managed
//! key 4, its id with another secret 5, an unknown one 6. The first byte is the time.

#![no_main]

use std::{convert::Infallible, sync::LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use onerun_auth::{
    Credential, Grant, KeyId, KeyRecord, KeyRing, ManagedKey, NewKeySpec, Principal, Refusal, RootKey,
    recognize, recognize_managed,
};
use onerun_domain::{Metadata, Name};

const CURRENT: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";
const PREVIOUS: &str = "0hH2m7yTq4fVJx9b3kRzW8sLcN5pUeGdA1oXiKtMw6Y=";
const OTHER: &str = "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=";

/// The expiry of the previous key and the managed one, in the unit of an input's first byte.
const END: i64 = 128;

static MANAGED: LazyLock<[ManagedKey; 3]> = LazyLock::new(|| [managed(1, 1), managed(1, 2), managed(2, 1)]);

fn managed(id: u8, secret: u8) -> ManagedKey {
    let made = ManagedKey::generate(|bytes| {
        bytes[..9].fill(id);
        for (place, byte) in (0..).zip(&mut bytes[9..]) {
            *byte = place * 7 + secret;
        }
        Ok::<(), Infallible>(())
    });
    let Ok(key) = made;
    key
}

fuzz_target!(|data: &[u8]| {
    let Some((second, lines)) = data.split_first() else { return };
    let second = i64::from(*second);
    let fields = fields(lines);
    let headers = map(&fields);
    let outcome = decide(&headers, second);

    match &outcome {
        Ok(principal) => assert!(is_right(&headers, principal.key_id().as_str(), second), "{headers:?}"),
        Err(refusal) => {
            assert_eq!(refusal.status(), 401);
            assert!(refusal.www_authenticate().is_some());
            let told = format!("{refusal} {refusal:?} {:?}", refusal.www_authenticate());
            for key in [CURRENT, PREVIOUS, OTHER].into_iter().chain(MANAGED.iter().map(ManagedKey::expose)) {
                // Without the id of a managed key, which is public.
                assert!(!told.contains(&key[20..28]), "{told}");
            }
            // Headers that must be accepted: one right key in one field, and nothing else that
            // could be a key.
            let right =
                |name: &str, value: &str| fields.len() == 1 && fields[0] == (name.parse().ok(), value.into());
            assert!(!right("x-api-key", CURRENT));
            assert!(!right("authorization", &format!("Bearer {CURRENT}")));
            assert!(second >= END || !right("x-api-key", MANAGED[0].expose()));
        }
    }

    for separator in [&b","[..], b", "] {
        let joined = map(&join(&headers, separator));
        assert_eq!(class(&decide(&joined, second)), class(&outcome), "{headers:?} {joined:?}");
    }
});

type Field = (Option<HeaderName>, Vec<u8>);

/// The fields of an input with the keys in place of their bytes.
fn fields(lines: &[u8]) -> Vec<Field> {
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let mut value = Vec::new();
        for byte in line[colon + 1..].trim_ascii_start() {
            match byte {
                1 => value.extend_from_slice(CURRENT.as_bytes()),
                2 => value.extend_from_slice(PREVIOUS.as_bytes()),
                3 => value.extend_from_slice(OTHER.as_bytes()),
                4..=6 => value.extend_from_slice(MANAGED[usize::from(byte - 4)].expose().as_bytes()),
                byte => value.push(*byte),
            }
        }
        HeaderValue::from_bytes(&value).ok()?;
        Some((Some(name), value))
    };
    lines.split(|byte| *byte == b'\n').filter_map(field).take(16).collect()
}

fn map(fields: &[Field]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The same fields with repeated ones joined.
fn join(headers: &HeaderMap, separator: &[u8]) -> Vec<Field> {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    headers.keys().map(|name| (Some(name.clone()), values(name).join(separator))).collect()
}

fn decide(headers: &HeaderMap, second: i64) -> Result<Principal, Refusal> {
    let credential = Credential::of_request(headers)?;
    let time = |second| Timestamp::from_second(second).expect("it is a time");
    if let Some(key) = credential.managed()? {
        let spec = NewKeySpec {
            name: Name::parse("fuzz").expect("it is a name"),
            grant: Grant { expires_at: Some(time(END)), ..Grant::everything() },
            not_before: None,
            metadata: Metadata::default(),
        };
        let record = KeyRecord::new(&MANAGED[0], spec, KeyId::restore("root").expect("it is an id"), time(0));
        return recognize_managed(&key, (record.id == *key.id()).then_some(&record), None, time(second));
    }
    let key = |text| RootKey::parse(text).expect("these are keys");
    let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(PREVIOUS), time(END));
    recognize(&ring, &credential, time(second))
}

/// The parts of the outcome that a caller can see.
fn class(outcome: &Result<Principal, Refusal>) -> Result<String, &'static str> {
    outcome.as_ref().map(|principal| principal.key_id().to_string()).map_err(Refusal::code)
}

/// Whether the headers contain the recognized key and no other, decided in another way than in the
/// tested code.
fn is_right(headers: &HeaderMap, key_id: &str, second: i64) -> bool {
    let expected = match key_id {
        "root" => CURRENT,
        "root-previous" if second < END => PREVIOUS,
        id if id == MANAGED[0].id().as_str() && second < END => MANAGED[0].expose(),
        _ => return false,
    };
    let values =
        |name: &str| headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
    let (api_keys, authorizations): (Vec<_>, Vec<_>) = (values("x-api-key"), values("authorization"));
    let is_bearer =
        |value: &[u8]| value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
    let is_key = |value: &[u8]| value == expected.as_bytes();
    match (api_keys.as_slice(), authorizations.as_slice()) {
        ([value], others) if is_key(value) => {
            // Other schemes are not ours. A `Bearer` beside the key has no value.
            others
                .iter()
                .all(|other| !is_bearer(other) || other.len() == 6 || !other[6].is_ascii_whitespace())
        }
        ([] | [b""], [value]) if is_bearer(value) => {
            value[6].is_ascii_whitespace() && is_key(value[6..].trim_ascii_start())
        }
        _ => false,
    }
}
