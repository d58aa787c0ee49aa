//! The part of a project's store that holds monitors and their runs.

use async_trait::async_trait;
use onerun_domain::{Job, Monitor, MonitorId, MonitorRun, MonitorRunId, Page, PageRequest};

use crate::{ChangeError, Decide, IdempotencyRecord, SortBy, StoreError};

/// The new state of a monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorChange {
    /// Its new state.
    pub monitor: Monitor,
    /// A run that is added with its jobs and the idempotency record of the request. If a run with its id exists, the
    /// monitor is changed, and none of these is written.
    pub run: Option<NewMonitorRun>,
}

impl MonitorChange {
    /// A change of the monitor only.
    pub fn to(monitor: Monitor) -> Self {
        Self { monitor, run: None }
    }
}

/// A new run of a monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMonitorRun {
    /// The run.
    pub run: MonitorRun,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
    /// The idempotency record of the request.
    pub record: Option<IdempotencyRecord>,
}

/// The new state of a monitor's run.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorRunChange {
    /// Its new state.
    pub run: MonitorRun,
    /// Jobs that are written with it.
    pub jobs: Vec<Job>,
}

impl MonitorRunChange {
    /// A change of the state only.
    pub fn to(run: MonitorRun) -> Self {
        Self { run, jobs: Vec::new() }
    }
}

/// Monitors and their runs in one project. Ids of other projects are unknown here.
#[async_trait]
pub trait MonitorStore: Send + Sync {
    /// Adds a monitor.
    async fn insert_monitor(
        &self,
        monitor: Monitor,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError>;

    /// One monitor.
    async fn monitor(&self, id: &MonitorId) -> Result<Option<Monitor>, StoreError>;

    /// A page of monitors.
    async fn monitors(&self, sort: SortBy, page: PageRequest) -> Result<Page<Monitor>, StoreError>;

    /// Changes a monitor, and adds a run, all in one write, or nothing. `None` if the monitor does not exist.
    async fn change_monitor(
        &self,
        id: &MonitorId,
        decide: Decide<Monitor, MonitorChange>,
    ) -> Result<Option<Monitor>, ChangeError>;

    /// Deletes a monitor. Its runs are unreachable, and removed after
    /// [`MONITOR_RUN_RETENTION`](onerun_domain::MONITOR_RUN_RETENTION). `false` if it does not exist.
    async fn delete_monitor(&self, id: &MonitorId) -> Result<bool, StoreError>;

    /// One run.
    async fn monitor_run(
        &self,
        monitor: &MonitorId,
        id: &MonitorRunId,
    ) -> Result<Option<MonitorRun>, StoreError>;

    /// A page of a monitor's runs, by planned time, last first.
    async fn monitor_runs(
        &self,
        monitor: &MonitorId,
        page: PageRequest,
    ) -> Result<Page<MonitorRun>, StoreError>;

    /// Changes a run, and adds jobs. `None` if it does not exist.
    async fn change_monitor_run(
        &self,
        monitor: &MonitorId,
        id: &MonitorRunId,
        decide: Decide<MonitorRun, MonitorRunChange>,
    ) -> Result<Option<MonitorRun>, ChangeError>;
}
