//! Agents under test.

use onerun_auth::{Access, Scope};
use onerun_domain::{Agent, AgentId, AgentPatch, Description, Metadata, Name, Resource};
use onerun_store::{AgentSummary, ListAgents, ProjectStore};
use serde_json::json;

use crate::{
    ApiError, App, Response,
    fields::{METADATA, input},
    operation::operations,
    query::{Params, Reader, SORT_BY_NAME, Sort, SortByKey, archived, exact, page},
    request::{Call, reply},
    views::{AgentSummaryOut, PageOut},
};

const NOT_FOUND: ApiError = ApiError::NotFound(Resource::Agent);

operations! {
    CREATE_AGENT {
        route: POST "/v1/agents",
        handler: Project(create_agent),
        access: Access::Requires(Scope::AgentsWrite),
        idempotency: Recorded,
        summary: "Create an agent",
        input: NewAgent = json!({ "name": "Order support", "description": "Answers questions about orders." }),
        output: AgentSummaryOut,
    }
    LIST_AGENTS {
        route: GET "/v1/agents",
        handler: Project(list_agents),
        access: Access::Requires(Scope::AgentsRead),
        query: ListAgents,
        summary: "List agents",
        output: PageOut<AgentSummaryOut>,
    }
    GET_AGENT {
        route: GET "/v1/agents/{agent_id}",
        handler: Project(get_agent),
        access: Access::Requires(Scope::AgentsRead),
        summary: "Get an agent",
        output: AgentSummaryOut,
        errors: ["agent_not_found"],
    }
    UPDATE_AGENT {
        route: PATCH "/v1/agents/{agent_id}",
        handler: Project(update_agent),
        access: Access::Requires(Scope::AgentsWrite),
        summary: "Change an agent",
        input: AgentPatch = json!({ "description": "Answers questions about orders." }),
        output: AgentSummaryOut,
        errors: ["agent_not_found"],
    }
}

input! {
    pub(crate) struct NewAgent {
        name: Name = required("A name for people to read."),
        description: Option<Description> = optional("The agent's purpose, which personas are told."),
        metadata: Metadata = defaulted(json!({}), METADATA),
    }
}

input! {
    impl AgentPatch {
        name = optional("A new name; null keeps the current one."),
        description = optional("A new description; null keeps the current one."),
        archived = optional("Whether the agent is archived: left out of lists, and without new simulations; null keeps the current one."),
    }
}

impl Params for ListAgents {
    fn read(reader: &mut Reader) -> Option<Self> {
        let name = reader.optional("name", "Only agents whose name contains this, ignoring case.");
        let exact = exact(reader);
        let archived = archived(reader);
        let sort = Sort::<SortByKey>::read(reader, SORT_BY_NAME);
        let page = page(reader);
        Some(Self { name: name?, exact: exact?, archived: archived?, sort: sort?.named(), page: page? })
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
        endpoint: None,
        archived_at: None,
        created_at: now,
        updated_at: now,
    };
    let made = AgentSummaryOut::from(AgentSummary { agent: agent.clone(), total_simulations: 0 });
    project.insert_agent(agent, call.record(&made)).await?;
    reply(&made)
}

async fn list_agents(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let agents = project.agents(call.query()?).await?;
    reply(&call.page::<_, AgentSummaryOut>(agents))
}

async fn get_agent(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let agent = project.agent(&call.id(Resource::Agent)?).await?.ok_or(NOT_FOUND)?;
    reply(&AgentSummaryOut::from(agent))
}

async fn update_agent(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Agent)?;
    let patch: AgentPatch = call.body()?;
    let now = app.engine().now();
    let decide = Box::new(move |agent: Agent| Ok(agent.patched(patch.clone(), now)));
    let agent = project.change_agent(&id, decide).await?.ok_or(NOT_FOUND)?;
    reply(&AgentSummaryOut::from(agent))
}
