//! Examples for the OpenAPI document. A test checks each against its schema.

use jiff::Timestamp;
use onerun_auth::{
    Excess, InvalidCause, KeyChangeError, KeyId, NO_HASH, Preset, RateLimit, Refusal as AuthRefusal, Scope,
    ScopeSet,
};
use onerun_domain::{
    ApprovalStatus, BatchStatus, ConversationStatus, ModelName, Refusal, Resource, SimulationStatus,
};
use onerun_engine::{ModelError, OperationError};
use onerun_store::StoreError;
use serde_json::{Value, json};

use crate::{
    ApiError,
    audit::AuditPageOut,
    conversations::ResponseOut,
    error::{FieldError, Location},
    operation::Example,
    results::ResultsOut,
    views::{MadeKeyOut, UsageOut},
    whoami::WhoamiOut,
};

/// One error of each kind.
pub(super) fn errors() -> Vec<ApiError> {
    let refusals = [
        Refusal::SimulationOver { status: SimulationStatus::Completed },
        Refusal::SimulationNotRunning { status: SimulationStatus::Canceled },
        Refusal::ConversationNotQueued { status: ConversationStatus::InProgress },
        Refusal::ConversationNotStarted,
        Refusal::ConversationRequeued { attempt: 2 },
        Refusal::ConversationOver { status: ConversationStatus::Ended },
        Refusal::AttemptOver { attempt: 1 },
        Refusal::TurnInProgress { until: Timestamp::UNIX_EPOCH },
        Refusal::TurnLost,
        Refusal::StaleAttempt { current: 2 },
        Refusal::PersonaDecided { status: ApprovalStatus::Approved },
        Refusal::SimulationNotOver { status: SimulationStatus::InProgress },
        Refusal::SimulationNotEnded { status: SimulationStatus::InProgress },
        Refusal::NothingToJudge,
        Refusal::TranscriptsDeleted { at: Timestamp::UNIX_EPOCH },
        Refusal::BatchOver { status: BatchStatus::Completed },
        Refusal::BatchStopping,
        Refusal::AgentArchived,
        Refusal::ProjectArchived,
        Refusal::TooManyWebhooks,
        Refusal::WebhookDisabled,
        Refusal::TooManyPendingDeliveries,
        Refusal::DeliveryPending { at: Timestamp::UNIX_EPOCH },
    ];
    let refusals = refusals.map(|refusal| ApiError::Operation(OperationError::Refused(refusal)));
    let replacement = KeyId::restore(NEW_KEY).unwrap_or(KeyId::ROOT);
    let changes_of_keys = [
        KeyChangeError::Revoked,
        KeyChangeError::Expired,
        KeyChangeError::Disabled,
        KeyChangeError::Replaced { by: replacement },
        KeyChangeError::TooManyKeys { limit: 10_000 },
        KeyChangeError::TooManyKeysOfFamily { limit: 1_000 },
        KeyChangeError::ExceedsOwnKey {
            excess: vec![Excess::Scopes(ScopeSet::from_iter([Scope::ProjectsWrite])), Excess::Lifetime],
        },
    ];
    let changes_of_keys = changes_of_keys.map(ApiError::Key);
    let not_found = [
        Resource::Project,
        Resource::Agent,
        Resource::Objective,
        Resource::Simulation,
        Resource::Persona,
        Resource::Conversation,
        Resource::Evaluation,
        Resource::Monitor,
        Resource::Batch,
        Resource::Webhook,
        Resource::Delivery,
        Resource::Key,
    ];
    let not_found = not_found.map(ApiError::NotFound);
    let wrong_field =
        FieldError { location: Location::Body("/name".to_owned()), detail: "must not be empty".to_owned() };
    let key_id = KeyId::restore(KEY_ID).unwrap_or(KeyId::ROOT);
    let limit = RateLimit::new(100, 60).map(|limit| limit.status(101, Timestamp::UNIX_EPOCH));
    let limited = limit.map(|status| AuthRefusal::RateLimited { key_id: key_id.clone(), status });
    let of_keys = [
        AuthRefusal::ExpiredKey { key_id: key_id.clone() },
        AuthRefusal::DisabledKey { key_id: key_id.clone() },
        AuthRefusal::RevokedKey { key_id: key_id.clone() },
        AuthRefusal::WrongAddress { key_id },
    ];
    let of_keys = of_keys.into_iter().chain(limited).map(ApiError::Auth);
    let others = [
        ApiError::Auth(AuthRefusal::MissingKey),
        ApiError::Auth(AuthRefusal::InvalidKey { cause: InvalidCause::Unknown }),
        ApiError::Auth(AuthRefusal::InsufficientScope { needed: Scope::SimulationsWrite }),
        ApiError::Auth(AuthRefusal::WrongProject),
        ApiError::Auth(AuthRefusal::AuthUnavailable),
        ApiError::Invalid(vec![wrong_field]),
        ApiError::TooLarge { max_bytes: crate::MAX_BODY_BYTES },
        ApiError::UnsupportedMediaType,
        ApiError::Unreadable,
        ApiError::AnswerNotSent,
        ApiError::Operation(OperationError::NoObjectives(Vec::new())),
        ApiError::Operation(OperationError::IdempotencyKeyReused),
        ApiError::Operation(OperationError::PersonasNotReady { approved: 3, target: 10 }),
        ApiError::Operation(OperationError::ModelNotAllowed {
            name: ModelName::offline(),
            allowed: Vec::new(),
        }),
        ApiError::Operation(OperationError::ModelWithoutPrice(ModelName::offline())),
        ApiError::Operation(OperationError::TurnPending),
        ApiError::Operation(OperationError::Model(ModelError::unavailable(""))),
        ApiError::Operation(OperationError::Store(StoreError::Unavailable("".into()))),
        ApiError::Operation(OperationError::Store(StoreError::Full("".into()))),
        ApiError::Internal("".into()),
    ];
    others.into_iter().chain(of_keys).chain(not_found).chain(refusals).chain(changes_of_keys).collect()
}

