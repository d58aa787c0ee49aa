//! Conversations with agents that OneRun calls: they are taken from the queue, continued and ended.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    Agent, AgentAnswer, AgentEndpoint, AgentId, ConversationId, ConversationStatus, FailureReason,
    HeldConversation, Job, MessageText, ProjectId, SimulationId, Work, later,
};
use onerun_store::{ChangeError, ConversationChange, ConversationView, ProjectStore, StoreError};

use super::call::AgentTurn;
use crate::{
    Engine, JobError, OperationError, TurnRequest, error::ignore_refusal, personas::running_simulation,
};

/// How often the queue of an agent is read while a simulation of it is in progress. Otherwise it is read when
/// conversations are queued and when one is over.
const SERVE_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// How long the second attempt of a conversation waits for the agent, which may be down for a moment. The third waits
/// twice as long.
const ATTEMPT_DELAY: SignedDuration = SignedDuration::from_secs(10);

/// How many conversations are started at once.
const STARTS_AT_ONCE: usize = 8;

/// The outcome of a turn.
enum After {
    /// The agent is asked for its next reply.
    Call {
        /// The number of messages before it.
        position: u32,
    },
    /// The conversation is over, or is queued again.
    Over,
    /// The job belongs to an earlier attempt.
    Stale,
}

impl Engine {
    /// Takes conversations of a simulation's agent from the queue, and does so again until the simulation is over.
    pub(crate) async fn serve_agent(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        let Some(detail) = running_simulation(project, simulation).await? else { return Ok(()) };
        let Agent { id, endpoint: Some(endpoint), .. } = &detail.agent else { return Ok(()) };
        project.note_agent_poll(id, self.now()).await?;
        let lost =
            if endpoint.free_places() == 0 { self.lost_places(project, endpoint).await? } else { Vec::new() };
        self.hold_queued(project, id, &lost).await?;
        let until = later(self.now(), SERVE_INTERVAL);
        Err(JobError::Postponed { until, reason: "the simulation is in progress".to_owned() })
    }

