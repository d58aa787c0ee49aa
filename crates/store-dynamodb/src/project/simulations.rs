//! Simulations: an entry among the project's, which lists are made from, and the simulation itself in a partition of
//! its own, with its counts.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    Direction, Job, Objective, ObjectiveRef, Page, Simulation, SimulationId, SimulationStatus,
};
use onerun_store::{
    ChangeError, Decide, IdempotencyRecord, NamedSort, SimulationChange, SimulationDetail, SimulationList,
    SimulationOrder, SimulationSummary, SimulationTally, SimulationView, StoreError,
};

use crate::{
    counts::Totals,
    database::{AT_ONCE, Found, Written},
    idempotency,
    item::{self, AGENT, FACETS, FOLDED, Item, REVISION, STATUS},
    jobs,
    keys::{self, Key},
    overdue,
    patience::Patience,
    query::{Index, Query, cut, offset, overfull},
    record::{self, StoredSimulation},
    write::Write,
};

use super::{Scope, agents, contended, duplicate, find, objectives, projects};

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
    Ok(details(scope, vec![record::simulation(&item)?]).await?.pop())
}

/// The simulations with their agents and objectives.
async fn details(
    scope: Scope<'_>,
    stored: Vec<StoredSimulation>,
) -> Result<Vec<SimulationDetail>, StoreError> {
    let mut wanted = BTreeSet::new();
    for stored in &stored {
        wanted.insert(Key::agent(scope.project, &stored.simulation.agent_id));
        wanted.extend(stored.pinned.iter().map(|objective| Key::version(scope.project, objective)));
    }
    let found = scope.database.get_all(WHAT, wanted).await?;
    let detail = |stored: StoredSimulation| {
        let agent = find("agent", &found, &Key::agent(scope.project, &stored.simulation.agent_id));
        let agent =
            agent.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its agent is gone".into() })?;
        let objectives = stored.pinned.iter().map(|objective| version(scope, &found, objective));
        Ok(SimulationDetail {
            agent: record::agent(&agent)?,
            objectives: objectives.collect::<Result<_, _>>()?,
            simulation: stored.simulation,
        })
    };
    stored.into_iter().map(detail).collect()
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
    let ids = match list.order {
        SimulationOrder::LongestWaiting => longest_waiting(scope, list).await?,
        SimulationOrder::CreatedAt(direction) => match list.status {
            Some(_) => ids(scope, in_status(scope, list, list.status, direction).page(&list.page)?).await?,
            None => ids(scope, all(scope, list, Index::Made, direction).page(&list.page)?).await?,
        },
        SimulationOrder::Status(direction) => {
            ids(scope, in_status(scope, list, list.status, direction).page(&list.page)?).await?
        }
        SimulationOrder::Name(direction) => {
            let (index, direction) = projects::order(NamedSort::Name(direction));
            ids(scope, all(scope, list, index, direction).page(&list.page)?).await?
        }
    };
    let keys: Vec<Key> = ids.iter().map(|id| scope.keys(id).simulation()).collect();
    let stored = super::read_all(scope.database, WHAT, &keys, record::simulation).await?;
    let page = cut(stored, &list.page);
    let details = details(scope, page.data).await?;
    Ok(Page { data: details.into_iter().map(SimulationSummary::from).collect(), next: page.next })
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

async fn ids(scope: Scope<'_>, query: Query) -> Result<Vec<SimulationId>, StoreError> {
    let keys = scope.database.query_keys(&query).await?;
    keys.iter().map(id).collect()
}

fn id(key: &Key) -> Result<SimulationId, StoreError> {
    let id = key.sort.strip_prefix("simulation#").and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its key names no simulation".into() })
}

/// One page and one more of those with a queued conversation, longest waiting first, then of the others.
///
/// Only a running simulation has conversations that wait for a worker: what one that is over has left queued is about
/// to be stopped, and takes no calls. So those that run are looked at one by one, which are few, and the rest are not.
async fn longest_waiting(scope: Scope<'_>, list: &SimulationList) -> Result<Vec<SimulationId>, StoreError> {
    let skip = offset(&list.page)?;
    let running = SimulationStatus::InProgress;
    let candidates = match list.status {
        Some(status) if status != running => Vec::new(),
        _ => ids(scope, in_status(scope, list, Some(running), Direction::Descending)).await?,
    };
    // In the order of the candidates, so that those that wait since one time are newest first.
    let waits: Vec<Option<(String, SimulationId)>> = stream::iter(candidates)
        .map(|id| async move {
            let query = Query::new("conversation", scope.keys(&id).partition)
                .by(Index::Wait, Direction::Ascending)
                .beginning("conversation#queued#")
                .limit(1);
            let first = scope.database.query(&query).await?;
            let Some(first) = first.first() else { return Ok(None) };
            // `conversation#queued#` time `#` number: only the time counts here.
            let since = first.text(Index::Wait.sort())?.rsplit_once('#').map_or("", |(since, _)| since);
            Ok::<_, StoreError>(Some((since.to_owned(), id)))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut waiting: Vec<_> = waits.into_iter().flatten().collect();
    waiting.sort_by(|(one, _), (other, _)| one.cmp(other));
    let waiting: Vec<SimulationId> = waiting.into_iter().map(|(_, id)| id).collect();
    let wanted = overfull(&list.page);
    let mut page: Vec<_> = waiting.iter().skip(skip).take(wanted).cloned().collect();
    if page.len() < wanted {
        let others = match list.status {
            Some(_) => in_status(scope, list, list.status, Direction::Descending),
            None => all(scope, list, Index::Made, Direction::Descending),
        };
        // Those that wait are among what is found, wherever they stand there.
        let found = skip.saturating_add(wanted).saturating_add(waiting.len());
        let waiting: HashSet<&SimulationId> = waiting.iter().collect();
        let others = ids(scope, others.limit(found)).await?;
        let others = others.into_iter().filter(|id| !waiting.contains(id));
        let left = wanted - page.len();
        page.extend(others.skip(skip.saturating_sub(waiting.len())).take(left));
    }
    Ok(page)
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
            // What is decided from the simulation as it was is not written any more.
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
