//! Simulations: entries in the project's partition, from which lists are read, the simulation itself in its own
//! partition, and its counts in those of its shards.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, VecDeque},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use onerun_domain::{
    Agent, AgentId, Direction, Job, Objective, ObjectiveRef, Page, PageRequest, PersonaDraft, Position,
    Simulation, SimulationId, SimulationStatus, Start, later,
};
use onerun_store::{
    ChangeError, CreatedFilter, Decide, IdempotencyRecord, ListSimulations, PageBuilder, QueuedConversation,
    SimulationChange, SimulationCounts, SimulationDetail, SimulationOrder, SimulationQueue,
    SimulationSummary, SimulationView, StoreError, position, read_position, take_turns, turn_at,
};

use crate::{
    counts::Totals,
    database::{AT_ONCE, Found, Written},
    entries::{entry, named, replace},
    idempotency,
    item::{self, AGENT, FACETS, FOLDED, Item, REVISION, STATUS},
    jobs,
    keys::{self, Key, LAST},
    lists::{self, Entries, GROUP, overfull, push_all},
    overdue,
    query::{Entry, Index, Query},
    record::{self, StoredSimulation},
    retry::RetryPolicy,
    write::Write,
};

use super::{
    ProjectTable, agents, contended, conversations, deletion, duplicate, find, objectives, personas,
};

pub(super) const WHAT: &str = "simulation";
pub(super) const COUNTS: &str = "simulation's counts";

pub(super) fn entries(table: ProjectTable<'_>, simulation: &Simulation) -> Vec<Write> {
    let (project, id, status) = (table.project.as_str(), simulation.id.as_str(), simulation.status.as_str());
    let [by_time, by_name] = named(WHAT, project, "simulation#", id, simulation.created_at, &simulation.name);
    let text = format!("simulation#{status}#{}#{id}", keys::time(simulation.created_at));
    let by_status = entry(WHAT, project, Index::Status, &text, format!("simulation#{id}"));
    // Only lists by name filter by status. Others are in the order of the status.
    let by_name = by_name.set(STATUS, item::text(status));
    let filtered = |entry: Write| {
        entry
            .set(FOLDED, item::text(keys::fold(simulation.name.as_str())))
            .set(FACETS, item::texts(facets(simulation)))
            .set(AGENT, item::text(simulation.agent_id.as_str()))
    };
    [by_time, by_name, by_status].map(filtered).into()
}

fn facets(simulation: &Simulation) -> BTreeSet<String> {
    let batch = simulation.options.batch.as_ref().map(|item| &item.batch);
    let monitor = simulation.options.monitor_run.as_ref().map(|run| &run.monitor);
    let mut facets = keys::facets(&simulation.name, &simulation.metadata);
    facets.extend(keys::origin_facets(batch, monitor));
    facets
}

fn put(table: ProjectTable<'_>, simulation: &Simulation, pinned: &[ObjectiveRef]) -> Write {
    let key = table.keys(&simulation.id).simulation();
    let write = Write::put(WHAT, key, &record::simulation_body(simulation, pinned));
    overdue::mark_simulation(write, simulation)
}

/// A simulation with what is written together with it.
pub(super) struct NewSimulation<'a> {
    pub(super) simulation: &'a Simulation,
    pub(super) pinned: &'a [ObjectiveRef],
    pub(super) explicit_personas: &'a [PersonaDraft],
    /// The conversations that wait for their import.
    pub(super) import: Vec<Write>,
}

