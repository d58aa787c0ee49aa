//! The store.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{Client, config::Builder};
use jiff::Timestamp;
use onerun_auth::{AuditHead, KeyId, KeyRecord, KeyUse, ProjectAccess, RateLimit};
use onerun_domain::{
    Direction, Job, JobId, JobKind, MonitorId, Page, PageRequest, Project, ProjectId, SimulationId,
};
use onerun_store::{
    AuditPage, ChangeKey, ClaimedJob, DeadJob, DecideNewKey, IdempotencyId, IdempotencyRecord, KeyChange,
    KeyError, KeyStore, KeyView, ListKeys, NewKey, Overdue, ProjectStore, SortBy, Store, StoreError,
};

use crate::{
    api_keys, audit,
    config::configure,
    database::Database,
    idempotency, jobs, overdue,
    project::{DynamoDbProject, ProcessMemory, projects},
};

/// How many project ids are remembered at most. Beyond that all are forgotten, and looked up again.
const MAX_KNOWN: usize = 10_000;

/// A store in one DynamoDB table. Clones share it.
#[derive(Clone)]
pub struct DynamoDbStore {
    database: Arc<Database>,
    memory: Arc<ProcessMemory>,
    /// Projects that are known to exist. They are never deleted, so no entry becomes wrong.
    known: Arc<Mutex<HashSet<ProjectId>>>,
    /// The project of the last claim of each kind of job; the next project's turn follows. Empty
    /// after a start.
    served: Arc<Mutex<BTreeMap<JobKind, ProjectId>>>,
}

impl DynamoDbStore {
    /// The store in `table`, reached through `client`. Makes no call. The table must have the keys
    /// and indexes that [`local::create_table`](crate::local::create_table) creates.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        let database = Arc::new(Database::new(client, table.into()));
        Self { database, memory: Arc::default(), known: Arc::default(), served: Arc::default() }
    }

    /// The same store with its jobs in this many shards of the index of due times, from 1 to 32. Each takes about 250
    /// jobs a second. All processes must have the same number; after a change, [`resend_jobs`](Self::resend_jobs) moves
    /// the jobs that wait.
    #[must_use]
    pub fn with_job_shards(mut self, shards: u32) -> Self {
        let shards = shards.clamp(1, jobs::MAX_SHARDS);
        self.database = Arc::new(self.database.with_job_shards(shards));
        self
    }

    /// The store in `table`, with a client from `config`: the host sets region, credentials and
    /// HTTP client, and the store the rest. `endpoint` replaces AWS's address of DynamoDB.
    pub fn connect(config: impl Into<Builder>, endpoint: Option<String>, table: impl Into<String>) -> Self {
        let mut config = configure(config.into());
        config.set_endpoint_url(endpoint);
        Self::new(Client::from_conf(config.build()), table)
    }

    /// Makes the table's stream deliver due jobs again: retries, jobs whose claim has expired, and jobs
    /// whose message was sent before `sent_before` and may be lost. Reads the 1,000 oldest jobs of each of 32
    /// shards. Returns the number of messages.
    pub async fn resend_jobs(&self, sent_before: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
        jobs::send_again(&self.database, sent_before, now).await
    }

    /// The buried job with an id. `None` if it has expired or was deleted with its simulation.
    pub async fn dead_job(&self, id: &JobId) -> Result<Option<DeadJob>, StoreError> {
        jobs::dead_one(&self.database, id).await
    }

    async fn is_known(&self, id: &ProjectId) -> Result<bool, StoreError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(id) {
            return Ok(true);
        }
        let exists = projects::exists(&self.database, id).await?;
        if exists {
            let mut known = known();
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(id.clone());
        }
        Ok(exists)
    }
}

#[async_trait]
impl Store for DynamoDbStore {
    async fn insert_project(
        &self,
        project: Project,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        projects::insert(&self.database, &project, record.as_ref()).await
    }

    async fn idempotency_record(
        &self,
        id: &IdempotencyId,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        idempotency::get(&self.database, id, now).await
    }

