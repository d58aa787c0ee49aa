//! Imports: simulations whose conversations were held elsewhere.

mod messages;

use onerun_auth::{Access, Scope};
use onerun_domain::{
    AgentId, EndReason, ImportedConversation, LeftOutMessages, Metadata, ModelName, Name, NanoDollars,
    NewImport, NewSimulation, ObjectiveId, Scenario,
};
use onerun_store::{ProjectStore, SimulationDetail};
use serde_json::{Value, json};

use self::messages::Messages;
use crate::{
    ApiError, App, Response,
    fields::{Distinct, Errors, Field, Integer, List, METADATA, Nested, input},
    openapi::examples::new_import_example,
    operation::operations,
    request::{Call, reply},
    simulations::{MAX_EXPIRY_SECONDS, MAX_OBJECTIVES},
    views::{SimulationOut, Warned},
};

/// The scenario of an import that names none.
const SCENARIO: &str = "Conversations that were held elsewhere.";

operations! {
    IMPORT_SIMULATION {
        route: POST "/v1/simulations/import",
        handler: Project(import_simulation),
        access: Access::Requires(Scope::SimulationsWrite),
        idempotency: RecordedSimulation,
        summary: "Import conversations that were held elsewhere, as a simulation that judges them",
        description: "The simulation starts at once. In the background its conversations are added, in the order of \
            `conversations`, and judged against the objectives at their newest versions, as if they had been held here. One \
            call makes one simulation, of at most 1,000 conversations and 1 MiB: split what is larger.",
        input: ImportInput = new_import_example(),
        output: Warned<SimulationOut>,
        errors: [
            "agent_not_found",
            "agent_archived",
            "project_archived",
            "objectives_not_found",
            // To a repeated request whose simulation was deleted.
            "simulation_not_found",
            "model_not_allowed",
            "model_without_price",
        ],
    }
}

input! {
    /// The body of `import_simulation`.
    pub(crate) struct ImportInput {
        agent_id: AgentId = required("The agent that spoke in the conversations."),
        name: Name = required("A name for people to read."),
        scenario: Scenario = defaulted(SCENARIO, "The situation of the conversations, for people to read."),
        objective_ids: Vec<ObjectiveId> = defaulted(json!([]), "The objectives, each pinned at its newest version.")
            => |ids: Distinct<ObjectiveId, MAX_OBJECTIVES>| ids.0,
        conversations: Vec<ConversationInput> = required("The conversations.") => |list: ConversationList| {
            list.0.into_iter().map(|Nested(conversation)| conversation).collect()
        },
        judge: Option<ModelName> = optional("The model that judges; that of the deployment by default."),
        metadata: Metadata = defaulted(json!({}), METADATA),
        expires_in_seconds: u32 = defaulted(
            NewSimulation::DEFAULT_EXPIRY_SECONDS,
            "The simulation fails if it is not complete after this time, in seconds."
        ) => |seconds: Integer<1, MAX_EXPIRY_SECONDS>| seconds.0,
        max_cost_usd: Option<NanoDollars> = optional(
            "The simulation fails when its calls to models have cost this many US dollars. Every model needs a known price."
        ),
        max_tokens: Option<u64> = optional(
            "The simulation fails when its calls to models have read and written this many tokens."
        ) => |tokens: Option<Integer<1, { u32::MAX }>>| tokens.map(|tokens| tokens.0.into()),
    }
}

type ConversationList = List<Nested<ConversationInput>, 1, { NewImport::MAX_CONVERSATIONS }>;

input! {
    /// A conversation of an import.
    struct ConversationInput {
        messages: Messages = required(
            "The messages in the order in which they were written, in the format of OpenAI's chat completions. `user` is the \
             person and `assistant` the agent; several messages of one side may follow each other. Messages of `system`, \
             `developer`, `tool` and `function`, and calls of tools, are left out and counted, because nobody said them to \
             the other side. Members other than `role`, `content`, `refusal`, `tool_calls` and `function_call` are ignored."
        ),
        case: Option<Name> = optional(
            "What the conversation is about, such as a question of your test set. It names the persona. A comparison pairs \
             conversations with the same case at the same place of two imports; those without a case it pairs with nothing."
        ),
        end_reason: EndReason = defaulted(
            EndReason::AgentDecided.as_str(),
            "Who ended the conversation, which lines such as `check: persona ended` ask for."
        ) => |reason: HeldEnd| reason.0,
        metadata: Metadata = defaulted(json!({}), "Your own data, at most 16 KiB. It is shown with the persona."),
    }
}

/// Why a conversation that was held to its end is over.
struct HeldEnd(EndReason);

impl Field for HeldEnd {
    fn read(value: Value, pointer: &str, errors: &mut Errors) -> Option<Self> {
        let reason = value.as_str().and_then(EndReason::parse);
        let reason = reason.filter(|reason| EndReason::OF_HELD.contains(reason));
        if reason.is_none() {
            let words = EndReason::OF_HELD.map(EndReason::as_str).join(", ");
            errors.push(pointer, format!("must be one of {words}"));
        }
        reason.map(Self)
    }

    fn schema() -> Value {
        json!({ "type": "string", "enum": EndReason::OF_HELD.map(EndReason::as_str) })
    }
}

impl From<ImportInput> for NewImport {
    fn from(input: ImportInput) -> Self {
        let mut left_out = LeftOutMessages::default();
        let conversation = |input: ConversationInput| {
            let ConversationInput { messages, case, end_reason, metadata } = input;
            left_out = left_out.plus(messages.left_out);
            ImportedConversation { case, end_reason, metadata, messages: messages.said }
        };
        let conversations = input.conversations.into_iter().map(conversation).collect();
        Self {
            agent_id: input.agent_id,
            name: input.name,
            scenario: input.scenario,
            objective_ids: input.objective_ids,
            conversations,
            left_out,
            judge: input.judge,
            metadata: input.metadata,
            expires_in_seconds: input.expires_in_seconds,
            max_cost_usd: input.max_cost_usd,
            max_tokens: input.max_tokens,
        }
    }
}

async fn import_simulation(app: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let new: NewImport = call.body::<ImportInput>()?.into();
    let record = |made: &SimulationDetail| {
        // A repeated request gets the objectives from the store.
        call.record(&Warned::simulation(app, made.clone()).without_objectives())
    };
    let created_by = call.caller()?.key_id().as_str();
    let detail = app.engine().import_simulation(project, new, created_by, record).await?;
    reply(&Warned::simulation(app, detail))
}
