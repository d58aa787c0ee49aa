//! Messages, and the replies stored under an `Idempotency-Key`.
//!
//! The messages that one change adds are one item, or several if they are longer than one item can hold. The
//! conversation says how many messages an attempt has. What lies behind that number belongs to a change that was not
//! completed, and is never read.

use std::{collections::BTreeSet, future::ready};

use futures_util::{StreamExt, TryStreamExt, future::try_join, stream};
use onerun_domain::{
    Conversation, ConversationId, DELETED_REASON, Item as Message, Limit, Page, PageRequest, Simulation,
    SimulationId, Start, later,
};
use onerun_store::{
    IDEMPOTENCY_RETENTION, PageBuilder, ReplyContext, StoreError, StoredTurn, position, read_position,
};
use serde_json::Value;

use crate::{
    database::{AT_ONCE, Answers},
    item::{self, BODY, EXPIRES, Item, SORT},
    keys::{self, Key, LAST, TranscriptKeys},
    query::Query,
    record::{self, ReplyPlace, StoredConversation},
    retry::RetryPolicy,
    write::{MAX_BODY, Write},
};

use super::{ProjectTable, find, personas, simulations};

const WHAT: &str = "message";

/// The reply of a turn, beside its messages.
const REPLY: &str = "reply";

/// The writes that append messages.
#[derive(Default)]
pub(super) struct Appended {
    pub(super) writes: Vec<Write>,
    /// Where the reply of the turn is, if it is with the messages.
    pub(super) reply: Option<ReplyPlace>,
}

/// The writes that append messages to the current attempt of a conversation, on its revision and by a change with this
/// name.
pub(super) fn append(
    keys: &TranscriptKeys,
    before: &StoredConversation,
    messages: &[Message],
    turn: Option<&StoredTurn>,
    writer: &str,
) -> Result<Appended, StoreError> {
    let StoredConversation { conversation, revision, .. } = before;
    let attempt = conversation.attempt;
    for (message, position) in messages.iter().zip(conversation.item_count..) {
        if message.attempt != attempt || message.position != position {
            let (attempt, found) = (message.attempt, message.position);
            return Err(StoreError::Corrupt {
                what: WHAT,
                reason: format!(
                    "{found} of attempt {attempt} does not follow: {position} of attempt {} does",
                    conversation.attempt
                ),
            });
        }
    }
    let mut appended = Appended::default();
    for (position, body) in record::messages_bodies(messages, MAX_BODY) {
        for (part, text) in cut(&body, MAX_BODY).into_iter().enumerate() {
            let key = keys.messages(attempt, position, part);
            appended.writes.push(Write::put_text(WHAT, key, text.to_owned()).fenced(revision + 1, writer));
        }
    }
    if let [one] = &mut appended.writes[..]
        && let Some(body) = turn.and_then(|turn| record::reply_body(turn, messages))
    {
        *one = one.clone().set(REPLY, item::text(body.to_string()));
        appended.reply = Some(ReplyPlace::Messages { attempt, position: conversation.item_count });
    }
    Ok(appended)
}

/// A text in parts of at most `size` bytes, cut between characters.
pub(super) fn cut(mut text: &str, size: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > size {
        let (part, rest) = text.split_at(text.floor_char_boundary(size));
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

/// One page of an attempt's messages, oldest first.
pub(super) async fn items(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    attempt: u32,
    page: &PageRequest,
) -> Result<Page<Message>, StoreError> {
    let first = match &page.start {
        Start::Offset(offset) => *offset,
        Start::After(position) => read_position::<u32>(position)?.saturating_add(1),
    };
    let keys = table.keys(simulation);
    let stored = table.database.get("conversation", &keys.conversation(conversation)).await?;
    let stored = stored.map(|item| record::conversation(&item)).transpose()?;
    let wanted = Wanted {
        simulation,
        conversation,
        attempt,
        count: stored.map_or(0, |stored| stored.count_of(attempt)),
    };
    wanted.page(table, first, PageBuilder::new(page.limit)).await
}

/// The messages of an attempt.
struct Wanted<'a> {
    simulation: &'a SimulationId,
    conversation: &'a ConversationId,
    attempt: u32,
    count: u32,
}

impl Wanted<'_> {
    async fn page(
        &self,
        table: ProjectTable<'_>,
        first: u32,
        page: PageBuilder<Message>,
    ) -> Result<Page<Message>, StoreError> {
        let mut reading = Reading { page, first, follows: 0, is_full: false };
        let mut retry = RetryPolicy::new();
        loop {
            let read = reading.read(table, self).await;
            // The messages of a transaction may become visible after its conversation.
            if reading.is_full || reading.follows >= self.count || self.is_deleted(table).await? {
                read?;
                return Ok(reading.page.finish());
            }
            if !retry.wait().await {
                read?;
                let reason = format!("those from position {} on are missing", reading.follows);
                return Err(StoreError::Corrupt { what: WHAT, reason });
            }
        }
    }

    async fn all(&self, table: ProjectTable<'_>) -> Result<Vec<Message>, StoreError> {
        let mut items: Vec<Message> = Vec::new();
        loop {
            let first = u32::try_from(items.len()).unwrap_or(u32::MAX);
            let page = self.page(table, first, PageBuilder::new(Limit::clamped(Limit::MAX))).await?;
            let is_last = page.next.is_none();
            items.extend(page.data);
            if is_last {
                return Ok(items);
            }
        }
    }

    /// Whether messages may be missing.
    async fn is_deleted(&self, table: ProjectTable<'_>) -> Result<bool, StoreError> {
        let keys = table.keys(self.simulation);
        let simulation = table.database.get(simulations::WHAT, &keys.simulation()).await?;
        let simulation = simulation.as_ref().map(record::simulation).transpose()?;
        Ok(simulation.is_some_and(|stored| stored.simulation.transcripts_deleted_at.is_some()))
    }
}

