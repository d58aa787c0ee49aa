//! Removes what an operator's patterns match from texts.

use std::{borrow::Cow, ops::Range};

use super::{
    folding::Folded,
    pattern::{Flags, Pattern},
};
use crate::text::is_blank;

/// The maximum number of patterns.
const MAX_PATTERNS: usize = 50;

/// The maximum width of all patterns together: the work for each byte of a text.
const MAX_TOTAL_WIDTH: u64 = 512;

/// The maximum number of matches of one pattern in one text. Finding all matches may take time that is
/// quadratic in the text, so the rest of the text is removed after that many.
const MAX_MATCHES: usize = 1_000;

/// Patterns of texts that must not leave the deployment, such as numbers of cards.
#[derive(Clone, Debug, Default)]
pub struct Redaction(Vec<Pattern>);

/// Why patterns were refused. The message completes a sentence that starts with their file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedactionError {
    /// One pattern was refused.
    #[error("line {line} {reason}")]
    Pattern {
        /// The number of the line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// There are too many patterns.
    #[error("has more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// The patterns would take too much work together.
    #[error(
        "would take too much work to match: up to {0} positions of its patterns are active at once, and \
         {MAX_TOTAL_WIDTH} may be; use smaller repetition counts"
    )]
    TooWide(u64),
    /// There is no pattern.
    #[error("has no pattern")]
    Empty,
}

impl Redaction {
    /// The text that takes the place of a match.
    pub const REPLACEMENT: &str = "[redacted]";

    /// Parses one pattern a line. Blank lines and lines that start with `#` are ignored.
    pub fn parse(text: &str) -> Result<Self, RedactionError> {
        let lines = text.lines().map(|line| line.trim_matches(is_blank));
        let mut patterns = Vec::new();
        for (line, pattern) in (1..).zip(lines) {
            if pattern.is_empty() || pattern.starts_with('#') {
                continue;
            }
            if patterns.len() == MAX_PATTERNS {
                return Err(RedactionError::TooMany);
            }
            let parsed = Pattern::parse(pattern, Flags::default());
            let parsed =
                parsed.map_err(|error| RedactionError::Pattern { line, reason: error.to_string() })?;
            if parsed.find("").is_some() {
                let reason = "matches the empty text; let it match at least one character".to_owned();
                return Err(RedactionError::Pattern { line, reason });
            }
            patterns.push(parsed);
        }
        if patterns.is_empty() {
            return Err(RedactionError::Empty);
        }
        let width = patterns.iter().map(Pattern::width).fold(0, u64::saturating_add);
        if width > MAX_TOTAL_WIDTH {
            return Err(RedactionError::TooWide(width));
        }
        Ok(Self(patterns))
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces each match by [`Redaction::REPLACEMENT`]. Matches that touch or overlap are replaced
    /// together. As in check lines, texts that look the same match the same.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let folded = Folded::new(text);
        let mut matches: Vec<Range<usize>> = Vec::new();
        for pattern in &self.0 {
            let found = pattern.find_all(folded.as_str()).take(MAX_MATCHES + 1);
            for (count, part) in found.enumerate() {
                let part = if count == MAX_MATCHES { part.start..folded.as_str().len() } else { part };
                matches.push(folded.original(part));
            }
        }
        if matches.is_empty() {
            return Cow::Borrowed(text);
        }
        matches.sort_unstable_by_key(|part| part.start);
        let mut redacted = String::with_capacity(text.len());
        let mut end = None;
        for part in matches {
            if end.is_none_or(|end| part.start > end) {
                redacted.push_str(&text[end.unwrap_or(0)..part.start]);
                redacted.push_str(Self::REPLACEMENT);
            }
            end = end.max(Some(part.end));
        }
        redacted.push_str(&text[end.unwrap_or(0)..]);
        Cow::Owned(redacted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redaction(patterns: &str) -> Redaction {
        Redaction::parse(patterns).unwrap()
    }

    #[test]
    fn matches_are_replaced_and_other_text_stays() {
        let patterns = redaction("# cards\n\\b(?:\\d[ -]?){13,16}\\b\n\n(?i)[a-z.]+@[a-z.]+\\b\n");
        for (text, expected) in [
            ("My card is 4111 1111 1111 1111, thanks", "My card is [redacted], thanks"),
            ("４１１１１１１１１１１１１１１１", "[redacted]"),
            ("Ann@Example.com or é@x, bob@b.org", "[redacted] or é@x, [redacted]"),
            ("order 12345", "order 12345"),
            ("", ""),
        ] {
            assert_eq!(patterns.redact(text), expected, "{text}");
        }
    }

    #[test]
    fn overlapping_matches_are_replaced_together() {
        assert_eq!(redaction("abc\nbcd\nef").redact("xabcdefy ef"), "x[redacted]y [redacted]");
    }

    #[test]
    fn text_after_too_many_matches_is_removed() {
        let text = "a ".repeat(MAX_MATCHES + 5) + "secret";
        let redacted = redaction("a").redact(&text).into_owned();
        assert_eq!(redacted.matches(Redaction::REPLACEMENT).count(), MAX_MATCHES + 1);
        assert!(!redacted.contains("secret"));
    }

    #[test]
    fn wrong_patterns_are_refused_with_their_line() {
        for (text, expected) in [
            ("", "has no pattern"),
            ("# only a comment\n", "has no pattern"),
            ("a\n(b", "line 2 is not a regular expression"),
            ("a*", "line 1 matches the empty text"),
            ("\\w{1000}", "line 1 would take too much work"),
        ] {
            let error = Redaction::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(Redaction::parse(&"a\n".repeat(51)).unwrap_err(), RedactionError::TooMany);
        assert!(matches!(Redaction::parse(&"[a-z]{200}\n".repeat(3)), Err(RedactionError::TooWide(_))));
    }

    proptest! {
        #[test]
        fn redacted_text_has_no_match_between_replacements(text in "(?s)(?:[0-9]{1,6}|.){0,40}") {
            let redacted = redaction("[0-9]{4}").redact(&text).into_owned();
            for part in redacted.split(Redaction::REPLACEMENT) {
                prop_assert!(part.is_empty() || text.contains(part));
                let run = part.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
                prop_assert!(run < 4, "{part:?}");
            }
        }
    }
}
