//! Prepares callers' texts for use in sentences: cleans, shortens and quotes them, and fills
//! templates.

/// The maximum length of a persona's message, in characters.
pub(crate) const MAX_LINE: usize = 600;

/// The number of characters of a text that are read.
const MAX_READ: usize = 4_000;

/// Converts a text to one line of visible words: control, format and direction characters and runs
/// of white space become one space.
pub(crate) fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_READ));
    for character in text.chars().take(MAX_READ) {
        if character.is_control() || character.is_whitespace() || is_invisible(character) {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
        } else {
            line.push(character);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Whether a character reorders or hides its neighbours.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text, or its start up to the end of a word with an ellipsis; at most `max` characters.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut head: String = text.chars().take(max.saturating_sub(1)).collect();
    // A word is split only if it is longer than half of the limit.
    if let Some(blank) = head.rfind(' ')
        && blank > head.len() / 2
    {
        head.truncate(blank);
    }
    head.truncate(head.trim_end_matches([' ', ',', ';', ':', '.']).len());
    head.push('…');
    head
}

/// The first sentence of a text, cleaned, without heading or list marks, at most `max` characters.
/// Empty if the text has no words.
pub(crate) fn first_sentence(text: &str, max: usize) -> String {
    for line in text.lines().take(200) {
        let line = clean(line);
        let line = line.trim_start_matches(['#', '*', '-', '>', '•', '=', '_', '`', '~', '|', ' ']);
        let line = line.trim_end_matches(['*', '=', '_', '`', '~', '|', ' ']);
        // A heading such as "Scenario:" has no content.
        if line.ends_with(':') || !line.chars().any(char::is_alphanumeric) {
            continue;
        }
        return shorten(until_full_stop(line), max);
    }
    let all = clean(text);
    if all.chars().any(char::is_alphanumeric) { shorten(until_full_stop(&all), max) } else { String::new() }
}

fn until_full_stop(line: &str) -> &str {
    for (index, character) in line.char_indices() {
        let end = index + character.len_utf8();
        let stops = match character {
            '.' | '!' | '?' => line[end..].is_empty() || line[end..].starts_with(' '),
            '。' | '！' | '？' => true,
            _ => false,
        };
        // "Mr. X" and "e.g. this" are not sentences.
        if stops && index >= 12 {
            return &line[..end];
        }
    }
    line
}

/// The text in quotation marks. Marks within it are replaced, so they cannot close the quotation.
pub(crate) fn quoted(text: &str) -> String {
    format!("“{}”", text.replace(['“', '”', '"'], "'"))
}

/// The text on one line, at most [`MAX_LINE`] characters.
pub(crate) fn bounded(line: &str) -> String {
    shorten(&clean(line), MAX_LINE)
}

/// The values of a template's `{slot}`s.
pub(crate) trait Slots {
    /// The value of a slot; empty for an unknown one.
    fn slot(&self, name: &str) -> &str;
}

/// Fills the slots of a template. Templates are this crate's own; inserted values are not scanned
/// for slots.
pub(crate) fn fill(template: &str, slots: &impl Slots) -> String {
    let mut line = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        line.push_str(before);
        let Some((name, after)) = after.split_once('}') else { break };
        line.push_str(slots.slot(name));
        rest = after;
    }
    line.push_str(rest);
    line
}

fn bit(byte: u8) -> u64 {
    1 << (byte & 63)
}

/// A lower-case text that is searched for many keywords. Word starts are computed once.
pub(crate) struct Words<'a> {
    text: &'a str,
    /// The offset and first byte of each word. The byte alone rules out most keywords.
    starts: Vec<(u8, usize)>,
    /// A bit set of the first bytes, by their lower six bits.
    firsts: u64,
}

impl<'a> Words<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let mut starts = Vec::with_capacity(text.len() / 4 + 1);
        let mut firsts = 0;
        let mut in_word = false;
        for (index, character) in text.char_indices() {
            let alphanumeric = character.is_alphanumeric();
            if alphanumeric && !in_word {
                let first = text.as_bytes()[index];
                firsts |= bit(first);
                starts.push((first, index));
            }
            in_word = alphanumeric;
        }
        Self { text, starts, firsts }
    }

    /// Whether the text contains a word or phrase. A keyword that ends in `*` also matches longer
    /// words.
    pub(crate) fn has(&self, key: &str) -> bool {
        let (key, open) = key.strip_suffix('*').map_or((key, false), |stem| (stem, true));
        let Some(first) = key.as_bytes().first() else { return false };
        if self.firsts & bit(*first) == 0 {
            return false;
        }
        self.starts.iter().any(|(byte, start)| {
            byte == first
                && self.text[*start..]
                    .strip_prefix(key)
                    .is_some_and(|after| open || !after.chars().next().is_some_and(char::is_alphanumeric))
        })
    }

    /// Whether the text contains any of the keywords.
    pub(crate) fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.has(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keyword_matches_words_and_a_star_matches_stems() {
        assert!(Words::of("it is late.").has("late"));
        assert!(!Words::of("translate later").has("late"));
        assert!(Words::of("two refunds").has("refund*"));
        assert!(!Words::of("prefund").has("refund*"));
    }

    #[test]
    fn first_sentence_skips_headings_and_abbreviations() {
        let text = "# Scenario:\n\n- Mr. Ode wants a new door. It is urgent.";
        assert_eq!(first_sentence(text, 100), "Mr. Ode wants a new door.");
        assert_eq!(first_sentence(" \u{200b}\n…", 100), "");
    }

    #[test]
    fn long_text_is_cut_between_words() {
        assert_eq!(shorten("alpha beta gamma", 12), "alpha beta…");
        assert_eq!(shorten(&"x".repeat(50), 5), "xxxx…");
    }

    proptest! {
        #[test]
        fn any_text_becomes_bounded_and_visible(text in any::<String>(), max in 1_usize..50) {
            prop_assert!(shorten(&text, max).chars().count() <= max);
            prop_assert!(first_sentence(&text, max).chars().count() <= max);
            prop_assert!(!clean(&text).chars().any(char::is_control));
        }
    }
}
