//! The use cases of OneRun: personas, replies, evaluations and jobs, over a [`Model`] and a [`Store`].
//!
//! The state machines of [`onerun_domain`] decide every change of state, inside the store's conditional
//! writes. An engine holds no state that can become stale, so several engines can share one store.

mod audit_archive;
mod batches;
mod claims;
mod conversations;
mod cpu_queue;
mod deletion;
mod endpoints;
mod error;
mod estimate;
mod evaluation;
mod evaluation_runs;
mod expiry;
mod imports;
mod job_handlers;
mod job_runner;
mod keys;
mod master_key;
mod model;
mod monitors;
mod outbound;
mod persona_copies;
mod personas;
mod reports;
mod retention;
mod rubrics;
mod similarity;
mod simulations;
mod turns;
mod usage;
mod webhooks;

pub use audit_archive::{AuditArchive, AuditArchiveError, AuditArchiver, AuditArchiverParts};
pub use batches::NewBatchInput;
pub use claims::{Claim, ClaimRequest, ClaimedConversation, QueueWait};
pub use endpoints::{MAX_CREDENTIAL_BYTES, MAX_TARGET_BYTES, NewAgentEndpoint, NewCredential};
pub use error::{JobError, OperationError};
pub use estimate::{Estimate, EstimateInput};
pub use evaluation_runs::{Disagreement, EvaluationReport, ObjectiveReport};
pub use job_runner::{JOB_HIDDEN, JOB_LIMIT, JOB_TARGET, JobOutcome};
pub use keys::{
    Caller, CreatedKey, KeyFilter, KeyUpdate, Keys, KeysError, Lifetime, NewKeyInput, RecordRequest,
    RequestOrigin, Rotation,
};
pub use master_key::{KeyPurpose, MasterKey, MasterKeyError, MasterKeySource};
pub use model::{
    JudgeRequest, Meter, Model, ModelCall, ModelError, Models, PersonaRequest, Question, Reply, ReplyRequest,
    Verdict, Verdicts,
};
pub use monitors::NewMonitor;
pub use outbound::Outbound;
pub use similarity::is_similar;
pub use turns::{PendingReply, TurnRequest};
pub use webhooks::{NewWebhook, WebhookSecret};

use std::{future::Future, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use onerun_domain::{Clock, ModelName, Objective, Random, Redaction, SimulationModels};
use onerun_store::{KeyLimits, Store};
use tokio::sync::Semaphore;

use crate::{
    claims::QueueNotices,
    cpu_queue::{Closed, CpuQueue, CpuQueues},
    reports::REPORTS_AT_ONCE,
    rubrics::RubricCache,
    turns::RunningTurns,
    webhooks::DeliverySlots,
};

/// How many days before its retirement a model is reported.
pub const RETIREMENT_DAYS: u16 = 30;

/// Time limits and attempt limits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a worker may be silent before its conversation is queued again.
    pub lease: SignedDuration,
    /// How long a caller waits for a reply. The model of a job times out a little earlier.
    pub turn: SignedDuration,
    /// How long one call may hold a turn before another call can claim it. The model's reply times out a little
    /// earlier.
    pub reply: SignedDuration,
    /// How long after a simulation's end its transcripts are stored; `None` for as long as the simulation.
    pub retention: Option<SignedDuration>,
    /// How often a job is attempted before it is buried.
    pub max_deliveries: u32,
    /// How many managed keys may be neither revoked nor expired.
    pub max_live_keys: u32,
    /// How many of them may be of one family, if a managed key adds one.
    pub max_family_keys: u32,
}

impl Default for Settings {
    /// A lease of 300 s, turns of 30 s, replies of 120 s, and job attempts spread over almost four minutes.
    fn default() -> Self {
        Self {
            lease: SignedDuration::from_secs(300),
            turn: SignedDuration::from_secs(30),
            reply: SignedDuration::from_secs(120),
            retention: None,
            max_deliveries: job_runner::MAX_DELIVERIES,
            max_live_keys: 10_000,
            max_family_keys: 1_000,
        }
    }
}

/// The dependencies of an [`Engine`].
pub struct EngineParts {
    /// Stores projects, simulations, keys and jobs.
    pub store: Arc<dyn Store>,
    /// The models that play the personas and judge prose.
    pub models: Arc<dyn Models>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids, seeds and keys.
    pub random: Arc<dyn Random>,
    /// The patterns of what is removed from both sides' messages before they are stored or delivered.
    pub redaction: Arc<Redaction>,
    /// Calls to addresses that users name.
    pub outbound: Outbound,
    /// Time limits and attempt limits.
    pub settings: Settings,
}

