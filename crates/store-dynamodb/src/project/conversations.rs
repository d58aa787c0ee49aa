//! Conversations.

mod changing;
mod claimed;
mod known;
mod queueing;

use std::collections::BTreeSet;

use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, Direction, Evaluation, Name, ObjectiveRef, Page,
    PageRequest, Persona, SimulationId, Start,
};
use onerun_store::{ConversationSummary, EvaluatedConversation, ListConversations, PageBuilder, StoreError};

use crate::{
    counts::is_counted_as,
    database::Found,
    entries::entry,
    item::{self, STATUS},
    keys::{self, Key, SimulationKeys},
    lists::{self, Entries, overfull},
    overdue,
    query::{Entry, Index, Query},
    record::{self, StoredConversation, StoredEvaluation},
    write::Write,
};

use super::{ProjectTable, find, personas, simulations};

pub(super) use changing::change;
pub(crate) use claimed::ClaimedConversations;
pub(crate) use known::KnownSimulations;
pub(super) use queueing::add;

const WHAT: &str = "conversation";
const ENTRY: &str = "entry of a conversation";
/// The prefix of the rows and the texts of entries.
pub(super) const PREFIX: &str = "conversation#";
/// The attribute of entries of conversations that are not settled.
const UNSETTLED: &str = "unsettled";
const IS_UNSETTLED: &str = "1";
const EVALUATION: &str = "evaluation";

/// Writes the conversation itself, as it is after a change.
fn put(keys: &SimulationKeys, stored: &StoredConversation) -> Write {
    let write =
        Write::put(WHAT, keys.conversation(&stored.conversation.id), &record::conversation_body(stored));
    let write =
        stored.attributes().into_iter().fold(write, |write, (name, value)| write.set_some(name, value));
    overdue::mark_conversation(write, stored)
}

/// The entries of a conversation: one by its time of creation, which has its status and stays, and one in the queue
/// while it is queued.
fn entries(keys: &SimulationKeys, conversation: &Conversation) -> Vec<Write> {
    let id = &conversation.id;
    let row = format!("{PREFIX}{id}");
    let seq = keys::number(conversation.seq.into());
    let made = format!("{PREFIX}{}#{seq}", keys::time(conversation.created_at));
    let unsettled = (!conversation.is_settled()).then(|| item::text(IS_UNSETTLED));
    let made = entry(ENTRY, keys.shard_of(id.as_str()), Index::Made, &made, row.clone())
        .set(STATUS, item::text(conversation.status.as_str()))
        .set_some(UNSETTLED, unsettled);
    let queued = || {
        let text = format!("{}#{seq}", keys::time(conversation.queued_at));
        entry(ENTRY, keys.queue(), Index::Queued, &text, row)
    };
    let is_queued = conversation.status == ConversationStatus::Queued;
    [made].into_iter().chain(is_queued.then(queued)).collect()
}

/// The queued conversations of a simulation, longest waiting first.
pub(super) fn queue(keys: &SimulationKeys) -> Query {
    Query::new(WHAT, keys.queue()).by(Index::Queued, Direction::Ascending)
}

/// All conversations of a simulation, by time of creation.
fn all(keys: &SimulationKeys, direction: Direction) -> impl Iterator<Item = Query> {
    let query = move |shard| Query::new(WHAT, shard).by(Index::Made, direction).beginning(PREFIX);
    keys.shards().into_iter().map(query)
}

