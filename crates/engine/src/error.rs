//! The errors of the engine. They are independent of HTTP.

use jiff::Timestamp;
use onerun_domain::{AgentId, ModelName, ObjectiveId, Refusal, Resource};
use onerun_store::{ChangeError, StoreError};

use crate::{MasterKeyError, ModelError, cpu_queue::Closed};

/// Why a caller's operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The project has no such resource.
    #[error("{0} not found")]
    NotFound(Resource),
    /// The project has no such agent.
    #[error("Agent not found: `{0}`")]
    NoAgent(AgentId),
    /// The project has none of these objectives.
    #[error("Objectives not found: {}", list(.0))]
    NoObjectives(Vec<ObjectiveId>),
    /// A field does not fit what is stored.
    #[error("`{field}` {detail}")]
    Field {
        /// The field of the input.
        field: &'static str,
        /// The end of a sentence that starts with the field.
        detail: String,
    },
    /// Fields do not fit what is stored, each with its JSON pointer without the first slash.
    #[error("{}", fields(.0))]
    Fields(Vec<(String, String)>),
    /// The personas of another simulation cannot be copied yet.
    #[error(
        "{approved} of {target} personas of the simulation in `personas_from` are approved; wait until they are generated, \
         approve those that wait for it, and send the request again"
    )]
    PersonasNotReady {
        /// The number of its approved personas.
        approved: u64,
        /// Its `target_personas`.
        target: u32,
    },
    /// The deployment does not allow this model.
    #[error("the model `{name}` is not allowed here; allowed are {}", quoted(.allowed))]
    ModelNotAllowed {
        /// The model.
        name: ModelName,
        /// The models that are allowed.
        allowed: Vec<ModelName>,
    },
    /// A cost limit needs a price that is unknown.
    #[error(
        "the price of the model `{0}` is unknown, so `max_cost_usd` cannot be enforced; use `max_tokens`, or add a price to \
         the deployment's price file"
    )]
    ModelWithoutPrice(ModelName),
    /// The `Idempotency-Key` was used for another request.
    #[error(
        "the `Idempotency-Key` was used for another request in the last 24 hours; send another key with this one"
    )]
    IdempotencyKeyReused,
    /// The state of a resource does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The model has not replied within the caller's wait. The reply is still generated.
    #[error(
        "the model has not replied yet; send the same messages again to get its reply, which is generated only once"
    )]
    TurnPending,
    /// The model or the code around it panicked: a bug.
    #[error("a reply panicked: {0}")]
    Panicked(String),
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn fields(errors: &[(String, String)]) -> String {
    errors.iter().map(|(field, detail)| format!("`{field}` {detail}")).collect::<Vec<_>>().join("; ")
}

fn list(ids: &[ObjectiveId]) -> String {
    ids.iter().map(ObjectiveId::as_str).collect::<Vec<_>>().join(", ")
}

fn quoted(names: &[ModelName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl From<ChangeError> for OperationError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(refusal) => Self::Refused(refusal),
            ChangeError::Store(error) => Self::Store(error),
        }
    }
}

/// Why one attempt of a job failed. The next attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The work waits for something. The job is due again then, however often.
    #[error("{reason}")]
    Postponed {
        /// When the job is due again.
        until: Timestamp,
        /// The reason of the wait.
        reason: String,
    },
    /// A pass over the conversations of a stopped simulation did not stop all of them.
    #[error("some conversations were not stopped")]
    Unfinished,
    /// The host is stopping. The conversation is judged after its next start.
    #[error("judging was interrupted because the server is stopping")]
    Stopped,
}

impl From<Closed> for JobError {
    fn from(Closed: Closed) -> Self {
        Self::Stopped
    }
}

/// A refused change is not an error for a job: the job was delivered late, or twice.
pub(crate) fn ignore_refusal<T>(changed: Result<Option<T>, ChangeError>) -> Result<Option<T>, StoreError> {
    match changed {
        Ok(changed) => Ok(changed),
        Err(ChangeError::Refused(_)) => Ok(None),
        Err(ChangeError::Store(error)) => Err(error),
    }
}
