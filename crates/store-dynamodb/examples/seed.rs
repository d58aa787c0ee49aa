//! Creates a table on a local DynamoDB and fills it with the resources that the files in `events/`
//! name, each in the state that its event needs: `cargo run -p onerun-store-dynamodb --example seed
//! -- http://127.0.0.1:8000 onerun-local`.
//!
//! Each event that changes something has its own resource, so events can be sent in any order.
//!
//! It prints the managed keys of the events, by the names that stand for them there. They are
//! derived from fixed bytes and are no secrets, but look like some, so no file contains them.

#![expect(clippy::disallowed_methods, reason = "a program is its own composition root")]

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    error::Error,
    str::FromStr,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Actor, AddressAccess, AuditAction, AuditEvent, Grant, KeyId, KeyRecord, ManagedKey, NewKeySpec, Preset,
    ProjectAccess, RateLimit, parse_block,
};
use onerun_domain::{
    AgeGroup, Agent, AlertRates, ApprovalStatus, Batch, BatchCounts, BatchItem, BatchItemStatus, BatchPart,
    BatchStatus, BatchView, Conversation, Criteria, DeliveryAttempt, EvaluationRun, EvaluationRunStatus,
    EventType, GateBasis, Item, Job, MaxTurns, MessageText, Metadata, ModelName, Monitor, MonitorGate,
    MonitorRun, MonitorState, Name, NewPersonas, NewSimulation, Objective, Persona, PersonaAttributes,
    Project, ProjectId, RequestedModels, Role, Scenario, Schedule, Seed, Simulation, SimulationId,
    SimulationOptions, SimulationOverrides, SimulationStatus, Target, TurnClaim, TurnToken, Webhook,
    WebhookDelivery, WebhookFormat, WebhookState, Work, Zone,
};
use onerun_store::{
    ConversationChange, ConversationView, KeyLimits, MonitorChange, NewBatch, NewKey, NewMonitorRun,
    ProjectStore, SimulationChange, SimulationView, Store, WebhooksChange,
};
use onerun_store_dynamodb::{DynamoDbStore, local};

/// Longer than anyone tests events against one table.
const LONG: SignedDuration = SignedDuration::from_hours(24 * 7);

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, table] = &arguments[..] else {
        return Err("usage: seed ENDPOINT TABLE".into());
    };
    let client = local::client(endpoint);
    local::create_table(&client, table, local::Stream::Off).await?;
    let store: Arc<dyn Store> = Arc::new(DynamoDbStore::new(client, table));

    // The ids of the examples in openapi.json.
    let project = SeedProject::open(&*store, "p3Xk81LmQzTb", "Support").await?;
    project.running().await?;
    project.awaiting_decisions().await?;
    project.lost().await?;
    project.judged().await?;
    project.monitored().await?;
    project.batches().await?;
    project.webhooks().await?;
    project.simulate("simulationToRun", SimulationStatus::Pending).await?;
    project.simulate("simulationToCancel", SimulationStatus::InProgress).await?;
    project.simulate("simulationToDelete", SimulationStatus::Canceled).await?;
    let expired = project.simulation("simulationToExpire", SimulationStatus::InProgress)?;
    let ago = Timestamp::now() - SignedDuration::from_hours(1);
    project.insert(Simulation { expires_at: ago, ..expired }).await?;
    bury(&*store, project.agent.project_id.clone()).await?;

    // One simulation in each status, for tests with the SDK.
    let project = SeedProject::open(&*store, "projectOfSdk", "Read by the SDK").await?;
    for status in SimulationStatus::ALL {
        project.simulate(&format!("sdk{}", status.as_str().replace('_', "")), status).await?;
    }
    #[expect(clippy::print_stdout, reason = "who runs this sends events with them")]
    {
        println!("{}", serde_json::to_string(&keys(&*store).await?)?);
    }
    Ok(())
}

