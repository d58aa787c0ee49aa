//! Simulations: an entry among the project's, which lists are made from, and the simulation itself in a partition of
//! its own, with its counts.

use std::cmp::Reverse;

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    Agent, Direction, Job, Objective, ObjectiveRef, Page, PageRequest, Position, Simulation, SimulationId,
    SimulationStatus, Start,
};
use onerun_store::{
    ChangeError, Decide, IdempotencyRecord, PageBuilder, SimulationChange, SimulationDetail, SimulationList,
    SimulationOrder, SimulationSummary, SimulationTally, SimulationView, StoreError, position, read_position,
};

use crate::{
    counts::Totals,
    database::{AT_ONCE, Found, Written},
    idempotency,
    item::{self, AGENT, FACETS, FOLDED, Item, REVISION, STATUS},
    jobs,
    keys::{self, Key},
    lists::{self, Entries, GROUP, overfull, push_all},
    overdue,
    patience::Patience,
    query::{Entry, Index, Query},
    record::{self, StoredSimulation},
    write::Write,
};

use super::{Scope, agents, contended, duplicate, find, objectives};

pub(super) const WHAT: &str = "simulation";
pub(super) const COUNTS: &str = "simulation's counts";

fn put_entry(scope: Scope<'_>, simulation: &Simulation) -> Write {
    let (id, created) = (&simulation.id, keys::time(simulation.created_at));
    let (folded, status) = (keys::fold(simulation.name.as_str()), simulation.status.as_str());
    Write::put_bare(WHAT, Key::entry(scope.project, id))
        .set(Index::Made.sort(), item::text(format!("simulation#{created}#{id}")))
        .set(Index::Name.sort(), item::text(format!("simulation#{folded}{}{created}#{id}", keys::END)))
        .set(Index::Status.sort(), item::text(format!("simulation#{status}#{created}#{id}")))
        .set(FOLDED, item::text(folded))
        .set(FACETS, item::texts(keys::facets(&simulation.name, &simulation.metadata)))
        .set(STATUS, item::text(status))
        .set(AGENT, item::text(simulation.agent_id.as_str()))
}

fn put(scope: Scope<'_>, simulation: &Simulation, pinned: &[ObjectiveRef]) -> Write {
    let key = scope.keys(&simulation.id).simulation();
    let write = Write::put(WHAT, key, &record::simulation_body(simulation, pinned));
    overdue::mark_simulation(write, simulation)
}

/// Adds a simulation, what it pins, and jobs.
pub(super) async fn insert(
    scope: Scope<'_>,
    simulation: &Simulation,
    pinned: &[ObjectiveRef],
    jobs: &[Job],
    record: Option<&IdempotencyRecord>,
) -> Result<(), StoreError> {
    objectives::require(scope, pinned).await?;
    let revision = || item::number(1);
    let mut writes = vec![
        put(scope, simulation, pinned).set(REVISION, revision()).if_new(),
        put_entry(scope, simulation).if_new(),
        agents::count_simulation(scope, &simulation.agent_id),
    ];
    let gates = scope.keys(&simulation.id).gates();
    writes.extend(gates.into_iter().map(|key| Write::put_bare(COUNTS, key).set(REVISION, revision())));
    writes.extend(jobs::calls(scope.database, jobs));
    writes.extend(record.map(idempotency::put));
    match scope.database.write(&writes, &mut Patience::new()).await? {
        Written::All => Ok(()),
        Written::Failed(failed) if failed == [2] => {
            Err(StoreError::Corrupt { what: WHAT, reason: "it names an agent that is not there".into() })
        }
        Written::Failed(failed) => Err(duplicate(&writes, &failed)),
    }
}

/// One simulation with its agent and objectives.
pub(super) async fn get(scope: Scope<'_>, id: &SimulationId) -> Result<Option<SimulationDetail>, StoreError> {
    let found = scope.database.get(WHAT, &scope.keys(id).simulation()).await?;
    let Some(item) = found else { return Ok(None) };
    let stored = record::simulation(&item)?;
    let agent = Key::agent(scope.project, &stored.simulation.agent_id);
    let versions = stored.pinned.iter().map(|objective| Key::version(scope.project, objective));
    let found = scope.database.get_all(WHAT, versions.chain([agent.clone()]).collect()).await?;
    let objectives = stored.pinned.iter().map(|objective| version(scope, &found, objective));
    Ok(Some(SimulationDetail {
        agent: record::agent(&find("agent", &found, &agent).ok_or_else(no_agent)?)?,
        objectives: objectives.collect::<Result<_, _>>()?,
        simulation: stored.simulation,
    }))
}

/// A version of an objective, of those that were found.
pub(super) fn version(
    scope: Scope<'_>,
    found: &Found,
    reference: &ObjectiveRef,
) -> Result<Objective, StoreError> {
    let item = find("objective version", found, &Key::version(scope.project, reference));
    let item =
        item.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its objective is gone".into() })?;
    record::objective(&item)
}

