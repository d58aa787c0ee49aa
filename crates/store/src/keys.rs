//! Managed keys, their uses, and the audit trail of changes to them.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    AuditEntry, AuditEvent, AuditHead, KeyChangeError, KeyId, KeyRecord, KeyStatus, KeyUsage, KeyUse,
    ProjectAccess, RateLimit,
};
use onerun_domain::{Direction, Job, Page, PageRequest, ProjectId};

use crate::{ExactFilter, IdempotencyRecord, KeyError, StoreError};

/// A new key with its audit entry and idempotency record.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// The key.
    pub record: KeyRecord,
    /// The event for the audit trail.
    pub event: AuditEvent,
    /// The idempotency record of the request, if it has an `Idempotency-Key`.
    pub call: Option<IdempotencyRecord>,
    /// How many keys may be live, including this one.
    pub limits: KeyLimits,
    /// Jobs that the key needs, written with it.
    pub jobs: Vec<Job>,
}

/// The outcome of a decision about a key.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyChange {
    /// No change: the key already has the requested state. Nothing is written.
    None(KeyRecord),
    /// The key changes.
    To {
        /// The key.
        record: Box<KeyRecord>,
        /// The event for the audit trail.
        event: AuditEvent,
        /// Jobs that the change needs, written with it.
        jobs: Vec<Job>,
    },
    /// A new key replaces it.
    Rotation {
        /// The old key.
        record: Box<KeyRecord>,
        /// The new one.
        new: Box<KeyRecord>,
        /// The event for the audit trail.
        event: AuditEvent,
        /// The idempotency record of the request, if it has an `Idempotency-Key`.
        call: Option<IdempotencyRecord>,
        /// How many keys may be live, including the new one.
        limits: KeyLimits,
        /// Jobs that the change needs, written with it.
        jobs: Vec<Job>,
    },
}

/// The retention time of a key after its end. Its changes stay in the audit trail.
pub const KEY_RETENTION: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How many keys may be live. A key is live if it is neither revoked nor expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// All keys of the deployment.
    pub all: u32,
    /// The keys of one [family](KeyRecord::family), when a managed key adds one. The root key may add more.
    pub family: u32,
}

impl KeyLimits {
    /// No limits.
    pub const NONE: Self = Self { all: u32::MAX, family: u32::MAX };
}

/// The bounds on live keys, for a write that adds one.
#[derive(Clone, Debug)]
pub struct LiveKeys {
    limits: KeyLimits,
    is_added_by_root: bool,
    /// The family of the new key.
    pub family: KeyId,
    /// The time for which expiry is checked.
    pub now: Timestamp,
}

impl LiveKeys {
    /// The bounds for a new key.
    pub fn with_new(new: &NewKey) -> Self {
        Self::with(&new.record, new.limits)
    }

    fn with(new: &KeyRecord, limits: KeyLimits) -> Self {
        let is_added_by_root = new.created_by.is_root();
        Self { limits, is_added_by_root, family: new.family.clone(), now: new.created_at }
    }

    /// The bounds for a change. `None` if the change adds no live key: no change, or a replacement
    /// that ends the old key at once.
    pub fn with_change(change: &KeyChange) -> Option<Self> {
        let KeyChange::Rotation { record, new, limits, .. } = change else { return None };
        let goes_on = record.over_at().is_none_or(|end| end > new.created_at);
        goes_on.then(|| Self::with(new, *limits))
    }

    /// How many keys need to be counted at most.
    pub fn limit(&self) -> u32 {
        self.limits.all
    }

    /// Refuses another key if the live keys have reached a bound: `all` of them, or those of the
    /// [family](Self::family). If `all` has reached [`limit`](Self::limit), `in_family` may be incomplete.
    pub fn check(&self, all: u64, in_family: u64) -> Result<(), KeyChangeError> {
        let KeyLimits { all: limit, family: family_limit } = self.limits;
        if all >= u64::from(limit) {
            return Err(KeyChangeError::TooManyKeys { limit });
        }
        if !self.is_added_by_root && in_family >= u64::from(family_limit) {
            return Err(KeyChangeError::TooManyKeysOfFamily { limit: family_limit });
        }
        Ok(())
    }
}

/// Decides on a new key from the caller's record at the time of the write, or `None` for an unknown
/// caller. It may be called again with a newer record.
pub type DecideNewKey = Box<dyn FnMut(Option<KeyRecord>) -> Result<NewKey, KeyError> + Send>;

/// Decides on a change of a key from its record and the caller's, both at the time of the write. It
/// may be called again with newer records.
pub type DecideKey = Box<dyn FnMut(KeyRecord, Option<KeyRecord>) -> Result<KeyChange, KeyError> + Send>;

/// Decides on the change of a key for a caller without a record.
pub type DecideUnasked = Box<dyn FnMut(KeyRecord) -> Result<KeyChange, KeyChangeError> + Send>;

/// A requested change of a key.
pub struct ChangeKey {
    /// The calling managed key. `None` for the root key and for a report of a leaked key.
    pub caller: Option<KeyId>,
    /// Whether the change only takes permissions away. Such a change may use reserved disk space.
    pub is_ending: bool,
    /// The decision.
    pub decide: DecideKey,
}

