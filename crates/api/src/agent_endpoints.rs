//! Endpoints of agents, at which OneRun calls them itself.

use onerun_auth::{Access, Scope};
use onerun_domain::{MAX_CALLS_PER_MINUTE, MAX_IN_FLIGHT, Resource};
use onerun_engine::{NewAgentEndpoint, NewCredential};
use onerun_store::ProjectStore;
use serde_json::{Map, Value, json};

use crate::{
    ApiError, App, Response,
    fields::{Errors, Field, Integer, Nested, input},
    operation::operations,
    request::{Call, DoneOut, done, reply},
    views::AgentSummaryOut,
};

const DELETED: &str = "Endpoint deleted";

/// The number of conversations that are held at once by default.
const DEFAULT_IN_FLIGHT: u32 = 5;

operations! {
    PUT_AGENT_ENDPOINT {
        route: PUT "/v1/agents/{agent_id}/endpoint",
        handler: Project(put_agent_endpoint),
        access: Access::Requires(Scope::AgentsWrite),
        summary: "Let OneRun call an agent itself",
        description: "The agent needs no worker then: OneRun takes its queued conversations, and asks it for each reply, within \
            25 s. Workers may hold conversations of the agent, too. The endpoint replaces the one before, with its credential, which is stored \
            encrypted and never shown. Addresses that are private, local or reserved are refused unless the deployment allows \
            them.",
        input: NewAgentEndpoint = json!({
            "target": { "openai": { "url": "https://agent.example.com/v1", "model": "support" } },
            "credential": { "header": "Authorization", "value": "Bearer sk-example" },
            "max_in_flight": 5,
        }),
        output: AgentSummaryOut,
        errors: ["agent_not_found"],
    }
    DELETE_AGENT_ENDPOINT {
        route: DELETE "/v1/agents/{agent_id}/endpoint",
        handler: Project(delete_agent_endpoint),
        access: Access::Requires(Scope::AgentsWrite),
        summary: "Delete the endpoint of an agent with its credential",
        description: "Workers hold the agent's conversations then. A conversation that OneRun holds is queued again.",
        output: DoneOut = json!({ "message": DELETED }),
        errors: ["agent_not_found"],
    }
}

const TARGET: &str = "How the agent is called, as the file of `onerun run` says it: `openai` with `url`, `model`, `system`, \
    `headers` and `timeout_seconds`, or `http` with `url`, `method`, `headers`, `body`, `reply`, `end` and `timeout_seconds`. At \
    most 16 KiB as JSON and 25 s for a reply, and without references to environment variables.";

const CREDENTIAL: &str = "A secret that is sent in a header of each request.";

const IN_FLIGHT: &str = "How many conversations OneRun holds with the agent at once.";

const CALLS: &str = "How many replies OneRun asks for in a minute, and so how many conversations it holds at most; null for no limit.";

input! {
    impl NewAgentEndpoint {
        target = required(TARGET) => |target: TargetDocument| target.0,
        credential = optional(CREDENTIAL)
            => |credential: Option<Nested<NewCredential>>| credential.map(|credential| credential.0),
        max_in_flight = defaulted(DEFAULT_IN_FLIGHT, IN_FLIGHT) => |number: Integer<1, MAX_IN_FLIGHT>| number.0,
        max_calls_per_minute = optional(CALLS)
            => |number: Option<Integer<1, MAX_CALLS_PER_MINUTE>>| number.map(|number| number.0),
    }
}

input! {
    impl NewCredential {
        header = defaulted("Authorization", "The name of the header."),
        value = required("The value of the header, such as `Bearer sk-…`."),
    }
}

/// A target. The engine checks it.
struct TargetDocument(Map<String, Value>);

impl Field for TargetDocument {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let Value::Object(document) = value else {
            errors.push(pointer, "must be an object");
            return None;
        };
        Some(Self(document))
    }

    fn schema() -> Value {
        let text = json!({ "type": "string" });
        let optional = json!({ "type": ["string", "null"] });
        let headers = json!({ "type": "object", "additionalProperties": text });
        let timeout = json!({ "type": "integer", "minimum": 1, "maximum": onerun_domain::MAX_REPLY_SECONDS });
        json!({
            "type": "object",
            "oneOf": [
                {
                    "type": "object",
                    "properties": { "openai": {
                        "type": "object",
                        "properties": {
                            "url": text, "model": text, "system": optional, "headers": headers, "timeout_seconds": timeout,
                        },
                        "required": ["url", "model"],
                        "additionalProperties": false,
                    } },
                    "required": ["openai"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": { "http": {
                        "type": "object",
                        "properties": {
                            "url": text,
                            "method": { "type": "string", "enum": ["POST", "PUT", "PATCH"] },
                            "headers": headers,
                            "body": {},
                            "reply": text,
                            "end": optional,
                            "timeout_seconds": timeout,
                        },
                        "required": ["url", "body", "reply"],
                        "additionalProperties": false,
                    } },
                    "required": ["http"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

async fn put_agent_endpoint(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let id = call.id(Resource::Agent)?;
    let new: NewAgentEndpoint = call.body()?;
    let agent = app.engine().set_agent_endpoint(project, &id, new).await?;
    reply(&AgentSummaryOut::from(agent))
}

async fn delete_agent_endpoint(
    app: &App,
    project: &dyn ProjectStore,
    call: Call,
) -> Result<Response, ApiError> {
    app.engine().delete_agent_endpoint(project, &call.id(Resource::Agent)?).await?;
    done(DELETED)
}