/// A buried job.
async fn bury(store: &dyn Store, project: ProjectId) -> Result {
    let job = Job::new(project, Work::StartSimulation { simulation: long("simulationToBury")? });
    store.enqueue(vec![job.clone()]).await?;
    store.bury_job(&job.id, "no model answered", Timestamp::now()).await?;
    Ok(())
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Adds the managed keys. Returns those that events are sent with, by name.
async fn keys(store: &dyn Store) -> Result<BTreeMap<&'static str, String>> {
    let now = Timestamp::now();
    let mut sent = BTreeMap::new();
    for id in ["keyToRead", "keyToUpdate", "keyToRotate", "keyToDisable", "keyToRevoke"] {
        insert_key(store, id, now, read_only()?, Ok).await?;
    }
    insert_key(store, "keyToEnable", now, read_only()?, |key| key.disable(now)).await?;

    sent.insert("reader", insert_key(store, "keyOfReader", now, read_only()?, Ok).await?);
    sent.insert("leaked", insert_key(store, "keyLeaked", now, read_only()?, Ok).await?);
    sent.insert(
        "disabled",
        insert_key(store, "keyDisabled", now, read_only()?, |key| key.disable(now)).await?,
    );
    let revoked = insert_key(store, "keyRevoked", now, read_only()?, |key| Ok(key.revoke(now))).await?;
    sent.insert("revoked", revoked);
    let expired = Grant { expires_at: Some(now - DAY), ..read_only()? };
    sent.insert("expired", insert_key(store, "keyExpired", now - DAY * 90, expired, Ok).await?);
    let of_sdk = ProjectAccess::Only([short("projectOfSdk")?].into());
    let stranger = Grant { projects: of_sdk, ..read_only()? };
    sent.insert("stranger", insert_key(store, "keyStranger", now, stranger, Ok).await?);
    for (name, id, block) in
        [("here", "keyFromHere", "192.0.2.0/24"), ("elsewhere", "keyElsewhere", "203.0.113.0/24")]
    {
        let addresses = AddressAccess::Only(vec![parse_block(block)?]);
        let key = insert_key(store, id, now, Grant { addresses, ..read_only()? }, Ok).await?;
        sent.insert(name, key);
    }

    let limit = RateLimit::new(1, RateLimit::MAX_WINDOW_SECONDS).ok_or("no limit")?;
    let limited = Grant { rate_limit: Some(limit), ..read_only()? };
    let key = insert_key(store, "keyOfLimited", now, limited, Ok).await?;
    // Today's requests are used up, and tomorrow's, too, in case the day is about to end.
    for time in [now, now + DAY] {
        store.count_request(ManagedKey::parse(&key)?.id().as_str(), limit, time).await?;
    }
    sent.insert("limited", key);
    Ok(sent)
}

/// The grants of keys for the project of the examples.
fn read_only() -> Result<Grant> {
    Ok(Grant {
        scopes: Preset::ReadOnly.scopes(),
        projects: ProjectAccess::Only(BTreeSet::from([short("p3Xk81LmQzTb")?])),
        addresses: AddressAccess::Any,
        rate_limit: None,
        expires_at: Some(Timestamp::now() + LONG),
    })
}

/// Adds a key with a readable id, changed by `change`. Returns its text.
async fn insert_key(
    store: &dyn Store,
    id: &str,
    made: Timestamp,
    grant: Grant,
    then: impl FnOnce(KeyRecord) -> std::result::Result<KeyRecord, onerun_auth::KeyChangeError>,
) -> Result<String> {
    let id = format!("{id:0<12}");
    let public = URL_SAFE_NO_PAD.decode(&id)?;
    let generated: std::result::Result<ManagedKey, Infallible> = ManagedKey::generate(|bytes| {
        bytes.fill(7);
        bytes[..public.len()].copy_from_slice(&public);
        Ok(())
    });
    let Ok(key) = generated;
    let spec = NewKeySpec { name: Name::parse(&id)?, grant, not_before: None, metadata: Metadata::default() };
    let record = then(KeyRecord::new(&key, spec, KeyId::ROOT, made))?;
    let event = AuditEvent {
        at: format!("{made:.6}"),
        action: AuditAction::Create.as_str().to_owned(),
        key_id: id,
        actor: Actor {
            key_id: KeyId::ROOT.to_string(),
            address: None,
            user_agent: None,
            request_id: "seed".to_owned(),
        },
        details: BTreeMap::new(),
    };
    let new = NewKey { record, event, call: None, limits: KeyLimits::NONE, jobs: Vec::new() };
    store.insert_key(None, Box::new(move |_| Ok(new.clone()))).await?;
    Ok(key.expose().to_owned())
}

