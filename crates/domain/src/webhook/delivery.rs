//! Deliveries: one request to one target, repeated until it is accepted.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::EventType;
use crate::{Refusal, WebhookDeliveryId, WebhookId, later};

/// How long a delivery is stored.
pub const DELIVERY_RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How many attempts a delivery keeps, the latest ones.
pub(super) const MAX_ATTEMPTS: usize = 20;

/// How long a delivery waits after its first failure, its second, and so on: 28 hours in all.
pub(super) const RETRY_DELAYS: [SignedDuration; 7] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(10),
];

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It waits for its next attempt.
    Pending,
    /// The target accepted it.
    Delivered,
    /// It is not attempted any more, unless it is replayed.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Why an attempt or a delivery failed. It says nothing of what the target answered but the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryError {
    /// The target did not answer in time.
    Timeout,
    /// There was no connection, or it broke.
    ConnectionFailed,
    /// The status of the answer is not 2xx.
    Status,
    /// The answer is too large.
    ResponseTooLarge,
    /// The deployment does not call this address.
    AddressRefused,
    /// Too many deliveries of the webhook were pending.
    TooManyPending,
    /// The webhook was disabled.
    WebhookDisabled,
    /// The job of the delivery failed. The log of the deployment has the reason.
    Internal,
}

impl DeliveryError {
    /// Every error.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::ConnectionFailed,
        Self::Status,
        Self::ResponseTooLarge,
        Self::AddressRefused,
        Self::TooManyPending,
        Self::WebhookDisabled,
        Self::Internal,
    ];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ConnectionFailed => "connection_failed",
            Self::Status => "status",
            Self::ResponseTooLarge => "response_too_large",
            Self::AddressRefused => "address_refused",
            Self::TooManyPending => "too_many_pending",
            Self::WebhookDisabled => "webhook_disabled",
            Self::Internal => "internal",
        }
    }
}

/// One request to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAttempt {
    /// When it ended.
    pub at: Timestamp,
    /// The status of the answer, if there was one.
    pub status_code: Option<u16>,
    /// Why it failed; `None` if the target accepted the delivery.
    pub error: Option<DeliveryError>,
}

/// A delivery of an event to a webhook. Every backend stores it as one JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// Its id, which each request repeats.
    pub id: WebhookDeliveryId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The type of the event.
    pub event_type: EventType,
    /// The body of the requests.
    pub body: String,
    /// Its state.
    pub state: DeliveryState,
    /// Why it failed.
    pub error: Option<DeliveryError>,
    /// Its attempts, the earliest first, of which the latest 20 are kept.
    pub attempts: Vec<DeliveryAttempt>,
    /// How many attempts failed since its creation or its replay.
    pub failures: u32,
    /// When it is attempted next.
    pub next_attempt_at: Option<Timestamp>,
    /// When the event was noticed.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl WebhookDelivery {
    /// The id of the delivery of an event. `parts` identify the event among those of its type.
    pub fn id_of(webhook: &WebhookId, event_type: EventType, parts: &[&str]) -> WebhookDeliveryId {
        let event = [webhook.as_str(), event_type.as_str()];
        WebhookDeliveryId::derive(&event.into_iter().chain(parts.iter().copied()).collect::<Vec<_>>())
    }

    /// A delivery that is attempted at once.
    pub fn new(
        id: WebhookDeliveryId,
        webhook: &WebhookId,
        event_type: EventType,
        body: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            webhook_id: webhook.clone(),
            event_type,
            body,
            state: DeliveryState::Pending,
            error: None,
            attempts: Vec::new(),
            failures: 0,
            next_attempt_at: Some(now),
            created_at: now,
            updated_at: now,
        }
    }

    /// Notes an attempt, and plans the next one if it failed and the day is not over. `jitter` is random: it makes the
    /// wait longer by up to a fifth, so that deliveries that failed together are not repeated together.
    pub fn attempted(self, attempt: DeliveryAttempt, jitter: u8, now: Timestamp) -> Result<Self, Refusal> {
        self.require_pending()?;
        let mut delivery = self;
        let error = attempt.error;
        delivery.attempts.push(attempt);
        let surplus = delivery.attempts.len().saturating_sub(MAX_ATTEMPTS);
        delivery.attempts.drain(..surplus);
        delivery.updated_at = now;
        if error.is_none() {
            return Ok(delivery.ended(DeliveryState::Delivered, None));
        }
        let place = usize::try_from(delivery.failures).unwrap_or(usize::MAX);
        delivery.failures = delivery.failures.saturating_add(1);
        let Some(delay) = RETRY_DELAYS.get(place) else {
            return Ok(delivery.ended(DeliveryState::Failed, error));
        };
        let surplus =
            SignedDuration::from_micros(delay.as_secs() * i64::from(jitter) * 1_000_000 / (255 * 5));
        delivery.next_attempt_at = Some(later(now, *delay + surplus));
        Ok(delivery)
    }

    /// Gives a pending delivery up.
    pub fn fail(self, error: DeliveryError, now: Timestamp) -> Result<Self, Refusal> {
        self.require_pending()?;
        Ok(Self { updated_at: now, ..self }.ended(DeliveryState::Failed, Some(error)))
    }

    /// Delivers it once more, with a day of attempts. Refused while it is pending.
    pub fn replayed(self, now: Timestamp) -> Result<Self, Refusal> {
        if let Some(at) = self.next_attempt_at.filter(|_| self.state == DeliveryState::Pending) {
            return Err(Refusal::DeliveryPending { at });
        }
        Ok(Self {
            state: DeliveryState::Pending,
            error: None,
            failures: 0,
            next_attempt_at: Some(now),
            updated_at: now,
            ..self
        })
    }

    /// When it is removed.
    pub fn expires_at(&self) -> Timestamp {
        later(self.created_at, DELIVERY_RETENTION)
    }

    fn ended(self, state: DeliveryState, error: Option<DeliveryError>) -> Self {
        Self { state, error, next_attempt_at: None, ..self }
    }

    fn require_pending(&self) -> Result<(), Refusal> {
        if self.state == DeliveryState::Pending { Ok(()) } else { Err(Refusal::DeliveryOver) }
    }
}
