//! Reports and comparisons as text for a terminal.

use std::fmt;

use onerun_client::resource::Interval;
use onerun_report::{
    CaseReport, ChangedTrial, ComparedObjective, ComparedTrials, Comparison, EvaluationReport, GateStatus,
    Rate, Report, TrialCounts, TrialOutcome, TrialReport, Verdict,
};

use crate::{
    results,
    text::{count, labelled, plain, table},
};

/// The maximum number of conversations that are described.
const MAX_CONVERSATIONS: usize = 10;

/// The maximum number of changed conversations that are listed.
const MAX_CHANGED: usize = 20;

const WHOLE: &str = "each conversation as a whole";

/// The report with its worst conversations.
pub(super) fn report(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    labelled(&mut out, "", &format!("{}: {}", report.name, verdict(report.verdict)))?;
    for gate in &report.gates {
        let status = match gate.status {
            GateStatus::Inconclusive | GateStatus::Infra => "undecided",
            other => other.as_str(),
        };
        labelled(&mut out, "  ", &format!("{}: {status}, {}", gate.text, gate.detail))?;
    }
    // The line of a gate has the reason that names it.
    let of_gate = |reason: &str| reason.starts_with("the gate ");
    for reason in report.reasons.iter().filter(|reason| !of_gate(reason)) {
        labelled(&mut out, "  - ", reason)?;
    }
    if report.rate.is_some_and(|rate| rate.low_evidence) {
        labelled(&mut out, "  ", "Few conversations: take the pass rate as a rough estimate.")?;
    }
    for case in &report.cases {
        out.push('\n');
        out.push_str(&results_of(case));
        conversations(&mut out, case)?;
    }
    Ok(out)
}

/// A verdict with its meaning.
fn verdict(verdict: Verdict) -> String {
    let meaning = match verdict {
        Verdict::Pass | Verdict::Fail => return verdict.to_string(),
        Verdict::Inconclusive => "inconclusive evaluations could decide it",
        Verdict::Infra => "results are missing or not final",
        Verdict::Config => "it cannot be evaluated",
    };
    format!("{verdict} ({meaning})")
}

fn results_of(case: &CaseReport) -> String {
    let row = |name: String, counts: &TrialCounts, rate: Option<Rate>| {
        let TrialCounts { passed, failed, inconclusive, infra, .. } = counts;
        let numbers = [passed, failed, inconclusive, infra].map(ToString::to_string);
        let [passed, failed, inconclusive, infra] = numbers;
        [name, passed, failed, inconclusive, infra, interval(rate)]
    };
    let mut rows: Vec<[String; 6]> = case
        .objectives
        .iter()
        .map(|objective| row(plain(&objective.name), &objective.counts, objective.rate))
        .collect();
    rows.push(row(WHOLE.to_owned(), &case.counts, case.rate));
    let headings = ["OBJECTIVE", "PASSED", "FAILED", "INCONCLUSIVE", "NOT JUDGED", "PASS RATE (95%)"];
    table(headings, &[0], &rows)
}

fn interval(rate: Option<Rate>) -> String {
    match rate {
        None => "not judged".to_owned(),
        Some(rate) => results::rate_with_interval(rate.rate, Interval { low: rate.low, high: rate.high }),
    }
}

/// The conversations that did not pass, worst first.
fn conversations(out: &mut String, case: &CaseReport) -> fmt::Result {
    let bad = case.worst_first();
    if bad.is_empty() {
        return Ok(());
    }
    out.push('\n');
    labelled(out, "", "Conversations that did not pass, worst first:")?;
    for trial in bad.iter().take(MAX_CONVERSATIONS) {
        conversation(out, case, trial)?;
    }
    let TrialCounts { failed, inconclusive, infra, .. } = case.counts;
    let shown = u64::try_from(bad.len().min(MAX_CONVERSATIONS)).unwrap_or_default();
    let more = (failed + inconclusive + infra).saturating_sub(shown);
    if more > 0 {
        out.push('\n');
        let more = count(more, "more conversation");
        let advice = "see `--format html`, or `onerun conversations list --failed`";
        labelled(out, "", &format!("{more} did not pass: {advice}."))?;
    }
    Ok(())
}

fn conversation(out: &mut String, case: &CaseReport, trial: &TrialReport) -> fmt::Result {
    let id = trial.conversation_id.as_deref().map(|id| format!(", id {id}")).unwrap_or_default();
    out.push('\n');
    labelled(out, "  ", &format!("number {}{id}: {}", trial.number, outcome(trial.outcome)))?;
    labelled(out, "  persona  ", &trial.persona_summary)?;
    if let Some(failure) = &trial.failure {
        labelled(out, "  because  ", failure)?;
    }
    for (objective, evaluation) in case.objectives.iter().zip(&trial.evaluations) {
        if matches!(evaluation.outcome, TrialOutcome::Failed | TrialOutcome::Inconclusive) {
            self::evaluation(out, &objective.name, evaluation)?;
        }
    }
    Ok(())
}

