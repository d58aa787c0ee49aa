//! Conversations.

use jiff::Timestamp;
use onerun_domain::{
    AgentId, Conversation, ConversationId, ConversationStatus, Direction, EndReason, Evaluation,
    EvaluationStatus, FaultSeverity, Job, Name, Page, Persona, ProjectId, Score, Simulation, SimulationId,
    Work,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationSummary, ConversationView, CountedOutcome, Decide,
    EvaluatedConversation, ListConversations, QueuedConversation, SimulationQueue, StoreError, take_turns,
    turn_at,
};
use rusqlite::{Connection, params};

use super::{
    simulations::{self, OF_SIMULATION},
    transcripts,
};
use crate::{
    columns::{Columns, only, only_parsed},
    idempotency, jobs,
    lists::{self, CREATED_AT, Order, Query, SortKey},
    rows::{
        self, conversation_columns, ended_attempts_json, evaluation_columns, micros, objective_columns,
        persona_columns, simulation_columns,
    },
    sql::{self, ProjectTables},
};

/// The tables of `evaluation_columns!` and `objective_columns!` for one conversation. An evaluation whose objective
/// is lost is an error, not one evaluation less.
macro_rules! evaluation_tables {
    () => {
        " FROM conversations
          JOIN evaluations ON evaluations.conversation_id = conversations.id
              AND evaluations.attempt = conversations.attempt
          LEFT JOIN objectives ON objectives.id = evaluations.objective_id
          LEFT JOIN objective_versions ON objective_versions.objective_id = evaluations.objective_id
              AND objective_versions.version = evaluations.objective_version
          LEFT JOIN simulation_objectives AS pinned ON pinned.simulation_id = conversations.simulation_id
              AND pinned.objective_id = evaluations.objective_id
              AND pinned.version = evaluations.objective_version
          WHERE conversations.inserted = ?1
          ORDER BY pinned.position"
    };
}
/// Adds the conversations whose numbers are free.
pub(super) fn add(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    conversations: &[Conversation],
) -> Result<(), ChangeError> {
    let view = simulations::view(tables, simulation)?.ok_or_else(|| StoreError::Corrupt {
        what: "simulation",
        reason: "conversations were added to an unknown one".into(),
    })?;
    view.simulation.require_running()?;
    for conversation in conversations {
        insert(tables, simulation, conversation)?;
    }
    Ok(())
}

fn insert(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    conversation: &Conversation,
) -> Result<(), StoreError> {
    let (token, claimed_until) = turn_claim(conversation);
    sql::execute(
        tables.connection,
        "conversation",
        "INSERT INTO conversations
             (id, simulation_id, persona_id, seq, status, end_reason, evaluation_status, attempt, item_count,
              lease_expires_at, turn_token, turn_expires_at, queued_at, settled, created_at, updated_at,
              ended_attempts, persona_faults, worst_fault)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
         ON CONFLICT (simulation_id, seq) DO NOTHING",
        params![
            conversation.id.as_str(),
            simulation.as_str(),
            conversation.persona_id.as_str(),
            conversation.seq,
            conversation.status.as_str(),
            conversation.end_reason.map(EndReason::as_str),
            conversation.evaluation_status.as_str(),
            conversation.attempt,
            conversation.item_count,
            conversation.lease_expires_at.map(micros),
            token,
            claimed_until,
            micros(conversation.queued_at),
            conversation.is_settled(),
            micros(conversation.created_at),
            micros(conversation.updated_at),
            ended_attempts_json(&conversation.ended_attempts),
            rows::json("conversation", &conversation.persona_faults)?,
            conversation.worst_fault().map(FaultSeverity::as_str),
        ],
    )?;
    Ok(())
}

fn turn_claim(conversation: &Conversation) -> (Option<&str>, Option<i64>) {
    conversation.turn.as_ref().map(|claim| (claim.token.as_str(), micros(claim.expires_at))).unzip()
}

