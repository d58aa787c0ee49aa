//! A cache of the records of managed keys.
//!
//! Guarantee: after a key is revoked, disabled or narrowed, every process refuses each request that
//! begins at least the cache's time to live after that change. Three rules ensure this:
//!
//! - The age of a record counts from the moment at which the read *began*. The result of a slow
//!   read is already old.
//! - Age is measured on two clocks, and the greater age counts. The wall clock advances while an
//!   environment is frozen; the monotonic clock advances when the wall clock is set back.
//! - Of two records of one key, the one with the higher revision wins, regardless of which read
//!   came first, and a revoked record always wins. A slow read from before a revocation therefore
//!   cannot bring the key back where the revocation is known. A store restored from a backup has
//!   lower revisions: they win if the read began after the higher revision was cached.
//!
//! Unknown ids are cached separately, with a smaller bound, so that requests with invented ids
//! cannot evict records.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::key::KeyId;
use crate::record::KeyRecord;

/// The default time to live of a cached record.
pub const KEY_CACHE_TTL: SignedDuration = SignedDuration::from_secs(5);

/// The maximum number of cached records.
const MAX_RECORDS: usize = 10_000;

/// The maximum number of cached ids that no key has.
const MAX_ABSENT: usize = 1_000;

/// The same moment on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instants {
    /// The wall-clock time.
    pub wall: Timestamp,
    /// The monotonic time since an arbitrary start. The clock may stop while the process is frozen.
    pub running: Duration,
}

impl Instants {
    /// Whether less than `age` has passed since `since`, on both clocks.
    fn is_within(self, age: SignedDuration, since: Instants) -> bool {
        let wall = self.wall.duration_since(since.wall);
        let running = self.running.saturating_sub(since.running);
        !wall.is_negative()
            && wall < age
            && SignedDuration::try_from(running).is_ok_and(|running| running < age)
    }
}

/// The result of looking up a key in the cache.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The cached record, or `None` if the store has no such key.
    Known(Option<Arc<KeyRecord>>),
    /// Not cached or too old: read the store.
    Unknown,
}

/// Cached records by key id.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct KeyCache {
    ttl: SignedDuration,
    records: HashMap<KeyId, Entry>,
    absent: HashMap<KeyId, Instants>,
}

/// A cached record.
#[derive(Clone, Debug)]
struct Entry {
    record: Arc<KeyRecord>,
    /// When the read began; the record's age counts from here.
    read_at: Instants,
    /// When the read ended, on the monotonic clock. A read that began later cannot have found an
    /// earlier state.
    since: Duration,
}

impl KeyCache {
    /// An empty cache whose records are valid for less than `ttl`. With zero, every request reads
    /// the store.
    pub fn new(ttl: SignedDuration) -> KeyCache {
        KeyCache { ttl, records: HashMap::new(), absent: HashMap::new() }
    }

    /// Looks up a key.
    pub fn lookup(&self, id: &KeyId, now: Instants) -> Lookup {
        match (self.records.get(id), self.absent.get(id)) {
            (Some(Entry { record, read_at, .. }), _) if now.is_within(self.ttl, *read_at) => {
                Lookup::Known(Some(Arc::clone(record)))
            }
            (None, Some(read_at)) if now.is_within(self.ttl, *read_at) => Lookup::Known(None),
            _ => Lookup::Unknown,
        }
    }

    /// Stores the result of a read that began at `began` and ended at `now`. Returns the record
    /// that wins: the new one or the cached one. The result of a write is stored like that of a
    /// read, with `began` as the start of the write, because another process may have written again
    /// before this process learned of its own write.
    pub fn fill(
        &mut self,
        id: &KeyId,
        found: Option<KeyRecord>,
        began: Instants,
        now: Instants,
    ) -> Option<Arc<KeyRecord>> {
        if let Some(known) = self.records.get(id)
            && known.supersedes(found.as_ref(), began)
        {
            return Some(Arc::clone(&known.record));
        }
        let Some(found) = found else {
            self.records.remove(id);
            make_room(&mut self.absent, id, MAX_ABSENT);
            self.absent.insert(id.clone(), began);
            return None;
        };
        self.absent.remove(id);
        make_room(&mut self.records, id, MAX_RECORDS);
        let found = Arc::new(found);
        let entry = Entry { record: Arc::clone(&found), read_at: began, since: now.running };
        self.records.insert(id.clone(), entry);
        Some(found)
    }
}

impl Entry {
    /// Whether this entry wins over the result of another read.
    fn supersedes(&self, found: Option<&KeyRecord>, began: Instants) -> bool {
        let (known, revision) = (&self.record, found.map_or(0, |found| found.revision));
        if known.revoked_at.is_some() || found.is_some_and(|found| found.revoked_at.is_some()) {
            return known.revoked_at.is_some();
        }
        match known.revision.cmp(&revision) {
            Ordering::Less => false,
            // The same state: the later beginning counts. If the store was restored from a backup
            // and changed since, the states differ although the revisions are equal, and the later
            // read is right.
            Ordering::Equal => began.running < self.read_at.running,
            // The read found an older state. Only a read that began after this entry was stored
            // proves a restored store.
            Ordering::Greater => began.running <= self.since,
        }
    }
}

/// Empties a full map before a new id is inserted. Removed records are read again when they are
/// needed.
fn make_room<V>(map: &mut HashMap<KeyId, V>, id: &KeyId, bound: usize) {
    if map.len() >= bound && !map.contains_key(id) {
        map.clear();
    }
}

