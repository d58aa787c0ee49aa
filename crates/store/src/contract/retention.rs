//! Retention: the deletion of transcripts.

use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    DELETED_REASON, EndReason, EvaluationStatus, Outcome, ProjectId, Simulation, SimulationId,
    SimulationStatus,
};

use super::fixture::{Fixture, Scene};
use crate::SimulationChange;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Fixture {
    async fn with_old_transcripts(&self, limit: u32, ended_by: Timestamp) -> Vec<(ProjectId, SimulationId)> {
        self.store.simulations_with_old_transcripts(limit, ended_by).await.unwrap()
    }
}

impl Scene {
    /// Ends the simulation, and marks its transcripts as deleted.
    pub(super) async fn retire(&self) {
        self.cancel().await.unwrap();
        let now = self.now();
        let mark = move |view: crate::SimulationView| {
            Ok(SimulationChange::to(view.simulation.delete_transcripts(now, now)?, Vec::new()))
        };
        self.change_simulation(mark).await.unwrap();
    }

    /// Holds an evaluated conversation with a transcript in two attempts and a stored reply in each.
    pub(super) async fn hold_twice(&self, index: usize) {
        let id = self.id(index);
        for (key, end) in [("one", None), ("two", Some(EndReason::PersonaDecided))] {
            self.start(&id).await.unwrap();
            let token = self.token();
            self.claim(&id, &token).await.unwrap();
            self.complete(&id, &token, Some(key), end).await.unwrap();
            if end.is_none() {
                self.lose_lease(&id).await.unwrap();
            }
        }
        self.conclude(&id, EvaluationStatus::Completed, &[Outcome::Passed]).await.unwrap();
    }
}

/// A simulation is found from the time of its end until its transcripts are marked as deleted, the
/// longest ended first, up to the limit.
pub async fn ended_simulations_are_found_by_their_end(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let now = fixture.now();
    let mut ended = Vec::new();
    for (status, seconds) in SimulationStatus::ALL.into_iter().zip([9, 8, 3, 1, 4, 2]) {
        let agent = project.add_agent(project.agent()).await;
        let updated_at = now + SECOND * seconds;
        let simulation = Simulation { status, updated_at, ..project.simulation(&agent) };
        let simulation = project.add_simulation(simulation).await;
        if status.is_final() {
            ended.push((seconds, project.id.clone(), simulation.id));
        }
    }
    ended.sort();
    let ended: Vec<_> = ended.into_iter().map(|(_, project, simulation)| (project, simulation)).collect();
    assert_eq!(fixture.with_old_transcripts(10, now).await, []);
    assert_eq!(fixture.with_old_transcripts(10, now + SECOND * 3).await, ended[..3]);
    assert_eq!(fixture.with_old_transcripts(2, now + SECOND * 9).await, ended[..2]);
    let mark = Box::new(move |view: crate::SimulationView| {
        Ok(SimulationChange::to(view.simulation.delete_transcripts(now + SECOND * 9, now)?, Vec::new()))
    });
    let changed = project.store.change_simulation(&ended[0].1, mark).await.unwrap().unwrap();
    assert_eq!(changed.transcripts_deleted_at, Some(now));
    let read = project.store.simulation(&ended[0].1).await.unwrap().unwrap();
    assert_eq!(read.simulation, changed);
    assert_eq!(fixture.with_old_transcripts(10, now + SECOND * 9).await, ended[1..]);
}

/// Messages and replies of all attempts are deleted in bounded steps. Evaluations and counts stay, without
/// words.
pub async fn transcript_is_deleted_in_bounded_steps(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    scene.hold_twice(0).await;
    scene.hold_twice(1).await;
    scene.retire().await;
    let (id, other) = (scene.id(0), scene.id(1));
    let (before, intact) = (scene.read(&id).await, scene.read(&other).await);
    let counts = scene.store().counts(&scene.simulation.id).await.unwrap();
    let delete = async || scene.store().delete_transcript(&scene.simulation.id, &id, 1).await.unwrap();
    // Two messages in each of two attempts.
    for left in (0..4).rev() {
        assert!(delete().await, "a step that deleted its limit knows no end");
        assert_eq!(scene.items(&id, 1).await.len() + scene.items(&id, 2).await.len(), left);
    }
    for _ in 0..2 {
        assert!(!delete().await);
    }
    for key in ["one", "two"] {
        assert_eq!(scene.turn(&id, key).await, None);
        assert!(scene.turn(&other, key).await.is_some());
    }
    let read = scene.read(&id).await;
    assert_eq!((&read.conversation, &read.persona), (&before.conversation, &before.persona));
    assert_eq!(read.evaluations.len(), 1);
    for ((now, objective), (before, same)) in read.evaluations.into_iter().zip(before.evaluations) {
        assert_eq!((now.reason.as_str(), now.quotes.len()), (DELETED_REASON, 0));
        assert_eq!((now, objective), (before.without_transcript(), same));
    }
    assert_eq!(scene.store().counts(&scene.simulation.id).await.unwrap(), counts);
    assert_eq!(scene.read(&other).await, intact);
    assert_eq!(scene.items(&other, 1).await.len() + scene.items(&other, 2).await.len(), 4);
}

/// Another project's store, or another simulation's id, deletes nothing.
pub async fn transcript_is_deleted_under_its_own_simulation_alone(fixture: &Fixture) {
    let (scene, other) = (fixture.scene(1).await, fixture.scene(1).await);
    scene.hold_twice(0).await;
    let before = scene.read(&scene.id(0)).await;
    for (store, simulation) in [
        (other.store(), &scene.simulation.id),
        (other.store(), &other.simulation.id),
        (scene.store(), &other.simulation.id),
    ] {
        assert!(!store.delete_transcript(simulation, &scene.id(0), 10).await.unwrap());
    }
    assert_eq!(scene.read(&scene.id(0)).await, before);
    assert_eq!(scene.items(&scene.id(0), 2).await.len(), 2);
    assert!(scene.turn(&scene.id(0), "two").await.is_some());
}