/// A page of messages that is being read.
struct Reading {
    page: PageBuilder<Message>,
    /// The position of the first message of the page.
    first: u32,
    /// The position of the next message.
    follows: u32,
    is_full: bool,
}

impl Reading {
    /// Reads to the end of the page or of the attempt. Holds at most one message in several parts, and one answer.
    async fn read(&mut self, table: ProjectTable<'_>, wanted: &Wanted<'_>) -> Result<(), StoreError> {
        if self.follows >= wanted.count {
            return Ok(());
        }
        let keys = table.keys(wanted.simulation).transcript(wanted.conversation);
        let start = keys::message(wanted.attempt, self.follows.into());
        let end = format!("{}{LAST}", keys::message(wanted.attempt, u64::from(wanted.count) - 1));
        let mut answers = Answers::new(table.database, Query::new(WHAT, keys.partition).between(start, end));
        let mut body: Option<(String, String)> = None;
        while let Some(items) = answers.next(usize::MAX).await? {
            for item in items {
                let place = item.text(SORT)?.rsplit_once('#').map_or("", |(place, _)| place);
                let text = item.body()?;
                match &mut body {
                    Some((before, body)) if before == place => body.push_str(text),
                    _ => {
                        if let Some((_, whole)) = body.replace((place.to_owned(), text.to_owned()))
                            && !self.add(wanted, &whole)?
                        {
                            return Ok(());
                        }
                    }
                }
            }
        }
        if let Some((_, whole)) = body {
            self.add(wanted, &whole)?;
        }
        Ok(())
    }

    /// Adds the messages of an item. Returns `false` if the page is full.
    fn add(&mut self, wanted: &Wanted<'_>, body: &str) -> Result<bool, StoreError> {
        for message in record::messages(wanted.conversation, wanted.attempt, body)? {
            let number = message.position;
            // An item that was left by a change that was not completed.
            if number < self.follows || number >= wanted.count {
                break;
            }
            if number >= self.first {
                self.is_full = !self.page.push(message, position(&number));
                if self.is_full {
                    return Ok(false);
                }
            }
            self.follows = number + 1;
        }
        Ok(true)
    }
}

/// The agent, persona and messages that a reply depends on. The claim of the turn may have read them.
pub(super) async fn reply_context(
    table: ProjectTable<'_>,
    simulation: &Simulation,
    conversation: &Conversation,
) -> Result<ReplyContext, StoreError> {
    let key = table.keys(&simulation.id).conversation(&conversation.id);
    match table.memory.claimed.take_context(&key, conversation) {
        Some(context) => Ok(context),
        None => read_context(table, simulation, conversation).await,
    }
}

pub(super) async fn read_context(
    table: ProjectTable<'_>,
    simulation: &Simulation,
    conversation: &Conversation,
) -> Result<ReplyContext, StoreError> {
    let keys = table.keys(&simulation.id);
    let agent = Key::agent(table.project, &simulation.agent_id);
    let persona = keys.persona(&conversation.persona_id);
    let both = || BTreeSet::from([agent.clone(), persona.clone()]);
    let known = async {
        // They change rarely, and were there before the conversation.
        let found = table.database.get_all_lagging(WHAT, both()).await?;
        if found.len() == both().len() { Ok(found) } else { table.database.get_all(WHAT, both()).await }
    };
    let wanted = Wanted {
        simulation: &simulation.id,
        conversation: &conversation.id,
        attempt: conversation.attempt,
        count: conversation.item_count,
    };
    let (found, items) = try_join(known, wanted.all(table)).await?;
    let missing =
        |what| StoreError::Corrupt { what, reason: "a conversation names it, and it is missing".into() };
    Ok(ReplyContext {
        agent: record::agent(&find("agent", &found, &agent).ok_or_else(|| missing("agent"))?)?,
        persona: record::persona(
            &find(personas::WHAT, &found, &persona).ok_or_else(|| missing(personas::WHAT))?,
        )?,
        items,
    })
}

