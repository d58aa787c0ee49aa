//! Conversations in responses.

use jiff::SignedDuration;
use onerun_domain::{Conversation, EndedAttempt, Persona};
use onerun_engine::ClaimedConversation;
use onerun_store::{ConversationSummary, EvaluatedConversation};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{AGENT, CHANGED, CONVERSATION, MADE, OBJECTIVE, PERSONA, SIMULATION},
    operation::Example,
    views::{
        ConversationStatusOut, EndReasonOut, EvaluationOut, EvaluationStatusOut, EvaluationSummaryOut,
        PersonaFaultOut, PersonaOut, Time,
    },
};

/// An ended attempt to hold a conversation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndedAttempt")]
struct EndedAttemptOut {
    /// Its number, from 1.
    attempt: u32,
    /// How it ended. After `lease_expired`, `reply_late` and `agent_failed` the conversation is queued again, unless it
    /// was the last attempt.
    end_reason: EndReasonOut,
    /// The failure that the worker reported; null if it reported none, as after a crash.
    failure_reason: Option<String>,
    ended_at: Time,
}

impl From<EndedAttempt> for EndedAttemptOut {
    fn from(ended: EndedAttempt) -> Self {
        Self {
            attempt: ended.attempt,
            end_reason: EndReasonOut(ended.end_reason),
            failure_reason: ended.failure_reason,
            ended_at: Time(ended.ended_at),
        }
    }
}

/// A conversation and its persona.
#[derive(Serialize, JsonSchema)]
struct ConversationFields {
    id: String,
    simulation_id: String,
    persona_id: String,
    persona: PersonaOut,
    /// Its number within the simulation, from 1.
    seq_id: u32,
    status: ConversationStatusOut,
    /// Why the conversation ended; null until then.
    end_reason: Option<EndReasonOut>,
    evaluation_status: EvaluationStatusOut,
    /// The number of the current attempt, from 1.
    attempt: u32,
    /// The ended attempts, oldest first.
    ended_attempts: Vec<EndedAttemptOut>,
    /// The number of messages in the current attempt.
    item_count: u32,
    /// The persona's faults, found when the conversation was judged. With a critical one, the conversation
    /// counts neither for nor against the agent.
    persona_faults: Vec<PersonaFaultOut>,
    /// When the worker's lease expires, unless the worker calls before.
    lease_expires_at: Option<Time>,
    metadata: Map<String, Value>,
    created_at: Time,
    updated_at: Time,
}

impl ConversationFields {
    fn of(conversation: Conversation, persona: Persona) -> Self {
        Self {
            id: conversation.id.into(),
            simulation_id: conversation.simulation_id.into(),
            persona_id: conversation.persona_id.into(),
            persona: persona.into(),
            seq_id: conversation.seq,
            status: ConversationStatusOut(conversation.status),
            end_reason: conversation.end_reason.map(EndReasonOut),
            evaluation_status: EvaluationStatusOut(conversation.evaluation_status),
            attempt: conversation.attempt,
            ended_attempts: conversation.ended_attempts.into_iter().map(EndedAttemptOut::from).collect(),
            item_count: conversation.item_count,
            persona_faults: conversation.persona_faults.into_iter().map(PersonaFaultOut::from).collect(),
            lease_expires_at: conversation.lease_expires_at.map(Time),
            metadata: Map::new(),
            created_at: Time(conversation.created_at),
            updated_at: Time(conversation.updated_at),
        }
    }
}

/// A conversation with its persona and its evaluations.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
pub(crate) struct ConversationOut {
    #[serde(flatten)]
    conversation: ConversationFields,
    /// The evaluations, in the order of the simulation's objectives.
    evaluations: Vec<EvaluationOut>,
}

impl From<EvaluatedConversation> for ConversationOut {
    fn from(loaded: EvaluatedConversation) -> Self {
        let EvaluatedConversation { conversation, persona, evaluations } = loaded;
        Self {
            conversation: ConversationFields::of(conversation, persona),
            evaluations: evaluations.into_iter().map(EvaluationOut::from).collect(),
        }
    }
}

/// A conversation in a list. `get_conversation` also returns the objectives' criteria.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationSummary")]
pub(crate) struct ConversationSummaryOut {
    #[serde(flatten)]
    conversation: ConversationFields,
    /// The evaluations, in the order of the simulation's objectives.
    evaluations: Vec<EvaluationSummaryOut>,
}

impl From<ConversationSummary> for ConversationSummaryOut {
    fn from(summary: ConversationSummary) -> Self {
        let ConversationSummary { conversation, persona, evaluations } = summary;
        Self {
            conversation: ConversationFields::of(conversation, persona),
            evaluations: evaluations.into_iter().map(EvaluationSummaryOut::from).collect(),
        }
    }
}

