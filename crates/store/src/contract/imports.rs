//! Conversations that were held elsewhere: stored until they are imported, and then as any others.

use jiff::SignedDuration;
use onerun_domain::{
    ConversationStatus, EndReason, ImportedConversation, ImportedMessage, Job, LeftOutMessages, MessageText,
    Name, NewImport, Refusal, Role, Simulation, SimulationOptions, Work,
};

use super::fixture::{
    Fixture, LEASE, TestProject, assert_duplicate, metadata, name, odd_texts, refusal, text,
};
use crate::{
    ConversationChange, ConversationView, IdempotencyId, IdempotencyRecord, IdempotencyScope,
    NewImportedSimulation,
};

pub(super) fn conversation(words: &str, messages: usize) -> ImportedConversation {
    let message = |place: usize| ImportedMessage {
        role: if place.is_multiple_of(2) { Role::User } else { Role::Assistant },
        content: vec![text(words)],
    };
    ImportedConversation {
        case: Some(name("Refund")),
        end_reason: EndReason::PersonaDecided,
        metadata: metadata(r#"{"number": 1.50, "text": "\u00e9"}"#),
        messages: (0..messages).map(message).collect(),
    }
}

impl TestProject {
    pub(super) async fn new_import(&self, conversations: Vec<ImportedConversation>) -> NewImportedSimulation {
        let agent = self.add_agent(self.agent()).await;
        let simulation = self.simulation(&agent);
        let options = SimulationOptions {
            import: Some(LeftOutMessages { system: 3, tool: 7 }),
            ..SimulationOptions::default()
        };
        NewImportedSimulation {
            simulation: Simulation { options, ..simulation },
            objectives: Vec::new(),
            conversations,
            jobs: Vec::new(),
            record: None,
        }
    }
}

/// Conversations wait with their simulation, only in its project, until they are deleted.
pub async fn import_is_read_until_it_is_deleted(fixture: &Fixture) {
    let (project, other) = (fixture.new_project().await, fixture.new_project().await);
    let odd = odd_texts().into_iter().filter_map(|text| MessageText::parse(text).ok());
    let messages: Vec<_> =
        odd.map(|text| ImportedMessage { role: Role::User, content: vec![text.clone(), text] }).collect();
    let mut conversations = vec![conversation("Hello.", 2), conversation("\u{1f600}", 1)];
    conversations.push(ImportedConversation { case: None, messages, ..conversations[0].clone() });
    for odd in odd_texts().into_iter().filter_map(|text| Name::parse(text).ok()) {
        conversations.push(ImportedConversation { case: Some(odd), ..conversations[0].clone() });
    }
    let mut new = project.new_import(conversations).await;
    let id = new.simulation.id.clone();
    new.jobs = vec![Job::new(project.id.clone(), Work::StartSimulation { simulation: id.clone() })];
    project.store.insert_import(new.clone()).await.unwrap();
    let stored = project.store.simulation(&id).await.unwrap().unwrap();
    assert_eq!(stored.simulation, new.simulation);
    assert_eq!(fixture.take_jobs().await, new.jobs);
    assert_duplicate(&project.store.insert_import(new.clone()).await);
    assert_eq!(other.store.waiting_import(&id).await.unwrap(), None);
    other.store.delete_import(&id).await.unwrap();
    assert_eq!(project.store.waiting_import(&id).await.unwrap(), Some(new.conversations));
    let held_here = project.add_simulation(project.simulation(&stored.agent)).await;
    assert_eq!(project.store.waiting_import(&held_here.id).await.unwrap(), None);
    for _ in 0..2 {
        project.store.delete_import(&id).await.unwrap();
        assert_eq!(project.store.waiting_import(&id).await.unwrap(), None);
    }
    assert_eq!(project.store.simulation(&id).await.unwrap().unwrap(), stored);
}

/// An import of the largest size is stored whole.
pub async fn largest_import_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let long = conversation(&"\u{e9}".repeat(30_000), 2);
    let bytes = serde_json::to_vec(&long).unwrap().len() + 1;
    let new = project.new_import(vec![long; NewImport::MAX_BYTES / bytes]).await;
    project.store.insert_import(new.clone()).await.unwrap();
    let id = &new.simulation.id;
    assert_eq!(project.store.waiting_import(id).await.unwrap().as_ref(), Some(&new.conversations));
    project.store.delete_import(id).await.unwrap();
    assert_eq!(project.store.waiting_import(id).await.unwrap(), None);
}

