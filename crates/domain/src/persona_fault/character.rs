//! A persona that speaks as the agent, or says that it is a model.

use super::{
    FaultSeverity, Message, PersonaFault, PersonaFaultKind,
    words::{after_any, contains_any, find, sentences, without_opening, words},
};
use crate::{Persona, Scenario};

/// How an agent begins a sentence, and a customer does not.
const AGENT_SENTENCES: [&str; 24] = [
    "how can i help you",
    "how may i help you",
    "how can i assist you",
    "how may i assist you",
    "how can i be of assistance",
    "what can i help you with",
    "is there anything else i can help you with",
    "is there anything else i can assist you with",
    "anything else i can help you with",
    "anything else i can assist you with",
    "thank you for contacting us",
    "thanks for contacting us",
    "thank you for reaching out to us",
    "thanks for reaching out to us",
    "im here to help you",
    "im here to assist you",
    "i am here to assist you",
    "id be happy to assist you",
    "i would be happy to assist you",
    "ill be happy to assist you",
    "i can assist you with",
    "let me assist you with",
    "may i have your order number",
    "please provide me with your order number",
];

/// Occupations whose holders offer help themselves.
const HELPERS: [&str; 20] = [
    "support",
    "service",
    "assistant",
    "helpdesk",
    "representative",
    "receptionist",
    "adviser",
    "advisor",
    "consultant",
    "nurse",
    "doctor",
    "therapist",
    "counselor",
    "counsellor",
    "tutor",
    "teacher",
    "coach",
    "clerk",
    "operator",
    "volunteer",
];

/// How a model speaks of itself at the start of a sentence. A word in [`MODEL_ENDS`] must follow, or nothing:
/// "I am an AI engineer" is a person.
const MODEL_SENTENCES: [&str; 22] = [
    "im an ai language model",
    "i am an ai language model",
    "im an ai assistant",
    "i am an ai assistant",
    "im an ai model",
    "i am an ai model",
    "im an ai chatbot",
    "i am an ai chatbot",
    "im just an ai",
    "i am just an ai",
    "im only an ai",
    "i am only an ai",
    "im an ai",
    "i am an ai",
    "im a large language model",
    "i am a large language model",
    "im a language model",
    "i am a language model",
    "im a simulated user",
    "i am a simulated user",
    "im a simulated customer",
    "i am a simulated customer",
];

const MODEL_ENDS: [&str; 12] = [
    "so",
    "but",
    "i",
    "and",
    "without",
    "created",
    "developed",
    "trained",
    "designed",
    "here",
    "which",
    "not",
];

/// How a model refers to itself within a sentence. The first person must follow: "as an AI, you should know" is
/// said to an agent.
const AS_A_MODEL: [&str; 7] = [
    "as an ai language model",
    "as an ai assistant",
    "as an ai model",
    "as an ai chatbot",
    "as an ai",
    "as a large language model",
    "as a language model",
];

const FIRST_PERSON: [&str; 6] = ["i", "im", "ive", "id", "ill", "my"];

/// How a player speaks of the play.
const PLAYING: [&str; 12] = [
    "im playing the role of",
    "i am playing the role of",
    "im role playing",
    "i am role playing",
    "im roleplaying",
    "i am roleplaying",
    "the persona im playing",
    "the persona i am playing",
    "this is a simulated conversation",
    "this is only a simulation",
    "this is just a simulation",
    "my system prompt",
];

/// Subjects that make a persona speak of models and plays in earnest.
const ABOUT_MODELS: [&str; 10] = [
    "ai",
    "bot",
    "chatbot",
    "llm",
    "language model",
    "machine learning",
    "robot",
    "android",
    "prompt",
    "assistant",
];
const ABOUT_PLAYS: [&str; 11] = [
    "simulation",
    "simulations",
    "simulator",
    "simulated",
    "role play",
    "roleplay",
    "rehearsal",
    "actor",
    "actress",
    "theatre",
    "game",
];

pub(super) fn faults(persona: &Persona, scenario: &Scenario, messages: &[Message<'_>]) -> Vec<PersonaFault> {
    let person: Vec<String> = [
        persona.summary.as_str(),
        persona.story.as_str(),
        persona.purpose.as_str(),
        persona.attributes.occupation.as_str(),
    ]
    .into_iter()
    .flat_map(words)
    .collect();
    let situation = words(scenario.as_str());
    let severity = |is_plausible: bool| {
        if is_plausible { FaultSeverity::Minor } else { FaultSeverity::Critical }
    };
    let helps = severity(contains_any(&person, &HELPERS));
    let is_model = severity(
        contains_any(&person, &ABOUT_MODELS)
            || contains_any(&person, &ABOUT_PLAYS)
            || contains_any(&situation, &ABOUT_PLAYS),
    );
    let mut faults = Vec::new();
    for message in messages.iter().filter(|message| message.is_persona()) {
        let mut found = |kind, severity, matches: fn(&str) -> bool| {
            if let Some(sentence) = sentences(&message.text).find(|sentence| matches(sentence)) {
                faults.push(PersonaFault::new(kind, severity, message.item, sentence));
            }
        };
        found(PersonaFaultKind::SpeaksAsAgent, helps, speaks_as_agent);
        found(PersonaFaultKind::LeavesCharacter, is_model, leaves_character);
    }
    faults
}

fn speaks_as_agent(sentence: &str) -> bool {
    after_any(without_opening(&words(sentence)), &AGENT_SENTENCES).is_some()
}

fn leaves_character(sentence: &str) -> bool {
    // A persona may ask whether the agent is a model, or whether it is taken for one.
    if sentence.ends_with('?') {
        return false;
    }
    let words = words(sentence);
    let says_model = after_any(without_opening(&words), &MODEL_SENTENCES)
        .is_some_and(|rest| rest.first().is_none_or(|next| MODEL_ENDS.contains(&next.as_str())));
    let as_model = AS_A_MODEL.iter().any(|phrase| {
        let after = find(&words, phrase).map(|at| at + phrase.split(' ').count());
        after.and_then(|after| words.get(after)).is_some_and(|next| FIRST_PERSON.contains(&next.as_str()))
    });
    says_model || as_model || contains_any(&words, &PLAYING)
}
