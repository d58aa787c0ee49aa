//! Problems of a baseline.

use std::collections::BTreeSet;

use crate::{CaseReport, Planned, Report, TrialOutcome, VERSION, Verdict};

/// Why a report cannot be the baseline of these cases. A report that has lost a part is refused.
pub(super) fn problems(baseline: &Report, cases: &[CaseReport]) -> Vec<String> {
    if baseline.version != VERSION {
        return vec![format!(
            "the baseline has version {} of the format instead of {VERSION}: approve a new one",
            baseline.version
        )];
    }
    if baseline.verdict == Verdict::Config {
        return vec!["the baseline has the verdict `config`: approve another report".to_owned()];
    }
    if !baseline.complete {
        return vec![
            "the baseline is incomplete: approve a report of a run whose trials were all judged".to_owned(),
        ];
    }
    if planned(&baseline.cases) != baseline.planned || baseline.cases.is_empty() {
        return vec!["the baseline has lost a part of its cases: approve a new one".to_owned()];
    }
    let mut problems = Vec::new();
    let mut keys = BTreeSet::new();
    for before in &baseline.cases {
        if !keys.insert(&before.key) || !is_whole(before) {
            problems
                .push(format!("the baseline has lost a part of case `{}`: approve a new one", before.key));
        }
        let Some(case) = cases.iter().find(|case| case.key == before.key) else {
            problems.push(format!(
                "case `{}` of the baseline is not planned: plan it, or approve a baseline without it",
                before.key
            ));
            continue;
        };
        if before.planned_trials > case.planned_trials {
            problems.push(format!(
                "case `{}` of the baseline has {} trials, but {} are planned",
                before.key, before.planned_trials, case.planned_trials
            ));
        }
        for objective in &before.objectives {
            if !case.objectives.iter().any(|one| one.key == objective.key) {
                problems.push(format!(
                    "objective `{}` of case `{}` is in the baseline, but is not planned",
                    objective.key, before.key
                ));
            }
        }
    }
    problems
}

fn planned(cases: &[CaseReport]) -> Planned {
    let mut planned = Planned::default();
    for case in cases {
        planned.cases += 1;
        planned.trials += u64::from(case.planned_trials);
        let objectives = u64::try_from(case.objectives.len()).unwrap_or(u64::MAX);
        planned.evaluations += u64::from(case.planned_trials) * objectives;
    }
    planned
}

/// Whether a case has every planned trial with one judged evaluation of every objective.
fn is_whole(case: &CaseReport) -> bool {
    let mut numbers = 1..=case.planned_trials;
    let are_numbered = case.trials.iter().all(|trial| numbers.next() == Some(trial.number));
    are_numbered
        && numbers.next().is_none()
        && case.trials.iter().all(|trial| {
            trial.evaluations.len() == case.objectives.len()
                && trial.evaluations.iter().zip(&case.objectives).all(|(evaluation, objective)| {
                    evaluation.objective == objective.key
                        && (objective.quarantined || evaluation.outcome != TrialOutcome::Infra)
                })
        })
}
