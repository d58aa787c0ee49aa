//! The accepted root keys, as digests.
//!
//! A ring does not fetch or refresh anything. The host builds a new ring when the configured keys
//! change. It contains no key's text.
//!
//! Invariants: a ring is never empty, so unreadable keys cannot look like a wrong key. A lookup
//! takes the same steps whether or where a key is found.

use jiff::Timestamp;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::key::{KeyDigest, KeyId};

/// The accepted root keys: the current one and, around a rotation, the previous and the pending
/// one.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// The first entry is the current root key.
    entries: Vec<RingEntry>,
}

/// An accepted key.
#[derive(Clone, Debug)]
pub(crate) struct RingEntry {
    id: KeyId,
    digest: KeyDigest,
    not_after: Option<Timestamp>,
}

impl RingEntry {
    /// The key's id.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }

    /// The first moment at which the key is refused, if any.
    pub(crate) fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// Whether the key has expired. At `not_after` it has.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|not_after| now >= not_after)
    }
}

impl KeyRing {
    /// A ring of the current root key, which does not expire. Its id is `root`.
    pub fn new(current: impl Into<KeyDigest>) -> KeyRing {
        KeyRing { entries: vec![RingEntry { id: KeyId::ROOT, digest: current.into(), not_after: None }] }
    }

    /// Also accepts the previous root key before `not_after`. Its id is `root-previous`.
    ///
    /// There is one previous key, as in Secrets Manager: a second call replaces the first.
    pub fn with_previous(mut self, previous: impl Into<KeyDigest>, not_after: Timestamp) -> KeyRing {
        self.replace(RingEntry {
            id: KeyId::ROOT_PREVIOUS,
            digest: previous.into(),
            not_after: Some(not_after),
        });
        self
    }

    /// Also recognises the pending root key of a rotation. It may only ask who it is, by which the
    /// rotation verifies that it will be accepted. Its id is `root-pending`.
    pub fn with_pending(mut self, pending: impl Into<KeyDigest>) -> KeyRing {
        self.replace(RingEntry { id: KeyId::ROOT_PENDING, digest: pending.into(), not_after: None });
        self
    }

    fn replace(&mut self, entry: RingEntry) {
        self.entries.retain(|other| other.id != entry.id);
        self.entries.push(entry);
    }

    /// Finds a key by comparing it with every entry.
    ///
    /// If a key occurs twice, because a rotation kept it, the first entry counts: the current one.
    pub(crate) fn find(&self, digest: &KeyDigest) -> Option<&RingEntry> {
        let mut found = Choice::from(0);
        let mut position = 0_u64;
        for (index, entry) in (0_u64..).zip(&self.entries) {
            let matches = entry.digest.ct_eq(digest) & !found;
            position.conditional_assign(&index, matches);
            found |= matches;
        }
        // The first branch on the outcome, after the last comparison.
        if bool::from(found) { self.entries.get(usize::try_from(position).ok()?) } else { None }
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
    fn accepted_keys_are_found_by_their_ids() {
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
    fn key_kept_by_a_rotation_is_the_current_key() {
        let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(CURRENT), time("2026-01-01T00:00:00Z"));
        assert_eq!(found(&ring, CURRENT).as_deref(), Some("root"));
    }

    #[test]
    fn second_previous_key_replaces_the_first() {
        let until = time("2026-01-01T00:00:00Z");
        let ring = KeyRing::new(&key(CURRENT))
            .with_previous(&key(PREVIOUS), until)
            .with_previous(&key(OTHER), until);
        assert_eq!(found(&ring, PREVIOUS), None);
        assert_eq!(found(&ring, OTHER).as_deref(), Some("root-previous"));
    }

    #[test]
    fn key_is_expired_at_its_end() {
        let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(PREVIOUS), time("2026-01-01T00:00:00Z"));
        let previous = ring.find(&KeyDigest::of(PREVIOUS)).unwrap();
        assert!(!previous.is_expired(time("2025-12-31T23:59:59.999999999Z")));
        assert!(previous.is_expired(time("2026-01-01T00:00:00Z")));
        assert!(previous.is_expired(Timestamp::MAX));
        let current = ring.find(&KeyDigest::of(CURRENT)).unwrap();
        assert!(!current.is_expired(Timestamp::MAX));
    }

    #[test]
    fn debug_prints_only_ids() {
        let ring = KeyRing::new(&key(CURRENT)).with_previous(&key(PREVIOUS), time("2026-01-01T00:00:00Z"));
        assert_eq!(
            format!("{ring:?}"),
            "KeyRing { entries: [\
             RingEntry { id: KeyId(\"root\"), digest: KeyDigest, not_after: None }, \
             RingEntry { id: KeyId(\"root-previous\"), digest: KeyDigest, not_after: Some(2026-01-01T00:00:00Z) }] }",
        );
    }
}
