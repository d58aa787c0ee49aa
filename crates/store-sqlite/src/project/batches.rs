//! Batches.

use async_trait::async_trait;
use onerun_domain::{Batch, BatchId, BatchItem, BatchPart, BatchView, Page, PageRequest};
use onerun_store::{BatchChange, BatchStore, ChangeError, Decide, NewBatch, SortBy, StoreError};
use rusqlite::params;

use super::{SqliteProject, projects::order};
use crate::{
    columns::Columns,
    idempotency, jobs,
    lists::{self, Query},
    rows::{self, micros},
    sql::{self, ProjectTables},
};

const BATCH: &str = "batch";
const PART: &str = "part of a batch";

#[async_trait]
impl BatchStore for SqliteProject {
    async fn insert_batch(&self, new: NewBatch) -> Result<(), StoreError> {
        self.write(move |tables| insert(tables, &new)).await
    }

    async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, StoreError> {
        let id = id.clone();
        self.read(move |tables| Ok(view(tables, &id)?.map(|view| view.batch))).await
    }

    async fn batch_items(&self, id: &BatchId) -> Result<Option<Vec<BatchItem>>, StoreError> {
        let id = id.clone();
        self.read(move |tables| Ok(view(tables, &id)?.map(|view| view.items))).await
    }

    async fn batch_part(&self, id: &BatchId, number: u32) -> Result<Option<BatchPart>, StoreError> {
        let id = id.clone();
        self.read(move |tables| part(tables, &id, number)).await
    }

    async fn batches(&self, sort: SortBy, page: PageRequest) -> Result<Page<Batch>, StoreError> {
        self.read(move |tables| list(tables, sort, &page)).await
    }

    async fn change_batch(
        &self,
        id: &BatchId,
        decide: Decide<BatchView, BatchChange>,
    ) -> Result<Option<BatchView>, ChangeError> {
        let id = id.clone();
        self.write(move |tables| change(tables, &id, decide)).await
    }
}

fn insert(tables: &ProjectTables<'_>, new: &NewBatch) -> Result<(), StoreError> {
    let BatchView { batch, items } = &new.view;
    let defaults = new.parts.first().map(|part| &part.defaults);
    sql::execute(
        tables.connection,
        BATCH,
        "INSERT INTO batches (id, project_id, name_folded, body, defaults, items, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            batch.id.as_str(),
            tables.project.as_str(),
            sql::fold(batch.name.as_str()),
            rows::json(BATCH, batch)?,
            rows::json(BATCH, &defaults)?,
            rows::json(BATCH, items)?,
            micros(batch.created_at),
        ],
    )?;
    for (part, number) in new.parts.iter().zip(0_u32..) {
        let sql = "INSERT INTO batch_parts (batch_id, number, body) VALUES (?1, ?2, ?3)";
        let body = rows::json(PART, &part.items)?;
        sql::execute(tables.connection, PART, sql, params![batch.id.as_str(), number, body])?;
    }
    jobs::add(tables.connection, &new.jobs)?;
    idempotency::insert(tables.connection, new.record.as_ref())
}

fn read<T: serde::de::DeserializeOwned>(columns: &mut Columns<'_>) -> Result<T, StoreError> {
    columns.checked(rows::from_json)
}

fn view(tables: &ProjectTables<'_>, id: &BatchId) -> Result<Option<BatchView>, StoreError> {
    let sql = "SELECT body, items FROM batches WHERE id = ?2 AND project_id = ?1";
    sql::one(tables.connection, BATCH, sql, [tables.project.as_str(), id.as_str()], |columns| {
        Ok(BatchView { batch: read(columns)?, items: read(columns)? })
    })
}

fn part(tables: &ProjectTables<'_>, id: &BatchId, number: u32) -> Result<Option<BatchPart>, StoreError> {
    let sql = "SELECT batches.defaults, batch_parts.body
               FROM batches JOIN batch_parts ON batch_parts.batch_id = batches.id
               WHERE batches.id = ?2 AND batches.project_id = ?1 AND batch_parts.number = ?3";
    let parameters = params![tables.project.as_str(), id.as_str(), number];
    sql::one(tables.connection, PART, sql, parameters, |columns| {
        Ok(BatchPart { defaults: read(columns)?, items: read(columns)? })
    })
}

fn list(tables: &ProjectTables<'_>, sort: SortBy, page: &PageRequest) -> Result<Page<Batch>, StoreError> {
    let project = vec![tables.project.as_str().to_owned().into()];
    let candidates = Query::new("batches", "project_id = ?1", project).candidates(
        tables.connection,
        BATCH,
        &order(sort),
        page,
    )?;
    lists::page(candidates, page, |inserted| {
        sql::one(tables.connection, BATCH, "SELECT body FROM batches WHERE inserted = ?1", [inserted], read)
    })
}

fn change(
    tables: &ProjectTables<'_>,
    id: &BatchId,
    mut decide: Decide<BatchView, BatchChange>,
) -> Result<Option<BatchView>, ChangeError> {
    let Some(before) = view(tables, id)? else { return Ok(None) };
    let BatchChange { view, jobs, record } = decide(before.clone())?;
    if view != before {
        sql::execute(
            tables.connection,
            BATCH,
            "UPDATE batches SET body = ?2, items = ?3 WHERE id = ?1",
            params![id.as_str(), rows::json(BATCH, &view.batch)?, rows::json(BATCH, &view.items)?],
        )?;
    }
    jobs::add(tables.connection, &jobs)?;
    idempotency::insert(tables.connection, record.as_ref())?;
    Ok(Some(view))
}