fn evaluation(out: &mut String, objective: &str, evaluation: &EvaluationReport) -> fmt::Result {
    let reason = evaluation.reason.as_deref().unwrap_or("the reason is left out of this report");
    results::evaluation(out, objective, outcome(evaluation.outcome), reason)?;
    evaluation.quotes.iter().try_for_each(|quote| results::quote(out, quote))
}

fn outcome(outcome: TrialOutcome) -> &'static str {
    match outcome {
        TrialOutcome::Infra => "not judged",
        other => other.as_str(),
    }
}

/// The comparison with the conversations that changed.
pub(super) fn comparison(comparison: &Comparison) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let (before, after) = (&comparison.before, &comparison.after);
    labelled(&mut out, "", &format!("verdict: {}", verdict(comparison.verdict)))?;
    labelled(&mut out, "before:  ", &format!("{} (agent {}, {})", before.name, before.agent, before.status))?;
    labelled(&mut out, "after:   ", &format!("{} (agent {}, {})", after.name, after.agent, after.status))?;
    if comparison.verdict != Verdict::Pass {
        labelled(&mut out, "because: ", &with_names(&comparison.detail, &comparison.objectives))?;
    }
    for warning in &comparison.warnings {
        labelled(&mut out, "warning: ", warning)?;
    }
    let rates = [before.rate, after.rate];
    if rates.into_iter().flatten().any(|rate| rate.low_evidence) {
        labelled(&mut out, "note:    ", "few conversations: take the pass rates as rough estimates")?;
    }
    out.push('\n');
    let row = |name: String, rates: [Option<Rate>; 2], trials: &ComparedTrials, p: f64| {
        let [before, after] = rates.map(interval);
        let unchanged = trials.still_passed + trials.still_not_passed;
        let numbers =
            [trials.fixed, trials.broken, unchanged, trials.unpaired].map(|number| number.to_string());
        let [fixed, broken, unchanged, unpaired] = numbers;
        [name, before, after, fixed, broken, unchanged, unpaired, p_value(p)]
    };
    let mut rows: Vec<[String; 8]> = comparison
        .objectives
        .iter()
        .map(|one| row(plain(&one.name), [one.before, one.after], &one.trials, one.corrected_p_value))
        .collect();
    rows.push(row(WHOLE.to_owned(), rates, &comparison.overall, comparison.overall.p_value));
    out.push_str(&table(
        ["OBJECTIVE", "BEFORE", "AFTER", "FIXED", "BROKEN", "SAME", "NO PAIR", "P"],
        &[0],
        &rows,
    ));
    changed(&mut out, comparison)?;
    Ok(out)
}

/// The text with the names of objectives in place of their ids.
fn with_names(text: &str, objectives: &[ComparedObjective]) -> String {
    objectives.iter().fold(text.to_owned(), |text, objective| {
        text.replace(&format!("`{}`", objective.objective_id), &format!("`{}`", objective.name))
    })
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

fn changed(out: &mut String, comparison: &Comparison) -> fmt::Result {
    if comparison.changed.is_empty() {
        return Ok(());
    }
    out.push('\n');
    labelled(out, "", "Conversations that changed, broken ones first:")?;
    for one in comparison.changed.iter().take(MAX_CHANGED) {
        changed_trial(out, one, &comparison.objectives)?;
    }
    let left = u64::try_from(comparison.changed.len().saturating_sub(MAX_CHANGED)).unwrap_or_default();
    let more = left + comparison.changed_left_out;
    if more > 0 {
        out.push('\n');
        labelled(out, "", &format!("{} changed, too: see `--json`.", count(more, "more conversation")))?;
    }
    Ok(())
}

fn changed_trial(out: &mut String, changed: &ChangedTrial, objectives: &[ComparedObjective]) -> fmt::Result {
    out.push('\n');
    let ids = format!("{} before, {} after", changed.before_conversation_id, changed.after_conversation_id);
    labelled(out, "  ", &format!("number {}: {ids}", changed.number))?;
    labelled(out, "  persona  ", &changed.persona_summary)?;
    for (label, ids) in [("  broken   ", &changed.broken), ("  fixed    ", &changed.fixed)] {
        let name = |id: &String| {
            let objective = objectives.iter().find(|objective| objective.objective_id == *id);
            objective.map_or(id.as_str(), |objective| objective.name.as_str()).to_owned()
        };
        labelled(out, label, &ids.iter().map(name).collect::<Vec<_>>().join(", "))?;
    }
    Ok(())
}
