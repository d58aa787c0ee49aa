//! Projects: what everything else belongs to.

use http::Method;
use onerun_auth::{Access, Scope};
use onerun_domain::{Name, PageRequest, Project, ProjectId};
use onerun_store::NamedSort;

use crate::{
    ApiError, App, Handler, Idempotency, Parameters, Response, Route,
    fields::{Fields, Input},
    out::{PageOut, ProjectOut},
    query::{NamedSortKey, Params, Reader, SORT_BY_NAME, Sort, page},
    request::{Call, reply},
};

/// `POST /v1/projects`
pub static CREATE: Route = Route {
    operation: "create_project",
    method: Method::POST,
    path: "/v1/projects",
    access: Access::Requires(Scope::ProjectsWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::Recorded,
    handler: Handler::Global(|app, call| Box::pin(create(app, call))),
};

/// `GET /v1/projects`
pub static LIST: Route = Route {
    operation: "list_projects",
    method: Method::GET,
    path: "/v1/projects",
    access: Access::Requires(Scope::ProjectsRead),
    query: Parameters::of::<ProjectQuery>(),
    idempotency: Idempotency::None,
    handler: Handler::Global(|app, call| Box::pin(list(app, call))),
};

/// `GET /v1/projects/{project_id}`
pub static GET: Route = Route {
    operation: "get_project",
    method: Method::GET,
    path: "/v1/projects/{project_id}",
    access: Access::Requires(Scope::ProjectsRead),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::Global(|app, call| Box::pin(get(app, call))),
};

/// `PATCH /v1/projects/{project_id}`
pub static UPDATE: Route = Route {
    operation: "update_project",
    method: Method::PATCH,
    path: "/v1/projects/{project_id}",
    access: Access::Requires(Scope::ProjectsWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::Global(|app, call| Box::pin(update(app, call))),
};

pub(crate) struct NewProject {
    name: Name,
}

impl Input for NewProject {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { name: fields.required("name", "What people call the project.")? })
    }
}

pub(crate) struct ProjectChanges {
    name: Option<Name>,
}

impl Input for ProjectChanges {
    fn read(fields: &mut Fields) -> Option<Self> {
        Some(Self { name: fields.optional("name", "Another name; null leaves it as it is.")? })
    }
}

pub(crate) struct ProjectQuery {
    sort: NamedSort,
    page: PageRequest,
}

impl Params for ProjectQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let sort = Sort::<NamedSortKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { sort: sort?.named(), page: page? })
    }
}

async fn create(app: &App, call: Call) -> Result<Response, ApiError> {
    call.caller()?.authorize_all_projects()?;
    let new: NewProject = call.body()?;
    let now = app.engine().now();
    let id = ProjectId::generate(app.engine().random());
    let project = Project { id, name: new.name, created_at: now, updated_at: now };
    let made = ProjectOut::from(project.clone());
    app.engine().store().insert_project(project, call.record(&made)).await?;
    reply(&made)
}

async fn list(app: &App, call: Call) -> Result<Response, ApiError> {
    let ProjectQuery { sort, page } = call.query()?;
    let within = call.caller()?.projects();
    let projects = app.engine().store().projects(within, sort, page).await?;
    reply(&PageOut::of(projects, ProjectOut::from))
}

async fn get(app: &App, call: Call) -> Result<Response, ApiError> {
    let project = open(app, &call).await?.project().await?;
    reply(&ProjectOut::from(project))
}

async fn update(app: &App, call: Call) -> Result<Response, ApiError> {
    let store = open(app, &call).await?;
    let ProjectChanges { name } = call.body()?;
    let now = app.engine().now();
    let decide = Box::new(move |project: Project| Ok(project.renamed(name.clone(), now)));
    reply(&ProjectOut::from(store.change_project(decide).await?))
}

/// The project that the path names, if the key is bound to it.
async fn open(app: &App, call: &Call) -> Result<std::sync::Arc<dyn onerun_store::ProjectStore>, ApiError> {
    let id: ProjectId = call.id("project_id", "Project")?;
    if let Some(principal) = call.principal() {
        principal.authorize_project(&id)?;
    }
    app.engine().store().open_project(&id).await?.ok_or(ApiError::NotFound { what: "Project" })
}
