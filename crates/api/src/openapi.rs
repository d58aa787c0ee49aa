//! The OpenAPI 3.1 document, made from the route table, the inputs and the types that are shown.
//!
//! What can be derived is: paths, methods, scopes, parameters, fields, schemas, statuses and the bodies of examples.
//! Written by hand are only the sentences, and which refusals an operation has of its own.

mod examples;

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use http::{
    HeaderMap, Method, StatusCode,
    header::{self, InvalidHeaderValue},
};
use onerun_auth::Access;
use onerun_engine::NewSimulation;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    ApiError, Document, Handler, Idempotency, Parameters, ROUTES, Route,
    agents::NewAgent,
    audit::AuditPageOut,
    conversations::{ResponseInput, ResponseOut},
    error::Problem,
    fields::{Fields, Input},
    health::HealthOut,
    keys::{KeyChanges, Leak, NewKeyInput, Rotation},
    objectives::NewObjective,
    out::{
        AgentSummaryOut, ConversationOut, ItemOut, KeyOut, MadeKeyOut, ObjectiveOut, PageOut, PersonaOut,
        ProjectOut, SimulationOut, StartedOut, Warned,
    },
    projects::{NewProject, ProjectChanges},
    request::DoneOut,
    results::ResultsOut,
    whoami::WhoamiOut,
};

/// The committed document: what `onerun openapi` printed when it was last made. A test holds it against the code.
const COMMITTED: &str = include_str!("../../../openapi.json");

/// `GET /openapi.json`
pub static GET: Route = Route {
    operation: "get_openapi",
    method: Method::GET,
    path: "/openapi.json",
    access: Access::Public,
    query: Parameters::IGNORED,
    idempotency: Idempotency::None,
    handler: Handler::Document(|| DOCUMENT.as_ref().map_err(|error| ApiError::Internal(Box::new(error)))),
};

/// Made once a process.
static DOCUMENT: LazyLock<Result<Document, InvalidHeaderValue>> =
    LazyLock::new(|| Document::new(Bytes::from_static(COMMITTED.as_bytes()), HeaderMap::new()));

/// The request that the examples of errors are about.
const REQUEST_ID: &str = "req_4q9XBIDyvn2vSFhNmCW3D";

/// What is said of an operation besides what follows from its route.
struct Doc {
    summary: &'static str,
    description: &'static str,
    status: StatusCode,
    body: Option<Sample>,
    /// Whether the body may be left out.
    is_body_optional: bool,
    reply: Sample,
    /// What the reply is written in.
    media_type: &'static str,
    /// The codes of its own refusals; those that follow from the route are added.
    refusals: &'static [&'static str],
}

/// A schema, and a value of it.
struct Sample {
    schema: Value,
    example: Value,
}

/// The document.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize()
        .into_generator();
    let problem = generator.subschema_for::<Problem>();
    let errors: BTreeMap<&str, ApiError> =
        examples::errors().into_iter().map(|error| (error.public().code, error)).collect();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        if let Some(doc) = describe(route.operation, &mut generator) {
            let operation = operation(route, doc, &problem, &errors);
            let path = paths.entry(route.path).or_insert_with(|| json!({}));
            path[route.method.as_str().to_lowercase()] = operation;
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "OneRun API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The host that serves this document." }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "examples": error_examples(&errors),
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

const IDEMPOTENCY_KEY: &str = "A request that is repeated within 24 hours with the same key and body gets the same \
    answer, and is done once. With another body or path it is refused. A key counts for the calling API key, in its \
    project.";

const TURN_IDEMPOTENCY_KEY: &str = "A request that is repeated within 24 hours with the same key and body gets the \
    same answer, and is done once. With another body it is refused. A key counts for one attempt of the conversation.";

