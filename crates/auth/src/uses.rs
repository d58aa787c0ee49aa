//! When and for what keys were used last, noted in memory and written seldom.
//!
//! A write for every request would cost more than the request. So the first use of a key is written at once, and what
//! follows is collected until [`WRITE_EVERY`] has passed. A store that got a key's uses from several processes takes one
//! writing in that time, and the others give theirs back.
//!
//! A use that says something new of its key waits for nothing ([`KeyUsage::lacks`]): the process may not be there any more
//! when its time has come, and whoever narrows a key by what it was used for, or takes an old one away, relies on it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::key::KeyId;
use crate::record::KeyRecord;
use crate::scope::{Scope, ScopeSet};

/// How long after one writing of a key's uses the next comes at the earliest.
pub const WRITE_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// The most keys whose uses are collected at a time. With more, those of further keys are written as they come.
const MAX_KEYS: usize = 100_000;

/// What is kept about how a key was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    /// When it was accepted last.
    pub last_used_at: Option<Timestamp>,
    /// The scopes that it was ever used for.
    pub used_scopes: ScopeSet,
    /// How often it was accepted since another took its place.
    pub uses_since_replaced: u64,
}

impl KeyUsage {
    /// That of a key which was never used.
    pub const NONE: KeyUsage =
        KeyUsage { last_used_at: None, used_scopes: ScopeSet::NONE, uses_since_replaced: 0 };

    /// Whether further uses say more than that it was used once more: a scope that it was not used for before, or that it is
    /// used although another took its place.
    pub fn lacks(&self, further: &KeyUse) -> bool {
        !further.scopes.without(self.used_scopes).is_empty()
            || (self.uses_since_replaced == 0 && further.since_replaced > 0)
    }

    /// What it is with further uses.
    #[must_use]
    pub fn with(self, further: &KeyUse) -> KeyUsage {
        KeyUsage {
            last_used_at: self.last_used_at.max(Some(further.last_at)),
            used_scopes: self.used_scopes.and(further.scopes),
            uses_since_replaced: self.uses_since_replaced.saturating_add(further.since_replaced),
        }
    }
}

/// Uses of a key that are yet to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The last of them.
    pub last_at: Timestamp,
    /// The scopes they were for.
    pub scopes: ScopeSet,
    /// How many were after another key took its place.
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

/// The uses of keys in this process.
#[derive(Debug, Default)]
pub struct UseLog {
    keys: HashMap<KeyId, Noted>,
}

#[derive(Debug)]
struct Noted {
    /// When uses of the key were written last.
    written_at: Timestamp,
    /// What was written.
    written: KeyUsage,
    waiting: Option<KeyUse>,
}

impl UseLog {
    /// Notes a use of a key, with the scope it was for. What is given back is to be written now.
    pub fn note(&mut self, record: &KeyRecord, scope: Option<Scope>, now: Timestamp) -> Option<KeyUse> {
        let this = KeyUse {
            last_at: now,
            scopes: scope.into_iter().collect(),
            since_replaced: u64::from(record.replaced.is_some()),
        };
        let Some(noted) = self.keys.get_mut(&record.id) else {
            if self.keys.len() < MAX_KEYS {
                let written = KeyUsage::NONE.with(&this);
                self.keys.insert(record.id.clone(), Noted { written_at: now, written, waiting: None });
            }
            return Some(this);
        };
        let is_news = noted.written.lacks(&this);
        noted.waiting = Some(match noted.waiting.take() {
            Some(waiting) => waiting.and(&this),
            None => this,
        });
        if is_news { noted.take(now) } else { noted.take_due(now) }
    }

    /// The uses whose writing is due, for a host that goes on while nobody calls.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<(KeyId, KeyUse)> {
        self.take(|noted| noted.take_due(now))
    }

    /// All uses that are not written, for a host that ends.
    pub fn take_all(&mut self) -> Vec<(KeyId, KeyUse)> {
        self.take(|noted| noted.waiting.take())
    }

    /// Takes back uses that could not be written: they wait for the next writing.
    pub fn give_back(&mut self, id: &KeyId, uses: &KeyUse) {
        if let Some(noted) = self.keys.get_mut(id) {
            noted.waiting = Some(match noted.waiting.take() {
                Some(waiting) => waiting.and(uses),
                None => uses.clone(),
            });
        }
    }

    fn take(&mut self, mut of: impl FnMut(&mut Noted) -> Option<KeyUse>) -> Vec<(KeyId, KeyUse)> {
        let taken = self.keys.iter_mut().filter_map(|(id, noted)| Some((id.clone(), of(noted)?)));
        taken.collect()
    }
}

impl Noted {
    fn take_due(&mut self, now: Timestamp) -> Option<KeyUse> {
        let since = now.duration_since(self.written_at);
        // A clock that was put back says nothing about when that was.
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
    fn the_first_use_is_written_at_once_and_the_others_together_when_their_time_has_come() {
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
        assert!(log.take_due(at(120)).is_empty(), "nothing is left");
    }

    #[test]
    fn a_scope_that_is_new_and_the_first_use_of_a_replaced_key_wait_for_nothing() {
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
        assert_eq!(log.take_all()[0].1.since_replaced, 1, "that comes with the next");
    }
}
