//! Simulations.

use jiff::Timestamp;
use onerun_domain::{Direction, Job, ObjectiveRef, Page, ProjectId, Simulation, SimulationId};
use onerun_store::{
    ChangeError, Decide, SimulationChange, SimulationDetail, SimulationList, SimulationOrder, SimulationView,
    StoreError,
};
use rusqlite::{Connection, params};

use super::projects::order as named_order;
use crate::{
    columns::Columns,
    idempotency, jobs,
    rows::{
        self, agent_columns, metadata_json, micros, objective_columns, progress_columns, simulation_columns,
    },
    sql::{self, Query, Scope},
};

/// Adds a simulation, what it pins, and jobs.
pub(super) fn insert(
    scope: &Scope<'_>,
    simulation: &Simulation,
    objectives: &[ObjectiveRef],
    jobs: &[Job],
) -> Result<(), StoreError> {
    insert_row(scope, simulation)?;
    sql::execute(
        scope.connection,
        "simulation",
        "INSERT INTO simulation_progress (simulation_id) VALUES (?1)",
        [simulation.id.as_str()],
    )?;
    for (objective, position) in objectives.iter().zip(0_u32..) {
        pin(scope, &simulation.id, position, objective)?;
    }
    jobs::add(scope.connection, jobs)
}

/// Pins an objective, which must be one of the same project.
fn pin(
    scope: &Scope<'_>,
    simulation: &SimulationId,
    position: u32,
    objective: &ObjectiveRef,
) -> Result<(), StoreError> {
    let pinned = sql::execute(
        scope.connection,
        "simulation's objective",
        "INSERT INTO simulation_objectives (simulation_id, position, objective_id, version)
         SELECT ?2, ?3, objectives.id, ?5 FROM objectives
         WHERE objectives.id = ?4 AND objectives.project_id = ?1",
        params![
            scope.project.as_str(),
            simulation.as_str(),
            position,
            objective.id.as_str(),
            objective.version,
        ],
    )?;
    sql::require_one(pinned, "simulation", "it names an objective that is not there")
}

/// Adds the row, whose agent must be one of the same project.
fn insert_row(scope: &Scope<'_>, simulation: &Simulation) -> Result<(), StoreError> {
    let inserted = sql::execute(
        scope.connection,
        "simulation",
        "INSERT INTO simulations
             (id, project_id, agent_id, name, name_folded, scenario, target_conversations, target_personas,
              max_turns, auto_approve, seed, metadata, status, last_failure_reason, created_at, updated_at,
              expires_at)
         SELECT ?1, agents.project_id, agents.id, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17
         FROM agents WHERE agents.id = ?3 AND agents.project_id = ?2",
        params![
            simulation.id.as_str(),
            scope.project.as_str(),
            simulation.agent_id.as_str(),
            simulation.name.as_str(),
            sql::fold(simulation.name.as_str()),
            simulation.scenario.as_str(),
            simulation.target_conversations.get(),
            simulation.target_personas.get(),
            simulation.max_turns.get(),
            simulation.auto_approve,
            sql::integer(simulation.seed.get()),
            metadata_json(&simulation.metadata)?,
            simulation.status.as_str(),
            simulation.last_failure_reason,
            micros(simulation.created_at),
            micros(simulation.updated_at),
            micros(simulation.expires_at),
        ],
    )?;
    sql::require_one(inserted, "simulation", "it names an agent that is not there")
}

/// One simulation with its agent and objectives.
pub(super) fn get(scope: &Scope<'_>, id: &SimulationId) -> Result<Option<SimulationDetail>, StoreError> {
    let found = sql::one(
        scope.connection,
        "simulation",
        concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            agent_columns!(),
            " FROM simulations JOIN agents ON agents.id = simulations.agent_id
              WHERE simulations.id = ?2 AND simulations.project_id = ?1"
        ),
        [scope.project.as_str(), id.as_str()],
        detail,
    )?;
    let Some(mut found) = found else { return Ok(None) };
    found.objectives = sql::all(
        scope.connection,
        "simulation's objective",
        concat!(
            "SELECT ",
            objective_columns!(),
            " FROM simulation_objectives AS pinned
              JOIN objectives ON objectives.id = pinned.objective_id
              JOIN objective_versions ON objective_versions.objective_id = pinned.objective_id
                  AND objective_versions.version = pinned.version
              WHERE pinned.simulation_id = ?1
              ORDER BY pinned.position"
        ),
        [id.as_str()],
        rows::objective,
    )?;
    Ok(Some(found))
}

