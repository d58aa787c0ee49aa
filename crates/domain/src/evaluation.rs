//! Evaluations: the outcome of one conversation against one version of an objective.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, EvaluationId, ItemId, ModelUsage, ObjectiveRef};

/// The outcome of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The criteria were met.
    Passed,
    /// The criteria were not met.
    Failed,
    /// Undecided; the reason says why. Never counted as passed.
    Inconclusive,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::Inconclusive];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// Parses the value in the API.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Combines outcomes: failed if any failed; else inconclusive if any is, or if there are none;
    /// else passed.
    pub fn all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let mut together = None;
        for outcome in outcomes {
            match outcome {
                Self::Failed => return Self::Failed,
                Self::Inconclusive => together = Some(Self::Inconclusive),
                Self::Passed => together = together.or(Some(Self::Passed)),
            }
        }
        together.unwrap_or(Self::Inconclusive)
    }
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// A score; `None` if the number is outside 0 to 1.
    pub fn parse(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }

    /// The share of `count` criteria that held; `None` if `count` is 0.
    pub fn of(held: usize, count: usize) -> Option<Self> {
        if count == 0 { None } else { Self::parse(held as f64 / count as f64) }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The maximum number of quotes in an evaluation.
pub const MAX_QUOTES: usize = 10;

/// Words that occur literally in the transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The message that contains the words.
    pub item_id: ItemId,
    /// The words.
    pub text: String,
}

/// A stored evaluation. It never changes, except that its words are deleted with the transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Its id.
    pub id: EvaluationId,
    /// The evaluated conversation.
    pub conversation_id: ConversationId,
    /// The evaluated attempt.
    pub attempt: u32,
    /// The version of the objective.
    pub objective: ObjectiveRef,
    /// The evaluator: a model's name, or `checks`.
    pub judge: String,
    /// The SHA-256, in hex, of the judge's instructions. Evaluations with different hashes are not
    /// comparable.
    pub prompt_hash: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The score, if there is one.
    pub score: Option<Score>,
    /// The explanation.
    pub reason: String,
    /// The words that support the outcome.
    pub quotes: Vec<Quote>,
    /// Optional details of how the judge decided.
    pub details: EvaluationDetails,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// Replaces the reason of an evaluation whose transcript was deleted. Reasons repeat its words.
pub const DELETED_REASON: &str = "The reason was deleted with the transcript.";

impl Evaluation {
    /// The evaluation without the words of its transcript.
    #[must_use]
    pub fn without_transcript(self) -> Self {
        Self { reason: DELETED_REASON.to_owned(), quotes: Vec::new(), ..self }
    }
}

/// Optional facts about an evaluation. Every backend stores them as one JSON document, so a new fact needs a
/// default and no migration. Evaluations of earlier releases have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationDetails {
    /// The provider's own name for the version of the model that judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The model's grade from 0 to [`MAX_ORDINAL`], from which the score follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u8>,
    /// The consumption of the calls that judged the conversation. One call judges several objectives, so the
    /// evaluations of one conversation share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<ModelUsage>,
}

/// The best grade of a judge. A grade divided by it is the score.
pub const MAX_ORDINAL: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_outcomes_are_inconclusive() {
        assert_eq!(Outcome::all([]), Outcome::Inconclusive);
        assert_eq!(Outcome::all([Outcome::Passed]), Outcome::Passed);
        assert_eq!(Outcome::all([Outcome::Passed, Outcome::Inconclusive]), Outcome::Inconclusive);
        assert_eq!(Outcome::all([Outcome::Inconclusive, Outcome::Passed]), Outcome::Inconclusive);
        assert_eq!(Outcome::all([Outcome::Inconclusive, Outcome::Failed]), Outcome::Failed);
    }

    #[test]
    fn score_is_a_number_from_0_to_1() {
        assert!(Score::parse(f64::NAN).is_none());
        assert!(Score::parse(-0.1).is_none());
        assert_eq!(Score::of(1, 4).map(Score::get), Some(0.25));
        assert!(Score::of(0, 0).is_none());
    }
}
