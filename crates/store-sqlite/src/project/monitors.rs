//! Monitors and their runs.

use async_trait::async_trait;
use jiff::Timestamp;
use onerun_domain::{
    Direction, MONITOR_RUN_RETENTION, Monitor, MonitorId, MonitorRun, MonitorRunId, Page, PageRequest,
    ProjectId, later,
};
use onerun_store::{
    ChangeError, Decide, IdempotencyRecord, MonitorChange, MonitorRunChange, MonitorStore, NewMonitorRun,
    SortBy, StoreError,
};
use rusqlite::{Connection, params};

use super::{SqliteProject, projects::order};
use crate::{
    columns::{Columns, only},
    idempotency, jobs,
    lists::{self, Order, Query, SortKey},
    rows::{self, micros},
    sql::{self, ProjectTables},
};

const MONITOR: &str = "monitor";
const RUN: &str = "run of a monitor";

#[async_trait]
impl MonitorStore for SqliteProject {
    async fn insert_monitor(
        &self,
        monitor: Monitor,
        record: Option<IdempotencyRecord>,
    ) -> Result<(), StoreError> {
        self.write(move |tables| {
            insert(tables, &monitor)?;
            idempotency::insert(tables.connection, record.as_ref())
        })
        .await
    }

    async fn monitor(&self, id: &MonitorId) -> Result<Option<Monitor>, StoreError> {
        let id = id.clone();
        self.read(move |tables| get(tables, &id)).await
    }

    async fn monitors(&self, sort: SortBy, page: PageRequest) -> Result<Page<Monitor>, StoreError> {
        self.read(move |tables| list(tables, sort, &page)).await
    }

    async fn change_monitor(
        &self,
        id: &MonitorId,
        decide: Decide<Monitor, MonitorChange>,
    ) -> Result<Option<Monitor>, ChangeError> {
        let id = id.clone();
        self.write(move |tables| change(tables, &id, decide)).await
    }

    async fn delete_monitor(&self, id: &MonitorId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |tables| {
            let sql = "DELETE FROM monitors WHERE id = ?2 AND project_id = ?1";
            let ids = [tables.project.as_str(), id.as_str()];
            Ok(sql::execute(tables.connection, MONITOR, sql, ids)? == 1)
        })
        .await
    }

    async fn monitor_run(
        &self,
        monitor: &MonitorId,
        id: &MonitorRunId,
    ) -> Result<Option<MonitorRun>, StoreError> {
        let (monitor, id) = (monitor.clone(), id.clone());
        self.read(move |tables| run(tables, &monitor, &id)).await
    }

    async fn monitor_runs(
        &self,
        monitor: &MonitorId,
        page: PageRequest,
    ) -> Result<Page<MonitorRun>, StoreError> {
        let monitor = monitor.clone();
        self.read(move |tables| runs(tables, &monitor, &page)).await
    }

    async fn change_monitor_run(
        &self,
        monitor: &MonitorId,
        id: &MonitorRunId,
        mut decide: Decide<MonitorRun, MonitorRunChange>,
    ) -> Result<Option<MonitorRun>, ChangeError> {
        let (monitor, id) = (monitor.clone(), id.clone());
        self.write(move |tables| {
            let Some(before) = run(tables, &monitor, &id)? else { return Ok(None) };
            let MonitorRunChange { run: after, jobs } = decide(before)?;
            let sql = "UPDATE monitor_runs SET body = ?2 WHERE id = ?1";
            sql::execute(tables.connection, RUN, sql, params![id.as_str(), rows::json(RUN, &after)?])?;
            jobs::add(tables.connection, &jobs)?;
            Ok(Some(after))
        })
        .await
    }
}

fn insert(tables: &ProjectTables<'_>, monitor: &Monitor) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        MONITOR,
        "INSERT INTO monitors (id, project_id, name_folded, body, next_run_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            monitor.id.as_str(),
            tables.project.as_str(),
            sql::fold(monitor.name.as_str()),
            rows::json(MONITOR, monitor)?,
            monitor.next_run_at.map(micros),
            micros(monitor.created_at),
        ],
    )?;
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(columns: &mut Columns<'_>) -> Result<T, StoreError> {
    columns.checked(rows::from_json)
}

fn get(tables: &ProjectTables<'_>, id: &MonitorId) -> Result<Option<Monitor>, StoreError> {
    let sql = "SELECT body FROM monitors WHERE id = ?2 AND project_id = ?1";
    sql::one(tables.connection, MONITOR, sql, [tables.project.as_str(), id.as_str()], read)
}

