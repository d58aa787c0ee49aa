//! Settling: the counts of settled conversations, and the job that finishes the simulation.

use onerun_domain::{
    Conversation, ConversationStatus, Job, Outcome, Progress, Refusal, SimulationStatus, Work,
};

use super::fixture::{Fixture, ROUNDS, Scene, Settled, Task, at_once, both, refusal};
use crate::{ChangeError, ConversationChange, SimulationChange};

impl Scene {
    fn finish_job(&self) -> Job {
        let work = Work::FinishSimulation { simulation: self.simulation.id.clone() };
        Job::new(self.project.id.clone(), work)
    }
}

/// Each end is counted by its kind, and conversations that have not ended are not counted.
pub async fn each_end_is_counted_by_its_kind(fixture: &Fixture) {
    let scene = fixture.scene(6).await;
    let counts = |settled, conversations_failed, evaluations_failed| Progress {
        settled,
        conversations_failed,
        evaluations_failed,
    };
    assert_eq!(scene.progress().await, counts(0, 0, 0));
    for (index, end, expected) in [
        (0, Settled::Evaluated(vec![Outcome::Failed, Outcome::Inconclusive]), counts(1, 0, 0)),
        (1, Settled::NotApplicable, counts(2, 0, 0)),
        (2, Settled::EvaluationFailed, counts(3, 0, 1)),
        (3, Settled::Failed, counts(4, 1, 1)),
        (4, Settled::Failed, counts(5, 2, 1)),
    ] {
        let settled = scene.settle(&scene.id(index), end).await.unwrap();
        assert!(settled.is_settled());
        assert_eq!(scene.stored(&scene.id(index)).await, settled);
        assert_eq!(scene.progress().await, expected);
        let counts = scene.store().counts(&scene.simulation.id).await.unwrap().unwrap();
        assert_eq!(counts.progress, expected);
    }
    let id = scene.id(5);
    for _ in 0..2 {
        scene.start(&id).await.unwrap();
        scene.lose_lease(&id).await.unwrap();
    }
    scene.hold(&id).await;
    scene.begin_evaluation(&id).await.unwrap();
    assert_eq!(scene.progress().await, counts(5, 2, 1));
}

/// A change of a settled conversation is not counted again.
pub async fn end_is_counted_once(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    for index in [0, 1] {
        scene.settle(&scene.id(index), Settled::NotApplicable).await.unwrap();
    }
    scene.settle(&scene.id(2), Settled::Failed).await.unwrap();
    let progress = scene.progress().await;
    for _ in 0..2 {
        scene.end(&scene.id(0)).await.unwrap();
        scene.move_to(&scene.id(2), |view| Ok(view.conversation)).await.unwrap();
    }
    scene.cancel().await.unwrap();
    for index in [0, 1, 2] {
        scene.stop(&scene.id(index)).await.unwrap();
    }
    assert_eq!(scene.progress().await, progress);
    assert_eq!(progress, Progress { settled: 3, conversations_failed: 1, evaluations_failed: 0 });
}

/// The last end enqueues the end of the simulation, if no earlier end did.
pub async fn last_end_enqueues_the_end_of_the_simulation(fixture: &Fixture) {
    for end in [
        Settled::Evaluated(vec![Outcome::Passed, Outcome::Passed]),
        Settled::NotApplicable,
        Settled::EvaluationFailed,
        Settled::Failed,
    ] {
        let scene = fixture.scene(3).await;
        scene.settle(&scene.id(0), Settled::NotApplicable).await.unwrap();
        scene.settle(&scene.id(1), Settled::Failed).await.unwrap();
        // Some backends enqueue it with every end. These jobs have completed before the last end.
        assert!(fixture.take_jobs().await.iter().all(|job| *job == scene.finish_job()));
        scene.settle(&scene.id(2), end).await.unwrap();
        assert_eq!(fixture.take_jobs().await, [scene.finish_job()]);
    }
}

/// The end of a conversation is counted in the write of its jobs, messages and reply.
pub async fn end_is_counted_in_the_same_write(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let (id, token) = (scene.id(0), scene.token());
    scene.claim(&id, &token).await.unwrap();
    scene.complete(&id, &token, Some("one"), Some(onerun_domain::EndReason::PersonaDecided)).await.unwrap();
    scene.begin_evaluation(&id).await.unwrap();
    let work = Work::StopConversations { simulation: scene.simulation.id.clone() };
    let job = Job::new(scene.project.id.clone(), work);
    let (own, now) = (job.clone(), fixture.now());
    scene
        .change(&id, move |view| {
            let conversation = view.conversation.conclude_evaluation(
                &view.simulation,
                1,
                onerun_domain::EvaluationStatus::Failed,
                now,
            )?;
            Ok(ConversationChange { jobs: vec![own.clone()], ..ConversationChange::to(conversation) })
        })
        .await
        .unwrap();
    let mut jobs = fixture.take_jobs().await;
    jobs.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(jobs, [scene.finish_job(), job]);
    assert_eq!(scene.progress().await.evaluations_failed, 1);
}

