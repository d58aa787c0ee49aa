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

mod delivery;
mod key_event;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    MonitorId, MonitorRunId, ProjectId, Refusal, SimulationId, SimulationStatus, WebhookDescription,
    WebhookId, later,
};

pub use delivery::{DELIVERY_RETENTION, DeliveryAttempt, DeliveryError, DeliveryState, WebhookDelivery};
pub use key_event::{KEY_EXPIRY_NOTICE, KeyEvent};

/// The most webhooks of a project.
pub const MAX_WEBHOOKS: usize = 20;

/// The most deliveries of a webhook that wait for an attempt. A further one fails at once, and can be replayed.
pub const MAX_PENDING_DELIVERIES: u32 = 1_000;

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
    /// A managed key was created.
    #[serde(rename = "key.created")]
    KeyCreated,
    /// A managed key was replaced by a new one.
    #[serde(rename = "key.rotated")]
    KeyRotated,
    /// A managed key was disabled.
    #[serde(rename = "key.disabled")]
    KeyDisabled,
    /// A managed key was revoked, by a caller or by a report of a leak.
    #[serde(rename = "key.revoked")]
    KeyRevoked,
    /// A managed key expires soon.
    #[serde(rename = "key.expiring")]
    KeyExpiring,
    /// A caller tests a webhook. Every webhook gets its own.
    #[serde(rename = "webhook.test")]
    WebhookTest,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 13] = [
        Self::SimulationCompleted,
        Self::SimulationFailed,
        Self::SimulationCanceled,
        Self::SimulationExpired,
        Self::MonitorRunFinished,
        Self::MonitorAlert,
        Self::MonitorRecovered,
        Self::KeyCreated,
        Self::KeyRotated,
        Self::KeyDisabled,
        Self::KeyRevoked,
        Self::KeyExpiring,
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
            Self::KeyCreated => "key.created",
            Self::KeyRotated => "key.rotated",
            Self::KeyDisabled => "key.disabled",
            Self::KeyRevoked => "key.revoked",
            Self::KeyExpiring => "key.expiring",
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

/// The cause of events, which follow from its stored state. A change of a key is told by itself: the key may have
/// changed again, and the event has nothing that only functions about keys may read.
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
    /// A managed key was changed.
    Key {
        /// The change.
        event: Box<KeyEvent>,
    },
    /// A managed key expires, unless it is changed before.
    KeyExpiry {
        /// The key's public id.
        key: String,
        /// When it expires.
        expires_at: Timestamp,
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

#[cfg(test)]
mod tests;
