//! The deletion of simulations.
//!
//! A deleted simulation is gone for callers at once. Its data is purged later, by a job, because a call
//! that began before the deletion may still write there: a reply whose turn was claimed, or a judge's verdict. The tick
//! finds deleted simulations and enqueues their jobs until they are purged, so a step that fails or dies is repeated.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{Job, ProjectId, Refusal, Resource, Simulation, SimulationId, Work};
use onerun_store::{ProjectStore, StoreError};

use crate::{Engine, JobError, OperationError};

/// How long after its deletion a simulation is purged: longer than any call that began before the deletion.
const PURGE_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// How many rows one step removes.
const ROWS_A_STEP: u32 = 200;

/// How many steps one job takes at most.
const STEPS_A_JOB: u32 = 50;

impl Engine {
    /// Deletes a simulation that has ended, with everything below it. `by` is the id of the caller's API key, for the
    /// log.
    pub async fn delete_simulation(
        &self,
        project: &dyn ProjectStore,
        id: &SimulationId,
        by: &str,
    ) -> Result<(), OperationError> {
        let decide = |simulation: Simulation| {
            let status = simulation.status;
            if status.is_final() { Ok(()) } else { Err(Refusal::SimulationNotEnded { status }) }
        };
        if !project.delete_simulation(id, self.now(), Box::new(decide)).await? {
            return Err(OperationError::NotFound(Resource::Simulation));
        }
        tracing::info!(project_id = %project.project_id(), simulation = %id, by, "a simulation was deleted");
        Ok(())
    }

    /// Deleted simulations that must be purged now.
    pub(crate) async fn simulations_to_purge(
        &self,
        limit: u32,
    ) -> Result<Vec<(ProjectId, SimulationId)>, StoreError> {
        let deleted_by = self.now().checked_sub(PURGE_AFTER).unwrap_or(Timestamp::MIN);
        self.store().deleted_simulations(limit, deleted_by).await
    }

    /// Enqueues the job that purges a deleted simulation. It may be there already.
    pub(crate) async fn begin_purge(
        &self,
        project: &ProjectId,
        simulation: &SimulationId,
    ) -> Result<(), StoreError> {
        let work = Work::PurgeSimulation { simulation: simulation.clone() };
        self.store().enqueue(vec![Job::new(project.clone(), work)]).await
    }

    /// Removes some of what is stored below a deleted simulation. The tick enqueues the job again while something is
    /// left.
    pub(crate) async fn purge_simulation(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
    ) -> Result<(), JobError> {
        for _ in 0..STEPS_A_JOB {
            if !project.purge_simulation(simulation, ROWS_A_STEP).await? {
                break;
            }
        }
        Ok(())
    }
}