const DESCRIPTION: &str = "Puts an AI agent in front of generated personas for many multi-turn conversations, and \
    scores each conversation against objectives.\n\nEvery operation but `get_health`, `get_openapi`, `get_dashboard` \
    and `revoke_leaked_keys` needs an API key, in `x-api-key` or as a bearer token. Errors are \
    `application/problem+json` (RFC 9457) with a `code` for programs. Lists come in pages, newest first unless said \
    otherwise. A query parameter that an operation does not have, and a word that a parameter does not know, are refused \
    with the list of those there are. A number is kept as a 64-bit integer or a double; one that would be rounded is refused. \
    `HEAD` is answered wherever `GET` is.";

fn describe(operation: &str, generator: &mut SchemaGenerator) -> Option<Doc> {
    let doc = match operation {
        "get_health" => {
            Doc::new("Tell whether the service answers", shows::<HealthOut>(generator, examples::health()))
        }
        "get_openapi" => Doc::new(
            "Get this document",
            Sample { schema: json!({ "type": "object" }), example: json!({ "openapi": "3.1.0" }) },
        ),
        "get_dashboard" => Doc {
            media_type: "text/html",
            ..Doc::new(
                "Get the dashboard",
                Sample { schema: json!({ "type": "string" }), example: json!("<!doctype html>…") },
            )
            .describe("A page for browsers. It asks for a key, keeps it in memory only, and calls this API with it.")
        },
        "get_whoami" => Doc::new("Tell who a key is", shows::<WhoamiOut>(generator, examples::whoami())),
        name if name.contains("_key") || name == "list_audit" => return describe_key(operation, generator),
        "create_project" => Doc::new("Create a project", shows::<ProjectOut>(generator, examples::project()))
            .describe("Needs a key of all projects.")
            .body::<NewProject>(json!({ "name": "Support" }))
            .refusals(&["wrong_project"]),
        "list_projects" => Doc::new("List projects", pages::<ProjectOut>(generator, examples::project()))
            .describe("Only those that the key reaches."),
        "get_project" => Doc::new("Get a project", shows::<ProjectOut>(generator, examples::project()))
            .refusals(&["project_not_found", "wrong_project"]),
        "update_project" => Doc::new("Rename a project", shows::<ProjectOut>(generator, examples::project()))
            .body::<ProjectChanges>(json!({ "name": "Support" }))
            .refusals(&["project_not_found", "wrong_project"]),
        "create_agent" => Doc::new("Create an agent", shows::<AgentSummaryOut>(generator, examples::agent()))
            .body::<NewAgent>(
                json!({ "name": "Order support", "description": "Answers questions about orders." }),
            ),
        "list_agents" => Doc::new("List agents", pages::<AgentSummaryOut>(generator, examples::agent())),
        "get_agent" => Doc::new("Get an agent", shows::<AgentSummaryOut>(generator, examples::agent()))
            .refusals(&["agent_not_found"]),
        "update_agent" => Doc::new("Change an agent", shows::<AgentSummaryOut>(generator, examples::agent()))
            .body::<onerun_domain::AgentPatch>(json!({ "description": "Answers questions about orders." }))
            .refusals(&["agent_not_found"]),
        "create_objective" => {
            Doc::new("Create an objective", shows::<Warned<ObjectiveOut>>(generator, examples::without_warnings(examples::objective())))
                .body::<NewObjective>(
                json!({ "name": "Offers a refund", "criteria": "check: agent says /refund/i" }),
            )
        }
        "list_objectives" => Doc::new(
            "List objectives, at their newest versions",
            pages::<ObjectiveOut>(generator, examples::objective()),
        ),
        "get_objective" => Doc::new(
            "Get an objective, at its newest version",
            shows::<ObjectiveOut>(generator, examples::objective()),
        )
        .refusals(&["objective_not_found"]),
        "update_objective" => Doc::new(
            "Make a new version of an objective",
            shows::<Warned<ObjectiveOut>>(generator, examples::without_warnings(examples::objective())),
        )
        .describe(
            "Simulations go on with the version that they pinned. A request that changes nothing makes no \
                     version.",
        )
        .body::<onerun_domain::ObjectivePatch>(json!({ "criteria": "check: agent says /refund|voucher/i" }))
        .refusals(&["objective_not_found"]),
        _ => return describe_simulation(operation, generator),
    };
    Some(doc)
}

