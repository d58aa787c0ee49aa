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
//! compare with `<=`, `>=`, `==`, `<` or `>`.
//!
//! A message is matched as the persona hears it, its parts joined, and folded: texts that look the same match the same.
//! Quotes come from the original. Patterns and transcripts both come from outside, so the work is bounded: each pattern and
//! all patterns of an objective before they are compiled, and each search before it starts. A check about a side that
//! said nothing is inconclusive, and so is one whose conversation is too long for its patterns.

mod examination;
mod folding;
mod line;
mod pattern;

pub use examination::Examination;

use std::sync::Arc;

use self::{
    line::Line,
    pattern::{Flags, MAX_WIDTH, Pattern},
};
use crate::{EndReason, Outcome, Quote, Role, Transcript};

/// The most check lines that one objective may have.
const MAX_CHECKS: usize = 20;

/// The most that the widths of an objective's patterns may add up to.
const MAX_TOTAL_WIDTH: u64 = 4 * MAX_WIDTH;

/// The most that the work for the classes of an objective's patterns may add up to.
const MAX_TOTAL_CLASS_WORK: u64 = 300;

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
    /// The line is almost a check, and would never be decided as prose.
    #[error(
        "looks like it has a check on line {line}, which does not start with `check:`: write `check: {rule}`, or other \
         words if it is prose"
    )]
    Near {
        /// The line's number in the criteria, from 1.
        line: usize,
        /// What follows `check:`.
        rule: String,
    },
    /// The pattern is not a regular expression, or takes too much work.
    #[error("has a check on line {line} whose pattern {reason}")]
    Pattern {
        /// The line's number in the criteria, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// More checks than one objective may have.
    #[error("must have at most {MAX_CHECKS} check lines")]
    TooMany,
    /// The patterns are each small enough, and together too large.
    #[error(
        "has check lines whose patterns together would take too much work, at the latest on line {line}: use smaller \
         repetition counts and fewer classes, or more objectives"
    )]
    TooMuch {
        /// The line's number in the criteria, from 1.
        line: usize,
    },
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
    role: Role,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Whether a match is wanted, or must not be.
    Says {
        pattern: Pattern,
        wanted: bool,
    },
    Replies {
        comparison: Comparison,
        count: u32,
    },
    Ended,
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
pub struct CheckResult {
    /// Passed if the check holds. Inconclusive if it cannot be told.
    pub outcome: Outcome,
    /// What was found, in a sentence.
    pub reason: String,
    /// The words it rests on, where words decide: one quote for each part of a message that the match spans.
    pub quotes: Vec<Quote>,
}

impl Rubric {
    /// Takes criteria apart and compiles their patterns, which takes up to some 50 ms.
    pub fn parse(criteria: &str) -> Result<Self, CheckLineError> {
        let mut checks: Vec<Check> = Vec::new();
        let mut prose = Vec::new();
        let (mut width, mut class_work) = (0, 0);
        for (text, line) in criteria.lines().zip(1..) {
            match Line::read(text) {
                // Refused before it is compiled.
                Line::Check(_) if checks.len() == MAX_CHECKS => return Err(CheckLineError::TooMany),
                Line::Check(rule) => {
                    let check = Check::parse(text.trim(), rule, line)?;
                    if let Rule::Says { pattern, .. } = &check.rule {
                        width += pattern.width();
                        class_work += pattern.class_work();
                    }
                    if width > MAX_TOTAL_WIDTH || class_work > MAX_TOTAL_CLASS_WORK {
                        return Err(CheckLineError::TooMuch { line });
                    }
                    checks.push(check);
                }
                Line::Near(rule) => return Err(CheckLineError::Near { line, rule: shortened(rule) }),
                Line::Prose => prose.push(text),
            }
        }
        let prose = prose.join("\n").trim().to_owned();
        Ok(Self { checks, prose: (!prose.is_empty()).then_some(prose) })
    }

    /// Whether criteria have anything besides check lines.
    pub(crate) fn has_prose(criteria: &str) -> bool {
        criteria.lines().any(|line| Line::read(line) == Line::Prose && !line.trim().is_empty())
    }

    /// Decides all checks at once. For a transcript that may be long, see [`Examination`].
    pub fn decide(&self, transcript: &Transcript) -> Vec<CheckResult> {
        let mut examination = Examination::new(vec![Arc::new(self.clone())], Arc::new(transcript.clone()));
        while !examination.advance(u64::MAX) {}
        examination.results().pop().unwrap_or_default()
    }

