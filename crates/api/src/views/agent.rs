//! Agents in responses.

use onerun_domain::Agent;
use onerun_store::AgentSummary;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{AGENT, CHANGED, MADE, PROJECT},
    operation::Example,
    views::Time,
};

/// An agent under test, without its description.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentWithoutDescription")]
pub(crate) struct ShortAgentOut {
    id: String,
    project_id: String,
    name: String,
    /// Your own data.
    metadata: Map<String, Value>,
    /// When a worker last polled for this agent's work, up to a minute late; null if never.
    last_polled_at: Option<Time>,
    /// When it was archived; null if it is in use.
    archived_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

/// An agent under test.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub(crate) struct AgentOut {
    #[serde(flatten)]
    agent: ShortAgentOut,
    /// The agent's purpose.
    description: Option<String>,
    /// The same as `description`: the name that the published SDK reads.
    summary: Option<String>,
}

impl From<Agent> for AgentOut {
    fn from(mut agent: Agent) -> Self {
        let description = agent.description.take().map(|text| text.as_str().to_owned());
        Self { agent: agent.into(), summary: description.clone(), description }
    }
}

impl From<Agent> for ShortAgentOut {
    fn from(agent: Agent) -> Self {
        Self {
            id: agent.id.into(),
            project_id: agent.project_id.into(),
            name: agent.name.as_str().to_owned(),
            metadata: agent.metadata.as_map().clone(),
            last_polled_at: agent.last_polled_at.map(Time),
            archived_at: agent.archived_at.map(Time),
            created_at: Time(agent.created_at),
            updated_at: Time(agent.updated_at),
        }
    }
}

/// An agent under test, with the number of its simulations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentWithTotals")]
pub(crate) struct AgentSummaryOut {
    #[serde(flatten)]
    agent: AgentOut,
    /// The number of the agent's simulations.
    total_simulations: u64,
}

impl From<AgentSummary> for AgentSummaryOut {
    fn from(summary: AgentSummary) -> Self {
        Self { agent: summary.agent.into(), total_simulations: summary.total_simulations }
    }
}

impl Example for AgentOut {
    fn example() -> Value {
        json!({
            "id": AGENT,
            "project_id": PROJECT,
            "name": "Order support",
            "description": "Answers questions about orders.",
            "summary": "Answers questions about orders.",
            "metadata": {},
            "last_polled_at": CHANGED,
            "archived_at": null,
            "created_at": MADE,
            "updated_at": MADE,
        })
    }
}

impl Example for AgentSummaryOut {
    fn example() -> Value {
        let mut agent = AgentOut::example();
        agent["total_simulations"] = json!(1);
        agent
    }
}
