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
//! The side is `agent` or `persona`. A pattern is a regular expression of the `regex` crate between
//! slashes (`\/` for a slash), followed by the flags `i` (ignore case), `m` (`^` and `$` at line
//! ends) and `s` (`.` matches line breaks). Counts compare with `<=`, `>=`, `==`, `<` or `>`.
//!
//! A message is matched as the persona reads it: its parts joined, and folded, so that texts that
//! look the same match the same. Quotes come from the original. Patterns and transcripts both come
//! from callers, so the work is bounded: each pattern and all patterns of an objective before they
//! are compiled, and each search before it starts. A check about a side that said nothing is
//! inconclusive, and so is one whose conversation is too long for its patterns.

mod examination;
mod folding;
mod line;
mod pattern;
mod redaction;
mod width;

pub use examination::Examination;
pub use redaction::{Redaction, RedactionError};

use std::sync::Arc;

use self::{
    line::Line,
    pattern::{Flags, MAX_WIDTH, Pattern},
};
use crate::{EndReason, Outcome, Quote, Role, Transcript};

/// The maximum number of check lines in one objective.
const MAX_CHECKS: usize = 20;

/// The maximum sum of the widths of an objective's patterns.
const MAX_TOTAL_WIDTH: u64 = 4 * MAX_WIDTH;

/// The maximum sum of the class work of an objective's patterns.
const MAX_TOTAL_CLASS_WORK: u64 = 300;

/// Why a check line was refused. The message names the line and the accepted forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckLineError {
    /// The line is not one of the accepted forms.
    #[error(
        "has a check on line {line} that is not understood: write `check: agent says /pattern/`, \
         `check: agent never says /pattern/`, `check: agent replies <= 6` or `check: persona ended` \
         (with `agent` or `persona`)"
    )]
    Unknown {
        /// The line's number in the criteria, from 1.
        line: usize,
    },
    /// The line resembles a check. As prose it would never be decided as intended.
    #[error(
        "looks like it has a check on line {line}, which does not start with `check:`: write `check: {rule}`, or other \
         words if it is prose"
    )]
    Near {
        /// The line's number in the criteria, from 1.
        line: usize,
        /// The text after `check:`.
        rule: String,
    },
    /// The pattern is not a regular expression, or is too expensive.
    #[error("has a check on line {line} whose pattern {reason}")]
    Pattern {
        /// The line's number in the criteria, from 1.
        line: usize,
        /// The problem with the pattern.
        reason: String,
    },
    /// The objective has too many checks.
    #[error("must have at most {MAX_CHECKS} check lines")]
    TooMany,
    /// Each pattern is small enough, but together they are too large.
    #[error(
        "has check lines whose patterns would take too much work together, from line {line} on: use smaller \
         repetition counts and fewer classes, or more objectives"
    )]
    TooMuch {
        /// The line's number in the criteria, from 1.
        line: usize,
    },
}

/// Parsed criteria: the checks, and the prose that only a language model can judge.
#[derive(Clone, Debug)]
pub struct Rubric {
    /// The checks, in the order of their lines.
    pub checks: Vec<Check>,
    /// The other lines; `None` if there are only checks.
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
    /// Whether a match is required or forbidden.
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

/// The result of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// Passed if the check holds. Inconclusive if it cannot be decided.
    pub outcome: Outcome,
    /// The explanation, in a sentence.
    pub reason: String,
    /// The matched words of a `says` check: one quote for each part of a message that the match
    /// spans.
    pub quotes: Vec<Quote>,
}

