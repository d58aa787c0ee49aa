//! What the API sends and takes, as far as a worker or a pipeline needs it.

mod keys;

use serde::{Deserialize, Serialize};

pub use keys::*;

/// A part of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T> {
    /// The part.
    pub data: Vec<T>,
    /// Whether more follows.
    pub has_more: bool,
    /// Where the next page begins; `None` after the last page, and from servers that know no cursors.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The request for the page after this one, which `request` asked for; `None` after the last page.
    pub fn following(&self, request: &PageRequest) -> Option<PageRequest> {
        following(request, self.has_more, self.next_cursor.as_deref(), self.data.len())
    }
}

/// The request after one that was answered with so many rows.
fn following(
    request: &PageRequest,
    has_more: bool,
    cursor: Option<&str>,
    rows: usize,
) -> Option<PageRequest> {
    let start = match (&request.start, cursor) {
        _ if !has_more => return None,
        (_, Some(cursor)) => Start::Cursor(cursor.to_owned()),
        // A page may have fewer rows than were asked for, and one without rows leads nowhere.
        (Start::Offset(offset), None) if rows > 0 => {
            Start::Offset(offset.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX)))
        }
        (Start::Offset(_) | Start::Cursor(_), None) => return None,
    };
    Some(PageRequest { limit: request.limit, start })
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many rows at most, from 1 to 100.
    pub limit: u32,
    /// Where the part begins.
    pub start: Start,
}

/// Where a part of a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many rows.
    Offset(u32),
    /// Where an earlier page ended: its `next_cursor`.
    Cursor(String),
}

impl PageRequest {
    /// The first `limit`, brought into the range that the API takes.
    pub fn first(limit: usize) -> Self {
        Self { limit: u32::try_from(limit.clamp(1, 100)).unwrap_or(100), start: Start::Offset(0) }
    }
}

/// A project.
#[derive(Clone, Debug, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: String,
}

/// What an agent is made from.
#[derive(Clone, Debug, Serialize)]
pub struct NewAgent {
    /// What people call it.
    pub name: String,
    /// What it is for; personas are told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An agent under test.
#[derive(Clone, Debug, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// When a worker last asked for its work; `None` if none ever did, or if the server does not know.
    #[serde(default)]
    pub last_polled_at: Option<String>,
}

/// What an objective is made from.
#[derive(Clone, Debug, Serialize)]
pub struct NewObjective {
    /// What people call it.
    pub name: String,
    /// What is judged: prose, `check:` lines, or both.
    pub criteria: String,
}

/// One version of an objective.
#[derive(Clone, Debug, Deserialize)]
pub struct Objective {
    /// Its id.
    pub id: String,
    /// 1 for the first.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// What is judged.
    pub criteria: String,
}

/// What a simulation is made from.
#[derive(Clone, Debug, Serialize)]
pub struct NewSimulation {
    /// The agent under test.
    pub agent_id: String,
    /// What people call it.
    pub name: String,
    /// The situation that the personas are in.
    pub scenario: String,
    /// How many conversations are to be held.
    pub target_conversations: u32,
    /// How many personas hold them.
    pub target_personas: u32,
    /// How many messages, of both sides together, a conversation may have.
    pub max_turns: u32,
    /// Whether personas are approved as they are made.
    pub auto_approve: bool,
    /// What conversations are scored against.
    pub objective_ids: Vec<String>,
    /// What everything generated is derived from; the server's choice if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A simulation.
#[derive(Clone, Debug, Deserialize)]
pub struct Simulation {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The agent under test.
    pub agent: Agent,
    /// The situation that the personas are in.
    pub scenario: String,
    /// Where it is.
    pub status: SimulationStatus,
    /// Why it failed or expired.
    pub last_failure_reason: Option<String>,
    /// How many conversations are to be held.
    pub target_conversations: u32,
    /// How many personas hold them.
    pub target_personas: u32,
    /// How many messages, of both sides together, a conversation may have.
    pub max_turns: u32,
    /// When it was made.
    pub created_at: String,
    /// What everything generated is derived from.
    pub seed: u64,
}

/// Where a simulation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimulationStatus {
    /// Not started yet.
    Pending,
    /// Conversations are held and judged.
    InProgress,
    /// All conversations were held and judged.
    Completed,
    /// It could not reach its target.
    Failed,
    /// It was stopped.
    Canceled,
    /// It took too long.
    Expired,
    /// A word that this client does not know.
    #[serde(other)]
    Unknown,
}

