//! Fixtures of the cases: an empty store with its own clock and randomness, a project, and a
//! running simulation.

use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use onerun_auth::ProjectAccess;
use onerun_domain::{
    AgeGroup, Agent, AgentId, ApprovalStatus, BatchId, BatchRef, Conversation, ConversationId, Criteria,
    EndReason, Evaluation, EvaluationDetails, EvaluationId, EvaluationStatus, Item, ItemId, Job, JobKind,
    LeftOutMessages, Limit, MAX_LOST_ATTEMPTS, MaxTurns, MessageText, Metadata, ModelName, MonitorId,
    MonitorRunId, MonitorRunRef, Name, NanoDollars, Objective, ObjectiveId, Outcome, Page, PageRequest,
    Persona, PersonaAttributes, PersonaFault, PersonaId, PersonaSource, Progress, Project, ProjectId, Random,
    Refusal, Role, Scenario, Score, Seed, Simulation, SimulationId, SimulationModels, SimulationOptions,
    SimulationStatus, Start, Target, TurnClaim, TurnToken,
};
use tokio::sync::Barrier;

use crate::{
    ChangeError, ClaimedJob, ConversationChange, ConversationSummary, ConversationView, CreatedFilter,
    Decision, EvaluatedConversation, ExactFilter, ListAgents, ListConversations, ListSimulations,
    ProjectStore, SimulationChange, SimulationOrder, SimulationView, SortBy, Store, StoreError, StoredReply,
    StoredTurn,
};

/// The length of a lease.
pub(super) const LEASE: SignedDuration = SignedDuration::from_secs(300);

/// The length of a turn's claim, which is shorter than a lease.
pub(super) const CLAIM: SignedDuration = SignedDuration::from_secs(60);

/// The number of rounds of a race. Every outcome of a race must be right, so more rounds only find
/// more errors.
pub(super) const ROUNDS: u32 = 16;

/// An empty store, with a clock and randomness.
#[derive(Clone)]
pub struct Fixture {
    pub(super) store: Arc<dyn Store>,
    random: Arc<Sequence>,
    microseconds: Arc<AtomicI64>,
}

/// Unique numbers, from which ids are generated.
#[derive(Default)]
struct Sequence(AtomicU64);

impl Random for Sequence {
    fn fill(&self, buffer: &mut [u8]) {
        // SplitMix64: a counter, well mixed.
        for chunk in buffer.chunks_mut(8) {
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(super) fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

impl Fixture {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let start: Timestamp = "2031-03-14T09:26:53.589793Z".parse().unwrap();
        let microseconds = Arc::new(AtomicI64::new(start.as_microsecond()));
        Self { store, random: Arc::default(), microseconds }
    }

    pub(super) fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// A time in whole microseconds, later than every earlier one.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.microseconds.fetch_add(1_001, Ordering::Relaxed)).unwrap()
    }

    /// Advances the time.
    pub(super) fn pass(&self, time: SignedDuration) -> Timestamp {
        self.microseconds.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
        self.now()
    }

    pub(super) fn project(&self) -> Project {
        let now = self.now();
        let id = ProjectId::generate(self.random());
        Project { id, name: name("Project"), archived_at: None, created_at: now, updated_at: now }
    }

    /// A stored project.
    pub(super) async fn new_project(&self) -> TestProject {
        let project = self.project();
        self.store.insert_project(project.clone(), None).await.unwrap();
        let store = self.store.open_project(&project.id).await.unwrap().unwrap();
        TestProject { fixture: self.clone(), id: project.id, store }
    }

    /// A running simulation of a new project, with queued conversations.
    pub(super) async fn scene(&self, conversations: u32) -> Scene {
        self.new_project().await.scene(conversations).await
    }

    /// Claims up to `limit` due jobs of each kind.
    pub(super) async fn claim_jobs(&self, limit: u32, now: Timestamp) -> Vec<ClaimedJob> {
        let mut claimed = Vec::new();
        for kind in JobKind::ALL {
            claimed.extend(self.store.claim_jobs(kind, limit, now + LEASE, now).await.unwrap());
        }
        claimed
    }

    /// The time at which the next job of any kind is due.
    pub(super) async fn next_job_due(&self) -> Option<Timestamp> {
        let mut dues = Vec::new();
        for kind in JobKind::ALL {
            dues.extend(self.store.next_job_due(kind).await.unwrap());
        }
        dues.into_iter().min()
    }

    /// Claims and completes all due jobs.
    pub(super) async fn take_jobs(&self) -> Vec<Job> {
        let now = self.now();
        let claimed = self.claim_jobs(1_000, now).await;
        for claimed in &claimed {
            self.store.complete_job(&claimed.job.id).await.unwrap();
        }
        claimed.into_iter().map(|claimed| claimed.job).collect()
    }

    pub(super) async fn project_list(&self, sort: SortBy, page: PageRequest) -> Page<Project> {
        self.store.projects(&ProjectAccess::All, false, sort, page).await.unwrap()
    }
}

/// A stored project.
#[derive(Clone)]
pub(super) struct TestProject {
    pub(super) fixture: Fixture,
    pub(super) id: ProjectId,
    pub(super) store: Arc<dyn ProjectStore>,
}

impl TestProject {
    pub(super) fn now(&self) -> Timestamp {
        self.fixture.now()
    }

