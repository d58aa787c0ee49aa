//! Projects, agents and objectives.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A project.
#[derive(Clone, Debug, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// When it was archived (RFC 3339, UTC); `None` if it is in use.
    #[serde(default)]
    pub archived_at: Option<String>,
    /// When it was created (RFC 3339, UTC).
    pub created_at: String,
}

/// The fields of a new agent.
#[derive(Clone, Debug, Serialize)]
pub struct NewAgent {
    /// The name for people.
    pub name: String,
    /// Its purpose. Personas are generated with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An agent under test.
#[derive(Clone, Debug, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// Its purpose; `None` also in lists of simulations.
    #[serde(default)]
    pub description: Option<String>,
    /// When a worker last polled for this agent; `None` if none did or the server does not report it.
    #[serde(default)]
    pub last_polled_at: Option<String>,
    /// When it was archived (RFC 3339, UTC); `None` if it is in use.
    #[serde(default)]
    pub archived_at: Option<String>,
    /// How OneRun calls it; `None` if only workers hold its conversations, and where a simulation shows its agent.
    #[serde(default)]
    pub endpoint: Option<AgentEndpoint>,
}

/// The fields of an agent's endpoint, at which OneRun calls it.
#[derive(Clone, Serialize)]
pub struct NewAgentEndpoint {
    /// The target: `{"openai": {…}}` or `{"http": {…}}`, as `docs/targets.md` describes them.
    pub target: Map<String, Value>,
    /// The secret that is sent with each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<NewAgentCredential>,
    /// How many conversations are held at once, at most 100; 5 if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// How many replies are asked for in a minute; without a limit if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_calls_per_minute: Option<u32>,
}

/// A credential for an agent's endpoint. It has no `Debug`.
#[derive(Clone, Serialize)]
pub struct NewAgentCredential {
    /// The header in which it is sent, such as `Authorization`.
    pub header: String,
    /// The value of the header, such as `Bearer …`.
    pub value: String,
}

/// How OneRun calls an agent.
#[derive(Clone, Debug, Deserialize)]
pub struct AgentEndpoint {
    /// The target, as it was set.
    pub target: Map<String, Value>,
    /// The header of the credential; `None` if there is none.
    pub credential: Option<AgentCredential>,
    /// How many conversations are held at once.
    pub max_in_flight: u32,
    /// How many replies are asked for in a minute; `None` for no limit.
    pub max_calls_per_minute: Option<u32>,
    /// How many conversations are held at the moment.
    pub in_flight: u32,
}

/// A credential without its value.
#[derive(Clone, Debug, Deserialize)]
pub struct AgentCredential {
    /// The header in which it is sent.
    pub header: String,
}

/// The fields of a new objective.
#[derive(Clone, Debug, Serialize)]
pub struct NewObjective {
    /// The name for people.
    pub name: String,
    /// The criteria: prose, `check:` lines, or both.
    pub criteria: String,
}

/// One version of an objective.
#[derive(Clone, Debug, Deserialize)]
pub struct Objective {
    /// Its id.
    pub id: String,
    /// The version, from 1.
    pub version: u32,
    /// The name for people.
    pub name: String,
    /// The criteria.
    pub criteria: String,
    /// When it was created (RFC 3339, UTC).
    #[serde(default)]
    pub created_at: String,
    /// Likely mistakes, each with its consequence; only in the answer to a creation or a change.
    #[serde(default)]
    pub warnings: Vec<String>,
}
