//! Agents: what is being simulated against.

use onerun_auth::{Access, Scope};
use onerun_domain::{Agent, AgentId, AgentPatch, Description, Metadata, Name};
use onerun_store::{AgentList, AgentSummary, ProjectStore};
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::{Fields, Input},
    operation::operations,
    out::{AgentSummaryOut, PageOut},
    query::{NamedSortKey, Params, Reader, SORT_BY_NAME, Sort, exact, page},
    request::{Call, reply},
};

const NOT_FOUND: ApiError = ApiError::NotFound { what: "Agent" };

operations! {
    CREATE_AGENT {
        route: POST "/v1/agents",
        handler: InProject(create_agent),
        access: Access::Requires(Scope::AgentsWrite),
        idempotency: Recorded,
        summary: "Create an agent",
        input: NewAgent = json!({ "name": "Order support", "description": "Answers questions about orders." }),
        output: AgentSummaryOut,
    }
    LIST_AGENTS {
        route: GET "/v1/agents",
        handler: InProject(list_agents),
        access: Access::Requires(Scope::AgentsRead),
        query: AgentList,
        summary: "List agents",
        output: PageOut<AgentSummaryOut>,
    }
    GET_AGENT {
        route: GET "/v1/agents/{agent_id}",
        handler: InProject(get_agent),
        access: Access::Requires(Scope::AgentsRead),
        summary: "Get an agent",
        output: AgentSummaryOut,
        errors: ["agent_not_found"],
    }
    UPDATE_AGENT {
        route: PATCH "/v1/agents/{agent_id}",
        handler: InProject(update_agent),
        access: Access::Requires(Scope::AgentsWrite),
        summary: "Change an agent",
        input: AgentPatch = json!({ "description": "Answers questions about orders." }),
        output: AgentSummaryOut,
        errors: ["agent_not_found"],
    }
}

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

async fn create_agent(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
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

async fn list_agents(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let agents = project.agents(call.query()?).await?;
    reply(&PageOut::of(agents, AgentSummaryOut::from))
}

async fn get_agent(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let agent = project.agent(&call.id("agent_id", "Agent")?).await?.ok_or(NOT_FOUND)?;
    reply(&AgentSummaryOut::from(agent))
}

async fn update_agent(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id("agent_id", "Agent")?;
    let patch: AgentPatch = call.body()?;
    let now = app.engine().now();
    let decide = Box::new(move |agent: Agent| Ok(agent.patched(patch.clone(), now)));
    let agent = project.change_agent(&id, decide).await?.ok_or(NOT_FOUND)?;
    reply(&AgentSummaryOut::from(agent))
}
