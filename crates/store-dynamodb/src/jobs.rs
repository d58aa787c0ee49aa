//! Jobs: enqueued with the change that needs them, claimed, and completed, retried or buried.
//!
//! A job's item counts its *calls*, which are requests to run it. The claimer stores how many there
//! were. If there are more at completion, something happened that the run may not have seen, and
//! the job waits once more. So enqueueing is one unconditional write, which fits into any
//! transaction and never makes it fail.
//!
//! Jobs are found in shards of the index of due times, which may lag: a job that was enqueued a moment ago may be found
//! by the next search only. On AWS a message names the job, and the tick alone searches.
//!
//! A job sorts in its shard by the time it waits for: `0#added#project` if it is due at once,
//! in the order of enqueueing, or `1#due#added#project`. Jobs of an earlier release have no project
//! there, and count as one project's. A job whose message was sent again has the time of that at the
//! end: `0#added#project#sent`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use onerun_domain::{Direction, Job, JobId, JobKind, Page, PageRequest, ProjectId};
use onerun_store::{ClaimedJob, DEAD_JOB_RETENTION, DeadJob, StoreError};

use crate::{
    database::{AT_ONCE, Answers, Changed, Database, Written, token},
    entries, failure,
    item::{self, BODY, DUE, EXPIRES, Item, SHARD, SORT},
    keys::{self, Key, LAST},
    lists,
    query::{Entry, Index, Query},
    record,
    retry::RetryPolicy,
    write::Write,
};

const WHAT: &str = "job";
const DEAD: &str = "dead job";
/// Where the entry of a buried job is in the list.
const BURIED: &str = "buried";
const CALLS: &str = "calls";
/// The number of calls when the job was claimed. Only a claimed job has this attribute.
const SEEN: &str = "seen";
/// The claimer's random name.
const TAKER: &str = "taker";
const DELIVERIES: &str = "deliveries";
const ADDED: &str = "added";
const ERROR: &str = "error";

/// How many index entries of each shard are read to find due jobs. Projects take turns among these,
/// the oldest ones.
const WINDOW: usize = 1_000;

/// The writes that enqueue jobs: one for each job, even if it is named twice.
pub(crate) fn calls(database: &Database, jobs: &[Job]) -> Vec<Write> {
    let mut called = BTreeSet::new();
    jobs.iter().filter(|job| called.insert(&job.id)).map(|job| call(database, job)).collect()
}

fn call(database: &Database, job: &Job) -> Write {
    let added = format!("{:018}", database.order());
    Write::update(WHAT, Key::job(&job.id))
        .set_new(BODY, item::text(record::job_body(job).to_string()))
        .set_new(ADDED, item::text(added.clone()))
        .set_new(DUE, item::text(at_once(&added, job.project_id.as_str())))
        .set_new(SHARD, item::text(shard_of(database, job.id.as_str())))
        .add(CALLS, 1)
        .add(DELIVERIES, 0)
}

fn at_once(added: &str, project: &str) -> String {
    format!("0#{added}#{project}")
}

fn sent_again(added: &str, project: &str, sent: Timestamp) -> String {
    format!("0#{added}#{project}#{}", keys::time(sent))
}

fn later(until: Timestamp, added: &str, project: &str) -> String {
    format!("1#{}#{added}#{project}", keys::time(until))
}

