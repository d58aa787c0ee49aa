//! The kinds of values in a body, each with its checks and its schema.

use ipnet::IpNet;
use jiff::Timestamp;
use onerun_auth::{Preset, Scope, parse_block};
use onerun_domain::{
    AgeGroup, AgentId, Criteria, Description, FailureReason, GateBasis, MaxTurns, MessageText, Metadata,
    ModelName, MonitorState, Name, NanoDollars, Note, ObjectiveId, Outcome, PersonaDetail, PersonaText,
    ProjectId, Scenario, Seed, SimulationId, Target, WebhookDescription, WebhookFormat, WebhookState,
};
use serde_json::{Value, json};

use super::{Errors, Field, Fields, Input};
use crate::json::join;

fn string(value: Value, pointer: &str, errors: &mut Errors) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        other => {
            errors.push(pointer, format!("must be a string, and is {}", kind(&other)));
            None
        }
    }
}

/// The kind of a value, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

macro_rules! text_fields {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
                let text = string(value, pointer, errors)?;
                errors.keep(pointer, $type::parse(text))
            }

            fn schema() -> Value {
                text_schema($type::MIN_LENGTH, $type::MAX_LENGTH, $type::HAS_LINES)
            }
        }
    )*};
}

text_fields!(
    Name,
    Description,
    Scenario,
    Criteria,
    MessageText,
    Note,
    FailureReason,
    PersonaText,
    PersonaDetail,
    WebhookDescription
);

/// The schema of a text: no control characters, and not only white space if it must not be empty.
fn text_schema(min: usize, max: usize, has_lines: bool) -> Value {
    let control = if has_lines { r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f" } else { r"\x00-\x1f\x7f-\x9f" };
    let pattern = match min {
        0 => format!("^[^{control}]*$"),
        _ => format!(r"^[^{control}]*[^\s{control}][^{control}]*$"),
    };
    json!({ "type": "string", "minLength": min, "maxLength": max, "pattern": pattern })
}

macro_rules! number_fields {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
                // A number beyond 64 bits gets the error that names this field's bounds.
                let number = integer(&value).unwrap_or(u64::MAX);
                errors.keep(pointer, $type::parse(number))
            }

            fn schema() -> Value {
                json!({ "type": "integer", "minimum": $type::MIN, "maximum": $type::MAX })
            }
        }
    )*};
}

number_fields!(Target, MaxTurns, Seed);

/// The integer value of a JSON number, also if it is written like `5.0`.
fn integer(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range it is exact"
        )]
        (0.0..=9_007_199_254_740_991.0).contains(&number).then_some(number as u64)
    })
}

/// Fields that their type parses from a text.
macro_rules! parsed_fields {
    ($($type:ident: $schema:expr),* $(,)?) => {$(
        impl Field for $type {
            fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
                let text = string(value, pointer, errors)?;
                errors.keep(pointer, text.parse())
            }

            fn schema() -> Value {
                $schema
            }
        }
    )*};
}

parsed_fields! {
    AgentId: id_schema(AgentId::LENGTH),
    ObjectiveId: id_schema(ObjectiveId::LENGTH),
    ProjectId: id_schema(ProjectId::LENGTH),
    SimulationId: id_schema(SimulationId::LENGTH),
    ModelName: json!({ "type": "string", "pattern": "^(offline|(openai|anthropic|bedrock):[!-~]+)$", "maxLength": 256 }),
    Scope: json!({ "type": "string", "enum": Scope::ALL.map(Scope::as_str) }),
    Preset: json!({ "type": "string", "enum": Preset::ALL.map(Preset::as_str) }),
}

fn id_schema(length: usize) -> Value {
    json!({ "type": "string", "pattern": format!("^[A-Za-z0-9]{{{length}}}$") })
}

impl Field for String {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        string(value, pointer, errors)
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

/// A block of addresses.
impl Field for IpNet {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let text = string(value, pointer, errors)?;
        errors.keep(pointer, parse_block(&text))
    }

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32"] })
    }
}

/// A time, in whole microseconds.
impl Field for Timestamp {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let text = string(value, pointer, errors)?;
        let time = parse_time(&text);
        if time.is_none() {
            errors.push(pointer, NOT_A_TIME);
        }
        time
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

/// Why a text is not a time.
pub(crate) const NOT_A_TIME: &str = "must be a time of RFC 3339 with its offset, such as `2026-11-23T09:30:00Z`, from \
    `0001-01-01T00:00:00Z` to `9999-12-30T22:00:00Z`";

/// Parses RFC 3339 from year 1 on. Jiff's own parser accepts more: other ISO 8601 forms, time zone names,
/// negative years.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let form: String = text.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    let (date, clock) = (form.get(..10)?, form.get(11..19)?);
    let separates = matches!(form.get(10..11)?, "T" | "t" | " ");
    if (date, clock) != ("0000-00-00", "00:00:00") || !separates {
        return None;
    }
    let rest = form.get(19..)?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        Some(_) => return None,
        None => rest,
    };
    if !matches!(offset, "Z" | "z" | "+00:00" | "-00:00") {
        return None;
    }
    let time = text.parse::<Timestamp>().ok()?;
    let time = Timestamp::from_microsecond(time.as_microsecond()).ok()?;
    (time.as_microsecond() >= YEAR_1).then_some(time)
}

