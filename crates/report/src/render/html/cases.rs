//! The results of each case.

use std::fmt::Write as _;

use super::{interval, outcome, rate, xml};
use crate::{CaseReport, ObjectiveReport, Rate, Report, TrialCounts, text::cut};

/// The maximum number of cases, and of conversations of a case, that are drawn.
const MAX_CASES: usize = 200;
const MAX_SQUARES: usize = 300;

/// The maximum number of characters of a scenario.
const MAX_SCENARIO: usize = 300;

pub(super) fn section(out: &mut String, report: &Report) {
    if report.cases.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Results</h2>\n");
    for case in report.cases.iter().take(MAX_CASES) {
        case_article(out, case);
    }
    if report.cases.len() > MAX_CASES {
        _ = writeln!(out, "<p>{} more cases are not shown here.</p>", report.cases.len() - MAX_CASES);
    }
    out.push_str("</section>\n");
}

fn case_article(out: &mut String, case: &CaseReport) {
    let mark = if case.quarantined { " <span class=\"badge quarantine\">quarantine</span>" } else { "" };
    _ = writeln!(
        out,
        "<article>\n<h3>{}{mark} <span class=\"agent\">{}</span></h3>\n<p>{}</p>",
        xml(&case.key),
        xml(&case.agent),
        xml(&cut(&case.scenario, MAX_SCENARIO))
    );
    squares(out, case);
    out.push_str("<table>\n<thead><tr><th scope=\"col\">Objective</th><th scope=\"col\">Pass rate</th>");
    out.push_str("<th scope=\"col\"><span class=\"hidden\">Interval</span></th><th scope=\"col\">Outcomes</th></tr></thead>\n<tbody>\n");
    for objective in &case.objectives {
        objective_row(out, objective);
    }
    row(out, "whole", "Each conversation as a whole", case.rate.as_ref(), &case.counts);
    out.push_str("</tbody>\n</table>\n");
    if let Some(id) = &case.simulation_id {
        _ = writeln!(
            out,
            "<p class=\"id\">Simulation <code>{}</code>, {}</p>",
            xml(id),
            xml(case.status.as_deref().unwrap_or("unknown"))
        );
    }
    out.push_str("</article>\n");
}

/// One square for each conversation.
fn squares(out: &mut String, case: &CaseReport) {
    out.push_str("<ol class=\"squares\">");
    for trial in case.trials.iter().take(MAX_SQUARES) {
        let (class, word) = (trial.outcome.as_str(), outcome(trial.outcome));
        _ = write!(
            out,
            "<li class=\"{class}\" title=\"conversation {0}: {word}\"><span class=\"hidden\">{0}: {word}</span></li>",
            trial.number
        );
    }
    out.push_str("</ol>\n");
    let drawn = u64::try_from(case.trials.len().min(MAX_SQUARES)).unwrap_or_default();
    let more = u64::from(case.planned_trials).saturating_sub(drawn);
    if more > 0 {
        _ = writeln!(out, "<p class=\"id\">{more} more conversations are not drawn.</p>");
    }
}

fn objective_row(out: &mut String, objective: &ObjectiveReport) {
    let class = if objective.quarantined { "quarantined" } else { "objective" };
    let mark = if objective.quarantined { " (quarantine)" } else { "" };
    row(out, class, &format!("{}{mark}", objective.name), objective.rate.as_ref(), &objective.counts);
}

fn row(out: &mut String, class: &str, name: &str, figures: Option<&Rate>, counts: &TrialCounts) {
    let drawing = figures.map(|rate| interval(rate.rate, rate.low, rate.high)).unwrap_or_default();
    let TrialCounts { passed, failed, inconclusive, infra, .. } = counts;
    let mut outcomes = format!("{passed} passed, {failed} failed");
    for (number, word) in [(inconclusive, "inconclusive"), (infra, "not judged")] {
        if *number > 0 {
            _ = write!(outcomes, ", {number} {word}");
        }
    }
    _ = writeln!(
        out,
        "<tr class=\"{class}\"><th scope=\"row\">{}</th><td>{}</td><td>{drawing}</td><td>{outcomes}</td></tr>",
        xml(name),
        rate(figures)
    );
}
