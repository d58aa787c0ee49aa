//! The tick: expires leases, simulations, idempotency records and transcripts, purges deleted simulations, and starts
//! monitors' runs. The hosts decide when: a loop on one machine, a schedule on AWS.

use std::future::Future;

use futures_util::{StreamExt, stream};
use onerun_domain::{ConversationId, ProjectId, SimulationId};
use onerun_store::{ConversationChange, ConversationView, StoreError, with_causes};

use crate::{Engine, error::ignore_refusal, job_handlers::CHANGES_AT_ONCE, simulations::with_stop_job};

/// How many overdue conversations and simulations one tick processes.
const OVERDUE_A_TICK: u32 = 256;

/// How many expired idempotency records one tick deletes.
const EXPIRED_A_TICK: u32 = 1_024;

impl Engine {
    /// Ends expired simulations, queues or fails conversations whose lease has expired, begins to delete
    /// transcripts whose retention is over, enqueues the purge of deleted simulations, and records runs of monitors
    /// that are due. Returns how many were overdue. A failure is logged and does not stop the others.
    pub async fn tick(&self) -> Result<usize, StoreError> {
        let overdue = self.store().overdue(OVERDUE_A_TICK, self.now()).await?;
        if let Err(error) = self.store().delete_expired_records(EXPIRED_A_TICK, self.now()).await {
            tracing::warn!(
                error = with_causes(&error),
                "expired idempotency records were not deleted; the next tick tries again"
            );
        }
        let expiries: Vec<_> = overdue
            .simulations
            .iter()
            .map(|(project, simulation)| self.expire_simulation(project, simulation))
            .collect();
        run_all(expiries).await;
        let leases: Vec<_> = overdue
            .conversations
            .iter()
            .map(|(project, simulation, conversation)| self.expire_lease(project, simulation, conversation))
            .collect();
        run_all(leases).await;
        let old = self.simulations_with_old_transcripts(OVERDUE_A_TICK).await?;
        let deletions: Vec<_> =
            old.iter().map(|(project, simulation)| self.begin_deletion(project, simulation)).collect();
        run_all(deletions).await;
        let deleted = self.simulations_to_purge(OVERDUE_A_TICK).await?;
        let purges: Vec<_> =
            deleted.iter().map(|(project, simulation)| self.begin_purge(project, simulation)).collect();
        run_all(purges).await;
        let monitors = self.store().due_monitors(OVERDUE_A_TICK, self.now()).await?;
        let starts: Vec<_> =
            monitors.iter().map(|(project, monitor)| self.start_due_run(project, monitor)).collect();
        run_all(starts).await;
        let overdue = overdue.conversations.len() + overdue.simulations.len();
        Ok(overdue + old.len() + deleted.len() + monitors.len())
    }

    async fn expire_lease(
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
            self.notices.queued(project.project_id());
            tracing::info!(
                %simulation, conversation = %id, status = conversation.status.as_str(),
                attempt = conversation.attempt, "a lease expired: the worker was silent for too long"
            );
        }
        Ok(())
    }

    async fn expire_simulation(&self, project: &ProjectId, id: &SimulationId) -> Result<(), StoreError> {
        let Some(project) = self.store().open_project(project).await? else { return Ok(()) };
        let now = self.now();
        let decide = move |view: onerun_store::SimulationView| {
            Ok(with_stop_job(view.simulation.expire(view.progress, now)?))
        };
        ignore_refusal(project.change_simulation(id, Box::new(decide)).await)?;
        Ok(())
    }
}

/// Runs all changes, several at once so that their writes share a flush, and logs failures.
async fn run_all(changes: Vec<impl Future<Output = Result<(), StoreError>>>) {
    let results = stream::iter(changes).buffer_unordered(CHANGES_AT_ONCE);
    results
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::error!(
                    error = with_causes(&error),
                    "an overdue lease, simulation, deletion or monitor was not processed; the next tick tries again"
                );
            }
        })
        .await;
}
