//! Conversations, their messages, and the turns that workers take.

use onerun_auth::{Access, Scope};
use onerun_domain::{
    Conversation, ConversationStatus, FailureReason, MAX_ATTEMPTS, MessageText, PageRequest, Resource,
};
use onerun_engine::{OperationError, PendingReply, TurnRequest};
use onerun_store::{CountedOutcome, EvaluatedConversation, ListConversations, ProjectStore, StoredReply};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{
    ApiError, App, LateBody, Response,
    fields::{Integer, List, MessageWord, Nested, TextWord, input},
    openapi::examples::response_input_example,
    operation::operations,
    query::{Params, Reader, Whole, large_page, page},
    request::{Call, DoneOut, done, reply},
    simulations,
    views::{ContentOut, ConversationOut, ConversationSummaryOut, ItemOut, LeaseOut, PageOut, StartedOut},
};

/// The maximum number of messages in a call, and of parts in a message.
const MAX_MESSAGES: usize = 50;
const MAX_PARTS: usize = 50;

const ENDED: &str = "Conversation ended successfully";
const FAILED: &str = "Failure recorded";

operations! {
    LIST_CONVERSATIONS {
        route: GET "/v1/simulations/{simulation_id}/conversations",
        handler: Project(list_conversations),
        access: Access::Requires(Scope::ConversationsRead),
        query: ConversationQuery,
        summary: "List a simulation's conversations",
        output: PageOut<ConversationSummaryOut>,
        errors: ["simulation_not_found"],
    }
    GET_CONVERSATION {
        route: GET "/v1/simulations/{simulation_id}/conversations/{conversation_id}",
        handler: Project(get_conversation),
        access: Access::Requires(Scope::ConversationsRead),
        summary: "Get a conversation",
        output: ConversationOut,
        errors: ["simulation_not_found", "conversation_not_found"],
    }
    START_CONVERSATION {
        route: POST "/v1/simulations/{simulation_id}/conversations/{conversation_id}/start",
        handler: Project(start_conversation),
        access: Access::Requires(Scope::ConversationsWrite),
        idempotency: Recorded,
        summary: "Start a queued conversation",
        description: "The worker gets a lease, which every call to start or respond renews. When the lease expires, \
            the conversation is queued again as a new attempt with an empty transcript; after the third \
            attempt it fails.",
        output: StartedOut,
        errors: [
            "simulation_not_found",
            "conversation_not_found",
            "conversation_not_queued",
            "simulation_not_running",
        ],
    }
    RENEW_CONVERSATION {
        route: POST "/v1/simulations/{simulation_id}/conversations/{conversation_id}/renew",
        handler: Project(renew_conversation),
        access: Access::Requires(Scope::ConversationsWrite),
        summary: "Renew a conversation's lease",
        description: "For workers whose agent takes long: the lease continues from now, without a turn. A refusal means \
            that the worker no longer holds the attempt, and that its work on it is lost.",
        input: AttemptInput = json!({ "attempt": 1 }),
        output: LeaseOut,
        errors: [
            "simulation_not_found",
            "conversation_not_found",
            "conversation_not_started",
            "attempt_over",
            "simulation_not_running",
            "stale_attempt",
        ],
    }
    END_CONVERSATION {
        route: POST "/v1/simulations/{simulation_id}/conversations/{conversation_id}/end",
        handler: Project(end_conversation),
        access: Access::Requires(Scope::ConversationsWrite),
        query: AttemptQuery,
        summary: "End a conversation",
        description: "On a conversation that has ended already, this changes nothing.",
        output: DoneOut = json!({ "message": ENDED }),
        errors: [
            "simulation_not_found",
            "conversation_not_found",
            "conversation_not_started",
            "conversation_over",
            "simulation_not_running",
            "stale_attempt",
            "turn_in_progress",
        ],
    }
    FAIL_CONVERSATION {
        route: POST "/v1/simulations/{simulation_id}/conversations/{conversation_id}/fail",
        handler: Project(fail_conversation),
        access: Access::Requires(Scope::ConversationsWrite),
        summary: "Report that the agent failed",
        description: "For workers whose agent crashed, timed out or cannot be reached. The attempt ends at once: the \
            conversation is queued again as a new attempt, and fails after the third. The reason is shown with the \
            attempt. Repeating the report changes nothing.",
        input: FailureInput = json!({ "attempt": 1, "reason": "The agent did not answer within 60 seconds." }),
        output: DoneOut = json!({ "message": FAILED }),
        errors: [
            "simulation_not_found",
            "conversation_not_found",
            "conversation_not_started",
            "conversation_over",
            "simulation_not_running",
            "stale_attempt",
            "turn_in_progress",
        ],
    }
    LIST_ITEMS {
        route: GET "/v1/simulations/{simulation_id}/conversations/{conversation_id}/items",
        handler: Project(list_items),
        access: Access::Requires(Scope::ConversationsRead),
        query: ItemQuery,
        summary: "List a conversation's messages, oldest first",
        output: PageOut<ItemOut>,
        errors: ["simulation_not_found", "conversation_not_found"],
    }
    READ_ITEMS {
        route: POST "/v1/simulations/{simulation_id}/conversations/{conversation_id}/items",
        handler: Project(read_items),
        access: Access::Requires(Scope::ConversationsRead),
        query: ItemQuery,
        summary: "List a conversation's messages, oldest first",
        description: "The same as `list_items`, by the method of the published service. A body is ignored.",
        output: PageOut<ItemOut>,
        errors: ["simulation_not_found", "conversation_not_found"],
    }
    CREATE_RESPONSE {
        route: POST "/v1/simulations/{simulation_id}/conversations/{conversation_id}/responses",
        handler: Project(create_response),
        access: Access::Requires(Scope::ConversationsWrite),
        query: AttemptQuery,
        idempotency: InConversation,
        summary: "Send the agent's messages and get the persona's reply",
        description: "One call at a time for each conversation. The first attempt need not be started before. A \
            refused or failed call stores nothing. If the model is slow, the answer is 503 with the code `turn_pending` and \
            the reply is still generated: the same messages, sent again, get it, and it is generated only once.",
        input: ResponseInput = response_input_example(),
        output: ResponseOut,
        errors: [
            "simulation_not_found",
            "conversation_not_found",
            "conversation_over",
            "conversation_requeued",
            "simulation_not_running",
            "stale_attempt",
            "turn_in_progress",
            "turn_lost",
            "turn_pending",
            "model_unavailable",
        ],
    }
}