fn describe_key(operation: &str, generator: &mut SchemaGenerator) -> Option<Doc> {
    const CHANGES: &[&str] = &["key_not_found", "exceeds_own_key", "key_revoked", "key_expired"];
    let shows_key = |summary: &'static str, generator: &mut SchemaGenerator| {
        Doc::new(summary, shows::<KeyOut>(generator, examples::key()))
    };
    let doc = match operation {
        "create_key" => Doc {
            ..Doc::new("Create a key", shows::<MadeKeyOut>(generator, examples::made_key()))
                .describe(
                    "`key` is shown in this response and never again. One of `scopes` and `preset`, and one of \
                     `project_ids` and `all_projects`, must be given. The key lives for 90 days unless something else is \
                     said, but not beyond the key that makes it. No key makes one that is more than itself: in scopes, \
                     projects, addresses, rate limit or lifetime.",
                )
                .body::<NewKeyInput>(examples::new_key())
                .refusals(&["exceeds_own_key"])
        },
        "list_keys" => Doc::new("List keys", pages::<KeyOut>(generator, examples::key()))
            .describe("Only keys of which every project is among those of the calling key."),
        "get_key" => shows_key("Get a key", generator).refusals(&["key_not_found"]),
        "update_key" => shows_key("Change a key", generator)
            .describe("What is left out or null stays as it is. Takes effect everywhere within `AUTH_KEY_CACHE_SECONDS`.")
            .body::<KeyChanges>(json!({ "preset": "read_only", "expires_in_days": 30 }))
            .refusals(&["key_not_found", "exceeds_own_key", "key_revoked", "key_expired", "key_replaced"]),
        "rotate_key" => Doc {
            is_body_optional: true,
            ..Doc::new("Put a new key in a key's place", shows::<MadeKeyOut>(generator, examples::rotated_key()))
                .describe(
                    "The old key goes on for the overlap, but no longer than it would have; `uses_since_replaced` of it \
                     tells whether anybody still uses it. The new key has its scopes, projects, addresses, rate limit and \
                     metadata, and lives as long as the old one was to. The body may be left out.",
                )
                .body::<Rotation>(json!({ "overlap_seconds": 3600 }))
                .refusals(&[
                    "key_not_found",
                    "exceeds_own_key",
                    "key_revoked",
                    "key_expired",
                    "key_disabled",
                    "key_replaced",
                ])
        },
        "disable_key" => shows_key("Disable a key until it is enabled", generator).refusals(CHANGES),
        "enable_key" => shows_key("Enable a key that was disabled", generator).refusals(CHANGES),
        "revoke_key" => shows_key("Revoke a key for ever", generator)
            .describe("On a revoked key, this changes nothing. Takes effect everywhere within `AUTH_KEY_CACHE_SECONDS`.")
            .refusals(&["key_not_found", "exceeds_own_key"]),
        "revoke_leaked_keys" => Doc {
            status: StatusCode::ACCEPTED,
            ..Doc::new(
                "Revoke keys that have leaked",
                shows::<DoneOut>(generator, examples::done("Keys that were right are revoked")),
            )
            .describe(
                "For whoever finds keys: each that is right is revoked for ever. Needs no other key. A report may have 16 KiB \
                 and must come within 5 seconds, as `application/json`. A report with a right key is always taken. The \
                 others, malformed ones included, are counted by address: 60 a minute are answered like a right one.",
            )
            .body::<Leak>(examples::leak())
            .refusals(&["rate_limited", "unavailable"])
        },
        "list_audit" => Doc::new("List what was done to keys", shows::<AuditPageOut>(generator, examples::audit()))
            .describe(
                "Every entry's `hash` covers its content and the hash before it, and no secret: keep a `head` elsewhere to \
                 find out whether somebody with access to the database rewrote the trail up to it. Needs a key of all \
                 projects. `onerun keys audit --verify` checks the trail.",
            )
            .refusals(&["wrong_project"]),
        _ => return None,
    };
    Some(doc)
}

