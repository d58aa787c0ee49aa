//! Judging: evaluations, and the effect of a cancel on them.

use onerun_domain::{
    ConversationStatus, EndReason, Evaluation, EvaluationDetails, EvaluationStatus, ItemId, ModelUsage,
    NanoDollars, Objective, ObjectivePatch, Outcome, Quote, Refusal, Score, SimulationStatus, TokenUsage,
};

use super::fixture::{Fixture, ROUNDS, Scene, Settled, all, both, name, odd_texts, refusal};
use crate::{ConversationChange, ConversationSummary, ConversationView, ListConversations};

impl Scene {
    /// Completes the evaluation of a conversation with exactly these evaluations.
    async fn record(&self, index: usize, evaluations: Vec<Evaluation>) {
        let now = self.now();
        let decide = move |view: ConversationView| {
            let (attempt, completed) = (view.conversation.attempt, EvaluationStatus::Completed);
            let conversation =
                view.conversation.conclude_evaluation(&view.simulation, attempt, completed, now)?;
            Ok(ConversationChange {
                evaluations: evaluations.clone(),
                ..ConversationChange::to(conversation)
            })
        };
        self.change(&self.id(index), decide).await.unwrap();
    }
}

/// Every field is stored verbatim, and reads the same alone and in a list, with the objective.
pub async fn evaluation_is_read_as_recorded(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut objectives = Vec::new();
    for _ in 0..14 {
        objectives.push(project.add_objective(project.objective()).await);
    }
    let scene = project.scene_about(1, objectives).await;
    let id = scene.id(0);
    scene.start(&id).await.unwrap();
    let held = scene.end(&id).await.unwrap();
    let scores = [None, Some(0.0), Some(1.0), Some(1.0 / 3.0), Some(0.1), Some(f64::MIN_POSITIVE)];
    let quotes = |count: usize| {
        let texts = odd_texts().into_iter().chain([String::new()]).cycle().skip(count);
        let quote = |text| Quote { item_id: ItemId::generate(fixture.random()), text };
        texts.take(count).map(quote).collect::<Vec<_>>()
    };
    let texts = odd_texts().into_iter().chain([String::new(), "a\r\n\tb".into()]).cycle();
    let evaluations: Vec<Evaluation> = scene
        .objectives
        .iter()
        .zip(texts)
        .enumerate()
        .map(|(number, (objective, text))| Evaluation {
            judge: format!("j{text}"),
            prompt_hash: format!("{number:064x}"),
            score: scores[number % scores.len()].and_then(Score::parse),
            details: EvaluationDetails {
                model_version: (number % 2 == 1).then(|| format!("v{text}")),
                ordinal: u8::try_from(number % 7).ok().filter(|ordinal| *ordinal < 6),
                usage: (number % 3 == 1).then_some(ModelUsage {
                    calls: u64::MAX,
                    failed_calls: 1,
                    unpriced_calls: 2,
                    tokens: TokenUsage {
                        input: 3,
                        cached_input: 4,
                        cache_write: 5,
                        output: 6,
                        reasoning: u64::MAX,
                    },
                    cost: NanoDollars::new(u64::MAX),
                }),
            },
            reason: text,
            quotes: quotes(number % 5),
            ..scene.evaluation(&held, objective, Outcome::ALL[number % 3])
        })
        .collect();
    scene.record(0, evaluations.clone()).await;
    let read = scene.read(&id).await;
    let expected: Vec<_> = evaluations.into_iter().zip(scene.objectives.clone()).collect();
    assert_eq!(read.evaluations, expected);
    assert_eq!(
        scene.list(ListConversations { status: None, outcome: None, page: all() }).await.data,
        [read.into()]
    );
}

