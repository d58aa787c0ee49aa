//! Imports of conversations that were held elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The fields of a simulation whose conversations are imported.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewImport {
    /// The agent that spoke.
    pub agent_id: String,
    /// The name for people.
    pub name: String,
    /// The situation; the server's text by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The objectives that conversations are scored against.
    pub objective_ids: Vec<String>,
    /// The conversations, each an object with `messages` in the format of OpenAI's chat completions. The API documents
    /// the other members.
    pub conversations: Vec<Value>,
    /// The judge; `None` uses the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// The cost in US dollars at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// The number of tokens at which the simulation fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The time after which the simulation expires, in seconds; `None` uses the server's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u32>,
    /// Values to attach.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// The import of a simulation's conversations.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Import {
    /// The messages that were left out, because nobody said them to the other side.
    pub left_out: LeftOutMessages,
}

/// Messages that an import left out.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct LeftOutMessages {
    /// Instructions to the agent.
    pub system: u32,
    /// Calls of tools and their results.
    pub tool: u32,
}