fn describe_simulation(operation: &str, generator: &mut SchemaGenerator) -> Option<Doc> {
    let doc = match operation {
        "create_simulation" => Doc::new(
            "Create a simulation, which starts by itself",
            shows::<Warned<SimulationOut>>(generator, examples::without_warnings(examples::simulation())),
        )
        .describe("Objectives are pinned at the versions that are newest now.")
        .body::<NewSimulation>(examples::new_simulation())
        .refusals(&["agent_not_found", "objectives_not_found"]),
        "list_simulations" => {
            Doc::new("List simulations", pages::<SimulationOut>(generator, examples::simulation()))
        }
        "get_simulation" => {
            Doc::new("Get a simulation", shows::<SimulationOut>(generator, examples::simulation()))
                .refusals(&["simulation_not_found"])
        }
        "run_simulation" => Doc::new(
            "Have a simulation run",
            shows::<DoneOut>(generator, examples::done("Simulation run requested")),
        )
        .describe("Simulations start by themselves: on one that runs, this changes nothing.")
        .refusals(&["simulation_not_found", "simulation_over"]),
        "cancel_simulation" => Doc::new(
            "Cancel a simulation",
            shows::<DoneOut>(generator, examples::done("Simulation cancel requested")),
        )
        .describe(
            "At once no call of a worker is taken any more; conversations that are left fail as \
                     `simulation_canceled`. On a canceled simulation, this changes nothing.",
        )
        .refusals(&["simulation_not_found", "simulation_over"]),
        "get_results" => {
            Doc::new("Get a simulation's results", shows::<ResultsOut>(generator, examples::results()))
                .refusals(&["simulation_not_found"])
        }
        "list_personas" => {
            Doc::new("List a simulation's personas", pages::<PersonaOut>(generator, examples::persona()))
                .refusals(&["simulation_not_found"])
        }
        "approve_persona" => Doc::new(
            "Let a persona hold conversations",
            shows::<DoneOut>(generator, examples::done("Persona approved successfully")),
        )
        .refusals(&[
            "simulation_not_found",
            "persona_not_found",
            "persona_decided",
            "simulation_over",
        ]),
        "reject_persona" => Doc::new(
            "Have a persona replaced",
            shows::<DoneOut>(generator, examples::done("Persona rejected successfully")),
        )
        .refusals(&[
            "simulation_not_found",
            "persona_not_found",
            "persona_decided",
            "simulation_over",
        ]),
        _ => return describe_conversation(operation, generator),
    };
    Some(doc)
}

fn describe_conversation(operation: &str, generator: &mut SchemaGenerator) -> Option<Doc> {
    let doc = match operation {
        "list_conversations" => {
            Doc::new("List a simulation's conversations", pages::<ConversationOut>(generator, examples::conversation()))
                .refusals(&["simulation_not_found"])
        }
        "get_conversation" => {
            Doc::new("Get a conversation", shows::<ConversationOut>(generator, examples::conversation()))
                .refusals(&["simulation_not_found", "conversation_not_found"])
        }
        "start_conversation" => {
            Doc::new("Start a queued conversation", shows::<StartedOut>(generator, examples::started()))
                .describe(
                    "The worker then holds a lease, renewed by every call to start or respond. When it runs out, the \
                     conversation is queued again as a new attempt with an empty transcript; after the third it has \
                     failed.",
                )
                .refusals(&[
                    "simulation_not_found",
                    "conversation_not_found",
                    "conversation_not_queued",
                    "simulation_not_running",
                ])
        }
        "end_conversation" => {
            Doc::new("End a conversation", shows::<DoneOut>(generator, examples::done("Conversation ended successfully")))
                .describe("On a conversation that has ended, whoever ended it, this changes nothing.")
                .refusals(&[
                    "simulation_not_found",
                    "conversation_not_found",
                    "conversation_not_started",
                    "conversation_over",
                    "simulation_not_running",
                    "stale_attempt",
                    "turn_in_progress",
                ])
        }
        "list_items" => Doc::new("List a conversation's messages, oldest first", pages::<ItemOut>(generator, examples::item()))
            .refusals(&["simulation_not_found", "conversation_not_found"]),
        "read_items" => Doc::new("List a conversation's messages, oldest first", pages::<ItemOut>(generator, examples::item()))
            .describe("The same as `list_items`, as the published service has it. Any body is passed over.")
            .refusals(&["simulation_not_found", "conversation_not_found"]),
        "create_response" => Doc {
            ..Doc::new("Answer the agent's messages with the persona's", shows::<ResponseOut>(generator, examples::response()))
                .describe(
                    "One call at a time for a conversation. A first attempt need not be started before. Nothing of a \
                     refused or failed call is kept.",
                )
                .body::<ResponseInput>(examples::input())
                .refusals(&[
                    "simulation_not_found",
                    "conversation_not_found",
                    "conversation_over",
                    "conversation_requeued",
                    "simulation_not_running",
                    "stale_attempt",
                    "turn_in_progress",
                    "turn_lost",
                    "model_unavailable",
                ])
        },
        _ => return None,
    };
    Some(doc)
}

