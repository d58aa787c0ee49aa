//! Monitors and their runs. A monitor is an item of its project, and its runs have a partition of their own.

use async_trait::async_trait;
use onerun_domain::{
    Direction, MONITOR_RUN_RETENTION, Monitor, MonitorId, MonitorRun, MonitorRunId, Page, PageRequest, later,
};
use onerun_store::{
    ChangeError, Decide, IdempotencyRecord, MonitorChange, MonitorStore, NewMonitorRun, SortBy, StoreError,
};

use super::{DynamoDbProject, ProjectTable, contended, duplicate, projects::order, require_new};
use crate::{
    database::Written,
    idempotency,
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
        let write = put(table, &monitor)?.set(REVISION, item::number(1)).if_new();
        require_new(table.database, vec![write], record.as_ref()).await
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
        let write = Write::delete(MONITOR, Key::monitor(table.project, id)).if_there();
        let written = table.database.write(&[write], &mut RetryPolicy::new()).await?;
        Ok(matches!(written, Written::All))
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
        mut decide: Decide<MonitorRun, MonitorRun>,
    ) -> Result<Option<MonitorRun>, ChangeError> {
        let table = self.table();
        let mut retry = RetryPolicy::new();
        loop {
            let found = table.database.get(RUN, &Key::monitor_run(table.project, monitor, id)).await?;
            let Some(item) = found else { return Ok(None) };
            let after = decide(item.document()?)?;
            let write = put_run(table, &after)?.revise(item.revision()?);
            if let Written::All = table.database.write(&[write], &mut retry).await? {
                return Ok(Some(after));
            }
            if !retry.wait().await {
                return Err(contended(RUN));
            }
        }
    }
}

fn put(table: ProjectTable<'_>, monitor: &Monitor) -> Result<Write, StoreError> {
    let (id, created) = (&monitor.id, keys::time(monitor.created_at));
    let folded = keys::fold(monitor.name.as_str());
    let write = Write::put_document(MONITOR, Key::monitor(table.project, id), monitor)?
        .set(Index::Made.sort(), item::text(format!("{}{created}#{id}", keys::MONITOR)))
        .set(Index::Name.sort(), item::text(format!("{}{folded}{}{created}#{id}", keys::MONITOR, keys::END)));
    Ok(overdue::mark_monitor(write, monitor))
}

fn put_run(table: ProjectTable<'_>, run: &MonitorRun) -> Result<Write, StoreError> {
    let planned = keys::time(run.planned_at);
    let expires = later(run.planned_at, MONITOR_RUN_RETENTION).as_second();
    Ok(Write::put_document(RUN, Key::monitor_run(table.project, &run.monitor_id, &run.id), run)?
        .set(Index::Made.sort(), item::text(format!("{}{planned}#{}", keys::MONITOR_RUN, run.id)))
        .set(EXPIRES, item::number(expires)))
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
        let mut writes = vec![own];
        if let Some(NewMonitorRun { run, jobs, record }) = &run {
            writes.push(put_run(table, run)?.set(REVISION, item::number(1)).if_new());
            writes.extend(record.as_ref().map(idempotency::put));
            writes.extend(jobs::calls(table.database, jobs));
        } else if !is_changed {
            return Ok(Some(monitor));
        }
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