    /// The held conversations that nobody holds any more: a process ended between two writes.
    async fn lost_places(
        &self,
        project: &dyn ProjectStore,
        endpoint: &AgentEndpoint,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let now = self.now();
        let is_old = |held: &&HeldConversation| later(held.since, SERVE_INTERVAL) < now;
        let lost = stream::iter(endpoint.held.iter().filter(is_old).cloned().collect::<Vec<_>>())
            .map(async |held| {
                let found = project.conversation(&held.simulation, &held.conversation).await?;
                let is_held =
                    found.is_some_and(|one| one.conversation.status == ConversationStatus::InProgress);
                Ok((!is_held).then_some(held.conversation))
            })
            .buffer_unordered(STARTS_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(lost.into_iter().flatten().collect())
    }

    /// Frees places of an agent, and fills them and all other free ones with queued conversations.
    pub(crate) async fn hold_queued(
        &self,
        project: &dyn ProjectStore,
        agent: &AgentId,
        freed: &[ConversationId],
    ) -> Result<(), JobError> {
        let Some(summary) = project.agent(agent).await? else { return Ok(()) };
        let Some(endpoint) = summary.agent.endpoint else { return Ok(()) };
        let free = endpoint.release(freed).free_places();
        let queued = if free > 0 {
            project.queued_conversations(std::slice::from_ref(agent), free).await?
        } else {
            Vec::new()
        };
        let now = self.now();
        let wanted = queued
            .into_iter()
            .map(|queued| HeldConversation {
                simulation: queued.simulation,
                conversation: queued.id,
                since: now,
            })
            .collect();
        let taken = change_places(project, agent, freed.to_vec(), wanted).await?;
        let refused: Vec<_> = stream::iter(taken)
            .map(async |held| {
                let is_started = self.start_held(project, agent, &held).await?;
                Ok::<_, StoreError>((!is_started).then_some(held.conversation))
            })
            .buffer_unordered(STARTS_AT_ONCE)
            .try_collect()
            .await?;
        let refused: Vec<_> = refused.into_iter().flatten().collect();
        if !refused.is_empty() {
            change_places(project, agent, refused, Vec::new()).await?;
        }
        Ok(())
    }

    /// Starts a conversation. Returns `false` if a worker started it, or if its simulation is over.
    async fn start_held(
        &self,
        project: &dyn ProjectStore,
        agent: &AgentId,
        held: &HeldConversation,
    ) -> Result<bool, StoreError> {
        let HeldConversation { simulation, conversation, .. } = held.clone();
        let (agent, project_id) = (agent.clone(), project.project_id().clone());
        let (now, lease) = (self.now(), self.settings.lease);
        let decide = move |view: ConversationView| {
            let started = view.conversation.start(&view.simulation, lease, now)?;
            let work = Work::AnswerAgent {
                agent: agent.clone(),
                simulation: simulation.clone(),
                conversation: conversation.clone(),
                attempt: started.attempt,
                position: 0,
                answer: AgentAnswer::Opening,
            };
            let jobs = vec![Job::new(project_id.clone(), work)];
            Ok(ConversationChange { jobs, ..ConversationChange::to(started) })
        };
        let changed =
            project.change_conversation(&held.simulation, &held.conversation, Box::new(decide)).await;
        Ok(ignore_refusal(changed)?.is_some())
    }

    /// Continues a conversation with what its agent answered. A repeated delivery repeats what the first one did.
    pub(crate) async fn answer_agent(
        &self,
        project: &dyn ProjectStore,
        agent: &AgentId,
        turn: AgentTurn<'_>,
        answer: &AgentAnswer,
    ) -> Result<(), JobError> {
        let after = match self.take_turn(project, &turn, answer).await {
            Ok(after) => after,
            Err(OperationError::Refused(onerun_domain::Refusal::StaleAttempt { .. })) => After::Stale,
            Err(OperationError::Refused(_) | OperationError::NotFound(_)) => After::Over,
            Err(OperationError::Model(error)) => return Err(error.into()),
            Err(OperationError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(StoreError::Unavailable(Box::new(error)).into()),
        };
        match after {
            After::Stale => Ok(()),
            After::Over => self.hold_queued(project, agent, std::slice::from_ref(turn.conversation)).await,
            After::Call { position } => {
                let delay = match answer {
                    AgentAnswer::Opening => {
                        ATTEMPT_DELAY * i32::try_from(turn.attempt - 1).unwrap_or(i32::MAX)
                    }
                    _ => SignedDuration::ZERO,
                };
                let not_before = later(self.reserve_call(project, agent).await?, delay);
                let work = Work::CallAgent {
                    simulation: turn.simulation.clone(),
                    conversation: turn.conversation.clone(),
                    attempt: turn.attempt,
                    position,
                    not_before,
                };
                Ok(self.store().enqueue(vec![Job::new(project.project_id().clone(), work)]).await?)
            }
        }
    }

    async fn take_turn(
        &self,
        project: &dyn ProjectStore,
        turn: &AgentTurn<'_>,
        answer: &AgentAnswer,
    ) -> Result<After, OperationError> {
        let AgentTurn { simulation, conversation, attempt, position } = *turn;
        let end = async || {
            self.end_conversation(project, simulation, conversation, Some(attempt)).await?;
            Ok(After::Over)
        };
        let fail = async |reason: &str| {
            let reason = failure_reason(reason);
            self.fail_conversation(project, simulation, conversation, attempt, reason).await?;
            Ok(After::Over)
        };
        let (messages, ends) = match answer {
            AgentAnswer::Opening => (Vec::new(), false),
            AgentAnswer::Message { text, ends } => match MessageText::parse(text.as_str()) {
                Ok(text) => (vec![vec![text]], *ends),
                Err(error) => return fail(&format!("the reply of the agent {error}")).await,
            },
            AgentAnswer::End => return end().await,
            AgentAnswer::Failure { reason } => return fail(reason).await,
        };
        let added = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let request = TurnRequest {
            messages,
            attempt: Some(attempt),
            idempotency_key: Some(format!("endpoint.{position}")),
        };
        let reply = self.respond(project, simulation, conversation, request).await?.outcome().await?;
        if reply.ended {
            return Ok(After::Over);
        }
        if ends {
            return end().await;
        }
        // The reply of the persona is one message.
        Ok(After::Call { position: position.saturating_add(added).saturating_add(1) })
    }

    /// When the agent may be called.
    async fn reserve_call(
        &self,
        project: &dyn ProjectStore,
        agent: &AgentId,
    ) -> Result<Timestamp, StoreError> {
        let now = self.now();
        let Some(summary) = project.agent(agent).await? else { return Ok(now) };
        let is_limited = |endpoint: &AgentEndpoint| endpoint.max_calls_per_minute.is_some();
        if !summary.agent.endpoint.as_deref().is_some_and(is_limited) {
            return Ok(now);
        }
        change_endpoint(project, agent, now, move |endpoint| endpoint.reserve_call(now)).await
    }
}

/// Frees and takes places of an agent in one write. Returns the conversations that were taken.
async fn change_places(
    project: &dyn ProjectStore,
    agent: &AgentId,
    freed: Vec<ConversationId>,
    wanted: Vec<HeldConversation>,
) -> Result<Vec<HeldConversation>, StoreError> {
    change_endpoint(project, agent, Vec::new(), move |endpoint| {
        let before = endpoint.release(&freed);
        let is_new = |held: &&HeldConversation| !before.holds(&held.conversation);
        let wanted: Vec<_> = wanted.iter().filter(is_new).cloned().collect();
        let after = before.hold(&wanted);
        let taken = wanted.into_iter().filter(|held| after.holds(&held.conversation)).collect();
        (after, taken)
    })
    .await
}

/// Changes the endpoint of an agent, without a trace in `updated_at`. Returns `otherwise` if the agent has none.
async fn change_endpoint<T: Clone + Send + 'static>(
    project: &dyn ProjectStore,
    agent: &AgentId,
    otherwise: T,
    change: impl Fn(AgentEndpoint) -> (AgentEndpoint, T) + Send + 'static,
) -> Result<T, StoreError> {
    let result = Arc::new(Mutex::new(otherwise.clone()));
    let seen = Arc::clone(&result);
    let decide = Box::new(move |agent: Agent| {
        // The store may decide again, and then only the last result counts.
        let (endpoint, changed) = match agent.endpoint {
            Some(endpoint) => {
                let (endpoint, changed) = change(*endpoint);
                (Some(Box::new(endpoint)), changed)
            }
            None => (None, otherwise.clone()),
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = changed;
        Ok(Agent { endpoint, ..agent })
    });
    match project.change_agent(agent, decide).await {
        Ok(_) | Err(ChangeError::Refused(_)) => {}
        Err(ChangeError::Store(error)) => return Err(error),
    }
    let changed = result.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(changed)
}

/// The job that serves the agent of a simulation.
pub(crate) fn serve(project: &ProjectId, simulation: &SimulationId) -> Job {
    Job::new(project.clone(), Work::ServeAgent { simulation: simulation.clone() })
}

#[expect(clippy::expect_used, reason = "the text is valid")]
fn failure_reason(reason: &str) -> FailureReason {
    let fits: String = reason.chars().take(FailureReason::MAX_LENGTH).collect();
    let parsed = FailureReason::parse(fits).or_else(|_| FailureReason::parse("the agent gave no reply"));
    parsed.expect("the text is one short line")
}
