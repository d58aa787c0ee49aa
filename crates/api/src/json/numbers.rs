//! Finds numbers that storing would round.
//!
//! A number is stored as a 64-bit integer or as a double. Any other number would be rounded silently, so it
//! is refused. The parsed value no longer shows the rounding, so this scans the text, which is valid JSON by
//! then.

use serde_json::Number;

use super::join;
use crate::{
    error::{FieldError, Location},
    fields::MAX_ERRORS,
};

/// The position of a scan in a document.
enum Level {
    Array(usize),
    Object(String),
}

/// The first [`MAX_ERRORS`] numbers of a JSON text that are not kept to the digit, each with its location.
pub(super) fn changed(json: &[u8]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = json.get(at).copied() {
        let end = match byte {
            b'"' => end_of_string(json, at),
            b'-' | b'0'..=b'9' => end_of_number(json, at),
            _ => at + 1,
        };
        let token = json.get(at..end).unwrap_or_default();
        match byte {
            b'[' => levels.push(Level::Array(0)),
            b'{' => levels.push(Level::Object(String::new())),
            b']' | b'}' => drop(levels.pop()),
            b',' => {
                if let Some(Level::Array(index)) = levels.last_mut() {
                    *index += 1;
                }
            }
            // A string before a colon is a name. One that is a value is overwritten by the next name, and
            // names nothing.
            b'"' => {
                if let Some(Level::Object(name)) = levels.last_mut() {
                    *name = serde_json::from_slice(token).unwrap_or_default();
                }
            }
            b'-' | b'0'..=b'9' if !is_kept(token) => {
                let location = Location::Body(pointer(&levels));
                let detail = "must be a 64-bit integer or have no more digits than a double keeps: \
                              send this number as a string"
                    .to_owned();
                errors.push(FieldError { location, detail });
                if errors.len() == MAX_ERRORS {
                    break;
                }
            }
            _ => {}
        }
        at = end;
    }
    errors
}

fn pointer(levels: &[Level]) -> String {
    levels.iter().fold(String::new(), |pointer, level| match level {
        Level::Array(index) => join(&pointer, &index.to_string()),
        Level::Object(name) => join(&pointer, name),
    })
}

/// The position after a string that begins at `start`.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

fn end_of_number(json: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    start + json.get(start..).unwrap_or_default().iter().take_while(|byte| is_part(byte)).count()
}

/// Whether the stored number has the value that was sent.
fn is_kept(literal: &[u8]) -> bool {
    let Ok(literal) = str::from_utf8(literal) else { return false };
    if literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok() {
        return true;
    }
    let shown = literal.parse().ok().and_then(Number::from_f64).map(|number| number.to_string());
    shown.is_some_and(|shown| Decimal::parse(&shown) == Decimal::parse(literal))
}

/// The value of a decimal number: its digits without zeros at either end, times a power of ten. Zero has no
/// digits.
#[derive(PartialEq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent is beyond every double's.
    fn parse(literal: &str) -> Option<Self> {
        let (is_negative, rest) = match literal.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative, digits: String::new(), exponent: 0 });
        }
        let trailing = all.len() - all.trim_end_matches('0').len();
        let exponent = exponent.parse::<i64>().ok()?;
        let exponent = exponent.checked_sub_unsigned(u64::try_from(fraction.len()).ok()?)?;
        let exponent = exponent.checked_add_unsigned(u64::try_from(trailing).ok()?)?;
        Some(Self { is_negative, digits: digits.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(json: &str) -> Vec<String> {
        let location = |error: FieldError| match error.location {
            Location::Body(pointer) => pointer,
            other => panic!("{other:?}"),
        };
        changed(json.as_bytes()).into_iter().map(location).collect()
    }

    #[test]
    fn numbers_that_are_kept_pass() {
        for literal in [
            "0",
            "-0",
            "-0.0",
            "0e99999999999",
            "117.63331139400017",
            "18446744073709551615",
            "-9223372036854775808",
            "1.50",
            "1e2",
            "1E+22",
            "10000000000000000000000",
            "5e-324",
            "1.7976931348623157e308",
        ] {
            assert_eq!(places(literal), [""; 0], "{literal}");
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_found() {
        for literal in [
            "18446744073709551616",
            "-9223372036854775809",
            "0.1000000000000000055511151231257827",
            "117.633311394000171",
            "1e-400",
            "1e-99999999999999999999",
            "123456789012345678901234567890",
        ] {
            assert_eq!(places(literal), [""], "{literal}");
        }
    }

    #[test]
    fn each_place_is_named() {
        let json = r#"{ "a": "18446744073709551616", "b/\u0063": [1, {"\"": 1e-400}, [[18446744073709551616]]],
                        "d": {}, "e": [[], "]", 1e-400] }"#;
        assert_eq!(places(json), ["/b~1c/1/\"", "/b~1c/2/0/0", "/e/2"]);
    }

    #[test]
    fn no_more_places_are_named_than_errors_are_told() {
        let json = format!("[{}1e-400]", "1e-400,".repeat(1_000));
        assert_eq!(places(&json).len(), MAX_ERRORS);
    }

    /// Whether two shortest texts are equally near to a double. Then Rust rounds up, and JSON printers to the
    /// even digit.
    fn has_two_shortest_texts(number: f64) -> bool {
        let digits =
            |text: String| text.split('e').next().unwrap_or_default().trim_end_matches('0').to_owned();
        let (shortest, exact) = (digits(format!("{number:e}")), digits(format!("{number:.800e}")));
        exact.len() == shortest.len() + 1 && exact.ends_with('5')
    }

    #[test]
    fn of_two_shortest_texts_the_printed_one_is_kept() {
        assert!(has_two_shortest_texts("-1419863128884603.25".parse().unwrap()));
        assert_eq!(places("-1419863128884603.2"), [""; 0]);
        assert_eq!(places("-1419863128884603.3"), [""]);
    }

    proptest! {
        #[test]
        fn every_double_in_its_shortest_text_is_kept(number in any::<f64>()) {
            prop_assume!(!has_two_shortest_texts(number));
            prop_assert_eq!(places(&format!("{number:?}")), [""; 0]);
            prop_assert_eq!(places(&format!("{number:e}")), [""; 0]);
            prop_assert_eq!(places(&format!("{number}")), [""; 0]);
        }

        #[test]
        fn one_more_digit_than_a_double_has_is_found(digits in "[1-9][0-9]{18}[1-9]") {
            prop_assert_eq!(places(&format!("0.{digits}")), [""]);
        }

        #[test]
        fn no_text_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), json in r#"[\[\]{}",:\\0-9eE.+-]{0,40}"#) {
            let _ = changed(&bytes);
            let _ = changed(json.as_bytes());
        }
    }
}
