//! The handlers of jobs, one for each kind of [`Work`].

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, DeliveryError, Job, Limit, PageRequest, PersonaId,
    Simulation, SimulationId, Work,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationView, ListConversations, ProjectStore, SimulationChange,
    StoreError,
};

use crate::{
    Engine, JobError,
    endpoints::{AgentTurn, serve},
    error::ignore_refusal,
    personas::running_simulation,
    simulations::{ended, with_stop_job},
};

/// How many conversations one write adds. Some stores bound the size of a write.
const CONVERSATIONS_A_WRITE: usize = 50;

/// How many conversations one pass stops.
const STOPS_A_PASS: u32 = 256;

/// How many conversations or simulations are changed at once.
pub(crate) const CHANGES_AT_ONCE: usize = 32;

impl Engine {
    /// Runs a job. A late or repeated delivery changes nothing.
    pub async fn handle_job(&self, job: &Job) -> Result<(), JobError> {
        let Some(project) = self.store().open_project(&job.project_id).await? else { return Ok(()) };
        let project = project.as_ref();
        match &job.work {
            Work::StartSimulation { simulation } => self.start_simulation(project, simulation).await,
            Work::GeneratePersonas { simulation, first_seq } => {
                self.generate_personas(project, simulation, *first_seq).await
            }
            Work::ReplacePersona { simulation, seq } => self.replace_persona(project, simulation, *seq).await,
            Work::ImportConversations { simulation, first_seq } => {
                self.import_conversations(project, simulation, *first_seq).await
            }
            Work::QueueConversations { simulation, persona } => {
                self.queue_conversations(project, simulation, persona).await
            }
            Work::JudgeConversation { simulation, conversation, attempt } => {
                self.judge_conversation(project, simulation, conversation, *attempt).await
            }
            Work::FinishSimulation { simulation } => self.finish_simulation(project, simulation).await,
            Work::StopConversations { simulation } => self.stop_conversations(project, simulation).await,
            Work::DeleteTranscripts { simulation, after } => {
                self.delete_transcripts(project, simulation, after.as_deref()).await
            }
            Work::PurgeSimulation { simulation } => self.purge_simulation(project, simulation).await,
            Work::QueueEvaluations { simulation, run, after } => {
                self.queue_evaluations(project, simulation, run, after.as_deref()).await
            }
            Work::StartMonitorRun { monitor, run, .. } => self.start_monitor_run(project, monitor, run).await,
            Work::FinishMonitorRun { simulation, monitor, run } => {
                self.finish_monitor_run(project, simulation, monitor, run).await
            }
            Work::AdvanceBatch { batch } => self.advance_batch(project, batch).await,
            Work::SettleBatchItem { simulation, item } => {
                self.settle_batch_item(project, simulation, item).await
            }
            Work::NotifyWebhooks { event } => self.notify_webhooks(project, event).await,
            Work::DeliverWebhook { webhook, delivery } => {
                self.deliver_webhook(project, webhook, delivery).await
            }
            Work::ServeAgent { simulation } => self.serve_agent(project, simulation).await,
            Work::CallAgent { simulation, conversation, attempt, position, not_before } => {
                let turn = AgentTurn { simulation, conversation, attempt: *attempt, position: *position };
                self.call_agent(project, turn, *not_before).await
            }
            Work::AnswerAgent { agent, simulation, conversation, attempt, position, answer } => {
                let turn = AgentTurn { simulation, conversation, attempt: *attempt, position: *position };
                self.answer_agent(project, agent, turn, answer).await
            }
            Work::JudgeAgain { simulation, run, conversation } => {
                self.judge_again(project, simulation, run, conversation).await
            }
        }
    }