/// One page of simulations.
pub(super) async fn list(
    scope: Scope<'_>,
    list: &SimulationList,
) -> Result<Page<SimulationSummary>, StoreError> {
    let query = match list.order {
        SimulationOrder::LongestWaiting => return longest_waiting(scope, list).await,
        SimulationOrder::Status(direction) => in_status(scope, list, list.status, direction),
        SimulationOrder::CreatedAt(direction) if list.status.is_some() => {
            in_status(scope, list, list.status, direction)
        }
        SimulationOrder::CreatedAt(direction) => all(scope, list, Index::Made, direction),
        SimulationOrder::Name(direction) => all(scope, list, Index::Name, direction),
    };
    let entries = Entries::new(scope.database, query, &list.page)?;
    fill(scope, entries, PageBuilder::new(list.page.limit)).await
}

/// The page with the simulations of entries added to it.
async fn fill(
    scope: Scope<'_>,
    mut entries: Entries<'_>,
    mut page: PageBuilder<SimulationSummary>,
) -> Result<Page<SimulationSummary>, StoreError> {
    loop {
        let group = entries.group(GROUP).await?;
        if group.is_empty() || !push_all(&mut page, summaries(scope, &group).await?) {
            return Ok(page.finish());
        }
    }
}

/// The simulations of entries, with their agents.
async fn summaries(
    scope: Scope<'_>,
    group: &[Entry],
) -> Result<Vec<(Position, SimulationSummary)>, StoreError> {
    let mut own = Vec::new();
    for entry in group {
        let key = scope.keys(&id(&entry.key)?).simulation();
        own.push(Entry { key, ..entry.clone() });
    }
    let stored = lists::rows(scope.database, WHAT, &own, record::simulation).await?;
    let agent = |stored: &StoredSimulation| Key::agent(scope.project, &stored.simulation.agent_id);
    let agents = stored.iter().map(|(_, stored)| agent(stored)).collect();
    let agents = scope.database.get_all("agent", agents).await?;
    let summary = |(position, stored): (Position, StoredSimulation)| {
        let agent = find("agent", &agents, &agent(&stored)).ok_or_else(no_agent)?;
        let agent = Agent { description: None, ..record::agent(&agent)? };
        Ok((position, SimulationSummary { simulation: stored.simulation, agent }))
    };
    stored.into_iter().map(summary).collect()
}

fn no_agent() -> StoreError {
    StoreError::Corrupt { what: WHAT, reason: "its agent is gone".into() }
}

/// All that the list asks for, in the order of an index.
fn all(scope: Scope<'_>, list: &SimulationList, index: Index, direction: Direction) -> Query {
    let status = list.status.map(|status| status.as_str().to_owned());
    narrowed(scope, list).by(index, direction).beginning("simulation#").equal(STATUS, status)
}

/// Those in one status, or all in the order of their status.
fn in_status(
    scope: Scope<'_>,
    list: &SimulationList,
    status: Option<SimulationStatus>,
    direction: Direction,
) -> Query {
    let prefix = match status {
        Some(status) => format!("simulation#{}#", status.as_str()),
        None => "simulation#".into(),
    };
    narrowed(scope, list).by(Index::Status, direction).beginning(prefix)
}

fn narrowed(scope: Scope<'_>, list: &SimulationList) -> Query {
    Query::new(WHAT, scope.project.as_str())
        .equal(AGENT, list.agent_id.as_ref().map(|id| id.as_str().to_owned()))
        .containing(FOLDED, list.name.as_deref().map(keys::fold))
        .having(FACETS, keys::wanted(&list.exact))
}

fn id(key: &Key) -> Result<SimulationId, StoreError> {
    let id = key.sort.strip_prefix("simulation#").and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its key names no simulation".into() })
}

/// One page of those with a queued conversation, longest waiting first, then of the others.
///
/// Only a running simulation has conversations that wait for a worker: what one that is over has left queued is about
/// to be stopped, and takes no calls. So those that run are looked at one by one, which are few, and the rest are not.
async fn longest_waiting(
    scope: Scope<'_>,
    list: &SimulationList,
) -> Result<Page<SimulationSummary>, StoreError> {
    let waiting = waiting(scope, list).await?;
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
        Some(_) => in_status(scope, list, list.status, Direction::Descending),
        None => all(scope, list, Index::Made, Direction::Descending),
    };
    let entries = Entries::new(scope.database, others, &PageRequest { limit, start })?;
    let mut page = PageBuilder::new(limit);
    let first: Vec<Entry> = waiting.iter().skip(passed).take(overfull(limit)).map(Waiting::entry).collect();
    for group in first.chunks(GROUP) {
        if !push_all(&mut page, summaries(scope, group).await?) {
            return Ok(page.finish());
        }
    }
    let waiting = waiting.into_iter().map(|one| one.entry.key.sort).collect();
    fill(scope, entries.without(waiting), page).await
}