/// A readable id: `name`, followed by zeros up to the length of its kind.
fn id<T: FromStr<Err: Error + 'static>>(name: &str, length: usize) -> Result<T> {
    Ok(format!("{name:0<length$}").parse()?)
}

fn short<T: FromStr<Err: Error + 'static>>(name: &str) -> Result<T> {
    id(name, ProjectId::LENGTH)
}

fn long<T: FromStr<Err: Error + 'static>>(name: &str) -> Result<T> {
    id(name, SimulationId::LENGTH)
}

/// A project with an agent and an objective.
struct SeedProject {
    project: Arc<dyn ProjectStore>,
    agent: Agent,
    objective: Objective,
}

impl SeedProject {
    async fn open(store: &dyn Store, project: &str, name: &str) -> Result<Self> {
        let now = Timestamp::now();
        let project_id: ProjectId = short(project)?;
        let own = project == "p3Xk81LmQzTb";
        let project = Project {
            id: project_id.clone(),
            name: Name::parse(name)?,
            archived_at: None,
            created_at: now,
            updated_at: now,
        };
        store.insert_project(project, None).await?;
        let project = store.open_project(&project_id).await?.ok_or("the project is gone")?;
        let agent = Agent {
            id: short(if own { "a7Gd20HsWvYc" } else { "agentOfSdk" })?,
            project_id: project_id.clone(),
            name: Name::parse("Order support")?,
            description: None,
            metadata: Metadata::default(),
            last_polled_at: None,
            endpoint: None,
            archived_at: None,
            created_at: now,
            updated_at: now,
        };
        project.insert_agent(agent.clone(), None).await?;
        let objective = Objective {
            id: short(if own { "o5Rn64JfEuKx" } else { "goalOfSdk" })?,
            project_id,
            version: 1,
            name: Name::parse("Offers a refund")?,
            criteria: Criteria::parse("check: agent says /refund/i")?,
            created_at: now,
            updated_at: now,
        };
        project.insert_objective(objective.clone(), None).await?;
        Ok(Self { project, agent, objective })
    }

    fn simulation(&self, id: &str, status: SimulationStatus) -> Result<Simulation> {
        let now = Timestamp::now();
        Ok(Simulation {
            id: long(id)?,
            project_id: self.agent.project_id.clone(),
            agent_id: self.agent.id.clone(),
            name: Name::parse(format!("Refunds, {}", status.as_str()))?,
            scenario: Scenario::parse("A parcel arrived damaged, and the customer wants the money back.")?,
            target_conversations: Target::parse(9)?,
            target_personas: Target::parse(2)?,
            max_turns: MaxTurns::default(),
            auto_approve: true,
            seed: Seed::parse(7)?,
            options: SimulationOptions::default(),
            metadata: Metadata::default(),
            status,
            last_failure_reason: None,
            created_at: now,
            updated_at: now,
            expires_at: now + LONG,
            transcripts_deleted_at: None,
        })
    }