pub(crate) struct ConversationQuery {
    status: Option<ConversationStatus>,
    outcome: Option<CountedOutcome>,
    page: PageRequest,
}

impl Params for ConversationQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let status = reader.optional(
            "status",
            "Only conversations in this status. Conversations come newest first; those asked for as `queued` come \
             longest waiting first.",
        );
        let outcome = reader.optional(
            "outcome",
            "Only conversations that the results count with this outcome: `failed` if an objective failed, `inconclusive` \
             if one is undecided, and else `passed`. Conversations with a critical fault of the persona have none.",
        );
        let objective = reader.optional(
            "objective_id",
            "With `outcome`: the outcome of this objective instead of the whole conversation.",
        );
        let page = page(reader);
        let outcome = match (outcome?, objective?) {
            (Some(outcome), objective) => Some(CountedOutcome { outcome, objective }),
            (None, None) => None,
            (None, Some(_)) => {
                reader.refuse("objective_id", "needs `outcome`; give both");
                return None;
            }
        };
        Some(Self { status: status?, outcome, page: page? })
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
        let page = large_page(reader);
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

input! {
    /// The body of `create_response`.
    pub(crate) struct ResponseInput {
        input: Option<List<Nested<MessageInput>, 0, MAX_MESSAGES>> = optional(
            "The agent's messages. With null or an empty list the persona opens the conversation. If the persona's last \
             message is not answered yet, null gets it again."
        ),
    }
}

input! {
    /// The body of `renew_conversation`.
    pub(crate) struct AttemptInput {
        attempt: u32 = required("The attempt that the worker started.")
            => |attempt: Integer<1, MAX_ATTEMPTS>| attempt.0,
    }
}

input! {
    /// The body of `fail_conversation`.
    pub(crate) struct FailureInput {
        attempt: u32 = required("The attempt that the worker started.")
            => |attempt: Integer<1, MAX_ATTEMPTS>| attempt.0,
        reason: FailureReason = required("How the agent failed, for people to read."),
    }
}

input! {
    struct MessageInput {
        #[expect(dead_code, reason = "reading it checks the word")]
        r#type: MessageWord = required("Always `message`."),
        content: List<Nested<PartInput>, 1, MAX_PARTS> = required("The parts of the message."),
    }
}

