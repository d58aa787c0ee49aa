//! Observed results.

use onerun_domain::Outcome;

/// The observed results of one case: one simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRun {
    /// The key of the case.
    pub case: String,
    /// The simulation.
    pub simulation_id: String,
    /// The simulation's status in the API.
    pub status: String,
    /// Why the simulation failed or expired.
    pub failure: Option<String>,
    /// The cost of its calls to models, in US dollars; `None` if unknown.
    pub cost_usd: Option<f64>,
    /// The trials: conversations.
    pub trials: Vec<Trial>,
}

/// One conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number within the simulation, from 1.
    pub number: u32,
    /// The number of its persona within the simulation, from 1.
    pub persona: u32,
    /// A digest of the persona's texts. Trials are compared only if their
    /// personas have the same digest.
    pub persona_key: Option<String>,
    /// The persona in a sentence.
    pub persona_summary: String,
    /// The conversation.
    pub conversation_id: String,
    /// The number of messages.
    pub messages: u32,
    /// How it ended.
    pub end: TrialEnd,
    /// Its evaluations. They count only if it ended as [`TrialEnd::Judged`].
    pub evaluations: Vec<TrialEvaluation>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// The conversation was held and judged.
    Judged,
    /// Something other than the agent failed, for this reason: the worker, the judge, or the persona.
    Infra(String),
    /// It has not ended, or is not judged yet.
    Unfinished,
}

/// The evaluation of a trial on one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialEvaluation {
    /// The key of the objective.
    pub objective: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The score from 0 to 1.
    pub score: Option<f64>,
    /// The judge's explanation.
    pub reason: String,
    /// The words of the transcript that support the outcome.
    pub quotes: Vec<String>,
}
