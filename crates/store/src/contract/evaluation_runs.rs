//! Evaluation runs, their results, and labels.

use std::collections::BTreeSet;

use onerun_domain::{
    ConversationId, ConversationLabels, EvaluationRun, EvaluationRunId, EvaluationRunStatus, Job, Label,
    ModelName, ModelUsage, NanoDollars, Outcome, Outcomes, Refusal, RunResult, TokenUsage, Work,
};

use super::fixture::{Fixture, Scene, Task, all, at_once, in_pages, odd_texts, refusal};
use crate::{EvaluationRunChange, EvaluationRunView, RunCounts, StoreError};

impl Scene {
    fn run(&self) -> EvaluationRun {
        let now = self.now();
        EvaluationRun {
            id: EvaluationRunId::generate(self.project.fixture.random()),
            simulation_id: self.simulation.id.clone(),
            judge: ModelName::parse("anthropic:claude-sonnet-5-5").unwrap(),
            status: EvaluationRunStatus::Pending,
            conversations: u32::try_from(self.conversations.len()).unwrap(),
            created_at: now,
            updated_at: now,
        }
    }

    pub(super) async fn add_run(&self) -> EvaluationRun {
        let run = self.run();
        self.store().insert_evaluation_run(run.clone(), Vec::new(), None).await.unwrap();
        run
    }

    async fn view(&self, run: &EvaluationRunId) -> EvaluationRunView {
        self.store().evaluation_run(&self.simulation.id, run).await.unwrap().unwrap()
    }

    pub(super) async fn add_result(&self, run: &EvaluationRunId, result: RunResult) -> bool {
        self.store().add_run_result(&self.simulation.id, run, result).await.unwrap()
    }

    async fn results(
        &self,
        run: &EvaluationRunId,
        after: Option<&ConversationId>,
        limit: u32,
    ) -> Vec<RunResult> {
        self.store().run_results(&self.simulation.id, run, after, limit).await.unwrap()
    }

    fn sorted_ids(&self) -> Vec<ConversationId> {
        let ids: BTreeSet<_> = self.conversations.iter().map(|one| one.id.clone()).collect();
        ids.into_iter().collect()
    }

    pub(super) fn labels(
        &self,
        conversation: &ConversationId,
        outcome: Outcome,
        note: Option<String>,
    ) -> ConversationLabels {
        let objective_id = self.objectives[0].id.clone();
        ConversationLabels {
            conversation_id: conversation.clone(),
            labels: vec![Label { objective_id, outcome, note }],
            updated_by: "root".into(),
            updated_at: self.now(),
        }
    }
}

pub(super) fn result(conversation: &ConversationId, outcome: Option<Outcome>) -> RunResult {
    RunResult {
        conversation_id: conversation.clone(),
        original: Outcomes(vec![Some(Outcome::Passed), None]),
        outcomes: outcome.map(|outcome| Outcomes(vec![Some(outcome), Some(Outcome::Inconclusive)])),
        model_version: Some("v \u{1f600}\"".into()),
        usage: Some(ModelUsage {
            calls: 1,
            failed_calls: 2,
            unpriced_calls: 3,
            tokens: TokenUsage { input: 4, cached_input: 5, cache_write: 6, output: 7, reasoning: 8 },
            cost: NanoDollars::new(u64::MAX),
        }),
    }
}

/// A run is stored once, with its jobs, and only for a simulation of the project.
pub async fn evaluation_run_is_read_as_added(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let run = scene.run();
    let work =
        Work::QueueEvaluations { simulation: scene.simulation.id.clone(), run: run.id.clone(), after: None };
    let job = Job::new(scene.project.id.clone(), work);
    scene.store().insert_evaluation_run(run.clone(), vec![job.clone()], None).await.unwrap();
    assert_eq!(
        scene.view(&run.id).await,
        EvaluationRunView { run: run.clone(), counts: RunCounts::default() }
    );
    let claimed = fixture.claim_jobs(10, fixture.now()).await;
    assert!(claimed.iter().any(|claimed| claimed.job == job), "{claimed:?}");

    let again = scene.store().insert_evaluation_run(run.clone(), Vec::new(), None).await;
    assert!(matches!(again, Err(StoreError::Duplicate { .. })), "{again:?}");
    let other = fixture.scene(1).await;
    assert_eq!(other.store().evaluation_run(&scene.simulation.id, &run.id).await.unwrap(), None);
    assert_eq!(scene.store().evaluation_run(&other.simulation.id, &run.id).await.unwrap(), None);
    let foreign = other.store().insert_evaluation_run(scene.run(), Vec::new(), None).await;
    assert!(foreign.is_err(), "a run of another project's simulation was added");
    assert_eq!(scene.store().evaluation_runs(&scene.simulation.id, all()).await.unwrap().data.len(), 1);
}

