//! The audit trail: changes of keys, each entry chained to the one before it.
//!
//! An entry's `hash` is the SHA-256 of its content and of the previous entry's hash. A change,
//! removal, insertion or move that leaves the hashes untouched is therefore detected. The hashes
//! contain no secret: an attacker who can write to the database can change an entry and compute all
//! later hashes again, or remove the last entries, and the trail stays consistent. Only a head (a
//! sequence number and a hash) that was recorded elsewhere detects that, for the entries up to it.
//!
//! Input of the hash, for other implementations: the fields below in this order, each as its length
//! in bytes (64 bits, big-endian) followed by its bytes in UTF-8.
//!
//! ```text
//! "onerun-audit-1"  previous_hash  sequence  at  action  key_id
//! actor.key_id  actor.address  actor.user_agent  actor.request_id
//! number of details, then for each, sorted by name: name  value
//! ```
//!
//! Hashes are lower-case hex; the first entry's `previous_hash` is 64 zeros. Numbers are decimal.
//! `at` has the format of the API. An address or user agent is `1` followed by the text, or `0`
//! alone if it is unknown.
//!
//! Invariant: an entry contains no secret. Its details are public fields of the key.

use std::collections::BTreeMap;

use onerun_domain::sha256_hex;

use crate::managed::without_secrets;

/// The `previous_hash` of the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The maximum length of a stored user agent, in characters.
const MAX_USER_AGENT: usize = 256;

/// A change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// The key was created.
    Create,
    /// The key's properties or permissions were changed.
    Update,
    /// The key was disabled.
    Disable,
    /// The key was enabled again.
    Enable,
    /// The key was revoked.
    Revoke,
    /// The key was replaced by a new key.
    Rotate,
    /// The key was revoked because a holder of the key reported that it leaked.
    RevokeLeaked,
}

impl AuditAction {
    /// Every action.
    pub const ALL: [AuditAction; 7] = [
        AuditAction::Create,
        AuditAction::Update,
        AuditAction::Disable,
        AuditAction::Enable,
        AuditAction::Revoke,
        AuditAction::Rotate,
        AuditAction::RevokeLeaked,
    ];

    /// The action in the API, which is an operation's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuditAction::Create => "create_key",
            AuditAction::Update => "update_key",
            AuditAction::Disable => "disable_key",
            AuditAction::Enable => "enable_key",
            AuditAction::Revoke => "revoke_key",
            AuditAction::Rotate => "rotate_key",
            AuditAction::RevokeLeaked => "revoke_leaked_key",
        }
    }
}

/// The caller that made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The id of the caller's key.
    pub key_id: String,
    /// The caller's address, if known.
    pub address: Option<String>,
    /// The caller's `User-Agent`, if sent.
    pub user_agent: Option<String>,
    /// The request's id, which the log contains too.
    pub request_id: String,
}

impl Actor {
    /// Makes a `User-Agent` safe to store and show: shortened, without control characters, and with
    /// the secret removed if it contains a key by mistake.
    pub fn user_agent(text: &str) -> Option<String> {
        let text = without_secrets(text);
        let text: String = text.chars().filter(|char| !char.is_control()).take(MAX_USER_AGENT).collect();
        (!text.is_empty()).then_some(text)
    }
}

/// An event that is not in the trail yet. The fields are texts exactly as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// The time: RFC 3339 in UTC with microseconds.
    pub at: String,
    /// The action; see [`AuditAction::as_str`].
    pub action: String,
    /// The id of the changed key.
    pub key_id: String,
    /// The caller.
    pub actor: Actor,
    /// The result: names and values of the key's public fields.
    pub details: BTreeMap<String, String>,
}

/// The last entry of a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The entry's sequence number.
    pub sequence: u64,
    /// The entry's hash.
    pub hash: String,
}

/// An entry of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The sequence number, from 1.
    pub sequence: u64,
    /// The event.
    pub event: AuditEvent,
    /// The hash of the previous entry.
    pub previous_hash: String,
    /// The hash of this entry.
    pub hash: String,
}

impl AuditEvent {
    /// The entry that follows `head`, or the first entry of a trail if there is no head.
    pub fn seal(self, head: Option<&AuditHead>) -> AuditEntry {
        let sequence = head.map_or(1, |head| head.sequence.saturating_add(1));
        let previous_hash = head.map_or_else(|| NO_HASH.to_owned(), |head| head.hash.clone());
        let hash = hash(&previous_hash, sequence, &self);
        AuditEntry { sequence, event: self, previous_hash, hash }
    }
}

impl AuditEntry {
    /// The head of a trail that ends with this entry.
    pub fn head(&self) -> AuditHead {
        AuditHead { sequence: self.sequence, hash: self.hash.clone() }
    }
}

