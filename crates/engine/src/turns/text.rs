//! A model's words as they can be stored.

use onerun_domain::MessageText;

use crate::Reply;

/// A model's reply as it can be stored.
pub(super) struct CleanReply {
    pub(super) text: Option<MessageText>,
    pub(super) ends: bool,
}

impl From<Reply> for CleanReply {
    /// A blank text becomes `None`, which ends the conversation.
    fn from(reply: Reply) -> Self {
        let text = reply.text.map(|text| clean(&text, MessageText::MAX_LENGTH));
        let text = text.filter(|text| !text.trim().is_empty());
        Self { text: text.and_then(|text| MessageText::parse(text).ok()), ends: reply.ends }
    }
}

/// A model's text without control characters, truncated to `max` characters.
pub(crate) fn clean(text: &str, max: usize) -> String {
    text.chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .take(max)
        .collect()
}
