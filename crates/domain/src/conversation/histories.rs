//! Compares the state machines with a model of their transition tables over random histories:
//! exactly the allowed steps succeed, in any order and at any time.
//!
//! The model is derived from the tables alone. It holds states, attempts, leases, and the holder of
//! the turn.

mod invariants;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use invariants::{assert_edges, assert_move, assert_state};

use crate::{
    Conversation, ConversationStatus, EndReason, EvaluationStatus, FailureReason, MAX_ATTEMPTS,
    MAX_LOST_ATTEMPTS, Progress, Refusal, Simulation, SimulationStatus, TurnClaim,
    fixtures::{EXPIRY, Second, at, conversation, simulation, token},
};

/// The number of conversations in the simulation.
const TARGET: u32 = 3;

/// The reason of a reported failure.
const REASON: &str = "out of memory";

/// The attempt that a caller names.
#[derive(Clone, Copy, Debug)]
enum NamedAttempt {
    None,
    Current,
    Other,
}

impl NamedAttempt {
    fn attempt(self, current: u32) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Current => Some(current),
            Self::Other => Some(if current == 1 { 2 } else { current - 1 }),
        }
    }

    fn is_right(self) -> bool {
        !matches!(self, Self::Other)
    }
}

#[derive(Clone, Debug)]
enum Step {
    StartSimulation,
    CancelSimulation,
    ExpireSimulation,
    FailSimulation,
    FinishSimulation { progress: Progress },
    Start { lease: Second },
    ClaimTurn { named: NamedAttempt, token: u8, claim: Second, lease: Second },
    CompleteTurn { token: u8, messages: u32, end: Option<EndReason>, has_left: bool, lease: Second },
    DeliverReply { token: u8, lease: Second },
    ReleaseTurn { token: u8 },
    Renew { named: NamedAttempt, lease: Second },
    End { named: NamedAttempt },
    Fail { named: NamedAttempt },
    LoseLease,
    Stop,
    BeginEvaluation { named: NamedAttempt },
    ConcludeEvaluation { named: NamedAttempt, outcome: EvaluationStatus },
    Wait { seconds: Second },
}

fn named() -> impl Strategy<Value = NamedAttempt> {
    prop_oneof![3 => Just(NamedAttempt::None), 3 => Just(NamedAttempt::Current), 1 => Just(NamedAttempt::Other)]
}

fn seconds() -> impl Strategy<Value = Second> {
    prop_oneof![Just(0), Just(1), 2..400_i64]
}

fn progress() -> impl Strategy<Value = Progress> {
    let settled = prop_oneof![0..=TARGET, TARGET..=TARGET, Just(u32::MAX)];
    let failed = || prop_oneof![3 => Just(0), 1 => Just(1), 1 => Just(u32::MAX)];
    (settled, failed(), failed()).prop_map(|(settled, conversations_failed, evaluations_failed)| Progress {
        settled,
        conversations_failed,
        evaluations_failed,
    })
}

/// Steps of a history. Steps that end the simulation are rare, because nothing happens after them.
fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![3 => Just(None), 1 => Just(Some(EndReason::PersonaDecided))];
    prop_oneof![
        6 => Just(Step::StartSimulation),
        1 => Just(Step::CancelSimulation),
        1 => Just(Step::ExpireSimulation),
        1 => Just(Step::FailSimulation),
        1 => progress().prop_map(|progress| Step::FinishSimulation { progress }),
        12 => seconds().prop_map(|lease| Step::Start { lease }),
        12 => (named(), 0..3_u8, seconds(), seconds())
            .prop_map(|(named, token, claim, lease)| Step::ClaimTurn { named, token, claim, lease }),
        12 => (0..3_u8, 0..3_u32, end, any::<bool>(), seconds()).prop_map(
            |(token, messages, end, has_left, lease)| {
                Step::CompleteTurn { token, messages, end, has_left, lease }
            }
        ),
        8 => (0..3_u8, seconds()).prop_map(|(token, lease)| Step::DeliverReply { token, lease }),
        4 => (0..3_u8).prop_map(|token| Step::ReleaseTurn { token }),
        8 => (named(), seconds()).prop_map(|(named, lease)| Step::Renew { named, lease }),
        3 => named().prop_map(|named| Step::End { named }),
        6 => named().prop_map(|named| Step::Fail { named }),
        12 => Just(Step::LoseLease),
        4 => Just(Step::Stop),
        4 => named().prop_map(|named| Step::BeginEvaluation { named }),
        4 => (named(), prop::sample::select(EvaluationStatus::ALL.to_vec()))
            .prop_map(|(named, outcome)| Step::ConcludeEvaluation { named, outcome }),
        12 => seconds().prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The state that the tables describe.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    now: Second,
    simulation: SimulationStatus,
    conversation: ConversationStatus,
    evaluation: EvaluationStatus,
    attempt: u32,
    messages: u32,
    lease: Option<Second>,
    claim: Option<(u8, Second)>,
    /// The holder of the last turn, if its reply is undelivered, and the time of the reply.
    undelivered: Option<(u8, Second)>,
    /// The attempts whose failure a worker reported.
    reported: Vec<u32>,
    /// The attempts that were lost to a late reply.
    late: Vec<u32>,
}