fn hash(previous_hash: &str, sequence: u64, event: &AuditEvent) -> String {
    let AuditEvent { at, action, key_id, actor, details } = event;
    let Actor { key_id: actor_key_id, address, user_agent, request_id } = actor;
    let (sequence, count) = (sequence.to_string(), details.len().to_string());
    let known =
        |text: &Option<String>| text.as_ref().map_or_else(|| "0".to_owned(), |text| format!("1{text}"));
    let (address, user_agent) = (known(address), known(user_agent));
    let fixed = [
        "onerun-audit-1",
        previous_hash,
        &sequence,
        at,
        action,
        key_id,
        actor_key_id,
        &address,
        &user_agent,
        request_id,
        &count,
    ];
    let details = details.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    sha256_hex(fixed.into_iter().chain(details))
}

/// Verifies a trail from its first entry and reports where it was tampered with.
#[derive(Debug, Default)]
pub struct AuditCheck {
    head: Option<AuditHead>,
}

/// Why a trail is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// An entry is missing, was inserted or was moved.
    #[error(
        "entry {expected} is expected here, but entry {found} follows: one was removed, inserted or moved"
    )]
    Sequence {
        /// The expected sequence number.
        expected: u64,
        /// The sequence number of the entry.
        found: u64,
    },
    /// An entry does not follow the one before it.
    #[error("entry {sequence} does not follow the previous entry: one of them was replaced")]
    Broken {
        /// The entry's sequence number.
        sequence: u64,
    },
    /// The content of an entry was changed.
    #[error("entry {sequence} was changed")]
    Changed {
        /// The entry's sequence number.
        sequence: u64,
    },
    /// The trail does not end where it should.
    #[error("the trail ends at entry {found}, which is not the expected end at entry {expected}")]
    End {
        /// The sequence number of the expected last entry.
        expected: u64,
        /// The sequence number of the last entry; 0 if the trail is empty.
        found: u64,
    },
}

impl AuditCheck {
    /// Verifies a trail from the entry after `head` on, whose earlier entries were verified before.
    pub fn after(head: Option<AuditHead>) -> Self {
        Self { head }
    }

    /// Verifies the next entry.
    ///
    /// # Errors
    ///
    /// If the entry does not follow the previous one.
    pub fn take(&mut self, entry: &AuditEntry) -> Result<(), AuditError> {
        let expected = self.head.as_ref().map_or(1, |head| head.sequence + 1);
        let sequence = entry.sequence;
        if sequence != expected {
            return Err(AuditError::Sequence { expected, found: sequence });
        }
        let previous = self.head.as_ref().map_or(NO_HASH, |head| &head.hash);
        if entry.previous_hash != previous {
            return Err(AuditError::Broken { sequence });
        }
        if hash(&entry.previous_hash, sequence, &entry.event) != entry.hash {
            return Err(AuditError::Changed { sequence });
        }
        self.head = Some(entry.head());
        Ok(())
    }

    /// The last verified entry.
    pub fn head(&self) -> Option<&AuditHead> {
        self.head.as_ref()
    }