/// One conversation with its persona and evaluations.
pub(super) fn get(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &ConversationId,
) -> Result<Option<EvaluatedConversation>, StoreError> {
    let inserted = sql::one(
        tables.connection,
        "conversation",
        "SELECT conversations.inserted
         FROM conversations JOIN simulations ON simulations.id = conversations.simulation_id
         WHERE conversations.id = ?3 AND conversations.simulation_id = ?2 AND simulations.project_id = ?1",
        [tables.project.as_str(), simulation.as_str(), id.as_str()],
        only,
    )?;
    let Some(inserted) = inserted else { return Ok(None) };
    let Some((conversation, persona)) = held(tables, inserted)? else { return Ok(None) };
    let evaluations = evaluations(
        tables,
        inserted,
        concat!("SELECT ", evaluation_columns!(), ", ", objective_columns!(), evaluation_tables!()),
        |columns| Ok((rows::evaluation(columns)?, rows::objective(columns)?)),
    )?;
    Ok(Some(EvaluatedConversation { conversation, persona, evaluations }))
}

/// The condition on conversations that are counted.
const COUNTED: &str =
    "status = 'ended' AND evaluation_status = 'completed' AND worst_fault IS NOT 'critical'";

/// The condition on an outcome of an objective: its id and the outcome.
const OUTCOME_OF_OBJECTIVE: &str = "EXISTS (SELECT 1 FROM evaluations
    WHERE evaluations.conversation_id = conversations.id AND evaluations.attempt = conversations.attempt
        AND objective_id || ' ' || outcome = {})";

/// The condition on the outcome of a conversation, which is combined as
/// [`Outcome::all`](onerun_domain::Outcome::all) does.
const OUTCOME_OF_CONVERSATION: &str = "(SELECT CASE WHEN TOTAL(outcome = 'failed') > 0 THEN 'failed'
                     WHEN TOTAL(outcome = 'inconclusive') > 0 OR COUNT(*) = 0 THEN 'inconclusive'
                     ELSE 'passed' END
         FROM evaluations WHERE evaluations.conversation_id = conversations.id
             AND evaluations.attempt = conversations.attempt) = {}";

/// One page of conversations.
pub(super) fn list(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    list: &ListConversations,
) -> Result<Page<ConversationSummary>, StoreError> {
    let (condition, status, order) = match list.status {
        // The status is part of the statement, so that SQLite can use `conversations_by_wait`.
        Some(ConversationStatus::Queued) => (
            format!("{OF_SIMULATION} AND status = 'queued'"),
            None,
            Order { keys: &[SortKey::Integer("queued_at")], direction: Direction::Ascending },
        ),
        status => (
            OF_SIMULATION.to_owned(),
            status,
            Order { keys: &[CREATED_AT], direction: Direction::Descending },
        ),
    };
    let condition = if list.outcome.is_some() { format!("{condition} AND {COUNTED}") } else { condition };
    let (outcome, value) = match &list.outcome {
        None => (OUTCOME_OF_CONVERSATION, None),
        Some(CountedOutcome { outcome, objective: None }) => {
            (OUTCOME_OF_CONVERSATION, Some(outcome.as_str().to_owned()))
        }
        Some(CountedOutcome { outcome, objective: Some(objective) }) => {
            (OUTCOME_OF_OBJECTIVE, Some(format!("{objective} {}", outcome.as_str())))
        }
    };
    let ids = [tables.project.as_str(), simulation.as_str()].map(|id| id.to_owned().into());
    let candidates = Query::new("conversations", &condition, ids.to_vec())
        .and("status = {}", status.map(|status| status.as_str().to_owned()))
        .and(outcome, value)
        .candidates(tables.connection, "conversation", &order, &list.page)?;
    lists::page(candidates, &list.page, |inserted| {
        let Some((conversation, persona)) = held(tables, inserted)? else { return Ok(None) };
        let evaluations = evaluations(
            tables,
            inserted,
            concat!("SELECT ", evaluation_columns!(), ", objective_versions.name", evaluation_tables!()),
            |columns| Ok((rows::evaluation(columns)?, columns.checked(Name::parse)?)),
        )?;
        Ok(Some(ConversationSummary { conversation, persona, evaluations }))
    })
}

/// A conversation and its persona.
fn held(tables: &ProjectTables<'_>, inserted: i64) -> Result<Option<(Conversation, Persona)>, StoreError> {
    sql::one(
        tables.connection,
        "conversation",
        concat!(
            "SELECT ",
            conversation_columns!(),
            ", ",
            persona_columns!(),
            " FROM conversations JOIN personas ON personas.id = conversations.persona_id
              WHERE conversations.inserted = ?1"
        ),
        [inserted],
        |columns| Ok((rows::conversation(columns)?, rows::persona(columns)?)),
    )
}

