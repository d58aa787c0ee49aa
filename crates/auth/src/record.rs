//! What is kept of a managed key, and its life: made, changed, disabled and enabled, rotated, revoked, over.
//!
//! ```text
//!            not_before              the earlier of expires_at and overlap_ends_at
//!    pending ──────────► active ─────────────────────────────────────────────────► expired
//!                        ▲    │ disable
//!                 enable │    ▼
//!                       disabled          revoke, from anywhere: revoked, for ever
//! ```
//!
//! Each change is a function from the record that is stored to the one that is to be, or a [`Refusal`] of it. Nothing here
//! reads a clock or writes anything.
//!
//! Invariants: a revoked key stays revoked, whatever the clock says. What ends a key is never put later by rotating it: the
//! end of the overlap stands beside the expiry, and the earlier counts. A rotation without an overlap revokes. Every change counts [`KeyRecord::revision`] up, so that of two records
//! of a key it is known which is the later.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Metadata, Name, Refusal, later};
use subtle::ConstantTimeEq;

use crate::address::AddressAccess;
use crate::grant::{Grant, ProjectAccess};
use crate::key::{KeyDigest, KeyId};
use crate::limit::RateLimit;
use crate::managed::ManagedKey;
use crate::scope::ScopeSet;

/// The longest overlap of a rotation.
pub const MAX_OVERLAP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is kept of a managed key. It holds the digest of the secret, and neither the key nor the secret.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// Its public name.
    pub id: KeyId,
    /// What people call it.
    pub name: Name,
    /// The digest of its secret.
    pub digest: KeyDigest,
    /// What it may do, and until when.
    pub grant: Grant,
    /// From when on it may.
    pub not_before: Option<Timestamp>,
    /// What its owner notes with it.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// The key that made it.
    pub created_by: KeyId,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Since when it is disabled.
    pub disabled_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The key that it took the place of.
    pub replaces: Option<KeyId>,
    /// The key that took its place.
    pub replaced: Option<Replacement>,
    /// How many states it has had, counted from 1.
    pub revision: u64,
}

/// What a rotation leaves with the old key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The new key.
    pub by: KeyId,
    /// When.
    pub at: Timestamp,
    /// From when on the old key is refused.
    pub overlap_ends_at: Timestamp,
}

/// How a key stands at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// Its time is yet to come.
    Pending,
    /// It is accepted.
    Active,
    /// It is refused until it is enabled.
    Disabled,
    /// Its time is over, or that of the overlap after its rotation.
    Expired,
    /// It is refused for ever.
    Revoked,
}

impl KeyStatus {
    /// Every status.
    pub const ALL: [KeyStatus; 5] =
        [KeyStatus::Pending, KeyStatus::Active, KeyStatus::Disabled, KeyStatus::Expired, KeyStatus::Revoked];

    /// The status as the API has it.
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

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKeySpec {
    /// What people call it.
    pub name: Name,
    /// What it may do, and until when.
    pub grant: Grant,
    /// From when on it may.
    pub not_before: Option<Timestamp>,
    /// What its owner notes with it.
    pub metadata: Metadata,
}

/// What of a key is to be otherwise; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// What people call it.
    pub name: Option<Name>,
    /// What it may do.
    pub scopes: Option<ScopeSet>,
    /// In which projects.
    pub projects: Option<ProjectAccess>,
    /// From where.
    pub addresses: Option<AddressAccess>,
    /// How often.
    pub rate_limit: Option<Option<RateLimit>>,
    /// Until when.
    pub expires_at: Option<Option<Timestamp>>,
    /// What its owner notes with it.
    pub metadata: Option<Metadata>,
}

