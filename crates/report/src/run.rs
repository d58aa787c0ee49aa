//! Observed results.

use onerun_domain::{Outcome, SimulationStatus, sha256_hex};

/// The observed results of one case: one simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRun {
    /// The key of the case.
    pub case: String,
    /// The simulation.
    pub simulation_id: String,
    /// The simulation's status in the API.
    pub status: String,
    /// Why the simulation failed or expired.
    pub failure: Option<String>,
    /// The cost of its calls to models, in US dollars; `None` if unknown.
    pub cost_usd: Option<f64>,
    /// The trials: conversations.
    pub trials: Vec<Trial>,
}

impl CaseRun {
    /// Whether the simulation is over. With a status that is unknown here, it is not.
    pub(crate) fn is_over(&self) -> bool {
        SimulationStatus::parse(&self.status).is_some_and(SimulationStatus::is_final)
    }
}

/// One conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number within the simulation, from 1.
    pub number: u32,
    /// The number of its persona within the simulation, from 1.
    pub persona: u32,
    /// A digest of the persona's texts: its [`persona_key`]. Trials are compared only if their
    /// personas have the same digest.
    pub persona_key: Option<String>,
    /// The persona in a sentence.
    pub persona_summary: String,
    /// The conversation.
    pub conversation_id: String,
    /// The number of messages.
    pub messages: u32,
    /// How it ended.
    pub end: TrialEnd,
    /// Its evaluations. They count only if it ended as [`TrialEnd::Judged`].
    pub evaluations: Vec<TrialEvaluation>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// The conversation was held and judged.
    Judged,
    /// Something other than the agent failed, for this reason: the worker, the judge, or the persona.
    Infra(String),
    /// It has not ended, or is not judged yet.
    Unfinished,
}

/// The evaluation of a trial on one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialEvaluation {
    /// The key of the objective.
    pub objective: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The score from 0 to 1.
    pub score: Option<f64>,
    /// The judge's explanation. Without it and quotes, the report says that they are left out.
    pub reason: String,
    /// The words of the transcript that support the outcome.
    pub quotes: Vec<String>,
}

/// The state of a conversation, in the words of the API.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The conversation's status.
    pub status: &'a str,
    /// Why it ended.
    pub end_reason: Option<&'a str>,
    /// The failure that the worker reported for the last attempt.
    pub failure_reason: Option<&'a str>,
    /// The status of its evaluation.
    pub evaluation_status: &'a str,
    /// The kind of the persona's critical fault, if it has one.
    pub critical_fault: Option<&'a str>,
}

impl Held<'_> {
    /// How the trial ended. A conversation with a critical fault of its persona counts neither for
    /// nor against the agent.
    pub fn end(&self) -> TrialEnd {
        match (self.status, self.evaluation_status) {
            ("failed", _) => {
                let reason = self.end_reason.unwrap_or("an unknown reason");
                let detail = self.failure_reason.map(|detail| format!(": {detail}")).unwrap_or_default();
                TrialEnd::Infra(format!("the conversation failed by {reason}{detail}"))
            }
            ("ended", "completed") => match self.critical_fault {
                Some(kind) => TrialEnd::Infra(format!("the persona has the critical fault {kind}")),
                None => TrialEnd::Judged,
            },
            ("ended", "failed") => TrialEnd::Infra("the conversation could not be judged".to_owned()),
            ("ended", "not_applicable") => {
                TrialEnd::Infra("the simulation ended before the conversation was judged".to_owned())
            }
            _ => TrialEnd::Unfinished,
        }
    }
}

/// A digest of a persona's texts. Conversations are compared only if their personas have the same one.
pub fn persona_key(summary: &str, story: &str, purpose: &str) -> String {
    sha256_hex([summary, story, purpose])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_judged_conversations_without_a_critical_fault_count() {
        let held = Held {
            status: "ended",
            end_reason: Some("persona_decided"),
            failure_reason: None,
            evaluation_status: "completed",
            critical_fault: None,
        };
        assert_eq!(held.end(), TrialEnd::Judged);
        let infra = |held: Held| matches!(held.end(), TrialEnd::Infra(_));
        assert!(infra(Held { critical_fault: Some("leaves_character"), ..held }));
        assert!(infra(Held { evaluation_status: "failed", ..held }));
        assert!(infra(Held { evaluation_status: "not_applicable", ..held }));
        for evaluation_status in ["pending", "in_progress", "a new word"] {
            assert_eq!(Held { evaluation_status, ..held }.end(), TrialEnd::Unfinished);
        }
        for status in ["queued", "in_progress", "a new word"] {
            assert_eq!(Held { status, ..held }.end(), TrialEnd::Unfinished);
        }
        let failed = Held {
            status: "failed",
            end_reason: Some("lease_expired"),
            failure_reason: Some("it crashed"),
            ..held
        };
        let why = "the conversation failed by lease_expired: it crashed";
        assert_eq!(failed.end(), TrialEnd::Infra(why.to_owned()));
    }
}
