//! Objectives, which conversations are scored against, in versions.

use onerun_auth::{Access, Scope};
use onerun_domain::{Criteria, Name, Objective, ObjectiveId, ObjectivePatch, PageRequest, Resource};
use onerun_store::{ProjectStore, SortBy};
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::input,
    operation::operations,
    query::{Params, Reader, SORT_BY_NAME, Sort, SortByKey, page},
    request::{Call, reply},
    views::{ObjectiveOut, PageOut, Warned},
};

const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Objective);

operations! {
    CREATE_OBJECTIVE {
        route: POST "/v1/objectives",
        handler: Project(create_objective),
        access: Access::Requires(Scope::ObjectivesWrite),
        idempotency: Recorded,
        summary: "Create an objective",
        input: NewObjective = json!({ "name": "Offers a refund", "criteria": "check: agent says /refund/i" }),
        output: Warned<ObjectiveOut>,
    }
    LIST_OBJECTIVES {
        route: GET "/v1/objectives",
        handler: Project(list_objectives),
        access: Access::Requires(Scope::ObjectivesRead),
        query: ObjectiveQuery,
        summary: "List objectives, each at its newest version",
        output: PageOut<ObjectiveOut>,
    }
    GET_OBJECTIVE {
        route: GET "/v1/objectives/{objective_id}",
        handler: Project(get_objective),
        access: Access::Requires(Scope::ObjectivesRead),
        summary: "Get an objective at its newest version",
        output: ObjectiveOut,
        errors: ["objective_not_found"],
    }
    UPDATE_OBJECTIVE {
        route: PATCH "/v1/objectives/{objective_id}",
        handler: Project(update_objective),
        access: Access::Requires(Scope::ObjectivesWrite),
        summary: "Create a new version of an objective",
        description: "Simulations keep the version that they pinned. A request that changes nothing creates no \
            version.",
        input: ObjectivePatch = json!({ "criteria": "check: agent says /refund|voucher/i" }),
        output: Warned<ObjectiveOut>,
        errors: ["objective_not_found"],
    }
}

input! {
    pub(crate) struct NewObjective {
        name: Name = required("A name for people to read."),
        criteria: Criteria = required(
            "The criteria: prose for a language model, lines that start with `check:` and are decided without one, or \
             both. Checks: `check: agent says /pattern/i`, `check: agent never says /pattern/`, \
             `check: agent replies <= 6`, `check: persona ended`."
        ),
    }
}

input! {
    impl ObjectivePatch {
        name = optional("A new name; null keeps the current one."),
        criteria = optional("New criteria; null keeps the current ones."),
    }
}

pub(crate) struct ObjectiveQuery {
    sort: SortBy,
    page: PageRequest,
}

impl Params for ObjectiveQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let sort = Sort::<SortByKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { sort: sort?.named(), page: page? })
    }
}

async fn create_objective(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let recorder = call.recorder();
    // Criteria contain regular expressions, which are compiled off the request threads.
    let new: NewObjective = app.engine().parse_off_thread(move || call.body()).await?;
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

async fn list_objectives(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ObjectiveQuery { sort, page } = call.query()?;
    let objectives = project.objectives(sort, page).await?;
    reply(&call.page::<_, ObjectiveOut>(objectives))
}

async fn get_objective(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let objective = project.objective(&call.id(Resource::Objective)?).await?.ok_or(NOT_FOUND)?;
    reply(&ObjectiveOut::from(objective))
}

async fn update_objective(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Objective)?;
    let patch: ObjectivePatch = app.engine().parse_off_thread(move || call.body()).await?;
    let now = app.engine().now();
    let decide = Box::new(move |objective: Objective| Ok(objective.revised(patch.clone(), now)));
    let objective = project.change_objective(&id, decide).await?.ok_or(NOT_FOUND)?;
    reply(&Warned::objective(app, objective))
}
