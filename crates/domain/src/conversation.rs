//! Conversations: one persona and one agent exchange a bounded number of messages, which are then
//! evaluated.
//!
//! ```text
//! conversation  queued → in_progress → ended | failed
//!               in_progress → queued when its lease expires or its worker reports a failure
//! evaluation    pending → in_progress → completed | failed | not_applicable
//! ```
//!
//! A started conversation has a lease, which every call of its worker renews, and
//! [`renew`](Conversation::renew) without any other effect. When the lease expires, or the worker
//! reports that the agent failed, the conversation is queued again as a new attempt with an empty
//! transcript; after [`MAX_LOST_ATTEMPTS`] it has failed. An attempt whose
//! worker left because a reply came late is not counted among them, but [`MAX_ATTEMPTS`] bounds all.
//!
//! Turns are exclusive: a call claims the turn before the persona's reply is generated, and completes
//! it afterwards. A caller may leave before that. Its reply is then undelivered: the completed turn
//! stays with the conversation until a call with the same input gets the reply, or a call with other
//! input takes the next turn.

mod status;
mod turn;

pub use status::{ConversationStatus, EndReason, EvaluationStatus};
pub use turn::{TurnClaim, TurnToken};

use jiff::{SignedDuration, Timestamp};

use crate::{
    ConversationId, FailureReason, FaultSeverity, PersonaFault, PersonaId, Refusal, Simulation, SimulationId,
    SimulationStatus, later,
};

/// The number of lost attempts after which a conversation has failed. Attempts that ended with
/// [`EndReason::ReplyLate`] are not counted.
pub const MAX_LOST_ATTEMPTS: u32 = 3;

/// The number of attempts of all kinds after which a conversation has failed.
pub const MAX_ATTEMPTS: u32 = 10;

