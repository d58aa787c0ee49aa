//! Projects, which own all other resources.

use jiff::Timestamp;

use crate::{Name, ProjectId};

/// A project. Projects are never deleted, so an id stays valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// The name that people use.
    pub name: Name,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Project {
    /// Renames the project; `None` changes nothing.
    pub fn renamed(self, name: Option<Name>, now: Timestamp) -> Self {
        match name {
            Some(name) if name != self.name => Self { name, updated_at: now, ..self },
            _ => self,
        }
    }
}
