//! The state machines against a model of their tables: whatever is done in whatever order, at whatever time, only
//! what the tables allow happens, and all that they allow does.
//!
//! The model is written from the tables alone. It holds no more than they speak of: states, attempts, until when
//! something is held, and by whom.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::{
    AgentId, ApprovalStatus, Conversation, ConversationStatus, EndReason, EvaluationStatus, MAX_ATTEMPTS,
    MaxTurns, Metadata, Name, Persona, PersonaAttributes, Progress, Refusal, Scenario, Seed, Simulation,
    SimulationStatus, Target, TurnClaim, TurnToken,
};

/// Seconds after the beginning of a history.
type Second = i64;

/// When the simulation expires.
const EXPIRY: Second = 2_000;

/// How many conversations the simulation is to have.
const TARGET: u32 = 3;

fn at(second: Second) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn simulation(target_conversations: u32, target_personas: u32) -> Simulation {
    Simulation {
        id: "simulation00000000001".parse().unwrap(),
        project_id: "project00001".parse().unwrap(),
        agent_id: "agent0000001".parse::<AgentId>().unwrap(),
        name: Name::parse("Simulation").unwrap(),
        scenario: Scenario::parse("A parcel is late.").unwrap(),
        target_conversations: Target::parse(target_conversations.into()).unwrap(),
        target_personas: Target::parse(target_personas.into()).unwrap(),
        max_turns: MaxTurns::default(),
        auto_approve: true,
        seed: Seed::parse(1).unwrap(),
        metadata: Metadata::default(),
        status: SimulationStatus::Pending,
        last_failure_reason: None,
        created_at: at(0),
        updated_at: at(0),
        expires_at: at(EXPIRY),
    }
}

fn conversation(now: Timestamp) -> Conversation {
    Conversation::queued(
        "conversation000000001".parse().unwrap(),
        "simulation00000000001".parse().unwrap(),
        "persona00000000000001".parse().unwrap(),
        1,
        now,
    )
}

fn persona() -> Persona {
    let attributes = serde_json::json!({
        "age_group": "adult", "speech_style": "", "education": "", "occupation": "", "economic_status": "",
        "personality_traits": "", "values": "", "habits": "", "interests": "", "speech_patterns": "",
        "typical_behavior": "", "stress_triggers": "", "stress_reactions": "", "version": "1",
    });
    Persona {
        id: "persona00000000000001".parse().unwrap(),
        simulation_id: "simulation00000000001".parse().unwrap(),
        seq: 1,
        approval: ApprovalStatus::Pending,
        summary: String::new(),
        story: String::new(),
        purpose: String::new(),
        attributes: serde_json::from_value::<PersonaAttributes>(attributes).unwrap(),
        metadata: Metadata::default(),
        created_at: at(0),
        updated_at: at(0),
    }
}

fn token(number: u8) -> TurnToken {
    TurnToken::restore(number.to_string())
}

/// Which attempt a caller means.
#[derive(Clone, Copy, Debug)]
enum Meant {
    /// It says nothing.
    Unsaid,
    /// The one that the conversation is at.
    Current,
    /// Another one.
    Other,
}

