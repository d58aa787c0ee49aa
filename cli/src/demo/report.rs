//! The demo's report.
//!
//! Everything above the last block depends only on the seed and the number of conversations, so
//! that two runs of one seed can be compared. Ids, times and paths appear only in the last block.

use std::{fmt, path::PathBuf, time::Duration};

use onerun_client::resource::{Conversation, Evaluation, Item, Outcome, Quote, Results, Role};

use crate::{
    results,
    text::{WIDTH, count, labelled, plain},
};

/// At most this many messages are shown before the quoted one.
const BEFORE: usize = 3;
/// At most this many messages are shown after the quoted one.
const AFTER: usize = 2;

const BY_HAND: &str = include_str!("by_hand.txt");

/// The rule above the block that differs between runs.
const VARIABLE_PART: &str = "--- Each run differs below this line ";

/// The data of the report.
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) agent: &'static str,
    pub(super) max_turns: u32,
    pub(super) seed: u64,
    pub(super) conversations: u32,
    pub(super) personas: u32,
    /// The model that plays them; `None` for the offline model.
    pub(super) model: Option<String>,
    pub(super) messages: u64,
    pub(super) results: Results,
    pub(super) excerpt: Option<Excerpt>,
    pub(super) elapsed: Duration,
    /// The directory that keeps the data, and the id of the simulation.
    pub(super) kept: Option<(PathBuf, String)>,
}

/// A part of a conversation and one evaluation of it.
pub(super) struct Excerpt {
    seq: u32,
    persona: String,
    evaluation: Option<EvaluationText>,
    lines: Vec<(Role, String)>,
    /// How many messages before and after the lines are left out.
    left_out: (usize, usize),
}

struct EvaluationText {
    objective: String,
    outcome: Outcome,
    reason: String,
    quote: Option<String>,
}

impl Excerpt {
    /// The part of a conversation around the quote of its worst evaluation.
    pub(super) fn new(conversation: Conversation, items: &[Item]) -> Self {
        let evaluation = worst(conversation.evaluations);
        let quote = evaluation.as_ref().and_then(|evaluation| evaluation.quotes.first());
        let quoted = quote.and_then(|quote| items.iter().position(|item| item.id == quote.item_id));
        let (from, to) = match quoted {
            Some(index) => (index.saturating_sub(BEFORE), (index + AFTER + 1).min(items.len())),
            None => (0, (BEFORE + AFTER + 1).min(items.len())),
        };
        Self {
            seq: conversation.seq_id,
            persona: conversation.persona.summary,
            lines: items[from..to].iter().map(|item| (item.role, item.text())).collect(),
            left_out: (from, items.len() - to),
            evaluation: evaluation.map(EvaluationText::from),
        }
    }
}

/// The evaluation to show: a failed one with a quote, else a failed one, else any.
fn worst(evaluations: Vec<Evaluation>) -> Option<Evaluation> {
    evaluations.into_iter().min_by_key(|evaluation| match evaluation.outcome {
        Outcome::Failed => u8::from(evaluation.quotes.is_empty()),
        _ => 2,
    })
}

impl From<Evaluation> for EvaluationText {
    fn from(evaluation: Evaluation) -> Self {
        Self {
            objective: evaluation.objective.name,
            outcome: evaluation.outcome,
            reason: evaluation.reason.unwrap_or_else(|| "no reason given".to_owned()),
            quote: evaluation.quotes.into_iter().next().map(|Quote { text, .. }| text),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "OneRun demo: {}, {}, seed {}\n",
            count(self.conversations.into(), "conversation"),
            self.personas(),
            self.seed
        )?;
        labelled(out, "Scenario  ", self.scenario)?;
        labelled(out, "Agent     ", &format!("{}, a small built-in agent that makes mistakes", self.agent))?;
        writeln!(out)?;
        results::table(out, &self.results)?;
        writeln!(out)?;
        self.endings(out)?;
        if let Some(usage) = results::usage(&self.results) {
            labelled(out, "", &format!("Model calls: {usage}."))?;
        }
        if let Some(excerpt) = &self.excerpt {
            writeln!(out)?;
            excerpt.fmt(out)?;
        }
        writeln!(out, "\n{BY_HAND}")?;
        writeln!(out, "{VARIABLE_PART:-<WIDTH$}")?;
        self.closing(out)
    }
}

