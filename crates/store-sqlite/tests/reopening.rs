//! The state that a new process finds after the last one has ended.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use onerun_auth::{
    Actor, AuditCheck, AuditEvent, Grant, KeyId, KeyRecord, KeyUse, ManagedKey, NewKeySpec, ProjectAccess,
    Scope,
};
use onerun_domain::{
    AgeGroup, Agent, ApprovalStatus, Conversation, Direction, Item, Job, JobKind, Limit, MaxTurns,
    MessageText, Metadata, Name, PageRequest, Persona, PersonaAttributes, Project, Role, Scenario, Seed,
    Simulation, SimulationOptions, SimulationStatus, Target, TurnClaim, TurnToken, Work,
};
use onerun_store::{
    ChangeKey, ConversationChange, ConversationView, ExactFilter, IdempotencyId, IdempotencyRecord,
    IdempotencyScope, KeyChange, KeyLimits, KeyStore, ListKeys, NewKey, ProjectStore, Store, StoreError,
    StoredReply, StoredTurn,
};
use onerun_store_sqlite::SqliteStore;
use tempfile::TempDir;

const LEASE: SignedDuration = SignedDuration::from_mins(5);

/// A running simulation of one conversation.
struct Scene {
    directory: TempDir,
    project: Project,
    agent: Agent,
    simulation: Simulation,
    persona: Persona,
    conversation: Conversation,
}

impl Scene {
    fn new() -> Self {
        let now: Timestamp = "2031-03-14T09:26:53.589793Z".parse().unwrap();
        let project = Project {
            id: "project00001".parse().unwrap(),
            name: Name::parse("Project").unwrap(),
            archived_at: None,
            created_at: now,
            updated_at: now,
        };
        let agent = Agent {
            id: "agent0000001".parse().unwrap(),
            project_id: project.id.clone(),
            name: Name::parse("Agent").unwrap(),
            description: None,
            metadata: Metadata::default(),
            last_polled_at: None,
            endpoint: None,
            archived_at: None,
            created_at: now,
            updated_at: now,
        };
        let simulation = Simulation {
            id: "simulation00000000001".parse().unwrap(),
            project_id: project.id.clone(),
            agent_id: agent.id.clone(),
            name: Name::parse("Simulation").unwrap(),
            scenario: Scenario::parse("A late parcel").unwrap(),
            target_conversations: Target::parse(1).unwrap(),
            target_personas: Target::parse(1).unwrap(),
            max_turns: MaxTurns::default(),
            auto_approve: true,
            seed: Seed::parse(7).unwrap(),
            options: SimulationOptions::default(),
            metadata: Metadata::default(),
            status: SimulationStatus::InProgress,
            last_failure_reason: None,
            created_at: now,
            updated_at: now,
            expires_at: now + SignedDuration::from_hours(24),
            transcripts_deleted_at: None,
        };
        let persona = persona(&simulation);
        let id = "conversation000000001".parse().unwrap();
        let conversation = Conversation::queued(id, simulation.id.clone(), persona.id.clone(), 1, now);
        Self { directory: tempfile::tempdir().unwrap(), project, agent, simulation, persona, conversation }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("onerun.db")
    }

    fn now(&self) -> Timestamp {
        self.simulation.created_at
    }

    fn job(&self) -> Job {
        let work = Work::StartSimulation { simulation: self.simulation.id.clone() };
        Job::new(self.project.id.clone(), work)
    }

    async fn open(&self) -> (SqliteStore, Arc<dyn ProjectStore>) {
        let store = SqliteStore::open(&self.path()).unwrap();
        let project = store.open_project(&self.project.id).await.unwrap().unwrap();
        (store, project)
    }

    /// Writes a row of every kind, claims the turn of the conversation, and closes the store.
    async fn write(&self) {
        let store = SqliteStore::open(&self.path()).unwrap();
        store.insert_project(self.project.clone(), None).await.unwrap();
        let project = store.open_project(&self.project.id).await.unwrap().unwrap();
        project.insert_agent(self.agent.clone(), None).await.unwrap();
        project
            .insert_simulation(self.simulation.clone(), Vec::new(), Vec::new(), vec![self.job()], None)
            .await
            .unwrap();
        assert!(project.add_persona(self.persona.clone(), Vec::new()).await.unwrap());
        let conversations = vec![self.conversation.clone()];
        project.add_conversations(&self.simulation.id, conversations).await.unwrap();
    }

    async fn claim_turn(&self, project: &dyn ProjectStore, token: &'static str) {
        let now = self.now();
        let decide = Box::new(move |view: ConversationView| {
            let claim = TurnClaim { token: TurnToken::restore(token.into()), expires_at: now + LEASE };
            let claimed = view.conversation.claim_turn(&view.simulation, None, claim, LEASE, now)?;
            Ok(ConversationChange::to(claimed))
        });
        project
            .change_conversation(&self.simulation.id, &self.conversation.id, decide)
            .await
            .unwrap()
            .unwrap();
    }

