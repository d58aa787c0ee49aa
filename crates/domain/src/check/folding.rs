//! Folds texts for matching, and maps matches back to the original.
//!
//! Texts that look the same match the same. A folded text is in Unicode's compatibility form NFKC,
//! without invisible characters, with straight quotes, plain hyphens and spaces, and with line
//! feeds as the only line breaks. Quotes come from the original.

use std::ops::Range;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization,
    char::{canonical_combining_class, decompose_compatible},
    is_nfkc_quick,
};

use crate::text::is_blank;

/// A folded text. NFKC makes some characters longer, up to eleven times in bytes.
pub(super) struct Folded {
    text: String,
    /// In order. Each segment extends to the start of the next; together they cover the text.
    segments: Vec<Segment>,
}

/// A part of the folded text and its origin.
struct Segment {
    start: usize,
    original_start: usize,
    /// The end of a changed part in the original; `None` if the part was copied byte by byte.
    changed_until: Option<usize>,
}

impl Folded {
    pub(super) fn new(original: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(original.len()), segments: Vec::new() };
        let mut at = 0;
        while at < original.len() {
            let plain = plain_length(&original.as_bytes()[at..]);
            if plain > 0 {
                folded.copy(original, at..at + plain);
                at += plain;
                continue;
            }
            let end = at + cluster_length(&original[at..]);
            folded.change(original, at..end);
            at = end;
        }
        folded
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The range of the original that a range of the folded text comes from.
    pub(super) fn original(&self, part: Range<usize>) -> Range<usize> {
        let Some(first) = self.segment(part.start) else { return 0..0 };
        let start = match first.changed_until {
            Some(_) => first.original_start,
            None => first.original_start + (part.start - first.start),
        };
        if part.is_empty() {
            return start..start;
        }
        let end = match self.segment(part.end - 1) {
            None => start,
            Some(Segment { changed_until: Some(end), .. }) => *end,
            Some(last) => last.original_start + (part.end - last.start),
        };
        start..end
    }

    /// The segment that contains a byte of the folded text.
    fn segment(&self, at: usize) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.start <= at);
        self.segments.get(after.checked_sub(1)?)
    }

    fn copy(&mut self, original: &str, part: Range<usize>) {
        let extends_last = self.segments.last().is_some_and(|last| {
            let shift = self.text.len() - last.start;
            last.changed_until.is_none() && last.original_start + shift == part.start
        });
        if !extends_last {
            let start = self.text.len();
            self.segments.push(Segment { start, original_start: part.start, changed_until: None });
        }
        self.text.push_str(&original[part]);
    }

    fn change(&mut self, original: &str, part: Range<usize>) {
        let start = self.text.len();
        fold_into(&original[part.clone()], &mut self.text);
        if self.text[start..] == original[part.clone()] {
            self.text.truncate(start);
            return self.copy(original, part);
        }
        self.segments.push(Segment { start, original_start: part.start, changed_until: Some(part.end) });
    }
}

/// Folds a short text, such as the literal characters of a pattern.
pub(super) fn fold(text: &str) -> String {
    Folded::new(text).text
}

/// The number of leading ASCII bytes that folding does not change.
fn plain_length(bytes: &[u8]) -> usize {
    let plain = bytes.iter().take_while(|byte| byte.is_ascii() && **byte != b'\r').count();
    match bytes.get(plain) {
        // A following combining mark belongs to the last character.
        Some(next) if !next.is_ascii() => plain.saturating_sub(1),
        _ => plain,
    }
}

/// The length of the first character and everything after it that may combine with it, in bytes.
fn cluster_length(text: &str) -> usize {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return 0 };
    if first == '\r' {
        return if characters.next() == Some('\n') { 2 } else { 1 };
    }
    let rest = characters.take_while(|next| joins(*next));
    first.len_utf8() + rest.map(char::len_utf8).sum::<usize>()
}

/// Whether a character may combine with the previous one, or is invisible.
fn joins(character: char) -> bool {
    if character.is_ascii() {
        return false;
    }
    let mut first = None;
    decompose_compatible(character, |part| _ = first.get_or_insert(part));
    let first = first.unwrap_or(character);
    canonical_combining_class(first) != 0
        || is_nfkc_quick(std::iter::once(first)) == IsNormalized::Maybe
        || is_hidden(character)
}

