//! The interface to a model: it generates personas, replies as a persona, and judges conversations.
//!
//! A model's output is untrusted. The engine bounds and cleans it before storing it, and drops
//! quotes that do not occur in the transcript.

use async_trait::async_trait;
use onerun_domain::{Agent, Item, Objective, Outcome, Persona, PersonaAttributes, Score, Simulation};

/// A model that plays personas and judges conversations.
#[async_trait]
pub trait Model: Send + Sync {
    /// The name that every evaluation records.
    fn name(&self) -> &str;

    /// Generates a persona for a simulation's scenario. Requests with different `seq` must return
    /// different personas.
    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError>;

    /// Returns the persona's next message.
    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError>;

    /// Whether this model judges prose. If not, [`Model::judge`] always returns an inconclusive
    /// verdict, and callers who send prose get a warning.
    fn judges_prose(&self) -> bool {
        true
    }

    /// Judges a conversation against the prose of one objective's criteria.
    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdict, ModelError>;
}

/// The input of [`Model::persona`].
#[derive(Clone, Copy, Debug)]
pub struct PersonaRequest<'a> {
    /// The simulation, with its scenario and number of personas.
    pub simulation: &'a Simulation,
    /// The agent under test.
    pub agent: &'a Agent,
    /// The persona's number within the simulation, from 1. A number above the target replaces a
    /// rejected persona.
    pub seq: u32,
}

/// A persona without an id.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonaDraft {
    /// Who the person is, in one sentence.
    pub summary: String,
    /// Why the person contacts the agent.
    pub story: String,
    /// The person's goal in the conversation.
    pub purpose: String,
    /// Age group, speech style, habits and so on.
    pub attributes: PersonaAttributes,
}

/// The input of [`Model::reply`].
#[derive(Clone, Copy, Debug)]
pub struct ReplyRequest<'a> {
    /// The simulation.
    pub simulation: &'a Simulation,
    /// The agent under test.
    pub agent: &'a Agent,
    /// The persona that speaks.
    pub persona: &'a Persona,
    /// The conversation's number within the simulation, from 1. It differs between conversations of
    /// one persona.
    pub conversation_seq: u32,
    /// All messages, oldest first. Empty if the persona opens the conversation; otherwise the last
    /// message is the agent's.
    pub transcript: &'a [Item],
}

/// A persona's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The text; `None` if the persona says nothing more.
    pub text: Option<String>,
    /// Whether the persona ends the conversation after this text.
    pub ends: bool,
}

/// The input of [`Model::judge`].
#[derive(Clone, Copy, Debug)]
pub struct JudgeRequest<'a> {
    /// The simulation.
    pub simulation: &'a Simulation,
    /// The objective, at the version that the simulation uses.
    pub objective: &'a Objective,
    /// The prose of the objective's criteria. Check lines are decided without a model.
    pub prose: &'a str,
    /// All messages, oldest first.
    pub transcript: &'a [Item],
}

/// A model's verdict on one conversation and one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Passed, failed or inconclusive.
    pub outcome: Outcome,
    /// A score, if the model gives one.
    pub score: Option<Score>,
    /// Why the model decided so. Must not be blank.
    pub reason: String,
    /// Literal quotes that support the verdict. Those that do not occur in the transcript are dropped.
    pub quotes: Vec<String>,
    /// The prompt. Its hash is stored with the evaluation.
    pub prompt: String,
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model did not answer, and may answer later.
    #[error("the model is unavailable: {0}")]
    Unavailable(String),
    /// The answer is malformed or incomplete.
    #[error("the model's answer cannot be used: {0}")]
    Unusable(String),
}
