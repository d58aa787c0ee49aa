//! The store.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_domain::{Job, JobId, Page, PageRequest, Project, ProjectId};
use onerun_store::{ClaimedJob, DeadJob, NamedSort, Overdue, ProjectStore, Store, StoreError};
use rusqlite::Connection;

use crate::{
    OpenError, jobs, open,
    project::{SqliteProject, conversations, projects, simulations},
    readers::Readers,
    writer::Writer,
};

/// The most project ids that are remembered. Beyond it all are forgotten, and looked up again as they are used.
const MAX_KNOWN: usize = 10_000;

/// A store in one SQLite file. Clones share it; it is closed when the last of them and of the projects opened
/// through them is dropped, after what was sent to it is written.
#[derive(Clone)]
pub struct SqliteStore {
    database: Arc<Database>,
}

/// The connections to one file.
pub(crate) struct Database {
    // Fields are dropped in this order: the writer last, because only a connection that may write can tidy up the
    // write-ahead log as the last one closes.
    readers: Readers,
    writer: Writer,
    /// Projects that are known to be there. They are never deleted, so this never misleads.
    known: Mutex<HashSet<ProjectId>>,
}

impl SqliteStore {
    /// Opens the file at `path`, or makes it, in a directory that is there; brings it to the newest form, and
    /// releases the claims that the last process left. The file must not be open in another process.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = open::writing(path)?;
        let writer = Writer::start(connection)?;
        let readers = Readers::start(path)?;
        let database = Database { readers, writer, known: Mutex::default() };
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
    /// Runs queries on the database as it is at one moment.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(work).await
    }

    /// Writes all of it or nothing, durably.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.writer.write(work).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert_project(&self, project: Project) -> Result<(), StoreError> {
        self.database.write(move |connection| projects::insert(connection, &project)).await
    }

    async fn projects(&self, sort: NamedSort, page: PageRequest) -> Result<Page<Project>, StoreError> {
        self.database.read(move |connection| projects::list(connection, sort, page)).await
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
        limit: u32,
        hidden_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        self.database.write(move |connection| jobs::claim(connection, limit, hidden_until, now)).await
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

    async fn retry_job(&self, id: &JobId, reason: &str, due: Timestamp) -> Result<(), StoreError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.database.write(move |connection| jobs::retry(connection, &id, &reason, due)).await
    }

    async fn bury_job(&self, id: &JobId, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let (id, reason) = (id.clone(), reason.to_owned());
        self.database.write(move |connection| jobs::bury(connection, &id, &reason, now)).await
    }

    async fn dead_jobs(&self, page: PageRequest) -> Result<Page<DeadJob>, StoreError> {
        self.database.read(move |connection| jobs::dead(connection, page)).await
    }

    async fn next_job_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.database.read(jobs::next_due).await
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
}
