//! Jobs: added with the change that calls for them, taken, and done or given up.

use jiff::Timestamp;
use onerun_domain::{Job, JobId, Page, PageRequest};
use onerun_store::{ClaimedJob, DeadJob, StoreError};
use rusqlite::{Connection, params};

use crate::{
    columns::only_time,
    rows::{self, job_columns, micros},
    sql,
};

/// Adds jobs. One that waits is not added again; one that is being worked on is to be run again after, because what
/// it was called for may have happened too late for the present run to see.
pub(crate) fn add(connection: &Connection, jobs: &[Job]) -> Result<(), StoreError> {
    for job in jobs {
        sql::execute(
            connection,
            "job",
            "INSERT INTO jobs (id, project_id, work) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET again = 1 WHERE claimed = 1",
            params![job.id.as_str(), job.project_id.as_str(), rows::json("job", &job.work)?],
        )?;
    }
    Ok(())
}

/// Takes jobs that are due.
pub(crate) fn claim(
    connection: &Connection,
    limit: u32,
    hidden_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<ClaimedJob>, StoreError> {
    // What time has made due joins those that are due at once, in its old place.
    sql::execute(
        connection,
        "job",
        "UPDATE jobs SET due = 0, claimed = 0, again = 0 WHERE due > 0 AND due <= ?1",
        [micros(now)],
    )?;
    let mut claimed = sql::all(
        connection,
        "job",
        concat!(
            "UPDATE jobs SET due = ?1, claimed = 1, deliveries = deliveries + 1
             WHERE inserted IN (SELECT inserted FROM jobs WHERE due = 0 ORDER BY inserted LIMIT ?2)
             RETURNING inserted, deliveries, ",
            job_columns!("jobs")
        ),
        params![hidden(hidden_until), limit],
        |columns| {
            let inserted: i64 = columns.value()?;
            let deliveries = columns.value()?;
            Ok((inserted, ClaimedJob { deliveries, job: rows::job(columns)? }))
        },
    )?;
    // `RETURNING` promises no order.
    claimed.sort_unstable_by_key(|(inserted, _)| *inserted);
    Ok(claimed.into_iter().map(|(_, job)| job).collect())
}

/// Takes one job, if it is due.
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

/// Ends a job that was done.
pub(crate) fn complete(connection: &Connection, id: &JobId) -> Result<(), StoreError> {
    // Not one whose taker was given up meanwhile: it waits to be run again.
    remove(connection, "DELETE FROM jobs WHERE id = ?1 AND claimed = 1", id)
}

/// Has a job run again later.
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

/// Gives a job up.
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
    remove(connection, "DELETE FROM jobs WHERE id = ?1", id)
}

/// Jobs that were given up, newest first.
pub(crate) fn dead(connection: &Connection, page: PageRequest) -> Result<Page<DeadJob>, StoreError> {
    let jobs = sql::all(
        connection,
        "dead job",
        concat!(
            "SELECT ",
            job_columns!("dead_jobs"),
            ", reason, buried_at FROM dead_jobs ORDER BY inserted DESC LIMIT ?1 OFFSET ?2"
        ),
        params![sql::overfull(page.limit), page.offset],
        |columns| {
            Ok(DeadJob { job: rows::job(columns)?, reason: columns.value()?, buried_at: columns.time()? })
        },
    )?;
    Ok(Page::from_overfull(jobs, page.limit))
}

/// When the next job is due.
pub(crate) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let due = sql::one(connection, "job", "SELECT MIN(due) FROM jobs", [], only_time)?;
    Ok(due.flatten())
}

/// Removes a job, unless it was called for again while it ran: then it waits as if it were new.
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

/// A time as `due` holds it, where 0 means at once.
fn hidden(until: Timestamp) -> i64 {
    micros(until).max(1)
}