impl SimulationStatus {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a persona may hold conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// Waits for a decision.
    Pending,
    /// Holds conversations.
    Approved,
    /// Replaced by another.
    Rejected,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ApprovalStatus {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// A generated person.
#[derive(Clone, Debug, Deserialize)]
pub struct Persona {
    /// Its id.
    pub id: String,
    /// Its number within the simulation.
    pub seq_id: u32,
    /// Whether it may hold conversations.
    #[serde(default)]
    pub approval_status: ApprovalStatus,
    /// Who it is, in a sentence.
    pub summary: String,
    /// What brought it here.
    pub story: String,
    /// What it wants from the conversation.
    pub purpose: String,
}

/// Where a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationStatus {
    /// Waits for a worker.
    Queued,
    /// A worker holds it.
    InProgress,
    /// It was held.
    Ended,
    /// It could not be held.
    Failed,
    /// A word that this client does not know.
    #[serde(other)]
    Unknown,
}

impl ConversationStatus {
    /// The wire's word.
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

/// A conversation, its persona and the verdicts on it.
#[derive(Clone, Debug, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// The simulation it belongs to.
    pub simulation_id: String,
    /// Its number within the simulation, from 1.
    pub seq_id: u32,
    /// Where it is.
    pub status: ConversationStatus,
    /// Why it is over, such as `persona_decided`; `None` until it is.
    pub end_reason: Option<String>,
    /// How far its judging is, such as `completed`.
    pub evaluation_status: String,
    /// Which attempt it is at, from 1.
    pub attempt: u32,
    /// The attempts that are over, oldest first; empty if the server does not say.
    #[serde(default)]
    pub ended_attempts: Vec<EndedAttempt>,
    /// When its worker is given up, unless it calls before.
    #[serde(default)]
    pub lease_expires_at: Option<String>,
    /// How many messages the attempt has.
    pub item_count: u32,
    /// Whom the agent talks to.
    pub persona: Persona,
    /// The verdicts, in the order the simulation names its objectives.
    pub evaluations: Vec<Evaluation>,
}

/// An attempt to hold a conversation that is over.
#[derive(Clone, Debug, Deserialize)]
pub struct EndedAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// How it ended, such as `lease_expired`.
    pub end_reason: String,
    /// Why the worker failed, in its own words, if it said so.
    pub failure_reason: Option<String>,
    /// When it ended.
    pub ended_at: String,
}

/// A verdict on one conversation against one version of an objective.
#[derive(Clone, Debug, Deserialize)]
pub struct Evaluation {
    /// The objective, as it was judged.
    pub objective: JudgedObjective,
    /// What was found.
    pub outcome: Outcome,
    /// From 0 to 1; `None` where it cannot be told.
    pub score: Option<f64>,
    /// Why.
    pub reason: Option<String>,
    /// What the reason rests on.
    pub quotes: Vec<Quote>,
    /// Who judged: a model's name, or `checks`.
    pub judge: String,
}

/// A version of an objective that was judged.
#[derive(Clone, Debug, Deserialize)]
pub struct JudgedObjective {
    /// Its id.
    pub id: String,
    /// 1 for the first.
    pub version: u32,
    /// What people call it.
    pub name: String,
}

/// What was found about one objective in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was met.
    Passed,
    /// It was not met.
    Failed,
    /// It could not be decided.
    Inconclusive,
    /// A word that this client does not know.
    #[serde(other)]
    Unknown,
}

/// Words that occur to the letter in the transcript.
#[derive(Clone, Debug, Deserialize)]
pub struct Quote {
    /// The message they occur in.
    pub item_id: String,
    /// The words.
    pub text: String,
}

/// A message of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Who says it.
    pub role: Role,
    /// Its parts.
    pub content: Vec<Content>,
}

impl Item {
    /// What is said, in one text.
    pub fn text(&self) -> String {
        text(&self.content)
    }
}

/// Who says something.
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
    /// Text, the one kind there is.
    Text {
        /// What is said.
        text: String,
    },
}

/// What is said in some parts, in one text.
fn text(parts: &[Content]) -> String {
    let texts: Vec<&str> = parts.iter().map(|Content::Text { text }| text.as_str()).collect();
    texts.join("\n")
}

/// That a conversation was started.
#[derive(Clone, Debug, Deserialize)]
pub struct Started {
    /// Which attempt was started.
    pub attempt: u32,
}

/// One call for the persona's next words.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// The attempt that was started. If the conversation is at another by now, the call is refused.
    pub attempt: u32,
    /// What makes the call safe to repeat: under the same key the same reply is given, and nothing is stored twice.
    pub idempotency_key: &'a str,
    /// What the agent says; `None` to let the persona open.
    pub says: Option<&'a str>,
}

/// What the persona says.
#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    /// Whether the conversation is over with it.
    pub ended: bool,
    /// The persona's words; empty if it says nothing.
    pub output: Vec<OutputMessage>,
}

/// A message of the persona.
#[derive(Clone, Debug, Deserialize)]
pub struct OutputMessage {
    /// Its parts.
    pub content: Vec<Content>,
}

impl OutputMessage {
    /// What is said, in one text.
    pub fn text(&self) -> String {
        text(&self.content)
    }
}