    pub(super) fn agent(&self) -> Agent {
        let now = self.now();
        Agent {
            id: AgentId::generate(self.fixture.random()),
            project_id: self.id.clone(),
            name: name("Agent"),
            description: None,
            metadata: Metadata::default(),
            last_polled_at: None,
            endpoint: None,
            archived_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) async fn add_agent(&self, agent: Agent) -> Agent {
        self.store.insert_agent(agent.clone(), None).await.unwrap();
        agent
    }

    pub(super) fn objective(&self) -> Objective {
        let now = self.now();
        Objective {
            id: ObjectiveId::generate(self.fixture.random()),
            project_id: self.id.clone(),
            version: 1,
            name: name("Objective"),
            criteria: Criteria::parse("Is polite.").unwrap(),
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) async fn add_objective(&self, objective: Objective) -> Objective {
        self.store.insert_objective(objective.clone(), None).await.unwrap();
        objective
    }

    /// A pending simulation.
    pub(super) fn simulation(&self, agent: &Agent) -> Simulation {
        let now = self.now();
        Simulation {
            id: SimulationId::generate(self.fixture.random()),
            project_id: self.id.clone(),
            agent_id: agent.id.clone(),
            name: name("Simulation"),
            scenario: Scenario::parse("A parcel is late.").unwrap(),
            target_conversations: target(1),
            target_personas: target(1),
            max_turns: MaxTurns::default(),
            auto_approve: true,
            seed: Seed::parse(7).unwrap(),
            options: SimulationOptions {
                personas_from: Some(PersonaSource::new(
                    SimulationId::generate(self.fixture.random()),
                    Seed::parse(Seed::MAX).unwrap(),
                )),
                explicit_personas: true,
                models: SimulationModels::all(&ModelName::parse("openai:gpt-5.4-mini").unwrap()),
                max_cost: Some(NanoDollars::new(1)),
                max_tokens: Some(u64::MAX),
                created_by: Some("kAbCdEfGh123".into()),
                monitor_run: Some(MonitorRunRef {
                    monitor: MonitorId::generate(self.fixture.random()),
                    run: MonitorRunId::generate(self.fixture.random()),
                }),
                batch: Some(BatchRef {
                    batch: BatchId::generate(self.fixture.random()),
                    index: 999,
                    attempt: u32::MAX,
                }),
                import: Some(LeftOutMessages { system: 1, tool: u32::MAX }),
            },
            metadata: Metadata::default(),
            status: SimulationStatus::Pending,
            last_failure_reason: None,
            created_at: now,
            updated_at: now,
            expires_at: now + SignedDuration::from_hours(24),
            transcripts_deleted_at: None,
        }
    }

    /// Inserts a simulation without objectives or jobs.
    pub(super) async fn add_simulation(&self, simulation: Simulation) -> Simulation {
        self.store
            .insert_simulation(simulation.clone(), Vec::new(), Vec::new(), Vec::new(), None)
            .await
            .unwrap();
        simulation
    }

    /// A persona that waits for approval.
    pub(super) fn persona(&self, simulation: &Simulation, seq: u32) -> Persona {
        let now = self.now();
        Persona {
            id: PersonaId::generate(self.fixture.random()),
            simulation_id: simulation.id.clone(),
            seq,
            approval: ApprovalStatus::Pending,
            summary: format!("Person {seq}"),
            story: "Waits for a parcel.".into(),
            purpose: "Wants to know where it is.".into(),
            attributes: attributes(),
            metadata: Metadata::default(),
            created_at: now,
            updated_at: now,
        }
    }

    /// A running simulation with two objectives, one approved persona and queued conversations.
    pub(super) async fn scene(&self, conversations: u32) -> Scene {
        let objectives =
            vec![self.add_objective(self.objective()).await, self.add_objective(self.objective()).await];
        self.scene_about(conversations, objectives).await
    }

    /// A running simulation with these objectives.
    pub(super) async fn scene_about(&self, conversations: u32, objectives: Vec<Objective>) -> Scene {
        let agent = self.add_agent(self.agent()).await;
        let simulation =
            Simulation { target_conversations: target(conversations.max(1)), ..self.simulation(&agent) };
        let pinned = objectives.iter().map(Objective::reference).collect();
        self.store.insert_simulation(simulation.clone(), pinned, Vec::new(), Vec::new(), None).await.unwrap();
        let persona = self.persona(&simulation, 1).approve(self.now()).unwrap();
        let mut scene = Scene {
            project: self.clone(),
            agent,
            objectives,
            simulation,
            persona: persona.clone(),
            conversations: Vec::new(),
        };
        let now = self.now();
        scene.simulation = scene
            .change_simulation(move |view| Ok(SimulationChange::to(view.simulation.start(now)?, Vec::new())))
            .await
            .unwrap();
        assert!(self.store.add_persona(persona, Vec::new()).await.unwrap());
        scene.conversations = (1..=conversations).map(|seq| scene.conversation(seq)).collect();
        scene.add(&scene.conversations).await.unwrap();
        scene
    }

    pub(super) async fn agent_list(&self, filter: Option<&str>, sort: SortBy) -> Vec<Agent> {
        let list = ListAgents {
            name: filter.map(str::to_owned),
            exact: ExactFilter::default(),
            archived: false,
            sort,
            page: all(),
        };
        let page = self.store.agents(list).await.unwrap();
        page.data.into_iter().map(|summary| summary.agent).collect()
    }

    /// The simulations of a list request, changed by `narrow`, on all pages.
    pub(super) async fn simulation_list(
        &self,
        order: SimulationOrder,
        narrow: impl FnOnce(ListSimulations) -> ListSimulations,
    ) -> Vec<Simulation> {
        let page = self.store.simulations(narrow(all_simulations(order))).await.unwrap();
        page.data.into_iter().map(|detail| detail.simulation).collect()
    }
}

/// A request for every simulation.
pub(super) fn all_simulations(order: SimulationOrder) -> ListSimulations {
    ListSimulations {
        batch_id: None,
        monitor_id: None,
        created: CreatedFilter::default(),
        name: None,
        exact: ExactFilter::default(),
        status: None,
        agent_id: None,
        order,
        page: all(),
    }
}

/// A running simulation.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) project: TestProject,
    pub(super) agent: Agent,
    pub(super) objectives: Vec<Objective>,
    pub(super) simulation: Simulation,
    /// The only persona, which is approved.
    pub(super) persona: Persona,
    /// The conversations as they were queued.
    pub(super) conversations: Vec<Conversation>,
}

impl Scene {
    pub(super) fn now(&self) -> Timestamp {
        self.project.now()
    }

