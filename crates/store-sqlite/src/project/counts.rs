//! The counts for the results of a simulation.

use std::collections::BTreeMap;

use onerun_domain::{
    ApprovalStatus, ConversationStatus, EndReason, EvaluationStatus, FaultSeverity, ObjectiveRef, Outcome,
    SimulationId,
};
use onerun_store::{ConversationCounts, ObjectiveCounts, SimulationCounts, StoreError};

use super::simulations;
use crate::{
    rows,
    sql::{self, ProjectTables},
};

/// All counts of one simulation, from one snapshot.
pub(super) fn get(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<Option<SimulationCounts>, StoreError> {
    let Some(view) = simulations::view(tables, id)? else { return Ok(None) };
    let mut conversations = conversations(tables, id)?;
    conversations.by_outcome = outcomes(tables, id)?;
    Ok(Some(SimulationCounts {
        progress: view.progress,
        conversations,
        objectives: objectives(tables, id)?,
        personas: personas(tables, id)?,
    }))
}

fn conversations(tables: &ProjectTables<'_>, id: &SimulationId) -> Result<ConversationCounts, StoreError> {
    let groups = sql::all(
        tables.connection,
        "conversation",
        "SELECT status, end_reason, evaluation_status, attempt > 1, worst_fault, COUNT(*)
         FROM conversations WHERE simulation_id = ?1 GROUP BY 1, 2, 3, 4, 5",
        [id.as_str()],
        |columns| {
            let status = columns.word(ConversationStatus::parse)?;
            let end_reason = columns.optional_word(EndReason::parse)?;
            let evaluation = columns.word(EvaluationStatus::parse)?;
            let retried = columns.value::<bool>()?;
            let worst_fault = columns.optional_word(FaultSeverity::parse)?;
            Ok((status, end_reason, evaluation, retried, worst_fault, columns.number()?))
        },
    )?;
    let mut counts = ConversationCounts::default();
    for (status, end_reason, evaluation, retried, worst_fault, count) in groups {
        *counts.by_status.entry(status.as_str()).or_default() += count;
        *counts.by_evaluation_status.entry(evaluation.as_str()).or_default() += count;
        if let Some(reason) = end_reason {
            *counts.by_end_reason.entry(reason.as_str()).or_default() += count;
        }
        if let Some(severity) = worst_fault {
            *counts.by_worst_fault.entry(severity.as_str()).or_default() += count;
        }
        if retried {
            counts.retried += count;
        }
    }
    Ok(counts)
}

/// Counts conversations by overall outcome. SQL collects the outcomes of each; the domain combines
/// them.
fn outcomes(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<BTreeMap<&'static str, u64>, StoreError> {
    let groups = sql::all(
        tables.connection,
        "evaluation",
        "SELECT passed, failed, inconclusive, COUNT(*)
         FROM (
             SELECT TOTAL(evaluations.outcome = 'passed') > 0 AS passed,
                    TOTAL(evaluations.outcome = 'failed') > 0 AS failed,
                    TOTAL(evaluations.outcome = 'inconclusive') > 0 AS inconclusive
             FROM conversations
             LEFT JOIN evaluations ON evaluations.conversation_id = conversations.id
                 AND evaluations.attempt = conversations.attempt
             WHERE conversations.simulation_id = ?1 AND conversations.status = 'ended'
               AND conversations.evaluation_status = 'completed'
               AND conversations.worst_fault IS NOT 'critical'
             GROUP BY conversations.inserted
         )
         GROUP BY 1, 2, 3",
        [id.as_str()],
        |columns| {
            let mut found = Vec::new();
            for outcome in [Outcome::Passed, Outcome::Failed, Outcome::Inconclusive] {
                if columns.value::<bool>()? {
                    found.push(outcome);
                }
            }
            Ok((Outcome::all(found), columns.number()?))
        },
    )?;
    let mut counts = BTreeMap::new();
    for (outcome, count) in groups {
        *counts.entry(outcome.as_str()).or_default() += count;
    }
    Ok(counts)
}

fn objectives(tables: &ProjectTables<'_>, id: &SimulationId) -> Result<Vec<ObjectiveCounts>, StoreError> {
    let pinned = sql::all(
        tables.connection,
        "simulation's objective",
        "SELECT objective_id, version FROM simulation_objectives WHERE simulation_id = ?1 ORDER BY position",
        [id.as_str()],
        rows::objective_ref,
    )?;
    let mut evaluations = evaluations(tables, id)?;
    Ok(pinned
        .into_iter()
        .map(|objective| evaluations.remove(&objective).unwrap_or_else(|| empty(objective)))
        .collect())
}

fn evaluations(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<BTreeMap<ObjectiveRef, ObjectiveCounts>, StoreError> {
    let groups = sql::all(
        tables.connection,
        "evaluation",
        "SELECT evaluations.objective_id, evaluations.objective_version, evaluations.outcome, COUNT(*),
                TOTAL(evaluations.score), COUNT(evaluations.score)
         FROM conversations
         JOIN evaluations ON evaluations.conversation_id = conversations.id
             AND evaluations.attempt = conversations.attempt
         WHERE conversations.simulation_id = ?1 AND conversations.status = 'ended'
           AND conversations.evaluation_status = 'completed'
           AND conversations.worst_fault IS NOT 'critical'
         GROUP BY 1, 2, 3",
        [id.as_str()],
        |columns| {
            let objective = rows::objective_ref(columns)?;
            let outcome = columns.word(Outcome::parse)?;
            Ok((objective, outcome, columns.number()?, columns.value::<f64>()?, columns.number()?))
        },
    )?;
    let mut counts_by_objective = BTreeMap::new();
    for (objective, outcome, count, score_sum, score_count) in groups {
        let counts = counts_by_objective.entry(objective.clone()).or_insert_with(|| empty(objective));
        *counts.outcomes.entry(outcome.as_str()).or_default() += count;
        counts.score_sum += score_sum;
        counts.score_count += score_count;
    }
    Ok(counts_by_objective)
}

fn empty(objective: ObjectiveRef) -> ObjectiveCounts {
    ObjectiveCounts { objective, outcomes: BTreeMap::new(), score_sum: 0.0, score_count: 0 }
}

fn personas(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<BTreeMap<&'static str, u64>, StoreError> {
    let counts = sql::all(
        tables.connection,
        "persona",
        "SELECT approval, COUNT(*) FROM personas WHERE simulation_id = ?1 GROUP BY approval",
        [id.as_str()],
        |columns| Ok((columns.word(ApprovalStatus::parse)?.as_str(), columns.number()?)),
    )?;
    Ok(counts.into_iter().collect())
}
