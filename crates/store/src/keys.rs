//! Managed keys, their uses, and the audit trail of changes to them.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    AuditEntry, AuditEvent, AuditHead, KeyChangeError, KeyId, KeyRecord, KeyStatus, KeyUsage, KeyUse,
    ProjectAccess, RateLimit,
};
use onerun_domain::{Direction, Page, PageRequest, ProjectId};

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
    /// How many live keys there may be with it.
    pub max_live: u32,
}

/// The outcome of a decision about a key.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyChange {
    /// No change: the key already has the requested state. Nothing is written.
    None(KeyRecord),
    /// Its new state.
    To {
        /// The key.
        record: Box<KeyRecord>,
        /// The event for the audit trail.
        event: AuditEvent,
    },
    /// A new key replaces it.
    Rotation {
        /// The old key.
        record: Box<KeyRecord>,
        /// The new one.
        new: Box<KeyRecord>,
        /// The event for the audit trail.
        event: AuditEvent,
        /// The record of the request, if it can be repeated.
        call: Option<IdempotencyRecord>,
        /// How many live keys there may be with the new one.
        max_live: u32,
    },
}

/// The retention time of a key after its end. Its changes stay in the audit trail.
pub const KEY_RETENTION: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The bound on live keys, which are those that are neither revoked nor expired, for a write that adds one.
#[derive(Clone, Copy, Debug)]
pub struct LiveKeys {
    max: u32,
    /// When they are counted.
    pub now: Timestamp,
}

impl LiveKeys {
    /// The bound for a new key.
    pub fn with_new(new: &NewKey) -> Self {
        Self { max: new.max_live, now: new.record.created_at }
    }

    /// The bound for a change. `None` if it does not add to the live keys: no change or one that takes a
    /// key's place at once.
    pub fn with_change(change: &KeyChange) -> Option<Self> {
        let KeyChange::Rotation { record, new, max_live, .. } = change else { return None };
        let now = new.created_at;
        let goes_on = record.over_at().is_none_or(|end| end > now);
        goes_on.then_some(Self { max: *max_live, now })
    }

    /// How many have to be counted at most.
    pub fn limit(self) -> u32 {
        self.max
    }

    /// Refuses another key if there are so many.
    pub fn check(self, live: u64) -> Result<(), KeyChangeError> {
        if live < u64::from(self.max) { Ok(()) } else { Err(KeyChangeError::TooManyKeys { limit: self.max }) }
    }
}

/// Decides on a new key, from the record of the key that asks for it as it is when the new one is written:
/// `None` if the store has no such record. It may be asked again with a newer record.
pub type DecideNewKey = Box<dyn FnMut(Option<KeyRecord>) -> Result<NewKey, KeyError> + Send>;

/// Decides on a change of a key, from its record and from that of the key that asks for the change, both as
/// they are when the change is written. It may be asked again with newer records.
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
    /// A change that no managed key asks for.
    pub fn unasked(mut decide: DecideUnasked) -> Self {
        let decide: DecideKey = Box::new(move |record, _| Ok(decide(record)?));
        Self { caller: None, is_ending: false, decide }
    }
}

/// A key and how it was used.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyView {
    /// The key.
    pub record: KeyRecord,
    /// How it was used.
    pub usage: KeyUsage,
}

/// Which keys are wanted, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct ListKeys {
    /// Only keys all of whose projects the caller can access.
    pub within: ProjectAccess,
    /// Only these.
    pub exact: ExactFilter,
    /// Only those of this status.
    pub status: Option<KeyStatus>,
    /// Only those that reach this project.
    pub project: Option<ProjectId>,
    /// Only those that are not over, and are over by then.
    pub ends_by: Option<Timestamp>,
    /// Only active keys without a use since then. A key that was never used counts from its creation.
    pub idle_since: Option<Timestamp>,
    /// The time at which statuses are asked for.
    pub now: Timestamp,
    /// Which part.
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

/// A part of the audit trail, and where the whole of it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    /// The part.
    pub entries: Page<AuditEntry>,
    /// The last entry of the trail, at the same moment or later.
    pub head: Option<AuditHead>,
}

/// The part of a store that is about managed keys.
///
/// The audit trail is one chain: whatever changes a key seals its event to the trail's head and writes both,
/// or neither. No two writes have the same place in it.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Adds a key and gives what was written. The decision is made from the caller's record, and the key is
    /// written only if that record is still the same: a caller that was revoked a moment before makes no key.
    /// Nor is it written if there would be more than `max_live` live keys, whoever else adds one at that
    /// time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Duplicate`] if the id is taken, or there is a record of the same id; nothing is written then.
    async fn insert_key(&self, caller: Option<&KeyId>, decide: DecideNewKey) -> Result<NewKey, KeyError>;

    /// One key, including every acknowledged write. It decides who may call.
    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;

    /// One key and how it was used.
    async fn key_view(&self, id: &KeyId) -> Result<Option<KeyView>, StoreError>;

    /// Keys, newest first.
    async fn keys(&self, list: ListKeys) -> Result<Page<KeyView>, StoreError>;

    /// Changes a key; `None` if there is no such key. All of the change is written or none of it, and only if
    /// the key and the caller's record are still as it was decided from. A rotation of which there is a
    /// record already is
    /// [`StoreError::Duplicate`].
    async fn change_key(&self, id: &KeyId, change: ChangeKey) -> Result<Option<KeyChange>, KeyError>;

    /// Adds uses of a key to what is known of it, unless some were added less than
    /// [`WRITE_EVERY`](onerun_auth::WRITE_EVERY) before or after `now` and these say [nothing
    /// new](onerun_auth::KeyUsage::lacks): then `false`, and nothing is written. Uses of a key that is not
    /// there are forgotten.
    async fn add_key_use(&self, id: &KeyId, uses: &KeyUse, now: Timestamp) -> Result<bool, StoreError>;

    /// Counts a request in the present window of a limit, and says how many there were, this one included.
    /// Each `bucket` counts for itself, and so does each length of a window. Counts may be lost when the
    /// process ends, and need not be kept beyond their window. Where the way to the store fails, a request
    /// may be counted twice, but never not at all.
    async fn count_request(&self, bucket: &str, limit: RateLimit, now: Timestamp) -> Result<u64, StoreError>;

    /// The audit trail, from its oldest entry on or from its newest.
    async fn audit(&self, direction: Direction, page: PageRequest) -> Result<AuditPage, StoreError>;
}
