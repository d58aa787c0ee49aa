//! Expired leases and simulations, simulations with old transcripts, and deleted ones, in all projects.
//!
//! They are found in the index of due times, which may lag behind the table. The decision reads the
//! stored state and refuses an entry that is out of date. An entry that is still missing is found
//! by the next query.
//!
//! The entry of a lease is a mark: it says when to look at the conversation, and is not moved when the lease is
//! renewed.

use std::{collections::BTreeSet, future::ready};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, Direction, Monitor, MonitorId, ProjectId, Simulation,
    SimulationId,
};
use onerun_store::{Overdue, StoreError};

use crate::{
    database::{AT_ONCE, Database},
    item::{self, DUE, Item, REVISION, SHARD},
    keys::{self, CONVERSATION, Key, LAST, LEASE_SHARDS, SHARDS, SimulationKeys},
    query::{Index, Query},
    record::{self, StoredConversation},
    write::Write,
};

const LEASE: &str = "lease";
const EXPIRY: &str = "expiry";
const END: &str = "end";
const MONITOR: &str = "monitor";
const DELETION: &str = "deletion";

/// When the lease of a conversation and the claim of its turn have expired.
fn due(conversation: &Conversation) -> Option<Timestamp> {
    let lease =
        conversation.lease_expires_at.filter(|_| conversation.status == ConversationStatus::InProgress);
    let claim = conversation.turn.as_ref().map(|claim| claim.expires_at);
    lease.map(|lease| claim.map_or(lease, |claim| claim.max(lease)))
}

/// The mark of a conversation after a change. A mark stays while it is early enough, because moving it costs as much
/// as the turn itself: the tick moves it if it is due too early.
pub(crate) fn next_mark(mark: Option<&str>, conversation: &Conversation) -> Option<String> {
    let due = keys::time(due(conversation)?);
    Some(mark.filter(|mark| *mark <= due.as_str()).map_or(due.clone(), str::to_owned))
}

/// Makes the tick look at a conversation at the time of its mark.
pub(crate) fn mark_conversation(write: Write, stored: &StoredConversation) -> Write {
    match &stored.due {
        Some(due) => {
            let shard = keys::shard(stored.conversation.id.as_str(), LEASE_SHARDS);
            write.set(SHARD, item::text(keys::due_shard(LEASE, shard))).set(DUE, item::text(due.clone()))
        }
        None => write,
    }
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

/// Makes a deleted simulation found by the time of its deletion, until it is purged.
pub(crate) fn mark_deleted(write: Write, simulation: &SimulationId, at: Timestamp) -> Write {
    mark(write, DELETION, simulation.as_str(), Some(at))
}

/// Makes a monitor due at its next planned time.
pub(crate) fn mark_monitor(write: Write, monitor: &Monitor) -> Write {
    mark(write, MONITOR, monitor.id.as_str(), monitor.next_run_at)
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
    let conversations = conversations(database, limit, now).await?;
    Ok(Overdue { conversations, simulations: simulations(database, EXPIRY, limit, now).await? })
}

/// How many marks of each shard one search reads.
const MARKS: usize = 1_000;

/// Conversations whose lease has expired. Marks that came too early are moved to the time that the conversation has
/// now.
async fn conversations(
    database: &Database,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId, ConversationId)>, StoreError> {
    let marks = overdue_keys(database, LEASE, LEASE_SHARDS, MARKS, now).await?;
    let keys = marks.into_iter().map(|(partition, sort)| Key { partition, sort }).collect();
    let mut overdue = Vec::new();
    let mut early = Vec::new();
    for (key, attributes) in database.get_all(CONVERSATION, keys).await? {
        let stored = record::conversation(&Item::new(CONVERSATION, attributes))?;
        match due(&stored.conversation) {
            Some(due) if due <= now => overdue.push((due, place(&key)?)),
            Some(due) => early.push(move_mark(key, &stored, due)),
            // It has ended, and the index lags.
            None => {}
        }
    }
    let moved = stream::iter(early).map(|write| async move { database.update_unread(&write).await });
    moved.buffer_unordered(AT_ONCE).try_for_each(|()| ready(Ok(()))).await?;
    let simulations: BTreeSet<Key> = overdue.iter().map(|(_, place)| shard_of_simulation(place)).collect();
    let existing = database.get_all(CONVERSATION, simulations).await?;
    overdue.retain(|(_, place)| existing.contains_key(&shard_of_simulation(place)));
    overdue.sort();
    overdue.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(overdue.into_iter().map(|(_, place)| place).collect())
}

/// A counter shard of a conversation's simulation, which a deleted simulation does not have.
fn shard_of_simulation((project, simulation, id): &(ProjectId, SimulationId, ConversationId)) -> Key {
    SimulationKeys::new(project, simulation).first_counter_shard_of(id.as_str())
}

/// If the conversation changes meanwhile, the mark stays where the change puts it.
fn move_mark(key: Key, stored: &StoredConversation, due: Timestamp) -> Write {
    Write::update(CONVERSATION, key)
        .set(DUE, item::text(keys::time(due)))
        .if_equal(REVISION, item::number(stored.revision))
}

fn place(key: &Key) -> Result<(ProjectId, SimulationId, ConversationId), StoreError> {
    let (project, rest) = split(&key.partition)?;
    let (simulation, conversation) = split(rest)?;
    Ok((parse(project)?, parse(simulation)?, parse(conversation)?))
}

/// Simulations that ended at or before `ended_by` and whose transcripts are not deleted, longest ended first.
pub(crate) async fn with_old_transcripts(
    database: &Database,
    limit: u32,
    ended_by: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    simulations(database, END, limit, ended_by).await
}

/// Simulations that were deleted at or before `deleted_by` and are not purged, longest deleted first.
pub(crate) async fn deleted(
    database: &Database,
    limit: u32,
    deleted_by: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    simulations(database, DELETION, limit, deleted_by).await
}

/// Monitors whose next planned time is not after `now`, longest due first.
pub(crate) async fn monitors(
    database: &Database,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(ProjectId, MonitorId)>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut keys = overdue_keys(database, MONITOR, SHARDS, limit, now).await?;
    keys.truncate(limit);
    let ids = keys.iter().map(|(project, sort)| {
        let monitor = sort.strip_prefix(keys::MONITOR).ok_or_else(corrupt)?;
        Ok((parse(project)?, parse(monitor)?))
    });
    ids.collect()
}

async fn simulations(
    database: &Database,
    kind: &'static str,
    limit: u32,
    until: Timestamp,
) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut keys = overdue_keys(database, kind, SHARDS, limit, until).await?;
    keys.truncate(limit);
    let ids = keys.iter().map(|(partition, _)| {
        let (project, simulation) = split(partition)?;
        Ok((parse(project)?, parse(simulation)?))
    });
    ids.collect()
}

/// The keys of due items, up to `limit` of each shard, longest due first.
async fn overdue_keys(
    database: &Database,
    kind: &'static str,
    shards: u32,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(String, String)>, StoreError> {
    let until = format!("{}{LAST}", keys::time(now));
    let queries = (0..shards).map(|shard| {
        let shard = keys::due_shard(kind, shard);
        Query::new("due time", shard)
            .by(Index::Due, Direction::Ascending)
            .between("0", until.clone())
            .limit(limit)
    });
    let queries: Vec<Query> = queries.collect();
    let found = database.query_all(queries).await?;
    let mut due = Vec::new();
    for item in found.into_iter().flatten() {
        let place = (item.text(item::PARTITION)?.to_owned(), item.text(item::SORT)?.to_owned());
        due.push((item.text(DUE)?.to_owned(), place));
    }
    due.sort();
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
