//! An id of another project is an unknown id.

use onerun_domain::{
    Agent, Conversation, Direction, EndReason, Job, Outcome, Refusal, SimulationStatus, Work,
};

use super::fixture::{Fixture, Scene, Settled, TestProject, all};
use crate::{ListConversations, ListSimulations, SimulationOrder, SortBy};

/// A project with a resource of every kind, and another project.
async fn two_projects(fixture: &Fixture) -> (Scene, TestProject) {
    let scene = fixture.scene(3).await;
    let (id, token) = (scene.id(0), scene.token());
    scene.claim(&id, &token).await.unwrap();
    scene.complete(&id, &token, Some("one"), Some(EndReason::PersonaDecided)).await.unwrap();
    let completed = onerun_domain::EvaluationStatus::Completed;
    scene.conclude(&id, completed, &[Outcome::Passed, Outcome::Failed]).await.unwrap();
    let other = fixture.new_project().await;
    (scene, other)
}

/// Everything that a caller of the first project can read.
async fn seen(scene: &Scene) -> String {
    let store = scene.store();
    let simulation = &scene.simulation.id;
    let list = ListConversations { status: None, outcome: None, page: all() };
    format!(
        "{:#?}",
        (
            (store.project().await.unwrap(), store.agent(&scene.agent.id).await.unwrap()),
            store.objectives(SortBy::CreatedAt(Direction::Ascending), all()).await.unwrap(),
            store.simulation(simulation).await.unwrap(),
            store.counts(simulation).await.unwrap(),
            store.personas(simulation, all()).await.unwrap(),
            store.conversations(simulation, list).await.unwrap(),
            scene.items(&scene.id(0), 1).await,
            scene.turn(&scene.id(0), "one").await,
        )
    )
}

/// Reads by an id of another project return the same as reads by an unknown id.
pub async fn other_projects_cannot_be_read(fixture: &Fixture) {
    let (scene, other) = two_projects(fixture).await;
    let store = &other.store;
    let (simulation, conversation) = (&scene.simulation.id, &scene.id(0));
    assert_eq!(store.agent(&scene.agent.id).await.unwrap(), None);
    assert_eq!(store.objective(&scene.objectives[0].id).await.unwrap(), None);
    assert_eq!(store.simulation(simulation).await.unwrap(), None);
    assert_eq!(store.counts(simulation).await.unwrap(), None);
    assert_eq!(store.persona(simulation, &scene.persona.id).await.unwrap(), None);
    assert_eq!(store.persona_seqs(simulation, 1, 10).await.unwrap(), Vec::<u32>::new());
    assert_eq!(store.personas(simulation, all()).await.unwrap().data, []);
    assert_eq!(store.conversation(simulation, conversation).await.unwrap(), None);
    let list = ListConversations { status: None, outcome: None, page: all() };
    assert_eq!(store.conversations(simulation, list).await.unwrap().data, []);
    assert_eq!(store.unsettled_conversations(simulation, 10).await.unwrap(), Vec::new());
    assert_eq!(store.turn(simulation, conversation, "one").await.unwrap(), None);
    assert_eq!(store.items(simulation, conversation, 1, all()).await.unwrap().data, []);
}

/// Lists contain only the project's own rows.
pub async fn other_projects_are_not_listed(fixture: &Fixture) {
    let (scene, other) = two_projects(fixture).await;
    assert_eq!(other.agent_list(None, SortBy::Name(Direction::Ascending)).await, []);
    let sort = SortBy::CreatedAt(Direction::Descending);
    assert_eq!(other.store.objectives(sort, all()).await.unwrap().data, []);
    let own = other.scene(1).await;
    for order in [
        SimulationOrder::CreatedAt(Direction::Descending),
        SimulationOrder::Name(Direction::Ascending),
        SimulationOrder::Status(Direction::Ascending),
        SimulationOrder::LongestWaiting,
    ] {
        let all = other.simulation_list(order, |list| list).await;
        assert_eq!(all, std::slice::from_ref(&own.simulation));
        let agent_id = Some(scene.agent.id.clone());
        let foreign = other.simulation_list(order, |list| ListSimulations { agent_id, ..list }).await;
        assert_eq!(foreign, []);
        let status = Some(SimulationStatus::InProgress);
        let running = other.simulation_list(order, |list| ListSimulations { status, ..list }).await;
        assert_eq!(running, std::slice::from_ref(&own.simulation));
    }
}