/// Runs simulations.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    models: Arc<dyn Models>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    redaction: Arc<Redaction>,
    outbound: Outbound,
    settings: Settings,
    rubrics: RubricCache,
    cpu_queues: Arc<CpuQueues>,
    turns: Arc<RunningTurns>,
    reports: Arc<Semaphore>,
    keys: Arc<Keys>,
    notices: Arc<QueueNotices>,
    deliveries: Arc<DeliverySlots>,
}

impl Engine {
    /// Creates an engine with an empty rubric cache.
    pub fn new(parts: EngineParts) -> Self {
        let EngineParts { store, models, clock, random, redaction, outbound, settings } = parts;
        let limits = KeyLimits { all: settings.max_live_keys, family: settings.max_family_keys };
        let keys = Keys::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&random), limits);
        Self {
            store,
            models,
            clock,
            random,
            redaction,
            outbound,
            settings,
            rubrics: RubricCache::default(),
            cpu_queues: Arc::new(CpuQueues::new()),
            turns: Arc::new(RunningTurns::new()),
            reports: Arc::new(Semaphore::new(REPORTS_AT_ONCE)),
            keys: Arc::new(keys),
            notices: Arc::new(QueueNotices::new()),
            deliveries: Arc::default(),
        }
    }

    /// Waits for a model's answer to a job for as long as for a reply. No caller waits for it.
    async fn within_limit<T>(
        &self,
        answer: impl Future<Output = Result<T, ModelError>>,
    ) -> Result<T, ModelError> {
        tokio::time::timeout(self.settings.reply.unsigned_abs(), answer)
            .await
            .unwrap_or_else(|_| Err(ModelError::unavailable("it did not answer in time")))
    }

    /// Parses a caller's input off the request threads, one caller at a time. Compiling criteria
    /// can take long.
    pub async fn parse_off_thread<T: Send + 'static>(&self, parse: impl FnOnce() -> T + Send + 'static) -> T {
        run_off_thread(&self.cpu_queues.parsing, parse).await
    }

    /// Writes a report off the request threads, one at a time.
    async fn write_off_thread<T: Send + 'static>(&self, write: impl FnOnce() -> T + Send + 'static) -> T {
        run_off_thread(&self.cpu_queues.reporting, write).await
    }

    /// Stops judging within a few seconds. Jobs that were judging a conversation are retried later.
    pub fn stop_judging(&self) {
        self.cpu_queues.judging.close();
    }

    /// One sentence for each of a simulation's models that is about to retire.
    pub fn retirements(&self, models: &SimulationModels) -> Vec<String> {
        let today = self.now().to_zoned(TimeZone::UTC).date();
        let mut names = models.names().to_vec();
        names.sort();
        names.dedup();
        let retiring = names.into_iter().filter_map(|name| {
            let date = self.models.retires(name, today, RETIREMENT_DAYS)?;
            Some(format!("The model `{name}` retires on {date}; choose another one before."))
        });
        retiring.collect()
    }

    /// One sentence for each objective whose prose criteria `judge` cannot judge.
    pub fn warnings(&self, judge: &ModelName, objectives: &[Objective]) -> Vec<String> {
        if !judge.is_offline() {
            return Vec::new();
        }
        let with_prose = objectives.iter().filter(|objective| objective.criteria.has_prose());
        let warnings = with_prose.map(|objective| {
            format!(
                "The criteria of objective {} (\"{}\") have prose, which only a language model can judge, and the \
                 judge is `offline`: unless a check line fails, verdicts are inconclusive. Lines such as \
                 `check: agent says /pattern/i` are decided without one.",
                objective.id, objective.name
            )
        });
        warnings.collect()
    }

    /// The models that this deployment offers.
    pub fn models(&self) -> &dyn Models {
        self.models.as_ref()
    }

    /// Calls to addresses that users name.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// The use cases of managed keys.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// How long a worker may be silent before its conversation is queued again.
    pub fn lease(&self) -> SignedDuration {
        self.settings.lease
    }

    /// The wall clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The wall clock's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The source of ids.
    pub fn random(&self) -> &dyn Random {
        self.random.as_ref()
    }
}

/// Runs a caller's work in a queue that is never closed.
async fn run_off_thread<T: Send + 'static>(queue: &CpuQueue, work: impl FnOnce() -> T + Send + 'static) -> T {
    match queue.run(work).await {
        Ok(done) => done,
        Err(Closed) => std::future::pending().await,
    }
}