/// Runs are listed newest first, each with its counts.
pub async fn evaluation_runs_are_listed_newest_first(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.insert(0, scene.add_run().await);
    }
    assert!(scene.add_result(&runs[1].id, result(&scene.id(0), Some(Outcome::Passed))).await);
    let list = async |page| scene.store().evaluation_runs(&scene.simulation.id, page).await.unwrap();
    let listed = in_pages(2, list).await;
    let ids: Vec<_> = listed.iter().map(|view| &view.run.id).collect();
    assert_eq!(ids, runs.iter().map(|run| &run.id).collect::<Vec<_>>());
    assert_eq!(listed.iter().map(|view| view.counts.judged).collect::<Vec<_>>(), [0, 1, 0, 0, 0]);
    let other = fixture.scene(1).await;
    assert_eq!(other.store().evaluation_runs(&scene.simulation.id, all()).await.unwrap().data, []);
}

/// A decision about a run sees its counts, and is written with its jobs.
pub async fn evaluation_run_change_is_written_with_its_jobs(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let run = scene.add_run().await;
    let now = fixture.now();
    let work = Work::JudgeAgain {
        simulation: scene.simulation.id.clone(),
        run: run.id.clone(),
        conversation: scene.id(0),
    };
    let jobs = vec![Job::new(scene.project.id.clone(), work)];
    let expected = jobs[0].clone();
    let decide = Box::new(move |view: EvaluationRunView| {
        Ok(EvaluationRunChange { run: view.run.queued(now)?, jobs: jobs.clone() })
    });
    let simulation = &scene.simulation.id;
    let changed = scene.store().change_evaluation_run(simulation, &run.id, decide).await.unwrap().unwrap();
    assert_eq!(changed.status, EvaluationRunStatus::InProgress);
    assert_eq!(scene.view(&run.id).await.run, changed);
    let claimed = fixture.claim_jobs(10, fixture.now()).await;
    assert!(claimed.iter().any(|claimed| claimed.job == expected), "{claimed:?}");

    let complete = || {
        Box::new(move |view: EvaluationRunView| {
            let run = view.run.complete(view.counts.settled(), now)?;
            Ok(EvaluationRunChange { run, jobs: Vec::new() })
        })
    };
    let early = scene.store().change_evaluation_run(simulation, &run.id, complete()).await;
    assert_eq!(refusal(early), Refusal::EvaluationRunUnfinished);
    assert!(scene.add_result(&run.id, result(&scene.id(0), None)).await);
    assert_eq!(scene.view(&run.id).await.counts, RunCounts { judged: 0, failed: 1 });
    let changed =
        scene.store().change_evaluation_run(simulation, &run.id, complete()).await.unwrap().unwrap();
    assert_eq!(changed.status, EvaluationRunStatus::Completed);
    let unknown = EvaluationRunId::generate(fixture.random());
    let none = scene.store().change_evaluation_run(simulation, &unknown, complete()).await.unwrap();
    assert_eq!(none, None);
}

