//! The statuses of conversations and evaluations, and why conversations end.

use serde::{Deserialize, Serialize};

/// The status of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConversationStatus {
    /// Waiting for a worker.
    Queued,
    /// Held by a worker.
    InProgress,
    /// Over, and its transcript is complete.
    Ended,
    /// Over without a complete transcript.
    Failed,
}

impl ConversationStatus {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Queued, Self::InProgress, Self::Ended, Self::Failed];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// The status of a conversation's evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvaluationStatus {
    /// The conversation is not over, or waits for its evaluation.
    Pending,
    /// The conversation is being evaluated.
    InProgress,
    /// Every objective has an evaluation.
    Completed,
    /// The evaluation failed.
    Failed,
    /// There is nothing to evaluate: no objectives, or no finished conversation.
    NotApplicable,
}

impl EvaluationStatus {
    /// Every value.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::InProgress, Self::Completed, Self::Failed, Self::NotApplicable];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the status is final.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The agent's worker ended it.
    AgentDecided,
    /// The persona ended it.
    PersonaDecided,
    /// It reached its maximum number of messages.
    MaxTurnsReached,
    /// The lease of its last attempt expired.
    LeaseExpired,
    /// The lease of its last attempt expired after its worker had left, because a reply came late.
    ReplyLate,
    /// The worker of its last attempt reported that the agent failed.
    AgentFailed,
    /// The simulation was canceled.
    SimulationCanceled,
    /// The simulation expired.
    SimulationExpired,
    /// The simulation failed.
    SimulationFailed,
}

impl EndReason {
    /// Every value.
    pub const ALL: [Self; 9] = [
        Self::AgentDecided,
        Self::PersonaDecided,
        Self::MaxTurnsReached,
        Self::LeaseExpired,
        Self::ReplyLate,
        Self::AgentFailed,
        Self::SimulationCanceled,
        Self::SimulationExpired,
        Self::SimulationFailed,
    ];

    /// The reasons of conversations that were held to their end.
    pub const OF_HELD: [Self; 3] = [Self::AgentDecided, Self::PersonaDecided, Self::MaxTurnsReached];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentDecided => "agent_decided",
            Self::PersonaDecided => "persona_decided",
            Self::MaxTurnsReached => "max_turns_reached",
            Self::LeaseExpired => "lease_expired",
            Self::ReplyLate => "reply_late",
            Self::AgentFailed => "agent_failed",
            Self::SimulationCanceled => "simulation_canceled",
            Self::SimulationExpired => "simulation_expired",
            Self::SimulationFailed => "simulation_failed",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}
