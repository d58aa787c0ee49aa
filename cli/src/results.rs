//! Results, transcripts and evaluations as text, for the demo's report and for `show`.

use std::fmt::{self, Write};

use onerun_client::resource::{
    Endings, Interval, ObjectiveResults, Outcome, PersonaFault, Results, Role, Scores, SimulationStatus,
};
use onerun_domain::NanoDollars;

use crate::text::{self, WIDTH, count, labelled, left, plain, width, wrap};

/// The widest column of objective names: the room of a line beside the counts.
const NAME_WIDTH: usize = 38;

/// The width of the count columns.
const COUNTS_WIDTH: usize = WIDTH - NAME_WIDTH;

const WHOLE: &str = "Each conversation as a whole";

/// A table of outcomes and pass rates by objective.
pub(crate) fn table(out: &mut impl Write, results: &Results) -> fmt::Result {
    let room = text::prose_width().saturating_sub(COUNTS_WIDTH);
    let names = results.objectives.iter().map(|objective| plain(&objective.name)).chain([WHOLE.to_owned()]);
    let widest = names.map(|name| width(&name)).max().unwrap_or_default().min(NAME_WIDTH);
    if room < widest.min(12) {
        return by_lines(out, results);
    }
    let wide = widest.min(room);
    let rule = "-".repeat(wide + COUNTS_WIDTH);
    writeln!(out, "{:wide$}                  incon-        pass rate", "")?;
    writeln!(out, "{:wide$}  passed  failed  clusive  (95% interval)", "Objective")?;
    writeln!(out, "{rule}")?;
    for ObjectiveResults { name, scores, .. } in &results.objectives {
        row(out, wide, name, scores, results.status)?;
    }
    writeln!(out, "{rule}")?;
    row(out, wide, WHOLE, &results.overall, results.status)
}

/// A row of the table. A long name takes several lines.
fn row(
    out: &mut impl Write,
    wide: usize,
    name: &str,
    scores: &Scores,
    status: SimulationStatus,
) -> fmt::Result {
    let Scores { passed, failed, inconclusive, .. } = scores;
    let rate = rate_in_words(scores, status);
    let mut lines = wrap(name, wide).into_iter();
    let first = left(&lines.next().unwrap_or_default(), wide);
    writeln!(out, "{first}  {passed:6}  {failed:6}  {inconclusive:7}  {rate:>15}")?;
    lines.try_for_each(|line| writeln!(out, "{line}"))
}

/// The table as lines, for a screen that is too narrow for columns.
fn by_lines(out: &mut impl Write, results: &Results) -> fmt::Result {
    let objectives = results.objectives.iter().map(|objective| (&*objective.name, &objective.scores));
    for (name, scores) in objectives.chain([(WHOLE, &results.overall)]) {
        labelled(out, "", name)?;
        let Scores { passed, failed, inconclusive, .. } = scores;
        let rate = rate_in_words(scores, results.status);
        labelled(
            out,
            "  ",
            &format!("{rate}; {passed} passed, {failed} failed, {inconclusive} inconclusive"),
        )?;
    }
    Ok(())
}

/// A pass rate with its interval, "not judged" if every evaluation is inconclusive, `None` without
/// evaluations.
pub(crate) fn rate(scores: &Scores) -> Option<String> {
    if scores.evaluated > 0 && scores.evaluated == scores.inconclusive {
        return Some("not judged".to_owned());
    }
    let (rate, Interval { low, high }) = (scores.pass_rate?, scores.pass_rate_interval?);
    Some(rate_with_interval(rate, Interval { low, high }))
}

/// A pass rate with its interval.
pub(crate) fn rate_with_interval(rate: f64, Interval { low, high }: Interval) -> String {
    format!("{}% ({}-{}%)", percent(rate), percent(low), percent(high))
}

/// The pass rate, or the reason for its absence.
fn rate_in_words(scores: &Scores, status: SimulationStatus) -> String {
    let none = || match status {
        SimulationStatus::Pending | SimulationStatus::InProgress => "no results yet",
        _ => "no results",
    };
    rate(scores).unwrap_or_else(|| none().to_owned())
}

