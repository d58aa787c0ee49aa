//! The part of a project's store that deletes simulations.
//!
//! Deleting hides a simulation at once, and everything below it. The rows below it are purged later, in steps, because
//! a call that began before the deletion may still write there.

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_domain::{Simulation, SimulationId};

use crate::{ChangeError, Decide, StoreError};

/// The deletion of simulations in one project. Ids of other projects are unknown here.
#[async_trait]
pub trait DeletionStore: Send + Sync {
    /// Deletes a simulation if `decide` allows it. `false` if it does not exist.
    ///
    /// From then on no method finds or changes the simulation, one of its conversations or those that are not settled.
    /// Lists of simulations leave it out, and its id cannot be added again.
    /// [`Store::deleted_simulations`](crate::Store::deleted_simulations) finds it until it is purged. Other rows below
    /// it may be returned until then, so a caller reads the simulation first. The project's usage stays.
    async fn delete_simulation(
        &self,
        id: &SimulationId,
        at: Timestamp,
        decide: Decide<Simulation, ()>,
    ) -> Result<bool, ChangeError>;

    /// Removes about `limit` rows below a deleted simulation, and with the last ones everything that names it: the
    /// buried jobs, and the idempotency record of the request that created it. Returns whether rows may be left. Does
    /// nothing if the simulation is not deleted, or purged already.
    async fn purge_simulation(&self, id: &SimulationId, limit: u32) -> Result<bool, StoreError>;
}
