//! The deletion of simulations.

use std::{slice::from_ref, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    Conversation, Direction, Job, Limit, Outcome, PageRequest, PersonaDraft, Purpose, Refusal, Simulation,
    SimulationId, SimulationStatus, Start, Work,
};

use super::{
    evaluation_runs::result,
    fixture::{
        Fixture, ROUNDS, Scene, Task, TestProject, all, all_simulations, assert_duplicate, at_once,
        attributes, both, refusal,
    },
    idempotency::{found, record},
    imports::conversation,
    usage::{key, usage},
};
use crate::{
    ConversationChange, ConversationView, ListConversations, ListSimulations, SimulationOrder, Store,
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

const NEWEST_FIRST: SimulationOrder = SimulationOrder::CreatedAt(Direction::Descending);

impl TestProject {
    async fn delete(&self, id: &SimulationId) -> bool {
        self.store.delete_simulation(id, self.now(), Box::new(|_| Ok(()))).await.unwrap()
    }

    async fn purge(&self, id: &SimulationId, limit: u32) -> bool {
        self.store.purge_simulation(id, limit).await.unwrap()
    }

    /// Purges in steps of `limit` rows. Returns how many steps left something.
    async fn purge_all(&self, id: &SimulationId, limit: u32) -> u32 {
        let mut steps = 0;
        while self.purge(id, limit).await {
            steps += 1;
            assert!(steps < 10_000, "a purge without an end");
        }
        steps
    }

    async fn simulation_ids(&self) -> Vec<SimulationId> {
        let list = self.store.simulations(all_simulations(NEWEST_FIRST)).await.unwrap();
        list.data.into_iter().map(|one| one.simulation.id).collect()
    }
}

impl Fixture {
    async fn deleted(&self, limit: u32, deleted_by: Timestamp) -> Vec<SimulationId> {
        let found = self.store.deleted_simulations(limit, deleted_by).await.unwrap();
        found.into_iter().map(|(_, simulation)| simulation).collect()
    }
}

impl Scene {
    async fn delete(&self) -> bool {
        self.project.delete(&self.simulation.id).await
    }

    async fn total_simulations(&self) -> u64 {
        self.store().agent(&self.agent.id).await.unwrap().unwrap().total_simulations
    }
}

/// A canceled simulation with a row of each kind below it. Three of its conversations were held, one is queued, and one
/// has a claimed turn.
async fn full(project: &TestProject) -> Scene {
    let scene = project.scene(5).await;
    for index in 0..3 {
        scene.hold_twice(index).await;
    }
    let id = &scene.simulation.id;
    assert!(scene.store().add_persona(project.persona(&scene.simulation, 2), Vec::new()).await.unwrap());
    let run = scene.add_run().await;
    for index in 0..2 {
        assert!(scene.add_result(&run.id, result(&scene.id(index), Some(Outcome::Passed))).await);
        let labels = scene.labels(&scene.id(index), Outcome::Failed, None);
        assert!(scene.store().put_labels(id, labels).await.unwrap());
    }
    scene.store().add_usage(key(id, "2031-03-14", Purpose::Reply), usage(2)).await.unwrap();
    let job = Job::new(project.id.clone(), Work::FinishSimulation { simulation: id.clone() });
    let store = &project.fixture.store;
    store.enqueue(vec![job.clone()]).await.unwrap();
    project.fixture.claim_jobs(1_000, project.now()).await;
    store.bury_job(&job.id, "broken", project.now()).await.unwrap();
    scene.start(&scene.id(4)).await.unwrap();
    scene.claim(&scene.id(4), &scene.token()).await.unwrap();
    scene.cancel().await.unwrap();
    scene
}

/// Adds a simulation by a request under an `Idempotency-Key`, with a persona that its caller wrote, and cancels it.
async fn requested(project: &TestProject, text: &str) -> Simulation {
    let agent = project.add_agent(project.agent()).await;
    let simulation = Simulation { status: SimulationStatus::Canceled, ..project.simulation(&agent) };
    let draft = PersonaDraft {
        summary: "Ann".into(),
        story: String::new(),
        purpose: "Asks.".into(),
        attributes: attributes(),
    };
    let record = record(text, &format!(r#"{{"id":"{}"}}"#, simulation.id), project.now());
    let added = project.store.insert_simulation(
        simulation.clone(),
        Vec::new(),
        vec![draft],
        Vec::new(),
        Some(record),
    );
    added.await.unwrap();
    simulation
}

/// Adds a simulation by a request under an `Idempotency-Key`, with a conversation that waits for its import.
async fn imported(project: &TestProject, text: &str) -> Simulation {
    let mut new = project.new_import(vec![conversation(text, 2)]).await;
    new.simulation.status = SimulationStatus::Canceled;
    let simulation = new.simulation.clone();
    new.record = Some(record(text, &format!(r#"{{"id":"{}"}}"#, simulation.id), project.now()));
    project.store.insert_import(new).await.unwrap();
    simulation
}

/// A deleted simulation, its conversations and its turns are found by nothing. What the project has of it stays.
pub async fn deleted_simulation_is_gone_at_once(fixture: &Fixture) {
    let scene = full(&fixture.new_project().await).await;
    let (project, id) = (&scene.project, &scene.simulation.id);
    let other = project.add_simulation(project.simulation(&scene.agent)).await;
    assert_eq!(scene.total_simulations().await, 2);
    assert!(scene.delete().await);
    assert!(!scene.delete().await, "it is deleted once");
    let store = scene.store();
    assert_eq!(store.simulation(id).await.unwrap(), None);
    assert_eq!(store.counts(id).await.unwrap(), None);
    assert_eq!(project.simulation_ids().await, [other.id]);
    assert_eq!(scene.total_simulations().await, 1);
    let change = Box::new(|_| panic!("a deleted simulation is changed"));
    assert_eq!(store.change_simulation(id, change).await.unwrap(), None);
    for index in 0..5 {
        let conversation = scene.id(index);
        assert_eq!(store.conversation(id, &conversation).await.unwrap(), None);
        let now = scene.now();
        let change = move |view: ConversationView| {
            Ok(ConversationChange::to(Conversation { updated_at: now, ..view.conversation }))
        };
        let changed = store.change_conversation(id, &conversation, Box::new(change)).await;
        assert_eq!(changed.unwrap(), None);
    }
    assert_eq!(store.unsettled_conversations(id, 10).await.unwrap(), []);
    let added = store.add_persona(project.persona(&scene.simulation, 3), Vec::new()).await;
    assert!(!added.unwrap());
    assert_eq!(store.queued_conversations(from_ref(&scene.agent.id), 10).await.unwrap(), []);
    let later = fixture.pass(DAY * 2);
    let overdue = fixture.store.overdue(10, later).await.unwrap();
    assert_eq!(overdue.conversations, []);
    assert_eq!(fixture.store.simulations_with_old_transcripts(10, later).await.unwrap(), []);
    let day = "2031-03-14".parse().unwrap();
    let of_project = store.usage(day, day).await.unwrap();
    assert_eq!(of_project.len(), 1);
    project.purge_all(id, 1_000).await;
    assert_eq!(store.usage(day, day).await.unwrap(), of_project);
}

/// A refused deletion writes nothing.
pub async fn refused_deletion_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let before = scene.store().simulation(&scene.simulation.id).await.unwrap();
    let refuse = |simulation: Simulation| Err(Refusal::SimulationNotEnded { status: simulation.status });
    let deleted = scene.store().delete_simulation(&scene.simulation.id, scene.now(), Box::new(refuse)).await;
    assert_eq!(refusal(deleted), Refusal::SimulationNotEnded { status: SimulationStatus::InProgress });
    assert_eq!(scene.store().simulation(&scene.simulation.id).await.unwrap(), before);
    assert_eq!(fixture.deleted(10, fixture.pass(DAY)).await, []);
    scene.hold(&scene.id(0)).await;
}

/// Another project's store deletes and purges nothing, and a simulation that is not deleted is not purged.
pub async fn simulation_is_deleted_by_its_own_project_alone(fixture: &Fixture) {
    let scene = full(&fixture.new_project().await).await;
    let other = fixture.new_project().await;
    let id = &scene.simulation.id;
    let before = scene.read(&scene.id(0)).await;
    assert!(!other.delete(id).await);
    assert!(!other.purge(id, 1_000).await && !scene.project.purge(id, 1_000).await);
    assert_eq!(scene.read(&scene.id(0)).await, before);
    assert_eq!(scene.items(&scene.id(0), 2).await.len(), 2);
    assert!(scene.delete().await);
    assert!(!other.purge(id, 1_000).await);
    assert_eq!(fixture.deleted(10, fixture.now()).await, from_ref(id));
}

/// Deleted simulations are found until they are purged, the longest deleted first, up to the limit.
pub async fn deleted_simulations_are_found_until_purged(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let before = fixture.now();
    let mut deleted = Vec::new();
    for text in ["a", "b", "c"] {
        let simulation = requested(&project, text).await;
        assert!(project.delete(&simulation.id).await);
        deleted.push((simulation.id, fixture.now()));
    }
    let ids: Vec<_> = deleted.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(fixture.deleted(10, before).await, []);
    assert_eq!(fixture.deleted(10, deleted[1].1).await, ids[..2]);
    assert_eq!(fixture.deleted(1, deleted[2].1).await, ids[..1]);
    project.purge_all(&ids[0], 1_000).await;
    assert_eq!(fixture.deleted(10, deleted[2].1).await, ids[1..]);
}

/// A purge removes a bounded number of rows in a step and continues where it was, whatever the limit. The same id can
/// then be added again, and has nothing below it. Another simulation keeps everything.
pub async fn purge_removes_everything_in_bounded_steps(fixture: &Fixture) {
    for (limit, least) in [(1, 30), (7, 4), (1_000, 0)] {
        let project = fixture.new_project().await;
        let (scene, other) = (full(&project).await, full(&project).await);
        let id = &scene.simulation.id;
        let kept = other.read(&other.id(1)).await;
        assert!(scene.delete().await);
        let again = Simulation { status: SimulationStatus::Canceled, ..scene.simulation.clone() };
        let insert =
            || project.store.insert_simulation(again.clone(), Vec::new(), Vec::new(), Vec::new(), None);
        assert_duplicate(&insert().await);
        let steps = project.purge_all(id, limit).await;
        assert!(steps >= least, "{steps} steps of {limit} rows");
        assert!(!project.purge(id, limit).await, "a purged simulation is not purged again");
        insert().await.unwrap();
        let store = scene.store();
        for index in 0..5 {
            assert_eq!(store.conversation(id, &scene.id(index)).await.unwrap(), None);
            assert_eq!(scene.items(&scene.id(index), 1).await, []);
            assert_eq!(store.conversation_labels(id, &scene.id(index)).await.unwrap(), None);
        }
        let list = ListConversations { status: None, outcome: None, page: all() };
        assert_eq!(scene.list(list).await.data, []);
        assert_eq!(store.personas(id, all()).await.unwrap().data, []);
        assert_eq!(store.persona_seqs(id, 1, 10).await.unwrap(), [] as [u32; 0]);
        assert_eq!(store.evaluation_runs(id, all()).await.unwrap().data, []);
        assert_eq!(store.labels(id, None, 10).await.unwrap(), []);
        assert_eq!(other.read(&other.id(1)).await, kept);
        assert_eq!(other.items(&other.id(1), 2).await.len(), 2);
        assert!(other.turn(&other.id(1), "two").await.is_some());
    }
}

/// The idempotency record of the request that created a simulation is purged with it, and no other one.
pub async fn idempotency_record_of_a_simulation_is_purged(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (first, second) = (requested(&project, "first").await, requested(&project, "second").await);
    assert!(project.delete(&first.id).await);
    assert!(found(fixture, "first", fixture.now()).await.is_some(), "it is kept until the purge");
    project.purge_all(&first.id, 1_000).await;
    assert_eq!(found(fixture, "first", fixture.now()).await, None);
    assert!(found(fixture, "second", fixture.now()).await.is_some());
    // The key was used again after its record had expired.
    let later = fixture.pass(DAY * 2);
    let reused = record("second", r#"{"id":"another"}"#, later);
    project.store.insert_agent(project.agent(), Some(reused.clone())).await.unwrap();
    assert!(project.delete(&second.id).await);
    project.purge_all(&second.id, 1_000).await;
    assert_eq!(found(fixture, "second", fixture.now()).await, Some(reused));
}

/// Of concurrent deletions one deletes.
pub async fn simulation_is_deleted_by_one_of_many(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for round in 0..ROUNDS {
        let simulation = requested(&project, &round.to_string()).await;
        let tasks = (0..3).map(|_| {
            let (project, id) = (project.clone(), simulation.id.clone());
            Box::pin(async move { project.delete(&id).await }) as Task<bool>
        });
        let deleted = at_once(tasks.collect()).await;
        assert_eq!(deleted.iter().filter(|deleted| **deleted).count(), 1, "{deleted:?}");
    }
    assert_eq!(project.simulation_ids().await, []);
}

/// A turn that is completed while its simulation is deleted leaves nothing that the purge does not remove.
pub async fn turn_is_completed_before_the_deletion_or_not(fixture: &Fixture) {
    for _ in 0..ROUNDS {
        let scene = fixture.scene(1).await;
        let (id, token) = (scene.id(0), scene.token());
        scene.start(&id).await.unwrap();
        scene.claim(&id, &token).await.unwrap();
        let (project, simulation) = (scene.project.clone(), scene.simulation.id.clone());
        let (worker, conversation) = (scene.clone(), id.clone());
        let (deleted, _) = both(async move { project.delete(&simulation).await }, async move {
            worker.try_complete(&conversation, &token, Some("one"), None).await.unwrap()
        })
        .await;
        assert!(deleted);
        let store = scene.store();
        assert_eq!(store.conversation(&scene.simulation.id, &id).await.unwrap(), None);
        scene.project.purge_all(&scene.simulation.id, 1_000).await;
        assert_eq!(fixture.deleted(10, fixture.now()).await, []);
    }
}

/// A list that is read while simulations are deleted shows each other one once.
pub async fn list_leaves_out_what_is_deleted_meanwhile(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.insert(0, requested(&project, &number.to_string()).await.id);
    }
    let mut seen = Vec::new();
    let mut page = PageRequest::first(Limit::clamped(2));
    for deleted in [3, 0, 5] {
        let list = ListSimulations { page: page.clone(), ..all_simulations(NEWEST_FIRST) };
        let found = project.store.simulations(list).await.unwrap();
        seen.extend(found.data.into_iter().map(|one| one.simulation.id));
        assert!(project.delete(&ids[deleted]).await);
        let Some(next) = found.next else { break };
        page.start = Start::After(next);
    }
    let kept = |place: usize| ids[place].clone();
    assert_eq!(seen, [kept(0), kept(1), kept(2), kept(4), kept(5)]);
}

impl Fixture {
    /// Fails unless a purge removes every row that names a simulation. `naming` counts the rows of the backend that
    /// name a text, but for the usage of a project.
    pub async fn purge_leaves_nothing(store: Arc<dyn Store>, naming: impl AsyncFn(&str) -> usize) {
        let project = Self::new(store).new_project().await;
        let other = full(&project).await;
        let kept = naming(other.simulation.id.as_str()).await;
        for limit in [1, 7, 1_000] {
            let scene = full(&project).await;
            let requested = requested(&project, &limit.to_string()).await;
            let imported = imported(&project, &format!("import {limit}")).await;
            let simulations = [scene.simulation.id.clone(), requested.id, imported.id];
            for id in &simulations {
                assert!(naming(id.as_str()).await > 2);
                assert!(project.delete(id).await);
                project.purge_all(id, limit).await;
                assert_eq!(naming(id.as_str()).await, 0, "rows of {id} are left");
            }
            for conversation in &scene.conversations {
                assert_eq!(naming(conversation.id.as_str()).await, 0, "rows of a conversation are left");
            }
            assert_eq!(naming(scene.persona.id.as_str()).await, 0, "rows of a persona are left");
        }
        assert_eq!(naming(other.simulation.id.as_str()).await, kept, "another simulation lost rows");
    }
}
