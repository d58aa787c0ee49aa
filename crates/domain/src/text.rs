//! Bounded texts from callers. Every value was parsed, so it is within its bounds.

use std::{borrow::Cow, fmt};

use serde_json::{Map, Value};

use crate::check::{CheckLineError, Redaction, Rubric};

/// Why a text was refused. The message completes a sentence that starts with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The text is empty or blank.
    #[error("must not be empty")]
    Empty,
    /// The text has too many characters.
    #[error("must be at most {max} characters long, and is {length}")]
    TooLong {
        /// The maximum.
        max: usize,
        /// The actual length.
        length: usize,
    },
    /// The text contains a forbidden control character.
    #[error("must not contain the control character U+{code:04X}, found at character {position}")]
    Control {
        /// The character's code point.
        code: u32,
        /// Its position in characters, from 1.
        position: usize,
    },
    /// A `check:` line is not valid.
    #[error(transparent)]
    CheckLine(#[from] CheckLineError),
    /// The metadata is too large.
    #[error("must be at most {max} bytes as JSON, and is {length}")]
    TooLarge {
        /// The maximum.
        max: usize,
        /// The actual length.
        length: usize,
    },
}

struct Bounds {
    max: usize,
    may_be_empty: bool,
    /// Whether line breaks and tabs are allowed.
    lines: bool,
}

impl Bounds {
    fn check(&self, text: &str) -> Result<(), TextError> {
        let mut length = 0;
        for (index, character) in text.chars().enumerate() {
            length = index + 1;
            let line_break = self.lines && matches!(character, '\n' | '\r' | '\t');
            // Names also refuse characters that reverse the direction of text.
            let control = character.is_control() || (!self.lines && is_bidirectional(character));
            if control && !line_break {
                return Err(TextError::Control { code: character.into(), position: length });
            }
        }
        if length > self.max {
            return Err(TextError::TooLong { max: self.max, length });
        }
        if !self.may_be_empty && text.chars().all(is_blank) {
            return Err(TextError::Empty);
        }
        Ok(())
    }
}

/// The embeddings, overrides and isolates of Unicode's bidirectional algorithm.
fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// White space and invisible characters.
pub(crate) fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || is_bidirectional(character)
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2065}'
                | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        )
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $bounds:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            const BOUNDS: Bounds = $bounds;

            /// The maximum length, in characters.
            pub const MAX_LENGTH: usize = Self::BOUNDS.max;
            /// The minimum length, in characters.
            pub const MIN_LENGTH: usize = if Self::BOUNDS.may_be_empty { 0 } else { 1 };
            /// Whether line breaks and tabs are allowed.
            pub const HAS_LINES: bool = Self::BOUNDS.lines;

            /// The text, unchanged.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

