//! Jobs: enqueued with the change that needs them, claimed, and completed, retried or buried.

use jiff::Timestamp;
use onerun_domain::{Job, JobId, JobKind, Page, PageRequest, ProjectId};
use onerun_store::{
    ClaimedJob, DEAD_JOB_RETENTION, DeadJob, MAX_DEAD_JOBS, PageBuilder, StoreError, position,
};
use rusqlite::{Connection, params};

use crate::{
    columns::{only, only_time},
    lists,
    rows::{self, job_columns, micros},
    sql,
};

/// Enqueues jobs. A job that waits is not added again. A claimed job will run again afterwards,
/// because the current run may not see the change that needs it.
pub(crate) fn add(connection: &Connection, jobs: &[Job]) -> Result<(), StoreError> {
    for job in jobs {
        sql::execute(
            connection,
            "job",
            "INSERT INTO jobs (id, project_id, kind, work) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET again = 1 WHERE claimed = 1",
            params![
                job.id.as_str(),
                job.project_id.as_str(),
                number(JobKind::of(&job.id)),
                rows::json("job", &job.work)?
            ],
        )?;
    }
    Ok(())
}

/// Claims due jobs. Projects take turns, beginning after `served`, the project of the last claim.
pub(crate) fn claim(
    connection: &Connection,
    kind: JobKind,
    served: Option<ProjectId>,
    limit: u32,
    hidden_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<ClaimedJob>, StoreError> {
    // A job that has become due joins those that are due at once, in its old position.
    sql::execute(
        connection,
        "job",
        "UPDATE jobs SET due = 0, claimed = 0, again = 0 WHERE kind = ?1 AND due > 0 AND due <= ?2",
        params![number(kind), micros(now)],
    )?;
    let mut claimed: Vec<ClaimedJob> = Vec::new();
    let mut served = served.map_or(String::new(), |project| project.to_string());
    for _ in 0..limit {
        let next = match oldest_after(connection, kind, &served)? {
            None if !served.is_empty() => oldest_after(connection, kind, "")?,
            next => next,
        };
        let Some((inserted, project)) = next else { break };
        served = project;
        claimed.extend(take(connection, inserted, hidden_until)?);
    }
    Ok(claimed)
}

/// The oldest due job of the first project after `served`, in the order of their ids.
fn oldest_after(
    connection: &Connection,
    kind: JobKind,
    served: &str,
) -> Result<Option<(i64, String)>, StoreError> {
    sql::one(
        connection,
        "job",
        "SELECT inserted, project_id FROM jobs WHERE kind = ?1 AND due = 0 AND project_id > ?2
         ORDER BY project_id, inserted LIMIT 1",
        params![number(kind), served],
        |columns| Ok((columns.value()?, columns.value()?)),
    )
}

fn take(
    connection: &Connection,
    inserted: i64,
    hidden_until: Timestamp,
) -> Result<Option<ClaimedJob>, StoreError> {
    sql::one(
        connection,
        "job",
        concat!(
            "UPDATE jobs SET due = ?2, claimed = 1, deliveries = deliveries + 1 WHERE inserted = ?1
             RETURNING deliveries, ",
            job_columns!("jobs")
        ),
        params![inserted, hidden(hidden_until)],
        |columns| {
            let deliveries = columns.value()?;
            Ok(ClaimedJob { deliveries, job: rows::job(columns)? })
        },
    )
}

/// The number of a kind in the column `kind`.
fn number(kind: JobKind) -> i64 {
    match kind {
        JobKind::Other => 0,
        JobKind::Judging => 1,
        JobKind::Outbound => 2,
    }
}

/// Claims one job, if it is due.
pub(crate) fn claim_one(
    connection: &Connection,
    id: &JobId,
    hidden_until: Timestamp,
    now: Timestamp,
) -> Result<Option<ClaimedJob>, StoreError> {
    sql::one(
        connection,
        "job",
        concat!(
            "UPDATE jobs SET due = ?2, claimed = 1, again = 0, deliveries = deliveries + 1
             WHERE id = ?1 AND due <= ?3
             RETURNING deliveries, ",
            job_columns!("jobs")
        ),
        params![id.as_str(), hidden(hidden_until), micros(now)],
        |columns| {
            let deliveries = columns.value()?;
            Ok(ClaimedJob { deliveries, job: rows::job(columns)? })
        },
    )
}

pub(crate) fn complete(connection: &Connection, id: &JobId) -> Result<(), StoreError> {
    // Not if its claim has expired meanwhile: then it waits to run again.
    remove(connection, "DELETE FROM jobs WHERE id = ?1 AND claimed = 1", id)
}

pub(crate) fn retry(
    connection: &Connection,
    id: &JobId,
    reason: &str,
    due: Timestamp,
) -> Result<(), StoreError> {
    sql::execute(
        connection,
        "job",
        "UPDATE jobs SET due = ?2, claimed = 0, again = 0, last_error = ?3 WHERE id = ?1 AND claimed = 1",
        params![id.as_str(), hidden(due), reason],
    )?;
    Ok(())
}

pub(crate) fn postpone(connection: &Connection, id: &JobId, due: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        connection,
        "job",
        "UPDATE jobs SET due = ?2, claimed = 0, again = 0, deliveries = 0 WHERE id = ?1 AND claimed = 1",
        params![id.as_str(), hidden(due)],
    )?;
    Ok(())
}

