//! Conversations, their messages, and the turns that workers take.

use http::Method;
use onerun_auth::{Access, Scope};
use onerun_domain::{Conversation, ConversationStatus, MAX_ATTEMPTS, MessageText, PageRequest};
use onerun_engine::TurnCall;
use onerun_store::{ConversationList, EvaluatedConversation, ProjectStore, StoredReply};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    ApiError, App, Handler, Idempotency, Parameters, Response, Route,
    fields::{Fields, Input, List, MessageWord, Nested, TextWord},
    out::{ContentOut, ConversationOut, ItemOut, PageOut, StartedOut},
    query::{Params, Reader, Whole, long_page, page},
    request::{Call, done, reply},
    simulations,
};

/// How many messages one call may bring, and how many parts a message may have.
const MAX_MESSAGES: usize = 50;
const MAX_PARTS: usize = 50;

/// `GET /v1/simulations/{simulation_id}/conversations`
pub static LIST: Route = Route {
    operation: "list_conversations",
    method: Method::GET,
    path: "/v1/simulations/{simulation_id}/conversations",
    access: Access::Requires(Scope::ConversationsRead),
    query: Parameters::of::<ConversationQuery>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(list(app, project, call))),
};

/// `GET …/conversations/{conversation_id}`
pub static GET: Route = Route {
    operation: "get_conversation",
    method: Method::GET,
    path: "/v1/simulations/{simulation_id}/conversations/{conversation_id}",
    access: Access::Requires(Scope::ConversationsRead),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(get(app, project, call))),
};

/// `POST …/conversations/{conversation_id}/start`
pub static START: Route = Route {
    operation: "start_conversation",
    method: Method::POST,
    path: "/v1/simulations/{simulation_id}/conversations/{conversation_id}/start",
    access: Access::Requires(Scope::ConversationsWrite),
    query: Parameters::of::<()>(),
    idempotency: Idempotency::Recorded,
    handler: Handler::InProject(|app, project, call| Box::pin(start(app, project, call))),
};

/// `POST …/conversations/{conversation_id}/end`
pub static END: Route = Route {
    operation: "end_conversation",
    method: Method::POST,
    path: "/v1/simulations/{simulation_id}/conversations/{conversation_id}/end",
    access: Access::Requires(Scope::ConversationsWrite),
    query: Parameters::of::<AttemptQuery>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(end(app, project, call))),
};

/// `GET …/conversations/{conversation_id}/items`
pub static LIST_ITEMS: Route = Route {
    operation: "list_items",
    method: Method::GET,
    path: "/v1/simulations/{simulation_id}/conversations/{conversation_id}/items",
    access: Access::Requires(Scope::ConversationsRead),
    query: Parameters::of::<ItemQuery>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(list_items(app, project, call))),
};

/// `POST …/conversations/{conversation_id}/items`, which only reads: the published service has no other.
pub static READ_ITEMS: Route = Route {
    operation: "read_items",
    method: Method::POST,
    path: "/v1/simulations/{simulation_id}/conversations/{conversation_id}/items",
    access: Access::Requires(Scope::ConversationsRead),
    query: Parameters::of::<ItemQuery>(),
    idempotency: Idempotency::None,
    handler: Handler::InProject(|app, project, call| Box::pin(list_items(app, project, call))),
};

/// `POST …/conversations/{conversation_id}/responses`
pub static RESPOND: Route = Route {
    operation: "create_response",
    method: Method::POST,
    path: "/v1/simulations/{simulation_id}/conversations/{conversation_id}/responses",
    access: Access::Requires(Scope::ConversationsWrite),
    query: Parameters::of::<AttemptQuery>(),
    idempotency: Idempotency::InConversation,
    handler: Handler::InProject(|app, project, call| Box::pin(respond(app, project, call))),
};

pub(crate) struct ConversationQuery {
    status: Option<ConversationStatus>,
    page: PageRequest,
}

impl Params for ConversationQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let status = reader.optional(
            "status",
            "Only conversations in this status. Conversations come newest first; those asked for as `queued` come \
             longest waiting first.",
        );
        let page = page(reader);
        Some(Self { status: status?, page: page? })
    }
}

pub(crate) struct ItemQuery {
    attempt: Option<u32>,
    page: PageRequest,
}

impl Params for ItemQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let attempt = reader.optional::<Whole<1, MAX_ATTEMPTS>>(
            "attempt",
            "The messages of this attempt; of the current one if nothing is said.",
        );
        let page = long_page(reader);
        Some(Self { attempt: attempt?.map(|attempt| attempt.0), page: page? })
    }
}

pub(crate) struct AttemptQuery(Option<u32>);

impl Params for AttemptQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let attempt = reader.optional::<Whole<1, MAX_ATTEMPTS>>(
            "attempt",
            "The attempt that the worker started. If the conversation is at another by now, the call is refused, and \
             nothing of it is kept.",
        );
        Some(Self(attempt?.map(|attempt| attempt.0)))
    }
}