/// Concurrent ends are all counted, and whichever is last enqueues the end of the simulation.
pub async fn concurrent_ends_are_all_counted(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for _ in 0..ROUNDS / 4 {
        let scene = project.scene(12).await;
        let tasks = (0..12).map(|index| {
            let scene = scene.clone();
            Box::pin(async move {
                let end = match index % 3 {
                    0 => Settled::Evaluated(vec![Outcome::Passed]),
                    1 => Settled::NotApplicable,
                    _ => Settled::EvaluationFailed,
                };
                scene.settle(&scene.id(index), end).await.unwrap();
            }) as _
        });
        at_once(tasks.collect()).await;
        let expected = Progress { settled: 12, conversations_failed: 0, evaluations_failed: 4 };
        assert_eq!(scene.progress().await, expected);
        assert_eq!(fixture.take_jobs().await, [scene.finish_job()]);
    }
}

/// Two concurrent stops of one conversation count as one end.
pub async fn conversation_stopped_twice_is_counted_once(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for index in 0..scene.conversations.len() / 2 {
        scene.hold(&scene.id(index)).await;
    }
    scene.cancel().await.unwrap();
    for (conversation, round) in scene.conversations.iter().zip(1..) {
        let [one, other] = [0, 1].map(|_| {
            let (scene, id) = (scene.clone(), conversation.id.clone());
            async move { scene.stop(&id).await.unwrap() }
        });
        let (first, second) = both(one, other).await;
        assert_eq!(first.status, second.status);
        assert!(scene.stored(&conversation.id).await.is_settled());
        assert_eq!(scene.progress().await.settled, round);
    }
    assert_eq!(scene.progress().await.conversations_failed, ROUNDS / 2);
}

/// A simulation ends after its conversations, and not before. An early or repeated job changes
/// nothing.
pub async fn simulation_ends_with_its_last_conversation(fixture: &Fixture) {
    for (end, status) in [
        (Settled::Evaluated(vec![Outcome::Failed]), SimulationStatus::Completed),
        (Settled::EvaluationFailed, SimulationStatus::Failed),
        (Settled::Failed, SimulationStatus::Failed),
    ] {
        let scene = fixture.scene(2).await;
        let finish = async || {
            let now = scene.now();
            scene
                .change_simulation(move |view| {
                    let simulation = view.simulation.finish(view.progress, now)?;
                    Ok(SimulationChange::to(simulation, Vec::new()))
                })
                .await
        };
        scene.settle(&scene.id(0), Settled::NotApplicable).await.unwrap();
        assert_eq!(refusal(finish().await), Refusal::SimulationUnfinished);
        scene.settle(&scene.id(1), end).await.unwrap();
        let finished = finish().await.unwrap();
        assert_eq!(finished.status, status);
        assert_eq!(refusal(finish().await), Refusal::SimulationOver { status });
        assert_eq!(scene.stored_simulation().await, finished);
        assert_eq!(finished.last_failure_reason.is_some(), status == SimulationStatus::Failed);
    }
}

/// A runner that starts to finish a simulation while its last conversations settle finishes it, or
/// the job is enqueued again.
pub async fn end_of_a_simulation_is_always_enqueued(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for _ in 0..ROUNDS / 2 {
        let scene = project.scene(4).await;
        let finish = {
            let scene = scene.clone();
            async move || {
                let now = scene.now();
                let claimed = scene.project.fixture.claim_jobs(10, now).await;
                for claimed in &claimed {
                    assert_eq!(claimed.job, scene.finish_job());
                    let decide = move |view: crate::SimulationView| {
                        let simulation = view.simulation.finish(view.progress, now)?;
                        Ok(SimulationChange::to(simulation, Vec::new()))
                    };
                    let finished = scene.change_simulation(decide).await;
                    assert!(matches!(finished, Ok(_) | Err(ChangeError::Refused(_))), "{finished:?}");
                    scene.project.fixture.store.complete_job(&claimed.job.id).await.unwrap();
                }
                claimed.len()
            }
        };
        let mut tasks: Vec<Task<()>> = Vec::new();
        for index in 0..4 {
            let scene = scene.clone();
            tasks.push(Box::pin(async move {
                scene.settle(&scene.id(index), Settled::NotApplicable).await.unwrap();
            }));
        }
        let running = finish.clone();
        tasks.push(Box::pin(async move {
            for _ in 0..20 {
                running().await;
            }
        }));
        at_once(tasks).await;
        while finish().await > 0 {}
        assert_eq!(scene.stored_simulation().await.status, SimulationStatus::Completed);
    }
}

/// A refused end is not counted.
pub async fn refused_end_is_not_counted(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    scene.start(&id).await.unwrap();
    let refused = scene
        .change(&id, |view| {
            let failed = Conversation { status: ConversationStatus::Failed, ..view.conversation };
            drop(ConversationChange::to(failed));
            Err(Refusal::TurnLost)
        })
        .await;
    assert_eq!(refusal(refused), Refusal::TurnLost);
    assert_eq!(refusal(scene.stop(&id).await), Refusal::SimulationUnfinished);
    assert_eq!(scene.progress().await, Progress::default());
    assert_eq!(fixture.take_jobs().await, []);
}