/// For another project's rows, no decision is called and nothing changes.
pub async fn other_projects_cannot_be_changed(fixture: &Fixture) {
    let (scene, other) = two_projects(fixture).await;
    let before = seen(&scene).await;
    let store = &other.store;
    let (simulation, conversation) = (&scene.simulation.id, &scene.id(1));
    assert_eq!(store.change_agent(&scene.agent.id, Box::new(Ok)).await.unwrap(), None);
    let id = &scene.objectives[0].id;
    assert_eq!(store.change_objective(id, Box::new(Ok)).await.unwrap(), None);
    let refuse = Box::new(|_| Err(Refusal::LeaseHeld));
    assert_eq!(store.change_simulation(simulation, refuse).await.unwrap(), None);
    let refuse = Box::new(|_| Err(Refusal::LeaseHeld));
    assert_eq!(store.change_persona(simulation, &scene.persona.id, refuse).await.unwrap(), None);
    let refuse = Box::new(|_| Err(Refusal::LeaseHeld));
    assert_eq!(store.change_conversation(simulation, conversation, refuse).await.unwrap(), None);
    assert_eq!(seen(&scene).await, before);
}

/// A row added under a simulation of another project does not exist, whatever the reply, and
/// enqueues no job.
pub async fn other_projects_cannot_be_added_to(fixture: &Fixture) {
    let (scene, other) = two_projects(fixture).await;
    fixture.take_jobs().await;
    let before = seen(&scene).await;
    let persona = scene.project.persona(&scene.simulation, 2);
    let work = Work::StopConversations { simulation: scene.simulation.id.clone() };
    let job = Job::new(other.id.clone(), work);
    let added = other.store.add_persona(persona, vec![job]).await;
    assert!(!matches!(added, Ok(true)), "{added:?}");
    let queued = scene.conversation(4);
    drop(other.store.add_conversations(&scene.simulation.id, vec![queued.clone()]).await);
    assert_eq!(seen(&scene).await, before);
    let stored = other.store.conversation(&scene.simulation.id, &queued.id).await.unwrap();
    assert_eq!(stored, None);
    assert_eq!(fixture.take_jobs().await, []);
    // The numbers are still free.
    assert!(
        scene.store().add_persona(scene.project.persona(&scene.simulation, 2), Vec::new()).await.unwrap()
    );
    scene.add(std::slice::from_ref(&queued)).await.unwrap();
    assert_eq!(scene.stored(&queued.id).await, queued);
}

/// A simulation that names another project's agent or objectives shows neither, and is not counted
/// for them.
pub async fn simulation_shows_no_resource_of_another_project(fixture: &Fixture) {
    let (scene, other) = two_projects(fixture).await;
    fixture.take_jobs().await;
    let own = other.add_agent(Agent { name: super::fixture::name("Own"), ..other.agent() }).await;
    let before = seen(&scene).await;
    let of_foreign_agent = other.simulation(&scene.agent);
    let about_foreign_objectives = other.simulation(&own);
    for (simulation, pinned) in
        [(of_foreign_agent, Vec::new()), (about_foreign_objectives, vec![scene.objectives[0].reference()])]
    {
        let id = simulation.id.clone();
        let work = Work::StartSimulation { simulation: id.clone() };
        let jobs = vec![Job::new(other.id.clone(), work)];
        if other.store.insert_simulation(simulation, pinned, Vec::new(), jobs, None).await.is_err() {
            assert_eq!(other.store.simulation(&id).await.unwrap(), None, "it is half there");
            assert_eq!(fixture.take_jobs().await, []);
        }
        if let Ok(Some(detail)) = other.store.simulation(&id).await {
            assert_ne!(detail.agent, scene.agent);
            assert_eq!(detail.objectives, []);
        }
    }
    assert_eq!(seen(&scene).await, before);
}

