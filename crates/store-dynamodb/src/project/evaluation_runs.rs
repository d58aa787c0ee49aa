//! Evaluation runs, their results, and labels.
//!
//! A run is an item of its simulation. Its results and the counts of them are in partitions of its own, spread by the
//! ids of conversations, because transactions that meet at one item are cancelled, and a partition has a limited
//! throughput.

use onerun_domain::{
    ConversationId, ConversationLabels, Direction, EvaluationRun, EvaluationRunId, Job, Page, PageRequest,
    RunResult, SimulationId,
};
use onerun_store::{
    ChangeError, Decide, EvaluationRunChange, EvaluationRunView, IdempotencyRecord, PageBuilder, RunCounts,
    StoreError,
};

use super::{ProjectTable, contended, require_new};
use crate::{
    database::{Found, Written},
    entries::entry,
    item::{self, Item, REVISION},
    jobs,
    keys::{self, Key, LAST, RunKeys, SimulationKeys},
    lists::{self, Entries},
    query::{Index, Query},
    retry::RetryPolicy,
    write::Write,
};

const RUN: &str = "evaluation run";
const RESULT: &str = "result of an evaluation run";
const LABELS: &str = "label";
const COUNTS: &str = "counts of an evaluation run";
const JUDGED: &str = "judged";
const FAILED: &str = "failed";

/// How many runs are read at a time, each with its counter shards.
const GROUP: usize = 21;

fn put_run(keys: &SimulationKeys, run: &EvaluationRun) -> Result<Write, StoreError> {
    Write::put_document(RUN, keys.evaluation_run(&run.id), run)
}

/// The entry of a run. It never moves.
fn put_entry(keys: &SimulationKeys, run: &EvaluationRun) -> Write {
    let row = keys.evaluation_run(&run.id);
    let text =
        format!("{}{}#{}", SimulationKeys::evaluation_run_prefix(), keys::time(run.created_at), run.id);
    entry(RUN, row.partition, Index::Made, &text, row.sort)
}

pub(super) async fn insert(
    table: ProjectTable<'_>,
    run: &EvaluationRun,
    jobs: &[Job],
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let keys = table.keys(&run.simulation_id);
    let mut writes = vec![
        put_run(&keys, run)?.set(REVISION, item::number(1)).if_new(),
        Write::check(super::simulations::WHAT, keys.simulation()).if_there(),
        put_entry(&keys, run),
    ];
    writes.extend(jobs::calls(table.database, jobs));
    require_new(table.database, writes, record).await
}

fn read_counts(keys: &RunKeys, found: &Found) -> Result<RunCounts, StoreError> {
    let mut counts = RunCounts::default();
    for key in keys.counter_shards() {
        let Some(shard) = super::find(COUNTS, found, &key) else { continue };
        counts.judged += shard.optional_number::<u32>(JUDGED)?.unwrap_or(0);
        counts.failed += shard.optional_number::<u32>(FAILED)?.unwrap_or(0);
    }
    Ok(counts)
}

pub(super) async fn get(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &EvaluationRunId,
) -> Result<Option<EvaluationRunView>, StoreError> {
    Ok(stored(table, simulation, id).await?.map(|(view, _)| view))
}

/// A run with its counts, and its revision.
async fn stored(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &EvaluationRunId,
) -> Result<Option<(EvaluationRunView, u64)>, StoreError> {
    let keys = table.keys(simulation);
    let (key, run_keys) = (keys.evaluation_run(id), keys.run(id));
    let wanted = std::iter::once(key.clone()).chain(run_keys.counter_shards()).collect();
    let found = table.database.get_all(RUN, wanted).await?;
    let Some(item) = super::find(RUN, &found, &key) else { return Ok(None) };
    let view = EvaluationRunView { run: item.document()?, counts: read_counts(&run_keys, &found)? };
    Ok(Some((view, item.revision()?)))
}

pub(super) async fn list(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    request: &PageRequest,
) -> Result<Page<EvaluationRunView>, StoreError> {
    let keys = table.keys(simulation);
    let query = Query::new(RUN, keys.partition.as_str())
        .by(Index::Made, Direction::Descending)
        .beginning(SimulationKeys::evaluation_run_prefix());
    let mut entries = Entries::new(table.database, query, request)?;
    let mut page = PageBuilder::new(request.limit);
    loop {
        let group = entries.group(GROUP).await?;
        if group.is_empty() {
            return Ok(page.finish());
        }
        let rows = lists::rows(table.database, RUN, &group, Item::document::<EvaluationRun>).await?;
        let shards = rows.iter().flat_map(|(_, run)| keys.run(&run.id).counter_shards()).collect();
        let found = table.database.get_all(COUNTS, shards).await?;
        for (position, run) in rows {
            let counts = read_counts(&keys.run(&run.id), &found)?;
            if !page.push(EvaluationRunView { run, counts }, position) {
                return Ok(page.finish());
            }
        }
    }
}

