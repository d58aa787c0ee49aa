//! Conversations in responses.

use onerun_domain::{Conversation, EndedAttempt, Persona};
use onerun_store::{ConversationSummary, EvaluatedConversation};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    openapi::examples::{CHANGED, CONVERSATION, MADE, OBJECTIVE, PERSONA, SIMULATION},
    operation::Example,
    views::{
        ConversationStatusOut, EndReasonOut, EvaluationOut, EvaluationStatusOut, EvaluationSummaryOut,
        PersonaOut, Time,
    },
};

/// An attempt to hold a conversation that is over.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EndedAttempt")]
struct EndedAttemptOut {
    /// Its number, from 1.
    attempt: u32,
    /// How it ended. After `lease_expired` the conversation is queued again, unless it was the last attempt.
    end_reason: EndReasonOut,
    /// Why the worker failed, in its own words; null if it said nothing, as when it crashed.
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
    /// Its number within the simulation.
    seq_id: u32,
    status: ConversationStatusOut,
    /// Why it is over; null until it is.
    end_reason: Option<EndReasonOut>,
    evaluation_status: EvaluationStatusOut,
    /// Which attempt it is at.
    attempt: u32,
    /// The attempts that are over, oldest first, and how each ended.
    ended_attempts: Vec<EndedAttemptOut>,
    /// How many messages the attempt has.
    item_count: u32,
    /// When its worker is given up, unless it calls before.
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
            lease_expires_at: conversation.lease_expires_at.map(Time),
            metadata: Map::new(),
            created_at: Time(conversation.created_at),
            updated_at: Time(conversation.updated_at),
        }
    }
}

/// A conversation, its persona and the verdicts on it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
pub(crate) struct ConversationOut {
    #[serde(flatten)]
    conversation: ConversationFields,
    /// The verdicts, in the order the simulation names its objectives.
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

/// A conversation as lists show it. `get_conversation` has the criteria of the objectives.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConversationSummary")]
pub(crate) struct ConversationSummaryOut {
    #[serde(flatten)]
    conversation: ConversationFields,
    /// The verdicts, in the order the simulation names its objectives.
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

/// That a conversation was started.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Started")]
pub(crate) struct StartedOut {
    /// What was done, in a sentence.
    pub message: &'static str,
    /// Which attempt was started. Sent back as `attempt`, it keeps calls for a lost attempt from reaching the next.
    pub attempt: u32,
    /// When the worker is given up, unless it calls before.
    pub lease_expires_at: Option<Time>,
}

impl From<Conversation> for StartedOut {
    fn from(conversation: Conversation) -> Self {
        Self {
            message: "Conversation started successfully",
            attempt: conversation.attempt,
            lease_expires_at: conversation.lease_expires_at.map(Time),
        }
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
        })
    }
}
