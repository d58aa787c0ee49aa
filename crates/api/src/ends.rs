//! Ends of keys that are in force and not yet written.
//!
//! The end of a key counts in this process from before it is written. If the disk is full it goes on counting, and is
//! written as soon as there is room. Where it was refused, or failed for another reason, it counts no longer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use onerun_auth::{KeyId, KeyRecord};
use onerun_store::{ChangeKey, KeyChange, KeyError, StoreError};

/// The most keys whose ends wait to be written. Beyond it an end that cannot be written is not in force.
const MAX_ENDS: usize = 1_000;

/// The most ends of one key that wait.
const MAX_UNWRITTEN: usize = 10;

/// Makes the change that writes an end, as often as it is tried.
pub(crate) type MakeChange = Arc<dyn Fn() -> ChangeKey + Send + Sync>;

/// Ends of keys that are in force before they are stored.
#[derive(Default)]
pub(crate) struct Ends {
    in_force: Mutex<HashMap<KeyId, End>>,
}

struct End {
    /// The key as it is once the end is written.
    record: Arc<KeyRecord>,
    /// What writes it, oldest first: more than one if the key was ended in more than one way while the disk was full.
    unwritten: Vec<MakeChange>,
}

impl Ends {
    /// Applies an unwritten end to the stored record `found`.
    pub(crate) fn apply(&self, found: Arc<KeyRecord>) -> Arc<KeyRecord> {
        match self.lock().get(&found.id) {
            Some(end) if found.revoked_at.is_none() && found.revision <= end.record.revision => {
                Arc::clone(&end.record)
            }
            _ => found,
        }
    }

    /// Puts an end in force, until [`finish`](Self::finish) is called or what was [kept](Self::keep) is written. `false` if
    /// too many are: then it is not in force.
    pub(crate) fn begin(&self, record: KeyRecord) -> bool {
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

    /// The disk is full: the end stays in force until `change` has written it. `false` if too many wait for this key.
    pub(crate) fn keep(&self, id: &KeyId, change: MakeChange) -> bool {
        let mut ends = self.lock();
        let Some(end) = ends.get_mut(id).filter(|end| end.unwritten.len() < MAX_UNWRITTEN) else {
            return false;
        };
        end.unwritten.push(change);
        true
    }

    /// The end is written or was refused: unless another waits, what is stored counts.
    pub(crate) fn finish(&self, id: &KeyId) {
        let mut ends = self.lock();
        if ends.get(id).is_some_and(|end| end.unwritten.is_empty()) {
            ends.remove(id);
        }
    }

    /// What writes the oldest end of a key that waits.
    pub(crate) fn unwritten(&self, id: &KeyId) -> Option<ChangeKey> {
        let make = self.lock().get(id)?.unwritten.first().cloned()?;
        Some(make())
    }

    /// The oldest end of a key that waits needs to be written no more.
    pub(crate) fn drop_oldest(&self, id: &KeyId) {
        let mut ends = self.lock();
        let Some(end) = ends.get_mut(id).filter(|end| !end.unwritten.is_empty()) else { return };
        end.unwritten.remove(0);
        if end.unwritten.is_empty() {
            ends.remove(id);
        }
    }

    /// The keys whose ends wait.
    pub(crate) fn waiting(&self) -> Vec<KeyId> {
        let ends = self.lock();
        ends.iter().filter(|(_, end)| !end.unwritten.is_empty()).map(|(id, _)| id.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, End>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the disk is full.
pub(crate) fn is_full(written: &Result<Option<KeyChange>, KeyError>) -> bool {
    matches!(written, Err(KeyError::Store(StoreError::Full(_))))
}
