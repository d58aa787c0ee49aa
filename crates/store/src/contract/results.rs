//! Results: counts agree with the stored rows.

use std::collections::BTreeMap;

use onerun_domain::{
    ApprovalStatus, ConversationId, ConversationStatus, EndReason, EvaluationStatus, FaultSeverity,
    FaultSource, ItemId, Limit, ObjectiveRef, Outcome, PageRequest, PersonaFault, PersonaFaultKind, Progress,
    Refusal, Start,
};

use super::fixture::{Fixture, Scene, Settled, all, in_pages, mix};
use crate::{
    ChangeError, ConversationCounts, CountedOutcome, ListConversations, ObjectiveCounts, SimulationCounts,
};

impl Scene {
    async fn counts(&self) -> SimulationCounts {
        let counts = self.store().counts(&self.simulation.id).await.unwrap().unwrap();
        // Backends may report absent counts as zero or omit them.
        let counted = |counts: BTreeMap<&'static str, u64>| {
            counts.into_iter().filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>()
        };
        let objectives = counts.objectives.into_iter();
        SimulationCounts {
            conversations: ConversationCounts {
                by_status: counted(counts.conversations.by_status),
                by_end_reason: counted(counts.conversations.by_end_reason),
                by_evaluation_status: counted(counts.conversations.by_evaluation_status),
                by_outcome: counted(counts.conversations.by_outcome),
                by_worst_fault: counted(counts.conversations.by_worst_fault),
                retried: counts.conversations.retried,
            },
            objectives: objectives
                .map(|objective| ObjectiveCounts { outcomes: counted(objective.outcomes), ..objective })
                .collect(),
            personas: counted(counts.personas),
            progress: counts.progress,
        }
    }

    /// The conversations that are counted with an outcome, newest first.
    async fn counted_as(&self, outcome: &CountedOutcome) -> Vec<ConversationId> {
        let list = |page| ListConversations { status: None, outcome: Some(outcome.clone()), page };
        let rows = in_pages(2, async |page| self.list(list(page)).await).await;
        rows.into_iter().map(|row| row.conversation.id).collect()
    }

    /// Asserts that the lists by outcome have the counted conversations.
    async fn check_outcomes(&self, counts: &SimulationCounts) {
        let whole = Outcome::ALL
            .map(|outcome| (CountedOutcome::whole(outcome), counts.conversations.with_outcome(outcome)));
        let of_objectives = counts.objectives.iter().flat_map(|counts| {
            Outcome::ALL.map(|outcome| {
                let objective = Some(counts.objective.id.clone());
                (CountedOutcome { outcome, objective }, counts.with_outcome(outcome))
            })
        });
        for (outcome, count) in whole.into_iter().chain(of_objectives) {
            let found = self.counted_as(&outcome).await;
            assert_eq!(found.len() as u64, count, "{outcome:?}");
            let start = Start::Offset(1);
            let page = PageRequest { limit: Limit::clamped(1), start };
            let list = ListConversations { status: None, outcome: Some(outcome.clone()), page };
            let second: Vec<_> =
                self.list(list).await.data.into_iter().map(|row| row.conversation.id).collect();
            assert_eq!(second, found.get(1).into_iter().cloned().collect::<Vec<_>>(), "{outcome:?}");
        }
    }

    /// The same counts, computed from the lists.
    async fn recount(&self) -> SimulationCounts {
        let mut progress = Progress::default();
        let mut counts = ConversationCounts::default();
        let unseen = |objective: ObjectiveRef| ObjectiveCounts {
            objective,
            outcomes: BTreeMap::new(),
            score_sum: 0.0,
            score_count: 0,
        };
        let mut objectives: Vec<_> =
            self.objectives.iter().map(|objective| unseen(objective.reference())).collect();
        let list = |page| ListConversations { status: None, outcome: None, page };
        for read in in_pages(7, async |page| self.list(list(page)).await).await {
            let conversation = read.conversation;
            *counts.by_status.entry(conversation.status.as_str()).or_default() += 1;
            if let Some(reason) = conversation.end_reason {
                *counts.by_end_reason.entry(reason.as_str()).or_default() += 1;
            }
            let evaluation = conversation.evaluation_status;
            *counts.by_evaluation_status.entry(evaluation.as_str()).or_default() += 1;
            counts.retried += u64::from(conversation.attempt > 1);
            if let Some(severity) = conversation.worst_fault() {
                *counts.by_worst_fault.entry(severity.as_str()).or_default() += 1;
            }
            progress.settled += u32::from(conversation.is_settled());
            progress.conversations_failed += u32::from(conversation.status == ConversationStatus::Failed);
            progress.evaluations_failed += u32::from(evaluation == EvaluationStatus::Failed);
            let is_excluded = conversation.worst_fault() == Some(FaultSeverity::Critical);
            if !conversation.is_settled() || evaluation != EvaluationStatus::Completed || is_excluded {
                continue;
            }
            let together = Outcome::all(read.evaluations.iter().map(|(evaluation, _)| evaluation.outcome));
            *counts.by_outcome.entry(together.as_str()).or_default() += 1;
            for (evaluation, _) in read.evaluations {
                let objective =
                    objectives.iter_mut().find(|counts| counts.objective == evaluation.objective).unwrap();
                *objective.outcomes.entry(evaluation.outcome.as_str()).or_default() += 1;
                if let Some(score) = evaluation.score {
                    objective.score_sum += score.get();
                    objective.score_count += 1;
                }
            }
        }
        let mut personas = BTreeMap::new();
        for persona in self.store().personas(&self.simulation.id, all()).await.unwrap().data {
            *personas.entry(persona.approval.as_str()).or_default() += 1;
        }
        SimulationCounts { progress, conversations: counts, objectives, personas }
    }
}

