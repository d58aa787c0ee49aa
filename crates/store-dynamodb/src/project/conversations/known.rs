//! The simulations that this process knows.
//!
//! All changes of conversations depend on their simulation, which rarely changes. If all of them read it, the partition
//! of one item would limit the throughput of a simulation. So a change reads the conversation's counter shard, which
//! has the simulation's revision, and the simulation only if its revision is another one.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{keys::Key, record::StoredSimulation};

/// How many are known at most. Beyond that all are forgotten, and read again. A simulation has at most some hundred
/// KiB.
const MAX_KNOWN: usize = 64;

#[derive(Default)]
pub(crate) struct KnownSimulations(Mutex<HashMap<Key, StoredSimulation>>);

impl KnownSimulations {
    /// The simulation as it was last read.
    pub(super) fn get(&self, key: &Key) -> Option<StoredSimulation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Remembers a simulation that was read.
    pub(super) fn note(&self, key: Key, simulation: &StoredSimulation) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN && !known.contains_key(&key) {
            known.clear();
        }
        known.insert(key, simulation.clone());
    }
}
