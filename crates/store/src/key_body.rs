//! The stored form of keys and of the audit trail, as JSON: the same on every backend.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use onerun_auth::{
    Actor, AddressAccess, AuditEntry, AuditEvent, Grant, KeyDigest, KeyId, KeyRecord, KeyUsage,
    ProjectAccess, RateLimit, Replacement, Scope, ScopeSet, parse_block,
};
use onerun_domain::{Metadata, Name, ProjectId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::StoreError;

/// The stored body of a key. It contains the digest of the secret, so only stores may use it.
pub fn key_body(record: &KeyRecord) -> String {
    let grant = &record.grant;
    write(&KeyBody {
        id: record.id.to_string(),
        name: record.name.to_string(),
        digest: STANDARD_NO_PAD.encode(record.digest.to_bytes()),
        scopes: scope_names(grant.scopes),
        all_projects: grant.projects == ProjectAccess::All,
        project_ids: match &grant.projects {
            ProjectAccess::All => Vec::new(),
            ProjectAccess::Only(ids) => ids.iter().map(ToString::to_string).collect(),
        },
        any_address: grant.addresses == AddressAccess::Any,
        blocks: match &grant.addresses {
            AddressAccess::Any => Vec::new(),
            AddressAccess::Only(blocks) => blocks.iter().map(ToString::to_string).collect(),
        },
        rate_limit: grant.rate_limit.map(|limit| (limit.requests(), limit.window_seconds())),
        expires_at: grant.expires_at.map(Timestamp::as_microsecond),
        not_before: record.not_before.map(Timestamp::as_microsecond),
        metadata: record.metadata.as_map().clone(),
        created_at: record.created_at.as_microsecond(),
        created_by: record.created_by.to_string(),
        family: Some(record.family.to_string()),
        updated_at: record.updated_at.as_microsecond(),
        disabled_at: record.disabled_at.map(Timestamp::as_microsecond),
        revoked_at: record.revoked_at.map(Timestamp::as_microsecond),
        replaces: record.replaces.as_ref().map(ToString::to_string),
        replaced: record.replaced.as_ref().map(|replaced| ReplacedBody {
            by: replaced.by.to_string(),
            at: replaced.at.as_microsecond(),
            overlap_ends_at: replaced.overlap_ends_at.as_microsecond(),
        }),
        revision: record.revision,
    })
}

/// Reads [`key_body`].
pub fn read_key(body: &str) -> Result<KeyRecord, StoreError> {
    let body: KeyBody = read(KEY, body)?;
    let projects = if body.all_projects {
        ProjectAccess::All
    } else {
        let ids: Result<BTreeSet<ProjectId>, _> = body.project_ids.iter().map(|id| id.parse()).collect();
        ProjectAccess::Only(ids.map_err(|error| corrupt(KEY, error))?)
    };
    let addresses = if body.any_address {
        AddressAccess::Any
    } else {
        let blocks: Result<Vec<_>, _> = body.blocks.iter().map(|text| parse_block(text)).collect();
        AddressAccess::Only(blocks.map_err(|error| corrupt(KEY, error))?)
    };
    let rate_limit = body.rate_limit.map(|(requests, seconds)| {
        RateLimit::new(requests, seconds).ok_or_else(|| corrupt(KEY, "its rate limit is none"))
    });
    let replaced = body.replaced.map(|replaced| -> Result<Replacement, StoreError> {
        Ok(Replacement {
            by: key_id(KEY, &replaced.by)?,
            at: time(KEY, replaced.at)?,
            overlap_ends_at: time(KEY, replaced.overlap_ends_at)?,
        })
    });
    let id = key_id(KEY, &body.id)?;
    // Release 0.1 knew no families.
    let family = body.family.map_or_else(|| Ok(id.clone()), |family| key_id(KEY, &family));
    Ok(KeyRecord {
        id,
        name: Name::parse(body.name).map_err(|error| corrupt(KEY, error))?,
        digest: digest(&body.digest)?,
        grant: Grant {
            scopes: scopes(KEY, &body.scopes)?,
            projects,
            addresses,
            rate_limit: rate_limit.transpose()?,
            expires_at: body.expires_at.map(|at| time(KEY, at)).transpose()?,
        },
        not_before: body.not_before.map(|at| time(KEY, at)).transpose()?,
        metadata: Metadata::parse(body.metadata).map_err(|error| corrupt(KEY, error))?,
        created_at: time(KEY, body.created_at)?,
        created_by: key_id(KEY, &body.created_by)?,
        family: family?,
        updated_at: time(KEY, body.updated_at)?,
        disabled_at: body.disabled_at.map(|at| time(KEY, at)).transpose()?,
        revoked_at: body.revoked_at.map(|at| time(KEY, at)).transpose()?,
        replaces: body.replaces.map(|id| key_id(KEY, &id)).transpose()?,
        replaced: replaced.transpose()?,
        revision: body.revision,
    })
}

/// The stored body of a key's usage.
pub fn usage_body(usage: &KeyUsage) -> String {
    write(&UsageBody {
        last_used_at: usage.last_used_at.map(Timestamp::as_microsecond),
        used_scopes: scope_names(usage.used_scopes),
        uses_since_replaced: usage.uses_since_replaced,
    })
}

/// Reads [`usage_body`].
pub fn read_usage(body: &str) -> Result<KeyUsage, StoreError> {
    let body: UsageBody = read(USAGE, body)?;
    Ok(KeyUsage {
        last_used_at: body.last_used_at.map(|at| time(USAGE, at)).transpose()?,
        used_scopes: scopes(USAGE, &body.used_scopes)?,
        uses_since_replaced: body.uses_since_replaced,
    })
}

/// The body of an entry of the audit trail.
pub fn audit_body(entry: &AuditEntry) -> String {
    let AuditEvent { at, action, key_id, actor, details } = entry.event.clone();
    write(&AuditBody {
        sequence: entry.sequence,
        at,
        action,
        key_id,
        actor_key_id: actor.key_id,
        actor_address: actor.address,
        actor_user_agent: actor.user_agent,
        request_id: actor.request_id,
        details,
        previous_hash: entry.previous_hash.clone(),
        hash: entry.hash.clone(),
    })
}

/// Reads [`audit_body`] without verifying the entry's hash.
pub fn read_audit(body: &str) -> Result<AuditEntry, StoreError> {
    let body: AuditBody = read(ENTRY, body)?;
    let actor = Actor {
        key_id: body.actor_key_id,
        address: body.actor_address,
        user_agent: body.actor_user_agent,
        request_id: body.request_id,
    };
    let event =
        AuditEvent { at: body.at, action: body.action, key_id: body.key_id, actor, details: body.details };
    Ok(AuditEntry { sequence: body.sequence, event, previous_hash: body.previous_hash, hash: body.hash })
}

const KEY: &str = "key";
const USAGE: &str = "key's usage";
const ENTRY: &str = "audit entry";

#[derive(Serialize, Deserialize)]
struct KeyBody {
    id: String,
    name: String,
    digest: String,
    scopes: Vec<String>,
    all_projects: bool,
    project_ids: Vec<String>,
    any_address: bool,
    blocks: Vec<String>,
    rate_limit: Option<(u32, u32)>,
    expires_at: Option<i64>,
    not_before: Option<i64>,
    metadata: Map<String, Value>,
    created_at: i64,
    created_by: String,
    family: Option<String>,
    updated_at: i64,
    disabled_at: Option<i64>,
    revoked_at: Option<i64>,
    replaces: Option<String>,
    replaced: Option<ReplacedBody>,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct ReplacedBody {
    by: String,
    at: i64,
    overlap_ends_at: i64,
}

#[derive(Serialize, Deserialize)]
struct UsageBody {
    last_used_at: Option<i64>,
    used_scopes: Vec<String>,
    uses_since_replaced: u64,
}

#[derive(Serialize, Deserialize)]
struct AuditBody {
    sequence: u64,
    at: String,
    action: String,
    key_id: String,
    actor_key_id: String,
    actor_address: Option<String>,
    actor_user_agent: Option<String>,
    request_id: String,
    details: BTreeMap<String, String>,
    previous_hash: String,
    hash: String,
}

fn corrupt(what: &'static str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what, reason: reason.to_string() }
}

pub(crate) fn write(body: &impl Serialize) -> String {
    // Texts, numbers and maps with text keys always serialize.
    serde_json::to_string(body).unwrap_or_default()
}

/// The error names the place but not the value, unlike serde's: the value may be a digest.
pub(crate) fn read<'a, T: Deserialize<'a>>(what: &'static str, body: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        corrupt(what, format!("not the JSON it must be, at line {line} column {column}"))
    })
}

