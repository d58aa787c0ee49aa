//! A persona that sends a message again.

use std::collections::HashMap;

use super::{
    FaultSeverity, Message, PersonaFault, PersonaFaultKind,
    words::{contains_any, words},
};

/// Shorter messages are repeated in normal conversations: "Yes, please do that."
const MIN_WORDS: usize = 8;

/// The number of times from which the agent is stuck with the persona.
const CRITICAL: usize = 3;

/// How an agent asks for the same again, or shows that it did not understand.
const ASKS_AGAIN: [&str; 18] = [
    "repeat",
    "again",
    "rephrase",
    "sorry",
    "understand",
    "understood",
    "catch",
    "unclear",
    "clarify",
    "error",
    "apologies",
    "apologize",
    "apologise",
    "once more",
    "come again",
    "pardon",
    "try",
    "technical",
];

pub(super) fn faults(messages: &[Message<'_>]) -> Vec<PersonaFault> {
    let mut seen: HashMap<Vec<String>, Sent> = HashMap::new();
    let mut faults = Vec::new();
    let mut agent = Vec::new();
    for message in messages {
        let words = words(&message.text);
        if !message.is_persona() {
            agent = words;
            continue;
        }
        if words.len() < MIN_WORDS {
            continue;
        }
        match seen.get_mut(&words) {
            None => {
                seen.insert(words, Sent { times: 1, answers: vec![agent.clone()] });
            }
            // Asked the same twice, a person answers the same.
            Some(sent) if sent.answers.contains(&agent) || contains_any(&agent, &ASKS_AGAIN) => {}
            Some(sent) => {
                sent.times += 1;
                sent.answers.push(agent.clone());
                let severity =
                    if sent.times >= CRITICAL { FaultSeverity::Critical } else { FaultSeverity::Minor };
                faults.push(PersonaFault::new(
                    PersonaFaultKind::RepeatsItself,
                    severity,
                    message.item,
                    &message.text,
                ));
            }
        }
    }
    faults
}

/// A message that was sent.
struct Sent {
    times: usize,
    /// The agent's messages that it answered.
    answers: Vec<Vec<String>>,
}
