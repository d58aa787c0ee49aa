//! Simulations and personas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Agent, Import, Objective};

/// The fields of a new simulation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewSimulation {
    /// The agent under test.
    pub agent_id: String,
    /// The name for people.
    pub name: String,
    /// The situation of the personas.
    pub scenario: String,
    /// How many conversations to hold.
    pub target_conversations: u32,
    /// How many personas there are: the number of `personas`, if there are any.
    pub target_personas: u32,
    /// The personas, at most 100. If there are none, they are generated or copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub personas: Vec<NewPersona>,
    /// The most messages of a conversation, both sides together.
    pub max_turns: u32,
    /// The simulation to copy the personas from, unless `personas` are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personas_from: Option<String>,
    /// Whether personas need no approval.
    pub auto_approve: bool,
    /// The objectives that conversations are scored against.
    pub objective_ids: Vec<String>,
    /// The seed of everything generated; `None` lets the server choose: the seed of the simulation in
    /// `personas_from`, or a random one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The models; `None` uses the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<RequestedModels>,
    /// The cost in US dollars at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// The time after which the simulation expires, in seconds; `None` uses the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
    /// Values to attach.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// Models that a simulation asks for, each `offline` or `provider:model`; `None` uses the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestedModels {
    /// Generates the personas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
    /// Writes the personas' messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Judges conversations against prose criteria.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
}

/// A simulation whose usage is to be estimated.
#[derive(Clone, Debug, Serialize)]
pub struct EstimateRequest {
    /// How many conversations to hold.
    pub target_conversations: u32,
    /// How many personas to generate.
    pub target_personas: u32,
    /// The most messages of a conversation, both sides together.
    pub max_turns: u32,
    /// The number of objectives with prose criteria.
    pub objectives: u32,
    /// The models; `None` uses the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<RequestedModels>,
}

/// An estimate of a simulation's usage of models.
#[derive(Clone, Debug, Deserialize)]
pub struct Estimate {
    /// The models that the simulation would use.
    pub models: Models,
    /// The usage if conversations have a typical length.
    pub typical: super::UsageReport,
    /// The usage if every conversation reaches the limit of messages.
    pub longest: super::UsageReport,
}

/// A persona of a new simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPersona {
    /// The person in one sentence.
    pub summary: String,
    /// The background of the conversation.
    #[serde(default)]
    pub story: String,
    /// The person's goal in the conversation.
    pub purpose: String,
    /// Traits by name, such as `speech_style`. The API documents the names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Which simulations are listed: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct SimulationFilter {
    /// Simulations with this status.
    pub status: Option<SimulationStatus>,
    /// Simulations of this batch.
    pub batch_id: Option<String>,
    /// Simulations of this monitor.
    pub monitor_id: Option<String>,
    /// Simulations created after this time (RFC 3339).
    pub created_after: Option<String>,
    /// Simulations created before this time (RFC 3339).
    pub created_before: Option<String>,
}

/// A simulation.
#[derive(Clone, Debug, Deserialize)]
pub struct Simulation {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The agent under test.
    pub agent: Agent,
    /// The situation of the personas.
    pub scenario: String,
    /// The status.
    pub status: SimulationStatus,
    /// Why it failed or expired.
    pub last_failure_reason: Option<String>,
    /// How many conversations to hold.
    pub target_conversations: u32,
    /// How many personas hold the conversations.
    pub target_personas: u32,
    /// The most messages of a conversation, both sides together.
    pub max_turns: u32,
    /// When it was created (RFC 3339, UTC).
    pub created_at: String,
    /// The seed of everything generated.
    pub seed: u64,
    /// The models in force.
    pub models: Models,
    /// Values that its creator attached.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// When the deletion of its transcripts began; `None` if they are stored.
    #[serde(default)]
    pub transcripts_deleted_at: Option<String>,
    /// If its conversations were held elsewhere: what is known about their import.
    #[serde(default)]
    pub import: Option<Import>,
    /// The objectives at their pinned versions; empty in lists.
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Likely mistakes, each with its consequence; only in the answer to a creation.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The models of a simulation, each `offline` or `provider:model`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Models {
    /// Generates the personas.
    pub persona: String,
    /// Writes the personas' messages.
    pub reply: String,
    /// Judges conversations against prose criteria.
    pub judge: String,
}

impl Models {
    /// Whether a script writes the personas' messages, rather than a language model.
    pub fn are_scripted(&self) -> bool {
        self.reply == "offline"
    }
}

/// The status of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimulationStatus {
    /// Not started yet.
    Pending,
    /// Conversations are being held and judged.
    InProgress,
    /// All conversations were held and judged.
    Completed,
    /// It could not reach its target.
    Failed,
    /// It was stopped.
    Canceled,
    /// It took too long.
    Expired,
    /// A value that this client does not know.
    #[serde(other)]
    Unknown,
}

impl SimulationStatus {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a persona may hold conversations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// Waiting for a decision.
    Pending,
    /// It may hold conversations.
    Approved,
    /// Another persona replaces it.
    Rejected,
    /// A value that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ApprovalStatus {
    /// The value in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// A generated person.
#[derive(Clone, Debug, Deserialize)]
pub struct Persona {
    /// Its id.
    pub id: String,
    /// Its number within the simulation.
    pub seq_id: u32,
    /// Whether it may hold conversations.
    #[serde(default)]
    pub approval_status: ApprovalStatus,
    /// The person in one sentence.
    pub summary: String,
    /// The story before the conversation.
    pub story: String,
    /// The purpose of the conversation for the persona.
    pub purpose: String,
}
