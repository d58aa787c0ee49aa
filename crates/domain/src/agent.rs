//! Agents: what is being simulated against. The agent itself runs elsewhere, in a worker.

use jiff::Timestamp;

use crate::{AgentId, Description, Metadata, Name, ProjectId};

/// An agent under test.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// What people call it.
    pub name: Name,
    /// What it is for; personas are told of it.
    pub description: Option<Description>,
    /// The caller's own data.
    pub metadata: Metadata,
    /// When a worker last asked for this agent's work. The store alone sets it, at most once a minute for each process.
    pub last_polled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// What is to change about an agent; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentPatch {
    /// Another name.
    pub name: Option<Name>,
    /// Another description.
    pub description: Option<Description>,
}

impl Agent {
    /// The same agent with the changes; `updated_at` moves only if something changed.
    pub fn patched(self, patch: AgentPatch, now: Timestamp) -> Self {
        let name = patch.name.unwrap_or_else(|| self.name.clone());
        let description = patch.description.or_else(|| self.description.clone());
        if name == self.name && description == self.description {
            return self;
        }
        Self { name, description, updated_at: now, ..self }
    }
}
