//! Messages, and the replies stored under an `Idempotency-Key`.
//!
//! A message is one item, or several if its body is longer than one item can hold. Its key contains
//! its position, so a page is found without counting.

use std::future::ready;

use futures_util::{StreamExt, TryStreamExt, stream};
use onerun_domain::{
    Conversation, ConversationId, DELETED_REASON, Item as Message, Page, PageRequest, SimulationId, Start,
    later,
};
use onerun_store::{IDEMPOTENCY_RETENTION, PageBuilder, StoreError, StoredTurn, position, read_position};

use crate::{
    database::{AT_ONCE, Answers},
    item::{self, BODY, EXPIRES, SORT},
    keys::{self, Key, LAST, TranscriptKeys},
    query::Query,
    record,
    retry::RetryPolicy,
    write::{MAX_BODY, Write},
};

use super::ProjectTable;

const WHAT: &str = "message";

/// The writes that append messages to the current attempt of `conversation`.
pub(super) fn append(
    keys: &TranscriptKeys,
    conversation: &Conversation,
    messages: &[Message],
) -> Result<Vec<Write>, StoreError> {
    let mut writes = Vec::new();
    for (message, position) in messages.iter().zip(conversation.item_count..) {
        if message.attempt != conversation.attempt || message.position != position {
            let (attempt, found) = (message.attempt, message.position);
            return Err(StoreError::Corrupt {
                what: WHAT,
                reason: format!(
                    "{found} of attempt {attempt} does not follow: {position} of attempt {} does",
                    conversation.attempt
                ),
            });
        }
        let body = record::message_body(message).to_string();
        for (part, text) in cut(&body, MAX_BODY).into_iter().enumerate() {
            let key = keys.message(message.attempt, message.position, part);
            writes.push(Write::put_text(WHAT, key, text.to_owned()).if_new());
        }
    }
    Ok(writes)
}

/// A text in parts of at most `size` bytes, cut between characters.
fn cut(mut text: &str, size: usize) -> Vec<&str> {
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
        Start::Offset(offset) => u64::from(*offset),
        Start::After(position) => u64::from(read_position::<u32>(position)?) + 1,
    };
    let keys = table.keys(simulation);
    let transcript = keys.transcript(conversation);
    let mut reading = Reading { page: PageBuilder::new(page.limit), follows: first, is_full: false };
    let last = first + u64::from(page.limit.get());
    let mut retry = RetryPolicy::new();
    loop {
        let read = reading.read(table, &transcript, attempt, last).await;
        // A query may run between the parts of a transaction, so the conversation decides how many
        // messages there are.
        if reading.is_full || !more_than(table, &keys, conversation, attempt, reading.follows).await? {
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

/// A page of messages that is being read.
struct Reading {
    page: PageBuilder<Message>,
    /// The position of the next message.
    follows: u64,
    is_full: bool,
}

impl Reading {
    /// Reads up to the message at `last` or the end of the page. Holds at most one message in
    /// several parts, and one answer.
    async fn read(
        &mut self,
        table: ProjectTable<'_>,
        keys: &TranscriptKeys,
        attempt: u32,
        last: u64,
    ) -> Result<(), StoreError> {
        let end = format!("{}{LAST}", keys::message(attempt, last));
        let query =
            Query::new(WHAT, keys.partition.clone()).between(keys::message(attempt, self.follows), end);
        let mut answers = Answers::new(table.database, query);
        let mut body: Option<(String, String)> = None;
        while let Some(items) = answers.next(usize::MAX).await? {
            for item in items {
                let place = item.text(SORT)?.rsplit_once('#').map_or("", |(place, _)| place);
                let text = item.text(BODY)?;
                match &mut body {
                    Some((before, body)) if before == place => body.push_str(text),
                    _ => {
                        if let Some((_, whole)) = body.replace((place.to_owned(), text.to_owned()))
                            && !self.add(&whole)?
                        {
                            return Ok(());
                        }
                    }
                }
            }
        }
        if let Some((_, whole)) = body {
            self.add(&whole)?;
        }
        Ok(())
    }

    /// Adds a message. Returns `false` if the page is full.
    fn add(&mut self, body: &str) -> Result<bool, StoreError> {
        let message = record::message(body)?;
        let number = message.position;
        self.is_full = !self.page.push(message, position(&number));
        self.follows = u64::from(number) + 1;
        Ok(!self.is_full)
    }
}

/// Whether an attempt should have more than `count` messages. The conversation knows this of its current
/// attempt only. Messages of a deleted transcript are not missed.
async fn more_than(
    table: ProjectTable<'_>,
    keys: &crate::keys::SimulationKeys,
    conversation: &ConversationId,
    attempt: u32,
    count: u64,
) -> Result<bool, StoreError> {
    let Some(item) = table.database.get("conversation", &keys.conversation(conversation)).await? else {
        return Ok(false);
    };
    let conversation = record::conversation(&item)?.conversation;
    if conversation.attempt != attempt || u64::from(conversation.item_count) <= count {
        return Ok(false);
    }
    let simulation = table.database.get("simulation", &keys.simulation()).await?;
    let simulation = simulation.as_ref().map(record::simulation).transpose()?;
    Ok(simulation.is_none_or(|stored| stored.simulation.transcripts_deleted_at.is_none()))
}

/// Deletes messages and replies of a conversation, up to `limit` items of each, and the transcript's words in its
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
        let mut found = 0;
        while found < limit
            && let Some(items) = answers.next(limit - found).await?
        {
            found += items.len();
            let mut deletes = Vec::with_capacity(items.len());
            for item in items {
                let key = Key { partition: keys.partition.clone(), sort: item.text(SORT)?.to_owned() };
                deletes.push(Write::delete(what, key));
            }
            let deleted = stream::iter(deletes).map(async |write| table.database.delete(&write).await);
            deleted.buffer_unordered(AT_ONCE).try_for_each(|_| ready(Ok(()))).await?;
        }
        is_more |= found >= limit;
    }
    delete_words(table, &keys).await?;
    Ok(is_more)
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
    let key = table.keys(simulation).transcript(conversation).reply(idempotency_key);
    let found = table.database.get("turn", &key).await?;
    found.map(|item| record::turn(&item)).transpose()
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
