//! Webhooks: callers change them, a job makes a delivery of an event for each webhook that subscribes to it, and
//! another job attempts a delivery until its target accepts it.
//!
//! The job that makes the deliveries is written with the change that it tells about, so no event is lost, and the
//! ids of deliveries follow from the event, so none is made twice.

mod delivery;
mod events;
mod key_events;
mod secret;

use std::collections::BTreeSet;

use http::Uri;
use jiff::SignedDuration;
use onerun_domain::{
    DeliveryError, DeliveryState, EventSource, EventType, Job, MAX_PENDING_DELIVERIES, MAX_WEBHOOKS,
    ProjectId, Refusal, Resource, Webhook, WebhookDelivery, WebhookDeliveryId, WebhookDescription,
    WebhookFormat, WebhookId, WebhookPatch, WebhookState, Work,
};
use onerun_store::{DeliveryChange, IdempotencyRecord, ProjectStore, StoreError, WebhooksChange};
use onerun_transport::OutboundError;

pub(crate) use delivery::DeliverySlots;
pub use secret::WebhookSecret;

use crate::{Engine, JobError, OperationError, error::ignore_refusal, webhooks::events::Event};

const NOT_FOUND: OperationError = OperationError::NotFound(Resource::Webhook);

/// The input of [`Engine::create_webhook`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewWebhook {
    /// The URL that is called.
    pub url: String,
    /// Its purpose, for people.
    pub description: Option<WebhookDescription>,
    /// The events that it gets.
    pub event_types: BTreeSet<EventType>,
    /// The form of its requests.
    pub format: WebhookFormat,
    /// Whether it gets events.
    pub state: WebhookState,
}

impl Engine {
    /// Creates a webhook, unless the deployment does not call its URL or the project has as many as it can have. The
    /// idempotency record that `record` builds is written in the same transaction.
    pub async fn create_webhook(
        &self,
        project: &dyn ProjectStore,
        new: NewWebhook,
        record: impl FnOnce(&Webhook) -> Option<IdempotencyRecord> + Send,
    ) -> Result<(Webhook, WebhookSecret), OperationError> {
        let now = self.now();
        let webhook = Webhook {
            id: WebhookId::generate(self.random()),
            project_id: project.project_id().clone(),
            url: self.callable_url(&new.url)?,
            description: new.description,
            event_types: new.event_types,
            format: new.format,
            state: new.state,
            disabled_reason: None,
            secret_version: 1,
            previous_secret_until: None,
            created_at: now,
            updated_at: now,
        };
        // Before the write: a webhook whose secret nobody has is of no use.
        let secret = self.webhook_secret(&webhook, webhook.secret_version).await?;
        let (added, record) = (webhook.clone(), record(&webhook));
        let decide = Box::new(move |mut webhooks: Vec<Webhook>| {
            if webhooks.len() >= MAX_WEBHOOKS {
                return Err(Refusal::TooManyWebhooks);
            }
            webhooks.push(added.clone());
            Ok(WebhooksChange { webhooks, record: record.clone() })
        });
        project.change_webhooks(decide).await?;
        Ok((webhook, secret))
    }

    /// One webhook.
    pub async fn webhook(
        &self,
        project: &dyn ProjectStore,
        id: &WebhookId,
    ) -> Result<Webhook, OperationError> {
        let webhooks = project.webhooks().await?;
        webhooks.into_iter().find(|webhook| webhook.id == *id).ok_or(NOT_FOUND)
    }

    /// Changes a webhook, under the conditions of its creation.
    pub async fn update_webhook(
        &self,
        project: &dyn ProjectStore,
        id: &WebhookId,
        mut patch: WebhookPatch,
    ) -> Result<Webhook, OperationError> {
        patch.url = patch.url.map(|url| self.callable_url(&url)).transpose()?;
        let now = self.now();
        self.change_webhook(project, id, |_| None, move |webhook| webhook.patched(patch.clone(), now)).await
    }

