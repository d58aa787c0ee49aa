//! Reports as text for people and for other programs.
//!
//! Texts in a report come from models and agents, so every renderer escapes them for its format.

mod escape;
mod github;
mod html;
mod junit;
mod markdown;

#[cfg(test)]
mod tests;

pub use github::{github_annotations, github_summary};
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;

use crate::{
    CaseReport, EvaluationReport, Rate, Report, TrialCounts, TrialOutcome, TrialReport, text::percent,
};

/// A trial that did not pass.
pub(crate) struct Bad<'a> {
    pub(crate) case: &'a CaseReport,
    pub(crate) trial: &'a TrialReport,
}

/// The trials that did not pass, worst first.
pub(crate) fn worst_first(report: &Report) -> Vec<Bad<'_>> {
    let trials =
        report.cases.iter().flat_map(|case| case.trials.iter().map(move |trial| Bad { case, trial }));
    let mut bad: Vec<Bad> = trials.filter(|bad| bad.trial.outcome != TrialOutcome::Passed).collect();
    bad.sort_by_cached_key(|bad| bad.trial.severity(bad.case.quarantined));
    bad
}

/// The number of trials that did not pass, those that are left out included.
fn not_passed(report: &Report) -> usize {
    let counted = |case: &CaseReport| case.counts.failed + case.counts.inconclusive + case.counts.infra;
    usize::try_from(report.cases.iter().map(counted).sum::<u64>()).unwrap_or(usize::MAX)
}

impl Bad<'_> {
    /// The trial in words.
    fn title(&self) -> String {
        format!("{}, conversation {}", self.case.key, self.trial.number)
    }

    /// The evaluations that did not pass, each with the name of its objective and whether it counts.
    fn evaluations(&self) -> impl Iterator<Item = (&str, bool, &EvaluationReport)> {
        self.case
            .objectives
            .iter()
            .zip(&self.trial.evaluations)
            .filter(|(_, evaluation)| {
                matches!(evaluation.outcome, TrialOutcome::Failed | TrialOutcome::Inconclusive)
            })
            .map(|(objective, evaluation)| (objective.name.as_str(), !objective.quarantined, evaluation))
    }

    /// Why the trial did not pass, in one text without line breaks of its own.
    fn summary(&self) -> String {
        let evaluations: Vec<String> = self
            .evaluations()
            .map(|(name, _, evaluation)| {
                let outcome = outcome(evaluation.outcome);
                let reason = evaluation.reason.as_deref().unwrap_or("the reason is left out");
                format!("{name}: {outcome}, because {reason}")
            })
            .collect();
        let failure = self.trial.failure.iter().map(|failure| format!("not judged: {failure}"));
        failure.chain(evaluations).collect::<Vec<_>>().join("; ")
    }
}

/// An outcome in words.
fn outcome(outcome: TrialOutcome) -> &'static str {
    match outcome {
        TrialOutcome::Infra => "not judged",
        other => other.as_str(),
    }
}

/// The trials that did not pass, each with its case, worst first: failed before inconclusive before not judged.
pub fn worst_trials(report: &Report) -> impl Iterator<Item = (&CaseReport, &TrialReport)> {
    worst_first(report).into_iter().map(|bad| (bad.case, bad.trial))
}

/// A pass rate with its interval, or the reason for its absence.
pub fn rate(rate: Option<&Rate>) -> String {
    match rate {
        None => "not judged".to_owned(),
        Some(rate) => format!("{} ({} to {})", percent(rate.rate), percent(rate.low), percent(rate.high)),
    }
}

/// The trials that were planned and count.
fn counted(counts: &TrialCounts) -> u64 {
    counts.passed + counts.failed + counts.inconclusive + counts.infra
}