    /// The memory that its patterns take, in bytes.
    pub fn memory(&self) -> usize {
        let patterns = self.checks.iter().filter_map(Check::pattern);
        patterns.map(|(pattern, _)| pattern.memory()).sum()
    }
}

impl Check {
    fn parse(text: &str, rule: &str, line: usize) -> Result<Self, CheckLineError> {
        let unknown = CheckLineError::Unknown { line };
        let (role, said) = if let Some(said) = strip_word(rule, "agent ") {
            (Role::Assistant, said.trim())
        } else if let Some(said) = strip_word(rule, "persona ") {
            (Role::User, said.trim())
        } else {
            return Err(unknown);
        };
        let rule = if let Some(pattern) = strip_word(said, "never says ") {
            Rule::Says { pattern: parse_pattern(pattern.trim(), line)?, wanted: false }
        } else if let Some(pattern) = strip_word(said, "says ") {
            Rule::Says { pattern: parse_pattern(pattern.trim(), line)?, wanted: true }
        } else if let Some(bound) = strip_word(said, "replies ") {
            let (comparison, count) = parse_bound(bound.trim()).ok_or(unknown)?;
            Rule::Replies { comparison, count }
        } else if said.eq_ignore_ascii_case("ended") {
            Rule::Ended
        } else {
            return Err(unknown);
        };
        Ok(Self { text: text.to_owned(), role, rule })
    }

    /// The line, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn pattern(&self) -> Option<(&Pattern, Role)> {
        match &self.rule {
            Rule::Says { pattern, .. } => Some((pattern, self.role)),
            Rule::Replies { .. } | Rule::Ended => None,
        }
    }

    fn inconclusive(&self, why: &str) -> CheckResult {
        let reason = format!("`{}` cannot be decided: {why}", self.text);
        CheckResult { outcome: Outcome::Inconclusive, reason, quotes: Vec::new() }
    }

    /// What was found about words.
    fn says(&self, wanted: bool, quotes: Option<Vec<Quote>>) -> CheckResult {
        let verb = match (wanted, quotes.is_some()) {
            (true, false) => "does not hold: nothing matches",
            (false, true) => "does not hold",
            (true, true) | (false, false) => "holds",
        };
        let outcome = outcome(quotes.is_some() == wanted);
        CheckResult { outcome, reason: format!("`{}` {verb}", self.text), quotes: quotes.unwrap_or_default() }
    }

    /// Decides what needs no search.
    fn replies(&self, comparison: Comparison, count: u32, transcript: &Transcript) -> CheckResult {
        let replies = transcript.items.iter().filter(|item| item.role == self.role).count();
        let holds = comparison.holds(u32::try_from(replies).unwrap_or(u32::MAX), count);
        let verb = if holds { "holds" } else { "does not hold" };
        let reason = format!("`{}` {verb}: {replies} were made", self.text);
        CheckResult { outcome: outcome(holds), reason, quotes: Vec::new() }
    }

    fn ended(&self, end_reason: Option<EndReason>) -> CheckResult {
        let by = match self.role {
            Role::Assistant => EndReason::AgentDecided,
            Role::User => EndReason::PersonaDecided,
        };
        let holds = end_reason == Some(by);
        let how = end_reason.map_or("it goes on", EndReason::as_str);
        let verb = if holds { "holds" } else { "does not hold" };
        let reason = format!("`{}` {verb}: {how}", self.text);
        CheckResult { outcome: outcome(holds), reason, quotes: Vec::new() }
    }
}

fn outcome(holds: bool) -> Outcome {
    if holds { Outcome::Passed } else { Outcome::Failed }
}

