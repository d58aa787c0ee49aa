//! The summary of a run for a terminal.

use std::fmt::Write as _;

use onerun_client::resource::{Estimate, Usage};
use onerun_report::{CaseReport, GateStatus, Report, TrialOutcome, TrialReport, Verdict, render};

use super::plan::RunPlan;
use crate::text::{count, labelled, plain, prose_width, table};

/// The maximum numbers of conversations, of quotes of each, and of reasons that are shown.
const MAX_WORST: usize = 3;
const MAX_QUOTES: usize = 2;
const MAX_REASONS: usize = 5;

/// The maximum number of characters of a reason, a quote or a persona.
const MAX_TEXT: usize = 300;

/// The summary of a report: verdict, gates, cases, worst conversations and the next step.
pub(crate) fn summary(report: &Report, judge_is_offline: bool) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_summary(&mut out, report, judge_is_offline);
    out
}

fn write_summary(out: &mut String, report: &Report, judge_is_offline: bool) -> std::fmt::Result {
    if !report.cases.is_empty() {
        out.push_str(&cases(report));
        out.push('\n');
    }
    let several_agents = report.gates.iter().any(|gate| gate.agent != report.gates[0].agent);
    for gate in &report.gates {
        let mark = match gate.status {
            GateStatus::Passed => "pass  ",
            GateStatus::Failed => "FAIL  ",
            _ => "????  ",
        };
        let agent = if several_agents { format!(" [{}]", gate.agent) } else { String::new() };
        labelled(out, mark, &format!("{}{agent}: {}", gate.text, gate.detail))?;
    }
    if !report.gates.is_empty() {
        out.push('\n');
    }
    let worst: Vec<_> = render::worst_trials(report).filter(|(case, _)| !case.quarantined).collect();
    for (case, trial) in worst.iter().take(MAX_WORST) {
        conversation(out, case, trial)?;
    }
    if worst.len() > MAX_WORST {
        let more = u64::try_from(worst.len() - MAX_WORST).unwrap_or(u64::MAX);
        writeln!(out, "{} more did not pass\n", count(more, "conversation"))?;
    }
    for one in &report.quarantined {
        let objective = one.objective.as_ref().map(|key| format!(", objective {key}")).unwrap_or_default();
        let what = if one.expired { "in quarantine until" } else { "does not count until" };
        let text = format!("{}{objective} {what} {} ({})", one.case, one.until, one.owner);
        labelled(out, "note  ", &text)?;
    }
    if report.verdict != Verdict::Pass {
        // Those of gates are above.
        let of_gates: Vec<String> = report.gates.iter().map(|gate| gate.reason(several_agents)).collect();
        let others: Vec<&String> =
            report.reasons.iter().filter(|reason| !of_gates.contains(reason)).collect();
        for reason in others.iter().take(MAX_REASONS) {
            labelled(out, "why   ", &cut(reason))?;
        }
        if others.len() > MAX_REASONS {
            writeln!(out, "      and {} more", others.len() - MAX_REASONS)?;
        }
    }
    labelled(out, "next  ", next_step(report, judge_is_offline))?;
    let cost = report.cost_usd.filter(|cost| *cost > 0.0).map(|cost| format!(", {cost:.4} US dollars"));
    writeln!(
        out,
        "\n{}: {}{}",
        plain(&report.name),
        report.verdict.as_str().to_uppercase(),
        cost.unwrap_or_default()
    )
}

/// The plan of a run and its estimated cost.
pub(crate) fn plan(plan: &RunPlan, estimates: &[Estimate], server: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_plan(&mut out, plan, estimates, server);
    out
}