    /// A monitor with a run, and one to delete.
    async fn monitored(&self) -> Result {
        let now = Timestamp::now();
        let simulation = self.simulation("simulationOfMonitor", SimulationStatus::Pending)?;
        let monitor = |id: &str| -> Result<Monitor> {
            let schedule = Schedule::parse("rate(366 days)", Zone::default())?;
            Ok(Monitor {
                id: short(id)?,
                project_id: self.agent.project_id.clone(),
                name: Name::parse("Refunds, each year")?,
                simulation: NewSimulation {
                    agent_id: simulation.agent_id.clone(),
                    name: simulation.name.clone(),
                    scenario: simulation.scenario.clone(),
                    target_conversations: simulation.target_conversations,
                    personas: NewPersonas::Generated(simulation.target_personas),
                    max_turns: simulation.max_turns,
                    auto_approve: true,
                    objective_ids: vec![self.objective.id.clone()],
                    seed: None,
                    metadata: Metadata::default(),
                    expires_in_seconds: 60 * 60,
                    models: RequestedModels::default(),
                    max_cost_usd: None,
                    max_tokens: None,
                },
                next_run_at: schedule.next_after(now, now),
                schedule: Some(schedule),
                gate: Some(MonitorGate { min_pass_rate: 0.9, on: GateBasis::Rate }),
                alert: Some(AlertRates::parse(0.9, 0.7)?),
                state: MonitorState::Active,
                metadata: Metadata::default(),
                created_by: "root".into(),
                scheduled_since: now,
                created_at: now,
                updated_at: now,
            })
        };
        let one = monitor("m4Wf93TcNqRs")?;
        self.project.insert_monitor(one.clone(), None).await?;
        self.project.insert_monitor(monitor("toDelete")?, None).await?;
        let run = MonitorRun::planned(&one, now, now).fail("the agent is gone".to_owned(), now)?;
        let new = NewMonitorRun { run, jobs: Vec::new(), record: None };
        let decide = Box::new(move |monitor| Ok(MonitorChange { monitor, run: Some(new.clone()) }));
        self.project.change_monitor(&one.id, decide).await?;
        Ok(())
    }

    /// A webhook with a delivery that can be replayed, one to disable, and one to delete.
    async fn webhooks(&self) -> Result {
        let now = Timestamp::now();
        let webhook = |id: &str| -> Result<Webhook> {
            Ok(Webhook {
                id: short(id)?,
                project_id: self.agent.project_id.clone(),
                url: "https://example.com/hooks/onerun".to_owned(),
                description: None,
                event_types: EventType::subscribable().collect(),
                format: WebhookFormat::Standard,
                state: WebhookState::Enabled,
                disabled_reason: None,
                secret_version: 1,
                previous_secret_until: None,
                created_at: now,
                updated_at: now,
            })
        };
        let webhooks = vec![webhook("w9Kd43PtXzLa")?, webhook("toDisable")?, webhook("toDelete")?];
        let one = webhooks[0].id.clone();
        let decide = Box::new(move |_| Ok(WebhooksChange::to(webhooks.clone())));
        self.project.change_webhooks(decide).await?;
        let body = "{\"type\":\"webhook.test\"}".to_owned();
        let id = "dQ7VbNc2LmXe8RtYu5Kp1".parse()?;
        let delivery = WebhookDelivery::new(id, &one, EventType::WebhookTest, body, now);
        let attempt = DeliveryAttempt { at: now, status_code: Some(204), error: None };
        let delivered = delivery.attempted(attempt, 0, now)?;
        self.project.add_webhook_delivery(delivered, Vec::new(), None).await?;
        Ok(())
    }

    /// A batch with a failed item, and one to cancel.
    async fn batches(&self) -> Result {
        let now = Timestamp::now();
        let simulation = self.simulation("simulationOfBatch", SimulationStatus::Pending)?;
        let defaults = SimulationOverrides {
            agent_id: Some(simulation.agent_id.clone()),
            scenario: Some(simulation.scenario.clone()),
            target_conversations: Some(simulation.target_conversations),
            target_personas: Some(simulation.target_personas),
            ..SimulationOverrides::default()
        };
        for id in ["b6Tn82HkLqYd", "toCancel"] {
            let items = vec![BatchItem::queued(simulation.agent_id.clone()); 2];
            let batch = Batch {
                id: short(id)?,
                project_id: self.agent.project_id.clone(),
                name: Name::parse("Refunds, all agents")?,
                status: BatchStatus::InProgress,
                max_in_flight: 50,
                max_in_flight_per_agent: None,
                metadata: Metadata::default(),
                created_by: "root".into(),
                counts: BatchCounts::of(&items),
                parts: vec![0],
                created_at: now,
                updated_at: now,
                ended_at: None,
            };
            let view = BatchView { batch, items };
            let failed = view.reference(0).ok_or("the batch has items")?;
            let view = view.settle(&failed, BatchItemStatus::Failed, Some("the agent is gone"), now)?;
            let settings = vec![SimulationOverrides::default(); 2];
            let parts = vec![BatchPart { defaults: defaults.clone(), items: settings }];
            self.project.insert_batch(NewBatch { view, parts, jobs: Vec::new(), record: None }).await?;
        }
        Ok(())
    }

