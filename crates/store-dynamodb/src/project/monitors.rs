//! Monitors and their runs. A monitor is an item of its project, and its runs have a partition of their own.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use onerun_domain::{
    Direction, MONITOR_RUN_RETENTION, Monitor, MonitorId, MonitorRun, MonitorRunId, Page, PageRequest, later,
};
use onerun_store::{
    ChangeError, Decide, IdempotencyRecord, MonitorChange, MonitorRunChange, MonitorStore, NewMonitorRun,
    SortBy, StoreError,
};

use super::{DynamoDbProject, ProjectTable, contended, duplicate, projects::order, require_new};
use crate::{
    database::Written,
    entries::{delete, entry, named, replace},
    failure, idempotency,
    item::{self, EXPIRES, Item, REVISION},
    jobs,
    keys::{self, Key},
    lists, overdue,
    query::{Index, Query},
    retry::RetryPolicy,
    write::Write,
};

const MONITOR: &str = "monitor";
const RUN: &str = "run of a monitor";

#[async_trait]
impl MonitorStore for DynamoDbProject {
    async fn insert_monitor(
        &self,
        monitor: Monitor,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        let table = self.table();
        let mut writes = vec![put(table, &monitor)?.set(REVISION, item::number(1)).if_new()];
        writes.extend(entries(table, &monitor));
        require_new(table.database, writes, record.as_ref()).await
    }

    async fn monitor(&self, id: &MonitorId) -> Result<Option<Monitor>, StoreError> {
        let table = self.table();
        let found = table.database.get(MONITOR, &Key::monitor(table.project, id)).await?;
        found.map(|item| item.document()).transpose()
    }

    async fn monitors(&self, sort: SortBy, page: PageRequest) -> Result<Page<Monitor>, StoreError> {
        let table = self.table();
        let (index, direction) = order(sort);
        let query = Query::new(MONITOR, table.project.as_str()).by(index, direction).beginning(keys::MONITOR);
        lists::page(table.database, query, &page, Item::document).await
    }

    async fn change_monitor(
        &self,
        id: &MonitorId,
        decide: Decide<Monitor, MonitorChange>,
    ) -> Result<Option<Monitor>, ChangeError> {
        change(self.table(), id, decide).await
    }

    async fn delete_monitor(&self, id: &MonitorId) -> Result<bool, StoreError> {
        let table = self.table();
        let key = Key::monitor(table.project, id);
        let mut retry = RetryPolicy::new();
        loop {
            let Some(item) = table.database.get(MONITOR, &key).await? else { return Ok(false) };
            let mut writes = vec![Write::delete(MONITOR, key.clone()).if_revision(item.revision()?)];
            writes.extend(entries(table, &item.document()?).iter().map(delete));
            if let Written::All = table.database.write(&writes, &mut retry).await? {
                return Ok(true);
            }
            if !retry.wait().await {
                return Err(failure::contended(
                    "TransactWriteItems",
                    "other requests kept changing the monitor",
                ));
            }
        }
    }

    async fn monitor_run(
        &self,
        monitor: &MonitorId,
        id: &MonitorRunId,
    ) -> Result<Option<MonitorRun>, StoreError> {
        let table = self.table();
        let found = table.database.get(RUN, &Key::monitor_run(table.project, monitor, id)).await?;
        found.map(|item| item.document()).transpose()
    }

    async fn monitor_runs(
        &self,
        monitor: &MonitorId,
        page: PageRequest,
    ) -> Result<Page<MonitorRun>, StoreError> {
        let table = self.table();
        let query = Query::new(RUN, Key::monitor_runs(table.project, monitor))
            .by(Index::Made, Direction::Descending)
            .beginning(keys::MONITOR_RUN);
        lists::page(table.database, query, &page, Item::document).await
    }