/// Adds a simulation with its pinned objectives, its explicit personas and its jobs.
pub(super) async fn insert(
    table: ProjectTable<'_>,
    new: NewSimulation<'_>,
    jobs: &[Job],
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    let NewSimulation { simulation, pinned, explicit_personas, import } = new;
    objectives::require(table, pinned).await?;
    let revision = || item::number(1);
    let mut writes = vec![
        put(table, simulation, pinned).set(REVISION, revision()).if_new(),
        agents::count_simulation(table, &simulation.agent_id),
    ];
    let counter_shards = table.keys(&simulation.id).counter_shards(simulation.target_conversations);
    writes
        .extend(counter_shards.into_iter().map(|key| Write::put_bare(COUNTS, key).set(REVISION, revision())));
    writes.extend(entries(table, simulation));
    writes.extend(personas::put_explicit(&table.keys(&simulation.id), explicit_personas));
    writes.extend(import);
    writes.extend(jobs::calls(table.database, jobs));
    if let Some(record) = record {
        writes.push(deletion::note_record(&table.keys(&simulation.id), record));
        writes.push(idempotency::put(record));
    }
    // These ids are not random: the job that adds the simulation may run again after its deletion.
    if simulation.options.batch.is_some() || simulation.options.monitor_run.is_some() {
        writes.push(deletion::was_never_there(&table.keys(&simulation.id)));
    }
    match table.database.write(&writes, &mut RetryPolicy::new()).await? {
        Written::All => Ok(()),
        Written::Failed(failed) if failed == [1] => {
            Err(StoreError::Corrupt { what: WHAT, reason: "it names an unknown agent".into() })
        }
        Written::Failed(failed) => Err(duplicate(&writes, &failed)),
    }
}

/// One simulation with its agent and objectives.
pub(super) async fn get(
    table: ProjectTable<'_>,
    id: &SimulationId,
) -> Result<Option<SimulationDetail>, StoreError> {
    let found = table.database.get(WHAT, &table.keys(id).simulation()).await?;
    let Some(item) = found else { return Ok(None) };
    let stored = record::simulation(&item)?;
    let agent = Key::agent(table.project, &stored.simulation.agent_id);
    let versions = stored.pinned.iter().map(|objective| Key::version(table.project, objective));
    let found = table.database.get_all(WHAT, versions.chain([agent.clone()]).collect()).await?;
    let objectives = stored.pinned.iter().map(|objective| version(table, &found, objective));
    Ok(Some(SimulationDetail {
        agent: record::agent(&find("agent", &found, &agent).ok_or_else(no_agent)?)?,
        objectives: objectives.collect::<Result<_, _>>()?,
        simulation: stored.simulation,
    }))
}

/// Whether a simulation exists and is not deleted.
pub(super) async fn exists(table: ProjectTable<'_>, id: &SimulationId) -> Result<bool, StoreError> {
    let shards = table.keys(id).first_counter_shards().into_iter().take(1).collect();
    Ok(table.database.count(COUNTS, shards).await? > 0)
}

/// A version of an objective among the found items.
pub(super) fn version(
    table: ProjectTable<'_>,
    found: &Found,
    reference: &ObjectiveRef,
) -> Result<Objective, StoreError> {
    let item = find("objective version", found, &Key::version(table.project, reference));
    let item =
        item.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its objective is missing".into() })?;
    record::objective(&item)
}

pub(super) async fn list(
    table: ProjectTable<'_>,
    list: &ListSimulations,
) -> Result<Page<SimulationSummary>, StoreError> {
    if created(list).is_some_and(|(first, last)| first > last) {
        return Ok(PageBuilder::new(list.page.limit).finish());
    }
    let query = match list.order {
        SimulationOrder::LongestWaiting => return longest_waiting(table, list).await,
        SimulationOrder::Status(direction) => in_status(table, list, list.status, direction),
        SimulationOrder::CreatedAt(direction) if list.status.is_some() => {
            in_status(table, list, list.status, direction)
        }
        SimulationOrder::CreatedAt(direction) => all(table, list, Index::Made, direction),
        SimulationOrder::Name(direction) => all(table, list, Index::Name, direction),
    };
    let mut entries = Entries::new(table.database, query, &list.page)?;
    if let Some((first, last)) = created(list) {
        entries = entries.only(move |entry| {
            created_at(&entry.sort).is_some_and(|created| (first.as_str()..=last.as_str()).contains(&created))
        });
    }
    fill(table, entries, PageBuilder::new(list.page.limit)).await
}

/// The first and the last time of creation of a list, in the form of keys; `None` without a filter.
fn created(list: &ListSimulations) -> Option<(String, String)> {
    let CreatedFilter { after, before } = list.created;
    if after.is_none() && before.is_none() {
        return None;
    }
    let microsecond = SignedDuration::from_micros(1);
    let first = after.map_or(Timestamp::UNIX_EPOCH, |after| later(after, microsecond));
    let last = before.map_or(Timestamp::MAX, |before| later(before, -microsecond));
    Some((keys::time(first), keys::time(last)))
}

