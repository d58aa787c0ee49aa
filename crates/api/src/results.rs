//! The results of a simulation.

use onerun_auth::{Access, Scope};
use onerun_domain::{
    ApprovalStatus, ConversationStatus, EndReason, EvaluationStatus, FaultSeverity, Objective, Outcome,
    Resource, SimulationId, wilson_interval,
};
use onerun_store::{ConversationCounts, ObjectiveCounts, ProjectStore, SimulationCounts};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiError, App, Response,
    operation::operations,
    request::{Call, reply},
    simulations,
    views::{IntervalOut, ModelsOut, SimulationStatusOut, UsageReportOut},
};

operations! {
    GET_RESULTS {
        route: GET "/v1/simulations/{simulation_id}/results",
        handler: Project(get_results),
        access: Access::Requires(Scope::SimulationsRead),
        summary: "Get a simulation's results",
        output: ResultsOut,
        errors: ["simulation_not_found"],
    }
}

/// The current results of a simulation. They are final once the simulation has ended.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Results")]
pub(crate) struct ResultsOut {
    simulation_id: String,
    status: SimulationStatusOut,
    /// Counts over conversations: one fails if any objective failed, else is inconclusive if any is, else
    /// passes. Conversations with a critical fault of the persona are left out, here and in `objectives`.
    overall: ScoresOut,
    /// The results of each objective, in the order of the simulation.
    objectives: Vec<ObjectiveResultsOut>,
    personas: PersonaCountsOut,
    conversations: ConversationCountsOut,
    endings: EndingsOut,
    evaluations: EvaluationCountsOut,
    persona_faults: PersonaFaultCountsOut,
    failures: FailuresOut,
    /// The models in force since the simulation was created.
    models: ModelsOut,
    /// The calls to models so far. The offline model makes none.
    usage: UsageReportOut,
}

/// Counts of evaluations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Scores")]
struct ScoresOut {
    /// The number of evaluated conversations: passed, failed and inconclusive.
    evaluated: u64,
    passed: u64,
    failed: u64,
    /// Undecided evaluations. They count as not passed: otherwise a judge that avoids hard conversations
    /// would raise the pass rate.
    inconclusive: u64,
    /// The mean score; null if no conversation has one.
    mean_score: Option<f64>,
    /// Passed divided by evaluated, inconclusive ones included; null if none is evaluated.
    pass_rate: Option<f64>,
    /// The 95% confidence interval of the pass rate (Wilson score); null without a pass rate.
    pass_rate_interval: Option<IntervalOut>,
}

impl ScoresOut {
    fn new(count: impl Fn(Outcome) -> u64, score_sum: f64, score_count: u64) -> Self {
        let [passed, failed, inconclusive] = Outcome::ALL.map(count);
        let evaluated = passed + failed + inconclusive;
        Self {
            evaluated,
            passed,
            failed,
            inconclusive,
            mean_score: (score_count > 0).then(|| score_sum / score_count as f64),
            pass_rate: (evaluated > 0).then(|| passed as f64 / evaluated as f64),
            pass_rate_interval: wilson_interval(passed, evaluated).map(IntervalOut::from),
        }
    }
}

/// Counts of the evaluations of one objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ObjectiveResults")]
struct ObjectiveResultsOut {
    objective_id: String,
    /// The pinned version of the objective.
    version: u32,
    name: String,
    #[serde(flatten)]
    scores: ScoresOut,
}

/// Counts of personas by approval.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PersonaCounts")]
struct PersonaCountsOut {
    target: u32,
    /// Personas that wait for approval. Their conversations are queued once they are approved.
    pending: u64,
    approved: u64,
    /// Rejected personas; each is replaced by another.
    rejected: u64,
}

/// Counts of conversations by status.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationCounts")]
struct ConversationCountsOut {
    target: u32,
    queued: u64,
    in_progress: u64,
    ended: u64,
    failed: u64,
    /// Conversations that needed more than one attempt.
    retried: u64,
}

/// Counts of conversations by the reason of their end.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Endings")]
struct EndingsOut {
    persona_ended: u64,
    agent_ended: u64,
    turn_limit: u64,
}

/// Counts of conversations by evaluation status.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EvaluationCounts")]
struct EvaluationCountsOut {
    pending: u64,
    in_progress: u64,
    completed: u64,
    failed: u64,
    not_applicable: u64,
}

/// Counts of conversations by the severity of their persona's worst fault.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PersonaFaultCounts")]
struct PersonaFaultCountsOut {
    /// Conversations that are left out of `overall` and `objectives`, because a fault of the persona decided
    /// how they went.
    critical: u64,
    /// Conversations with small faults, which count like the others.
    minor: u64,
}

