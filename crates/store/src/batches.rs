//! The part of a project's store that holds batches.

use async_trait::async_trait;
use onerun_domain::{Batch, BatchId, BatchItem, BatchPart, BatchView, Job, Page, PageRequest};

use crate::{ChangeError, Decide, IdempotencyRecord, SortBy, StoreError};

/// The new state of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchChange {
    /// The new state of the batch and its items.
    pub view: BatchView,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

impl BatchChange {
    /// A change of state, with jobs.
    pub fn to(view: BatchView, jobs: Vec<Job>) -> Self {
        Self { view, jobs, record: None }
    }
}

/// A batch with all that is written with it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatch {
    /// The batch and its items.
    pub view: BatchView,
    /// The settings of the items, in parts that begin where [`Batch::parts`] says. All have the same defaults.
    pub parts: Vec<BatchPart>,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

/// Batches in one project. Ids of other projects are unknown here.
#[async_trait]
pub trait BatchStore: Send + Sync {
    /// Adds a batch.
    async fn insert_batch(&self, new: NewBatch) -> Result<(), StoreError>;

    /// One batch.
    async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, StoreError>;

    /// The items of a batch, in the order of the request. `None` if the batch does not exist.
    async fn batch_items(&self, id: &BatchId) -> Result<Option<Vec<BatchItem>>, StoreError>;

    /// The settings of consecutive items. `None` if the batch has no such part.
    async fn batch_part(&self, id: &BatchId, number: u32) -> Result<Option<BatchPart>, StoreError>;

    /// A page of batches.
    async fn batches(&self, sort: SortBy, page: PageRequest) -> Result<Page<Batch>, StoreError>;

    /// Changes a batch. An unchanged one is not written, but its jobs and record are. `None` if the batch does not
    /// exist.
    async fn change_batch(
        &self,
        id: &BatchId,
        decide: Decide<BatchView, BatchChange>,
    ) -> Result<Option<BatchView>, ChangeError>;
}
