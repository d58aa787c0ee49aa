//! Agents.

use jiff::Timestamp;
use onerun_domain::{Agent, AgentId, Page};
use onerun_store::{AgentSummary, ChangeError, Decide, IdempotencyRecord, ListAgents, StoreError};

use crate::{
    database::Written,
    entries::{named_in, replace},
    item::{self, BODY, FACETS, FOLDED, Item, LAST_POLLED_AT, REVISION},
    keys::{self, Key},
    lists,
    query::Query,
    record,
    retry::RetryPolicy,
    write::Write,
};

use super::{ProjectTable, contended, projects::order, require_new};

const WHAT: &str = "agent";

/// The number of simulations of an agent.
const SIMULATIONS: &str = "simulations";

/// The beginning of the entries in one of the two lists of agents.
fn list_of(archived: bool) -> &'static str {
    if archived { "archived-agent#" } else { "agent#" }
}

fn entries(table: ProjectTable<'_>, agent: &Agent) -> [Write; 2] {
    let (project, id) = (table.project.as_str(), agent.id.as_str());
    let list = list_of(agent.archived_at.is_some());
    named_in(list, WHAT, project, "agent#", id, agent.created_at, &agent.name).map(|entry| {
        entry
            .set(FOLDED, item::text(keys::fold(agent.name.as_str())))
            .set(FACETS, item::texts(keys::facets(&agent.name, &agent.metadata)))
    })
}

pub(super) async fn insert(
    table: ProjectTable<'_>,
    agent: &Agent,
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let key = Key::agent(table.project, &agent.id);
    let own = Write::put(WHAT, key, &record::agent_body(agent))
        .set(SIMULATIONS, item::number(0))
        .set(REVISION, item::number(1))
        .if_new();
    let mut writes = vec![own];
    writes.extend(entries(table, agent));
    require_new(table.database, writes, record).await
}

/// Counts one more simulation of an existing agent.
pub(super) fn count_simulation(table: ProjectTable<'_>, id: &AgentId) -> Write {
    Write::update(WHAT, Key::agent(table.project, id)).add(SIMULATIONS, 1).if_there()
}

/// Counts one simulation of an existing agent less.
pub(super) fn uncount_simulation(table: ProjectTable<'_>, id: &AgentId) -> Write {
    Write::update(WHAT, Key::agent(table.project, id)).add(SIMULATIONS, -1).if_there()
}

fn summary(item: &Item) -> Result<AgentSummary, StoreError> {
    Ok(AgentSummary { agent: record::agent(item)?, total_simulations: item.number(SIMULATIONS)? })
}

pub(super) async fn get(table: ProjectTable<'_>, id: &AgentId) -> Result<Option<AgentSummary>, StoreError> {
    let found = table.database.get(WHAT, &Key::agent(table.project, id)).await?;
    found.map(|item| summary(&item)).transpose()
}

pub(super) async fn list(
    table: ProjectTable<'_>,
    list: &ListAgents,
) -> Result<Page<AgentSummary>, StoreError> {
    let (index, direction) = order(list.sort);
    let query = Query::new(WHAT, table.project.as_str())
        .by(index, direction)
        .beginning(list_of(list.archived))
        .containing(FOLDED, list.name.as_deref().map(keys::fold))
        .having(FACETS, keys::wanted(&list.exact));
    lists::page(table.database, query, &list.page, summary).await
}

pub(super) async fn change(
    table: ProjectTable<'_>,
    id: &AgentId,
    mut decide: Decide<Agent, Agent>,
) -> Result<Option<AgentSummary>, ChangeError> {
    let key = Key::agent(table.project, id);
    let mut retry = RetryPolicy::new();
    loop {
        let Some(item) = table.database.get(WHAT, &key).await? else { return Ok(None) };
        let before = summary(&item)?;
        let agent = decide(before.agent.clone())?;
        if agent == before.agent {
            return Ok(Some(before));
        }
        // The number of its simulations is not of this revision, so the item is not put as a whole.
        let body = item::text(record::agent_body(&agent).to_string());
        let own = Write::update(WHAT, key.clone()).set(BODY, body).revise(item.revision()?);
        let mut writes = vec![own];
        writes.extend(replace(&entries(table, &before.agent), entries(table, &agent)));
        if let Written::All = table.database.write(&writes, &mut retry).await? {
            return Ok(Some(AgentSummary { agent, ..before }));
        }
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// Stores when a worker asked for an agent's work.
pub(super) async fn note_poll(
    table: ProjectTable<'_>,
    id: &AgentId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let micros = at.as_microsecond();
    let write = Write::update(WHAT, Key::agent(table.project, id))
        .set(LAST_POLLED_AT, item::number(micros))
        .if_there()
        .if_below(LAST_POLLED_AT, micros.into());
    // If the condition fails, the agent is unknown or has a later time, and nothing needs to be
    // written.
    table.database.update_unread(&write).await
}
