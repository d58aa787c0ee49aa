//! Conversations.

mod queueing;

use std::collections::BTreeSet;

use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, Direction, Evaluation, Job, Name, ObjectiveRef, Page,
    PageRequest, Persona, SimulationId, Start, Work,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationSummary, ConversationView, Decide, EvaluatedConversation,
    ListConversations, PageBuilder, StoreError,
};

use crate::{
    counts::{Counts, UNSETTLED, is_counted_as},
    database::Written,
    idempotency, item, jobs,
    keys::{self, Key, SimulationKeys, TranscriptKeys},
    lists::{self, Entries},
    overdue,
    query::{Index, Query},
    record::{self, StoredConversation, StoredEvaluation, StoredSimulation},
    retry::RetryPolicy,
    write::Write,
};

use super::{
    ProjectTable, contended, duplicate, find, personas,
    simulations::{self, COUNTS},
    transcripts,
};

pub(super) use queueing::add;

const WHAT: &str = "conversation";
const EVALUATION: &str = "evaluation";

fn put(keys: &SimulationKeys, conversation: &Conversation, evaluations: &[StoredEvaluation]) -> Write {
    let (created, seq) = (keys::time(conversation.created_at), keys::number(conversation.seq.into()));
    let status = conversation.status.as_str();
    // Queued conversations sort first, longest waiting at the head, then all others that are not
    // settled.
    let waits = match conversation.status {
        ConversationStatus::Queued => {
            Some(format!("conversation#queued#{}#{seq}", keys::time(conversation.queued_at)))
        }
        _ if conversation.is_settled() => None,
        _ => Some(format!("conversation#unsettled#{seq}")),
    };
    let body = record::conversation_body(conversation, evaluations);
    let write = Write::put(WHAT, keys.conversation(&conversation.id), &body)
        .set(Index::Made.sort(), item::text(format!("conversation#{created}#{seq}")))
        .set(Index::Status.sort(), item::text(format!("conversation#{status}#{created}#{seq}")))
        .set_some(Index::Wait.sort(), waits.map(item::text));
    overdue::mark_conversation(write, conversation)
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
    let pinned = pinned(table, &keys, [&stored]).await?;
    let versions =
        stored.evaluations.iter().map(|evaluation| Key::version(table.project, &evaluation.objective));
    let versions = table.database.get_all(WHAT, versions.collect()).await?;
    let Some(held) = held(table, &keys, &pinned, vec![stored]).await?.pop() else { return Ok(None) };
    let mut evaluations = Vec::new();
    for evaluation in held.evaluations {
        let objective = simulations::version(table, &versions, &evaluation.objective)?;
        evaluations.push((evaluation, objective));
    }
    let Held { conversation, persona, .. } = held;
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
    let query = Query::new(WHAT, keys.partition.clone());
    // Only ended conversations are counted with an outcome.
    let status = list.status.or(list.outcome.as_ref().map(|_| ConversationStatus::Ended));
    let query = match status {
        None => query.by(Index::Made, Direction::Descending).beginning("conversation#"),
        Some(ConversationStatus::Queued) => {
            query.by(Index::Wait, Direction::Ascending).beginning("conversation#queued#")
        }
        Some(status) => query
            .by(Index::Status, Direction::Descending)
            .beginning(format!("conversation#{}#", status.as_str())),
    };
    // The index does not know outcomes, so only rows that were read can be skipped.
    let (request, mut skip) = match (&list.page.start, &list.outcome) {
        (Start::Offset(offset), Some(_)) => (PageRequest::first(list.page.limit), *offset),
        _ => (list.page.clone(), 0),
    };
    let mut entries = Entries::new(table.database, query, &request)?;
    let mut page = PageBuilder::new(list.page.limit);
    let mut names = Names::default();
    loop {
        let group = entries.group(GROUP).await?;
        if group.is_empty() {
            return Ok(page.finish());
        }
        let mut rows = lists::rows(table.database, WHAT, &group, record::conversation).await?;
        rows.retain(|(_, stored)| {
            let is_wanted = status.is_none_or(|status| stored.conversation.status == status)
                && list.outcome.as_ref().is_none_or(|outcome| is_counted_as(stored, outcome));
            let is_skipped = is_wanted && skip > 0;
            skip -= u32::from(is_skipped);
            is_wanted && !is_skipped
        });
        let (positions, stored): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        if names.pinned.is_empty() {
            names = read_names(table, pinned(table, &keys, &stored).await?).await?;
        }
        let Names { pinned, names } = &names;
        for (held, position) in held(table, &keys, pinned, stored).await?.into_iter().zip(positions) {
            let Held { conversation, persona, evaluations } = held;
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
/// evaluation.
async fn pinned(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: impl IntoIterator<Item = &StoredConversation>,
) -> Result<Vec<ObjectiveRef>, StoreError> {
    if conversations.into_iter().all(|stored| stored.evaluations.is_empty()) {
        return Ok(Vec::new());
    }
    let simulation = table.database.get(simulations::WHAT, &keys.simulation()).await?;
    Ok(record::simulation(&simulation.ok_or_else(|| missing(simulations::WHAT))?)?.pinned)
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

/// The conversations with their personas and evaluations. Evaluations are in the order of the
/// simulation's objectives.
async fn held(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    pinned: &[ObjectiveRef],
    conversations: Vec<StoredConversation>,
) -> Result<Vec<Held>, StoreError> {
    let mut others = BTreeSet::new();
    for StoredConversation { conversation, evaluations, .. } in &conversations {
        others.insert(keys.persona(&conversation.persona_id));
        let transcript = keys.transcript(&conversation.id);
        others.extend(
            evaluations
                .iter()
                .map(|evaluation| transcript.evaluation(conversation.attempt, &evaluation.objective)),
        );
    }
    let others = table.database.get_all(WHAT, others).await?;
    let read = |stored: StoredConversation| {
        let StoredConversation { conversation, evaluations: mut outcomes, .. } = stored;
        outcomes.sort_by_key(|evaluation| pinned.iter().position(|pinned| *pinned == evaluation.objective));
        let transcript = keys.transcript(&conversation.id);
        let mut evaluations = Vec::new();
        for StoredEvaluation { objective, .. } in &outcomes {
            let key = transcript.evaluation(conversation.attempt, objective);
            let evaluation = find(EVALUATION, &others, &key).ok_or_else(|| missing(EVALUATION))?;
            evaluations.push(record::evaluation(&evaluation)?);
        }
        let persona = find(personas::WHAT, &others, &keys.persona(&conversation.persona_id));
        let persona = record::persona(&persona.ok_or_else(|| missing(personas::WHAT))?)?;
        Ok(Held { conversation, persona, evaluations })
    };
    conversations.into_iter().map(read).collect()
}

/// The ids of conversations that are not settled.
pub(super) async fn unsettled(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    limit: u32,
) -> Result<Vec<ConversationId>, StoreError> {
    let query = Query::new(WHAT, table.keys(simulation).partition)
        .by(Index::Wait, Direction::Ascending)
        .beginning("conversation#")
        .limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let found = table.database.entries(&query).await?;
    found.iter().map(|entry| id(&entry.key)).collect()
}

pub(super) fn id(key: &Key) -> Result<ConversationId, StoreError> {
    let id = key.sort.strip_prefix("conversation#").and_then(|id| id.parse().ok());
    id.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its key names no conversation".into() })
}

pub(super) async fn change(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &ConversationId,
    mut decide: Decide<ConversationView, ConversationChange>,
) -> Result<Option<Conversation>, ChangeError> {
    let keys = table.keys(simulation);
    let wanted = [keys.simulation(), keys.conversation(id)];
    let mut retry = RetryPolicy::new();
    let mut may_be_last = false;
    loop {
        let items = table.database.snapshot(WHAT, &wanted, &mut retry).await?;
        let [Some(simulation), Some(conversation)] = &items[..] else { return Ok(None) };
        let simulation = record::simulation(simulation)?;
        let before = record::conversation(conversation)?;
        let view = ConversationView {
            simulation: simulation.simulation.clone(),
            conversation: before.conversation.clone(),
        };
        let change = decide(view)?;
        let planned = plan(table, &keys, &simulation, &before, change, may_be_last)?;
        let Some(writes) = planned.writes else { return Ok(Some(planned.conversation)) };
        let failed = match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(Some(planned.conversation)),
            Written::Failed(failed) => failed,
        };
        // The state that the decision read is unchanged, so the failed condition is an item that
        // must be new.
        if !failed.contains(&CONVERSATION) && !failed.contains(&COUNTER_SHARD) {
            return Err(duplicate(&writes, &failed).into());
        }
        // Either the simulation changed, or this is the last unsettled conversation of its counter
        // shard.
        may_be_last = may_be_last || (planned.settles && failed == [COUNTER_SHARD]);
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// The positions of two writes of a change.
const CONVERSATION: usize = 0;
const COUNTER_SHARD: usize = 1;

/// The outcome of a change.
struct Planned {
    conversation: Conversation,
    /// `None` if it changes nothing.
    writes: Option<Vec<Write>>,
    settles: bool,
}

/// The writes of a change.
///
/// The change that settles the last conversation of a counter shard also adds the job that finishes
/// the simulation: the last conversation of all is also the last of its shard. A condition of the
/// write says that it is not the last, so no other conversation can settle in between. Only when
/// that condition fails is the job added.
fn plan(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    simulation: &StoredSimulation,
    before: &StoredConversation,
    change: ConversationChange,
    may_be_last: bool,
) -> Result<Planned, StoreError> {
    let outcomes = outcomes(simulation, before, &change)?;
    let ConversationChange { conversation, items, turn, evaluations, mut jobs, record } = change;
    let after = StoredConversation { conversation, evaluations: outcomes, revision: before.revision + 1 };
    let changes = after.conversation != before.conversation
        || !items.is_empty()
        || turn.is_some()
        || !evaluations.is_empty()
        || !jobs.is_empty()
        || record.is_some();
    if !changes {
        return Ok(Planned { conversation: after.conversation, writes: None, settles: false });
    }
    let id = &before.conversation.id;
    let transcript = keys.transcript(id);
    let counts = Counts::of_conversation(&after, &simulation.pinned)
        .since(Counts::of_conversation(before, &simulation.pinned));
    let settles = counts.settles();
    let counter_shard = keys.counter_shard_of(id.as_str());
    let mut counter_shard = if counts.is_empty() {
        Write::check(COUNTS, counter_shard)
    } else {
        counts.write(Write::update(COUNTS, counter_shard))
    }
    .if_revision(simulation.revision);
    if settles && may_be_last {
        let work = Work::FinishSimulation { simulation: simulation.simulation.id.clone() };
        jobs.push(Job::new(table.project.clone(), work));
    } else if settles {
        counter_shard = counter_shard.if_above(UNSETTLED, 1);
    }
    let mut writes =
        vec![put(keys, &after.conversation, &after.evaluations).revise(before.revision), counter_shard];
    writes.extend(turn.map(|turn| transcripts::keep(&transcript, &turn)));
    writes.extend(transcripts::append(&transcript, &before.conversation, &items)?);
    writes.extend(evaluations.iter().map(|evaluation| record_evaluation(&transcript, evaluation)));
    writes.extend(jobs::calls(table.database, &jobs));
    writes.extend(record.as_ref().map(idempotency::put));
    Ok(Planned { conversation: after.conversation, writes: Some(writes), settles })
}

fn record_evaluation(keys: &TranscriptKeys, evaluation: &Evaluation) -> Write {
    let key = keys.evaluation(evaluation.attempt, &evaluation.objective);
    Write::put(EVALUATION, key, &record::evaluation_body(evaluation)).if_new()
}

/// The outcomes of the conversation's current attempt after the change.
fn outcomes(
    simulation: &StoredSimulation,
    before: &StoredConversation,
    change: &ConversationChange,
) -> Result<Vec<StoredEvaluation>, StoreError> {
    let attempt = change.conversation.attempt;
    let mut outcomes = before.evaluations.clone();
    if attempt != before.conversation.attempt {
        outcomes.clear();
    }
    for evaluation in &change.evaluations {
        require_pinned(simulation, &evaluation.objective)?;
        if evaluation.attempt == attempt {
            outcomes.push(StoredEvaluation {
                objective: evaluation.objective.clone(),
                outcome: evaluation.outcome,
                score: evaluation.score,
            });
        }
    }
    Ok(outcomes)
}

/// An evaluation needs an objective that the simulation pins.
fn require_pinned(simulation: &StoredSimulation, objective: &ObjectiveRef) -> Result<(), StoreError> {
    if simulation.pinned.contains(objective) {
        return Ok(());
    }
    let reason = "it names an objective that its simulation does not pin".into();
    Err(StoreError::Corrupt { what: EVALUATION, reason })
}
