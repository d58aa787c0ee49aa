//! Personas: whom the agent talks to.
//!
//! ```text
//! pending → approved | rejected
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Metadata, PersonaId, Refusal, SimulationId};

/// Whether a persona may hold conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApprovalStatus {
    /// Waits for a decision.
    Pending,
    /// Holds conversations.
    Approved,
    /// Replaced by another.
    Rejected,
}

impl ApprovalStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Approved, Self::Rejected];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    /// The status that the wire's word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// How old a persona is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgeGroup {
    /// 13 to 19 years.
    Teen,
    /// 20 to 35 years.
    YoungAdult,
    /// 36 to 55 years.
    Adult,
    /// Over 55 years.
    Senior,
}

/// What a persona is like. An empty text is an unknown. The names are the wire's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub struct PersonaAttributes {
    pub age_group: AgeGroup,
    pub speech_style: String,
    pub education: String,
    pub occupation: String,
    pub economic_status: String,
    pub personality_traits: String,
    pub values: String,
    pub habits: String,
    pub interests: String,
    pub speech_patterns: String,
    pub typical_behavior: String,
    pub stress_triggers: String,
    pub stress_reactions: String,
    /// The version of this list of attributes.
    pub version: String,
}

/// A generated person.
#[derive(Clone, Debug, PartialEq)]
pub struct Persona {
    /// Its id.
    pub id: PersonaId,
    /// The simulation it was made for.
    pub simulation_id: SimulationId,
    /// Its number within the simulation, from 1. See [`Simulation::slot`](crate::Simulation::slot).
    pub seq: u32,
    /// Whether it may hold conversations.
    pub approval: ApprovalStatus,
    /// Who it is, in a sentence.
    pub summary: String,
    /// What brought it here.
    pub story: String,
    /// What it wants from the conversation.
    pub purpose: String,
    /// What it is like.
    pub attributes: PersonaAttributes,
    /// Data kept with it.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Persona {
    /// Lets it hold conversations. Repeating it changes nothing.
    pub fn approve(self, now: Timestamp) -> Result<Self, Refusal> {
        self.decide(ApprovalStatus::Approved, now)
    }

    /// Has it replaced. Repeating it changes nothing.
    pub fn reject(self, now: Timestamp) -> Result<Self, Refusal> {
        self.decide(ApprovalStatus::Rejected, now)
    }

    fn decide(self, approval: ApprovalStatus, now: Timestamp) -> Result<Self, Refusal> {
        match self.approval {
            ApprovalStatus::Pending => Ok(Self { approval, updated_at: now, ..self }),
            decided if decided == approval => Ok(self),
            status => Err(Refusal::PersonaDecided { status }),
        }
    }
}
