//! Bodies of items as domain types, and back.

mod conversation;
mod messages;

use jiff::Timestamp;
use onerun_domain::{
    Agent, ApprovalStatus, Criteria, Description, Evaluation, Job, JobId, MaxTurns, Name, Objective,
    ObjectiveRef, Outcome, Persona, Project, Quote, Scenario, Score, Seed, Simulation, SimulationStatus,
    Target,
};
use onerun_store::{DeadJob, StoreError};
use serde_json::{Value, json};

use crate::item::{Fields, Item, LAST_POLLED_AT};

pub(crate) use conversation::{
    ReplyPlace, StoredConversation, StoredEvaluation, conversation, conversation_body,
};
pub(crate) use messages::{messages, messages_bodies, reply, reply_body, turn, turn_body};

type Read<T> = Result<T, StoreError>;

/// The number that [`Fields::time`] reads. The clock gives whole microseconds, so nothing is lost.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(crate) fn project_body(project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name.as_str(),
        "archived_at": project.archived_at.map(micros),
        "created_at": micros(project.created_at),
        "updated_at": micros(project.updated_at),
    })
}

pub(crate) fn project(item: &Item) -> Read<Project> {
    let mut fields = item.fields()?;
    Ok(Project {
        id: fields.parsed("id")?,
        name: fields.checked("name", Name::parse)?,
        archived_at: fields.optional_time("archived_at")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

pub(crate) fn agent_body(agent: &Agent) -> Value {
    json!({
        "id": agent.id,
        "project_id": agent.project_id,
        "name": agent.name.as_str(),
        "description": agent.description.as_ref().map(Description::as_str),
        "metadata": agent.metadata.as_map(),
        "endpoint": agent.endpoint,
        "archived_at": agent.archived_at.map(micros),
        "created_at": micros(agent.created_at),
        "updated_at": micros(agent.updated_at),
    })
}

pub(crate) fn agent(item: &Item) -> Read<Agent> {
    let mut fields = item.fields()?;
    Ok(Agent {
        id: fields.parsed("id")?,
        project_id: fields.parsed("project_id")?,
        name: fields.checked("name", Name::parse)?,
        description: fields.optional("description", Description::parse)?,
        metadata: fields.metadata("metadata")?,
        last_polled_at: item.optional_time(LAST_POLLED_AT)?,
        endpoint: fields.value("endpoint")?,
        archived_at: fields.optional_time("archived_at")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

pub(crate) fn objective_body(objective: &Objective) -> Value {
    json!({
        "id": objective.id,
        "project_id": objective.project_id,
        "version": objective.version,
        "name": objective.name.as_str(),
        "criteria": objective.criteria.as_str(),
        "created_at": micros(objective.created_at),
        "updated_at": micros(objective.updated_at),
    })
}

pub(crate) fn objective(item: &Item) -> Read<Objective> {
    let mut fields = item.fields()?;
    Ok(Objective {
        id: fields.parsed("id")?,
        project_id: fields.parsed("project_id")?,
        version: fields.number("version")?,
        name: fields.checked("name", Name::parse)?,
        criteria: fields.checked("criteria", Criteria::restore)?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

#[derive(Clone, Debug)]
pub(crate) struct StoredSimulation {
    pub(crate) simulation: Simulation,
    /// The pinned objectives, in the order of the request.
    pub(crate) pinned: Vec<ObjectiveRef>,
    pub(crate) revision: u64,
}

fn reference_json(reference: &ObjectiveRef) -> Value {
    json!({ "objective": reference.id, "version": reference.version })
}

pub(crate) fn simulation_body(simulation: &Simulation, pinned: &[ObjectiveRef]) -> Value {
    json!({
        "id": simulation.id,
        "project_id": simulation.project_id,
        "agent_id": simulation.agent_id,
        "name": simulation.name.as_str(),
        "scenario": simulation.scenario.as_str(),
        "target_conversations": simulation.target_conversations.get(),
        "target_personas": simulation.target_personas.get(),
        "max_turns": simulation.max_turns.get(),
        "auto_approve": simulation.auto_approve,
        "seed": simulation.seed.get(),
        "options": simulation.options,
        "metadata": simulation.metadata.as_map(),
        "status": simulation.status.as_str(),
        "last_failure_reason": simulation.last_failure_reason,
        "created_at": micros(simulation.created_at),
        "updated_at": micros(simulation.updated_at),
        "expires_at": micros(simulation.expires_at),
        "transcripts_deleted_at": simulation.transcripts_deleted_at.map(micros),
        "objectives": pinned.iter().map(reference_json).collect::<Value>(),
    })
}

pub(crate) fn simulation(item: &Item) -> Read<StoredSimulation> {
    let mut fields = item.fields()?;
    let simulation = Simulation {
        id: fields.parsed("id")?,
        project_id: fields.parsed("project_id")?,
        agent_id: fields.parsed("agent_id")?,
        name: fields.checked("name", Name::parse)?,
        scenario: fields.checked("scenario", Scenario::parse)?,
        target_conversations: fields.bounded("target_conversations", Target::parse)?,
        target_personas: fields.bounded("target_personas", Target::parse)?,
        max_turns: fields.bounded("max_turns", MaxTurns::parse)?,
        auto_approve: fields.flag("auto_approve")?,
        seed: fields.bounded("seed", Seed::parse)?,
        options: fields.document("options")?,
        metadata: fields.metadata("metadata")?,
        status: fields.word("status", SimulationStatus::parse)?,
        last_failure_reason: fields.optional_text("last_failure_reason")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
        expires_at: fields.time("expires_at")?,
        transcripts_deleted_at: fields.optional_time("transcripts_deleted_at")?,
    };
    let pinned = fields.list("objectives", Fields::reference)?;
    Ok(StoredSimulation { simulation, pinned, revision: item.revision()? })
}

pub(crate) fn persona_body(persona: &Persona) -> Value {
    json!({
        "id": persona.id,
        "simulation_id": persona.simulation_id,
        "seq": persona.seq,
        "approval": persona.approval.as_str(),
        "summary": persona.summary,
        "story": persona.story,
        "purpose": persona.purpose,
        "attributes": persona.attributes,
        "metadata": persona.metadata.as_map(),
        "created_at": micros(persona.created_at),
        "updated_at": micros(persona.updated_at),
    })
}

pub(crate) fn persona(item: &Item) -> Read<Persona> {
    let mut fields = item.fields()?;
    Ok(Persona {
        id: fields.parsed("id")?,
        simulation_id: fields.parsed("simulation_id")?,
        seq: fields.number("seq")?,
        approval: fields.word("approval", ApprovalStatus::parse)?,
        summary: fields.text("summary")?,
        story: fields.text("story")?,
        purpose: fields.text("purpose")?,
        attributes: fields.value("attributes")?,
        metadata: fields.metadata("metadata")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

/// A score as text: JSON readers may drop the last digit of a number.
fn score_json(score: Option<Score>) -> Value {
    score.map_or(Value::Null, |score| Value::String(format!("{:e}", score.get())))
}

fn score(fields: &mut Fields) -> Read<Option<Score>> {
    fields.optional("score", |text| {
        let number: f64 = text.parse().map_err(|_| "not a number")?;
        Score::parse(number).ok_or("not a number from 0 to 1")
    })
}

pub(crate) fn evaluation_body(evaluation: &Evaluation) -> Value {
    let quote = |quote: &Quote| json!({ "item": quote.item_id, "text": quote.text });
    json!({
        "id": evaluation.id,
        "conversation_id": evaluation.conversation_id,
        "attempt": evaluation.attempt,
        "objective": evaluation.objective.id,
        "version": evaluation.objective.version,
        "judge": evaluation.judge,
        "prompt_hash": evaluation.prompt_hash,
        "outcome": evaluation.outcome.as_str(),
        "score": score_json(evaluation.score),
        "reason": evaluation.reason,
        "quotes": evaluation.quotes.iter().map(quote).collect::<Value>(),
        "details": evaluation.details,
        "created_at": micros(evaluation.created_at),
    })
}

pub(crate) fn evaluation(item: &Item) -> Read<Evaluation> {
    let mut fields = item.fields()?;
    Ok(Evaluation {
        id: fields.parsed("id")?,
        conversation_id: fields.parsed("conversation_id")?,
        attempt: fields.number("attempt")?,
        objective: fields.reference()?,
        judge: fields.text("judge")?,
        prompt_hash: fields.text("prompt_hash")?,
        outcome: fields.word("outcome", Outcome::parse)?,
        score: score(&mut fields)?,
        reason: fields.text("reason")?,
        quotes: fields.list("quotes", |fields| {
            Ok(Quote { item_id: fields.parsed("item")?, text: fields.text("text")? })
        })?,
        details: fields.document("details")?,
        created_at: fields.time("created_at")?,
    })
}

pub(crate) fn job_body(job: &Job) -> Value {
    json!({ "id": job.id.as_str(), "project_id": job.project_id, "work": job.work })
}

pub(crate) fn job(item: &Item) -> Read<Job> {
    job_fields(&mut item.fields()?)
}

fn job_fields(fields: &mut Fields) -> Read<Job> {
    Ok(Job {
        id: JobId::restore(fields.text("id")?),
        project_id: fields.parsed("project_id")?,
        work: fields.value("work")?,
    })
}

pub(crate) fn dead_job_body(job: &Job, reason: &str, buried_at: Timestamp) -> Value {
    json!({
        "id": job.id.as_str(),
        "project_id": job.project_id,
        "work": job.work,
        "reason": reason,
        "buried_at": micros(buried_at),
    })
}

pub(crate) fn dead_job(item: &Item) -> Read<DeadJob> {
    let mut fields = item.fields()?;
    let job = job_fields(&mut fields)?;
    Ok(DeadJob { job, reason: fields.text("reason")?, buried_at: fields.time("buried_at")? })
}
