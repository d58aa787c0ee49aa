//! Conversations: one persona, one agent, up to a number of messages, and a verdict.
//!
//! ```text
//! conversation  queued → in_progress → ended | failed       (in_progress → queued when its lease runs out)
//! evaluation    pending → in_progress → completed | failed | not_applicable
//! ```
//!
//! A started conversation holds a lease, renewed by every call of its worker. When the lease runs out, the
//! conversation is queued again as a new attempt with an empty transcript; after [`MAX_ATTEMPTS`] it has failed.
//! One turn at a time: a call claims the turn before the persona's reply is made, and completes it after.

use jiff::{SignedDuration, Timestamp};

use crate::{ConversationId, PersonaId, Random, Refusal, Simulation, SimulationId, SimulationStatus, later};

/// How often a conversation is tried before it has failed.
pub const MAX_ATTEMPTS: u32 = 3;

/// Where a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConversationStatus {
    /// Waits for a worker.
    Queued,
    /// A worker holds it.
    InProgress,
    /// It was held.
    Ended,
    /// It could not be held.
    Failed,
}

impl ConversationStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::InProgress, Self::Ended, Self::Failed];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }

    /// The status that the wire's word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Where the evaluation of a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvaluationStatus {
    /// The conversation goes on, or waits to be judged.
    Pending,
    /// It is being judged.
    InProgress,
    /// There is a verdict for every objective.
    Completed,
    /// It could not be judged.
    Failed,
    /// There is nothing to judge: no objectives, or no conversation.
    NotApplicable,
}

impl EvaluationStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::InProgress, Self::Completed, Self::Failed, Self::NotApplicable];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::NotApplicable => "not_applicable",
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

/// Why a conversation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The agent's worker ended it.
    AgentDecided,
    /// The persona had nothing more to say.
    PersonaDecided,
    /// It had as many messages as it may.
    MaxTurnsReached,
    /// Its lease ran out for the last time.
    LeaseExpired,
    /// The simulation was canceled.
    SimulationCanceled,
    /// The simulation expired.
    SimulationExpired,
    /// The simulation failed.
    SimulationFailed,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AgentDecided,
        Self::PersonaDecided,
        Self::MaxTurnsReached,
        Self::LeaseExpired,
        Self::SimulationCanceled,
        Self::SimulationExpired,
        Self::SimulationFailed,
    ];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentDecided => "agent_decided",
            Self::PersonaDecided => "persona_decided",
            Self::MaxTurnsReached => "max_turns_reached",
            Self::LeaseExpired => "lease_expired",
            Self::SimulationCanceled => "simulation_canceled",
            Self::SimulationExpired => "simulation_expired",
            Self::SimulationFailed => "simulation_failed",
        }
    }

    /// The reason that the wire's word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Tells one claim of a turn from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnToken(String);

impl TurnToken {
    /// A token that no other claim has.
    pub fn generate(random: &dyn Random) -> Self {
        Self(crate::ItemId::generate(random).as_str().to_owned())
    }

