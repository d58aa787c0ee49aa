//! What handlers work with.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{Credential, KEY_CACHE_TTL, KeyRing, Principal, Refusal, recognize};
use onerun_engine::Engine;

use onerun_domain::{AgentId, ProjectId};

use crate::{callers::Callers, polls::Polls};

/// Recognises the root key. The hosts differ in where it is kept, not in what is decided.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal of a credential that is no managed key, or why there is none.
    async fn authenticate(&self, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal>;
}

/// Keys that do not change while the process runs.
#[async_trait]
impl Authenticator for KeyRing {
    async fn authenticate(&self, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal> {
        recognize(self, credential, now)
    }
}

/// Everything a request is answered with. Made once by a host.
pub struct App {
    engine: Engine,
    callers: Callers,
    polls: Polls,
}

impl App {
    /// An application over an engine. `root` recognises the root key; managed keys are in the engine's store, and each is
    /// believed for 5 seconds after it was read.
    pub fn new(engine: Engine, root: Box<dyn Authenticator>) -> Self {
        Self { engine, callers: Callers::new(root, KEY_CACHE_TTL), polls: Polls::default() }
    }

    /// The same application, believing a managed key for another time after it was read; zero reads it for every request.
    #[must_use]
    pub fn with_key_cache(self, ttl: SignedDuration) -> Self {
        Self { callers: self.callers.with_ttl(ttl), ..self }
    }

    /// What runs simulations.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Writes what is due to be written of when keys were used. For a host that goes on while nobody calls.
    pub fn write_key_uses(&self) {
        self.callers.write_due(&self.engine);
    }

    /// Writes the ends of keys that were in force before there was room on the disk for them. For a host that goes on
    /// while nobody calls.
    pub async fn write_key_ends(&self) {
        self.callers.write_ends(&self.engine).await;
    }

    /// Waits for what is being written of when keys were used. For a host that may be frozen, or never go on, once an
    /// answer is out.
    pub async fn settle(&self) {
        self.callers.settle().await;
    }

    /// Writes all that is not written of when keys were used, and waits for it. For a host that ends.
    pub async fn finish(&self) {
        self.callers.write_ends(&self.engine).await;
        self.callers.finish(&self.engine).await;
    }

    /// Notes, beside the answer, that a caller asked for an agent's work.
    pub(crate) fn note_poll(&self, caller: Option<&Principal>, project: &ProjectId, agent: &AgentId) {
        self.polls.note(self.callers.writes(), &self.engine, caller, project, agent);
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.callers
    }
}
