//! Faults that a judge reports.

use super::{FaultSeverity, FaultSource, PersonaFault, PersonaFaultKind, bounded};
use crate::{EndReason, Item, Role, Transcript};

/// A fault as a model reports it. Nothing of it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedFault {
    /// The kind of the fault.
    pub kind: PersonaFaultKind,
    /// How much it matters.
    pub severity: FaultSeverity,
    /// Words of the message with the fault.
    pub quote: String,
}

/// Adds the faults that a judge reports to those found by rule. Dropped are: a fault whose quote does not occur in a
/// message that can have it, and one that a rule found in the same message.
pub fn with_reported_faults(
    mut faults: Vec<PersonaFault>,
    reported: Vec<ReportedFault>,
    transcript: &Transcript,
) -> Vec<PersonaFault> {
    for fault in reported {
        let Some(item) = fault.item(transcript) else { continue };
        let confirmed = PersonaFault::new(fault.kind, fault.severity, item, fault.quote.trim());
        let is_known = |known: &PersonaFault| (known.kind, &known.item_id) == (fault.kind, &item.id);
        if !faults.iter().any(is_known) {
            faults.push(PersonaFault { source: FaultSource::Judge, ..confirmed });
        }
    }
    bounded(faults, transcript)
}

impl ReportedFault {
    /// The message that has the fault, if the transcript confirms it.
    fn item<'a>(&self, transcript: &'a Transcript) -> Option<&'a Item> {
        let quote = self.quote.trim();
        if quote.is_empty() {
            return None;
        }
        let has_quote = |item: &&Item| item.text().contains(quote);
        let mut quoted = transcript.items.iter().filter(|item| item.role == Role::User).filter(has_quote);
        match self.kind {
            PersonaFaultKind::RepeatsItself => quoted.nth(1),
            PersonaFaultKind::StopsEarly if transcript.end_reason == Some(EndReason::PersonaDecided) => {
                // Without a farewell, the quote is of the message that was left unanswered.
                transcript.items.last().filter(has_quote)
            }
            PersonaFaultKind::StopsEarly => None,
            PersonaFaultKind::SpeaksAsAgent
            | PersonaFaultKind::Invents
            | PersonaFaultKind::LeavesCharacter => quoted.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use PersonaFaultKind::{Invents, LeavesCharacter, RepeatsItself, SpeaksAsAgent, StopsEarly};

    use super::*;
    use crate::{MAX_PERSONA_FAULTS, MessageText};

    fn transcript(texts: &[(&str, &str)], end_reason: Option<EndReason>) -> Transcript {
        let item = |((side, text), position): (&(&str, &str), u32)| Item {
            id: format!("item{position:0>17}").parse().unwrap(),
            conversation_id: "conversation000000001".parse().unwrap(),
            attempt: 1,
            position,
            role: if *side == "user" { Role::User } else { Role::Assistant },
            content: vec![MessageText::parse(*text).unwrap()],
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        Transcript { items: texts.iter().zip(0..).map(item).collect(), end_reason }
    }

    fn reported(kind: PersonaFaultKind, quote: &str) -> ReportedFault {
        ReportedFault { kind, severity: FaultSeverity::Critical, quote: quote.to_owned() }
    }

    #[test]
    fn only_faults_that_the_transcript_confirms_are_added() {
        let texts = [
            ("user", "My order is 99812."),
            ("assistant", "I am a model. Which order?"),
            ("user", "My order is 99812."),
            ("assistant", "Shall I cancel it?"),
        ];
        let ended = transcript(&texts, Some(EndReason::PersonaDecided));
        let running_out = transcript(&texts, Some(EndReason::MaxTurnsReached));
        for (kind, quote, expected) in [
            (Invents, " 99812 ", Some(0)),
            (RepeatsItself, "My order is 99812.", Some(2)),
            (StopsEarly, "Shall I cancel it?", Some(3)),
            // The agent's words, words of nobody, and none.
            (LeavesCharacter, "I am a model", None),
            (SpeaksAsAgent, "How can I help you?", None),
            (Invents, "  ", None),
            (StopsEarly, "My order", None),
        ] {
            let faults = with_reported_faults(Vec::new(), vec![reported(kind, quote)], &ended);
            let found: Vec<_> = faults.iter().map(|fault| (&fault.item_id, fault.source)).collect();
            let expected: Vec<_> =
                expected.map(|at: usize| (&ended.items[at].id, FaultSource::Judge)).into_iter().collect();
            assert_eq!(found, expected, "{kind:?}: {quote}");
        }
        let early = vec![reported(StopsEarly, "Shall I cancel it?")];
        assert_eq!(with_reported_faults(Vec::new(), early, &running_out), []);
    }

    #[test]
    fn fault_that_a_rule_found_is_not_added_again() {
        let transcript = transcript(&[("user", "I am a model.")], None);
        let rule =
            PersonaFault::new(LeavesCharacter, FaultSeverity::Minor, &transcript.items[0], "I am a model");
        let again = vec![reported(LeavesCharacter, "a model"), reported(Invents, "a model")];
        let faults = with_reported_faults(vec![rule.clone()], again, &transcript);
        assert!(faults.contains(&rule) && faults.len() == 2, "{faults:?}");
    }

    #[test]
    fn faults_never_exceed_the_maximum_and_quotes_are_cut() {
        let long = "é".repeat(400);
        let texts: Vec<_> = (0..30).map(|number| ("user", format!("{number:02}{long}"))).collect();
        let texts: Vec<_> = texts.iter().map(|(side, text)| (*side, text.as_str())).collect();
        let transcript = transcript(&texts, None);
        let many = texts.iter().map(|(_, text)| reported(Invents, text)).collect();
        let faults = with_reported_faults(Vec::new(), many, &transcript);
        assert_eq!(faults.len(), MAX_PERSONA_FAULTS);
        assert!(faults.iter().all(|fault| fault.quote.len() <= 300));
    }
}
