//! Projects, which own all other resources.

use jiff::Timestamp;

use crate::{Name, ProjectId, Refusal, agent::archived_at};

/// A project. Projects are never deleted, so an id stays valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The name that people use.
    pub name: Name,
    /// When it was archived; `None` if it is in use. An archived project starts no simulation.
    pub archived_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A partial update of a project. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectPatch {
    /// The new name.
    pub name: Option<Name>,
    /// Whether it is archived.
    pub archived: Option<bool>,
}

impl Project {
    /// Applies the changes. `updated_at` moves only if something changed.
    pub fn patched(self, patch: ProjectPatch, now: Timestamp) -> Self {
        let name = patch.name.unwrap_or_else(|| self.name.clone());
        let archived_at = archived_at(self.archived_at, patch.archived, now);
        if name == self.name && archived_at == self.archived_at {
            return self;
        }
        Self { name, archived_at, updated_at: now, ..self }
    }

    /// Refuses if it is archived.
    pub fn require_active(&self) -> Result<(), Refusal> {
        if self.archived_at.is_some() { Err(Refusal::ProjectArchived) } else { Ok(()) }
    }
}
