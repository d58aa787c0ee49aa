//! Reads JSON that models and servers write, without trusting its shape.

use serde_json::{Map, Value};

/// The JSON object in a model's text, without a fence around it and without prose before or after
/// it. If the text has no object, it is returned trimmed.
///
/// It checks only braces; the caller parses the result.
pub fn json_text(text: &str) -> &str {
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}');
    match (text.find('{'), text.rfind('}')) {
        (Some(start), Some(end)) if start < end => &text[start..=end],
        _ => text,
    }
}

/// The text without reasoning that a server has left in it. `None` if the model has not finished its
/// reasoning.
///
/// Templates of chat models often write the opening tag into the prompt, so it may be missing here. Then
/// the closing tag must end a line, and the text must not be JSON: a message may quote the tag.
pub(crate) fn without_reasoning(text: &str) -> Option<&str> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    let start = text.trim_start();
    let (before, after) = match text.split_once(CLOSE) {
        Some(parts) => parts,
        None if start.starts_with(OPEN) => return None,
        None => return Some(text),
    };
    let ends_line = after.is_empty() || after.starts_with(['\n', '\r']);
    let is_json = start.starts_with(['{', '[', '`']);
    if start.starts_with(OPEN) || (ends_line && !is_json && !before.contains(OPEN)) {
        Some(after.trim_start())
    } else {
        Some(text)
    }
}

/// A member of an object, if it is there and not null.
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

/// A member of an object that is a string with text in it.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

/// A member with a count. Some servers write a float or a string.
pub(crate) fn count(value: &Value, name: &str) -> Option<u64> {
    match value.get(name)? {
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the number is between 0 and 10^15"
            )]
            (0.0..=1e15).contains(&number).then_some(number as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// An object from some members.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_in_fences_and_prose() {
        for text in [
            "{\"a\":{}}",
            "\u{feff} {\"a\":{}}\n",
            "```json\n{\"a\":{}}\n```",
            "```\n{\"a\":{}}```",
            "Sure! Here it is:\n```JSON\n{\"a\":{}}\n```\nAnything else?",
        ] {
            assert_eq!(json_text(text), "{\"a\":{}}", "{text}");
        }
        for text in ["", "no", "} {", "{"] {
            assert_eq!(json_text(text), text);
        }
    }

    #[test]
    fn reasoning_is_removed_from_text() {
        assert_eq!(without_reasoning("<think>hm</think>\n\nHi"), Some("Hi"));
        assert_eq!(without_reasoning("<think>hm</think>Hi"), Some("Hi"));
        assert_eq!(without_reasoning("hm, well\n</think>\nHi"), Some("Hi"));
        assert_eq!(without_reasoning("hm, well</think>"), Some(""));
        assert_eq!(without_reasoning("\n<think>hm"), None);
        for text in
            ["Hi", "tags: <think></think>", "Why do you say </think> to me?", "{\"quote\": \"a</think>\n\"}"]
        {
            assert_eq!(without_reasoning(text), Some(text));
        }
    }

    #[test]
    fn counts_may_be_floats_or_strings() {
        let value = serde_json::json!({"a": 3, "b": 3.0, "c": "3", "d": -1, "e": null, "f": 1e300});
        for (name, expected) in [
            ("a", Some(3)),
            ("b", Some(3)),
            ("c", Some(3)),
            ("d", None),
            ("e", None),
            ("f", None),
            ("g", None),
        ] {
            assert_eq!(count(&value, name), expected, "{name}");
        }
    }
}