    async fn insert(&self, simulation: Simulation) -> Result<Simulation> {
        let pinned = vec![self.objective.reference()];
        self.project.insert_simulation(simulation.clone(), pinned, Vec::new(), Vec::new(), None).await?;
        Ok(simulation)
    }

    async fn simulate(&self, id: &str, status: SimulationStatus) -> Result<Simulation> {
        self.insert(self.simulation(id, status)?).await
    }

    async fn persona(&self, simulation: &Simulation, id: &str, seq: u32) -> Result<Persona> {
        let now = Timestamp::now();
        let approval =
            if simulation.auto_approve { ApprovalStatus::Approved } else { ApprovalStatus::Pending };
        let persona = Persona {
            id: long(id)?,
            simulation_id: simulation.id.clone(),
            seq,
            approval,
            summary: "Gita Mbeki, 25, a hairdresser".into(),
            story: "A mirror came broken.".into(),
            purpose: "Wants the money back.".into(),
            attributes: attributes(),
            metadata: Metadata::default(),
            created_at: now,
            updated_at: now,
        };
        self.project.add_persona(persona.clone(), Vec::new()).await?;
        Ok(persona)
    }

    /// Queues a conversation and changes it.
    async fn conversation(
        &self,
        simulation: &Simulation,
        persona: &Persona,
        (id, seq): (&str, u32),
        mut decide: impl FnMut(ConversationView) -> onerun_store::Decision<ConversationChange> + Send + 'static,
    ) -> Result {
        let now = Timestamp::now();
        let id: onerun_domain::ConversationId = long(id)?;
        let queued = Conversation::queued(id.clone(), simulation.id.clone(), persona.id.clone(), seq, now);
        self.project.add_conversations(&simulation.id, vec![queued]).await?;
        let change = Box::new(move |view: ConversationView| decide(view));
        self.project.change_conversation(&simulation.id, &id, change).await?;
        Ok(())
    }

    /// A running simulation: one conversation to claim, one to start, one to renew, one to end, one to fail, two to
    /// respond in, and two to judge.
    async fn running(&self) -> Result {
        let simulation = self.simulate("sV1StGXR8Z5jdHi6BmyT0", SimulationStatus::InProgress).await?;
        let one = self.persona(&simulation, "q9Yd7cJ2MvL0aWnEoRt4P", 1).await?;
        let two = self.persona(&simulation, "personaTwo", 2).await?;
        let queued = |view: ConversationView| Ok(ConversationChange::to(view.conversation));
        // Queued first, so that the claim starts it.
        self.conversation(&simulation, &one, ("conversationToClaim", 9), queued).await?;
        self.conversation(&simulation, &one, ("conversationToStart", 1), queued).await?;
        self.conversation(&simulation, &two, ("conversationToEnd", 2), started).await?;
        self.conversation(&simulation, &one, ("cM3hK8xQ5ZrT1uVbN6wJd", 3), spoken()?).await?;
        self.conversation(&simulation, &two, ("conversationToAnswer", 4), spoken()?).await?;
        self.conversation(&simulation, &one, ("conversationToJudge", 5), ended).await?;
        self.conversation(&simulation, &two, ("conversationTwice", 6), ended).await?;
        self.conversation(&simulation, &one, ("conversationToFail", 7), started).await?;
        self.conversation(&simulation, &two, ("conversationToRenew", 8), started).await
    }

    /// A simulation whose personas wait for approval.
    async fn awaiting_decisions(&self) -> Result {
        let simulation = self.simulation("simulationToDecide", SimulationStatus::InProgress)?;
        let simulation = self.insert(Simulation { auto_approve: false, ..simulation }).await?;
        self.persona(&simulation, "personaToApprove", 1).await?;
        self.persona(&simulation, "personaToReject", 2).await?;
        Ok(())
    }

