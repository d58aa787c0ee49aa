//! Criteria taken apart, kept: a version of an objective judges thousands of conversations, and compiling its patterns
//! costs more than matching them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use onerun_domain::{CheckLineError, Objective, ObjectiveRef, Rubric};

use crate::processor::{Closed, Queue};

/// The most memory that the patterns of those that are kept may take, in bytes. One objective's take a few megabytes at
/// worst.
const MAX_MEMORY: usize = 64 * 1024 * 1024;

/// How many are kept.
const MAX_KEPT: usize = 256;

/// What an objective's criteria say, or why they are no longer understood: they may have been accepted by an earlier
/// release.
pub(crate) type Read = Result<Arc<Rubric>, CheckLineError>;

/// A version never changes, so what is kept never becomes wrong.
#[derive(Default)]
pub(crate) struct Rubrics(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    rubrics: HashMap<ObjectiveRef, Read>,
    memory: usize,
}

impl Rubrics {
    /// An objective's criteria, taken apart. Those that are not kept are compiled in the queue.
    pub(crate) async fn of(&self, objective: &Objective, queue: &Queue) -> Result<Read, Closed> {
        let reference = objective.reference();
        let kept = self.lock().rubrics.get(&reference).cloned();
        if let Some(read) = kept {
            return Ok(read);
        }
        let criteria = objective.criteria.clone();
        let read = queue.run(move || criteria.rubric().map(Arc::new)).await?;
        let memory = read.as_ref().map_or(0, |rubric| rubric.memory());
        let mut kept = self.lock();
        if kept.rubrics.len() >= MAX_KEPT || kept.memory + memory > MAX_MEMORY {
            *kept = Kept::default();
        }
        if kept.rubrics.insert(reference, read.clone()).is_none() {
            kept.memory += memory;
        }
        Ok(read)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