impl ChangeKey {
    /// A change without a managed key as the caller.
    pub fn unasked(mut decide: DecideUnasked) -> Self {
        let decide: DecideKey = Box::new(move |record, _| Ok(decide(record)?));
        Self { caller: None, is_ending: false, decide }
    }
}

/// A key and its usage.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyView {
    /// The key.
    pub record: KeyRecord,
    /// Its usage.
    pub usage: KeyUsage,
}

/// A request for a list of keys, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct ListKeys {
    /// Only keys all of whose projects the caller can access.
    pub within: ProjectAccess,
    /// Only keys with this name and metadata.
    pub exact: ExactFilter,
    /// Only keys in this status.
    pub status: Option<KeyStatus>,
    /// Only keys that reach this project.
    pub project: Option<ProjectId>,
    /// Only keys that have not ended but end by this time.
    pub ends_by: Option<Timestamp>,
    /// Only active keys without a use since this time. A key that was never used counts from its
    /// creation.
    pub idle_since: Option<Timestamp>,
    /// The time for which statuses are computed.
    pub now: Timestamp,
    /// The page.
    pub page: PageRequest,
}

impl ListKeys {
    /// Whether a key is part of the list.
    pub fn admits(&self, view: &KeyView) -> bool {
        let KeyView { record, usage } = view;
        let status = record.status(self.now);
        let is_over = matches!(status, KeyStatus::Expired | KeyStatus::Revoked);
        record.grant.projects.is_within(&self.within)
            && self.exact.admits(&record.name, &record.metadata)
            && self.status.is_none_or(|wanted| wanted == status)
            && self.project.as_ref().is_none_or(|project| record.grant.projects.allows(project))
            && self.ends_by.is_none_or(|by| !is_over && record.ends_at().is_some_and(|end| end <= by))
            && self.idle_since.is_none_or(|since| {
                status == KeyStatus::Active && usage.last_used_at.unwrap_or(record.created_at) <= since
            })
    }
}

/// A page of the audit trail, and the trail's head.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Page<AuditEntry>,
    /// The last entry of the trail, from the same snapshot or a later one.
    pub head: Option<AuditHead>,
    /// The last archived entry; the list begins after it. `None` if no entry is archived.
    pub archived: Option<AuditHead>,
}

/// The part of a store for managed keys.
///
/// The audit trail is one chain: every change of a key seals its event to the trail's head, and
/// writes both, and the jobs that the change needs, or nothing. No two entries have the same position.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Adds a key, and returns what was written. The decision reads the caller's record, and the
    /// key is written only if that record has not changed, so a caller that has just been revoked
    /// creates no key. It is not written either if more keys would be live than its limits allow, even
    /// if others add keys concurrently.
    ///
    /// # Errors
    ///
    /// [`StoreError::Duplicate`] if the id or the idempotency record exists; then nothing is
    /// written.
    async fn insert_key(&self, caller: Option<&KeyId>, decide: DecideNewKey) -> Result<NewKey, KeyError>;

    /// One key, including every acknowledged write, because it decides who may call.
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;

    /// One key and its usage.
    async fn key_view(&self, id: &KeyId) -> Result<Option<KeyView>, StoreError>;

    /// A page of keys, newest first.
    async fn keys(&self, list: ListKeys) -> Result<Page<KeyView>, StoreError>;

    /// Changes a key. `None` if it does not exist. All of the change is written or none of it, and
    /// only if the key's and the caller's records have not changed since the decision. A rotation
    /// with an existing idempotency record is [`StoreError::Duplicate`].
    async fn change_key(&self, id: &KeyId, change: ChangeKey) -> Result<Option<KeyChange>, KeyError>;

    /// Adds uses to a key's usage. If uses were written less than
    /// [`WRITE_EVERY`](onerun_auth::WRITE_EVERY) before or after `now` and these contain [nothing
    /// new](onerun_auth::KeyUsage::lacks), it returns `false` and writes nothing. Uses of an
    /// unknown key are dropped.
    async fn add_key_use(&self, id: &KeyId, uses: &KeyUse, now: Timestamp) -> Result<bool, StoreError>;

    /// Counts a request in the current window of a limit, and returns the count, including this
    /// request. Each `bucket` has its own counts, and so has each window length. Counts may be lost
    /// when the process ends, and need not outlive their window. After a failed call, a request may
    /// have been counted twice, but never not at all.
    async fn count_request(&self, bucket: &str, limit: RateLimit, now: Timestamp) -> Result<u64, StoreError>;

    /// A page of the audit trail without its archived entries, oldest or newest entries first.
    ///
    /// # Errors
    ///
    /// [`StoreError::ArchivedPosition`] if the page would begin among archived entries.
    async fn audit(&self, direction: Direction, page: PageRequest) -> Result<AuditPage, StoreError>;

    /// Records that the archive has all entries up to `last`. From then on no list has them. Returns `false` and
    /// writes nothing if the list has no such entry, as when it is archived already.
    async fn set_audit_archived(&self, last: &AuditHead) -> Result<bool, StoreError>;

    /// Deletes up to `limit` archived entries, oldest first. Returns whether some may be left.
    async fn delete_archived_audit(&self, limit: u32) -> Result<bool, StoreError>;
}
