//! Changes of conversations.
//!
//! Most changes are turns: they change the conversation itself and add messages, and nothing else must be true together
//! with them. They need no transaction, which would cost twice as much. First the messages are put, which nobody reads
//! before the conversation counts them, and then the conversation on its revision. Messages of a change that was not
//! completed are replaced by the next one, because they carry the revision that their change would have made
//! ([`Write::fenced`]).
//!
//! All other changes are transactions. They write the conversation on its revision, and what they count to a counter
//! shard on the simulation's revision.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::{join, try_join};
use onerun_domain::{Conversation, ConversationId, Evaluation, Job, ObjectiveRef, SimulationId, Work};
use onerun_store::{ChangeError, ConversationChange, ConversationView, Decide, StoreError};
use tokio::time::Instant;

use crate::{
    counts::{Counts, UNSETTLED},
    database::{Changed, Written, unique},
    entries::replace,
    idempotency, jobs,
    keys::{self, Key, SimulationKeys, TranscriptKeys},
    overdue,
    record::{self, ReplyPlace, StoredConversation, StoredEvaluation, StoredSimulation},
    retry::RetryPolicy,
    write::Write,
};

use super::{
    super::{
        ProjectTable, contended, duplicate, find,
        simulations::{self, COUNTS},
        transcripts,
    },
    EVALUATION, WHAT,
    claimed::{Claimed, is_claimed},
    entries, put,
};

/// The lessons of earlier tries of a change.
#[derive(Default)]
struct Tried {
    /// Whether the state must be read as of one moment.
    needs_snapshot: bool,
    /// Whether this may be the last unsettled conversation of its counter shard.
    may_be_last: bool,
    /// The revision on which the messages of another change were found, and when.
    blocked: Option<(u64, Instant)>,
}

pub(in super::super) async fn change(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    id: &ConversationId,
    mut decide: Decide<ConversationView, ConversationChange>,
) -> Result<Option<Conversation>, ChangeError> {
    let keys = table.keys(simulation);
    let mut retry = RetryPolicy::new();
    let mut tried = Tried::default();
    loop {
        let found = read(table, &keys, id, tried.needs_snapshot, &mut retry).await?;
        // The parts of a transaction become visible one after the other, so only a change is decided at the first try.
        let is_final = std::mem::replace(&mut tried.needs_snapshot, true);
        let Some(Found { simulation, conversation: before, remembered }) = found else {
            if is_final {
                return Ok(None);
            }
            continue;
        };
        let view = ConversationView {
            simulation: simulation.simulation.clone(),
            conversation: before.conversation.clone(),
        };
        let change = match decide(view) {
            Ok(change) => change,
            Err(_) if !is_final => continue,
            Err(refusal) => return Err(refusal.into()),
        };
        let planned = match plan(table, &keys, &simulation, &before, change, tried.may_be_last) {
            Ok(Some(planned)) => planned,
            Ok(None) | Err(_) if !is_final => continue,
            Ok(None) => return Ok(Some(before.conversation)),
            Err(error) => return Err(error.into()),
        };
        let after = &planned.after.conversation;
        let known = remembered.then_some(simulation.revision);
        let write = Box::pin(planned.write(table, &keys, &before, known, &mut tried, &mut retry));
        let (is_written, context) = if is_claimed(after) && !is_claimed(&before.conversation) {
            // The reply to the claimed turn needs its context next.
            let context = Box::pin(transcripts::read_context(table, &simulation.simulation, after));
            let (is_written, context) = join(write, context).await;
            (is_written?, context.ok())
        } else {
            (write.await?, None)
        };
        if is_written {
            let after = after.clone();
            let claimed = Claimed { simulation, conversation: planned.after, context };
            table.memory.claimed.note(keys.conversation(id), claimed);
            return Ok(Some(after));
        }
        if !retry.wait().await {
            return Err(contended(WHAT));
        }
    }
}

/// The state for a decision.
struct Found {
    simulation: StoredSimulation,
    conversation: StoredConversation,
    /// Whether it is known from the claim of the turn.
    remembered: bool,
}

