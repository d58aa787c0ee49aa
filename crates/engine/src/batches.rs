//! Batches: many simulations that one call starts. A job creates them in bounded steps, as many at once as the batch
//! allows, and another one notes the end of each.

mod creation;

use std::collections::{BTreeMap, btree_map::Entry};

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    BatchId, BatchItemStatus, BatchPart, BatchRef, BatchStatus, BatchView, Job, ProjectId, Refusal, Resource,
    SimulationId, Work,
};
use onerun_store::{BatchChange, IdempotencyRecord, ProjectStore, StoreError};

pub use creation::NewBatchInput;

use crate::{Engine, JobError, OperationError, error::ignore_refusal, simulations::SimulationOrigin};

/// How many simulations one job creates or cancels before it enqueues the next.
const STEP: usize = 25;

/// How many of them are created or canceled at once. On DynamoDB, simulations of one agent meet at its count.
const AT_ONCE: usize = 4;

/// Why an item has no simulation, if the log has the reason.
const NOT_STARTED: &str = "it could not be started in several attempts; the server's log has the reason";

/// The result of an attempt: its status, and why it did not complete.
type Settled = (BatchItemStatus, Option<String>);

impl Engine {
    /// Cancels a batch at once. A job cancels its simulations.
    pub async fn cancel_batch(
        &self,
        project: &dyn ProjectStore,
        id: &BatchId,
    ) -> Result<BatchView, OperationError> {
        let (now, project_id) = (self.now(), project.project_id().clone());
        let decide = Box::new(move |view: BatchView| {
            let view = view.cancel(now)?;
            let jobs = if view.batch.counts.unsettled() > 0 {
                vec![advance(&project_id, &view)]
            } else {
                Vec::new()
            };
            Ok(BatchChange::to(view, jobs))
        });
        let changed = project.change_batch(id, decide).await?;
        changed.ok_or(OperationError::NotFound(Resource::Batch))
    }

    /// Queues the items of a batch that failed, expired or were canceled for another attempt. The idempotency record
    /// that `record` builds is written in the same transaction.
    pub async fn rerun_batch(
        &self,
        project: &dyn ProjectStore,
        id: &BatchId,
        record: impl Fn(&BatchView) -> Option<IdempotencyRecord> + Send + 'static,
    ) -> Result<BatchView, OperationError> {
        let (now, project_id) = (self.now(), project.project_id().clone());
        let decide = Box::new(move |view: BatchView| {
            let (view, queued) = view.rerun(now)?;
            let jobs = if queued.is_empty() { Vec::new() } else { vec![advance(&project_id, &view)] };
            Ok(BatchChange { record: record(&view), ..BatchChange::to(view, jobs) })
        });
        let changed = project.change_batch(id, decide).await?;
        changed.ok_or(OperationError::NotFound(Resource::Batch))
    }

    /// Creates the next simulations of a batch, or cancels those of a canceled one, and enqueues the rest. Only one job
    /// of a batch runs at a time.
    pub(crate) async fn advance_batch(
        &self,
        project: &dyn ProjectStore,
        id: &BatchId,
    ) -> Result<(), JobError> {
        let Some(batch) = project.batch(id).await? else { return Ok(()) };
        let Some(items) = project.batch_items(id).await? else { return Ok(()) };
        let view = BatchView { batch, items };
        if view.batch.status == BatchStatus::Canceled {
            self.cancel_simulations(project, &view).await
        } else {
            self.create_simulations(project, &view).await
        }
    }