impl Meant {
    fn attempt(self, current: u32) -> Option<u32> {
        match self {
            Self::Unsaid => None,
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
    ClaimTurn { meant: Meant, token: u8, claim: Second, lease: Second },
    CompleteTurn { token: u8, messages: u32, end: Option<EndReason>, lease: Second },
    ReleaseTurn { token: u8 },
    End { meant: Meant },
    LoseLease,
    Stop,
    BeginEvaluation { meant: Meant },
    ConcludeEvaluation { meant: Meant, outcome: EvaluationStatus },
    Pass { seconds: Second },
}

fn meant() -> impl Strategy<Value = Meant> {
    prop_oneof![3 => Just(Meant::Unsaid), 3 => Just(Meant::Current), 1 => Just(Meant::Other)]
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

/// What happens in a simulation. Its end is rare among it, or little else would be seen.
fn step() -> impl Strategy<Value = Step> {
    let end = prop_oneof![3 => Just(None), 1 => Just(Some(EndReason::PersonaDecided))];
    prop_oneof![
        6 => Just(Step::StartSimulation),
        1 => Just(Step::CancelSimulation),
        1 => Just(Step::ExpireSimulation),
        1 => Just(Step::FailSimulation),
        1 => progress().prop_map(|progress| Step::FinishSimulation { progress }),
        12 => seconds().prop_map(|lease| Step::Start { lease }),
        12 => (meant(), 0..3_u8, seconds(), seconds())
            .prop_map(|(meant, token, claim, lease)| Step::ClaimTurn { meant, token, claim, lease }),
        12 => (0..3_u8, 0..3_u32, end, seconds()).prop_map(|(token, messages, end, lease)| {
            Step::CompleteTurn { token, messages, end, lease }
        }),
        4 => (0..3_u8).prop_map(|token| Step::ReleaseTurn { token }),
        3 => meant().prop_map(|meant| Step::End { meant }),
        12 => Just(Step::LoseLease),
        4 => Just(Step::Stop),
        4 => meant().prop_map(|meant| Step::BeginEvaluation { meant }),
        4 => (meant(), prop::sample::select(EvaluationStatus::ALL.to_vec()))
            .prop_map(|(meant, outcome)| Step::ConcludeEvaluation { meant, outcome }),
        12 => seconds().prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// What the tables speak of.
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
        }
    }

    fn of(now: Second, simulation: &Simulation, conversation: &Conversation) -> Self {
        let second = |time: Timestamp| time.as_second() - at(0).as_second();
        Self {
            now,
            simulation: simulation.status,
            conversation: conversation.status,
            evaluation: conversation.evaluation_status,
            attempt: conversation.attempt,
            messages: conversation.item_count,
            lease: conversation.lease_expires_at.map(second),
            claim: conversation
                .turn
                .as_ref()
                .map(|claim| (claim.token.as_str().parse().unwrap(), second(claim.expires_at))),
        }
    }

    fn is_running(&self) -> bool {
        self.simulation == SimulationStatus::InProgress
    }

    fn is_over(&self) -> bool {
        !matches!(self.simulation, SimulationStatus::Pending | SimulationStatus::InProgress)
    }

    fn is_judged(&self) -> bool {
        !matches!(self.evaluation, EvaluationStatus::Pending | EvaluationStatus::InProgress)
    }

    fn is_answering(&self) -> bool {
        self.claim.is_some_and(|(_, until)| self.now < until)
    }

    fn is_judging_due(&self, meant: Meant) -> bool {
        self.is_running()
            && self.conversation == ConversationStatus::Ended
            && !self.is_judged()
            && meant.is_right()
    }

    /// What the tables make of a step; `None` if they refuse it.
    fn after(&self, step: &Step) -> Option<Self> {
        let model = self.clone();
        let held = |lease| Self {
            conversation: ConversationStatus::InProgress,
            lease: Some(self.now + lease),
            ..self.clone()
        };
        let ended = |status| Self { conversation: status, lease: None, claim: None, ..self.clone() };
        let failed =
            || Self { evaluation: EvaluationStatus::NotApplicable, ..ended(ConversationStatus::Failed) };
        let over = |status| (!self.is_over()).then(|| Self { simulation: status, ..model.clone() });
        match *step {
            Step::StartSimulation if self.is_over() => None,
            Step::StartSimulation => Some(Self { simulation: SimulationStatus::InProgress, ..model }),
            Step::CancelSimulation if self.simulation == SimulationStatus::Canceled => Some(model),
            Step::CancelSimulation => over(SimulationStatus::Canceled),
            Step::ExpireSimulation => over(SimulationStatus::Expired).filter(|_| self.now >= EXPIRY),
            Step::FailSimulation => over(SimulationStatus::Failed),
            // Only what runs can be completed, or fail of what its conversations came to.
            Step::FinishSimulation { progress } => {
                let failures = progress.conversations_failed > 0 || progress.evaluations_failed > 0;
                let status = if failures { SimulationStatus::Failed } else { SimulationStatus::Completed };
                over(status).filter(|_| self.is_running() && progress.settled >= TARGET)
            }
            Step::Start { lease } => {
                (self.conversation == ConversationStatus::Queued && self.is_running()).then(|| held(lease))
            }
            Step::ClaimTurn { meant, token, claim, lease } => {
                let open = match self.conversation {
                    ConversationStatus::Queued => self.attempt == 1,
                    ConversationStatus::InProgress => !self.is_answering(),
                    ConversationStatus::Ended | ConversationStatus::Failed => false,
                };
                (open && meant.is_right() && self.is_running())
                    .then(|| Self { claim: Some((token, self.now + claim)), ..held(lease) })
            }
            Step::CompleteTurn { token, messages, end, lease } => {
                let mine = self.claim.is_some_and(|(holder, _)| holder == token);
                let messages = self.messages + messages;
                (mine && self.is_running()).then(|| match end {
                    Some(_) => Self { messages, ..ended(ConversationStatus::Ended) },
                    None => Self { messages, claim: None, ..held(lease) },
                })
            }
            Step::ReleaseTurn { token } => {
                self.claim.is_some_and(|(holder, _)| holder == token).then_some(Self { claim: None, ..model })
            }
            Step::End { meant } if !meant.is_right() => None,
            Step::End { .. } => match self.conversation {
                ConversationStatus::Ended => Some(model),
                ConversationStatus::InProgress if self.is_running() && !self.is_answering() => {
                    Some(ended(ConversationStatus::Ended))
                }
                _ => None,
            },
            Step::LoseLease => {
                let lost = self.lease.is_some_and(|until| until <= self.now) && !self.is_answering();
                lost.then(|| match self.attempt {
                    MAX_ATTEMPTS => failed(),
                    attempt => {
                        Self { attempt: attempt + 1, messages: 0, ..ended(ConversationStatus::Queued) }
                    }
                })
            }
            Step::Stop => self.is_over().then(|| match self.conversation {
                ConversationStatus::Queued | ConversationStatus::InProgress => failed(),
                ConversationStatus::Ended if !self.is_judged() => {
                    Self { evaluation: EvaluationStatus::NotApplicable, ..model }
                }
                _ => model,
            }),
            Step::BeginEvaluation { meant } => self
                .is_judging_due(meant)
                .then_some(Self { evaluation: EvaluationStatus::InProgress, ..model }),
            Step::ConcludeEvaluation { meant, outcome } => {
                let is_verdict = !matches!(outcome, EvaluationStatus::Pending | EvaluationStatus::InProgress);
                (self.is_judging_due(meant) && is_verdict).then_some(Self { evaluation: outcome, ..model })
            }
            Step::Pass { seconds } => Some(Self { now: self.now + seconds, ..model }),
        }
    }
}

/// What is stored while a history goes on. A refused step leaves it as it was.
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
        // A judge always knows which attempt it judged.
        let judged = |meant: Meant| meant.attempt(current).unwrap_or(current);
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
            Step::ClaimTurn { meant, token: holder, claim, lease } => {
                let claim = TurnClaim { token: token(holder), expires_at: at(self.now + claim) };
                let lease = SignedDuration::from_secs(lease);
                self.conversation =
                    conversation.claim_turn(running, meant.attempt(current), claim, lease, now)?;
            }
            Step::CompleteTurn { token: holder, messages, end, lease } => {
                let lease = SignedDuration::from_secs(lease);
                self.conversation =
                    conversation.complete_turn(running, &token(holder), messages, end, lease, now)?;
            }
            Step::ReleaseTurn { token: holder } => {
                self.conversation = conversation.release_turn(&token(holder), now)?;
            }
            Step::End { meant } => {
                self.conversation = conversation.end(running, meant.attempt(current), now)?;
            }
            Step::LoseLease => self.conversation = conversation.lose_lease(now)?,
            Step::Stop => self.conversation = conversation.stop(running, now)?,
            Step::BeginEvaluation { meant } => {
                self.conversation = conversation.begin_evaluation(running, judged(meant), now)?;
            }
            Step::ConcludeEvaluation { meant, outcome } => {
                self.conversation = conversation.conclude_evaluation(running, judged(meant), outcome, now)?;
            }
            Step::Pass { seconds } => self.now += seconds,
        }
        Ok(())
    }
}

