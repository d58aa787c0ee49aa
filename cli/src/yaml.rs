//! YAML and JSON that people write.

use std::{borrow::Cow, fmt};

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, MessageFormatter, SnippetMode, UserMessageFormatter};

/// A fault in a text, and its place.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Line and column, from 1.
    pub(crate) place: Option<(u64, u64)>,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(formatter, "line {line}, column {column}: ")?;
        }
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Reads a value.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let plain = error.without_snippet();
        let message = plain.render_with_options(serde_saphyr::render_options! {
            formatter: &Wording,
            snippets: SnippetMode::Off,
        });
        let Some(location) = plain.location() else { return Problem { place: None, message } };
        let (line, column) = (location.line(), location.column());
        let end = format!(" at line {line}, column {column}");
        let message = message.strip_suffix(&end).unwrap_or(&message).to_owned();
        Problem { place: Some((line, column)), message }
    })
}

/// The parser's messages, where those are about its inner workings.
struct Wording;

impl MessageFormatter for Wording {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::Unexpected { expected: "mapping start", .. } => "must be an object with fields, such as `name: value`".into(),
            Error::Unexpected { expected: "sequence start", .. } => "must be a list, such as `[a, b]`".into(),
            Error::Unexpected { expected: "string scalar", .. } | Error::NullIntoString { .. } => "must be a text".into(),
            Error::InvalidScalar { ty, .. } if ty.starts_with('u') => "must be a whole number, not below 0".into(),
            Error::InvalidScalar { ty, .. } if ty.starts_with('f') => "must be a number".into(),
            _ => match UserMessageFormatter.format_message(error) {
                message if message.contains(NESTED) => {
                    format!("{message}: write nested fields in braces or on lines of their own, and a text with a colon in quotes").into()
                }
                message => message,
            },
        }
    }
}

/// The parser's message about `a: b: c`.
const NESTED: &str = "mapping values are not allowed in this context";
