//! Objectives: versioned criteria that conversations are scored against.

use jiff::Timestamp;

use crate::{Criteria, Name, ObjectiveId, ProjectId};

/// One version of an objective. A version never changes, so the criteria behind an evaluation can
/// always be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Its id, which all versions share.
    pub id: ObjectiveId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The version, from 1.
    pub version: u32,
    /// The name that people use.
    pub name: Name,
    /// The criteria that conversations are scored by.
    pub criteria: Criteria,
    /// When the first version was created.
    pub created_at: Timestamp,
    /// When this version was created.
    pub updated_at: Timestamp,
}

/// A reference to a version of an objective. A simulation pins these when it is created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectiveRef {
    /// The objective.
    pub id: ObjectiveId,
    /// The version.
    pub version: u32,
}

/// A partial update of an objective. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectivePatch {
    /// The new name.
    pub name: Option<Name>,
    /// The new criteria.
    pub criteria: Option<Criteria>,
}

impl Objective {
    /// The next version with these changes, or this version if nothing changes.
    pub fn revised(self, patch: ObjectivePatch, now: Timestamp) -> Self {
        let name = patch.name.unwrap_or_else(|| self.name.clone());
        let criteria = patch.criteria.unwrap_or_else(|| self.criteria.clone());
        if name == self.name && criteria == self.criteria {
            return self;
        }
        Self { name, criteria, version: self.version.saturating_add(1), updated_at: now, ..self }
    }

    /// A reference to this version.
    pub fn reference(&self) -> ObjectiveRef {
        ObjectiveRef { id: self.id.clone(), version: self.version }
    }
}
