//! Problems of a plan and of data that does not fit it.

use std::collections::{BTreeMap, BTreeSet};

use onerun_domain::wilson_interval;

use crate::{
    Against, Basis, CaseRun, Gate, Plan, PlannedCase, RegressionMode, Subject,
    text::{cut, percent},
};

/// The maximum number of trials of a case: the conversations of a simulation.
const MAX_TRIALS: u32 = 10_000;

/// The maximum number of evaluations of a plan.
const MAX_EVALUATIONS: u64 = 1_000_000;

/// Problems of the plan, independent of all data.
pub(super) fn plan_problems(plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    if plan.cases.is_empty() {
        problems.push("the plan has no case".to_owned());
    }
    let mut keys = BTreeSet::new();
    let mut evaluations = 0_u64;
    for case in &plan.cases {
        if !keys.insert(&case.key) {
            problems.push(format!("two cases have the key `{}`", case.key));
        }
        problems.extend(case_problem(case).map(|problem| format!("case `{}` {problem}", case.key)));
        let objectives = u64::try_from(case.objectives.len()).unwrap_or(u64::MAX);
        evaluations = evaluations.saturating_add(objectives.saturating_mul(case.trials.into()));
    }
    if evaluations > MAX_EVALUATIONS {
        problems.push(format!("the plan has {evaluations} evaluations, more than {MAX_EVALUATIONS}"));
    }
    for quarantine in &plan.quarantine {
        let case = plan.cases.iter().find(|case| case.key == quarantine.case);
        match (case, &quarantine.objective) {
            (None, _) => {
                problems.push(format!("the quarantine of case `{}` has no such case", quarantine.case));
            }
            (Some(case), Some(objective)) if !has_objective(case, objective) => problems.push(format!(
                "the quarantine of objective `{objective}` in case `{}` has no such objective",
                case.key
            )),
            _ => {}
        }
    }
    for gate in &plan.gates {
        problems.extend(
            gate_problem(plan, gate).map(|problem| format!("the gate \"{}\": {problem}", gate.text())),
        );
    }
    problems
}

fn case_problem(case: &PlannedCase) -> Option<String> {
    if case.trials == 0 {
        return Some("has no trial".to_owned());
    }
    if case.trials > MAX_TRIALS {
        return Some(format!("has {} trials, more than {MAX_TRIALS}", case.trials));
    }
    if case.personas == 0 {
        return Some("has no persona".to_owned());
    }
    if case.objectives.is_empty() {
        return Some("has no objective".to_owned());
    }
    let mut keys = BTreeSet::new();
    let twice = case.objectives.iter().find(|objective| !keys.insert(&objective.key))?;
    Some(format!("has two objectives with the key `{}`", twice.key))
}

fn has_objective(case: &PlannedCase, key: &str) -> bool {
    case.objectives.iter().any(|objective| objective.key == key)
}

fn gate_problem(plan: &Plan, gate: &Gate) -> Option<String> {
    let is_minimum = |min: f64| min > 0.0 && min <= 1.0;
    match gate {
        Gate::PassRate { min, .. } | Gate::PassPower { min, .. } if !is_minimum(*min) => {
            Some("the minimum must be above 0 and at most 1".to_owned())
        }
        Gate::PassRate { of, .. } => subject_problem(plan, of),
        Gate::PassPower { k: 0, .. } => Some("k must be at least 1".to_owned()),
        Gate::PassPower { of, k, .. } => subject_problem(plan, of).or_else(|| {
            let covered = plan.cases.iter().filter(|case| covers(of, case));
            let short = covered.min_by_key(|case| case.trials / case.personas.max(1))?;
            let trials = short.trials / short.personas.max(1);
            (*k > trials).then(|| {
                format!(
                    "k is {k}, but each persona of case `{}` has {trials} trials: plan at least {} trials for {} personas",
                    short.key,
                    u64::from(*k) * u64::from(short.personas),
                    short.personas,
                )
            })
        }),
        Gate::NoRegression { against, mode } => {
            if let RegressionMode::Significant { alpha } = mode
                && !(*alpha > 0.0 && *alpha < 1.0)
            {
                return Some("alpha must be between 0 and 1".to_owned());
            }
            let Against::Agent(agent) = against else { return None };
            if !plan.cases.iter().any(|case| case.agent == *agent) {
                return Some(format!("no case is about agent `{agent}`"));
            }
            plan.cases.iter().filter(|case| case.agent != *agent).find_map(|case| counterpart_problem(plan, case, agent))
        }
    }
}

