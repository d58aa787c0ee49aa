//! Webhooks, which are called when something happens in a project.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of a new webhook.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewWebhook {
    /// The URL that is called.
    pub url: String,
    /// Its purpose, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The types of events that it gets; the API's default, all, if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<String>>,
    /// The form of its requests: `standard` or `slack`; `standard` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether it gets events: `enabled` or `disabled`; `enabled` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// The changes of a webhook. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WebhookChange {
    /// The new URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The new description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The new types of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_types: Option<Vec<String>>,
    /// The new form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The new state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// The URL that is called.
    pub url: String,
    /// Its purpose, for people.
    pub description: Option<String>,
    /// The types of events that it gets.
    pub event_types: Vec<String>,
    /// The form of its requests.
    pub format: String,
    /// Whether it gets events: `enabled` or `disabled`.
    pub state: String,
    /// Why the deployment disabled it.
    pub disabled_reason: Option<String>,
    /// Until when requests are also signed with the secret before the present one (RFC 3339, UTC).
    pub previous_secret_expires_at: Option<String>,
    /// When it was created (RFC 3339, UTC).
    pub created_at: String,
}

/// A webhook with its new secret.
#[derive(Clone, Deserialize)]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The secret; `None` in the answer to a repeated call, whose first answer had it.
    pub secret: Option<String>,
}

/// A delivery of an event to a webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct WebhookDelivery {
    /// Its id, which each request has in the header `webhook-id`.
    pub id: String,
    /// The type of the event.
    pub event_type: String,
    /// The body of the requests.
    pub payload: Value,
    /// Its state: `pending`, `delivered` or `failed`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Its latest attempts, the earliest first.
    pub attempts: Vec<WebhookDeliveryAttempt>,
    /// When it is attempted next (RFC 3339, UTC).
    pub next_attempt_at: Option<String>,
    /// When the event was noticed (RFC 3339, UTC).
    pub created_at: String,
}

/// One request to the target of a webhook.
#[derive(Clone, Debug, Deserialize)]
pub struct WebhookDeliveryAttempt {
    /// When it ended (RFC 3339, UTC).
    pub at: String,
    /// The status of the answer.
    pub status_code: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}
