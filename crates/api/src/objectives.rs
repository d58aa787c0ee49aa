//! Objectives: what conversations are scored against, in versions.

use http::Method;
use onerun_auth::{Access, Scope};
use onerun_domain::{Criteria, Name, Objective, ObjectiveId, ObjectivePatch, PageRequest};
use onerun_store::{NamedSort, ProjectStore};

use crate::{
    ApiError, App, Handler, Idempotency, Parameters, Response, Route,
    fields::{Fields, Input},
    out::{ObjectiveOut, PageOut, Warned},
    query::{NamedSortKey, Params, Reader, SORT_BY_NAME, Sort, page},
    request::{Call, reply},
};

const NOT_FOUND: ApiError = ApiError::NotFound { what: "Objective" };

/// `POST /v1/objectives`
pub static CREATE: Route = Route {
    operation: "create_objective",
    method: Method::POST,
    path: "/v1/objectives",
    access: Access::Requires(Scope::ObjectivesWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::Recorded,
    handler: Handler::InProject(|app, project, call| Box::pin(create(app, project, call))),
};

/// `GET /v1/objectives`
pub static LIST: Route = Route {
    operation: "list_objectives",
    method: Method::GET,
    path: "/v1/objectives",
    access: Access::Requires(Scope::ObjectivesRead),
    query: Parameters::of::<ObjectiveQuery>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(list(app, project, call))),
};

/// `GET /v1/objectives/{objective_id}`
pub static GET: Route = Route {
    operation: "get_objective",
    method: Method::GET,
    path: "/v1/objectives/{objective_id}",
    access: Access::Requires(Scope::ObjectivesRead),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(get(app, project, call))),
};

/// `PATCH /v1/objectives/{objective_id}`
pub static UPDATE: Route = Route {
    operation: "update_objective",
    method: Method::PATCH,
    path: "/v1/objectives/{objective_id}",
    access: Access::Requires(Scope::ObjectivesWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(update(app, project, call))),
};

pub(crate) struct NewObjective {
    name: Name,
    criteria: Criteria,
}

impl Input for NewObjective {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", "What people call the objective.");
        let criteria = fields.required(
            "criteria",
            "What is judged: prose for a language model, lines that start with `check:` and are decided without one, \
             or both. Checks: `check: agent says /pattern/i`, `check: agent never says /pattern/`, \
             `check: agent replies <= 6`, `check: persona ended`.",
        );
        Some(Self { name: name?, criteria: criteria? })
    }
}

impl Input for ObjectivePatch {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.optional("name", "Another name; null leaves it as it is.");
        let criteria = fields.optional("criteria", "Other criteria; null leaves them as they are.");
        Some(Self { name: name?, criteria: criteria? })
    }
}

pub(crate) struct ObjectiveQuery {
    sort: NamedSort,
    page: PageRequest,
}

impl Params for ObjectiveQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let sort = Sort::<NamedSortKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { sort: sort?.named(), page: page? })
    }
}

async fn create(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let recorder = call.recorder();
    // Apart: criteria hold regular expressions, which are compiled here.
    let new: NewObjective = app.engine().read_apart(move || call.body()).await?;
    let now = app.engine().now();
    let objective = Objective {
        id: ObjectiveId::generate(app.engine().random()),
        project_id: project.project_id().clone(),
        version: 1,
        name: new.name,
        criteria: new.criteria,
        created_at: now,
        updated_at: now,
    };
    let made = Warned::objective(app, objective.clone());
    project.insert_objective(objective, recorder(&made)).await?;
    reply(&made)
}

async fn list(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ObjectiveQuery { sort, page } = call.query()?;
    let objectives = project.objectives(sort, page).await?;
    reply(&PageOut::of(objectives, ObjectiveOut::from))
}

async fn get(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let objective = project.objective(&call.id("objective_id", "Objective")?).await?.ok_or(NOT_FOUND)?;
    reply(&ObjectiveOut::from(objective))
}

async fn update(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id("objective_id", "Objective")?;
    let patch: ObjectivePatch = app.engine().read_apart(move || call.body()).await?;
    let now = app.engine().now();
    let decide = Box::new(move |objective: Objective| Ok(objective.revised(patch.clone(), now)));
    let objective = project.change_objective(&id, decide).await?.ok_or(NOT_FOUND)?;
    reply(&Warned::objective(app, objective))
}