impl Doc {
    fn new(summary: &'static str, reply: Sample) -> Self {
        Self {
            summary,
            description: "",
            status: StatusCode::OK,
            body: None,
            is_body_optional: false,
            reply,
            media_type: "application/json",
            refusals: &[],
        }
    }

    fn describe(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    fn body<T: Input>(self, example: Value) -> Self {
        Self { body: Some(Sample { schema: Fields::schema::<T>(), example }), ..self }
    }

    fn refusals(self, refusals: &'static [&'static str]) -> Self {
        Self { refusals, ..self }
    }
}

fn shows<T: JsonSchema>(generator: &mut SchemaGenerator, example: Value) -> Sample {
    Sample { schema: generator.subschema_for::<T>().to_value(), example }
}

fn pages<T: JsonSchema>(generator: &mut SchemaGenerator, one: Value) -> Sample {
    let data = vec![one];
    shows::<PageOut<T>>(generator, json!({ "data": data, "has_more": false }))
}

fn operation(route: &Route, doc: Doc, problem: &Schema, errors: &BTreeMap<&str, ApiError>) -> Value {
    let mut responses = Map::new();
    responses.insert(
        doc.status.as_str().to_owned(),
        json!({
            "description": doc.summary,
            "headers": rate_headers(route),
            "content": { doc.media_type: { "schema": doc.reply.schema, "example": doc.reply.example } },
        }),
    );
    if matches!(route.handler, Handler::Document(_)) {
        let description = "What `If-None-Match` names is still what there is.";
        responses.insert("304".to_owned(), json!({ "description": description }));
    }
    let mut by_status: BTreeMap<u16, Vec<&ApiError>> = BTreeMap::new();
    for code in codes(route, &doc) {
        if let Some(error) = errors.get(code) {
            by_status.entry(error.public().status.code().as_u16()).or_default().push(error);
        }
    }
    for (status, errors) in by_status {
        responses.insert(status.to_string(), refused(&errors, problem));
    }
    let mut operation = json!({
        "operationId": route.operation,
        "tags": [tag(route)],
        "summary": doc.summary,
        "description": doc.description,
        "parameters": parameters(route),
        "security": security(route.access),
        "responses": responses,
    });
    if let Some(body) = doc.body {
        operation["requestBody"] = json!({
            "required": !doc.is_body_optional,
            "content": { "application/json": { "schema": body.schema, "example": body.example } },
        });
    }
    operation
}

