//! The results of a simulation.

use serde::{Deserialize, Serialize};

use super::SimulationStatus;

/// The results of a simulation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The simulation.
    pub simulation_id: String,
    /// The status. The results are final once the simulation has ended.
    pub status: SimulationStatus,
    /// Conversations as a whole: failed if any objective failed, else inconclusive if any is, else passed.
    pub overall: Scores,
    /// Each objective, in the order of the simulation.
    pub objectives: Vec<ObjectiveResults>,
    /// Personas by approval status; all zero if the server does not report them.
    #[serde(default)]
    pub personas: PersonaCounts,
    /// Conversations by status.
    pub conversations: ConversationCounts,
    /// How conversations ended.
    pub endings: Endings,
    /// Conversations by evaluation status.
    pub evaluations: EvaluationCounts,
    /// Conversations by their persona's worst fault; all zero if the server does not report them.
    #[serde(default)]
    pub persona_faults: PersonaFaultCounts,
    /// Counts of failures.
    pub failures: Failures,
    /// The calls to models so far; all zero if the server does not report them.
    #[serde(default)]
    pub usage: UsageReport,
}

/// Evaluations by outcome, and the pass rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// Passed, failed and inconclusive together.
    pub evaluated: u64,
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many could not be decided. They do not count as passed.
    pub inconclusive: u64,
    /// The mean of the scores; `None` without scores.
    pub mean_score: Option<f64>,
    /// Passed evaluations as a share of all; `None` without evaluations.
    pub pass_rate: Option<f64>,
    /// The 95% confidence interval of the pass rate (Wilson score interval).
    pub pass_rate_interval: Option<Interval>,
}

/// An interval of rates from 0 to 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// The results of one objective.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectiveResults {
    /// The objective.
    pub objective_id: String,
    /// The judged version.
    pub version: u32,
    /// The name for people.
    pub name: String,
    /// The counts.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Personas by approval status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PersonaCounts {
    /// The target number.
    pub target: u32,
    /// Waiting for a decision.
    pub pending: u64,
    /// Approved.
    pub approved: u64,
    /// Rejected.
    pub rejected: u64,
}

/// Conversations by status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConversationCounts {
    /// The target number.
    pub target: u32,
    /// Waiting for a worker.
    pub queued: u64,
    /// Held by a worker.
    pub in_progress: u64,
    /// Held to their end.
    pub ended: u64,
    /// Not held in any attempt.
    pub failed: u64,
    /// Needed more than one attempt.
    pub retried: u64,
}

/// Conversations by ending.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endings {
    /// Ended by the persona.
    pub persona_ended: u64,
    /// Ended by the agent.
    pub agent_ended: u64,
    /// Reached the limit of messages.
    pub turn_limit: u64,
}

/// Conversations by evaluation status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvaluationCounts {
    /// Not started.
    pub pending: u64,
    /// In progress.
    pub in_progress: u64,
    /// Completed.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Nothing to judge.
    pub not_applicable: u64,
}

/// Conversations by the severity of their persona's worst fault.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PersonaFaultCounts {
    /// Left out of the pass rates.
    pub critical: u64,
    /// Counted like the others.
    pub minor: u64,
}

/// Counts of failures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failures {
    /// Conversations that failed because the lease of every attempt expired.
    pub lease_expired: u64,
    /// Conversations that failed because replies came late in every attempt; 0 if the server does not report them.
    #[serde(default)]
    pub reply_late: u64,
    /// Conversations that failed because the agent did; 0 if the server does not report them.
    #[serde(default)]
    pub agent_failed: u64,
    /// Conversations stopped because the simulation ended.
    pub stopped: u64,
    /// Conversations that could not be judged.
    pub evaluations: u64,
    /// Why the simulation failed or expired.
    pub last_failure_reason: Option<String>,
}

/// Usage of models in all, and by purpose and model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UsageReport {
    /// All calls.
    pub total: Usage,
    /// One entry for each purpose and model.
    pub models: Vec<ModelUsage>,
}

/// The usage of one model for one purpose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelUsage {
    /// `persona`, `reply` or `judge`.
    pub purpose: String,
    /// `provider:model`.
    pub model: String,
    /// The sum of its calls.
    #[serde(flatten)]
    pub usage: Usage,
}

/// The sum of some calls to models.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// The number of calls.
    pub calls: u64,
    /// Calls whose answer could not be used or did not arrive.
    pub failed_calls: u64,
    /// Calls of unknown cost, which `cost_usd` does not include.
    pub unpriced_calls: u64,
    /// Tokens read, outside of the provider's cache.
    pub input_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Tokens written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Tokens written, including those of reasoning.
    pub output_tokens: u64,
    /// The part of `output_tokens` that is reasoning.
    pub reasoning_tokens: u64,
    /// The cost in US dollars, by list prices.
    pub cost_usd: f64,
}