impl KeyRecord {
    /// The record of a new key.
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
            updated_at: now,
            disabled_at: None,
            revoked_at: None,
            replaces: None,
            replaced: None,
            revision: 1,
        }
    }

    /// From when on the key is refused: the earlier of its expiry and the end of the overlap.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let overlap = self.replaced.as_ref().map(|replaced| replaced.overlap_ends_at);
        match (self.grant.expires_at, overlap) {
            (Some(end), Some(overlap)) => Some(end.min(overlap)),
            (end, overlap) => end.or(overlap),
        }
    }

    /// From when on the key is over for good, because it is revoked or expires; `None` if it goes on until it is revoked.
    pub fn over_at(&self) -> Option<Timestamp> {
        self.revoked_at.into_iter().chain(self.ends_at()).min()
    }

    /// How the key stands. What is final comes first.
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

    /// Revokes the key for ever. A revoked one is left as it is.
    #[must_use]
    pub fn revoke(self, now: Timestamp) -> KeyRecord {
        if self.revoked_at.is_some() {
            return self;
        }
        KeyRecord { revoked_at: Some(now), ..self }.changed(now)
    }

    /// Disables the key until it is enabled. A disabled one is left as it is.
    pub fn disable(self, now: Timestamp) -> Result<KeyRecord, Refusal> {
        self.refuse_over(now)?;
        if self.disabled_at.is_some() {
            return Ok(self);
        }
        Ok(KeyRecord { disabled_at: Some(now), ..self }.changed(now))
    }

    /// Enables the key again. One that is not disabled is left as it is.
    pub fn enable(self, now: Timestamp) -> Result<KeyRecord, Refusal> {
        self.refuse_over(now)?;
        if self.disabled_at.is_none() {
            return Ok(self);
        }
        Ok(KeyRecord { disabled_at: None, ..self }.changed(now))
    }

    /// Changes what the key is and may do.
    pub fn update(self, patch: KeyPatch, now: Timestamp) -> Result<KeyRecord, Refusal> {
        self.refuse_over(now)?;
        self.refuse_replaced()?;
        let KeyPatch { name, scopes, projects, addresses, rate_limit, expires_at, metadata } = patch;
        let grant = Grant {
            scopes: scopes.unwrap_or(self.grant.scopes),
            projects: projects.unwrap_or(self.grant.projects),
            addresses: addresses.unwrap_or(self.grant.addresses),
            rate_limit: rate_limit.unwrap_or(self.grant.rate_limit),
            expires_at: expires_at.unwrap_or(self.grant.expires_at),
        };
        let changed = KeyRecord {
            name: name.unwrap_or(self.name),
            metadata: metadata.unwrap_or(self.metadata),
            grant,
            ..self
        };
        Ok(changed.changed(now))
    }

    /// Puts a new key in this one's place, and leaves this one for the overlap, but no longer than it would have lived.
    /// Scopes, projects, addresses, rate limit and metadata carry over; `expires_at` is the new key's.
    ///
    /// Without an overlap this one is revoked: an end that only the clock decides would be undone by a clock that is put
    /// back.
    ///
    /// Gives the old key's record and the new one's.
    pub fn rotate(
        self,
        key: &ManagedKey,
        overlap: SignedDuration,
        expires_at: Option<Timestamp>,
        created_by: KeyId,
        now: Timestamp,
    ) -> Result<(KeyRecord, KeyRecord), Refusal> {
        self.refuse_over(now)?;
        self.refuse_replaced()?;
        if self.disabled_at.is_some() {
            return Err(Refusal::KeyDisabled);
        }
        let spec = NewKeySpec {
            name: self.name.clone(),
            grant: Grant { expires_at, ..self.grant.clone() },
            not_before: self.not_before.filter(|begin| *begin > now),
            metadata: self.metadata.clone(),
        };
        let new = KeyRecord { replaces: Some(self.id.clone()), ..KeyRecord::new(key, spec, created_by, now) };
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

    /// For how long the key was made to live, from when it was made or, if it was put off, from then; `None` for ever.
    pub fn lifetime(&self) -> Option<SignedDuration> {
        let begin = self.not_before.map_or(self.created_at, |begin| begin.max(self.created_at));
        self.grant.expires_at.map(|end| end.duration_since(begin))
    }

    fn changed(self, now: Timestamp) -> KeyRecord {
        KeyRecord { updated_at: now, revision: self.revision + 1, ..self }
    }

    /// Refuses what has come to its end.
    fn refuse_over(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.status(now) {
            KeyStatus::Revoked => Err(Refusal::KeyRevoked),
            KeyStatus::Expired => Err(Refusal::KeyExpired),
            KeyStatus::Pending | KeyStatus::Active | KeyStatus::Disabled => Ok(()),
        }
    }

    fn refuse_replaced(&self) -> Result<(), Refusal> {
        match &self.replaced {
            Some(replaced) => Err(Refusal::KeyReplaced { by: replaced.by.to_string() }),
            None => Ok(()),
        }
    }
}

/// For tests of what was stored. Digests are compared in constant time even here, since there is no other way.
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
                (record.created_at, record.created_by.clone(), record.updated_at),
                (record.disabled_at, record.revoked_at),
                (record.replaces.clone(), record.replaced.clone()),
                record.revision,
            )
        };
        bool::from(self.digest.ct_eq(&other.digest)) && plain(self) == plain(other)
    }
}