/// One page of simulations.
pub(super) fn list(scope: &Scope<'_>, list: &SimulationList) -> Result<Page<SimulationDetail>, StoreError> {
    let rows = Query::new(candidates(list.order), vec![scope.project.as_str().to_owned().into()])
        .and("status = {}", list.status.map(|status| status.as_str().to_owned()))
        .and("agent_id = {}", list.agent_id.as_ref().map(|id| id.as_str().to_owned()))
        .and("instr(name_folded, {}) > 0", list.name.as_deref().map(sql::fold))
        .exactly(&list.exact)
        .page(scope.connection, "simulation", &order(list.order), list.page)?;
    let page = sql::rows_json(&rows.data);
    let mut data = sql::all(
        scope.connection,
        "simulation",
        concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            agent_columns!(),
            " FROM json_each(?1) AS page
              JOIN simulations ON simulations.inserted = page.value
              JOIN agents ON agents.id = simulations.agent_id
              ORDER BY page.key"
        ),
        [&page],
        detail,
    )?;
    attach_objectives(scope, &page, &mut data)?;
    Ok(Page { data, has_more: rows.has_more })
}

fn candidates(order: SimulationOrder) -> &'static str {
    match order {
        // The wait is looked up in `conversations_by_wait`, one step for each simulation.
        SimulationOrder::LongestWaiting => {
            "SELECT simulations.inserted,
                 (SELECT MIN(queued_at) FROM conversations
                  WHERE conversations.simulation_id = simulations.id AND conversations.status = 'queued')
                 AS waiting_since
             FROM simulations WHERE project_id = ?1"
        }
        _ => "SELECT simulations.inserted FROM simulations WHERE project_id = ?1",
    }
}

fn order(order: SimulationOrder) -> String {
    match order {
        SimulationOrder::CreatedAt(direction) => named_order(onerun_store::NamedSort::CreatedAt(direction)),
        SimulationOrder::Name(direction) => named_order(onerun_store::NamedSort::Name(direction)),
        SimulationOrder::Status(direction) => sql::order_by(&["status", "created_at", "inserted"], direction),
        SimulationOrder::LongestWaiting => {
            let newest = sql::order_by(&["created_at", "inserted"], Direction::Descending);
            format!("waiting_since ASC NULLS LAST, {newest}")
        }
    }
}

/// Reads the objectives of a whole page at once.
fn attach_objectives(
    scope: &Scope<'_>,
    page: &str,
    details: &mut [SimulationDetail],
) -> Result<(), StoreError> {
    let pinned = sql::all(
        scope.connection,
        "simulation's objective",
        concat!(
            "SELECT page.key, ",
            objective_columns!(),
            " FROM json_each(?1) AS page
              JOIN simulations ON simulations.inserted = page.value
              JOIN simulation_objectives AS pinned ON pinned.simulation_id = simulations.id
              JOIN objectives ON objectives.id = pinned.objective_id
              JOIN objective_versions ON objective_versions.objective_id = pinned.objective_id
                  AND objective_versions.version = pinned.version
              ORDER BY page.key, pinned.position"
        ),
        [page],
        |columns| Ok((columns.index()?, rows::objective(columns)?)),
    )?;
    for (index, objective) in pinned {
        if let Some(detail) = details.get_mut(index) {
            detail.objectives.push(objective);
        }
    }
    Ok(())
}

fn detail(columns: &mut Columns<'_>) -> Result<SimulationDetail, StoreError> {
    Ok(SimulationDetail {
        simulation: rows::simulation(columns)?,
        agent: rows::agent(columns)?,
        objectives: Vec::new(),
    })
}

/// What is decided about a simulation from.
pub(super) fn view(scope: &Scope<'_>, id: &SimulationId) -> Result<Option<SimulationView>, StoreError> {
    sql::one(
        scope.connection,
        "simulation",
        concat!(
            "SELECT ",
            simulation_columns!(),
            ", ",
            progress_columns!(),
            " FROM simulations JOIN simulation_progress ON simulation_progress.simulation_id = simulations.id
              WHERE simulations.id = ?2 AND simulations.project_id = ?1"
        ),
        [scope.project.as_str(), id.as_str()],
        |columns| {
            Ok(SimulationView { simulation: rows::simulation(columns)?, progress: rows::progress(columns)? })
        },
    )
}

/// Changes a simulation.
pub(super) fn change(
    scope: &Scope<'_>,
    id: &SimulationId,
    mut decide: Decide<SimulationView, SimulationChange>,
) -> Result<Option<Simulation>, ChangeError> {
    let Some(view) = view(scope, id)? else { return Ok(None) };
    let before = view.simulation.clone();
    let change = decide(view)?;
    if change.simulation != before {
        update(scope, id, &change.simulation)?;
    }
    jobs::add(scope.connection, &change.jobs)?;
    idempotency::insert(scope.connection, change.record.as_ref())?;
    Ok(Some(change.simulation))
}

fn update(scope: &Scope<'_>, id: &SimulationId, simulation: &Simulation) -> Result<(), StoreError> {
    sql::execute(
        scope.connection,
        "simulation",
        "UPDATE simulations
         SET name = ?2, name_folded = ?3, metadata = ?4, status = ?5, last_failure_reason = ?6,
             updated_at = ?7, expires_at = ?8
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
        ],
    )?;
    Ok(())
}

/// Simulations of all projects that are not over and past their expiry.
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
