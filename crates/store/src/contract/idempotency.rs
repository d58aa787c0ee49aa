//! Records of requests under an `Idempotency-Key`: written together with the request's effect, or
//! not at all.

use jiff::{SignedDuration, Timestamp};
use onerun_auth::KeyId;
use onerun_domain::AgentId;

use super::fixture::{Fixture, ROUNDS, Scene, at_once};
use crate::{
    ChangeError, ConversationChange, ConversationView, IDEMPOTENCY_RETENTION, IdempotencyId,
    IdempotencyRecord, IdempotencyScope, SimulationChange, StoreError,
};

fn id(text: &str) -> IdempotencyId {
    let caller = KeyId::restore("root").unwrap();
    IdempotencyId::new(IdempotencyScope::Resources, &caller, None, text)
}

pub(super) fn record(text: &str, response: &str, created_at: Timestamp) -> IdempotencyRecord {
    IdempotencyRecord {
        id: id(text),
        request_hash: "ab".repeat(32),
        response: response.to_owned(),
        created_at,
    }
}

pub(super) async fn found(fixture: &Fixture, text: &str, now: Timestamp) -> Option<IdempotencyRecord> {
    fixture.store.idempotency_record(&id(text), now).await.unwrap()
}

fn is_duplicate<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Duplicate { .. }))
}

/// A started conversation whose start is recorded.
fn start(
    scene: &Scene,
    record: IdempotencyRecord,
) -> Box<dyn FnMut(ConversationView) -> Result<ConversationChange, onerun_domain::Refusal> + Send> {
    let now = scene.now();
    Box::new(move |view| {
        let started = view.conversation.start(&view.simulation, SignedDuration::from_secs(300), now)?;
        Ok(ConversationChange { record: Some(record.clone()), ..ConversationChange::to(started) })
    })
}

/// A change that leaves the simulation unchanged, and is recorded.
fn run(
    record: IdempotencyRecord,
) -> Box<dyn FnMut(crate::SimulationView) -> Result<SimulationChange, onerun_domain::Refusal> + Send> {
    Box::new(move |view| {
        Ok(SimulationChange {
            record: Some(record.clone()),
            ..SimulationChange::to(view.simulation, Vec::new())
        })
    })
}