impl Model {
    fn new() -> Self {
        Self {
            now: 0,
            simulation: SimulationStatus::Pending,
            conversation: ConversationStatus::Queued,
            evaluation: EvaluationStatus::Pending,
            attempt: 1,
            messages: 0,
            lease: None,
            claim: None,
            undelivered: None,
            reported: Vec::new(),
            late: Vec::new(),
        }
    }

    fn of(now: Second, simulation: &Simulation, conversation: &Conversation) -> Self {
        let second = |time: Timestamp| time.as_second() - at(0).as_second();
        let holder = |text: &str| text.split_once('.').unwrap().0.parse().unwrap();
        let turn = |is_undelivered| {
            let turn = conversation.turn.as_ref();
            turn.filter(|turn| turn.token.is_undelivered() == is_undelivered)
                .map(|turn| (holder(turn.token.as_str()), second(turn.expires_at)))
        };
        let ended = |reason| {
            let ended = conversation.ended_attempts.iter().filter(|ended| ended.end_reason == reason);
            ended.map(|ended| ended.attempt).collect()
        };
        Self {
            now,
            simulation: simulation.status,
            conversation: conversation.status,
            evaluation: conversation.evaluation_status,
            attempt: conversation.attempt,
            messages: conversation.item_count,
            lease: conversation.lease_expires_at.map(second),
            claim: turn(false),
            undelivered: turn(true),
            reported: ended(EndReason::AgentFailed),
            late: ended(EndReason::ReplyLate),
        }
    }

    fn is_running(&self) -> bool {
        self.simulation == SimulationStatus::InProgress
    }

    fn is_over(&self) -> bool {
        !matches!(self.simulation, SimulationStatus::Pending | SimulationStatus::InProgress)
    }

    fn is_evaluated(&self) -> bool {
        !matches!(self.evaluation, EvaluationStatus::Pending | EvaluationStatus::InProgress)
    }

    fn is_answering(&self) -> bool {
        self.claim.is_some_and(|(_, until)| self.now < until)
    }

    fn is_evaluation_due(&self, named: NamedAttempt) -> bool {
        self.is_running()
            && self.conversation == ConversationStatus::Ended
            && !self.is_evaluated()
            && named.is_right()
    }

