//! Conversations that were held elsewhere, and that this service only judges.
//!
//! The person who spoke with the agent becomes a persona of which nothing is known but a key: the case. So each
//! conversation has a persona of its own, with its number, and conversations of two imports are compared if number and
//! case are the same.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    AgeGroup, AgentId, ApprovalStatus, Conversation, ConversationId, ConversationStatus, EndReason, Item,
    ItemId, MaxTurns, MessageText, Metadata, ModelName, Name, NanoDollars, ObjectiveId, Persona,
    PersonaAttributes, PersonaId, Random, Redaction, Role, Scenario, Simulation, Target, TurnClaim,
    TurnToken, later,
};

/// How much longer than its simulation a conversation is kept from workers while it is imported.
const CLAIM_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24);

/// A message that was exchanged elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedMessage {
    /// Its author: the person or the agent.
    pub role: Role,
    /// The text parts, at least one.
    pub content: Vec<MessageText>,
}

/// A conversation that was held elsewhere. Stores hold it as JSON until it is imported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedConversation {
    /// The subject, which pairs it with that of another import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<Name>,
    /// Why it ended: one of [`EndReason::OF_HELD`].
    pub end_reason: EndReason,
    /// The caller's own data.
    #[serde(default)]
    pub metadata: Metadata,
    /// The messages, oldest first, at least one.
    pub messages: Vec<ImportedMessage>,
}

/// The number of messages of an import that no side said to the other, and that are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutMessages {
    /// Instructions to the agent.
    pub system: u32,
    /// Calls of tools and their results.
    pub tool: u32,
}

impl LeftOutMessages {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { system: self.system.saturating_add(other.system), tool: self.tool.saturating_add(other.tool) }
    }
}

/// The settings of a new simulation whose conversations are imported.
#[derive(Clone, Debug, PartialEq)]
pub struct NewImport {
    /// The agent that spoke.
    pub agent_id: AgentId,
    /// The display name.
    pub name: Name,
    /// The situation of the conversations.
    pub scenario: Scenario,
    /// The objectives. The simulation uses their newest versions.
    pub objective_ids: Vec<ObjectiveId>,
    /// The conversations, at least one, in the order of their numbers.
    pub conversations: Vec<ImportedConversation>,
    /// The messages that are not kept.
    pub left_out: LeftOutMessages,
    /// The judge; the deployment's by default.
    pub judge: Option<ModelName>,
    /// The caller's own data.
    pub metadata: Metadata,
    /// The time until the simulation expires, in seconds.
    pub expires_in_seconds: u32,
    /// The cost at which the simulation fails.
    pub max_cost_usd: Option<NanoDollars>,
    /// The number of tokens at which the simulation fails.
    pub max_tokens: Option<u64>,
}

impl NewImport {
    /// The maximum number of conversations.
    pub const MAX_CONVERSATIONS: usize = 1_000;

    /// The maximum number of messages of one conversation, with those that are not kept.
    pub const MAX_MESSAGES: usize = 1_000;

    /// The maximum size of the conversations as JSON, after redaction, in bytes: a transaction of `DynamoDB` has at
    /// most 4 MB.
    pub const MAX_BYTES: usize = 2 * 1024 * 1024;

    /// The number of conversations.
    ///
    /// # Errors
    ///
    /// The end of a sentence that starts with the field, if there are none or too many.
    pub fn target(&self) -> Result<Target, String> {
        let count = self.conversations.len();
        let target = u64::try_from(count).ok().and_then(|count| Target::parse(count).ok());
        target
            .filter(|_| count <= Self::MAX_CONVERSATIONS)
            .ok_or_else(|| format!("must have 1 to {} values, and has {count}", Self::MAX_CONVERSATIONS))
    }

    /// The length of the longest conversation in messages, as far as `max_turns` can express it.
    pub fn max_turns(&self) -> MaxTurns {
        let longest = self.conversations.iter().map(|one| one.messages.len()).max().unwrap_or_default();
        let longest = u64::try_from(longest).unwrap_or(u64::MAX);
        MaxTurns::parse(longest.clamp(MaxTurns::MIN.into(), MaxTurns::MAX.into())).unwrap_or_default()
    }
}

impl ImportedConversation {
    /// Removes what the patterns match from the words.
    pub fn redact(&mut self, redaction: &Redaction) {
        for message in &mut self.messages {
            let content = std::mem::take(&mut message.content);
            message.content = content.into_iter().map(|text| text.redacted(redaction)).collect();
        }
    }

    /// The id of the conversation with this number, the same whenever a job is repeated.
    pub fn id(simulation: &Simulation, seq: u32) -> ConversationId {
        ConversationId::derive(&["import", "conversation", simulation.id.as_str(), &seq.to_string()])
    }

    /// The persona of the conversation with this number. It is approved, so it is never replaced.
    pub fn persona(&self, simulation: &Simulation, seq: u32, now: Timestamp) -> Persona {
        let id = PersonaId::derive(&["import", "persona", simulation.id.as_str(), &seq.to_string()]);
        // Without a case, no conversation of another import is the same.
        let summary = match &self.case {
            Some(case) => case.to_string(),
            None => format!("Conversation {seq} of the import {}", simulation.id),
        };
        Persona {
            id,
            simulation_id: simulation.id.clone(),
            seq,
            approval: ApprovalStatus::Approved,
            summary,
            story: String::new(),
            purpose: String::new(),
            attributes: unknown_attributes(),
            metadata: self.metadata.clone(),
            created_at: now,
            updated_at: now,
        }
    }

    /// The conversation before its messages are added. A claimed turn keeps workers from it.
    pub fn begin(
        &self,
        simulation: &Simulation,
        seq: u32,
        random: &dyn Random,
        now: Timestamp,
    ) -> Conversation {
        let claim = TurnClaim {
            token: TurnToken::generate("import", random),
            expires_at: later(simulation.expires_at, CLAIM_AFTER_EXPIRY),
        };
        let persona = self.persona(simulation, seq, now).id;
        Conversation {
            status: ConversationStatus::InProgress,
            lease_expires_at: Some(claim.expires_at),
            turn: Some(claim),
            ..Conversation::queued(Self::id(simulation, seq), simulation.id.clone(), persona, seq, now)
        }
    }

    /// The messages of the conversation.
    pub fn items(&self, conversation: &Conversation, random: &dyn Random, now: Timestamp) -> Vec<Item> {
        let item = |(message, position): (&ImportedMessage, u32)| Item {
            id: ItemId::generate(random),
            conversation_id: conversation.id.clone(),
            attempt: conversation.attempt,
            position,
            role: message.role,
            content: message.content.clone(),
            created_at: now,
        };
        self.messages.iter().zip(0..).map(item).collect()
    }
}

fn unknown_attributes() -> PersonaAttributes {
    PersonaAttributes {
        age_group: AgeGroup::Adult,
        speech_style: String::new(),
        education: String::new(),
        occupation: String::new(),
        economic_status: String::new(),
        personality_traits: String::new(),
        values: String::new(),
        habits: String::new(),
        interests: String::new(),
        speech_patterns: String::new(),
        typical_behavior: String::new(),
        stress_triggers: String::new(),
        stress_reactions: String::new(),
        version: "1".to_owned(),
    }
}