    /// Compares the last entry with the expected head.
    ///
    /// # Errors
    ///
    /// If the trail ends at another entry.
    pub fn finish(&self, head: Option<&AuditHead>) -> Result<(), AuditError> {
        if self.head.as_ref() == head {
            return Ok(());
        }
        let sequence = |head: Option<&AuditHead>| head.map_or(0, |head| head.sequence);
        Err(AuditError::End { expected: sequence(head), found: sequence(self.head.as_ref()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str) -> AuditEvent {
        AuditEvent {
            at: "2026-01-01T00:00:00.000000Z".to_owned(),
            action: AuditAction::Create.as_str().to_owned(),
            key_id: "AAECAwQFBgcI".to_owned(),
            actor: Actor {
                key_id: "root".to_owned(),
                address: Some("203.0.113.9".to_owned()),
                user_agent: None,
                request_id: "r-1".to_owned(),
            },
            details: BTreeMap::from([("name".to_owned(), name.to_owned())]),
        }
    }

    fn trail(length: usize) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        for number in 0..length {
            let head = entries.last().map(AuditEntry::head);
            entries.push(event(&format!("key {number}")).seal(head.as_ref()));
        }
        entries
    }

    fn check(entries: &[AuditEntry], head: Option<&AuditHead>) -> Result<(), AuditError> {
        let mut check = AuditCheck::default();
        for entry in entries {
            check.take(entry)?;
        }
        check.finish(head)
    }

    #[test]
    fn entry_hash_matches_the_published_vector() {
        let entry = event("ci").seal(None);
        assert_eq!((entry.sequence, entry.previous_hash.as_str()), (1, NO_HASH));
        assert_eq!(entry.hash, VECTOR);
    }

    /// Computed with another program, from the description at the top of this module.
    const VECTOR: &str = "eb6d3871a7bdb950a270acf5743ba68b6b2abde24f26c3c53a1bea97f950ec52";

    #[test]
    fn untouched_trail_is_valid() {
        for length in 0..5 {
            let entries = trail(length);
            assert_eq!(check(&entries, entries.last().map(AuditEntry::head).as_ref()), Ok(()));
        }
    }

    #[test]
    fn rest_of_a_trail_is_verified_after_its_first_part() {
        let entries = trail(4);
        let rest = |head: &AuditEntry, entries: &[AuditEntry]| {
            let mut check = AuditCheck::after(Some(head.head()));
            entries.iter().try_for_each(|entry| check.take(entry))
        };
        assert_eq!(rest(&entries[1], &entries[2..]), Ok(()));
        assert_eq!(rest(&entries[1], &entries[3..]), Err(AuditError::Sequence { expected: 3, found: 4 }));
        let mut other = entries[1].clone();
        other.hash.replace_range(..1, "g");
        assert_eq!(rest(&other, &entries[2..]), Err(AuditError::Broken { sequence: 3 }));
    }

    #[test]
    fn truncated_trail_is_detected_by_its_head() {
        let entries = trail(3);
        let head = entries[2].head();
        assert_eq!(check(&entries[..2], Some(&head)), Err(AuditError::End { expected: 3, found: 2 }));
        assert_eq!(check(&[], Some(&head)), Err(AuditError::End { expected: 3, found: 0 }));
    }

    #[test]
    fn rewritten_trail_is_detected_by_a_recorded_head() {
        let head = trail(3)[2].head();
        let mut forged = trail(1);
        for name in ["another", "key 2"] {
            let head = forged.last().map(AuditEntry::head);
            forged.push(event(name).seal(head.as_ref()));
        }
        assert_eq!(check(&forged, forged.last().map(AuditEntry::head).as_ref()), Ok(()));
        assert_eq!(check(&forged, Some(&head)), Err(AuditError::End { expected: 3, found: 3 }));
    }

    #[test]
    fn user_agent_is_short_and_has_no_control_characters() {
        assert_eq!(Actor::user_agent("curl/8\r\n\u{1b}[31m").as_deref(), Some("curl/8[31m"));
        assert_eq!(Actor::user_agent("\n"), None);
        assert_eq!(Actor::user_agent(&"ä".repeat(1_000)).unwrap().chars().count(), 256);
    }

    /// Changes one thing in an entry.
    fn change(entry: &mut AuditEntry, which: usize) {
        let event = &mut entry.event;
        match which {
            0 => event.at.push('0'),
            1 => event.action.push('x'),
            2 => event.key_id.push('x'),
            3 => event.actor.key_id.push('x'),
            4 => event.actor.address = None,
            5 => event.actor.user_agent = Some("x".to_owned()),
            6 => event.actor.request_id.push('x'),
            7 => drop(event.details.insert("more".to_owned(), String::new())),
            8 => event.details.clear(),
            9 => entry.previous_hash.replace_range(..1, "g"),
            10 => entry.hash.replace_range(..1, "g"),
            11 => event.actor.address = Some(String::new()),
            12 => event.actor.user_agent = Some(String::new()),
            _ => entry.sequence += 1,
        }
    }

    proptest! {
        #[test]
        fn every_edit_is_detected(length in 1..8_usize, index: prop::sample::Index, which in 0..14_usize) {
            let mut entries = trail(length);
            let head = entries.last().map(AuditEntry::head);
            change(&mut entries[index.index(length)], which);
            prop_assert!(check(&entries, head.as_ref()).is_err());
        }

        #[test]
        fn every_deletion_is_detected(length in 1..8_usize, index: prop::sample::Index) {
            let mut entries = trail(length);
            let head = entries.last().map(AuditEntry::head);
            entries.remove(index.index(length));
            prop_assert!(check(&entries, head.as_ref()).is_err());
        }

        #[test]
        fn every_reordering_and_repetition_is_detected(
            length in 2..8_usize,
            one: prop::sample::Index,
            other: prop::sample::Index,
        ) {
            let mut entries = trail(length);
            let head = entries.last().map(AuditEntry::head);
            let (one, other) = (one.index(length), other.index(length));
            prop_assume!(one != other);
            let mut twice = entries.clone();
            twice.insert(other, entries[one].clone());
            prop_assert!(check(&twice, head.as_ref()).is_err());
            entries.swap(one, other);
            prop_assert!(check(&entries, head.as_ref()).is_err());
        }

        #[test]
        fn moving_text_between_fields_changes_the_hash(first in "[a-b]{0,3}", second in "[a-b]{0,3}", third in "[a-b]{0,3}") {
            let of = |user_agent: &str, request_id: &str| {
                let mut event = event("x");
                event.actor.user_agent = Some(user_agent.to_owned());
                request_id.clone_into(&mut event.actor.request_id);
                event.seal(None).hash
            };
            let moved = of(&format!("{first}{second}"), &third) == of(&first, &format!("{second}{third}"));
            prop_assert_eq!(moved, second.is_empty());
        }
    }
}
