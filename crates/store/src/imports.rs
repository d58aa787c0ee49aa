//! The part of a project's store that holds conversations until they are imported.

use async_trait::async_trait;
use onerun_domain::{ImportedConversation, Job, ObjectiveRef, Simulation, SimulationId};

use crate::{IdempotencyRecord, StoreError};

/// A simulation whose conversations were held elsewhere, with all that is written with it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewImportedSimulation {
    /// The simulation.
    pub simulation: Simulation,
    /// Its pinned objectives.
    pub objectives: Vec<ObjectiveRef>,
    /// The conversations that a job will import, in the order of their numbers. As JSON they have at most
    /// [`NewImport::MAX_BYTES`](onerun_domain::NewImport::MAX_BYTES).
    pub conversations: Vec<ImportedConversation>,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

/// Imports in one project. Ids of other projects are unknown here.
#[async_trait]
pub trait ImportStore: Send + Sync {
    /// Adds a simulation with the conversations that wait for their import.
    async fn insert_import(&self, new: NewImportedSimulation) -> Result<(), StoreError>;

    /// The conversations of a simulation that wait for their import. `None` if there is no such simulation, if its
    /// conversations were held here, or after [`delete_import`](Self::delete_import).
    async fn waiting_import(
        &self,
        simulation: &SimulationId,
    ) -> Result<Option<Vec<ImportedConversation>>, StoreError>;

    /// Deletes the conversations that wait for their import. Has no effect if there are none.
    async fn delete_import(&self, simulation: &SimulationId) -> Result<(), StoreError>;
}
