//! Simulations.

use jiff::Timestamp;
use onerun_domain::{AgentId, Direction, Job, ObjectiveRef, Page, ProjectId, Simulation, SimulationId};
use onerun_store::{
    ChangeError, Decide, ListSimulations, SimulationChange, SimulationDetail, SimulationOrder,
    SimulationSummary, SimulationView, SortBy, StoreError,
};
use rusqlite::{Connection, params};

use super::projects::order as named_order;
use crate::{
    columns::{Columns, only_parsed},
    idempotency, jobs,
    lists::{self, CREATED_AT, Order, Query, SortKey},
    rows::{
        self, agent_columns, metadata_json, micros, objective_columns, progress_columns, simulation_columns,
    },
    sql::{self, ProjectTables},
};

/// Adds a simulation with its pinned objectives and jobs.
pub(super) fn insert(
    tables: &ProjectTables<'_>,
    simulation: &Simulation,
    objectives: &[ObjectiveRef],
    jobs: &[Job],
) -> Result<(), StoreError> {
    insert_row(tables, simulation)?;
    sql::execute(
        tables.connection,
        "simulation",
        "INSERT INTO simulation_progress (simulation_id) VALUES (?1)",
        [simulation.id.as_str()],
    )?;
    for (objective, position) in objectives.iter().zip(0_u32..) {
        pin(tables, &simulation.id, position, objective)?;
    }
    jobs::add(tables.connection, jobs)
}

/// Pins an objective. It must belong to the same project.
fn pin(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    position: u32,
    objective: &ObjectiveRef,
) -> Result<(), StoreError> {
    let pinned = sql::execute(
        tables.connection,
        "simulation's objective",
        "INSERT INTO simulation_objectives (simulation_id, position, objective_id, version)
         SELECT ?2, ?3, objectives.id, ?5 FROM objectives
         WHERE objectives.id = ?4 AND objectives.project_id = ?1",
        params![
            tables.project.as_str(),
            simulation.as_str(),
            position,
            objective.id.as_str(),
            objective.version,
        ],
    )?;
    sql::require_one(pinned, "simulation", "it names an unknown objective")
}

/// Adds the row. Its agent must belong to the same project.
fn insert_row(tables: &ProjectTables<'_>, simulation: &Simulation) -> Result<(), StoreError> {
    let inserted = sql::execute(
        tables.connection,
        "simulation",
        "INSERT INTO all_simulations
             (id, project_id, agent_id, name, name_folded, scenario, target_conversations, target_personas,
              max_turns, auto_approve, seed, options, metadata, status, last_failure_reason, created_at, updated_at,
              expires_at, transcripts_deleted_at)
         SELECT ?1, agents.project_id, agents.id, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                ?17, ?18, ?19
         FROM agents WHERE agents.id = ?3 AND agents.project_id = ?2",
        params![
            simulation.id.as_str(),
            tables.project.as_str(),
            simulation.agent_id.as_str(),
            simulation.name.as_str(),
            sql::fold(simulation.name.as_str()),
            simulation.scenario.as_str(),
            simulation.target_conversations.get(),
            simulation.target_personas.get(),
            simulation.max_turns.get(),
            simulation.auto_approve,
            sql::integer(simulation.seed.get()),
            rows::json("simulation's options", &simulation.options)?,
            metadata_json(&simulation.metadata)?,
            simulation.status.as_str(),
            simulation.last_failure_reason,
            micros(simulation.created_at),
            micros(simulation.updated_at),
            micros(simulation.expires_at),
            simulation.transcripts_deleted_at.map(micros),
        ],
    )?;
    sql::require_one(inserted, "simulation", "it names an unknown agent")
}

