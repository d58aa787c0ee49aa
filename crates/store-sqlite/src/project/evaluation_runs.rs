//! Evaluation runs, their results, and labels.

use onerun_domain::{
    ConversationId, ConversationLabels, Direction, EvaluationRun, EvaluationRunId, Job, Page, PageRequest,
    RunResult, SimulationId,
};
use onerun_store::{ChangeError, Decide, EvaluationRunChange, EvaluationRunView, RunCounts, StoreError};
use rusqlite::params;

use super::simulations::OF_SIMULATION;
use crate::{
    columns::Columns,
    jobs,
    lists::{self, CREATED_AT, Order, Query},
    rows::{self, micros},
    sql::{self, ProjectTables},
};

const RUN: &str = "evaluation run";
const RESULT: &str = "result of an evaluation run";
const LABELS: &str = "label";

/// Adds a run of a simulation of this project, with jobs.
pub(super) fn insert(
    tables: &ProjectTables<'_>,
    run: &EvaluationRun,
    jobs: &[Job],
) -> Result<(), StoreError> {
    let inserted = sql::execute(
        tables.connection,
        RUN,
        "INSERT INTO evaluation_runs (id, simulation_id, body, created_at)
         SELECT ?3, simulations.id, ?4, ?5 FROM simulations WHERE id = ?2 AND project_id = ?1",
        params![
            tables.project.as_str(),
            run.simulation_id.as_str(),
            run.id.as_str(),
            rows::json(RUN, run)?,
            micros(run.created_at),
        ],
    )?;
    sql::require_one(inserted, RUN, "it names an unknown simulation")?;
    jobs::add(tables.connection, jobs)
}

macro_rules! run_columns {
    () => {
        "evaluation_runs.body,
         (SELECT COUNT(*) FROM run_results WHERE run_id = evaluation_runs.id AND failed = 0),
         (SELECT COUNT(*) FROM run_results WHERE run_id = evaluation_runs.id AND failed = 1)"
    };
}

/// Reads `run_columns!`.
fn view(columns: &mut Columns<'_>) -> Result<EvaluationRunView, StoreError> {
    Ok(EvaluationRunView {
        run: columns.checked(rows::from_json)?,
        counts: RunCounts { judged: columns.value()?, failed: columns.value()? },
    })
}

pub(super) fn get(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &EvaluationRunId,
) -> Result<Option<EvaluationRunView>, StoreError> {
    sql::one(
        tables.connection,
        RUN,
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM evaluation_runs JOIN simulations ON simulations.id = evaluation_runs.simulation_id
              WHERE evaluation_runs.id = ?3 AND evaluation_runs.simulation_id = ?2
                  AND simulations.project_id = ?1"
        ),
        [tables.project.as_str(), simulation.as_str(), id.as_str()],
        view,
    )
}

/// One page of runs, newest first.
pub(super) fn list(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    page: &PageRequest,
) -> Result<Page<EvaluationRunView>, StoreError> {
    let ids = [tables.project.as_str(), simulation.as_str()].map(|id| id.to_owned().into());
    let order = Order { keys: &[CREATED_AT], direction: Direction::Descending };
    let candidates = Query::new("evaluation_runs", OF_SIMULATION, ids.to_vec()).candidates(
        tables.connection,
        RUN,
        &order,
        page,
    )?;
    lists::page(candidates, page, |inserted| {
        let sql = concat!("SELECT ", run_columns!(), " FROM evaluation_runs WHERE inserted = ?1");
        sql::one(tables.connection, RUN, sql, [inserted], view)
    })
}

pub(super) fn change(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &EvaluationRunId,
    mut decide: Decide<EvaluationRunView, EvaluationRunChange>,
) -> Result<Option<EvaluationRun>, ChangeError> {
    let Some(before) = get(tables, simulation, id)? else { return Ok(None) };
    let EvaluationRunChange { run, jobs } = decide(before.clone())?;
    if run != before.run {
        sql::execute(
            tables.connection,
            RUN,
            "UPDATE evaluation_runs SET body = ?2 WHERE id = ?1",
            params![id.as_str(), rows::json(RUN, &run)?],
        )?;
    }
    jobs::add(tables.connection, &jobs)?;
    Ok(Some(run))
}