async fn read(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    id: &ConversationId,
    at_one_moment: bool,
    retry: &mut RetryPolicy,
) -> Result<Option<Found>, StoreError> {
    let wanted = [keys.simulation(), keys.conversation(id)];
    let claimed = table.memory.claimed.take(&keys.conversation(id));
    if !at_one_moment && let Some(claimed) = claimed {
        let Claimed { simulation, conversation, context: _ } = claimed;
        return Ok(Some(Found { simulation, conversation, remembered: true }));
    }
    if !at_one_moment && let Some(simulation) = table.memory.simulations.get(&keys.simulation()) {
        // The counter shard has the simulation's revision. Unlike the simulation, not all conversations read the same
        // one.
        let shard = keys.counter_shard_of(id, simulation.simulation.target_conversations);
        let both = BTreeSet::from([shard.clone(), keys.conversation(id)]);
        let found = table.database.get_all(WHAT, both).await?;
        let revision = find(COUNTS, &found, &shard).map(|shard| shard.revision()).transpose()?;
        if let Some(conversation) = find(WHAT, &found, &keys.conversation(id))
            && revision == Some(simulation.revision)
        {
            let conversation = record::conversation(&conversation)?;
            return Ok(Some(Found { simulation, conversation, remembered: false }));
        }
    }
    let (simulation, conversation) = if at_one_moment {
        let mut items = table.database.snapshot(WHAT, &wanted, retry).await?.into_iter();
        (items.next().flatten(), items.next().flatten())
    } else {
        let found = table.database.get_all(WHAT, BTreeSet::from(wanted.clone())).await?;
        let [simulation, conversation] = &wanted;
        (find(simulations::WHAT, &found, simulation), find(WHAT, &found, conversation))
    };
    let (Some(simulation), Some(conversation)) = (simulation, conversation) else { return Ok(None) };
    let (simulation, conversation) = (record::simulation(&simulation)?, record::conversation(&conversation)?);
    table.memory.simulations.note(keys.simulation(), &simulation);
    Ok(Some(Found { simulation, conversation, remembered: false }))
}

/// The writes of a change.
struct Planned {
    after: StoredConversation,
    /// The random name of the change.
    writer: [u8; 16],
    /// The conversation, on its revision.
    conversation: Write,
    /// The messages.
    messages: Vec<Write>,
    counter_shard_key: Key,
    /// The counter shard, if there is a count or something that must not outlive the simulation.
    counter_shard: Option<Write>,
    /// Everything else that must be true together.
    others: Vec<Write>,
    settles: bool,
}

impl Planned {
    /// Whether everything was written. If not, the change must be decided again.
    async fn write(
        &self,
        table: ProjectTable<'_>,
        keys: &SimulationKeys,
        before: &StoredConversation,
        known: Option<u64>,
        tried: &mut Tried,
        retry: &mut RetryPolicy,
    ) -> Result<bool, StoreError> {
        if self.counter_shard.is_none() && self.others.is_empty() {
            return self.write_one_by_one(table, keys, before, known, tried).await;
        }
        let mut writes = vec![self.conversation.clone()];
        writes.extend(self.counter_shard.clone());
        let counted = writes.len();
        writes.extend(self.messages.clone());
        let rest = writes.len();
        writes.extend(self.others.clone());
        let failed = match table.database.write(&writes, retry).await? {
            Written::All => return Ok(true),
            Written::Failed(failed) => failed,
        };
        if failed.iter().any(|index| (counted..rest).contains(index)) {
            unblock(table, keys, before, tried).await?;
            return Ok(false);
        }
        // The state that the decision read is unchanged, so the failed condition is an item that must be new.
        if failed.iter().all(|index| *index >= rest) {
            return Err(duplicate(&writes, &failed));
        }
        // Either the simulation changed, or this is the last unsettled conversation of its counter shard.
        tried.may_be_last = tried.may_be_last || (self.settles && failed == [1]);
        Ok(false)
    }

