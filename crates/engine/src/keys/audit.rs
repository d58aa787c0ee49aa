//! Audit events of keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use onerun_auth::{Actor, AddressAccess, AuditAction, AuditEvent, KeyId, KeyRecord, ProjectAccess};
use onerun_domain::{sha256_hex, wire_time};
use serde_json::Value;

/// The names and values of an event's details.
pub(super) type Details = BTreeMap<String, String>;

pub(super) fn event(
    actor: Actor,
    action: AuditAction,
    key: &KeyId,
    details: Details,
    now: Timestamp,
) -> AuditEvent {
    AuditEvent {
        at: wire_time(now),
        action: action.as_str().to_owned(),
        key_id: key.to_string(),
        actor,
        details,
    }
}

/// The public values of a key that a change can set, as text.
pub(super) fn details_of(record: &KeyRecord) -> Details {
    fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
        values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
    }
    let grant = &record.grant;
    let projects = match &grant.projects {
        ProjectAccess::All => "all".to_owned(),
        ProjectAccess::Only(ids) => list(ids),
    };
    let allowed_cidrs = match &grant.addresses {
        AddressAccess::Any => "any".to_owned(),
        AddressAccess::Only(blocks) => list(blocks),
    };
    let rate_limit = match grant.rate_limit {
        None => "none".to_owned(),
        Some(limit) => format!("{} in {} s", limit.requests(), limit.window_seconds()),
    };
    let metadata = Value::Object(record.metadata.as_map().clone()).to_string();
    let details = [
        ("name", record.name.to_string()),
        ("scopes", list(grant.scopes.iter())),
        ("projects", projects),
        ("allowed_cidrs", allowed_cidrs),
        ("rate_limit", rate_limit),
        ("expires_at", grant.expires_at.map_or_else(|| "never".to_owned(), wire_time)),
        ("metadata_sha256", sha256_hex([metadata.as_str()])),
    ];
    details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The details of a key that differ from those before its change.
pub(super) fn changed_details(before: &KeyRecord, after: &KeyRecord) -> Details {
    let before = details_of(before);
    let mut details = details_of(after);
    details.retain(|name, value| before.get(name) != Some(value));
    details
}
