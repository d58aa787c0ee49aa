//! The keys that are accepted, as digests.
//!
//! A ring does not fetch, refresh or count anything; whoever hosts the API makes a new one when the configured keys
//! change. It holds no key's text.
//!
//! Invariants: a ring is never empty, so "no keys could be read" cannot pass for "your key is wrong". Looking a key up
//! takes the same steps whether and where it is found.

use jiff::Timestamp;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::key::{KeyDigest, KeyId};

/// The accepted keys: the root key and, around a rotation, the one before it and the one to come.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// The first entry is the root key in force.
    entries: Vec<RingEntry>,
}

/// One accepted key.
#[derive(Clone, Debug)]
pub(crate) struct RingEntry {
    id: KeyId,
    digest: KeyDigest,
    not_after: Option<Timestamp>,
}

impl RingEntry {
    /// The key's public name.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }

    /// The end of the key's life, if it has one.
    pub(crate) fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// Whether the key's life has ended. The end itself is no longer part of it.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|not_after| now >= not_after)
    }
}

impl KeyRing {
    /// A ring of the root key in force, which does not expire. Its id is `root`.
    pub fn new(current: impl Into<KeyDigest>) -> KeyRing {
        KeyRing { entries: vec![RingEntry { id: KeyId::ROOT, digest: current.into(), not_after: None }] }
    }

    /// Accepts the root key before the last rotation too, until `not_after`, when it is already refused. Its id is
    /// `root-previous`.
    ///
    /// There is one previous key, as in Secrets Manager: a second call takes the place of the first.
    pub fn with_previous(mut self, previous: impl Into<KeyDigest>, not_after: Timestamp) -> KeyRing {
        self.replace(RingEntry {
            id: KeyId::ROOT_PREVIOUS,
            digest: previous.into(),
            not_after: Some(not_after),
        });
        self
    }

    /// Recognises the root key that a rotation is about to put in force. It may do nothing but ask who it is, which is
    /// how the rotation finds out that it will be accepted. Its id is `root-pending`.
    pub fn with_pending(mut self, pending: impl Into<KeyDigest>) -> KeyRing {
        self.replace(RingEntry { id: KeyId::ROOT_PENDING, digest: pending.into(), not_after: None });
        self
    }

    fn replace(&mut self, entry: RingEntry) {
        self.entries.retain(|other| other.id != entry.id);
        self.entries.push(entry);
    }

    /// The entry of a key, compared with all of them.
    ///
    /// If a key is there twice, because a rotation kept it, the first entry counts: the one in force.
    pub(crate) fn find(&self, digest: &KeyDigest) -> Option<&RingEntry> {
        let mut found = Choice::from(0);
        let mut place = 0_u64;
        for (index, entry) in (0_u64..).zip(&self.entries) {
            let matches = entry.digest.ct_eq(digest) & !found;
            place.conditional_assign(&index, matches);
            found |= matches;
        }
        // Only here, after the last comparison, does the outcome become a branch.
        if bool::from(found) { self.entries.get(usize::try_from(place).ok()?) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RootKey;

    const CURRENT: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";
    const PREVIOUS: &str = "0hH2m7yTq4fVJx9b3kRzW8sLcN5pUeGdA1oXiKtMw6Y=";
    const OTHER: &str = "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=";

    fn key(text: &str) -> RootKey {
        RootKey::parse(text).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn found(ring: &KeyRing, text: &str) -> Option<String> {
        ring.find(&KeyDigest::of(text)).map(|entry| entry.id().to_string())
    }

    #[test]
    fn each_key_is_found_by_its_own_id_and_no_other_key_is() {
        let ring = KeyRing::new(&key(CURRENT));
        assert_eq!(found(&ring, CURRENT).as_deref(), Some("root"));
        assert_eq!(found(&ring, PREVIOUS), None);

        let ring = ring.with_previous(&key(PREVIOUS), time("2026-01-01T00:00:00Z"));
        assert_eq!(found(&ring, CURRENT).as_deref(), Some("root"));
        assert_eq!(found(&ring, PREVIOUS).as_deref(), Some("root-previous"));
        assert_eq!(found(&ring, OTHER), None);
        assert_eq!(found(&ring, ""), None);
    }

    #[test]
    fn a_key_that_a_rotation_kept_is_the_key_in_force() {
        let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(CURRENT), time("2026-01-01T00:00:00Z"));
        assert_eq!(found(&ring, CURRENT).as_deref(), Some("root"));
    }

    #[test]
    fn there_is_one_previous_key() {
        let until = time("2026-01-01T00:00:00Z");
        let ring = KeyRing::new(&key(CURRENT))
            .with_previous(&key(PREVIOUS), until)
            .with_previous(&key(OTHER), until);
        assert_eq!(found(&ring, PREVIOUS), None);
        assert_eq!(found(&ring, OTHER).as_deref(), Some("root-previous"));
    }

    #[test]
    fn the_end_of_a_life_is_not_part_of_it() {
        let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(PREVIOUS), time("2026-01-01T00:00:00Z"));
        let previous = ring.find(&KeyDigest::of(PREVIOUS)).unwrap();
        assert!(!previous.is_expired(time("2025-12-31T23:59:59.999999999Z")));
        assert!(previous.is_expired(time("2026-01-01T00:00:00Z")));
        assert!(previous.is_expired(Timestamp::MAX));
        let current = ring.find(&KeyDigest::of(CURRENT)).unwrap();
        assert!(!current.is_expired(Timestamp::MAX));
    }

    #[test]
    fn debug_prints_ids_and_nothing_of_the_keys() {
        let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(PREVIOUS), time("2026-01-01T00:00:00Z"));
        assert_eq!(
            format!("{ring:?}"),
            "KeyRing { entries: [\
             RingEntry { id: KeyId(\"root\"), digest: KeyDigest, not_after: None }, \
             RingEntry { id: KeyId(\"root-previous\"), digest: KeyDigest, not_after: Some(2026-01-01T00:00:00Z) }] }",
        );
    }
}