impl Rubric {
    /// Parses criteria and compiles their patterns, which takes up to about 50 ms.
    pub fn parse(criteria: &str) -> Result<Self, CheckLineError> {
        let mut checks: Vec<Check> = Vec::new();
        let mut prose = Vec::new();
        let (mut width, mut class_work) = (0, 0);
        for (text, line) in criteria.lines().zip(1..) {
            match Line::read(text) {
                // Refused before compiling.
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

    /// Whether the criteria contain anything besides check lines.
    pub(crate) fn has_prose(criteria: &str) -> bool {
        criteria.lines().any(|line| Line::read(line) == Line::Prose && !line.trim().is_empty())
    }

    /// Decides all checks in one call. For transcripts that may be long, use [`Examination`].
    pub fn decide(&self, transcript: &Transcript) -> Vec<CheckResult> {
        let mut examination = Examination::new(vec![Arc::new(self.clone())], Arc::new(transcript.clone()));
        while !examination.advance(u64::MAX) {}
        examination.results().pop().unwrap_or_default()
    }

    /// The memory of the compiled patterns, in bytes.
    pub fn memory(&self) -> usize {
        let patterns = self.checks.iter().filter_map(Check::pattern);
        patterns.map(|(pattern, _)| pattern.memory()).sum()
    }
}

impl Check {
    fn parse(text: &str, rule: &str, line: usize) -> Result<Self, CheckLineError> {
        let unknown = CheckLineError::Unknown { line };
        let (role, statement) = if let Some(statement) = strip_word(rule, "agent ") {
            (Role::Assistant, statement.trim())
        } else if let Some(statement) = strip_word(rule, "persona ") {
            (Role::User, statement.trim())
        } else {
            return Err(unknown);
        };
        let rule = if let Some(pattern) = strip_word(statement, "never says ") {
            Rule::Says { pattern: parse_pattern(pattern.trim(), line)?, wanted: false }
        } else if let Some(pattern) = strip_word(statement, "says ") {
            Rule::Says { pattern: parse_pattern(pattern.trim(), line)?, wanted: true }
        } else if let Some(bound) = strip_word(statement, "replies ") {
            let (comparison, count) = parse_bound(bound.trim()).ok_or(unknown)?;
            Rule::Replies { comparison, count }
        } else if statement.eq_ignore_ascii_case("ended") {
            Rule::Ended
        } else {
            return Err(unknown);
        };
        Ok(Self { text: text.to_owned(), role, rule })
    }

    /// The line, as written.
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

    /// The result of a `says` check.
    fn says(&self, wanted: bool, quotes: Option<Vec<Quote>>) -> CheckResult {
        let verb = match (wanted, quotes.is_some()) {
            (true, false) => "does not hold: nothing matches",
            (false, true) => "does not hold",
            (true, true) | (false, false) => "holds",
        };
        let outcome = outcome(quotes.is_some() == wanted);
        CheckResult { outcome, reason: format!("`{}` {verb}", self.text), quotes: quotes.unwrap_or_default() }
    }

    /// The result of a `replies` check.
    fn replies(&self, comparison: Comparison, count: u32, transcript: &Transcript) -> CheckResult {
        let replies = transcript.items.iter().filter(|item| item.role == self.role).count();
        let holds = comparison.holds(u32::try_from(replies).unwrap_or(u32::MAX), count);
        let verb = if holds { "holds" } else { "does not hold" };
        let reason = format!("`{}` {verb}: there were {replies}", self.text);
        CheckResult { outcome: outcome(holds), reason, quotes: Vec::new() }
    }

    fn ended(&self, end_reason: Option<EndReason>) -> CheckResult {
        let by = match self.role {
            Role::Assistant => EndReason::AgentDecided,
            Role::User => EndReason::PersonaDecided,
        };
        let holds = end_reason == Some(by);
        let how = end_reason.map_or("not ended", EndReason::as_str);
        let verb = if holds { "holds" } else { "does not hold" };
        let reason = format!("`{}` {verb}: {how}", self.text);
        CheckResult { outcome: outcome(holds), reason, quotes: Vec::new() }
    }
}

fn outcome(holds: bool) -> Outcome {
    if holds { Outcome::Passed } else { Outcome::Failed }
}

/// The start of a line, for error messages.
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

/// The text after `word`, compared without case.
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
    // `parse` would also accept a leading plus sign.
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

/// Replaces `\/` by a slash. Every other escape belongs to the regular expression.
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
mod tests;