/// The edges of the tables, and with them those that the end of a simulation makes: what waits fails, and
/// what waits to be judged, or could be judged at once, need not be taken up first.
fn assert_edges(before: &Stored, after: &Stored) {
    use ConversationStatus as C;
    use EvaluationStatus as E;
    use SimulationStatus as S;
    let (from, to) = (before.simulation.status, after.simulation.status);
    let allowed = match from {
        S::Pending => matches!(to, S::InProgress | S::Canceled | S::Expired | S::Failed),
        S::InProgress => matches!(to, S::Completed | S::Failed | S::Canceled | S::Expired),
        S::Completed | S::Failed | S::Canceled | S::Expired => false,
    };
    assert!(from == to || allowed, "{from:?} to {to:?}");
    let (from, to) = (before.conversation.status, after.conversation.status);
    let allowed = match from {
        C::Queued => matches!(to, C::InProgress | C::Failed),
        C::InProgress => matches!(to, C::Queued | C::Ended | C::Failed),
        C::Ended | C::Failed => false,
    };
    assert!(from == to || allowed, "{from:?} to {to:?}");
    let (from, to) = (before.conversation.evaluation_status, after.conversation.evaluation_status);
    let allowed = match from {
        E::Pending => to != E::Pending,
        E::InProgress => matches!(to, E::Completed | E::Failed | E::NotApplicable),
        E::Completed | E::Failed | E::NotApplicable => false,
    };
    assert!(from == to || allowed, "{from:?} to {to:?}");
}

