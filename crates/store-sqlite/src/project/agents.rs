//! Agents.

use jiff::Timestamp;
use onerun_domain::{Agent, AgentId, Description, Page};
use onerun_store::{AgentSummary, ChangeError, Decide, ListAgents, StoreError};
use rusqlite::params;

use super::projects::order;
use crate::{
    columns::Columns,
    lists::{self, Query},
    rows::{self, agent_columns, metadata_json, micros},
    sql::{self, ProjectTables},
};

macro_rules! summary_columns {
    () => {
        concat!(
            agent_columns!(),
            ", (SELECT COUNT(*) FROM simulations
                WHERE simulations.project_id = agents.project_id AND simulations.agent_id = agents.id)"
        )
    };
}

fn summary(columns: &mut Columns<'_>) -> Result<AgentSummary, StoreError> {
    Ok(AgentSummary { agent: rows::agent(columns)?, total_simulations: columns.number()? })
}

pub(super) fn insert(tables: &ProjectTables<'_>, agent: &Agent) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "agent",
        "INSERT INTO agents
             (id, project_id, name, name_folded, description, metadata, created_at, updated_at, archived_at,
              endpoint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            agent.id.as_str(),
            tables.project.as_str(),
            agent.name.as_str(),
            sql::fold(agent.name.as_str()),
            agent.description.as_ref().map(Description::as_str),
            metadata_json(&agent.metadata)?,
            micros(agent.created_at),
            micros(agent.updated_at),
            agent.archived_at.map(micros),
            endpoint_json(agent)?,
        ],
    )?;
    Ok(())
}

pub(super) fn get(tables: &ProjectTables<'_>, id: &AgentId) -> Result<Option<AgentSummary>, StoreError> {
    sql::one(
        tables.connection,
        "agent",
        concat!("SELECT ", summary_columns!(), " FROM agents WHERE id = ?2 AND project_id = ?1"),
        [tables.project.as_str(), id.as_str()],
        summary,
    )
}

pub(super) fn list(tables: &ProjectTables<'_>, list: &ListAgents) -> Result<Page<AgentSummary>, StoreError> {
    let candidates = Query::new("agents", "project_id = ?1", vec![tables.project.as_str().to_owned().into()])
        .and("(archived_at IS NOT NULL) = {}", Some(list.archived))
        .and("instr(name_folded, {}) > 0", list.name.as_deref().map(sql::fold))
        .exactly(&list.exact)
        .candidates(tables.connection, "agent", &order(list.sort), &list.page)?;
    lists::page(candidates, &list.page, |inserted| {
        let sql = concat!("SELECT ", summary_columns!(), " FROM agents WHERE inserted = ?1");
        sql::one(tables.connection, "agent", sql, [inserted], summary)
    })
}

pub(super) fn change(
    tables: &ProjectTables<'_>,
    id: &AgentId,
    mut decide: Decide<Agent, Agent>,
) -> Result<Option<AgentSummary>, ChangeError> {
    let Some(before) = get(tables, id)? else { return Ok(None) };
    let agent = decide(before.agent.clone())?;
    if agent != before.agent {
        sql::execute(
            tables.connection,
            "agent",
            "UPDATE agents SET name = ?2, name_folded = ?3, description = ?4, metadata = ?5, updated_at = ?6,
                 archived_at = ?7, endpoint = ?8
             WHERE id = ?1",
            params![
                id.as_str(),
                agent.name.as_str(),
                sql::fold(agent.name.as_str()),
                agent.description.as_ref().map(Description::as_str),
                metadata_json(&agent.metadata)?,
                micros(agent.updated_at),
                agent.archived_at.map(micros),
                endpoint_json(&agent)?,
            ],
        )?;
    }
    Ok(Some(AgentSummary { agent, ..before }))
}

fn endpoint_json(agent: &Agent) -> Result<Option<String>, StoreError> {
    agent.endpoint.as_ref().map(|endpoint| rows::json("agent", endpoint)).transpose()
}

/// Stores when a worker asked for an agent's work.
pub(super) fn note_poll(tables: &ProjectTables<'_>, id: &AgentId, at: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "agent",
        "UPDATE agents SET last_polled_at = ?3
         WHERE id = ?2 AND project_id = ?1 AND (last_polled_at IS NULL OR last_polled_at < ?3)",
        params![tables.project.as_str(), id.as_str(), micros(at)],
    )?;
    Ok(())
}
