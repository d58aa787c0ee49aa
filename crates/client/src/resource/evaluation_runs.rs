//! Evaluation runs, and labels of people.

use serde::{Deserialize, Serialize};

use super::{Interval, Outcome};

/// A run of another judge over the conversations of a simulation.
#[derive(Clone, Debug, Deserialize)]
pub struct EvaluationRun {
    /// Its id.
    pub id: String,
    /// The model that judges.
    pub judge: String,
    /// The status, such as `completed`.
    pub status: String,
    /// Its conversations, counted.
    pub conversations: RunCounts,
    /// When it was created.
    pub created_at: String,
}

/// The conversations of an evaluation run, counted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RunCounts {
    /// How many the run judges.
    pub target: u32,
    /// Judged.
    pub judged: u32,
    /// Not judged in several attempts.
    pub failed: u32,
}

/// An evaluation run with its results.
#[derive(Clone, Debug, Deserialize)]
pub struct EvaluationReport {
    /// The run.
    #[serde(flatten)]
    pub run: EvaluationRun,
    /// Each objective, in the order of the simulation.
    pub objectives: Vec<ReportedObjective>,
    /// Some conversations on which the run's judge and the simulation's differ.
    pub disagreements: Vec<Disagreement>,
}

/// The results of an evaluation run on one objective.
#[derive(Clone, Debug, Deserialize)]
pub struct ReportedObjective {
    /// The objective.
    pub objective_id: String,
    /// The name for people.
    pub name: String,
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many could not be decided.
    pub inconclusive: u64,
    /// Passed evaluations as a share of all; `None` without evaluations.
    pub pass_rate: Option<f64>,
    /// The 95% confidence interval of the pass rate.
    pub pass_rate_interval: Option<Interval>,
    /// The agreement of judges.
    pub agreement: Agreements,
}

/// The agreement of judges on one objective.
#[derive(Clone, Debug, Deserialize)]
pub struct Agreements {
    /// The run's judge and the simulation's.
    pub with_original: Agreement,
    /// The run's judge and people's labels.
    pub with_labels: Agreement,
    /// The simulation's judge and people's labels.
    pub original_with_labels: Agreement,
}

/// The agreement of two judges.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Agreement {
    /// The number of conversations with an outcome by both.
    pub n: u64,
    /// The share of equal outcomes.
    pub rate: Option<f64>,
    /// Cohen's kappa; `None` if it is undefined.
    pub kappa: Option<f64>,
}

/// A conversation on which two judges differ.
#[derive(Clone, Debug, Deserialize)]
pub struct Disagreement {
    /// The conversation.
    pub conversation_id: String,
    /// The objective.
    pub objective_id: String,
    /// The outcome by the simulation's judge.
    pub original: Outcome,
    /// The outcome by the run's judge.
    pub outcome: Outcome,
}

/// A person's outcome on one objective.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Label {
    /// The objective.
    pub objective_id: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The labels of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Labels {
    /// The labels, at most one for each objective.
    pub labels: Vec<Label>,
    /// The id of the API key that stored them.
    pub updated_by: Option<String>,
    /// When they were stored.
    pub updated_at: Option<String>,
}
