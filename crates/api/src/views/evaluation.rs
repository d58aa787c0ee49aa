//! Evaluations in responses.

use onerun_domain::{Evaluation, Name, Objective, ObjectiveRef};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    openapi::examples::{CHANGED, CONVERSATION, OBJECTIVE},
    operation::Example,
    views::{ObjectiveOut, OutcomeOut, Time, UsageOut},
};

/// A literal quote from the transcript.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Quote")]
struct QuoteOut {
    /// The message that contains the quote.
    item_id: String,
    text: String,
}

/// An evaluation without its objective.
#[derive(Serialize, JsonSchema)]
struct EvaluationFields {
    id: String,
    conversation_id: String,
    objective_id: String,
    /// The version of the objective that was judged.
    objective_version: u32,
    outcome: OutcomeOut,
    /// From 0 to 1; null if inconclusive.
    #[schemars(range(min = 0.0, max = 1.0))]
    score: Option<f64>,
    /// The grade that a model gave; the score is a fifth of it. Null without one.
    #[schemars(range(min = 0, max = 5))]
    ordinal: Option<u8>,
    reason: Option<String>,
    quotes: Vec<QuoteOut>,
    /// The judge: a model's name, `checks`, or both.
    judge: String,
    /// The provider's own name for the version of the model that judged; null if it gave none.
    judge_version: Option<String>,
    /// The consumption of the calls that judged the conversation, shared by all its evaluations. Null if no
    /// model judged.
    judge_usage: Option<UsageOut>,
    /// The SHA-256 of the judge's prompt, in hex.
    prompt_hash: String,
    created_at: Time,
    updated_at: Time,
}

impl From<Evaluation> for EvaluationFields {
    fn from(evaluation: Evaluation) -> Self {
        Self {
            id: evaluation.id.into(),
            conversation_id: evaluation.conversation_id.into(),
            objective_id: evaluation.objective.id.into(),
            objective_version: evaluation.objective.version,
            outcome: OutcomeOut(evaluation.outcome),
            score: evaluation.score.map(onerun_domain::Score::get),
            reason: Some(evaluation.reason),
            quotes: evaluation
                .quotes
                .into_iter()
                .map(|quote| QuoteOut { item_id: quote.item_id.into(), text: quote.text })
                .collect(),
            ordinal: evaluation.details.ordinal,
            judge: evaluation.judge,
            judge_version: evaluation.details.model_version,
            judge_usage: evaluation.details.usage.map(UsageOut::from),
            prompt_hash: evaluation.prompt_hash,
            created_at: Time(evaluation.created_at),
            updated_at: Time(evaluation.created_at),
        }
    }
}

/// The evaluation of one conversation against one version of an objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Evaluation")]
pub(crate) struct EvaluationOut {
    #[serde(flatten)]
    evaluation: EvaluationFields,
    /// The objective at the judged version.
    objective: ObjectiveOut,
}

impl From<(Evaluation, Objective)> for EvaluationOut {
    fn from((evaluation, objective): (Evaluation, Objective)) -> Self {
        Self { evaluation: evaluation.into(), objective: objective.into() }
    }
}

/// The judged version of an objective, without its criteria.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ObjectiveWithoutCriteria")]
struct ShortObjectiveOut {
    id: String,
    version: u32,
    name: String,
}

/// An evaluation in a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationSummary")]
pub(crate) struct EvaluationSummaryOut {
    #[serde(flatten)]
    evaluation: EvaluationFields,
    /// The objective at the judged version.
    objective: ShortObjectiveOut,
}

impl From<(Evaluation, Name)> for EvaluationSummaryOut {
    fn from((evaluation, name): (Evaluation, Name)) -> Self {
        let ObjectiveRef { id, version } = evaluation.objective.clone();
        let objective = ShortObjectiveOut { id: id.into(), version, name: name.as_str().to_owned() };
        Self { evaluation: evaluation.into(), objective }
    }
}

impl Example for EvaluationOut {
    fn example() -> Value {
        json!({
            "id": "eT2bW7kZ4QyC9mUoX0rLs",
            "conversation_id": CONVERSATION,
            "objective_id": OBJECTIVE,
            "objective_version": 1,
            "objective": ObjectiveOut::example(),
            "outcome": "passed",
            "score": 1.0,
            "ordinal": null,
            "reason": "`check: agent says /refund/i` holds",
            "quotes": [{ "item_id": "iB8nD5vF1TgR6pWqY3sKa", "text": "refund" }],
            "judge": "checks",
            "judge_version": null,
            "judge_usage": null,
            "prompt_hash": "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184",
            "created_at": CHANGED,
            "updated_at": CHANGED,
        })
    }
}