/// Adds a result unless the run has one for that conversation. `false` if it was not added.
pub(super) fn add_result(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    run: &EvaluationRunId,
    result: &RunResult,
) -> Result<bool, StoreError> {
    let added = sql::execute(
        tables.connection,
        RESULT,
        "INSERT INTO run_results (run_id, conversation_id, failed, body)
         SELECT evaluation_runs.id, conversations.id, ?5, ?6
         FROM evaluation_runs
         JOIN simulations ON simulations.id = evaluation_runs.simulation_id
         JOIN conversations ON conversations.simulation_id = simulations.id
         WHERE evaluation_runs.id = ?3 AND simulations.id = ?2 AND simulations.project_id = ?1
             AND conversations.id = ?4
         ON CONFLICT (run_id, conversation_id) DO NOTHING",
        params![
            tables.project.as_str(),
            simulation.as_str(),
            run.as_str(),
            result.conversation_id.as_str(),
            result.outcomes.is_none(),
            rows::json(RESULT, result)?,
        ],
    )?;
    Ok(added == 1)
}

pub(super) fn result(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    run: &EvaluationRunId,
    conversation: &ConversationId,
) -> Result<Option<RunResult>, StoreError> {
    sql::one(
        tables.connection,
        RESULT,
        "SELECT run_results.body
         FROM run_results
         JOIN evaluation_runs ON evaluation_runs.id = run_results.run_id
         JOIN simulations ON simulations.id = evaluation_runs.simulation_id
         WHERE run_results.run_id = ?3 AND run_results.conversation_id = ?4
             AND simulations.id = ?2 AND simulations.project_id = ?1",
        [tables.project.as_str(), simulation.as_str(), run.as_str(), conversation.as_str()],
        |columns| columns.checked(rows::from_json),
    )
}

/// The results of a run, by id of their conversation, after one.
pub(super) fn results(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    run: &EvaluationRunId,
    after: Option<&ConversationId>,
    limit: u32,
) -> Result<Vec<RunResult>, StoreError> {
    sql::all(
        tables.connection,
        RESULT,
        "SELECT run_results.body
         FROM simulations
         JOIN evaluation_runs ON evaluation_runs.simulation_id = simulations.id
         JOIN run_results ON run_results.run_id = evaluation_runs.id
         WHERE simulations.id = ?2 AND simulations.project_id = ?1 AND evaluation_runs.id = ?3
             AND run_results.conversation_id > ?4
         ORDER BY run_results.conversation_id LIMIT ?5",
        params![
            tables.project.as_str(),
            simulation.as_str(),
            run.as_str(),
            after.map_or("", ConversationId::as_str),
            limit,
        ],
        |columns| columns.checked(rows::from_json),
    )
}

/// Stores the labels of a conversation in place of earlier ones. `false` if there is no such conversation.
pub(super) fn put_labels(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    labels: &ConversationLabels,
) -> Result<bool, StoreError> {
    let written = sql::execute(
        tables.connection,
        LABELS,
        "INSERT INTO labels (simulation_id, conversation_id, body)
         SELECT simulations.id, conversations.id, ?4
         FROM conversations JOIN simulations ON simulations.id = conversations.simulation_id
         WHERE conversations.id = ?3 AND simulations.id = ?2 AND simulations.project_id = ?1
         ON CONFLICT (simulation_id, conversation_id) DO UPDATE SET body = excluded.body",
        params![
            tables.project.as_str(),
            simulation.as_str(),
            labels.conversation_id.as_str(),
            rows::json(LABELS, labels)?,
        ],
    )?;
    Ok(written == 1)
}

pub(super) fn conversation_labels(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
) -> Result<Option<ConversationLabels>, StoreError> {
    sql::one(
        tables.connection,
        LABELS,
        "SELECT labels.body FROM labels JOIN simulations ON simulations.id = labels.simulation_id
         WHERE labels.conversation_id = ?3 AND simulations.id = ?2 AND simulations.project_id = ?1",
        [tables.project.as_str(), simulation.as_str(), conversation.as_str()],
        |columns| columns.checked(rows::from_json),
    )
}

/// The labels of a simulation's conversations, by id of the conversation, after one.
pub(super) fn labels(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    after: Option<&ConversationId>,
    limit: u32,
) -> Result<Vec<ConversationLabels>, StoreError> {
    sql::all(
        tables.connection,
        LABELS,
        "SELECT labels.body FROM labels JOIN simulations ON simulations.id = labels.simulation_id
         WHERE simulations.id = ?2 AND simulations.project_id = ?1 AND labels.conversation_id > ?3
         ORDER BY labels.conversation_id LIMIT ?4",
        params![
            tables.project.as_str(),
            simulation.as_str(),
            after.map_or("", ConversationId::as_str),
            limit,
        ],
        |columns| columns.checked(rows::from_json),
    )
}