/// Before anything has happened, every resource is counted, including every objective.
pub async fn objectives_without_a_evaluation_are_counted(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    let counts = scene.counts().await;
    assert_eq!(counts, scene.recount().await);
    assert_eq!(counts.objectives.len(), 2);
    assert!(counts.objectives.iter().all(|objective| objective.score_count == 0));
    assert_eq!(counts.conversations.in_status(ConversationStatus::Queued), 3);
    assert_eq!(counts.conversations.evaluations(EvaluationStatus::Pending), 3);
    let empty = fixture.new_project().await.scene_about(0, Vec::new()).await.counts().await;
    assert_eq!((empty.objectives, empty.conversations), (Vec::new(), ConversationCounts::default()));
}

/// Each ended conversation is counted under its reason, and nothing else is counted.
pub async fn each_end_is_counted_under_its_reason(fixture: &Fixture) {
    let scene = fixture.scene(9).await;
    for (index, outcomes) in [
        vec![Outcome::Passed, Outcome::Passed],
        vec![Outcome::Passed, Outcome::Failed],
        vec![Outcome::Inconclusive, Outcome::Passed],
        // A missing evaluation is never a pass of that objective.
        vec![Outcome::Passed],
        // Without evaluations, nothing has passed.
        vec![],
    ]
    .into_iter()
    .enumerate()
    {
        scene.settle(&scene.id(index), Settled::Evaluated(outcomes)).await.unwrap();
    }
    scene.settle(&scene.id(5), Settled::EvaluationFailed).await.unwrap();
    scene.settle(&scene.id(6), Settled::Failed).await.unwrap();
    scene.settle(&scene.id(7), Settled::NotApplicable).await.unwrap();
    let counts = scene.counts().await;
    assert_eq!(counts, scene.recount().await);
    let conversations = &counts.conversations;
    let by_outcome = Outcome::ALL.map(|outcome| conversations.with_outcome(outcome));
    assert_eq!(by_outcome, [2, 1, 2], "passed, failed, inconclusive");
    let by_evaluation = EvaluationStatus::ALL.map(|status| conversations.evaluations(status));
    assert_eq!(by_evaluation, [1, 0, 5, 1, 2]);
    assert_eq!(conversations.ended_by(EndReason::AgentDecided), 7);
    assert_eq!(conversations.ended_by(EndReason::LeaseExpired), 1);
    assert_eq!(conversations.retried, 1);
    let [first, second] = &counts.objectives[..] else { panic!("{counts:?}") };
    assert_eq!(Outcome::ALL.map(|outcome| first.with_outcome(outcome)), [3, 0, 1]);
    assert_eq!(Outcome::ALL.map(|outcome| second.with_outcome(outcome)), [2, 1, 0]);
    assert_eq!((first.score_sum, first.score_count), (3.0, 3));
    assert_eq!((second.score_sum, second.score_count), (2.25, 3));
    assert_eq!(counts.progress, Progress { settled: 8, conversations_failed: 1, evaluations_failed: 1 });
}