    /// Fails the simulation, evaluation, evaluation run or batch items that wait for a job, before the job is buried.
    /// Callers see which step failed. The reason goes to the log only, because it may repeat a model's or a
    /// store's words.
    pub(crate) async fn fail_dependents(&self, job: &Job) -> Result<(), StoreError> {
        let Some(project) = self.store().open_project(&job.project_id).await? else { return Ok(()) };
        let project = project.as_ref();
        let failed_step = match &job.work {
            Work::JudgeConversation { simulation, conversation, attempt } => {
                return self.fail_evaluation(project, simulation, conversation, *attempt).await;
            }
            Work::QueueEvaluations { simulation, run, .. } => {
                return self.fail_run(project, simulation, run).await;
            }
            Work::JudgeAgain { simulation, run, conversation } => {
                return self.fail_judging_again(project, simulation, run, conversation).await;
            }
            Work::StartMonitorRun { monitor, run, .. } | Work::FinishMonitorRun { monitor, run, .. } => {
                return self.fail_monitor_run(project, monitor, run, &job.work).await;
            }
            Work::AdvanceBatch { .. } | Work::SettleBatchItem { .. } => {
                return self.fail_batch_items(project, job).await;
            }
            Work::DeliverWebhook { webhook, delivery } => {
                let error = DeliveryError::Internal;
                return self.fail_webhook_delivery(project, webhook, delivery, error).await;
            }
            Work::StartSimulation { .. } => "it could not be started",
            Work::GeneratePersonas { .. } | Work::ReplacePersona { .. } => {
                "its personas could not be created"
            }
            Work::ImportConversations { .. } => "its conversations could not be imported",
            Work::QueueConversations { .. } => "its conversations could not be queued",
            Work::FinishSimulation { .. } => "it could not be finished",
            // These run once more after they are buried: words that users want deleted must not stay, and nothing else
            // takes queued conversations.
            Work::DeleteTranscripts { .. } | Work::ServeAgent { .. } => {
                return self.store().enqueue(vec![job.clone()]).await;
            }
            // The log reports the buried job, and nothing else needs to be done: a simulation that has ended is not
            // held, the tick enqueues the purge of a deleted one again, and a conversation whose lease expires is
            // queued again.
            Work::StopConversations { .. }
            | Work::PurgeSimulation { .. }
            | Work::NotifyWebhooks { .. }
            | Work::CallAgent { .. }
            | Work::AnswerAgent { .. } => return Ok(()),
        };
        let Some(simulation) = job.work.simulation() else { return Ok(()) };
        let failure = format!("{failed_step} in several attempts; the server's log has the reason");
        let now = self.now();
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            Ok(with_stop_job(view.simulation.fail(failure.clone(), now)?))
        });
        ignore_refusal(project.change_simulation(simulation, decide).await)?;
        Ok(())
    }

    /// Shows callers of a running simulation what it waits for.
    pub(crate) async fn note_failure(&self, job: &Job, notice: &str) -> Result<(), StoreError> {
        let Some(simulation) = job.work.simulation() else { return Ok(()) };
        let Some(project) = self.store().open_project(&job.project_id).await? else { return Ok(()) };
        let (notice, now) = (notice.to_owned(), self.now());
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            Ok(SimulationChange::to(view.simulation.note_failure(notice.clone(), now)?, Vec::new()))
        });
        ignore_refusal(project.change_simulation(simulation, decide).await)?;
        Ok(())
    }

    async fn start_simulation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        let now = self.now();
        let Some(detail) = project.simulation(simulation).await? else { return Ok(()) };
        let is_served = detail.agent.endpoint.is_some();
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            let simulation = view.simulation.start(now)?;
            let id = simulation.id.clone();
            let work = if simulation.is_imported() {
                Work::ImportConversations { simulation: id, first_seq: 1 }
            } else {
                Work::GeneratePersonas { simulation: id, first_seq: 1 }
            };
            let mut jobs = vec![Job::new(simulation.project_id.clone(), work)];
            if is_served && !simulation.is_imported() {
                jobs.push(serve(&simulation.project_id, &simulation.id));
            }
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
        let Some(detail) = running_simulation(project, simulation).await? else { return Ok(()) };
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
                Ok(()) => self.notices.queued(project.project_id()),
                Err(ChangeError::Refused(_)) => return Ok(()),
                Err(ChangeError::Store(error)) => return Err(error.into()),
            }
        }
        if detail.agent.endpoint.is_some() {
            self.hold_queued(project, &detail.agent.id, &[]).await?;
        }
        Ok(())
    }

    async fn finish_simulation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        let now = self.now();
        let example = reported_failure(project, simulation).await?;
        let decide = Box::new(move |view: onerun_store::SimulationView| {
            let simulation: Simulation = view.simulation.finish(view.progress, now)?;
            Ok(ended(simulation.with_reported_failure(example.as_deref())))
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
}

/// The last failure that a worker reported of the newest failed conversation.
async fn reported_failure(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
) -> Result<Option<String>, StoreError> {
    let list = ListConversations {
        status: Some(ConversationStatus::Failed),
        outcome: None,
        page: PageRequest::first(Limit::clamped(1)),
    };
    let failed = project.conversations(simulation, list).await?.data.into_iter().next();
    let attempts = failed.map(|summary| summary.conversation.ended_attempts).unwrap_or_default();
    Ok(attempts.into_iter().rev().find_map(|attempt| attempt.failure_reason))
}