fn write_plan(out: &mut String, plan: &RunPlan, estimates: &[Estimate], server: &str) -> std::fmt::Result {
    let cases = u64::try_from(plan.simulations.len()).unwrap_or(u64::MAX);
    writeln!(
        out,
        "{}: {}, {}, on {server}\n",
        plain(&plan.report.name),
        count(cases, "case"),
        count(plan.conversations(), "conversation"),
    )?;
    let rows: Vec<[String; 5]> = plan
        .simulations
        .iter()
        .map(|one| {
            let numbers = [u64::from(one.conversations), one.personas.into(), one.max_turns.into()];
            let [conversations, mut personas, max_turns] = numbers.map(|number| number.to_string());
            if !one.explicit_personas.is_empty() {
                personas.push_str(" (given)");
            }
            [plain(&one.case), conversations, personas, max_turns, one.objectives.len().to_string()]
        })
        .collect();
    let headings = ["Case", "Conversations", "Personas", "Max. messages", "Objectives"];
    out.push_str(&table(headings, &[0], &rows));
    out.push('\n');
    if plan.report.gates.is_empty() {
        writeln!(out, "gate      every conversation must pass")?;
    }
    for gate in &plan.report.gates {
        labelled(out, "gate      ", &gate.text())?;
    }
    if let Some(baseline) = &plan.baseline {
        labelled(out, "baseline  ", &baseline.display().to_string())?;
    }
    if let Some(Estimate { models, .. }) = estimates.first() {
        let text = format!(
            "{} for personas, {} for replies, {} as the judge",
            models.persona, models.reply, models.judge
        );
        labelled(out, "models    ", &text)?;
    }
    let sum = |of: fn(&Estimate) -> &Usage| {
        estimates.iter().map(of).fold((0, 0, 0.0), |(calls, unpriced, cost), usage| {
            (calls + usage.calls, unpriced + usage.unpriced_calls, cost + usage.cost_usd)
        })
    };
    let (calls, unpriced, typical) = sum(|estimate| &estimate.typical.total);
    let (_, _, longest) = sum(|estimate| &estimate.longest.total);
    let estimate = match (calls, unpriced) {
        (0, _) => "no calls to language models, no cost".to_owned(),
        (_, 0) => format!("about {calls} calls, {typical:.2} to {longest:.2} US dollars"),
        _ => format!("about {calls} calls; the price of some is unknown"),
    };
    labelled(out, "estimate  ", &estimate)
}

fn cases(report: &Report) -> String {
    let rows: Vec<[String; 5]> = report
        .cases
        .iter()
        .map(|case| {
            let counts = case.counts;
            let mut key = plain(&case.key);
            if case.quarantined {
                key.push_str(" (quarantine)");
            }
            let others = counts.inconclusive + counts.infra;
            [
                key,
                counts.passed.to_string(),
                counts.failed.to_string(),
                others.to_string(),
                render::rate(case.rate.as_ref()),
            ]
        })
        .collect();
    table(["Case", "Passed", "Failed", "Undecided", "Pass rate (95% interval)"], &[0], &rows)
}

fn conversation(out: &mut String, case: &CaseReport, trial: &TrialReport) -> std::fmt::Result {
    let id = trial.conversation_id.as_deref().unwrap_or("missing");
    let title =
        format!("{}, conversation {} ({id}): {}", case.key, trial.number, cut(&trial.persona_summary));
    labelled(out, "", title.trim_end_matches(": "))?;
    if let Some(failure) = &trial.failure {
        labelled(out, "  not judged  ", &cut(failure))?;
    }
    for (objective, evaluation) in case.objectives.iter().zip(&trial.evaluations) {
        let label = match evaluation.outcome {
            TrialOutcome::Failed => "  failed  ",
            TrialOutcome::Inconclusive => "  inconclusive  ",
            TrialOutcome::Passed | TrialOutcome::Infra => continue,
        };
        let reason = evaluation.reason.as_deref().unwrap_or("the reason is left out");
        labelled(out, label, &format!("{}: {}", objective.name, cut(reason)))?;
        for quote in evaluation.quotes.iter().take(MAX_QUOTES) {
            labelled(out, "  quote   ", &format!("\"{}\"", cut(quote)))?;
        }
    }
    out.push('\n');
    Ok(())
}

fn next_step(report: &Report, judge_is_offline: bool) -> &'static str {
    let has_prose_undecided = report.counts.inconclusive > 0 && judge_is_offline;
    match report.verdict {
        Verdict::Pass => "nothing to do; `onerun baseline approve` makes a report the baseline of later runs",
        Verdict::Fail => {
            "read the conversations above, or all of them with `--html report.html`; then change the agent, or the gate"
        }
        Verdict::Inconclusive if has_prose_undecided => {
            "no language model judges prose: set ONERUN_MODEL=provider:model (see docs/models.md), or write `check:` lines"
        }
        Verdict::Inconclusive => {
            "read the reasons of the judge with `--html report.html`, and make the criteria clearer"
        }
        Verdict::Infra => {
            "conversations are missing, which says nothing about the agent's words: see why above, and run again"
        }
        Verdict::Config => "correct what is named above; nothing was decided",
    }
}

/// The beginning of a text, in one line.
fn cut(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let max = MAX_TEXT.max(prose_width());
    match line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
