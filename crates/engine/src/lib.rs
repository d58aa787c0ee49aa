//! What happens next in a simulation: personas, replies, judging and jobs, over a [`Model`] and a
//! [`Store`].
//!
//! The engine decides nothing about states itself: it asks the state machines of [`onerun_domain`] inside the store's
//! conditional writes. It keeps nothing between calls that could become wrong, so any number of engines may work on one
//! store.

mod conversations;
mod delivery;
mod error;
mod jobs;
mod judging;
mod model;
mod personas;
mod processor;
mod rubrics;
mod simulations;

pub use conversations::TurnCall;
pub use delivery::{JOB_HIDDEN, JOB_LIMIT, JOB_TARGET, JobOutcome};
pub use error::{ActError, JobError};
pub use model::{
    JudgeRequest, Model, ModelError, PersonaDraft, PersonaRequest, Reply, ReplyRequest, Verdict,
};
pub use simulations::NewSimulation;

use std::{future::Future, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Clock, Objective, Random};
use onerun_store::Store;

use crate::{
    processor::{Closed, Processor},
    rubrics::Rubrics,
};

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a worker may be silent before its conversation is given to another.
    pub lease: SignedDuration,
    /// How long the answer to one call may take before another call may take the turn over. A model that has not
    /// answered a little before is given up.
    pub turn: SignedDuration,
    /// How often a job is tried before it is given up.
    pub max_deliveries: u32,
    /// How many managed keys there may be that are neither revoked nor expired.
    pub max_live_keys: u32,
}

impl Default for Settings {
    /// A lease of 300 s, turns within the 30 s that a caller waits, and jobs that are tried over almost four minutes.
    fn default() -> Self {
        Self {
            lease: SignedDuration::from_secs(300),
            turn: SignedDuration::from_secs(30),
            max_deliveries: delivery::MAX_DELIVERIES,
            max_live_keys: 10_000,
        }
    }
}

/// Runs simulations.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    model: Arc<dyn Model>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    settings: Settings,
    rubrics: Arc<Rubrics>,
    processor: Arc<Processor>,
}

impl Engine {
    /// An engine over a store and a model.
    pub fn new(
        store: Arc<dyn Store>,
        model: Arc<dyn Model>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        settings: Settings,
    ) -> Self {
        let processor = Arc::new(Processor::new());
        Self { store, model, clock, random, settings, rubrics: Arc::default(), processor }
    }

    /// A model's answer, if it comes well within a turn.
    async fn within_turn<T>(
        &self,
        answer: impl Future<Output = Result<T, ModelError>>,
    ) -> Result<T, ModelError> {
        // What is left is for storing the answer before the claim of the turn runs out.
        let limit = self.settings.turn.unsigned_abs().mul_f64(0.9);
        tokio::time::timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(ModelError::Unavailable("it did not answer in time".to_owned())))
    }

    /// Reads what a caller sent where reading may hold a processor for long, as compiling criteria does: beside the threads
    /// that answer requests, one caller after the other.
    pub async fn read_apart<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        match self.processor.reading.run(read).await {
            Ok(read) => read,
            // Nothing closes this queue.
            Err(Closed) => std::future::pending().await,
        }
    }

    /// Judges no more. Conversations that are being judged are put off, within a few seconds.
    pub fn stop_judging(&self) {
        self.processor.judging.close();
    }

    /// What will not be judged of these objectives, each in a sentence for their caller.
    pub fn warnings(&self, objectives: &[Objective]) -> Vec<String> {
        if self.model.judges_prose() {
            return Vec::new();
        }
        let with_prose = objectives.iter().filter(|objective| objective.criteria.has_prose());
        let warnings = with_prose.map(|objective| {
            format!(
                "The criteria of objective {} (\"{}\") have prose, which only a language model can judge, and this server \
                 has none: unless a check line fails, verdicts are inconclusive. Lines such as \
                 `check: agent says /pattern/i` are decided without one.",
                objective.id, objective.name
            )
        });
        warnings.collect()
    }

    /// How many managed keys there may be that are neither revoked nor expired.
    pub fn max_live_keys(&self) -> u32 {
        self.settings.max_live_keys
    }

    /// The store that it works on.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where its ids come from.
    pub fn random(&self) -> &dyn Random {
        self.random.as_ref()
    }
}