    async fn complete_turn(&self, project: &dyn ProjectStore, token: &'static str) {
        let (now, item, turn) = (self.now(), self.item(), stored_turn());
        let decide = Box::new(move |view: ConversationView| {
            let token = TurnToken::restore(token.into());
            let conversation =
                view.conversation.complete_turn(&view.simulation, &token, 1, None, LEASE, now)?;
            Ok(ConversationChange {
                items: vec![item.clone()],
                turn: Some(turn.clone()),
                ..ConversationChange::to(conversation)
            })
        });
        project
            .change_conversation(&self.simulation.id, &self.conversation.id, decide)
            .await
            .unwrap()
            .unwrap();
    }

    fn item(&self) -> Item {
        Item {
            id: "item00000000000000001".parse().unwrap(),
            conversation_id: self.conversation.id.clone(),
            attempt: 1,
            position: 0,
            role: Role::Assistant,
            content: vec![MessageText::parse("Hello").unwrap(), MessageText::parse("").unwrap()],
            created_at: self.now(),
        }
    }
}

fn stored_turn() -> StoredTurn {
    StoredTurn {
        idempotency_key: "key".into(),
        input_hash: "cd".repeat(32),
        attempt: 1,
        reply: StoredReply { text: None, ended: true },
        created_at: "2031-03-14T09:26:53.589793Z".parse().unwrap(),
    }
}

fn persona(simulation: &Simulation) -> Persona {
    Persona {
        id: "persona00000000000001".parse().unwrap(),
        simulation_id: simulation.id.clone(),
        seq: 1,
        approval: ApprovalStatus::Approved,
        summary: "A baker".into(),
        story: "Waits for flour".into(),
        purpose: "To hear when it comes".into(),
        attributes: PersonaAttributes {
            age_group: AgeGroup::Adult,
            speech_style: "short".into(),
            education: String::new(),
            occupation: "baker".into(),
            economic_status: String::new(),
            personality_traits: "calm".into(),
            values: String::new(),
            habits: String::new(),
            interests: String::new(),
            speech_patterns: String::new(),
            typical_behavior: String::new(),
            stress_triggers: String::new(),
            stress_reactions: String::new(),
            version: "1".into(),
        },
        metadata: Metadata::default(),
        created_at: simulation.created_at,
        updated_at: simulation.created_at,
    }
}

