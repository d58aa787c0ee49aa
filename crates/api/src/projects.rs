//! Projects, to which all other resources belong.

use onerun_auth::{Access, Scope};
use onerun_domain::{Name, PageRequest, Project, ProjectId, ProjectPatch, Resource};
use onerun_store::SortBy;
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::input,
    operation::operations,
    query::{Params, Reader, SORT_BY_NAME, Sort, SortByKey, archived, page},
    request::{Call, reply},
    views::{PageOut, ProjectOut},
};

operations! {
    CREATE_PROJECT {
        route: POST "/v1/projects",
        handler: Global(create_project),
        access: Access::Requires(Scope::ProjectsWrite),
        idempotency: Recorded,
        summary: "Create a project",
        description: "Needs a key of all projects.",
        input: NewProject = json!({ "name": "Support" }),
        output: ProjectOut,
        errors: ["wrong_project"],
    }
    LIST_PROJECTS {
        route: GET "/v1/projects",
        handler: Global(list_projects),
        access: Access::Requires(Scope::ProjectsRead),
        query: ProjectQuery,
        summary: "List projects",
        description: "Only the projects that the key can access.",
        output: PageOut<ProjectOut>,
    }
    GET_PROJECT {
        route: GET "/v1/projects/{project_id}",
        handler: Global(get_project),
        access: Access::Requires(Scope::ProjectsRead),
        summary: "Get a project",
        output: ProjectOut,
        errors: ["project_not_found", "wrong_project"],
    }
    UPDATE_PROJECT {
        route: PATCH "/v1/projects/{project_id}",
        handler: Global(update_project),
        access: Access::Requires(Scope::ProjectsWrite),
        summary: "Change a project",
        input: ProjectPatch = json!({ "name": "Support" }),
        output: ProjectOut,
        errors: ["project_not_found", "wrong_project"],
    }
}

input! {
    pub(crate) struct NewProject {
        name: Name = required("A name for people to read."),
    }
}

input! {
    impl ProjectPatch {
        name = optional("A new name; null keeps the current one."),
        archived = optional("Whether the project is archived: left out of lists, and without new simulations; null keeps the current one."),
    }
}

pub(crate) struct ProjectQuery {
    archived: bool,
    sort: SortBy,
    page: PageRequest,
}

impl Params for ProjectQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let archived = archived(reader);
        let sort = Sort::<SortByKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { archived: archived?, sort: sort?.named(), page: page? })
    }
}

async fn create_project(app: &App, call: Call) -> Result<Response, ApiError> {
    call.caller()?.authorize_all_projects()?;
    let new: NewProject = call.body()?;
    let now = app.engine().now();
    let id = ProjectId::generate(app.engine().random());
    let project = Project { id, name: new.name, archived_at: None, created_at: now, updated_at: now };
    let made = ProjectOut::from(project.clone());
    app.engine().store().insert_project(project, call.record(&made)).await?;
    reply(&made)
}

async fn list_projects(app: &App, call: Call) -> Result<Response, ApiError> {
    let ProjectQuery { archived, sort, page } = call.query()?;
    let within = call.caller()?.projects();
    let projects = app.engine().store().projects(within, archived, sort, page).await?;
    reply(&call.page::<_, ProjectOut>(projects))
}

async fn get_project(app: &App, call: Call) -> Result<Response, ApiError> {
    let project = open(app, &call).await?.project().await?;
    reply(&ProjectOut::from(project))
}

async fn update_project(app: &App, call: Call) -> Result<Response, ApiError> {
    let store = open(app, &call).await?;
    let patch: ProjectPatch = call.body()?;
    let now = app.engine().now();
    let decide = Box::new(move |project: Project| Ok(project.patched(patch.clone(), now)));
    reply(&ProjectOut::from(store.change_project(decide).await?))
}

/// Opens the project in the path, if the key can access it.
async fn open(app: &App, call: &Call) -> Result<std::sync::Arc<dyn onerun_store::ProjectStore>, ApiError> {
    let id: ProjectId = call.id(Resource::Project)?;
    if let Some(principal) = call.principal() {
        principal.authorize_project(&id)?;
    }
    app.engine().store().open_project(&id).await?.ok_or(ApiError::NotFound(Resource::Project))
}