    /// The state after a step; `None` if the tables refuse it.
    #[expect(clippy::too_many_lines, reason = "one arm for each step of the tables")]
    fn after(&self, step: &Step) -> Option<Self> {
        let model = self.clone();
        let held = |lease| Self {
            conversation: ConversationStatus::InProgress,
            lease: Some(self.now + lease),
            ..self.clone()
        };
        let ended = |status| Self {
            conversation: status,
            lease: None,
            claim: None,
            undelivered: None,
            ..self.clone()
        };
        let failed =
            || Self { evaluation: EvaluationStatus::NotApplicable, ..ended(ConversationStatus::Failed) };
        let retried = |late: Vec<u32>| {
            let lost = self.attempt - u32::try_from(late.len()).unwrap();
            let is_last = lost == MAX_LOST_ATTEMPTS || self.attempt == MAX_ATTEMPTS;
            let next =
                || Self { attempt: self.attempt + 1, messages: 0, ..ended(ConversationStatus::Queued) };
            Self { late, ..if is_last { failed() } else { next() } }
        };
        let over = |status| (!self.is_over()).then(|| Self { simulation: status, ..model.clone() });
        match *step {
            Step::StartSimulation if self.is_over() => None,
            Step::StartSimulation => Some(Self { simulation: SimulationStatus::InProgress, ..model }),
            Step::CancelSimulation if self.simulation == SimulationStatus::Canceled => Some(model),
            Step::CancelSimulation => over(SimulationStatus::Canceled),
            Step::ExpireSimulation => over(SimulationStatus::Expired).filter(|_| self.now >= EXPIRY),
            Step::FailSimulation => over(SimulationStatus::Failed),
            // Only a running simulation can be completed, or fail because of its conversations.
            Step::FinishSimulation { progress } => {
                let failures = progress.conversations_failed > 0 || progress.evaluations_failed > 0;
                let status = if failures { SimulationStatus::Failed } else { SimulationStatus::Completed };
                over(status).filter(|_| self.is_running() && progress.settled >= TARGET)
            }
            Step::Start { lease } => {
                (self.conversation == ConversationStatus::Queued && self.is_running()).then(|| held(lease))
            }
            Step::ClaimTurn { named, token, claim, lease } => {
                let open = match self.conversation {
                    ConversationStatus::Queued => self.attempt == 1,
                    ConversationStatus::InProgress => !self.is_answering(),
                    ConversationStatus::Ended | ConversationStatus::Failed => false,
                };
                let is_repeated = self.undelivered.is_some_and(|(holder, _)| holder == token);
                (open && !is_repeated && named.is_right() && self.is_running()).then(|| Self {
                    claim: Some((token, self.now + claim)),
                    undelivered: None,
                    ..held(lease)
                })
            }
            Step::CompleteTurn { token, messages, end, has_left, lease } => {
                let mine = self.claim.is_some_and(|(holder, _)| holder == token);
                let messages = self.messages + messages;
                let undelivered = has_left.then_some((token, self.now));
                (mine && self.is_running()).then(|| match end {
                    Some(_) => Self { messages, undelivered, ..ended(ConversationStatus::Ended) },
                    None => Self { messages, undelivered, claim: None, ..held(lease) },
                })
            }
            Step::DeliverReply { token, lease } => {
                let is_undelivered = self.undelivered.is_some_and(|(holder, _)| holder == token);
                is_undelivered.then(|| match self.conversation {
                    ConversationStatus::InProgress => Self { undelivered: None, ..held(lease) },
                    _ => model,
                })
            }
            Step::ReleaseTurn { token } => {
                self.claim.is_some_and(|(holder, _)| holder == token).then_some(Self { claim: None, ..model })
            }
            Step::Renew { named, lease } => {
                let is_held = self.conversation == ConversationStatus::InProgress && self.is_running();
                (is_held && named.is_right())
                    .then(|| Self { lease: self.lease.max(Some(self.now + lease)), ..model })
            }
            Step::End { named } if !named.is_right() => None,
            Step::End { .. } => match self.conversation {
                ConversationStatus::Ended => Some(model),
                ConversationStatus::InProgress if self.is_running() && !self.is_answering() => {
                    Some(ended(ConversationStatus::Ended))
                }
                _ => None,
            },
            Step::LoseLease => {
                let lost = self.lease.is_some_and(|until| until <= self.now) && !self.is_answering();
                let late = self.undelivered.map(|_| self.attempt);
                lost.then(|| retried(self.late.iter().copied().chain(late).collect()))
            }
            Step::Fail { named } => {
                let attempt = named.attempt(self.attempt).unwrap_or(self.attempt);
                if self.reported.contains(&attempt) {
                    return Some(model);
                }
                let is_held = self.conversation == ConversationStatus::InProgress;
                let may_fail = is_held && self.is_running() && !self.is_answering();
                (may_fail && named.is_right()).then(|| {
                    let mut reported = self.reported.clone();
                    reported.push(attempt);
                    Self { reported, ..retried(self.late.clone()) }
                })
            }
            Step::Stop => self.is_over().then(|| match self.conversation {
                ConversationStatus::Queued | ConversationStatus::InProgress => failed(),
                ConversationStatus::Ended if !self.is_evaluated() => {
                    Self { evaluation: EvaluationStatus::NotApplicable, ..model }
                }
                _ => model,
            }),
            Step::BeginEvaluation { named } => self
                .is_evaluation_due(named)
                .then_some(Self { evaluation: EvaluationStatus::InProgress, ..model }),
            Step::ConcludeEvaluation { named, outcome } => {
                let is_final = !matches!(outcome, EvaluationStatus::Pending | EvaluationStatus::InProgress);
                (self.is_evaluation_due(named) && is_final).then_some(Self { evaluation: outcome, ..model })
            }
            Step::Wait { seconds } => Some(Self { now: self.now + seconds, ..model }),
        }
    }
}

/// The stored state during a history. A refused step leaves it unchanged.
#[derive(Clone, Debug)]
struct Stored {
    now: Second,
    simulation: Simulation,
    conversation: Conversation,
}

