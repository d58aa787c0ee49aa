//! Projects in responses.

use onerun_domain::Project;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    openapi::examples::{MADE, PROJECT},
    operation::Example,
    views::Time,
};

/// A project, to which all other resources belong.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Project")]
pub(crate) struct ProjectOut {
    id: String,
    name: String,
    /// When it was archived; null if it is in use.
    archived_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

impl From<Project> for ProjectOut {
    fn from(project: Project) -> Self {
        Self {
            id: project.id.into(),
            name: project.name.as_str().to_owned(),
            archived_at: project.archived_at.map(Time),
            created_at: Time(project.created_at),
            updated_at: Time(project.updated_at),
        }
    }
}

impl Example for ProjectOut {
    fn example() -> Value {
        json!({ "id": PROJECT, "name": "Support", "archived_at": null, "created_at": MADE, "updated_at": MADE })
    }
}
