//! The part of a project's store that holds webhooks and their deliveries.

use async_trait::async_trait;
use onerun_domain::{
    DeliveryState, Job, Page, PageRequest, Webhook, WebhookDelivery, WebhookDeliveryId, WebhookId,
};

use crate::{ChangeError, Decide, IdempotencyRecord, StoreError};

/// The new webhooks of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhooksChange {
    /// All webhooks, in the order of their creation.
    pub webhooks: Vec<Webhook>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

impl WebhooksChange {
    /// A change of the webhooks only.
    pub fn to(webhooks: Vec<Webhook>) -> Self {
        Self { webhooks, record: None }
    }
}

/// The new state of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryChange {
    /// Its new state.
    pub delivery: WebhookDelivery,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

impl DeliveryChange {
    /// A change of the state only.
    pub fn to(delivery: WebhookDelivery) -> Self {
        Self { delivery, jobs: Vec::new(), record: None }
    }
}

/// Webhooks and their deliveries in one project. Ids of other projects are unknown here.
///
/// A project has few webhooks, so all of them are one row: reading them takes one read, also if there are none, and
/// their number is bounded by a decision.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// All webhooks, in the order of their creation.
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError>;

    /// Changes the webhooks. Unchanged ones are not written, but the record is. Deliveries of a webhook that is no
    /// longer there are unreachable, and removed after [`DELIVERY_RETENTION`](onerun_domain::DELIVERY_RETENTION).
    async fn change_webhooks(
        &self,
        decide: Decide<Vec<Webhook>, WebhooksChange>,
    ) -> Result<Vec<Webhook>, ChangeError>;

    /// Adds a delivery with its jobs and the idempotency record of the request, unless a delivery with its id exists,
    /// which then stays unchanged. Returns `false` if nothing was added.
    async fn add_webhook_delivery(
        &self,
        delivery: WebhookDelivery,
        jobs: Vec<Job>,
        record: Option<IdempotencyRecord>,
    ) -> Result<bool, StoreError>;

    /// One delivery.
    async fn webhook_delivery(
        &self,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
    ) -> Result<Option<WebhookDelivery>, StoreError>;

    /// A page of a webhook's deliveries, of all states or of one, newest first.
    async fn webhook_deliveries(
        &self,
        webhook: &WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> Result<Page<WebhookDelivery>, StoreError>;

    /// The number of a webhook's pending deliveries, counted up to `limit`.
    async fn pending_webhook_deliveries(&self, webhook: &WebhookId, limit: u32) -> Result<u32, StoreError>;

    /// Changes a delivery. `None` if it does not exist.
    async fn change_webhook_delivery(
        &self,
        webhook: &WebhookId,
        id: &WebhookDeliveryId,
        decide: Decide<WebhookDelivery, DeliveryChange>,
    ) -> Result<Option<WebhookDelivery>, ChangeError>;
}
