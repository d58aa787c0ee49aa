//! The settings of a new simulation, as a caller or a monitor gives them.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ExplicitPersonas, MaxTurns, Metadata, ModelName, Name, NanoDollars, ObjectiveId, Scenario, Seed,
    SimulationId, Target,
};

/// The settings of a new simulation. Every backend stores those of a monitor as one JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewSimulation {
    /// The agent under test.
    pub agent_id: AgentId,
    /// The display name.
    pub name: Name,
    /// The situation of the personas.
    pub scenario: Scenario,
    /// The number of conversations.
    pub target_conversations: Target,
    /// Its personas.
    pub personas: NewPersonas,
    /// The most messages of one conversation.
    pub max_turns: MaxTurns,
    /// Whether generated and explicit personas need no approval.
    pub auto_approve: bool,
    /// The objectives. The simulation uses their newest versions.
    pub objective_ids: Vec<ObjectiveId>,
    /// The seed of all generated content. By default, that of the simulation whose personas are copied, or
    /// random.
    pub seed: Option<Seed>,
    /// The caller's own data.
    pub metadata: Metadata,
    /// The time until the simulation expires, in seconds.
    pub expires_in_seconds: u32,
    /// The models; the deployment's by default.
    pub models: RequestedModels,
    /// The cost at which the simulation fails.
    pub max_cost_usd: Option<NanoDollars>,
    /// The number of tokens at which the simulation fails.
    pub max_tokens: Option<u64>,
}

/// The personas of a new simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewPersonas {
    /// This many are generated.
    Generated(Target),
    /// The caller wrote them.
    Explicit(ExplicitPersonas),
    /// Those of another simulation are copied.
    Copied {
        /// The simulation.
        from: SimulationId,
        /// The number of copies.
        target: Target,
    },
}

impl NewPersonas {
    /// Their number.
    pub fn target(&self) -> Target {
        match self {
            Self::Generated(target) | Self::Copied { target, .. } => *target,
            Self::Explicit(personas) => personas.count(),
        }
    }
}

/// The models that a caller names for a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedModels {
    /// Generates the personas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persona: Option<ModelName>,
    /// Writes the personas' messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ModelName>,
    /// Judges conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<ModelName>,
}
