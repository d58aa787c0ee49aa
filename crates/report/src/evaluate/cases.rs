//! The results of each case, in the order of the plan.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use onerun_domain::wilson_interval;

use crate::{
    CaseReport, CaseRun, EvaluationReport, ObjectiveReport, Plan, PlannedCase, Quarantine, QuarantineReport,
    Rate, Report, Trial, TrialCounts, TrialEnd, TrialEvaluation, TrialOutcome, TrialReport,
    severity::worst_first,
    text::cut,
    trials::{MAX_FAILURE, MAX_REASON_BYTES, MAX_SUMMARY},
};

/// The maximum number of characters of a scenario.
const MAX_SCENARIO: usize = 1_000;

/// Fills in the cases, the quarantines and the counts.
pub(super) fn fill(report: &mut Report, plan: &Plan, runs: &[CaseRun]) {
    let today = report.at.to_zoned(TimeZone::UTC).date();
    let active: Vec<&Quarantine> = plan.quarantine.iter().filter(|one| today <= one.until).collect();
    // Of two sets of results for one case, which are a problem of the data, the first is shown.
    let mut by_case: BTreeMap<&str, &CaseRun> = BTreeMap::new();
    for run in runs {
        by_case.entry(&run.case).or_insert(run);
    }
    report.cases = plan
        .cases
        .iter()
        .map(|case| case_report(case, by_case.get(case.key.as_str()).copied(), &active))
        .collect();
    fill_reasons(report, &by_case);
    for case in &report.cases {
        report.planned.cases += 1;
        report.planned.trials += u64::from(case.planned_trials);
        report.planned.evaluations += u64::from(case.planned_trials) * count(case.objectives.len());
        if case.quarantined {
            report.counts.quarantined += u64::from(case.planned_trials);
        } else {
            report.counts.add_all(case.counts);
        }
    }
    report.rate = Rate::of(report.counts);
    // Without the cost of one run, the sum would be too low.
    report.cost_usd = (!runs.is_empty()).then(|| runs.iter().map(|run| run.cost_usd).sum()).flatten();
    report.quarantined =
        plan.quarantine.iter().map(|one| quarantine_report(one, &report.cases, today > one.until)).collect();
}

fn case_report(case: &PlannedCase, run: Option<&CaseRun>, active: &[&Quarantine]) -> CaseReport {
    let quarantines: Vec<&&Quarantine> = active.iter().filter(|one| one.case == case.key).collect();
    let is_quarantined = |objective: &str| {
        quarantines.iter().any(|one| one.objective.as_deref().is_none_or(|key| key == objective))
    };
    let mut objectives: Vec<ObjectiveReport> = case
        .objectives
        .iter()
        .map(|objective| ObjectiveReport {
            key: objective.key.clone(),
            name: objective.name.clone(),
            quarantined: is_quarantined(&objective.key),
            counts: TrialCounts::default(),
            rate: None,
        })
        .collect();
    let quarantined = objectives.iter().all(|objective| objective.quarantined);
    let mut by_number: BTreeMap<u32, &Trial> = BTreeMap::new();
    for trial in run.into_iter().flat_map(|run| &run.trials) {
        by_number.entry(trial.number).or_insert(trial);
    }
    let mut counts = TrialCounts::default();
    let mut trials = Vec::new();
    for number in 1..=case.trials {
        let trial = trial_report(case, number, by_number.get(&number).copied(), &objectives, quarantined);
        counts.add(trial.outcome);
        for (objective, evaluation) in objectives.iter_mut().zip(&trial.evaluations) {
            objective.counts.add(evaluation.outcome);
        }
        trials.push(trial);
    }
    for objective in &mut objectives {
        objective.rate = Rate::of(objective.counts);
    }
    CaseReport {
        key: case.key.clone(),
        agent: case.agent.clone(),
        scenario_key: case.scenario_key.clone(),
        scenario: cut(&case.scenario, MAX_SCENARIO),
        simulation_id: run.map(|run| run.simulation_id.clone()),
        status: run.map(|run| run.status.clone()),
        failure: run.and_then(|run| run.failure.as_deref()).map(|failure| cut(failure, MAX_FAILURE)),
        quarantined,
        planned_trials: case.trials,
        planned_personas: case.personas,
        counts,
        rate: Rate::of(counts),
        objectives,
        trials,
        trials_left_out: 0,
    }
}