/// How the position of a simulation that waits for a worker begins. No index is called so.
const WAITING: &str = "waiting";

/// A simulation that waits for a worker.
struct Waiting {
    /// Since when, as the index has it.
    since: String,
    entry: Entry,
}

impl Waiting {
    /// Its entry, with its place among those that wait.
    fn entry(&self) -> Entry {
        let position = position(&(WAITING, &self.since, &self.entry.sort));
        Entry { position, ..self.entry.clone() }
    }
}

/// All simulations that wait for a worker, longest waiting first. Those that wait since one time are newest first.
async fn waiting(scope: Scope<'_>, list: &SimulationList) -> Result<Vec<Waiting>, StoreError> {
    let running = SimulationStatus::InProgress;
    if list.status.is_some_and(|status| status != running) {
        return Ok(Vec::new());
    }
    let candidates = in_status(scope, list, Some(running), Direction::Descending);
    let candidates = scope.database.entries(&candidates).await?;
    let waiting: Vec<Option<Waiting>> = stream::iter(candidates)
        .map(|entry| async move {
            let query = Query::new("conversation", scope.keys(&id(&entry.key)?).partition)
                .by(Index::Wait, Direction::Ascending)
                .beginning("conversation#queued#")
                .limit(1);
            let first = scope.database.entries(&query).await?;
            // `conversation#queued#` time `#` number: only the time counts here.
            let since = first.first().and_then(|first| first.sort.rsplit_once('#'));
            Ok::<_, StoreError>(since.map(|(since, _)| Waiting { since: since.to_owned(), entry }))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut waiting: Vec<Waiting> = waiting.into_iter().flatten().collect();
    waiting.sort_by(|one, other| {
        (&one.since, Reverse(&one.entry.sort)).cmp(&(&other.since, Reverse(&other.entry.sort)))
    });
    Ok(waiting)
}

/// A simulation and its counts at one moment.
async fn counted(
    scope: Scope<'_>,
    id: &SimulationId,
    patience: &mut Patience,
) -> Result<Option<(StoredSimulation, Vec<Item>)>, StoreError> {
    let keys = scope.keys(id);
    let wanted: Vec<Key> = std::iter::once(keys.simulation()).chain(keys.gates()).collect();
    let mut items = scope.database.snapshot(WHAT, &wanted, patience).await?.into_iter();
    let Some(Some(simulation)) = items.next() else { return Ok(None) };
    Ok(Some((record::simulation(&simulation)?, items.flatten().collect())))
}

/// Changes a simulation. Its counts only grow, so that a decision from them stays right while they do.
pub(super) async fn change(
    scope: Scope<'_>,
    id: &SimulationId,
    mut decide: Decide<SimulationView, SimulationChange>,
) -> Result<Option<Simulation>, ChangeError> {
    let mut patience = Patience::new();
    loop {
        let Some((stored, gates)) = counted(scope, id, &mut patience).await? else { return Ok(None) };
        let before = stored.simulation.clone();
        let change =
            decide(SimulationView { simulation: stored.simulation, progress: Totals(&gates).progress()? })?;
        let after = change.simulation;
        let mut writes = Vec::new();
        if after == before {
            if change.jobs.is_empty() && change.record.is_none() {
                return Ok(Some(after));
            }
            let key = scope.keys(id).simulation();
            writes.push(Write::check(WHAT, key).if_revision(stored.revision));
        } else {
            writes.push(put(scope, &after, &stored.pinned).revise(stored.revision));
            writes.push(put_entry(scope, &after));
            // The decision is based on an outdated state and is not written.
            let revision = stored.revision + 1;
            let close = |key| Write::update(COUNTS, key).set(REVISION, item::number(revision));
            writes.extend(scope.keys(id).gates().into_iter().map(close));
        }
        writes.extend(jobs::calls(scope.database, &change.jobs));
        let record = change.record.as_ref().map(idempotency::put);
        let record_at = record.as_ref().map(|_| writes.len());
        writes.extend(record);
        match scope.database.write(&writes, &mut patience).await? {
            Written::All => return Ok(Some(after)),
            // The request was done already.
            Written::Failed(failed) if failed.last().copied() == record_at => {
                return Err(StoreError::Duplicate { what: idempotency::WHAT }.into());
            }
            Written::Failed(_) => {}
        }
        if !patience.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// The counts that results are made of.
pub(super) async fn tally(
    scope: Scope<'_>,
    id: &SimulationId,
) -> Result<Option<SimulationTally>, StoreError> {
    let Some((stored, gates)) = counted(scope, id, &mut Patience::new()).await? else { return Ok(None) };
    Totals(&gates).tally(stored.pinned).map(Some)
}