    /// Whether no messages of another change are in the way.
    async fn put_messages(&self, table: ProjectTable<'_>) -> Result<bool, StoreError> {
        for messages in &self.messages {
            if let Changed::No = table.database.put(messages).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn write_one_by_one(
        &self,
        table: ProjectTable<'_>,
        keys: &SimulationKeys,
        before: &StoredConversation,
        known: Option<u64>,
        tried: &mut Tried,
    ) -> Result<bool, StoreError> {
        // A simulation that was not read is compared with its counter shard, which has its revision.
        let is_unchanged = async {
            let Some(revision) = known else { return Ok(true) };
            let shard = table.database.get(COUNTS, &self.counter_shard_key).await?;
            shard.map_or(Ok(false), |shard| Ok(shard.revision()? == revision))
        };
        let (is_put, is_unchanged) = try_join(self.put_messages(table), is_unchanged).await?;
        if !is_put {
            unblock(table, keys, before, tried).await?;
        }
        if !is_put || !is_unchanged {
            return Ok(false);
        }
        if let Changed::Yes(_) = table.database.put(&self.conversation).await? {
            return Ok(true);
        }
        // Perhaps the write was repeated after a lost answer.
        let id = keys.conversation(&before.conversation.id);
        let found =
            table.database.get(WHAT, &id).await?.map(|item| record::conversation(&item)).transpose()?;
        Ok(found.is_some_and(|found| found.was_written_by(&self.writer)))
    }
}

/// The time that another change has between its messages and its conversation: many times what it needs.
const UNBLOCK_AFTER: Duration = Duration::from_secs(1);

/// Messages of another change on the same revision are in the way. If it is not completed in time, its revision is
/// taken from it.
async fn unblock(
    table: ProjectTable<'_>,
    keys: &SimulationKeys,
    before: &StoredConversation,
    tried: &mut Tried,
) -> Result<(), StoreError> {
    let since = match tried.blocked {
        Some((revision, since)) if revision == before.revision => since,
        _ => Instant::now(),
    };
    tried.blocked = Some((before.revision, since));
    if since.elapsed() >= UNBLOCK_AFTER {
        let key = keys.conversation(&before.conversation.id);
        table.database.update(&Write::update(WHAT, key).revise(before.revision)).await?;
    }
    Ok(())
}

/// The writes of a change; `None` if it changes nothing.
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
) -> Result<Option<Planned>, StoreError> {
    let ConversationChange { conversation, items, turn, unless_replied, evaluations, mut jobs, record } =
        change;
    let is_replied = |key: &String| before.replies.find(key).is_some();
    if unless_replied.as_ref().is_some_and(is_replied)
        || turn.as_ref().is_some_and(|turn| is_replied(&turn.idempotency_key))
    {
        return Err(StoreError::Duplicate { what: "turn" });
    }
    let changes = conversation != before.conversation
        || !items.is_empty()
        || turn.is_some()
        || !evaluations.is_empty()
        || !jobs.is_empty()
        || record.is_some();
    if !changes {
        return Ok(None);
    }
    let writer = unique()?;
    let mut after = after(simulation, before, conversation, &evaluations)?;
    after.note_writer(&writer);
    let transcript = keys.transcript(&before.conversation.id);
    let appended =
        transcripts::append(&transcript, before, &items, turn.as_ref(), &keys::hex(writer.split_at(8).0))?;
    let counts = Counts::of_conversation(&after, &simulation.pinned)
        .since(Counts::of_conversation(before, &simulation.pinned));
    let settles = counts.settles();
    let counter_shard =
        keys.counter_shard_of(&before.conversation.id, simulation.simulation.target_conversations);
    let counter_shard_key = counter_shard.clone();
    let mut counter_shard = if counts.is_empty() {
        let needs_check = !evaluations.is_empty() || !jobs.is_empty() || record.is_some();
        needs_check.then(|| Write::check(COUNTS, counter_shard))
    } else {
        Some(counts.write(Write::update(COUNTS, counter_shard)))
    }
    .map(|write| write.if_revision(simulation.revision));
    if settles && may_be_last {
        let work = Work::FinishSimulation { simulation: simulation.simulation.id.clone() };
        jobs.push(Job::new(table.project.clone(), work));
    } else if settles {
        counter_shard = counter_shard.map(|shard| shard.if_above(UNSETTLED, 1));
    }
    let mut others = Vec::new();
    if let Some(turn) = turn {
        let place = appended.reply.unwrap_or(ReplyPlace::OwnItem);
        after.replies.add(&turn.idempotency_key, place);
        others.extend((place == ReplyPlace::OwnItem).then(|| transcripts::keep(&transcript, &turn)));
    }
    others.extend(replace(&entries(keys, &before.conversation), entries(keys, &after.conversation)));
    others.extend(evaluations.iter().map(|evaluation| record_evaluation(&transcript, evaluation)));
    others.extend(jobs::calls(table.database, &jobs));
    others.extend(record.as_ref().map(idempotency::put));
    let conversation = put(keys, &after).revise(before.revision);
    Ok(Some(Planned {
        after,
        writer,
        conversation,
        messages: appended.writes,
        counter_shard_key,
        counter_shard,
        others,
        settles,
    }))
}

/// The stored conversation after a change, without the replies that it adds.
fn after(
    simulation: &StoredSimulation,
    before: &StoredConversation,
    conversation: Conversation,
    evaluations: &[Evaluation],
) -> Result<StoredConversation, StoreError> {
    let mut earlier_counts = before.earlier_counts.clone();
    let attempts = usize::try_from(conversation.attempt.saturating_sub(1)).unwrap_or(0);
    if attempts > earlier_counts.len() {
        earlier_counts.push(before.conversation.item_count);
        earlier_counts.resize(attempts, 0);
    }
    Ok(StoredConversation {
        evaluations: outcomes(simulation, before, conversation.attempt, evaluations)?,
        earlier_counts,
        replies: before.replies.clone(),
        writers: before.writers.clone(),
        due: overdue::next_mark(before.due.as_deref(), &conversation),
        revision: before.revision + 1,
        conversation,
    })
}

fn record_evaluation(keys: &TranscriptKeys, evaluation: &Evaluation) -> Write {
    let key = keys.evaluation(evaluation.attempt, &evaluation.objective);
    Write::put(EVALUATION, key, &record::evaluation_body(evaluation)).if_new()
}

/// The outcomes of the conversation's current attempt after the change.
fn outcomes(
    simulation: &StoredSimulation,
    before: &StoredConversation,
    attempt: u32,
    evaluations: &[Evaluation],
) -> Result<Vec<StoredEvaluation>, StoreError> {
    let mut outcomes = before.evaluations.clone();
    if attempt != before.conversation.attempt {
        outcomes.clear();
    }
    for evaluation in evaluations {
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
