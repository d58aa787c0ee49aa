//! The store.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_auth::{AuditHead, KeyId, KeyRecord, KeyUse, ProjectAccess, RateLimit};
use onerun_domain::{
    Direction, Job, JobId, JobKind, MonitorId, Page, PageRequest, Project, ProjectId, SimulationId,
};
use onerun_store::{
    AuditPage, ChangeKey, ClaimedJob, DeadJob, DecideNewKey, IdempotencyId, IdempotencyRecord, KeyChange,
    KeyError, KeyStore, KeyView, ListKeys, NewKey, Overdue, ProjectStore, SortBy, Store, StoreError,
};
use rusqlite::Connection;

use crate::{
    OpenError, audit, idempotency, jobs, keys, open,
    project::{SqliteProject, conversations, deletion, monitors, projects, simulations, webhooks},
    rates::Rates,
    readers::Readers,
    reserve::Reserve,
    sql,
    writer::{WriteError, Writer},
};

/// How many project ids are cached at most. Beyond that the cache is cleared.
const MAX_KNOWN: usize = 10_000;

/// A store in one SQLite file. Clones share it. It is closed, after all its writes, when the last
/// clone and the last of its projects are dropped.
#[derive(Clone)]
pub struct SqliteStore {
    database: Arc<Database>,
}

/// The connections to one file.
pub(crate) struct Database {
    // Fields are dropped in this order. The writer is last, because only the last connection to
    // close can remove the write-ahead log, and only if it may write.
    readers: Readers,
    writer: Writer,
    /// Projects that are known to exist. They are never deleted, so no entry becomes wrong.
    known: Mutex<HashSet<ProjectId>>,
    rates: Mutex<Rates>,
    /// The project of the last claim of each kind of job; the next project's turn follows. Empty
    /// after a start.
    served: Mutex<BTreeMap<JobKind, ProjectId>>,
}

