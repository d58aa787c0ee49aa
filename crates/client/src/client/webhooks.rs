//! Webhooks of a project.

use reqwest::Method;
use serde_json::{Value, json};

use super::ProjectClient;
use crate::{
    Error, Verbatim,
    resource::{NewWebhook, Page, PageRequest, Webhook, WebhookChange, WebhookDelivery, WebhookWithSecret},
};

impl ProjectClient {
    /// Creates a webhook. The answer has its secret, which no other answer has.
    pub async fn create_webhook(&self, new: &NewWebhook) -> Result<Verbatim<WebhookWithSecret>, Error> {
        self.0.at(&["webhooks"]).create("creating a webhook", new).await
    }

    /// Webhooks, newest first.
    pub async fn list_webhooks(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Webhook>>>, Error> {
        self.0.at(&["webhooks"]).page(&[], page).await
    }

    /// The webhook with this id.
    pub async fn webhook(&self, id: &str) -> Result<Verbatim<Webhook>, Error> {
        self.0.at(&["webhooks", id]).get(&[]).await
    }

    /// Changes a webhook.
    pub async fn update_webhook(&self, id: &str, change: &WebhookChange) -> Result<Verbatim<Webhook>, Error> {
        self.0.at(&["webhooks", id]).patch(change).await
    }

    /// Deletes a webhook and its deliveries.
    pub async fn delete_webhook(&self, id: &str) -> Result<(), Error> {
        let webhook = self.0.at(&["webhooks", id]);
        let request = || webhook.request(Method::DELETE, &[]);
        webhook.retrying::<Value>("deleting a webhook", request).await.map(drop)
    }

    /// Replaces the secret of a webhook. Requests have signatures of both secrets for `overlap_seconds`, a day if it
    /// is left out.
    pub async fn rotate_webhook_secret(
        &self,
        id: &str,
        overlap_seconds: Option<u32>,
    ) -> Result<Verbatim<WebhookWithSecret>, Error> {
        let body = overlap_seconds.map_or_else(|| json!({}), |seconds| json!({ "overlap_seconds": seconds }));
        self.0.at(&["webhooks", id, "rotate_secret"]).create("rotating a secret", &body).await
    }

    /// Sends a test event to a webhook. The answer is its delivery before the first attempt.
    pub async fn test_webhook(&self, id: &str) -> Result<Verbatim<WebhookDelivery>, Error> {
        self.0.at(&["webhooks", id, "test"]).create("testing a webhook", &json!({})).await
    }

    /// The deliveries of a webhook, newest first, all or those in one state.
    pub async fn list_webhook_deliveries(
        &self,
        id: &str,
        state: Option<&str>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<WebhookDelivery>>>, Error> {
        let query: Vec<_> = state.map(|state| ("state", state)).into_iter().collect();
        self.0.at(&["webhooks", id, "deliveries"]).page(&query, page).await
    }

    /// The delivery with this id.
    pub async fn webhook_delivery(
        &self,
        webhook: &str,
        id: &str,
    ) -> Result<Verbatim<WebhookDelivery>, Error> {
        self.0.at(&["webhooks", webhook, "deliveries", id]).get(&[]).await
    }

    /// Delivers a delivery again that has ended.
    pub async fn replay_webhook_delivery(
        &self,
        webhook: &str,
        id: &str,
    ) -> Result<Verbatim<WebhookDelivery>, Error> {
        let delivery = self.0.at(&["webhooks", webhook, "deliveries", id, "replay"]);
        delivery.create("replaying a delivery", &json!({})).await
    }
}