/// A conversation in which the persona made a critical fault is counted apart, and not by its outcomes.
pub async fn critical_fault_of_a_persona_excludes_the_conversation(fixture: &Fixture) {
    let scene = fixture.scene(4).await;
    let fault = |severity| PersonaFault {
        kind: PersonaFaultKind::Invents,
        severity,
        item_id: ItemId::generate(fixture.random()),
        quote: "ORD-99812 \u{1f600}\n\"".into(),
        source: FaultSource::Judge,
    };
    let (minor, critical) = (fault(FaultSeverity::Minor), fault(FaultSeverity::Critical));
    let of_conversations =
        [vec![], vec![minor.clone()], vec![minor.clone(), critical.clone()], vec![critical]];
    for (index, faults) in of_conversations.iter().enumerate() {
        let id = scene.id(index);
        scene.hold(&id).await;
        let outcomes = [Outcome::Passed, Outcome::Passed];
        scene.conclude_with(&id, EvaluationStatus::Completed, &outcomes, faults.clone()).await.unwrap();
        assert_eq!(scene.read(&id).await.conversation.persona_faults, *faults);
        assert_eq!(scene.read(&id).await.evaluations.len(), 2, "its evaluations are stored");
    }
    let counts = scene.counts().await;
    assert_eq!(counts, scene.recount().await);
    let conversations = &counts.conversations;
    assert_eq!(FaultSeverity::ALL.map(|severity| conversations.with_worst_fault(severity)), [1, 2]);
    assert_eq!(conversations.with_outcome(Outcome::Passed), 2);
    assert_eq!(conversations.evaluations(EvaluationStatus::Completed), 4);
    for objective in &counts.objectives {
        assert_eq!((objective.with_outcome(Outcome::Passed), objective.score_count), (2, 2));
    }
    assert_eq!(counts.progress.settled, 4);
    assert_eq!(
        scene.counted_as(&CountedOutcome::whole(Outcome::Passed)).await,
        [scene.id(1), scene.id(0)],
        "none with a critical fault"
    );
    let list = scene.list(ListConversations { status: None, outcome: None, page: all() }).await;
    assert_eq!(list.data.iter().filter(|row| !row.conversation.persona_faults.is_empty()).count(), 3);
}

/// Personas are counted by approval status.
pub async fn personas_are_counted_by_approval(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    for (seq, approval) in
        (2..).zip([ApprovalStatus::Pending, ApprovalStatus::Rejected, ApprovalStatus::Pending])
    {
        let persona = onerun_domain::Persona { approval, ..scene.project.persona(&scene.simulation, seq) };
        assert!(scene.store().add_persona(persona, Vec::new()).await.unwrap());
    }
    let expected = BTreeMap::from([("approved", 1), ("pending", 2), ("rejected", 1)]);
    assert_eq!(scene.counts().await.personas, expected);
}

/// After any history, the counts equal those computed from the lists, for each simulation
/// separately.
pub async fn counts_agree_with_the_lists_after_any_history(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for seed in 0..3_u64 {
        let scenes = [project.scene(6).await, project.scene(5).await];
        let mut state = seed;
        let mut choose = |count: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            usize::try_from(mix(state) % count).unwrap()
        };
        for _ in 0..80 {
            let scene = &scenes[choose(2)];
            let id = scene.id(choose(scene.conversations.len().try_into().unwrap()));
            let outcomes = [Outcome::ALL[choose(3)], Outcome::ALL[choose(3)]];
            let changed = match choose(12) {
                0..=2 => scene.start(&id).await,
                3..=4 => scene.end(&id).await,
                5 => scene.begin_evaluation(&id).await,
                6..=7 => scene.conclude(&id, EvaluationStatus::Completed, &outcomes[choose(3)..]).await,
                8 => scene.conclude(&id, EvaluationStatus::Failed, &[]).await,
                9 => scene.lose_lease(&id).await,
                10 => scene.say(&id, "more").await,
                _ => scene.stop(&id).await,
            };
            if let Err(ChangeError::Store(error)) = changed {
                panic!("{error:?}");
            }
        }
        for scene in &scenes {
            let counts = scene.counts().await;
            assert_eq!(counts, scene.recount().await, "seed {seed}");
            scene.check_outcomes(&counts).await;
        }
        scenes[0].cancel().await.unwrap();
        for conversation in &scenes[0].conversations {
            scenes[0].stop(&conversation.id).await.unwrap();
        }
        let counts = scenes[0].counts().await;
        assert_eq!(counts, scenes[0].recount().await, "seed {seed}");
        assert_eq!(counts.progress.settled, 6);
        let running = scenes[1].stop(&scenes[1].id(0)).await;
        assert!(matches!(running, Err(ChangeError::Refused(Refusal::SimulationUnfinished))));
        assert_eq!(scenes[1].counts().await, scenes[1].recount().await, "seed {seed}");
    }
}

/// Counts read during changes are a consistent snapshot: an end is counted in every number or in
/// none.
pub async fn counts_are_a_consistent_snapshot(fixture: &Fixture) {
    let scene = fixture.scene(24).await;
    let (settling, counting) = (scene.clone(), scene.clone());
    super::fixture::both(
        async move {
            for index in 0..24 {
                let outcomes = vec![Outcome::Passed, Outcome::Failed];
                settling.settle(&settling.id(index), Settled::Evaluated(outcomes)).await.unwrap();
            }
        },
        async move {
            loop {
                let counts = counting.counts().await;
                let settled = u64::from(counts.progress.settled);
                let completed = counts.conversations.evaluations(EvaluationStatus::Completed);
                assert_eq!(completed, settled);
                assert_eq!(counts.conversations.with_outcome(Outcome::Failed), settled);
                assert_eq!(counts.conversations.by_status.values().sum::<u64>(), 24);
                for objective in &counts.objectives {
                    assert_eq!(objective.outcomes.values().sum::<u64>(), settled);
                    assert_eq!(objective.score_count, settled);
                }
                if settled == 24 {
                    return;
                }
            }
        },
    )
    .await;
}
