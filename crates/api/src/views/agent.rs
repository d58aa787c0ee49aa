//! Agents in responses.

use onerun_domain::{Agent, AgentEndpoint};
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
    /// When a worker, or OneRun itself, last polled for this agent's work, up to a minute late; null if never.
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
    /// How OneRun calls the agent; null if only workers hold its conversations.
    endpoint: Option<EndpointOut>,
}

impl From<AgentSummary> for AgentSummaryOut {
    fn from(AgentSummary { mut agent, total_simulations }: AgentSummary) -> Self {
        let endpoint = agent.endpoint.take().map(|endpoint| EndpointOut::from(*endpoint));
        Self { agent: agent.into(), total_simulations, endpoint }
    }
}

/// How OneRun calls an agent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentEndpoint")]
struct EndpointOut {
    /// The target, as it was set.
    target: Map<String, Value>,
    /// The header of the credential; null if there is none. The value is never shown.
    credential: Option<CredentialOut>,
    /// How many conversations are held at once.
    max_in_flight: u32,
    /// How many replies are asked for in a minute; null for no limit.
    max_calls_per_minute: Option<u32>,
    /// How many conversations are held at the moment.
    in_flight: usize,
}

/// A credential without its value.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AgentCredential")]
struct CredentialOut {
    /// The header in which it is sent.
    header: String,
}

impl From<AgentEndpoint> for EndpointOut {
    fn from(endpoint: AgentEndpoint) -> Self {
        Self {
            target: endpoint.target,
            credential: endpoint.credential.map(|credential| CredentialOut { header: credential.header }),
            max_in_flight: endpoint.max_in_flight,
            max_calls_per_minute: endpoint.max_calls_per_minute,
            in_flight: endpoint.held.len(),
        }
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
        agent["endpoint"] = json!({
            "target": { "openai": { "url": "https://agent.example.com/v1", "model": "support" } },
            "credential": { "header": "Authorization" },
            "max_in_flight": 5,
            "max_calls_per_minute": null,
            "in_flight": 0,
        });
        agent
    }
}