/// A finished attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// Why it ended.
    pub end_reason: EndReason,
    /// The worker's explanation of the agent's failure, if it gave one.
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
    /// Its status.
    pub status: ConversationStatus,
    /// Why it ended; `None` until then.
    pub end_reason: Option<EndReason>,
    /// The status of its evaluation.
    pub evaluation_status: EvaluationStatus,
    /// The current attempt, from 1.
    pub attempt: u32,
    /// The finished attempts, oldest first: at most [`MAX_ATTEMPTS`].
    pub ended_attempts: Vec<EndedAttempt>,
    /// The number of messages in the current attempt.
    pub item_count: u32,
    /// The persona's faults in the current attempt, found when it was evaluated.
    pub persona_faults: Vec<PersonaFault>,
    /// When the lease expires; `Some` exactly while it is in progress.
    pub lease_expires_at: Option<Timestamp>,
    /// The call that is being answered or whose reply is undelivered, if any.
    pub turn: Option<TurnClaim>,
    /// When it was last queued.
    pub queued_at: Timestamp,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Conversation {
    /// Creates a conversation that waits for its first attempt.
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
            persona_faults: Vec::new(),
            lease_expires_at: None,
            turn: None,
            queued_at: now,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it is settled: it failed, or it ended and its evaluation is final.
    pub fn is_settled(&self) -> bool {
        match self.status {
            ConversationStatus::Failed => true,
            ConversationStatus::Ended => self.evaluation_status.is_final(),
            ConversationStatus::Queued | ConversationStatus::InProgress => false,
        }
    }

    /// Starts the conversation for a worker, with a lease of this length.
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

    /// Claims the turn for one call. Refused if the reply to the same input is undelivered. A first
    /// attempt is started if it was not; a later one must have been started, because a call without a
    /// start then comes from the worker whose lease expired.
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
        if let Some(turn) = &self.turn
            && claim.token.input().is_some_and(|input| self.has_undelivered_reply(input))
        {
            return Err(Refusal::TurnInProgress { until: turn.expires_at });
        }
        let started = match self.status {
            ConversationStatus::Queued if self.attempt > 1 => {
                return Err(Refusal::ConversationRequeued { attempt: self.attempt });
            }
            ConversationStatus::Queued => self.start(simulation, lease, now)?,
            _ => self,
        };
        Ok(Self { turn: Some(claim), lease_expires_at: Some(later(now, lease)), updated_at: now, ..started })
    }

    /// Completes the claimed turn: adds `messages` to the count, and ends the conversation if `end`
    /// is set.
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
            Some(reason) => answered.ended(reason, now),
            None => answered,
        })
    }

    /// Marks the reply of the turn that [`complete_turn`](Self::complete_turn) has just completed as
    /// undelivered, because its caller has left.
    #[must_use]
    pub fn with_undelivered_reply(self, token: &TurnToken, now: Timestamp) -> Self {
        let turn = TurnClaim { token: token.undelivered(), expires_at: now };
        Self { turn: Some(turn), ..self }
    }

    /// Whether the reply to a call with this input is undelivered.
    pub fn has_undelivered_reply(&self, input: &str) -> bool {
        self.turn
            .as_ref()
            .is_some_and(|turn| turn.token.is_undelivered() && turn.token.input() == Some(input))
    }

    /// Delivers the undelivered reply of a turn. A later call with the same input takes a turn of its
    /// own. After the end no turn can follow, so the reply stays undelivered and can be repeated.
    pub fn deliver_reply(
        self,
        token: &TurnToken,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        self.require_claim(&token.undelivered())?;
        if self.status != ConversationStatus::InProgress {
            return Ok(self);
        }
        Ok(Self { turn: None, lease_expires_at: Some(later(now, lease)), updated_at: now, ..self })
    }

    /// Releases the claimed turn because no reply could be generated. Nothing of the call is
    /// stored.
    pub fn release_turn(self, token: &TurnToken, now: Timestamp) -> Result<Self, Refusal> {
        self.require_claim(token)?;
        Ok(Self { turn: None, updated_at: now, ..self })
    }

    /// Ends the conversation for its worker. If it has already ended, nothing changes, regardless
    /// of who ended it.
    pub fn end(self, simulation: &Simulation, attempt: Option<u32>, now: Timestamp) -> Result<Self, Refusal> {
        self.require_attempt(attempt)?;
        match self.status {
            ConversationStatus::Ended => Ok(self),
            ConversationStatus::Queued => Err(Refusal::ConversationNotStarted),
            ConversationStatus::Failed => Err(Refusal::ConversationOver { status: self.status }),
            ConversationStatus::InProgress => {
                simulation.require_running()?;
                self.require_free_turn(now)?;
                Ok(self.ended(EndReason::AgentDecided, now))
            }
        }
    }

    /// Renews the lease of `attempt`, which its worker still holds. A lease that has expired can be renewed until
    /// [`lose_lease`](Self::lose_lease) took it. A lease is never shortened.
    pub fn renew(
        self,
        simulation: &Simulation,
        attempt: u32,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        self.require_attempt(Some(attempt))?;
        match self.status {
            ConversationStatus::Queued => Err(Refusal::ConversationNotStarted),
            ConversationStatus::Ended | ConversationStatus::Failed => Err(Refusal::AttemptOver { attempt }),
            ConversationStatus::InProgress => {
                simulation.require_running()?;
                let renewed = Some(later(now, lease));
                if renewed <= self.lease_expires_at {
                    return Ok(self);
                }
                Ok(Self { lease_expires_at: renewed, updated_at: now, ..self })
            }
        }
    }

    /// Handles an expired lease: queues a new attempt, or fails the conversation after the last
    /// one. Refused while the lease is valid or a call is being answered. If a reply is undelivered, the
    /// worker has left because the reply came late, which is not its fault.
    pub fn lose_lease(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.lease_expires_at {
            Some(until) if until <= now => self.require_free_turn(now).map_err(|_| Refusal::LeaseHeld)?,
            _ => return Err(Refusal::LeaseHeld),
        }
        let reply_was_late = self.turn.as_ref().is_some_and(|turn| turn.token.is_undelivered());
        let reason = if reply_was_late { EndReason::ReplyLate } else { EndReason::LeaseExpired };
        Ok(self.lost(reason, None, now))
    }

    /// Ends `attempt` because its worker reports that the agent failed: queues a new attempt, or fails the
    /// conversation after the last one. Repeating it changes nothing.
    pub fn fail(
        self,
        simulation: &Simulation,
        attempt: u32,
        reason: &FailureReason,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let is_reported =
            |ended: &EndedAttempt| ended.attempt == attempt && ended.end_reason == EndReason::AgentFailed;
        if self.ended_attempts.iter().any(is_reported) {
            return Ok(self);
        }
        self.require_attempt(Some(attempt))?;
        match self.status {
            ConversationStatus::Queued => Err(Refusal::ConversationNotStarted),
            ConversationStatus::Ended | ConversationStatus::Failed => {
                Err(Refusal::ConversationOver { status: self.status })
            }
            ConversationStatus::InProgress => {
                simulation.require_running()?;
                self.require_free_turn(now)?;
                Ok(self.lost(EndReason::AgentFailed, Some(reason.to_string()), now))
            }
        }
    }

    /// Stops the conversation because its simulation is over: an unfinished conversation fails, a
    /// pending evaluation becomes not applicable. A settled conversation is left unchanged. Refused
    /// while the simulation runs.
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

    /// Begins the evaluation of `attempt`. Repeating it changes nothing.
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

    /// Notes the persona's faults in the current attempt.
    pub fn with_persona_faults(self, persona_faults: Vec<PersonaFault>) -> Self {
        Self { persona_faults, ..self }
    }

    /// Removes the words of its transcript from the conversation.
    pub fn without_quotes(mut self) -> Self {
        for fault in &mut self.persona_faults {
            fault.quote.clear();
        }
        self
    }

    /// The severity of the persona's worst fault. A conversation with a critical one is left out of pass rates.
    pub fn worst_fault(&self) -> Option<FaultSeverity> {
        self.persona_faults.iter().map(|fault| fault.severity).max()
    }

    /// Ends the evaluation of `attempt` with the final status `outcome`.
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

    /// Refuses a call that names another attempt. A call that names none means the current one.
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

    /// The ended attempts, including the current one if a worker holds it.
    fn attempts_with(
        &self,
        end_reason: EndReason,
        failure_reason: Option<String>,
        now: Timestamp,
    ) -> Vec<EndedAttempt> {
        let mut attempts = self.ended_attempts.clone();
        if self.status == ConversationStatus::InProgress {
            let attempt = self.attempt;
            attempts.push(EndedAttempt { attempt, end_reason, failure_reason, ended_at: now });
        }
        attempts
    }

    /// Queues a new attempt, or fails the conversation after the last one.
    fn lost(self, reason: EndReason, failure_reason: Option<String>, now: Timestamp) -> Self {
        let ended_attempts = self.attempts_with(reason, failure_reason, now);
        let late = ended_attempts.iter().filter(|ended| ended.end_reason == EndReason::ReplyLate).count();
        let late = u32::try_from(late).unwrap_or(u32::MAX);
        if self.attempt >= MAX_ATTEMPTS || self.attempt.saturating_sub(late) >= MAX_LOST_ATTEMPTS {
            return Self { ended_attempts, ..self.failed(reason, now) };
        }
        Self {
            status: ConversationStatus::Queued,
            attempt: self.attempt + 1,
            ended_attempts,
            item_count: 0,
            persona_faults: Vec::new(),
            lease_expires_at: None,
            turn: None,
            queued_at: now,
            updated_at: now,
            ..self
        }
    }

    fn ended(self, reason: EndReason, now: Timestamp) -> Self {
        Self {
            ended_attempts: self.attempts_with(reason, None, now),
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
            ..self.ended(reason, now)
        }
    }
}

