//! Records of managed keys that were read a moment ago, and how long they may be believed.
//!
//! The bound: a key that was revoked, disabled or narrowed is refused, in every process, for every request that begins
//! [`KeyCache`]'s time to live or more after that change. It rests on three rules:
//!
//! - What was read counts from when the reading *began*. One that took long is old when it comes.
//! - Age is measured on two clocks, and the older counts. The wall clock goes on while an environment is frozen; the
//!   monotonic one does so when somebody puts the wall clock back.
//! - Of two records of a key the one with the higher revision counts, whichever reading came first, and a revoked one
//!   always. So a slow reading from before a revocation cannot bring the key back where the revocation is known. A store
//!   that was put back to a backup has lower revisions: they count if the reading began after the higher one was known.
//!
//! That there is no such key is remembered as well, apart and in a small place, so that whoever asks for keys that were
//! never made drives out none that were.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::key::KeyId;
use crate::record::KeyRecord;

/// How long a key is believed if nothing else is said.
pub const KEY_CACHE_TTL: SignedDuration = SignedDuration::from_secs(5);

/// The most records that are entry.
const MAX_RECORDS: usize = 10_000;

/// The most ids of which it is remembered that no key has them.
const MAX_ABSENT: usize = 1_000;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instants {
    /// The wall clock.
    pub wall: Timestamp,
    /// A clock that is never put back, from any beginning. It may stand still while the process is frozen.
    pub running: Duration,
}

impl Instants {
    /// Whether `age` has not yet passed since an earlier moment, by either clock.
    fn is_within(self, age: SignedDuration, since: Instants) -> bool {
        let wall = self.wall.duration_since(since.wall);
        let running = self.running.saturating_sub(since.running);
        !wall.is_negative()
            && wall < age
            && SignedDuration::try_from(running).is_ok_and(|running| running < age)
    }
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// This is what counts: the record, or that there is none.
    Known(Option<Arc<KeyRecord>>),
    /// It has to be read.
    Unknown,
}

/// Records that were read, by id.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct KeyCache {
    ttl: SignedDuration,
    records: HashMap<KeyId, Entry>,
    absent: HashMap<KeyId, Instants>,
}

/// A record that was read.
#[derive(Clone, Debug)]
struct Entry {
    record: Arc<KeyRecord>,
    /// When the reading began: what its age counts from.
    read_at: Instants,
    /// When the reading had ended, on the monotonic clock: what began later cannot have found anything earlier.
    since: Duration,
}

impl KeyCache {
    /// An empty one. A record is believed for less than `ttl`; with zero, every request reads.
    pub fn new(ttl: SignedDuration) -> KeyCache {
        KeyCache { ttl, records: HashMap::new(), absent: HashMap::new() }
    }

    /// What is known of a key, at this moment.
    pub fn lookup(&self, id: &KeyId, now: Instants) -> Lookup {
        match (self.records.get(id), self.absent.get(id)) {
            (Some(Entry { record, read_at, .. }), _) if now.is_within(self.ttl, *read_at) => {
                Lookup::Known(Some(Arc::clone(record)))
            }
            (None, Some(read_at)) if now.is_within(self.ttl, *read_at) => Lookup::Known(None),
            _ => Lookup::Unknown,
        }
    }

    /// Takes in what a reading found that began at `began` and has just ended, and gives what counts: that, or what is known
    /// to be later. What a write made is taken in as if it were read: `began` is when the write began, because before it
    /// was heard of here, somebody else may have written again.
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
    /// Whether this counts, and not what another reading found.
    fn supersedes(&self, found: Option<&KeyRecord>, began: Instants) -> bool {
        let (known, revision) = (&self.record, found.map_or(0, |found| found.revision));
        if known.revoked_at.is_some() || found.is_some_and(|found| found.revoked_at.is_some()) {
            return known.revoked_at.is_some();
        }
        match known.revision.cmp(&revision) {
            Ordering::Less => false,
            // The same state, which is believed from the later of the two beginnings. Unless the store was put back to
            // a backup and changed from there: then it is another one, and the later reading knows.
            Ordering::Equal => began.running < self.read_at.running,
            // Found before this was known. Only a reading that began afterwards tells of a store that was put back.
            Ordering::Greater => began.running <= self.since,
        }
    }
}

