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

/// A cache of rubrics. A version never changes, so an entry is never stale.
#[derive(Clone, Default)]
pub(crate) struct Rubrics(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    rubrics: HashMap<ObjectiveRef, Read>,
    memory: usize,
}

impl Rubrics {
    /// An objective's criteria, taken apart. Those that are not kept are compiled in the queue.
    pub(crate) async fn of(&self, objective: &Objective, queue: &Queue) -> Result<Read, Closed> {
        let reference = objective.reference();
        if let Some(read) = self.get(&reference) {
            return Ok(read);
        }
        let (rubrics, criteria) = (self.clone(), objective.criteria.clone());
        let read = move || {
            // Many conversations of a simulation are judged together. The first of them compiles for the others.
            rubrics.get(&reference).unwrap_or_else(|| {
                let read = criteria.rubric().map(Arc::new);
                rubrics.keep(reference, read.clone());
                read
            })
        };
        queue.run(read).await
    }

    fn get(&self, reference: &ObjectiveRef) -> Option<Read> {
        self.lock().rubrics.get(reference).cloned()
    }

    fn keep(&self, reference: ObjectiveRef, read: Read) {
        let memory = read.as_ref().map_or(0, |rubric| rubric.memory());
        let mut kept = self.lock();
        if kept.rubrics.len() >= MAX_KEPT || kept.memory + memory > MAX_MEMORY {
            *kept = Kept::default();
        }
        if kept.rubrics.insert(reference, read).is_none() {
            kept.memory += memory;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use onerun_domain::{Criteria, Name};

    use super::*;
    use crate::processor::Processor;

    #[tokio::test]
    async fn rubrics_asked_for_together_are_compiled_once() {
        let objective = Objective {
            id: "objective001".parse().unwrap(),
            project_id: "project00001".parse().unwrap(),
            version: 1,
            name: Name::parse("Refunds").unwrap(),
            criteria: Criteria::parse("check: agent says /refund/i").unwrap(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let (rubrics, queue) = (Rubrics::default(), Processor::new().judging);
        let (one, other) = tokio::join!(rubrics.of(&objective, &queue), rubrics.of(&objective, &queue));
        let [one, other] = [one, other].map(|read| read.unwrap().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
    }
}
