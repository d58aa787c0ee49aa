//! The stored record of a managed key and its state machine.
//!
//! ```text
//!            not_before              the earlier of expires_at and overlap_ends_at
//!    pending ──────────► active ─────────────────────────────────────────────────► expired
//!                        ▲    │ disable
//!                 enable │    ▼
//!                       disabled          revoke, from any state: revoked, which is final
//! ```
//!
//! Each change is a function from the stored record to the next one, or a [`KeyChangeError`]. Nothing here
//! reads a clock or writes to a store.
//!
//! Invariants:
//!
//! - A revoked key stays revoked, whatever the clock says.
//! - A rotation never extends a key's life: the end of the overlap is stored beside the expiry, and
//!   the earlier one counts.
//! - A rotation without an overlap revokes the old key.
//! - Every change increments [`KeyRecord::revision`], which orders the records of a key.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Metadata, Name, Patch, later};
use subtle::ConstantTimeEq;

use crate::address::AddressAccess;
use crate::change::KeyChangeError;
use crate::grant::{Grant, ProjectAccess};
use crate::key::{KeyDigest, KeyId};
use crate::limit::RateLimit;
use crate::managed::ManagedKey;
use crate::scope::ScopeSet;

/// The maximum overlap of a rotation: seven days.
pub const MAX_OVERLAP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The stored record of a managed key. It contains the digest of the secret, not the key or the
/// secret.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The public id.
    pub id: KeyId,
    /// The name that people use.
    pub name: Name,
    /// The digest of the secret.
    pub digest: KeyDigest,
    /// The permissions and the expiry.
    pub grant: Grant,
    /// The first moment at which the key is accepted; `None` if accepted at once.
    pub not_before: Option<Timestamp>,
    /// The owner's own data.
    pub metadata: Metadata,
    /// The creation time.
    pub created_at: Timestamp,
    /// The key that created it.
    pub created_by: KeyId,
    /// The first key of its family. The root key begins a family with each key that it creates. A key that a managed
    /// key creates or rotates is of that key's family, and a key that the root key rotates stays in its own.
    pub family: KeyId,
    /// The time of the last change.
    pub updated_at: Timestamp,
    /// When the key was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// When the key was revoked, if it is.
    pub revoked_at: Option<Timestamp>,
    /// The key that this one replaces.
    pub replaces: Option<KeyId>,
    /// The rotation that replaced this key.
    pub replaced: Option<Replacement>,
    /// 1 for a new key, incremented by every change.
    pub revision: u64,
}

/// A rotation, as recorded in the old key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The new key.
    pub by: KeyId,
    /// When the key was rotated.
    pub at: Timestamp,
    /// The first moment at which the old key is refused.
    pub overlap_ends_at: Timestamp,
}

/// The status of a key at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// Not accepted before its `not_before`.
    Pending,
    /// Accepted.
    Active,
    /// Refused until it is enabled.
    Disabled,
    /// Refused because its expiry or the overlap of its rotation has passed.
    Expired,
    /// Refused permanently.
    Revoked,
}

impl KeyStatus {
    /// Every status.
    pub const ALL: [KeyStatus; 5] =
        [KeyStatus::Pending, KeyStatus::Active, KeyStatus::Disabled, KeyStatus::Expired, KeyStatus::Revoked];

    /// The status in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyStatus::Pending => "pending",
            KeyStatus::Active => "active",
            KeyStatus::Disabled => "disabled",
            KeyStatus::Expired => "expired",
            KeyStatus::Revoked => "revoked",
        }
    }
}

/// The properties of a new key.
#[derive(Clone, Debug)]
pub struct NewKeySpec {
    /// The name that people use.
    pub name: Name,
    /// The permissions and the expiry.
    pub grant: Grant,
    /// The first moment at which the key is accepted; `None` if accepted at once.
    pub not_before: Option<Timestamp>,
    /// The owner's own data.
    pub metadata: Metadata,
}

/// A partial update of a key. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// The name that people use.
    pub name: Option<Name>,
    /// The allowed operations.
    pub scopes: Option<ScopeSet>,
    /// The projects that the key reaches.
    pub projects: Option<ProjectAccess>,
    /// The addresses from which the key is accepted.
    pub addresses: Option<AddressAccess>,
    /// The rate limit.
    pub rate_limit: Patch<RateLimit>,
    /// The expiry.
    pub expires_at: Patch<Timestamp>,
    /// The owner's own data.
    pub metadata: Option<Metadata>,
}