/// `0001-01-01T00:00:00Z`, in microseconds since 1970.
const YEAR_1: i64 = -62_135_596_800_000_000;

macro_rules! word_fields {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
                let word = value.as_str().and_then(Self::parse);
                if word.is_none() {
                    errors.push(pointer, format!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")));
                }
                word
            }

            fn schema() -> Value {
                json!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
            }
        }
    )*};
}

word_fields!(Outcome, AgeGroup, GateBasis, MonitorState, WebhookFormat, WebhookState);

impl Field for bool {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let read = value.as_bool();
        if read.is_none() {
            errors.push(pointer, format!("must be true or false, and is {}", kind(&value)));
        }
        read
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl Field for Metadata {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::Object(object) => errors.keep(pointer, Metadata::parse(object)),
            other => {
                errors.push(pointer, format!("must be an object, and is {}", kind(&other)));
                None
            }
        }
    }

    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": true })
    }
}

/// The most dollars that a field takes.
const MAX_DOLLARS: f64 = 1_000_000.0;

/// An amount of US dollars, more than 0.
impl Field for NanoDollars {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let dollars = value.as_f64().filter(|dollars| *dollars <= MAX_DOLLARS);
        let amount = dollars.and_then(Self::from_dollars).filter(|amount| *amount > Self::default());
        if amount.is_none() {
            errors.push(pointer, format!("must be a number of US dollars above 0 and at most {MAX_DOLLARS}"));
        }
        amount
    }

    fn schema() -> Value {
        json!({ "type": "number", "minimum": 1e-9, "maximum": MAX_DOLLARS })
    }
}

/// A list of `MIN` to `MAX` values.
pub(crate) struct List<T, const MIN: usize, const MAX: usize>(pub(crate) Vec<T>);

impl<T: Field, const MIN: usize, const MAX: usize> Field for List<T, MIN, MAX> {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let Value::Array(values) = value else {
            errors.push(pointer, format!("must be an array, and is {}", kind(&value)));
            return None;
        };
        if !(MIN..=MAX).contains(&values.len()) {
            errors.push(pointer, format!("must have {MIN} to {MAX} values, and has {}", values.len()));
            return None;
        }
        // All values are read first, so that all errors are reported.
        let read: Vec<_> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| T::read(value, &join(pointer, &index.to_string()), errors))
            .collect();
        read.into_iter().collect::<Option<Vec<_>>>().map(Self)
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema(), "minItems": MIN, "maxItems": MAX })
    }
}

/// A list of at most `MAX` distinct values.
pub(crate) struct Distinct<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T: Field + PartialEq, const MAX: usize> Field for Distinct<T, MAX> {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let List(values) = List::<T, 0, MAX>::read(value, pointer, errors)?;
        for (index, value) in values.iter().enumerate() {
            if values[..index].contains(value) {
                errors.push(&join(pointer, &index.to_string()), "is in the list already");
            }
        }
        Some(Self(values))
    }

    fn schema() -> Value {
        let mut schema = List::<T, 0, MAX>::schema();
        schema["uniqueItems"] = true.into();
        schema
    }
}

/// An object within another.
pub(crate) struct Nested<T>(pub(crate) T);

impl<T: Input> Field for Nested<T> {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        Fields::read_object(value, pointer, errors).map(Self)
    }

    fn schema() -> Value {
        Fields::schema::<T>()
    }
}

/// A whole number from `MIN` to `MAX`.
pub(crate) struct Integer<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Field for Integer<MIN, MAX> {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let read = integer(&value).and_then(|number| u32::try_from(number).ok());
        let read = read.filter(|number| (MIN..=MAX).contains(number));
        if read.is_none() {
            errors.push(pointer, format!("must be an integer from {MIN} to {MAX}"));
        }
        read.map(Self)
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A field with one allowed word.
macro_rules! constant_word {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Field for $name {
            fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
                if value == $word {
                    return Some(Self);
                }
                errors.push(pointer, concat!("must be \"", $word, "\""));
                None
            }

            fn schema() -> Value {
                json!({ "type": "string", "const": $word })
            }
        }
    };
}

constant_word!(
    /// `"message"`.
    MessageWord,
    "message"
);
constant_word!(
    /// `"text"`.
    TextWord,
    "text"
);