/// What holds in every state.
fn assert_state(Stored { simulation, conversation, .. }: &Stored) {
    use ConversationStatus as C;
    let status = conversation.status;
    assert_eq!(conversation.lease_expires_at.is_some(), status == C::InProgress);
    assert!(conversation.turn.is_none() || status == C::InProgress);
    assert_eq!(conversation.end_reason.is_some(), matches!(status, C::Ended | C::Failed));
    assert!((1..=MAX_ATTEMPTS).contains(&conversation.attempt));
    if conversation.evaluation_status != EvaluationStatus::Pending {
        assert!(matches!(status, C::Ended | C::Failed));
    }
    if status == C::Failed {
        assert_eq!(conversation.evaluation_status, EvaluationStatus::NotApplicable);
    }
    if matches!(simulation.status, SimulationStatus::Failed | SimulationStatus::Expired) {
        assert!(simulation.last_failure_reason.is_some());
    }
}

/// What holds from one state to the next.
fn assert_move(before: &Stored, after: &Stored) {
    let (old, new) = (&before.conversation, &after.conversation);
    let requeued = old.status == ConversationStatus::InProgress && new.status == ConversationStatus::Queued;
    assert_eq!(new.attempt, old.attempt + u32::from(requeued));
    assert!(if requeued { new.item_count == 0 } else { new.item_count >= old.item_count });
    assert_eq!(new.queued_at, if requeued { at(after.now) } else { old.queued_at });
    assert!(new.is_settled() || !old.is_settled(), "what was settled is not any more");
    if old.is_settled() {
        assert_eq!(new, old);
    }
    if new != old {
        assert_eq!(new.updated_at, at(after.now));
    }
    if old.end_reason.is_some() {
        assert_eq!(new.end_reason, old.end_reason);
    }
    let identity = |of: &Conversation| {
        (of.id.clone(), of.simulation_id.clone(), of.persona_id.clone(), of.seq, of.created_at)
    };
    assert_eq!(identity(new), identity(old));
    let (old, new) = (&before.simulation, &after.simulation);
    if old.status.is_final() {
        assert_eq!(new, old);
    }
    let changed = Simulation {
        status: new.status,
        last_failure_reason: new.last_failure_reason.clone(),
        updated_at: new.updated_at,
        ..old.clone()
    };
    assert_eq!(new, &changed);
}

