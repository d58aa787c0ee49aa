//! The call of an agent: one job asks for one reply.

use jiff::Timestamp;
use onerun_domain::{
    AgentAnswer, ConversationId, ConversationStatus, Item, Job, MAX_REPLY_SECONDS, SimulationId,
    SimulationStatus, Work,
};
use onerun_store::{ProjectStore, SimulationDetail};
use onerun_targets::{ConversationInfo, Message, Target};

use super::{TargetOf, target_of};
use crate::{Engine, JobError, MasterKeyError, conversations::all_items};

/// The longest transcript that is sent to an agent, in bytes. Beyond it the conversation fails.
const MAX_TRANSCRIPT_BYTES: usize = 1024 * 1024;

/// The turn of an agent.
pub(crate) struct AgentTurn<'a> {
    pub(crate) simulation: &'a SimulationId,
    pub(crate) conversation: &'a ConversationId,
    pub(crate) attempt: u32,
    /// The number of messages before the agent's.
    pub(crate) position: u32,
}

impl Engine {
    /// Asks an agent for its reply, and enqueues the job that continues the conversation with it.
    pub(crate) async fn call_agent(
        &self,
        project: &dyn ProjectStore,
        turn: AgentTurn<'_>,
        not_before: Timestamp,
    ) -> Result<(), JobError> {
        if self.now() < not_before {
            let reason = "the agent may be called later".to_owned();
            return Err(JobError::Postponed { until: not_before, reason });
        }
        let Some(found) = project.conversation(turn.simulation, turn.conversation).await? else {
            return Ok(());
        };
        let conversation = found.conversation;
        // The call was answered, or the conversation is held again.
        if conversation.attempt != turn.attempt || conversation.item_count != turn.position {
            return Ok(());
        }
        let Some(detail) = project.simulation(turn.simulation).await? else { return Ok(()) };
        let agent = detail.agent.id.clone();
        let is_open = conversation.status == ConversationStatus::InProgress
            && detail.simulation.status == SimulationStatus::InProgress;
        let answer = if is_open {
            self.reply_of_agent(project, &detail, &turn).await?
        } else {
            failure("the conversation is over")
        };
        let work = Work::AnswerAgent {
            agent,
            simulation: turn.simulation.clone(),
            conversation: turn.conversation.clone(),
            attempt: turn.attempt,
            position: turn.position,
            answer,
        };
        self.store().enqueue(vec![Job::new(project.project_id().clone(), work)]).await?;
        Ok(())
    }

    async fn reply_of_agent(
        &self,
        project: &dyn ProjectStore,
        detail: &SimulationDetail,
        turn: &AgentTurn<'_>,
    ) -> Result<AgentAnswer, JobError> {
        let SimulationDetail { simulation, agent, .. } = detail;
        let Some(endpoint) = &agent.endpoint else {
            return Ok(failure("the endpoint of the agent was deleted"));
        };
        let items = all_items(project, turn.simulation, turn.conversation, turn.attempt).await?;
        let transcript: Vec<Message> = items.iter().map(message).collect();
        if transcript.iter().map(|message| message.text.len()).sum::<usize>() > MAX_TRANSCRIPT_BYTES {
            return Ok(failure(
                "the conversation has more than 1 MiB of text, the most that an agent is sent",
            ));
        }
        let about = ConversationInfo {
            agent_id: agent.id.to_string(),
            conversation_id: turn.conversation.to_string(),
            simulation_id: turn.simulation.to_string(),
            attempt: turn.attempt,
            metadata: simulation.metadata.as_map().clone(),
        };
        match target_of(agent, endpoint, self.outbound()).await {
            Ok(target) => Ok(ask(&target, &about, &transcript).await),
            Err(TargetOf::MasterKey(error @ (MasterKeyError::Weak | MasterKeyError::Missing(_)))) => {
                Err(error.into())
            }
            Err(error) => Ok(failure(&error.to_string())),
        }
    }
}

async fn ask(target: &Target, about: &ConversationInfo, transcript: &[Message]) -> AgentAnswer {
    let asked = async {
        let mut session = target.open(about).await?;
        let reply = session.reply(transcript).await;
        session.close().await;
        reply
    };
    match asked.await {
        Ok(onerun_targets::Reply { text: Some(text), end }) => AgentAnswer::Message { text, ends: end },
        Ok(onerun_targets::Reply { text: None, .. }) => AgentAnswer::End,
        Err(error) => failure(&error.to_string()),
    }
}

fn message(item: &Item) -> Message {
    Message { role: item.role, text: item.text() }
}

fn failure(reason: &str) -> AgentAnswer {
    AgentAnswer::Failure { reason: reason.to_owned() }
}

// The reply fits into the time of a job on every host.
const _: () = assert!(MAX_REPLY_SECONDS < 40);