    /// Deletes a webhook with its deliveries.
    pub async fn delete_webhook(
        &self,
        project: &dyn ProjectStore,
        id: &WebhookId,
    ) -> Result<(), OperationError> {
        self.webhook(project, id).await?;
        let id = id.clone();
        let decide = Box::new(move |mut webhooks: Vec<Webhook>| {
            webhooks.retain(|webhook| webhook.id != id);
            Ok(WebhooksChange::to(webhooks))
        });
        project.change_webhooks(decide).await?;
        Ok(())
    }

    /// Replaces the secret of a webhook. Requests are signed with both secrets for `overlap`. The idempotency record
    /// that `record` builds is written in the same transaction.
    pub async fn rotate_webhook_secret(
        &self,
        project: &dyn ProjectStore,
        id: &WebhookId,
        overlap: SignedDuration,
        record: impl Fn(&Webhook) -> Option<IdempotencyRecord> + Send + 'static,
    ) -> Result<(Webhook, WebhookSecret), OperationError> {
        let now = self.now();
        let before = self.webhook(project, id).await?;
        // Before the write: nobody would have the new secret if it could not be derived.
        self.webhook_secret(&before, before.secret_version).await?;
        let change = move |webhook: Webhook| webhook.with_new_secret(overlap, now);
        let webhook = self.change_webhook(project, id, record, change).await?;
        let secret = self.webhook_secret(&webhook, webhook.secret_version).await?;
        Ok((webhook, secret))
    }

    /// Sends a test event to a webhook. The idempotency record that `record` builds is written in the same
    /// transaction.
    pub async fn test_webhook(
        &self,
        project: &dyn ProjectStore,
        id: &WebhookId,
        record: impl FnOnce(&WebhookDelivery) -> Option<IdempotencyRecord> + Send,
    ) -> Result<WebhookDelivery, OperationError> {
        let webhook = self.webhook(project, id).await?;
        webhook.require_enabled()?;
        let nonce = WebhookDeliveryId::generate(self.random());
        let event = Event::test(&webhook, self.now(), nonce.as_str());
        let delivery = self.delivery_of(project, &webhook, &event).await?;
        let record = record(&delivery);
        add(project, delivery.clone(), record).await?;
        Ok(delivery)
    }

    /// Delivers a delivery again that has ended. The idempotency record that `record` builds is written in the same
    /// transaction.
    pub async fn replay_webhook_delivery(
        &self,
        project: &dyn ProjectStore,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
        record: impl Fn(&WebhookDelivery) -> Option<IdempotencyRecord> + Send + 'static,
    ) -> Result<WebhookDelivery, OperationError> {
        self.webhook(project, webhook).await?.require_enabled()?;
        if self.has_too_many_pending(project, webhook).await? {
            return Err(Refusal::TooManyPendingDeliveries.into());
        }
        let (now, project_id) = (self.now(), project.project_id().clone());
        let decide = Box::new(move |delivery: WebhookDelivery| {
            let delivery = delivery.replayed(now)?;
            let (jobs, record) = (vec![deliver(&project_id, &delivery)], record(&delivery));
            Ok(DeliveryChange { delivery, jobs, record })
        });
        let changed = project.change_webhook_delivery(webhook, id, decide).await?;
        changed.ok_or(OperationError::NotFound(Resource::Delivery))
    }

    /// Makes the deliveries of an event, one for each webhook that subscribes to it.
    pub(crate) async fn notify_webhooks(
        &self,
        project: &dyn ProjectStore,
        source: &EventSource,
    ) -> Result<(), JobError> {
        match source {
            EventSource::Key { event } => return self.notify_of_key(event).await,
            EventSource::KeyExpiry { key, expires_at } => {
                return self.notify_of_key_expiry(key, *expires_at).await;
            }
            EventSource::Simulation { .. } | EventSource::MonitorRun { .. } => {}
        }
        let webhooks = project.webhooks().await?;
        let wanted = |event_type| webhooks.iter().any(|webhook| webhook.wants(event_type));
        for event in self.events_of(project, source, wanted).await? {
            self.add_deliveries(project, &webhooks, &event).await?;
        }
        Ok(())
    }

    /// Adds the deliveries of an event, unless they exist.
    async fn add_deliveries(
        &self,
        project: &dyn ProjectStore,
        webhooks: &[Webhook],
        event: &Event,
    ) -> Result<(), StoreError> {
        for webhook in webhooks {
            // A webhook gets no events from before its creation.
            if webhook.wants(event.event_type) && webhook.created_at <= event.at {
                let delivery = self.delivery_of(project, webhook, event).await?;
                add(project, delivery, None).await?;
            }
        }
        Ok(())
    }

