//! Batches. A batch is an item of its project. The statuses and the settings of its items have a partition of their
//! own, so that lists do not read them.

use async_trait::async_trait;
use onerun_domain::{Batch, BatchId, BatchItem, BatchPart, BatchView, Page, PageRequest};
use onerun_store::{BatchChange, BatchStore, ChangeError, Decide, NewBatch, SortBy, StoreError};

use super::{DynamoDbProject, ProjectTable, contended, duplicate, find, projects::order, require_new};
use crate::{
    database::Written,
    entries::named,
    idempotency,
    item::{self, Item, REVISION},
    jobs,
    keys::{self, Key},
    lists,
    query::Query,
    retry::RetryPolicy,
    write::Write,
};

const BATCH: &str = "batch";
const ITEMS: &str = "items of a batch";
const PART: &str = "part of a batch";

#[async_trait]
impl BatchStore for DynamoDbProject {
    async fn insert_batch(&self, new: NewBatch) -> Result<(), StoreError> {
        let table = self.table();
        let NewBatch { view, parts, jobs, record } = new;
        let (id, revision) = (&view.batch.id, || item::number(1));
        let mut writes = vec![
            put(table, &view.batch)?.set(REVISION, revision()).if_new(),
            put_items(table, &view)?.set(REVISION, revision()),
        ];
        writes.extend(entries(table, &view.batch));
        if let Some(part) = parts.first() {
            writes.push(Write::put_document(PART, Key::batch_defaults(table.project, id), &part.defaults)?);
        }
        for (part, number) in parts.iter().zip(0..) {
            let key = Key::batch_part(table.project, id, number);
            writes.push(Write::put_document(PART, key, &part.items)?);
        }
        writes.extend(jobs::calls(table.database, &jobs));
        require_new(table.database, writes, record.as_ref()).await
    }

    async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, StoreError> {
        let table = self.table();
        let found = table.database.get(BATCH, &Key::batch(table.project, id)).await?;
        found.map(|item| item.document()).transpose()
    }

    async fn batch_items(&self, id: &BatchId) -> Result<Option<Vec<BatchItem>>, StoreError> {
        let table = self.table();
        let found = table.database.get(ITEMS, &Key::batch_items(table.project, id)).await?;
        found.map(|item| item.document()).transpose()
    }

    async fn batch_part(&self, id: &BatchId, number: u32) -> Result<Option<BatchPart>, StoreError> {
        let table = self.table();
        let defaults = Key::batch_defaults(table.project, id);
        let part = Key::batch_part(table.project, id, number);
        let found = table.database.get_all(PART, [defaults.clone(), part.clone()].into()).await?;
        let (Some(defaults), Some(part)) = (find(PART, &found, &defaults), find(PART, &found, &part)) else {
            return Ok(None);
        };
        Ok(Some(BatchPart { defaults: defaults.document()?, items: part.document()? }))
    }

    async fn batches(&self, sort: SortBy, page: PageRequest) -> Result<Page<Batch>, StoreError> {
        let table = self.table();
        let (index, direction) = order(sort);
        let query = Query::new(BATCH, table.project.as_str()).by(index, direction).beginning(keys::BATCH);
        lists::page(table.database, query, &page, Item::document).await
    }

    async fn change_batch(
        &self,
        id: &BatchId,
        decide: Decide<BatchView, BatchChange>,
    ) -> Result<Option<BatchView>, ChangeError> {
        change(self.table(), id, decide).await
    }
}

fn put(table: ProjectTable<'_>, batch: &Batch) -> Result<Write, StoreError> {
    Write::put_document(BATCH, Key::batch(table.project, &batch.id), batch)
}

/// The entries of a batch, which never move.
fn entries(table: ProjectTable<'_>, batch: &Batch) -> [Write; 2] {
    let (project, id) = (table.project.as_str(), batch.id.as_str());
    named(BATCH, project, keys::BATCH, id, batch.created_at, &batch.name)
}

fn put_items(table: ProjectTable<'_>, view: &BatchView) -> Result<Write, StoreError> {
    Write::put_document(ITEMS, Key::batch_items(table.project, &view.batch.id), &view.items)
}

async fn change(
    table: ProjectTable<'_>,
    id: &BatchId,
    mut decide: Decide<BatchView, BatchChange>,
) -> Result<Option<BatchView>, ChangeError> {
    let keys = [Key::batch(table.project, id), Key::batch_items(table.project, id)];
    let mut retry = RetryPolicy::new();
    loop {
        let found: [Option<Item>; 2] =
            table.database.snapshot(BATCH, &keys, &mut retry).await?.try_into().map_err(|_| {
                StoreError::Corrupt { what: BATCH, reason: "a part of it was not read".into() }
            })?;
        let [Some(batch), Some(items)] = found else { return Ok(None) };
        let before = BatchView { batch: batch.document()?, items: items.document()? };
        let BatchChange { view, jobs, record } = decide(before.clone())?;
        let revision = batch.revision()?;
        let mut writes = if view == before {
            if jobs.is_empty() && record.is_none() {
                return Ok(Some(view));
            }
            vec![Write::check(BATCH, keys[0].clone()).if_revision(revision)]
        } else {
            vec![
                put(table, &view.batch)?.revise(revision),
                put_items(table, &view)?.revise(items.revision()?),
            ]
        };
        writes.extend(jobs::calls(table.database, &jobs));
        writes.extend(record.as_ref().map(idempotency::put));
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(Some(view)),
            // The batch has not changed, so the request was repeated.
            Written::Failed(failed) if !failed.contains(&0) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(_) => {}
        }
        if !retry.wait().await {
            return Err(contended(BATCH));
        }
    }
}