pub(crate) const MADE: &str = "2026-11-23T09:30:00.000000Z";
pub(crate) const END: &str = "2027-02-21T09:30:00.000000Z";
pub(crate) const CHANGED: &str = "2026-11-23T09:30:04.250000Z";
pub(crate) const PROJECT: &str = "p3Xk81LmQzTb";
pub(crate) const AGENT: &str = "a7Gd20HsWvYc";
pub(crate) const OBJECTIVE: &str = "o5Rn64JfEuKx";
pub(crate) const SIMULATION: &str = "sV1StGXR8Z5jdHi6BmyT0";
pub(crate) const WEBHOOK: &str = "w9Kd43PtXzLa";
pub(crate) const DELIVERY: &str = "dQ7VbNc2LmXe8RtYu5Kp1";
pub(crate) const PERSONA: &str = "q9Yd7cJ2MvL0aWnEoRt4P";
pub(crate) const MONITOR: &str = "m4Wf93TcNqRs";
pub(crate) const BATCH: &str = "b6Tn82HkLqYd";
pub(crate) const MONITOR_RUN: &str = "rK8pX2vTz6NcQwE1YbLs5";
pub(crate) const KEY_ID: &str = "AAECAwQFBgcI";
pub(crate) const NEW_KEY: &str = "hB2mQ9xTzL0v";
pub(crate) const CONVERSATION: &str = "cM3hK8xQ5ZrT1uVbN6wJd";

impl Example for WhoamiOut {
    fn example() -> Value {
        json!({
            "key_id": KEY_ID,
            "kind": "managed",
            "name": "Pipeline of the shop",
            "scopes": Preset::Ci.scopes().iter().map(Scope::as_str).collect::<Vec<_>>(),
            "all_projects": false,
            "project_ids": [PROJECT],
            "expires_at": END,
            "allowed_cidrs": null,
            "rate_limit": { "requests": 100, "window_seconds": 60 },
            "last_used_at": CHANGED,
        })
    }
}

pub(crate) fn new_key_example() -> Value {
    json!({
        "name": "Pipeline of the shop",
        "preset": "ci",
        "project_ids": [PROJECT],
        "expires_in_days": 90,
        "rate_limit": { "requests": 100, "window_seconds": 60 },
    })
}

/// A key with a wrong checksum, so that secret scanners do not report the document.
pub(crate) fn secret_example(id: &str) -> String {
    format!("onr_{id}{}", "x".repeat(48))
}

pub(crate) fn rotated_key_example() -> Value {
    let mut key = MadeKeyOut::example();
    key["id"] = json!(NEW_KEY);
    key["prefix"] = json!(format!("onr_{NEW_KEY}"));
    key["replaces"] = json!(KEY_ID);
    key["key"] = json!(secret_example(NEW_KEY));
    key
}