impl KeyRecord {
    /// The record of a new key, which begins a family.
    pub fn new(key: &ManagedKey, spec: NewKeySpec, created_by: KeyId, now: Timestamp) -> KeyRecord {
        let NewKeySpec { name, grant, not_before, metadata } = spec;
        KeyRecord {
            id: key.id().clone(),
            name,
            digest: key.digest().clone(),
            grant,
            not_before,
            metadata,
            created_at: now,
            created_by,
            family: key.id().clone(),
            updated_at: now,
            disabled_at: None,
            revoked_at: None,
            replaces: None,
            replaced: None,
            revision: 1,
        }
    }

    /// The first moment at which the key is refused: the earlier of its expiry and the end of the
    /// overlap.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let overlap = self.replaced.as_ref().map(|replaced| replaced.overlap_ends_at);
        match (self.grant.expires_at, overlap) {
            (Some(end), Some(overlap)) => Some(end.min(overlap)),
            (end, overlap) => end.or(overlap),
        }
    }

    /// The first moment at which the key is revoked or expired, both of which are final; `None` if
    /// it lives until it is revoked.
    pub fn over_at(&self) -> Option<Timestamp> {
        self.revoked_at.into_iter().chain(self.ends_at()).min()
    }

    /// The status at `now`. Final states take precedence.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked_at.is_some() {
            KeyStatus::Revoked
        } else if self.ends_at().is_some_and(|end| now >= end) {
            KeyStatus::Expired
        } else if self.disabled_at.is_some() {
            KeyStatus::Disabled
        } else if self.not_before.is_some_and(|begin| now < begin) {
            KeyStatus::Pending
        } else {
            KeyStatus::Active
        }
    }

    /// Revokes the key, which is final. A revoked key is left unchanged.
    #[must_use]
    pub fn revoke(self, now: Timestamp) -> KeyRecord {
        if self.revoked_at.is_some() {
            return self;
        }
        KeyRecord { revoked_at: Some(now), ..self }.changed(now)
    }

    /// Disables the key until it is enabled. A disabled key is left unchanged.
    pub fn disable(self, now: Timestamp) -> Result<KeyRecord, KeyChangeError> {
        self.refuse_over(now)?;
        if self.disabled_at.is_some() {
            return Ok(self);
        }
        Ok(KeyRecord { disabled_at: Some(now), ..self }.changed(now))
    }

    /// Enables the key again. A key that is not disabled is left unchanged.
    pub fn enable(self, now: Timestamp) -> Result<KeyRecord, KeyChangeError> {
        self.refuse_over(now)?;
        if self.disabled_at.is_none() {
            return Ok(self);
        }
        Ok(KeyRecord { disabled_at: None, ..self }.changed(now))
    }

    /// Changes the key's properties.
    pub fn update(self, patch: KeyPatch, now: Timestamp) -> Result<KeyRecord, KeyChangeError> {
        self.refuse_over(now)?;
        self.refuse_replaced()?;
        let KeyPatch { name, scopes, projects, addresses, rate_limit, expires_at, metadata } = patch;
        let grant = Grant {
            scopes: scopes.unwrap_or(self.grant.scopes),
            projects: projects.unwrap_or(self.grant.projects),
            addresses: addresses.unwrap_or(self.grant.addresses),
            rate_limit: rate_limit.apply(self.grant.rate_limit),
            expires_at: expires_at.apply(self.grant.expires_at),
        };
        let changed = KeyRecord {
            name: name.unwrap_or(self.name),
            metadata: metadata.unwrap_or(self.metadata),
            grant,
            ..self
        };
        Ok(changed.changed(now))
    }

    /// Replaces this key by a new one. This key stays accepted for the overlap, but not beyond its
    /// own expiry. Scopes, projects, addresses, rate limit and metadata carry over; `expires_at` is
    /// the new key's.
    ///
    /// Without an overlap this key is revoked: an end that depends on the clock would be undone if
    /// the clock is set back.
    ///
    /// Returns the old key's record and the new one's, which is of the same family.
    pub fn rotate(
        self,
        key: &ManagedKey,
        overlap: SignedDuration,
        expires_at: Option<Timestamp>,
        created_by: KeyId,
        now: Timestamp,
    ) -> Result<(KeyRecord, KeyRecord), KeyChangeError> {
        self.refuse_over(now)?;
        self.refuse_replaced()?;
        if self.disabled_at.is_some() {
            return Err(KeyChangeError::Disabled);
        }
        let spec = NewKeySpec {
            name: self.name.clone(),
            grant: Grant { expires_at, ..self.grant.clone() },
            not_before: self.not_before.filter(|begin| *begin > now),
            metadata: self.metadata.clone(),
        };
        let new = KeyRecord {
            replaces: Some(self.id.clone()),
            family: self.family.clone(),
            ..KeyRecord::new(key, spec, created_by, now)
        };
        let overlap = overlap.clamp(SignedDuration::ZERO, MAX_OVERLAP);
        let overlap_ends_at = later(now, overlap);
        let replaced = Replacement {
            by: new.id.clone(),
            at: now,
            overlap_ends_at: self.grant.expires_at.map_or(overlap_ends_at, |end| end.min(overlap_ends_at)),
        };
        let revoked_at = overlap.is_zero().then_some(now);
        let old = KeyRecord { replaced: Some(replaced), revoked_at, ..self }.changed(now);
        Ok((old, new))
    }

    /// The new key in the family of the managed key that creates it. The root key has no record and changes nothing.
    #[must_use]
    pub fn in_family_of(self, creator: Option<&KeyRecord>) -> KeyRecord {
        match creator {
            Some(creator) => KeyRecord { family: creator.family.clone(), ..self },
            None => self,
        }
    }

    /// The key's lifetime: from its creation, or from `not_before` if that is later, to its expiry.
    /// `None` if it never expires.
    pub fn lifetime(&self) -> Option<SignedDuration> {
        let begin = self.not_before.map_or(self.created_at, |begin| begin.max(self.created_at));
        self.grant.expires_at.map(|end| end.duration_since(begin))
    }

    fn changed(self, now: Timestamp) -> KeyRecord {
        KeyRecord { updated_at: now, revision: self.revision + 1, ..self }
    }

    /// Refuses a change of a revoked or expired key.
    fn refuse_over(&self, now: Timestamp) -> Result<(), KeyChangeError> {
        match self.status(now) {
            KeyStatus::Revoked => Err(KeyChangeError::Revoked),
            KeyStatus::Expired => Err(KeyChangeError::Expired),
            KeyStatus::Pending | KeyStatus::Active | KeyStatus::Disabled => Ok(()),
        }
    }

    fn refuse_replaced(&self) -> Result<(), KeyChangeError> {
        match &self.replaced {
            Some(replaced) => Err(KeyChangeError::Replaced { by: replaced.by.clone() }),
            None => Ok(()),
        }
    }
}

