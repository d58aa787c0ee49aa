//! Agents: what is being simulated against.

use http::Method;
use onerun_auth::{Access, Scope};
use onerun_domain::{Agent, AgentId, AgentPatch, Description, Metadata, Name};
use onerun_store::{AgentList, AgentSummary, ProjectStore};
use serde_json::json;

use crate::{
    ApiError, App, Handler, Idempotency, Parameters, Response, Route,
    fields::{Fields, Input},
    out::{AgentSummaryOut, PageOut},
    query::{NamedSortKey, Params, Reader, SORT_BY_NAME, Sort, exact, page},
    request::{Call, reply},
};

const NOT_FOUND: ApiError = ApiError::NotFound { what: "Agent" };

/// `POST /v1/agents`
pub static CREATE: Route = Route {
    operation: "create_agent",
    method: Method::POST,
    path: "/v1/agents",
    access: Access::Requires(Scope::AgentsWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::Recorded,
    handler: Handler::InProject(|app, project, call| Box::pin(create(app, project, call))),
};

/// `GET /v1/agents`
pub static LIST: Route = Route {
    operation: "list_agents",
    method: Method::GET,
    path: "/v1/agents",
    access: Access::Requires(Scope::AgentsRead),
    query: Parameters::of::<AgentList>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(list(app, project, call))),
};

/// `GET /v1/agents/{agent_id}`
pub static GET: Route = Route {
    operation: "get_agent",
    method: Method::GET,
    path: "/v1/agents/{agent_id}",
    access: Access::Requires(Scope::AgentsRead),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(get(app, project, call))),
};

/// `PATCH /v1/agents/{agent_id}`
pub static UPDATE: Route = Route {
    operation: "update_agent",
    method: Method::PATCH,
    path: "/v1/agents/{agent_id}",
    access: Access::Requires(Scope::AgentsWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(update(app, project, call))),
};

pub(crate) struct NewAgent {
    name: Name,
    description: Option<Description>,
    metadata: Metadata,
}

impl Input for NewAgent {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", "What people call the agent.");
        let description = fields.optional("description", "What the agent is for; personas are told of it.");
        let metadata = fields.defaulted("metadata", &json!({}), "Data of your own, at most 16 KiB of it.");
        Some(Self { name: name?, description: description?, metadata: metadata? })
    }
}

impl Input for AgentPatch {
    fn read(fields: &mut Fields) -> Option<Self> {
        let name = fields.optional("name", "Another name; null leaves it as it is.");
        let description = fields.optional("description", "Another description; null leaves it as it is.");
        Some(Self { name: name?, description: description? })
    }
}

impl Params for AgentList {
    fn read(reader: &mut Reader) -> Option<Self> {
        let name = reader.optional("name", "Only agents whose name contains this, ignoring case.");
        let exact = exact(reader);
        let sort = Sort::<NamedSortKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { name: name?, exact: exact?, sort: sort?.named(), page: page? })
    }
}

async fn create(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let new: NewAgent = call.body()?;
    let now = app.engine().now();
    let agent = Agent {
        id: AgentId::generate(app.engine().random()),
        project_id: project.project_id().clone(),
        name: new.name,
        description: new.description,
        metadata: new.metadata,
        last_polled_at: None,
        created_at: now,
        updated_at: now,
    };
    let made = AgentSummaryOut::from(AgentSummary { agent: agent.clone(), total_simulations: 0 });
    project.insert_agent(agent, call.record(&made)).await?;
    reply(&made)
}

async fn list(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let agents = project.agents(call.query()?).await?;
    reply(&PageOut::of(agents, AgentSummaryOut::from))
}

async fn get(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let agent = project.agent(&call.id("agent_id", "Agent")?).await?.ok_or(NOT_FOUND)?;
    reply(&AgentSummaryOut::from(agent))
}

async fn update(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id("agent_id", "Agent")?;
    let patch: AgentPatch = call.body()?;
    let now = app.engine().now();
    let decide = Box::new(move |agent: Agent| Ok(agent.patched(patch.clone(), now)));
    let agent = project.change_agent(&id, decide).await?.ok_or(NOT_FOUND)?;
    reply(&AgentSummaryOut::from(agent))
}
