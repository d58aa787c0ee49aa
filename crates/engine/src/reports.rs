//! Reports on simulations, and comparisons of two.

use std::{future::Future, time::Duration};

use onerun_domain::{
    Agent, EndReason, FaultSeverity, Limit, ModelUsage, Name, Objective, ObjectiveRef, PageRequest, Scenario,
    Score, Start, Target,
};
use onerun_report::{
    CaseRun, Comparison, Gate, Held, Plan, PlannedCase, PlannedObjective, Report, Side, SideObjective, Trial,
    TrialEvaluation, Trials, compare, evaluate, persona_key,
};
use onerun_store::{ConversationSummary, ListConversations, ProjectStore, SimulationDetail, StoreError};

use crate::{Engine, OperationError};

/// How many reports a process makes at once. The largest one takes about 150 MB while it is made: 10,000 conversations
/// with 50 objectives each. One of 1,000 conversations with three objectives takes less than 2 MB.
pub(crate) const REPORTS_AT_ONCE: usize = 2;

/// How long a caller waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// The only scenario of a simulation.
const SCENARIO: &str = "scenario";

#[derive(Debug, thiserror::Error)]
#[error("too many reports are being made")]
struct TooManyReports;

impl Engine {
    /// The report on a simulation, as `write` returns it. Without gates, every conversation must pass. `detail` must be
    /// read before: a simulation that was over then has no later results.
    pub async fn report<T: Send + 'static>(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
        gates: Vec<Gate>,
        write: impl FnOnce(Report) -> T + Send + 'static,
    ) -> Result<T, OperationError> {
        self.in_turn(async {
            let run = case_run(project, detail).await?;
            let case = case_of(detail);
            let plan = Plan { name: case.key.clone(), cases: vec![case], gates, quarantine: Vec::new() };
            let now = self.now();
            Ok(self.write_off_thread(move || write(evaluate(&plan, &[run], None, now))).await)
        })
        .await
    }

    /// The comparison of the simulation `after` with `before`, by conversation.
    pub async fn comparison(
        &self,
        project: &dyn ProjectStore,
        before: &SimulationDetail,
        after: &SimulationDetail,
    ) -> Result<Comparison, OperationError> {
        self.in_turn(async {
            let before = side(before, case_run(project, before).await?);
            let after = side(after, case_run(project, after).await?);
            let now = self.now();
            Ok(self.write_off_thread(move || compare(&before, &after, now)).await)
        })
        .await
    }

    /// Makes a report when fewer than [`REPORTS_AT_ONCE`] are being made.
    async fn in_turn<T>(
        &self,
        made: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, OperationError> {
        let turn = tokio::time::timeout(MAX_WAIT, self.reports.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(StoreError::Unavailable(Box::new(TooManyReports)).into());
        };
        Ok(made.await?)
    }
}

fn case_of(detail: &SimulationDetail) -> PlannedCase {
    let SimulationDetail { simulation, agent, objectives } = detail;
    let counts = (simulation.target_conversations, simulation.target_personas);
    planned_case(&simulation.name, &simulation.scenario, counts, agent, objectives)
}

/// The case of a simulation with these numbers of conversations and personas.
pub(crate) fn planned_case(
    name: &Name,
    scenario: &Scenario,
    (conversations, personas): (Target, Target),
    agent: &Agent,
    objectives: &[Objective],
) -> PlannedCase {
    PlannedCase {
        key: name.to_string(),
        agent: agent.name.to_string(),
        scenario_key: SCENARIO.to_owned(),
        scenario: scenario.to_string(),
        objectives: objectives
            .iter()
            .map(|objective| PlannedObjective {
                key: objective.id.to_string(),
                name: objective.name.to_string(),
            })
            .collect(),
        trials: conversations.get(),
        personas: personas.get(),
    }
}

fn side(detail: &SimulationDetail, run: CaseRun) -> Side {
    let SimulationDetail { simulation, agent, objectives } = detail;
    Side {
        name: simulation.name.to_string(),
        agent: agent.name.to_string(),
        scenario: simulation.scenario.to_string(),
        judge: simulation.options.models.judge.to_string(),
        objectives: objectives
            .iter()
            .map(|objective| SideObjective {
                id: objective.id.to_string(),
                version: objective.version,
                name: objective.name.to_string(),
            })
            .collect(),
        trials: simulation.target_conversations.get(),
        personas: simulation.target_personas.get(),
        run,
    }
}

/// The results of a simulation, read page by page.
async fn case_run(project: &dyn ProjectStore, detail: &SimulationDetail) -> Result<CaseRun, StoreError> {
    let simulation = &detail.simulation;
    let max = usize::try_from(Target::MAX).unwrap_or(usize::MAX);
    let mut trials = Trials::default();
    let mut page = PageRequest::first(Limit::clamped(Limit::MAX));
    loop {
        let list = ListConversations { status: None, outcome: None, page: page.clone() };
        let rows = project.conversations(&simulation.id, list).await?;
        for row in rows.data {
            trials.push(trial(detail, row));
        }
        // No simulation has more conversations.
        match rows.next {
            Some(position) if trials.len() <= max => page.start = Start::After(position),
            _ => break,
        }
    }
    let usage: ModelUsage =
        project.usage_of_simulation(&simulation.id).await?.into_iter().map(|row| row.usage).sum();
    Ok(CaseRun {
        case: simulation.name.to_string(),
        simulation_id: simulation.id.to_string(),
        status: simulation.status.as_str().to_owned(),
        failure: simulation.last_failure_reason.clone(),
        cost_usd: (usage.unpriced_calls == 0).then(|| usage.cost.dollars()),
        trials: trials.into_vec(),
    })
}

fn trial(detail: &SimulationDetail, row: ConversationSummary) -> Trial {
    let ConversationSummary { conversation, persona, evaluations } = row;
    let critical = conversation.persona_faults.iter().find(|fault| fault.severity == FaultSeverity::Critical);
    let last_attempt = conversation.ended_attempts.last();
    let held = Held {
        status: conversation.status.as_str(),
        end_reason: conversation.end_reason.map(EndReason::as_str),
        failure_reason: last_attempt.and_then(|attempt| attempt.failure_reason.as_deref()),
        evaluation_status: conversation.evaluation_status.as_str(),
        critical_fault: critical.map(|fault| fault.kind.as_str()),
    };
    Trial {
        number: conversation.seq,
        persona: detail.simulation.slot(persona.seq) + 1,
        persona_key: Some(persona_key(&persona.summary, &persona.story, &persona.purpose)),
        end: held.end(),
        conversation_id: conversation.id.into(),
        messages: conversation.item_count,
        persona_summary: persona.summary,
        evaluations: evaluations
            .into_iter()
            .map(|(evaluation, _)| TrialEvaluation {
                objective: objective_key(&detail.objectives, &evaluation.objective),
                outcome: evaluation.outcome,
                score: evaluation.score.map(Score::get),
                reason: evaluation.reason,
                quotes: evaluation.quotes.into_iter().map(|quote| quote.text).collect(),
            })
            .collect(),
    }
}

/// The key of an evaluation's objective. The evaluation of another version is not that of a planned objective.
fn objective_key(objectives: &[Objective], judged: &ObjectiveRef) -> String {
    let is_pinned = objectives.iter().any(|objective| objective.reference() == *judged);
    if is_pinned { judged.id.to_string() } else { format!("{} at version {}", judged.id, judged.version) }
}
