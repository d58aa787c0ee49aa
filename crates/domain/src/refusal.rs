//! What the state machines refuse, and why.

use jiff::Timestamp;

use crate::{ApprovalStatus, ConversationStatus, SimulationStatus};

/// Why a change is not allowed in the state that it met. The message is for people and safe to show to the caller;
/// it knows nothing of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The simulation is over, and its status is final.
    #[error("the simulation is already {}", .status.as_str())]
    SimulationOver {
        /// Its final status.
        status: SimulationStatus,
    },
    /// The simulation does not take calls of workers now.
    #[error("the simulation is {}, so its conversations take no calls", .status.as_str())]
    SimulationNotRunning {
        /// Its status.
        status: SimulationStatus,
    },
    /// The simulation's conversations have not all come to an end.
    #[error("the simulation's conversations have not all come to an end")]
    SimulationUnfinished,
    /// Only a queued conversation can be started.
    #[error("Conversation is not available to be started")]
    ConversationNotQueued {
        /// Its status.
        status: ConversationStatus,
    },
    /// The conversation was never started, or its lease ran out and it waits for a new attempt.
    #[error("Conversation is not in a valid state to end")]
    ConversationNotStarted,
    /// The conversation's lease ran out, and the new attempt must be started before it takes messages.
    #[error("the conversation was queued again as attempt {attempt}: start it before sending messages")]
    ConversationRequeued {
        /// The attempt that waits to be started.
        attempt: u32,
    },
    /// The conversation is over.
    #[error("Conversation has already been ended")]
    ConversationOver {
        /// How it is over.
        status: ConversationStatus,
    },
    /// Another call is being answered.
    #[error("another call is being answered for this conversation: one turn at a time")]
    TurnInProgress {
        /// When the other call's claim ends at the latest.
        until: Timestamp,
    },
    /// The conversation moved on while the reply was being made.
    #[error("the conversation moved on while this reply was being made")]
    TurnLost,
    /// The caller works on an attempt that was given up.
    #[error("the conversation is at attempt {current}: this call is for an earlier one")]
    StaleAttempt {
        /// The attempt it is at.
        current: u32,
    },
    /// The lease is still held.
    #[error("the conversation's lease has not run out")]
    LeaseHeld,
    /// The persona was decided about already, the other way.
    #[error("the persona is already {}", .status.as_str())]
    PersonaDecided {
        /// What was decided.
        status: ApprovalStatus,
    },
    /// The evaluation is over, or the conversation has none to be made.
    #[error("the conversation has no evaluation to be made")]
    NothingToEvaluate,
    /// The key was revoked, which is final.
    #[error("the key was revoked, which is final; create another")]
    KeyRevoked,
    /// The key's time is over.
    #[error("the key has expired; create another")]
    KeyExpired,
    /// The key is disabled.
    #[error("the key is disabled; enable it first")]
    KeyDisabled,
    /// Another key took its place.
    #[error("the key was rotated; change key `{by}`, which took its place")]
    KeyReplaced {
        /// The id of that key.
        by: String,
    },
    /// There are as many keys as there can be.
    #[error(
        "there are {limit} keys that are neither revoked nor expired, and there can be no more: revoke keys that nobody \
         uses, or wait until some expire"
    )]
    TooManyKeys {
        /// How many there can be.
        limit: u32,
    },
    /// A key would be made, changed or ended by one that is weaker.
    #[error("a key can make and change only what is within itself, and this is more in {excess}")]
    ExceedsOwnKey {
        /// In what.
        excess: String,
    },
}
