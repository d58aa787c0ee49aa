//! Bodies of items as domain types, and back.

use jiff::Timestamp;
use onerun_domain::{
    Agent, ApprovalStatus, Conversation, ConversationStatus, Criteria, Description, EndReason, EndedAttempt,
    Evaluation, EvaluationStatus, Item as Message, Job, JobId, MaxTurns, MessageText, Name, Objective,
    ObjectiveRef, Outcome, Persona, Project, Quote, Role, Scenario, Score, Seed, Simulation,
    SimulationStatus, Target, TurnClaim, TurnToken,
};
use onerun_store::{DeadJob, StoreError, StoredReply, StoredTurn};
use serde_json::{Value, json};

use crate::item::{Fields, Item, LAST_POLLED_AT};

type Read<T> = Result<T, StoreError>;

/// The number that [`Fields::time`] reads. The clock gives whole microseconds, so nothing is lost.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(crate) fn project_body(project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name.as_str(),
        "created_at": micros(project.created_at),
        "updated_at": micros(project.updated_at),
    })
}

pub(crate) fn project(item: &Item) -> Read<Project> {
    let mut fields = item.fields()?;
    Ok(Project {
        id: fields.parsed("id")?,
        name: fields.checked("name", Name::parse)?,
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

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredConversation {
    pub(crate) conversation: Conversation,
    /// The evaluations of the current attempt, reduced to what counts and keys need.
    pub(crate) evaluations: Vec<StoredEvaluation>,
    pub(crate) revision: u64,
}

/// The part of an evaluation that is stored with its conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredEvaluation {
    pub(crate) objective: ObjectiveRef,
    pub(crate) outcome: Outcome,
    pub(crate) score: Option<Score>,
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

pub(crate) fn conversation_body(conversation: &Conversation, evaluations: &[StoredEvaluation]) -> Value {
    let evaluation = |evaluation: &StoredEvaluation| {
        json!({
            "objective": evaluation.objective.id,
            "version": evaluation.objective.version,
            "outcome": evaluation.outcome.as_str(),
            "score": score_json(evaluation.score),
        })
    };
    let ended_attempt = |ended: &EndedAttempt| {
        json!({
            "attempt": ended.attempt,
            "end_reason": ended.end_reason.as_str(),
            "failure_reason": ended.failure_reason,
            "ended_at": micros(ended.ended_at),
        })
    };
    json!({
        "id": conversation.id,
        "simulation_id": conversation.simulation_id,
        "persona_id": conversation.persona_id,
        "seq": conversation.seq,
        "status": conversation.status.as_str(),
        "end_reason": conversation.end_reason.map(EndReason::as_str),
        "evaluation_status": conversation.evaluation_status.as_str(),
        "attempt": conversation.attempt,
        "ended_attempts": conversation.ended_attempts.iter().map(ended_attempt).collect::<Value>(),
        "item_count": conversation.item_count,
        "persona_faults": conversation.persona_faults,
        "lease_expires_at": conversation.lease_expires_at.map(micros),
        "turn_token": conversation.turn.as_ref().map(|claim| claim.token.as_str()),
        "turn_expires_at": conversation.turn.as_ref().map(|claim| micros(claim.expires_at)),
        "queued_at": micros(conversation.queued_at),
        "created_at": micros(conversation.created_at),
        "updated_at": micros(conversation.updated_at),
        "findings": evaluations.iter().map(evaluation).collect::<Value>(),
    })
}

pub(crate) fn conversation(item: &Item) -> Read<StoredConversation> {
    let mut fields = item.fields()?;
    let conversation = Conversation {
        id: fields.parsed("id")?,
        simulation_id: fields.parsed("simulation_id")?,
        persona_id: fields.parsed("persona_id")?,
        seq: fields.number("seq")?,
        status: fields.word("status", ConversationStatus::parse)?,
        end_reason: fields.optional_word("end_reason", EndReason::parse)?,
        evaluation_status: fields.word("evaluation_status", EvaluationStatus::parse)?,
        attempt: fields.number("attempt")?,
        ended_attempts: ended_attempts(&mut fields)?,
        item_count: fields.number("item_count")?,
        persona_faults: fields.document("persona_faults")?,
        lease_expires_at: fields.optional_time("lease_expires_at")?,
        turn: turn_claim(&mut fields)?,
        queued_at: fields.time("queued_at")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    };
    let evaluations = fields.list("findings", |fields| {
        Ok(StoredEvaluation {
            objective: fields.reference()?,
            outcome: fields.word("outcome", Outcome::parse)?,
            score: score(fields)?,
        })
    })?;
    Ok(StoredConversation { conversation, evaluations, revision: item.revision()? })
}

/// Absent from bodies of earlier releases.
fn ended_attempts(fields: &mut Fields) -> Read<Vec<EndedAttempt>> {
    fields.optional_list("ended_attempts", |fields| {
        Ok(EndedAttempt {
            attempt: fields.number("attempt")?,
            end_reason: fields.word("end_reason", EndReason::parse)?,
            failure_reason: fields.optional_text("failure_reason")?,
            ended_at: fields.time("ended_at")?,
        })
    })
}

fn turn_claim(fields: &mut Fields) -> Read<Option<TurnClaim>> {
    let token = fields.optional_text("turn_token")?;
    let expires_at = fields.optional_time("turn_expires_at")?;
    Ok(token
        .zip(expires_at)
        .map(|(token, expires_at)| TurnClaim { token: TurnToken::restore(token), expires_at }))
}

pub(crate) fn message_body(message: &Message) -> Value {
    json!({
        "id": message.id,
        "conversation_id": message.conversation_id,
        "attempt": message.attempt,
        "position": message.position,
        "role": message.role.as_str(),
        "content": message.content.iter().map(MessageText::as_str).collect::<Value>(),
        "created_at": micros(message.created_at),
    })
}

pub(crate) fn message(body: &str) -> Read<Message> {
    let mut fields = Fields::parse("message", body)?;
    Ok(Message {
        id: fields.parsed("id")?,
        conversation_id: fields.parsed("conversation_id")?,
        attempt: fields.number("attempt")?,
        position: fields.number("position")?,
        role: fields.word("role", Role::parse)?,
        content: fields.texts("content", MessageText::parse)?,
        created_at: fields.time("created_at")?,
    })
}

pub(crate) fn turn_body(turn: &StoredTurn) -> Value {
    json!({
        "key": turn.idempotency_key,
        "input_hash": turn.input_hash,
        "attempt": turn.attempt,
        "at": micros(turn.created_at),
        "text": turn.reply.text,
        "ended": turn.reply.ended,
    })
}

pub(crate) fn turn(item: &Item) -> Read<StoredTurn> {
    let mut fields = item.fields()?;
    Ok(StoredTurn {
        idempotency_key: fields.text("key")?,
        input_hash: fields.text("input_hash")?,
        attempt: fields.number("attempt")?,
        reply: StoredReply { text: fields.optional_text("text")?, ended: fields.flag("ended")? },
        created_at: fields.time("at")?,
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

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use onerun_domain::{EvaluationDetails, EvaluationId};

    use super::*;
    use crate::item::{BODY, REVISION};

    /// An item whose body lacks some members.
    fn without(mut body: Value, members: &[&str]) -> Item {
        for member in members {
            assert!(body.as_object_mut().unwrap().remove(*member).is_some(), "{member}");
        }
        let body = AttributeValue::S(body.to_string());
        let revision = AttributeValue::N("1".into());
        Item::new("conversation", [(BODY.to_owned(), body), (REVISION.to_owned(), revision)].into())
    }

    #[test]
    fn judged_conversation_of_an_older_release_is_read() {
        let id = "conversation000000001".parse().unwrap();
        let (simulation, persona) =
            ("simulation00000000001".parse().unwrap(), "persona00000000000001".parse().unwrap());
        let stored = Conversation::queued(id, simulation, persona, 1, Timestamp::UNIX_EPOCH);
        let older = without(conversation_body(&stored, &[]), &["persona_faults", "ended_attempts"]);
        assert_eq!(conversation(&older).unwrap().conversation, stored);

        let judged = Evaluation {
            id: "evaluation00000000001".parse::<EvaluationId>().unwrap(),
            conversation_id: stored.id,
            attempt: 1,
            objective: ObjectiveRef { id: "objective001".parse().unwrap(), version: 1 },
            judge: "checks".into(),
            prompt_hash: "ab".into(),
            outcome: Outcome::Passed,
            score: None,
            reason: "It is.".into(),
            quotes: Vec::new(),
            details: EvaluationDetails::default(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(evaluation(&without(evaluation_body(&judged), &["details"])).unwrap(), judged);
    }
}
