//! Comparisons with a baseline or with another agent, trial by trial.

use std::collections::BTreeMap;

use onerun_domain::{PairCounts, holm, mcnemar_exact};

use super::gates::Decided;
use crate::{
    Against, CaseReport, EvaluationReport, GateStatus, RegressionMode, Report, TrialOutcome, TrialReport,
    text::p_value,
};

/// The maximum number of broken trials that a detail names.
const MAX_NAMED: usize = 5;

/// The results of one trial on one objective, on both sides.
struct Pair<'a> {
    case: &'a str,
    number: u32,
    objective: &'a str,
    before: TrialOutcome,
    after: TrialOutcome,
    /// Whether both conversations are there, with different personas. Their results are no pair.
    mismatch: bool,
}

impl Pair<'_> {
    /// Whether the trial is known to have been broken.
    fn is_broken(&self) -> bool {
        !self.mismatch && self.before == TrialOutcome::Passed && self.after == TrialOutcome::Failed
    }

    /// Whether the trial may have been broken, if every missing result is the worst.
    fn may_be_broken(&self) -> bool {
        self.mismatch
            || (matches!(self.before, TrialOutcome::Passed | TrialOutcome::Infra)
                && self.after != TrialOutcome::Passed)
    }

    fn is_infra(&self) -> bool {
        [self.before, self.after].contains(&TrialOutcome::Infra)
    }

    /// Whether each side passed, with missing results counted for a regression or against it.
    fn passed(&self, at_worst: bool) -> (bool, bool) {
        let known = |outcome, missing| match outcome {
            _ if self.mismatch => missing,
            TrialOutcome::Passed => true,
            TrialOutcome::Failed => false,
            TrialOutcome::Inconclusive | TrialOutcome::Infra => missing,
        };
        (known(self.before, at_worst), known(self.after, !at_worst))
    }

    fn is_missing(&self) -> bool {
        self.passed(true) != self.passed(false)
    }
}

/// Compares the cases of an agent that count with the same cases of the baseline or of another agent.
pub(super) fn evaluate(
    counted: &[&CaseReport],
    all: &[CaseReport],
    baseline: Option<&Report>,
    against: &Against,
    mode: RegressionMode,
) -> Decided {
    let mut pairs = Vec::new();
    for case in counted {
        let other = match against {
            Against::Baseline => {
                baseline.and_then(|baseline| baseline.cases.iter().find(|other| other.key == case.key))
            }
            Against::Agent(agent) => {
                all.iter().find(|other| other.agent == *agent && other.scenario_key == case.scenario_key)
            }
        };
        if let Some(other) = other {
            add_pairs(&mut pairs, case, other);
        }
    }
    if pairs.is_empty() {
        return (GateStatus::Config, "there is nothing to compare".to_owned());
    }
    match mode {
        RegressionMode::EachTrial => each_trial(&pairs),
        RegressionMode::Significant { alpha } => significant(&pairs, alpha),
    }
}

fn add_pairs<'a>(pairs: &mut Vec<Pair<'a>>, case: &'a CaseReport, other: &'a CaseReport) {
    let before_by_number: BTreeMap<u32, &TrialReport> =
        other.trials.iter().map(|trial| (trial.number, trial)).collect();
    for trial in &case.trials {
        let Some(before) = before_by_number.get(&trial.number) else { continue };
        let both_exist = trial.conversation_id.is_some() && before.conversation_id.is_some();
        let is_same = trial.persona_key.is_some() && trial.persona_key == before.persona_key;
        for (objective, evaluation) in case.objectives.iter().zip(&trial.evaluations) {
            let is_same_objective = |one: &&EvaluationReport| one.objective == objective.key;
            let Some(found) = before.evaluations.iter().find(is_same_objective) else { continue };
            if !objective.quarantined {
                pairs.push(Pair {
                    case: &case.key,
                    number: trial.number,
                    objective: &objective.key,
                    before: found.outcome,
                    after: evaluation.outcome,
                    mismatch: both_exist && !is_same,
                });
            }
        }
    }
}