    pub(super) fn pass(&self, time: SignedDuration) -> Timestamp {
        self.project.fixture.pass(time)
    }

    pub(super) fn store(&self) -> &dyn ProjectStore {
        &*self.project.store
    }

    /// The id of the conversation at `index`.
    pub(super) fn id(&self, index: usize) -> ConversationId {
        self.conversations[index].id.clone()
    }

    /// A queued conversation that is not stored.
    pub(super) fn conversation(&self, seq: u32) -> Conversation {
        Conversation::queued(
            ConversationId::generate(self.project.fixture.random()),
            self.simulation.id.clone(),
            self.persona.id.clone(),
            seq,
            self.now(),
        )
    }

    pub(super) async fn add(&self, conversations: &[Conversation]) -> Result<(), ChangeError> {
        self.store().add_conversations(&self.simulation.id, conversations.to_vec()).await
    }

    /// The stored conversation with its evaluations.
    pub(super) async fn read(&self, id: &ConversationId) -> EvaluatedConversation {
        self.store().conversation(&self.simulation.id, id).await.unwrap().unwrap()
    }

    /// The stored conversation.
    pub(super) async fn stored(&self, id: &ConversationId) -> Conversation {
        self.read(id).await.conversation
    }

    pub(super) async fn stored_simulation(&self) -> Simulation {
        self.store().simulation(&self.simulation.id).await.unwrap().unwrap().simulation
    }

