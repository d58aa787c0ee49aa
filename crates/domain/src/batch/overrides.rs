//! The settings of a batch's simulations: defaults, and overrides for each item.

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ExplicitPersonas, MaxTurns, Metadata, ModelName, Name, NanoDollars, NewPersonas, NewSimulation,
    ObjectiveId, RequestedModels, Scenario, Seed, SimulationId, Target,
};

/// Settings of a simulation, all of them optional: the defaults of a batch, or the overrides of one item. Every backend
/// stores them as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimulationOverrides {
    /// The agent under test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The situation of the personas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
    /// The number of conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_conversations: Option<Target>,
    /// The number of personas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_personas: Option<Target>,
    /// The personas that the caller wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personas: Option<ExplicitPersonas>,
    /// The simulation whose personas are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personas_from: Option<SimulationId>,
    /// Whether generated and explicit personas need no approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_approve: Option<bool>,
    /// The most messages of one conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<MaxTurns>,
    /// The objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective_ids: Option<Vec<ObjectiveId>>,
    /// The seed of all generated content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// The caller's own data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The time until the simulation expires, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
    /// The models, each with a default of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<RequestedModels>,
    /// The cost at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<NanoDollars>,
    /// The number of tokens at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

/// A field that is missing or contradicts another one, with the end of a sentence that starts with its name.
pub type WrongField = (&'static str, String);

impl SimulationOverrides {
    /// The simulation of an item: its overrides, then the defaults, then those of every simulation. Personas are
    /// approved automatically by default, because no one may be there to approve them. The default name is that of the
    /// batch.
    ///
    /// # Errors
    ///
    /// All fields that are missing or contradict each other.
    pub fn resolve(&self, defaults: &Self, batch_name: &Name) -> Result<NewSimulation, Vec<WrongField>> {
        let mut wrong = Vec::new();
        let personas = self.personas(defaults, &mut wrong);
        let agent_id = required("agent_id", self.agent_id.as_ref(), defaults.agent_id.as_ref(), &mut wrong);
        let scenario = required("scenario", self.scenario.as_ref(), defaults.scenario.as_ref(), &mut wrong);
        let target_conversations = required(
            "target_conversations",
            self.target_conversations.as_ref(),
            defaults.target_conversations.as_ref(),
            &mut wrong,
        );
        let (Some(personas), Some(agent_id), Some(scenario), Some(target_conversations)) =
            (personas, agent_id, scenario, target_conversations)
        else {
            return Err(wrong);
        };
        let models = |of: fn(&RequestedModels) -> Option<&ModelName>| {
            let given = |overrides: &Self| overrides.models.as_ref().and_then(of).cloned();
            given(self).or_else(|| given(defaults))
        };
        Ok(NewSimulation {
            agent_id,
            name: either(self.name.as_ref(), defaults.name.as_ref()).unwrap_or_else(|| batch_name.clone()),
            scenario,
            target_conversations,
            personas,
            max_turns: either(self.max_turns.as_ref(), defaults.max_turns.as_ref()).unwrap_or_default(),
            auto_approve: either(self.auto_approve.as_ref(), defaults.auto_approve.as_ref()).unwrap_or(true),
            objective_ids: either(self.objective_ids.as_ref(), defaults.objective_ids.as_ref())
                .unwrap_or_default(),
            seed: either(self.seed.as_ref(), defaults.seed.as_ref()),
            metadata: either(self.metadata.as_ref(), defaults.metadata.as_ref()).unwrap_or_default(),
            expires_in_seconds: either(
                self.expires_in_seconds.as_ref(),
                defaults.expires_in_seconds.as_ref(),
            )
            .unwrap_or(NewSimulation::DEFAULT_EXPIRY_SECONDS),
            models: RequestedModels {
                persona: models(|models| models.persona.as_ref()),
                reply: models(|models| models.reply.as_ref()),
                judge: models(|models| models.judge.as_ref()),
            },
            max_cost_usd: either(self.max_cost_usd.as_ref(), defaults.max_cost_usd.as_ref()),
            max_tokens: either(self.max_tokens.as_ref(), defaults.max_tokens.as_ref()),
        })
    }

    /// The personas of an item. Its own `personas` or `personas_from` replace both of the defaults.
    fn personas(&self, defaults: &Self, wrong: &mut Vec<WrongField>) -> Option<NewPersonas> {
        let is_own = self.personas.is_some() || self.personas_from.is_some();
        let source = if is_own { self } else { defaults };
        let default_target = if self.personas.is_some() { None } else { defaults.target_personas };
        let target = self.target_personas.or(default_target);
        match NewPersonas::choose(target, source.personas.clone(), source.personas_from.clone()) {
            Ok(personas) => Some(personas),
            Err(errors) => {
                wrong.extend(errors);
                None
            }
        }
    }

    /// The size as JSON, in bytes.
    pub fn json_bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }
}

fn either<T: Clone>(own: Option<&T>, default: Option<&T>) -> Option<T> {
    own.or(default).cloned()
}

fn required<T: Clone>(
    field: &'static str,
    own: Option<&T>,
    default: Option<&T>,
    wrong: &mut Vec<WrongField>,
) -> Option<T> {
    let found = either(own, default);
    if found.is_none() {
        wrong.push((field, "is required, here or in `defaults`".to_owned()));
    }
    found
}

/// Consecutive items of a batch, with the defaults of all.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPart {
    /// The defaults.
    pub defaults: SimulationOverrides,
    /// The overrides of each item.
    pub items: Vec<SimulationOverrides>,
}