/// For every request that creates or starts something.
pub async fn record_is_written_with_the_requests_effect(fixture: &Fixture) {
    let now = fixture.now();
    let some = |text: &str| Some(record(text, r#"{"id": "\u0000 \ud83d\ude00"}"#, now));
    let scene = fixture.scene(1).await;
    let project = &scene.project;
    fixture.store.insert_project(fixture.project(), some("project")).await.unwrap();
    project.store.insert_agent(project.agent(), some("agent")).await.unwrap();
    project.store.insert_objective(project.objective(), some("objective")).await.unwrap();
    let simulation = project.simulation(&scene.agent);
    project
        .store
        .insert_simulation(simulation, Vec::new(), Vec::new(), Vec::new(), some("simulation"))
        .await
        .unwrap();
    let run = run(some("run").unwrap());
    project.store.change_simulation(&scene.simulation.id, run).await.unwrap().unwrap();
    let start = start(&scene, some("start").unwrap());
    project.store.change_conversation(&scene.simulation.id, &scene.id(0), start).await.unwrap().unwrap();
    for text in ["project", "agent", "objective", "simulation", "run", "start"] {
        assert_eq!(found(fixture, text, now).await, some(text), "{text}");
    }
    assert_eq!(found(fixture, "unknown", now).await, None);
}

/// A repeated request leaves the first record unchanged, for every resource that requests create.
pub async fn repeated_request_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let project = &scene.project;
    let first = record("a", "1", fixture.now());
    fixture.store.insert_project(fixture.project(), Some(first.clone())).await.unwrap();
    let again = || Some(record("a", "2", fixture.now()));

    let unsaved = fixture.project();
    assert!(is_duplicate(&fixture.store.insert_project(unsaved.clone(), again()).await));
    assert!(fixture.store.open_project(&unsaved.id).await.unwrap().is_none());
    let agent = project.agent();
    assert!(is_duplicate(&project.store.insert_agent(agent.clone(), again()).await));
    assert_eq!(project.store.agent(&agent.id).await.unwrap(), None);
    let objective = project.objective();
    assert!(is_duplicate(&project.store.insert_objective(objective.clone(), again()).await));
    assert_eq!(project.store.objective(&objective.id).await.unwrap(), None);
    let simulation = project.simulation(&scene.agent);
    let inserted = project
        .store
        .insert_simulation(simulation.clone(), Vec::new(), Vec::new(), Vec::new(), again())
        .await;
    assert!(is_duplicate(&inserted));
    assert_eq!(project.store.simulation(&simulation.id).await.unwrap(), None);
    let ran = project.store.change_simulation(&scene.simulation.id, run(again().unwrap())).await;
    assert!(matches!(ran, Err(ChangeError::Store(StoreError::Duplicate { .. }))), "{ran:?}");
    let start = start(&scene, again().unwrap());
    let started = project.store.change_conversation(&scene.simulation.id, &scene.id(0), start).await;
    assert!(matches!(started, Err(ChangeError::Store(StoreError::Duplicate { .. }))), "{started:?}");
    assert_eq!(scene.stored(&scene.id(0)).await, scene.conversations[0]);

    assert_eq!(found(fixture, "a", fixture.now()).await, Some(first));
}

/// After a day its idempotency key is free again, whether or not the record was removed.
pub async fn record_is_valid_for_a_day(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let made = fixture.now();
    let first = record("a", "1", made);
    project.store.insert_agent(project.agent(), Some(first.clone())).await.unwrap();
    let last = made + IDEMPOTENCY_RETENTION;
    fixture.store.delete_expired_records(10, last).await.unwrap();
    assert_eq!(found(fixture, "a", last).await, Some(first));

    let late = fixture.pass(IDEMPOTENCY_RETENTION + SignedDuration::from_secs(2));
    assert_eq!(found(fixture, "a", late).await, None);
    let second = record("a", "2", late);
    project.store.insert_agent(project.agent(), Some(second.clone())).await.unwrap();
    assert_eq!(found(fixture, "a", late).await, Some(second.clone()));
    fixture.store.delete_expired_records(10, late).await.unwrap();
    assert_eq!(found(fixture, "a", late).await, Some(second));
}

/// One of them takes effect, and the record is its own.
pub async fn concurrent_requests_under_one_key_act_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for round in 0..ROUNDS {
        let text = format!("request {round}");
        let tasks = (0..4).map(|_| {
            let (project, agent, now) = (project.clone(), project.agent(), fixture.now());
            let record = record(&text, agent.id.as_str(), now);
            Box::pin(async move {
                let added = project.store.insert_agent(agent.clone(), Some(record)).await;
                assert!(added.is_ok() || is_duplicate(&added), "{added:?}");
                (agent.id, added.is_ok())
            }) as _
        });
        let outcomes = at_once(tasks.collect()).await;
        let made: Vec<&AgentId> = outcomes.iter().filter(|(_, made)| *made).map(|(id, _)| id).collect();
        assert_eq!(made.len(), 1, "{outcomes:?}");
        let record = found(fixture, &text, fixture.now()).await.unwrap();
        assert_eq!(record.response, made[0].as_str());
        for (id, made) in &outcomes {
            assert_eq!(project.store.agent(id).await.unwrap().is_some(), *made);
        }
    }
}

/// The conversation is started once, and the other starts are refused.
pub async fn concurrent_starts_under_one_key_record_one(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for round in 0..ROUNDS {
        let (id, text) = (scene.id(usize::try_from(round).unwrap()), format!("start {round}"));
        let tasks = (0..3).map(|number| {
            let (scene, id) = (scene.clone(), id.clone());
            let record = record(&text, &number.to_string(), fixture.now());
            Box::pin(async move {
                let start = start(&scene, record);
                let started = scene.store().change_conversation(&scene.simulation.id, &id, start).await;
                match started {
                    Ok(started) => started.is_some(),
                    Err(ChangeError::Refused(_) | ChangeError::Store(StoreError::Duplicate { .. })) => false,
                    Err(error) => panic!("{error:?}"),
                }
            }) as _
        });
        let outcomes = at_once(tasks.collect()).await;
        let won = outcomes.iter().position(|started| *started).unwrap();
        assert_eq!(outcomes.iter().filter(|started| **started).count(), 1);
        assert_eq!(found(fixture, &text, fixture.now()).await.unwrap().response, won.to_string());
        assert_eq!(scene.stored(&id).await.attempt, 1);
    }
}
