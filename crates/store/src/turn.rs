//! Turns of conversations: what a reply depends on, and replies under an `Idempotency-Key`.

use jiff::Timestamp;
use onerun_domain::{Agent, Item, Persona};

/// A stored reply, which a repeated call gets again.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTurn {
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: String,
    /// The SHA-256 of the input, in hex, which distinguishes a repetition from another call with the same
    /// key.
    pub input_hash: String,
    /// The attempt of the reply.
    pub attempt: u32,
    /// The reply.
    pub reply: StoredReply,
    /// When it was stored. It stays for at least [`IDEMPOTENCY_RETENTION`](crate::IDEMPOTENCY_RETENTION).
    pub created_at: Timestamp,
}

/// The reply of a turn.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StoredReply {
    /// The persona's message; `None` if it sent none.
    pub text: Option<String>,
    /// Whether the reply ended the conversation.
    pub ended: bool,
}

/// The context of a persona's reply, beside its simulation and conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyContext {
    /// The simulation's agent.
    pub agent: Agent,
    /// The conversation's persona.
    pub persona: Persona,
    /// All messages of the conversation's attempt, oldest first.
    pub items: Vec<Item>,
}
