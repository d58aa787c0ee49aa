//! Objectives in responses.

use onerun_domain::Objective;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    openapi::examples::{MADE, OBJECTIVE, PROJECT},
    operation::Example,
    views::Time,
};

/// One version of an objective.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Objective")]
pub(crate) struct ObjectiveOut {
    id: String,
    project_id: String,
    /// 1 for the first.
    version: u32,
    name: String,
    /// The criteria: prose, `check:` lines, or both.
    criteria: String,
    /// When the first version was created.
    created_at: Time,
    /// When this version was created.
    updated_at: Time,
}

impl From<Objective> for ObjectiveOut {
    fn from(objective: Objective) -> Self {
        Self {
            id: objective.id.into(),
            project_id: objective.project_id.into(),
            version: objective.version,
            name: objective.name.as_str().to_owned(),
            criteria: objective.criteria.as_str().to_owned(),
            created_at: Time(objective.created_at),
            updated_at: Time(objective.updated_at),
        }
    }
}

impl Example for ObjectiveOut {
    fn example() -> Value {
        json!({
            "id": OBJECTIVE,
            "project_id": PROJECT,
            "version": 1,
            "name": "Offers a refund",
            "criteria": "check: agent says /refund/i",
            "created_at": MADE,
            "updated_at": MADE,
        })
    }
}