/// The time of creation in an entry, which ends with it and the id.
fn created_at(sort: &str) -> Option<&str> {
    let (rest, _) = sort.rsplit_once('#')?;
    rest.get(rest.len().checked_sub(keys::time(Timestamp::UNIX_EPOCH).len())?..)
}

/// Restricts a query to the times of creation of a list, which follow the prefix in its index.
fn in_time(query: Query, prefix: &str, list: &ListSimulations) -> Query {
    match created(list) {
        Some((first, last)) => query.between(format!("{prefix}{first}"), format!("{prefix}{last}{LAST}")),
        None => query.beginning(prefix),
    }
}

/// Adds the simulations of entries to a page.
async fn fill(
    table: ProjectTable<'_>,
    mut entries: Entries<'_>,
    mut page: PageBuilder<SimulationSummary>,
) -> Result<Page<SimulationSummary>, StoreError> {
    loop {
        let group = entries.group(GROUP).await?;
        if group.is_empty() || !push_all(&mut page, summaries(table, &group).await?) {
            return Ok(page.finish());
        }
    }
}

/// The simulations of entries, with their agents.
async fn summaries(
    table: ProjectTable<'_>,
    group: &[Entry],
) -> Result<Vec<(Position, SimulationSummary)>, StoreError> {
    let mut own = Vec::new();
    for entry in group {
        let key = table.keys(&id(&entry.key)?).simulation();
        own.push(Entry { key, ..entry.clone() });
    }
    let stored = lists::rows(table.database, WHAT, &own, record::simulation).await?;
    let agent = |stored: &StoredSimulation| Key::agent(table.project, &stored.simulation.agent_id);
    let agents = stored.iter().map(|(_, stored)| agent(stored)).collect();
    let agents = table.database.get_all("agent", agents).await?;
    let summary = |(position, stored): (Position, StoredSimulation)| {
        let agent = find("agent", &agents, &agent(&stored)).ok_or_else(no_agent)?;
        let agent = Agent { description: None, endpoint: None, ..record::agent(&agent)? };
        Ok((position, SimulationSummary { simulation: stored.simulation, agent }))
    };
    stored.into_iter().map(summary).collect()
}

fn no_agent() -> StoreError {
    StoreError::Corrupt { what: WHAT, reason: "its agent is missing".into() }
}

/// All matches of the list, by time of creation or by name.
fn all(table: ProjectTable<'_>, list: &ListSimulations, index: Index, direction: Direction) -> Query {
    let status = list.status.map(|status| status.as_str().to_owned());
    let query = narrowed(table, list).by(index, direction).equal(STATUS, status);
    match index {
        Index::Made => in_time(query, "simulation#", list),
        _ => query.beginning("simulation#"),
    }
}

/// Matches in one status, or all in the order of their status.
fn in_status(
    table: ProjectTable<'_>,
    list: &ListSimulations,
    status: Option<SimulationStatus>,
    direction: Direction,
) -> Query {
    let query = narrowed(table, list).by(Index::Status, direction);
    match status {
        Some(status) => in_time(query, &format!("simulation#{}#", status.as_str()), list),
        None => query.beginning("simulation#"),
    }
}

fn narrowed(table: ProjectTable<'_>, list: &ListSimulations) -> Query {
    Query::new(WHAT, table.project.as_str())
        .equal(AGENT, list.agent_id.as_ref().map(|id| id.as_str().to_owned()))
        .containing(FOLDED, list.name.as_deref().map(keys::fold))
        .having(FACETS, keys::wanted(&list.exact))
        .having(FACETS, keys::origin_facets(list.batch_id.as_ref(), list.monitor_id.as_ref()))
}

fn id(key: &Key) -> Result<SimulationId, StoreError> {
    let id = key.sort.strip_prefix("simulation#").and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its key names no simulation".into() })
}