/// One conversation with its persona and evaluations.
pub(super) async fn get(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &ConversationId,
) -> Result<Option<EvaluatedConversation>, StoreError> {
    let keys = table.keys(simulation);
    let Some(item) = table.database.get(WHAT, &keys.conversation(id)).await? else { return Ok(None) };
    let stored = record::conversation(&item)?;
    let mut wanted = related(&keys, &stored);
    // A conversation of a deleted simulation is found until it is purged, but no counter shard.
    let counter_shard = keys.first_counter_shard_of(id.as_str());
    wanted.insert(counter_shard.clone());
    if !stored.evaluations.is_empty() {
        wanted.insert(keys.simulation());
        let objectives = stored.evaluations.iter().map(|evaluation| &evaluation.objective);
        wanted.extend(objectives.map(|objective| Key::version(table.project, objective)));
    }
    let found = table.database.get_all(WHAT, wanted).await?;
    if !found.contains_key(&counter_shard) {
        return Ok(None);
    }
    let pinned = match find(simulations::WHAT, &found, &keys.simulation()) {
        Some(simulation) => record::simulation(&simulation)?.pinned,
        None if stored.evaluations.is_empty() => Vec::new(),
        None => return Ok(None),
    };
    let Held { conversation, persona, evaluations: found_evaluations } =
        held(&keys, &found, &pinned, stored)?;
    let mut evaluations = Vec::new();
    for evaluation in found_evaluations {
        let objective = simulations::version(table, &found, &evaluation.objective)?;
        evaluations.push((evaluation, objective));
    }
    Ok(Some(EvaluatedConversation { conversation, persona, evaluations }))
}

/// How many conversations are read at a time. Each comes with its persona and up to fifty
/// evaluations.
const GROUP: usize = 21;

/// One page of conversations. A conversation whose status changes while the page is read may be
/// missing.
pub(super) async fn list(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    list: &ListConversations,
) -> Result<Page<ConversationSummary>, StoreError> {
    let keys = table.keys(simulation);
    // Only ended conversations are counted with an outcome.
    let status = list.status.or(list.outcome.as_ref().map(|_| ConversationStatus::Ended));
    let queries = match status {
        Some(ConversationStatus::Queued) => vec![queue(&keys)],
        status => {
            let word = status.map(|status| status.as_str().to_owned());
            all(&keys, Direction::Descending).map(|query| query.equal(STATUS, word.clone())).collect()
        }
    };
    // Entries know no outcomes, so only rows that were read can be skipped.
    let (request, mut skip) = match &list.page.start {
        Start::Offset(offset) if list.outcome.is_some() => (PageRequest::first(list.page.limit), *offset),
        _ => (list.page.clone(), 0),
    };
    let mut entries = Entries::merged(table.database, queries, &request)?;
    let mut page = PageBuilder::new(list.page.limit);
    let mut names = Names::default();
    loop {
        let group = entries.group(GROUP.min(overfull(list.page.limit))).await?;
        if group.is_empty() {
            return Ok(page.finish());
        }
        let mut own = Vec::new();
        for entry in group {
            own.push(Entry { key: keys.conversation(&id(&entry.key)?), ..entry });
        }
        let mut rows = lists::rows(table.database, WHAT, &own, record::conversation).await?;
        rows.retain(|(_, stored)| {
            let is_wanted = status.is_none_or(|status| stored.conversation.status == status)
                && list.outcome.as_ref().is_none_or(|outcome| is_counted_as(stored, outcome));
            let is_skipped = is_wanted && skip > 0;
            skip -= u32::from(is_skipped);
            is_wanted && !is_skipped
        });
        let (positions, stored): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        if names.pinned.is_empty() {
            let Some(pinned) = pinned(table, &keys, &stored).await? else { return Ok(page.finish()) };
            names = read_names(table, pinned).await?;
        }
        let Names { pinned, names } = &names;
        let others = stored.iter().flat_map(|stored| related(&keys, stored)).collect();
        let others = table.database.get_all(WHAT, others).await?;
        for (stored, position) in stored.into_iter().zip(positions) {
            let Held { conversation, persona, evaluations } = held(&keys, &others, pinned, stored)?;
            let named = |evaluation: Evaluation| {
                let place = pinned.iter().position(|pinned| *pinned == evaluation.objective);
                let name = place.and_then(|place| names.get(place)).ok_or_else(|| missing("objective"))?;
                Ok((evaluation, name.clone()))
            };
            let evaluations = evaluations.into_iter().map(named).collect::<Result<_, StoreError>>()?;
            if !page.push(ConversationSummary { conversation, persona, evaluations }, position) {
                return Ok(page.finish());
            }
        }
    }
}

