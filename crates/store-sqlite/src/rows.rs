//! Rows as domain types, and back.
//!
//! Each `*_columns!` names the columns that the function beside it reads, in that order. Every
//! value passes its type's own parser, so a file that was tampered with causes an error and never
//! an invalid value.

use std::convert::Infallible;

use jiff::Timestamp;
use onerun_domain::{
    Agent, ApprovalStatus, Conversation, ConversationStatus, Criteria, Description, EndReason, EndedAttempt,
    Evaluation, EvaluationStatus, Item, Job, JobId, MaxTurns, MessageText, Metadata, Name, Objective,
    ObjectiveRef, Outcome, Persona, Progress, Project, Quote, Role, Scenario, Score, Seed, Simulation,
    SimulationStatus, Target, TurnClaim, TurnToken,
};
use onerun_store::{StoreError, StoredReply, StoredTurn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::columns::Columns;

type Read<T> = Result<T, StoreError>;

macro_rules! project_columns {
    () => {
        "projects.id, projects.name, projects.archived_at, projects.created_at, projects.updated_at"
    };
}

/// Reads `project_columns!`.
pub(crate) fn project(columns: &mut Columns<'_>) -> Read<Project> {
    Ok(Project {
        id: columns.parsed()?,
        name: columns.checked(Name::parse)?,
        archived_at: columns.optional_time()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

macro_rules! agent_columns {
    () => {
        agent_columns!("agents.description", "agents.endpoint")
    };
    ($description:literal, $endpoint:literal) => {
        concat!(
            "agents.id, agents.project_id, agents.name, ",
            $description,
            ", agents.metadata, agents.last_polled_at, ",
            $endpoint,
            ", agents.archived_at, agents.created_at, agents.updated_at"
        )
    };
}

/// Reads `agent_columns!`.
pub(crate) fn agent(columns: &mut Columns<'_>) -> Read<Agent> {
    Ok(Agent {
        id: columns.parsed()?,
        project_id: columns.parsed()?,
        name: columns.checked(Name::parse)?,
        description: columns.optional(Description::parse)?,
        metadata: metadata(columns)?,
        last_polled_at: columns.optional_time()?,
        endpoint: columns.optional(from_json)?.map(Box::new),
        archived_at: columns.optional_time()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

macro_rules! objective_columns {
    () => {
        "objectives.id, objectives.project_id, objective_versions.version, objective_versions.name, \
         objective_versions.criteria, objectives.created_at, objective_versions.updated_at"
    };
}

/// Reads `objective_columns!`.
pub(crate) fn objective(columns: &mut Columns<'_>) -> Read<Objective> {
    Ok(Objective {
        id: columns.parsed()?,
        project_id: columns.parsed()?,
        version: columns.value()?,
        name: columns.checked(Name::parse)?,
        criteria: columns.checked(Criteria::restore)?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

macro_rules! simulation_columns {
    () => {
        "simulations.id, simulations.project_id, simulations.agent_id, simulations.name, simulations.scenario, \
         simulations.target_conversations, simulations.target_personas, simulations.max_turns, \
         simulations.auto_approve, simulations.seed, simulations.options, simulations.metadata, \
         simulations.status, simulations.last_failure_reason, simulations.created_at, simulations.updated_at, \
         simulations.expires_at, simulations.transcripts_deleted_at"
    };
}

/// Reads `simulation_columns!`.
pub(crate) fn simulation(columns: &mut Columns<'_>) -> Read<Simulation> {
    Ok(Simulation {
        id: columns.parsed()?,
        project_id: columns.parsed()?,
        agent_id: columns.parsed()?,
        name: columns.checked(Name::parse)?,
        scenario: columns.checked(Scenario::parse)?,
        target_conversations: columns.bounded(Target::parse)?,
        target_personas: columns.bounded(Target::parse)?,
        max_turns: columns.bounded(MaxTurns::parse)?,
        auto_approve: columns.value()?,
        seed: columns.bounded(Seed::parse)?,
        options: columns.checked(from_json)?,
        metadata: metadata(columns)?,
        status: columns.word(SimulationStatus::parse)?,
        last_failure_reason: columns.value()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        expires_at: columns.time()?,
        transcripts_deleted_at: columns.optional_time()?,
    })
}

macro_rules! progress_columns {
    () => {
        "simulation_progress.settled, simulation_progress.conversations_failed, \
         simulation_progress.evaluations_failed"
    };
}

/// Reads `progress_columns!`.
pub(crate) fn progress(columns: &mut Columns<'_>) -> Read<Progress> {
    Ok(Progress {
        settled: columns.value()?,
        conversations_failed: columns.value()?,
        evaluations_failed: columns.value()?,
    })
}

macro_rules! persona_columns {
    () => {
        "personas.id, personas.simulation_id, personas.seq, personas.approval, personas.summary, \
         personas.story, personas.purpose, personas.attributes, personas.metadata, personas.created_at, \
         personas.updated_at"
    };
}

/// Reads `persona_columns!`.
pub(crate) fn persona(columns: &mut Columns<'_>) -> Read<Persona> {
    Ok(Persona {
        id: columns.parsed()?,
        simulation_id: columns.parsed()?,
        seq: columns.value()?,
        approval: columns.word(ApprovalStatus::parse)?,
        summary: columns.value()?,
        story: columns.value()?,
        purpose: columns.value()?,
        attributes: columns.checked(from_json)?,
        metadata: metadata(columns)?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

macro_rules! conversation_columns {
    () => {
        "conversations.id, conversations.simulation_id, conversations.persona_id, conversations.seq, \
         conversations.status, conversations.end_reason, conversations.evaluation_status, \
         conversations.attempt, conversations.ended_attempts, conversations.item_count, \
         conversations.persona_faults, conversations.lease_expires_at, \
         conversations.turn_token, conversations.turn_expires_at, conversations.queued_at, \
         conversations.created_at, conversations.updated_at"
    };
}

/// Reads `conversation_columns!`.
pub(crate) fn conversation(columns: &mut Columns<'_>) -> Read<Conversation> {
    Ok(Conversation {
        id: columns.parsed()?,
        simulation_id: columns.parsed()?,
        persona_id: columns.parsed()?,
        seq: columns.value()?,
        status: columns.word(ConversationStatus::parse)?,
        end_reason: columns.optional_word(EndReason::parse)?,
        evaluation_status: columns.word(EvaluationStatus::parse)?,
        attempt: columns.value()?,
        ended_attempts: ended_attempts(columns)?,
        item_count: columns.value()?,
        persona_faults: columns.checked(from_json)?,
        lease_expires_at: columns.optional_time()?,
        turn: turn_claim(columns)?,
        queued_at: columns.time()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
    })
}

fn ended_attempts(columns: &mut Columns<'_>) -> Read<Vec<EndedAttempt>> {
    columns.checked(|text| {
        let attempts: Vec<(u32, String, Option<String>, i64)> = from_json(text)?;
        attempts
            .into_iter()
            .map(|(attempt, end_reason, failure_reason, ended_at)| {
                let end_reason = EndReason::parse(&end_reason).ok_or("an unknown end reason")?;
                let ended_at = Timestamp::from_microsecond(ended_at).map_err(|error| error.to_string())?;
                Ok::<_, String>(EndedAttempt { attempt, end_reason, failure_reason, ended_at })
            })
            .collect()
    })
}

/// The text that [`conversation`] reads as the ended attempts.
pub(crate) fn ended_attempts_json(attempts: &[EndedAttempt]) -> String {
    let attempt = |ended: &EndedAttempt| {
        Value::Array(vec![
            ended.attempt.into(),
            ended.end_reason.as_str().into(),
            ended.failure_reason.clone().into(),
            micros(ended.ended_at).into(),
        ])
    };
    attempts.iter().map(attempt).collect::<Value>().to_string()
}

fn turn_claim(columns: &mut Columns<'_>) -> Read<Option<TurnClaim>> {
    let token: Option<String> = columns.value()?;
    let expires_at = columns.optional_time()?;
    Ok(token
        .zip(expires_at)
        .map(|(token, expires_at)| TurnClaim { token: TurnToken::restore(token), expires_at }))
}

macro_rules! item_columns {
    () => {
        "items.id, items.conversation_id, items.attempt, items.position, items.role, items.content, \
         items.created_at"
    };
}

/// Reads `item_columns!`.
pub(crate) fn item(columns: &mut Columns<'_>) -> Read<Item> {
    Ok(Item {
        id: columns.parsed()?,
        conversation_id: columns.parsed()?,
        attempt: columns.value()?,
        position: columns.value()?,
        role: columns.word(Role::parse)?,
        content: content(columns)?,
        created_at: columns.time()?,
    })
}

fn content(columns: &mut Columns<'_>) -> Read<Vec<MessageText>> {
    columns.checked(|text| {
        let parts: Vec<String> = from_json(text)?;
        let parsed: Result<_, _> = parts.into_iter().map(MessageText::parse).collect();
        parsed.map_err(|error| error.to_string())
    })
}

/// The text that [`item`] reads as an item's content.
pub(crate) fn content_json(content: &[MessageText]) -> String {
    content.iter().map(MessageText::as_str).collect::<Value>().to_string()
}

macro_rules! turn_columns {
    () => {
        "turns.key, turns.input_hash, turns.attempt, turns.reply_text, turns.reply_ended, turns.created_at"
    };
}

/// Reads `turn_columns!`.
pub(crate) fn turn(columns: &mut Columns<'_>) -> Read<StoredTurn> {
    Ok(StoredTurn {
        idempotency_key: columns.value()?,
        input_hash: columns.value()?,
        attempt: columns.value()?,
        reply: StoredReply { text: columns.value()?, ended: columns.value()? },
        created_at: columns.time()?,
    })
}

macro_rules! evaluation_columns {
    () => {
        "evaluations.id, evaluations.conversation_id, evaluations.attempt, evaluations.objective_id, \
         evaluations.objective_version, evaluations.judge, evaluations.prompt_hash, evaluations.outcome, \
         evaluations.score, evaluations.reason, evaluations.quotes, evaluations.details, evaluations.created_at"
    };
}

/// Reads `evaluation_columns!`.
pub(crate) fn evaluation(columns: &mut Columns<'_>) -> Read<Evaluation> {
    Ok(Evaluation {
        id: columns.parsed()?,
        conversation_id: columns.parsed()?,
        attempt: columns.value()?,
        objective: objective_ref(columns)?,
        judge: columns.value()?,
        prompt_hash: columns.value()?,
        outcome: columns.word(Outcome::parse)?,
        score: score(columns)?,
        reason: columns.value()?,
        quotes: quotes(columns)?,
        details: columns.checked(from_json)?,
        created_at: columns.time()?,
    })
}

/// Reads an objective's id and a version.
pub(crate) fn objective_ref(columns: &mut Columns<'_>) -> Read<ObjectiveRef> {
    Ok(ObjectiveRef { id: columns.parsed()?, version: columns.value()? })
}

fn score(columns: &mut Columns<'_>) -> Read<Option<Score>> {
    // The table's CHECK keeps it within 0 and 1, so the cast is exact.
    let score: Option<f64> = columns.value()?;
    Ok(score.and_then(Score::parse))
}

fn quotes(columns: &mut Columns<'_>) -> Read<Vec<Quote>> {
    columns.checked(|text| {
        let quotes: Vec<(String, String)> = from_json(text)?;
        quotes
            .into_iter()
            .map(|(item, text)| {
                let item_id = item.parse().map_err(|error| format!("a quote's item {error}"))?;
                Ok::<_, String>(Quote { item_id, text })
            })
            .collect()
    })
}

/// The text that [`evaluation`] reads as the quotes.
pub(crate) fn quotes_json(quotes: &[Quote]) -> String {
    let quotes = quotes.iter().map(|quote| vec![quote.item_id.as_str(), quote.text.as_str()]);
    quotes.collect::<Value>().to_string()
}

macro_rules! job_columns {
    ($table:literal) => {
        concat!($table, ".id, ", $table, ".project_id, ", $table, ".work")
    };
}

/// Reads `job_columns!`.
pub(crate) fn job(columns: &mut Columns<'_>) -> Read<Job> {
    Ok(Job {
        id: columns.checked(|id| Ok::<_, Infallible>(JobId::restore(id.to_owned())))?,
        project_id: columns.parsed()?,
        work: columns.checked(from_json)?,
    })
}

fn metadata(columns: &mut Columns<'_>) -> Read<Metadata> {
    columns.checked(|text| {
        let object: Map<String, Value> = from_json(text)?;
        Metadata::parse(object).map_err(|error| error.to_string())
    })
}

/// The text that is read as metadata.
pub(crate) fn metadata_json(metadata: &Metadata) -> Result<String, StoreError> {
    json("metadata", metadata.as_map())
}

/// Parses stored JSON. The error names the place but not the value.
pub(crate) fn from_json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("not the JSON it must be, at line {} column {}", error.line(), error.column())
    })
}

/// A value as JSON text.
pub(crate) fn json(what: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt { what, reason: error.to_string() })
}

/// The integer that [`Columns::time`] reads. The clock gives whole microseconds, so nothing is
/// lost.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(crate) use {
    agent_columns, conversation_columns, evaluation_columns, item_columns, job_columns, objective_columns,
    persona_columns, progress_columns, project_columns, simulation_columns, turn_columns,
};
