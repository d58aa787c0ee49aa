//! Webhooks and their deliveries.

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_domain::{
    DELIVERY_RETENTION, DeliveryState, Direction, Job, Page, PageRequest, Webhook, WebhookDelivery,
    WebhookDeliveryId, WebhookId, later,
};
use onerun_store::{
    ChangeError, Decide, DeliveryChange, IdempotencyRecord, StoreError, WebhookStore, WebhooksChange,
};
use rusqlite::{Connection, params};

use super::SqliteProject;
use crate::{
    columns::{Columns, only},
    idempotency, jobs,
    lists::{self, CREATED_AT, Order, Query},
    rows::{self, micros},
    sql::{self, ProjectTables},
};

const WEBHOOKS: &str = "webhooks";
const DELIVERY: &str = "delivery of a webhook";

#[async_trait]
impl WebhookStore for SqliteProject {
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        self.read(webhooks).await
    }

    async fn change_webhooks(
        &self,
        decide: Decide<Vec<Webhook>, WebhooksChange>,
    ) -> Result<Vec<Webhook>, ChangeError> {
        self.write(move |tables| change_webhooks(tables, decide)).await
    }

    async fn add_webhook_delivery(
        &self,
        delivery: WebhookDelivery,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<bool, StoreError> {
        self.write(move |tables| {
            let is_new = insert(tables, &delivery)?;
            if is_new {
                jobs::add(tables.connection, &jobs)?;
                idempotency::insert(tables.connection, record.as_ref())?;
            }
            Ok(is_new)
        })
        .await
    }

    async fn webhook_delivery(
        &self,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
    ) -> Result<Option<WebhookDelivery>, StoreError> {
        let (webhook, id) = (webhook.clone(), id.clone());
        self.read(move |tables| delivery(tables, &webhook, &id)).await
    }

    async fn webhook_deliveries(
        &self,
        webhook: &WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<WebhookDelivery>, StoreError> {
        let webhook = webhook.clone();
        self.read(move |tables| deliveries(tables, &webhook, state, &page)).await
    }

    async fn pending_webhook_deliveries(&self, webhook: &WebhookId, limit: u32) -> Result<u32, StoreError> {
        let webhook = webhook.clone();
        self.read(move |tables| {
            let pending = DeliveryState::Pending.as_str();
            let sql = "SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries
                       WHERE project_id = ?1 AND webhook_id = ?2 AND state = ?3 LIMIT ?4)";
            let params = params![tables.project.as_str(), webhook.as_str(), pending, limit];
            Ok(sql::one(tables.connection, DELIVERY, sql, params, only::<u32>)?.unwrap_or(0))
        })
        .await
    }

    async fn change_webhook_delivery(
        &self,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
        mut decide: Decide<WebhookDelivery, DeliveryChange>,
    ) -> Result<Option<WebhookDelivery>, ChangeError> {
        let (webhook, id) = (webhook.clone(), id.clone());
        self.write(move |tables| {
            let Some(before) = delivery(tables, &webhook, &id)? else { return Ok(None) };
            let DeliveryChange { delivery, jobs, record } = decide(before)?;
            let sql = "UPDATE webhook_deliveries SET state = ?2, body = ?3 WHERE id = ?1";
            let params = params![id.as_str(), delivery.state.as_str(), rows::json(DELIVERY, &delivery)?];
            sql::execute(tables.connection, DELIVERY, sql, params)?;
            jobs::add(tables.connection, &jobs)?;
            idempotency::insert(tables.connection, record.as_ref())?;
            Ok(Some(delivery))
        })
        .await
    }
}

fn read<T: serde::de::DeserializeOwned>(columns: &mut Columns<'_>) -> Result<T, StoreError> {
    columns.checked(rows::from_json)
}

fn webhooks(tables: &ProjectTables<'_>) -> Result<Vec<Webhook>, StoreError> {
    let sql = "SELECT body FROM webhooks WHERE project_id = ?1";
    let found = sql::one(tables.connection, WEBHOOKS, sql, [tables.project.as_str()], read)?;
    Ok(found.unwrap_or_default())
}

fn change_webhooks(
    tables: &ProjectTables<'_>,
    mut decide: Decide<Vec<Webhook>, WebhooksChange>,
) -> Result<Vec<Webhook>, ChangeError> {
    let before = webhooks(tables)?;
    let WebhooksChange { webhooks, record } = decide(before.clone())?;
    if webhooks != before {
        let sql = "INSERT INTO webhooks (project_id, body) VALUES (?1, ?2)
                   ON CONFLICT (project_id) DO UPDATE SET body = excluded.body";
        let params = params![tables.project.as_str(), rows::json(WEBHOOKS, &webhooks)?];
        sql::execute(tables.connection, WEBHOOKS, sql, params)?;
    }
    idempotency::insert(tables.connection, record.as_ref())?;
    Ok(webhooks)
}

/// Adds a delivery, unless it exists. `false` if it does.
fn insert(tables: &ProjectTables<'_>, delivery: &WebhookDelivery) -> Result<bool, StoreError> {
    let inserted = sql::execute(
        tables.connection,
        DELIVERY,
        "INSERT INTO webhook_deliveries (id, project_id, webhook_id, state, body, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
        params![
            delivery.id.as_str(),
            tables.project.as_str(),
            delivery.webhook_id.as_str(),
            delivery.state.as_str(),
            rows::json(DELIVERY, delivery)?,
            micros(delivery.created_at),
        ],
    )?;
    Ok(inserted == 1)
}

fn delivery(
    tables: &ProjectTables<'_>,
    webhook: &WebhookId,
    id: &WebhookDeliveryId,
) -> Result<Option<WebhookDelivery>, StoreError> {
    let sql = "SELECT body FROM webhook_deliveries WHERE id = ?3 AND webhook_id = ?2 AND project_id = ?1";
    let ids = [tables.project.as_str(), webhook.as_str(), id.as_str()];
    sql::one(tables.connection, DELIVERY, sql, ids, read)
}

fn deliveries(
    tables: &ProjectTables<'_>,
    webhook: &WebhookId,
    state: Option<DeliveryState>,
    page: &PageRequest,
) -> Result<Page<WebhookDelivery>, StoreError> {
    let ids = [tables.project.as_str(), webhook.as_str()].map(|id| id.to_owned().into());
    let order = Order { keys: &[CREATED_AT], direction: Direction::Descending };
    let candidates = Query::new("webhook_deliveries", "project_id = ?1 AND webhook_id = ?2", ids.to_vec())
        .and("state = {}", state.map(|state| state.as_str().to_owned()))
        .candidates(tables.connection, DELIVERY, &order, page)?;
    lists::page(candidates, page, |inserted| {
        let sql = "SELECT body FROM webhook_deliveries WHERE inserted = ?1";
        sql::one(tables.connection, DELIVERY, sql, [inserted], read)
    })
}

/// Whether the retention of any delivery is over.
pub(crate) fn has_expired(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM webhook_deliveries WHERE created_at <= ?1)";
    Ok(sql::one(connection, DELIVERY, sql, [created_by(now)], only::<bool>)?.unwrap_or(false))
}

/// Removes up to `limit` deliveries whose retention is over.
pub(crate) fn delete_expired(connection: &Connection, limit: u32, now: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        connection,
        DELIVERY,
        "DELETE FROM webhook_deliveries WHERE inserted IN
             (SELECT inserted FROM webhook_deliveries WHERE created_at <= ?1 LIMIT ?2)",
        params![created_by(now), limit],
    )?;
    Ok(())
}

fn created_by(now: Timestamp) -> i64 {
    micros(later(now, -DELIVERY_RETENTION))
}
