//! A cache of compiled rubrics. One version of an objective judges thousands of conversations, and compiling
//! its patterns costs more than matching them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use onerun_domain::{CheckLineError, Objective, ObjectiveRef, Rubric};

use crate::cpu_queue::{Closed, CpuQueue};

/// The most memory that cached patterns may take, in bytes. One objective's patterns take at most a few
/// megabytes.
const MAX_MEMORY: usize = 64 * 1024 * 1024;

/// How many rubrics the cache holds.
const MAX_ENTRIES: usize = 256;

/// A compiled rubric, or why the criteria do not compile: an earlier release may have accepted criteria that
/// this one refuses.
pub(crate) type CompiledRubric = Result<Arc<Rubric>, CheckLineError>;

/// A cache by version of an objective. A version never changes, so an entry is never stale.
#[derive(Clone, Default)]
pub(crate) struct RubricCache(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    rubrics: HashMap<ObjectiveRef, CompiledRubric>,
    memory: usize,
}

impl RubricCache {
    /// Returns the cached rubric of an objective, or compiles it in `queue`.
    pub(crate) async fn get_or_compile(
        &self,
        objective: &Objective,
        queue: &CpuQueue,
    ) -> Result<CompiledRubric, Closed> {
        let reference = objective.reference();
        if let Some(rubric) = self.get(&reference) {
            return Ok(rubric);
        }
        let (cache, criteria) = (self.clone(), objective.criteria.clone());
        let compile = move || {
            // Many conversations of a simulation are judged together. The first one compiles for all.
            cache.get(&reference).unwrap_or_else(|| {
                let rubric = criteria.rubric().map(Arc::new);
                cache.insert(reference, rubric.clone());
                rubric
            })
        };
        queue.run(compile).await
    }

    fn get(&self, reference: &ObjectiveRef) -> Option<CompiledRubric> {
        self.lock().rubrics.get(reference).cloned()
    }

    fn insert(&self, reference: ObjectiveRef, rubric: CompiledRubric) {
        let memory = rubric.as_ref().map_or(0, |rubric| rubric.memory());
        let mut entries = self.lock();
        if entries.rubrics.len() >= MAX_ENTRIES || entries.memory + memory > MAX_MEMORY {
            *entries = Entries::default();
        }
        if entries.rubrics.insert(reference, rubric).is_none() {
            entries.memory += memory;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use onerun_domain::{Criteria, Name};

    use super::*;
    use crate::cpu_queue::CpuQueues;

    #[tokio::test]
    async fn concurrent_requests_compile_a_rubric_once() {
        let objective = Objective {
            id: "objective001".parse().unwrap(),
            project_id: "project00001".parse().unwrap(),
            version: 1,
            name: Name::parse("Refunds").unwrap(),
            criteria: Criteria::parse("check: agent says /refund/i").unwrap(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let (cache, queue) = (RubricCache::default(), CpuQueues::new().judging);
        let (one, other) =
            tokio::join!(cache.get_or_compile(&objective, &queue), cache.get_or_compile(&objective, &queue));
        let [one, other] = [one, other].map(|rubric| rubric.unwrap().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
    }
}
