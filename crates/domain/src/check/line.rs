//! Classifies the lines of criteria.

use super::strip_word;
use crate::text::is_blank;

/// One line of criteria.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A check, with the text after `check:`.
    Check(&'a str),
    /// Almost a check, with the intended text after `check:`. As prose it would never be decided as
    /// intended.
    Near(&'a str),
    /// Prose for a language model.
    Prose,
}

/// Characters that mark emphasis in Markdown.
const EMPHASIS: [char; 3] = ['*', '_', '`'];

impl<'a> Line<'a> {
    pub(super) fn read(line: &'a str) -> Self {
        let item = strip_list_marker(trim(line));
        let text = item.trim_start_matches(EMPHASIS);
        let is_emphasized = text.len() < item.len();
        let (word, rest) = split_word(text);
        let after = if is_emphasized { rest.trim_start_matches(EMPHASIS) } else { rest }.trim_start();
        if word.eq_ignore_ascii_case("check")
            && let Some(rule) = after.strip_prefix([':', '\u{ff1a}'])
        {
            let rule = if is_emphasized { rule.trim_matches(EMPHASIS) } else { rule };
            return Self::Check(trim(rule));
        }
        let rule = trim(after.trim_start_matches([':', '\u{ff1a}', ';', ',', '.', '=', '-', '\u{2013}']));
        let rule = strip_word(rule, "the ").unwrap_or(rule);
        if is_like_check(word) && is_rule(rule) {
            return Self::Near(rule);
        }
        let text = if is_emphasized { text.trim_end_matches(EMPHASIS) } else { text };
        if is_exact_rule(text) { Self::Near(text) } else { Self::Prose }
    }
}

/// Removes white space and invisible characters at both ends.
fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// Removes the bullet or number of a list item.
fn strip_list_marker(line: &str) -> &str {
    let digits = line.len() - line.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let marked = match digits {
        0 => line.strip_prefix(['-', '*', '+', '>', '\u{2022}', '\u{2013}']),
        _ => line[digits..].strip_prefix(['.', ')']),
    };
    match marked {
        Some(item) if item.starts_with(is_blank) => trim(item),
        _ => line,
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_alphabetic()).unwrap_or(text.len());
    text.split_at(end)
}

/// Whether a word is `check` or `checks`, or differs by one missing, added or changed letter, or by
/// two swapped letters.
fn is_like_check(word: &str) -> bool {
    let word: Vec<_> = word.to_lowercase().chars().collect();
    ["check", "checks"].iter().any(|meant| {
        let meant: Vec<_> = meant.chars().collect();
        let same = word.iter().zip(&meant).take_while(|(one, other)| one == other).count();
        let (word, meant) = (&word[same..], &meant[same..]);
        let swapped = word.len() >= 2 && meant.len() >= 2 && word[0] == meant[1] && word[1] == meant[0];
        word == meant
            || word.get(1..).is_some_and(|word| word == meant || meant.get(1..) == Some(word))
            || meant.get(1..) == Some(word)
            || (swapped && word[2..] == meant[2..])
    })
}

/// The text after the side and the verb of a check.
fn strip_verb(rule: &str) -> Option<&str> {
    let statement = strip_word(rule, "agent ").or_else(|| strip_word(rule, "persona "))?.trim_start();
    ["never says", "says", "replies", "ended"].iter().find_map(|verb| strip_word(statement, verb))
}

/// Whether a text begins like a check's rule.
fn is_rule(text: &str) -> bool {
    strip_verb(text).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

/// Whether a text is literally a check's rule, and not prose.
fn is_exact_rule(text: &str) -> bool {
    strip_verb(text).is_some_and(|rest| rest.trim_start().starts_with(['/', '<', '>', '=']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_recognised_in_lists_and_emphasis() {
        for line in [
            "check: agent says /x/",
            "Check: agent says /x/",
            "CHECK : agent says /x/",
            "  check:agent says /x/  ",
            "\u{feff}check: agent says /x/",
            "- check: agent says /x/",
            "* Check: agent says /x/",
            "\u{2022} check: agent says /x/",
            "1. check: agent says /x/",
            "12) check: agent says /x/",
            "**check:** agent says /x/",
            "- **Check**: agent says /x/",
            "`check: agent says /x/`",
            "check\u{ff1a} agent says /x/",
        ] {
            assert_eq!(Line::read(line), Line::Check("agent says /x/"), "{line:?}");
        }
    }

    #[test]
    fn near_checks_are_reported_with_their_rule() {
        for line in [
            "check agent says /x/",
            "Check - agent says /x/",
            "checks: agent says /x/",
            "check; agent says /x/",
            "chek: agent says /x/",
            "cehck: agent says /x/",
            "- chekc: agent says /x/",
            "check the agent says /x/",
            "agent says /x/",
            "- agent says /x/",
        ] {
            assert_eq!(Line::read(line), Line::Near("agent says /x/"), "{line:?}");
        }
        assert_eq!(Line::read("agent replies <= 6"), Line::Near("agent replies <= 6"));
        assert_eq!(Line::read("check persona ended"), Line::Near("persona ended"));
    }

    #[test]
    fn prose_is_not_a_check() {
        for line in [
            "",
            "The agent says hello.",
            "Agent says hello and replies within six messages.",
            "Check that the agent says hello.",
            "Checks:",
            "Checks that the agent makes: none.",
            "- The agent is polite.",
            "cheek: agent of change",
            "checking: agent says hello",
            "agent",
            "*",
            "1.",
        ] {
            assert_eq!(Line::read(line), Line::Prose, "{line:?}");
        }
    }
}
