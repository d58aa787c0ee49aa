//! The store that OneRun needs, as traits, and the contract that every backend passes.
//!
//! A change of state is a decision of [`onerun_domain`], passed as a function: the backend reads
//! the state, calls the decision, and writes its result only if the state has not changed since. So
//! the rules are written once, and no backend can apply them differently.
//!
//! A project's data is only reachable through [`ProjectStore`], which is bound to one project: a
//! query that forgets the project cannot be written.

mod batches;
// Unit tests do not use the suite, which takes long to compile.
#[cfg(all(feature = "contract", not(test)))]
pub mod contract;
#[cfg(test)]
#[path = "contract/tests.rs"]
mod contract_tests;
mod deletion;
mod error;
mod idempotency;
mod imports;
mod jobs;
mod key_body;
mod keys;
mod monitors;
mod page;
mod project;
mod query;
mod queue;
mod size;
mod turn;
mod webhooks;

pub use batches::{BatchChange, BatchStore, NewBatch};
pub use deletion::DeletionStore;
pub use error::{ChangeError, KeyError, StoreError, with_causes};
pub use idempotency::{
    IDEMPOTENCY_RETENTION, IdempotencyId, IdempotencyRecord, IdempotencyScope, idempotency_body,
    read_idempotency,
};
pub use imports::{ImportStore, NewImportedSimulation};
pub use jobs::{ClaimedJob, DEAD_JOB_RETENTION, DeadJob, MAX_DEAD_JOBS, Overdue};
pub use key_body::{audit_body, key_body, read_audit, read_key, read_usage, usage_body};
pub use keys::{
    AuditPage, ChangeKey, DecideKey, DecideNewKey, DecideUnasked, KEY_RETENTION, KeyChange, KeyLimits,
    KeyStore, KeyView, ListKeys, LiveKeys, NewKey,
};
pub use monitors::{MonitorChange, MonitorRunChange, MonitorStore, NewMonitorRun};
pub use page::{MAX_PAGE_BYTES, PageBuilder, position, read_position};
pub use project::{
    ConversationChange, ConversationView, Decide, Decision, EvaluationRunChange, EvaluationRunView,
    PersonaChange, ProjectStore, RunCounts, SimulationChange, SimulationView, UsageKey, UsageRow,
};
pub use query::{
    AgentSummary, ConversationCounts, ConversationSummary, CountedOutcome, CreatedFilter,
    EvaluatedConversation, ExactFilter, ListAgents, ListConversations, ListSimulations, MAX_TURN_DELAY,
    ObjectiveCounts, SimulationCounts, SimulationDetail, SimulationOrder, SimulationSummary, SortBy,
    TURN_SLICE,
};
pub use queue::{QueuedConversation, SimulationQueue, take_turns, turn_at};
pub use size::WireSize;
pub use turn::{ReplyContext, StoredReply, StoredTurn};
pub use webhooks::{DeliveryChange, WebhookStore, WebhooksChange};

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_auth::ProjectAccess;
use onerun_domain::{Job, JobId, JobKind, MonitorId, Page, PageRequest, Project, ProjectId, SimulationId};

/// A durable store: an acknowledged write survives the death of the process.
#[async_trait]
pub trait Store: KeyStore {
    /// Adds a project.
    ///
    /// An insert or change with an idempotency record writes both or neither. If an unexpired
    /// record with the same id exists, nothing is written and the error is
    /// [`StoreError::Duplicate`].
    async fn insert_project(
        &self,
        project: Project,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError>;

    /// The record of a request, unless it has expired.
    async fn idempotency_record(
        &self,
        id: &IdempotencyId,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError>;

    /// Removes data whose retention time is over, up to `limit` of each kind: idempotency records
    /// and replies, [buried jobs](DEAD_JOB_RETENTION), [ended keys](KEY_RETENTION) with their usage,
    /// [runs of monitors](onerun_domain::MONITOR_RUN_RETENTION), and
    /// [deliveries of webhooks](onerun_domain::DELIVERY_RETENTION). A backend that removes them without this call does
    /// nothing.
    async fn delete_expired_records(&self, limit: u32, now: Timestamp) -> Result<(), StoreError>;

    /// Lists the projects that the caller may access: only archived ones, or only the others.
    async fn projects(
        &self,
        within: &ProjectAccess,
        archived: bool,
        sort: SortBy,
        page: PageRequest,
    ) -> Result<Page<Project>, StoreError>;

    /// The part of the store that belongs to one project, or `None` if the project does not exist.
    async fn open_project(&self, id: &ProjectId) -> Result<Option<Arc<dyn ProjectStore>>, StoreError>;

    /// Enqueues jobs without a change of state. A job that waits, also for a retry, is not added
    /// again. A claimed job runs once more after it is completed or buried, because the current run
    /// may not see the change that needs it. The same holds for jobs that a change enqueues.
    async fn enqueue(&self, jobs: Vec<Job>) -> Result<(), StoreError>;

    /// Claims up to `limit` due jobs of a kind, and hides them from other claimers until
    /// `hidden_until`. Projects take turns, one job each, so a project with many jobs does not
    /// delay another's. Within a project the oldest is first.
    async fn claim_jobs(
        &self,
        kind: JobKind,
        limit: u32,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Claims one job if it exists and is due, and hides it from other claimers until
    /// `hidden_until`: for hosts that are notified of single jobs. `None` if it does not exist, is
    /// claimed, or waits for a retry.
    async fn claim_job(
        &self,
        id: &JobId,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<ClaimedJob>, StoreError>;

    /// Completes a claimed job, which deletes it. This and the next two methods do nothing if the
    /// job does not exist.
    async fn complete_job(&self, id: &JobId) -> Result<(), StoreError>;

    /// Makes a claimed job that failed due again at `due`.
    async fn retry_job(&self, id: &JobId, reason: &str, due: Timestamp) -> Result<(), StoreError>;

    /// Makes a claimed job due again at `due`, as if it had not been claimed: it waits for something, and has not
    /// failed. It does nothing if the job does not exist.
    async fn postpone_job(&self, id: &JobId, due: Timestamp) -> Result<(), StoreError>;

    /// Buries a claimed job: stores it with the reason, where it blocks no other job. It may be
    /// enqueued again. A backend may keep only the newest [`MAX_DEAD_JOBS`].
    async fn bury_job(&self, id: &JobId, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// A page of buried jobs, newest first.
    async fn dead_jobs(&self, page: PageRequest) -> Result<Page<DeadJob>, StoreError>;

    /// When the next waiting job of a kind is due. `None` if none waits. A claimed job is due when
    /// its claim expires.
    async fn next_job_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError>;

    /// Overdue conversations, whose lease has expired, and overdue simulations, past their expiry,
    /// up to `limit` of each, longest overdue first. A conversation whose turn is claimed is not
    /// overdue.
    async fn overdue(&self, limit: u32, now: Timestamp) -> Result<Overdue, StoreError>;

    /// Up to `limit` monitors of all projects whose next planned time is not after `now`, longest due first.
    async fn due_monitors(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(ProjectId, MonitorId)>, StoreError>;

    /// Up to `limit` simulations of all projects that ended at or before `ended_by` and whose
    /// transcripts are not deleted, longest ended first.
    async fn simulations_with_old_transcripts(
        &self,
        limit: u32,
        ended_by: Timestamp,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError>;

    /// Up to `limit` simulations of all projects that were deleted at or before `deleted_by` and are not purged,
    /// longest deleted first.
    async fn deleted_simulations(
        &self,
        limit: u32,
        deleted_by: Timestamp,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError>;
}