/// Deletes messages and replies of a conversation, up to `limit` of each, and the transcript's words in its
/// evaluations. Returns whether messages or replies may be left.
pub(super) async fn delete(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    limit: u32,
) -> Result<bool, StoreError> {
    let keys = table.keys(simulation).transcript(conversation);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut is_more = false;
    for (what, prefix) in [(WHAT, "message#"), ("turn", "reply#")] {
        let query = Query::new(what, keys.partition.clone()).beginning(prefix).limit(limit);
        // The answers of DynamoDB hold bodies, so they are read one at a time.
        let mut answers = Answers::new(table.database, query);
        let mut left = limit;
        while left > 0
            && let Some(items) = answers.next(left).await?
        {
            let mut writes = Vec::with_capacity(items.len());
            for item in items {
                if left > 0 {
                    writes.push(deletion(&keys, what, &item, &mut left)?);
                }
            }
            let written = stream::iter(writes).map(async |write: Write| {
                if write.is_update() {
                    table.database.update_unread(&write).await
                } else {
                    table.database.delete(&write).await.map(drop)
                }
            });
            written.buffer_unordered(AT_ONCE).try_for_each(|()| ready(Ok(()))).await?;
        }
        is_more |= left == 0;
    }
    delete_words(table, &keys).await?;
    Ok(is_more)
}

/// Deletes an item, or its first messages if it has more than are left to delete.
fn deletion(
    keys: &TranscriptKeys,
    what: &'static str,
    item: &Item,
    left: &mut usize,
) -> Result<Write, StoreError> {
    let key = Key { partition: keys.partition.clone(), sort: item.text(SORT)?.to_owned() };
    // A part of a message is no list.
    let messages = serde_json::from_str::<Vec<Value>>(item.body()?).unwrap_or_default();
    let count = messages.len().max(1);
    if count <= *left {
        *left -= count;
        return Ok(Write::delete(what, key));
    }
    let rest: Value = messages.into_iter().skip(std::mem::take(left)).collect();
    let body = item::text(rest.to_string());
    Ok(Write::update(what, key).set(BODY, body).remove(REPLY).if_there())
}

/// Removes the transcript's words from the evaluations of all attempts.
async fn delete_words(table: ProjectTable<'_>, keys: &TranscriptKeys) -> Result<(), StoreError> {
    const EVALUATION: &str = "evaluation";
    let query = Query::new(EVALUATION, keys.partition.clone()).beginning(TranscriptKeys::evaluation_prefix());
    for item in table.database.query(&query).await? {
        let evaluation = record::evaluation(&item)?;
        if evaluation.reason == DELETED_REASON {
            continue;
        }
        let key = keys.evaluation(evaluation.attempt, &evaluation.objective);
        let body = record::evaluation_body(&evaluation.without_transcript()).to_string();
        let write = Write::update(EVALUATION, key).set(BODY, item::text(body)).if_there();
        table.database.update_unread(&write).await?;
    }
    Ok(())
}

/// Stores a reply under its idempotency key, which must be new.
pub(super) fn keep(keys: &TranscriptKeys, turn: &StoredTurn) -> Write {
    let expires = later(turn.created_at, IDEMPOTENCY_RETENTION).as_second().saturating_add(1);
    Write::put("turn", keys.reply(&turn.idempotency_key), &record::turn_body(turn))
        .set(EXPIRES, item::number(expires))
        .if_new()
}

/// The reply under an idempotency key.
pub(super) async fn turn(
    table: ProjectTable<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    idempotency_key: &str,
) -> Result<Option<StoredTurn>, StoreError> {
    let keys = table.keys(simulation);
    let Some(item) = table.database.get("conversation", &keys.conversation(conversation)).await? else {
        return Ok(None);
    };
    let keys = keys.transcript(conversation);
    match record::conversation(&item)?.replies.find(idempotency_key) {
        None => Ok(None),
        Some(ReplyPlace::OwnItem) => {
            let found = table.database.get("turn", &keys.reply(idempotency_key)).await?;
            found.map(|item| record::turn(&item)).transpose()
        }
        Some(ReplyPlace::Messages { attempt, position }) => {
            let found = table.database.get(WHAT, &keys.messages(attempt, position, 0)).await?;
            let Some(item) = found else { return Ok(None) };
            // Without its reply, it is being deleted.
            let Some(reply) = item.optional_text(REPLY)? else { return Ok(None) };
            let turn = record::reply(reply, &record::messages(conversation, attempt, item.body()?)?)?;
            Ok((turn.idempotency_key == idempotency_key).then_some(turn))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_without_loss() {
        let text = "a\u{e9}\u{1f600}".repeat(7);
        for size in 4..60 {
            let parts = cut(&text, size);
            assert!(parts.iter().all(|part| part.len() <= size && !part.is_empty()));
            assert_eq!(parts.concat(), text);
        }
        assert_eq!(cut("", 4), [""]);
    }
}
