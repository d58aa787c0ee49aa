//! Webhooks and their deliveries. All webhooks are one item of their project, and the deliveries of each have a
//! partition of their own.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use onerun_domain::{
    DeliveryState, Direction, Job, Page, PageRequest, Webhook, WebhookDelivery, WebhookDeliveryId, WebhookId,
};
use onerun_store::{
    ChangeError, Decide, DeliveryChange, IdempotencyRecord, StoreError, WebhookStore, WebhooksChange,
};

use super::{DynamoDbProject, ProjectTable, contended, duplicate};
use crate::{
    database::{Answers, Written},
    entries::{entry, replace},
    idempotency,
    item::{self, EXPIRES, Item, REVISION},
    jobs,
    keys::{self, Key},
    lists,
    query::{Index, Query},
    retry::RetryPolicy,
    write::Write,
};

const WEBHOOKS: &str = "webhooks";
const DELIVERY: &str = "delivery of a webhook";

#[async_trait]
impl WebhookStore for DynamoDbProject {
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let table = self.table();
        let found = table.database.get(WEBHOOKS, &Key::webhooks(table.project)).await?;
        Ok(found.map(|item| item.document()).transpose()?.unwrap_or_default())
    }

    async fn change_webhooks(
        &self,
        decide: Decide<Vec<Webhook>, WebhooksChange>,
    ) -> Result<Vec<Webhook>, ChangeError> {
        change_webhooks(self.table(), decide).await
    }

    async fn add_webhook_delivery(
        &self,
        delivery: WebhookDelivery,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<bool, StoreError> {
        let table = self.table();
        let mut writes = vec![put(table, &delivery)?.set(REVISION, item::number(1)).if_new()];
        writes.extend(record.as_ref().map(idempotency::put));
        writes.extend(entries(table, &delivery));
        writes.extend(jobs::calls(table.database, &jobs));
        match table.database.write(&writes, &mut RetryPolicy::new()).await? {
            Written::All => Ok(true),
            Written::Failed(failed) if failed.contains(&0) => Ok(false),
            Written::Failed(failed) => Err(duplicate(&writes, &failed)),
        }
    }

    async fn webhook_delivery(
        &self,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
    ) -> Result<Option<WebhookDelivery>, StoreError> {
        let table = self.table();
        let key = Key::webhook_delivery(table.project, webhook, id);
        let found = table.database.get(DELIVERY, &key).await?;
        found.map(|item| item.document()).transpose()
    }

    async fn webhook_deliveries(
        &self,
        webhook: &WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<WebhookDelivery>, StoreError> {
        let table = self.table();
        lists::page(table.database, list(table, webhook, state), &page, Item::document).await
    }

    async fn pending_webhook_deliveries(&self, webhook: &WebhookId, limit: u32) -> Result<u32, StoreError> {
        let table = self.table();
        let mut answers = Answers::new(table.database, list(table, webhook, Some(DeliveryState::Pending)));
        let mut count = 0;
        while count < limit
            && let Some(entries) = answers.next(usize::try_from(limit - count).unwrap_or(usize::MAX)).await?
        {
            count = count.saturating_add(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        }
        Ok(count.min(limit))
    }

    async fn change_webhook_delivery(
        &self,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
        mut decide: Decide<WebhookDelivery, DeliveryChange>,
    ) -> Result<Option<WebhookDelivery>, ChangeError> {
        let table = self.table();
        let key = Key::webhook_delivery(table.project, webhook, id);
        let mut retry = RetryPolicy::new();
        loop {
            let Some(item) = table.database.get(DELIVERY, &key).await? else { return Ok(None) };
            let before: WebhookDelivery = item.document()?;
            let DeliveryChange { delivery, jobs, record } = decide(before.clone())?;
            let mut writes = vec![put(table, &delivery)?.revise(item.revision()?)];
            writes.extend(record.as_ref().map(idempotency::put));
            writes.extend(replace(&entries(table, &before), entries(table, &delivery)));
            writes.extend(jobs::calls(table.database, &jobs));
            match table.database.write(&writes, &mut retry).await? {
                Written::All => return Ok(Some(delivery)),
                Written::Failed(failed) if !failed.contains(&0) => {
                    return Err(duplicate(&writes, &failed).into());
                }
                Written::Failed(_) => {}
            }
            if !retry.wait().await {
                return Err(contended(DELIVERY));
            }
        }
    }
}

async fn change_webhooks(
    table: ProjectTable<'_>,
    mut decide: Decide<Vec<Webhook>, WebhooksChange>,
) -> Result<Vec<Webhook>, ChangeError> {
    let key = Key::webhooks(table.project);
    let mut retry = RetryPolicy::new();
    loop {
        let found = table.database.get(WEBHOOKS, &key).await?;
        let before: Vec<Webhook> = found.as_ref().map(Item::document).transpose()?.unwrap_or_default();
        let WebhooksChange { webhooks, record } = decide(before.clone())?;
        if webhooks == before && record.is_none() {
            return Ok(webhooks);
        }
        let write = Write::put_document(WEBHOOKS, key.clone(), &webhooks)?;
        let mut writes = vec![match &found {
            Some(item) => write.revise(item.revision()?),
            None => write.set(REVISION, item::number(1)).if_new(),
        }];
        writes.extend(record.as_ref().map(idempotency::put));
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(webhooks),
            Written::Failed(failed) if !failed.contains(&0) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(_) => {}
        }
        if !retry.wait().await {
            return Err(contended(WEBHOOKS));
        }
    }
}

fn put(table: ProjectTable<'_>, delivery: &WebhookDelivery) -> Result<Write, StoreError> {
    let key = Key::webhook_delivery(table.project, &delivery.webhook_id, &delivery.id);
    Ok(Write::put_document(DELIVERY, key, delivery)?.set(EXPIRES, expiry(delivery)))
}

/// The entries of a delivery: one among all, which never moves, and one among those of its state.
fn entries(table: ProjectTable<'_>, delivery: &WebhookDelivery) -> [Write; 2] {
    let partition = Key::webhook_deliveries(table.project, &delivery.webhook_id);
    let text = format!("{}{}#{}", keys::DELIVERY, keys::time(delivery.created_at), delivery.id);
    let row = format!("{}{}", keys::DELIVERY, delivery.id);
    let of_state = format!("{}{text}", state_prefix(delivery.state));
    [
        entry(DELIVERY, partition.clone(), Index::Made, &text, row.clone()).set(EXPIRES, expiry(delivery)),
        entry(DELIVERY, partition, Index::Status, &of_state, row).set(EXPIRES, expiry(delivery)),
    ]
}

fn state_prefix(state: DeliveryState) -> String {
    format!("{}#", state.as_str())
}

/// The list of a webhook's deliveries, newest first.
fn list(table: ProjectTable<'_>, webhook: &WebhookId, state: Option<DeliveryState>) -> Query {
    let query = Query::new(DELIVERY, Key::webhook_deliveries(table.project, webhook));
    match state {
        None => query.by(Index::Made, Direction::Descending).beginning(keys::DELIVERY),
        Some(state) => query.by(Index::Status, Direction::Descending).beginning(state_prefix(state)),
    }
}

fn expiry(delivery: &WebhookDelivery) -> AttributeValue {
    item::number(delivery.expires_at().as_second())
}
