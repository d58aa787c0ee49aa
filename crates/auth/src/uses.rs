//! Records when and for which scopes keys are used, and batches the writes.
//!
//! A write for every request would cost more than the request. The first use of a key is therefore
//! written at once, and later uses are collected for [`WRITE_EVERY`]. If several processes report
//! uses of one key, the store accepts one write in that time, and the other processes keep their
//! uses for the next write.
//!
//! A use that adds information ([`KeyUsage::lacks`]) is written at once. The process may not live
//! until the next write, and people rely on this information when they narrow or retire keys.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::key::KeyId;
use crate::record::KeyRecord;
use crate::scope::{Scope, ScopeSet};

/// The minimum time between two writes of one key's uses.
pub const WRITE_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// The maximum number of keys whose uses are collected. Uses of further keys are written at once.
const MAX_KEYS: usize = 100_000;

/// The stored usage of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// When the key was last accepted.
    pub last_used_at: Option<Timestamp>,
    /// Every scope that it was used for.
    pub used_scopes: ScopeSet,
    /// The number of uses since the key was replaced.
    pub uses_since_replaced: u64,
}

impl KeyUsage {
    /// The usage of a key that was never used.
    pub const NONE: KeyUsage =
        KeyUsage { last_used_at: None, used_scopes: ScopeSet::NONE, uses_since_replaced: 0 };

    /// Whether `further` adds information beyond the time and number of uses: a new scope, or the
    /// first use since the key was replaced.
    pub fn lacks(&self, further: &KeyUse) -> bool {
        !further.scopes.without(self.used_scopes).is_empty()
            || (self.uses_since_replaced == 0 && further.since_replaced > 0)
    }

    /// The usage after further uses.
    #[must_use]
    pub fn with(self, further: &KeyUse) -> KeyUsage {
        KeyUsage {
            last_used_at: self.last_used_at.max(Some(further.last_at)),
            used_scopes: self.used_scopes.and(further.scopes),
            uses_since_replaced: self.uses_since_replaced.saturating_add(further.since_replaced),
        }
    }
}

/// Uses of a key that are not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The time of the last use.
    pub last_at: Timestamp,
    /// The scopes of the uses.
    pub scopes: ScopeSet,
    /// The number of uses since the key was replaced.
    pub since_replaced: u64,
}

impl KeyUse {
    fn and(self, other: &KeyUse) -> KeyUse {
        KeyUse {
            last_at: self.last_at.max(other.last_at),
            scopes: self.scopes.and(other.scopes),
            since_replaced: self.since_replaced.saturating_add(other.since_replaced),
        }
    }
}

/// The unwritten uses of keys in this process.
#[derive(Debug, Default)]
pub struct UseLog {
    keys: HashMap<KeyId, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// When uses of the key were last written.
    written_at: Timestamp,
    /// The usage that this process wrote.
    written: KeyUsage,
    waiting: Option<KeyUse>,
}

impl UseLog {
    /// Records a use of a key. If uses are returned, the caller must write them now.
    pub fn note(&mut self, record: &KeyRecord, scope: Option<Scope>, now: Timestamp) -> Option<KeyUse> {
        let this = KeyUse {
            last_at: now,
            scopes: scope.into_iter().collect(),
            since_replaced: u64::from(record.replaced.is_some()),
        };
        let Some(entry) = self.keys.get_mut(&record.id) else {
            if self.keys.len() < MAX_KEYS {
                let written = KeyUsage::NONE.with(&this);
                self.keys.insert(record.id.clone(), Entry { written_at: now, written, waiting: None });
            }
            return Some(this);
        };
        let is_news = entry.written.lacks(&this);
        entry.waiting = Some(match entry.waiting.take() {
            Some(waiting) => waiting.and(&this),
            None => this,
        });
        if is_news { entry.take(now) } else { entry.take_due(now) }
    }

