//! Prepares callers' texts for use in sentences: cleans, shortens and quotes them, and fills
//! templates.

use unicode_segmentation::UnicodeSegmentation;

/// The maximum length of a persona's message, in characters.
pub(crate) const MAX_LINE: usize = 600;

/// The number of characters of a text that are read.
const MAX_READ: usize = 4_000;

/// Converts a text to one line of visible characters. Control, format and direction characters and
/// runs of white space become one space. Joiners and tags within a visible character stay: Persian
/// words, Devanagari, emoji families and flags need them.
pub(crate) fn clean(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_READ));
    let end = text.char_indices().nth(MAX_READ).map_or(text.len(), |(index, _)| index);
    let within = |(start, cluster): &(usize, &str)| start + cluster.len() <= end;
    for (_, cluster) in text.grapheme_indices(true).take_while(within) {
        let mut characters = cluster.chars();
        let Some(base) = characters.next() else { continue };
        if base.is_control() || base.is_whitespace() || is_invisible(base) {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
            continue;
        }
        line.push(base);
        for character in characters {
            let joins = is_joiner(character) && !line.ends_with(is_joiner);
            let tags = base == BLACK_FLAG && is_tag(character);
            if joins || tags || !(character.is_control() || is_invisible(character)) {
                line.push(character);
            }
        }
    }
    line.truncate(line.trim_end_matches(|last: char| last == ' ' || is_joiner(last)).len());
    line
}

/// The base of the flags of England, Scotland and Wales, which tags complete.
const BLACK_FLAG: char = '\u{1f3f4}';

fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}')
}

fn is_tag(character: char) -> bool {
    matches!(character, '\u{e0020}'..='\u{e007f}')
}

/// Whether a character reorders or hides its neighbours.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text, or its start up to the end of a word with an ellipsis; at most `max` characters. Never
/// cuts within what a reader sees as one character.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut head = String::new();
    let mut room = max.saturating_sub(1);
    for cluster in text.graphemes(true) {
        let Some(left) = room.checked_sub(cluster.chars().count()) else { break };
        room = left;
        head.push_str(cluster);
    }
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

/// The sentences of a text, cleaned, without headings and list marks, each at most `max` characters;
/// at most `count` of them.
pub(crate) fn sentences(text: &str, count: usize, max: usize) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().take(200) {
        let line = clean(line);
        let line = line.trim_start_matches(['#', '*', '-', '>', '•', '=', '_', '`', '~', '|', ' ']);
        let mut rest = line.trim_end_matches(['*', '=', '_', '`', '~', '|', ' ']);
        // A heading such as "Scenario:" has no content.
        if rest.ends_with(':') {
            continue;
        }
        while !rest.is_empty() && found.len() < count {
            let (sentence, after) = rest.split_at(full_stop(rest));
            if sentence.chars().any(char::is_alphanumeric) {
                found.push(shorten(sentence.trim(), max));
            }
            rest = after.trim_start();
        }
    }
    found
}

/// The first sentence of a text; empty if the text has no words.
pub(crate) fn first_sentence(text: &str, max: usize) -> String {
    let mut first = sentences(text, 1, max);
    first.pop().unwrap_or_else(|| {
        let all = clean(text);
        if all.chars().any(char::is_alphanumeric) {
            shorten(&all[..full_stop(&all)], max)
        } else {
            String::new()
        }
    })
}

/// The offset after the first sentence of a line.
fn full_stop(line: &str) -> usize {
    for (index, character) in line.char_indices() {
        let end = index + character.len_utf8();
        let stops = match character {
            '.' | '!' | '?' => line[end..].is_empty() || line[end..].starts_with(' '),
            '。' | '！' | '？' | '।' | '؟' => true,
            _ => false,
        };
        // "Mr. X" and "e.g. this" are not sentences.
        if stops && index >= 12 {
            return end;
        }
    }
    line.len()
}

/// Frequent words that say nothing about a subject.
const COMMON: &[&str] = &[
    "about",
    "after",
    "again",
    "also",
    "another",
    "because",
    "been",
    "before",
    "being",
    "could",
    "does",
    "doing",
    "done",
    "each",
    "from",
    "have",
    "having",
    "help",
    "here",
    "into",
    "just",
    "know",
    "like",
    "more",
    "most",
    "much",
    "need",
    "needs",
    "only",
    "other",
    "over",
    "please",
    "problem",
    "request",
    "should",
    "some",
    "someone",
    "something",
    "such",
    "than",
    "that",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "this",
    "those",
    "want",
    "wants",
    "were",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "will",
    "with",
    "would",
    "your",
    "customer",
    "support",
];

/// Whether two texts share a word that says something about their subject. Endings are ignored.
pub(crate) fn shares_word(one: &str, other: &str) -> bool {
    let stems = |text: &str| -> Vec<String> {
        text.split(|character: char| !character.is_alphanumeric())
            .map(str::to_lowercase)
            .filter(|word| word.chars().count() >= 4 && !COMMON.contains(&word.as_str()))
            .map(|word| word.chars().take(5).collect())
            .collect()
    };
    let others = stems(other);
    stems(one).iter().any(|stem| others.contains(stem))
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
        self.find(key).is_some()
    }

    /// The offset of the first occurrence of a keyword.
    pub(crate) fn find(&self, key: &str) -> Option<usize> {
        let (key, open) = key.strip_suffix('*').map_or((key, false), |stem| (stem, true));
        let first = key.as_bytes().first()?;
        if self.firsts & bit(*first) == 0 {
            return None;
        }
        let starts = self.starts.iter().filter(|(byte, _)| byte == first).map(|(_, start)| *start);
        starts.into_iter().find(|start| {
            self.text[*start..]
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
    fn joined_characters_stay_whole() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        let england = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";
        let canada = "\u{1f1e8}\u{1f1e6}";
        for whole in ["می\u{200c}خواهم", "क्षत्रिय", "क्\u{200d}ष", "e\u{301}", family, england, canada]
        {
            assert_eq!(clean(whole), whole);
            let text = whole.repeat(20);
            let clusters: Vec<&str> = text.graphemes(true).collect();
            for max in 1..text.chars().count() {
                let head = shorten(&text, max);
                let head = head.strip_suffix('…').unwrap();
                let kept: Vec<&str> = head.graphemes(true).collect();
                assert!(clusters.starts_with(&kept), "{max}: {head}");
            }
        }
    }

    #[test]
    fn hidden_characters_are_removed() {
        for (text, visible) in [
            ("a\u{202e}b", "a b"),
            ("a\u{e0049}b", "ab"),
            ("\u{200d}a\u{200b}\u{200b}b", "a b"),
            ("a\u{200d}\u{200d}\u{200d}b\u{200c}", "a\u{200d}b"),
        ] {
            assert_eq!(clean(text), visible, "{text:?}");
        }
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
