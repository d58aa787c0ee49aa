//! Events of managed keys. Their bodies have public ids, the name, the scopes and times: never a key or its digest, and
//! of the key's projects only the one that is told.

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{KeyId, KeyStatus};
use onerun_domain::{EventType, KEY_EXPIRY_NOTICE, KeyEvent, ProjectId, later, wire_time};
use serde_json::{Value, json};

use crate::{Engine, JobError, keys::key_event, webhooks::events::Event};

/// How long the job of a key's expiry waits at most before it looks at the key again, so that it does not outlive a
/// key that was revoked by years.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Engine {
    /// Makes the deliveries of a key's event, for the webhooks of each of its projects.
    pub(super) async fn notify_of_key(&self, event: &KeyEvent) -> Result<(), JobError> {
        for id in &event.projects {
            let Some(project) = self.store().open_project(id).await? else { continue };
            let webhooks = project.webhooks().await?;
            self.add_deliveries(project.as_ref(), &webhooks, &event_in(id, event)).await?;
        }
        Ok(())
    }

    /// Makes the deliveries that tell of a key's expiry, once it is near. A key that was revoked or replaced, or has
    /// another expiry by then, is not told.
    pub(super) async fn notify_of_key_expiry(
        &self,
        key: &str,
        expires_at: Timestamp,
    ) -> Result<(), JobError> {
        let Ok(id) = key.parse::<KeyId>() else { return Ok(()) };
        let now = self.now();
        let Some(record) = self.store().key(&id).await? else { return Ok(()) };
        let is_over = matches!(record.status(now), KeyStatus::Revoked | KeyStatus::Expired);
        if is_over || record.replaced.is_some() || record.grant.expires_at != Some(expires_at) {
            return Ok(());
        }
        let due = later(expires_at, -KEY_EXPIRY_NOTICE);
        if now < due {
            let until = due.min(later(now, LOOK_EVERY));
            return Err(JobError::Postponed { until, reason: "the key does not expire soon".to_owned() });
        }
        self.notify_of_key(&key_event(EventType::KeyExpiring, &record, due)).await
    }
}

/// The event as the webhooks of one project are told.
fn event_in(project: &ProjectId, event: &KeyEvent) -> Event {
    let expires_at = event.expires_at.map(wire_time);
    let mut data = json!({
        "project_id": project,
        "key_id": event.key_id,
        "name": event.name,
        "scopes": event.scopes,
        "actor_key_id": event.actor_key_id,
        "created_at": wire_time(event.created_at),
        "expires_at": expires_at,
    });
    let actor = event.actor_key_id.as_deref().unwrap_or_default();
    let deed = match event.event_type {
        EventType::KeyRotated => {
            let new = event.replaced.as_ref().map(|(id, _)| id.as_str());
            data["new_key_id"] = json!(new);
            data["overlap_ends_at"] = json!(event.replaced.as_ref().map(|(_, end)| wire_time(*end)));
            format!("was replaced by {}, by {actor}", new.unwrap_or_default())
        }
        EventType::KeyRevoked => {
            data["leaked"] = Value::Bool(event.is_leaked);
            if event.is_leaked {
                "was revoked, because it was reported as leaked".to_owned()
            } else {
                format!("was revoked by {actor}")
            }
        }
        EventType::KeyExpiring => format!("expires at {}", expires_at.unwrap_or_default()),
        EventType::KeyDisabled => format!("was disabled by {actor}"),
        _ => format!("was created by {actor}"),
    };
    // The expiry may be changed, and the event of the new one is another.
    let number = match event.event_type {
        EventType::KeyExpiring => event.expires_at.unwrap_or_default().as_microsecond().to_string(),
        _ => event.revision.to_string(),
    };
    Event {
        event_type: event.event_type,
        parts: vec![event.key_id.clone(), number],
        at: event.at,
        data,
        text: format!("OneRun: key {} ({}) {deed}", event.name, event.key_id),
    }
}