macro_rules! parsed_text {
    ($name:ident) => {
        impl $name {
            /// Parses a value, the only way to create one: checks the bounds and changes nothing.
            pub fn parse(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                Self::BOUNDS.check(&text)?;
                Ok(Self(text.into_boxed_str()))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(<String as serde::Deserialize>::deserialize(deserializer)?)
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

text!(
    /// The name of a resource: 1 to 200 characters on one line.
    Name,
    Bounds { max: 200, may_be_empty: false, lines: false }
);
parsed_text!(Name);
text!(
    /// The purpose of an agent: up to 10,000 characters.
    Description,
    Bounds { max: 10_000, may_be_empty: true, lines: true }
);
parsed_text!(Description);
text!(
    /// The purpose of a webhook: up to 500 characters.
    WebhookDescription,
    Bounds { max: 500, may_be_empty: true, lines: true }
);
parsed_text!(WebhookDescription);
text!(
    /// A person's explanation of a label: 1 to 1,000 characters.
    Note,
    Bounds { max: 1_000, may_be_empty: false, lines: true }
);
parsed_text!(Note);
text!(
    /// A worker's explanation of its agent's failure: 1 to 1,000 characters.
    FailureReason,
    Bounds { max: 1_000, may_be_empty: false, lines: true }
);
parsed_text!(FailureReason);
text!(
    /// The situation that a simulation's personas are in: 1 to 20,000 characters.
    Scenario,
    Bounds { max: 20_000, may_be_empty: false, lines: true }
);
parsed_text!(Scenario);
text!(
    /// A required text of a persona: 1 to 4,000 characters.
    PersonaText,
    Bounds { max: 4_000, may_be_empty: false, lines: true }
);
parsed_text!(PersonaText);
text!(
    /// An optional text of a persona: up to 4,000 characters.
    PersonaDetail,
    Bounds { max: 4_000, may_be_empty: true, lines: true }
);
parsed_text!(PersonaDetail);
text!(
    /// One part of a message: up to 32,000 characters. It may be empty: an agent that says nothing
    /// must be judged, not refused.
    MessageText,
    Bounds { max: 32_000, may_be_empty: true, lines: true }
);
parsed_text!(MessageText);

impl MessageText {
    /// The text without what the patterns match. One that becomes too long loses its end.
    #[must_use]
    pub fn redacted(self, redaction: &Redaction) -> Self {
        match redaction.redact(&self.0) {
            Cow::Borrowed(_) => self,
            Cow::Owned(text) => {
                let end = text.char_indices().nth(Self::MAX_LENGTH).map_or(text.len(), |(end, _)| end);
                Self(text[..end].into())
            }
        }
    }
}
text!(
    /// The criteria of an objective: prose, `check:` lines, or both; 1 to 10,000 characters.
    Criteria,
    Bounds { max: 10_000, may_be_empty: false, lines: true }
);

impl Criteria {
    /// Checks the bounds and every `check:` line.
    pub fn parse(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        Self::BOUNDS.check(&text)?;
        Rubric::parse(&text)?;
        Ok(Self(text.into_boxed_str()))
    }

    /// Restores stored criteria that [`Criteria::parse`] once accepted. The check lines are not
    /// compiled again, so that reading an objective stays cheap.
    pub fn restore(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        Self::BOUNDS.check(&text)?;
        Ok(Self(text.into_boxed_str()))
    }

    /// Whether the criteria contain prose, which only a language model can judge.
    pub fn has_prose(&self) -> bool {
        Rubric::has_prose(&self.0)
    }

    /// Parses the criteria into checks and prose.
    pub fn rubric(&self) -> Result<Rubric, CheckLineError> {
        Rubric::parse(&self.0)
    }
}

/// A caller's JSON object, stored and returned unchanged: up to 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Metadata(Map<String, Value>);

impl TryFrom<Map<String, Value>> for Metadata {
    type Error = TextError;

    fn try_from(object: Map<String, Value>) -> Result<Self, TextError> {
        Self::parse(object)
    }
}

impl From<Metadata> for Map<String, Value> {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

impl Metadata {
    /// The maximum size as JSON, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Checks the size.
    pub fn parse(object: Map<String, Value>) -> Result<Self, TextError> {
        // Formatting a `Value` cannot fail, so no error path is needed.
        let value = Value::Object(object);
        let length = value.to_string().len();
        match value {
            Value::Object(object) if length <= Self::MAX_BYTES => Ok(Self(object)),
            _ => Err(TextError::TooLarge { max: Self::MAX_BYTES, length }),
        }
    }

    /// The object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The top-level members that are neither a list nor an object, as texts: a string unchanged,
    /// other values as JSON.
    pub fn texts(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0.iter().filter_map(|(name, value)| text_of(value).map(|text| (name.as_str(), text)))
    }

    /// Whether the top-level member `name` is exactly `text`, including case.
    pub fn has(&self, name: &str, text: &str) -> bool {
        self.0.get(name).and_then(text_of).is_some_and(|found| found == text)
    }
}

fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Array(_) | Value::Object(_) => None,
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_has_at_most_200_characters_of_any_width() {
        assert!(Name::parse("\u{1f600}".repeat(200)).is_ok());
        assert_eq!(Name::parse("x".repeat(201)), Err(TextError::TooLong { max: 200, length: 201 }));
    }

    #[test]
    fn blank_name_is_refused() {
        for text in ["", " ", "\u{2003}", "\u{200b}\u{feff}"] {
            assert_eq!(Name::parse(text), Err(TextError::Empty));
        }
    }

    #[test]
    fn control_character_is_reported_with_its_position() {
        assert_eq!(Name::parse("ab\u{0}"), Err(TextError::Control { code: 0, position: 3 }));
        assert_eq!(Name::parse("a\nb"), Err(TextError::Control { code: 10, position: 2 }));
        assert!(Scenario::parse("a\nb").is_ok());
        assert_eq!(Name::parse("\u{202e}ab"), Err(TextError::Control { code: 0x202e, position: 1 }));
    }

    #[test]
    fn criteria_with_a_broken_check_line_are_refused() {
        assert!(matches!(Criteria::parse("check: agent says /(/"), Err(TextError::CheckLine(_))));
    }

    #[test]
    fn oversized_metadata_is_refused() {
        let mut object = Map::new();
        object.insert("k".into(), Value::String("x".repeat(Metadata::MAX_BYTES)));
        assert!(matches!(Metadata::parse(object), Err(TextError::TooLarge { .. })));
    }

    #[test]
    fn redacted_message_stays_within_its_bounds() {
        let digits = Redaction::parse(r"\d").unwrap();
        let text = MessageText::parse("a\r\n1".to_owned()).unwrap();
        assert_eq!(text.redacted(&digits).as_str(), "a\r\n[redacted]");
        let longest = MessageText::parse("1a".repeat(MessageText::MAX_LENGTH / 2)).unwrap();
        let redacted = longest.redacted(&digits);
        assert!(MessageText::parse(redacted.as_str()).is_ok() && !redacted.as_str().contains('1'));
        assert!(redacted.as_str().starts_with("[redacted]a[redacted]"));
        let other = MessageText::parse("none\r").unwrap();
        assert_eq!(other.clone().redacted(&digits), other);
    }

    proptest! {
        #[test]
        fn parsed_text_is_unchanged(text in any::<String>()) {
            if let Ok(name) = Name::parse(text.clone()) {
                prop_assert_eq!(name.as_str(), text.as_str());
            }
            if let Ok(criteria) = Criteria::parse(text.clone()) {
                prop_assert_eq!(Criteria::restore(text), Ok(criteria));
            }
        }
    }
}