/// Keeps a map within its bound: beyond it all is forgotten, and read again as it is asked for.
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
    fn a_record_is_believed_from_the_beginning_of_its_reading_for_the_time_to_live() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        assert!(is_known(&cache, at(4, 4)));
        assert!(!is_known(&cache, at(5, 5)));
    }

    #[test]
    fn either_clock_makes_a_record_old() {
        let mut cache = KeyCache::new(TTL);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        assert!(!is_known(&cache, at(5, 0)), "the environment was frozen");
        assert!(!is_known(&cache, at(-1, 1)), "the wall clock was put back");
        assert!(!is_known(&cache, at(4, 6)), "the wall clock was put back and went on");
    }

    #[test]
    fn with_no_time_to_live_nothing_is_believed() {
        let mut cache = KeyCache::new(SignedDuration::ZERO);
        cache.fill(&record().id, Some(record()), at(0, 0), at(0, 0));
        assert!(!is_known(&cache, at(0, 0)));
    }

    #[test]
    fn a_slow_reading_does_not_bring_a_revoked_key_back() {
        for ttl in [SignedDuration::ZERO, TTL] {
            let mut cache = KeyCache::new(ttl);
            cache.fill(&record().id, Some(revoked()), at(1, 1), at(1, 1));
            for began in [at(0, 0), at(2, 2), at(100, 100)] {
                let counts = cache.fill(&record().id, Some(record()), began, began).unwrap();
                assert!(counts.revoked_at.is_some(), "{began:?}");
            }
        }
    }

    #[test]
    fn that_there_is_no_such_key_is_remembered_until_there_is_one() {
        let mut cache = KeyCache::new(TTL);
        assert!(cache.fill(&record().id, None, at(0, 0), at(0, 0)).is_none());
        assert!(matches!(cache.lookup(&record().id, at(1, 1)), Lookup::Known(None)));
        cache.fill(&record().id, Some(record()), at(1, 1), at(1, 1));
        assert!(
            cache.fill(&record().id, None, at(0, 0), at(0, 0)).is_some(),
            "a reading from before it was made"
        );
        assert!(is_known(&cache, at(1, 1)));
    }

    #[test]
    fn a_store_that_was_put_back_counts_in_the_end() {
        let mut cache = KeyCache::new(TTL);
        let later = record().disable(at(0, 0).wall).unwrap();
        cache.fill(&record().id, Some(later), at(0, 0), at(0, 0));
        assert_eq!(cache.fill(&record().id, Some(record()), at(6, 6), at(6, 6)).unwrap().revision, 1);
        assert!(cache.fill(&record().id, None, at(12, 12), at(12, 12)).is_none());
    }

    #[test]
    fn a_store_that_was_put_back_and_changed_from_there_counts_though_revisions_are_alike() {
        let known = record().update(KeyPatch::default(), at(0, 0).wall).unwrap();
        for changed in [record().disable(at(0, 0).wall).unwrap(), revoked()] {
            assert_eq!(known.revision, changed.revision);
            let mut cache = KeyCache::new(TTL);
            cache.fill(&record().id, Some(known.clone()), at(0, 0), at(0, 0));
            let counts = cache.fill(&record().id, Some(changed.clone()), at(6, 6), at(6, 6)).unwrap();
            assert_eq!(*counts, changed);
        }
    }

    #[test]
    fn what_was_found_before_something_later_was_known_does_not_count() {
        let mut cache = KeyCache::new(TTL);
        let later = record().disable(at(0, 0).wall).unwrap();
        // Its reading took longer than it is believed.
        cache.fill(&record().id, Some(later), at(0, 0), at(10, 10));
        let counts = cache.fill(&record().id, Some(record()), at(9, 9), at(11, 11)).unwrap();
        assert!(counts.disabled_at.is_some());
    }

    #[test]
    fn a_revocation_counts_whatever_else_is_known() {
        let mut cache = KeyCache::new(TTL);
        let later = record().update(KeyPatch::default(), at(0, 0).wall).unwrap();
        let later = later.update(KeyPatch::default(), at(0, 0).wall).unwrap();
        cache.fill(&record().id, Some(later), at(1, 1), at(1, 1));
        let counts = cache.fill(&record().id, Some(revoked()), at(0, 0), at(2, 2)).unwrap();
        assert!(counts.revoked_at.is_some());
    }

    #[test]
    fn a_full_cache_keeps_the_keys_that_it_has() {
        let mut map = HashMap::from([(KeyId::ROOT, 1), (KeyId::ROOT_PREVIOUS, 2)]);
        make_room(&mut map, &KeyId::ROOT, 2);
        assert_eq!(map.len(), 2);
        make_room(&mut map, &KeyId::ROOT_PENDING, 2);
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn keys_that_were_never_made_drive_out_none_that_were() {
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
