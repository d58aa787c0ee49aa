//! Batches: many simulations that one call starts.
//!
//! A batch counts its items as their simulations are created and end, so its progress needs no reading of
//! simulations. An item follows its simulation:
//!
//! ```text
//! queued → in_progress → completed | failed | canceled | expired
//!        ↘ failed, canceled
//! ```
//!
//! A rerun queues failed, canceled and expired items again, each for a new attempt. The id of an item's simulation
//! follows from batch, index and attempt, so that an attempt has one simulation, however often a job is delivered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AgentId, BatchId, Metadata, Name, ProjectId, Refusal, SimulationId, SimulationStatus};

mod overrides;

pub use overrides::{BatchPart, SimulationOverrides, WrongField};

/// The maximum number of a batch's items.
pub const MAX_BATCH_ITEMS: usize = 1_000;

/// The maximum size of an item's reason as JSON, in bytes: 1,000 of them must fit into one item of `DynamoDB`.
const MAX_REASON_BYTES: usize = 240;

/// The status of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// Some simulations have not ended.
    InProgress,
    /// All simulations completed.
    Completed,
    /// All simulations ended, and at least one did not complete.
    Failed,
    /// A caller canceled it. Simulations in progress are being canceled until `ended_at` is set.
    Canceled,
}

impl BatchStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::InProgress, Self::Completed, Self::Failed, Self::Canceled];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// The status of an item of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchItemStatus {
    /// Its simulation is not created yet.
    Queued,
    /// Its simulation was created and has not ended.
    InProgress,
    /// Its simulation completed.
    Completed,
    /// Its simulation failed or could not be created.
    Failed,
    /// Its simulation was canceled, or the batch before it was created.
    Canceled,
    /// Its simulation expired.
    Expired,
}

impl BatchItemStatus {
    /// Every status.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::InProgress, Self::Completed, Self::Failed, Self::Canceled, Self::Expired];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the item's simulation has ended or will not be created.
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

impl From<SimulationStatus> for BatchItemStatus {
    fn from(status: SimulationStatus) -> Self {
        match status {
            SimulationStatus::Pending | SimulationStatus::InProgress => Self::InProgress,
            SimulationStatus::Completed => Self::Completed,
            SimulationStatus::Failed => Self::Failed,
            SimulationStatus::Canceled => Self::Canceled,
            SimulationStatus::Expired => Self::Expired,
        }
    }
}

/// The items of a batch, counted by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// Items whose simulation is not created yet.
    pub queued: u32,
    /// Items whose simulation has not ended.
    pub in_progress: u32,
    /// Items whose simulation completed.
    pub completed: u32,
    /// Items whose simulation failed or could not be created.
    pub failed: u32,
    /// Canceled items.
    pub canceled: u32,
    /// Items whose simulation expired.
    pub expired: u32,
}

impl BatchCounts {
    /// Counts items.
    pub fn of(items: &[BatchItem]) -> Self {
        let mut counts = Self::default();
        for item in items {
            *counts.of_status(item.status) += 1;
        }
        counts
    }

    /// The number of all items.
    pub fn total(self) -> u32 {
        self.queued + self.in_progress + self.completed + self.failed + self.canceled + self.expired
    }

    /// The number of items that are not settled.
    pub fn unsettled(self) -> u32 {
        self.queued + self.in_progress
    }

    fn of_status(&mut self, status: BatchItemStatus) -> &mut u32 {
        match status {
            BatchItemStatus::Queued => &mut self.queued,
            BatchItemStatus::InProgress => &mut self.in_progress,
            BatchItemStatus::Completed => &mut self.completed,
            BatchItemStatus::Failed => &mut self.failed,
            BatchItemStatus::Canceled => &mut self.canceled,
            BatchItemStatus::Expired => &mut self.expired,
        }
    }
}

/// A batch. Every backend stores it as one JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The name that people use.
    pub name: Name,
    /// Its status.
    pub status: BatchStatus,
    /// The most simulations that are in progress at once.
    pub max_in_flight: u32,
    /// The most simulations of one agent that are in progress at once; `None` for no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight_per_agent: Option<u32>,
    /// The caller's own data.
    pub metadata: Metadata,
    /// The id of the API key that created it, which the usage of its simulations is counted for.
    pub created_by: Box<str>,
    /// Its items by status.
    pub counts: BatchCounts,
    /// The index of the first item of each stored part.
    pub parts: Vec<u32>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its last item was settled.
    pub ended_at: Option<Timestamp>,
}

