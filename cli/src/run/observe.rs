//! The resources of the API as results of cases.

use std::collections::BTreeMap;

use onerun_client::{
    Error, SimulationClient, Verbatim,
    resource::{Conversation, Evaluation, Outcome, PageRequest, Simulation, UsageReport},
};
use onerun_report::{CaseRun, Held, Trial, TrialEvaluation, persona_key};

/// The results of a simulation as those of a case. `objectives` has the key of each objective by its id.
pub(crate) async fn case_run(
    case: &str,
    client: &SimulationClient,
    objectives: &BTreeMap<String, String>,
) -> Result<CaseRun, Error> {
    // First, so that the conversations are at least as far as the status says.
    let simulation = client.get().await?.into_value();
    let mut trials = Vec::new();
    let mut request = PageRequest::first(100);
    loop {
        let page = client.conversations(None, request.clone()).await?.into_value();
        let next = page.following(&request);
        let conversations = page.data.into_iter().map(Verbatim::into_value);
        trials.extend(conversations.map(|conversation| trial(conversation, objectives)));
        match next {
            Some(next) => request = next,
            None => break,
        }
    }
    let cost_usd = cost(&client.results().await?.usage);
    Ok(of_parts(case, simulation, trials, cost_usd))
}

fn of_parts(case: &str, simulation: Simulation, mut trials: Vec<Trial>, cost_usd: Option<f64>) -> CaseRun {
    trials.sort_by_key(|trial| trial.number);
    CaseRun {
        case: case.to_owned(),
        simulation_id: simulation.id,
        status: simulation.status.as_str().to_owned(),
        failure: simulation.last_failure_reason,
        cost_usd,
        trials,
    }
}

/// The cost, unless a call's price is unknown.
fn cost(usage: &UsageReport) -> Option<f64> {
    (usage.total.unpriced_calls == 0).then_some(usage.total.cost_usd)
}

fn trial(conversation: Conversation, objectives: &BTreeMap<String, String>) -> Trial {
    let critical = conversation.persona_faults.iter().find(|fault| fault.severity == "critical");
    let held = Held {
        status: conversation.status.as_str(),
        end_reason: conversation.end_reason.as_deref(),
        failure_reason: conversation.ended_attempts.last().and_then(|last| last.failure_reason.as_deref()),
        evaluation_status: &conversation.evaluation_status,
        critical_fault: critical.map(|fault| fault.kind.as_str()),
    };
    let end = held.end();
    let persona = &conversation.persona;
    let evaluations = conversation.evaluations.iter().filter_map(|one| evaluation(one, objectives));
    Trial {
        number: conversation.seq_id,
        persona: persona.seq_id,
        persona_key: Some(persona_key(&persona.summary, &persona.story, &persona.purpose)),
        persona_summary: persona.summary.clone(),
        messages: conversation.item_count,
        end,
        evaluations: evaluations.collect(),
        conversation_id: conversation.id,
    }
}

/// An evaluation; `None` if its outcome is unknown here, because it is then missing.
fn evaluation(evaluation: &Evaluation, objectives: &BTreeMap<String, String>) -> Option<TrialEvaluation> {
    let outcome = match evaluation.outcome {
        Outcome::Passed => onerun_domain::Outcome::Passed,
        Outcome::Failed => onerun_domain::Outcome::Failed,
        Outcome::Inconclusive => onerun_domain::Outcome::Inconclusive,
        Outcome::Unknown => return None,
    };
    let id = &evaluation.objective.id;
    Some(TrialEvaluation {
        // An objective of another key is not planned, which the report says.
        objective: objectives.get(id).unwrap_or(id).clone(),
        outcome,
        score: evaluation.score,
        reason: evaluation.reason.clone().unwrap_or_default(),
        quotes: evaluation.quotes.iter().map(|quote| quote.text.clone()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use onerun_report::TrialEnd;

    use super::*;

    fn observed(change: impl FnOnce(&mut serde_json::Value)) -> Trial {
        let mut json = serde_json::json!({
            "id": "c", "simulation_id": "s", "seq_id": 2, "status": "ended", "attempt": 1, "item_count": 4,
            "end_reason": "persona_decided", "evaluation_status": "completed",
            "persona": { "id": "p", "seq_id": 1, "summary": "Ada", "story": "b", "purpose": "c" },
            "evaluations": [{ "objective": { "id": "o", "version": 1, "name": "n" }, "outcome": "passed",
                "score": 1.0, "reason": "r", "quotes": [{ "item_id": "i", "text": "q" }], "judge": "checks" }],
        });
        change(&mut json);
        let objectives = BTreeMap::from([("o".to_owned(), "polite".to_owned())]);
        trial(serde_json::from_value(json).unwrap(), &objectives)
    }

    #[test]
    fn judged_conversation_becomes_a_trial() {
        let trial = observed(|_| {});
        assert_eq!((trial.number, trial.persona, trial.end), (2, 1, TrialEnd::Judged));
        assert_eq!(
            (trial.evaluations[0].objective.as_str(), trial.evaluations[0].quotes.len()),
            ("polite", 1)
        );
        assert_eq!(trial.persona_key, Some(persona_key("Ada", "b", "c")));
    }

    #[test]
    fn unknown_outcome_is_a_missing_evaluation() {
        let trial = observed(|json| json["evaluations"][0]["outcome"] = "disputed".into());
        assert!(trial.evaluations.is_empty());
    }

    #[test]
    fn critical_fault_and_failure_are_not_judged() {
        let fault = serde_json::json!([{ "kind": "leaves_character", "severity": "critical", "item_id": "i", "quote": "q" }]);
        let trial = observed(|json| json["persona_faults"] = fault);
        assert!(matches!(trial.end, TrialEnd::Infra(_)));
        let trial = observed(|json| {
            json["status"] = "failed".into();
            json["end_reason"] = "agent_failed".into();
            json["ended_attempts"] = serde_json::json!([{ "attempt": 1, "end_reason": "agent_failed",
                "failure_reason": "it crashed", "ended_at": "2026-01-01T00:00:00Z" }]);
        });
        assert!(matches!(trial.end, TrialEnd::Infra(reason) if reason.ends_with("it crashed")));
    }

    #[test]
    fn cost_with_unpriced_calls_is_unknown() {
        let mut usage = UsageReport::default();
        assert_eq!(cost(&usage), Some(0.0));
        usage.total.unpriced_calls = 1;
        assert_eq!(cost(&usage), None);
    }
}
