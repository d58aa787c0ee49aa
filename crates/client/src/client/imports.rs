//! Imports of conversations that were held elsewhere.

use reqwest::Method;

use super::{ProjectClient, idempotency_key};
use crate::{
    Error,
    resource::{NewImport, Simulation},
};

impl ProjectClient {
    /// Imports conversations as a simulation, which judges them. A repeated call with the same idempotency key returns
    /// the same simulation for 24 hours; without one, the call has a random one.
    pub async fn import_simulation(&self, new: &NewImport, key: Option<&str>) -> Result<Simulation, Error> {
        let key = key.map_or_else(idempotency_key, |key| Ok(key.to_owned()))?;
        let import = self.0.at(&["simulations", "import"]);
        let request = || import.request(Method::POST, &[]).json(new).header("idempotency-key", key.as_str());
        import.retrying("importing conversations", request).await
    }
}
