//! Personas.

use onerun_domain::{
    Direction, Job, Page, PageRequest, Persona, PersonaDraft, PersonaId, Simulation, SimulationId,
};
use onerun_store::{ChangeError, Decide, PersonaChange, StoreError};
use rusqlite::params;

use super::simulations::{self, OF_SIMULATION};
use crate::{
    columns::only,
    jobs,
    lists::{self, CREATED_AT, Order, Query},
    rows::{self, metadata_json, micros, persona_columns},
    sql::{self, ProjectTables},
};

const EXPLICIT: &str = "explicit personas";

/// Adds a persona and its jobs, unless its simulation has a persona with that number or belongs to
/// another project.
pub(super) fn add(tables: &ProjectTables<'_>, persona: &Persona, jobs: &[Job]) -> Result<bool, StoreError> {
    let added = sql::execute(
        tables.connection,
        "persona",
        "INSERT INTO personas
             (id, simulation_id, seq, approval, summary, story, purpose, attributes, metadata, created_at,
              updated_at)
         SELECT ?3, simulations.id, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12
         FROM simulations WHERE simulations.id = ?2 AND simulations.project_id = ?1
         ON CONFLICT (simulation_id, seq) DO NOTHING",
        params![
            tables.project.as_str(),
            persona.simulation_id.as_str(),
            persona.id.as_str(),
            persona.seq,
            persona.approval.as_str(),
            persona.summary,
            persona.story,
            persona.purpose,
            rows::json("persona", &persona.attributes)?,
            metadata_json(&persona.metadata)?,
            micros(persona.created_at),
            micros(persona.updated_at),
        ],
    )?;
    if added == 0 {
        return Ok(false);
    }
    jobs::add(tables.connection, jobs)?;
    Ok(true)
}

/// Adds the personas that the caller of a new simulation wrote.
pub(super) fn insert_explicit(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    drafts: &[PersonaDraft],
) -> Result<(), StoreError> {
    if !drafts.is_empty() {
        sql::execute(
            tables.connection,
            EXPLICIT,
            "INSERT INTO explicit_personas (simulation_id, body) VALUES (?1, ?2)",
            params![simulation.as_str(), rows::json(EXPLICIT, &drafts)?],
        )?;
    }
    Ok(())
}

pub(super) fn explicit(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
) -> Result<Vec<PersonaDraft>, StoreError> {
    let found = sql::one(
        tables.connection,
        EXPLICIT,
        "SELECT explicit_personas.body FROM explicit_personas
         JOIN simulations ON simulations.id = explicit_personas.simulation_id
         WHERE simulations.id = ?2 AND simulations.project_id = ?1",
        [tables.project.as_str(), simulation.as_str()],
        |columns| columns.checked(rows::from_json),
    )?;
    Ok(found.unwrap_or_default())
}

pub(super) fn get(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &PersonaId,
) -> Result<Option<Persona>, StoreError> {
    sql::one(
        tables.connection,
        "persona",
        concat!(
            "SELECT ",
            persona_columns!(),
            " FROM personas JOIN simulations ON simulations.id = personas.simulation_id
              WHERE personas.id = ?3 AND personas.simulation_id = ?2 AND simulations.project_id = ?1"
        ),
        [tables.project.as_str(), simulation.as_str(), id.as_str()],
        rows::persona,
    )
}

/// The taken numbers, from `first` on.
pub(super) fn seqs(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    first: u32,
    limit: u32,
) -> Result<Vec<u32>, StoreError> {
    sql::all(
        tables.connection,
        "persona",
        "SELECT personas.seq FROM simulations JOIN personas ON personas.simulation_id = simulations.id
         WHERE simulations.id = ?2 AND simulations.project_id = ?1 AND personas.seq >= ?3
         ORDER BY personas.seq LIMIT ?4",
        params![tables.project.as_str(), simulation.as_str(), first, limit],
        only,
    )
}

pub(super) fn list(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    page: &PageRequest,
) -> Result<Page<Persona>, StoreError> {
    let ids = [tables.project.as_str(), simulation.as_str()].map(|id| id.to_owned().into());
    let order = Order { keys: &[CREATED_AT], direction: Direction::Descending };
    let candidates = Query::new("personas", OF_SIMULATION, ids.to_vec()).candidates(
        tables.connection,
        "persona",
        &order,
        page,
    )?;
    lists::page(candidates, page, |inserted| {
        let sql = concat!("SELECT ", persona_columns!(), " FROM personas WHERE inserted = ?1");
        sql::one(tables.connection, "persona", sql, [inserted], rows::persona)
    })
}

pub(super) fn change(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    id: &PersonaId,
    mut decide: Decide<(Simulation, Persona), PersonaChange>,
) -> Result<Option<Persona>, ChangeError> {
    let Some(view) = simulations::view(tables, simulation)? else { return Ok(None) };
    let Some(before) = get(tables, simulation, id)? else { return Ok(None) };
    let change = decide((view.simulation, before.clone()))?;
    if change.persona != before {
        update(tables, id, &change.persona)?;
    }
    jobs::add(tables.connection, &change.jobs)?;
    Ok(Some(change.persona))
}

fn update(tables: &ProjectTables<'_>, id: &PersonaId, persona: &Persona) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "persona",
        "UPDATE personas
         SET approval = ?2, summary = ?3, story = ?4, purpose = ?5, attributes = ?6, metadata = ?7,
             updated_at = ?8
         WHERE id = ?1",
        params![
            id.as_str(),
            persona.approval.as_str(),
            persona.summary,
            persona.story,
            persona.purpose,
            rows::json("persona", &persona.attributes)?,
            metadata_json(&persona.metadata)?,
            micros(persona.updated_at),
        ],
    )?;
    Ok(())
}
