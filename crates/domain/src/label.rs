//! Labels: people's outcomes on conversations, which judges are compared with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, ObjectiveId, Outcome};

/// A person's outcome on one objective.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The objective, which the conversation's simulation names.
    pub objective_id: ObjectiveId,
    /// The outcome.
    pub outcome: Outcome,
    /// The person's explanation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The labels of one conversation. Every backend stores them as one JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationLabels {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The labels, at most one for each objective.
    pub labels: Vec<Label>,
    /// The id of the API key that stored them.
    pub updated_by: Box<str>,
    /// When they were stored.
    pub updated_at: Timestamp,
}

impl ConversationLabels {
    /// The outcome on an objective.
    pub fn outcome(&self, objective: &ObjectiveId) -> Option<Outcome> {
        self.labels.iter().find(|label| label.objective_id == *objective).map(|label| label.outcome)
    }
}