    /// All messages of an attempt.
    pub(super) async fn items(&self, id: &ConversationId, attempt: u32) -> Vec<Item> {
        self.store().items(&self.simulation.id, id, attempt, all()).await.unwrap().data
    }

    pub(super) async fn turn(&self, id: &ConversationId, idempotency_key: &str) -> Option<StoredTurn> {
        self.store().turn(&self.simulation.id, id, idempotency_key).await.unwrap()
    }

    pub(super) async fn list(&self, list: ListConversations) -> Page<ConversationSummary> {
        self.store().conversations(&self.simulation.id, list).await.unwrap()
    }

    /// The simulation's progress, as decisions see it.
    pub(super) async fn progress(&self) -> Progress {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.change_simulation(move |view| {
            sender.send(view.progress).unwrap();
            Err(Refusal::LeaseHeld)
        })
        .await
        .unwrap_err();
        receiver.try_iter().last().unwrap()
    }

    pub(super) async fn change_simulation(
        &self,
        decide: impl FnMut(SimulationView) -> Decision<SimulationChange> + Send + 'static,
    ) -> Result<Simulation, ChangeError> {
        let changed = self.store().change_simulation(&self.simulation.id, Box::new(decide)).await;
        changed.map(Option::unwrap)
    }

    /// Cancels the simulation.
    pub(super) async fn cancel(&self) -> Result<Simulation, ChangeError> {
        let now = self.now();
        self.change_simulation(move |view| Ok(SimulationChange::to(view.simulation.cancel(now)?, Vec::new())))
            .await
    }

    pub(super) async fn change(
        &self,
        id: &ConversationId,
        decide: impl FnMut(ConversationView) -> Decision<ConversationChange> + Send + 'static,
    ) -> Result<Conversation, ChangeError> {
        let changed = self.store().change_conversation(&self.simulation.id, id, Box::new(decide)).await;
        changed.map(Option::unwrap)
    }

    /// Changes the state only.
    pub(super) async fn move_to(
        &self,
        id: &ConversationId,
        mut decide: impl FnMut(ConversationView) -> Decision<Conversation> + Send + 'static,
    ) -> Result<Conversation, ChangeError> {
        self.change(id, move |view| decide(view).map(ConversationChange::to)).await
    }

    pub(super) async fn start(&self, id: &ConversationId) -> Result<Conversation, ChangeError> {
        let now = self.now();
        self.move_to(id, move |view| view.conversation.start(&view.simulation, LEASE, now)).await
    }

    pub(super) fn token(&self) -> TurnToken {
        TurnToken::generate(&"ab".repeat(32), self.project.fixture.random())
    }

    pub(super) async fn claim(
        &self,
        id: &ConversationId,
        token: &TurnToken,
    ) -> Result<Conversation, ChangeError> {
        let now = self.now();
        let claim = TurnClaim { token: token.clone(), expires_at: now + CLAIM };
        self.move_to(id, move |view| {
            view.conversation.claim_turn(&view.simulation, None, claim.clone(), LEASE, now)
        })
        .await
    }

    /// Completes a turn with one message of each side, and stores the reply if there is a key.
    pub(super) async fn complete(
        &self,
        id: &ConversationId,
        token: &TurnToken,
        key: Option<&str>,
        end: Option<EndReason>,
    ) -> Result<Conversation, ChangeError> {
        self.try_complete(id, token, key, end).await.map(Option::unwrap)
    }

