//! Reports as Markdown.

use std::fmt::Write as _;

use super::{counted, escape::markdown as escape, not_passed, outcome, rate, worst_first};
use crate::{CaseReport, GateStatus, Report, TrialCounts, text::cut};

/// The maximum size of a document in bytes, below the limit of a step summary on GitHub.
const MAX_BYTES: usize = 512 * 1024;

/// The maximum number of conversations that are described.
const MAX_CONVERSATIONS: usize = 20;

/// Maximum numbers of characters.
const MAX_REASON: usize = 500;
const MAX_QUOTE: usize = 300;

/// The maximum number of quotes of an evaluation.
const MAX_QUOTES: usize = 2;

/// The report as Markdown, at most half a mebibyte.
pub fn markdown(report: &Report) -> String {
    let mut out = format!("# {}: {}\n\n", escape(&report.name), report.verdict);
    _ = writeln!(out, "{}\n", summary(report));
    for reason in &report.reasons {
        _ = writeln!(out, "- {}", escape(reason));
    }
    if !report.reasons.is_empty() {
        out.push('\n');
    }
    gates(&mut out, report);
    cases(&mut out, report);
    conversations(&mut out, report);
    quarantine(&mut out, report);
    out
}

/// The counts in a sentence.
fn summary(report: &Report) -> String {
    let TrialCounts { passed, failed, inconclusive, infra, quarantined } = report.counts;
    let mut text = format!(
        "{passed} of {} conversations passed, {failed} failed, {inconclusive} inconclusive, {infra} not judged.",
        counted(&report.counts)
    );
    if quarantined > 0 {
        _ = write!(text, " {quarantined} in quarantine are not counted.");
    }
    _ = write!(text, " Pass rate: {}.", rate(report.rate.as_ref()));
    if report.rate.is_some_and(|rate| rate.low_evidence) {
        text.push_str(" The interval is wide: more conversations are needed for a reliable rate.");
    }
    if let Some(cost) = report.cost_usd.filter(|cost| *cost > 0.0) {
        _ = write!(text, " Models: ${cost:.4}.");
    }
    text
}

/// Adds a part, unless the document would be too long.
fn add(out: &mut String, part: &str) -> bool {
    let fits = out.len() + part.len() <= MAX_BYTES;
    if fits {
        out.push_str(part);
    }
    fits
}

fn gates(out: &mut String, report: &Report) {
    if report.gates.is_empty() {
        return;
    }
    out.push_str("## Gates\n\n| Gate | Agent | Result | Figures |\n| --- | --- | --- | --- |\n");
    for gate in &report.gates {
        let status = match gate.status {
            GateStatus::Passed => "passed",
            other => &format!("**{}**", other.as_str()),
        };
        let (text, agent, detail) = (escape(&gate.text), escape(&gate.agent), escape(&gate.detail));
        add(out, &format!("| {text} | {agent} | {status} | {detail} |\n"));
    }
    out.push('\n');
}

fn cases(out: &mut String, report: &Report) {
    if report.cases.is_empty() {
        return;
    }
    out.push_str(
        "## Results\n\n| Case | Objective | Passed | Failed | Inconclusive | Not judged | Pass rate (95% interval) |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut left_out = 0;
    for case in &report.cases {
        if !add(out, &case_rows(case)) {
            left_out += 1;
        }
    }
    if left_out > 0 {
        _ = write!(out, "\n{left_out} cases are left out.\n");
    }
    out.push('\n');
}

fn case_rows(case: &CaseReport) -> String {
    let key = escape(&case.key);
    let row = |name: &str, counts: &TrialCounts, rate: String| {
        let TrialCounts { passed, failed, inconclusive, infra, .. } = counts;
        format!("| {key} | {name} | {passed} | {failed} | {inconclusive} | {infra} | {rate} |\n")
    };
    let mut rows = row("*all*", &case.counts, rate(case.rate.as_ref()));
    for objective in &case.objectives {
        let mark = if objective.quarantined { " (quarantine)" } else { "" };
        let name = format!("{}{mark}", escape(&objective.name));
        rows.push_str(&row(&name, &objective.counts, rate(objective.rate.as_ref())));
    }
    rows
}

fn conversations(out: &mut String, report: &Report) {
    let bad = worst_first(report);
    if bad.is_empty() {
        return;
    }
    out.push_str("## Conversations that did not pass\n\n");
    let mut shown = 0;
    for one in bad.iter().take(MAX_CONVERSATIONS) {
        let mut part = format!("### {}: {}\n\n", escape(&one.title()), outcome(one.trial.outcome));
        if !one.trial.persona_summary.is_empty() {
            _ = writeln!(part, "{}\n", escape(&one.trial.persona_summary));
        }
        if let Some(failure) = &one.trial.failure {
            _ = writeln!(part, "- not judged: {}", escape(&cut(failure, MAX_REASON)));
        }
        for (name, counts, evaluation) in one.evaluations() {
            let reason = evaluation.reason.as_deref().unwrap_or("The reason is left out.");
            let mark = if counts { "" } else { " (quarantine)" };
            _ = writeln!(
                part,
                "- **{}**{mark} {}: {}",
                escape(name),
                outcome(evaluation.outcome),
                escape(&cut(reason, MAX_REASON))
            );
            for quote in evaluation.quotes.iter().take(MAX_QUOTES) {
                _ = writeln!(part, "  > {}", escape(&cut(quote, MAX_QUOTE)));
            }
        }
        part.push('\n');
        if !add(out, &part) {
            break;
        }
        shown += 1;
    }
    let more = not_passed(report).saturating_sub(shown);
    if more > 0 {
        _ = writeln!(out, "{more} more did not pass.\n");
    }
}

fn quarantine(out: &mut String, report: &Report) {
    if report.quarantined.is_empty() {
        return;
    }
    out.push_str("## Quarantine\n\n");
    for one in &report.quarantined {
        let state = if one.expired { "ended on" } else { "until" };
        let reason = one.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let text = format!("{} ({}) {state} {}{reason}", one.place(), one.owner, one.until);
        let TrialCounts { passed, failed, inconclusive, infra, .. } = one.counts;
        let counts =
            format!("{passed} passed, {failed} failed, {inconclusive} inconclusive, {infra} not judged");
        add(out, &format!("- {}. {counts}.\n", escape(&text)));
    }
}
