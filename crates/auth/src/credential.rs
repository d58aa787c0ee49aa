//! The key that a request presents, found in its headers.
//!
//! A key comes in `x-api-key` or in `Authorization: Bearer`, and from nowhere else: the query string, which ends up in
//! access logs and histories, is not even an argument. This module does not know which keys are accepted.
//!
//! Invariant: two hosts come to the same outcome for the same request. API Gateway joins repeated fields with a comma
//! where an HTTP server keeps them apart, and a proxy may do either, so a request with two keys is refused in both
//! forms and never read as the first or the last of them.

use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use zeroize::Zeroizing;

use crate::key::{KeyDigest, RootKey};
use crate::managed::{KeyFormatError, ManagedKey};
use crate::refusal::{InvalidCause, Refusal};

/// The header in which a key comes without a scheme.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The scheme of `Authorization` in which a key comes (RFC 6750).
const BEARER: &[u8] = b"bearer";

/// The longest key that is looked at. The longest that can be accepted has 684 characters.
const MAX_CREDENTIAL_BYTES: usize = 1024;

/// A key as it was sent. Nothing is known about it but that it is the only one and is visible ASCII.
///
/// The text is overwritten when the value is dropped and is not printed. The headers it was read from still hold it:
/// they belong to the host.
pub struct Credential {
    text: Zeroizing<String>,
}

/// What a request has in place of a key.
#[derive(Debug)]
pub enum Presented {
    /// No key, or an empty one.
    None,
    /// Exactly one.
    One(Credential),
    /// Something that cannot be a key, or more than one.
    Invalid(InvalidCause),
}

impl Credential {
    /// The one key of a request.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingKey`] and [`Refusal::InvalidKey`]: what can be told without knowing which keys are accepted.
    pub fn of_request(headers: &HeaderMap) -> Result<Credential, Refusal> {
        match Credential::from_headers(headers) {
            Presented::None => Err(Refusal::MissingKey),
            Presented::Invalid(cause) => Err(Refusal::InvalidKey { cause }),
            Presented::One(credential) => Ok(credential),
        }
    }

    /// Finds the key in the headers of a request.
    pub fn from_headers(headers: &HeaderMap) -> Presented {
        match (api_key_field(headers), authorization_field(headers)) {
            (Field::Invalid(cause), _) | (_, Field::Invalid(cause)) => Presented::Invalid(cause),
            // Even if they are equal: which of them a proxy checked and which it added cannot be told.
            (Field::Key(_), Field::Key(_)) => Presented::Invalid(InvalidCause::TwoForms),
            (Field::Key(text), Field::Absent) | (Field::Absent, Field::Key(text)) => {
                Presented::One(Credential { text: Zeroizing::new(text.to_owned()) })
            }
            (Field::Absent, Field::Absent) => Presented::None,
        }
    }

    /// The managed key that the text is; `None` if it does not begin as one, and may be a root key.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidKey`] if it begins as one and is none: no root key begins so.
    pub fn managed(&self) -> Result<Option<ManagedKey>, Refusal> {
        match ManagedKey::parse(&self.text) {
            Ok(key) => Ok(Some(key)),
            Err(KeyFormatError::Prefix) => Ok(None),
            Err(_) => Err(Refusal::InvalidKey { cause: InvalidCause::NotAKey }),
        }
    }

    /// Whether the text could be a root key. Asked only once it is known not to be an accepted one.
    pub(crate) fn could_be_a_root_key(&self) -> bool {
        RootKey::parse(&self.text).is_ok()
    }

    /// The digest to look the key up by.
    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.text)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// What one of the two headers has. Borrowed from the request and never printed.
enum Field<'h> {
    Absent,
    Key(&'h str),
    Invalid(InvalidCause),
}

/// The key in `x-api-key`.
fn api_key_field(headers: &HeaderMap) -> Field<'_> {
    let mut values = headers.get_all(X_API_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => key_text(value.as_bytes()),
        (Some(_), Some(_)) => Field::Invalid(InvalidCause::Repeated),
    }
}

/// The key in `Authorization`, if any member of it has the scheme `Bearer`.
///
/// Another scheme, which may be full of commas itself, is someone else's (a proxy's, or the signature of a caller that
/// also signs for AWS) and says nothing about the key.
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
            // Not at the beginning, so joined to another scheme in front of it.
            bearer_token(value.as_bytes()).map_or(Field::Invalid(InvalidCause::CommaJoined), key_text)
        }
    }
}

