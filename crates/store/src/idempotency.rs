//! Idempotency records: the answers of requests with an `Idempotency-Key`. A repetition gets the recorded
//! answer.

use jiff::{SignedDuration, Timestamp};
use onerun_auth::KeyId;
use onerun_domain::{ProjectId, later, sha256_hex};
use serde::{Deserialize, Serialize};

use crate::{
    StoreError,
    key_body::{read, time, write},
};

/// How long a record is stored.
pub const IDEMPOTENCY_RETENTION: SignedDuration = SignedDuration::from_hours(24);

const WHAT: &str = "idempotency record";

/// The subject of a request. Records about keys are separate, so a role that may write other
/// records may not write these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdempotencyScope {
    /// Managed keys.
    Keys,
    /// Everything else.
    Resources,
}

/// The id of a record: caller, project and `Idempotency-Key`, hashed, because the last is any text
/// of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyId {
    scope: IdempotencyScope,
    hash: String,
}

impl IdempotencyId {
    /// The id of a caller's request, in a project if there is one.
    pub fn new(
        scope: IdempotencyScope,
        caller: &KeyId,
        project: Option<&ProjectId>,
        idempotency_key: &str,
    ) -> Self {
        let part = match scope {
            IdempotencyScope::Keys => "keys",
            IdempotencyScope::Resources => "resources",
        };
        let project = project.map_or("", ProjectId::as_str);
        Self { scope, hash: sha256_hex([part, caller.as_str(), project, idempotency_key]) }
    }

    /// The subject of the request.
    pub fn scope(&self) -> IdempotencyScope {
        self.scope
    }

    /// SHA-256 of all parts, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// A request that was carried out, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The id of the record.
    pub id: IdempotencyId,
    /// SHA-256, in hex, of the operation and the input. It distinguishes a repetition from another
    /// request under the same key.
    pub request_hash: String,
    /// The body of the answer, without large parts that are stored elsewhere and without secrets.
    pub response: String,
    /// When the request was carried out.
    pub created_at: Timestamp,
}

impl IdempotencyRecord {
    /// When the record expires, in whole seconds since 1970.
    pub fn expires_at(&self) -> i64 {
        later(self.created_at, IDEMPOTENCY_RETENTION).as_second().saturating_add(1)
    }

    /// Whether the record has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at() <= now.as_second()
    }
}

/// A record's body.
pub fn idempotency_body(record: &IdempotencyRecord) -> String {
    write(&Body {
        request_hash: record.request_hash.clone(),
        response: record.response.clone(),
        created_at: record.created_at.as_microsecond(),
    })
}

/// Reads [`idempotency_body`].
pub fn read_idempotency(id: &IdempotencyId, body: &str) -> Result<IdempotencyRecord, StoreError> {
    let body: Body = read(WHAT, body)?;
    Ok(IdempotencyRecord {
        id: id.clone(),
        request_hash: body.request_hash,
        response: body.response,
        created_at: time(WHAT, body.created_at)?,
    })
}

#[derive(Serialize, Deserialize)]
struct Body {
    request_hash: String,
    response: String,
    created_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(
        scope: IdempotencyScope,
        caller: &str,
        project: Option<&str>,
        idempotency_key: &str,
    ) -> IdempotencyId {
        let project = project.map(|id| id.parse().unwrap());
        IdempotencyId::new(scope, &KeyId::restore(caller).unwrap(), project.as_ref(), idempotency_key)
    }

    #[test]
    fn each_caller_project_key_and_kind_has_another_id() {
        use IdempotencyScope::{Keys, Resources};
        let ids = [
            id(Resources, "root", None, "a"),
            id(Resources, "root", None, "b"),
            id(Resources, "root", Some("AAAAAAAAAAAA"), "a"),
            id(Resources, "AAECAwQFBgcI", None, "a"),
            id(Keys, "root", None, "a"),
        ];
        let hashes: std::collections::BTreeSet<_> = ids.iter().map(IdempotencyId::hash).collect();
        assert_eq!(hashes.len(), ids.len());
    }

    #[test]
    fn a_record_counts_for_a_day_and_no_longer() {
        let record = IdempotencyRecord {
            id: id(IdempotencyScope::Resources, "root", None, "a"),
            request_hash: "ab".repeat(32),
            response: "{}".into(),
            created_at: "2026-01-05T09:00:00.500000Z".parse().unwrap(),
        };
        assert!(!record.is_expired("2026-01-06T09:00:00.999999Z".parse().unwrap()));
        assert!(record.is_expired("2026-01-06T09:00:01Z".parse().unwrap()));
        let read = read_idempotency(&record.id, &idempotency_body(&record)).unwrap();
        assert_eq!(read, record);
        let error = read_idempotency(&record.id, r#"{"response": "SECRET"}"#).unwrap_err().to_string();
        assert!(error.starts_with("the stored idempotency record is corrupt") && !error.contains("SECRET"));
    }
}
