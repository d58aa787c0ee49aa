//! The store that OneRun needs, as traits, and the contract that every backend passes.
//!
//! The methods say what the domain does. A change of state is a decision of [`onerun_domain`], handed in as a
//! function: the backend reads the state, asks the decision, and writes the outcome only if the state is
//! still the one that was decided from. So the rules are written once, and no backend can apply them
//! differently.
//!
//! Everything that belongs to a project is reached through [`ProjectStore`], which is bound to one: a query
//! that forgets the project cannot be written.

#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod idempotency;
mod jobs;
mod key_body;
mod keys;
mod page;
mod project;
mod query;
mod size;

pub use error::{ChangeError, KeyError, StoreError, with_causes};
pub use idempotency::{
    IDEMPOTENCY_RETENTION, IdempotencyId, IdempotencyRecord, IdempotencyScope, idempotency_body,
    read_idempotency,
};
pub use jobs::{ClaimedJob, DEAD_JOB_RETENTION, DeadJob, MAX_DEAD_JOBS, Overdue};
pub use key_body::{audit_body, key_body, read_audit, read_key, read_usage, usage_body};
pub use keys::{
    AuditPage, ChangeKey, DecideKey, DecideNewKey, DecideUnasked, KEY_RETENTION, KeyChange, KeyStore,
    KeyView, ListKeys, LiveKeys, NewKey,
};
pub use page::{MAX_PAGE_BYTES, PageBuilder, position, read_position};
pub use project::{
    ConversationChange, ConversationView, Decide, Decision, PersonaChange, ProjectStore, SimulationChange,
    SimulationView, StoredReply, StoredTurn, UsageKey, UsageRow,
};
pub use query::{
    AgentSummary, ConversationCounts, ConversationSummary, EvaluatedConversation, ExactFilter, ListAgents,
    ListConversations, ListSimulations, ObjectiveCounts, SimulationCounts, SimulationDetail, SimulationOrder,
    SimulationSummary, SortBy,
};
pub use size::WireSize;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_auth::ProjectAccess;
use onerun_domain::{Job, JobId, JobKind, Page, PageRequest, Project, ProjectId};

/// A durable store: an acknowledged write survives the death of the process.
#[async_trait]
pub trait Store: KeyStore {
    /// Adds a project.
    ///
    /// This and whatever else takes a record writes it with the rest or not at all. If a record that still
    /// counts is there under the same id, nothing is written and the answer is [`StoreError::Duplicate`].
    async fn insert_project(
        &self,
        project: Project,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError>;

    /// The record of a request, unless it no longer counts.
    async fn idempotency_record(
        &self,
        id: &IdempotencyId,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError>;

    /// Removes what is kept no longer, up to `limit` of each: idempotency records and replies that no longer
    /// count, jobs that were given up [long ago](DEAD_JOB_RETENTION), and keys that are [long
    /// over](KEY_RETENTION) with their uses. A backend that removes them by itself does nothing.
    async fn delete_expired_records(&self, limit: u32, now: Timestamp) -> Result<(), StoreError>;

    /// Lists those projects that are within reach.
    async fn projects(
        &self,
        within: &ProjectAccess,
        sort: SortBy,
        page: PageRequest,
    ) -> Result<Page<Project>, StoreError>;

    /// The part of the store that belongs to one project, or `None` if there is no such project.
    async fn open_project(&self, id: &ProjectId) -> Result<Option<Arc<dyn ProjectStore>>, StoreError>;

    /// Adds jobs that no change of state carries. A job that waits already, be it for a retry, is not added
    /// again; one that is claimed is done once more after it was completed or buried, because what it was
    /// called for may have come too late for the present run to see. The same holds for jobs that a change
    /// carries.
    async fn enqueue(&self, jobs: Vec<Job>) -> Result<(), StoreError>;

    /// Takes up to `limit` jobs of a kind that are due, and hides them from other takers until
    /// `hidden_until`. Projects take turns, one job each, so that a project with many jobs does not delay
    /// another's. Within a project the oldest is first.
    async fn claim_jobs(
        &self,
        kind: JobKind,
        limit: u32,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError>;

    /// Takes one job, if it is there and due, and hides it from other takers until `hidden_until`: for hosts
    /// that are told of jobs one by one. `None` if it is gone, was taken by another, or is put off to a later
    /// time.
    async fn claim_job(
        &self,
        id: &JobId,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<ClaimedJob>, StoreError>;

    /// A claimed job is done: it is gone. This and the next two change nothing about a job that is gone
    /// already.
    async fn complete_job(&self, id: &JobId) -> Result<(), StoreError>;

    /// A claimed job did not succeed: it is due again at `due`.
    async fn retry_job(&self, id: &JobId, reason: &str, due: Timestamp) -> Result<(), StoreError>;

    /// A claimed job is given up, and kept with the reason where it blocks no other. It may be added again. A
    /// backend may keep the newest [`MAX_DEAD_JOBS`] alone.
    async fn bury_job(&self, id: &JobId, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Jobs that were given up, newest first.
    async fn dead_jobs(&self, page: PageRequest) -> Result<Page<DeadJob>, StoreError>;

    /// When the next waiting job of a kind is due; `None` if none waits. Hidden jobs count from when they
    /// show again.
    async fn next_job_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError>;

    /// Overdue conversations, whose lease has expired, and overdue simulations, past their expiry,
    /// up to `limit` of each, longest overdue first. A conversation whose turn is claimed is not
    /// overdue.
    async fn overdue(&self, limit: u32, now: Timestamp) -> Result<Overdue, StoreError>;
}
