//! Why a description cannot be used, and why an agent did not reply.

use std::time::Duration;

use onerun_transport::TransportError;

/// Why a description of an agent cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A field is wrong. The message names the next step.
    #[error("{field}: {problem}")]
    Field {
        /// The field, such as `openai.url`.
        field: String,
        /// The reason why it is refused.
        problem: String,
    },
    /// Workers hold the conversations, so there is nothing to call.
    #[error("the target is `workers`: start a worker for the agent, as nothing here can call it")]
    Workers,
}

impl SpecError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }
}

/// Why an agent did not reply.
///
/// None of these is evidence about the agent's quality: the conversation could not be held. Texts from
/// outside are cut, escaped and free of the target's secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There was no connection, or the command could not be started. The agent received nothing.
    #[error("the agent cannot be reached: {0}")]
    Unreachable(String),
    /// The agent did not reply within the time-out.
    #[error("the agent did not reply within {} s; raise `timeout_seconds` if it needs longer", .0.as_secs())]
    TimedOut(Duration),
    /// The connection or the command ended before there was a reply.
    #[error("the agent broke off: {0}")]
    BrokeOff(String),
    /// The agent answered with an HTTP status other than 2xx, or reported an error.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// The answer has no reply that can be used.
    #[error("the agent's answer cannot be used: {0}")]
    Unusable(String),
}

impl TargetError {
    /// A short name for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::BrokeOff(_) => "broke_off",
            Self::Refused(_) => "refused",
            Self::Unusable(_) => "unusable",
        }
    }

    /// The same error with its text changed.
    pub(crate) fn map_text(self, change: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Unreachable(text) => Self::Unreachable(change(&text)),
            Self::TimedOut(limit) => Self::TimedOut(limit),
            Self::BrokeOff(text) => Self::BrokeOff(change(&text)),
            Self::Refused(text) => Self::Refused(change(&text)),
            Self::Unusable(text) => Self::Unusable(change(&text)),
        }
    }

    pub(crate) fn of_transport(error: TransportError, limit: Duration) -> Self {
        match error {
            TransportError::Timeout => Self::TimedOut(limit),
            TransportError::Connect(text) | TransportError::NotRecorded(text) => Self::Unreachable(text),
            error @ TransportError::Refused(_) => Self::Unreachable(error.to_string()),
            TransportError::Broken(text) => Self::BrokeOff(text),
            error @ TransportError::TooLarge => Self::Unusable(error.to_string()),
        }
    }
}