proptest! {
    #[test]
    fn only_what_the_tables_allow_happens_and_all_of_it(steps in prop::collection::vec(step(), 1..80)) {
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
    fn what_is_done_twice_is_done_once(steps in prop::collection::vec(step(), 1..60)) {
        let mut stored =
            Stored { now: 0, simulation: simulation(TARGET, 2), conversation: conversation(at(0)) };
        for step in &steps {
            // A worker, a judge or a job that comes again finds it done, or is refused. Only time passes twice, and
            // only who holds the turn may claim it again once the claim has run out.
            let repeats = !matches!(step, Step::Pass { .. } | Step::ClaimTurn { .. });
            if stored.step(step).is_ok() && repeats {
                let once = stored.clone();
                stored.now += 1;
                let again = stored.step(step);
                prop_assert_eq!(&stored.simulation, &once.simulation);
                prop_assert_eq!(&stored.conversation, &once.conversation, "{:?}: {:?}", step, again);
            }
        }
    }

    #[test]
    fn a_persona_is_decided_about_once(decisions in prop::collection::vec(any::<bool>(), 1..10)) {
        let mut stored = persona();
        for (approve, second) in decisions.into_iter().zip(1..) {
            let (before, now) = (stored.clone(), at(second));
            let wanted = if approve { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
            let decided = if approve { stored.clone().approve(now) } else { stored.clone().reject(now) };
            match before.approval {
                ApprovalStatus::Pending => {
                    stored = decided.unwrap();
                    prop_assert_eq!(&stored, &Persona { approval: wanted, updated_at: now, ..before });
                }
                status if status == wanted => prop_assert_eq!(decided.unwrap(), before),
                status => prop_assert_eq!(decided, Err(Refusal::PersonaDecided { status })),
            }
        }
    }

    #[test]
    fn the_personas_share_the_conversations_evenly(
        conversations in prop_oneof![1..=50_u32, 1..=Target::MAX],
        personas in prop_oneof![1..=50_u32, 1..=Target::MAX],
    ) {
        let simulation = simulation(conversations, personas);
        let shares: Vec<Vec<u32>> =
            (1..=personas).map(|persona| simulation.conversations_of(persona).collect()).collect();
        let sizes = shares.iter().map(Vec::len);
        prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        for (share, slot) in shares.iter().zip(0..) {
            prop_assert!(share.is_sorted());
            prop_assert!(share.iter().all(|conversation| simulation.slot(*conversation) == slot));
        }
        let mut together: Vec<u32> = shares.into_iter().flatten().collect();
        together.sort_unstable();
        prop_assert_eq!(together, (1..=conversations).collect::<Vec<_>>());
    }

    #[test]
    fn a_replacement_takes_the_place_of_the_persona_that_it_replaces(
        conversations in 1..=Target::MAX,
        personas in 1..=Target::MAX,
        seq in prop_oneof![1..=Target::MAX, any::<u32>()],
    ) {
        let simulation = simulation(conversations, personas);
        let share = simulation.conversations_of(seq);
        match simulation.replacement_of(seq) {
            None => prop_assert!(u64::from(seq) + u64::from(personas) > u64::from(u32::MAX)),
            // Nobody is numbered 0.
            Some(_) if seq == 0 => {}
            Some(replacement) => {
                prop_assert!(replacement > personas, "the number is that of one of the first personas");
                prop_assert_eq!(simulation.slot(replacement), simulation.slot(seq));
                prop_assert!(simulation.conversations_of(replacement).eq(share));
            }
        }
        prop_assert!(simulation.slot(seq) < personas);
    }

    #[test]
    fn no_time_and_no_lease_is_too_long_or_too_short(now in moment(), later in moment(), lease in duration()) {
        let running = Simulation { expires_at: later, ..simulation(1, 1).start(now).unwrap() };
        let claim = TurnClaim { token: token(1), expires_at: later };
        let started = conversation(now).start(&running, lease, now).unwrap();
        prop_assert!(started.lease_expires_at.is_some());
        let claimed = started.claim_turn(&running, None, claim, lease, later).unwrap();
        let completed = claimed.clone().complete_turn(&running, &token(1), u32::MAX, None, lease, now).unwrap();
        let again = Conversation { turn: claimed.turn.clone(), ..completed };
        let full = again.complete_turn(&running, &token(1), u32::MAX, None, lease, later).unwrap();
        prop_assert_eq!(full.item_count, u32::MAX);
        for moment in [now, later, Timestamp::MIN, Timestamp::MAX] {
            // Whatever they say of it, they say it.
            let _: Result<_, _> = claimed.clone().lose_lease(moment);
            let _: Result<_, _> = claimed.clone().end(&running, Some(u32::MAX), moment);
            let expired = running.clone().expire(Progress::default(), moment);
            prop_assert_eq!(expired.is_ok(), moment >= later);
            if let Err(refusal) = expired {
                prop_assert!(!refusal.to_string().is_empty());
            }
            // With nothing left to happen, it is done and not expired.
            let settled = Progress { settled: running.target_conversations.get(), ..Progress::default() };
            if let Ok(done) = running.clone().expire(settled, moment) {
                prop_assert_eq!(done.status, SimulationStatus::Completed);
            }
        }
    }
}

/// Any time, the first and the last among them.
fn moment() -> impl Strategy<Value = Timestamp> {
    let first = Timestamp::MIN.as_microsecond();
    let last = Timestamp::MAX.as_microsecond();
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (first..=last).prop_map(|microsecond| Timestamp::from_microsecond(microsecond).unwrap()),
    ]
}

/// Any while, also one that no calendar holds.
fn duration() -> impl Strategy<Value = SignedDuration> {
    prop_oneof![
        Just(SignedDuration::MIN),
        Just(SignedDuration::MAX),
        Just(SignedDuration::ZERO),
        any::<i64>().prop_map(SignedDuration::from_secs),
        (0..1_000_i64).prop_map(SignedDuration::from_secs),
    ]
}
