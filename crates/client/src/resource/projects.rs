//! Projects, agents and objectives.

use serde::{Deserialize, Serialize};

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
