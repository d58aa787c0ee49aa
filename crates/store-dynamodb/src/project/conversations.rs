//! Conversations.

use std::collections::{BTreeMap, BTreeSet};

use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, Direction, Evaluation, Job, Name, ObjectiveRef, Page,
    Persona, SimulationId, Work,
};
use onerun_store::{
    ChangeError, ConversationChange, ConversationSummary, ConversationView, Decide, EvaluatedConversation,
    ListConversations, PageBuilder, StoreError,
};

use crate::{
    counts::{Counts, UNSETTLED},
    database::Written,
    idempotency,
    item::{self, Item, REVISION},
    jobs,
    keys::{self, Key, SimulationKeys, TranscriptKeys},
    lists::{self, Entries},
    overdue,
    query::{Entry, Index, Query},
    record::{self, StoredConversation, StoredEvaluation, StoredSimulation},
    retry::RetryPolicy,
    write::Write,
};

use super::{
    ProjectTable, contended, duplicate, find, personas,
    simulations::{self, COUNTS},
    transcripts,
};

const WHAT: &str = "conversation";
const EVALUATION: &str = "evaluation";

/// How many conversations one transaction adds at most: with the counts, the numbers and the check
/// below its bound.
const MAX_ADDED: usize = 80;

/// The numbers that are taken: a bit for each.
const TAKEN: &str = "taken";

/// Numbers are kept in one item, so they have a bound: far above any target.
const MAX_NUMBER: u32 = 1_000_000;

fn put(keys: &SimulationKeys, conversation: &Conversation, findings: &[StoredEvaluation]) -> Write {
    let (created, seq) = (keys::time(conversation.created_at), keys::number(conversation.seq.into()));
    let status = conversation.status.as_str();
    // Queued conversations come first, longest waiting at the head; then all others that are not
    // settled.
    let waits = match conversation.status {
        ConversationStatus::Queued => {
            Some(format!("conversation#queued#{}#{seq}", keys::time(conversation.queued_at)))
        }
        _ if conversation.is_settled() => None,
        _ => Some(format!("conversation#unsettled#{seq}")),
    };
    let body = record::conversation_body(conversation, findings);
    let write = Write::put(WHAT, keys.conversation(&conversation.id), &body)
        .set(Index::Made.sort(), item::text(format!("conversation#{created}#{seq}")))
        .set(Index::Status.sort(), item::text(format!("conversation#{status}#{created}#{seq}")))
        .set_some(Index::Wait.sort(), waits.map(item::text));
    overdue::mark_conversation(write, conversation)
}

/// Adds those conversations whose numbers are free.
pub(super) async fn add(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    conversations: &[Conversation],
) -> Result<(), ChangeError> {
    let keys = table.keys(simulation);
    require_personas(table, &keys, conversations).await?;
    if conversations.is_empty() {
        return add_some(table, &keys, conversations).await;
    }
    for some in conversations.chunks(MAX_ADDED) {
        add_some(table, &keys, some).await?;
    }
    Ok(())
}

/// Holds the personas to being those of the simulation. They are never removed.
async fn require_personas(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: &[Conversation],
) -> Result<(), StoreError> {
    let wanted: BTreeSet<Key> =
        conversations.iter().map(|conversation| keys.persona(&conversation.persona_id)).collect();
    let count = wanted.len();
    if table.database.count(personas::WHAT, wanted).await? == count {
        return Ok(());
    }
    Err(StoreError::Corrupt { what: WHAT, reason: "it names a persona that is not there".into() })
}

async fn add_some(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: &[Conversation],
) -> Result<(), ChangeError> {
    let mut retry = RetryPolicy::new();
    loop {
        let wanted = [keys.simulation(), keys.numbers()];
        let mut items = table.database.snapshot(simulations::WHAT, &wanted, &mut retry).await?.into_iter();
        let (simulation, numbers) = (items.next().flatten(), items.next().flatten());
        let simulation = simulation.ok_or_else(|| StoreError::Corrupt {
            what: simulations::WHAT,
            reason: "conversations are to be added to one that is not there".into(),
        })?;
        let stored = record::simulation(&simulation)?;
        stored.simulation.require_running()?;
        let mut taken = Numbers::read(numbers.as_ref())?;
        let mut added = Vec::new();
        for conversation in conversations {
            if taken.take(conversation.seq)? {
                added.push(conversation);
            }
        }
        if added.is_empty() {
            return Ok(());
        }
        let writes = additions(keys, &stored, &added, taken.write(keys));
        match table.database.write(&writes, &mut retry).await? {
            Written::All => return Ok(()),
            // Only ids that are there already: reading again would not help.
            Written::Failed(failed) if failed.iter().all(|index| *index < added.len()) => {
                return Err(duplicate(&writes, &failed).into());
            }
            Written::Failed(_) if retry.wait().await => {}
            Written::Failed(_) => return Err(contended(WHAT)),
        }
    }
}

