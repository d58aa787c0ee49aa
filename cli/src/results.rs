//! Results, transcripts and verdicts as people read them, in the demo's report and of what the API has.

use std::fmt::{self, Write};

use onerun_client::resource::{Endings, Interval, ObjectiveResults, Outcome, Results, Role, Scores};

use crate::text::{WIDTH, count, labelled, plain, wrap};

/// The widest column of objectives' names: what is left of a line beside the counts.
const NAME_WIDTH: usize = 38;

/// Verdicts by objective, with intervals.
pub(crate) fn table(out: &mut impl Write, results: &Results) -> fmt::Result {
    const WHOLE: &str = "Each conversation as a whole";
    let names = results.objectives.iter().map(|objective| plain(&objective.name)).chain([WHOLE.to_owned()]);
    let width = names.map(|name| name.chars().count()).max().unwrap_or_default().min(NAME_WIDTH);
    let rule = "-".repeat(width + WIDTH - NAME_WIDTH);
    writeln!(out, "{:width$}                  incon-        pass rate", "")?;
    writeln!(out, "{:width$}  passed  failed  clusive  (95% interval)", "Objective")?;
    writeln!(out, "{rule}")?;
    for ObjectiveResults { name, scores, .. } in &results.objectives {
        row(out, width, name, scores)?;
    }
    writeln!(out, "{rule}")?;
    row(out, width, WHOLE, &results.overall)
}

/// A line of the table, or more if the name is too long for one.
fn row(out: &mut impl Write, width: usize, name: &str, scores: &Scores) -> fmt::Result {
    let Scores { passed, failed, inconclusive, .. } = scores;
    let rate = rate(scores).unwrap_or_else(|| "no verdicts".to_owned());
    let mut lines = wrap(name, width).into_iter();
    let first = lines.next().unwrap_or_default();
    writeln!(out, "{first:width$}  {passed:6}  {failed:6}  {inconclusive:7}  {rate:>15}")?;
    lines.try_for_each(|line| writeln!(out, "{line}"))
}

/// A pass rate and where it lies, if there are verdicts.
pub(crate) fn rate(scores: &Scores) -> Option<String> {
    let (rate, Interval { low, high }) = (scores.pass_rate?, scores.pass_rate_interval?);
    Some(format!("{}% ({}-{}%)", percent(rate), percent(low), percent(high)))
}

/// Per cent without decimals. Nearly none is not none, and nearly all is not all.
fn percent(rate: f64) -> String {
    let rounded = (rate * 100.0).round();
    let fair = if rate > 0.0 && rate < 1.0 { rounded.clamp(1.0, 99.0) } else { rounded };
    format!("{fair:.0}")
}

/// How conversations ended, and how many were not held.
pub(crate) fn endings(results: &Results, max_turns: u32) -> String {
    let Endings { persona_ended, agent_ended, turn_limit } = results.endings;
    let lost = match results.conversations.failed {
        0 => String::new(),
        number => format!(" Not held: {number}."),
    };
    format!(
        "Conversations ended by the persona: {persona_ended}, by the agent: {agent_ended}, by the limit of {}: \
         {turn_limit}.{lost}",
        count(max_turns.into(), "message"),
    )
}

/// A message of a transcript.
pub(crate) fn message(out: &mut impl Write, role: Role, text: &str) -> fmt::Result {
    let label = match role {
        Role::Persona => "  persona  ",
        Role::Agent => "  agent    ",
    };
    labelled(out, label, text)
}

/// A verdict: what was found, in a word or a few, and why.
pub(crate) fn verdict(out: &mut impl Write, objective: &str, found: &str, reason: &str) -> fmt::Result {
    labelled(out, "  verdict  ", &format!("{objective}: {found}, because {reason}"))
}

/// Words that a verdict rests on.
pub(crate) fn quote(out: &mut impl Write, text: &str) -> fmt::Result {
    labelled(out, "  quote    ", &format!("\"{text}\""))
}

/// What was found, in a word.
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

    #[test]
    fn percentages_do_not_exaggerate() {
        assert_eq!([0.0, 0.001, 0.5, 0.999, 1.0].map(percent), ["0", "1", "50", "99", "100"]);
    }
}