impl Batch {
    /// The number of the part that holds the settings of an item.
    pub fn part_of(&self, index: u32) -> u32 {
        let after = self.parts.partition_point(|first| *first <= index);
        u32::try_from(after.saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

/// An item of a batch. The names in JSON are short, because one document holds all items of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchItem {
    /// The agent under test.
    #[serde(rename = "a")]
    pub agent_id: AgentId,
    /// The number of reruns of this item, plus one.
    #[serde(rename = "n")]
    pub attempt: u32,
    /// Its status.
    #[serde(rename = "s")]
    pub status: BatchItemStatus,
    /// Why it did not complete.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl BatchItem {
    /// An item whose simulation is not created yet.
    pub fn queued(agent_id: AgentId) -> Self {
        Self { agent_id, attempt: 1, status: BatchItemStatus::Queued, reason: None }
    }
}

/// The item of a batch that created a simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRef {
    /// The batch.
    pub batch: BatchId,
    /// The place of the item in the request, from 0.
    pub index: u32,
    /// The attempt.
    pub attempt: u32,
}

impl BatchRef {
    /// The id of the simulation, which follows from the rest: a repeated start creates no second simulation.
    pub fn simulation_id(&self) -> SimulationId {
        let (index, attempt) = (self.index.to_string(), self.attempt.to_string());
        SimulationId::derive(&["batch", self.batch.as_str(), &index, &attempt])
    }
}

/// A batch with its items: the state for decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchView {
    /// The batch.
    pub batch: Batch,
    /// Its items, in the order of the request.
    pub items: Vec<BatchItem>,
}

impl BatchView {
    /// The item at an index, at its present attempt.
    pub fn reference(&self, index: u32) -> Option<BatchRef> {
        let attempt = self.item(index)?.attempt;
        Some(BatchRef { batch: self.batch.id.clone(), index, attempt })
    }

    /// The item at an index.
    pub fn item(&self, index: u32) -> Option<&BatchItem> {
        self.items.get(usize::try_from(index).ok()?)
    }

    /// The first `limit` queued items that the batch's limits allow to start now.
    pub fn startable(&self, limit: usize) -> Vec<u32> {
        if self.batch.status != BatchStatus::InProgress {
            return Vec::new();
        }
        let per_agent = self.batch.max_in_flight_per_agent.unwrap_or(u32::MAX);
        let mut of_agent: BTreeMap<&AgentId, u32> = BTreeMap::new();
        for item in self.items.iter().filter(|item| item.status == BatchItemStatus::InProgress) {
            *of_agent.entry(&item.agent_id).or_default() += 1;
        }
        let in_flight: u32 = of_agent.values().sum();
        let free = self.batch.max_in_flight.saturating_sub(in_flight);
        let limit = limit.min(usize::try_from(free).unwrap_or(usize::MAX));
        let mut startable = Vec::new();
        for (item, index) in self.items.iter().zip(0..) {
            if startable.len() >= limit {
                break;
            }
            let in_flight = of_agent.entry(&item.agent_id).or_default();
            if item.status == BatchItemStatus::Queued && *in_flight < per_agent {
                *in_flight += 1;
                startable.push(index);
            }
        }
        startable
    }

    /// The first `limit` items that are not settled.
    pub fn unsettled(&self, limit: usize) -> Vec<u32> {
        let open = self.items.iter().zip(0..).filter(|(item, _)| !item.status.is_settled());
        open.map(|(_, index)| index).take(limit).collect()
    }

    /// Notes that the simulations of these attempts were created. Settled items and other attempts stay as they are.
    #[must_use]
    pub fn start(mut self, started: &[BatchRef], now: Timestamp) -> Self {
        for started in started {
            if let Some(item) = self.of_attempt(started)
                && item.status == BatchItemStatus::Queued
            {
                item.status = BatchItemStatus::InProgress;
            }
        }
        self.counted(now)
    }

