//! The interface to models: they generate personas, reply as personas, and judge conversations.
//!
//! A model's output is untrusted. The engine bounds and cleans it before storing it, and drops
//! quotes that do not occur in the transcript.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use onerun_domain::{
    Agent, Item, ModelName, ModelUsage, NanoDollars, Objective, Outcome, Persona, PersonaDraft,
    ReportedFault, Score, Simulation, SimulationModels, TokenUsage,
};

/// The models that a deployment offers.
pub trait Models: Send + Sync {
    /// The models of simulations that name none.
    fn defaults(&self) -> &SimulationModels;

    /// The models that a simulation may name. The defaults are among them.
    fn allowed(&self) -> &[ModelName];

    /// The cost of tokens; `None` without a known price. The offline model costs nothing.
    fn cost(&self, name: &ModelName, tokens: TokenUsage) -> Option<NanoDollars>;

    /// The date on which a model retires, if that is known and at most `days` after `today`.
    fn retires(&self, name: &ModelName, today: Date, days: u16) -> Option<Date>;

    /// Opens a model. Fails for a model that is not allowed, or that this process cannot call.
    fn open(&self, name: &ModelName) -> Result<Arc<dyn Model>, ModelError>;
}

/// A model that plays personas and judges conversations.
#[async_trait]
pub trait Model: Send + Sync {
    /// Generates a persona for a simulation's scenario. Requests with different `seq` must return
    /// different personas.
    async fn persona(&self, request: PersonaRequest<'_>) -> Result<PersonaDraft, ModelError>;

    /// Returns the persona's next message.
    async fn reply(&self, request: ReplyRequest<'_>) -> Result<Reply, ModelError>;

    /// Judges a conversation against the prose of all its objectives.
    async fn judge(&self, request: JudgeRequest<'_>) -> Result<Verdicts, ModelError>;
}

/// Collects the calls that serve one request, whether their answers were usable or not.
#[derive(Debug, Default)]
pub struct Meter(Mutex<ModelUsage>);

impl Meter {
    /// Adds one call to a provider.
    pub fn add(&self, call: ModelCall) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += ModelUsage {
            calls: 1,
            failed_calls: call.failed.into(),
            unpriced_calls: call.cost.is_none().into(),
            tokens: call.tokens,
            cost: call.cost.unwrap_or_default(),
        };
    }

    /// The sum of the calls so far.
    pub fn usage(&self) -> ModelUsage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call to a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCall {
    /// The tokens that the provider reported.
    pub tokens: TokenUsage,
    /// The cost. `None` if the provider reported no tokens or the model has no known price.
    pub cost: Option<NanoDollars>,
    /// Whether the answer did not arrive or could not be used.
    pub failed: bool,
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
    /// Some of the simulation's personas, including rejected ones, which the new one must differ from.
    pub others: &'a [Persona],
    /// Where calls are counted.
    pub meter: &'a Meter,
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
    /// Where calls are counted.
    pub meter: &'a Meter,
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
    /// The objectives to judge; not empty.
    pub questions: &'a [Question<'a>],
    /// All messages, oldest first.
    pub transcript: &'a [Item],
    /// The persona, if the model may also report its faults.
    pub persona: Option<&'a Persona>,
    /// Where calls are counted.
    pub meter: &'a Meter,
}

/// An objective that a model judges.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The objective, at the version that the simulation uses.
    pub objective: &'a Objective,
    /// The prose of the objective's criteria. Check lines are decided without a model.
    pub prose: &'a str,
}

/// A model's verdicts on one conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdicts {
    /// One verdict for each question, in the same order. A model that leaves one out gave no answer.
    pub verdicts: Vec<Verdict>,
    /// Faults of the persona, if the model looked for some. Those that the transcript does not confirm are dropped.
    pub faults: Vec<ReportedFault>,
    /// The instructions, without the conversation. Their hash is stored with each evaluation.
    pub prompt: String,
    /// The provider's own name for the version that answered.
    pub version: Option<String>,
}

/// A model's verdict on one conversation and one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Passed, failed or inconclusive.
    pub outcome: Outcome,
    /// A score, if the model gives one.
    pub score: Option<Score>,
    /// The model's grade from 0 to [`MAX_ORDINAL`](onerun_domain::MAX_ORDINAL), if the score follows from one.
    pub ordinal: Option<u8>,
    /// Why the model decided so. Must not be blank.
    pub reason: String,
    /// Literal quotes that support the verdict. Those that do not occur in the transcript are dropped.
    pub quotes: Vec<String>,
}

/// Why a model gave no answer. The texts are for the log; they may repeat a provider's words.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model did not answer, and may answer later.
    #[error("the model is unavailable: {reason}")]
    Unavailable {
        /// The cause.
        reason: String,
        /// When the provider wants to be asked again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The provider has failed so often that it is not asked at present. The text may be shown to callers.
    #[error("the model is unavailable: {reason}")]
    Down {
        /// The cause, without a provider's words.
        reason: String,
        /// When the provider is asked again.
        retry_after: Duration,
    },
    /// The answer is malformed or incomplete.
    #[error("the model's answer cannot be used: {0}")]
    Unusable(String),
    /// The simulation has reached its limit of cost or tokens, and has failed.
    #[error("the simulation has reached its limit of cost or tokens")]
    LimitReached,
    /// The deployment's configuration does not work: a wrong API key, or a model that does not exist.
    #[error("the model is not configured correctly: {0}")]
    Misconfigured(String),
}

impl ModelError {
    /// Unavailable, for an unknown time.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }
}