fn subject_problem(plan: &Plan, subject: &Subject) -> Option<String> {
    let is_known = plan.cases.iter().any(|case| covers(subject, case));
    match subject {
        Subject::Objective(key) if !is_known => Some(format!("no case has the objective `{key}`")),
        Subject::Scenario(key) if !is_known => Some(format!("no case has the scenario `{key}`")),
        _ => None,
    }
}

fn covers(subject: &Subject, case: &PlannedCase) -> bool {
    match subject {
        Subject::All => true,
        Subject::Objective(key) => has_objective(case, key),
        Subject::Scenario(key) => case.scenario_key == *key,
    }
}

/// Why a case cannot be compared trial by trial with the same scenario of another agent.
fn counterpart_problem(plan: &Plan, case: &PlannedCase, agent: &str) -> Option<String> {
    let mut others =
        plan.cases.iter().filter(|other| other.agent == agent && other.scenario_key == case.scenario_key);
    let Some(other) = others.next() else {
        return Some(format!("agent `{agent}` has no case for the scenario of case `{}`", case.key));
    };
    if others.next().is_some() {
        return Some(format!("agent `{agent}` has two cases for the scenario of case `{}`", case.key));
    }
    let objectives = |case: &PlannedCase| -> BTreeSet<String> {
        case.objectives.iter().map(|objective| objective.key.clone()).collect()
    };
    let is_same = other.trials == case.trials
        && other.personas == case.personas
        && objectives(other) == objectives(case);
    (!is_same).then(|| {
        format!("cases `{}` and `{}` need the same trials, personas and objectives", case.key, other.key)
    })
}

/// Data that does not fit the plan, or that is there twice.
pub(super) fn data_problems(plan: &Plan, runs: &[CaseRun]) -> Vec<String> {
    let planned: BTreeMap<&str, &PlannedCase> =
        plan.cases.iter().map(|case| (case.key.as_str(), case)).collect();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    let mut simulations = BTreeSet::new();
    let mut conversations = BTreeSet::new();
    for run in runs {
        let Some(case) = planned.get(run.case.as_str()) else {
            problems
                .push(format!("there are results of case `{}`, which is not planned", cut(&run.case, 100)));
            continue;
        };
        if !seen.insert(&run.case) {
            problems.push(format!("there are two sets of results of case `{}`", run.case));
        }
        if !simulations.insert(&run.simulation_id) {
            problems.push(format!("simulation `{}` is given for two cases", cut(&run.simulation_id, 100)));
        }
        let mut numbers = BTreeSet::new();
        for trial in &run.trials {
            let mut add = |problem: &str| {
                problems.push(format!("trial {} of case `{}` {problem}", trial.number, run.case));
            };
            if trial.number == 0 || trial.number > case.trials {
                add("is not planned");
            }
            if !numbers.insert(trial.number) {
                add("is there twice");
            }
            if !conversations.insert(&trial.conversation_id) {
                add("has the conversation of another trial");
            }
            let mut judged = BTreeSet::new();
            for evaluation in &trial.evaluations {
                if !has_objective(case, &evaluation.objective) {
                    add(&format!(
                        "has an evaluation of `{}`, which is not planned",
                        cut(&evaluation.objective, 100)
                    ));
                }
                if !judged.insert(&evaluation.objective) {
                    add(&format!("has two evaluations of `{}`", evaluation.objective));
                }
            }
        }
    }
    problems
}

/// Why a minimum of the interval's lower end cannot be reached with `trials` trials.
pub(super) fn unreachable_minimum(on: Basis, min: f64, trials: u64) -> Option<String> {
    let best = wilson_interval(trials, trials)?.low;
    if on == Basis::Rate || best >= min {
        return None;
    }
    let enough = |trials: &u64| wilson_interval(*trials, *trials).is_some_and(|interval| interval.low >= min);
    let advice = match (trials..=1_000_000).find(enough) {
        Some(enough) => format!("plan at least {enough} trials"),
        None => "lower the minimum".to_owned(),
    };
    Some(format!("even {trials} of {trials} passed trials have a lower bound of {}: {advice}", percent(best)))
}
