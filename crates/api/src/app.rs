//! The application that answers requests.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{Credential, KeyRing, Principal, Refusal, recognize};
use onerun_engine::Engine;

use onerun_domain::{AgentId, ProjectId};

use crate::{callers::Callers, polls::Polls};

/// Recognises the root key. Hosts differ in where they store it.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The principal of a credential that is not a managed key.
    async fn authenticate(&self, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal>;
}

/// A fixed set of root keys.
#[async_trait]
impl Authenticator for KeyRing {
    async fn authenticate(&self, credential: &Credential, now: Timestamp) -> Result<Principal, Refusal> {
        recognize(self, credential, now)
    }
}

/// Everything that answers a request. A host creates one.
pub struct App {
    engine: Engine,
    callers: Callers,
    polls: Polls,
    /// When the head of a response is sent before its body; `None` if the host cannot do that.
    late_after: Option<Duration>,
}

impl App {
    /// An application over an engine. `root` recognises the root key. A managed key's record is cached for 5
    /// seconds.
    pub fn new(engine: Engine, root: Box<dyn Authenticator>) -> Self {
        let callers = Callers::new(&engine, root);
        Self { engine, callers, polls: Polls::default(), late_after: None }
    }

    /// The same application with another time to live of cached keys. With zero, every request reads its key.
    #[must_use]
    pub fn with_key_cache(self, ttl: SignedDuration) -> Self {
        self.engine.keys().set_cache_ttl(ttl);
        self
    }

    /// Gives a persona's reply that takes longer than `after` a [`LateBody`](crate::LateBody). Only for a host that
    /// sends them.
    pub fn allow_late_bodies(&mut self, after: Duration) {
        self.late_after = Some(after);
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Writes the usage of keys that is due. A host calls this regularly.
    pub fn write_key_uses(&self) {
        self.callers.write_due();
    }

    /// Writes the ends of keys that are in force but were not written because the disk was full. A host calls
    /// this regularly.
    pub async fn write_key_ends(&self) {
        self.engine.keys().write_unwritten_ends().await;
    }

    /// Waits for the writes that run beside answers. A host calls this before it is frozen.
    pub async fn drain(&self) {
        self.callers.drain().await;
    }

    /// Writes everything about keys that is not written, and waits for it. A host calls this before it stops.
    pub async fn flush(&self) {
        self.engine.keys().write_unwritten_ends().await;
        self.callers.flush().await;
    }

    /// Records, beside the answer, that a worker asked for an agent's work.
    pub(crate) fn note_poll(&self, caller: Option<&Principal>, project: &ProjectId, agent: &AgentId) {
        self.polls.note(self.callers.writes(), &self.engine, caller, project, agent);
    }

    pub(crate) fn late_after(&self) -> Option<Duration> {
        self.late_after
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.callers
    }
}
