//! Webhooks and their deliveries in responses.

use onerun_domain::{DeliveryAttempt, EventType, Webhook, WebhookDelivery};
use onerun_engine::WebhookSecret;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    openapi::examples::{CHANGED, DELIVERY, END, MADE, PROJECT, SIMULATION, WEBHOOK},
    operation::Example,
    views::{DeliveryErrorOut, DeliveryStateOut, EventTypeOut, Time, WebhookFormatOut, WebhookStateOut},
};

/// A webhook.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub(crate) struct WebhookOut {
    id: String,
    project_id: String,
    /// The URL that is called.
    url: String,
    description: Option<String>,
    /// The types of events that it gets.
    event_types: Vec<EventTypeOut>,
    /// The form of the requests.
    format: WebhookFormatOut,
    state: WebhookStateOut,
    /// Why it was disabled if a caller did not do it, otherwise null.
    disabled_reason: Option<String>,
    /// Until when requests are also signed with the secret before the present one; null if there is none.
    previous_secret_expires_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

impl From<&Webhook> for WebhookOut {
    fn from(webhook: &Webhook) -> Self {
        Self {
            id: webhook.id.to_string(),
            project_id: webhook.project_id.to_string(),
            url: webhook.url.clone(),
            description: webhook.description.as_ref().map(ToString::to_string),
            event_types: webhook.event_types.iter().copied().map(EventTypeOut).collect(),
            format: WebhookFormatOut(webhook.format),
            state: WebhookStateOut(webhook.state),
            disabled_reason: webhook.disabled_reason.clone(),
            previous_secret_expires_at: webhook.previous_secret_until.map(Time),
            created_at: Time(webhook.created_at),
            updated_at: Time(webhook.updated_at),
        }
    }
}

/// A webhook with its new secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookWithSecret")]
pub(crate) struct MadeWebhookOut {
    #[serde(flatten)]
    webhook: WebhookOut,
    /// The secret, `whsec_` and base64, shown in this response only; null in the answer to a repeated request.
    secret: Option<String>,
}

impl MadeWebhookOut {
    pub(crate) fn new(webhook: &Webhook, secret: &WebhookSecret) -> Self {
        Self { webhook: webhook.into(), secret: Some(secret.expose().to_string()) }
    }

    /// The response to a repetition of the request.
    pub(crate) fn without_secret(webhook: &Webhook) -> Self {
        Self { webhook: webhook.into(), secret: None }
    }
}

/// A delivery of an event to a webhook.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookDelivery")]
pub(crate) struct DeliveryOut {
    /// Its id, which each request has in the header `webhook-id`.
    id: String,
    webhook_id: String,
    event_type: EventTypeOut,
    /// The body of the requests.
    payload: Value,
    state: DeliveryStateOut,
    /// Why it failed; null otherwise.
    error: Option<DeliveryErrorOut>,
    /// Its attempts, the earliest first, of which the latest 20 are kept.
    attempts: Vec<DeliveryAttemptOut>,
    /// When it is attempted next, if it is pending.
    next_attempt_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
    /// When it is removed.
    expires_at: Time,
}

/// One request to the target of a webhook.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookDeliveryAttempt")]
struct DeliveryAttemptOut {
    /// When it ended.
    at: Time,
    /// The status of the answer; null if there was none.
    status_code: Option<u16>,
    /// Why it failed; null if the target accepted the delivery.
    error: Option<DeliveryErrorOut>,
}

impl From<&DeliveryAttempt> for DeliveryAttemptOut {
    fn from(attempt: &DeliveryAttempt) -> Self {
        Self {
            at: Time(attempt.at),
            status_code: attempt.status_code,
            error: attempt.error.map(DeliveryErrorOut),
        }
    }
}

impl From<&WebhookDelivery> for DeliveryOut {
    fn from(delivery: &WebhookDelivery) -> Self {
        Self {
            id: delivery.id.to_string(),
            webhook_id: delivery.webhook_id.to_string(),
            event_type: EventTypeOut(delivery.event_type),
            payload: serde_json::from_str(&delivery.body).unwrap_or_default(),
            state: DeliveryStateOut(delivery.state),
            error: delivery.error.map(DeliveryErrorOut),
            attempts: delivery.attempts.iter().map(DeliveryAttemptOut::from).collect(),
            next_attempt_at: delivery.next_attempt_at.map(Time),
            created_at: Time(delivery.created_at),
            updated_at: Time(delivery.updated_at),
            expires_at: Time(delivery.expires_at()),
        }
    }
}

impl Example for WebhookOut {
    fn example() -> Value {
        json!({
            "id": WEBHOOK,
            "project_id": PROJECT,
            "url": "https://example.com/hooks/onerun",
            "description": "Tells the team",
            "event_types": EventType::subscribable().map(EventType::as_str).collect::<Vec<_>>(),
            "format": "standard",
            "state": "enabled",
            "disabled_reason": null,
            "previous_secret_expires_at": null,
            "created_at": MADE,
            "updated_at": MADE,
        })
    }
}

impl Example for MadeWebhookOut {
    fn example() -> Value {
        let mut webhook = WebhookOut::example();
        webhook["secret"] = json!("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        webhook
    }
}

impl Example for DeliveryOut {
    fn example() -> Value {
        json!({
            "id": DELIVERY,
            "webhook_id": WEBHOOK,
            "event_type": "simulation.completed",
            "payload": {
                "type": "simulation.completed",
                "timestamp": MADE,
                "data": { "project_id": PROJECT, "simulation_id": SIMULATION, "status": "completed" },
            },
            "state": "delivered",
            "error": null,
            "attempts": [
                { "at": MADE, "status_code": 503, "error": "status" },
                { "at": CHANGED, "status_code": 204, "error": null },
            ],
            "next_attempt_at": null,
            "created_at": MADE,
            "updated_at": CHANGED,
            "expires_at": END,
        })
    }
}
