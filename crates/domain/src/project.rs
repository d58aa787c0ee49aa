//! Projects: what everything else belongs to.

use jiff::Timestamp;

use crate::{Name, ProjectId};

/// A project. It is never deleted, so an id once seen stays valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// What people call it.
    pub name: Name,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Project {
    /// The same project with another name; without one, the same project.
    pub fn renamed(self, name: Option<Name>, now: Timestamp) -> Self {
        match name {
            Some(name) if name != self.name => Self { name, updated_at: now, ..self },
            _ => self,
        }
    }
}