fn tamper(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn every_acknowledged_write_survives_reopening() {
    let scene = Scene::new();
    scene.write().await;
    let (store, project) = scene.open().await;
    scene.claim_turn(&*project, "one").await;
    scene.complete_turn(&*project, "one").await;
    drop((store, project));

    let (_store, project) = scene.open().await;
    let (simulation, conversation) = (&scene.simulation.id, &scene.conversation.id);
    assert_eq!(project.project().await.unwrap(), scene.project);
    let detail = project.simulation(simulation).await.unwrap().unwrap();
    assert_eq!((detail.simulation, detail.agent), (scene.simulation.clone(), scene.agent.clone()));
    let evaluated = project.conversation(simulation, conversation).await.unwrap().unwrap();
    assert_eq!(evaluated.persona, scene.persona);
    assert_eq!(evaluated.conversation.item_count, 1);
    let page = PageRequest::first(Limit::clamped(10));
    let items = project.items(simulation, conversation, 1, page).await.unwrap();
    assert_eq!(items.data, [scene.item()]);
    assert_eq!(project.turn(simulation, conversation, "key").await.unwrap(), Some(stored_turn()));
}

#[tokio::test]
async fn claimed_job_is_due_at_once_after_reopening() {
    let scene = Scene::new();
    scene.write().await;
    let (store, project) = scene.open().await;
    let claimed = store.claim_jobs(JobKind::Other, 10, scene.now() + LEASE, scene.now()).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert!(store.claim_jobs(JobKind::Other, 10, scene.now() + LEASE, scene.now()).await.unwrap().is_empty());
    drop((store, project));

    let (store, _project) = scene.open().await;
    let claimed = store.claim_jobs(JobKind::Other, 10, scene.now() + LEASE, scene.now()).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!((&claimed[0].job, claimed[0].deliveries), (&scene.job(), 2));
}

#[tokio::test]
async fn delayed_job_stays_delayed_after_reopening() {
    let scene = Scene::new();
    scene.write().await;
    let (store, project) = scene.open().await;
    store.claim_jobs(JobKind::Other, 10, scene.now() + LEASE, scene.now()).await.unwrap();
    store.retry_job(&scene.job().id, "no model", scene.now() + LEASE).await.unwrap();
    drop((store, project));

    let (store, _project) = scene.open().await;
    assert_eq!(store.next_job_due(JobKind::Other).await.unwrap(), Some(scene.now() + LEASE));
    assert!(store.claim_jobs(JobKind::Other, 10, scene.now() + LEASE, scene.now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn claimed_turn_is_free_at_once_after_reopening() {
    let scene = Scene::new();
    scene.write().await;
    let (store, project) = scene.open().await;
    scene.claim_turn(&*project, "one").await;
    drop((store, project));

    let (_store, project) = scene.open().await;
    let found = project.conversation(&scene.simulation.id, &scene.conversation.id).await.unwrap().unwrap();
    assert_eq!(found.conversation.turn, None);
    assert_eq!(found.conversation.lease_expires_at, Some(scene.now() + LEASE));
    scene.claim_turn(&*project, "two").await;
}

#[tokio::test]
async fn undelivered_reply_survives_reopening() {
    let scene = Scene::new();
    scene.write().await;
    let (store, project) = scene.open().await;
    scene.claim_turn(&*project, "one").await;
    let (now, token) = (scene.now(), TurnToken::restore("one".into()));
    let decide = move |view: onerun_store::ConversationView| {
        let completed = view.conversation.complete_turn(&view.simulation, &token, 0, None, LEASE, now)?;
        Ok(ConversationChange::to(completed.with_undelivered_reply(&token, now)))
    };
    let (simulation, id) = (&scene.simulation.id, &scene.conversation.id);
    let completed = project.change_conversation(simulation, id, Box::new(decide)).await.unwrap();
    drop((store, project));

    let (_store, project) = scene.open().await;
    let found = project.conversation(simulation, id).await.unwrap().unwrap();
    assert_eq!(Some(found.conversation), completed);
}

#[tokio::test]
async fn closed_store_leaves_its_file_and_the_reserve() {
    let scene = Scene::new();
    scene.write().await;
    let mut files: Vec<_> =
        scene.directory.path().read_dir().unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["onerun.db", "onerun.db-reserve"]);
}

#[tokio::test]
async fn invalid_value_is_reported_and_not_shown() {
    let scene = Scene::new();
    scene.write().await;
    tamper(&scene.path(), "UPDATE all_simulations SET name = ''");
    let (_store, project) = scene.open().await;
    let error = project.simulation(&scene.simulation.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { what: "simulation", .. }), "{error}");
    assert_eq!(error.to_string(), "the stored simulation is corrupt: column `name`: must not be empty");
}

/// Opens the store with a key that was created by a recorded request, used and disabled.
async fn key_store() -> (SqliteStore, TempDir, KeyRecord, IdempotencyRecord) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("onerun.db")).unwrap();
    let now: Timestamp = "2031-03-14T09:26:53.589793Z".parse().unwrap();
    let fill = |buffer: &mut [u8]| {
        buffer.fill(7);
        Ok::<(), std::convert::Infallible>(())
    };
    let spec = NewKeySpec {
        name: Name::parse("Key").unwrap(),
        grant: Grant::everything(),
        not_before: None,
        metadata: Metadata::default(),
    };
    let root = KeyId::restore("root").unwrap();
    let record = KeyRecord::new(&ManagedKey::generate(fill).unwrap(), spec, root.clone(), now);
    let call = IdempotencyRecord {
        id: IdempotencyId::new(IdempotencyScope::Keys, &root, None, "a"),
        request_hash: "cd".repeat(32),
        response: "{}".into(),
        created_at: now,
    };
    let event = |action: &str| AuditEvent {
        at: now.to_string(),
        action: action.into(),
        key_id: record.id.to_string(),
        actor: Actor { key_id: "root".into(), address: None, user_agent: None, request_id: action.into() },
        details: [].into(),
    };
    let new = NewKey {
        record: record.clone(),
        event: event("create_key"),
        call: Some(call.clone()),
        limits: KeyLimits::NONE,
        jobs: Vec::new(),
    };
    store.insert_key(None, Box::new(move |_| Ok(new.clone()))).await.unwrap();
    let scopes = [Scope::AgentsRead].into_iter().collect();
    let uses = KeyUse { last_at: now, scopes, since_replaced: 0 };
    assert!(store.add_key_use(&record.id, &uses, now).await.unwrap());
    let (id, event) = (record.id.clone(), event("disable_key"));
    let disabled = record.disable(now).unwrap();
    let written = disabled.clone();
    let decide = Box::new(move |_| {
        Ok(KeyChange::To { record: Box::new(written.clone()), event: event.clone(), jobs: Vec::new() })
    });
    store.change_key(&id, ChangeKey::unasked(decide)).await.unwrap().unwrap();
    (store, directory, disabled, call)
}

