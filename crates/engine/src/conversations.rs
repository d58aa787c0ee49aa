//! Workers' operations on conversations: start, renew, end and report a failure. Turns are in [`crate::turns`].

use std::sync::{Arc, OnceLock};

use onerun_domain::{
    AgentId, Conversation, ConversationId, FailureReason, Item, Job, Limit, PageRequest, Resource,
    Simulation, SimulationId, Start, Work,
};
use onerun_store::{ConversationChange, ConversationView, IdempotencyRecord, ProjectStore, StoreError};

use crate::{Engine, OperationError};

impl Engine {
    /// Gives a queued conversation to a worker. Returns it with the simulation's agent. The
    /// idempotency record that `record` builds is written in the same transaction.
    pub async fn start_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        record: impl Fn(&Conversation) -> Option<IdempotencyRecord> + Send + 'static,
    ) -> Result<(Conversation, Option<AgentId>), OperationError> {
        let (now, lease) = (self.now(), self.settings.lease);
        let agent = Arc::new(OnceLock::new());
        let seen = Arc::clone(&agent);
        let decide = move |view: ConversationView| {
            // The agent of a simulation never changes, so the first value stays right when the
            // closure runs again.
            seen.get_or_init(|| view.simulation.agent_id.clone());
            let started = view.conversation.start(&view.simulation, lease, now)?;
            Ok(ConversationChange { record: record(&started), ..ConversationChange::to(started) })
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        let conversation = self.require_found(project, simulation, changed).await?;
        Ok((conversation, agent.get().cloned()))
    }

    /// Renews the lease of an attempt.
    pub async fn renew_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
    ) -> Result<Conversation, OperationError> {
        let (now, lease) = (self.now(), self.settings.lease);
        let decide = move |view: ConversationView| {
            Ok(ConversationChange::to(view.conversation.renew(&view.simulation, attempt, lease, now)?))
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        self.require_found(project, simulation, changed).await
    }

    /// Ends a conversation for its worker. Has no effect on a conversation that has ended.
    pub async fn end_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: Option<u32>,
    ) -> Result<Conversation, OperationError> {
        let now = self.now();
        let decide = move |view: ConversationView| {
            let before = view.conversation.status;
            let conversation = view.conversation.end(&view.simulation, attempt, now)?;
            let jobs = if conversation.status == before {
                Vec::new()
            } else {
                vec![judge(&view.simulation, &conversation)]
            };
            Ok(ConversationChange { jobs, ..ConversationChange::to(conversation) })
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        self.require_found(project, simulation, changed).await
    }

    /// Ends an attempt whose agent failed. Repeating it changes nothing.
    pub async fn fail_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
        attempt: u32,
        reason: FailureReason,
    ) -> Result<Conversation, OperationError> {
        let now = self.now();
        let decide = move |view: ConversationView| {
            Ok(ConversationChange::to(view.conversation.fail(&view.simulation, attempt, &reason, now)?))
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await?;
        let conversation = self.require_found(project, simulation, changed).await?;
        self.notices.queued(project.project_id());
        Ok(conversation)
    }

    /// Turns `None` into the right 404: simulation or conversation.
    pub(crate) async fn require_found<T>(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        changed: Option<T>,
    ) -> Result<T, OperationError> {
        match changed {
            Some(changed) => Ok(changed),
            None if project.simulation(simulation).await?.is_none() => {
                Err(OperationError::NotFound(Resource::Simulation))
            }
            None => Err(OperationError::NotFound(Resource::Conversation)),
        }
    }
}

/// All messages of an attempt, oldest first.
pub(crate) async fn all_items(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
    id: &ConversationId,
    attempt: u32,
) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    let mut request = PageRequest::first(Limit::clamped(Limit::MAX));
    loop {
        let page = project.items(simulation, id, attempt, request.clone()).await?;
        items.extend(page.data);
        match page.next {
            Some(position) => request.start = Start::After(position),
            None => return Ok(items),
        }
    }
}

pub(crate) fn judge(simulation: &Simulation, conversation: &Conversation) -> Job {
    let work = Work::JudgeConversation {
        simulation: simulation.id.clone(),
        conversation: conversation.id.clone(),
        attempt: conversation.attempt,
    };
    Job::new(simulation.project_id.clone(), work)
}
