//! Check lines: criteria that are decided from the transcript alone, without a model.
//!
//! A line of an objective's criteria that starts with `check:` is one check:
//!
//! ```text
//! check: agent says /refund/i
//! check: agent never says /guarantee|promise/i
//! check: persona says /thank/i
//! check: agent replies <= 6
//! check: persona ended
//! check: agent ended
//! ```
//!
//! `agent` or `persona`; a pattern is a regular expression of the `regex` crate between slashes (`\/` for a slash),
//! with the flags `i` (ignore case), `m` (`^` and `$` at line ends) and `s` (`.` matches line breaks) after it; counts
//! compare with `<=`, `>=`, `==`, `<` or `>`. Patterns cannot look around or back, so matching takes time linear in
//! the transcript, whatever the pattern: both come from outside.

use regex::{Regex, RegexBuilder};

use crate::{EndReason, Quote, Role, Transcript};

/// The most check lines that one objective may have.
const MAX_CHECKS: usize = 20;

/// The most memory that one compiled pattern may take, in bytes. With [`MAX_CHECKS`] it bounds what reading an
/// objective costs: compiling takes time in proportion.
const MAX_PATTERN_SIZE: usize = 128 * 1024;

/// The longest quote, in bytes; a longer match is cut.
const MAX_QUOTE: usize = 300;

/// Why a check line was refused. The message names the line and what is understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckLineError {
    /// The line does not say anything that is understood.
    #[error(
        "has a check on line {line} that is not understood: write `check: agent says /pattern/`, \
         `check: agent never says /pattern/`, `check: agent replies <= 6` or `check: persona ended` \
         (with `agent` or `persona`)"
    )]
    Unknown {
        /// The line's number in the criteria, from 1.
        line: usize,
    },
    /// The pattern is not a regular expression.
    #[error("has a check on line {line} whose pattern is not a regular expression: {reason}")]
    Pattern {
        /// The line's number in the criteria, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// More checks than one objective may have.
    #[error("must have at most {MAX_CHECKS} check lines")]
    TooMany,
}

/// Criteria taken apart: what is checked, and what only a language model can judge.
#[derive(Clone, Debug)]
pub struct Rubric {
    /// The checks, in the order of their lines.
    pub checks: Vec<Check>,
    /// Everything else, or `None` if there is nothing but checks.
    pub prose: Option<String>,
}

/// One check line.
#[derive(Clone, Debug)]
pub struct Check {
    text: String,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Says { role: Role, pattern: Regex },
    NeverSays { role: Role, pattern: Regex },
    Replies { role: Role, comparison: Comparison, count: u32 },
    Ended { by: EndReason },
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    AtMost,
    AtLeast,
    Equal,
    Less,
    Greater,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Whether the check holds.
    pub holds: bool,
    /// What was found, in a sentence.
    pub reason: String,
    /// What it rests on, where words decide.
    pub quote: Option<Quote>,
}

impl Rubric {
    /// Takes criteria apart.
    pub fn parse(criteria: &str) -> Result<Self, CheckLineError> {
        let mut checks = Vec::new();
        let mut prose = Vec::new();
        for (index, line) in criteria.lines().enumerate() {
            match strip_word(line.trim(), "check:") {
                // Refused before it is compiled, which is what costs.
                Some(_) if checks.len() == MAX_CHECKS => return Err(CheckLineError::TooMany),
                Some(rule) => checks.push(Check::parse(line.trim(), rule, index + 1)?),
                None => prose.push(line),
            }
        }
        let prose = prose.join("\n").trim().to_owned();
        Ok(Self { checks, prose: (!prose.is_empty()).then_some(prose) })
    }
}

impl Check {
    fn parse(text: &str, rule: &str, line: usize) -> Result<Self, CheckLineError> {
        let unknown = CheckLineError::Unknown { line };
        let rule = rule.trim();
        let (role, said) = if let Some(said) = strip_word(rule, "agent ") {
            (Role::Assistant, said.trim())
        } else if let Some(said) = strip_word(rule, "persona ") {
            (Role::User, said.trim())
        } else {
            return Err(unknown);
        };
        let rule = if let Some(pattern) = strip_word(said, "never says ") {
            Rule::NeverSays { role, pattern: parse_pattern(pattern.trim(), line)? }
        } else if let Some(pattern) = strip_word(said, "says ") {
            Rule::Says { role, pattern: parse_pattern(pattern.trim(), line)? }
        } else if let Some(bound) = strip_word(said, "replies ") {
            let (comparison, count) = parse_bound(bound.trim()).ok_or(unknown)?;
            Rule::Replies { role, comparison, count }
        } else if said.eq_ignore_ascii_case("ended") {
            let by = match role {
                Role::Assistant => EndReason::AgentDecided,
                Role::User => EndReason::PersonaDecided,
            };
            Rule::Ended { by }
        } else {
            return Err(unknown);
        };
        Ok(Self { text: text.to_owned(), rule })
    }

