//! Messages of a conversation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, ItemId, MessageText, text::is_blank};

/// The author of a message. The names are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The persona.
    User,
    /// The agent under test.
    Assistant,
}

impl Role {
    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Assistant].into_iter().find(|role| role.as_str() == word)
    }
}

/// A message. It never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// The conversation that contains it.
    pub conversation_id: ConversationId,
    /// The attempt that contains it, from 1.
    pub attempt: u32,
    /// Its position in the attempt, from 0.
    pub position: u32,
    /// Its author.
    pub role: Role,
    /// The text parts, at least one.
    pub content: Vec<MessageText>,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Item {
    /// The whole text, one part per line.
    pub fn text(&self) -> String {
        self.content.iter().map(MessageText::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// The messages of one attempt and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The messages, oldest first.
    pub items: Vec<Item>,
    /// Why it ended; `None` while it is in progress.
    pub end_reason: Option<crate::EndReason>,
}

impl Transcript {
    /// Whether a side said anything, that is, at least one visible character.
    pub fn speaks(&self, role: Role) -> bool {
        let mut messages = self.items.iter().filter(|item| item.role == role);
        messages.any(|item| item.content.iter().any(|part| !part.as_str().chars().all(is_blank)))
    }
}
