//! Webhooks: requests that tell systems of users what happened in a project.
//!
//! An event makes one delivery for each webhook that subscribes to it. A delivery is attempted until its target accepts
//! it, over about a day:
//!
//! ```text
//! pending → delivered | failed → pending (a replay)
//! ```
//!
//! The id of a delivery follows from the webhook and the event, so an event is delivered once, however often it is
//! noticed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    MonitorId, MonitorRunId, ProjectId, Refusal, SimulationId, SimulationStatus, WebhookDeliveryId,
    WebhookDescription, WebhookId, later,
};

/// The most webhooks of a project.
pub const MAX_WEBHOOKS: usize = 20;

/// The most deliveries of a webhook that wait for an attempt. A further one fails at once, and can be replayed.
pub const MAX_PENDING_DELIVERIES: u32 = 1_000;

/// How long a delivery is stored.
pub const DELIVERY_RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How many attempts a delivery keeps, the latest ones.
const MAX_ATTEMPTS: usize = 20;

/// How long a delivery waits after its first failure, its second, and so on: 28 hours in all.
const RETRY_DELAYS: [SignedDuration; 7] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(10),
];

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// Every conversation of a simulation was held and evaluated.
    #[serde(rename = "simulation.completed")]
    SimulationCompleted,
    /// A simulation failed.
    #[serde(rename = "simulation.failed")]
    SimulationFailed,
    /// A simulation was canceled.
    #[serde(rename = "simulation.canceled")]
    SimulationCanceled,
    /// A simulation expired.
    #[serde(rename = "simulation.expired")]
    SimulationExpired,
    /// A run of a monitor ended.
    #[serde(rename = "monitor.run_finished")]
    MonitorRunFinished,
    /// The alert of a monitor opened.
    #[serde(rename = "monitor.alert")]
    MonitorAlert,
    /// The alert of a monitor ended.
    #[serde(rename = "monitor.recovered")]
    MonitorRecovered,
    /// A caller tests a webhook. Every webhook gets its own.
    #[serde(rename = "webhook.test")]
    WebhookTest,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::SimulationCompleted,
        Self::SimulationFailed,
        Self::SimulationCanceled,
        Self::SimulationExpired,
        Self::MonitorRunFinished,
        Self::MonitorAlert,
        Self::MonitorRecovered,
        Self::WebhookTest,
    ];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SimulationCompleted => "simulation.completed",
            Self::SimulationFailed => "simulation.failed",
            Self::SimulationCanceled => "simulation.canceled",
            Self::SimulationExpired => "simulation.expired",
            Self::MonitorRunFinished => "monitor.run_finished",
            Self::MonitorAlert => "monitor.alert",
            Self::MonitorRecovered => "monitor.recovered",
            Self::WebhookTest => "webhook.test",
        }
    }

    /// The types that a webhook subscribes to.
    pub fn subscribable() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|one| *one != Self::WebhookTest)
    }

    /// The type of the event at the end of a simulation; `None` before it.
    pub fn of_simulation(status: SimulationStatus) -> Option<Self> {
        match status {
            SimulationStatus::Pending | SimulationStatus::InProgress => None,
            SimulationStatus::Completed => Some(Self::SimulationCompleted),
            SimulationStatus::Failed => Some(Self::SimulationFailed),
            SimulationStatus::Canceled => Some(Self::SimulationCanceled),
            SimulationStatus::Expired => Some(Self::SimulationExpired),
        }
    }
}

/// What happened. The events follow from the stored state of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// A simulation ended.
    Simulation {
        /// The simulation.
        simulation: SimulationId,
    },
    /// A run of a monitor ended.
    MonitorRun {
        /// The simulation that it created, or should have.
        simulation: SimulationId,
        /// The monitor.
        monitor: MonitorId,
        /// The run.
        run: MonitorRunId,
    },
}

/// The form of a webhook's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// Standard Webhooks: `type`, `timestamp` and `data`.
    #[default]
    Standard,
    /// A message for an incoming webhook of Slack.
    Slack,
}

impl WebhookFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Slack];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Slack => "slack",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// Whether a webhook gets events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// It does.
    #[default]
    Enabled,
    /// It does not.
    Disabled,
}

impl WebhookState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Enabled, Self::Disabled];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }
}

/// A webhook. Every backend stores those of a project as one JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The project whose events it gets.
    pub project_id: ProjectId,
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
    /// Why the deployment disabled it; `None` if a caller did.
    pub disabled_reason: Option<String>,
    /// The version of its secret. The secret is derived from it, and never stored.
    pub secret_version: u32,
    /// Until when requests are also signed with the secret before it.
    pub previous_secret_until: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A partial update of a webhook. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookPatch {
    /// The new URL.
    pub url: Option<String>,
    /// The new description.
    pub description: Option<WebhookDescription>,
    /// The new events.
    pub event_types: Option<BTreeSet<EventType>>,
    /// The new form.
    pub format: Option<WebhookFormat>,
    /// The new state.
    pub state: Option<WebhookState>,
}

impl Webhook {
    /// Applies the changes. `updated_at` moves only if something changed.
    #[must_use]
    pub fn patched(self, patch: WebhookPatch, now: Timestamp) -> Self {
        let WebhookPatch { url, description, event_types, format, state } = patch;
        let before = self.clone();
        let mut webhook = self;
        webhook.url = url.unwrap_or(webhook.url);
        webhook.description = description.or(webhook.description);
        webhook.event_types = event_types.unwrap_or(webhook.event_types);
        webhook.format = format.unwrap_or(webhook.format);
        if let Some(state) = state {
            webhook.state = state;
            if state == WebhookState::Enabled {
                webhook.disabled_reason = None;
            }
        }
        if webhook != before {
            webhook.updated_at = now;
        }
        webhook
    }

    /// Disables it because of what its target answered.
    #[must_use]
    pub fn disabled(self, reason: &str, now: Timestamp) -> Self {
        if self.state == WebhookState::Disabled {
            return self;
        }
        let disabled_reason = Some(reason.to_owned());
        Self { state: WebhookState::Disabled, disabled_reason, updated_at: now, ..self }
    }

    /// Replaces its secret. Requests are signed with both secrets for `overlap`. An earlier secret that was still in
    /// use no longer is.
    #[must_use]
    pub fn with_new_secret(self, overlap: SignedDuration, now: Timestamp) -> Self {
        Self {
            secret_version: self.secret_version.saturating_add(1),
            previous_secret_until: (!overlap.is_zero()).then(|| later(now, overlap)),
            updated_at: now,
            ..self
        }
    }

    /// The versions of the secrets that sign a request, the present one first.
    pub fn signing_versions(&self, now: Timestamp) -> Vec<u32> {
        let previous = self.previous_secret_until.filter(|until| now < *until);
        let previous = previous.and_then(|_| self.secret_version.checked_sub(1));
        std::iter::once(self.secret_version).chain(previous).collect()
    }

    /// Whether it gets events of this type.
    pub fn wants(&self, event_type: EventType) -> bool {
        self.state == WebhookState::Enabled
            && (event_type == EventType::WebhookTest || self.event_types.contains(&event_type))
    }

    /// Refuses if it is disabled.
    pub fn require_enabled(&self) -> Result<(), Refusal> {
        match self.state {
            WebhookState::Enabled => Ok(()),
            WebhookState::Disabled => Err(Refusal::WebhookDisabled),
        }
    }
}

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

#[cfg(test)]
mod tests;
