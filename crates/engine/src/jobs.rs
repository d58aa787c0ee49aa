//! Doing jobs, and what time calls for. The hosts decide when: a loop on one machine, queues on AWS.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    Conversation, ConversationId, Job, PersonaId, ProjectId, Simulation, SimulationId, Work,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationView, ProjectStore, SimulationChange, StoreError,
    with_causes,
};

use crate::{Engine, JobError, error::ignore_refusal, personas::running, simulations::closed};

/// How many conversations are added by one write: bounded, because a write of some stores is.
const CONVERSATIONS_A_WRITE: usize = 50;

/// How many conversations are stopped in one pass, and how many of them at once.
const STOPS_A_PASS: u32 = 256;
const CHANGES_AT_ONCE: usize = 32;

/// How many overdue conversations and simulations one tick looks after.
const OVERDUE_A_TICK: u32 = 256;

/// How many expired idempotency records one tick removes.
const EXPIRED_A_TICK: u32 = 1_024;

impl Engine {
    /// Does a job. One that comes late or twice changes nothing.
    pub async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let Some(project) = self.store().open_project(&job.project_id).await? else { return Ok(()) };
        let project = project.as_ref();
        match &job.work {
            Work::StartSimulation { simulation } => self.start_simulation(project, simulation).await,
            Work::GeneratePersonas { simulation, first_seq } => {
                self.generate_personas(project, simulation, *first_seq).await
            }
            Work::ReplacePersona { simulation, seq } => self.replace_persona(project, simulation, *seq).await,
            Work::QueueConversations { simulation, persona } => {
                self.queue_conversations(project, simulation, persona).await
            }
            Work::JudgeConversation { simulation, conversation, attempt } => {
                self.judge_conversation(project, simulation, conversation, *attempt).await
            }
            Work::FinishSimulation { simulation } => self.finish_simulation(project, simulation).await,
            Work::StopConversations { simulation } => self.stop_conversations(project, simulation).await,
        }
    }

    /// Draws the consequence of a job that is given up, so that nothing waits for it for ever. Callers are told what did
    /// not happen; why is for the log, because it may be a model's or a store's own words.
    pub async fn give_up(&self, job: &Job) -> Result<(), StoreError> {
        let Some(project) = self.store().open_project(&job.project_id).await? else { return Ok(()) };
        let project = project.as_ref();
        let undone = match &job.work {
            Work::JudgeConversation { simulation, conversation, attempt } => {
                return self.fail_evaluation(project, simulation, conversation, *attempt).await;
            }
            Work::StartSimulation { .. } => "it could not be started",
            Work::GeneratePersonas { .. } | Work::ReplacePersona { .. } => "its personas could not be made",
            Work::QueueConversations { .. } => "its conversations could not be queued",
            Work::FinishSimulation { .. } => "it could not be brought to its end",
            // The simulation is over already, and no worker is given its conversations.
            Work::StopConversations { .. } => return Ok(()),
        };
        let failure = format!("{undone}, tried several times; the server's log says why");
        let now = self.now();
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            Ok(closed(view.simulation.fail(failure.clone(), now)?))
        });
        ignore_refusal(project.change_simulation(job.work.simulation(), decide).await)?;
        Ok(())
    }

    /// Does what time calls for: simulations past their expiry end, conversations whose worker is gone are queued again
    /// or failed. Answers how many there were. One that fails is logged and holds up no other.
    pub async fn tick(&self) -> Result<usize, StoreError> {
        let overdue = self.store().overdue(OVERDUE_A_TICK, self.now()).await?;
        if let Err(error) = self.store().delete_expired_records(EXPIRED_A_TICK, self.now()).await {
            tracing::warn!(
                error = with_causes(&error),
                "expired idempotency records are left for the next tick"
            );
        }
        let expiries: Vec<_> = overdue
            .simulations
            .iter()
            .map(|(project, simulation)| self.expire_simulation(project, simulation))
            .collect();
        all_logged(expiries).await;
        let losses: Vec<_> = overdue
            .conversations
            .iter()
            .map(|(project, simulation, conversation)| self.lose_lease(project, simulation, conversation))
            .collect();
        all_logged(losses).await;
        Ok(overdue.conversations.len() + overdue.simulations.len())
    }

    async fn start_simulation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        let now = self.now();
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            let simulation = view.simulation.start(now)?;
            let work = Work::GeneratePersonas { simulation: simulation.id.clone(), first_seq: 1 };
            let jobs = vec![Job::new(simulation.project_id.clone(), work)];
            Ok(SimulationChange::to(simulation, jobs))
        });
        ignore_refusal(project.change_simulation(simulation, decide).await)?;
        Ok(())
    }

    async fn queue_conversations(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        persona: &PersonaId,
    ) -> Result<(), JobError> {
        let Some(detail) = running(project, simulation).await? else { return Ok(()) };
        let Some(persona) = project.persona(simulation, persona).await? else { return Ok(()) };
        let now = self.now();
        let seqs: Vec<u32> = detail.simulation.conversations_of(persona.seq).collect();
        for seqs in seqs.chunks(CONVERSATIONS_A_WRITE) {
            let conversations = seqs
                .iter()
                .map(|seq| {
                    let id = ConversationId::generate(self.random());
                    Conversation::queued(id, simulation.clone(), persona.id.clone(), *seq, now)
                })
                .collect();
            match project.add_conversations(simulation, conversations).await {
                Ok(()) => {}
                Err(ChangeError::Refused(_)) => return Ok(()),
                Err(ChangeError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn finish_simulation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        let now = self.now();
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            let simulation: Simulation = view.simulation.finish(view.progress, now)?;
            Ok(SimulationChange::to(simulation, Vec::new()))
        });
        ignore_refusal(project.change_simulation(simulation, decide).await)?;
        Ok(())
    }

    async fn stop_conversations(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        loop {
            let ids = project.unsettled_conversations(simulation, STOPS_A_PASS).await?;
            if ids.is_empty() {
                return Ok(());
            }
            let stops: Vec<_> =
                ids.iter().map(|id| self.stop_conversation(project, simulation, id)).collect();
            let stopped: Vec<bool> =
                stream::iter(stops).buffer_unordered(CHANGES_AT_ONCE).try_collect().await?;
            if !stopped.contains(&true) {
                return Err(JobError::Unfinished);
            }
        }
    }

    async fn stop_conversation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        id: &ConversationId,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        let decide = move |view: ConversationView| {
            Ok(ConversationChange::to(view.conversation.stop(&view.simulation, now)?))
        };
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await;
        Ok(ignore_refusal(changed)?.is_some())
    }

    async fn lose_lease(
        &self,
        project: &ProjectId,
        simulation: &SimulationId,
        id: &ConversationId,
    ) -> Result<(), StoreError> {
        let Some(project) = self.store().open_project(project).await? else { return Ok(()) };
        let now = self.now();
        let decide =
            move |view: ConversationView| Ok(ConversationChange::to(view.conversation.lose_lease(now)?));
        let changed = project.change_conversation(simulation, id, Box::new(decide)).await;
        if let Some(conversation) = ignore_refusal(changed)? {
            tracing::info!(
                %simulation, conversation = %id, status = conversation.status.as_str(),
                attempt = conversation.attempt, "a conversation's worker was silent for longer than its lease"
            );
        }
        Ok(())
    }

    async fn expire_simulation(&self, project: &ProjectId, id: &SimulationId) -> Result<(), StoreError> {
        let Some(project) = self.store().open_project(project).await? else { return Ok(()) };
        let now = self.now();
        let decide =
            move |view: onerun_store::SimulationView| Ok(closed(view.simulation.expire(view.progress, now)?));
        ignore_refusal(project.change_simulation(id, Box::new(decide)).await)?;
        Ok(())
    }
}

/// Does all of them, several at once, so that their writes share a flush.
async fn all_logged(changes: Vec<impl Future<Output = Result<(), StoreError>>>) {
    let done = stream::iter(changes).buffer_unordered(CHANGES_AT_ONCE);
    done.for_each(|changed| async {
        if let Err(error) = changed {
            tracing::error!(
                error = with_causes(&error),
                "tick failed: an overdue lease or expiry was not processed"
            );
        }
    })
    .await;
}