/// What a simulation's verdicts come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The simulation.
    pub simulation_id: String,
    /// Where it is; the results are final once it is over.
    pub status: SimulationStatus,
    /// Each conversation as a whole: failed if any objective failed, else inconclusive if any is, else passed.
    pub overall: Scores,
    /// Each objective, in the order the simulation names them.
    pub objectives: Vec<ObjectiveResults>,
    /// Personas, counted by approval; all zero if the server does not say.
    #[serde(default)]
    pub personas: PersonaCounts,
    /// Conversations, counted by status.
    pub conversations: ConversationCounts,
    /// How conversations ended.
    pub endings: Endings,
    /// Evaluations, counted by conversation.
    pub evaluations: EvaluationCounts,
    /// What went wrong.
    pub failures: Failures,
}

/// Verdicts, counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// Passed, failed and inconclusive together.
    pub evaluated: u64,
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many could not be decided. They are no passes.
    pub inconclusive: u64,
    /// The mean of the scores that there are.
    pub mean_score: Option<f64>,
    /// Passed of those that have a verdict; `None` if none has.
    pub pass_rate: Option<f64>,
    /// Where the pass rate lies with 95% confidence (Wilson score interval).
    pub pass_rate_interval: Option<Interval>,
}

/// Where a rate lies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

/// The verdicts on one objective, counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectiveResults {
    /// The objective.
    pub objective_id: String,
    /// The version that is judged.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// The counts.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Personas, counted by approval.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PersonaCounts {
    /// How many there are to be.
    pub target: u32,
    /// How many wait for a decision.
    pub pending: u64,
    /// How many hold conversations.
    pub approved: u64,
    /// How many were rejected.
    pub rejected: u64,
}

/// Conversations, counted by status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConversationCounts {
    /// How many are to be held.
    pub target: u32,
    /// How many wait for a worker.
    pub queued: u64,
    /// How many a worker holds.
    pub in_progress: u64,
    /// How many were held.
    pub ended: u64,
    /// How many could not be held.
    pub failed: u64,
    /// How many needed more than one attempt.
    pub retried: u64,
}

/// How conversations ended, counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endings {
    /// The persona had nothing more to say.
    pub persona_ended: u64,
    /// The agent left.
    pub agent_ended: u64,
    /// There were as many messages as there may be.
    pub turn_limit: u64,
}

/// Evaluations, counted by conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvaluationCounts {
    /// Not begun.
    pub pending: u64,
    /// Begun.
    pub in_progress: u64,
    /// Done.
    pub completed: u64,
    /// Given up.
    pub failed: u64,
    /// There was nothing to judge.
    pub not_applicable: u64,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failures {
    /// Conversations given up because their workers were silent.
    pub lease_expired: u64,
    /// Conversations stopped because the simulation was over.
    pub stopped: u64,
    /// Conversations that could not be judged.
    pub evaluations: u64,
    /// Why the simulation failed or expired.
    pub last_failure_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_newer_server_are_unknown_and_no_error() {
        let status = |word| serde_json::from_str::<SimulationStatus>(word).unwrap();
        assert_eq!(status("\"in_progress\""), SimulationStatus::InProgress);
        assert_eq!(status("\"paused\""), SimulationStatus::Unknown);
        assert_eq!(serde_json::from_str::<Outcome>("\"disputed\"").unwrap(), Outcome::Unknown);
    }

    #[test]
    fn numbers_in_metadata_keep_their_last_digit() {
        for text in [r#"{"v":117.63331139400017}"#, r#"{"v":18446744073709551615}"#, r#"{"v":5e-324}"#] {
            let metadata: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&metadata).unwrap(), text);
        }
    }

    #[test]
    fn pages_stay_in_the_range_of_the_api() {
        assert_eq!(PageRequest::first(0).limit, 1);
        assert_eq!(PageRequest::first(1_000).limit, 100);
        let first = PageRequest::first(100);
        let page = |rows: usize, next_cursor: Option<&str>| Page {
            data: vec![(); rows],
            has_more: true,
            next_cursor: next_cursor.map(str::to_owned),
        };
        let second = page(7, Some("c")).following(&first);
        assert_eq!(second, Some(PageRequest { limit: 100, start: Start::Cursor("c".into()) }));
        // From a server without cursors: by what was received, not by what was asked for.
        let second = page(7, None).following(&first).unwrap();
        assert_eq!(page(2, None).following(&second).unwrap().start, Start::Offset(9));
        assert_eq!(page(0, None).following(&second), None);
        assert_eq!(Page { has_more: false, ..page(7, None) }.following(&first), None);
    }

    #[test]
    fn the_wire_s_words_are_the_same_in_both_directions() {
        for status in [
            ConversationStatus::Queued,
            ConversationStatus::InProgress,
            ConversationStatus::Ended,
            ConversationStatus::Failed,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for status in [
            SimulationStatus::Pending,
            SimulationStatus::InProgress,
            SimulationStatus::Completed,
            SimulationStatus::Failed,
            SimulationStatus::Canceled,
            SimulationStatus::Expired,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