    /// The line, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Decides the check from what was said and how it ended.
    pub fn decide(&self, transcript: &Transcript) -> Finding {
        match &self.rule {
            Rule::Says { role, pattern } => {
                let quote = find(transcript, *role, pattern);
                let verb = if quote.is_some() { "holds" } else { "does not hold: nothing matches" };
                Finding { holds: quote.is_some(), reason: format!("`{}` {verb}", self.text), quote }
            }
            Rule::NeverSays { role, pattern } => {
                let quote = find(transcript, *role, pattern);
                let verb = if quote.is_none() { "holds" } else { "does not hold" };
                Finding { holds: quote.is_none(), reason: format!("`{}` {verb}", self.text), quote }
            }
            Rule::Replies { role, comparison, count } => {
                let replies = transcript.items.iter().filter(|item| item.role == *role).count();
                let holds = comparison.holds(u32::try_from(replies).unwrap_or(u32::MAX), *count);
                let verb = if holds { "holds" } else { "does not hold" };
                Finding { holds, reason: format!("`{}` {verb}: {replies} were made", self.text), quote: None }
            }
            Rule::Ended { by } => {
                let holds = transcript.end_reason == Some(*by);
                let how = transcript.end_reason.map_or("it goes on", EndReason::as_str);
                let verb = if holds { "holds" } else { "does not hold" };
                Finding { holds, reason: format!("`{}` {verb}: {how}", self.text), quote: None }
            }
        }
    }
}

impl Comparison {
    fn holds(self, number: u32, bound: u32) -> bool {
        match self {
            Self::AtMost => number <= bound,
            Self::AtLeast => number >= bound,
            Self::Equal => number == bound,
            Self::Less => number < bound,
            Self::Greater => number > bound,
        }
    }
}

/// What follows `word`, whose letters may be of either case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| &text[word.len()..])
}

fn parse_bound(text: &str) -> Option<(Comparison, u32)> {
    let (comparison, count) = [
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ]
    .into_iter()
    .find_map(|(sign, comparison)| Some((comparison, text.strip_prefix(sign)?)))?;
    let count = count.trim();
    // `parse` would also take a leading plus sign.
    if !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((comparison, count.parse().ok()?))
}

fn parse_pattern(text: &str, line: usize) -> Result<Regex, CheckLineError> {
    let unknown = CheckLineError::Unknown { line };
    let body = text.strip_prefix('/').ok_or_else(|| unknown.clone())?;
    let end = body.rfind('/').ok_or_else(|| unknown.clone())?;
    let (pattern, flags) = (&body[..end], &body[end + 1..]);
    if pattern.is_empty() {
        return Err(CheckLineError::Pattern {
            line,
            reason: "it is empty, so it would match anything".into(),
        });
    }
    let mut builder = RegexBuilder::new(&unescape_slashes(pattern));
    builder.size_limit(MAX_PATTERN_SIZE).dfa_size_limit(MAX_PATTERN_SIZE);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            _ => return Err(unknown),
        };
    }
    builder.build().map_err(|error| CheckLineError::Pattern { line, reason: summary(&error) })
}

/// `\/` means a slash; every other escape is the regular expression's own.
fn unescape_slashes(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('/') => text.push('/'),
            Some(other) => text.extend(['\\', other]),
            None => text.push('\\'),
        }
    }
    text
}