/// The evaluations of a conversation's current attempt, in the order of the simulation's
/// objectives.
fn evaluations<T>(
    tables: &ProjectTables<'_>,
    inserted: i64,
    sql: &str,
    read: impl FnMut(&mut Columns<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    sql::all(tables.connection, "evaluation", sql, [inserted], read)
}

/// Queued conversations of running simulations of these agents. Simulations take turns.
pub(super) fn queued(
    tables: &ProjectTables<'_>,
    agents: &[AgentId],
    limit: u32,
) -> Result<Vec<QueuedConversation>, StoreError> {
    // Each of them has a conversation that comes before those of all later ones.
    let simulations = simulations::longest_waiting(tables, agents, limit)?;
    let queue = |simulation: SimulationId| {
        let conversations = sql::all(
            tables.connection,
            "conversation",
            "SELECT id, queued_at, seq FROM conversations
             WHERE simulation_id = ?1 AND status = 'queued' ORDER BY queued_at, inserted LIMIT ?2",
            params![simulation.as_str(), limit],
            |columns| {
                let (id, queued_at, seq) = (columns.parsed()?, columns.value()?, columns.value()?);
                Ok((turn_at(queued_at, seq), id))
            },
        )?;
        Ok(SimulationQueue { simulation, conversations: conversations.into() })
    };
    let queues: Result<Vec<_>, StoreError> = simulations.into_iter().map(queue).collect();
    Ok(take_turns(queues?, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// The ids of conversations that are not settled.
pub(super) fn unsettled(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    limit: u32,
) -> Result<Vec<ConversationId>, StoreError> {
    sql::all(
        tables.connection,
        "conversation",
        "SELECT id FROM conversations
         WHERE EXISTS (SELECT 1 FROM simulations WHERE id = ?2 AND project_id = ?1)
           AND simulation_id = ?2 AND settled = 0
         ORDER BY inserted LIMIT ?3",
        params![tables.project.as_str(), simulation.as_str(), limit],
        only_parsed,
    )
}

pub(super) fn change(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &ConversationId,
    mut decide: Decide<ConversationView, ConversationChange>,
) -> Result<Option<Conversation>, ChangeError> {
    let Some(view) = view(tables, simulation, id)? else { return Ok(None) };
    let before = view.clone();
    let change = decide(view)?;
    if let Some(key) = &change.unless_replied
        && transcripts::turn(tables, simulation, id, key)?.is_some()
    {
        return Err(StoreError::Duplicate { what: "turn" }.into());
    }
    if let Some(turn) = &change.turn {
        transcripts::insert_turn(tables, id, turn)?;
    }
    transcripts::append(tables, &before.conversation, &change.items)?;
    if change.conversation != before.conversation {
        update(tables, id, &change.conversation)?;
    }
    for evaluation in &change.evaluations {
        insert_evaluation(tables, id, evaluation)?;
    }
    if change.conversation.is_settled() && !before.conversation.is_settled() {
        count_settled(tables, &before.simulation, &change.conversation)?;
    }
    jobs::add(tables.connection, &change.jobs)?;
    idempotency::insert(tables.connection, change.record.as_ref())?;
    Ok(Some(change.conversation))
}

fn view(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &ConversationId,
) -> Result<Option<ConversationView>, StoreError> {
    sql::one(
        tables.connection,
        "conversation",
        concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            conversation_columns!(),
            " FROM conversations JOIN simulations ON simulations.id = conversations.simulation_id
              WHERE conversations.id = ?3 AND conversations.simulation_id = ?2
                  AND simulations.project_id = ?1"
        ),
        [tables.project.as_str(), simulation.as_str(), id.as_str()],
        |columns| {
            Ok(ConversationView {
                simulation: rows::simulation(columns)?,
                conversation: rows::conversation(columns)?,
            })
        },
    )
}

/// Updates the columns of a conversation that can change.
fn update(
    tables: &ProjectTables<'_>,
    id: &ConversationId,
    conversation: &Conversation,
) -> Result<(), StoreError> {
    let (token, claimed_until) = turn_claim(conversation);
    sql::execute(
        tables.connection,
        "conversation",
        "UPDATE conversations
         SET status = ?2, end_reason = ?3, evaluation_status = ?4, attempt = ?5, item_count = ?6,
             lease_expires_at = ?7, turn_token = ?8, turn_expires_at = ?9, queued_at = ?10, settled = ?11,
             updated_at = ?12, ended_attempts = ?13, persona_faults = ?14, worst_fault = ?15
         WHERE id = ?1",
        params![
            id.as_str(),
            conversation.status.as_str(),
            conversation.end_reason.map(EndReason::as_str),
            conversation.evaluation_status.as_str(),
            conversation.attempt,
            conversation.item_count,
            conversation.lease_expires_at.map(micros),
            token,
            claimed_until,
            micros(conversation.queued_at),
            conversation.is_settled(),
            micros(conversation.updated_at),
            ended_attempts_json(&conversation.ended_attempts),
            rows::json("conversation", &conversation.persona_faults)?,
            conversation.worst_fault().map(FaultSeverity::as_str),
        ],
    )?;
    Ok(())
}

/// Records an evaluation. Its objective must belong to the same project.
fn insert_evaluation(
    tables: &ProjectTables<'_>,
    id: &ConversationId,
    evaluation: &Evaluation,
) -> Result<(), StoreError> {
    let inserted = sql::execute(
        tables.connection,
        "evaluation",
        "INSERT INTO evaluations
             (conversation_id, attempt, objective_id, objective_version, id, judge, prompt_hash, outcome, score,
              reason, quotes, details, created_at)
         SELECT ?2, ?3, objectives.id, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14 FROM objectives
         WHERE objectives.id = ?4 AND objectives.project_id = ?1",
        params![
            tables.project.as_str(),
            id.as_str(),
            evaluation.attempt,
            evaluation.objective.id.as_str(),
            evaluation.objective.version,
            evaluation.id.as_str(),
            evaluation.judge,
            evaluation.prompt_hash,
            evaluation.outcome.as_str(),
            evaluation.score.map(Score::get),
            evaluation.reason,
            rows::quotes_json(&evaluation.quotes),
            rows::json("evaluation", &evaluation.details)?,
            micros(evaluation.created_at),
        ],
    )?;
    sql::require_one(inserted, "evaluation", "it names an unknown objective")
}

/// Counts a conversation that was just settled. The last one enqueues the end of the simulation.
fn count_settled(
    tables: &ProjectTables<'_>,
    simulation: &Simulation,
    conversation: &Conversation,
) -> Result<(), StoreError> {
    let failed = conversation.status == ConversationStatus::Failed;
    let unjudged = !failed && conversation.evaluation_status == EvaluationStatus::Failed;
    let settled: Option<u32> = sql::one(
        tables.connection,
        "simulation",
        "UPDATE simulation_progress
         SET settled = settled + 1, conversations_failed = conversations_failed + ?2,
             evaluations_failed = evaluations_failed + ?3
         WHERE simulation_id = ?1 RETURNING settled",
        params![simulation.id.as_str(), failed, unjudged],
        only,
    )?;
    if settled != Some(simulation.target_conversations.get()) {
        return Ok(());
    }
    let work = Work::FinishSimulation { simulation: simulation.id.clone() };
    jobs::add(tables.connection, &[Job::new(tables.project.clone(), work)])
}

/// Conversations of all projects with an expired lease and no turn in progress.
pub(crate) fn overdue(
    connection: &Connection,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId, ConversationId)>, StoreError> {
    sql::all(
        connection,
        "conversation",
        "SELECT simulations.project_id, conversations.simulation_id, conversations.id
         FROM conversations JOIN simulations ON simulations.id = conversations.simulation_id
         WHERE conversations.status = 'in_progress' AND conversations.lease_expires_at <= ?1
           AND (conversations.turn_expires_at IS NULL OR conversations.turn_expires_at <= ?1)
         ORDER BY conversations.lease_expires_at LIMIT ?2",
        params![micros(now), limit],
        |columns| Ok((columns.parsed()?, columns.parsed()?, columns.parsed()?)),
    )
}
