//! Reports within the limits of GitHub Actions.

use std::fmt::Write as _;

use super::{
    escape::{command, one_line, property},
    markdown, worst_first,
};
use crate::{Report, TrialOutcome, Verdict, text::cut};

/// GitHub shows ten annotations of a step.
const MAX_ANNOTATIONS: usize = 10;

/// The maximum number of characters of an annotation.
const MAX_MESSAGE: usize = 1_000;

/// The report as a step summary, below GitHub's limit of one mebibyte.
pub fn github_summary(report: &Report) -> String {
    markdown(report)
}

/// Workflow commands that make GitHub show at most ten annotations: the verdict and the worst conversations.
pub fn github_annotations(report: &Report) -> String {
    let mut out = String::new();
    let level = match report.verdict {
        Verdict::Pass => "notice",
        Verdict::Inconclusive => "warning",
        Verdict::Fail | Verdict::Infra | Verdict::Config => "error",
    };
    let bad = worst_first(report);
    let bad: Vec<_> = bad.into_iter().filter(|bad| !bad.case.quarantined).collect();
    let shown = bad.len().min(MAX_ANNOTATIONS - 1);
    let mut message = report.reasons.join("\n");
    if message.is_empty() {
        "every gate passed".clone_into(&mut message);
    }
    let mut message = cut(&message, MAX_MESSAGE);
    if bad.len() > shown {
        _ = write!(message, "\n{} conversations that did not pass are not annotated", bad.len() - shown);
    }
    line(&mut out, level, &format!("{}: {}", one_line(&report.name), report.verdict), &message);
    for one in &bad[..shown] {
        // A conversation that failed although every gate passed is no error of the run.
        let level = match one.trial.outcome {
            TrialOutcome::Failed if report.verdict != Verdict::Pass => "error",
            _ => "warning",
        };
        line(&mut out, level, &one.title(), &cut(&one.summary(), MAX_MESSAGE));
    }
    out
}

fn line(out: &mut String, level: &str, title: &str, message: &str) {
    _ = writeln!(out, "::{level} title={}::{}", property(&cut(title, 200)), command(message));
}
