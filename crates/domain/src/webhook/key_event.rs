//! Events of managed keys.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::EventType;
use crate::ProjectId;

/// How long before its expiry a key is said to expire.
pub const KEY_EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A change of a managed key, with what its webhooks may know: neither the key, nor its digest, nor which other
/// projects it reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvent {
    /// The type of the event.
    pub event_type: EventType,
    /// The key's public id.
    pub key_id: String,
    /// The number of the key's change, which tells its events apart.
    pub revision: u64,
    /// The name, for people.
    pub name: String,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The projects whose webhooks are told. No body has more than one of them.
    pub projects: Vec<ProjectId>,
    /// The public id of the key that made the change; `None` if nobody did.
    pub actor_key_id: Option<String>,
    /// When the key was created.
    pub created_at: Timestamp,
    /// When the key expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it happened.
    pub at: Timestamp,
    /// The public id of the key that replaces it, and until when both are accepted.
    pub replaced: Option<(String, Timestamp)>,
    /// Whether it was revoked because somebody reported it as leaked.
    pub is_leaked: bool,
}
