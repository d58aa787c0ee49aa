//! Messages in responses.

use onerun_domain::Item;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    openapi::examples::{CONVERSATION, MADE},
    operation::Example,
    views::Time,
};

/// A part of a message.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TextContent")]
pub(crate) struct ContentOut {
    /// Always `text`.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "text"))]
    kind: &'static str,
    text: String,
}

impl ContentOut {
    pub(crate) fn text(text: String) -> Self {
        Self { kind: "text", text }
    }
}

/// A message of a conversation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Item")]
pub(crate) struct ItemOut {
    id: String,
    conversation_id: String,
    /// The number of the attempt that the message belongs to.
    attempt: u32,
    /// Always `message`.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "message"))]
    kind: &'static str,
    /// `user` is the persona, `assistant` the agent under test.
    #[schemars(extend("enum" = ["user", "assistant"]))]
    role: &'static str,
    content: Vec<ContentOut>,
    created_at: Time,
    updated_at: Time,
}

impl From<Item> for ItemOut {
    fn from(item: Item) -> Self {
        Self {
            id: item.id.into(),
            conversation_id: item.conversation_id.into(),
            attempt: item.attempt,
            kind: "message",
            role: item.role.as_str(),
            content: item
                .content
                .into_iter()
                .map(|part| ContentOut::text(part.as_str().to_owned()))
                .collect(),
            created_at: Time(item.created_at),
            updated_at: Time(item.created_at),
        }
    }
}

impl Example for ItemOut {
    fn example() -> Value {
        json!({
            "id": "iB8nD5vF1TgR6pWqY3sKa",
            "conversation_id": CONVERSATION,
            "attempt": 1,
            "type": "message",
            "role": "assistant",
            "content": [{ "type": "text", "text": "Would you like a refund?" }],
            "created_at": MADE,
            "updated_at": MADE,
        })
    }
}
