//! Keys, and the audit trail of what was done with them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{PageRequest, following};
use crate::Verbatim;

/// A key, without its secret.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    /// Its public id, safe in logs.
    pub id: String,
    /// What the key begins with: `onr_` and the id.
    pub prefix: String,
    /// What people call it.
    pub name: String,
    /// Whether it works, and why not.
    pub status: KeyStatus,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it may do so in every project.
    pub all_projects: bool,
    /// The projects that it is bound to, if not all.
    pub project_ids: Vec<String>,
    /// When it begins to work, if that was put off.
    pub not_before: Option<String>,
    /// When it ends; `None` if it does not.
    pub expires_at: Option<String>,
    /// The addresses that it works from; `None` for any.
    pub allowed_cidrs: Option<Vec<String>>,
    /// How often it may be used; `None` for as often as the server bears.
    pub rate_limit: Option<RateLimit>,
    /// Data of its maker's own.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: String,
    /// The id of the key that made it.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: String,
    /// Since when it is disabled.
    pub disabled_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// The key in whose place it was made, by rotation.
    pub replaces: Option<String>,
    /// The key that was made in its place.
    pub replaced_by: Option<String>,
    /// When that one was made.
    pub replaced_at: Option<String>,
    /// Until when it works beside that one.
    pub overlap_ends_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// Which of its scopes were ever needed.
    pub used_scopes: Vec<String>,
    /// How often it was used since it was replaced.
    pub uses_since_replaced: u64,
    /// When it was last used since it was replaced.
    pub last_used_since_replaced_at: Option<String>,
}

/// Whether a key works, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It works.
    Active,
    /// It does not work yet.
    Pending,
    /// It does not work until it is enabled.
    Disabled,
    /// Its time, or the overlap after its rotation, is over.
    Expired,
    /// It does not work any more, for good.
    Revoked,
    /// A word that this client does not know.
    #[serde(other)]
    Unknown,
}

impl KeyStatus {
    /// The wire's word.
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

/// How often a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// So many requests, from 1 to 1,000,000,
    pub requests: u32,
    /// in so many seconds, from 1 to 86,400.
    pub window_seconds: u32,
}

/// A key that was just made, with its secret unless that was in an earlier answer.
#[derive(Clone, Debug, Deserialize)]
pub struct IssuedKey {
    /// What is known of it.
    #[serde(flatten)]
    pub key: Key,
    /// The key itself. Exactly one answer has it: `None` if that one was lost on the way. Nobody then has the key, which
    /// should be revoked.
    #[serde(rename = "key")]
    pub secret: Option<SecretKey>,
}

/// The text of a key. It is not printed, and overwritten when it is dropped.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct SecretKey(Zeroizing<String>);

impl From<String> for SecretKey {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl SecretKey {
    /// The text, to hand it on. It does not go to a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey")
    }
}

/// What a key is made from.
#[derive(Clone, Debug, Serialize)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    #[serde(flatten)]
    pub grants: Grants,
    /// Where it may do so.
    #[serde(flatten)]
    pub projects: Projects,
    /// How long it lives; 90 days if nothing is said.
    #[serde(flatten)]
    pub lifetime: Option<Lifetime>,
    /// When it begins to work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The addresses that it works from, such as `10.0.0.0/8`; any if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<Vec<String>>,
    /// How often it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Data of your own.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// What a key may do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grants {
    /// These scopes, such as `agents:read`.
    Scopes(Vec<String>),
    /// A set of scopes that has a name, such as `worker`.
    Preset(String),
}

/// Where a key may do it.
#[derive(Clone, Debug)]
pub enum Projects {
    /// In every project, those to come too.
    All,
    /// In these, from 1 to 100.
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

/// How long a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// So many days from now, from 1 to 3,650.
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

/// What is changed of a key. `None` leaves it as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyChange {
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    #[serde(flatten)]
    pub grants: Option<Grants>,
    /// Where it may do so.
    #[serde(flatten)]
    pub projects: Option<Projects>,
    /// How long it lives, from now.
    #[serde(flatten)]
    pub lifetime: Option<Lifetime>,
    /// The addresses that it works from.
    #[serde(flatten)]
    pub addresses: Option<Addresses>,
    /// How often it may be used.
    #[serde(flatten)]
    pub limit: Option<Limit>,
    /// Data of your own, in place of what was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// The addresses that a key works from.
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

/// How often a key may be used.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// As often as the server bears.
    None,
    /// So often.
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

/// How a key is replaced by a new one.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rotation {
    /// How long the old key goes on, at most 604,800 seconds and never beyond its own end; a day if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u32>,
    /// How long the new key lives; as long as the old one was made for if nothing is said.
    #[serde(flatten)]
    pub lifetime: Option<Lifetime>,
}

/// Which keys are listed. `None` leaves nothing out.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Those in this status.
    pub status: Option<KeyStatus>,
    /// Those that reach this project.
    pub project_id: Option<String>,
    /// Those that end within so many days.
    pub expiring_within_days: Option<u32>,
    /// Active ones that were not used for so many days.
    pub idle_for_days: Option<u32>,
}

/// The key that a request was sent with.
#[derive(Clone, Debug, Deserialize)]
pub struct Whoami {
    /// Its public id.
    pub key_id: String,
    /// `root` or `managed`; perhaps words that are newer than this client.
    pub kind: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it may do so in every project.
    pub all_projects: bool,
    /// The projects that it is bound to, if not all.
    pub project_ids: Vec<String>,
    /// When it ends; `None` if it does not.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// The addresses that it works from; `None` for any.
    pub allowed_cidrs: Option<Vec<String>>,
    /// How often it may be used.
    pub rate_limit: Option<RateLimit>,
}

/// In which order the audit trail is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditOrder {
    /// The last entry first.
    #[default]
    Newest,
    /// The first entry first; what is added meanwhile moves nothing.
    Oldest,
}

impl AuditOrder {
    /// The wire's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

/// A part of the audit trail.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditPage {
    /// The part.
    pub data: Vec<Verbatim<AuditEntry>>,
    /// Whether more follows.
    pub has_more: bool,
    /// Where the next page begins; `None` after the last page, and from servers that know no cursors.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// Where the whole trail ends; `None` while it is empty.
    pub head: Option<AuditHead>,
}

impl AuditPage {
    /// The request for the page after this one, which `request` asked for; `None` after the last page.
    pub fn following(&self, request: &PageRequest) -> Option<PageRequest> {
        following(request, self.has_more, self.next_cursor.as_deref(), self.data.len())
    }
}

/// The last entry of an audit trail: whoever has noted it can tell later whether all before it is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}

/// Something that was done with a key.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1 without a gap.
    pub sequence: u64,
    /// When it was done.
    pub at: String,
    /// What was done, such as `create_key`.
    pub action: String,
    /// With which key it was done.
    pub key_id: String,
    /// Who did it.
    pub actor: Actor,
    /// The particulars.
    pub details: BTreeMap<String, String>,
    /// The hash of the entry before.
    pub previous_hash: String,
    /// The hash of this entry.
    pub hash: String,
}

/// Who did something.
#[derive(Clone, Debug, Deserialize)]
pub struct Actor {
    /// The id of the key that was sent.
    pub key_id: String,
    /// The address that it came from.
    pub address: Option<String>,
    /// What the program called itself.
    pub user_agent: Option<String>,
    /// What the server's log calls the request.
    pub request_id: String,
}