pub(crate) fn time(what: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| corrupt(what, error))
}

fn key_id(what: &'static str, text: &str) -> Result<KeyId, StoreError> {
    KeyId::restore(text).ok_or_else(|| corrupt(what, "an id in it is none"))
}

fn scope_names(scopes: ScopeSet) -> Vec<String> {
    scopes.iter().map(|scope| scope.as_str().to_owned()).collect()
}

fn scopes(what: &'static str, names: &[String]) -> Result<ScopeSet, StoreError> {
    names
        .iter()
        .map(|name| name.parse::<Scope>())
        .collect::<Result<_, _>>()
        .map_err(|error| corrupt(what, error))
}

fn digest(text: &str) -> Result<KeyDigest, StoreError> {
    let mut bytes = [0; 32];
    match STANDARD_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(32) => Ok(KeyDigest::from_bytes(bytes)),
        _ => Err(corrupt(KEY, "its digest is none")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Value {
        json!({
            "id": "AAECAwQFBgcI", "name": "ci", "digest": "q".repeat(42) + "o",
            "scopes": ["agents:read"], "all_projects": false, "project_ids": ["project00001"],
            "any_address": false, "blocks": ["10.0.0.0/8"], "rate_limit": [100, 60],
            "expires_at": 3, "not_before": 2, "metadata": {"a": "b"},
            "created_at": 1, "created_by": "root", "family": "DAECAwQFBgcI", "updated_at": 1, "disabled_at": 1,
            "revoked_at": 1,
            "replaces": "BAECAwQFBgcI",
            "replaced": {"by": "CAECAwQFBgcI", "at": 1, "overlap_ends_at": 2}, "revision": 4,
        })
    }

    fn usage() -> Value {
        json!({"last_used_at": 1, "used_scopes": ["agents:read"], "uses_since_replaced": 1})
    }

    /// Sets the member at `path`, or removes it without a value.
    fn with(mut body: Value, path: &str, value: Option<Value>) -> String {
        let (parent, member) = path.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        assert!(parent.contains_key(member), "{path}");
        match value {
            Some(value) => parent.insert(member.into(), value),
            None => parent.remove(member),
        };
        body.to_string()
    }

    #[track_caller]
    fn assert_corrupt<T: std::fmt::Debug>(what: &str, read: Result<T, StoreError>) {
        match read {
            Err(StoreError::Corrupt { what: found, reason }) => {
                assert_eq!(found, what);
                assert!(!reason.contains("SECRET"), "{reason}");
            }
            other => panic!("not corrupt: {other:?}"),
        }
    }

    #[test]
    fn a_body_is_read_as_it_was_written() {
        let record = read_key(&key().to_string()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&key_body(&record)).unwrap(), key());
        let read = read_usage(&usage().to_string()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&usage_body(&read)).unwrap(), usage());
    }

    #[test]
    fn a_key_of_release_0_1_begins_a_family() {
        let record = read_key(&with(key(), "/family", None)).unwrap();
        assert_eq!(record.family, record.id);
    }

    #[test]
    fn a_key_that_cannot_be_is_corrupt_and_not_shown() {
        let all = [
            "/id",
            "/name",
            "/digest",
            "/scopes",
            "/all_projects",
            "/project_ids",
            "/any_address",
            "/blocks",
            "/rate_limit",
            "/expires_at",
            "/not_before",
            "/metadata",
            "/created_at",
            "/created_by",
            "/family",
            "/updated_at",
            "/disabled_at",
            "/revoked_at",
            "/replaces",
            "/replaced",
            "/replaced/by",
            "/replaced/at",
            "/replaced/overlap_ends_at",
            "/revision",
        ];
        for path in all {
            // A text that is invalid everywhere but in a name.
            let value = if path == "/name" { json!(["SECRET"]) } else { json!("SECRET \u{1}") };
            assert_corrupt(KEY, read_key(&with(key(), path, Some(value))));
        }
        let odd = [
            ("/name", json!("")),
            ("/digest", json!("q".repeat(44))),
            ("/digest", json!("q".repeat(22))),
            ("/scopes", json!(["SECRET:read"])),
            ("/project_ids", json!(["SECRET"])),
            ("/blocks", json!(["SECRET"])),
            ("/rate_limit", json!([0, 60])),
            ("/rate_limit", json!([1, 90_000])),
            ("/expires_at", json!(i64::MAX)),
            ("/replaced/at", json!(i64::MIN)),
            ("/revision", json!(-1)),
        ];
        for (path, value) in odd {
            assert_corrupt(KEY, read_key(&with(key(), path, Some(value))));
        }
    }

    #[test]
    fn a_key_that_lacks_what_limits_it_is_corrupt() {
        for path in ["/scopes", "/all_projects", "/project_ids", "/any_address", "/blocks"] {
            assert_corrupt(KEY, read_key(&with(key(), path, None)));
        }
    }

    #[test]
    fn other_bodies_that_cannot_be_are_corrupt_and_not_shown() {
        for path in ["/last_used_at", "/used_scopes", "/uses_since_replaced"] {
            assert_corrupt(USAGE, read_usage(&with(usage(), path, Some(json!("SECRET")))));
        }
        assert_corrupt(USAGE, read_usage(&with(usage(), "/used_scopes", Some(json!(["SECRET"])))));
        for body in ["", "null", "[]", "SECRET", r#"{"sequence": "SECRET"}"#] {
            assert_corrupt(KEY, read_key(body));
            assert_corrupt(USAGE, read_usage(body));
            assert_corrupt(ENTRY, read_audit(body));
        }
    }
}
