//! The deletion of simulations.
//!
//! A deletion is one transaction: it replaces the simulation by a tombstone, and removes its entries and its counter
//! shards. Every change of a conversation or a persona checks a counter shard, so from then on none is written. Only
//! messages and usage are written without such a check, by calls that began before. The purge comes after those.
//!
//! The purge clears the partitions below the simulation one by one, whatever is in them. A partition is found by its
//! entry, which is deleted when the partition is empty, and the tombstone is deleted last. So a purge that is
//! interrupted goes on where it was.

use std::future::ready;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use onerun_domain::{Direction, Simulation, SimulationId};
use onerun_store::{ChangeError, Decide, DeletionStore, IdempotencyRecord, StoreError};

use super::{
    DynamoDbProject, ProjectTable, agents, contended, conversations, evaluation_runs,
    simulations::{self, COUNTS, WHAT},
};
use crate::{
    database::{AT_ONCE, Answers, Written},
    entries,
    item::{self, BODY, SORT},
    jobs,
    keys::{Key, SimulationKeys, USAGE_SHARDS},
    overdue,
    query::{Entry, Index, Query},
    record,
    retry::RetryPolicy,
    write::Write,
};

const TOMBSTONE: &str = "deleted simulation";
const BELOW: &str = "item below a deleted simulation";
const RECORD: &str = "idempotency record of a simulation";

impl SimulationKeys {
    /// The tombstone of the simulation, from its deletion until it is purged.
    fn tombstone(&self) -> Key {
        Key { partition: self.partition.clone(), sort: "deleted".to_owned() }
    }

    /// The item that says where the idempotency record of the request is that created the simulation.
    fn record(&self) -> Key {
        Key { partition: self.partition.clone(), sort: "record".to_owned() }
    }
}

#[async_trait]
impl DeletionStore for DynamoDbProject {
    async fn delete_simulation(
        &self,
        id: &SimulationId,
        at: Timestamp,
        decide: Decide<Simulation, ()>,
    ) -> Result<bool, ChangeError> {
        delete(self.table(), id, at, decide).await
    }

    async fn purge_simulation(&self, id: &SimulationId, limit: u32) -> Result<bool, StoreError> {
        let table = self.table();
        let keys = table.keys(id);
        if table.database.get(TOMBSTONE, &keys.tombstone()).await?.is_none() {
            return Ok(false);
        }
        let left = usize::try_from(limit).unwrap_or(usize::MAX);
        Purge { table, keys, left }.step(id).await
    }
}

/// Notes which idempotency record the request has that creates a simulation, so that it can be purged.
pub(super) fn note_record(keys: &SimulationKeys, record: &IdempotencyRecord) -> Write {
    let Key { partition, sort } = Key::idempotency(&record.id);
    Write::put(RECORD, keys.record(), &serde_json::json!({ "partition": partition, "sort": sort }))
}

/// The condition that no simulation with this id was deleted and not purged.
pub(super) fn was_never_there(keys: &SimulationKeys) -> Write {
    Write::check(WHAT, keys.tombstone()).if_new()
}

