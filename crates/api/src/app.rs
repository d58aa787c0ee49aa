//! What handlers work with.

use async_trait::async_trait;
use http::HeaderMap;
use jiff::Timestamp;
use onerun_auth::{KeyRing, Principal, Refusal, authenticate};
use onerun_engine::Engine;

/// Decides who a request comes from. The hosts differ in where keys are kept, not in what is decided.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal of a request's headers, or why there is none.
    async fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Principal, Refusal>;
}

/// Keys that do not change while the process runs.
#[async_trait]
impl Authenticator for KeyRing {
    async fn authenticate(&self, headers: &HeaderMap, now: Timestamp) -> Result<Principal, Refusal> {
        authenticate(self, headers, now)
    }
}

/// Everything a request is answered with. Made once by a host.
pub struct App {
    engine: Engine,
    authenticator: Box<dyn Authenticator>,
}

impl App {
    /// An application over an engine.
    pub fn new(engine: Engine, authenticator: Box<dyn Authenticator>) -> Self {
        Self { engine, authenticator }
    }

    /// What runs simulations.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn authenticator(&self) -> &dyn Authenticator {
        self.authenticator.as_ref()
    }
}
