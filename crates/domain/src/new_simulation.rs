//! The settings of a new simulation, as a caller or a monitor gives them.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ExplicitPersonas, MaxTurns, Metadata, ModelName, Name, NanoDollars, ObjectiveId, Scenario, Seed,
    SimulationId, Target, WrongField,
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

impl NewSimulation {
    /// The default lifetime of a simulation, the same as in the published service.
    pub const DEFAULT_EXPIRY_SECONDS: u32 = 24 * 60 * 60;
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
    /// The personas that three fields of a request describe.
    ///
    /// # Errors
    ///
    /// The fields that are missing or contradict each other.
    pub fn choose(
        target: Option<Target>,
        explicit: Option<ExplicitPersonas>,
        from: Option<SimulationId>,
    ) -> Result<Self, Vec<WrongField>> {
        let Some(explicit) = explicit else {
            let required = || {
                let detail = "is required, unless the request has `personas`";
                vec![("target_personas", detail.to_owned())]
            };
            let target = target.ok_or_else(required)?;
            return Ok(from.map_or(Self::Generated(target), |from| Self::Copied { from, target }));
        };
        let mut wrong = Vec::new();
        if from.is_some() {
            wrong.push(("personas_from", "contradicts `personas`; give one of them".to_owned()));
        }
        let count = explicit.count();
        if target.is_some_and(|target| target != count) {
            let detail = format!("must be {count}, the number of `personas`, or be left out");
            wrong.push(("target_personas", detail));
        }
        if wrong.is_empty() { Ok(Self::Explicit(explicit)) } else { Err(wrong) }
    }

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