fn fold_into(cluster: &str, text: &mut String) {
    if cluster.starts_with('\r') {
        text.push('\n');
        return;
    }
    let shown = cluster.chars().filter(|character| !is_hidden(*character)).map(plain);
    text.extend(shown.nfkc().map(plain));
}

/// Whether a character is invisible: format characters, variation selectors, fillers.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    ) || (is_blank(character) && !character.is_whitespace())
}

/// Maps quotes, dashes and spaces to ASCII.
fn plain(character: char) -> char {
    match character {
        '\u{b4}'
        | '\u{2bc}'
        | '\u{2018}'..='\u{201b}'
        | '\u{2032}'
        | '\u{2035}'
        | '\u{2039}'
        | '\u{203a}' => '\'',
        '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{2036}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' => '-',
        '\u{2028}' | '\u{2029}' => '\n',
        other if !other.is_ascii() && other.is_whitespace() => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_look_the_same_fold_to_one_text() {
        for (text, expected) in [
            ("guaran\u{200b}tee", "guarantee"),
            ("guaran\u{ad}t\u{2060}ee\u{feff}", "guarantee"),
            ("can\u{2019}t", "can't"),
            ("\u{201c}no\u{201d} \u{2014} \u{ab}no\u{bb}", "\"no\" - \"no\""),
            ("cafe\u{301}", "caf\u{e9}"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("e\u{200b}\u{301}", "\u{e9}"),
            ("\u{ff32}\u{ff45}\u{ff46}\u{ff55}\u{ff4e}\u{ff44}", "Refund"),
            ("by\u{a0}to\u{202f}mor\u{3000}row", "by to mor row"),
            ("one\r\ntwo\rthree\u{2028}four", "one\ntwo\nthree\nfour"),
            ("\u{1100}\u{1161}", "\u{ac00}"),
            ("\u{ff76}\u{ff9e}", "\u{30ac}"),
            ("wait\u{2026}", "wait..."),
            ("\u{2764}\u{fe0f}", "\u{2764}"),
        ] {
            assert_eq!(fold(text), expected, "{text:?}");
        }
    }

    #[test]
    fn folded_range_maps_back_to_its_original() {
        let original = "a \u{fb03}x guaran\u{200b}tee\r\nend";
        let folded = Folded::new(original);
        for (part, expected) in [
            ("ffi", "\u{fb03}"),
            ("f", "\u{fb03}"),
            ("guarantee", "guaran\u{200b}tee"),
            ("tee\nend", "tee\r\nend"),
            ("a", "a"),
            ("end", "end"),
        ] {
            let start = folded.as_str().find(part).unwrap();
            assert_eq!(&original[folded.original(start..start + part.len())], expected);
        }
    }

    #[test]
    fn folding_lengthens_a_character_at_most_eleven_times() {
        // The planes that contain characters with a compatibility form.
        for character in ('\0'..='\u{ffff}').chain('\u{1d000}'..='\u{1fbff}').chain('\u{2f800}'..='\u{2fa1f}')
        {
            let text = character.to_string();
            assert!(fold(&text).len() <= 11 * text.len(), "{character:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_by_clusters_equals_folding_the_whole_text(text in any::<String>()) {
            let shown = text.replace("\r\n", "\n").replace('\r', "\n");
            let whole: String =
                shown.chars().filter(|c| !is_hidden(*c)).map(plain).nfkc().map(plain).collect();
            prop_assert_eq!(fold(&text), whole);
        }

        #[test]
        fn every_range_maps_to_a_range_of_the_original(text in any::<String>(), cut in any::<(usize, usize)>()) {
            let folded = Folded::new(&text);
            let boundaries: Vec<_> = folded.as_str().char_indices().map(|(at, _)| at).chain([folded.as_str().len()]).collect();
            let [one, other] = [cut.0, cut.1].map(|cut| boundaries[cut % boundaries.len()]);
            let part = folded.original(one.min(other)..one.max(other));
            let source = text.get(part);
            prop_assert!(source.is_some());
            prop_assert!(fold(source.unwrap_or_default()).contains(&folded.as_str()[one.min(other)..one.max(other)]));
        }

        #[test]
        fn ascii_without_carriage_returns_is_unchanged(text in "[\\x00-\\x0c\\x0e-\\x7f]*") {
            prop_assert_eq!(fold(&text), text);
        }
    }
}