/// The objectives that a simulation pins, and their names.
#[derive(Default)]
struct Names {
    pinned: Vec<ObjectiveRef>,
    names: Vec<Name>,
}

async fn read_names(table: ProjectTable<'_>, pinned: Vec<ObjectiveRef>) -> Result<Names, StoreError> {
    let versions = pinned.iter().map(|objective| Key::version(table.project, objective)).collect();
    let versions = table.database.get_all(WHAT, versions).await?;
    let mut names = Vec::new();
    for objective in &pinned {
        names.push(simulations::version(table, &versions, objective)?.name);
    }
    Ok(Names { pinned, names })
}

/// The objectives that the conversations' simulation pins, if one of the conversations has an
/// evaluation. `None` if the simulation was deleted.
async fn pinned(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: impl IntoIterator<Item = &StoredConversation>,
) -> Result<Option<Vec<ObjectiveRef>>, StoreError> {
    if conversations.into_iter().all(|stored| stored.evaluations.is_empty()) {
        return Ok(Some(Vec::new()));
    }
    let simulation = table.database.get(simulations::WHAT, &keys.simulation()).await?;
    simulation.map(|simulation| Ok(record::simulation(&simulation)?.pinned)).transpose()
}

fn missing(what: &str) -> StoreError {
    StoreError::Corrupt { what: WHAT, reason: format!("its {what} is missing") }
}

/// A conversation, its persona, and its evaluations.
struct Held {
    conversation: Conversation,
    persona: Persona,
    evaluations: Vec<Evaluation>,
}

/// The keys of a conversation's persona and evaluations.
fn related(keys: &SimulationKeys, stored: &StoredConversation) -> BTreeSet<Key> {
    let StoredConversation { conversation, evaluations, .. } = stored;
    let transcript = keys.transcript(&conversation.id);
    let evaluation =
        |evaluation: &StoredEvaluation| transcript.evaluation(conversation.attempt, &evaluation.objective);
    evaluations.iter().map(evaluation).chain([keys.persona(&conversation.persona_id)]).collect()
}

/// The conversation with its persona and evaluations among the found items. Evaluations are in the order of the
/// simulation's objectives.
fn held(
    keys: &SimulationKeys,
    found: &Found,
    pinned: &[ObjectiveRef],
    stored: StoredConversation,
) -> Result<Held, StoreError> {
    let StoredConversation { conversation, evaluations: mut outcomes, .. } = stored;
    outcomes.sort_by_key(|evaluation| pinned.iter().position(|pinned| *pinned == evaluation.objective));
    let transcript = keys.transcript(&conversation.id);
    let mut evaluations = Vec::new();
    for StoredEvaluation { objective, .. } in &outcomes {
        let key = transcript.evaluation(conversation.attempt, objective);
        let evaluation = find(EVALUATION, found, &key).ok_or_else(|| missing(EVALUATION))?;
        evaluations.push(record::evaluation(&evaluation)?);
    }
    let persona = find(personas::WHAT, found, &keys.persona(&conversation.persona_id));
    let persona = record::persona(&persona.ok_or_else(|| missing(personas::WHAT))?)?;
    Ok(Held { conversation, persona, evaluations })
}

/// The ids of conversations that are not settled.
pub(super) async fn unsettled(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    limit: u32,
) -> Result<Vec<ConversationId>, StoreError> {
    let queries = all(&table.keys(simulation), Direction::Ascending)
        .map(|query| query.equal(UNSETTLED, Some(IS_UNSETTLED.to_owned())))
        .collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = lists::first(table.database, queries, limit).await?;
    // Conversations of a deleted simulation are listed until they are purged.
    if !found.is_empty() && !simulations::exists(table, simulation).await? {
        return Ok(Vec::new());
    }
    found.iter().map(|entry| id(&entry.key)).collect()
}

pub(super) fn id(key: &Key) -> Result<ConversationId, StoreError> {
    let id = key.sort.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its key names no conversation".into() })
}
