//! Why the engine did not do what it was asked. Knows nothing of HTTP.

use onerun_domain::{AgentId, ObjectiveId, Refusal, Resource};
use onerun_store::{ChangeError, StoreError};

use crate::{ModelError, processor::Closed};

/// Why an act of a caller did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The id names no such thing in the project.
    #[error("{0} not found")]
    NotFound(Resource),
    /// There is no such agent in the project.
    #[error("Agent not found: `{0}`")]
    NoAgent(AgentId),
    /// There are no such objectives in the project.
    #[error("Objectives not found: {}", list(.0))]
    NoObjectives(Vec<ObjectiveId>),
    /// The `Idempotency-Key` was used for another call.
    #[error(
        "the `Idempotency-Key` was used for another request in the last 24 hours; send another key with this one"
    )]
    KeyReused,
    /// The state did not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(ids: &[ObjectiveId]) -> String {
    ids.iter().map(ObjectiveId::as_str).collect::<Vec<_>>().join(", ")
}

impl From<ChangeError> for ActError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(refusal) => Self::Refused(refusal),
            ChangeError::Store(error) => Self::Store(error),
        }
    }
}

/// Why a job did not succeed this time. It may the next.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A pass over the conversations of a stopped simulation did not stop all of them.
    #[error("conversations are left to be stopped")]
    Unfinished,
    /// The host stops, and the conversation is judged when it is back.
    #[error("judging was stopped, because the server stops")]
    Stopped,
}

impl From<Closed> for JobError {
    fn from(Closed: Closed) -> Self {
        Self::Stopped
    }
}

/// A change that a job no longer needs is not an error: the job came late, or twice.
pub(crate) fn ignore_refusal<T>(changed: Result<Option<T>, ChangeError>) -> Result<Option<T>, StoreError> {
    match changed {
        Ok(changed) => Ok(changed),
        Err(ChangeError::Refused(_)) => Ok(None),
        Err(ChangeError::Store(error)) => Err(error),
    }
}