/// The conversations, then their numbers, then their counts.
fn additions(
    keys: &SimulationKeys,
    stored: &StoredSimulation,
    added: &[&Conversation],
    numbers: Write,
) -> Vec<Write> {
    let put_new =
        |conversation: &&Conversation| put(keys, conversation, &[]).set(REVISION, item::number(1)).if_new();
    let mut writes: Vec<Write> = added.iter().map(put_new).collect();
    writes.push(numbers);
    let mut counts: BTreeMap<Key, Counts> = BTreeMap::new();
    for conversation in added {
        let stored_conversation =
            StoredConversation { conversation: (*conversation).clone(), findings: Vec::new(), revision: 1 };
        let one = Counts::of_conversation(&stored_conversation, &stored.pinned);
        let sum = counts.entry(keys.counter_shard_of(conversation.id.as_str())).or_default();
        *sum = std::mem::take(sum).plus(one);
    }
    let update = |(counter_shard, counts): (Key, Counts)| {
        counts.write(Write::update(COUNTS, counter_shard)).if_revision(stored.revision)
    };
    writes.extend(counts.into_iter().map(update));
    writes
}

/// Which numbers are taken.
struct Numbers {
    bits: Vec<u8>,
    revision: Option<u64>,
}

impl Numbers {
    fn read(item: Option<&Item>) -> Result<Self, StoreError> {
        let Some(item) = item else { return Ok(Self { bits: Vec::new(), revision: None }) };
        Ok(Self { bits: item.bytes(TAKEN)?.to_vec(), revision: Some(item.revision()?) })
    }

    /// Takes a number; `false` if it was taken.
    fn take(&mut self, seq: u32) -> Result<bool, StoreError> {
        let byte = usize::try_from(seq / 8).ok().filter(|_| seq <= MAX_NUMBER);
        let byte = byte.ok_or_else(|| StoreError::Corrupt {
            what: WHAT,
            reason: format!("its number is above {MAX_NUMBER}"),
        })?;
        if self.bits.len() <= byte {
            self.bits.resize(byte + 1, 0);
        }
        let bit = 1 << (seq % 8);
        let Some(bits) = self.bits.get_mut(byte) else { return Ok(false) };
        let free = *bits & bit == 0;
        *bits |= bit;
        Ok(free)
    }

