//! OneRun's domain: ids, resources, their state machines, check lines and statistics. Storage,
//! hosting and HTTP are in other crates.
//!
//! Nothing here reads a clock, a random source, a file or the network; time and random bytes are
//! arguments. Every value of these types is valid: text and number types are created only by
//! parsing, and a state changes only by a method that may refuse.

mod agent;
mod agent_endpoint;
mod agreement;
mod alert;
mod batch;
mod check;
mod conversation;
mod digest;
mod evaluation;
mod evaluation_run;
#[cfg(test)]
mod fixtures;
mod id;
mod import;
mod item;
mod job;
mod label;
mod model_name;
mod monitor;
mod new_simulation;
mod number;
mod objective;
mod page;
mod patch;
mod persona;
mod persona_fault;
mod project;
mod refusal;
mod resource;
mod schedule;
mod seed;
mod simulation;
mod source;
mod statistics;
mod text;
mod usage;
mod webhook;

pub use agent::{Agent, AgentPatch};
pub use agent_endpoint::{
    AgentAnswer, AgentEndpoint, HeldConversation, MAX_CALLS_PER_MINUTE, MAX_IN_FLIGHT, MAX_REPLY_SECONDS,
    SealedCredential,
};
pub use agreement::Agreement;
pub use alert::{Alert, AlertChange, AlertEvent, AlertRates, AlertRatesError, AlertState};
pub use batch::{
    Batch, BatchCounts, BatchItem, BatchItemStatus, BatchPart, BatchRef, BatchStatus, BatchView,
    MAX_BATCH_ITEMS, SimulationOverrides, WrongField,
};
pub use check::{Check, CheckLineError, CheckResult, Examination, Redaction, RedactionError, Rubric};
pub use conversation::{
    Conversation, ConversationStatus, EndReason, EndedAttempt, EvaluationStatus, MAX_ATTEMPTS,
    MAX_LOST_ATTEMPTS, TurnClaim, TurnToken,
};
pub use digest::sha256_hex;
pub use evaluation::{
    DELETED_REASON, Evaluation, EvaluationDetails, MAX_ORDINAL, MAX_QUOTES, Outcome, Quote, Score,
};
pub use evaluation_run::{EvaluationRun, EvaluationRunStatus, Outcomes, RunResult};
pub use id::{
    AgentId, BatchId, ConversationId, EvaluationId, EvaluationRunId, IdError, ItemId, MonitorId,
    MonitorRunId, ObjectiveId, PersonaId, ProjectId, SimulationId, WebhookDeliveryId, WebhookId,
};
pub use import::{ImportedConversation, ImportedMessage, LeftOutMessages, NewImport};
pub use item::{Item, Role, Transcript};
pub use job::{Job, JobId, JobKind, Work};
pub use label::{ConversationLabels, Label};
pub use model_name::{ModelName, ModelNameError, Provider, Purpose, SimulationModels};
pub use monitor::{
    GateBasis, MONITOR_RUN_RETENTION, Monitor, MonitorGate, MonitorPatch, MonitorRun, MonitorState,
    MonitorTrigger, RunOutcomes, RunResults, RunVerdict,
};
pub use new_simulation::{NewPersonas, NewSimulation, RequestedModels};
pub use number::{MaxTurns, NumberError, Seed, Target};
pub use objective::{Objective, ObjectivePatch, ObjectiveRef};
pub use page::{Direction, Limit, Page, PageRequest, Position, Start};
pub use patch::Patch;
pub use persona::{
    AgeGroup, ApprovalStatus, ExplicitPersonas, ExplicitPersonasError, Persona, PersonaAttributes,
    PersonaDraft,
};
pub use persona_fault::{
    FaultSeverity, FaultSource, MAX_PERSONA_FAULTS, PersonaFault, PersonaFaultKind, ReportedFault,
    persona_faults, with_reported_faults,
};
pub use project::{Project, ProjectPatch};
pub use refusal::Refusal;
pub use resource::Resource;
pub use schedule::{Schedule, ScheduleError, Zone, ZoneError};
pub use seed::derive_seed;
pub use simulation::{
    MonitorRunRef, PersonaSource, Progress, Simulation, SimulationOptions, SimulationStatus,
};
pub use source::{Clock, Random, later, wire_time};
pub use statistics::{Interval, PairCounts, holm, mcnemar_exact, pass_power, wilson_interval};
pub use text::{
    Criteria, Description, FailureReason, MessageText, Metadata, Name, Note, PersonaDetail, PersonaText,
    Scenario, TextError, WebhookDescription,
};
pub use usage::{ModelUsage, NanoDollars, TokenUsage};
pub use webhook::{
    DELIVERY_RETENTION, DeliveryAttempt, DeliveryError, DeliveryState, EventSource, EventType,
    KEY_EXPIRY_NOTICE, KeyEvent, MAX_PENDING_DELIVERIES, MAX_WEBHOOKS, Webhook, WebhookDelivery,
    WebhookFormat, WebhookPatch, WebhookState,
};
