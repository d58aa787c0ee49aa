//! Retention: the transcripts of a simulation are deleted some time after its end, if the deployment wants that.
//!
//! The tick marks the simulation and enqueues a job, in one write. From then on no conversation is judged again.
//! The job deletes the transcripts of some conversations and enqueues the next one. A step that runs twice finds
//! less to delete.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use onerun_domain::{
    Conversation, ConversationId, Job, Limit, PageRequest, Position, ProjectId, Simulation, SimulationId,
    Work,
};
use onerun_store::{
    ConversationChange, ConversationView, ListConversations, ProjectStore, SimulationChange, SimulationView,
    StoreError,
};

use crate::{Engine, JobError, error::ignore_refusal};

/// How many conversations' transcripts one job deletes.
const CONVERSATIONS_A_JOB: u32 = 50;

/// How many conversations' transcripts are deleted at once.
const CONVERSATIONS_AT_ONCE: usize = 4;

/// How many messages one write deletes.
const MESSAGES_A_WRITE: u32 = 200;

impl Engine {
    /// The retention is over for simulations that ended by this time; `None` without a retention.
    fn retention_over_at(&self, now: Timestamp) -> Option<Timestamp> {
        now.checked_sub(self.settings.retention?).ok()
    }

    /// Simulations that ended so long ago that their transcripts must be deleted.
    pub(crate) async fn simulations_with_old_transcripts(
        &self,
        limit: u32,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
        match self.retention_over_at(self.now()) {
            Some(ended_by) => self.store().simulations_with_old_transcripts(limit, ended_by).await,
            None => Ok(Vec::new()),
        }
    }

    /// Marks a simulation's transcripts as deleted, and enqueues the job that deletes them.
    pub(crate) async fn begin_deletion(
        &self,
        project: &ProjectId,
        id: &SimulationId,
    ) -> Result<(), StoreError> {
        let Some(project) = self.store().open_project(project).await? else { return Ok(()) };
        let now = self.now();
        let Some(ended_by) = self.retention_over_at(now) else { return Ok(()) };
        let decide = move |view: SimulationView| {
            let simulation = view.simulation.delete_transcripts(ended_by, now)?;
            let jobs = vec![job(&simulation, None)];
            Ok(SimulationChange::to(simulation, jobs))
        };
        if ignore_refusal(project.change_simulation(id, Box::new(decide)).await)?.is_some() {
            tracing::info!(simulation = %id, "the transcripts of a simulation are deleted: their retention is over");
        }
        Ok(())
    }

    /// Deletes the transcripts of some conversations, and enqueues the job for the next ones.
    pub(crate) async fn delete_transcripts(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        after: Option<&str>,
    ) -> Result<(), JobError> {
        let Some(detail) = project.simulation(simulation).await? else { return Ok(()) };
        if detail.simulation.transcripts_deleted_at.is_none() {
            return Ok(());
        }
        if detail.simulation.is_imported() {
            // Some may still wait if the simulation ended before all were imported.
            project.delete_import(simulation).await?;
        }
        let limit = Limit::clamped(CONVERSATIONS_A_JOB);
        let page = match after {
            Some(position) => PageRequest::after(limit, Position::new(position)),
            None => PageRequest::first(limit),
        };
        let page = project
            .conversations(simulation, ListConversations { status: None, outcome: None, page })
            .await?;
        stream::iter(page.data)
            .map(|row| delete_transcript(project, row.conversation))
            .buffer_unordered(CONVERSATIONS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        if let Some(position) = page.next {
            let after = Some(position.as_str().to_owned());
            self.store().enqueue(vec![job(&detail.simulation, after)]).await?;
        }
        Ok(())
    }
}

async fn delete_transcript(project: &dyn ProjectStore, conversation: Conversation) -> Result<(), StoreError> {
    let Conversation { simulation_id, id, .. } = &conversation;
    delete_quotes(project, simulation_id, id).await?;
    while project.delete_transcript(simulation_id, id, MESSAGES_A_WRITE).await? {}
    Ok(())
}

/// Deletes the words of the transcript that the conversation itself holds.
async fn delete_quotes(
    project: &dyn ProjectStore,
    simulation: &SimulationId,
    id: &ConversationId,
) -> Result<(), StoreError> {
    let decide = |view: ConversationView| Ok(ConversationChange::to(view.conversation.without_quotes()));
    ignore_refusal(project.change_conversation(simulation, id, Box::new(decide)).await)?;
    Ok(())
}

fn job(simulation: &Simulation, after: Option<String>) -> Job {
    let work = Work::DeleteTranscripts { simulation: simulation.id.clone(), after };
    Job::new(simulation.project_id.clone(), work)
}