/// As much of a line as an error message repeats.
fn shortened(rule: &str) -> String {
    const MAX: usize = 80;
    let mut text: String = rule.chars().take(MAX).collect();
    if text.len() < rule.len() {
        text.push('\u{2026}');
    }
    text
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

fn parse_pattern(text: &str, line: usize) -> Result<Pattern, CheckLineError> {
    let unknown = CheckLineError::Unknown { line };
    let body = text.strip_prefix('/').ok_or_else(|| unknown.clone())?;
    let end = body.rfind('/').ok_or_else(|| unknown.clone())?;
    let mut flags = Flags::default();
    for flag in body[end + 1..].chars() {
        match flag {
            'i' => flags.ignore_case = true,
            'm' => flags.multi_line = true,
            's' => flags.dot_matches_new_line = true,
            _ => return Err(unknown),
        }
    }
    Pattern::parse(&unescape_slashes(&body[..end]), flags)
        .map_err(|error| CheckLineError::Pattern { line, reason: error.to_string() })
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{Item, MAX_QUOTES, MessageText};

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

    fn decide(check: &str, transcript: &Transcript) -> CheckResult {
        let rubric = Rubric::parse(check).unwrap();
        assert_eq!(rubric.checks.len(), 1, "{check}");
        rubric.decide(transcript).remove(0)
    }

    fn holds(check: &str, transcript: &Transcript) -> bool {
        let finding = decide(check, transcript);
        assert_ne!(finding.outcome, Outcome::Inconclusive, "{check}");
        finding.outcome == Outcome::Passed
    }

    /// What the agent says, part by part.
    fn said(parts: &[&str]) -> Transcript {
        let mut transcript = transcript(&[(Role::Assistant, "")], None);
        transcript.items[0].content = parts.iter().map(|part| MessageText::parse(*part).unwrap()).collect();
        transcript
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
        let finding = decide("check: agent never says /refund/i", &transcript);
        let quote = &finding.quotes[0];
        assert_eq!((quote.text.as_str(), &quote.item_id), ("REFUND", &transcript.items[0].id));
    }

    #[test]
    fn a_check_about_a_silent_side_is_inconclusive() {
        let silent = [
            transcript(&[(Role::User, "Hello?")], Some(EndReason::AgentDecided)),
            transcript(&[(Role::User, "Hello?"), (Role::Assistant, "")], Some(EndReason::AgentDecided)),
            transcript(
                &[(Role::User, "Hello?"), (Role::Assistant, " \n\u{200b}")],
                Some(EndReason::AgentDecided),
            ),
        ];
        for transcript in &silent {
            for check in ["says /x/", "never says /x/", "replies <= 6", "replies == 0", "ended"] {
                let finding = decide(&format!("check: agent {check}"), transcript);
                assert_eq!(finding.outcome, Outcome::Inconclusive, "{check}");
                assert!(finding.reason.ends_with("the agent said nothing"), "{}", finding.reason);
            }
            assert!(holds("check: persona never says /x/", transcript));
        }
        let finding = decide("check: persona never says /x/", &said(&["Hello"]));
        assert_eq!(finding.outcome, Outcome::Inconclusive);
        assert!(finding.reason.ends_with("the persona said nothing"), "{}", finding.reason);
    }

    #[test]
    fn a_message_is_matched_whole_and_quoted_by_its_parts() {
        let transcript = said(&["We give you a full ", "refund."]);
        let finding = decide(r"check: agent never says /full\s+refund/i", &transcript);
        assert_eq!(finding.outcome, Outcome::Failed);
        let quotes: Vec<_> = finding.quotes.iter().map(|quote| quote.text.as_str()).collect();
        assert_eq!(quotes, ["full ", "refund"]);
    }

    #[test]
    fn a_match_over_many_parts_has_a_bounded_number_of_quotes() {
        let finding = decide(r"check: agent says /(a|\n)+/", &said(&["a"; 1_000]));
        assert_eq!(finding.quotes.len(), MAX_QUOTES + 1);
    }

    #[test]
    fn what_looks_the_same_matches_and_is_quoted_as_written() {
        for (pattern, text, quote) in [
            ("/guarantee/i", "We guaran\u{200b}tee it.", "guaran\u{200b}tee"),
            ("/guarantee/i", "We Guaran\u{ad}tee it.", "Guaran\u{ad}tee"),
            ("/guarantee/i", "We guaran\u{2060}tee it.", "guaran\u{2060}tee"),
            ("/can't/", "I can\u{2019}t.", "can\u{2019}t"),
            ("/can\u{2019}t/", "I can't.", "can't"),
            ("/caf\u{e9}/", "A cafe\u{301}!", "cafe\u{301}"),
            ("/refund/i", "\u{ff32}\u{ff45}fund", "\u{ff32}\u{ff45}fund"),
            ("/by tomorrow/i", "Done by\u{a0}tomorrow.", "by\u{a0}tomorrow"),
        ] {
            let finding = decide(&format!("check: agent never says {pattern}"), &said(&[text]));
            assert_eq!(finding.outcome, Outcome::Failed, "{pattern} {text:?}");
            assert_eq!(finding.quotes[0].text, quote);
        }
    }

    #[test]
    fn a_line_ends_before_any_kind_of_line_break() {
        for text in ["It is done\r\nBye", "It is done\nBye", "It is done\rBye", "It is done"] {
            assert!(holds("check: agent says /done$/m", &said(&[text])), "{text:?}");
        }
        assert!(!holds("check: agent says /done$/", &said(&["It is done\r\nBye"])));
    }

    #[test]
    fn a_conversation_too_long_for_its_patterns_is_inconclusive() {
        let rubric = Rubric::parse(&["check: agent never says /[ab]{200}c/"; 2].join("\n")).unwrap();
        let part = "b ".repeat(16_000);
        let message = vec![part.as_str(); 30];
        let mut transcript = said(&message);
        assert!(rubric.decide(&transcript).iter().all(|finding| finding.outcome == Outcome::Passed));
        transcript.items.push(transcript.items[0].clone());
        for finding in rubric.decide(&transcript) {
            assert_eq!(finding.outcome, Outcome::Inconclusive);
            assert!(finding.reason.contains("the conversation is too long"), "{}", finding.reason);
        }
        let found = Rubric::parse("check: agent never says /b/").unwrap();
        assert_eq!(found.decide(&transcript)[0].outcome, Outcome::Failed);
    }

    #[test]
    fn deciding_in_pieces_finds_the_same() {
        let criteria = "check: agent says /b{3}/\ncheck: persona says /a/\ncheck: agent never says /c$/m\n\
                        check: agent replies > 1";
        let rubrics = [criteria, "check: agent says /x/"].map(|text| Arc::new(Rubric::parse(text).unwrap()));
        let lines = [(Role::Assistant, "abbb"), (Role::User, "xa"), (Role::Assistant, "c\r\nd")];
        let transcript = Arc::new(transcript(&lines, None));
        let mut examination = Examination::new(rubrics.to_vec(), Arc::clone(&transcript));
        let mut pieces = 1;
        while !examination.advance(1) {
            pieces += 1;
        }
        assert!(pieces > 6, "{pieces}");
        let whole: Vec<_> = rubrics.iter().map(|rubric| rubric.decide(&transcript)).collect();
        assert_eq!(examination.results(), whole);
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
        let near = Rubric::parse("Kind.\nchecks: agent says /x/").unwrap_err();
        assert_eq!(near, CheckLineError::Near { line: 2, rule: "agent says /x/".to_owned() });
        assert!(near.to_string().contains("write `check: agent says /x/`"), "{near}");
    }

    #[test]
    fn a_pattern_that_would_take_much_memory_is_refused() {
        let bomb = "check: agent says /((((a{99}){99}){99}){99})/";
        assert!(matches!(Rubric::parse(bomb), Err(CheckLineError::Pattern { line: 1, .. })));
        let each_small = ["check: agent says /[ab]{250}c/"; 5].join("\n");
        assert_eq!(Rubric::parse(&each_small).unwrap_err(), CheckLineError::TooMuch { line: 5 });
        let classes = [r"check: agent says /[\x{80}-\x{10ffff}]/i"; 3].join("\n");
        assert_eq!(Rubric::parse(&classes).unwrap_err(), CheckLineError::TooMuch { line: 3 });
        assert_eq!(Rubric::parse(&"check: persona ended\n".repeat(21)).unwrap_err(), CheckLineError::TooMany);
    }

    proptest! {
        #[test]
        fn parsing_and_deciding_never_panic(criteria in "(check: (agent|persona) (says|never says|replies|ended)? ?.{0,20}\n?|.{0,10}\n){0,4}", text in any::<String>()) {
            if let Ok(rubric) = Rubric::parse(&criteria)
                && let Ok(text) = MessageText::parse(text)
            {
                let transcript = transcript(&[(Role::Assistant, text.as_str()), (Role::User, text.as_str())], None);
                for quote in rubric.decide(&transcript).iter().flat_map(|finding| &finding.quotes) {
                    prop_assert!(text.as_str().contains(&quote.text));
                }
            }
        }
    }
}
