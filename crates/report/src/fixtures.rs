//! Plans and results for tests.

use jiff::{Timestamp, civil::Date};
use onerun_domain::Outcome;

use crate::{
    CaseRun, Gate, Plan, PlannedCase, PlannedObjective, Quarantine, Trial, TrialEnd, TrialEvaluation,
};

/// The time of every report in tests.
pub(crate) fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

/// A case of agent `bot` in a scenario with the same key, with the objectives `polite` and `solved`.
pub(crate) fn case(key: &str, trials: u32, personas: u32) -> PlannedCase {
    let objective = |key: &str, name: &str| PlannedObjective { key: key.into(), name: name.into() };
    PlannedCase {
        key: key.into(),
        agent: "bot".into(),
        scenario_key: key.into(),
        scenario: format!("The customer asks about a {key}."),
        objectives: vec![objective("polite", "Stays polite"), objective("solved", "Solves the problem")],
        trials,
        personas,
    }
}

/// The case of another agent in the same scenario.
pub(crate) fn case_of(agent: &str, scenario: &str, trials: u32, personas: u32) -> PlannedCase {
    PlannedCase {
        key: format!("{scenario}@{agent}"),
        agent: agent.into(),
        scenario_key: scenario.into(),
        ..case(scenario, trials, personas)
    }
}

pub(crate) fn plan(cases: Vec<PlannedCase>, gates: Vec<Gate>) -> Plan {
    Plan { name: "Support".into(), cases, gates, quarantine: Vec::new() }
}

/// Results of a case in which every evaluation has the outcome that `outcome` returns for its trial and the
/// place of its objective.
pub(crate) fn run(case: &PlannedCase, mut outcome: impl FnMut(u32, usize) -> Outcome) -> CaseRun {
    let trials = (1..=case.trials).map(|number| {
        let persona = (number - 1) % case.personas + 1;
        let evaluation = |(place, objective): (usize, &PlannedObjective)| TrialEvaluation {
            objective: objective.key.clone(),
            outcome: outcome(number, place),
            score: Some(0.5),
            reason: format!("trial {number} of {}: because", case.key),
            quotes: vec!["I cannot help you".into()],
        };
        Trial {
            number,
            persona,
            persona_key: Some(format!("{}-{persona}", case.scenario_key)),
            persona_summary: format!("Person {persona}"),
            conversation_id: format!("c-{}-{number}", case.key),
            messages: 4,
            end: TrialEnd::Judged,
            evaluations: case.objectives.iter().enumerate().map(evaluation).collect(),
        }
    });
    CaseRun {
        case: case.key.clone(),
        simulation_id: format!("s-{}", case.key),
        status: "completed".into(),
        failure: None,
        cost_usd: Some(0.01),
        trials: trials.collect(),
    }
}

/// Results of every case of a plan, all passed.
pub(crate) fn passed(plan: &Plan) -> Vec<CaseRun> {
    plan.cases.iter().map(|case| run(case, |_, _| Outcome::Passed)).collect()
}

pub(crate) fn quarantine(case: &str, objective: Option<&str>, until: Date) -> Quarantine {
    Quarantine {
        case: case.into(),
        objective: objective.map(Into::into),
        owner: "ada@example.com".into(),
        until,
        reason: Some("flaky since the new model".into()),
    }
}