    /// DynamoDB deletes them by the attribute `expires`.
    async fn delete_expired_records(&self, _: u32, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn projects(
        &self,
        within: &ProjectAccess,
        archived: bool,
        sort: SortBy,
        page: PageRequest,
    ) -> Result<Page<Project>, StoreError> {
        projects::list(&self.database, within, archived, sort, &page).await
    }

    async fn open_project(&self, id: &ProjectId) -> Result<Option<Arc<dyn ProjectStore>>, StoreError> {
        if !self.is_known(id).await? {
            return Ok(None);
        }
        Ok(Some(Arc::new(DynamoDbProject::new(
            Arc::clone(&self.database),
            Arc::clone(&self.memory),
            id.clone(),
        ))))
    }

    async fn enqueue(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        jobs::add(&self.database, &jobs).await
    }

    async fn claim_jobs(
        &self,
        kind: JobKind,
        limit: u32,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        let served = || self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let after = served().get(&kind).cloned();
        let claimed = jobs::claim(&self.database, kind, after.as_ref(), limit, hidden_until, now).await?;
        if let Some(last) = claimed.last() {
            served().insert(kind, last.job.project_id.clone());
        }
        Ok(claimed)
    }

    async fn claim_job(
        &self,
        id: &JobId,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<ClaimedJob>, StoreError> {
        jobs::claim_one(&self.database, id, hidden_until, now).await
    }

    async fn complete_job(&self, id: &JobId) -> Result<(), StoreError> {
        jobs::complete(&self.database, id).await
    }

    async fn postpone_job(&self, id: &JobId, due: Timestamp) -> Result<(), StoreError> {
        jobs::postpone(&self.database, id, due).await
    }

    async fn retry_job(&self, id: &JobId, reason: &str, due: Timestamp) -> Result<(), StoreError> {
        jobs::retry(&self.database, id, reason, due).await
    }

    async fn bury_job(&self, id: &JobId, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        jobs::bury(&self.database, id, reason, now).await
    }

    async fn dead_jobs(&self, page: PageRequest) -> Result<Page<DeadJob>, StoreError> {
        jobs::dead(&self.database, &page).await
    }

    async fn next_job_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
        jobs::next_due(&self.database, kind).await
    }

    async fn overdue(&self, limit: u32, now: Timestamp) -> Result<Overdue, StoreError> {
        overdue::find(&self.database, limit, now).await
    }

    async fn due_monitors(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(ProjectId, MonitorId)>, StoreError> {
        overdue::monitors(&self.database, limit, now).await
    }

    async fn simulations_with_old_transcripts(
        &self,
        limit: u32,
        ended_by: Timestamp,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
        overdue::with_old_transcripts(&self.database, limit, ended_by).await
    }

    async fn deleted_simulations(
        &self,
        limit: u32,
        deleted_by: Timestamp,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
        overdue::deleted(&self.database, limit, deleted_by).await
    }
}

#[async_trait]
impl KeyStore for DynamoDbStore {
    async fn insert_key(&self, caller: Option<&KeyId>, decide: DecideNewKey) -> Result<NewKey, KeyError> {
        api_keys::insert(&self.database, caller, decide).await
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        api_keys::get(&self.database, id).await
    }

    async fn key_view(&self, id: &KeyId) -> Result<Option<KeyView>, StoreError> {
        api_keys::view(&self.database, id).await
    }

    async fn keys(&self, list: ListKeys) -> Result<Page<KeyView>, StoreError> {
        api_keys::list(&self.database, &list).await
    }

    async fn change_key(&self, id: &KeyId, change: ChangeKey) -> Result<Option<KeyChange>, KeyError> {
        Box::pin(api_keys::change(&self.database, id, change)).await
    }

    async fn add_key_use(&self, id: &KeyId, uses: &KeyUse, now: Timestamp) -> Result<bool, StoreError> {
        api_keys::add_use(&self.database, id, uses, now).await
    }

    async fn count_request(&self, bucket: &str, limit: RateLimit, now: Timestamp) -> Result<u64, StoreError> {
        api_keys::count(&self.database, bucket, limit, now).await
    }

    async fn audit(&self, direction: Direction, page: PageRequest) -> Result<AuditPage, StoreError> {
        audit::list(&self.database, direction, &page).await
    }

    async fn set_audit_archived(&self, last: &AuditHead) -> Result<bool, StoreError> {
        audit::set_archived(&self.database, last).await
    }

    async fn delete_archived_audit(&self, limit: u32) -> Result<bool, StoreError> {
        audit::delete_archived(&self.database, limit).await
    }
}