input! {
    struct PartInput {
        #[expect(dead_code, reason = "reading it checks the word")]
        r#type: TextWord = required("Always `text`."),
        text: MessageText = required("The text."),
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

/// The persona's reply.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Response")]
pub(crate) struct ResponseOut {
    /// Whether the reply ends the conversation.
    ended: bool,
    /// The persona's message; empty if it says nothing.
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

async fn list_conversations(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ConversationQuery { status, outcome, page } = call.query()?;
    let simulation = simulations::find(project, &call).await?.simulation;
    if status == Some(ConversationStatus::Queued) {
        app.note_poll(call.principal(), project.project_id(), &simulation.agent_id);
    }
    let conversations =
        project.conversations(&simulation.id, ListConversations { status, outcome, page }).await?;
    reply(&call.page::<_, ConversationSummaryOut>(conversations))
}

async fn get_conversation(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    reply(&ConversationOut::from(find(project, &call).await?))
}

async fn start_conversation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) = (call.id(Resource::Simulation)?, call.id(Resource::Conversation)?);
    let recorder = call.recorder();
    let lease = app.engine().lease();
    let record = move |started: &Conversation| recorder(&StartedOut::new(started, lease));
    let (conversation, agent) = app.engine().start_conversation(project, &simulation, &id, record).await?;
    if let Some(agent) = agent {
        app.note_poll(call.principal(), project.project_id(), &agent);
    }
    reply(&StartedOut::new(&conversation, lease))
}

async fn renew_conversation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) = (call.id(Resource::Simulation)?, call.id(Resource::Conversation)?);
    let AttemptInput { attempt } = call.body()?;
    let renewed = app.engine().renew_conversation(project, &simulation, &id, attempt).await?;
    reply(&LeaseOut::new(&renewed, app.engine().lease()))
}

async fn end_conversation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) = (call.id(Resource::Simulation)?, call.id(Resource::Conversation)?);
    let AttemptQuery(attempt) = call.query()?;
    app.engine().end_conversation(project, &simulation, &id, attempt).await?;
    done(ENDED)
}

async fn fail_conversation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) = (call.id(Resource::Simulation)?, call.id(Resource::Conversation)?);
    let FailureInput { attempt, reason } = call.body()?;
    app.engine().fail_conversation(project, &simulation, &id, attempt, reason).await?;
    done(FAILED)
}

async fn list_items(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ItemQuery { attempt, page } = call.query()?;
    let conversation = find(project, &call).await?.conversation;
    let attempt = attempt.unwrap_or(conversation.attempt);
    let items = project.items(&conversation.simulation_id, &conversation.id, attempt, page).await?;
    reply(&call.page::<_, ItemOut>(items))
}

async fn read_items(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    list_items(app, project, call).await
}

async fn create_response(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let (simulation, id) = (call.id(Resource::Simulation)?, call.id(Resource::Conversation)?);
    let AttemptQuery(attempt) = call.query()?;
    let key = call.idempotency_key()?;
    let messages = call.body::<ResponseInput>()?.messages();
    let turn = TurnRequest { messages, attempt, idempotency_key: key };
    let pending = app.engine().respond(project, &simulation, &id, turn).await?;
    let turn = app.engine().turn();
    let late_after = app.late_after().filter(|after| *after < turn);
    match (pending.within(late_after.unwrap_or(turn)).await, late_after) {
        (Ok(answer), _) => response_to(answer),
        (Err(pending), None) => response_to(pending.leave().await),
        (Err(pending), Some(_)) => Ok(late_response(pending, call.origin().request_id.clone())),
    }
}

fn response_to(answer: Result<StoredReply, OperationError>) -> Result<Response, ApiError> {
    reply(&ResponseOut::from(answer?))
}

/// A response whose body comes when the reply is there.
///
/// The status 200 is sent before that. If the reply fails, the body is the error as it would have been without the
/// status. The published SDK then raises `PARSE_ERROR`, so its worker abandons the attempt, and the conversation is
/// queued again when the lease expires. An empty reply would do more harm: an agent would answer it, and the
/// transcript would have a message that answers nothing.
fn late_response(pending: PendingReply, request_id: String) -> Response {
    LateBody::response(async move {
        let response = response_to(pending.outcome().await).unwrap_or_else(|error| {
            let cause = error.internal();
            tracing::warn!(request_id, cause, "a reply failed after its response had begun: {error}");
            error.response(&request_id, &[])
        });
        response.into_body()
    })
}

async fn find(project: &dyn ProjectStore, call: &Call) -> Result<EvaluatedConversation, ApiError> {
    let (simulation, id) = (call.id(Resource::Simulation)?, call.id(Resource::Conversation)?);
    match project.conversation(&simulation, &id).await? {
        Some(conversation) => Ok(conversation),
        None if project.simulation(&simulation).await?.is_none() => {
            Err(ApiError::NotFound(Resource::Simulation))
        }
        None => Err(ApiError::NotFound(Resource::Conversation)),
    }
}