pub(crate) fn bury(
    connection: &Connection,
    id: &JobId,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql::execute(
        connection,
        "dead job",
        "INSERT OR REPLACE INTO dead_jobs (id, project_id, work, reason, buried_at)
         SELECT id, project_id, work, ?2, ?3 FROM jobs WHERE id = ?1",
        params![id.as_str(), reason, micros(now)],
    )?;
    sql::execute(
        connection,
        "dead job",
        "DELETE FROM dead_jobs WHERE inserted <=
             (SELECT inserted FROM dead_jobs ORDER BY inserted DESC LIMIT 1 OFFSET ?1)",
        [MAX_DEAD_JOBS],
    )?;
    remove(connection, "DELETE FROM jobs WHERE id = ?1", id)
}

/// Whether any dead job has expired.
pub(crate) fn has_expired(connection: &Connection, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dead_jobs WHERE buried_at <= ?1)";
    let found = sql::one(connection, "dead job", sql, [buried_by(now)], only::<bool>)?;
    Ok(found.unwrap_or(false))
}

/// Removes up to `limit` buried jobs whose retention time is over.
pub(crate) fn delete_expired(connection: &Connection, limit: u32, now: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        connection,
        "dead job",
        "DELETE FROM dead_jobs WHERE inserted IN
             (SELECT inserted FROM dead_jobs WHERE buried_at <= ?1 LIMIT ?2)",
        params![buried_by(now), limit],
    )?;
    Ok(())
}

fn buried_by(now: Timestamp) -> i64 {
    micros(onerun_domain::later(now, -DEAD_JOB_RETENTION))
}

/// Buried jobs, newest first.
pub(crate) fn dead(connection: &Connection, page: &PageRequest) -> Result<Page<DeadJob>, StoreError> {
    let (after, offset) = lists::numbered(&page.start)?;
    let mut jobs = PageBuilder::new(page.limit);
    sql::each(
        connection,
        "dead job",
        concat!(
            "SELECT inserted, ",
            job_columns!("dead_jobs"),
            ", reason, buried_at FROM dead_jobs
              WHERE inserted < ?1 ORDER BY inserted DESC LIMIT ?2 OFFSET ?3"
        ),
        params![after.unwrap_or(i64::MAX), sql::overfull(page.limit), offset],
        |columns| {
            let position = position(&columns.value::<i64>()?);
            let job = rows::job(columns)?;
            let job = DeadJob { job, reason: columns.value()?, buried_at: columns.time()? };
            Ok(jobs.push(job, position))
        },
    )?;
    Ok(jobs.finish())
}

/// When the next job of a kind is due.
pub(crate) fn next_due(connection: &Connection, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT MIN(due) FROM jobs WHERE kind = ?1";
    let due = sql::one(connection, "job", sql, [number(kind)], only_time)?;
    Ok(due.flatten())
}

/// Removes a job. If it was enqueued again while it ran, it waits as if it were new.
fn remove(connection: &Connection, delete: &str, id: &JobId) -> Result<(), StoreError> {
    let renewed = sql::execute(
        connection,
        "job",
        "UPDATE jobs SET due = 0, claimed = 0, again = 0, deliveries = 0, last_error = NULL
         WHERE id = ?1 AND again = 1",
        [id.as_str()],
    )?;
    if renewed == 0 {
        sql::execute(connection, "job", delete, [id.as_str()])?;
    }
    Ok(())
}

/// A time for the column `due`, where 0 means at once.
fn hidden(until: Timestamp) -> i64 {
    micros(until).max(1)
}

#[cfg(test)]
mod tests {
    use onerun_domain::{Limit, SimulationId, Work};

    use super::*;

    #[test]
    fn oldest_dead_job_makes_room_for_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let connection = crate::open::writing(&directory.path().join("onerun.db")).unwrap();
        let simulation: SimulationId = "simulation00000000001".parse().unwrap();
        let job = Job::new("project00001".parse().unwrap(), Work::FinishSimulation { simulation });
        let work = rows::json("job", &job.work).unwrap();
        connection
            .execute(
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
                 INSERT INTO dead_jobs (id, project_id, work, reason, buried_at)
                 SELECT n, ?2, ?3, 'no', 0 FROM numbers",
                params![MAX_DEAD_JOBS, job.project_id.as_str(), work],
            )
            .unwrap();
        add(&connection, std::slice::from_ref(&job)).unwrap();
        bury(&connection, &job.id, "no", Timestamp::UNIX_EPOCH).unwrap();
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(count("SELECT COUNT(*) FROM dead_jobs"), MAX_DEAD_JOBS);
        assert_eq!(count("SELECT COUNT(*) FROM dead_jobs WHERE id = '1'"), 0);
        let newest = dead(&connection, &PageRequest::first(Limit::clamped(1))).unwrap();
        assert_eq!(newest.data[0].job, job);
    }
}