#[cfg(test)]
mod lives;

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
    ) -> Result<(KeyRecord, KeyRecord), Refusal> {
        record.rotate(&key(2), overlap, None, KeyId::ROOT, time(now))
    }

    #[test]
    fn a_key_is_accepted_from_its_beginning_until_its_end_and_not_at_it() {
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
    fn a_revoked_key_can_be_nothing_else() {
        let revoked = record().revoke(time("2026-01-02T00:00:00Z"));
        assert_eq!(revoked.status(time("2027-01-02T00:00:00Z")), KeyStatus::Revoked);
        let now = time("2026-01-03T00:00:00Z");
        assert_eq!(revoked.clone().disable(now), Err(Refusal::KeyRevoked));
        assert_eq!(revoked.clone().enable(now), Err(Refusal::KeyRevoked));
        assert_eq!(revoked.clone().update(KeyPatch::default(), now), Err(Refusal::KeyRevoked));
        assert_eq!(
            rotate(revoked.clone(), SignedDuration::ZERO, "2026-01-03T00:00:00Z").unwrap_err(),
            Refusal::KeyRevoked
        );
        assert_eq!(revoked.clone().revoke(now), revoked, "when it was revoked first stays");
    }

    #[test]
    fn an_expired_key_is_not_brought_back() {
        let now = time(END);
        let longer = KeyPatch { expires_at: Some(None), ..KeyPatch::default() };
        assert_eq!(record().update(longer, now), Err(Refusal::KeyExpired));
        assert_eq!(record().enable(now), Err(Refusal::KeyExpired));
        assert_eq!(rotate(record(), SignedDuration::ZERO, END).unwrap_err(), Refusal::KeyExpired);
        assert_eq!(record().revoke(now).status(now), KeyStatus::Revoked);
    }

    #[test]
    fn a_disabled_key_comes_back_when_it_is_enabled() {
        let (day, next) = (time("2026-01-02T00:00:00Z"), time("2026-01-03T00:00:00Z"));
        let disabled = record().disable(day).unwrap();
        assert_eq!(disabled.status(next), KeyStatus::Disabled);
        assert_eq!(disabled.clone().disable(next).unwrap(), disabled, "since when stays");
        assert_eq!(
            rotate(disabled.clone(), SignedDuration::ZERO, "2026-01-03T00:00:00Z").unwrap_err(),
            Refusal::KeyDisabled
        );
        let enabled = disabled.enable(next).unwrap();
        assert_eq!(enabled.status(next), KeyStatus::Active);
        assert_eq!(enabled.revision, 3);
    }

    #[test]
    fn a_rotation_leaves_the_old_key_for_the_overlap_and_the_new_one_what_it_had() {
        let (old, new) = rotate(record(), SignedDuration::from_hours(24), "2026-02-01T00:00:00Z").unwrap();
        assert_eq!(old.status(time("2026-02-01T23:59:59.999999Z")), KeyStatus::Active);
        assert_eq!(old.status(time("2026-02-02T00:00:00Z")), KeyStatus::Expired);
        assert_eq!(old.grant.expires_at, Some(time(END)), "the expiry itself is left alone");
        assert_eq!(old.replaced.as_ref().map(|replaced| &replaced.by), Some(&new.id));
        assert_eq!(new.replaces.as_ref(), Some(&old.id));
        assert_eq!(new.grant, Grant { expires_at: None, ..old.grant.clone() });
        assert_eq!((new.name.clone(), new.metadata.clone()), (old.name.clone(), old.metadata.clone()));
        let again = rotate(old, SignedDuration::ZERO, "2026-02-01T01:00:00Z").unwrap_err();
        assert_eq!(again, Refusal::KeyReplaced { by: new.id.to_string() });
    }

    #[test]
    fn an_overlap_never_outlives_the_expiry_nor_seven_days() {
        let (old, _) = rotate(record(), MAX_OVERLAP, "2026-03-31T00:00:00Z").unwrap();
        assert_eq!(old.ends_at(), Some(time(END)));
        let (old, _) = rotate(record(), MAX_OVERLAP * 9, "2026-02-01T00:00:00Z").unwrap();
        assert_eq!(old.ends_at(), Some(time("2026-02-08T00:00:00Z")));
    }

    #[test]
    fn a_rotation_without_overlap_holds_though_the_clock_is_put_back() {
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
    fn a_lifetime_counts_from_when_the_key_began() {
        assert_eq!(record().lifetime(), Some(SignedDuration::from_hours(90 * 24)));
        let late = KeyRecord { not_before: Some(time("2026-03-01T00:00:00Z")), ..record() };
        assert_eq!(late.lifetime(), Some(SignedDuration::from_hours(31 * 24)));
    }

    #[test]
    fn nothing_that_is_printed_of_a_record_is_of_its_digest() {
        assert!(format!("{:?}", record()).contains("digest: KeyDigest,"));
    }
}
