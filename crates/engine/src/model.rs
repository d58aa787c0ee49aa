//! What OneRun asks of a model: to be a person, to answer as that person, and to judge.
//!
//! A model's words are untrusted: the engine bounds and cleans them before they are stored, and checks that quotes
//! occur.

use async_trait::async_trait;
use onerun_domain::{Agent, Item, Objective, Outcome, Persona, PersonaAttributes, Score, Simulation};

/// A model. Deterministic if it says so: the same request, the same answer.
#[async_trait]
pub trait Model: Send + Sync {
    /// Which model it is, as recorded with every evaluation.
    fn name(&self) -> &str;

    /// Makes a person for a simulation's scenario. Requests that differ in `seq` must give different people.
    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError>;

    /// Says what the persona says next, given all that was said.
    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError>;

    /// Whether it judges prose. One that does not answers every [`Model::judge`] with an inconclusive verdict, and callers
    /// who send prose are warned.
    fn judges_prose(&self) -> bool {
        true
    }

    /// Judges a conversation by the prose of one objective's criteria.
    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdict, ModelError>;
}

/// What a persona is made from.
#[derive(Clone, Copy, Debug)]
pub struct PersonaRequest<'a> {
    /// The simulation, with its scenario and how many personas it is to have.
    pub simulation: &'a Simulation,
    /// The agent under test.
    pub agent: &'a Agent,
    /// The persona's number within the simulation, from 1. Numbers above the target are replacements of rejected
    /// personas.
    pub seq: u32,
}

/// A person, before it has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonaDraft {
    /// Who it is, in a sentence.
    pub summary: String,
    /// What brought it here.
    pub story: String,
    /// What it wants from the conversation.
    pub purpose: String,
    /// What it is like.
    pub attributes: PersonaAttributes,
}

/// What a reply is made from.
#[derive(Clone, Copy, Debug)]
pub struct ReplyRequest<'a> {
    /// The simulation.
    pub simulation: &'a Simulation,
    /// The agent under test.
    pub agent: &'a Agent,
    /// The persona that speaks.
    pub persona: &'a Persona,
    /// The conversation's number within the simulation, from 1: what tells two conversations of one persona apart.
    pub conversation_seq: u32,
    /// All that was said, oldest first; empty if the persona is to open the conversation. Otherwise the last
    /// message is the agent's.
    pub transcript: &'a [Item],
}

/// What a persona says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its words; `None` if it says nothing more.
    pub text: Option<String>,
    /// Whether it has ended the conversation, with these words as its last.
    pub ends: bool,
}

/// What a verdict is made from.
#[derive(Clone, Copy, Debug)]
pub struct JudgeRequest<'a> {
    /// The simulation.
    pub simulation: &'a Simulation,
    /// The version of the objective that is judged.
    pub objective: &'a Objective,
    /// The prose of its criteria; check lines are decided without a model.
    pub prose: &'a str,
    /// All that was said, oldest first.
    pub transcript: &'a [Item],
}

/// What a model found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What it found.
    pub outcome: Outcome,
    /// How well, where it can tell.
    pub score: Option<Score>,
    /// Why.
    pub reason: String,
    /// Words that it rests on; those that do not occur in the transcript are dropped.
    pub quotes: Vec<String>,
    /// What the model was told to do, to be hashed and recorded.
    pub prompt: String,
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It may answer later.
    #[error("the model is unavailable: {0}")]
    Unavailable(String),
    /// It answered, and not with anything that can be used.
    #[error("the model's answer cannot be used: {0}")]
    Unusable(String),
}
