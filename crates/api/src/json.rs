//! Parses JSON from callers: depth is bounded, duplicate names and rounded numbers are refused, errors name
//! their location.

mod numbers;

use std::{error::Error as _, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_path_to_error::{Path, Segment};

use crate::{
    ApiError,
    error::{FieldError, Location},
};

/// The maximum nesting of arrays and objects in a body.
const MAX_DEPTH: usize = 32;

/// Parses a body.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(refuse(String::new(), "must not be empty: send a JSON object".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Bounded(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        refuse(pointer, format!("is not JSON that can be read: {cause}"))
    })?;
    deserializer.end().map_err(|error| {
        refuse(String::new(), format!("must be one JSON value and nothing after it: {error}"))
    })?;
    let changed = numbers::changed(bytes);
    if changed.is_empty() { Ok(value) } else { Err(ApiError::Invalid(changed)) }
}

/// A JSON pointer with one more token (RFC 6901).
pub(crate) fn join(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => join(&pointer, &index.to_string()),
        Segment::Map { key } => join(&pointer, key),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

fn refuse(pointer: String, detail: String) -> ApiError {
    ApiError::Invalid(vec![FieldError { location: Location::Body(pointer), detail }])
}

struct Bounded(Value);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Depth(MAX_DEPTH).deserialize(deserializer).map(Self)
    }
}

/// The remaining levels of nesting.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.0.checked_sub(1) {
            Some(left) => Ok(Self(left)),
            None => Err(E::custom(format_args!("nested more than {MAX_DEPTH} levels deep"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            // Parsers disagree about which of two values counts, so both are refused.
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!(
                    "the name `{}` occurs twice",
                    name.escape_debug()
                )));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> (String, String) {
        match parse(text.as_bytes()) {
            Err(ApiError::Invalid(errors)) => match &errors[..] {
                [FieldError { location: Location::Body(pointer), detail }] => {
                    (pointer.clone(), detail.clone())
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_points_to_the_field_that_it_is_in() {
        assert_eq!(refused(r#"{"name": "\ud800"}"#).0, "/name");
        assert_eq!(refused(r#"{"a": [0, {"b/c": 1e999}]}"#).0, "/a/1/b~1c");
        assert_eq!(refused(r#"{"a": "b"#).0, "/a");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "  ", "x", "{", "[1,]", "{} {}", "nul", "\u{feff}{}", "'a'"] {
            assert_eq!(refused(text).0, "", "{text}");
        }
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        assert!(refused(r#"{"a": 1, "a": 2}"#).1.contains("the name `a` occurs twice"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(&nested(MAX_DEPTH + 1)).1.contains("nested more than 32 levels deep"));
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in json()) {
            prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
