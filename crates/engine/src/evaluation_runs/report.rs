//! The report on an evaluation run.

use std::collections::{BTreeMap, BTreeSet};

use onerun_domain::{
    Agreement, ConversationId, EvaluationRunId, ModelUsage, Objective, ObjectiveId, Outcome, Resource,
    RunResult, SimulationId,
};
use onerun_store::{EvaluationRunView, ProjectStore, StoreError};

use crate::{Engine, OperationError};

/// How many results or labels are read at a time.
const ROWS_AT_A_TIME: u32 = 1_000;

/// How many disagreements a report names.
const MAX_DISAGREEMENTS: usize = 20;

/// How many versions of a model a report names.
const MAX_VERSIONS: usize = 20;

/// The report on an evaluation run.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationReport {
    /// The run and its counts.
    pub view: EvaluationRunView,
    /// The versions of the model that judged, as the provider names them.
    pub model_versions: Vec<String>,
    /// The consumption of the calls whose answers the results come from.
    pub usage: ModelUsage,
    /// Each objective, in the order of the simulation.
    pub objectives: Vec<ObjectiveReport>,
    /// The first conversations, by id, on which the run's judge and the simulation's differ: at most 20.
    pub disagreements: Vec<Disagreement>,
}

/// A run's evaluations on one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveReport {
    /// The objective at the judged version.
    pub objective: Objective,
    /// The number of conversations with each outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 3],
    /// The run's judge and the simulation's.
    pub with_original: Agreement,
    /// The run's judge and people's labels.
    pub with_labels: Agreement,
    /// The simulation's judge and people's labels, on the conversations of the run.
    pub original_with_labels: Agreement,
}

/// A conversation on which two judges differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The objective.
    pub objective_id: ObjectiveId,
    /// The outcome by the simulation's judge.
    pub original: Outcome,
    /// The outcome by the run's judge.
    pub outcome: Outcome,
}

impl ObjectiveReport {
    fn new(objective: Objective) -> Self {
        Self {
            objective,
            outcomes: [0; 3],
            with_original: Agreement::default(),
            with_labels: Agreement::default(),
            original_with_labels: Agreement::default(),
        }
    }
}

impl Engine {
    /// The report on an evaluation run, with what it has judged so far.
    pub async fn evaluation_report(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        run: &EvaluationRunId,
    ) -> Result<EvaluationReport, OperationError> {
        let detail = project.simulation(simulation).await?;
        let detail = detail.ok_or(OperationError::NotFound(Resource::Simulation))?;
        let view = project.evaluation_run(simulation, run).await?;
        let view = view.ok_or(OperationError::NotFound(Resource::Evaluation))?;
        let results = all_results(project, simulation, run).await?;
        let mut report = EvaluationReport {
            view,
            model_versions: Vec::new(),
            usage: results.values().filter_map(|result| result.usage).sum(),
            objectives: detail.objectives.into_iter().map(ObjectiveReport::new).collect(),
            disagreements: Vec::new(),
        };
        let versions: BTreeSet<&String> =
            results.values().filter_map(|result| result.model_version.as_ref()).collect();
        report.model_versions = versions.into_iter().take(MAX_VERSIONS).cloned().collect();
        for result in results.values() {
            report.count(result);
        }
        report.count_labels(project, simulation, &results).await?;
        Ok(report)
    }
}

impl EvaluationReport {
    fn count(&mut self, result: &RunResult) {
        let Some(outcomes) = &result.outcomes else { return };
        for (place, report) in self.objectives.iter_mut().enumerate() {
            let Some(outcome) = outcomes.get(place) else { continue };
            for (count, one) in report.outcomes.iter_mut().zip(Outcome::ALL) {
                *count += u64::from(one == outcome);
            }
            let Some(original) = result.original.get(place) else { continue };
            report.with_original.add(original, outcome);
            if original != outcome && self.disagreements.len() < MAX_DISAGREEMENTS {
                self.disagreements.push(Disagreement {
                    conversation_id: result.conversation_id.clone(),
                    objective_id: report.objective.id.clone(),
                    original,
                    outcome,
                });
            }
        }
    }

    async fn count_labels(
        &mut self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        results: &BTreeMap<ConversationId, RunResult>,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let labels = project.labels(simulation, after.as_ref(), ROWS_AT_A_TIME).await?;
            let Some(last) = labels.last() else { return Ok(()) };
            after = Some(last.conversation_id.clone());
            for labelled in &labels {
                let Some(result) = results.get(&labelled.conversation_id) else { continue };
                for (place, report) in self.objectives.iter_mut().enumerate() {
                    let Some(label) = labelled.outcome(&report.objective.id) else { continue };
                    if let Some(outcome) = result.outcomes.as_ref().and_then(|outcomes| outcomes.get(place)) {
                        report.with_labels.add(label, outcome);
                    }
                    if let Some(original) = result.original.get(place) {
                        report.original_with_labels.add(label, original);
                    }
                }
            }
        }
    }
}

/// The results of a run. A simulation has at most 10,000 conversations, and a result is small.
async fn all_results(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
    run: &EvaluationRunId,
) -> Result<BTreeMap<ConversationId, RunResult>, StoreError> {
    let mut results = BTreeMap::new();
    let mut after = None;
    loop {
        let rows = project.run_results(simulation, run, after.as_ref(), ROWS_AT_A_TIME).await?;
        let Some(last) = rows.last() else { return Ok(results) };
        after = Some(last.conversation_id.clone());
        results.extend(rows.into_iter().map(|row| (row.conversation_id.clone(), row)));
    }
}
