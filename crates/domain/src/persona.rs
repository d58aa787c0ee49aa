//! Personas: the people that an agent talks to.
//!
//! ```text
//! pending → approved | rejected
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Metadata, PersonaId, Refusal, SimulationId, Target};

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

impl AgeGroup {
    /// Every age group.
    pub const ALL: [Self; 4] = [Self::Teen, Self::YoungAdult, Self::Adult, Self::Senior];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Teen => "teen",
            Self::YoungAdult => "young_adult",
            Self::Adult => "adult",
            Self::Senior => "senior",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|age_group| age_group.as_str() == word)
    }
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

/// The texts of a persona, as a model or a caller wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonaDraft {
    /// Who the person is, in one sentence.
    pub summary: String,
    /// Why the person contacts the agent.
    pub story: String,
    /// The person's goal in the conversation.
    pub purpose: String,
    /// Age group, speech style, habits and so on.
    pub attributes: PersonaAttributes,
}

/// Why explicit personas were refused. The message completes a sentence that starts with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplicitPersonasError {
    /// There are none, or too many.
    #[error("must have 1 to {max} values, and has {count}", max = ExplicitPersonas::MAX)]
    Count {
        /// Their number.
        count: usize,
    },
    /// They are too large together.
    #[error("must be at most {max} bytes as JSON, all attributes included, and is {length}", max = ExplicitPersonas::MAX_BYTES)]
    TooLarge {
        /// Their size as JSON.
        length: usize,
    },
}

/// The personas that the caller of a new simulation wrote: 1 to 100, with at most 256 KiB as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<PersonaDraft>", into = "Vec<PersonaDraft>")]
pub struct ExplicitPersonas {
    drafts: Vec<PersonaDraft>,
    count: Target,
}

impl ExplicitPersonas {
    /// The maximum number.
    pub const MAX: usize = 100;

    /// The maximum size of all together as JSON, in bytes. One item of `DynamoDB` has to hold it.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// Checks number and size.
    pub fn parse(drafts: Vec<PersonaDraft>) -> Result<Self, ExplicitPersonasError> {
        let count = drafts.len();
        let target = u64::try_from(count).ok().and_then(|count| Target::parse(count).ok());
        let Some(target) = target.filter(|_| count <= Self::MAX) else {
            return Err(ExplicitPersonasError::Count { count });
        };
        let length = serde_json::to_vec(&drafts).map_or(usize::MAX, |json| json.len());
        if length > Self::MAX_BYTES {
            return Err(ExplicitPersonasError::TooLarge { length });
        }
        Ok(Self { drafts, count: target })
    }

    /// Their number.
    pub fn count(&self) -> Target {
        self.count
    }

    /// Their texts, in the order of their numbers.
    pub fn drafts(&self) -> &[PersonaDraft] {
        &self.drafts
    }

    /// Their texts, in the order of their numbers.
    pub fn into_drafts(self) -> Vec<PersonaDraft> {
        self.drafts
    }
}

impl TryFrom<Vec<PersonaDraft>> for ExplicitPersonas {
    type Error = ExplicitPersonasError;

    fn try_from(drafts: Vec<PersonaDraft>) -> Result<Self, ExplicitPersonasError> {
        Self::parse(drafts)
    }
}

impl From<ExplicitPersonas> for Vec<PersonaDraft> {
    fn from(personas: ExplicitPersonas) -> Self {
        personas.drafts
    }
}

/// A persona of a simulation.
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

    fn draft(summary: &str) -> PersonaDraft {
        let persona = persona();
        let (story, purpose, attributes) = (persona.story, persona.purpose, persona.attributes);
        PersonaDraft { summary: summary.to_owned(), story, purpose, attributes }
    }

    #[test]
    fn explicit_personas_are_bounded_in_number_and_bytes() {
        let of = |count| ExplicitPersonas::parse(vec![draft("Ada"); count]);
        assert_eq!(of(100).unwrap().count().get(), 100);
        for count in [0, 101] {
            assert_eq!(of(count), Err(ExplicitPersonasError::Count { count }));
        }
        // A quotation mark takes two bytes of JSON.
        let wide = draft(&"\"".repeat(ExplicitPersonas::MAX_BYTES / 2));
        assert!(matches!(ExplicitPersonas::parse(vec![wide]), Err(ExplicitPersonasError::TooLarge { .. })));
    }

    #[test]
    fn age_group_words_match_their_json() {
        for age_group in AgeGroup::ALL {
            assert_eq!(serde_json::to_value(age_group).unwrap(), age_group.as_str());
            assert_eq!(AgeGroup::parse(age_group.as_str()), Some(age_group));
        }
    }

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