/// The run of an entry.
pub(super) fn id(key: &Key) -> Result<EvaluationRunId, StoreError> {
    let id = key.sort.strip_prefix(SimulationKeys::evaluation_run_prefix()).and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::Corrupt { what: RUN, reason: "its key names no run".into() })
}

pub(super) async fn change(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &EvaluationRunId,
    mut decide: Decide<EvaluationRunView, EvaluationRunChange>,
) -> Result<Option<EvaluationRun>, ChangeError> {
    let keys = table.keys(simulation);
    let mut retry = RetryPolicy::new();
    loop {
        let Some((before, revision)) = stored(table, simulation, id).await? else { return Ok(None) };
        let EvaluationRunChange { run, jobs } = decide(before.clone())?;
        let write = if run == before.run {
            if jobs.is_empty() {
                return Ok(Some(run));
            }
            Write::check(RUN, keys.evaluation_run(id)).if_revision(revision)
        } else {
            put_run(&keys, &run)?.revise(revision)
        };
        let mut writes = vec![write];
        writes.extend(jobs::calls(table.database, &jobs));
        if let Written::All = table.database.write(&writes, &mut retry).await? {
            return Ok(Some(run));
        }
        if !retry.wait().await {
            return Err(contended(RUN));
        }
    }
}

pub(super) async fn add_result(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    run: &EvaluationRunId,
    result: &RunResult,
) -> Result<bool, StoreError> {
    let keys = table.keys(simulation);
    let run_keys = keys.run(run);
    let conversation = &result.conversation_id;
    let count = if result.outcomes.is_some() { JUDGED } else { FAILED };
    let writes = [
        Write::put_document(RESULT, run_keys.result(conversation), result)?.if_new(),
        Write::update(COUNTS, run_keys.counter_shard_of(conversation)).add(count, 1),
        Write::check(RUN, keys.evaluation_run(run)).if_there(),
        Write::check("conversation", keys.conversation(conversation)).if_there(),
    ];
    let written = table.database.write(&writes, &mut RetryPolicy::new()).await?;
    Ok(matches!(written, Written::All))
}

pub(super) async fn result(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    run: &EvaluationRunId,
    conversation: &ConversationId,
) -> Result<Option<RunResult>, StoreError> {
    let key = table.keys(simulation).run(run).result(conversation);
    let found = table.database.get(RESULT, &key).await?;
    found.map(|item| item.document()).transpose()
}

pub(super) async fn results(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    run: &EvaluationRunId,
    after: Option<&ConversationId>,
    limit: u32,
) -> Result<Vec<RunResult>, StoreError> {
    let keys = table.keys(simulation).run(run);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let query = |shard| documents_after(RESULT, shard, RunKeys::result_prefix(), after).limit(limit);
    let found = table.database.query_all(keys.shards().into_iter().map(query).collect()).await?;
    let mut results: Vec<RunResult> = found.iter().flatten().map(Item::document).collect::<Result<_, _>>()?;
    results.sort_by(|one, other| one.conversation_id.cmp(&other.conversation_id));
    results.truncate(limit);
    Ok(results)
}

/// The documents of a partition whose sort keys are a prefix and a conversation's id, after one.
fn documents_after(
    what: &'static str,
    partition: String,
    prefix: &str,
    after: Option<&ConversationId>,
) -> Query {
    // Ids have the same length, so the next key after one is this.
    let first = after.map_or_else(|| prefix.to_owned(), |after| format!("{prefix}{after}#"));
    Query::new(what, partition).between(first, format!("{prefix}{LAST}"))
}

pub(super) async fn put_labels(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    labels: &ConversationLabels,
) -> Result<bool, StoreError> {
    let keys = table.keys(simulation);
    let writes = [
        Write::put_document(LABELS, keys.labels(&labels.conversation_id), labels)?,
        Write::check("conversation", keys.conversation(&labels.conversation_id)).if_there(),
    ];
    let written = table.database.write(&writes, &mut RetryPolicy::new()).await?;
    Ok(matches!(written, Written::All))
}

pub(super) async fn conversation_labels(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
) -> Result<Option<ConversationLabels>, StoreError> {
    let found = table.database.get(LABELS, &table.keys(simulation).labels(conversation)).await?;
    found.map(|item| item.document()).transpose()
}

pub(super) async fn labels(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    after: Option<&ConversationId>,
    limit: u32,
) -> Result<Vec<ConversationLabels>, StoreError> {
    let partition = table.keys(simulation).partition;
    let query = documents_after(LABELS, partition, SimulationKeys::labels_prefix(), after)
        .limit(usize::try_from(limit).unwrap_or(usize::MAX));
    table.database.query(&query).await?.iter().map(Item::document).collect()
}