    async fn change_monitor_run(
        &self,
        monitor: &MonitorId,
        id: &MonitorRunId,
        mut decide: Decide<MonitorRun, MonitorRunChange>,
    ) -> Result<Option<MonitorRun>, ChangeError> {
        let table = self.table();
        let mut retry = RetryPolicy::new();
        loop {
            let found = table.database.get(RUN, &Key::monitor_run(table.project, monitor, id)).await?;
            let Some(item) = found else { return Ok(None) };
            let MonitorRunChange { run: after, jobs } = decide(item.document()?)?;
            let mut writes = vec![put_run(table, &after)?.revise(item.revision()?)];
            writes.extend(jobs::calls(table.database, &jobs));
            if let Written::All = table.database.write(&writes, &mut retry).await? {
                return Ok(Some(after));
            }
            if !retry.wait().await {
                return Err(contended(RUN));
            }
        }
    }
}

fn put(table: ProjectTable<'_>, monitor: &Monitor) -> Result<Write, StoreError> {
    let write = Write::put_document(MONITOR, Key::monitor(table.project, &monitor.id), monitor)?;
    Ok(overdue::mark_monitor(write, monitor))
}

fn entries(table: ProjectTable<'_>, monitor: &Monitor) -> [Write; 2] {
    let (project, id) = (table.project.as_str(), monitor.id.as_str());
    named(MONITOR, project, keys::MONITOR, id, monitor.created_at, &monitor.name)
}

fn put_run(table: ProjectTable<'_>, run: &MonitorRun) -> Result<Write, StoreError> {
    let key = Key::monitor_run(table.project, &run.monitor_id, &run.id);
    Ok(Write::put_document(RUN, key, run)?.set(EXPIRES, expiry(run)))
}

/// The entry of a run. It never moves.
fn run_entry(table: ProjectTable<'_>, run: &MonitorRun) -> Write {
    let partition = Key::monitor_runs(table.project, &run.monitor_id);
    let text = format!("{}{}#{}", keys::MONITOR_RUN, keys::time(run.planned_at), run.id);
    let row = format!("{}{}", keys::MONITOR_RUN, run.id);
    entry(RUN, partition, Index::Made, &text, row).set(EXPIRES, expiry(run))
}

fn expiry(run: &MonitorRun) -> AttributeValue {
    item::number(later(run.planned_at, MONITOR_RUN_RETENTION).as_second())
}

async fn change(
    table: ProjectTable<'_>,
    id: &MonitorId,
    mut decide: Decide<Monitor, MonitorChange>,
) -> Result<Option<Monitor>, ChangeError> {
    let key = Key::monitor(table.project, id);
    let mut retry = RetryPolicy::new();
    loop {
        let Some(item) = table.database.get(MONITOR, &key).await? else { return Ok(None) };
        let before: Monitor = item.document()?;
        let MonitorChange { monitor, run } = decide(before.clone())?;
        let is_changed = monitor != before;
        let own = if is_changed {
            put(table, &monitor)?.revise(item.revision()?)
        } else {
            Write::check(MONITOR, key.clone()).if_revision(item.revision()?)
        };
        let moved = replace(&entries(table, &before), entries(table, &monitor));
        let mut writes = vec![own];
        if let Some(NewMonitorRun { run, jobs, record }) = &run {
            writes.push(put_run(table, run)?.set(REVISION, item::number(1)).if_new());
            writes.extend(record.as_ref().map(idempotency::put));
            writes.extend(jobs::calls(table.database, jobs));
            writes.push(run_entry(table, run));
        } else if !is_changed {
            return Ok(Some(monitor));
        }
        writes.extend(moved.iter().cloned());
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(Some(monitor)),
            // The monitor has not changed, so its run exists, or the request was repeated.
            Written::Failed(failed) if !failed.contains(&0) && !failed.contains(&1) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(failed) if !failed.contains(&0) => {
                if !is_changed {
                    return Ok(Some(monitor));
                }
                writes.truncate(1);
                writes.extend(moved);
                if let Written::All = table.database.write(&writes, &mut retry).await? {
                    return Ok(Some(monitor));
                }
            }
            Written::Failed(_) => {}
        }
        if !retry.wait().await {
            return Err(contended(MONITOR));
        }
    }
}