/// One page of simulations with a queued conversation, longest waiting first, then of the others.
///
/// Only running simulations are read one by one. Queued conversations of other simulations are
/// about to be stopped, and no worker can start them.
async fn longest_waiting(
    table: ProjectTable<'_>,
    list: &ListSimulations,
) -> Result<Page<SimulationSummary>, StoreError> {
    let waiting = waiting(table, list).await?;
    let limit = list.page.limit;
    let (passed, start) = match &list.page.start {
        Start::Offset(offset) => {
            let passed = usize::try_from(*offset).unwrap_or(usize::MAX).min(waiting.len());
            (passed, Start::Offset(offset.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))))
        }
        Start::After(position) => match read_position::<(String, String, String)>(position) {
            Ok((mark, since, sort)) if mark == WAITING => {
                let is_passed =
                    |one: &Waiting| (&one.since, Reverse(&one.entry.sort)) <= (&since, Reverse(&sort));
                (waiting.partition_point(is_passed), Start::Offset(0))
            }
            _ => (waiting.len(), list.page.start.clone()),
        },
    };
    let others = match list.status {
        Some(_) => in_status(table, list, list.status, Direction::Descending),
        None => all(table, list, Index::Made, Direction::Descending),
    };
    let entries = Entries::new(table.database, others, &PageRequest { limit, start })?;
    let mut page = PageBuilder::new(limit);
    let first: Vec<Entry> = waiting.iter().skip(passed).take(overfull(limit)).map(Waiting::entry).collect();
    for group in first.chunks(GROUP) {
        if !push_all(&mut page, summaries(table, group).await?) {
            return Ok(page.finish());
        }
    }
    let waiting = waiting.into_iter().map(|one| one.entry.key.sort).collect();
    fill(table, entries.without(waiting), page).await
}

/// The prefix of the position of a simulation that waits for a worker. No list has this name.
const WAITING: &str = "waiting";

/// A simulation that waits for a worker.
struct Waiting {
    /// The time of its turn, in a form that sorts.
    since: String,
    entry: Entry,
}

impl Waiting {
    /// Its entry, positioned among the waiting simulations.
    fn entry(&self) -> Entry {
        let position = position(&(WAITING, &self.since, &self.entry.sort));
        Entry { position, ..self.entry.clone() }
    }
}

/// All simulations that wait for a worker, longest waiting first. With equal times, the newest is
/// first.
async fn waiting(table: ProjectTable<'_>, list: &ListSimulations) -> Result<Vec<Waiting>, StoreError> {
    let running = SimulationStatus::InProgress;
    if list.status.is_some_and(|status| status != running) {
        return Ok(Vec::new());
    }
    let candidates = in_status(table, list, Some(running), Direction::Descending);
    let queues = queues(table, &candidates, 1).await?;
    let waiting = |(entry, queue): (Entry, SimulationQueue)| {
        let (turn, _) = queue.conversations.front()?;
        Some(Waiting { since: format!("{turn:018}"), entry })
    };
    Ok(queues.into_iter().filter_map(waiting).collect())
}

/// Queued conversations of running simulations of these agents. Simulations take turns.
pub(super) async fn queued(
    table: ProjectTable<'_>,
    agents: &[AgentId],
    limit: u32,
) -> Result<Vec<QueuedConversation>, StoreError> {
    let Some(limit) = usize::try_from(limit).ok().filter(|_| !agents.is_empty()) else {
        return Ok(Vec::new());
    };
    let running = Query::new(WHAT, table.project.as_str())
        .by(Index::Status, Direction::Descending)
        .beginning(format!("simulation#{}#", SimulationStatus::InProgress.as_str()))
        .one_of(AGENT, agents.iter().map(|id| id.as_str().to_owned()).collect());
    let queues = queues(table, &running, limit).await?;
    Ok(take_turns(queues.into_iter().map(|(_, queue)| queue).collect(), limit))
}

