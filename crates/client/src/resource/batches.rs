//! Batches, which start many simulations by one call.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The fields of a new batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBatch {
    /// The name for people, which simulations without a name of their own have, too.
    pub name: String,
    /// Fields of a new simulation that the items have in common.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
    /// For each simulation, the fields of a new simulation that differ from the defaults.
    pub items: Vec<Map<String, Value>>,
    /// The most simulations that are in progress at once; the API's default if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// The most simulations of one agent that are in progress at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight_per_agent: Option<u32>,
    /// Values to attach.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// The status of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// Some simulations have not ended.
    InProgress,
    /// All simulations completed.
    Completed,
    /// All simulations ended, and at least one did not complete.
    Failed,
    /// It was canceled.
    Canceled,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

impl BatchStatus {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Unknown => "unknown",
        }
    }
}

/// A batch.
#[derive(Clone, Debug, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// Its status.
    pub status: BatchStatus,
    /// Its items by status.
    pub counts: BatchCounts,
    /// The most simulations that are in progress at once.
    pub max_in_flight: u32,
    /// The most simulations of one agent that are in progress at once.
    pub max_in_flight_per_agent: Option<u32>,
    /// When it was created (RFC 3339, UTC).
    pub created_at: String,
    /// When its last simulation ended.
    pub ended_at: Option<String>,
}

/// A new batch.
#[derive(Clone, Debug, Deserialize)]
pub struct CreatedBatch {
    /// The batch.
    #[serde(flatten)]
    pub batch: Batch,
    /// The id of each item's simulation, in the order of the items.
    pub simulation_ids: Vec<String>,
}

/// The items of a batch, counted by status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct BatchCounts {
    /// All items.
    pub total: u32,
    /// Simulations that are not created yet.
    pub queued: u32,
    /// Simulations that have not ended.
    pub in_progress: u32,
    /// Completed simulations.
    pub completed: u32,
    /// Simulations that failed or could not be created.
    pub failed: u32,
    /// Canceled simulations.
    pub canceled: u32,
    /// Expired simulations.
    pub expired: u32,
}

/// An item of a batch.
#[derive(Clone, Debug, Deserialize)]
pub struct BatchItem {
    /// The place of the item in the request, from 0.
    pub index: u32,
    /// `queued`, or the status of its simulation.
    pub status: String,
    /// The simulation of the present attempt.
    pub simulation_id: String,
    /// The agent under test.
    pub agent_id: String,
    /// The number of reruns of this item, plus one.
    pub attempt: u32,
    /// Why it did not complete.
    pub failure_reason: Option<String>,
}