    async fn create_simulations(&self, project: &dyn ProjectStore, view: &BatchView) -> Result<(), JobError> {
        let indexes = view.startable(STEP);
        if indexes.is_empty() {
            return Ok(());
        }
        let mut parts = BTreeMap::new();
        for number in indexes.iter().map(|index| view.batch.part_of(*index)) {
            if let Entry::Vacant(part) = parts.entry(number) {
                part.insert(project.batch_part(&view.batch.id, number).await?);
            }
        }
        let mut creations = Vec::new();
        for item in indexes.iter().filter_map(|index| view.reference(*index)) {
            let part = parts.get(&view.batch.part_of(item.index)).and_then(Option::as_ref);
            creations.push(self.create_simulation_of_batch(project, view, item, part));
        }
        let created: Vec<(BatchRef, Option<String>)> =
            stream::iter(creations).buffer_unordered(AT_ONCE).try_collect().await?;
        let (now, project_id) = (self.now(), project.project_id().clone());
        let decide = Box::new(move |view: BatchView| {
            let is_created =
                |(item, failure): &(BatchRef, Option<String>)| failure.is_none().then(|| item.clone());
            let started: Vec<_> = created.iter().filter_map(is_created).collect();
            let failed = created.iter().filter_map(|(item, failure)| {
                Some((item.clone(), BatchItemStatus::Failed, Some(failure.clone()?)))
            });
            Ok(with_next_step(&project_id, view.start(&started, now).settle_open(failed, now)))
        });
        ignore_refusal(project.change_batch(&view.batch.id, decide).await)?;
        Ok(())
    }

    /// Creates the simulation of an item, unless it exists. Returns the item, and why its simulation cannot be created.
    async fn create_simulation_of_batch(
        &self,
        project: &dyn ProjectStore,
        view: &BatchView,
        item: BatchRef,
        part: Option<&BatchPart>,
    ) -> Result<(BatchRef, Option<String>), StoreError> {
        let corrupt =
            || StoreError::Corrupt { what: "batch", reason: "the settings of an item are missing".into() };
        let part = part.ok_or_else(corrupt)?;
        let first = usize::try_from(view.batch.part_of(item.index)).ok();
        let first = first.and_then(|number| view.batch.parts.get(number)).ok_or_else(corrupt)?;
        let place = usize::try_from(item.index - first).unwrap_or(usize::MAX);
        let overrides = part.items.get(place).ok_or_else(corrupt)?;
        let new = match overrides.resolve(&part.defaults, &view.batch.name) {
            Ok(new) => new,
            Err(wrong) => {
                let wrong: Vec<_> =
                    wrong.iter().map(|(field, detail)| format!("`{field}` {detail}")).collect();
                return Ok((item, Some(wrong.join("; "))));
            }
        };
        let id = item.simulation_id();
        if project.simulation(&id).await?.is_some() {
            return Ok((item, None));
        }
        let origin = SimulationOrigin {
            id,
            created_by: view.batch.created_by.clone(),
            monitor_run: None,
            batch: Some(item.clone()),
        };
        match self.create_simulation_of(project, new, origin, |_| None).await {
            // Another delivery of this job was faster.
            Ok(_) | Err(OperationError::Store(StoreError::Duplicate { .. })) => Ok((item, None)),
            Err(OperationError::Store(error)) => Err(error),
            Err(error) => Ok((item, Some(error.to_string()))),
        }
    }

    async fn cancel_simulations(&self, project: &dyn ProjectStore, view: &BatchView) -> Result<(), JobError> {
        let open = view.unsettled(STEP);
        if open.is_empty() {
            return Ok(());
        }
        let items = open.iter().filter_map(|index| view.reference(*index));
        let cancellations: Vec<_> =
            items.map(|item| self.cancel_simulation_of_batch(project, item)).collect();
        let canceled: Vec<(BatchRef, BatchItemStatus)> =
            stream::iter(cancellations).buffer_unordered(AT_ONCE).try_collect().await?;
        let (now, project_id) = (self.now(), project.project_id().clone());
        let decide = Box::new(move |view: BatchView| {
            let canceled = canceled.iter().map(|(item, status)| (item.clone(), *status, None));
            Ok(with_next_step(&project_id, view.settle_open(canceled, now)))
        });
        ignore_refusal(project.change_batch(&view.batch.id, decide).await)?;
        Ok(())
    }

