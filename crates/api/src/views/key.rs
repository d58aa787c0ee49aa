//! API keys in responses.

use jiff::Timestamp;
use onerun_auth::{AddressAccess, Preset, ProjectAccess, RateLimit, Scope, ScopeSet};
use onerun_store::KeyView;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{CHANGED, END, KEY_ID, MADE, PROJECT, secret_example},
    operation::Example,
    views::Time,
};

/// A managed key, without its secret.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyOut {
    /// The key's public id.
    id: String,
    /// The first characters of the key, to recognise a copy by.
    prefix: String,
    /// A name for people to read.
    name: String,
    /// `pending`, `active`, `disabled`, `expired` or `revoked`.
    status: &'static str,
    /// The key's permissions.
    scopes: Vec<&'static str>,
    /// Whether the key can access all projects.
    all_projects: bool,
    /// The projects that the key can access, if not all.
    project_ids: Vec<String>,
    /// When the key becomes active; null for immediately.
    not_before: Option<Time>,
    /// When the key expires; null for never. After a rotation it ends with the overlap, if that is earlier.
    expires_at: Option<Time>,
    /// The address blocks that the key is accepted from; null for any address.
    allowed_cidrs: Option<Vec<String>>,
    /// The key's rate limit; null for none.
    rate_limit: Option<RateLimitOut>,
    /// Your own data.
    metadata: Map<String, Value>,
    created_at: Time,
    /// The id of the key that created it.
    created_by: String,
    updated_at: Time,
    /// When the key was disabled; null if it is enabled.
    disabled_at: Option<Time>,
    /// When the key was revoked; null if it was not.
    revoked_at: Option<Time>,
    /// The id of the key that this one replaces.
    replaces: Option<String>,
    /// The id of the key that replaces this one.
    replaced_by: Option<String>,
    /// When the key was replaced.
    replaced_at: Option<Time>,
    /// When the overlap with the new key ends.
    overlap_ends_at: Option<Time>,
    /// When the key was last used, up to a minute late; null if never.
    last_used_at: Option<Time>,
    /// The scopes that the key was ever used with.
    used_scopes: Vec<&'static str>,
    /// The number of uses since the key was replaced, up to a minute late.
    uses_since_replaced: u64,
    /// When the key was last used since it was replaced; null if never.
    last_used_since_replaced_at: Option<Time>,
}

/// A rate limit: requests per window.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RateLimit")]
pub(crate) struct RateLimitOut {
    /// The number of requests in each window.
    requests: u32,
    /// The length of a window.
    window_seconds: u32,
}

impl From<RateLimit> for RateLimitOut {
    fn from(limit: RateLimit) -> Self {
        Self { requests: limit.requests(), window_seconds: limit.window_seconds() }
    }
}

/// The key that this request created.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeKey")]
pub(crate) struct MadeKeyOut {
    /// The key.
    #[serde(flatten)]
    pub made: KeyOut,
    /// The key with its secret, shown in this response only; null in the answer to a repeated request.
    pub key: Option<String>,
}

impl KeyOut {
    pub(crate) fn of(view: KeyView, now: Timestamp) -> Self {
        let KeyView { record, usage } = view;
        let (all_projects, project_ids) = projects_out(&record.grant.projects);
        let replaced_at = record.replaced.as_ref().map(|replaced| replaced.at);
        Self {
            prefix: format!("onr_{}", record.id),
            name: record.name.to_string(),
            status: record.status(now).as_str(),
            scopes: scopes_out(record.grant.scopes),
            all_projects,
            project_ids,
            not_before: record.not_before.map(Time),
            expires_at: record.grant.expires_at.map(Time),
            allowed_cidrs: blocks_out(&record.grant.addresses),
            rate_limit: record.grant.rate_limit.map(RateLimitOut::from),
            metadata: record.metadata.as_map().clone(),
            created_at: Time(record.created_at),
            created_by: record.created_by.to_string(),
            updated_at: Time(record.updated_at),
            disabled_at: record.disabled_at.map(Time),
            revoked_at: record.revoked_at.map(Time),
            replaces: record.replaces.as_ref().map(ToString::to_string),
            replaced_by: record.replaced.as_ref().map(|replaced| replaced.by.to_string()),
            replaced_at: replaced_at.map(Time),
            overlap_ends_at: record.replaced.as_ref().map(|replaced| Time(replaced.overlap_ends_at)),
            last_used_at: usage.last_used_at.map(Time),
            used_scopes: scopes_out(usage.used_scopes),
            uses_since_replaced: usage.uses_since_replaced,
            last_used_since_replaced_at: usage
                .last_used_at
                .filter(|_| usage.uses_since_replaced > 0)
                .map(Time),
            id: record.id.to_string(),
        }
    }
}

pub(crate) fn scopes_out(scopes: ScopeSet) -> Vec<&'static str> {
    scopes.iter().map(Scope::as_str).collect()
}

/// Whether a key can access all projects, and otherwise their ids.
pub(crate) fn projects_out(projects: &ProjectAccess) -> (bool, Vec<String>) {
    match projects {
        ProjectAccess::All => (true, Vec::new()),
        ProjectAccess::Only(ids) => (false, ids.iter().map(ToString::to_string).collect()),
    }
}

pub(crate) fn blocks_out(addresses: &AddressAccess) -> Option<Vec<String>> {
    match addresses {
        AddressAccess::Any => None,
        AddressAccess::Only(blocks) => Some(blocks.iter().map(ToString::to_string).collect()),
    }
}

impl Example for KeyOut {
    fn example() -> Value {
        json!({
            "id": KEY_ID,
            "prefix": format!("onr_{KEY_ID}"),
            "name": "Pipeline of the shop",
            "status": "active",
            "scopes": Preset::Ci.scopes().iter().map(Scope::as_str).collect::<Vec<_>>(),
            "all_projects": false,
            "project_ids": [PROJECT],
            "not_before": null,
            "expires_at": END,
            "allowed_cidrs": null,
            "rate_limit": { "requests": 100, "window_seconds": 60 },
            "metadata": {},
            "created_at": MADE,
            "created_by": "root",
            "updated_at": MADE,
            "disabled_at": null,
            "revoked_at": null,
            "replaces": null,
            "replaced_by": null,
            "replaced_at": null,
            "overlap_ends_at": null,
            "last_used_at": CHANGED,
            "used_scopes": ["simulations:read"],
            "uses_since_replaced": 0,
            "last_used_since_replaced_at": null,
        })
    }
}

impl Example for MadeKeyOut {
    fn example() -> Value {
        let mut key = KeyOut::example();
        key["last_used_at"] = json!(null);
        key["used_scopes"] = json!([]);
        key["key"] = json!(secret_example(KEY_ID));
        key
    }
}
