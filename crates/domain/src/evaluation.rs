//! Evaluations: what one conversation was found to be worth against one version of an objective.

use jiff::Timestamp;

use crate::{ConversationId, EvaluationId, ItemId, ObjectiveRef};

/// What a judge found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The criteria were met.
    Passed,
    /// They were not.
    Failed,
    /// It cannot be told; the reason says why. Never counted as passed.
    Inconclusive,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Passed, Self::Failed, Self::Inconclusive];

    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// The outcome that the wire's word means.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// What several outcomes make together: failed if any failed, else inconclusive if any is or there is none,
    /// else passed. An empty set is not a pass.
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
    /// A score, or `None` for a number that is not one.
    pub fn parse(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }

    /// How many of `count` held; `None` where there was nothing to hold.
    pub fn of(held: usize, count: usize) -> Option<Self> {
        if count == 0 { None } else { Self::parse(held as f64 / count as f64) }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The most quotes that a verdict has.
pub const MAX_QUOTES: usize = 10;

/// Words that occur to the letter in the transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The message they occur in.
    pub item_id: ItemId,
    /// The words.
    pub text: String,
}

/// One verdict. It never changes once recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Its id.
    pub id: EvaluationId,
    /// The conversation that was judged.
    pub conversation_id: ConversationId,
    /// The attempt that was judged.
    pub attempt: u32,
    /// The version of the objective that it was judged against.
    pub objective: ObjectiveRef,
    /// Who judged: a model's name, or `checks`.
    pub judge: String,
    /// SHA-256, in hex, of what the judge was told to do, so that verdicts of different prompts are never compared
    /// unawares.
    pub prompt_hash: String,
    /// What was found.
    pub outcome: Outcome,
    /// How well, where that can be told.
    pub score: Option<Score>,
    /// Why.
    pub reason: String,
    /// What it rests on.
    pub quotes: Vec<Quote>,
    /// When it was recorded.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_set_of_outcomes_is_not_a_pass() {
        assert_eq!(Outcome::all([]), Outcome::Inconclusive);
        assert_eq!(Outcome::all([Outcome::Passed]), Outcome::Passed);
        assert_eq!(Outcome::all([Outcome::Passed, Outcome::Inconclusive]), Outcome::Inconclusive);
        assert_eq!(Outcome::all([Outcome::Inconclusive, Outcome::Passed]), Outcome::Inconclusive);
        assert_eq!(Outcome::all([Outcome::Inconclusive, Outcome::Failed]), Outcome::Failed);
    }

    #[test]
    fn a_score_is_a_number_from_0_to_1() {
        assert!(Score::parse(f64::NAN).is_none());
        assert!(Score::parse(-0.1).is_none());
        assert_eq!(Score::of(1, 4).map(Score::get), Some(0.25));
        assert!(Score::of(0, 0).is_none());
    }
}
