//! Messages, and the replies that are kept for a repeated call.
//!
//! A message is one item, or several when it is longer than one holds: the text of its body, cut. Its key says its
//! position, so that a page is found where it begins and needs no counting.

use onerun_domain::{Conversation, ConversationId, Item as Message, Page, PageRequest, SimulationId, later};
use onerun_store::{IDEMPOTENCY_RETENTION, StoreError, StoredTurn};

use crate::{
    item::{self, BODY, EXPIRES, SORT},
    keys::{self, LAST, TranscriptKeys},
    patience::Patience,
    query::{self, Query, offset},
    record,
    write::{MAX_BODY, Write},
};

use super::Scope;

const WHAT: &str = "message";

/// The writes that append messages to the attempt that `conversation` is at.
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
    scope: Scope<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    attempt: u32,
    page: &PageRequest,
) -> Result<Page<Message>, StoreError> {
    let keys = scope.keys(simulation);
    let transcript = keys.transcript(conversation);
    let first = u64::try_from(offset(page)?).unwrap_or(u64::MAX);
    let last = first + u64::from(page.limit.get());
    let mut patience = Patience::new();
    loop {
        let messages = read(scope, &transcript, attempt, first, last).await?;
        let follows = first + u64::try_from(messages.len()).unwrap_or(u64::MAX);
        // A query may come between the parts of a transaction: the conversation says how many there are.
        if follows > last || !more_than(scope, &keys, conversation, attempt, follows).await? {
            return Ok(query::cut(messages, page));
        }
        if !patience.wait().await {
            let reason = format!("those from position {follows} on are missing");
            return Err(StoreError::Corrupt { what: WHAT, reason });
        }
    }
}

async fn read(
    scope: Scope<'_>,
    keys: &TranscriptKeys,
    attempt: u32,
    first: u64,
    last: u64,
) -> Result<Vec<Message>, StoreError> {
    let last = format!("{}{LAST}", keys::message(attempt, last));
    let query = Query::new(WHAT, keys.partition.clone()).between(keys::message(attempt, first), last);
    let mut bodies: Vec<(String, String)> = Vec::new();
    for item in scope.database.query(&query).await? {
        let place = item.text(SORT)?.rsplit_once('#').map_or("", |(place, _)| place);
        match bodies.last_mut() {
            Some((before, body)) if before == place => body.push_str(item.text(BODY)?),
            _ => bodies.push((place.to_owned(), item.text(BODY)?.to_owned())),
        }
    }
    bodies.iter().map(|(_, body)| record::message(body)).collect()
}

/// Whether an attempt has more than `count` messages, as far as its conversation tells: only of the attempt it is at.
async fn more_than(
    scope: Scope<'_>,
    keys: &crate::keys::SimulationKeys,
    conversation: &ConversationId,
    attempt: u32,
    count: u64,
) -> Result<bool, StoreError> {
    let Some(item) = scope.database.get("conversation", &keys.conversation(conversation)).await? else {
        return Ok(false);
    };
    let conversation = record::conversation(&item)?.conversation;
    Ok(conversation.attempt == attempt && u64::from(conversation.item_count) > count)
}

/// Keeps a reply under its key, which must be new.
pub(super) fn keep(keys: &TranscriptKeys, turn: &StoredTurn) -> Write {
    let expires = later(turn.created_at, IDEMPOTENCY_RETENTION).as_second().saturating_add(1);
    Write::put("turn", keys.reply(&turn.key), &record::turn_body(turn))
        .set(EXPIRES, item::number(expires))
        .if_new()
}

/// The reply that is kept under a key.
pub(super) async fn turn(
    scope: Scope<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    key: &str,
) -> Result<Option<StoredTurn>, StoreError> {
    let key = scope.keys(simulation).transcript(conversation).reply(key);
    let found = scope.database.get("turn", &key).await?;
    found.map(|item| record::turn(&item)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_nothing_is_lost() {
        let text = "a\u{e9}\u{1f600}".repeat(7);
        for size in 4..60 {
            let parts = cut(&text, size);
            assert!(parts.iter().all(|part| part.len() <= size && !part.is_empty()));
            assert_eq!(parts.concat(), text);
        }
        assert_eq!(cut("", 4), [""]);
    }
}
