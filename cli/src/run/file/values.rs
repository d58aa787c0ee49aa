//! The kinds of values in the file.

use std::{borrow::Cow, fmt, marker::PhantomData};

use onerun_domain::{
    Criteria, Description, MaxTurns, ModelName, Name, PersonaText, Scenario, Seed, Target, TextError,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// The maximum number of agents, scenarios or objectives.
const MAX_ENTRIES: usize = 200;

/// The maximum length of a key.
const MAX_KEY: usize = 60;

/// The stable name of an agent, a scenario or an objective. Results of different runs are compared by it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9_-]*$", "maxLength" = MAX_KEY))]
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_start = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit();
        let is_part = |one: char| is_start(one) || matches!(one, '-' | '_');
        if text.starts_with(is_start) && text.chars().all(is_part) && text.len() <= MAX_KEY {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(MAX_KEY).collect();
        Err(format!(
            "`{shown}` is not a key: write at most {MAX_KEY} lower-case letters, digits, hyphens and underscores, \
             such as `late-parcel`"
        ))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Values by their keys, in the order of the file.
#[derive(Debug)]
pub(crate) struct Keyed<T>(Vec<(Key, T)>);

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Keyed<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Keyed<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of keys and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keyed<T>, A::Error> {
                let mut entries: Vec<(Key, T)> = Vec::new();
                while let Some(key) = map.next_key::<Key>()? {
                    if entries.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom(format!("the key `{key}` is there twice")));
                    }
                    if entries.len() == MAX_ENTRIES {
                        return Err(A::Error::custom(format!("must have at most {MAX_ENTRIES} entries")));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(Keyed(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Keyed<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Keyed{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (key, value) = (generator.subschema_for::<Key>(), generator.subschema_for::<T>());
        json_schema!({
            "type": "object",
            "propertyNames": key,
            "additionalProperties": value,
            "maxProperties": MAX_ENTRIES,
        })
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident: $domain:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(try_from = "u64")]
        #[schemars(extend("minimum" = $domain::MIN, "maximum" = $domain::MAX))]
        pub(crate) struct $name($inner);

        impl $name {
            pub(crate) fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = String;

            fn try_from(number: u64) -> Result<Self, String> {
                $domain::parse(number).map(|number| Self(number.get())).map_err(|error| error.to_string())
            }
        }
    };
}

number!(
    /// A number of conversations or personas.
    Count: Target, u32
);
number!(
    /// The maximum number of messages in a conversation.
    Turns: MaxTurns, u32
);
number!(
    /// The seed of everything that is generated.
    SeedNumber: Seed, u64
);

impl Turns {
    pub(super) const fn of(number: u32) -> Self {
        Self(number)
    }
}

impl Default for SeedNumber {
    fn default() -> Self {
        Self(Seed::MIN)
    }
}

/// A value that is parsed from a text.
pub(super) trait FromText: Sized {
    fn from_text(text: String) -> Result<Self, String>;
}

macro_rules! from_text {
    ($($name:ident),*) => {
        $(impl FromText for $name {
            fn from_text(text: String) -> Result<Self, String> {
                Self::parse(text).map_err(|error| error.to_string())
            }
        })*
    };
}

from_text!(Criteria, Description, Name, PersonaText, Scenario);

impl FromText for ModelName {
    fn from_text(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|error| format!("`{text}` {error}"))
    }
}

/// Reads a text and parses it.
pub(super) fn parsed<'de, T: FromText, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::from_text(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// [`parsed`] for a field that may be null.
pub(super) fn parsed_option<'de, T: FromText, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(T::from_text).transpose().map_err(D::Error::custom)
}

/// Reads a value that is written as a text or as an object.
pub(super) fn text_or_object<'de, D: Deserializer<'de>, T, O: DeserializeOwned>(
    deserializer: D,
    expected: &'static str,
    of_text: fn(String) -> Result<T, TextError>,
    of_object: fn(O) -> T,
) -> Result<T, D::Error> {
    struct Forms<T, O> {
        expected: &'static str,
        of_text: fn(String) -> Result<T, TextError>,
        of_object: fn(O) -> T,
    }

    impl<'de, T, O: DeserializeOwned> Visitor<'de> for Forms<T, O> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.expected)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.of_text)(text.to_owned()).map_err(E::custom)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            O::deserialize(MapAccessDeserializer::new(map)).map(self.of_object)
        }
    }

    deserializer.deserialize_any(Forms { expected, of_text, of_object })
}
