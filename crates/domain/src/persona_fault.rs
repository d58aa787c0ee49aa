//! Faults of a persona: faults of the simulator, which say nothing about the agent under test.
//!
//! They are found by rule from the transcript and from what the persona knows, and by the judge if a deployment wants
//! that. A rule prefers to miss a fault
//! over a false alarm: a conversation with a critical fault does not count in pass rates. The rules about
//! phrases know English only.

mod character;
mod identifiers;
mod repetition;
mod reported;
mod stop;
#[cfg(test)]
mod tests;
mod words;

use serde::{Deserialize, Serialize};

pub use self::reported::{ReportedFault, with_reported_faults};

use crate::{Item, ItemId, Persona, Role, Scenario, Transcript};

/// The maximum number of faults that are reported of one conversation.
pub const MAX_PERSONA_FAULTS: usize = 10;

/// The maximum length of a fault's quote, in bytes.
const MAX_QUOTE: usize = 300;

/// The kind of a persona's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonaFaultKind {
    /// It offers help or asks for the caller's data, as the agent does.
    SpeaksAsAgent,
    /// It sends a message twice, without being asked to.
    RepeatsItself,
    /// It names an identifier that it was not given.
    Invents,
    /// It says that it is a model or plays a role.
    LeavesCharacter,
    /// It ends the conversation while the agent waits for an answer.
    StopsEarly,
}

impl PersonaFaultKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::SpeaksAsAgent, Self::RepeatsItself, Self::Invents, Self::LeavesCharacter, Self::StopsEarly];

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpeaksAsAgent => "speaks_as_agent",
            Self::RepeatsItself => "repeats_itself",
            Self::Invents => "invents",
            Self::LeavesCharacter => "leaves_character",
            Self::StopsEarly => "stops_early",
        }
    }
}

/// How much a fault matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultSeverity {
    /// The agent can be judged nevertheless.
    Minor,
    /// The agent cannot be judged by this conversation: it counts neither for nor against it.
    Critical,
}

impl FaultSeverity {
    /// Every severity.
    pub const ALL: [Self; 2] = [Self::Minor, Self::Critical];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Critical => "critical",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == word)
    }
}

/// Who found a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultSource {
    /// A rule.
    #[default]
    Rule,
    /// The judge.
    Judge,
}

impl FaultSource {
    /// Every source.
    pub const ALL: [Self; 2] = [Self::Rule, Self::Judge];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Judge => "judge",
        }
    }
}

/// A fault of a persona in one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonaFault {
    /// The kind of the mistake.
    pub kind: PersonaFaultKind,
    /// How much it matters.
    pub severity: FaultSeverity,
    /// The message with the fault. A persona that stops without a word left the agent's message unanswered.
    pub item_id: ItemId,
    /// Words of that message, at most 300 bytes.
    pub quote: String,
    /// Who found it. Faults that earlier releases stored were found by rule.
    #[serde(default)]
    pub source: FaultSource,
}

impl PersonaFault {
    fn new(kind: PersonaFaultKind, severity: FaultSeverity, item: &Item, quote: &str) -> Self {
        let quote = quote.get(..quote.floor_char_boundary(MAX_QUOTE)).unwrap_or_default().to_owned();
        Self { kind, severity, item_id: item.id.clone(), quote, source: FaultSource::Rule }
    }
}

/// The faults of a persona in one conversation, in the order of its messages. At most
/// [`MAX_PERSONA_FAULTS`], critical ones first to stay.
pub fn persona_faults(scenario: &Scenario, persona: &Persona, transcript: &Transcript) -> Vec<PersonaFault> {
    let messages: Vec<Message<'_>> = transcript.items.iter().map(Message::new).collect();
    let mut faults = character::faults(persona, scenario, &messages);
    faults.extend(repetition::faults(&messages));
    faults.extend(identifiers::faults(scenario, persona, &messages));
    faults.extend(stop::faults(transcript.end_reason, &messages));
    bounded(faults, transcript)
}

/// The faults in the order of their messages, without those beyond the maximum.
fn bounded(mut faults: Vec<PersonaFault>, transcript: &Transcript) -> Vec<PersonaFault> {
    if faults.len() > MAX_PERSONA_FAULTS {
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.severity));
        faults.truncate(MAX_PERSONA_FAULTS);
    }
    let position = |fault: &PersonaFault| transcript.items.iter().position(|item| item.id == fault.item_id);
    faults.sort_by_key(|fault| (position(fault), fault.kind));
    faults
}

/// A message whose parts are one text.
struct Message<'a> {
    item: &'a Item,
    text: std::borrow::Cow<'a, str>,
}

impl<'a> Message<'a> {
    fn new(item: &'a Item) -> Self {
        let text = match item.content.as_slice() {
            [part] => part.as_str().into(),
            _ => item.text().into(),
        };
        Self { item, text }
    }

    fn is_persona(&self) -> bool {
        self.item.role == Role::User
    }
}
