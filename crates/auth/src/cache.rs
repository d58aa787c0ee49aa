//! Records of managed keys that were read a moment ago, and how long they may be believed.
//!
//! The bound: a key that was revoked, disabled or narrowed is refused, in every process, for every request that begins
//! [`KeyCache`]'s time to live or more after that change. It rests on three rules:
//!
//! - What was read counts from when the reading *began*. One that took long is old when it comes.
//! - Age is measured on two clocks, and the older counts. The wall clock goes on while an environment is frozen; the
//!   monotonic one does so when somebody puts the wall clock back.
//! - Of two records of a key the one with the higher revision counts, whichever reading came first, and a revoked one
//!   always. So a slow reading from before a revocation cannot bring the key back where the revocation is known.
//!
//! That there is no such key is remembered as well, apart and in a small place, so that whoever asks for keys that were
//! never made drives out none that were.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::key::KeyId;
use crate::record::KeyRecord;

/// How long a key is believed if nothing else is said.
pub const KEY_CACHE_TTL: SignedDuration = SignedDuration::from_secs(5);

/// The most records that are kept.
const MAX_RECORDS: usize = 10_000;

/// The most ids of which it is remembered that no key has them.
const MAX_ABSENT: usize = 1_000;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// A clock that is never put back, from any beginning. It may stand still while the process is frozen.
    pub running: Duration,
}

impl Moment {
    /// Whether `age` has not yet passed since an earlier moment, by either clock.
    fn is_within(self, age: SignedDuration, since: Moment) -> bool {
        let wall = self.wall.duration_since(since.wall);
        let running = self.running.saturating_sub(since.running);
        !wall.is_negative()
            && wall < age
            && SignedDuration::try_from(running).is_ok_and(|running| running < age)
    }
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub enum Looked {
    /// This is what counts: the record, or that there is none.
    Known(Option<Arc<KeyRecord>>),
    /// It has to be read.
    Unknown,
}

/// Records that were read, by id.
#[derive(Debug)]
pub struct KeyCache {
    ttl: SignedDuration,
    records: HashMap<KeyId, (Arc<KeyRecord>, Moment)>,
    absent: HashMap<KeyId, Moment>,
}

impl KeyCache {
    /// An empty one. A record is believed for less than `ttl`; with zero, every request reads.
    pub fn new(ttl: SignedDuration) -> KeyCache {
        KeyCache { ttl, records: HashMap::new(), absent: HashMap::new() }
    }

    /// What is known of a key, at this moment.
    pub fn look(&self, id: &KeyId, now: Moment) -> Looked {
        match (self.records.get(id), self.absent.get(id)) {
            (Some((record, read_at)), _) if now.is_within(self.ttl, *read_at) => {
                Looked::Known(Some(Arc::clone(record)))
            }
            (None, Some(read_at)) if now.is_within(self.ttl, *read_at) => Looked::Known(None),
            _ => Looked::Unknown,
        }
    }