    /// The token read back from a store.
    pub fn restore(text: String) -> Self {
        Self(text)
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A call that is being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnClaim {
    /// Whose call.
    pub token: TurnToken,
    /// When the claim may be taken over, should its holder have died.
    pub expires_at: Timestamp,
}

/// An attempt that is over, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// How it ended.
    pub end_reason: EndReason,
    /// Why its worker failed, in the worker's words, if it said so.
    pub failure_reason: Option<String>,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// A conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The simulation it belongs to.
    pub simulation_id: SimulationId,
    /// The persona that holds it.
    pub persona_id: PersonaId,
    /// Its number within the simulation, from 1.
    pub seq: u32,
    /// Where it is.
    pub status: ConversationStatus,
    /// Why it is over; `None` until it is.
    pub end_reason: Option<EndReason>,
    /// Where its evaluation is.
    pub evaluation_status: EvaluationStatus,
    /// Which attempt it is at, from 1.
    pub attempt: u32,
    /// The attempts that are over, oldest first: at most [`MAX_ATTEMPTS`].
    pub ended_attempts: Vec<EndedAttempt>,
    /// How many messages the attempt has.
    pub item_count: u32,
    /// When its worker is given up; `Some` exactly while it is in progress.
    pub lease_expires_at: Option<Timestamp>,
    /// The call that is being answered.
    pub turn: Option<TurnClaim>,
    /// Since when it waits for a worker, or waited.
    pub queued_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Conversation {
    /// A conversation that waits for its first attempt.
    pub fn queued(
        id: ConversationId,
        simulation_id: SimulationId,
        persona_id: PersonaId,
        seq: u32,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            simulation_id,
            persona_id,
            seq,
            status: ConversationStatus::Queued,
            end_reason: None,
            evaluation_status: EvaluationStatus::Pending,
            attempt: 1,
            ended_attempts: Vec::new(),
            item_count: 0,
            lease_expires_at: None,
            turn: None,
            queued_at: now,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether nothing is left to happen: it failed, or it was held and its evaluation is over.
    pub fn is_settled(&self) -> bool {
        match self.status {
            ConversationStatus::Failed => true,
            ConversationStatus::Ended => self.evaluation_status.is_final(),
            ConversationStatus::Queued | ConversationStatus::InProgress => false,
        }
    }

    /// A worker takes it, for as long as `lease`.
    pub fn start(
        self,
        simulation: &Simulation,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if self.status != ConversationStatus::Queued {
            return Err(Refusal::ConversationNotQueued { status: self.status });
        }
        simulation.require_running()?;
        Ok(Self {
            status: ConversationStatus::InProgress,
            lease_expires_at: Some(later(now, lease)),
            updated_at: now,
            ..self
        })
    }

    /// Claims the turn for one call. A first attempt need not be started before; a later one must be, because a
    /// call without a start then comes from the worker that lost it.
    pub fn claim_turn(
        self,
        simulation: &Simulation,
        attempt: Option<u32>,
        claim: TurnClaim,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        self.require_open(attempt)?;
        simulation.require_running()?;
        self.require_free_turn(now)?;
        let started = match self.status {
            ConversationStatus::Queued if self.attempt > 1 => {
                return Err(Refusal::ConversationRequeued { attempt: self.attempt });
            }
            ConversationStatus::Queued => self.start(simulation, lease, now)?,
            _ => self,
        };
        Ok(Self { turn: Some(claim), lease_expires_at: Some(later(now, lease)), updated_at: now, ..started })
    }

    /// Completes the claimed turn: `messages` more in the transcript, and the conversation over if `end` says so.
    pub fn complete_turn(
        self,
        simulation: &Simulation,
        token: &TurnToken,
        messages: u32,
        end: Option<EndReason>,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        self.require_claim(token)?;
        simulation.require_running()?;
        let answered = Self {
            turn: None,
            item_count: self.item_count.saturating_add(messages),
            lease_expires_at: Some(later(now, lease)),
            updated_at: now,
            ..self
        };
        Ok(match end {
            Some(reason) => answered.over(reason, now),
            None => answered,
        })
    }

    /// Gives the claimed turn back, because no reply could be made. Nothing of the call is kept.
    pub fn release_turn(self, token: &TurnToken, now: Timestamp) -> Result<Self, Refusal> {
        self.require_claim(token)?;
        Ok(Self { turn: None, updated_at: now, ..self })
    }

    /// Its worker ends it. Repeating it changes nothing, whoever ended it.
    pub fn end(self, simulation: &Simulation, attempt: Option<u32>, now: Timestamp) -> Result<Self, Refusal> {
        self.require_attempt(attempt)?;
        match self.status {
            ConversationStatus::Ended => Ok(self),
            ConversationStatus::Queued => Err(Refusal::ConversationNotStarted),
            ConversationStatus::Failed => Err(Refusal::ConversationOver { status: self.status }),
            ConversationStatus::InProgress => {
                simulation.require_running()?;
                self.require_free_turn(now)?;
                Ok(self.over(EndReason::AgentDecided, now))
            }
        }
    }

    /// Its worker is given up: queued again as a new attempt, or failed after the last. Refused while the lease is
    /// held or a call is being answered.
    pub fn lose_lease(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.lease_expires_at {
            Some(until) if until <= now => self.require_free_turn(now).map_err(|_| Refusal::LeaseHeld)?,
            _ => return Err(Refusal::LeaseHeld),
        }
        if self.attempt >= MAX_ATTEMPTS {
            return Ok(self.failed(EndReason::LeaseExpired, now));
        }
        let ended_attempts = self.attempts_with(EndReason::LeaseExpired, now);
        Ok(Self {
            status: ConversationStatus::Queued,
            attempt: self.attempt + 1,
            ended_attempts,
            item_count: 0,
            lease_expires_at: None,
            turn: None,
            queued_at: now,
            updated_at: now,
            ..self
        })
    }

    /// Stops because its simulation is over: what was not held has failed, what was not judged will not be.
    /// Changes nothing about a settled one; refused while the simulation runs.
    pub fn stop(self, simulation: &Simulation, now: Timestamp) -> Result<Self, Refusal> {
        let reason = match simulation.status {
            SimulationStatus::Canceled => EndReason::SimulationCanceled,
            SimulationStatus::Expired => EndReason::SimulationExpired,
            SimulationStatus::Failed | SimulationStatus::Completed => EndReason::SimulationFailed,
            SimulationStatus::Pending | SimulationStatus::InProgress => {
                return Err(Refusal::SimulationUnfinished);
            }
        };
        if self.is_settled() {
            return Ok(self);
        }
        Ok(match self.status {
            ConversationStatus::Queued | ConversationStatus::InProgress => self.failed(reason, now),
            ConversationStatus::Ended | ConversationStatus::Failed => {
                Self { evaluation_status: EvaluationStatus::NotApplicable, updated_at: now, ..self }
            }
        })
    }

    /// The judge takes up `attempt`. Repeating it changes nothing.
    pub fn begin_evaluation(
        self,
        simulation: &Simulation,
        attempt: u32,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        self.require_evaluation(simulation, attempt)?;
        Ok(match self.evaluation_status {
            EvaluationStatus::Pending => {
                Self { evaluation_status: EvaluationStatus::InProgress, updated_at: now, ..self }
            }
            _ => self,
        })
    }

    /// The judge is done with `attempt`, in the final status `outcome`.
    pub fn conclude_evaluation(
        self,
        simulation: &Simulation,
        attempt: u32,
        outcome: EvaluationStatus,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        self.require_evaluation(simulation, attempt)?;
        if !outcome.is_final() {
            return Err(Refusal::NothingToEvaluate);
        }
        Ok(Self { evaluation_status: outcome, updated_at: now, ..self })
    }

    /// Refuses a call for another attempt than the one it is at. A caller that names none is taken to mean it.
    pub fn require_attempt(&self, attempt: Option<u32>) -> Result<(), Refusal> {
        match attempt {
            Some(attempt) if attempt != self.attempt => Err(Refusal::StaleAttempt { current: self.attempt }),
            _ => Ok(()),
        }
    }

    fn require_open(&self, attempt: Option<u32>) -> Result<(), Refusal> {
        self.require_attempt(attempt)?;
        match self.status {
            ConversationStatus::Queued | ConversationStatus::InProgress => Ok(()),
            status => Err(Refusal::ConversationOver { status }),
        }
    }

    fn require_free_turn(&self, now: Timestamp) -> Result<(), Refusal> {
        match &self.turn {
            Some(claim) if now < claim.expires_at => Err(Refusal::TurnInProgress { until: claim.expires_at }),
            _ => Ok(()),
        }
    }

    fn require_claim(&self, token: &TurnToken) -> Result<(), Refusal> {
        match &self.turn {
            Some(claim) if claim.token == *token => Ok(()),
            _ => Err(Refusal::TurnLost),
        }
    }

    fn require_evaluation(&self, simulation: &Simulation, attempt: u32) -> Result<(), Refusal> {
        simulation.require_running()?;
        let due = self.status == ConversationStatus::Ended
            && self.attempt == attempt
            && !self.evaluation_status.is_final();
        if due { Ok(()) } else { Err(Refusal::NothingToEvaluate) }
    }

    /// The ended attempts, with the present one if a worker holds it.
    fn attempts_with(&self, end_reason: EndReason, now: Timestamp) -> Vec<EndedAttempt> {
        let mut attempts = self.ended_attempts.clone();
        if self.status == ConversationStatus::InProgress {
            let attempt = self.attempt;
            attempts.push(EndedAttempt { attempt, end_reason, failure_reason: None, ended_at: now });
        }
        attempts
    }

    fn over(self, reason: EndReason, now: Timestamp) -> Self {
        Self {
            ended_attempts: self.attempts_with(reason, now),
            status: ConversationStatus::Ended,
            end_reason: Some(reason),
            lease_expires_at: None,
            turn: None,
            updated_at: now,
            ..self
        }
    }

    fn failed(self, reason: EndReason, now: Timestamp) -> Self {
        Self {
            status: ConversationStatus::Failed,
            evaluation_status: EvaluationStatus::NotApplicable,
            ..self.over(reason, now)
        }
    }
}