/// What follows the scheme `Bearer`, in any case. `None` for another scheme.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii_start();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, token) = value.split_at(end);
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
}

/// Judges the text of one field, without the white space around it.
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

    /// The outcome as text: the key, `-` for none, or the cause.
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
    fn a_key_comes_in_either_header() {
        assert_eq!(api_key(SECRET), SECRET);
        assert_eq!(authorization(&format!("Bearer {SECRET}")), SECRET);
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_with_any_number_of_spaces() {
        assert_eq!(authorization(&format!("bearer {SECRET}")), SECRET);
        assert_eq!(authorization(&format!("BEARER   {SECRET} ")), SECRET);
    }

    #[test]
    fn white_space_around_a_key_is_no_part_of_it() {
        assert_eq!(api_key(&format!(" \t{SECRET}\t ")), SECRET);
    }

    #[test]
    fn no_header_and_an_empty_one_are_no_key() {
        assert_eq!(outcome(&[]), "-");
        assert_eq!(api_key(""), "-");
        assert_eq!(api_key(" \t "), "-");
        assert_eq!(authorization(""), "-");
        assert_eq!(authorization("Bearer"), "-");
        assert_eq!(authorization("Bearer  "), "-");
        assert_eq!(outcome(&[("x-api-key", ""), ("authorization", "Bearer ")]), "-");
    }

    #[test]
    fn an_empty_header_does_not_stand_in_the_way_of_the_other() {
        assert_eq!(outcome(&[("x-api-key", ""), ("authorization", &format!("Bearer {SECRET}"))]), SECRET);
        assert_eq!(outcome(&[("x-api-key", SECRET), ("authorization", "Bearer")]), SECRET);
    }

    #[test]
    fn another_scheme_is_no_key_and_does_not_stand_in_the_way_of_one() {
        let signature = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c";
        for other in ["Basic dXNlcjpwYXNz", signature, "Bearerish x", SECRET] {
            assert_eq!(authorization(other), "-", "{other}");
            assert_eq!(outcome(&[("authorization", other), ("x-api-key", SECRET)]), SECRET, "{other}");
        }
    }

    #[test]
    fn a_key_in_both_headers_is_invalid_even_if_it_is_the_same() {
        for other in [SECRET, OTHER] {
            let bearer = format!("Bearer {other}");
            assert_eq!(outcome(&[("x-api-key", SECRET), ("authorization", &bearer)]), "two_forms");
        }
    }

    #[test]
    fn two_keys_are_invalid_whether_the_host_joins_fields_or_keeps_them_apart() {
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
    fn an_invalid_field_is_not_made_good_by_the_other() {
        assert_eq!(outcome(&[("authorization", "Bearer a b"), ("x-api-key", SECRET)]), "malformed");
        assert_eq!(
            outcome(&[("authorization", &format!("Bearer {SECRET}")), ("x-api-key", "a,b")]),
            "comma_joined"
        );
    }

    #[test]
    fn a_key_is_visible_ascii() {
        for value in [&b"a b"[..], b"a\tb", b"caf\xc3\xa9", b"\xff", b"Zm9v\xa0"] {
            let presented = Credential::from_headers(&headers(&[("x-api-key", value)]));
            assert!(matches!(presented, Presented::Invalid(InvalidCause::Malformed)), "{value:?}");
        }
        assert_eq!(authorization("Bearer\ta\tb"), "malformed");
    }

    #[test]
    fn the_longest_key_that_is_looked_at_has_1024_bytes() {
        assert_eq!(api_key(&"a".repeat(1024)).len(), 1024);
        assert_eq!(api_key(&"a".repeat(1025)), "too_long");
        assert_eq!(authorization(&format!("Bearer {}", "a".repeat(1025))), "too_long");
    }

    #[test]
    fn debug_prints_nothing_of_the_key() {
        let presented = Credential::from_headers(&headers(&[("x-api-key", SECRET.as_bytes())]));
        assert_eq!(format!("{presented:?}"), "One(Credential)");
    }

    /// Any bytes that can be a header's value, often near to a credential.
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
        fn no_headers_make_it_panic_and_what_it_finds_was_sent(
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
        fn joining_repeated_fields_never_changes_whether_there_is_a_key(
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