    fn write(self, keys: &SimulationKeys) -> Write {
        let bits = aws_sdk_dynamodb::types::AttributeValue::B(self.bits.into());
        let write = Write::put_bare("taken numbers", keys.numbers()).set(TAKEN, bits);
        match self.revision {
            Some(revision) => write.revise(revision),
            None => write.set(REVISION, item::number(1)).if_new(),
        }
    }
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
    let versions = stored.findings.iter().map(|finding| Key::version(table.project, &finding.objective));
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

/// How many conversations are read at one time. Each comes with its persona and up to fifty evaluations.
const GROUP: usize = 21;

/// One page of conversations. One whose status changes while the page is read may be missing from it.
pub(super) async fn list(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    list: &ListConversations,
) -> Result<Page<ConversationSummary>, StoreError> {
    let keys = table.keys(simulation);
    let query = Query::new(WHAT, keys.partition.clone());
    let query = match list.status {
        None => query.by(Index::Made, Direction::Descending).beginning("conversation#"),
        Some(ConversationStatus::Queued) => {
            query.by(Index::Wait, Direction::Ascending).beginning("conversation#queued#")
        }
        Some(status) => query
            .by(Index::Status, Direction::Descending)
            .beginning(format!("conversation#{}#", status.as_str())),
    };
    let mut entries = Entries::new(table.database, query, &list.page)?;
    let mut page = PageBuilder::new(list.page.limit);
    let mut names = Names::default();
    loop {
        let group = entries.group(GROUP).await?;
        if group.is_empty() {
            return Ok(page.finish());
        }
        let mut rows = lists::rows(table.database, WHAT, &group, record::conversation).await?;
        rows.retain(|(_, stored)| list.status.is_none_or(|status| stored.conversation.status == status));
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

/// The objectives that a simulation pins, and what each is called.
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

/// The objectives that the conversations' simulation pins, if one of the conversations has a
/// evaluation.
async fn pinned(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    conversations: impl IntoIterator<Item = &StoredConversation>,
) -> Result<Vec<ObjectiveRef>, StoreError> {
    if conversations.into_iter().all(|stored| stored.findings.is_empty()) {
        return Ok(Vec::new());
    }
    let simulation = table.database.get(simulations::WHAT, &keys.simulation()).await?;
    Ok(record::simulation(&simulation.ok_or_else(|| missing(simulations::WHAT))?)?.pinned)
}

fn missing(what: &str) -> StoreError {
    StoreError::Corrupt { what: WHAT, reason: format!("its {what} is gone") }
}

/// A conversation, the persona that holds it, and its evaluations.
struct Held {
    conversation: Conversation,
    persona: Persona,
    evaluations: Vec<Evaluation>,
}

/// The conversations with their personas and evaluations, these in the order that the simulation pins
/// what they are about.
async fn held(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    pinned: &[ObjectiveRef],
    conversations: Vec<StoredConversation>,
) -> Result<Vec<Held>, StoreError> {
    let mut others = BTreeSet::new();
    for StoredConversation { conversation, findings, .. } in &conversations {
        others.insert(keys.persona(&conversation.persona_id));
        let transcript = keys.transcript(&conversation.id);
        others.extend(
            findings.iter().map(|finding| transcript.evaluation(conversation.attempt, &finding.objective)),
        );
    }
    let others = table.database.get_all(WHAT, others).await?;
    let read = |stored: StoredConversation| {
        let StoredConversation { conversation, mut findings, .. } = stored;
        findings.sort_by_key(|finding| pinned.iter().position(|pinned| *pinned == finding.objective));
        let transcript = keys.transcript(&conversation.id);
        let mut evaluations = Vec::new();
        for StoredEvaluation { objective, .. } in &findings {
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

/// The ids of conversations with something left to happen.
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
    let id = |entry: &Entry| {
        let id = entry.key.sort.strip_prefix("conversation#").and_then(|id| id.parse().ok());
        id.ok_or_else(|| StoreError::Corrupt { what: WHAT, reason: "its key names no conversation".into() })
    };
    found.iter().map(id).collect()
}

/// Changes a conversation.
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
        // The state of the decision is unchanged, so an item that must be new already exists.
        if !failed.contains(&CONVERSATION) && !failed.contains(&COUNTER_SHARD) {
            return Err(duplicate(&writes, &failed).into());
        }
        // Either the simulation changed, or nothing else is left to happen where this conversation
        // is counted.
        may_be_last = may_be_last || (planned.settles && failed == [COUNTER_SHARD]);
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// The places of two writes of a change.
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
/// The one that settles the last unsettled conversation of a counter shard adds the job that
/// finishes the simulation: the last of all is the last of its counter shard, too. Whether a
/// settlement is the last is a condition of the write, so that no other comes in between; only when
/// it fails is the job added.
fn plan(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    simulation: &StoredSimulation,
    before: &StoredConversation,
    change: ConversationChange,
    may_be_last: bool,
) -> Result<Planned, StoreError> {
    let findings = findings(simulation, before, &change)?;
    let ConversationChange { conversation, items, turn, evaluations, mut jobs, record } = change;
    let after = StoredConversation { conversation, findings, revision: before.revision + 1 };
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
        vec![put(keys, &after.conversation, &after.findings).revise(before.revision), counter_shard];
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

/// The evaluations on the attempt that the conversation is at after the change.
fn findings(
    simulation: &StoredSimulation,
    before: &StoredConversation,
    change: &ConversationChange,
) -> Result<Vec<StoredEvaluation>, StoreError> {
    let attempt = change.conversation.attempt;
    let mut findings = before.findings.clone();
    if attempt != before.conversation.attempt {
        findings.clear();
    }
    for evaluation in &change.evaluations {
        require_pinned(simulation, &evaluation.objective)?;
        if evaluation.attempt == attempt {
            findings.push(StoredEvaluation {
                objective: evaluation.objective.clone(),
                outcome: evaluation.outcome,
                score: evaluation.score,
            });
        }
    }
    Ok(findings)
}

/// Evaluations are about what the simulation pins.
fn require_pinned(simulation: &StoredSimulation, objective: &ObjectiveRef) -> Result<(), StoreError> {
    if simulation.pinned.contains(objective) {
        return Ok(());
    }
    let reason = "it names an objective that its simulation does not pin".into();
    Err(StoreError::Corrupt { what: EVALUATION, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once() {
        let mut numbers = Numbers { bits: Vec::new(), revision: None };
        for seq in [1, 8, 7, 10_000, 0, MAX_NUMBER] {
            assert!(numbers.take(seq).unwrap());
            assert!(!numbers.take(seq).unwrap());
        }
        assert!(numbers.take(9).unwrap());
        assert!(numbers.take(MAX_NUMBER + 1).is_err());
        // An item can hold far more.
        assert!(numbers.bits.len() < 400 * 1024 / 2);
    }
}