    /// Notes the end of an attempt with the reason why it did not complete. The end of its simulation replaces an
    /// earlier failure. Refused if the attempt has another result or is not the present one.
    pub fn settle(
        mut self,
        settled: &BatchRef,
        status: BatchItemStatus,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let item = self.of_attempt(settled).ok_or(Refusal::BatchItemSettled)?;
        if item.status.is_settled() && item.status != BatchItemStatus::Failed {
            return Err(Refusal::BatchItemSettled);
        }
        item.status = status;
        item.reason = reason.map(short_reason);
        Ok(self.counted(now))
    }

    /// Notes the results of attempts that have none, each with the reason why it did not complete. Results that are
    /// there stay, and so does the item of another attempt.
    #[must_use]
    pub fn settle_open(
        mut self,
        settled: impl IntoIterator<Item = (BatchRef, BatchItemStatus, Option<String>)>,
        now: Timestamp,
    ) -> Self {
        let mut is_changed = false;
        for (settled, status, reason) in settled {
            if let Some(item) = self.of_attempt(&settled)
                && !item.status.is_settled()
            {
                item.status = status;
                item.reason = reason.as_deref().map(short_reason);
                is_changed = true;
            }
        }
        if is_changed { self.counted(now) } else { self }
    }

    /// Cancels the batch. Its items are settled one by one afterwards. A canceled batch stays as it is.
    pub fn cancel(mut self, now: Timestamp) -> Result<Self, Refusal> {
        match self.batch.status {
            BatchStatus::Canceled => Ok(self),
            BatchStatus::InProgress => {
                self.batch.status = BatchStatus::Canceled;
                Ok(self.counted(now))
            }
            status => Err(Refusal::BatchOver { status }),
        }
    }

    /// Queues the items that failed, expired or were canceled again, and returns them. Refused while a canceled batch
    /// has items that are not settled.
    pub fn rerun(mut self, now: Timestamp) -> Result<(Self, Vec<BatchRef>), Refusal> {
        if self.batch.status == BatchStatus::Canceled && self.batch.counts.unsettled() > 0 {
            return Err(Refusal::BatchStopping);
        }
        let mut queued = Vec::new();
        for (item, index) in self.items.iter_mut().zip(0..) {
            if item.status.is_settled() && item.status != BatchItemStatus::Completed {
                *item = BatchItem {
                    attempt: item.attempt.saturating_add(1),
                    ..BatchItem::queued(item.agent_id.clone())
                };
                let batch = self.batch.id.clone();
                queued.push(BatchRef { batch, index, attempt: item.attempt });
            }
        }
        if queued.is_empty() {
            return Ok((self, queued));
        }
        self.batch.status = BatchStatus::InProgress;
        self.batch.ended_at = None;
        Ok((self.counted(now), queued))
    }

    fn of_attempt(&mut self, reference: &BatchRef) -> Option<&mut BatchItem> {
        let item = self.items.get_mut(usize::try_from(reference.index).ok()?)?;
        (item.attempt == reference.attempt).then_some(item)
    }

    /// Counts the items, and ends the batch with its last item.
    fn counted(mut self, now: Timestamp) -> Self {
        let batch = &mut self.batch;
        batch.counts = BatchCounts::of(&self.items);
        batch.updated_at = now;
        if batch.counts.unsettled() == 0 {
            if batch.status != BatchStatus::Canceled {
                let all_completed = batch.counts.completed == batch.counts.total();
                batch.status = if all_completed { BatchStatus::Completed } else { BatchStatus::Failed };
            }
            batch.ended_at = batch.ended_at.or(Some(now));
        }
        self
    }
}

/// A reason in one line, cut to its maximum size. It may repeat words of agents.
fn short_reason(reason: &str) -> String {
    let mut short = String::new();
    let mut bytes = 2;
    for character in reason.chars() {
        let character = if character.is_control() { ' ' } else { character };
        bytes += if matches!(character, '"' | '\\') { 2 } else { character.len_utf8() };
        // Room for the ellipsis of a cut reason.
        if bytes > MAX_REASON_BYTES - '…'.len_utf8() {
            short.push('…');
            break;
        }
        short.push(character);
    }
    short
}

#[cfg(test)]
mod tests;