/// Enqueues jobs without a change of state.
pub(crate) async fn add(database: &Database, jobs: &[Job]) -> Result<(), StoreError> {
    stream::iter(calls(database, jobs))
        .map(|call| async move { database.update(&call).await.map(drop) })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The upper bound of the sort keys of jobs due at `now`.
fn overdue(now: Timestamp) -> String {
    format!("1#{}#{LAST}", keys::time(now))
}

/// Claims due jobs. Projects take turns, beginning after `served`, the project of the last claim.
pub(crate) async fn claim(
    database: &Database,
    kind: JobKind,
    served: Option<&ProjectId>,
    limit: u32,
    hidden_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<ClaimedJob>, StoreError> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut retry = RetryPolicy::new();
    loop {
        let mut due = due(database, database.job_shards, now).await?;
        due.retain(|job| job.kind() == kind);
        let due = in_turns(due, served, wanted);
        let found = due.len();
        let claimed: Vec<Option<ClaimedJob>> = stream::iter(due)
            .map(|job| take(database, job, hidden_until))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let claimed: Vec<_> = claimed.into_iter().flatten().collect();
        // All were claimed by others meanwhile: there may be more.
        if !claimed.is_empty() || found == 0 || !retry.wait().await {
            return Ok(claimed);
        }
    }
}

/// Writes due jobs so that the table's stream delivers them again: those that were enqueued, and sent again, before
/// `sent_before`; retries that are due; and jobs whose claim has expired. Moves them to the shard that they have by the
/// present number of shards. Returns how many.
pub(crate) async fn send_again(
    database: &Database,
    sent_before: Timestamp,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let sent_before = keys::time(sent_before);
    let mut due = due(database, MAX_SHARDS, now).await?;
    due.retain(|job| job.sent.as_ref().is_none_or(|sent| *sent < sent_before));
    let sent: Vec<bool> = stream::iter(due)
        .map(|job| async move {
            let due = sent_again(&job.added, &job.project, now);
            let shard = shard_of(database, &job.key.sort);
            let write = Write::update(WHAT, job.key)
                .set(DUE, item::text(due))
                .set(SHARD, item::text(shard))
                .if_equal(DUE, item::text(job.order));
            // If the condition fails, the job was claimed or completed meanwhile.
            database.update(&write).await.map(|changed| matches!(changed, Changed::Yes(_)))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(sent.into_iter().filter(|was_sent| *was_sent).count())
}

/// A job that is due.
struct Due {
    key: Key,
    /// The text that sorts.
    order: String,
    added: String,
    project: String,
    /// When the last message was sent. `None` for retries and claims, which have none yet.
    sent: Option<String>,
}

/// The most shards of jobs. The tick reads all of them, so that no job is lost when the number changes.
pub(crate) const MAX_SHARDS: u32 = 32;

/// The shard in which a job waits.
fn shard_of(database: &Database, id: &str) -> String {
    keys::due_shard(WHAT, keys::shard(id, database.job_shards))
}

/// The jobs of a shard, in the order of their claims.
fn queue(shard: u32) -> Query {
    Query::new(WHAT, keys::due_shard(WHAT, shard)).by(Index::Due, Direction::Ascending)
}

/// The oldest due jobs of some shards, in the order they were enqueued.
async fn due(database: &Database, shards: u32, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let overdue = overdue(now);
    let queries = (0..shards).flat_map(|shard| {
        let query = || queue(shard).limit(WINDOW);
        [query().beginning("0#"), query().between("1#", overdue.clone())]
    });
    let queries: Vec<Query> = queries.collect();
    let found = database.query_all(queries).await?;
    let mut due = Vec::new();
    for item in found.into_iter().flatten() {
        due.push(Due::read(&item)?);
    }
    due.sort_by(|one, other| one.added.cmp(&other.added));
    Ok(due)
}

/// Up to `wanted` jobs, one of each project in the order of their ids, beginning after `served`,
/// and around again.
fn in_turns(due: Vec<Due>, served: Option<&ProjectId>, wanted: usize) -> Vec<Due> {
    let mut projects: BTreeMap<String, VecDeque<Due>> = BTreeMap::new();
    for job in due {
        projects.entry(job.project.clone()).or_default().push_back(job);
    }
    let (before, after): (Vec<_>, Vec<_>) = projects
        .into_iter()
        .partition(|(project, _)| served.is_some_and(|served| project.as_str() <= served.as_str()));
    let mut waiting: VecDeque<VecDeque<Due>> =
        after.into_iter().chain(before).map(|(_, jobs)| jobs).collect();
    let mut taken = Vec::new();
    while taken.len() < wanted
        && let Some(mut jobs) = waiting.pop_front()
    {
        if let Some(job) = jobs.pop_front() {
            taken.push(job);
            waiting.push_back(jobs);
        }
    }
    taken
}

impl Due {
    /// From a job's item, or its index entry.
    fn read(item: &Item) -> Result<Self, StoreError> {
        let key = Key { partition: item.text(item::PARTITION)?.into(), sort: item.text(item::SORT)?.into() };
        let order = item.text(DUE)?.to_owned();
        let mut parts = order.split('#');
        let is_later = parts.next() == Some("1");
        if is_later {
            parts.next();
        }
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (added, project) = (part(), part());
        let sent = (!is_later).then(|| parts.next().unwrap_or(&added).to_owned());
        Ok(Self { key, order, added, project, sent })
    }

    fn kind(&self) -> JobKind {
        JobKind::of(&JobId::restore(self.key.sort.clone()))
    }
}

/// Claims one job if it is due.
pub(crate) async fn claim_one(
    database: &Database,
    id: &JobId,
    hidden_until: Timestamp,
    now: Timestamp,
) -> Result<Option<ClaimedJob>, StoreError> {
    let overdue = overdue(now);
    let mut retry = RetryPolicy::new();
    loop {
        let Some(item) = database.get(WHAT, &Key::job(id)).await? else { return Ok(None) };
        let job = Due::read(&item)?;
        // Jobs that are due at once sort before all jobs with a due time.
        if job.order > overdue {
            return Ok(None);
        }
        if let Some(claimed) = take(database, job, hidden_until).await? {
            return Ok(Some(claimed));
        }
        // Most likely another claimer got it. Or it was completed and enqueued again.
        if !retry.wait().await {
            return Err(failure::contended("UpdateItem", "a job was taken again and again"));
        }
    }
}

/// Claims one job, unless another claimer got it first.
async fn take(
    database: &Database,
    job: Due,
    hidden_until: Timestamp,
) -> Result<Option<ClaimedJob>, StoreError> {
    let taker = token()?;
    let write = Write::update(WHAT, job.key.clone())
        .set(DUE, item::text(later(hidden_until, &job.added, &job.project)))
        .set(TAKER, item::text(taker.clone()))
        .copy(SEEN, CALLS)
        .add(DELIVERIES, 1)
        .if_equal(DUE, item::text(job.order));
    let item = match database.update(&write).await? {
        Changed::Yes(attributes) => Some(Item::new(WHAT, attributes)),
        // After a lost answer the write was repeated; then the stored name is this claimer's.
        Changed::No => database.get(WHAT, &job.key).await?,
    };
    let Some(item) = item else { return Ok(None) };
    if !item.text(TAKER).is_ok_and(|found| found == taker) {
        return Ok(None);
    }
    Ok(Some(ClaimedJob { job: record::job(&item)?, deliveries: item.number(DELIVERIES)? }))
}

pub(crate) async fn complete(database: &Database, id: &JobId) -> Result<(), StoreError> {
    let done = Write::delete(WHAT, Key::job(id)).if_same(SEEN, CALLS);
    let mut retry = RetryPolicy::new();
    loop {
        if let Changed::Yes(_) = database.delete(&done).await? {
            return Ok(());
        }
        let Some(job) = claimed(database, id).await? else { return Ok(()) };
        if let Changed::Yes(_) = database.update(&renewed(id, &job)?).await? {
            return Ok(());
        }
        if !retry.wait().await {
            return Err(failure::contended("UpdateItem", "a job was called for again and again"));
        }
    }
}

/// The job, if it is claimed.
async fn claimed(database: &Database, id: &JobId) -> Result<Option<Item>, StoreError> {
    let job = database.get(WHAT, &Key::job(id)).await?;
    let Some(job) = job else { return Ok(None) };
    Ok(job.optional_number::<u64>(SEEN)?.is_some().then_some(job))
}

/// The write that makes a job wait as if it were new, because it was enqueued while it ran.
fn renewed(id: &JobId, job: &Item) -> Result<Write, StoreError> {
    Ok(Write::update(WHAT, Key::job(id))
        .set(DUE, item::text(at_once(job.text(ADDED)?, &Due::read(job)?.project)))
        .set(DELIVERIES, item::number(0))
        .remove(SEEN)
        .remove(ERROR)
        .if_equal(SEEN, item::number(job.number::<u64>(SEEN)?))
        .if_above(CALLS, job.number(SEEN)?))
}

pub(crate) async fn retry(
    database: &Database,
    id: &JobId,
    reason: &str,
    due: Timestamp,
) -> Result<(), StoreError> {
    let error = (!reason.is_empty()).then(|| item::text(reason));
    wait(database, id, due, |write| write.set_some(ERROR, error.clone())).await
}

pub(crate) async fn postpone(database: &Database, id: &JobId, due: Timestamp) -> Result<(), StoreError> {
    wait(database, id, due, |write| write.set(DELIVERIES, item::number(0))).await
}

/// Makes a claimed job wait until `due`.
async fn wait(
    database: &Database,
    id: &JobId,
    due: Timestamp,
    change: impl Fn(Write) -> Write,
) -> Result<(), StoreError> {
    let mut retry = RetryPolicy::new();
    loop {
        let Some(job) = claimed(database, id).await? else { return Ok(()) };
        let before = job.text(DUE)?;
        let write = Write::update(WHAT, Key::job(id))
            .set(DUE, item::text(later(due, job.text(ADDED)?, &Due::read(&job)?.project)))
            .remove(SEEN)
            .if_equal(DUE, item::text(before))
            .if_has(SEEN);
        if let Changed::Yes(_) = database.update(&change(write)).await? {
            return Ok(());
        }
        if !retry.wait().await {
            return Err(failure::contended("UpdateItem", "a job was taken again and again"));
        }
    }
}

pub(crate) async fn bury(
    database: &Database,
    id: &JobId,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut retry = RetryPolicy::new();
    loop {
        let (job, grave) = (Key::job(id), Key::dead_job(id));
        let found = database.get_all(WHAT, [job.clone(), grave.clone()].into()).await?;
        let find = |key| found.get(key).map(|attributes| Item::new(WHAT, attributes.clone()));
        let Some(item) = find(&job) else { return Ok(()) };
        let job = record::job(&item)?;
        let before = match find(&grave) {
            Some(grave) => Some(entries::delete(&dead_entry(id, grave.text(BURIED)?))),
            None => None,
        };
        let order = format!("{}#{:018}", keys::time(now), database.order());
        let body = record::dead_job_body(&job, reason, now);
        let expires = item::number(onerun_domain::later(now, DEAD_JOB_RETENTION).as_second());
        let entry = dead_entry(id, &order).set(EXPIRES, expires.clone());
        let grave = Write::put(DEAD, grave, &body).set(BURIED, item::text(order)).set(EXPIRES, expires);
        let calls: u64 = item.number(CALLS)?;
        let seen: Option<u64> = item.optional_number(SEEN)?;
        let gone = if seen.is_some_and(|seen| seen < calls) {
            renewed(id, &item)?
        } else {
            Write::delete(WHAT, Key::job(id)).if_equal(CALLS, item::number(calls))
        };
        let writes: Vec<Write> = [grave, gone, entry].into_iter().chain(before).collect();
        if let Written::All = database.write(&writes, &mut retry).await? {
            return Ok(());
        }
        if !retry.wait().await {
            return Err(failure::contended("TransactWriteItems", "a job was called for again and again"));
        }
    }
}

/// Deletes the buried jobs that name a simulation. Reads all buried jobs, of which there are few.
pub(crate) async fn delete_dead(database: &Database, simulation: &str) -> Result<(), StoreError> {
    let query =
        Query::new(DEAD, Key::dead_job_of("").partition).containing(BODY, Some(simulation.to_owned()));
    let mut answers = Answers::new(database, query);
    while let Some(items) = answers.next(usize::MAX).await? {
        for item in items {
            let id = item.text(SORT)?;
            // The entry first: a repeated call finds the buried job.
            let entry = dead_entry(&JobId::restore(id.to_owned()), item.text(BURIED)?);
            database.delete(&entries::delete(&entry)).await?;
            database.delete(&Write::delete(DEAD, Key::dead_job_of(id))).await?;
        }
    }
    Ok(())
}

/// One buried job.
pub(crate) async fn dead_one(database: &Database, id: &JobId) -> Result<Option<DeadJob>, StoreError> {
    database.get(DEAD, &Key::dead_job(id)).await?.as_ref().map(record::dead_job).transpose()
}

/// Buried jobs, newest first. A job that is buried again meanwhile moves to the head of the list.
pub(crate) async fn dead(database: &Database, page: &PageRequest) -> Result<Page<DeadJob>, StoreError> {
    let query = Query::new(DEAD, keys::DEAD_JOB_LIST).by(Index::Made, Direction::Descending);
    let locate = |entry: &Entry| Key::dead_job_of(&entry.key.sort);
    lists::merged_page(database, vec![query], page, locate, record::dead_job).await
}

/// The entry of a buried job in the list.
fn dead_entry(id: &JobId, order: &str) -> Write {
    entries::entry(DEAD, keys::DEAD_JOB_LIST, Index::Made, order, id.as_str())
}

/// When the next job of a kind is due.
pub(crate) async fn next_due(database: &Database, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
    let first: BTreeSet<String> = stream::iter(0..database.job_shards)
        .map(|shard| async move {
            for job in database.query(&queue(shard).limit(WINDOW)).await? {
                let job = Due::read(&job)?;
                if job.kind() == kind {
                    return Ok(Some(job.order));
                }
            }
            Ok(None)
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|due| async move { Ok(due) })
        .try_collect()
        .await?;
    let Some(due) = first.first() else { return Ok(None) };
    let corrupt =
        |reason: &str| StoreError::Corrupt { what: WHAT, reason: format!("attribute `due`: {reason}") };
    let mut parts = due.split('#');
    match (parts.next(), parts.next()) {
        (Some("0"), _) => Ok(Some(Timestamp::UNIX_EPOCH)),
        (Some("1"), Some(due)) => {
            let due = due.parse().map_err(|_| corrupt("not a time"))?;
            Timestamp::from_microsecond(due).map(Some).map_err(|_| corrupt("not a time"))
        }
        _ => Err(corrupt("neither at once nor later")),
    }
}
