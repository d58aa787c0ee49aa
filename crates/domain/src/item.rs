//! Messages of a conversation.

use jiff::Timestamp;

use crate::{ConversationId, ItemId, MessageText, text::is_blank};

/// Who said something. The names are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The persona.
    User,
    /// The agent under test.
    Assistant,
}

impl Role {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    /// The role that the wire's word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Assistant].into_iter().find(|role| role.as_str() == word)
    }
}

/// One message. It never changes once stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// The conversation it was said in.
    pub conversation_id: ConversationId,
    /// The attempt at the conversation that it was said in, from 1.
    pub attempt: u32,
    /// Its place in the attempt, from 0.
    pub position: u32,
    /// Who said it.
    pub role: Role,
    /// The text parts, at least one.
    pub content: Vec<MessageText>,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Item {
    /// All that was said, parts on lines of their own.
    pub fn text(&self) -> String {
        self.content.iter().map(MessageText::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// What was said in one attempt, oldest first, and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The messages, oldest first.
    pub items: Vec<Item>,
    /// How it ended; `None` while it goes on.
    pub end_reason: Option<crate::EndReason>,
}

impl Transcript {
    /// Whether a side says anything: a character that shows.
    pub fn speaks(&self, role: Role) -> bool {
        let mut said = self.items.iter().filter(|item| item.role == role);
        said.any(|item| item.content.iter().any(|part| !part.as_str().chars().all(is_blank)))
    }
}
