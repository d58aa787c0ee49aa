//! Ends of keys that are in force but not written yet.
//!
//! The end of a key is in force in this process before it is written. If the disk is full, it stays in force and is
//! written as soon as there is room. If the write is refused or fails for another reason, the end is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use onerun_auth::{KeyId, KeyRecord};
use onerun_store::{ChangeKey, KeyChange, KeyError, StoreError, with_causes};

use super::{Keys, KeysError};

/// The bound on keys with ends that are not written. An end beyond it that cannot be written is not in force.
const MAX_ENDS: usize = 1_000;

/// The bound on unwritten ends of one key.
const MAX_UNWRITTEN: usize = 10;

/// Makes the change that writes an end, once for every attempt.
pub(super) type MakeChange = Arc<dyn Fn() -> ChangeKey + Send + Sync>;

/// Ends of keys that are in force and not stored.
#[derive(Default)]
pub(super) struct Ends {
    in_force: Mutex<HashMap<KeyId, End>>,
}

struct End {
    /// The key after the end is written.
    record: Arc<KeyRecord>,
    /// The changes that write the end, oldest first: several if the key was ended in several ways while the disk was
    /// full.
    unwritten: Vec<MakeChange>,
}

impl Ends {
    /// Applies an unwritten end to the stored record `found`.
    pub(super) fn apply(&self, found: Arc<KeyRecord>) -> Arc<KeyRecord> {
        match self.lock().get(&found.id) {
            Some(end) if found.revoked_at.is_none() && found.revision <= end.record.revision => {
                Arc::clone(&end.record)
            }
            _ => found,
        }
    }

    /// Puts an end in force until [`finish`](Self::finish) is called or its [unwritten
    /// changes](Self::add_unwritten) are written. Returns `false`, without effect, if there are too many
    /// ends.
    fn begin(&self, record: KeyRecord) -> bool {
        let mut ends = self.lock();
        let is_new = !ends.contains_key(&record.id);
        if is_new && ends.len() >= MAX_ENDS {
            return false;
        }
        let record = Arc::new(record);
        match ends.get_mut(&record.id) {
            Some(end) => end.record = record,
            None => drop(ends.insert(record.id.clone(), End { record, unwritten: Vec::new() })),
        }
        true
    }

    /// Leaves the end in force until `change` is written, because the disk is full. Returns `false` if the key has too
    /// many unwritten ends.
    fn add_unwritten(&self, id: &KeyId, change: MakeChange) -> bool {
        let mut ends = self.lock();
        let Some(end) = ends.get_mut(id).filter(|end| end.unwritten.len() < MAX_UNWRITTEN) else {
            return false;
        };
        end.unwritten.push(change);
        true
    }

    /// Removes an end that was written or refused, unless the key has others that are not written.
    fn finish(&self, id: &KeyId) {
        let mut ends = self.lock();
        if ends.get(id).is_some_and(|end| end.unwritten.is_empty()) {
            ends.remove(id);
        }
    }

    /// The change that writes the oldest unwritten end of a key.
    fn oldest_unwritten(&self, id: &KeyId) -> Option<ChangeKey> {
        let make = self.lock().get(id)?.unwritten.first().cloned()?;
        Some(make())
    }

    /// Removes the oldest unwritten end of a key.
    fn drop_oldest(&self, id: &KeyId) {
        let mut ends = self.lock();
        let Some(end) = ends.get_mut(id).filter(|end| !end.unwritten.is_empty()) else { return };
        end.unwritten.remove(0);
        if end.unwritten.is_empty() {
            ends.remove(id);
        }
    }