/// One simulation with its agent and objectives.
pub(super) fn get(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<Option<SimulationDetail>, StoreError> {
    let found = sql::one(
        tables.connection,
        "simulation",
        concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            agent_columns!(),
            " FROM simulations JOIN agents ON agents.id = simulations.agent_id
              WHERE simulations.id = ?2 AND simulations.project_id = ?1"
        ),
        [tables.project.as_str(), id.as_str()],
        detail,
    )?;
    let Some(mut found) = found else { return Ok(None) };
    // A pinned objective that is lost is an error, not one objective less.
    found.objectives = sql::all(
        tables.connection,
        "simulation's objective",
        concat!(
            "SELECT ",
            objective_columns!(),
            " FROM simulation_objectives AS pinned
              LEFT JOIN objectives ON objectives.id = pinned.objective_id
              LEFT JOIN objective_versions ON objective_versions.objective_id = pinned.objective_id
                  AND objective_versions.version = pinned.version
              WHERE pinned.simulation_id = ?1
              ORDER BY pinned.position"
        ),
        [id.as_str()],
        rows::objective,
    )?;
    Ok(Some(found))
}

/// The condition on rows of a table that belong to one simulation: the project is `?1`, the simulation `?2`.
pub(super) const OF_SIMULATION: &str =
    "EXISTS (SELECT 1 FROM simulations WHERE id = ?2 AND project_id = ?1) AND simulation_id = ?2";

pub(super) fn list(
    tables: &ProjectTables<'_>,
    list: &ListSimulations,
) -> Result<Page<SimulationSummary>, StoreError> {
    let of_project = vec![tables.project.as_str().to_owned().into()];
    let candidates = Query::new("simulations", "project_id = ?1", of_project)
        .and("status = {}", list.status.map(|status| status.as_str().to_owned()))
        .and("agent_id = {}", list.agent_id.as_ref().map(|id| id.as_str().to_owned()))
        .and("batch_id = {}", list.batch_id.as_ref().map(|id| id.as_str().to_owned()))
        .and("monitor_id = {}", list.monitor_id.as_ref().map(|id| id.as_str().to_owned()))
        .and("created_at > {}", list.created.after.map(micros))
        .and("created_at < {}", list.created.before.map(micros))
        .and("instr(name_folded, {}) > 0", list.name.as_deref().map(sql::fold))
        .exactly(&list.exact)
        .candidates(tables.connection, "simulation", &order(list.order), &list.page)?;
    lists::page(candidates, &list.page, |inserted| {
        let sql = concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            agent_columns!("NULL", "NULL"),
            " FROM simulations JOIN agents ON agents.id = simulations.agent_id
              WHERE simulations.inserted = ?1"
        );
        sql::one(tables.connection, "simulation", sql, [inserted], |columns| {
            Ok(SimulationSummary { simulation: rows::simulation(columns)?, agent: rows::agent(columns)? })
        })
    })
}

/// Running simulations of these agents with a queued conversation, longest waiting first.
pub(super) fn longest_waiting(
    tables: &ProjectTables<'_>,
    agents: &[AgentId],
    limit: u32,
) -> Result<Vec<SimulationId>, StoreError> {
    let (SortKey::Integer(wait) | SortKey::Text(wait)) = WAIT;
    let agents = rows::json("agents", &agents)?;
    let sql = format!(
        "SELECT id FROM simulations
         WHERE project_id = ?1 AND status = 'in_progress' AND agent_id IN (SELECT value FROM json_each(?2))
             AND EXISTS (SELECT 1 FROM conversations
                         WHERE conversations.simulation_id = simulations.id AND conversations.status = 'queued')
         ORDER BY {wait} DESC, created_at DESC, inserted DESC LIMIT ?3"
    );
    sql::all(
        tables.connection,
        "simulation",
        &sql,
        params![tables.project.as_str(), agents, limit],
        only_parsed,
    )
}

/// [`SimulationOrder::LongestWaiting`] in descending order, with simulations without a queued conversation last. The
/// conversation is looked up in `conversations_by_wait`, one step for each simulation. `TURN_SLICE` is 10,000,000 and
/// `MAX_TURN_DELAY` 3,600,000,000 microseconds.
const WAIT: SortKey = SortKey::Integer(
    "-IFNULL((SELECT queued_at + MIN(seq * 10000000, 3600000000) FROM conversations
              WHERE conversations.simulation_id = simulations.id AND conversations.status = 'queued'
              ORDER BY queued_at, inserted LIMIT 1),
             9223372036854775807)",
);

