//! Evaluation runs: the conversations of a finished simulation, judged again by another judge.
//!
//! ```text
//! pending → in_progress → completed
//!         ↘ failed
//! ```
//!
//! A run never holds a conversation again, and leaves the simulation's own evaluations unchanged.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, EvaluationRunId, ModelName, ModelUsage, Outcome, Refusal, SimulationId};

/// The status of an evaluation run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationRunStatus {
    /// Its conversations are being queued for the judge.
    Pending,
    /// All of its conversations are queued for the judge.
    InProgress,
    /// Every conversation was judged, or its evaluation failed.
    Completed,
    /// Its conversations could not be queued.
    Failed,
}

impl EvaluationRunStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::InProgress, Self::Completed, Self::Failed];

    /// The value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether the status is final.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// An evaluation run. Every backend stores it as one JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRun {
    /// Its id.
    pub id: EvaluationRunId,
    /// The simulation whose conversations it judges.
    pub simulation_id: SimulationId,
    /// The model that judges.
    pub judge: ModelName,
    /// Its status.
    pub status: EvaluationRunStatus,
    /// The number of conversations that it judges.
    pub conversations: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl EvaluationRun {
    /// Notes that all conversations are queued. Repeating it changes nothing.
    pub fn queued(self, now: Timestamp) -> Result<Self, Refusal> {
        match self.status {
            EvaluationRunStatus::Pending => {
                Ok(Self { status: EvaluationRunStatus::InProgress, updated_at: now, ..self })
            }
            EvaluationRunStatus::InProgress | EvaluationRunStatus::Completed => Ok(self),
            EvaluationRunStatus::Failed => Err(Refusal::EvaluationRunOver),
        }
    }

    /// Completes the run once `settled` conversations were judged or failed. Refused before, and after its end.
    pub fn complete(self, settled: u32, now: Timestamp) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::EvaluationRunOver);
        }
        if settled < self.conversations {
            return Err(Refusal::EvaluationRunUnfinished);
        }
        Ok(Self { status: EvaluationRunStatus::Completed, updated_at: now, ..self })
    }

    /// Fails the run because its conversations could not be queued. Refused after its end.
    pub fn fail(self, now: Timestamp) -> Result<Self, Refusal> {
        if self.status.is_final() {
            return Err(Refusal::EvaluationRunOver);
        }
        Ok(Self { status: EvaluationRunStatus::Failed, updated_at: now, ..self })
    }
}

/// The result of an evaluation run for one conversation. Every backend stores it as one JSON document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The outcomes by the simulation's own judge.
    pub original: Outcomes,
    /// The outcomes by the run's judge; `None` if its evaluation failed.
    pub outcomes: Option<Outcomes>,
    /// The provider's own name for the version of the model that judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The consumption of the calls that judged it; `None` if no model judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ModelUsage>,
}

/// The outcomes of one conversation, one for each objective of its simulation, in their order. An objective
/// without an evaluation has none. Stored as a text with one letter for each objective.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Outcomes(pub Vec<Option<Outcome>>);

impl Outcomes {
    /// The outcome on the objective at a place.
    pub fn get(&self, place: usize) -> Option<Outcome> {
        self.0.get(place).copied().flatten()
    }
}

impl From<Outcomes> for String {
    fn from(outcomes: Outcomes) -> Self {
        let letter = |outcome| match outcome {
            Some(Outcome::Passed) => 'p',
            Some(Outcome::Failed) => 'f',
            Some(Outcome::Inconclusive) => 'i',
            None => '-',
        };
        outcomes.0.into_iter().map(letter).collect()
    }
}

impl TryFrom<String> for Outcomes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let outcome = |letter| match letter {
            'p' => Ok(Some(Outcome::Passed)),
            'f' => Ok(Some(Outcome::Failed)),
            'i' => Ok(Some(Outcome::Inconclusive)),
            '-' => Ok(None),
            _ => Err("an unknown letter of an outcome"),
        };
        text.chars().map(outcome).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::at;

    fn run(status: EvaluationRunStatus) -> EvaluationRun {
        EvaluationRun {
            id: "evaluationrun00000001".parse().unwrap(),
            simulation_id: "simulation00000000001".parse().unwrap(),
            judge: ModelName::offline(),
            status,
            conversations: 2,
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn run_completes_once_all_conversations_are_settled() {
        use EvaluationRunStatus::{Completed, Failed, InProgress, Pending};
        for status in [Pending, InProgress] {
            assert_eq!(run(status).complete(1, at(1)), Err(Refusal::EvaluationRunUnfinished));
            let completed = run(status).complete(2, at(1)).unwrap();
            assert_eq!((completed.status, completed.updated_at), (Completed, at(1)));
            assert_eq!(completed.clone().queued(at(2)), Ok(completed));
            assert_eq!(run(status).fail(at(1)).unwrap().status, Failed);
        }
        for status in [Completed, Failed] {
            assert_eq!(run(status).complete(2, at(1)), Err(Refusal::EvaluationRunOver));
            assert_eq!(run(status).fail(at(1)), Err(Refusal::EvaluationRunOver));
        }
        assert_eq!(run(Failed).queued(at(1)), Err(Refusal::EvaluationRunOver));
    }

    #[test]
    fn outcomes_are_stored_as_letters() {
        let outcomes =
            Outcomes(vec![Some(Outcome::Passed), None, Some(Outcome::Inconclusive), Some(Outcome::Failed)]);
        let text = serde_json::to_string(&outcomes).unwrap();
        assert_eq!(text, "\"p-if\"");
        assert_eq!(serde_json::from_str::<Outcomes>(&text).unwrap(), outcomes);
        assert!(serde_json::from_str::<Outcomes>("\"px\"").is_err());
        assert_eq!((outcomes.get(3), outcomes.get(1), outcomes.get(4)), (Some(Outcome::Failed), None, None));
    }
}
