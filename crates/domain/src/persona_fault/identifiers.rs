//! A persona that names an identifier it was not given.
//!
//! An agent that asks for a number makes the persona name one, so this is a minor fault. It is critical if the
//! agent then finds nothing under it: no agent could have done better.

use super::{
    FaultSeverity, Message, PersonaFault, PersonaFaultKind,
    words::{contains_any, sentences, words},
};
use crate::{Persona, Scenario};

/// The words that announce an identifier.
const LABELS: [&str; 24] = [
    "number",
    "numbers",
    "id",
    "ids",
    "code",
    "order",
    "booking",
    "reservation",
    "reference",
    "account",
    "ticket",
    "invoice",
    "tracking",
    "policy",
    "case",
    "confirmation",
    "member",
    "membership",
    "customer",
    "contract",
    "licence",
    "license",
    "serial",
    "claim",
];

/// How an agent says that it finds nothing.
const NOT_FOUND: [&str; 26] = [
    "cant find",
    "cannot find",
    "couldnt find",
    "could not find",
    "unable to find",
    "not able to find",
    "dont find",
    "do not find",
    "didnt find",
    "did not find",
    "cant locate",
    "cannot locate",
    "couldnt locate",
    "could not locate",
    "unable to locate",
    "not found",
    "no record",
    "no records",
    "no order",
    "no booking",
    "no reservation",
    "no account",
    "does not exist",
    "doesnt exist",
    "not valid",
    "invalid",
];

/// The known text that is searched, in bytes. Of a longer conversation, the rest is not examined.
const MAX_KNOWN: usize = 1024 * 1024;

/// The number of identifiers that are examined.
const MAX_EXAMINED: usize = 100;

pub(super) fn faults(scenario: &Scenario, persona: &Persona, messages: &[Message<'_>]) -> Vec<PersonaFault> {
    let mut known = Known::default();
    known.add(scenario.as_str());
    for text in persona.texts() {
        known.add(text);
    }
    for (key, text) in persona.metadata.texts() {
        known.add(key);
        known.add(&text);
    }
    let mut faults = Vec::new();
    let mut examined = 0;
    for (index, message) in messages.iter().enumerate() {
        if message.is_persona() {
            for identifier in sentences(&message.text).flat_map(identifiers) {
                examined += 1;
                if examined > MAX_EXAMINED || known.has(identifier) {
                    continue;
                }
                let answer = messages.get(index + 1).filter(|answer| !answer.is_persona());
                let is_critical = answer.is_some_and(|answer| contains_any(&words(&answer.text), &NOT_FOUND));
                let severity = if is_critical { FaultSeverity::Critical } else { FaultSeverity::Minor };
                faults.push(PersonaFault::new(PersonaFaultKind::Invents, severity, message.item, identifier));
                // Repeated later, it is the same fault.
                known.add(identifier);
            }
        } else {
            known.add(&message.text);
        }
        if known.0.len() > MAX_KNOWN {
            break;
        }
    }
    faults
}

/// The letters and digits of all known texts. Separators are left out, as people write identifiers with and
/// without them.
#[derive(Default)]
struct Known(String);

impl Known {
    fn add(&mut self, text: &str) {
        let visible = text.chars().filter(|character| character.is_alphanumeric());
        self.0.extend(visible.flat_map(char::to_lowercase));
        self.0.push('\n');
    }

    fn has(&self, identifier: &str) -> bool {
        let digits: String = identifier.chars().filter(char::is_ascii_digit).collect();
        let mut whole = Self::default();
        whole.add(identifier);
        // A person may leave a prefix of letters out or add one.
        self.0.contains(whole.0.trim_end()) || (digits.len() >= 4 && self.0.contains(&digits))
    }
}

/// The identifiers in a sentence: numbers of at least five digits, and words of letters followed by at least
/// three digits, if a word of the sentence announces one. Amounts, dates, times and addresses are none.
fn identifiers(sentence: &str) -> Vec<&str> {
    let is_edge = |character: char| !character.is_alphanumeric() && character != '#';
    let tokens: Vec<&str> = sentence.split_whitespace().map(|token| token.trim_matches(is_edge)).collect();
    let is_announced = contains_any(&words(sentence), &LABELS);
    let is_identifier = |token: &&str| (is_announced || token.starts_with('#')) && looks_like_one(token);
    let raw = sentence.split_whitespace();
    raw.zip(tokens)
        .filter(|(raw, token)| !raw.starts_with(['$', '€', '£', '¥']) && is_identifier(token))
        .map(|(_, token)| token.trim_start_matches('#'))
        .collect()
}

fn looks_like_one(token: &str) -> bool {
    let token = token.trim_start_matches('#');
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/');
    if !token.chars().all(is_part) || is_date(token) {
        return false;
    }
    let digits = token.chars().filter(char::is_ascii_digit).count();
    let letters = token.chars().filter(char::is_ascii_alphabetic).count();
    let starts_with_letter = token.starts_with(|character: char| character.is_ascii_alphabetic());
    (letters == 0 && digits >= 5) || (starts_with_letter && digits >= 3 && letters + digits >= 5)
}

fn is_date(token: &str) -> bool {
    let parts: Vec<&str> = token.split(['-', '/']).collect();
    let is_numeric =
        |part: &&str| !part.is_empty() && part.len() <= 4 && part.chars().all(|c| c.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(is_numeric)
}