/// The simulations of a query that have a queued conversation, longest waiting first, each with up to `limit` of its
/// conversations. With equal times, the newest simulation is first.
async fn queues(
    table: ProjectTable<'_>,
    running: &Query,
    limit: usize,
) -> Result<Vec<(Entry, SimulationQueue)>, StoreError> {
    let candidates = table.database.entries(running).await?;
    let queues: Vec<Option<(Entry, SimulationQueue)>> = stream::iter(candidates)
        .map(|entry| async move {
            let simulation = id(&entry.key)?;
            let queue = conversations::queue(&table.keys(&simulation)).limit(limit);
            let found = table.database.entries(&queue).await?;
            let conversations: Result<VecDeque<_>, StoreError> =
                found.iter().map(|entry| Ok((turn(&entry.sort)?, conversations::id(&entry.key)?))).collect();
            let queue = SimulationQueue { simulation, conversations: conversations? };
            Ok::<_, StoreError>((!queue.conversations.is_empty()).then_some((entry, queue)))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut queues: Vec<(Entry, SimulationQueue)> = queues.into_iter().flatten().collect();
    let order = |(entry, queue): &(Entry, SimulationQueue)| {
        (queue.conversations.front().map(|(turn, _)| *turn), Reverse(entry.sort.clone()))
    };
    queues.sort_by_cached_key(order);
    Ok(queues)
}

/// The time of a conversation's turn, in microseconds since 1970, from its entry: time `#` number.
fn turn(sort: &str) -> Result<i64, StoreError> {
    let mut parts = sort.rsplit('#').map(str::parse::<i64>);
    let (Some(Ok(seq)), Some(Ok(queued_at))) = (parts.next(), parts.next()) else {
        return Err(StoreError::Corrupt { what: WHAT, reason: "its queue has no time and number".into() });
    };
    Ok(turn_at(queued_at, u32::try_from(seq).unwrap_or(u32::MAX)))
}

/// A snapshot of a simulation and its counts.
async fn counted(
    table: ProjectTable<'_>,
    id: &SimulationId,
    retry: &mut RetryPolicy,
) -> Result<Option<(StoredSimulation, Vec<Item>)>, StoreError> {
    let keys = table.keys(id);
    let mut counter_shards = keys.first_counter_shards();
    loop {
        let wanted: Vec<Key> = std::iter::once(keys.simulation()).chain(counter_shards.clone()).collect();
        let mut items = table.database.snapshot(WHAT, &wanted, retry).await?.into_iter();
        let Some(Some(simulation)) = items.next() else { return Ok(None) };
        let stored = record::simulation(&simulation)?;
        // The target of a simulation never changes.
        let all = keys.counter_shards(stored.simulation.target_conversations);
        if all.len() <= counter_shards.len() {
            return Ok(Some((stored, items.flatten().collect())));
        }
        counter_shards = all;
    }
}

/// Changes a simulation. Counts only grow meanwhile, so the decision stays right.
pub(super) async fn change(
    table: ProjectTable<'_>,
    id: &SimulationId,
    mut decide: Decide<SimulationView, SimulationChange>,
) -> Result<Option<Simulation>, ChangeError> {
    let mut retry = RetryPolicy::new();
    loop {
        let Some((stored, counter_shards)) = counted(table, id, &mut retry).await? else { return Ok(None) };
        let before = stored.simulation.clone();
        let change = decide(SimulationView {
            simulation: stored.simulation,
            progress: Totals(&counter_shards).progress()?,
        })?;
        let after = change.simulation;
        let mut writes = Vec::new();
        if after == before {
            if change.jobs.is_empty() && change.record.is_none() {
                return Ok(Some(after));
            }
            let key = table.keys(id).simulation();
            writes.push(Write::check(WHAT, key).if_revision(stored.revision));
        } else {
            writes.push(put(table, &after, &stored.pinned).revise(stored.revision));
            writes.extend(replace(&entries(table, &before), entries(table, &after)));
            // If the state has changed since the decision, nothing is written.
            let revision = stored.revision + 1;
            let close = |key| Write::update(COUNTS, key).set(REVISION, item::number(revision));
            let counter_shards = table.keys(id).counter_shards(before.target_conversations);
            writes.extend(counter_shards.into_iter().map(close));
        }
        writes.extend(jobs::calls(table.database, &change.jobs));
        let record = change.record.as_ref().map(idempotency::put);
        let record_at = record.as_ref().map(|_| writes.len());
        writes.extend(record);
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(Some(after)),
            // The request was already carried out.
            Written::Failed(failed) if failed.last().copied() == record_at => {
                return Err(StoreError::Duplicate { what: idempotency::WHAT }.into());
            }
            Written::Failed(_) => {}
        }
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// The counts that results are computed from.
pub(super) async fn counts(
    table: ProjectTable<'_>,
    id: &SimulationId,
) -> Result<Option<SimulationCounts>, StoreError> {
    let Some((stored, counter_shards)) = counted(table, id, &mut RetryPolicy::new()).await? else {
        return Ok(None);
    };
    Totals(&counter_shards).counts(stored.pinned).map(Some)
}