fn each_trial(pairs: &[Pair]) -> Decided {
    let passed = pairs.iter().filter(|pair| !pair.mismatch && pair.before == TrialOutcome::Passed).count();
    let broken: Vec<&Pair> = pairs.iter().filter(|pair| pair.is_broken()).collect();
    let uncertain: Vec<&Pair> =
        pairs.iter().filter(|pair| pair.may_be_broken() && !pair.is_broken()).collect();
    if !broken.is_empty() {
        let named = named(&broken);
        return (
            GateStatus::Failed,
            format!("{} of {passed} passed evaluations no longer pass: {named}", broken.len()),
        );
    }
    let Some(status) = undecided(&uncertain) else {
        return (GateStatus::Passed, format!("all {passed} evaluations that passed still pass"));
    };
    (status, format!("{}: {}", words_for(status, uncertain.len()), named(&uncertain)))
}

fn significant(pairs: &[Pair], alpha: f64) -> Decided {
    let mut worst: BTreeMap<&str, PairCounts> = BTreeMap::new();
    let mut best = worst.clone();
    for pair in pairs {
        for (counts, at_worst) in [(&mut worst, true), (&mut best, false)] {
            let (before, after) = pair.passed(at_worst);
            counts.entry(pair.objective).or_default().add(before, after);
        }
    }
    let tests = worst.len() as f64;
    for (objective, counts) in &worst {
        let can_be_significant = |pairs: u64| mcnemar_exact(0, pairs) * tests <= alpha;
        if !can_be_significant(counts.pairs()) {
            let advice = (counts.pairs()..10_000).find(|pairs| can_be_significant(*pairs));
            return (
                GateStatus::Config,
                format!(
                    "{} pairs of `{objective}` can never be significant{}",
                    counts.pairs(),
                    advice.map(|pairs| format!(": plan at least {pairs} trials")).unwrap_or_default(),
                ),
            );
        }
    }
    let corrected = |counts: &BTreeMap<&str, PairCounts>| {
        holm(&counts.values().map(|counts| counts.regression_p_value()).collect::<Vec<_>>())
    };
    let regresses = |counts: &BTreeMap<&str, PairCounts>| corrected(counts).into_iter().any(|p| p <= alpha);
    let uncertain: Vec<&Pair> = pairs.iter().filter(|pair| pair.is_missing()).collect();
    let (shown, status) = if !regresses(&worst) {
        (&worst, GateStatus::Passed)
    } else if regresses(&best) {
        (&best, GateStatus::Failed)
    } else {
        (&worst, undecided(&uncertain).unwrap_or(GateStatus::Infra))
    };
    let figures: Vec<String> = shown
        .iter()
        .zip(corrected(shown))
        .map(|((objective, counts), p)| {
            format!("`{objective}` {} fixed, {} broken (p {})", counts.fixed, counts.broken, p_value(p))
        })
        .take(MAX_NAMED)
        .collect();
    let more = shown.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more objectives") } else { String::new() };
    let missing = if uncertain.is_empty() {
        String::new()
    } else {
        format!("; {}", words_for(undecided(&uncertain).unwrap_or(GateStatus::Infra), uncertain.len()))
    };
    (status, format!("{}{more}{missing}", figures.join(", ")))
}

/// The status of a gate that these pairs leave undecided; `None` if there are none.
fn undecided(pairs: &[&Pair]) -> Option<GateStatus> {
    if pairs.is_empty() {
        None
    } else if pairs.iter().any(|pair| pair.mismatch) {
        Some(GateStatus::Config)
    } else if pairs.iter().any(|pair| pair.is_infra()) {
        Some(GateStatus::Infra)
    } else {
        Some(GateStatus::Inconclusive)
    }
}

fn words_for(status: GateStatus, number: usize) -> String {
    match status {
        GateStatus::Config => {
            format!("{number} evaluations are of different or unknown personas, or missing")
        }
        GateStatus::Infra => format!("{number} evaluations are missing on one side"),
        _ => format!("{number} evaluations are inconclusive"),
    }
}

/// The first of these pairs, in words.
fn named(pairs: &[&Pair]) -> String {
    let names: Vec<String> = pairs
        .iter()
        .take(MAX_NAMED)
        .map(|pair| format!("`{}` of trial {} of case `{}`", pair.objective, pair.number, pair.case))
        .collect();
    let more = pairs.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
