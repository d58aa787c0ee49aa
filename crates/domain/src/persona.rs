//! Personas: the generated people that an agent talks to.
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
    /// Waiting for a decision.
    Pending,
    /// May hold conversations.
    Approved,
    /// Replaced by another persona.
    Rejected,
}

impl ApprovalStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Approved, Self::Rejected];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// The age group of a persona.
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

/// The attributes of a persona. An empty text means unknown. The names are those of the API.
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

impl PersonaAttributes {
    /// All texts among them.
    pub fn texts(&self) -> [&str; 13] {
        [
            &self.speech_style,
            &self.education,
            &self.occupation,
            &self.economic_status,
            &self.personality_traits,
            &self.values,
            &self.habits,
            &self.interests,
            &self.speech_patterns,
            &self.typical_behavior,
            &self.stress_triggers,
            &self.stress_reactions,
            &self.version,
        ]
    }
}

/// A generated persona.
#[derive(Clone, Debug, PartialEq)]
pub struct Persona {
    /// Its id.
    pub id: PersonaId,
    /// The simulation that it belongs to.
    pub simulation_id: SimulationId,
    /// Its number within the simulation, from 1. See [`Simulation::slot`](crate::Simulation::slot).
    pub seq: u32,
    /// Whether it may hold conversations.
    pub approval: ApprovalStatus,
    /// A one-sentence description.
    pub summary: String,
    /// Its background and situation.
    pub story: String,
    /// Its goal in the conversation.
    pub purpose: String,
    /// Its attributes.
    pub attributes: PersonaAttributes,
    /// Additional data.
    pub metadata: Metadata,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Persona {
    /// Approves it. Repeating it changes nothing.
    pub fn approve(self, now: Timestamp) -> Result<Self, Refusal> {
        self.decide(ApprovalStatus::Approved, now)
    }

    /// Rejects it. Repeating it changes nothing.
    pub fn reject(self, now: Timestamp) -> Result<Self, Refusal> {
        self.decide(ApprovalStatus::Rejected, now)
    }

    /// All texts that a persona consists of.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let own = [&self.summary, &self.story, &self.purpose];
        own.into_iter().map(String::as_str).chain(self.attributes.texts())
    }

    fn decide(self, approval: ApprovalStatus, now: Timestamp) -> Result<Self, Refusal> {
        match self.approval {
            ApprovalStatus::Pending => Ok(Self { approval, updated_at: now, ..self }),
            decided if decided == approval => Ok(self),
            status => Err(Refusal::PersonaDecided { status }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{at, persona};

    proptest! {
        #[test]
        fn persona_is_decided_once(decisions in prop::collection::vec(any::<bool>(), 1..10)) {
            let mut stored = persona();
            for (approve, second) in decisions.into_iter().zip(1..) {
                let (before, now) = (stored.clone(), at(second));
                let wanted = if approve { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
                let decided = if approve { stored.clone().approve(now) } else { stored.clone().reject(now) };
                match before.approval {
                    ApprovalStatus::Pending => {
                        stored = decided.unwrap();
                        prop_assert_eq!(&stored, &Persona { approval: wanted, updated_at: now, ..before });
                    }
                    status if status == wanted => prop_assert_eq!(decided.unwrap(), before),
                    status => prop_assert_eq!(decided, Err(Refusal::PersonaDecided { status })),
                }
            }
        }
    }
}