/// Evaluations are sorted as the simulation names the objectives, in whatever order they were
/// recorded, and each has the version that was judged.
pub async fn evaluations_have_judged_versions_in_objective_order(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut objectives = Vec::new();
    for text in ["c", "a", "b"] {
        objectives.push(project.add_objective(Objective { name: name(text), ..project.objective() }).await);
    }
    let scene = project.scene_about(2, objectives).await;
    let now = fixture.now();
    let decide = Box::new(move |objective: Objective| {
        Ok(objective.revised(ObjectivePatch { name: Some(name("z")), criteria: None }, now))
    });
    project.store.change_objective(&scene.objectives[0].id, decide).await.unwrap();
    for index in [0, 1] {
        let id = scene.id(index);
        scene.hold(&id).await;
        let held = scene.stored(&id).await;
        let evaluation = |number: usize| scene.evaluation(&held, &scene.objectives[number], Outcome::Passed);
        scene.record(index, vec![evaluation(1), evaluation(2), evaluation(0)]).await;
    }
    for read in scene.list(ListConversations { status: None, outcome: None, page: all() }).await.data {
        let judged: Vec<_> =
            read.evaluations.iter().map(|(evaluation, name)| (&evaluation.objective, name)).collect();
        let references: Vec<_> = scene.objectives.iter().map(Objective::reference).collect();
        let named: Vec<_> = scene.objectives.iter().map(|objective| &objective.name).collect();
        assert_eq!(judged, references.iter().zip(named).collect::<Vec<_>>());
        assert!(
            read.evaluations.iter().all(|(evaluation, _)| evaluation.conversation_id == read.conversation.id)
        );
        let alone = scene.read(&read.conversation.id).await;
        assert_eq!(
            alone.evaluations.iter().map(|(_, objective)| objective).collect::<Vec<_>>(),
            scene.objectives.iter().collect::<Vec<_>>()
        );
        assert_eq!(ConversationSummary::from(alone), read);
    }
}

/// An evaluation may start twice but completes once: the second completion is refused and writes
/// nothing.
pub async fn repeated_or_late_evaluation_is_refused(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    scene.hold(&id).await;
    let begun = scene.begin_evaluation(&id).await.unwrap();
    assert_eq!(scene.begin_evaluation(&id).await.unwrap(), begun);
    let completed = EvaluationStatus::Completed;
    scene.conclude(&id, completed, &[Outcome::Passed, Outcome::Failed]).await.unwrap();
    let read = scene.read(&id).await;
    for status in [completed, EvaluationStatus::Failed] {
        let late = scene.conclude(&id, status, &[Outcome::Failed, Outcome::Failed]).await;
        assert_eq!(refusal(late), Refusal::NothingToEvaluate);
    }
    assert_eq!(refusal(scene.begin_evaluation(&id).await), Refusal::NothingToEvaluate);
    assert_eq!(scene.read(&id).await, read);
    assert_eq!(scene.progress().await.settled, 1);
}

/// Of two judges that complete one conversation concurrently, one records all its evaluations and
/// the other none.
pub async fn concurrent_judges_record_one_set_of_evaluations(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for (conversation, round) in scene.conversations.iter().zip(1..) {
        let id = &conversation.id;
        scene.hold(id).await;
        let [one, other] = [Outcome::Passed, Outcome::Failed].map(|outcome| {
            let (scene, id) = (scene.clone(), id.clone());
            async move { scene.conclude(&id, EvaluationStatus::Completed, &[outcome, outcome]).await }
        });
        let (first, second) = both(one, other).await;
        let (loser, kept) = if first.is_ok() { (second, Outcome::Passed) } else { (first, Outcome::Failed) };
        assert_eq!(refusal(loser), Refusal::NothingToEvaluate);
        let outcomes: Vec<_> =
            scene.read(id).await.evaluations.iter().map(|(evaluation, _)| evaluation.outcome).collect();
        assert_eq!(outcomes, [kept, kept]);
        assert_eq!(scene.progress().await.settled, round);
    }
}

/// After a cancel, held conversations stay ended and their evaluation ends without a result.
/// Conversations that were not held have failed.
pub async fn cancel_during_judging_ends_the_evaluation(fixture: &Fixture) {
    let scene = fixture.scene(4).await;
    let (judged, waiting, held, queued) = (scene.id(0), scene.id(1), scene.id(2), scene.id(3));
    for id in [&judged, &waiting] {
        scene.hold(id).await;
    }
    scene.begin_evaluation(&judged).await.unwrap();
    scene.start(&held).await.unwrap();
    scene.cancel().await.unwrap();
    let late = scene.conclude(&judged, EvaluationStatus::Completed, &[Outcome::Passed]).await;
    let status = SimulationStatus::Canceled;
    assert_eq!(refusal(late), Refusal::SimulationNotRunning { status });
    for (id, status, reason) in [
        (&judged, ConversationStatus::Ended, EndReason::AgentDecided),
        (&waiting, ConversationStatus::Ended, EndReason::AgentDecided),
        (&held, ConversationStatus::Failed, EndReason::SimulationCanceled),
        (&queued, ConversationStatus::Failed, EndReason::SimulationCanceled),
    ] {
        let stopped = scene.stop(id).await.unwrap();
        let expected = (status, Some(reason), EvaluationStatus::NotApplicable);
        assert_eq!((stopped.status, stopped.end_reason, stopped.evaluation_status), expected);
        assert_eq!(scene.read(id).await.evaluations, Vec::new());
        // A second stop changes nothing.
        assert_eq!(scene.stop(id).await.unwrap(), stopped);
    }
    let progress = scene.progress().await;
    assert_eq!((progress.settled, progress.conversations_failed, progress.evaluations_failed), (4, 2, 0));
}

