//! Reports as one HTML page.
//!
//! The page loads nothing, runs no script, and has no inline style but the one sheet that its policy names.

mod cases;

use std::fmt::Write as _;

use super::{Bad, counted, escape::xml, not_passed, outcome, rate, worst_first};
use crate::{
    EvaluationReport, GateStatus, Report, TrialCounts, TrialOutcome, Verdict,
    text::{percent, plural},
};

const STYLE: &str = include_str!("report.css");

/// The digest of [`STYLE`] for the content security policy. A test holds it.
const STYLE_SHA256: &str = "A0EC3ETzroYHcv3rBNcnW2Jq1xVkFT1vhKzqHjeWpnk=";

/// The maximum number of conversations that are described.
const MAX_CONVERSATIONS: usize = 50;

/// The number of conversations whose description is open at first.
const OPEN_CONVERSATIONS: usize = 3;

/// The report as one self-contained HTML page.
pub fn html(report: &Report) -> String {
    let verdict = report.verdict.as_str();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'sha256-{STYLE_SHA256}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}: {verdict}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        xml(&report.name)
    );
    header(&mut out, report);
    gates(&mut out, report);
    cases::section(&mut out, report);
    conversations(&mut out, report);
    quarantine(&mut out, report);
    _ = write!(
        out,
        "<footer><p>Made on <time datetime=\"{0}\">{1}</time>. Intervals are 95% Wilson score intervals. Conversations that \
         were not judged count neither for nor against the agent.</p></footer>\n</main>\n</body>\n</html>\n",
        report.at,
        report.at.strftime("%-d %B %Y, %H:%M UTC")
    );
    out
}

/// The verdict in a sentence.
fn explanation(report: &Report) -> &'static str {
    match report.verdict {
        Verdict::Pass => "Every gate passed.",
        Verdict::Fail if report.complete => "A gate failed.",
        Verdict::Fail => "A gate failed, whatever the missing results would have been.",
        Verdict::Inconclusive => "A gate is undecided, because evaluations are inconclusive.",
        Verdict::Infra => "Results are missing, or not final.",
        Verdict::Config => "The plan, the data and the baseline do not fit together.",
    }
}

