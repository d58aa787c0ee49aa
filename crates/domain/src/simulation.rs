//! Simulations: an agent in front of generated personas for many conversations.
//!
//! ```text
//! pending → in_progress → completed | failed | canceled | expired
//! ```
//!
//! `canceled`, `expired` and `failed` are also reached from `pending`. The last four are final.

use jiff::Timestamp;

use crate::{AgentId, MaxTurns, Metadata, Name, ProjectId, Refusal, Scenario, Seed, SimulationId, Target};

/// Where a simulation is. The published SDK knows exactly these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimulationStatus {
    /// Made, and about to run.
    Pending,
    /// Personas and conversations are being made, held and judged.
    InProgress,
    /// Every conversation was held and evaluated.
    Completed,
    /// Its target cannot be reached; `last_failure_reason` tells why.
    Failed,
    /// Stopped by a caller.
    Canceled,
    /// Not done before `expires_at`.
    Expired,
}

impl SimulationStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::InProgress, Self::Completed, Self::Failed, Self::Canceled, Self::Expired];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }

    /// The status that the wire's word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

/// A simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Its id.
    pub id: SimulationId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// The agent under test.
    pub agent_id: AgentId,
    /// What people call it.
    pub name: Name,
    /// The situation that the personas are in.
    pub scenario: Scenario,
    /// How many conversations are to be held.
    pub target_conversations: Target,
    /// How many personas hold them.
    pub target_personas: Target,
    /// How many messages a conversation may have.
    pub max_turns: MaxTurns,
    /// Whether personas are approved as they are made.
    pub auto_approve: bool,
    /// What everything generated is derived from.
    pub seed: Seed,
    /// The caller's own data.
    pub metadata: Metadata,
    /// Where it is.
    pub status: SimulationStatus,
    /// Why it failed, or what last went wrong.
    pub last_failure_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// How far a simulation's conversations have come to an end, one way or the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Conversations with nothing left to happen: evaluated, not to be evaluated, or failed.
    pub settled: u32,
    /// Those of them that could not be held.
    pub conversations_failed: u32,
    /// Those of them that were held and could not be judged.
    pub evaluations_failed: u32,
}

impl Simulation {
    /// Begins to run. Repeating it changes nothing.
    pub fn start(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.status {
            SimulationStatus::Pending => {
                Ok(Self { status: SimulationStatus::InProgress, updated_at: now, ..self })
            }
            SimulationStatus::InProgress => Ok(self),
            status => Err(Refusal::SimulationOver { status }),
        }
    }

    /// Stops at a caller's wish. Repeating it changes nothing; another final status is kept.
    pub fn cancel(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.status {
            SimulationStatus::Canceled => Ok(self),
            _ => self.close(SimulationStatus::Canceled, None, now),
        }
    }

    /// Gives up because time is over; refused before `expires_at`. One with nothing left to happen comes to its end
    /// instead: what was done in time is not lost because nobody came to say so.
    pub fn expire(self, progress: Progress, now: Timestamp) -> Result<Self, Refusal> {
        if now < self.expires_at {
            return Err(Refusal::SimulationUnfinished);
        }
        if let Ok(finished) = self.clone().finish(progress, now) {
            return Ok(finished);
        }
        let reason = format!("not completed before it expired at {}", self.expires_at);
        self.close(SimulationStatus::Expired, Some(reason), now)
    }

    /// Gives up because the target cannot be reached.
    pub fn fail(self, reason: String, now: Timestamp) -> Result<Self, Refusal> {
        self.close(SimulationStatus::Failed, Some(reason), now)
    }

    /// Comes to its end once every conversation has: completed if all were held and evaluated, else failed.
    pub fn finish(self, progress: Progress, now: Timestamp) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::SimulationOver { status: self.status });
        }
        if self.status == SimulationStatus::Pending || progress.settled < self.target_conversations.get() {
            return Err(Refusal::SimulationUnfinished);
        }
        let target = self.target_conversations;
        let mut reasons = Vec::new();
        if progress.conversations_failed > 0 {
            reasons.push(format!(
                "{} of {target} conversations could not be held: each was given up after {} attempts",
                progress.conversations_failed,
                crate::MAX_ATTEMPTS
            ));
        }
        if progress.evaluations_failed > 0 {
            reasons.push(format!(
                "{} of {target} conversations could not be evaluated",
                progress.evaluations_failed
            ));
        }
        if reasons.is_empty() {
            self.close(SimulationStatus::Completed, None, now)
        } else {
            self.close(SimulationStatus::Failed, Some(reasons.join("; ")), now)
        }
    }

    /// Refuses unless workers may call for its conversations.
    pub fn require_running(&self) -> Result<(), Refusal> {
        match self.status {
            SimulationStatus::InProgress => Ok(()),
            status => Err(Refusal::SimulationNotRunning { status }),
        }
    }

    /// Which of the personas' places the persona or conversation `seq` fills, from 0. Conversations and personas
    /// are numbered from 1, and places are given out in turn, so the conversations are spread evenly and a
    /// replacement takes over exactly the conversations of the persona it replaces.
    pub fn slot(&self, seq: u32) -> u32 {
        seq.saturating_sub(1) % self.target_personas.get()
    }

    /// The number of the persona that takes the place of a rejected one, or `None` past the last number there is.
    pub fn replacement_of(&self, seq: u32) -> Option<u32> {
        seq.checked_add(self.target_personas.get())
    }

    /// The numbers of the conversations that a persona of this number holds, in order.
    pub fn conversations_of(&self, persona_seq: u32) -> impl Iterator<Item = u32> + use<> {
        let step = usize::try_from(self.target_personas.get()).unwrap_or(usize::MAX);
        (self.slot(persona_seq) + 1..=self.target_conversations.get()).step_by(step)
    }

    fn close(
        self,
        status: SimulationStatus,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::SimulationOver { status: self.status });
        }
        let last_failure_reason = reason.or(self.last_failure_reason);
        Ok(Self { status, last_failure_reason, updated_at: now, ..self })
    }
}
