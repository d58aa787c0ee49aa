//! Refusals of the state machines.

use jiff::Timestamp;

use crate::{
    ApprovalStatus, BatchStatus, ConversationStatus, MAX_PENDING_DELIVERIES, MAX_WEBHOOKS, SimulationStatus,
};

/// Why the current state does not allow a change. The message is safe to show to the caller and
/// does not depend on HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The simulation's status is final.
    #[error("the simulation is already {}", .status.as_str())]
    SimulationOver {
        /// Its final status.
        status: SimulationStatus,
    },
    /// The simulation does not accept workers' calls.
    #[error("the simulation is {}, so its conversations accept no calls", .status.as_str())]
    SimulationNotRunning {
        /// Its status.
        status: SimulationStatus,
    },
    /// The simulation has unsettled conversations.
    #[error("the simulation has conversations that are not settled")]
    SimulationUnfinished,
    /// Only a queued conversation can be started.
    #[error("Conversation is not available to be started")]
    ConversationNotQueued {
        /// Its status.
        status: ConversationStatus,
    },
    /// The conversation was not started, or its lease expired and a new attempt is queued.
    #[error("Conversation is not in a valid state to end")]
    ConversationNotStarted,
    /// The conversation's lease expired, and the new attempt must be started before it accepts
    /// messages.
    #[error("the conversation was queued again as attempt {attempt}: start it before sending messages")]
    ConversationRequeued {
        /// The queued attempt.
        attempt: u32,
    },
    /// The conversation is over.
    #[error("Conversation has already been ended")]
    ConversationOver {
        /// Its final status.
        status: ConversationStatus,
    },
    /// The attempt is over, so its lease cannot be renewed.
    #[error("attempt {attempt} is over: its lease cannot be renewed")]
    AttemptOver {
        /// The attempt.
        attempt: u32,
    },
    /// Another call is being answered.
    #[error("another call is being answered for this conversation: one turn at a time")]
    TurnInProgress {
        /// When the other call's claim expires.
        until: Timestamp,
    },
    /// The conversation changed while the reply was generated.
    #[error("the conversation changed while this reply was generated")]
    TurnLost,
    /// The caller works on an earlier attempt.
    #[error("this call is for an earlier attempt: the conversation is at attempt {current}")]
    StaleAttempt {
        /// The current attempt.
        current: u32,
    },
    /// The lease has not expired.
    #[error("the conversation's lease has not expired")]
    LeaseHeld,
    /// The persona already has the opposite decision.
    #[error("the persona is already {}", .status.as_str())]
    PersonaDecided {
        /// The decision.
        status: ApprovalStatus,
    },
    /// Only the conversations of a simulation that has ended are judged again.
    #[error("the simulation is {}: judge its conversations again once it has ended", .status.as_str())]
    SimulationNotOver {
        /// Its status.
        status: SimulationStatus,
    },
    /// Only a simulation that has ended is deleted.
    #[error("the simulation is {}: cancel it, and then delete it", .status.as_str())]
    SimulationNotEnded {
        /// Its status.
        status: SimulationStatus,
    },
    /// There is nothing that an evaluation run could judge.
    #[error(
        "there is nothing to judge again: the simulation has no objectives, or no conversation that was held without a \
         critical fault of its persona"
    )]
    NothingToJudge,
    /// The transcripts of the simulation were deleted.
    #[error(
        "the deployment deleted the simulation's transcripts on {at}, so its conversations cannot be judged again"
    )]
    TranscriptsDeleted {
        /// When the deletion began.
        at: Timestamp,
    },
    /// The time for deleting the simulation's transcripts has not come.
    #[error("the simulation's transcripts are retained for some more time")]
    TranscriptsRetained,
    /// The evaluation run has ended.
    #[error("the evaluation run has ended")]
    EvaluationRunOver,
    /// The evaluation run has conversations to judge.
    #[error("the evaluation run has conversations that are not judged")]
    EvaluationRunUnfinished,
    /// No planned time of the monitor is due.
    #[error("no planned time of the monitor is due")]
    MonitorNotDue,
    /// The monitor's run has started or ended.
    #[error("the run of the monitor has started or ended")]
    MonitorRunOver,
    /// The batch has ended.
    #[error("the batch is already {}", .status.as_str())]
    BatchOver {
        /// Its final status.
        status: BatchStatus,
    },
    /// The batch was canceled, and simulations of it are still being canceled.
    #[error("the batch was canceled and its simulations are being stopped; try again when it has `ended_at`")]
    BatchStopping,
    /// The attempt of the batch's item has a result.
    #[error("the item of the batch has a result or a later attempt")]
    BatchItemSettled,
    /// The agent is archived.
    #[error("the agent is archived; set its `archived` to false, or choose another one")]
    AgentArchived,
    /// The project is archived.
    #[error("the project is archived; set its `archived` to false, or choose another one")]
    ProjectArchived,
    /// The project has as many webhooks as it can have.
    #[error("the project has {MAX_WEBHOOKS} webhooks, the most that it can have; delete one first")]
    TooManyWebhooks,
    /// The webhook gets no requests.
    #[error("the webhook is disabled; set its `state` to `enabled` first")]
    WebhookDisabled,
    /// Too many deliveries of the webhook are pending.
    #[error(
        "{MAX_PENDING_DELIVERIES} deliveries of the webhook are pending; replay this one once its target accepts them"
    )]
    TooManyPendingDeliveries,
    /// The delivery waits for an attempt already.
    #[error("the delivery is pending and its next attempt is planned for {at}; replay it once it has ended")]
    DeliveryPending {
        /// When it is attempted next.
        at: Timestamp,
    },
    /// The delivery has ended.
    #[error("the delivery has ended")]
    DeliveryOver,
    /// The evaluation is final, or the conversation cannot be evaluated.
    #[error("the conversation has no open evaluation")]
    NothingToEvaluate,
}