    /// Cancels the simulation of an item, if it exists. Returns the item with its status.
    async fn cancel_simulation_of_batch(
        &self,
        project: &dyn ProjectStore,
        item: BatchRef,
    ) -> Result<(BatchRef, BatchItemStatus), StoreError> {
        let status = match self.cancel_simulation(project, &item.simulation_id()).await {
            Err(OperationError::Refused(Refusal::SimulationOver { status })) => status.into(),
            Err(OperationError::Store(error)) => return Err(error),
            // It was canceled now, or it was not created yet.
            _ => BatchItemStatus::Canceled,
        };
        Ok((item, status))
    }

    /// Notes the end of a batch's simulation, and enqueues the next ones.
    pub(crate) async fn settle_batch_item(
        &self,
        project: &dyn ProjectStore,
        simulation: &SimulationId,
        item: &BatchRef,
    ) -> Result<(), JobError> {
        let settled = match project.simulation(simulation).await? {
            Some(detail) if !detail.simulation.status.is_final() => return Ok(()),
            Some(detail) => {
                let reason = detail.simulation.last_failure_reason;
                let status = BatchItemStatus::from(detail.simulation.status);
                (status, reason.filter(|_| status != BatchItemStatus::Completed))
            }
            None => (BatchItemStatus::Failed, Some("its simulation was deleted".to_owned())),
        };
        self.settle(project, item, settled).await?;
        Ok(())
    }

    /// Notes the failure of the items that wait for a job, before the job is buried.
    pub(crate) async fn fail_batch_items(
        &self,
        project: &dyn ProjectStore,
        job: &Job,
    ) -> Result<(), StoreError> {
        let id = match &job.work {
            Work::SettleBatchItem { item, .. } => {
                let reason =
                    "its result could not be noted in several attempts; the server's log has the reason";
                let settled = (BatchItemStatus::Failed, Some(reason.to_owned()));
                return self.settle(project, item, settled).await;
            }
            Work::AdvanceBatch { batch } => batch,
            _ => return Ok(()),
        };
        let Some(batch) = project.batch(id).await? else { return Ok(()) };
        if batch.status == BatchStatus::Canceled {
            // It runs once more after it is buried: simulations that a caller canceled must not go on.
            return self.store().enqueue(vec![job.clone()]).await;
        }
        let now = self.now();
        let decide = Box::new(move |view: BatchView| {
            let queued =
                view.items.iter().zip(0..).filter(|(item, _)| item.status == BatchItemStatus::Queued);
            let queued: Vec<_> = queued.filter_map(|(_, index)| view.reference(index)).collect();
            let failed = |item| (item, BatchItemStatus::Failed, Some(NOT_STARTED.to_owned()));
            Ok(BatchChange::to(view.settle_open(queued.into_iter().map(failed), now), Vec::new()))
        });
        ignore_refusal(project.change_batch(id, decide).await)?;
        Ok(())
    }

    async fn settle(
        &self,
        project: &dyn ProjectStore,
        item: &BatchRef,
        (status, reason): Settled,
    ) -> Result<(), StoreError> {
        let (now, project_id, settled) = (self.now(), project.project_id().clone(), item.clone());
        let decide = Box::new(move |view: BatchView| {
            let view = view.settle(&settled, status, reason.as_deref(), now)?;
            Ok(with_next_step(&project_id, view))
        });
        ignore_refusal(project.change_batch(&item.batch, decide).await)?;
        Ok(())
    }
}

/// A change with the job of the next step, if there is something left to create or to cancel.
fn with_next_step(project: &ProjectId, view: BatchView) -> BatchChange {
    let has_more = match view.batch.status {
        BatchStatus::Canceled => view.batch.counts.unsettled() > 0,
        _ => !view.startable(1).is_empty(),
    };
    let jobs = if has_more { vec![advance(project, &view)] } else { Vec::new() };
    BatchChange::to(view, jobs)
}

fn advance(project: &ProjectId, view: &BatchView) -> Job {
    Job::new(project.clone(), Work::AdvanceBatch { batch: view.batch.id.clone() })
}
