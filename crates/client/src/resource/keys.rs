//! Keys and their audit trail.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{PageRequest, pages::following};
use crate::Verbatim;

/// A key, without its secret.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    /// Its public id, safe in logs.
    pub id: String,
    /// The start of the key: `onr_` and the id.
    pub prefix: String,
    /// The name for people.
    pub name: String,
    /// The status.
    pub status: KeyStatus,
    /// The scopes.
    pub scopes: Vec<String>,
    /// Whether it may access every project.
    pub all_projects: bool,
    /// The projects that it may access, if not all.
    pub project_ids: Vec<String>,
    /// When it starts to work, if later than its creation.
    pub not_before: Option<String>,
    /// When it expires; `None` if never.
    pub expires_at: Option<String>,
    /// The allowed client addresses; `None` for any.
    pub allowed_cidrs: Option<Vec<String>>,
    /// The rate limit, if there is one.
    pub rate_limit: Option<RateLimit>,
    /// Your own data.
    pub metadata: Map<String, Value>,
    /// When it was created (RFC 3339, UTC).
    pub created_at: String,
    /// The id of the key that created it.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: String,
    /// Since when it is disabled.
    pub disabled_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// The key that it replaces.
    pub replaces: Option<String>,
    /// The key that replaces it.
    pub replaced_by: Option<String>,
    /// When it was replaced.
    pub replaced_at: Option<String>,
    /// Until when it works beside its replacement.
    pub overlap_ends_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// Scopes that it was used with.
    pub used_scopes: Vec<String>,
    /// The number of uses since it was replaced.
    pub uses_since_replaced: u64,
    /// When it was last used since it was replaced.
    pub last_used_since_replaced_at: Option<String>,
}

/// The status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It works.
    Active,
    /// It does not work yet.
    Pending,
    /// Disabled until it is enabled again.
    Disabled,
    /// It has expired, or the overlap after its rotation has ended.
    Expired,
    /// Revoked permanently.
    Revoked,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

impl KeyStatus {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// The number of requests, from 1 to 1,000,000.
    pub requests: u32,
    /// The window in seconds, from 1 to 86,400.
    pub window_seconds: u32,
}

/// A new key with its secret.
#[derive(Clone, Debug, Deserialize)]
pub struct IssuedKey {
    /// The key without its secret.
    #[serde(flatten)]
    pub key: Key,
    /// The secret. Only one response has it: `None` if that response was lost. Revoke the key then.
    #[serde(rename = "key")]
    pub secret: Option<SecretKey>,
}

/// The text of a key. `Debug` does not print it, and it is overwritten when it is dropped.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct SecretKey(Zeroizing<String>);

impl From<String> for SecretKey {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl SecretKey {
    /// The text. Do not log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey")
    }
}

/// The fields of a new key.
#[derive(Clone, Debug, Serialize)]
pub struct NewKey {
    /// The name for people.
    pub name: String,
    /// The scopes.
    #[serde(flatten)]
    pub grants: Grants,
    /// The projects.
    #[serde(flatten)]
    pub projects: Projects,
    /// The lifetime; 90 days by default.
    #[serde(flatten)]
    pub lifetime: Option<Lifetime>,
    /// When it starts to work; at once by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The allowed client addresses, such as `10.0.0.0/8`; any by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<Vec<String>>,
    /// The rate limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Your own data.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// The scopes of a key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grants {
    /// These scopes, such as `agents:read`.
    Scopes(Vec<String>),
    /// A named set of scopes, such as `worker`.
    Preset(String),
}

/// The projects that a key may access.
#[derive(Clone, Debug)]
pub enum Projects {
    /// Every project, also future ones.
    All,
    /// These, from 1 to 100.
    Only(Vec<String>),
}

impl Serialize for Projects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.collect_map([("all_projects", true)]),
            Self::Only(ids) => serializer.collect_map([("project_ids", ids)]),
        }
    }
}

/// The lifetime of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Days from now, from 1 to 3,650.
    Days(u32),
    /// Until it is revoked.
    Unlimited,
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Days(days) => serializer.collect_map([("expires_in_days", days)]),
            Self::Unlimited => serializer.collect_map([("never_expires", true)]),
        }
    }
}

