//! Batches of a project.

use reqwest::Method;
use serde_json::json;

use super::{ProjectClient, idempotency_key};
use crate::{
    Error, Verbatim,
    resource::{Batch, BatchItem, CreatedBatch, NewBatch, Page, PageRequest},
};

impl ProjectClient {
    /// Creates a batch, which starts a simulation for each item. A repeated call with the same idempotency key returns
    /// the same batch for 24 hours; without one, the call has a random one.
    pub async fn create_batch(
        &self,
        new: &NewBatch,
        key: Option<&str>,
    ) -> Result<Verbatim<CreatedBatch>, Error> {
        let key = key.map_or_else(idempotency_key, |key| Ok(key.to_owned()))?;
        let batch = self.0.at(&["simulations", "batch"]);
        let request = || batch.request(Method::POST, &[]).json(new).header("idempotency-key", key.as_str());
        batch.retrying("creating a batch", request).await
    }

    /// Batches, newest first.
    pub async fn list_batches(&self, page: PageRequest) -> Result<Verbatim<Page<Verbatim<Batch>>>, Error> {
        self.0.at(&["batches"]).page(&[], page).await
    }

    /// The batch with this id.
    pub async fn batch(&self, id: &str) -> Result<Verbatim<Batch>, Error> {
        self.0.at(&["batches", id]).get(&[]).await
    }

    /// The items of a batch in the order of the request, all or those in one status.
    pub async fn list_batch_items(
        &self,
        id: &str,
        status: Option<&str>,
        page: PageRequest,
    ) -> Result<Verbatim<Page<Verbatim<BatchItem>>>, Error> {
        let query: Vec<_> = status.map(|status| ("status", status)).into_iter().collect();
        self.0.at(&["batches", id, "items"]).page(&query, page).await
    }

    /// Cancels a batch and its simulations.
    pub async fn cancel_batch(&self, id: &str) -> Result<Verbatim<Batch>, Error> {
        let cancel = self.0.at(&["batches", id, "cancel"]);
        cancel.retrying("canceling a batch", || cancel.request(Method::POST, &[])).await
    }

    /// Runs the items of a batch again that failed, expired or were canceled.
    pub async fn rerun_batch(&self, id: &str) -> Result<Verbatim<Batch>, Error> {
        self.0.at(&["batches", id, "rerun"]).create("running a batch again", &json!({})).await
    }
}
