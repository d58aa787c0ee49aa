//! Simulations in responses.

use onerun_domain::{LeftOutMessages, NanoDollars, Simulation, SimulationModels};
use onerun_store::{SimulationDetail, SimulationSummary};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{CHANGED, MADE, PROJECT, SIMULATION, new_simulation_example},
    operation::Example,
    views::{AgentOut, ObjectiveOut, ShortAgentOut, SimulationStatusOut, Time},
};

/// The models of a simulation, each `offline` or `provider:model`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Models")]
pub(crate) struct ModelsOut {
    /// Generates the personas.
    persona: String,
    /// Writes the personas' messages.
    reply: String,
    /// Judges conversations against prose criteria.
    judge: String,
}

impl From<&SimulationModels> for ModelsOut {
    fn from(models: &SimulationModels) -> Self {
        let SimulationModels { persona, reply, judge } = models;
        Self { persona: persona.to_string(), reply: reply.to_string(), judge: judge.to_string() }
    }
}

/// The import of a simulation's conversations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Import")]
pub(crate) struct ImportOut {
    /// The messages that were left out, because nobody said them to the other side.
    left_out: LeftOutOut,
}

/// Messages that an import left out.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LeftOutMessages")]
struct LeftOutOut {
    /// Messages of `system` and `developer`.
    system: u32,
    /// Messages of `tool` and `function`, and messages of the agent that only call tools.
    tool: u32,
}

impl From<LeftOutMessages> for ImportOut {
    fn from(LeftOutMessages { system, tool }: LeftOutMessages) -> Self {
        Self { left_out: LeftOutOut { system, tool } }
    }
}

/// A simulation without its agent and objectives.
#[derive(Serialize, JsonSchema)]
struct SimulationFields {
    id: String,
    project_id: String,
    agent_id: String,
    name: String,
    scenario: String,
    status: SimulationStatusOut,
    /// Why the simulation failed or expired, or what it waits for; null otherwise.
    last_failure_reason: Option<String>,
    target_conversations: u32,
    target_personas: u32,
    /// The maximum number of messages in a conversation, of both sides together.
    max_turns: u32,
    auto_approve: bool,
    /// The simulation that the personas were copied from; null otherwise.
    personas_from: Option<String>,
    /// The batch that created the simulation; null otherwise.
    batch_id: Option<String>,
    /// The monitor that created the simulation; null otherwise.
    monitor_id: Option<String>,
    /// If the conversations were held elsewhere: what is known about their import; null otherwise.
    import: Option<ImportOut>,
    /// The seed of everything that is generated.
    seed: u64,
    /// The models in force since the simulation was created.
    models: ModelsOut,
    /// The cost in US dollars at which the simulation fails.
    max_cost_usd: Option<f64>,
    /// The number of tokens at which the simulation fails.
    max_tokens: Option<u64>,
    /// Your own data.
    metadata: Map<String, Value>,
    created_at: Time,
    updated_at: Time,
    expires_at: Time,
    /// When the deletion of the transcripts began, after the deployment's retention; null otherwise.
    transcripts_deleted_at: Option<Time>,
}

impl From<Simulation> for SimulationFields {
    fn from(simulation: Simulation) -> Self {
        Self {
            id: simulation.id.into(),
            project_id: simulation.project_id.into(),
            agent_id: simulation.agent_id.into(),
            name: simulation.name.as_str().to_owned(),
            scenario: simulation.scenario.as_str().to_owned(),
            status: SimulationStatusOut(simulation.status),
            last_failure_reason: simulation.last_failure_reason,
            target_conversations: simulation.target_conversations.get(),
            target_personas: simulation.target_personas.get(),
            max_turns: simulation.max_turns.get(),
            auto_approve: simulation.auto_approve,
            personas_from: simulation.options.personas_from.map(|source| source.simulation.into()),
            batch_id: simulation.options.batch.map(|item| item.batch.into()),
            monitor_id: simulation.options.monitor_run.map(|run| run.monitor.into()),
            import: simulation.options.import.map(ImportOut::from),
            seed: simulation.seed.get(),
            models: (&simulation.options.models).into(),
            max_cost_usd: simulation.options.max_cost.map(NanoDollars::dollars),
            max_tokens: simulation.options.max_tokens,
            metadata: simulation.metadata.as_map().clone(),
            created_at: Time(simulation.created_at),
            updated_at: Time(simulation.updated_at),
            expires_at: Time(simulation.expires_at),
            transcripts_deleted_at: simulation.transcripts_deleted_at.map(Time),
        }
    }
}

/// A simulation with its agent and its objectives at their pinned versions.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Simulation")]
pub(crate) struct SimulationOut {
    #[serde(flatten)]
    simulation: SimulationFields,
    agent: AgentOut,
    pub(super) objectives: Vec<ObjectiveOut>,
}

impl From<SimulationDetail> for SimulationOut {
    fn from(detail: SimulationDetail) -> Self {
        let SimulationDetail { simulation, agent, objectives } = detail;
        Self {
            simulation: simulation.into(),
            agent: agent.into(),
            objectives: objectives.into_iter().map(ObjectiveOut::from).collect(),
        }
    }
}

/// A simulation in a list. `get_simulation` also returns the agent's description and the objectives.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SimulationSummary")]
pub(crate) struct SimulationSummaryOut {
    #[serde(flatten)]
    simulation: SimulationFields,
    agent: ShortAgentOut,
    /// Always empty in a list.
    objectives: [ObjectiveOut; 0],
}

impl From<SimulationSummary> for SimulationSummaryOut {
    fn from(summary: SimulationSummary) -> Self {
        let SimulationSummary { simulation, agent } = summary;
        Self { simulation: simulation.into(), agent: agent.into(), objectives: [] }
    }
}

impl Example for SimulationOut {
    fn example() -> Value {
        let mut simulation = new_simulation_example();
        if let Some(fields) = simulation.as_object_mut() {
            fields.remove("objective_ids");
            fields.insert("id".to_owned(), json!(SIMULATION));
            fields.insert("project_id".to_owned(), json!(PROJECT));
            fields.insert("agent".to_owned(), AgentOut::example());
            fields.insert("status".to_owned(), json!("in_progress"));
            fields.insert("last_failure_reason".to_owned(), json!(null));
            fields.insert(
                "models".to_owned(),
                json!({ "persona": "openai:gpt-5.4-mini", "reply": "openai:gpt-5.4-mini", "judge": "openai:gpt-5.4" }),
            );
            fields.insert("max_cost_usd".to_owned(), json!(null));
            fields.insert("max_tokens".to_owned(), json!(null));
            fields.insert("personas_from".to_owned(), json!(null));
            fields.insert("batch_id".to_owned(), json!(null));
            fields.insert("monitor_id".to_owned(), json!(null));
            fields.insert("import".to_owned(), json!(null));
            fields.insert("metadata".to_owned(), json!({}));
            fields.insert("objectives".to_owned(), json!([ObjectiveOut::example()]));
            fields.insert("created_at".to_owned(), json!(MADE));
            fields.insert("updated_at".to_owned(), json!(CHANGED));
            fields.insert("expires_at".to_owned(), json!("2026-11-24T09:30:00.000000Z"));
            fields.insert("transcripts_deleted_at".to_owned(), json!(null));
        }
        simulation
    }
}

impl Example for SimulationSummaryOut {
    fn example() -> Value {
        let mut simulation = SimulationOut::example();
        simulation["objectives"] = json!([]);
        if let Some(agent) = simulation["agent"].as_object_mut() {
            agent.remove("description");
            agent.remove("summary");
        }
        simulation
    }
}
