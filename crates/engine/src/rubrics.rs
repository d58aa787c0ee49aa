//! Criteria taken apart, kept: a version of an objective judges thousands of conversations, and compiling its patterns
//! costs more than matching them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use onerun_domain::{Objective, ObjectiveRef, Rubric};
use onerun_store::StoreError;

/// How many are kept: what the simulations that run at one time need, bounded because patterns take memory.
const MAX_KEPT: usize = 64;

/// A version never changes, so what is kept never becomes wrong.
#[derive(Default)]
pub(crate) struct Rubrics(Mutex<HashMap<ObjectiveRef, Arc<Rubric>>>);

impl Rubrics {
    /// An objective's criteria, taken apart.
    pub(crate) fn of(&self, objective: &Objective) -> Result<Arc<Rubric>, StoreError> {
        let reference = objective.reference();
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&reference).cloned();
        if let Some(rubric) = kept {
            return Ok(rubric);
        }
        // Without the lock: two callers may do it twice, but none waits for another's patterns.
        let rubric = objective
            .criteria
            .rubric()
            .map_err(|error| StoreError::Corrupt { what: "objective", reason: error.to_string() })?;
        let rubric = Arc::new(rubric);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(reference, Arc::clone(&rubric));
        Ok(rubric)
    }
}