fn list(tables: &ProjectTables<'_>, sort: SortBy, page: &PageRequest) -> Result<Page<Monitor>, StoreError> {
    let project = vec![tables.project.as_str().to_owned().into()];
    let candidates = Query::new("monitors", "project_id = ?1", project).candidates(
        tables.connection,
        MONITOR,
        &order(sort),
        page,
    )?;
    lists::page(candidates, page, |inserted| {
        sql::one(
            tables.connection,
            MONITOR,
            "SELECT body FROM monitors WHERE inserted = ?1",
            [inserted],
            read,
        )
    })
}

fn change(
    tables: &ProjectTables<'_>,
    id: &MonitorId,
    mut decide: Decide<Monitor, MonitorChange>,
) -> Result<Option<Monitor>, ChangeError> {
    let Some(before) = get(tables, id)? else { return Ok(None) };
    let MonitorChange { monitor, run } = decide(before.clone())?;
    if monitor != before {
        sql::execute(
            tables.connection,
            MONITOR,
            "UPDATE monitors SET name_folded = ?2, body = ?3, next_run_at = ?4 WHERE id = ?1",
            params![
                id.as_str(),
                sql::fold(monitor.name.as_str()),
                rows::json(MONITOR, &monitor)?,
                monitor.next_run_at.map(micros),
            ],
        )?;
    }
    if let Some(NewMonitorRun { run, jobs, record }) = run
        && insert_run(tables, &run)?
    {
        jobs::add(tables.connection, &jobs)?;
        idempotency::insert(tables.connection, record.as_ref())?;
    }
    Ok(Some(monitor))
}

/// Adds a run, unless it exists. `false` if it does.
fn insert_run(tables: &ProjectTables<'_>, run: &MonitorRun) -> Result<bool, StoreError> {
    let inserted = sql::execute(
        tables.connection,
        RUN,
        "INSERT INTO monitor_runs (id, project_id, monitor_id, body, planned_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
        params![
            run.id.as_str(),
            tables.project.as_str(),
            run.monitor_id.as_str(),
            rows::json(RUN, run)?,
            micros(run.planned_at),
        ],
    )?;
    Ok(inserted == 1)
}

fn run(
    tables: &ProjectTables<'_>,
    monitor: &MonitorId,
    id: &MonitorRunId,
) -> Result<Option<MonitorRun>, StoreError> {
    let sql = "SELECT body FROM monitor_runs WHERE id = ?3 AND monitor_id = ?2 AND project_id = ?1";
    let ids = [tables.project.as_str(), monitor.as_str(), id.as_str()];
    sql::one(tables.connection, RUN, sql, ids, read)
}

fn runs(
    tables: &ProjectTables<'_>,
    monitor: &MonitorId,
    page: &PageRequest,
) -> Result<Page<MonitorRun>, StoreError> {
    let ids = [tables.project.as_str(), monitor.as_str()].map(|id| id.to_owned().into());
    let order = Order { keys: &[SortKey::Integer("planned_at")], direction: Direction::Descending };
    let candidates = Query::new("monitor_runs", "project_id = ?1 AND monitor_id = ?2", ids.to_vec())
        .candidates(tables.connection, RUN, &order, page)?;
    lists::page(candidates, page, |inserted| {
        sql::one(
            tables.connection,
            RUN,
            "SELECT body FROM monitor_runs WHERE inserted = ?1",
            [inserted],
            read,
        )
    })
}

/// Monitors of all projects whose next planned time is not after `now`, longest due first.
pub(crate) fn due(
    connection: &Connection,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(ProjectId, MonitorId)>, StoreError> {
    sql::all(
        connection,
        MONITOR,
        // The condition is that of the index `monitors_by_next_run`.
        "SELECT project_id, id FROM monitors
         WHERE next_run_at IS NOT NULL AND next_run_at <= ?1
         ORDER BY next_run_at LIMIT ?2",
        params![micros(now), limit],
        |columns| Ok((columns.parsed()?, columns.parsed()?)),
    )
}

/// Whether the retention of any run is over.
pub(crate) fn has_expired(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM monitor_runs WHERE planned_at <= ?1)";
    Ok(sql::one(connection, RUN, sql, [planned_by(now)], only::<bool>)?.unwrap_or(false))
}

/// Removes up to `limit` runs whose retention is over.
pub(crate) fn delete_expired(connection: &Connection, limit: u32, now: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        connection,
        RUN,
        "DELETE FROM monitor_runs WHERE inserted IN
             (SELECT inserted FROM monitor_runs WHERE planned_at <= ?1 LIMIT ?2)",
        params![planned_by(now), limit],
    )?;
    Ok(())
}

fn planned_by(now: Timestamp) -> i64 {
    micros(later(now, -MONITOR_RUN_RETENTION))
}
