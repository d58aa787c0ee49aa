//! Agents: the programs under test. They run elsewhere: workers hold their conversations, or OneRun calls an endpoint.

use jiff::Timestamp;

use crate::{AgentEndpoint, AgentId, Description, Metadata, Name, ProjectId, Refusal};

/// An agent under test.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The name that people use.
    pub name: Name,
    /// Its purpose. Personas know it.
    pub description: Option<Description>,
    /// The caller's own data.
    pub metadata: Metadata,
    /// When a worker last polled for this agent's conversations. Only the store sets it, at most
    /// once a minute per process.
    pub last_polled_at: Option<Timestamp>,
    /// How OneRun calls it; `None` if only workers hold its conversations.
    pub endpoint: Option<Box<AgentEndpoint>>,
    /// When it was archived; `None` if it is in use. An archived agent starts no simulation.
    pub archived_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A partial update of an agent. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentPatch {
    /// The new name.
    pub name: Option<Name>,
    /// The new description.
    pub description: Option<Description>,
    /// Whether it is archived.
    pub archived: Option<bool>,
}

impl Agent {
    /// Applies the changes. `updated_at` moves only if something changed.
    pub fn patched(self, patch: AgentPatch, now: Timestamp) -> Self {
        let name = patch.name.unwrap_or_else(|| self.name.clone());
        let description = patch.description.or_else(|| self.description.clone());
        let archived_at = archived_at(self.archived_at, patch.archived, now);
        if name == self.name && description == self.description && archived_at == self.archived_at {
            return self;
        }
        Self { name, description, archived_at, updated_at: now, ..self }
    }

    /// Refuses if it is archived.
    pub fn require_active(&self) -> Result<(), Refusal> {
        if self.archived_at.is_some() { Err(Refusal::AgentArchived) } else { Ok(()) }
    }
}

/// When something is archived after a change. Archiving it again keeps the time.
pub(crate) fn archived_at(
    before: Option<Timestamp>,
    archived: Option<bool>,
    now: Timestamp,
) -> Option<Timestamp> {
    match archived {
        None => before,
        Some(true) => before.or(Some(now)),
        Some(false) => None,
    }
}