/// What a worker sends for the persona's next words.
pub(crate) struct ResponseInput {
    input: Option<List<Nested<MessageInput>, 0, MAX_MESSAGES>>,
}

struct MessageInput {
    content: List<Nested<PartInput>, 1, MAX_PARTS>,
}

struct PartInput {
    text: MessageText,
}

impl Input for ResponseInput {
    fn read(fields: &mut Fields) -> Option<Self> {
        let input = fields.optional(
            "input",
            "What the agent says; null or an empty list to let the persona open. If the persona's last words are not \
             answered yet, null gets them again.",
        );
        Some(Self { input: input? })
    }
}

impl Input for MessageInput {
    fn read(fields: &mut Fields) -> Option<Self> {
        let word = fields.required::<MessageWord>("type", "Always `message`.");
        let content = fields.required("content", "The parts of the message.");
        word.and(Some(Self { content: content? }))
    }
}

impl Input for PartInput {
    fn read(fields: &mut Fields) -> Option<Self> {
        let word = fields.required::<TextWord>("type", "Always `text`.");
        let text = fields.required("text", "What is said.");
        word.and(Some(Self { text: text? }))
    }
}

impl ResponseInput {
    fn messages(self) -> Vec<Vec<MessageText>> {
        let messages = self.input.map(|list| list.0).unwrap_or_default();
        messages
            .into_iter()
            .map(|Nested(message)| message.content.0.into_iter().map(|Nested(part)| part.text).collect())
            .collect()
    }
}

/// What the persona says.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Response")]
pub(crate) struct ResponseOut {
    /// Whether the conversation is over with it.
    ended: bool,
    /// The persona's words; empty if it says nothing.
    output: Vec<OutputMessage>,
}

/// A message of the persona.
#[derive(Serialize, JsonSchema)]
struct OutputMessage {
    /// Always `message`.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "message"))]
    kind: &'static str,
    content: Vec<ContentOut>,
}

impl From<StoredReply> for ResponseOut {
    fn from(reply: StoredReply) -> Self {
        let message = |text| OutputMessage { kind: "message", content: vec![ContentOut::text(text)] };
        Self { ended: reply.ended, output: reply.text.map(message).into_iter().collect() }
    }
}

async fn list(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ConversationQuery { status, page } = call.query()?;
    let simulation = simulations::find(project, &call).await?.simulation;
    if status == Some(ConversationStatus::Queued) {
        app.note_poll(call.principal(), project.project_id(), &simulation.agent_id);
    }
    let conversations = project.conversations(&simulation.id, ConversationList { status, page }).await?;
    reply(&PageOut::of(conversations, ConversationOut::from))
}

async fn get(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    reply(&ConversationOut::from(find(project, &call).await?))
}

async fn start(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) =
        (call.id("simulation_id", "Simulation")?, call.id("conversation_id", "Conversation")?);
    let recorder = call.recorder();
    let record = move |started: &Conversation| recorder(&StartedOut::from(started.clone()));
    let (conversation, agent) = app.engine().start_conversation(project, &simulation, &id, record).await?;
    if let Some(agent) = agent {
        app.note_poll(call.principal(), project.project_id(), &agent);
    }
    reply(&StartedOut::from(conversation))
}

async fn end(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) =
        (call.id("simulation_id", "Simulation")?, call.id("conversation_id", "Conversation")?);
    let AttemptQuery(attempt) = call.query()?;
    app.engine().end_conversation(project, &simulation, &id, attempt).await?;
    done("Conversation ended successfully")
}

async fn list_items(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ItemQuery { attempt, page } = call.query()?;
    let conversation = find(project, &call).await?.conversation;
    let attempt = attempt.unwrap_or(conversation.attempt);
    let items = project.items(&conversation.simulation_id, &conversation.id, attempt, page).await?;
    reply(&PageOut::of(items, ItemOut::from))
}

async fn respond(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) =
        (call.id("simulation_id", "Simulation")?, call.id("conversation_id", "Conversation")?);
    let AttemptQuery(attempt) = call.query()?;
    let key = call.idempotency_key()?;
    let messages = call.body::<ResponseInput>()?.messages();
    let turn = TurnCall { messages, attempt, key };
    let answer = app.engine().respond(project, &simulation, &id, turn).await?;
    reply(&ResponseOut::from(answer))
}

async fn find(project: &dyn ProjectStore, call: &Call) -> Result<EvaluatedConversation, ApiError> {
    let (simulation, id) =
        (call.id("simulation_id", "Simulation")?, call.id("conversation_id", "Conversation")?);
    match project.conversation(&simulation, &id).await? {
        Some(conversation) => Ok(conversation),
        None if project.simulation(&simulation).await?.is_none() => {
            Err(ApiError::NotFound { what: "Simulation" })
        }
        None => Err(ApiError::NotFound { what: "Conversation" }),
    }
}
