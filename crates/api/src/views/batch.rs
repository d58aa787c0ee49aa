//! Batches and their items in responses.

use onerun_domain::{Batch, BatchCounts, BatchId, BatchItem, BatchRef, BatchView};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{AGENT, BATCH, CHANGED, MADE, PROJECT, SIMULATION},
    operation::Example,
    views::{BatchItemStatusOut, BatchStatusOut, Time},
};

/// A batch of simulations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Batch")]
pub(crate) struct BatchOut {
    id: String,
    project_id: String,
    name: String,
    /// `completed` if all simulations completed, `failed` if all ended and at least one did not complete. A `canceled`
    /// batch may have simulations that are being canceled, until `ended_at` is set.
    status: BatchStatusOut,
    /// The items by status.
    counts: BatchCountsOut,
    /// The most simulations that are in progress at once.
    max_in_flight: u32,
    /// The most simulations of one agent that are in progress at once; null if only `max_in_flight` counts.
    max_in_flight_per_agent: Option<u32>,
    /// Your own data.
    metadata: Map<String, Value>,
    /// The id of the API key that created the batch, which the usage of its simulations is counted for.
    created_by: String,
    created_at: Time,
    updated_at: Time,
    /// When its last simulation ended; null before.
    ended_at: Option<Time>,
}

/// The items of a batch, counted by status.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BatchCounts")]
struct BatchCountsOut {
    total: u32,
    /// Simulations that are not created yet.
    queued: u32,
    /// Simulations that have not ended.
    in_progress: u32,
    completed: u32,
    /// Simulations that failed or could not be created.
    failed: u32,
    canceled: u32,
    expired: u32,
}

impl From<BatchCounts> for BatchCountsOut {
    fn from(counts: BatchCounts) -> Self {
        let BatchCounts { queued, in_progress, completed, failed, canceled, expired } = counts;
        Self { total: counts.total(), queued, in_progress, completed, failed, canceled, expired }
    }
}

impl From<Batch> for BatchOut {
    fn from(batch: Batch) -> Self {
        Self {
            id: batch.id.into(),
            project_id: batch.project_id.into(),
            name: batch.name.as_str().to_owned(),
            status: BatchStatusOut(batch.status),
            counts: batch.counts.into(),
            max_in_flight: batch.max_in_flight,
            max_in_flight_per_agent: batch.max_in_flight_per_agent,
            metadata: batch.metadata.as_map().clone(),
            created_by: batch.created_by.into(),
            created_at: Time(batch.created_at),
            updated_at: Time(batch.updated_at),
            ended_at: batch.ended_at.map(Time),
        }
    }
}

/// A new batch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CreatedBatch")]
pub(crate) struct CreatedBatchOut {
    #[serde(flatten)]
    batch: BatchOut,
    /// The id of each item's simulation, in the order of the request. A simulation exists once its item is no longer
    /// queued.
    simulation_ids: Vec<String>,
}

impl From<&BatchView> for CreatedBatchOut {
    fn from(view: &BatchView) -> Self {
        let ids = view.items.iter().zip(0..).map(|(item, index)| simulation_id(&view.batch.id, index, item));
        Self { simulation_ids: ids.collect(), batch: view.batch.clone().into() }
    }
}

fn simulation_id(batch: &BatchId, index: u32, item: &BatchItem) -> String {
    BatchRef { batch: batch.clone(), index, attempt: item.attempt }.simulation_id().into()
}

/// An item of a batch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BatchItem")]
pub(crate) struct BatchItemOut {
    /// The place of the item in the request, from 0.
    index: u32,
    status: BatchItemStatusOut,
    /// The simulation of the present attempt. It does not exist while the item is queued or if it could not be created.
    simulation_id: String,
    agent_id: String,
    /// The number of reruns of this item, plus one.
    attempt: u32,
    /// Why the simulation did not complete or could not be created; null otherwise.
    failure_reason: Option<String>,
}

impl BatchItemOut {
    pub(crate) fn of(batch: &BatchId, index: u32, item: BatchItem) -> Self {
        Self {
            index,
            status: BatchItemStatusOut(item.status),
            simulation_id: simulation_id(batch, index, &item),
            agent_id: item.agent_id.into(),
            attempt: item.attempt,
            failure_reason: item.reason,
        }
    }
}

fn counts(total: u32, in_progress: u32, completed: u32) -> Value {
    json!({
        "total": total,
        "queued": total - in_progress - completed,
        "in_progress": in_progress,
        "completed": completed,
        "failed": 0,
        "canceled": 0,
        "expired": 0,
    })
}

fn batch(updated_at: &str, counts: &Value) -> Value {
    json!({
        "id": BATCH,
        "project_id": PROJECT,
        "name": "Refunds, all agents",
        "status": "in_progress",
        "counts": counts,
        "max_in_flight": 10,
        "max_in_flight_per_agent": 2,
        "metadata": { "team": "qa" },
        "created_by": "root",
        "created_at": MADE,
        "updated_at": updated_at,
        "ended_at": null,
    })
}

impl Example for BatchOut {
    fn example() -> Value {
        batch(CHANGED, &counts(2, 1, 1))
    }
}

impl Example for CreatedBatchOut {
    fn example() -> Value {
        let mut created = batch(MADE, &counts(2, 0, 0));
        created["simulation_ids"] = json!([SIMULATION, "sQ7bN2kX0yVtGfRw4LmCe"]);
        created
    }
}

impl Example for BatchItemOut {
    fn example() -> Value {
        json!({
            "index": 0,
            "status": "failed",
            "simulation_id": SIMULATION,
            "agent_id": AGENT,
            "attempt": 1,
            "failure_reason": "1 of 20 conversations was not held",
        })
    }
}