/// The codes of everything that an operation may be refused with.
fn codes<'a>(route: &Route, doc: &'a Doc) -> Vec<&'a str> {
    let mut codes = vec!["internal"];
    if route.access != Access::Public {
        codes.extend([
            "missing_api_key",
            "invalid_api_key",
            "expired_api_key",
            "inactive_api_key",
            "revoked_api_key",
            "wrong_address",
            "rate_limited",
            "auth_unavailable",
            "unavailable",
        ]);
    }
    if matches!(route.access, Access::Requires(_)) {
        codes.push("insufficient_scope");
    }
    let in_project = matches!(route.handler, Handler::InProject(_));
    if in_project {
        codes.extend(["wrong_project", "project_not_found"]);
    }
    if !route.query.is_ignored() {
        codes.push("invalid_request");
    }
    if doc.body.is_some() {
        codes.push("body_too_large");
    }
    if ![Method::GET, Method::HEAD].contains(&route.method) {
        codes.extend(["body_unreadable", "storage_full"]);
    }
    if route.access == Access::Public && doc.body.is_some() {
        codes.push("unsupported_media_type");
    }
    if route.idempotency.takes_key() {
        codes.push("idempotency_key_reused");
    }
    codes.extend(doc.refusals);
    codes
}

/// One status: the codes that it may have, each with its example, and the headers that come with it.
fn refused(errors: &[&ApiError], problem: &Schema) -> Value {
    let mut examples = Map::new();
    let mut headers: BTreeMap<String, usize> = BTreeMap::new();
    let mut codes = Vec::new();
    for error in errors {
        let code = error.public().code;
        codes.push(format!("`{code}`"));
        examples.insert(code.to_owned(), json!({ "$ref": format!("#/components/examples/{code}") }));
        for name in
            error.response(REQUEST_ID, &[]).headers().keys().filter(|name| **name != header::CONTENT_TYPE)
        {
            *headers.entry(name.to_string()).or_default() += 1;
        }
    }
    let headers: Map<String, Value> = headers
        .into_iter()
        .map(|(name, count)| {
            let always = count == errors.len();
            (name, json!({ "required": always, "schema": { "type": "string" } }))
        })
        .collect();
    json!({
        "description": codes.join(", "),
        "headers": headers,
        "content": { "application/problem+json": { "schema": problem, "examples": examples } },
    })
}

/// How the calling key stands with its limit, if it has one.
fn rate_headers(route: &Route) -> Value {
    if route.access == Access::Public {
        return json!({});
    }
    let header = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    json!({
        "ratelimit-policy": header("The key's limit: requests and seconds.", r#""default";q=100;w=60"#),
        "ratelimit": header("What is left of the window: requests and seconds.", r#""default";r=50;t=30"#),
    })
}

/// The body of each error, by its code.
fn error_examples(errors: &BTreeMap<&str, ApiError>) -> Map<String, Value> {
    let example = |error: &ApiError| {
        let body: Value = serde_json::from_slice(error.response(REQUEST_ID, &[]).body()).unwrap_or_default();
        json!({ "summary": error.public().message, "value": body })
    };
    errors.iter().map(|(code, error)| ((*code).to_owned(), example(error))).collect()
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        );
    let docs = route.parameter_docs();
    let in_query = docs.iter().map(|param| {
        let mut documented = json!({
            "name": param.name.trim_end_matches(".*"),
            "in": "query",
            "required": param.required,
            "description": param.description,
            "schema": param.schema,
        });
        if param.name.ends_with('*') {
            // Each member is a parameter of its own.
            documented["style"] = json!("form");
            documented["explode"] = json!(true);
        }
        documented
    });
    let in_header = route.idempotency.takes_key().then(|| {
        json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": match route.idempotency {
                Idempotency::InConversation => TURN_IDEMPOTENCY_KEY,
                _ => IDEMPOTENCY_KEY,
            },
            // Spaces at either end are the header's and not the key's.
            "schema": {
                "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$",
            },
        })
    });
    in_path.chain(in_query).chain(in_header).collect()
}

/// The scope stands where OpenAPI has the roles that a key needs.
fn security(access: Access) -> Value {
    let scopes = match access {
        Access::Public => return json!([]),
        Access::AnyKey => Vec::new(),
        Access::Requires(scope) => vec![scope.as_str()],
    };
    json!([{ "apiKey": scopes }, { "bearer": scopes }])
}