async fn delete(
    table: ProjectTable<'_>,
    id: &SimulationId,
    at: Timestamp,
    mut decide: Decide<Simulation, ()>,
) -> Result<bool, ChangeError> {
    let keys = table.keys(id);
    let mut retry = RetryPolicy::new();
    loop {
        let Some(item) = table.database.get(WHAT, &keys.simulation()).await? else { return Ok(false) };
        let simulation = record::simulation(&item)?.simulation;
        decide(simulation.clone())?;
        let tombstone = overdue::mark_deleted(Write::put_bare(TOMBSTONE, keys.tombstone()), id, at);
        let mut writes = vec![
            Write::delete(WHAT, keys.simulation()).if_revision(item.revision()?),
            tombstone,
            agents::uncount_simulation(table, &simulation.agent_id),
        ];
        writes.extend(simulations::entries(table, &simulation).iter().map(entries::delete));
        let counter_shards = keys.counter_shards(simulation.target_conversations);
        writes.extend(counter_shards.into_iter().map(|key| Write::delete(COUNTS, key)));
        if let Written::All = table.database.write(&writes, &mut retry).await? {
            return Ok(true);
        }
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// One step of a purge.
struct Purge<'a> {
    table: ProjectTable<'a>,
    keys: SimulationKeys,
    /// How many items it may still delete.
    left: usize,
}

impl Purge<'_> {
    /// Returns whether items may be left.
    async fn step(mut self, id: &SimulationId) -> Result<bool, StoreError> {
        let (own, keys) = (self.keys.partition.clone(), self.keys.clone());
        for shard in keys.shards() {
            let of_conversation =
                |entry: &Entry| Ok(vec![keys.transcript(&conversations::id(&entry.key)?).partition]);
            if !self.clear_listed(&shard, conversations::PREFIX, of_conversation).await? {
                return Ok(true);
            }
        }
        let of_run = |entry: &Entry| Ok(keys.run(&evaluation_runs::id(&entry.key)?).shards());
        if !self.clear_listed(&own, SimulationKeys::evaluation_run_prefix(), of_run).await? {
            return Ok(true);
        }
        let usage = (0..USAGE_SHARDS).map(|shard| keys.usage_partition(shard));
        for partition in keys.shards().into_iter().chain(usage).chain([keys.queue()]) {
            if !self.clear(&partition, &[]).await? {
                return Ok(true);
            }
        }
        let (tombstone, record) = (keys.tombstone(), keys.record());
        if !self.clear(&own, &[&tombstone.sort, &record.sort]).await? {
            return Ok(true);
        }
        self.delete_record(id).await?;
        jobs::delete_dead(self.table.database, id.as_str()).await?;
        for key in [record, tombstone] {
            self.table.database.delete(&Write::delete(TOMBSTONE, key)).await?;
        }
        Ok(false)
    }

    /// Clears the partitions that belong to the entries of a list, and deletes the entries. Returns whether all are
    /// gone.
    async fn clear_listed(
        &mut self,
        partition: &str,
        prefix: &str,
        partitions: impl Fn(&Entry) -> Result<Vec<String>, StoreError>,
    ) -> Result<bool, StoreError> {
        let query = Query::new(BELOW, partition).by(Index::Made, Direction::Ascending).beginning(prefix);
        let mut answers = Answers::new(self.table.database, query);
        while let Some(items) = answers.next(self.left).await? {
            for item in items {
                let entry = answers.query().entry(&item)?;
                for partition in partitions(&entry)? {
                    if !self.clear(&partition, &[]).await? {
                        return Ok(false);
                    }
                }
                let key = Key { partition: partition.to_owned(), sort: Index::Made.sort_key(&entry.sort) };
                self.delete(vec![key]).await?;
                if self.left == 0 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Deletes the items of a partition, but those with the sort keys in `keep`. Returns whether all are gone.
    async fn clear(&mut self, partition: &str, keep: &[&str]) -> Result<bool, StoreError> {
        // The answers of DynamoDB hold bodies, so they are read one at a time.
        let mut answers = Answers::new(self.table.database, Query::new(BELOW, partition));
        while self.left > 0
            && let Some(items) = answers.next(self.left + keep.len()).await?
        {
            let mut gone = Vec::new();
            for item in items {
                let sort = item.text(SORT)?;
                if !keep.contains(&sort) {
                    gone.push(Key { partition: partition.to_owned(), sort: sort.to_owned() });
                }
            }
            gone.truncate(self.left);
            self.delete(gone).await?;
        }
        Ok(self.left > 0)
    }

    async fn delete(&mut self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.left = self.left.saturating_sub(keys.len());
        let database = self.table.database;
        let deleted = stream::iter(keys)
            .map(async |key| database.delete(&Write::delete(BELOW, key)).await.map(drop))
            .buffer_unordered(AT_ONCE);
        deleted.try_for_each(|()| ready(Ok(()))).await
    }

    /// Deletes the idempotency record of the request that created the simulation.
    async fn delete_record(&self, id: &SimulationId) -> Result<(), StoreError> {
        let database = self.table.database;
        let Some(noted) = database.get(RECORD, &self.keys.record()).await? else { return Ok(()) };
        let mut fields = noted.fields()?;
        let key = Key { partition: fields.text("partition")?, sort: fields.text("sort")? };
        let Some(record) = database.get(RECORD, &key).await? else { return Ok(()) };
        // The key may have been used again since the record expired.
        if record.body()?.contains(id.as_str()) {
            let body = item::text(record.body()?);
            database.delete(&Write::delete(RECORD, key).if_equal(BODY, body)).await?;
        }
        Ok(())
    }
}