/// A run has one result for each conversation: the first one.
pub async fn run_result_is_added_once_and_counted_once(fixture: &Fixture) {
    let scene = fixture.scene(5).await;
    let run = scene.add_run().await.id;
    let ids = scene.sorted_ids();
    for id in &ids[..4] {
        assert!(scene.add_result(&run, result(id, Some(Outcome::Failed))).await);
    }
    assert!(!scene.add_result(&run, result(&ids[0], None)).await, "a second result was added");
    assert!(
        scene.add_result(&run, RunResult { model_version: None, usage: None, ..result(&ids[4], None) }).await
    );
    assert_eq!(scene.view(&run).await.counts, RunCounts { judged: 4, failed: 1 });

    let stored = scene.results(&run, None, 10).await;
    assert_eq!(
        stored.iter().map(|one| &one.conversation_id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    assert_eq!(stored[0], result(&ids[0], Some(Outcome::Failed)));
    assert_eq!((stored[4].outcomes.clone(), stored[4].usage), (None, None));
    assert_eq!(scene.results(&run, None, 2).await, stored[..2]);
    assert_eq!(scene.results(&run, Some(&ids[1]), 2).await, stored[2..4]);
    assert_eq!(scene.results(&run, Some(&ids[4]), 2).await, []);
    let alone = scene.store().run_result(&scene.simulation.id, &run, &ids[2]).await.unwrap();
    assert_eq!(alone.as_ref(), Some(&stored[2]));

    let other = fixture.scene(1).await;
    let (foreign, simulation) = (other.store(), &scene.simulation.id);
    assert_eq!(foreign.run_results(simulation, &run, None, 10).await.unwrap(), []);
    assert_eq!(foreign.run_result(simulation, &run, &ids[2]).await.unwrap(), None);
    assert!(
        !scene.add_result(&run, result(&other.id(0), None)).await,
        "a conversation of another simulation"
    );
    let unknown = EvaluationRunId::generate(fixture.random());
    assert!(!scene.add_result(&unknown, result(&ids[0], None)).await);
    assert_eq!(scene.store().run_result(simulation, &unknown, &ids[0]).await.unwrap(), None);
}

/// Results that are added concurrently are all counted, and each once.
pub async fn concurrent_run_results_are_all_counted(fixture: &Fixture) {
    let scene = fixture.scene(24).await;
    let run = scene.add_run().await.id;
    let tasks = scene.conversations.iter().chain(&scene.conversations).map(|conversation| {
        let (scene, run, id) = (scene.clone(), run.clone(), conversation.id.clone());
        Box::pin(async move {
            scene.add_result(&run, result(&id, Some(Outcome::Passed))).await;
        }) as Task<()>
    });
    at_once(tasks.collect()).await;
    assert_eq!(scene.view(&run).await.counts, RunCounts { judged: 24, failed: 0 });
    assert_eq!(scene.results(&run, None, 1_000).await.len(), 24);
}

/// Labels are stored verbatim, and the last ones replace earlier ones.
pub async fn labels_are_replaced_and_listed(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    let (store, simulation) = (scene.store(), &scene.simulation.id);
    let ids = scene.sorted_ids();
    assert_eq!(store.conversation_labels(simulation, &ids[0]).await.unwrap(), None);
    for text in odd_texts() {
        let labels = scene.labels(&ids[0], Outcome::Inconclusive, Some(text));
        assert!(store.put_labels(simulation, labels.clone()).await.unwrap());
        assert_eq!(store.conversation_labels(simulation, &ids[0]).await.unwrap(), Some(labels));
    }
    let last = scene.labels(&ids[0], Outcome::Passed, None);
    assert!(store.put_labels(simulation, last.clone()).await.unwrap());
    let second = scene.labels(&ids[2], Outcome::Failed, None);
    assert!(store.put_labels(simulation, second.clone()).await.unwrap());
    assert_eq!(store.labels(simulation, None, 10).await.unwrap(), [last.clone(), second.clone()]);
    assert_eq!(store.labels(simulation, None, 1).await.unwrap(), [last]);
    assert_eq!(store.labels(simulation, Some(&ids[0]), 10).await.unwrap(), [second]);

    let other = fixture.scene(1).await;
    let foreign = other.labels(&other.id(0), Outcome::Passed, None);
    assert!(!store.put_labels(simulation, foreign).await.unwrap(), "a conversation of another simulation");
    assert_eq!(other.store().labels(simulation, None, 10).await.unwrap(), []);
    assert_eq!(other.store().conversation_labels(simulation, &ids[0]).await.unwrap(), None);
}