/// An evaluation that races with the cancel of its simulation is recorded before the cancel, or not
/// at all.
pub async fn evaluation_is_recorded_only_before_a_cancel(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for _ in 0..ROUNDS * 2 {
        let scene = project.scene(1).await;
        let id = scene.id(0);
        scene.hold(&id).await;
        scene.begin_evaluation(&id).await.unwrap();
        let (judging, canceling) = (scene.clone(), scene.clone());
        let (judged_id, canceled_id) = (id.clone(), id.clone());
        let (concluded, after_cancel) = both(
            async move {
                let outcomes = [Outcome::Passed, Outcome::Failed];
                judging.conclude(&judged_id, EvaluationStatus::Completed, &outcomes).await
            },
            async move {
                canceling.cancel().await.unwrap();
                canceling.read(&canceled_id).await
            },
        )
        .await;
        assert_eq!(scene.read(&id).await, after_cancel, "something was written after the cancel");
        let recorded = after_cancel.evaluations.len();
        if concluded.is_ok() {
            assert_eq!(
                (after_cancel.conversation.evaluation_status, recorded),
                (EvaluationStatus::Completed, 2)
            );
        } else {
            let status = SimulationStatus::Canceled;
            assert_eq!(refusal(concluded), Refusal::SimulationNotRunning { status });
            assert_eq!(
                (after_cancel.conversation.evaluation_status, recorded),
                (EvaluationStatus::InProgress, 0)
            );
        }
        scene.stop(&id).await.unwrap();
        assert_eq!(scene.read(&id).await.evaluations.len(), recorded);
        assert_eq!(scene.progress().await.settled, 1);
        let counts = scene.store().counts(&scene.simulation.id).await.unwrap().unwrap();
        let evaluations: u64 =
            counts.objectives.iter().flat_map(|objective| objective.outcomes.values()).sum();
        assert_eq!(evaluations, u64::try_from(recorded).unwrap());
    }
}

/// Evaluations belong to an attempt: a conversation shows and counts those of its current attempt.
pub async fn evaluations_are_shown_for_the_current_attempt(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    let started = scene.start(&id).await.unwrap();
    // The domain never judges an attempt whose lease is lost afterwards, but the store does not
    // depend on that.
    let early = scene.evaluation(&started, &scene.objectives[0], Outcome::Failed);
    let judged = move |view: ConversationView| {
        Ok(ConversationChange {
            evaluations: vec![early.clone()],
            ..ConversationChange::to(view.conversation)
        })
    };
    scene.change(&id, judged).await.unwrap();
    assert_eq!(scene.read(&id).await.evaluations.len(), 1);
    scene.lose_lease(&id).await.unwrap();
    assert_eq!(scene.read(&id).await.evaluations, Vec::new());
    scene.settle(&id, Settled::Evaluated(vec![Outcome::Passed, Outcome::Inconclusive])).await.unwrap();
    let read = scene.read(&id).await;
    let evaluations: Vec<_> =
        read.evaluations.iter().map(|(evaluation, _)| (evaluation.attempt, evaluation.outcome)).collect();
    assert_eq!(evaluations, [(2, Outcome::Passed), (2, Outcome::Inconclusive)]);
    let counts = scene.store().counts(&scene.simulation.id).await.unwrap().unwrap();
    assert_eq!(counts.conversations.with_outcome(Outcome::Inconclusive), 1);
    assert_eq!(Outcome::ALL.map(|outcome| counts.objectives[0].with_outcome(outcome)), [1, 0, 0]);
}