fn trial_report(
    case: &PlannedCase,
    number: u32,
    trial: Option<&Trial>,
    objectives: &[ObjectiveReport],
    case_is_quarantined: bool,
) -> TrialReport {
    let judged = trial.filter(|trial| trial.end == TrialEnd::Judged);
    let evaluations: Vec<EvaluationReport> = objectives
        .iter()
        .map(|objective| {
            let found = judged.and_then(|trial| evaluation_of(trial, &objective.key));
            EvaluationReport {
                objective: objective.key.clone(),
                outcome: found.map_or(TrialOutcome::Infra, |found| found.outcome.into()),
                score: found.and_then(|found| found.score).filter(|score| score.is_finite()),
                reason: None,
                quotes: Vec::new(),
            }
        })
        .collect();
    let failure = match trial.map(|trial| &trial.end) {
        None => Some("there is no such conversation".to_owned()),
        Some(TrialEnd::Infra(why)) => Some(cut(why, MAX_FAILURE)),
        Some(TrialEnd::Unfinished) => Some("the conversation is not held or not judged yet".to_owned()),
        Some(TrialEnd::Judged) => evaluations
            .iter()
            .find(|evaluation| evaluation.outcome == TrialOutcome::Infra)
            .map(|evaluation| format!("there is no evaluation of `{}`", evaluation.objective)),
    };
    let counted = objectives
        .iter()
        .zip(&evaluations)
        .filter(|(objective, _)| case_is_quarantined || !objective.quarantined)
        .map(|(_, evaluation)| evaluation.outcome);
    TrialReport {
        number,
        persona: trial.map_or_else(|| (number - 1) % case.personas.max(1) + 1, |trial| trial.persona),
        persona_key: trial.and_then(|trial| trial.persona_key.clone()),
        persona_summary: trial.map(|trial| cut(&trial.persona_summary, MAX_SUMMARY)).unwrap_or_default(),
        conversation_id: trial.map(|trial| trial.conversation_id.clone()),
        messages: trial.map_or(0, |trial| trial.messages),
        outcome: TrialOutcome::all(counted),
        failure,
        evaluations,
    }
}

fn evaluation_of<'a>(trial: &'a Trial, objective: &str) -> Option<&'a TrialEvaluation> {
    trial.evaluations.iter().find(|evaluation| evaluation.objective == objective)
}

fn quarantine_report(one: &Quarantine, cases: &[CaseReport], expired: bool) -> QuarantineReport {
    let case = cases.iter().find(|case| case.key == one.case);
    let counts = case.map(|case| match &one.objective {
        None => case.counts,
        Some(key) => {
            let objective = case.objectives.iter().find(|objective| objective.key == *key);
            objective.map(|objective| objective.counts).unwrap_or_default()
        }
    });
    QuarantineReport {
        case: one.case.clone(),
        objective: one.objective.clone(),
        owner: one.owner.clone(),
        until: one.until,
        reason: one.reason.clone(),
        expired,
        counts: counts.unwrap_or_default(),
    }
}

/// Adds reasons and quotes to the evaluations that did not pass, for the worst trials first.
fn fill_reasons(report: &mut Report, by_case: &BTreeMap<&str, &CaseRun>) {
    let mut left = MAX_REASON_BYTES;
    let mut observed: BTreeMap<(usize, u32), &Trial> = BTreeMap::new();
    for (place, case) in report.cases.iter().enumerate() {
        for trial in by_case.get(case.key.as_str()).into_iter().flat_map(|run| &run.trials) {
            observed.entry((place, trial.number)).or_insert(trial);
        }
    }
    for (case, trial) in worst_first(report) {
        let trial = &mut report.cases[case].trials[trial];
        let Some(observed) = observed.get(&(case, trial.number)) else { continue };
        for evaluation in &mut trial.evaluations {
            if matches!(evaluation.outcome, TrialOutcome::Passed | TrialOutcome::Infra) {
                continue;
            }
            let Some(found) = evaluation_of(observed, &evaluation.objective) else { continue };
            let found = found.shortened();
            let size = found.text_size();
            if found.has_no_text() || size > left {
                report.reasons_left_out += 1;
                continue;
            }
            left -= size;
            evaluation.reason = Some(found.reason);
            evaluation.quotes = found.quotes;
        }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl TrialOutcome {
    /// The outcome of a trial: failed if any evaluation failed, else infra if any is, else inconclusive if
    /// any is; passed only if all passed, and there is one.
    pub(crate) fn all(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let mut together = None;
        for outcome in outcomes {
            together = Some(match (outcome, together) {
                (Self::Failed, _) | (_, Some(Self::Failed)) => Self::Failed,
                (Self::Infra, _) | (_, Some(Self::Infra)) => Self::Infra,
                (Self::Inconclusive, _) | (_, Some(Self::Inconclusive)) => Self::Inconclusive,
                (Self::Passed, _) => Self::Passed,
            });
        }
        together.unwrap_or(Self::Infra)
    }
}

impl TrialCounts {
    pub(crate) fn add(&mut self, outcome: TrialOutcome) {
        *match outcome {
            TrialOutcome::Passed => &mut self.passed,
            TrialOutcome::Failed => &mut self.failed,
            TrialOutcome::Inconclusive => &mut self.inconclusive,
            TrialOutcome::Infra => &mut self.infra,
        } += 1;
    }

    fn add_all(&mut self, others: Self) {
        self.passed += others.passed;
        self.failed += others.failed;
        self.inconclusive += others.inconclusive;
        self.infra += others.infra;
    }
}

impl Rate {
    /// The pass rate of these trials, without those that were not judged; `None` if none was judged.
    pub(crate) fn of(counts: TrialCounts) -> Option<Self> {
        let TrialCounts { passed, failed, inconclusive, .. } = counts;
        let judged = passed + failed + inconclusive;
        let interval = wilson_interval(passed, judged)?;
        Some(Self {
            passed,
            judged,
            rate: passed as f64 / judged as f64,
            low: interval.low,
            high: interval.high,
            low_evidence: interval.is_wide(),
        })
    }
}

impl QuarantineReport {
    /// The quarantined case or objective, in words.
    pub(crate) fn place(&self) -> String {
        match &self.objective {
            None => format!("case `{}`", self.case),
            Some(objective) => format!("objective `{objective}` in case `{}`", self.case),
        }
    }
}
