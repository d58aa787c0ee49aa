//! Evaluation runs and labels in responses.

use onerun_domain::{Agreement, ConversationId, ConversationLabels, Label, wilson_interval};
use onerun_engine::{Disagreement, EvaluationReport, ObjectiveReport};
use onerun_store::EvaluationRunView;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    openapi::examples::{CHANGED, CONVERSATION, KEY_ID, MADE, OBJECTIVE, SIMULATION},
    operation::Example,
    views::{EvaluationRunStatusOut, IntervalOut, OutcomeOut, Time, UsageOut},
};

/// A run of another judge over the conversations of a simulation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationRun")]
pub(crate) struct EvaluationRunOut {
    id: String,
    simulation_id: String,
    /// The model that judges.
    judge: String,
    status: EvaluationRunStatusOut,
    conversations: RunCountsOut,
    created_at: Time,
    updated_at: Time,
}

/// The conversations of an evaluation run, counted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationRunCounts")]
struct RunCountsOut {
    /// The number of conversations that the run judges.
    target: u32,
    judged: u32,
    /// Conversations that the judge could not evaluate in several attempts.
    failed: u32,
}

impl From<EvaluationRunView> for EvaluationRunOut {
    fn from(view: EvaluationRunView) -> Self {
        let EvaluationRunView { run, counts } = view;
        Self {
            id: run.id.into(),
            simulation_id: run.simulation_id.into(),
            judge: run.judge.to_string(),
            status: EvaluationRunStatusOut(run.status),
            conversations: RunCountsOut {
                target: run.conversations,
                judged: counts.judged,
                failed: counts.failed,
            },
            created_at: Time(run.created_at),
            updated_at: Time(run.updated_at),
        }
    }
}

/// An evaluation run with its results.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationReport")]
pub(crate) struct EvaluationReportOut {
    #[serde(flatten)]
    run: EvaluationRunOut,
    /// The versions of the model that judged, as the provider names them.
    judge_versions: Vec<String>,
    /// The consumption of the calls that the results come from.
    usage: UsageOut,
    /// The results of each objective, in the order of the simulation.
    objectives: Vec<ObjectiveReportOut>,
    /// Conversations on which the run's judge and the simulation's differ: the first 20 by id.
    disagreements: Vec<DisagreementOut>,
}

/// The results of an evaluation run on one objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationReportObjective")]
struct ObjectiveReportOut {
    objective_id: String,
    /// The pinned version of the objective.
    version: u32,
    name: String,
    /// The number of judged conversations: passed, failed and inconclusive.
    evaluated: u64,
    passed: u64,
    failed: u64,
    inconclusive: u64,
    /// Passed divided by evaluated, inconclusive ones included; null if none is evaluated.
    pass_rate: Option<f64>,
    /// The 95% confidence interval of the pass rate (Wilson score); null without a pass rate.
    pass_rate_interval: Option<IntervalOut>,
    agreement: AgreementsOut,
}

/// The agreement of judges on one objective, over passed, failed and inconclusive.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agreements")]
struct AgreementsOut {
    /// The run's judge and the simulation's own.
    with_original: AgreementOut,
    /// The run's judge and people's labels.
    with_labels: AgreementOut,
    /// The simulation's own judge and people's labels, on the conversations of this run.
    original_with_labels: AgreementOut,
}

/// The agreement of two judges.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agreement")]
struct AgreementOut {
    /// The number of conversations that have an outcome by both.
    n: u64,
    /// The share of equal outcomes; null if `n` is 0.
    rate: Option<f64>,
    /// Cohen's kappa: 1 if all outcomes are equal, 0 if no more are than by chance. Null if it is undefined, which
    /// it is if `n` is 0 or if both always gave the same outcome.
    #[schemars(range(min = -1.0, max = 1.0))]
    kappa: Option<f64>,
}

impl From<Agreement> for AgreementOut {
    fn from(agreement: Agreement) -> Self {
        Self { n: agreement.count(), rate: agreement.rate(), kappa: agreement.kappa() }
    }
}

/// A conversation on which two judges differ.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Disagreement")]
struct DisagreementOut {
    conversation_id: String,
    objective_id: String,
    /// The outcome by the simulation's own judge.
    original: OutcomeOut,
    /// The outcome by the run's judge.
    outcome: OutcomeOut,
}