/// Counts of failures.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Failures")]
struct FailuresOut {
    /// Conversations whose last lease expired.
    lease_expired: u64,
    /// Conversations of which too many attempts were abandoned because a reply came late.
    reply_late: u64,
    /// Conversations whose last worker reported that the agent failed.
    agent_failed: u64,
    /// Conversations stopped by the end of the simulation.
    stopped: u64,
    /// Conversations that could not be judged.
    evaluations: u64,
    /// Why the simulation failed or expired, or what it waits for; null otherwise.
    last_failure_reason: Option<String>,
}

async fn get_results(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let detail = simulations::find(project, &call).await?;
    let id: SimulationId = detail.simulation.id.clone();
    let counts = project.counts(&id).await?.ok_or(ApiError::NotFound(Resource::Simulation))?;
    let usage = project.usage_of_simulation(&id).await?;
    let SimulationCounts { conversations, objectives, personas, .. } = counts;
    let by_approval = |status: ApprovalStatus| personas.get(status.as_str()).copied().unwrap_or_default();
    let out = ResultsOut {
        simulation_id: id.into(),
        status: SimulationStatusOut(detail.simulation.status),
        overall: overall(&conversations, &objectives),
        objectives: detail
            .objectives
            .iter()
            .zip(&objectives)
            .map(|(objective, counts)| objective_results(objective, counts))
            .collect(),
        personas: PersonaCountsOut {
            target: detail.simulation.target_personas.get(),
            pending: by_approval(ApprovalStatus::Pending),
            approved: by_approval(ApprovalStatus::Approved),
            rejected: by_approval(ApprovalStatus::Rejected),
        },
        conversations: ConversationCountsOut {
            target: detail.simulation.target_conversations.get(),
            queued: conversations.in_status(ConversationStatus::Queued),
            in_progress: conversations.in_status(ConversationStatus::InProgress),
            ended: conversations.in_status(ConversationStatus::Ended),
            failed: conversations.in_status(ConversationStatus::Failed),
            retried: conversations.retried,
        },
        endings: EndingsOut {
            persona_ended: conversations.ended_by(EndReason::PersonaDecided),
            agent_ended: conversations.ended_by(EndReason::AgentDecided),
            turn_limit: conversations.ended_by(EndReason::MaxTurnsReached),
        },
        evaluations: EvaluationCountsOut {
            pending: conversations.evaluations(EvaluationStatus::Pending),
            in_progress: conversations.evaluations(EvaluationStatus::InProgress),
            completed: conversations.evaluations(EvaluationStatus::Completed),
            failed: conversations.evaluations(EvaluationStatus::Failed),
            not_applicable: conversations.evaluations(EvaluationStatus::NotApplicable),
        },
        persona_faults: PersonaFaultCountsOut {
            critical: conversations.with_worst_fault(FaultSeverity::Critical),
            minor: conversations.with_worst_fault(FaultSeverity::Minor),
        },
        failures: FailuresOut {
            lease_expired: conversations.ended_by(EndReason::LeaseExpired),
            reply_late: conversations.ended_by(EndReason::ReplyLate),
            agent_failed: conversations.ended_by(EndReason::AgentFailed),
            stopped: [
                EndReason::SimulationCanceled,
                EndReason::SimulationExpired,
                EndReason::SimulationFailed,
            ]
            .map(|reason| conversations.ended_by(reason))
            .iter()
            .sum(),
            evaluations: conversations.evaluations(EvaluationStatus::Failed),
            last_failure_reason: detail.simulation.last_failure_reason.clone(),
        },
        models: (&detail.simulation.options.models).into(),
        usage: UsageReportOut::new(usage.into_iter().map(|row| (row.purpose, row.model, row.usage))),
    };
    reply(&out)
}

fn overall(conversations: &ConversationCounts, objectives: &[ObjectiveCounts]) -> ScoresOut {
    let sum = objectives.iter().map(|counts| counts.score_sum).sum();
    let count = objectives.iter().map(|counts| counts.score_count).sum();
    ScoresOut::new(|outcome| conversations.with_outcome(outcome), sum, count)
}

fn objective_results(objective: &Objective, counts: &ObjectiveCounts) -> ObjectiveResultsOut {
    ObjectiveResultsOut {
        objective_id: objective.id.to_string(),
        version: objective.version,
        name: objective.name.to_string(),
        scores: ScoresOut::new(|outcome| counts.with_outcome(outcome), counts.score_sum, counts.score_count),
    }
}