/// A conversation that names another project's persona does not show it.
pub async fn conversation_shows_no_persona_of_another_project(fixture: &Fixture) {
    let (scene, other) = two_projects(fixture).await;
    let own = other.scene(0).await;
    let before = seen(&scene).await;
    let queued = Conversation { persona_id: scene.persona.id.clone(), ..own.conversation(1) };
    let fine = own.conversation(2);
    if own.add(&[fine.clone(), queued.clone()]).await.is_err() {
        let found = own.store().conversation(&own.simulation.id, &fine.id).await.unwrap();
        assert_eq!(found, None, "what was added with it is there");
    }
    if let Ok(Some(read)) = own.store().conversation(&own.simulation.id, &queued.id).await {
        assert_ne!(read.persona, scene.persona);
    }
    let list = ListConversations { status: None, outcome: None, page: all() };
    if let Ok(listed) = own.store().conversations(&own.simulation.id, list).await {
        assert!(listed.data.iter().all(|read| read.persona != scene.persona));
    }
    assert_eq!(seen(&scene).await, before);
}

/// Personas and conversations are found under their own simulation and under no other simulation of
/// the project.
pub async fn conversation_is_found_under_its_own_simulation(fixture: &Fixture) {
    let (scene, _) = two_projects(fixture).await;
    let sibling = scene.project.scene(1).await;
    let before = seen(&scene).await;
    let (store, simulation, conversation) = (sibling.store(), &sibling.simulation.id, &scene.id(0));
    assert_eq!(store.persona(simulation, &scene.persona.id).await.unwrap(), None);
    let refuse = Box::new(|_| Err(Refusal::LeaseHeld));
    assert_eq!(store.change_persona(simulation, &scene.persona.id, refuse).await.unwrap(), None);
    assert_eq!(store.conversation(simulation, conversation).await.unwrap(), None);
    let refuse = Box::new(|_| Err(Refusal::LeaseHeld));
    assert_eq!(store.change_conversation(simulation, conversation, refuse).await.unwrap(), None);
    assert_eq!(store.turn(simulation, conversation, "one").await.unwrap(), None);
    assert_eq!(store.items(simulation, conversation, 1, all()).await.unwrap().data, []);
    assert_eq!(store.persona_seqs(simulation, 1, 10).await.unwrap(), [1]);
    let list = ListConversations { status: None, outcome: None, page: all() };
    let listed = store.conversations(simulation, list).await.unwrap();
    let ids: Vec<_> = listed.data.into_iter().map(|read| read.conversation.id).collect();
    assert_eq!(ids, [sibling.id(0)]);
    assert_eq!(store.unsettled_conversations(simulation, 10).await.unwrap(), [sibling.id(0)]);
    assert_eq!(seen(&scene).await, before);
}

/// Changes in one project are counted only there, even if numbers and keys are equal in another.
pub async fn projects_with_equal_ids_are_isolated(fixture: &Fixture) {
    let (one, other) = (fixture.scene(2).await, fixture.scene(2).await);
    let untouched = seen(&other).await;
    one.settle(&one.id(0), Settled::Evaluated(vec![Outcome::Passed])).await.unwrap();
    one.settle(&one.id(1), Settled::Failed).await.unwrap();
    one.cancel().await.unwrap();
    assert_eq!(seen(&other).await, untouched);
    let token = other.token();
    other.claim(&other.id(0), &token).await.unwrap();
    other.complete(&other.id(0), &token, Some("one"), None).await.unwrap();
    assert_eq!(one.turn(&one.id(0), "one").await, None);
    assert_eq!(other.stored_simulation().await.status, SimulationStatus::InProgress);
}