    /// The keys with unwritten ends.
    fn waiting(&self) -> Vec<KeyId> {
        let ends = self.lock();
        ends.iter().filter(|(_, end)| !end.unwritten.is_empty()).map(|(id, _)| id.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, End>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Applies an unwritten end to a key's stored record.
    pub(super) fn in_force(&self, stored: KeyRecord) -> KeyRecord {
        KeyRecord::clone(&self.ends.apply(Arc::new(stored)))
    }

    /// Writes a change of a key, and puts it into the cache, so that it is in force here at once.
    pub(super) async fn write(&self, id: &KeyId, change: ChangeKey) -> Result<Option<KeyChange>, KeyError> {
        let began = self.instants();
        let changed = self.store.change_key(id, change).await?;
        if let Some(KeyChange::To { record, .. } | KeyChange::Rotation { record, .. }) = &changed {
            let now = self.instants();
            self.cache().fill(&record.id, Some(KeyRecord::clone(record)), began, now);
        }
        Ok(changed)
    }

    /// Ends a key. `ended`, the key after the change, is in force before the change is written. If the disk is full, it
    /// stays in force, and `repeat` writes it later.
    pub(super) async fn write_end(
        &self,
        ended: KeyRecord,
        change: ChangeKey,
        repeat: MakeChange,
    ) -> Result<Option<KeyChange>, KeysError> {
        let id = ended.id.clone();
        let is_in_force = self.ends.begin(ended);
        // Older ends are written first, because they were decided first.
        let must_wait = self.ends.oldest_unwritten(&id).is_some();
        let written = if must_wait { None } else { Some(self.write(&id, change).await) };
        if is_in_force && written.as_ref().is_none_or(is_full) && self.ends.add_unwritten(&id, repeat) {
            tracing::error!(key_id = id.as_str(), "the disk is full: the end of a key is not written yet");
            return Err(KeysError::EndUnwritten);
        }
        self.ends.finish(&id);
        match written {
            Some(written) => Ok(written?),
            None => Err(StoreError::Full("too many ends of the key are not written".into()).into()),
        }
    }

    /// Writes the unwritten ends of a key, so that the next decision about it sees them.
    pub(super) async fn write_unwritten_ends_of(&self, id: &KeyId) -> Result<(), StoreError> {
        while let Some(change) = self.ends.oldest_unwritten(id) {
            match self.write(id, change).await {
                Err(KeyError::Store(error @ StoreError::Full(_))) => return Err(error),
                Ok(_) => tracing::info!(key_id = id.as_str(), "the end of a key is written"),
                Err(error) => {
                    tracing::error!(error = with_causes(&error), key_id = id.as_str(), "a key's end is lost");
                }
            }
            self.ends.drop_oldest(id);
        }
        Ok(())
    }

    /// Writes the ends of keys that were in force before there was room for them on the disk.
    pub async fn write_unwritten_ends(&self) {
        for id in self.ends.waiting() {
            // The disk is full, so the other ends cannot be written either.
            if self.write_unwritten_ends_of(&id).await.is_err() {
                return;
            }
        }
    }
}

fn is_full(written: &Result<Option<KeyChange>, KeyError>) -> bool {
    matches!(written, Err(KeyError::Store(StoreError::Full(_))))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jiff::Timestamp;
    use onerun_auth::{Grant, ManagedKey, NewKeySpec};
    use onerun_domain::{Metadata, Name};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn record(number: usize) -> KeyRecord {
        let generated = ManagedKey::generate(|buffer| {
            buffer[..8].copy_from_slice(&number.to_be_bytes());
            Ok::<(), Infallible>(())
        });
        let spec = NewKeySpec {
            name: Name::parse("ci").unwrap(),
            grant: Grant::everything(),
            not_before: None,
            metadata: Metadata::default(),
        };
        KeyRecord::new(&generated.unwrap(), spec, KeyId::ROOT, NOW)
    }

    fn change() -> MakeChange {
        Arc::new(|| ChangeKey::unasked(Box::new(|record| Ok(KeyChange::None(record)))))
    }

    fn is_revoked(ends: &Ends, stored: &KeyRecord) -> bool {
        ends.apply(Arc::new(stored.clone())).revoked_at.is_some()
    }

    #[test]
    fn end_is_in_force_until_it_is_finished() {
        let (ends, stored) = (Ends::default(), record(1));
        assert!(ends.begin(stored.clone().revoke(NOW)));
        assert!(is_revoked(&ends, &stored) && !is_revoked(&ends, &record(2)));
        ends.finish(&stored.id);
        assert!(!is_revoked(&ends, &stored));
    }

    #[test]
    fn unwritten_end_stays_in_force_until_all_are_written() {
        let (ends, stored) = (Ends::default(), record(1));
        assert!(!ends.add_unwritten(&stored.id, change()), "the end has not begun");
        ends.begin(stored.clone().revoke(NOW));
        for _ in 0..2 {
            assert!(ends.add_unwritten(&stored.id, change()));
        }
        ends.finish(&stored.id);
        ends.drop_oldest(&stored.id);
        assert_eq!(ends.waiting(), std::slice::from_ref(&stored.id));
        assert!(is_revoked(&ends, &stored) && ends.oldest_unwritten(&stored.id).is_some());
        ends.drop_oldest(&stored.id);
        assert_eq!(ends.waiting(), []);
        assert!(!is_revoked(&ends, &stored) && ends.oldest_unwritten(&stored.id).is_none());
    }

    #[test]
    fn newer_stored_record_supersedes_an_end() {
        let (ends, stored) = (Ends::default(), record(1));
        let ended = stored.clone().disable(NOW).unwrap();
        ends.begin(ended.clone());
        let newer = ended.disable(NOW).unwrap().enable(NOW).unwrap();
        assert_eq!(*ends.apply(Arc::new(newer.clone())), newer);
        let revoked = stored.revoke(NOW);
        assert_eq!(*ends.apply(Arc::new(revoked.clone())), revoked);
    }

    #[test]
    fn ends_are_bounded_by_key_and_in_total() {
        let ends = Ends::default();
        for number in 0..MAX_ENDS {
            assert!(ends.begin(record(number).revoke(NOW)));
        }
        assert!(!ends.begin(record(MAX_ENDS).revoke(NOW)));
        assert!(ends.begin(record(0).revoke(NOW)), "a key that has an end already");
        let id = record(0).id;
        for _ in 0..MAX_UNWRITTEN {
            assert!(ends.add_unwritten(&id, change()));
        }
        assert!(!ends.add_unwritten(&id, change()));
    }
}
