//! The key of a request, read from its headers.
//!
//! A key is accepted in `x-api-key` or `Authorization: Bearer` and nowhere else. The query string
//! ends up in access logs and shell histories, so it is not an argument here. This module does not
//! know which keys are accepted.
//!
//! Invariant: every host reads the same request alike. API Gateway joins repeated fields with a
//! comma, an HTTP server keeps them apart, and a proxy may do either. A request with two keys is
//! therefore refused in both forms; no form reads the first or the last key.

use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use zeroize::Zeroizing;

use crate::key::KeyDigest;
use crate::managed::{KeyFormatError, ManagedKey};
use crate::refusal::{InvalidCause, Refusal};
use crate::root_key::RootKey;

/// The header for a key without a scheme.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The scheme for a key in `Authorization` (RFC 6750).
const BEARER: &[u8] = b"bearer";

/// The maximum length of a presented key. The longest valid root key has 684 characters.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// A presented key: the only one in the request, and visible ASCII. Nothing else is known about it.
///
/// The text is overwritten on drop and is never printed. The request's headers still contain it;
/// they belong to the host.
pub struct Credential {
    text: Zeroizing<String>,
}

/// The key that was found in a request's headers.
#[derive(Debug)]
pub enum Presented {
    /// No key, or an empty one.
    None,
    /// Exactly one key.
    One(Credential),
    /// Something that cannot be a key, or more than one.
    Invalid(InvalidCause),
}

impl Credential {
    /// Reads the key of a request.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingKey`] or [`Refusal::InvalidKey`], for everything that can be checked
    /// without the accepted keys.
    pub fn of_request(headers: &HeaderMap) -> Result<Credential, Refusal> {
        match Credential::from_headers(headers) {
            Presented::None => Err(Refusal::MissingKey),
            Presented::Invalid(cause) => Err(Refusal::InvalidKey { cause }),
            Presented::One(credential) => Ok(credential),
        }
    }

    /// Finds the key in a request's headers.
    pub fn from_headers(headers: &HeaderMap) -> Presented {
        match (api_key_field(headers), authorization_field(headers)) {
            (Field::Invalid(cause), _) | (_, Field::Invalid(cause)) => Presented::Invalid(cause),
            // Refused even if they are equal: a proxy may have checked one and added the other.
            (Field::Key(_), Field::Key(_)) => Presented::Invalid(InvalidCause::TwoForms),
            (Field::Key(text), Field::Absent) | (Field::Absent, Field::Key(text)) => {
                Presented::One(Credential { text: Zeroizing::new(text.to_owned()) })
            }
            (Field::Absent, Field::Absent) => Presented::None,
        }
    }

    /// Parses the text as a managed key; `None` if it lacks the prefix and may be a root key.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidKey`] if the text has the prefix and is malformed. No root key has that
    /// prefix.
    pub fn managed(&self) -> Result<Option<ManagedKey>, Refusal> {
        match ManagedKey::parse(&self.text) {
            Ok(key) => Ok(Some(key)),
            Err(KeyFormatError::Prefix) => Ok(None),
            Err(_) => Err(Refusal::InvalidKey { cause: InvalidCause::NotAKey }),
        }
    }

    /// Whether the text is well formed as a root key. Call it only after the key was found not to
    /// be accepted.
    pub(crate) fn could_be_a_root_key(&self) -> bool {
        RootKey::parse(&self.text).is_ok()
    }

    /// The digest by which the ring finds the key.
    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.text)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// The content of one of the two headers.
enum Field<'h> {
    Absent,
    Key(&'h str),
    Invalid(InvalidCause),
}

/// Reads `x-api-key`.
fn api_key_field(headers: &HeaderMap) -> Field<'_> {
    let mut values = headers.get_all(X_API_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => key_text(value.as_bytes()),
        (Some(_), Some(_)) => Field::Invalid(InvalidCause::Repeated),
    }
}