/// The last line of the library's message: the others draw the pattern with a marker, which a single line cannot.
fn summary(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
        other => {
            let text = other.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

fn find(transcript: &Transcript, role: Role, pattern: &Regex) -> Option<Quote> {
    transcript.items.iter().filter(|item| item.role == role).find_map(|item| {
        item.content.iter().find_map(|part| {
            let found = pattern.find(part.as_str())?;
            Some(Quote { item_id: item.id.clone(), text: cut(found.as_str()) })
        })
    })
}

/// The first [`MAX_QUOTE`] bytes at the most, cut between characters, so that a quote always occurs to the letter.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_QUOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{Item, MessageText};

    fn transcript(lines: &[(Role, &str)], end_reason: Option<EndReason>) -> Transcript {
        let items = lines
            .iter()
            .zip(0_u32..)
            .map(|((role, text), position)| Item {
                id: format!("item{position:017}").parse().unwrap(),
                conversation_id: "conversation000000001".parse().unwrap(),
                attempt: 1,
                position,
                role: *role,
                content: vec![MessageText::parse(*text).unwrap()],
                created_at: Timestamp::UNIX_EPOCH,
            })
            .collect();
        Transcript { items, end_reason }
    }

    fn holds(check: &str, transcript: &Transcript) -> bool {
        let rubric = Rubric::parse(check).unwrap();
        assert_eq!(rubric.checks.len(), 1, "{check}");
        rubric.checks[0].decide(transcript).holds
    }

    #[test]
    fn each_kind_of_check_is_decided_from_the_transcript() {
        let transcript = transcript(
            &[
                (Role::User, "I want my money back"),
                (Role::Assistant, "Your REFUND is on its way, see a/b"),
                (Role::User, "Thank you"),
            ],
            Some(EndReason::PersonaDecided),
        );
        for check in [
            "check: agent says /refund/i",
            "  CHECK:   Agent Says   /refund/i  ",
            r"check: agent says /a\/b/",
            "check: agent says /a/b/",
            "check: agent never says /money/",
            "check: persona says /^thank/i",
            "check: agent replies <= 1",
            "check: agent replies == 1",
            "check: persona replies >= 2",
            "check: persona replies > 1",
            "check: agent replies < 2",
            "check: persona ended",
        ] {
            assert!(holds(check, &transcript), "{check}");
        }
        for check in [
            "check: agent says /refund/",
            "check: agent never says /refund/i",
            "check: agent replies > 1",
            "check: agent ended",
        ] {
            assert!(!holds(check, &transcript), "{check}");
        }
    }

    #[test]
    fn a_decision_by_words_quotes_them_to_the_letter() {
        let transcript = transcript(&[(Role::Assistant, "ok, REFUND sent")], None);
        let rubric = Rubric::parse("check: agent never says /refund/i").unwrap();
        let finding = rubric.checks[0].decide(&transcript);
        let quote = finding.quote.unwrap();
        assert_eq!(quote.text, "REFUND");
        assert_eq!(quote.item_id, transcript.items[0].id);
    }

    #[test]
    fn prose_and_checks_are_told_apart() {
        let rubric = Rubric::parse("Is polite.\ncheck: agent says /hello/\nAnd brief.").unwrap();
        assert_eq!(rubric.prose.as_deref(), Some("Is polite.\nAnd brief."));
        assert_eq!(rubric.checks.len(), 1);
        assert!(Rubric::parse("check: persona ended").unwrap().prose.is_none());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for rule in [
            "",
            "agent",
            "someone says /x/",
            "agent says x",
            "agent says /x",
            "agent says /x/q",
            "agent replies 6",
            "agent replies <= -1",
            "agent replies <= +1",
            "agent replies <= 99999999999",
            "agent ended early",
        ] {
            let error = Rubric::parse(&format!("first\ncheck: {rule}")).unwrap_err();
            assert_eq!(error, CheckLineError::Unknown { line: 2 }, "{rule}");
        }
        assert!(matches!(
            Rubric::parse("check: agent says /(/"),
            Err(CheckLineError::Pattern { line: 1, .. })
        ));
        assert!(matches!(Rubric::parse("check: agent says //"), Err(CheckLineError::Pattern { .. })));
    }

    #[test]
    fn a_pattern_that_would_take_much_memory_is_refused() {
        let bomb = "check: agent says /((((a{99}){99}){99}){99})/";
        assert!(matches!(Rubric::parse(bomb), Err(CheckLineError::Pattern { line: 1, .. })));
        assert_eq!(Rubric::parse(&"check: persona ended\n".repeat(21)).unwrap_err(), CheckLineError::TooMany);
    }

    proptest! {
        #[test]
        fn parsing_and_deciding_never_panic(criteria in "(check: (agent|persona) (says|never says|replies|ended)? ?.{0,20}\n?|.{0,10}\n){0,4}", text in any::<String>()) {
            if let Ok(rubric) = Rubric::parse(&criteria)
                && let Ok(text) = MessageText::parse(text)
            {
                let transcript = transcript(&[(Role::Assistant, text.as_str()), (Role::User, text.as_str())], None);
                for check in &rubric.checks {
                    if let Some(quote) = check.decide(&transcript).quote {
                        prop_assert!(text.as_str().contains(&quote.text));
                    }
                }
            }
        }
    }
}