    /// Fails a delivery whose job is buried.
    pub(crate) async fn fail_webhook_delivery(
        &self,
        project: &dyn ProjectStore,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
        error: DeliveryError,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let decide =
            Box::new(move |delivery: WebhookDelivery| Ok(DeliveryChange::to(delivery.fail(error, now)?)));
        ignore_refusal(project.change_webhook_delivery(webhook, id, decide).await)?;
        Ok(())
    }

    /// The delivery of an event, which has failed already if too many are pending.
    async fn delivery_of(
        &self,
        project: &dyn ProjectStore,
        webhook: &Webhook,
        event: &Event,
    ) -> Result<WebhookDelivery, StoreError> {
        let parts: Vec<&str> = event.parts.iter().map(String::as_str).collect();
        let id = WebhookDelivery::id_of(&webhook.id, event.event_type, &parts);
        let (body, now) = (event.body(webhook.format), self.now());
        let delivery = WebhookDelivery::new(id, &webhook.id, event.event_type, body, now);
        if self.has_too_many_pending(project, &webhook.id).await? {
            let failed = delivery.clone().fail(DeliveryError::TooManyPending, now);
            return Ok(failed.unwrap_or(delivery));
        }
        Ok(delivery)
    }

    async fn has_too_many_pending(
        &self,
        project: &dyn ProjectStore,
        webhook: &WebhookId,
    ) -> Result<bool, StoreError> {
        let pending = project.pending_webhook_deliveries(webhook, MAX_PENDING_DELIVERIES).await?;
        Ok(pending >= MAX_PENDING_DELIVERIES)
    }

    async fn change_webhook(
        &self,
        project: &dyn ProjectStore,
        id: &WebhookId,
        record: impl Fn(&Webhook) -> Option<IdempotencyRecord> + Send + 'static,
        change: impl Fn(Webhook) -> Webhook + Send + 'static,
    ) -> Result<Webhook, OperationError> {
        let wanted = id.clone();
        let decide = Box::new(move |webhooks: Vec<Webhook>| {
            let change = |webhook: Webhook| if webhook.id == wanted { change(webhook) } else { webhook };
            let webhooks: Vec<Webhook> = webhooks.into_iter().map(change).collect();
            let record = webhooks.iter().find(|webhook| webhook.id == wanted).and_then(&record);
            Ok(WebhooksChange { webhooks, record })
        });
        let webhooks = project.change_webhooks(decide).await?;
        webhooks.into_iter().find(|webhook| webhook.id == *id).ok_or(NOT_FOUND)
    }

    /// The URL in the form in which it is called, if the deployment calls it.
    fn callable_url(&self, url: &str) -> Result<String, OperationError> {
        let refuse = |error: OutboundError| OperationError::Field { field: "url", detail: error.to_string() };
        let uri: Uri = url.parse().map_err(|_| refuse(OutboundError::NotAUrl))?;
        self.outbound().policy.check_url(&uri).map_err(refuse)?;
        Ok(uri.to_string())
    }
}

/// The job that tells the webhooks of a project what happened.
pub(crate) fn notify(project: &ProjectId, event: EventSource) -> Job {
    Job::new(project.clone(), Work::NotifyWebhooks { event })
}

fn deliver(project: &ProjectId, delivery: &WebhookDelivery) -> Job {
    let work = Work::DeliverWebhook { webhook: delivery.webhook_id.clone(), delivery: delivery.id.clone() };
    Job::new(project.clone(), work)
}

/// Adds a delivery, unless it exists, with the job that attempts it.
async fn add(
    project: &dyn ProjectStore,
    delivery: WebhookDelivery,
    record: Option<IdempotencyRecord>,
) -> Result<(), StoreError> {
    let is_pending = delivery.state == DeliveryState::Pending;
    let jobs = is_pending.then(|| deliver(project.project_id(), &delivery)).into_iter().collect();
    project.add_webhook_delivery(delivery, jobs, record).await?;
    Ok(())
}