fn header(out: &mut String, report: &Report) {
    let verdict = report.verdict.as_str();
    _ = writeln!(
        out,
        "<header>\n<h1>{}</h1>\n<p class=\"verdict {verdict}\"><strong>{verdict}</strong> {}</p>",
        xml(&report.name),
        explanation(report)
    );
    let TrialCounts { passed, failed, inconclusive, infra, quarantined } = report.counts;
    if let Some(figures) = &report.rate {
        _ = writeln!(
            out,
            "<div class=\"headline\"><p class=\"big\">{}</p>{}<p>{passed} of {} judged conversations passed. The true rate is \
             likely between {} and {}.{}</p></div>",
            percent(figures.rate),
            interval(figures.rate, figures.low, figures.high),
            figures.judged,
            percent(figures.low),
            percent(figures.high),
            if figures.low_evidence {
                " <em>Few conversations: take the rate as a rough estimate.</em>"
            } else {
                ""
            }
        );
    }
    out.push_str("<dl class=\"counts\">\n");
    for (class, name, number) in [
        ("passed", "passed", passed),
        ("failed", "failed", failed),
        ("inconclusive", "inconclusive", inconclusive),
        ("infra", "not judged", infra),
        ("quarantine", "in quarantine", quarantined),
    ] {
        if number > 0 || class == "passed" || class == "failed" {
            _ = writeln!(out, "<div class=\"{class}\"><dt>{name}</dt><dd>{number}</dd></div>");
        }
    }
    if let Some(cost) = report.cost_usd.filter(|cost| *cost > 0.0) {
        _ = writeln!(out, "<div><dt>cost of models</dt><dd>${cost:.4}</dd></div>");
    }
    out.push_str("</dl>\n");
    if !report.reasons.is_empty() {
        out.push_str("<ul class=\"reasons\">\n");
        for reason in &report.reasons {
            _ = writeln!(out, "<li>{}</li>", code(reason));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</header>\n");
}

/// Text whose parts in backticks become code.
fn code(text: &str) -> String {
    let mut out = String::new();
    let parts: Vec<&str> = text.split('`').collect();
    // Without a pair for each backtick, the text is no markup.
    if parts.len().is_multiple_of(2) {
        return xml(text);
    }
    for (place, part) in parts.into_iter().enumerate() {
        if place.is_multiple_of(2) {
            out.push_str(&xml(part));
        } else {
            _ = write!(out, "<code>{}</code>", xml(part));
        }
    }
    out
}

/// A rate and its interval on a scale from 0 to 100%.
fn interval(rate: f64, low: f64, high: f64) -> String {
    let width = 200.0;
    let (left, right, middle) = (low * width, high * width, rate * width);
    format!(
        "<svg class=\"interval\" viewBox=\"-5 0 210 16\" role=\"img\" aria-label=\"{} with an interval from {} to {}\">\
         <rect class=\"track\" x=\"0\" y=\"6\" width=\"200\" height=\"4\" rx=\"2\" fill=\"#8884\"/>\
         <rect class=\"range\" x=\"{left:.1}\" y=\"4\" width=\"{:.1}\" height=\"8\" rx=\"4\" fill=\"#58a\"/>\
         <circle class=\"point\" cx=\"{middle:.1}\" cy=\"8\" r=\"4.5\" fill=\"#025\"/></svg>",
        percent(rate),
        percent(low),
        percent(high),
        (right - left).max(1.0)
    )
}

fn gates(out: &mut String, report: &Report) {
    if report.gates.is_empty() {
        return;
    }
    let several = report.gates.iter().any(|gate| gate.agent != report.gates[0].agent);
    out.push_str("<section>\n<h2>Gates</h2>\n<ul class=\"gates\">\n");
    for gate in &report.gates {
        let status = gate.status.as_str();
        let word = match gate.status {
            GateStatus::Inconclusive | GateStatus::Infra => "undecided",
            _ => status,
        };
        let agent = if several {
            format!(" <span class=\"agent\">{}</span>", xml(&gate.agent))
        } else {
            String::new()
        };
        _ = writeln!(
            out,
            "<li class=\"{status}\"><span class=\"badge\">{word}</span><div><p><b>{}</b>{agent}</p><p>{}</p></div></li>",
            code(&gate.text),
            code(&gate.detail)
        );
    }
    out.push_str("</ul>\n</section>\n");
}

fn conversations(out: &mut String, report: &Report) {
    let bad = worst_first(report);
    if bad.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Conversations that did not pass</h2>\n");
    for (place, one) in bad.iter().take(MAX_CONVERSATIONS).enumerate() {
        conversation(out, one, place < OPEN_CONVERSATIONS);
    }
    let more = not_passed(report).saturating_sub(bad.len().min(MAX_CONVERSATIONS));
    if more > 0 {
        let more = plural(u64::try_from(more).unwrap_or_default(), "conversation");
        _ = writeln!(out, "<p>{more} that did not pass are not shown here.</p>");
    }
    out.push_str("</section>\n");
}

fn conversation(out: &mut String, bad: &Bad, open: bool) {
    let (class, word) = (bad.trial.outcome.as_str(), outcome(bad.trial.outcome));
    let mark = if bad.case.quarantined { " <span class=\"badge quarantine\">quarantine</span>" } else { "" };
    _ = writeln!(
        out,
        "<details class=\"{class}\"{}>\n<summary><span class=\"badge\">{word}</span> <b>{}</b>{mark} <span \
         class=\"persona\">{}</span></summary>",
        if open { " open" } else { "" },
        xml(&bad.title()),
        xml(&bad.trial.persona_summary)
    );
    if let Some(failure) = &bad.trial.failure {
        _ = writeln!(out, "<p>Not judged: {}</p>", code(failure));
    }
    for (name, counts, evaluation) in bad.evaluations() {
        self::evaluation(out, name, counts, evaluation);
    }
    if let Some(id) = &bad.trial.conversation_id {
        _ = writeln!(
            out,
            "<p class=\"id\">Conversation <code>{}</code>, {}</p>",
            xml(id),
            plural(bad.trial.messages.into(), "message")
        );
    }
    out.push_str("</details>\n");
}

fn evaluation(out: &mut String, name: &str, counts: bool, evaluation: &EvaluationReport) {
    let class = evaluation.outcome.as_str();
    let mark = if counts { "" } else { " <span class=\"badge quarantine\">quarantine</span>" };
    let score = match evaluation.score {
        Some(score) if evaluation.outcome == TrialOutcome::Failed => format!(", score {score:.2}"),
        _ => String::new(),
    };
    let reason = evaluation.reason.as_deref().unwrap_or("The reason is left out.");
    _ = writeln!(
        out,
        "<div class=\"evaluation {class}\">\n<p><b>{}</b> {class}{score}{mark}</p>\n<p>{}</p>",
        xml(name),
        code(reason)
    );
    for quote in &evaluation.quotes {
        _ = writeln!(out, "<blockquote>{}</blockquote>", xml(quote));
    }
    out.push_str("</div>\n");
}

fn quarantine(out: &mut String, report: &Report) {
    if report.quarantined.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Quarantine</h2>\n<ul>\n");
    for one in &report.quarantined {
        let state = if one.expired { "<strong>ended on</strong>" } else { "until" };
        let reason = one.reason.as_deref().map(|reason| format!(": {}", xml(reason))).unwrap_or_default();
        _ = writeln!(
            out,
            "<li>{} ({}) {state} {}{reason}. {} of {} passed.</li>",
            code(&one.place()),
            xml(&one.owner),
            one.until,
            one.counts.passed,
            counted(&one.counts)
        );
    }
    out.push_str("</ul>\n</section>\n");
}
