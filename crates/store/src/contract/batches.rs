//! Batches, their items and their settings.

use onerun_domain::{
    Batch, BatchCounts, BatchId, BatchItem, BatchItemStatus, BatchPart, BatchStatus, BatchView, Direction,
    Job, MAX_BATCH_ITEMS, Metadata, Name, Refusal, Scenario, SimulationOverrides, Work,
};

use super::fixture::{
    Fixture, ROUNDS, Task, TestProject, assert_duplicate, at_once, in_pages, name, odd_texts, refusal, target,
};
use crate::{BatchChange, ChangeError, IdempotencyId, IdempotencyRecord, IdempotencyScope, NewBatch, SortBy};

fn overrides(text: &str) -> SimulationOverrides {
    SimulationOverrides {
        scenario: Some(Scenario::parse(text).unwrap()),
        target_personas: Some(target(7)),
        ..SimulationOverrides::default()
    }
}

impl TestProject {
    /// A batch of `items` simulations of one agent, in one part.
    pub(super) fn new_batch(&self, items: usize) -> NewBatch {
        let now = self.now();
        let agent = self.agent().id;
        let queued = vec![BatchItem::queued(agent.clone()); items];
        let batch = Batch {
            id: BatchId::generate(self.fixture.random()),
            project_id: self.id.clone(),
            name: name("Batch"),
            status: BatchStatus::InProgress,
            max_in_flight: 50,
            max_in_flight_per_agent: Some(7),
            metadata: Metadata::default(),
            created_by: "root".into(),
            counts: BatchCounts::of(&queued),
            parts: vec![0],
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        let part = BatchPart {
            defaults: SimulationOverrides { agent_id: Some(agent), ..overrides("Defaults.") },
            items: vec![overrides("A parcel is late."); items],
        };
        NewBatch {
            view: BatchView { batch, items: queued },
            parts: vec![part],
            jobs: Vec::new(),
            record: None,
        }
    }

    async fn add_batch(&self, new: NewBatch) -> BatchView {
        self.store.insert_batch(new.clone()).await.unwrap();
        new.view
    }

    async fn stored_batch(&self, id: &BatchId) -> Option<BatchView> {
        let (batch, items) = (self.store.batch(id).await.unwrap(), self.store.batch_items(id).await.unwrap());
        assert_eq!(batch.is_some(), items.is_some());
        Some(BatchView { batch: batch?, items: items? })
    }

    async fn settle(
        &self,
        view: &BatchView,
        index: u32,
        reason: &str,
    ) -> Result<Option<BatchView>, ChangeError> {
        let (item, reason, now) = (view.reference(index).unwrap(), reason.to_owned(), self.now());
        let decide = Box::new(move |view: BatchView| {
            let view = view.settle(&item, BatchItemStatus::Canceled, Some(&reason), now)?;
            Ok(BatchChange::to(view, Vec::new()))
        });
        self.store.change_batch(&view.batch.id, decide).await
    }

    fn advance(&self, batch: &BatchId) -> Job {
        Job::new(self.id.clone(), Work::AdvanceBatch { batch: batch.clone() })
    }
}

/// A batch is stored once with all its parts, and only in its project.
pub async fn batch_is_read_as_added(fixture: &Fixture) {
    let (project, other) = (fixture.new_project().await, fixture.new_project().await);
    for odd in odd_texts().iter().filter_map(|text| Name::parse(text.as_str()).ok()) {
        let mut new = project.new_batch(3);
        new.view.batch.name = odd;
        new.view.batch.parts = vec![0, 2];
        let last = BatchPart { items: vec![overrides("\u{1f600} \"quoted\"")], ..new.parts[0].clone() };
        new.parts[0].items.truncate(2);
        new.parts.push(last);
        new.jobs = vec![project.advance(&new.view.batch.id)];
        let id = project.add_batch(new.clone()).await.batch.id;
        assert_eq!(project.stored_batch(&id).await.as_ref(), Some(&new.view));
        for (part, number) in new.parts.iter().zip(0..) {
            assert_eq!(project.store.batch_part(&id, number).await.unwrap().as_ref(), Some(part));
            assert_eq!(other.store.batch_part(&id, number).await.unwrap(), None);
        }
        assert_eq!(project.store.batch_part(&id, 2).await.unwrap(), None);
        let jobs = fixture.claim_jobs(10, fixture.now()).await;
        assert_eq!(jobs.into_iter().map(|job| job.job).collect::<Vec<_>>(), new.jobs);
        fixture.store.complete_job(&new.jobs[0].id).await.unwrap();
        assert_duplicate(&project.store.insert_batch(NewBatch { jobs: Vec::new(), ..new.clone() }).await);
        assert_eq!(other.stored_batch(&id).await, None);
        let changed = other.store.change_batch(&id, Box::new(|view| Ok(BatchChange::to(view, Vec::new()))));
        assert_eq!(changed.await.unwrap(), None);
    }
}

/// Batches are listed by time and by name, in pages.
pub async fn batches_are_sorted_both_ways(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut added = Vec::new();
    for text in ["b", "A", "c", "B", "a"] {
        let mut new = project.new_batch(1);
        new.view.batch.name = name(text);
        added.push(project.add_batch(new).await.batch);
    }
    let other = fixture.new_project().await;
    other.add_batch(other.new_batch(1)).await;
    for (sort, order) in [
        (SortBy::CreatedAt(Direction::Ascending), [0, 1, 2, 3, 4]),
        (SortBy::CreatedAt(Direction::Descending), [4, 3, 2, 1, 0]),
        (SortBy::Name(Direction::Ascending), [1, 4, 0, 3, 2]),
        (SortBy::Name(Direction::Descending), [2, 3, 0, 4, 1]),
    ] {
        let listed = in_pages(2, async |page| project.store.batches(sort, page).await.unwrap()).await;
        assert_eq!(listed, order.map(|place| added[place].clone()), "{sort:?}");
    }
}

/// A change of a batch and its items is stored with its jobs, and a refused one is not.
pub async fn changed_batch_is_stored_with_its_jobs(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let view = project.add_batch(project.new_batch(2)).await;
    let job = project.advance(&view.batch.id);
    let jobs = vec![job.clone()];
    let (item, now) = (view.reference(1).unwrap(), fixture.now());
    let decide = Box::new(move |view: BatchView| {
        Ok(BatchChange::to(view.start(std::slice::from_ref(&item), now), jobs.clone()))
    });
    let changed = project.store.change_batch(&view.batch.id, decide).await.unwrap();
    assert_eq!(changed.as_ref().map(|view| view.batch.counts.in_progress), Some(1));
    assert_eq!(project.stored_batch(&view.batch.id).await, changed);
    assert_eq!(fixture.claim_jobs(10, fixture.now()).await.len(), 1);
    fixture.store.complete_job(&job.id).await.unwrap();
    let jobs = vec![job];
    let unchanged = Box::new(move |view: BatchView| Ok(BatchChange::to(view, jobs.clone())));
    assert_eq!(project.store.change_batch(&view.batch.id, unchanged).await.unwrap(), changed);
    assert_eq!(fixture.claim_jobs(10, fixture.now()).await.len(), 1);
    let refuse = Box::new(|_| Err(Refusal::BatchStopping));
    assert_eq!(refusal(project.store.change_batch(&view.batch.id, refuse).await), Refusal::BatchStopping);
    assert_eq!(project.stored_batch(&view.batch.id).await, changed);
    let listed =
        project.store.batches(SortBy::CreatedAt(Direction::Ascending), super::fixture::all()).await.unwrap();
    assert_eq!(listed.data, [changed.unwrap().batch]);
}

/// Items that end at once are all counted, each once.
pub async fn concurrent_ends_of_items_are_all_counted(fixture: &Fixture) {
    for _ in 0..ROUNDS {
        let project = fixture.new_project().await;
        let view = project.add_batch(project.new_batch(5)).await;
        let tasks = [0, 1, 2, 3, 1].map(|index| {
            let (project, view) = (project.clone(), view.clone());
            Box::pin(async move { project.settle(&view, index, "canceled").await.is_ok() }) as Task<bool>
        });
        let settled = at_once(tasks.into()).await;
        assert_eq!(settled.into_iter().filter(|settled| *settled).count(), 4);
        let stored = project.stored_batch(&view.batch.id).await.unwrap();
        assert_eq!((stored.batch.counts.canceled, stored.batch.counts.queued), (4, 1));
        assert_eq!(stored.batch.counts, BatchCounts::of(&stored.items));
    }
}

/// A batch with as many items, settings and reasons as there may be is stored, and changed.
pub async fn largest_batch_is_stored(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let mut new = project.new_batch(MAX_BATCH_ITEMS);
    let long = overrides(&"\u{e9}".repeat(Scenario::MAX_LENGTH));
    let in_part = 256 * 1024 / long.json_bytes();
    let defaults = new.parts[0].defaults.clone();
    let parts = 2 * 1024 * 1024 / (in_part * long.json_bytes());
    new.parts = vec![BatchPart { defaults, items: vec![long; in_part] }; parts];
    new.view.batch.parts = (0..parts).map(|number| u32::try_from(number * in_part).unwrap()).collect();
    let view = project.add_batch(new.clone()).await;
    let last = u32::try_from(parts - 1).unwrap();
    assert_eq!(project.store.batch_part(&view.batch.id, last).await.unwrap().as_ref(), new.parts.last());
    let now = fixture.now();
    let decide = Box::new(move |mut view: BatchView| {
        for index in 0..u32::try_from(MAX_BATCH_ITEMS).unwrap() {
            let item = view.reference(index).unwrap();
            view =
                view.settle(&item, BatchItemStatus::Failed, Some(&"\"\u{1f600}\u{1b}".repeat(200)), now)?;
        }
        Ok(BatchChange::to(view, Vec::new()))
    });
    let changed = project.store.change_batch(&view.batch.id, decide).await.unwrap().unwrap();
    assert_eq!(changed.batch.status, BatchStatus::Failed);
    assert_eq!(project.stored_batch(&view.batch.id).await, Some(changed));
}

/// A batch is added with the record of its request, and a repeated request adds none.
pub async fn batch_of_a_repeated_request_is_added_once(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let now = fixture.now();
    let scope = IdempotencyScope::Resources;
    let id = IdempotencyId::new(scope, &onerun_auth::KeyId::ROOT, Some(&project.id), "a");
    let record = |response: &str| {
        let response = response.into();
        Some(IdempotencyRecord { id: id.clone(), request_hash: "h".into(), response, created_at: now })
    };
    let first = project.add_batch(NewBatch { record: record("1"), ..project.new_batch(1) }).await;
    let second = NewBatch { record: record("2"), ..project.new_batch(1) };
    assert_duplicate(&project.store.insert_batch(second.clone()).await);
    assert_eq!(project.stored_batch(&second.view.batch.id).await, None);
    let record = record("3");
    let change =
        Box::new(move |view| Ok(BatchChange { record: record.clone(), ..BatchChange::to(view, Vec::new()) }));
    let changed = project.store.change_batch(&first.batch.id, change).await;
    assert!(matches!(changed, Err(ChangeError::Store(crate::StoreError::Duplicate { .. }))), "{changed:?}");
    let stored = fixture.store.idempotency_record(&id, now).await.unwrap().unwrap();
    assert_eq!(stored.response, "1");
}