    /// [`complete`](Self::complete) for a conversation that may be deleted.
    pub(super) async fn try_complete(
        &self,
        id: &ConversationId,
        token: &TurnToken,
        key: Option<&str>,
        end: Option<EndReason>,
    ) -> Result<Option<Conversation>, ChangeError> {
        let (now, token, scene) = (self.now(), token.clone(), self.clone());
        let key = key.map(str::to_owned);
        let decide = move |view: ConversationView| {
            let before = &view.conversation;
            let items = vec![scene.item(before, Role::Assistant, "a"), {
                let item = scene.item(before, Role::User, "b");
                Item { position: item.position + 1, ..item }
            }];
            let turn = key.as_deref().map(|key| turn(key, before.attempt));
            let conversation =
                view.conversation.complete_turn(&view.simulation, &token, 2, end, LEASE, now)?;
            Ok(ConversationChange { items, turn, ..ConversationChange::to(conversation) })
        };
        self.store().change_conversation(&self.simulation.id, id, Box::new(decide)).await
    }

    /// Completes a turn with two messages, whose caller has left.
    pub(super) async fn complete_unheard(
        &self,
        id: &ConversationId,
        token: &TurnToken,
        end: Option<EndReason>,
    ) -> Result<Conversation, ChangeError> {
        let (now, token) = (self.now(), token.clone());
        self.move_to(id, move |view| {
            let completed = view.conversation.complete_turn(&view.simulation, &token, 2, end, LEASE, now)?;
            Ok(completed.with_undelivered_reply(&token, now))
        })
        .await
    }

    /// A message after the stored ones.
    pub(super) fn item(&self, conversation: &Conversation, role: Role, words: &str) -> Item {
        Item {
            id: ItemId::generate(self.project.fixture.random()),
            conversation_id: conversation.id.clone(),
            attempt: conversation.attempt,
            position: conversation.item_count,
            role,
            content: vec![text(words)],
            created_at: self.now(),
        }
    }

    /// Appends messages without a turn, which the domain allows.
    pub(super) async fn say(&self, id: &ConversationId, words: &str) -> Result<Conversation, ChangeError> {
        let (scene, words) = (self.clone(), words.to_owned());
        self.change(id, move |view| {
            let item = scene.item(&view.conversation, Role::Assistant, &words);
            let item_count = view.conversation.item_count + 1;
            let conversation = Conversation { item_count, ..view.conversation };
            Ok(ConversationChange { items: vec![item], ..ConversationChange::to(conversation) })
        })
        .await
    }

    pub(super) async fn end(&self, id: &ConversationId) -> Result<Conversation, ChangeError> {
        let now = self.now();
        self.move_to(id, move |view| view.conversation.end(&view.simulation, None, now)).await
    }

    /// Expires the worker's lease.
    pub(super) async fn lose_lease(&self, id: &ConversationId) -> Result<Conversation, ChangeError> {
        let now = self.pass(LEASE);
        self.move_to(id, move |view| view.conversation.lose_lease(now)).await
    }

    pub(super) async fn stop(&self, id: &ConversationId) -> Result<Conversation, ChangeError> {
        let now = self.now();
        self.move_to(id, move |view| view.conversation.stop(&view.simulation, now)).await
    }

    pub(super) async fn begin_evaluation(&self, id: &ConversationId) -> Result<Conversation, ChangeError> {
        let now = self.now();
        self.move_to(id, move |view| {
            let attempt = view.conversation.attempt;
            view.conversation.begin_evaluation(&view.simulation, attempt, now)
        })
        .await
    }

    /// Completes the evaluation with one evaluation for each of `outcomes`, in the order of the
    /// objectives.
    pub(super) async fn conclude(
        &self,
        id: &ConversationId,
        status: EvaluationStatus,
        outcomes: &[Outcome],
    ) -> Result<Conversation, ChangeError> {
        self.conclude_with(id, status, outcomes, Vec::new()).await
    }