/// The resource, which the path names.
fn tag(route: &Route) -> &str {
    let mut parts = route.path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
    let known = ["conversations", "personas", "results"];
    let named = parts.clone().find(|part| known.contains(part));
    named.or_else(|| parts.find(|part| *part != "v1")).unwrap_or("service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_what_the_code_says() {
        let committed: Value = serde_json::from_str(COMMITTED).unwrap();
        assert!(committed == document(), "openapi.json is out of date: run `make openapi` and commit it");
    }

    /// What an operation answers when it succeeds.
    fn success(operation: &Value) -> &Value {
        let responses = operation["responses"].as_object().unwrap();
        let (_, response) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
        let content = response["content"].as_object().unwrap();
        assert_eq!(content.len(), 1);
        content.values().next().unwrap()
    }

    #[test]
    fn every_route_is_described() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            assert_eq!(operation["operationId"], route.operation);
            assert!(!success(operation)["example"].is_null(), "{}", route.operation);
        }
    }

    #[test]
    fn every_example_of_a_reply_fits_its_schema() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            let content = success(operation);
            fits(&document, &content["schema"], &content["example"], route.operation);
        }
    }

    /// Holds a value against those keywords of JSON Schema that the document uses.
    fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
        if let Some(pointer) = schema["$ref"].as_str() {
            let target = document.pointer(pointer.trim_start_matches('#')).expect(pointer);
            return fits(document, target, value, at);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let choice = if value.is_null() { choices.last() } else { choices.first() };
            return fits(document, choice.unwrap(), value, at);
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            Value::Null => Vec::new(),
            kind => vec![kind.clone()],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(kinds.is_empty() || kinds.contains(&json!(kind)), "{at}: {value} is no {}", schema["type"]);
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{at}: {value}");
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            fits(document, &schema["items"], item, &format!("{at}/{index}"));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(!value[name].is_null() || value.get(name).is_some(), "{at}: `{name}` is missing");
        }
        if let Some(properties) = schema["properties"].as_object() {
            for (name, value) in value.as_object().into_iter().flatten() {
                let schema = properties.get(name).unwrap_or_else(|| panic!("{at}: `{name}` is unknown"));
                fits(document, schema, value, &format!("{at}/{name}"));
            }
        }
    }

    #[test]
    fn every_refusal_that_is_named_is_one_that_there_is() {
        let known: Vec<_> = examples::errors().iter().map(|error| error.public().code).collect();
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        for route in ROUTES {
            let doc = describe(route.operation, &mut generator).unwrap();
            for code in codes(route, &doc) {
                assert!(known.contains(&code), "{code}");
            }
        }
    }

    #[test]
    fn every_example_of_a_body_can_be_sent() {
        fn assert_reads<T: Input>(example: &Value) {
            assert!(Fields::read_root::<T>(example.clone()).is_ok(), "{example}");
        }
        let document = document();
        let example = |path: &str, method: &str| {
            document["paths"][path][method]["requestBody"]["content"]["application/json"]["example"].clone()
        };
        assert_reads::<NewKeyInput>(&example("/v1/keys", "post"));
        assert_reads::<KeyChanges>(&example("/v1/keys/{key_id}", "patch"));
        assert_reads::<Rotation>(&example("/v1/keys/{key_id}/rotate", "post"));
        assert_reads::<Leak>(&example("/v1/keys/revoke-leaked", "post"));
        assert_reads::<NewProject>(&example("/v1/projects", "post"));
        assert_reads::<ProjectChanges>(&example("/v1/projects/{project_id}", "patch"));
        assert_reads::<NewAgent>(&example("/v1/agents", "post"));
        assert_reads::<onerun_domain::AgentPatch>(&example("/v1/agents/{agent_id}", "patch"));
        assert_reads::<NewObjective>(&example("/v1/objectives", "post"));
        assert_reads::<onerun_domain::ObjectivePatch>(&example("/v1/objectives/{objective_id}", "patch"));
        assert_reads::<NewSimulation>(&example("/v1/simulations", "post"));
        assert_reads::<ResponseInput>(&examples::input());
    }
}
