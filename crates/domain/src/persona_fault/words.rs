//! Sentences and words of a message.

/// The sentences of a text, each with its closing mark and without blanks around it. A mark within a word, as
/// in a number or an address, ends no sentence.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len();
        for (index, character) in rest.char_indices() {
            let after = index + character.len_utf8();
            let ends = match character {
                '\n' => true,
                '.' | '!' | '?' | '…' => {
                    rest.get(after..).and_then(|rest| rest.chars().next()).is_none_or(|next| {
                        next.is_whitespace() || matches!(next, '"' | '\'' | ')' | '”' | '’' | '*')
                    })
                }
                _ => false,
            };
            if ends {
                end = after;
                break;
            }
        }
        let (sentence, after) = rest.split_at(end);
        rest = after;
        Some(sentence.trim_end())
    })
    .filter(|sentence| sentence.chars().any(char::is_alphanumeric))
}

/// The words of a text in lower case, without punctuation: `I’m` and `I'm` are `im`.
pub(super) fn words(text: &str) -> Vec<String> {
    let is_apostrophe = |character: char| matches!(character, '\'' | '’' | '‘');
    text.split(|character: char| !character.is_alphanumeric() && !is_apostrophe(character))
        .map(|word| word.chars().filter(|character| !is_apostrophe(*character)).collect::<String>())
        .filter(|word| !word.is_empty())
        .map(|word| word.to_lowercase())
        .collect()
}

/// Where a phrase, of words separated by spaces, begins within words.
pub(super) fn find(words: &[String], phrase: &str) -> Option<usize> {
    let length = phrase.split(' ').count();
    words.windows(length).position(|window| window.iter().map(String::as_str).eq(phrase.split(' ')))
}

/// Whether one of the phrases occurs in words.
pub(super) fn contains_any(words: &[String], phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| find(words, phrase).is_some())
}

/// The words after the one of the phrases that they begin with.
pub(super) fn after_any<'a>(words: &'a [String], phrases: &[&str]) -> Option<&'a [String]> {
    let phrase = phrases.iter().find(|phrase| find(words, phrase) == Some(0))?;
    words.get(phrase.split(' ').count()..)
}

/// The words without leading ones that only open a sentence.
pub(super) fn without_opening(words: &[String]) -> &[String] {
    const OPENINGS: [&str; 21] = [
        "hello",
        "hi",
        "hey",
        "sure",
        "certainly",
        "absolutely",
        "okay",
        "ok",
        "so",
        "well",
        "and",
        "but",
        "oh",
        "sorry",
        "actually",
        "however",
        "unfortunately",
        "please",
        "great",
        "thanks",
        "alright",
    ];
    let opening = words.iter().take_while(|word| OPENINGS.contains(&word.as_str())).count();
    words.get(opening..).unwrap_or_default()
}
