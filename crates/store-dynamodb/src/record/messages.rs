//! The messages that one change adds to a conversation, and replies under an `Idempotency-Key`.

use onerun_domain::{ConversationId, Item as Message, MessageText, Role};
use onerun_store::{StoreError, StoredReply, StoredTurn};
use serde_json::{Value, json};

use super::{Read, micros};
use crate::item::{Fields, Item};

/// The messages of a change as JSON lists of at most `size` bytes, unless one message alone is larger.
pub(crate) fn messages_bodies(messages: &[Message], size: usize) -> Vec<(u32, String)> {
    let mut bodies: Vec<(u32, String)> = Vec::new();
    for message in messages {
        let one = message_body(message).to_string();
        match bodies.last_mut() {
            Some((_, body)) if body.len() + one.len() < size => {
                body.pop();
                body.push(',');
                body.push_str(&one);
                body.push(']');
            }
            _ => bodies.push((message.position, format!("[{one}]"))),
        }
    }
    bodies
}

fn message_body(message: &Message) -> Value {
    json!({
        "id": message.id,
        "position": message.position,
        "role": message.role.as_str(),
        "content": message.content.iter().map(MessageText::as_str).collect::<Value>(),
        "created_at": micros(message.created_at),
    })
}

/// The messages of an attempt of a conversation from a body.
pub(crate) fn messages(conversation: &ConversationId, attempt: u32, body: &str) -> Read<Vec<Message>> {
    let mut whole = Fields::parse("message", &format!("{{\"messages\":{body}}}"))?;
    whole.list("messages", |fields| {
        Ok(Message {
            id: fields.parsed("id")?,
            conversation_id: conversation.clone(),
            attempt,
            position: fields.number("position")?,
            role: fields.word("role", Role::parse)?,
            content: fields.texts("content", MessageText::parse)?,
            created_at: fields.time("created_at")?,
        })
    })
}

/// A reply in an item of its own.
pub(crate) fn turn_body(turn: &StoredTurn) -> Value {
    let mut body = turn_members(turn);
    body["text"] = json!(turn.reply.text);
    body
}

pub(crate) fn turn(item: &Item) -> Read<StoredTurn> {
    let mut fields = item.fields()?;
    let text = fields.optional_text("text")?;
    read_turn(&mut fields, text)
}

/// A reply beside the messages of its turn. `None` if its text is not that of the last message.
pub(crate) fn reply_body(turn: &StoredTurn, messages: &[Message]) -> Option<Value> {
    let mut body = turn_members(turn);
    if turn.reply.text.is_some() {
        if turn.reply.text != messages.last().map(Message::text) {
            return None;
        }
        body["is_last"] = json!(true);
    }
    Some(body)
}

/// Reads [`reply_body`].
pub(crate) fn reply(body: &str, messages: &[Message]) -> Read<StoredTurn> {
    let mut fields = Fields::parse("turn", body)?;
    let is_last = fields.document::<bool>("is_last")?;
    let text = messages.last().filter(|_| is_last).map(Message::text);
    if is_last && text.is_none() {
        return Err(StoreError::Corrupt { what: "turn", reason: "its message is missing".into() });
    }
    read_turn(&mut fields, text)
}

fn turn_members(turn: &StoredTurn) -> Value {
    json!({
        "key": turn.idempotency_key,
        "input_hash": turn.input_hash,
        "attempt": turn.attempt,
        "at": micros(turn.created_at),
        "ended": turn.reply.ended,
    })
}

fn read_turn(fields: &mut Fields, text: Option<String>) -> Read<StoredTurn> {
    Ok(StoredTurn {
        idempotency_key: fields.text("key")?,
        input_hash: fields.text("input_hash")?,
        attempt: fields.number("attempt")?,
        reply: StoredReply { text, ended: fields.flag("ended")? },
        created_at: fields.time("at")?,
    })
}