    /// Like [`conclude`](Self::conclude), with the persona's faults.
    pub(super) async fn conclude_with(
        &self,
        id: &ConversationId,
        status: EvaluationStatus,
        outcomes: &[Outcome],
        faults: Vec<PersonaFault>,
    ) -> Result<Conversation, ChangeError> {
        let (now, scene, outcomes) = (self.now(), self.clone(), outcomes.to_vec());
        self.change(id, move |view| {
            let evaluations = scene
                .objectives
                .iter()
                .zip(&outcomes)
                .map(|(objective, outcome)| scene.evaluation(&view.conversation, objective, *outcome))
                .collect();
            let attempt = view.conversation.attempt;
            let concluded = view.conversation.conclude_evaluation(&view.simulation, attempt, status, now)?;
            let conversation = concluded.with_persona_faults(faults.clone());
            Ok(ConversationChange { evaluations, ..ConversationChange::to(conversation) })
        })
        .await
    }

    pub(super) fn evaluation(
        &self,
        conversation: &Conversation,
        objective: &Objective,
        outcome: Outcome,
    ) -> Evaluation {
        Evaluation {
            id: EvaluationId::generate(self.project.fixture.random()),
            conversation_id: conversation.id.clone(),
            attempt: conversation.attempt,
            objective: objective.reference(),
            judge: "checks".into(),
            prompt_hash: "ab".repeat(32),
            outcome,
            score: match outcome {
                Outcome::Passed => Score::parse(1.0),
                Outcome::Failed => Score::parse(0.25),
                Outcome::Inconclusive => None,
            },
            reason: format!("It {}.", outcome.as_str()),
            quotes: Vec::new(),
            details: EvaluationDetails::default(),
            created_at: self.now(),
        }
    }

    /// Ends the conversation.
    pub(super) async fn hold(&self, id: &ConversationId) {
        self.start(id).await.unwrap();
        self.end(id).await.unwrap();
    }

