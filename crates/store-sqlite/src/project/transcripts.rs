//! Messages, and the stored replies of turns.

use onerun_domain::{Conversation, ConversationId, DELETED_REASON, Item, Page, PageRequest, SimulationId};
use onerun_store::{PageBuilder, StoreError, StoredTurn, position};
use rusqlite::params;

use crate::{
    columns::only,
    lists,
    rows::{self, content_json, item_columns, micros, turn_columns},
    sql::{self, ProjectTables},
};

/// Appends messages to the current attempt of `conversation`.
pub(super) fn append(
    tables: &ProjectTables<'_>,
    conversation: &Conversation,
    items: &[Item],
) -> Result<(), StoreError> {
    for (item, position) in items.iter().zip(conversation.item_count..) {
        if item.attempt != conversation.attempt || item.position != position {
            let (attempt, found) = (item.attempt, item.position);
            return Err(StoreError::Corrupt {
                what: "message",
                reason: format!(
                    "{found} of attempt {attempt} does not follow: {position} of attempt {} does",
                    conversation.attempt
                ),
            });
        }
        insert(tables, &conversation.id, item)?;
    }
    Ok(())
}

fn insert(tables: &ProjectTables<'_>, conversation: &ConversationId, item: &Item) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "message",
        "INSERT INTO items (conversation_id, attempt, position, id, role, content, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            conversation.as_str(),
            item.attempt,
            item.position,
            item.id.as_str(),
            item.role.as_str(),
            content_json(&item.content),
            micros(item.created_at),
        ],
    )?;
    Ok(())
}

/// One page of an attempt's messages, oldest first.
pub(super) fn items(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    attempt: u32,
    page: &PageRequest,
) -> Result<Page<Item>, StoreError> {
    let (after, offset) = lists::numbered(&page.start)?;
    let mut found = PageBuilder::new(page.limit);
    sql::each(
        tables.connection,
        "message",
        concat!(
            "SELECT ",
            item_columns!(),
            " FROM items
              WHERE EXISTS (
                  SELECT 1 FROM conversations JOIN simulations ON simulations.id = conversations.simulation_id
                  WHERE conversations.id = ?3 AND conversations.simulation_id = ?2
                      AND simulations.project_id = ?1
              ) AND items.conversation_id = ?3 AND items.attempt = ?4 AND items.position > ?5
              ORDER BY items.position LIMIT ?6 OFFSET ?7"
        ),
        params![
            tables.project.as_str(),
            simulation.as_str(),
            conversation.as_str(),
            attempt,
            after.unwrap_or(-1),
            sql::overfull(page.limit),
            offset,
        ],
        |columns| {
            let item = rows::item(columns)?;
            let position = position(&item.position);
            Ok(found.push(item, position))
        },
    )?;
    Ok(found.finish())
}

/// Stores a reply under its idempotency key, which must be new.
pub(super) fn insert_turn(
    tables: &ProjectTables<'_>,
    conversation: &ConversationId,
    turn: &StoredTurn,
) -> Result<(), StoreError> {
    sql::execute(
        tables.connection,
        "turn",
        "INSERT INTO turns (conversation_id, key, input_hash, attempt, reply_text, reply_ended, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            conversation.as_str(),
            turn.idempotency_key,
            turn.input_hash,
            turn.attempt,
            turn.reply.text,
            turn.reply.ended,
            micros(turn.created_at),
        ],
    )?;
    Ok(())
}

/// The reply stored under an `Idempotency-Key`.
pub(super) fn turn(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    idempotency_key: &str,
) -> Result<Option<StoredTurn>, StoreError> {
    sql::one(
        tables.connection,
        "turn",
        concat!(
            "SELECT ",
            turn_columns!(),
            " FROM turns
              JOIN conversations ON conversations.id = turns.conversation_id
              JOIN simulations ON simulations.id = conversations.simulation_id
              WHERE turns.conversation_id = ?3 AND turns.key = ?4 AND conversations.simulation_id = ?2
                  AND simulations.project_id = ?1"
        ),
        [tables.project.as_str(), simulation.as_str(), conversation.as_str(), idempotency_key],
        rows::turn,
    )
}

/// Deletes messages and replies of a conversation, up to `limit` of each, and the transcript's words in its
/// evaluations. Returns whether messages or replies may be left.
pub(super) fn delete(
    tables: &ProjectTables<'_>,
    simulation: &SimulationId,
    conversation: &ConversationId,
    limit: u32,
) -> Result<bool, StoreError> {
    let known: Option<i64> = sql::one(
        tables.connection,
        "conversation",
        "SELECT conversations.inserted FROM conversations
         JOIN simulations ON simulations.id = conversations.simulation_id
         WHERE conversations.id = ?3 AND conversations.simulation_id = ?2 AND simulations.project_id = ?1",
        [tables.project.as_str(), simulation.as_str(), conversation.as_str()],
        only,
    )?;
    if known.is_none() {
        return Ok(false);
    }
    let messages = sql::execute(
        tables.connection,
        "message",
        "DELETE FROM items WHERE conversation_id = ?1 AND (attempt, position) IN
             (SELECT attempt, position FROM items WHERE conversation_id = ?1 LIMIT ?2)",
        params![conversation.as_str(), limit],
    )?;
    let replies = sql::execute(
        tables.connection,
        "turn",
        "DELETE FROM turns WHERE conversation_id = ?1 AND key IN
             (SELECT key FROM turns WHERE conversation_id = ?1 LIMIT ?2)",
        params![conversation.as_str(), limit],
    )?;
    sql::execute(
        tables.connection,
        "evaluation",
        "UPDATE evaluations SET reason = ?2, quotes = '[]' WHERE conversation_id = ?1 AND reason <> ?2",
        params![conversation.as_str(), DELETED_REASON],
    )?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(messages >= limit || replies >= limit)
}