impl SqliteStore {
    /// Opens the file at `path`, or creates it in an existing directory; migrates it to the newest
    /// version, and releases the claims of the last process. The file must not be open in another
    /// process.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut reserve = Reserve::of(path);
        let connection = match open::writing(path) {
            Err(OpenError::Sqlite(error)) if sql::is_full(&error) => {
                // Work left by the last process may use the reserve: a full disk must not prevent
                // revocations.
                reserve.release();
                open::writing(path)?
            }
            opened => opened?,
        };
        // If there is no space now, the reserve is created before the first write that needs it.
        reserve.restore();
        let writer = Writer::start(connection, reserve)?;
        let readers = Readers::start(path)?;
        let database = Database {
            readers,
            writer,
            known: Mutex::default(),
            rates: Mutex::default(),
            served: Mutex::default(),
        };
        Ok(Self { database: Arc::new(database) })
    }

    async fn is_known(&self, id: &ProjectId) -> Result<bool, StoreError> {
        let known = || self.database.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(id) {
            return Ok(true);
        }
        let wanted = id.clone();
        let exists = self.database.read(move |connection| projects::exists(connection, &wanted)).await?;
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

impl Database {
    /// Runs queries on one snapshot of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(work).await
    }

    /// Runs a durable transaction.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        self.writer.write(work).await
    }

    /// Writes the end of a key durably, in the reserve if the disk is full.
    pub(crate) async fn end<T, E>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: WriteError + 'static,
    {
        self.writer.end(work).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert_project(
        &self,
        project: Project,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.database
            .write(move |connection| {
                projects::insert(connection, &project)?;
                idempotency::insert(connection, record.as_ref())
            })
            .await
    }

    async fn idempotency_record(
        &self,
        id: &IdempotencyId,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let id = id.clone();
        self.database.read(move |connection| idempotency::get(connection, &id, now)).await
    }

    async fn delete_expired_records(&self, limit: u32, now: Timestamp) -> Result<(), StoreError> {
        // Usually there are none, and the check needs no writer.
        let has_expired = move |connection: &Connection| {
            Ok(idempotency::has_expired(connection, now)?
                || jobs::has_expired(connection, now)?
                || keys::has_expired(connection, now)?
                || monitors::has_expired(connection, now)?
                || webhooks::has_expired(connection, now)?)
        };
        if self.database.read(has_expired).await? {
            let delete = move |connection: &Connection| -> Result<(), StoreError> {
                idempotency::delete_expired(connection, limit, now)?;
                jobs::delete_expired(connection, limit, now)?;
                keys::delete_expired(connection, limit, now)?;
                monitors::delete_expired(connection, limit, now)?;
                webhooks::delete_expired(connection, limit, now)
            };
            self.database.write(delete).await?;
        }
        Ok(())
    }

    async fn projects(
        &self,
        within: &ProjectAccess,
        archived: bool,
        sort: SortBy,
        page: PageRequest,
    ) -> Result<Page<Project>, StoreError> {
        let within = within.clone();
        let list = move |connection: &_| projects::list(connection, &within, archived, sort, &page);
        self.database.read(list).await
    }

    async fn open_project(&self, id: &ProjectId) -> Result<Option<Arc<dyn ProjectStore>>, StoreError> {
        if !self.is_known(id).await? {
            return Ok(None);
        }
        Ok(Some(Arc::new(SqliteProject::new(Arc::clone(&self.database), id.clone()))))
    }

    async fn enqueue(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        self.database.write(move |connection| jobs::add(connection, &jobs)).await
    }

    async fn claim_jobs(
        &self,
        kind: JobKind,
        limit: u32,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        let served = || self.database.served.lock().unwrap_or_else(PoisonError::into_inner);
        let after = served().get(&kind).cloned();
        let claimed = self
            .database
            .write(move |connection| jobs::claim(connection, kind, after, limit, hidden_until, now))
            .await?;
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
        let id = id.clone();
        self.database.write(move |connection| jobs::claim_one(connection, &id, hidden_until, now)).await
    }

    async fn complete_job(&self, id: &JobId) -> Result<(), StoreError> {
        let id = id.clone();
        self.database.write(move |connection| jobs::complete(connection, &id)).await
    }

    async fn postpone_job(&self, id: &JobId, due: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.database.write(move |connection| jobs::postpone(connection, &id, due)).await
    }

    async fn retry_job(&self, id: &JobId, reason: &str, due: Timestamp) -> Result<(), StoreError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.database.write(move |connection| jobs::retry(connection, &id, &reason, due)).await
    }

    async fn bury_job(&self, id: &JobId, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.database.write(move |connection| jobs::bury(connection, &id, &reason, now)).await
    }

    async fn dead_jobs(&self, page: PageRequest) -> Result<Page<DeadJob>, StoreError> {
        self.database.read(move |connection| jobs::dead(connection, &page)).await
    }

    async fn next_job_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
        self.database.read(move |connection| jobs::next_due(connection, kind)).await
    }

    async fn overdue(&self, limit: u32, now: Timestamp) -> Result<Overdue, StoreError> {
        self.database
            .read(move |connection| {
                Ok(Overdue {
                    conversations: conversations::overdue(connection, limit, now)?,
                    simulations: simulations::overdue(connection, limit, now)?,
                })
            })
            .await
    }

    async fn due_monitors(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(ProjectId, MonitorId)>, StoreError> {
        self.database.read(move |connection| monitors::due(connection, limit, now)).await
    }

    async fn simulations_with_old_transcripts(
        &self,
        limit: u32,
        ended_by: Timestamp,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
        self.database
            .read(move |connection| simulations::with_old_transcripts(connection, limit, ended_by))
            .await
    }

    async fn deleted_simulations(
        &self,
        limit: u32,
        deleted_by: Timestamp,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
        self.database.read(move |connection| deletion::deleted(connection, limit, deleted_by)).await
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn insert_key(&self, caller: Option<&KeyId>, decide: DecideNewKey) -> Result<NewKey, KeyError> {
        let caller = caller.cloned();
        self.database.write(move |connection| keys::insert(connection, caller.as_ref(), decide)).await
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let id = id.clone();
        self.database.read(move |connection| keys::get(connection, &id)).await
    }

    async fn key_view(&self, id: &KeyId) -> Result<Option<KeyView>, StoreError> {
        let id = id.clone();
        self.database.read(move |connection| keys::view(connection, &id)).await
    }

    async fn keys(&self, list: ListKeys) -> Result<Page<KeyView>, StoreError> {
        self.database.read(move |connection| keys::list(connection, &list)).await
    }

    async fn change_key(&self, id: &KeyId, change: ChangeKey) -> Result<Option<KeyChange>, KeyError> {
        let id = id.clone();
        let ChangeKey { caller, is_ending, mut decide } = change;
        let work = move |connection: &Connection| keys::change(connection, &id, caller.as_ref(), &mut decide);
        if is_ending { self.database.end(work).await } else { self.database.write(work).await }
    }

    async fn add_key_use(&self, id: &KeyId, uses: &KeyUse, now: Timestamp) -> Result<bool, StoreError> {
        let (id, uses) = (id.clone(), uses.clone());
        self.database.write(move |connection| keys::add_use(connection, &id, &uses, now)).await
    }

    async fn count_request(&self, bucket: &str, limit: RateLimit, now: Timestamp) -> Result<u64, StoreError> {
        let mut rates = self.database.rates.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rates.count(bucket, limit, now))
    }

    async fn audit(&self, direction: Direction, page: PageRequest) -> Result<AuditPage, StoreError> {
        self.database.read(move |connection| audit::list(connection, direction, &page)).await
    }

    async fn set_audit_archived(&self, last: &AuditHead) -> Result<bool, StoreError> {
        let last = last.clone();
        self.database.write(move |connection| audit::set_archived(connection, &last)).await
    }

    async fn delete_archived_audit(&self, limit: u32) -> Result<bool, StoreError> {
        // Usually there are none, and the check needs no writer.
        if !self.database.read(audit::has_archived).await? {
            return Ok(false);
        }
        self.database.write(move |connection| audit::delete_archived(connection, limit)).await
    }
}