/// Reads `Authorization`, if it contains the scheme `Bearer`.
///
/// Other schemes are ignored. They may belong to a proxy, or be the signature of a caller that also
/// signs for AWS, and may contain commas.
fn authorization_field(headers: &HeaderMap) -> Field<'_> {
    let mut bearer = None;
    let mut count = 0;
    for value in headers.get_all(AUTHORIZATION) {
        count += 1;
        if value.as_bytes().split(|byte| *byte == b',').any(|member| bearer_token(member).is_some()) {
            bearer = Some(value);
        }
    }
    match bearer {
        None => Field::Absent,
        Some(_) if count > 1 => Field::Invalid(InvalidCause::Repeated),
        Some(value) => {
            // `Bearer` is not at the start, so another scheme was joined in front of it.
            bearer_token(value.as_bytes()).map_or(Field::Invalid(InvalidCause::CommaJoined), key_text)
        }
    }
}

/// The token after the scheme `Bearer` in any case; `None` for another scheme.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii_start();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, token) = value.split_at(end);
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
}

/// Validates the text of one field, without surrounding white space.
fn key_text(value: &[u8]) -> Field<'_> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Field::Absent;
    }
    if value.len() > MAX_CREDENTIAL_BYTES {
        return Field::Invalid(InvalidCause::TooLong);
    }
    if value.contains(&b',') {
        return Field::Invalid(InvalidCause::CommaJoined);
    }
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(u8::is_ascii_graphic) => Field::Key(text),
        _ => Field::Invalid(InvalidCause::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";
    const OTHER: &str = "0hH2m7yTq4fVJx9b3kRzW8sLcN5pUeGdA1oXiKtMw6Y=";

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    /// The outcome as text: the key, `-` for no key, or the cause.
    fn outcome(fields: &[(&'static str, &str)]) -> String {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        match Credential::from_headers(&headers(&fields)) {
            Presented::None => "-".to_owned(),
            Presented::One(credential) => credential.text.to_string(),
            Presented::Invalid(cause) => cause.as_str().to_owned(),
        }
    }

    fn api_key(value: &str) -> String {
        outcome(&[("x-api-key", value)])
    }

    fn authorization(value: &str) -> String {
        outcome(&[("authorization", value)])
    }

    #[test]
    fn key_is_read_from_either_header() {
        assert_eq!(api_key(SECRET), SECRET);
        assert_eq!(authorization(&format!("Bearer {SECRET}")), SECRET);
    }

    #[test]
    fn scheme_may_have_any_case_and_extra_spaces() {
        assert_eq!(authorization(&format!("bearer {SECRET}")), SECRET);
        assert_eq!(authorization(&format!("BEARER   {SECRET} ")), SECRET);
    }

    #[test]
    fn white_space_around_a_key_is_ignored() {
        assert_eq!(api_key(&format!(" \t{SECRET}\t ")), SECRET);
    }

    #[test]
    fn missing_and_empty_headers_contain_no_key() {
        assert_eq!(outcome(&[]), "-");
        assert_eq!(api_key(""), "-");
        assert_eq!(api_key(" \t "), "-");
        assert_eq!(authorization(""), "-");
        assert_eq!(authorization("Bearer"), "-");
        assert_eq!(authorization("Bearer  "), "-");
        assert_eq!(outcome(&[("x-api-key", ""), ("authorization", "Bearer ")]), "-");
    }

    #[test]
    fn empty_header_does_not_hide_the_other() {
        assert_eq!(outcome(&[("x-api-key", ""), ("authorization", &format!("Bearer {SECRET}"))]), SECRET);
        assert_eq!(outcome(&[("x-api-key", SECRET), ("authorization", "Bearer")]), SECRET);
    }

    #[test]
    fn other_schemes_are_ignored() {
        let signature = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c";
        for other in ["Basic dXNlcjpwYXNz", signature, "Bearerish x", SECRET] {
            assert_eq!(authorization(other), "-", "{other}");
            assert_eq!(outcome(&[("authorization", other), ("x-api-key", SECRET)]), SECRET, "{other}");
        }
    }

    #[test]
    fn keys_in_both_headers_are_invalid_even_if_equal() {
        for other in [SECRET, OTHER] {
            let bearer = format!("Bearer {other}");
            assert_eq!(outcome(&[("x-api-key", SECRET), ("authorization", &bearer)]), "two_forms");
        }
    }

    #[test]
    fn two_keys_are_invalid_as_joined_and_as_separate_fields() {
        let bearer = format!("Bearer {SECRET}");
        let cases = [
            ("x-api-key", SECRET, OTHER),
            ("x-api-key", SECRET, SECRET),
            ("x-api-key", SECRET, ""),
            ("x-api-key", "", SECRET),
            ("authorization", &bearer, "Bearer other"),
            ("authorization", &bearer, &bearer),
            ("authorization", &bearer, ""),
            ("authorization", "", &bearer),
            ("authorization", "Basic dXNlcjpwYXNz", &bearer),
            ("authorization", &bearer, "Basic dXNlcjpwYXNz"),
        ];
        for (name, first, second) in cases {
            assert_eq!(outcome(&[(name, first), (name, second)]), "repeated", "{name}: {first} | {second}");
            for joined in [format!("{first},{second}"), format!("{first}, {second}")] {
                assert_eq!(outcome(&[(name, &joined)]), "comma_joined", "{name}: {joined}");
            }
        }
    }

    #[test]
    fn valid_header_does_not_excuse_an_invalid_one() {
        assert_eq!(outcome(&[("authorization", "Bearer a b"), ("x-api-key", SECRET)]), "malformed");
        assert_eq!(
            outcome(&[("authorization", &format!("Bearer {SECRET}")), ("x-api-key", "a,b")]),
            "comma_joined"
        );
    }

    #[test]
    fn key_must_be_visible_ascii() {
        for value in [&b"a b"[..], b"a\tb", b"caf\xc3\xa9", b"\xff", b"Zm9v\xa0"] {
            let presented = Credential::from_headers(&headers(&[("x-api-key", value)]));
            assert!(matches!(presented, Presented::Invalid(InvalidCause::Malformed)), "{value:?}");
        }
        assert_eq!(authorization("Bearer\ta\tb"), "malformed");
    }

    #[test]
    fn key_may_have_1024_bytes() {
        assert_eq!(api_key(&"a".repeat(1024)).len(), 1024);
        assert_eq!(api_key(&"a".repeat(1025)), "too_long");
        assert_eq!(authorization(&format!("Bearer {}", "a".repeat(1025))), "too_long");
    }

    #[test]
    fn debug_does_not_print_the_key() {
        let presented = Credential::from_headers(&headers(&[("x-api-key", SECRET.as_bytes())]));
        assert_eq!(format!("{presented:?}"), "One(Credential)");
    }

    /// Bytes that may form a header value, often close to a credential.
    fn any_value() -> impl Strategy<Value = Vec<u8>> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            bytes.clone(),
            "(?i:bearer|basic|)[ \t,]{0,2}[ -~]{0,12}".prop_map(String::into_bytes),
            bytes.prop_map(|bytes| [b"Bearer ", bytes.as_slice()].concat()),
        ]
    }

    proptest! {
        #[test]
        fn any_headers_are_read_without_panic(
            fields in proptest::collection::vec((0..3_usize, any_value()), 0..4),
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &fields {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    map.append(["x-api-key", "authorization", "cookie"][*name], value);
                }
            }
            if let Presented::One(credential) = Credential::from_headers(&map) {
                let key = credential.text.as_bytes();
                prop_assert!(!key.is_empty() && key.len() <= MAX_CREDENTIAL_BYTES);
                prop_assert!(key.iter().all(|byte| byte.is_ascii_graphic() && *byte != b','));
                let sent = |name: &str| {
                    map.get_all(name).iter().any(|value| value.as_bytes().trim_ascii().ends_with(key))
                };
                prop_assert!(sent("x-api-key") || sent("authorization"));
            }
        }

        #[test]
        fn joining_repeated_fields_does_not_change_the_outcome(
            name in prop_oneof![Just("x-api-key"), Just("authorization")],
            values in proptest::collection::vec("(?i:bearer |basic |)[ -~]{0,12}", 1..4),
        ) {
            let apart: Vec<_> = values.iter().map(|value| (name, value.as_str())).collect();
            let class = |outcome: String| match outcome.as_str() {
                "repeated" | "comma_joined" | "malformed" => "invalid".to_owned(),
                _ => outcome,
            };
            prop_assert_eq!(class(outcome(&apart)), class(outcome(&[(name, &values.join(","))])));
        }
    }
}