impl Report {
    /// The number of personas, and who plays them.
    fn personas(&self) -> String {
        let number = self.personas.into();
        match &self.model {
            None => format!("{} (offline)", count(number, "scripted persona")),
            Some(model) => format!("{} ({})", count(number, "persona"), plain(model)),
        }
    }

    fn endings(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endings = results::endings(&self.results, self.max_turns);
        labelled(out, "", &format!("{} in all. {endings}", count(self.messages, "message")))
    }

    fn closing(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = f64::from(self.conversations) / seconds;
        writeln!(out, "Took {seconds:.2} s: {rate:.0} conversations a second over HTTP.")?;
        writeln!(
            out,
            "Repeat this run: onerun demo --conversations {} --seed {}",
            self.conversations, self.seed
        )?;
        if let Some((directory, simulation)) = &self.kept {
            let directory = plain(&directory.display().to_string());
            writeln!(out, "Serve its data (simulation {simulation}): onerun serve --data {directory}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, persona, evaluation, lines, left_out: (before, after) } = self;
        labelled(out, "", &format!("From conversation {seq}. {persona}"))?;
        writeln!(out)?;
        if *before > 0 {
            writeln!(out, "           ({} before)", count(*before as u64, "message"))?;
        }
        for (role, text) in lines {
            results::message(out, *role, text)?;
        }
        if *after > 0 {
            writeln!(out, "           ({} after)", count(*after as u64, "message"))?;
        }
        let Some(EvaluationText { objective, outcome, reason, quote }) = evaluation else { return Ok(()) };
        writeln!(out)?;
        results::evaluation(out, objective, results::outcome(*outcome), reason)?;
        quote.iter().try_for_each(|quote| results::quote(out, quote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = r#"{
        "simulation_id": "s", "status": "completed",
        "overall": {"evaluated": 20, "passed": 13, "failed": 6, "inconclusive": 1, "mean_score": 0.8,
            "pass_rate": 0.65, "pass_rate_interval": {"low": 0.433, "high": 0.819}},
        "objectives": [
            {"objective_id": "a", "version": 1, "name": "Looks the order up", "evaluated": 20, "passed": 20,
             "failed": 0, "inconclusive": 0, "mean_score": 1.0, "pass_rate": 1.0,
             "pass_rate_interval": {"low": 0.839, "high": 1.0}},
            {"objective_id": "b", "version": 1, "name": "Is kind", "evaluated": 20, "passed": 0, "failed": 0,
             "inconclusive": 20, "mean_score": null, "pass_rate": 0.0,
             "pass_rate_interval": {"low": 0.0, "high": 0.161}},
            {"objective_id": "d", "version": 1, "name": "Comes too late", "evaluated": 0, "passed": 0, "failed": 0,
             "inconclusive": 0, "mean_score": null, "pass_rate": null, "pass_rate_interval": null},
            {"objective_id": "c", "version": 3,
             "name": "Says what it did for the customer, in words that the customer used before",
             "evaluated": 20, "passed": 19, "failed": 1, "inconclusive": 0, "mean_score": 0.95,
             "pass_rate": 0.95, "pass_rate_interval": {"low": 0.764, "high": 0.991}}],
        "conversations": {"target": 20, "queued": 0, "in_progress": 0, "ended": 19, "failed": 1, "retried": 1},
        "endings": {"persona_ended": 15, "agent_ended": 1, "turn_limit": 3},
        "evaluations": {"pending": 0, "in_progress": 0, "completed": 20, "failed": 0, "not_applicable": 0},
        "failures": {"lease_expired": 1, "stopped": 0, "evaluations": 0, "last_failure_reason": null}
    }"#;

    const CONVERSATION: &str = r#"{
        "id": "c", "simulation_id": "s", "seq_id": 3, "status": "ended", "attempt": 1, "item_count": 9,
        "end_reason": "persona_decided", "evaluation_status": "completed",
        "persona": {"id": "p", "seq_id": 1, "summary": "A retired teacher who writes long messages.",
            "story": "", "purpose": ""},
        "evaluations": [
            {"objective": {"id": "a", "version": 1, "name": "Looks the order up", "criteria": ""},
             "outcome": "passed", "score": 1.0, "reason": "it did", "quotes": [], "judge": "checks"},
            {"objective": {"id": "b", "version": 1, "name": "Promises no dates", "criteria": ""},
             "outcome": "failed", "score": 0.0, "reason": "the agent says /guaranteed?\\b/i",
             "quotes": [{"item_id": "i5", "text": "guaranteed"}],
             "judge": "checks"}]
    }"#;

    fn items(number: usize) -> Vec<Item> {
        (0..number)
            .map(|nth| {
                let role = if nth % 2 == 0 { "user" } else { "assistant" };
                let text = "words that go on and on ".repeat(nth % 3 * 3 + 1);
                serde_json::from_str(&format!(
                    r#"{{"id": "i{nth}", "role": "{role}", "content": [{{"type": "text", "text": "{nth}: {text}"}}]}}"#
                ))
                .unwrap()
            })
            .collect()
    }

    fn report() -> Report {
        Report {
            scenario: "A customer wants to know what was done about an order, and when; there is not much time left.",
            agent: "Support",
            max_turns: 20,
            seed: 7,
            conversations: 20,
            personas: 10,
            model: None,
            messages: 142,
            results: serde_json::from_str(RESULTS).unwrap(),
            excerpt: Some(Excerpt::new(serde_json::from_str(CONVERSATION).unwrap(), &items(9))),
            elapsed: Duration::from_millis(1_250),
            kept: Some((PathBuf::from("kept"), "AbCdEf".to_owned())),
        }
    }

    #[test]
    fn report_shows_results_and_an_excerpt() {
        insta::assert_snapshot!(report().to_string().replace(BY_HAND, "(by hand)\n"), @r#"
        OneRun demo: 20 conversations, 10 scripted personas (offline), seed 7

        Scenario  A customer wants to know what was done about an order, and when; there
                  is not much time left.
        Agent     Support, a small built-in agent that makes mistakes

                                                                incon-        pass rate
        Objective                               passed  failed  clusive  (95% interval)
        --------------------------------------------------------------------------------
        Looks the order up                          20       0        0   100% (84-100%)
        Is kind                                      0       0       20       not judged
        Comes too late                               0       0        0       no results
        Says what it did for the customer, in       19       1        0     95% (76-99%)
        words that the customer used before
        --------------------------------------------------------------------------------
        Each conversation as a whole                13       6        1     65% (43-82%)

        142 messages in all. Conversations ended by the persona: 15, by the agent: 1, by
        the limit of 20 messages: 3. Failed: 1.

        From conversation 3. A retired teacher who writes long messages.

                   (2 messages before)
          persona  2: words that go on and on words that go on and on words that go on
                   and on words that go on and on words that go on and on words that go
                   on and on words that go on and on
          agent    3: words that go on and on
          persona  4: words that go on and on words that go on and on words that go on
                   and on words that go on and on
          agent    5: words that go on and on words that go on and on words that go on
                   and on words that go on and on words that go on and on words that go
                   on and on words that go on and on
          persona  6: words that go on and on
          agent    7: words that go on and on words that go on and on words that go on
                   and on words that go on and on
                   (1 message after)

          result   Promises no dates: failed, because the agent says /guaranteed?\b/i
          quote    "guaranteed"

        (by hand)

        --- Each run differs below this line -------------------------------------------
        Took 1.25 s: 16 conversations a second over HTTP.
        Repeat this run: onerun demo --conversations 20 --seed 7
        Serve its data (simulation AbCdEf): onerun serve --data kept
        "#);
    }

    #[test]
    fn report_lines_fit_a_terminal() {
        for line in report().to_string().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn conversation_without_evaluations_or_messages_is_shown() {
        let mut conversation: Conversation = serde_json::from_str(CONVERSATION).unwrap();
        conversation.evaluations.clear();
        let text = Excerpt::new(conversation, &[]).to_string();
        assert_eq!(text, "From conversation 3. A retired teacher who writes long messages.\n\n");
    }
}