impl Example for AuditPageOut {
    fn example() -> Value {
        let hash = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
        json!({
            "data": [{
                "sequence": 1,
                "at": MADE,
                "action": "create_key",
                "key_id": KEY_ID,
                "actor": {
                    "key_id": "root",
                    "address": "203.0.113.9",
                    "user_agent": "curl/8.14.1",
                    "request_id": "req_4q9XBIDyvn2vSFhNmCW3D",
                },
                "details": { "name": "Pipeline of the shop", "projects": PROJECT },
                "previous_hash": NO_HASH,
                "hash": hash,
            }],
            "has_more": false,
            "next_cursor": null,
            "head": { "sequence": 1, "hash": hash },
            "archived": null,
        })
    }
}

pub(crate) fn new_simulation_example() -> Value {
    json!({
        "agent_id": AGENT,
        "name": "Refunds, nightly",
        "scenario": "A parcel arrived damaged, and the customer wants the money back.",
        "target_conversations": 20,
        "target_personas": 10,
        "auto_approve": true,
        "max_turns": 12,
        "objective_ids": [OBJECTIVE],
        "seed": 7,
    })
}

pub(crate) fn new_batch_example() -> Value {
    let mut defaults = new_simulation_example();
    if let Some(defaults) = defaults.as_object_mut() {
        defaults.remove("agent_id");
    }
    json!({
        "name": "Refunds, all agents",
        "defaults": defaults,
        "items": [{ "agent_id": AGENT }, { "agent_id": AGENT, "max_turns": 12 }],
        "max_in_flight": 10,
        "max_in_flight_per_agent": 2,
        "metadata": { "team": "qa" },
    })
}

pub(crate) fn new_import_example() -> Value {
    json!({
        "agent_id": AGENT,
        "name": "Refunds of last week",
        "objective_ids": [OBJECTIVE],
        "conversations": [{
            "case": "A damaged parcel",
            "messages": [
                { "role": "system", "content": "You answer questions about orders." },
                { "role": "user", "content": "My parcel arrived damaged." },
                { "role": "assistant", "content": "I am sorry. Would you like a refund?" },
            ],
            "end_reason": "persona_decided",
            "metadata": { "ticket": "4711" },
        }],
    })
}

pub(crate) fn new_monitor_example() -> Value {
    json!({
        "name": "Refunds, each morning",
        "simulation": new_simulation_example(),
        "schedule": { "expression": "cron(0 9 ? * MON-FRI *)", "timezone": "Europe/Berlin" },
        "gate": { "min_pass_rate": 0.9, "on": "rate" },
        "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.7 },
    })
}

pub(crate) fn new_webhook_example() -> Value {
    json!({
        "url": "https://example.com/hooks/onerun",
        "description": "Tells the team",
        "event_types": ["simulation.failed", "monitor.alert", "monitor.recovered"],
    })
}

fn scores() -> Value {
    json!({
        "evaluated": 20,
        "passed": 18,
        "failed": 2,
        "inconclusive": 0,
        "mean_score": 0.9,
        "pass_rate": 0.9,
        "pass_rate_interval": { "low": 0.699, "high": 0.972 },
    })
}

impl Example for ResultsOut {
    fn example() -> Value {
        let mut objective = scores();
        objective["objective_id"] = json!(OBJECTIVE);
        objective["version"] = json!(1);
        objective["name"] = json!("Offers a refund");
        json!({
            "simulation_id": SIMULATION,
            "status": "completed",
            "overall": scores(),
            "objectives": [objective],
            "personas": { "target": 10, "pending": 0, "approved": 10, "rejected": 0 },
            "conversations": {
                "target": 20, "queued": 0, "in_progress": 0, "ended": 20, "failed": 0, "retried": 1,
            },
            "endings": { "persona_ended": 17, "agent_ended": 1, "turn_limit": 2 },
            "evaluations": { "pending": 0, "in_progress": 0, "completed": 20, "failed": 0, "not_applicable": 0 },
            "persona_faults": { "critical": 0, "minor": 1 },
            "failures": { "lease_expired": 0, "reply_late": 0, "agent_failed": 0, "stopped": 0, "evaluations": 0, "last_failure_reason": null },
            "models": { "persona": "openai:gpt-5.4-mini", "reply": "openai:gpt-5.4-mini", "judge": "openai:gpt-5.4" },
            "usage": { "total": UsageOut::example(), "models": [] },
        })
    }
}

pub(crate) fn response_input_example() -> Value {
    json!({
        "input": [{ "type": "message", "content": [{ "type": "text", "text": "Would you like a refund?" }] }],
    })
}

impl Example for ResponseOut {
    fn example() -> Value {
        json!({
            "ended": false,
            "output": [{ "type": "message", "content": [{ "type": "text", "text": "Yes, please." }] }],
        })
    }
}
