//! Expired leases and simulations, and simulations with old transcripts, in all projects.
//!
//! They are found in the index of due times, which may lag behind the table. The decision reads the
//! stored state and refuses an entry that is out of date. An entry that is still missing is found
//! by the next query.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use onerun_domain::{Conversation, ConversationStatus, Direction, ProjectId, Simulation, SimulationId};
use onerun_store::{Overdue, StoreError};

use crate::{
    database::{AT_ONCE, Database},
    item::{self, DUE, Item, SHARD},
    keys::{self, LAST, SHARDS},
    query::{Index, Query},
    write::Write,
};

const LEASE: &str = "lease";
const EXPIRY: &str = "expiry";
const END: &str = "end";

/// Makes a conversation overdue when its lease and the claim of its turn have expired.
pub(crate) fn mark_conversation(write: Write, conversation: &Conversation) -> Write {
    let lease =
        conversation.lease_expires_at.filter(|_| conversation.status == ConversationStatus::InProgress);
    let claim = conversation.turn.as_ref().map(|claim| claim.expires_at);
    let due = lease.map(|lease| claim.map_or(lease, |claim| claim.max(lease)));
    mark(write, LEASE, conversation.id.as_str(), due)
}

/// Makes a simulation overdue when it expires. After its end it is found by that time until its transcripts are
/// deleted.
pub(crate) fn mark_simulation(write: Write, simulation: &Simulation) -> Write {
    let (kind, due) = if simulation.status.is_final() {
        (END, simulation.transcripts_deleted_at.is_none().then_some(simulation.updated_at))
    } else {
        (EXPIRY, Some(simulation.expires_at))
    };
    mark(write, kind, simulation.id.as_str(), due)
}

/// `write` must put the whole item, so that an item without a due time leaves the index.
fn mark(write: Write, kind: &'static str, id: &str, due: Option<Timestamp>) -> Write {
    match due {
        Some(due) => write
            .set(SHARD, item::text(keys::due_shard(kind, keys::shard(id, SHARDS))))
            .set(DUE, item::text(keys::time(due))),
        None => write,
    }
}

/// Overdue conversations and simulations, up to `limit` of each kind, longest overdue first.
pub(crate) async fn find(database: &Database, limit: u32, now: Timestamp) -> Result<Overdue, StoreError> {
    let mut overdue = Overdue::default();
    for key in overdue_keys(database, LEASE, limit, now).await? {
        let (partition, sort) = key;
        let (project, simulation) = split(&partition)?;
        let conversation = sort.strip_prefix("conversation#").ok_or_else(corrupt)?;
        overdue.conversations.push((parse(project)?, parse(simulation)?, parse(conversation)?));
    }
    overdue.simulations = simulations(database, EXPIRY, limit, now).await?;
    Ok(overdue)
}

/// Simulations that ended at or before `ended_by` and whose transcripts are not deleted, longest ended first.
pub(crate) async fn with_old_transcripts(
    database: &Database,
    limit: u32,
    ended_by: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    simulations(database, END, limit, ended_by).await
}

async fn simulations(
    database: &Database,
    kind: &'static str,
    limit: u32,
    until: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    let keys = overdue_keys(database, kind, limit, until).await?;
    let ids = keys.iter().map(|(partition, _)| {
        let (project, simulation) = split(partition)?;
        Ok((parse(project)?, parse(simulation)?))
    });
    ids.collect()
}

async fn overdue_keys(
    database: &Database,
    kind: &'static str,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(String, String)>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let until = format!("{}{LAST}", keys::time(now));
    let queries = (0..SHARDS).map(|shard| {
        let shard = keys::due_shard(kind, shard);
        Query::new("due time", shard)
            .by(Index::Due, Direction::Ascending)
            .between("0", until.clone())
            .limit(limit)
    });
    let queries: Vec<Query> = queries.collect();
    let found: Vec<Vec<Item>> = stream::iter(queries)
        .map(|query| async move { database.query(&query).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut due = Vec::new();
    for item in found.into_iter().flatten() {
        let place = (item.text(item::PARTITION)?.to_owned(), item.text(item::SORT)?.to_owned());
        due.push((item.text(DUE)?.to_owned(), place));
    }
    due.sort();
    due.truncate(limit);
    Ok(due.into_iter().map(|(_, place)| place).collect())
}

fn split(partition: &str) -> Result<(&str, &str), StoreError> {
    partition.split_once('#').ok_or_else(corrupt)
}

fn parse<T: std::str::FromStr>(id: &str) -> Result<T, StoreError> {
    id.parse().map_err(|_| corrupt())
}

fn corrupt() -> StoreError {
    StoreError::Corrupt { what: "due time", reason: "its key names no such thing".into() }
}