impl Stored {
    fn step(&mut self, step: &Step) -> Result<(), Refusal> {
        let now = at(self.now);
        let (simulation, conversation) = (self.simulation.clone(), self.conversation.clone());
        let current = conversation.attempt;
        // An evaluation, a renewal and a failure always name their attempt.
        let required = |named: NamedAttempt| named.attempt(current).unwrap_or(current);
        let running = &self.simulation;
        match step.clone() {
            Step::StartSimulation => self.simulation = simulation.start(now)?,
            Step::CancelSimulation => self.simulation = simulation.cancel(now)?,
            Step::ExpireSimulation => self.simulation = simulation.expire(Progress::default(), now)?,
            Step::FailSimulation => self.simulation = simulation.fail("no model".into(), now)?,
            Step::FinishSimulation { progress } => self.simulation = simulation.finish(progress, now)?,
            Step::Start { lease } => {
                self.conversation = conversation.start(running, SignedDuration::from_secs(lease), now)?;
            }
            Step::ClaimTurn { named, token: holder, claim, lease } => {
                let claim = TurnClaim { token: token(holder), expires_at: at(self.now + claim) };
                let lease = SignedDuration::from_secs(lease);
                self.conversation =
                    conversation.claim_turn(running, named.attempt(current), claim, lease, now)?;
            }
            Step::CompleteTurn { token: holder, messages, end, has_left, lease } => {
                let (token, lease) = (token(holder), SignedDuration::from_secs(lease));
                let completed = conversation.complete_turn(running, &token, messages, end, lease, now)?;
                self.conversation =
                    if has_left { completed.with_undelivered_reply(&token, now) } else { completed };
            }
            Step::DeliverReply { token: holder, lease } => {
                let lease = SignedDuration::from_secs(lease);
                self.conversation = conversation.deliver_reply(&token(holder), lease, now)?;
            }
            Step::ReleaseTurn { token: holder } => {
                self.conversation = conversation.release_turn(&token(holder), now)?;
            }
            Step::Renew { named, lease } => {
                let lease = SignedDuration::from_secs(lease);
                self.conversation = conversation.renew(running, required(named), lease, now)?;
            }
            Step::End { named } => {
                self.conversation = conversation.end(running, named.attempt(current), now)?;
            }
            Step::Fail { named } => {
                let (attempt, reason) = (required(named), FailureReason::parse(REASON.to_owned()).unwrap());
                self.conversation = conversation.fail(running, attempt, &reason, now)?;
            }
            Step::LoseLease => self.conversation = conversation.lose_lease(now)?,
            Step::Stop => self.conversation = conversation.stop(running, now)?,
            Step::BeginEvaluation { named } => {
                self.conversation = conversation.begin_evaluation(running, required(named), now)?;
            }
            Step::ConcludeEvaluation { named, outcome } => {
                self.conversation =
                    conversation.conclude_evaluation(running, required(named), outcome, now)?;
            }
            Step::Wait { seconds } => self.now += seconds,
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn histories_follow_the_transition_tables(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model::new();
        let mut stored =
            Stored { now: 0, simulation: simulation(TARGET, 2), conversation: conversation(at(0)) };
        for step in &steps {
            let before = stored.clone();
            let done = stored.step(step);
            let expected = model.after(step);
            prop_assert_eq!(done.is_ok(), expected.is_some(), "{:?} of {:?}: {:?}", step, &before, done);
            model = expected.unwrap_or(model);
            prop_assert_eq!(Model::of(stored.now, &stored.simulation, &stored.conversation), model.clone());
            assert_edges(&before, &stored);
            assert_state(&stored);
            assert_move(&before, &stored);
        }
    }

    #[test]
    fn repeated_steps_change_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let mut stored =
            Stored { now: 0, simulation: simulation(TARGET, 2), conversation: conversation(at(0)) };
        for step in &steps {
            // A repeated step changes nothing or is refused. The exceptions are time, which passes
            // twice, a claim, which its holder may repeat once it has expired, and the renewal of a lease.
            let repeats = !matches!(step, Step::Wait { .. } | Step::ClaimTurn { .. } | Step::Renew { .. });
            if stored.step(step).is_ok() && repeats {
                let once = stored.clone();
                stored.now += 1;
                let again = stored.step(step);
                prop_assert_eq!(&stored.simulation, &once.simulation);
                prop_assert_eq!(&stored.conversation, &once.conversation, "{:?}: {:?}", step, again);
            }
        }
    }
}