/// An import is added with the record of its request, and a repeated request adds none.
pub async fn import_of_a_repeated_request_is_added_once(fixture: &Fixture) {
    let (project, now) = (fixture.new_project().await, fixture.now());
    let key =
        IdempotencyId::new(IdempotencyScope::Resources, &onerun_auth::KeyId::ROOT, Some(&project.id), "a");
    let record = |response: &str| {
        let response = response.into();
        Some(IdempotencyRecord { id: key.clone(), request_hash: "h".into(), response, created_at: now })
    };
    let first = project.new_import(vec![conversation("Hello.", 1)]).await;
    project
        .store
        .insert_import(NewImportedSimulation { record: record("1"), ..first.clone() })
        .await
        .unwrap();
    let second = project.new_import(vec![conversation("Hello.", 1)]).await;
    let id = second.simulation.id.clone();
    let repeated = NewImportedSimulation { record: record("2"), ..second };
    assert_duplicate(&project.store.insert_import(repeated).await);
    assert_eq!(project.store.simulation(&id).await.unwrap(), None);
    assert_eq!(project.store.waiting_import(&id).await.unwrap(), None);
    assert!(project.store.waiting_import(&first.simulation.id).await.unwrap().is_some());
}

/// A conversation is kept from workers until all of its messages are added at once.
pub async fn imported_conversation_is_kept_from_workers(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    // Several items of DynamoDB.
    let imported = conversation(&"\u{e9}".repeat(1_000), NewImport::MAX_MESSAGES);
    let begun = imported.begin(&scene.simulation, 2, fixture.random(), fixture.now());
    let persona = imported.persona(&scene.simulation, 2, fixture.now());
    for is_new in [true, false] {
        assert_eq!(scene.store().add_persona(persona.clone(), Vec::new()).await.unwrap(), is_new);
        let again = imported.begin(&scene.simulation, 2, fixture.random(), fixture.now());
        scene.add(&[if is_new { begun.clone() } else { again }]).await.unwrap();
    }
    assert_eq!(scene.stored(&begun.id).await, begun);
    let agents = [scene.simulation.agent_id.clone()];
    let queued = scene.store().queued_conversations(&agents, 10).await.unwrap();
    assert!(queued.iter().all(|one| one.id != begun.id));
    assert!(matches!(refusal(scene.claim(&begun.id, &scene.token()).await), Refusal::TurnInProgress { .. }));
    assert!(matches!(refusal(scene.end(&begun.id).await), Refusal::TurnInProgress { .. }));
    let far = scene.simulation.expires_at + SignedDuration::from_hours(23);
    assert_eq!(fixture.store.overdue(10, far).await.unwrap().conversations, []);
    let items = imported.items(&begun, fixture.random(), fixture.now());
    let (added, now) = (items.clone(), fixture.now());
    let decide = move |view: ConversationView| {
        let token =
            view.conversation.turn.as_ref().map(|turn| turn.token.clone()).ok_or(Refusal::TurnLost)?;
        let count = u32::try_from(added.len()).unwrap();
        let end = Some(EndReason::PersonaDecided);
        let held = view.conversation.complete_turn(&view.simulation, &token, count, end, LEASE, now)?;
        Ok(ConversationChange { items: added.clone(), ..ConversationChange::to(held) })
    };
    let held = scene.change(&begun.id, decide.clone()).await.unwrap();
    assert_eq!((held.status, held.end_reason), (ConversationStatus::Ended, Some(EndReason::PersonaDecided)));
    assert_eq!(refusal(scene.change(&begun.id, decide).await), Refusal::TurnLost);
    assert_eq!(scene.items(&begun.id, 1).await, items);
}