impl From<ObjectiveReport> for ObjectiveReportOut {
    fn from(report: ObjectiveReport) -> Self {
        let ObjectiveReport { objective, outcomes, with_original, with_labels, original_with_labels } =
            report;
        let [passed, failed, inconclusive] = outcomes;
        let evaluated = passed + failed + inconclusive;
        Self {
            objective_id: objective.id.into(),
            version: objective.version,
            name: objective.name.as_str().to_owned(),
            evaluated,
            passed,
            failed,
            inconclusive,
            pass_rate: (evaluated > 0).then(|| passed as f64 / evaluated as f64),
            pass_rate_interval: wilson_interval(passed, evaluated).map(IntervalOut::from),
            agreement: AgreementsOut {
                with_original: with_original.into(),
                with_labels: with_labels.into(),
                original_with_labels: original_with_labels.into(),
            },
        }
    }
}

impl From<EvaluationReport> for EvaluationReportOut {
    fn from(report: EvaluationReport) -> Self {
        let EvaluationReport { view, model_versions, usage, objectives, disagreements } = report;
        let disagreement = |one: Disagreement| DisagreementOut {
            conversation_id: one.conversation_id.into(),
            objective_id: one.objective_id.into(),
            original: OutcomeOut(one.original),
            outcome: OutcomeOut(one.outcome),
        };
        Self {
            run: view.into(),
            judge_versions: model_versions,
            usage: usage.into(),
            objectives: objectives.into_iter().map(ObjectiveReportOut::from).collect(),
            disagreements: disagreements.into_iter().map(disagreement).collect(),
        }
    }
}

/// The labels of a conversation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Labels")]
pub(crate) struct LabelsOut {
    conversation_id: String,
    labels: Vec<LabelOut>,
    /// The id of the API key that stored them; null if there are none.
    updated_by: Option<String>,
    /// When they were stored; null if there are none.
    updated_at: Option<Time>,
}

/// A person's outcome on one objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Label")]
struct LabelOut {
    objective_id: String,
    outcome: OutcomeOut,
    note: Option<String>,
}

impl LabelsOut {
    /// No labels.
    pub(crate) fn none(conversation: ConversationId) -> Self {
        Self { conversation_id: conversation.into(), labels: Vec::new(), updated_by: None, updated_at: None }
    }
}

impl From<ConversationLabels> for LabelsOut {
    fn from(labels: ConversationLabels) -> Self {
        let label = |label: Label| LabelOut {
            objective_id: label.objective_id.into(),
            outcome: OutcomeOut(label.outcome),
            note: label.note,
        };
        Self {
            conversation_id: labels.conversation_id.into(),
            labels: labels.labels.into_iter().map(label).collect(),
            updated_by: Some(labels.updated_by.into()),
            updated_at: Some(Time(labels.updated_at)),
        }
    }
}

const RUN: &str = "eR5tYp0LkJ2hGfDs8aZxV";

impl Example for EvaluationRunOut {
    fn example() -> Value {
        json!({
            "id": RUN,
            "simulation_id": SIMULATION,
            "judge": "anthropic:claude-sonnet-5-5",
            "status": "completed",
            "conversations": { "target": 20, "judged": 20, "failed": 0 },
            "created_at": MADE,
            "updated_at": CHANGED,
        })
    }
}

impl Example for EvaluationReportOut {
    fn example() -> Value {
        let mut report = EvaluationRunOut::example();
        report["judge_versions"] = json!(["claude-sonnet-5-5-20250929"]);
        report["usage"] = json!({
            "calls": 20,
            "failed_calls": 0,
            "unpriced_calls": 0,
            "input_tokens": 31_000,
            "cached_input_tokens": 0,
            "cache_write_tokens": 0,
            "output_tokens": 5_200,
            "reasoning_tokens": 0,
            "cost_usd": 0.171,
        });
        report["objectives"] = json!([{
            "objective_id": OBJECTIVE,
            "version": 1,
            "name": "Offers a refund",
            "evaluated": 20,
            "passed": 16,
            "failed": 4,
            "inconclusive": 0,
            "pass_rate": 0.8,
            "pass_rate_interval": { "low": 0.584, "high": 0.919 },
            "agreement": {
                "with_original": { "n": 20, "rate": 0.95, "kappa": 0.828 },
                "with_labels": { "n": 0, "rate": null, "kappa": null },
                "original_with_labels": { "n": 0, "rate": null, "kappa": null },
            },
        }]);
        report["disagreements"] = json!([{
            "conversation_id": CONVERSATION,
            "objective_id": OBJECTIVE,
            "original": "passed",
            "outcome": "failed",
        }]);
        report
    }
}

impl Example for LabelsOut {
    fn example() -> Value {
        json!({
            "conversation_id": CONVERSATION,
            "labels": [
                { "objective_id": OBJECTIVE, "outcome": "failed", "note": "The refund was never offered." },
            ],
            "updated_by": KEY_ID,
            "updated_at": CHANGED,
        })
    }
}