    /// Takes the uses that are due, for a host that runs while no request arrives.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<(KeyId, KeyUse)> {
        self.take(|entry| entry.take_due(now))
    }

    /// Takes all unwritten uses, for a host that shuts down.
    pub fn take_all(&mut self) -> Vec<(KeyId, KeyUse)> {
        self.take(|entry| entry.waiting.take())
    }

    /// Returns uses that could not be written; they wait for the next write.
    pub fn give_back(&mut self, id: &KeyId, uses: &KeyUse) {
        if let Some(entry) = self.keys.get_mut(id) {
            entry.waiting = Some(match entry.waiting.take() {
                Some(waiting) => waiting.and(uses),
                None => uses.clone(),
            });
        }
    }

    fn take(&mut self, mut of: impl FnMut(&mut Entry) -> Option<KeyUse>) -> Vec<(KeyId, KeyUse)> {
        let taken = self.keys.iter_mut().filter_map(|(id, entry)| Some((id.clone(), of(entry)?)));
        taken.collect()
    }
}

impl Entry {
    fn take_due(&mut self, now: Timestamp) -> Option<KeyUse> {
        let since = now.duration_since(self.written_at);
        // If the clock was set back, the time of the last write is unknown.
        if !since.is_negative() && since < WRITE_EVERY {
            return None;
        }
        self.take(now)
    }

    fn take(&mut self, now: Timestamp) -> Option<KeyUse> {
        let taken = self.waiting.take()?;
        self.written_at = now;
        self.written = self.written.clone().with(&taken);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use onerun_domain::{Metadata, Name};

    use super::*;
    use crate::{grant::Grant, managed::ManagedKey, record::NewKeySpec};

    fn record() -> KeyRecord {
        let key = ManagedKey::generate(|buffer| {
            buffer.fill(1);
            Ok::<(), Infallible>(())
        });
        let spec = NewKeySpec {
            name: Name::parse("ci").unwrap(),
            grant: Grant::everything(),
            not_before: None,
            metadata: Metadata::default(),
        };
        KeyRecord::new(&key.unwrap(), spec, KeyId::ROOT, at(0))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    #[test]
    fn later_uses_are_written_together_when_due() {
        let (mut log, key) = (UseLog::default(), record());
        let scope = Some(Scope::AgentsRead);
        assert_eq!(log.note(&key, scope, at(0)).map(|uses| uses.last_at), Some(at(0)));
        for second in [1, 59] {
            assert_eq!(log.note(&key, scope, at(second)), None);
            assert!(log.take_due(at(second)).is_empty());
        }
        let due = log.take_due(at(60));
        assert_eq!(due.len(), 1);
        assert_eq!((&due[0].0, due[0].1.last_at), (&key.id, at(59)));
        assert!(log.take_due(at(120)).is_empty(), "no uses are left");
    }

    #[test]
    fn new_scope_and_first_use_after_rotation_are_written_at_once() {
        let (mut log, key) = (UseLog::default(), record());
        log.note(&key, None, at(0)).unwrap();
        assert_eq!(log.note(&key, None, at(1)), None);
        let uses = log.note(&key, Some(Scope::AgentsRead), at(2)).unwrap();
        assert!(uses.scopes.contains(Scope::AgentsRead));
        assert_eq!(log.note(&key, Some(Scope::AgentsRead), at(3)), None);

        let new = ManagedKey::generate(|buffer| {
            buffer.fill(2);
            Ok::<(), Infallible>(())
        });
        let by = KeyId::ROOT;
        let (replaced, _) = key.rotate(&new.unwrap(), WRITE_EVERY, None, by, at(4)).unwrap();
        let uses = log.note(&replaced, Some(Scope::AgentsRead), at(5)).unwrap();
        assert_eq!((uses.since_replaced, uses.last_at), (1, at(5)));
        assert_eq!(log.note(&replaced, Some(Scope::AgentsRead), at(6)), None);
        assert_eq!(log.take_all()[0].1.since_replaced, 1, "the second use waits");
    }
}
