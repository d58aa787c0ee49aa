//! Objectives: what conversations are scored against, in versions.

use jiff::Timestamp;

use crate::{Criteria, Name, ObjectiveId, ProjectId};

/// One version of an objective. A version never changes, so what a conversation was judged by can always be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The id that all versions share.
    pub id: ObjectiveId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// 1 for the first.
    pub version: u32,
    /// What people call it.
    pub name: Name,
    /// What is judged.
    pub criteria: Criteria,
    /// When the first version was made.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
}

/// A version of an objective, by name: what a simulation pins when it is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectiveRef {
    /// The objective.
    pub id: ObjectiveId,
    /// The version.
    pub version: u32,
}

/// What is to change about an objective; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectivePatch {
    /// Another name.
    pub name: Option<Name>,
    /// Other criteria.
    pub criteria: Option<Criteria>,
}

impl Objective {
    /// The version that follows with the changes, or this one if they change nothing.
    pub fn revised(self, patch: ObjectivePatch, now: Timestamp) -> Self {
        let name = patch.name.unwrap_or_else(|| self.name.clone());
        let criteria = patch.criteria.unwrap_or_else(|| self.criteria.clone());
        if name == self.name && criteria == self.criteria {
            return self;
        }
        Self { name, criteria, version: self.version.saturating_add(1), updated_at: now, ..self }
    }

    /// This version, by name.
    pub fn reference(&self) -> ObjectiveRef {
        ObjectiveRef { id: self.id.clone(), version: self.version }
    }
}