/// A partial update of a key. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyChange {
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The scopes.
    #[serde(flatten)]
    pub grants: Option<Grants>,
    /// The projects.
    #[serde(flatten)]
    pub projects: Option<Projects>,
    /// The lifetime from now.
    #[serde(flatten)]
    pub lifetime: Option<Lifetime>,
    /// The allowed client addresses.
    #[serde(flatten)]
    pub addresses: Option<Addresses>,
    /// The rate limit.
    #[serde(flatten)]
    pub limit: Option<Limit>,
    /// Your own data, which replaces all earlier data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// The client addresses that a key works from.
#[derive(Clone, Debug)]
pub enum Addresses {
    /// Any.
    Any,
    /// These, such as `10.0.0.0/8`.
    Only(Vec<String>),
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.collect_map([("any_address", true)]),
            Self::Only(cidrs) => serializer.collect_map([("allowed_cidrs", cidrs)]),
        }
    }
}

/// A change of the rate limit.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// No limit.
    None,
    /// This limit.
    Rate(RateLimit),
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.collect_map([("no_rate_limit", true)]),
            Self::Rate(rate) => serializer.collect_map([("rate_limit", rate)]),
        }
    }
}

/// Options of a rotation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rotation {
    /// How long the old key still works, at most 604,800 seconds and never beyond its expiry; one
    /// day by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u32>,
    /// The lifetime of the new key; that of the old one by default.
    #[serde(flatten)]
    pub lifetime: Option<Lifetime>,
}

/// Filters of a list of keys. `None` does not filter.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Keys with this status.
    pub status: Option<KeyStatus>,
    /// Keys that may access this project.
    pub project_id: Option<String>,
    /// Keys that end within this many days.
    pub expiring_within_days: Option<u32>,
    /// Active keys that were not used for this many days.
    pub idle_for_days: Option<u32>,
}

/// The key of the caller.
#[derive(Clone, Debug, Deserialize)]
pub struct Whoami {
    /// Its public id.
    pub key_id: String,
    /// `root` or `managed`; newer servers may have others.
    pub kind: String,
    /// The name for people.
    pub name: Option<String>,
    /// The scopes.
    pub scopes: Vec<String>,
    /// Whether it may access every project.
    pub all_projects: bool,
    /// The projects that it may access, if not all.
    pub project_ids: Vec<String>,
    /// When it expires; `None` if never.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// The allowed client addresses; `None` for any.
    pub allowed_cidrs: Option<Vec<String>>,
    /// The rate limit.
    pub rate_limit: Option<RateLimit>,
}

/// The order of a list of audit entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditOrder {
    /// Newest entry first.
    #[default]
    Newest,
    /// Oldest entry first. New entries do not move others to another page.
    Oldest,
}

impl AuditOrder {
    /// The value in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

/// A page of the audit trail.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditPage {
    /// The entries.
    pub data: Vec<Verbatim<AuditEntry>>,
    /// Whether more entries follow.
    pub has_more: bool,
    /// Where the next page starts; `None` after the last page, and from servers without cursors.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// The last entry of the whole trail; `None` if it is empty.
    pub head: Option<AuditHead>,
    /// The last archived entry, after which the list begins; `None` if none is archived, and from servers without an
    /// archive.
    #[serde(default)]
    pub archived: Option<AuditHead>,
}

impl AuditPage {
    /// The request for the next page, given the request for this one; `None` after the last page.
    pub fn following(&self, request: &PageRequest) -> Option<PageRequest> {
        following(request, self.has_more, self.next_cursor.as_deref(), self.data.len())
    }
}

/// An entry of an audit trail by number and hash. Store the last one to verify later that the entries up to it are
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}

/// An entry of the audit trail.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1 without a gap.
    pub sequence: u64,
    /// When it happened.
    pub at: String,
    /// The action, such as `create_key`.
    pub action: String,
    /// The key that was acted on.
    pub key_id: String,
    /// The caller.
    pub actor: Actor,
    /// Details of the action.
    pub details: BTreeMap<String, String>,
    /// The hash of the previous entry.
    pub previous_hash: String,
    /// The hash of this entry.
    pub hash: String,
}

/// The caller of an action.
#[derive(Clone, Debug, Deserialize)]
pub struct Actor {
    /// The id of the caller's key.
    pub key_id: String,
    /// The caller's address.
    pub address: Option<String>,
    /// The caller's user agent.
    pub user_agent: Option<String>,
    /// The id of the request in the server's log.
    pub request_id: String,
}