    /// Brings a queued conversation to a final state.
    pub(super) async fn settle(
        &self,
        id: &ConversationId,
        end: Settled,
    ) -> Result<Conversation, ChangeError> {
        match end {
            Settled::Evaluated(outcomes) => {
                self.hold(id).await;
                self.begin_evaluation(id).await?;
                self.conclude(id, EvaluationStatus::Completed, &outcomes).await
            }
            Settled::NotApplicable => {
                self.hold(id).await;
                self.conclude(id, EvaluationStatus::NotApplicable, &[]).await
            }
            Settled::EvaluationFailed => {
                self.hold(id).await;
                self.conclude(id, EvaluationStatus::Failed, &[]).await
            }
            Settled::Failed => {
                for _ in 1..MAX_LOST_ATTEMPTS {
                    self.start(id).await?;
                    self.lose_lease(id).await?;
                }
                self.start(id).await?;
                self.lose_lease(id).await
            }
        }
    }
}

/// A final state of a conversation.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    /// Ended, with these evaluations on the first objectives.
    Evaluated(Vec<Outcome>),
    /// Ended, without objectives.
    NotApplicable,
    /// Ended, with a failed evaluation.
    EvaluationFailed,
    /// Failed after the last attempt.
    Failed,
}

/// A reply under an `Idempotency-Key`.
pub(super) fn turn(idempotency_key: &str, attempt: u32) -> StoredTurn {
    StoredTurn {
        idempotency_key: idempotency_key.to_owned(),
        input_hash: "cd".repeat(32),
        attempt,
        reply: StoredReply { text: Some("b".into()), ended: false },
        created_at: "2031-03-14T09:26:53.589793Z".parse().unwrap(),
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn text(words: &str) -> MessageText {
    MessageText::parse(words).unwrap()
}

pub(super) fn target(number: u32) -> Target {
    Target::parse(number.into()).unwrap()
}

pub(super) fn attributes() -> PersonaAttributes {
    PersonaAttributes {
        age_group: AgeGroup::Adult,
        speech_style: "short".into(),
        education: "school".into(),
        occupation: "baker".into(),
        economic_status: "enough".into(),
        personality_traits: "calm".into(),
        values: "bread".into(),
        habits: "rises early".into(),
        interests: "flour".into(),
        speech_patterns: "no greetings".into(),
        typical_behavior: "waits".into(),
        stress_triggers: "delays".into(),
        stress_reactions: "sighs".into(),
        version: "1".into(),
    }
}

/// Metadata from JSON.
pub(super) fn metadata(json: &str) -> Metadata {
    Metadata::parse(serde_json::from_str(json).unwrap()).unwrap()
}

/// Texts that stores may change: wide characters, both forms of one letter, quotes, patterns,
/// edges.
pub(super) fn odd_texts() -> Vec<String> {
    let mut texts = vec!["\u{1f600}".repeat(200), "x".repeat(200)];
    texts.extend(
        [
            "\u{e9} e\u{301}",
            " padded ",
            "'; DROP TABLE agents; --",
            r#"\"quoted\" \\ \n {} %s ?1 :a $b"#,
            "100%_[a-z]*",
            "null",
            "0",
            "\u{200f}\u{202e}abc",
            "\u{fffd}\u{ffff}",
        ]
        .map(str::to_owned),
    );
    texts
}

/// A page of `limit` rows from `offset`.
pub(super) fn part(limit: u32, offset: u32) -> PageRequest {
    PageRequest { limit: Limit::clamped(limit), start: Start::Offset(offset) }
}

/// A page of the greatest size.
pub(super) fn all() -> PageRequest {
    part(Limit::MAX, 0)
}

/// A list put together from pages of `limit`. Checks the size of each page and what it reports
/// about the next one, and that pages by cursor equal pages by offset.
pub(super) async fn in_pages<T: Debug + PartialEq>(
    limit: u32,
    fetch: impl AsyncFn(PageRequest) -> Page<T>,
) -> Vec<T> {
    let mut data = Vec::new();
    let mut positioned = PageRequest::first(Limit::clamped(limit));
    loop {
        let offset = u32::try_from(data.len()).unwrap();
        let page = fetch(part(limit, offset)).await;
        let size = u32::try_from(page.data.len()).unwrap();
        assert!(size <= limit, "a page of {size} where at most {limit} were asked for");
        assert!(size == limit || !page.has_more(), "a page that is not full says that more follows");
        let continued = fetch(positioned.clone()).await;
        assert_eq!((&continued.data, continued.has_more()), (&page.data, page.has_more()));
        let has_more = page.has_more();
        data.extend(page.data);
        if let Some(position) = continued.next {
            positioned = PageRequest::after(Limit::clamped(limit), position);
        }
        if !has_more {
            let beyond = fetch(part(limit, offset + size)).await;
            assert!(beyond.data.is_empty() && !beyond.has_more(), "there is something after the last page");
            return data;
        }
        assert!(data.len() < 10_000, "the pages have no end");
    }
}

/// The refusal of a change.
#[track_caller]
pub(super) fn refusal<T: std::fmt::Debug>(changed: Result<T, ChangeError>) -> Refusal {
    match changed {
        Err(ChangeError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
pub(super) fn assert_duplicate<T: std::fmt::Debug>(added: &Result<T, StoreError>) {
    assert!(matches!(added, Err(StoreError::Duplicate { .. })), "not a duplicate: {added:?}");
}

/// Whether an insert failed because the key exists. Any other error fails the case.
#[track_caller]
pub(super) fn is_duplicate<T: std::fmt::Debug>(changed: &Result<T, ChangeError>) -> bool {
    match changed {
        Ok(_) => false,
        Err(ChangeError::Store(StoreError::Duplicate { .. })) => true,
        other => panic!("neither done nor a duplicate: {other:?}"),
    }
}

/// A task of a race.
pub(super) type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs all tasks concurrently, and returns their results in order.
pub(super) async fn at_once<T: Send + 'static>(tasks: Vec<Task<T>>) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(tasks.len()));
    let running: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                barrier.wait().await;
                task.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in running {
        results.push(task.await.unwrap());
    }
    results
}

/// Runs two tasks concurrently.
pub(super) async fn both<A, B>(
    first: impl Future<Output = A> + Send + 'static,
    second: impl Future<Output = B> + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(2));
    let gate = Arc::clone(&barrier);
    let first = tokio::spawn(async move {
        gate.wait().await;
        first.await
    });
    let second = tokio::spawn(async move {
        barrier.wait().await;
        second.await
    });
    (first.await.unwrap(), second.await.unwrap())
}