#[cfg(test)]
mod interleavings;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use onerun_domain::{Metadata, Name};

    use super::*;
    use crate::grant::Grant;
    use crate::managed::ManagedKey;
    use crate::record::{KeyPatch, NewKeySpec};

    const TTL: SignedDuration = SignedDuration::from_secs(5);

    fn at(wall: i64, running: u64) -> Instants {
        Instants {
            wall: Timestamp::from_second(1_000 + wall).unwrap(),
            running: Duration::from_secs(running),
        }
    }

    fn record() -> KeyRecord {
        let key = ManagedKey::generate(|buffer| {
            buffer.fill(1);
            Ok::<(), Infallible>(())
        })
        .unwrap();
        let spec = NewKeySpec {
            name: Name::parse("ci").unwrap(),
            grant: Grant::everything(),
            not_before: None,
            metadata: Metadata::default(),
        };
        KeyRecord::new(&key, spec, KeyId::ROOT, at(0, 0).wall)
    }

    fn revoked() -> KeyRecord {
        record().revoke(at(0, 0).wall)
    }

    fn is_known(cache: &KeyCache, now: Instants) -> bool {
        matches!(cache.lookup(&record().id, now), Lookup::Known(Some(_)))
    }

    #[test]
    fn record_is_valid_for_the_ttl_from_the_start_of_its_read() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        assert!(is_known(&cache, at(4, 4)));
        assert!(!is_known(&cache, at(5, 5)));
    }

    #[test]
    fn record_expires_by_either_clock() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        assert!(!is_known(&cache, at(5, 0)), "the environment was frozen");
        assert!(!is_known(&cache, at(-1, 1)), "the wall clock was set back");
        assert!(!is_known(&cache, at(4, 6)), "the wall clock was set back and advanced");
    }

    #[test]
    fn zero_ttl_caches_nothing() {
        let mut cache = KeyCache::new(SignedDuration::ZERO);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        assert!(!is_known(&cache, at(0, 0)));
    }

    #[test]
    fn slow_read_does_not_revive_a_revoked_key() {
        for ttl in [SignedDuration::ZERO, TTL] {
            let mut cache = KeyCache::new(ttl);
            cache.fill(&record().id, Some(revoked()), at(1, 1), at(1, 1));
            for began in [at(0, 0), at(2, 2), at(100, 100)] {
                let winner = cache.fill(&record().id, Some(record()), began, began).unwrap();
                assert!(winner.revoked_at.is_some(), "{began:?}");
            }
        }
    }

    #[test]
    fn unknown_id_is_cached_until_a_key_has_it() {
        let mut cache = KeyCache::new(TTL);
        assert!(cache.fill(&record().id, None, at(0, 0), at(0, 0)).is_none());
        assert!(matches!(cache.lookup(&record().id, at(1, 1)), Lookup::Known(None)));
        cache.fill(&record().id, Some(record()), at(1, 1), at(1, 1));
        assert!(
            cache.fill(&record().id, None, at(0, 0), at(0, 0)).is_some(),
            "a read from before the key was created"
        );
        assert!(is_known(&cache, at(1, 1)));
    }

    #[test]
    fn restored_store_wins_after_the_ttl() {
        let mut cache = KeyCache::new(TTL);
        let later = record().disable(at(0, 0).wall).unwrap();
        cache.fill(&record().id, Some(later), at(0, 0), at(0, 0));
        assert_eq!(cache.fill(&record().id, Some(record()), at(6, 6), at(6, 6)).unwrap().revision, 1);
        assert!(cache.fill(&record().id, None, at(12, 12), at(12, 12)).is_none());
    }

    #[test]
    fn restored_and_changed_store_wins_with_equal_revisions() {
        let known = record().update(KeyPatch::default(), at(0, 0).wall).unwrap();
        for changed in [record().disable(at(0, 0).wall).unwrap(), revoked()] {
            assert_eq!(known.revision, changed.revision);
            let mut cache = KeyCache::new(TTL);
            cache.fill(&record().id, Some(known.clone()), at(0, 0), at(0, 0));
            let winner = cache.fill(&record().id, Some(changed.clone()), at(6, 6), at(6, 6)).unwrap();
            assert_eq!(*winner, changed);
        }
    }

    #[test]
    fn read_that_began_earlier_does_not_replace_a_newer_record() {
        let mut cache = KeyCache::new(TTL);
        let later = record().disable(at(0, 0).wall).unwrap();
        // Its read took longer than the time to live.
        cache.fill(&record().id, Some(later), at(0, 0), at(10, 10));
        let winner = cache.fill(&record().id, Some(record()), at(9, 9), at(11, 11)).unwrap();
        assert!(winner.disabled_at.is_some());
    }

    #[test]
    fn revocation_wins_over_higher_revisions() {
        let mut cache = KeyCache::new(TTL);
        let later = record().update(KeyPatch::default(), at(0, 0).wall).unwrap();
        let later = later.update(KeyPatch::default(), at(0, 0).wall).unwrap();
        cache.fill(&record().id, Some(later), at(1, 1), at(1, 1));
        let winner = cache.fill(&record().id, Some(revoked()), at(0, 0), at(2, 2)).unwrap();
        assert!(winner.revoked_at.is_some());
    }

    #[test]
    fn full_cache_is_emptied_only_by_a_new_key() {
        let mut map = HashMap::from([(KeyId::ROOT, 1), (KeyId::ROOT_PREVIOUS, 2)]);
        make_room(&mut map, &KeyId::ROOT, 2);
        assert_eq!(map.len(), 2);
        make_room(&mut map, &KeyId::ROOT_PENDING, 2);
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn unknown_ids_do_not_evict_records() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        for number in 0..3 * MAX_ABSENT {
            let id = format!("{number:012}").parse().unwrap();
            assert!(cache.fill(&id, None, at(0, 0), at(0, 0)).is_none());
            assert!(cache.absent.len() <= MAX_ABSENT);
        }
        assert!(is_known(&cache, at(1, 1)));
    }
}