    /// Takes in what a reading found that began at `began`, and gives what counts: that, or what is known to be later.
    pub fn fill(&mut self, id: &KeyId, found: Option<KeyRecord>, began: Moment) -> Option<Arc<KeyRecord>> {
        if let Some((known, read_at)) = self.records.get_mut(id) {
            let revision = found.as_ref().map_or(0, |found| found.revision);
            // Only what was known a moment ago: what a store was put back to from a backup counts in the end.
            let is_recent = read_at.running > began.running || began.is_within(self.ttl, *read_at);
            if known.revoked_at.is_some() || (known.revision > revision && is_recent) {
                return Some(Arc::clone(known));
            }
            if known.revision == revision {
                // The same state, which is believed from the later of the two beginnings.
                if began.running >= read_at.running {
                    *read_at = began;
                }
                return Some(Arc::clone(known));
            }
        }
        let Some(found) = found else {
            self.records.remove(id);
            make_room(&mut self.absent, MAX_ABSENT);
            self.absent.insert(id.clone(), began);
            return None;
        };
        self.absent.remove(id);
        make_room(&mut self.records, MAX_RECORDS);
        let found = Arc::new(found);
        self.records.insert(id.clone(), (Arc::clone(&found), began));
        Some(found)
    }
}

/// Keeps a map within its bound: beyond it all is forgotten, and read again as it is asked for.
fn make_room<V>(map: &mut HashMap<KeyId, V>, bound: usize) {
    if map.len() >= bound {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use onerun_domain::{Metadata, Name};

    use super::*;
    use crate::grant::Grant;
    use crate::managed::ManagedKey;
    use crate::record::KeyTerms;

    const TTL: SignedDuration = SignedDuration::from_secs(5);

    fn at(wall: i64, running: u64) -> Moment {
        Moment { wall: Timestamp::from_second(1_000 + wall).unwrap(), running: Duration::from_secs(running) }
    }

    fn record() -> KeyRecord {
        let key = ManagedKey::generate(|buffer| {
            buffer.fill(1);
            Ok::<(), Infallible>(())
        })
        .unwrap();
        let terms = KeyTerms {
            name: Name::parse("ci").unwrap(),
            grant: Grant::everything(),
            not_before: None,
            metadata: Metadata::default(),
        };
        KeyRecord::new(&key, terms, KeyId::ROOT, at(0, 0).wall)
    }

    fn revoked() -> KeyRecord {
        record().revoke(at(0, 0).wall)
    }

    fn is_known(cache: &KeyCache, now: Moment) -> bool {
        matches!(cache.look(&record().id, now), Looked::Known(Some(_)))
    }

    #[test]
    fn a_record_is_believed_from_the_beginning_of_its_reading_for_the_time_to_live() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0));
        assert!(is_known(&cache, at(4, 4)));
        assert!(!is_known(&cache, at(5, 5)));
    }

    #[test]
    fn either_clock_makes_a_record_old() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0));
        assert!(!is_known(&cache, at(5, 0)), "the environment was frozen");
        assert!(!is_known(&cache, at(-1, 1)), "the wall clock was put back");
        assert!(!is_known(&cache, at(4, 6)), "the wall clock was put back and went on");
    }

    #[test]
    fn with_no_time_to_live_nothing_is_believed() {
        let mut cache = KeyCache::new(SignedDuration::ZERO);
        cache.fill(&record().id, Some(record()), at(0, 0));
        assert!(!is_known(&cache, at(0, 0)));
    }

    #[test]
    fn a_slow_reading_does_not_bring_a_revoked_key_back() {
        for ttl in [SignedDuration::ZERO, TTL] {
            let mut cache = KeyCache::new(ttl);
            cache.fill(&record().id, Some(revoked()), at(1, 1));
            for began in [at(0, 0), at(2, 2), at(100, 100)] {
                let counts = cache.fill(&record().id, Some(record()), began).unwrap();
                assert!(counts.revoked_at.is_some(), "{began:?}");
            }
        }
    }

    #[test]
    fn that_there_is_no_such_key_is_remembered_until_there_is_one() {
        let mut cache = KeyCache::new(TTL);
        assert!(cache.fill(&record().id, None, at(0, 0)).is_none());
        assert!(matches!(cache.look(&record().id, at(1, 1)), Looked::Known(None)));
        cache.fill(&record().id, Some(record()), at(1, 1));
        assert!(cache.fill(&record().id, None, at(0, 0)).is_some(), "a reading from before it was made");
        assert!(is_known(&cache, at(1, 1)));
    }

    #[test]
    fn a_store_that_was_put_back_counts_in_the_end() {
        let mut cache = KeyCache::new(TTL);
        let later = record().disable(at(0, 0).wall).unwrap();
        cache.fill(&record().id, Some(later), at(0, 0));
        assert_eq!(cache.fill(&record().id, Some(record()), at(6, 6)).unwrap().revision, 1);
        assert!(cache.fill(&record().id, None, at(12, 12)).is_none());
    }

    #[test]
    fn keys_that_were_never_made_drive_out_none_that_were() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0));
        for number in 0..3 * MAX_ABSENT {
            let id = format!("{number:012}").parse().unwrap();
            assert!(cache.fill(&id, None, at(0, 0)).is_none());
            assert!(cache.absent.len() <= MAX_ABSENT);
        }
        assert!(is_known(&cache, at(1, 1)));
    }
}