#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Progress,
        fixtures::{conversation, simulation, token},
    };

    /// Any time, including the first and the last.
    fn moment() -> impl Strategy<Value = Timestamp> {
        let first = Timestamp::MIN.as_microsecond();
        let last = Timestamp::MAX.as_microsecond();
        prop_oneof![
            Just(Timestamp::MIN),
            Just(Timestamp::MAX),
            (first..=last).prop_map(|microsecond| Timestamp::from_microsecond(microsecond).unwrap()),
        ]
    }

    /// Any duration, including those beyond the calendar.
    fn duration() -> impl Strategy<Value = SignedDuration> {
        prop_oneof![
            Just(SignedDuration::MIN),
            Just(SignedDuration::MAX),
            Just(SignedDuration::ZERO),
            any::<i64>().prop_map(SignedDuration::from_secs),
            (0..1_000_i64).prop_map(SignedDuration::from_secs),
        ]
    }

    proptest! {
        #[test]
        fn extreme_times_and_leases_do_not_panic(now in moment(), later in moment(), lease in duration()) {
            let running = Simulation { expires_at: later, ..simulation(1, 1).start(now).unwrap() };
            let claim = TurnClaim { token: token(1), expires_at: later };
            let started = conversation(now).start(&running, lease, now).unwrap();
            prop_assert!(started.lease_expires_at.is_some());
            let claimed = started.claim_turn(&running, None, claim, lease, later).unwrap();
            let completed = claimed.clone().complete_turn(&running, &token(1), u32::MAX, None, lease, now).unwrap();
            let left = completed.clone().with_undelivered_reply(&token(1), now);
            prop_assert!(left.deliver_reply(&token(1), lease, later).unwrap().turn.is_none());
            let again = Conversation { turn: claimed.turn.clone(), ..completed };
            let full = again.complete_turn(&running, &token(1), u32::MAX, None, lease, later).unwrap();
            prop_assert_eq!(full.item_count, u32::MAX);
            for moment in [now, later, Timestamp::MIN, Timestamp::MAX] {
                // The result does not matter, only that there is no panic.
                let _: Result<_, _> = claimed.clone().lose_lease(moment);
                let _: Result<_, _> = claimed.clone().end(&running, Some(u32::MAX), moment);
                let expired = running.clone().expire(Progress::default(), moment);
                prop_assert_eq!(expired.is_ok(), moment >= later);
                if let Err(refusal) = expired {
                    prop_assert!(!refusal.to_string().is_empty());
                }
                // A settled simulation is completed, not expired.
                let settled = Progress { settled: running.target_conversations.get(), ..Progress::default() };
                if let Ok(done) = running.clone().expire(settled, moment) {
                    prop_assert_eq!(done.status, SimulationStatus::Completed);
                }
            }
        }
    }
}
