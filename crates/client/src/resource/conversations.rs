//! Conversations, messages and evaluations.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Persona;

/// The status of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationStatus {
    /// Waiting for a worker.
    Queued,
    /// A worker holds it.
    InProgress,
    /// It was held.
    Ended,
    /// It could not be held.
    Failed,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

impl ConversationStatus {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A conversation with its persona and evaluations.
#[derive(Clone, Debug, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// The simulation it belongs to.
    pub simulation_id: String,
    /// Its number within the simulation, from 1.
    pub seq_id: u32,
    /// The status.
    pub status: ConversationStatus,
    /// Why it ended, such as `persona_decided`; `None` until then.
    pub end_reason: Option<String>,
    /// The status of its evaluation, such as `completed`.
    pub evaluation_status: String,
    /// The current attempt, from 1.
    pub attempt: u32,
    /// The ended attempts, oldest first; empty if the server does not report them.
    #[serde(default)]
    pub ended_attempts: Vec<EndedAttempt>,
    /// When the lease of its worker expires.
    #[serde(default)]
    pub lease_expires_at: Option<String>,
    /// The number of messages of the attempt.
    pub item_count: u32,
    /// The persona's faults; empty if the server does not report them.
    #[serde(default)]
    pub persona_faults: Vec<PersonaFault>,
    /// The persona of the conversation.
    pub persona: Persona,
    /// The evaluations, in the order of the simulation's objectives.
    pub evaluations: Vec<Evaluation>,
}

/// A fault of a persona.
#[derive(Clone, Debug, Deserialize)]
pub struct PersonaFault {
    /// The kind, such as `leaves_character`.
    pub kind: String,
    /// `minor`, or `critical`: then the conversation is left out of pass rates.
    pub severity: String,
    /// The message with the fault.
    pub item_id: String,
    /// Words of that message; empty if the transcript was deleted.
    pub quote: String,
    /// Who found it, `rule` or `judge`; `None` if the server does not report it.
    pub source: Option<String>,
}

/// An ended attempt of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct EndedAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Why it ended, such as `lease_expired`.
    pub end_reason: String,
    /// The reason that the worker gave, if any.
    pub failure_reason: Option<String>,
    /// When it ended.
    pub ended_at: String,
}

/// The evaluation of one conversation against one version of an objective.
#[derive(Clone, Debug, Deserialize)]
pub struct Evaluation {
    /// The judged version of the objective.
    pub objective: JudgedObjective,
    /// The outcome.
    pub outcome: Outcome,
    /// From 0 to 1; `None` if it is inconclusive.
    pub score: Option<f64>,
    /// The reason for the outcome.
    pub reason: Option<String>,
    /// Quotes that support the reason.
    pub quotes: Vec<Quote>,
    /// The judge: a model's name or `checks`.
    pub judge: String,
}

/// A version of an objective that was judged.
#[derive(Clone, Debug, Deserialize)]
pub struct JudgedObjective {
    /// Its id.
    pub id: String,
    /// The version, from 1.
    pub version: u32,
    /// The name for people.
    pub name: String,
}

/// The outcome of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The objective was met.
    Passed,
    /// The objective was not met.
    Failed,
    /// It could not be decided.
    Inconclusive,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Unknown => "unknown",
        }
    }
}

/// An outcome that the results count conversations with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// The objective with this outcome; `None` for the conversation as a whole.
    pub objective_id: Option<String>,
}

/// Words that appear verbatim in the transcript.
#[derive(Clone, Debug, Deserialize)]
pub struct Quote {
    /// The message that contains them.
    pub item_id: String,
    /// The words.
    pub text: String,
}

/// A message of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Who wrote it.
    pub role: Role,
    /// Its parts.
    pub content: Vec<Content>,
}

impl Item {
    /// The parts as one text.
    pub fn text(&self) -> String {
        text(&self.content)
    }
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Role {
    /// The persona: `user` on the wire.
    #[serde(rename = "user")]
    Persona,
    /// The agent under test: `assistant` on the wire.
    #[serde(rename = "assistant")]
    Agent,
}

/// A part of a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text, the only kind.
    Text {
        /// The text.
        text: String,
    },
}

/// Joins the parts with line breaks.
fn text(parts: &[Content]) -> String {
    let texts: Vec<&str> = parts.iter().map(|Content::Text { text }| text.as_str()).collect();
    texts.join("\n")
}

/// The response to starting a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Started {
    /// The number of the attempt.
    pub attempt: u32,
    /// How long the lease is; `None` if the server does not say.
    #[serde(default)]
    pub lease_seconds: Option<u64>,
}

/// Conversations that a claim started.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// The conversations.
    pub data: Vec<Claimed>,
}

/// A conversation that a claim started.
#[derive(Clone, Debug, Deserialize)]
pub struct Claimed {
    /// The id of the conversation.
    pub conversation_id: String,
    /// The id of its simulation.
    pub simulation_id: String,
    /// The id of its agent.
    pub agent_id: String,
    /// The number of the attempt.
    pub attempt: u32,
    /// How long the lease is; `None` if the server does not say.
    #[serde(default)]
    pub lease_seconds: Option<u64>,
    /// The metadata of the simulation.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// The lease of an attempt.
#[derive(Clone, Debug, Deserialize)]
pub struct Lease {
    /// The number of the attempt.
    pub attempt: u32,
    /// When the lease expires (RFC 3339, UTC).
    pub lease_expires_at: Option<String>,
}

/// A request for the persona's next message.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// The attempt. The server refuses the call if it is not the current one.
    pub attempt: u32,
    /// Makes retries safe: the same idempotency key gets the same reply, and nothing is stored twice.
    pub idempotency_key: &'a str,
    /// The agent's message; `None` lets the persona open.
    pub says: Option<&'a str>,
}

/// The persona's reply.
#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    /// Whether the conversation has ended.
    pub ended: bool,
    /// The persona's messages; empty if it says nothing.
    pub output: Vec<OutputMessage>,
}

/// A message of the persona.
#[derive(Clone, Debug, Deserialize)]
pub struct OutputMessage {
    /// Its parts.
    pub content: Vec<Content>,
}

impl OutputMessage {
    /// The parts as one text.
    pub fn text(&self) -> String {
        text(&self.content)
    }
}