/// The lease of an attempt.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Lease")]
pub(crate) struct LeaseOut {
    /// The number of the attempt.
    pub attempt: u32,
    /// When the worker's lease expires, unless the worker calls before.
    pub lease_expires_at: Option<Time>,
    /// How long the lease is, from each call of the worker.
    pub lease_seconds: i64,
}

impl LeaseOut {
    /// The lease of a conversation, which has this length.
    pub(crate) fn new(conversation: &Conversation, lease: SignedDuration) -> Self {
        Self {
            attempt: conversation.attempt,
            lease_expires_at: conversation.lease_expires_at.map(Time),
            lease_seconds: lease.as_secs(),
        }
    }
}

impl Example for LeaseOut {
    fn example() -> Value {
        json!({ "attempt": 1, "lease_expires_at": "2026-11-23T09:35:00.000000Z", "lease_seconds": 300 })
    }
}

/// Conversations that a claim started.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Claims")]
pub(crate) struct ClaimsOut {
    /// The conversations, in the order in which simulations took turns.
    data: Vec<ClaimedOut>,
}

/// A conversation that a claim started.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Claimed")]
pub(crate) struct ClaimedOut {
    /// The id of the conversation.
    conversation_id: String,
    /// The id of its simulation.
    simulation_id: String,
    /// The id of its agent.
    agent_id: String,
    /// The number of the started attempt. Send it back as `attempt`, so that a call for a lost attempt cannot
    /// reach the next.
    attempt: u32,
    /// When the worker's lease expires, unless the worker calls before.
    lease_expires_at: Option<Time>,
    /// How long the lease is, from each call of the worker.
    lease_seconds: i64,
    /// The simulation's metadata.
    metadata: Map<String, Value>,
}

impl ClaimedOut {
    /// A conversation whose lease has this length.
    pub(crate) fn new(claimed: &ClaimedConversation, lease: SignedDuration) -> Self {
        let ClaimedConversation { conversation, agent, metadata } = claimed;
        let LeaseOut { attempt, lease_expires_at, lease_seconds } = LeaseOut::new(conversation, lease);
        Self {
            conversation_id: conversation.id.to_string(),
            simulation_id: conversation.simulation_id.to_string(),
            agent_id: agent.to_string(),
            attempt,
            lease_expires_at,
            lease_seconds,
            metadata: metadata.as_map().clone(),
        }
    }
}

impl Example for ClaimsOut {
    fn example() -> Value {
        let mut claimed = LeaseOut::example();
        for (name, id) in
            [("conversation_id", CONVERSATION), ("simulation_id", SIMULATION), ("agent_id", AGENT)]
        {
            claimed[name] = id.into();
        }
        claimed["metadata"] = json!({});
        json!({ "data": [claimed] })
    }
}

/// The answer to a started conversation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Started")]
pub(crate) struct StartedOut {
    /// A message for people.
    pub message: &'static str,
    /// The number of the started attempt. Send it back as `attempt`, so that a call for a lost attempt cannot
    /// reach the next.
    pub attempt: u32,
    /// When the worker's lease expires, unless the worker calls before.
    pub lease_expires_at: Option<Time>,
    /// How long the lease is, from each call of the worker.
    pub lease_seconds: i64,
}

impl StartedOut {
    /// The answer about a conversation whose lease has this length.
    pub(crate) fn new(conversation: &Conversation, lease: SignedDuration) -> Self {
        let LeaseOut { attempt, lease_expires_at, lease_seconds } = LeaseOut::new(conversation, lease);
        Self { message: "Conversation started successfully", attempt, lease_expires_at, lease_seconds }
    }
}

impl Example for ConversationOut {
    fn example() -> Value {
        json!({
            "id": CONVERSATION,
            "simulation_id": SIMULATION,
            "persona_id": PERSONA,
            "persona": PersonaOut::example(),
            "seq_id": 1,
            "status": "ended",
            "end_reason": "persona_decided",
            "evaluation_status": "completed",
            "evaluations": [EvaluationOut::example()],
            "attempt": 1,
            "ended_attempts": [{
                "attempt": 1, "end_reason": "persona_decided", "failure_reason": null, "ended_at": CHANGED,
            }],
            "item_count": 5,
            "persona_faults": [],
            "lease_expires_at": null,
            "metadata": {},
            "created_at": MADE,
            "updated_at": CHANGED,
        })
    }
}

impl Example for ConversationSummaryOut {
    fn example() -> Value {
        let mut conversation = ConversationOut::example();
        conversation["evaluations"][0]["objective"] =
            json!({ "id": OBJECTIVE, "version": 1, "name": "Offers a refund" });
        conversation
    }
}

impl Example for StartedOut {
    fn example() -> Value {
        json!({
            "message": "Conversation started successfully",
            "attempt": 1,
            "lease_expires_at": "2026-11-23T09:35:00.000000Z",
            "lease_seconds": 300,
        })
    }
}
