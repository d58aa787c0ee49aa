//! Queued conversations of several simulations, in the order in which workers start them.

use std::{collections::BTreeSet, sync::Arc};

use onerun_domain::{AgentId, ConversationId, Simulation};

use super::fixture::{Fixture, Scene, TestProject, at_once, target};
use crate::{QueuedConversation, SimulationChange};

impl TestProject {
    async fn queue(&self, agents: &[&AgentId], limit: u32) -> Vec<QueuedConversation> {
        let agents: Vec<_> = agents.iter().map(|id| (*id).clone()).collect();
        self.store.queued_conversations(&agents, limit).await.unwrap()
    }
}

impl Scene {
    fn queued(&self, index: usize) -> QueuedConversation {
        QueuedConversation { simulation: self.simulation.id.clone(), id: self.id(index) }
    }
}

/// Each simulation gives its longest waiting conversation, before one gives two. The limit cuts the end off.
pub async fn queued_conversations_of_simulations_take_turns(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (first, second, third) = (project.scene(3).await, project.scene(1).await, project.scene(2).await);
    let agents = [&first.agent.id, &second.agent.id, &third.agent.id];
    let expected = [
        first.queued(0),
        second.queued(0),
        third.queued(0),
        first.queued(1),
        third.queued(1),
        first.queued(2),
    ];
    for limit in [1, 2, 4, 6, 50] {
        let queue = project.queue(&agents, limit).await;
        assert_eq!(queue, expected[..expected.len().min(limit as usize)], "up to {limit}");
    }
    // A served simulation comes later, and what is queued again comes last.
    first.start(&first.id(0)).await.unwrap();
    first.lose_lease(&first.id(0)).await.unwrap();
    let queue = project.queue(&agents, 50).await;
    let expected = [
        second.queued(0),
        third.queued(0),
        first.queued(1),
        third.queued(1),
        first.queued(2),
        first.queued(0),
    ];
    assert_eq!(queue, expected);
}

/// Other agents, simulations that do not run, and conversations that are not queued are left out.
pub async fn queue_has_only_running_simulations_of_its_agents(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (mine, other, canceled) = (project.scene(2).await, project.scene(1).await, project.scene(1).await);
    let idle = project.scene(0).await;
    mine.start(&mine.id(0)).await.unwrap();
    canceled.cancel().await.unwrap();
    let agents = [&mine.agent.id, &canceled.agent.id, &idle.agent.id];
    assert_eq!(project.queue(&agents, 50).await, [mine.queued(1)]);
    assert_eq!(project.queue(&[&other.agent.id, &other.agent.id], 50).await, [other.queued(0)]);
    assert_eq!(project.queue(&[], 50).await, []);
    assert_eq!(project.queue(&agents, 0).await, []);
    assert_eq!(fixture.new_project().await.queue(&agents, 50).await, []);
    // A second simulation of the same agent.
    let simulation = Simulation { target_conversations: target(1), ..project.simulation(&mine.agent) };
    let simulation = project.add_simulation(simulation).await;
    let now = project.now();
    let mut second = Scene { simulation, ..mine.clone() };
    second
        .change_simulation(move |view| Ok(SimulationChange::to(view.simulation.start(now)?, Vec::new())))
        .await
        .unwrap();
    let persona = project.persona(&second.simulation, 1).approve(now).unwrap();
    assert!(project.store.add_persona(persona.clone(), Vec::new()).await.unwrap());
    second.persona = persona;
    second.conversations = vec![second.conversation(1)];
    second.add(&second.conversations).await.unwrap();
    let queue = project.queue(&[&mine.agent.id], 50).await;
    assert_eq!(queue.len(), 2);
    assert!(queue.contains(&second.queued(0)) && queue.contains(&mine.queued(1)));
}

/// Many workers that start what the queue gives start each conversation once.
pub async fn queue_is_shared_by_many_workers(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let scenes = [project.scene(6).await, project.scene(6).await];
    let agents: Vec<AgentId> = scenes.iter().map(|scene| scene.agent.id.clone()).collect();
    let scenes = Arc::new(scenes);
    let workers = (0..6).map(|_| {
        let (project, agents, scenes) = (project.clone(), agents.clone(), Arc::clone(&scenes));
        Box::pin(async move {
            let mut started: Vec<ConversationId> = Vec::new();
            loop {
                let queue = project.store.queued_conversations(&agents, 3).await.unwrap();
                if queue.is_empty() {
                    return started;
                }
                for QueuedConversation { simulation, id } in queue {
                    let scene = scenes.iter().find(|scene| scene.simulation.id == simulation).unwrap();
                    if scene.start(&id).await.is_ok() {
                        started.push(id);
                    }
                }
            }
        }) as _
    });
    let started: Vec<ConversationId> = at_once(workers.collect()).await.concat();
    assert_eq!(started.len(), 12);
    assert_eq!(started.iter().collect::<BTreeSet<_>>().len(), 12);
}
