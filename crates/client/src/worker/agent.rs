//! The interface between a worker and an agent.

use serde_json::{Map, Value};

use crate::resource::Role;

/// Why an agent failed to reply. The text is reported to the server as the reason.
pub type AgentError = Box<dyn std::error::Error + Send + Sync>;

/// An agent under test. One value serves all conversations, several at once.
pub trait Agent: Send + Sync + 'static {
    /// The agent's side of one conversation.
    type Session: AgentSession;

    /// Begins a conversation, before the persona's first message is asked for.
    ///
    /// After an error the worker abandons the attempt.
    fn open(
        &self,
        about: &ConversationInfo,
    ) -> impl Future<Output = Result<Self::Session, AgentError>> + Send;
}

/// The agent's side of one conversation. It is dropped, at any point, if the conversation is abandoned.
pub trait AgentSession: Send + 'static {
    /// The agent's next message, given the transcript so far, oldest message first.
    ///
    /// After an error or a panic the worker abandons the attempt. The server queues the conversation again, up
    /// to its limit of attempts.
    fn reply(&mut self, transcript: &[Message]) -> impl Future<Output = Result<Reply, AgentError>> + Send;

    /// Ends the conversation, after its last message.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async {}
    }
}

/// The facts about a conversation that an agent may know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationInfo {
    /// The id of the agent.
    pub agent_id: String,
    /// The id of the conversation.
    pub conversation_id: String,
    /// The id of its simulation.
    pub simulation_id: String,
    /// The attempt, from 1. A new attempt starts with an empty transcript.
    pub attempt: u32,
    /// The metadata of the simulation.
    pub metadata: Map<String, Value>,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who wrote the message.
    pub role: Role,
    /// The text.
    pub text: String,
}

/// An agent's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message. Without one, the conversation ends.
    pub text: Option<String>,
    /// Whether the agent ends the conversation. The persona still answers the message, but the agent does not
    /// hear it.
    pub end: bool,
}

impl Reply {
    /// A message.
    pub fn message(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), end: false }
    }

    /// The end of the conversation, without a message.
    pub fn end() -> Self {
        Self { text: None, end: true }
    }
}

impl From<Option<String>> for Reply {
    fn from(text: Option<String>) -> Self {
        text.map_or_else(Self::end, Self::message)
    }
}
