//! The order of trials in reports: the worst first.

use std::cmp::Reverse;

use crate::{CaseReport, Report, Trial, TrialEnd, TrialOutcome, TrialReport};

/// Sorts the worst trials first: failed before inconclusive before infra, many failed objectives before few, low
/// scores before high ones.
pub(crate) type Severity = (u8, Reverse<usize>, u32);

/// The severity of a trial with these outcomes and scores.
fn severity(outcome: TrialOutcome, evaluations: &[(TrialOutcome, Option<f64>)]) -> Severity {
    let rank = match outcome {
        TrialOutcome::Failed => 0,
        TrialOutcome::Inconclusive => 1,
        TrialOutcome::Infra => 2,
        TrialOutcome::Passed => 3,
    };
    let failed = evaluations.iter().filter(|(outcome, _)| *outcome == TrialOutcome::Failed).count();
    let scores: Vec<f64> = evaluations.iter().filter_map(|(_, score)| *score).collect();
    let mean = if scores.is_empty() { 1.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number from 0 to 1000, because the cast saturates"
    )]
    let score = (mean.clamp(0.0, 1.0) * 1_000.0) as u32;
    (rank, Reverse(failed), score)
}

impl TrialReport {
    /// Its place in the order. Trials of quarantined cases come last.
    pub(crate) fn severity(&self, quarantined: bool) -> (bool, Severity) {
        let evaluations: Vec<_> = self.evaluations.iter().map(|one| (one.outcome, one.score)).collect();
        (quarantined, severity(self.outcome, &evaluations))
    }
}

impl Trial {
    /// Its place in the order, if each of its objectives counts.
    pub(crate) fn severity(&self) -> Severity {
        let evaluations: Vec<_> =
            self.evaluations.iter().map(|one| (one.outcome.into(), one.score)).collect();
        let outcome = match self.end {
            TrialEnd::Judged => TrialOutcome::all(evaluations.iter().map(|(outcome, _)| *outcome)),
            TrialEnd::Infra(_) | TrialEnd::Unfinished => TrialOutcome::Infra,
        };
        severity(outcome, &evaluations)
    }
}

impl CaseReport {
    /// Its trials that did not pass, the worst first.
    pub fn worst_first(&self) -> Vec<&TrialReport> {
        let mut bad: Vec<&TrialReport> =
            self.trials.iter().filter(|trial| trial.outcome != TrialOutcome::Passed).collect();
        bad.sort_by_cached_key(|trial| trial.severity(self.quarantined));
        bad
    }
}

/// The places of all trials, the worst first: each the place of its case, and its place there.
pub(crate) fn worst_first(report: &Report) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (place, case) in report.cases.iter().enumerate() {
        places.extend((0..case.trials.len()).map(|trial| (place, trial)));
    }
    places.sort_by_cached_key(|(place, trial)| {
        let case = &report.cases[*place];
        (case.trials[*trial].severity(case.quarantined), *place, *trial)
    });
    places
}