/// A whole percentage. Only an exact 0 or 1 gives 0 or 100.
pub(crate) fn percent(rate: f64) -> String {
    let rounded = (rate * 100.0).round();
    let fair = if rate > 0.0 && rate < 1.0 { rounded.clamp(1.0, 99.0) } else { rounded };
    format!("{fair:.0}")
}

/// The number of conversations by ending, and of failed ones.
pub(crate) fn endings(results: &Results, max_turns: u32) -> String {
    let Endings { persona_ended, agent_ended, turn_limit } = results.endings;
    let lost = match results.conversations.failed {
        0 => String::new(),
        number => format!(" Failed: {number}."),
    };
    format!(
        "Conversations ended by the persona: {persona_ended}, by the agent: {agent_ended}, by the limit of {}: \
         {turn_limit}.{lost}",
        count(max_turns.into(), "message"),
    )
}

/// The calls to models and their cost, in words; `None` if there were none.
pub(crate) fn usage(results: &Results) -> Option<String> {
    let usage = results.usage.total;
    if usage.calls == 0 {
        return None;
    }
    let read = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens;
    let mut text = format!(
        "{}, {read} tokens in, {} out, {}",
        count(usage.calls, "call"),
        usage.output_tokens,
        NanoDollars::from_dollars(usage.cost_usd).unwrap_or_default()
    );
    if usage.unpriced_calls > 0 {
        _ = write!(text, " and {} of unknown cost", count(usage.unpriced_calls, "call"));
    }
    if usage.failed_calls > 0 {
        _ = write!(text, "; {} failed", count(usage.failed_calls, "call"));
    }
    Some(text)
}

/// Writes a message of a transcript.
pub(crate) fn message(out: &mut impl Write, role: Role, text: &str) -> fmt::Result {
    let label = match role {
        Role::Persona => "  persona  ",
        Role::Agent => "  agent    ",
    };
    labelled(out, label, text)
}

/// Writes a fault of the persona.
pub(crate) fn persona_fault(out: &mut impl Write, fault: &PersonaFault) -> fmt::Result {
    let PersonaFault { kind, severity, quote, .. } = fault;
    let finder = match fault.source.as_deref() {
        Some("rule") => ", found by a rule",
        Some("judge") => ", found by the judge",
        _ => "",
    };
    let effect = if severity == "critical" { ", so the conversation is left out of the results" } else { "" };
    // The words are deleted with the transcript.
    let quote = if quote.is_empty() { String::new() } else { format!(": \"{quote}\"") };
    let kind = kind.replace('_', " ");
    labelled(out, "  fault    ", &format!("the persona {kind} ({severity}{finder}){effect}{quote}"))
}

/// Writes the outcome of an evaluation and its reason.
pub(crate) fn evaluation(out: &mut impl Write, objective: &str, outcome: &str, reason: &str) -> fmt::Result {
    labelled(out, "  result   ", &format!("{objective}: {outcome}, because {reason}"))
}

/// Writes words that an evaluation quotes.
pub(crate) fn quote(out: &mut impl Write, text: &str) -> fmt::Result {
    labelled(out, "  quote    ", &format!("\"{text}\""))
}

/// The name of an outcome.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Inconclusive | Outcome::Unknown => "inconclusive",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(passed: u64, failed: u64, inconclusive: u64) -> Scores {
        let evaluated = passed + failed + inconclusive;
        Scores {
            evaluated,
            passed,
            failed,
            inconclusive,
            mean_score: None,
            pass_rate: (evaluated > 0).then(|| passed as f64 / evaluated as f64),
            pass_rate_interval: (evaluated > 0).then_some(Interval { low: 0.0, high: 0.39 }),
        }
    }

    #[test]
    fn inconclusive_evaluations_have_no_pass_rate() {
        assert_eq!(rate(&scores(0, 0, 6)).as_deref(), Some("not judged"));
        assert_eq!(rate(&scores(0, 1, 5)).as_deref(), Some("0% (0-39%)"));
        assert_eq!(rate(&scores(0, 0, 0)), None);
    }

    #[test]
    fn percentage_never_rounds_to_none_or_all() {
        assert_eq!([0.0, 0.001, 0.5, 0.999, 1.0].map(percent), ["0", "1", "50", "99", "100"]);
    }
}