/// For tests that compare stored records. Digests are compared in constant time because they have
/// no other comparison.
impl PartialEq for KeyRecord {
    fn eq(&self, other: &KeyRecord) -> bool {
        let plain = |record: &KeyRecord| {
            let KeyRecord { digest: _, .. } = record;
            (
                record.id.clone(),
                record.name.clone(),
                record.grant.clone(),
                record.not_before,
                record.metadata.clone(),
                (record.created_at, record.created_by.clone(), record.family.clone(), record.updated_at),
                (record.disabled_at, record.revoked_at),
                (record.replaces.clone(), record.replaced.clone()),
                record.revision,
            )
        };
        bool::from(self.digest.ct_eq(&other.digest)) && plain(self) == plain(other)
    }
}

#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const MADE: &str = "2026-01-01T00:00:00Z";
    const END: &str = "2026-04-01T00:00:00Z";

    fn key(byte: u8) -> ManagedKey {
        ManagedKey::generate(|buffer| {
            buffer.fill(byte);
            Ok::<(), Infallible>(())
        })
        .unwrap()
    }

    fn record() -> KeyRecord {
        let spec = NewKeySpec {
            name: Name::parse("ci").unwrap(),
            grant: Grant { expires_at: Some(time(END)), ..Grant::everything() },
            not_before: None,
            metadata: Metadata::default(),
        };
        KeyRecord::new(&key(1), spec, KeyId::ROOT, time(MADE))
    }

    fn rotate(
        record: KeyRecord,
        overlap: SignedDuration,
        now: &str,
    ) -> Result<(KeyRecord, KeyRecord), KeyChangeError> {
        record.rotate(&key(2), overlap, None, KeyId::ROOT, time(now))
    }

    #[test]
    fn key_is_active_from_its_start_until_just_before_its_end() {
        let key = KeyRecord { not_before: Some(time("2026-02-01T00:00:00Z")), ..record() };
        for (now, expected) in [
            (MADE, KeyStatus::Pending),
            ("2026-01-31T23:59:59.999999Z", KeyStatus::Pending),
            ("2026-02-01T00:00:00Z", KeyStatus::Active),
            ("2026-03-31T23:59:59.999999Z", KeyStatus::Active),
            (END, KeyStatus::Expired),
        ] {
            assert_eq!(key.status(time(now)), expected, "{now}");
        }
    }

    #[test]
    fn revoked_key_refuses_every_change() {
        let revoked = record().revoke(time("2026-01-02T00:00:00Z"));
        assert_eq!(revoked.status(time("2027-01-02T00:00:00Z")), KeyStatus::Revoked);
        let now = time("2026-01-03T00:00:00Z");
        assert_eq!(revoked.clone().disable(now), Err(KeyChangeError::Revoked));
        assert_eq!(revoked.clone().enable(now), Err(KeyChangeError::Revoked));
        assert_eq!(revoked.clone().update(KeyPatch::default(), now), Err(KeyChangeError::Revoked));
        assert_eq!(
            rotate(revoked.clone(), SignedDuration::ZERO, "2026-01-03T00:00:00Z").unwrap_err(),
            KeyChangeError::Revoked
        );
        assert_eq!(revoked.clone().revoke(now), revoked, "the time of the first revocation stays");
    }

    #[test]
    fn expired_key_can_only_be_revoked() {
        let now = time(END);
        let longer = KeyPatch { expires_at: Patch::Clear, ..KeyPatch::default() };
        assert_eq!(record().update(longer, now), Err(KeyChangeError::Expired));
        assert_eq!(record().enable(now), Err(KeyChangeError::Expired));
        assert_eq!(rotate(record(), SignedDuration::ZERO, END).unwrap_err(), KeyChangeError::Expired);
        assert_eq!(record().revoke(now).status(now), KeyStatus::Revoked);
    }

    #[test]
    fn disabled_key_is_active_after_it_is_enabled() {
        let (day, next) = (time("2026-01-02T00:00:00Z"), time("2026-01-03T00:00:00Z"));
        let disabled = record().disable(day).unwrap();
        assert_eq!(disabled.status(next), KeyStatus::Disabled);
        assert_eq!(disabled.clone().disable(next).unwrap(), disabled, "the time of the first change stays");
        assert_eq!(
            rotate(disabled.clone(), SignedDuration::ZERO, "2026-01-03T00:00:00Z").unwrap_err(),
            KeyChangeError::Disabled
        );
        let enabled = disabled.enable(next).unwrap();
        assert_eq!(enabled.status(next), KeyStatus::Active);
        assert_eq!(enabled.revision, 3);
    }

    #[test]
    fn rotation_keeps_the_old_key_for_the_overlap() {
        let (old, new) = rotate(record(), SignedDuration::from_hours(24), "2026-02-01T00:00:00Z").unwrap();
        assert_eq!(old.status(time("2026-02-01T23:59:59.999999Z")), KeyStatus::Active);
        assert_eq!(old.status(time("2026-02-02T00:00:00Z")), KeyStatus::Expired);
        assert_eq!(old.grant.expires_at, Some(time(END)), "the expiry itself is left alone");
        assert_eq!(old.replaced.as_ref().map(|replaced| &replaced.by), Some(&new.id));
        assert_eq!(new.replaces.as_ref(), Some(&old.id));
        assert_eq!(new.grant, Grant { expires_at: None, ..old.grant.clone() });
        assert_eq!((new.name.clone(), new.metadata.clone()), (old.name.clone(), old.metadata.clone()));
        let again = rotate(old, SignedDuration::ZERO, "2026-02-01T01:00:00Z").unwrap_err();
        assert_eq!(again, KeyChangeError::Replaced { by: new.id });
    }

    #[test]
    fn overlap_is_at_most_the_lifetime_and_seven_days() {
        let (old, _) = rotate(record(), MAX_OVERLAP, "2026-03-31T00:00:00Z").unwrap();
        assert_eq!(old.ends_at(), Some(time(END)));
        let (old, _) = rotate(record(), MAX_OVERLAP * 9, "2026-02-01T00:00:00Z").unwrap();
        assert_eq!(old.ends_at(), Some(time("2026-02-08T00:00:00Z")));
    }

    #[test]
    fn rotation_without_overlap_revokes_the_old_key() {
        for overlap in [SignedDuration::ZERO, -MAX_OVERLAP] {
            let (old, new) = rotate(record(), overlap, "2026-02-01T00:00:00Z").unwrap();
            for now in [MADE, "2026-01-31T23:59:50Z", "2026-02-01T00:00:00Z", END] {
                assert_eq!(old.status(time(now)), KeyStatus::Revoked, "{now}");
            }
            assert_eq!(old.revoked_at, Some(time("2026-02-01T00:00:00Z")));
            assert_eq!((old.revision, new.revoked_at), (2, None));
        }
    }

    #[test]
    fn lifetime_counts_from_not_before() {
        assert_eq!(record().lifetime(), Some(SignedDuration::from_hours(90 * 24)));
        let late = KeyRecord { not_before: Some(time("2026-03-01T00:00:00Z")), ..record() };
        assert_eq!(late.lifetime(), Some(SignedDuration::from_hours(31 * 24)));
    }

    #[test]
    fn debug_does_not_print_the_digest() {
        assert!(format!("{:?}", record()).contains("digest: KeyDigest,"));
    }
}