fn all_keys(now: Timestamp) -> ListKeys {
    let page = PageRequest::first(Limit::clamped(10));
    let within = ProjectAccess::All;
    ListKeys {
        within,
        exact: ExactFilter::default(),
        status: None,
        project: None,
        ends_by: None,
        idle_since: None,
        now,
        page,
    }
}

#[tokio::test]
async fn keys_uses_calls_and_trail_survive_reopening() {
    let (store, directory, record, call) = key_store().await;
    drop(store);

    let store = SqliteStore::open(&directory.path().join("onerun.db")).unwrap();
    let now = record.created_at;
    assert_eq!(store.key(&record.id).await.unwrap().as_ref(), Some(&record));
    let listed = store.keys(all_keys(now)).await.unwrap().data;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].record, listed[0].usage.last_used_at), (&record, Some(now)));
    assert_eq!(store.idempotency_record(&call.id, now).await.unwrap(), Some(call));
    let again = KeyUse { last_at: now, scopes: listed[0].usage.used_scopes, since_replaced: 0 };
    assert!(!store.add_key_use(&record.id, &again, now).await.unwrap(), "that was a moment ago");
    let trail = store.audit(Direction::Ascending, all_keys(now).page).await.unwrap();
    let mut check = AuditCheck::default();
    trail.entries.data.iter().for_each(|entry| check.take(entry).unwrap());
    check.finish(trail.head.as_ref()).unwrap();
    assert_eq!(trail.head.unwrap().sequence, 2);
}

#[tokio::test]
async fn invalid_body_is_reported_and_not_shown() {
    let (store, directory, record, call) = key_store().await;
    drop(store);
    let path = directory.path().join("onerun.db");
    let corrupt = |found: Option<StoreError>, what: &str| {
        let text = found.unwrap().to_string();
        assert_eq!(
            text,
            format!("the stored {what} is corrupt: not the JSON it must be, at line 1 column 1")
        );
    };
    for table in ["key_uses", "idempotency_records", "audit", "keys"] {
        tamper(&path, &format!("UPDATE {table} SET body = 'SECRET'"));
        let store = SqliteStore::open(&path).unwrap();
        let what = if table == "keys" { "key" } else { "key's usage" };
        corrupt(store.key_view(&record.id).await.err(), what);
        corrupt(store.keys(all_keys(record.created_at)).await.err(), what);
        match table {
            "idempotency_records" => {
                let found = store.idempotency_record(&call.id, call.created_at).await;
                corrupt(found.err(), "idempotency record");
            }
            "audit" => {
                let page = all_keys(record.created_at).page;
                corrupt(store.audit(Direction::Descending, page).await.err(), "audit entry");
            }
            "keys" => corrupt(store.key(&record.id).await.err(), "key"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn expired_idempotency_records_are_removed_a_few_at_a_time() {
    let (store, directory, _, call) = key_store().await;
    let expired = call.created_at + onerun_store::IDEMPOTENCY_RETENTION + SignedDuration::from_secs(1);
    let project = Project {
        id: "project00001".parse().unwrap(),
        name: Name::parse("Project").unwrap(),
        archived_at: None,
        created_at: call.created_at,
        updated_at: call.created_at,
    };
    for (number, created_at) in [(1, call.created_at), (2, expired)] {
        let id = IdempotencyId::new(
            IdempotencyScope::Resources,
            &KeyId::restore("root").unwrap(),
            None,
            &number.to_string(),
        );
        let project = Project { id: format!("project0000{number}").parse().unwrap(), ..project.clone() };
        let record = IdempotencyRecord { id, created_at, ..call.clone() };
        store.insert_project(project, Some(record)).await.unwrap();
    }
    let path = directory.path().join("onerun.db");
    let count = || -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row("SELECT count(*) FROM idempotency_records", [], |row| row.get(0)).unwrap()
    };
    for (limit, now, left) in [(1, call.created_at, 3), (1, expired, 2), (9, expired, 1)] {
        store.delete_expired_records(limit, now).await.unwrap();
        assert_eq!(count(), left);
    }
}

#[tokio::test]
async fn stored_replies_are_removed_after_a_day() {
    let scene = Scene::new();
    scene.write().await;
    let (store, project) = scene.open().await;
    scene.claim_turn(&*project, "one").await;
    scene.complete_turn(&*project, "one").await;
    let count = || -> i64 {
        let connection = rusqlite::Connection::open(scene.path()).unwrap();
        connection.query_row("SELECT count(*) FROM turns", [], |row| row.get(0)).unwrap()
    };
    let made = stored_turn().created_at;
    let day = onerun_store::IDEMPOTENCY_RETENTION;
    for (now, left) in [(made + day - SignedDuration::from_secs(1), 1), (made + day, 0)] {
        store.delete_expired_records(10, now).await.unwrap();
        assert_eq!(count(), left);
    }
}