fn order(order: SimulationOrder) -> Order {
    match order {
        SimulationOrder::CreatedAt(direction) => named_order(SortBy::CreatedAt(direction)),
        SimulationOrder::Name(direction) => named_order(SortBy::Name(direction)),
        SimulationOrder::Status(direction) => {
            Order { keys: &[SortKey::Text("status"), CREATED_AT], direction }
        }
        SimulationOrder::LongestWaiting => {
            Order { keys: &[WAIT, CREATED_AT], direction: Direction::Descending }
        }
    }
}

fn detail(columns: &mut Columns<'_>) -> Result<SimulationDetail, StoreError> {
    Ok(SimulationDetail {
        simulation: rows::simulation(columns)?,
        agent: rows::agent(columns)?,
        objectives: Vec::new(),
    })
}

/// Reads the state for a decision about a simulation.
pub(super) fn view(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
) -> Result<Option<SimulationView>, StoreError> {
    sql::one(
        tables.connection,
        "simulation",
        concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            progress_columns!(),
            " FROM simulations JOIN simulation_progress ON simulation_progress.simulation_id = simulations.id
              WHERE simulations.id = ?2 AND simulations.project_id = ?1"
        ),
        [tables.project.as_str(), id.as_str()],
        |columns| {
            Ok(SimulationView { simulation: rows::simulation(columns)?, progress: rows::progress(columns)? })
        },
    )
}

pub(super) fn change(
    tables: &ProjectTables<'_>,
    id: &SimulationId,
    mut decide: Decide<SimulationView, SimulationChange>,
) -> Result<Option<Simulation>, ChangeError> {
    let Some(view) = view(tables, id)? else { return Ok(None) };
    let before = view.simulation.clone();
    let change = decide(view)?;
    if change.simulation != before {
        update(tables, id, &change.simulation)?;
    }
    jobs::add(tables.connection, &change.jobs)?;
    idempotency::insert(tables.connection, change.record.as_ref())?;
    Ok(Some(change.simulation))
}

fn update(tables: &ProjectTables<'_>, id: &SimulationId, simulation: &Simulation) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "simulation",
        "UPDATE all_simulations
         SET name = ?2, name_folded = ?3, metadata = ?4, status = ?5, last_failure_reason = ?6,
             updated_at = ?7, expires_at = ?8, transcripts_deleted_at = ?9
         WHERE id = ?1",
        params![
            id.as_str(),
            simulation.name.as_str(),
            sql::fold(simulation.name.as_str()),
            metadata_json(&simulation.metadata)?,
            simulation.status.as_str(),
            simulation.last_failure_reason,
            micros(simulation.updated_at),
            micros(simulation.expires_at),
            simulation.transcripts_deleted_at.map(micros),
        ],
    )?;
    Ok(())
}

/// Simulations of all projects that are pending or running and past their expiry.
pub(crate) fn overdue(
    connection: &Connection,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    sql::all(
        connection,
        "simulation",
        "SELECT project_id, id FROM simulations
         WHERE status IN ('pending', 'in_progress') AND expires_at <= ?1
         ORDER BY expires_at LIMIT ?2",
        params![micros(now), limit],
        |columns| Ok((columns.parsed()?, columns.parsed()?)),
    )
}

/// Simulations of all projects that ended at or before `ended_by` and whose transcripts are not deleted.
pub(crate) fn with_old_transcripts(
    connection: &Connection,
    limit: u32,
    ended_by: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    sql::all(
        connection,
        "simulation",
        // The condition is that of the index `simulations_by_end`.
        "SELECT project_id, id FROM simulations
         WHERE transcripts_deleted_at IS NULL AND status IN ('completed', 'failed', 'canceled', 'expired')
             AND updated_at <= ?1
         ORDER BY updated_at LIMIT ?2",
        params![micros(ended_by), limit],
        |columns| Ok((columns.parsed()?, columns.parsed()?)),
    )
}

#[cfg(test)]
mod tests {
    use onerun_store::{MAX_TURN_DELAY, TURN_SLICE};

    use super::*;

    #[test]
    fn sort_key_has_the_turn_slice_and_its_limit() {
        let SortKey::Integer(key) = WAIT else { panic!("not an integer") };
        let expected = format!("MIN(seq * {}, {})", TURN_SLICE.as_micros(), MAX_TURN_DELAY.as_micros());
        assert!(key.contains(&expected), "{key}");
    }
}