    /// A completed simulation with one conversation, and an evaluation run of it.
    async fn judged(&self) -> Result {
        let simulation = self.simulate("simulationJudged", SimulationStatus::InProgress).await?;
        let persona = self.persona(&simulation, "personaOfJudged", 1).await?;
        self.conversation(&simulation, &persona, ("conversationJudged", 1), ended).await?;
        let complete = |view: SimulationView| {
            let simulation = Simulation { status: SimulationStatus::Completed, ..view.simulation };
            Ok(SimulationChange::to(simulation, Vec::new()))
        };
        self.project.change_simulation(&simulation.id, Box::new(complete)).await?;
        let now = Timestamp::now();
        let run = EvaluationRun {
            id: long("evaluationRun")?,
            simulation_id: simulation.id,
            judge: ModelName::offline(),
            status: EvaluationRunStatus::Pending,
            conversations: 1,
            created_at: now,
            updated_at: now,
        };
        self.project.insert_evaluation_run(run, Vec::new(), None).await?;
        Ok(())
    }

    /// A simulation with a conversation whose lease has expired.
    async fn lost(&self) -> Result {
        let simulation = self.simulate("simulationOfLost", SimulationStatus::InProgress).await?;
        let persona = self.persona(&simulation, "personaOfLost", 1).await?;
        let lost = |view: ConversationView| {
            let ago = Timestamp::now() - SignedDuration::from_hours(1);
            let lease = SignedDuration::from_secs(1);
            Ok(ConversationChange::to(view.conversation.start(&view.simulation, lease, ago)?))
        };
        self.conversation(&simulation, &persona, ("conversationToLose", 1), lost).await
    }
}

fn started(view: ConversationView) -> onerun_store::Decision<ConversationChange> {
    Ok(ConversationChange::to(view.conversation.start(&view.simulation, LONG, Timestamp::now())?))
}

/// One turn: the persona has spoken, and the agent's reply is outstanding.
fn spoken() -> Result<impl FnMut(ConversationView) -> onerun_store::Decision<ConversationChange> + Send> {
    let words = MessageText::parse("The mirror came broken. Can I have my money back?")?;
    Ok(move |view: ConversationView| {
        let now = Timestamp::now();
        let token = TurnToken::restore("seed".into());
        let claim = TurnClaim { token: token.clone(), expires_at: now + LONG };
        let claimed = view.conversation.claim_turn(&view.simulation, None, claim, LONG, now)?;
        let conversation = claimed.complete_turn(&view.simulation, &token, 1, None, LONG, now)?;
        let item = Item {
            id: onerun_domain::ItemId::generate(&Zeros),
            conversation_id: conversation.id.clone(),
            attempt: conversation.attempt,
            position: 0,
            role: Role::User,
            content: vec![words.clone()],
            created_at: now,
        };
        Ok(ConversationChange { items: vec![item], ..ConversationChange::to(conversation) })
    })
}

/// An ended conversation, with the job that judges it.
fn ended(view: ConversationView) -> onerun_store::Decision<ConversationChange> {
    let now = Timestamp::now();
    let (simulation, conversation) = (view.simulation, view.conversation);
    let conversation = conversation.start(&simulation, LONG, now)?.end(&simulation, None, now)?;
    let work = Work::JudgeConversation {
        simulation: simulation.id.clone(),
        conversation: conversation.id.clone(),
        attempt: conversation.attempt,
    };
    let jobs = vec![Job::new(simulation.project_id, work)];
    Ok(ConversationChange { jobs, ..ConversationChange::to(conversation) })
}

/// Items are found by their position, so their ids may be equal.
struct Zeros;

impl onerun_domain::Random for Zeros {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

fn attributes() -> PersonaAttributes {
    PersonaAttributes {
        age_group: AgeGroup::Adult,
        speech_style: "hurried".into(),
        education: "vocational school".into(),
        occupation: "hairdresser".into(),
        economic_status: "enough".into(),
        personality_traits: "restless".into(),
        values: "fairness".into(),
        habits: "thinks aloud".into(),
        interests: "sailing".into(),
        speech_patterns: "short sentences".into(),
        typical_behavior: "asks again".into(),
        stress_triggers: "waiting".into(),
        stress_reactions: "hurries".into(),
        version: "1".into(),
    }
}
