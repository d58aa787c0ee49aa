//! The trials of a large case, in bounded memory.

use std::collections::{BTreeSet, BinaryHeap};

use onerun_domain::Outcome;

use crate::{
    Report, Trial, TrialEnd, TrialEvaluation,
    severity::{Severity, worst_first},
    text::cut,
};

/// The maximum size of all reasons and quotes of a report, in bytes of JSON.
pub(crate) const MAX_REASON_BYTES: usize = 512 * 1024;

/// Maximum numbers of characters.
const MAX_REASON: usize = 2_000;
const MAX_QUOTE: usize = 500;
pub(crate) const MAX_SUMMARY: usize = 300;
pub(crate) const MAX_FAILURE: usize = 500;

/// The maximum number of quotes of an evaluation.
const MAX_QUOTES: usize = 5;

/// Collects the trials of a case as they are read. Reasons and quotes that a report would leave out are dropped at
/// once: of evaluations that passed, and of the mildest trials when all of them are too long. Together they never take
/// much more than half a mebibyte.
#[derive(Debug, Default)]
pub struct Trials {
    all: Vec<Trial>,
    /// The trials with reasons or quotes, the mildest on top.
    with_text: BinaryHeap<(Severity, usize)>,
    text_bytes: usize,
}

impl Trials {
    /// Adds a trial.
    pub fn push(&mut self, mut trial: Trial) {
        let is_judged = trial.end == TrialEnd::Judged;
        trial.persona_summary = cut(&trial.persona_summary, MAX_SUMMARY);
        if let TrialEnd::Infra(why) = &mut trial.end {
            *why = cut(why, MAX_FAILURE);
        }
        for evaluation in &mut trial.evaluations {
            if is_judged && evaluation.outcome != Outcome::Passed {
                *evaluation = evaluation.shortened();
            } else {
                evaluation.drop_text();
            }
        }
        let bytes = text_size(&trial);
        if bytes > 0 {
            self.text_bytes += bytes;
            self.with_text.push((trial.severity(), self.all.len()));
        }
        self.all.push(trial);
        while self.text_bytes > MAX_REASON_BYTES
            && let Some((_, mildest)) = self.with_text.pop()
        {
            self.text_bytes -= text_size(&self.all[mildest]);
            self.all[mildest].evaluations.iter_mut().for_each(TrialEvaluation::drop_text);
        }
    }

    /// The number of trials.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no trial.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The trials, in the order in which they were added.
    pub fn into_vec(self) -> Vec<Trial> {
        self.all
    }
}

fn text_size(trial: &Trial) -> usize {
    trial.evaluations.iter().map(TrialEvaluation::text_size).sum()
}

impl TrialEvaluation {
    /// The evaluation with a reason and quotes of bounded length. Texts that are cut end with `…`.
    pub(crate) fn shortened(&self) -> Self {
        Self {
            objective: self.objective.clone(),
            outcome: self.outcome,
            score: self.score,
            reason: cut(&self.reason, MAX_REASON),
            quotes: self.quotes.iter().take(MAX_QUOTES).map(|quote| cut(quote, MAX_QUOTE)).collect(),
        }
    }

    pub(crate) fn has_no_text(&self) -> bool {
        self.reason.is_empty() && self.quotes.is_empty()
    }

    fn drop_text(&mut self) {
        self.reason = String::new();
        self.quotes = Vec::new();
    }

    /// The size of the reason and the quotes, in bytes of JSON.
    pub(crate) fn text_size(&self) -> usize {
        json_size(&self.reason) + self.quotes.iter().map(|quote| json_size(quote) + 3).sum::<usize>()
    }
}

/// The size of a text in JSON, in bytes.
fn json_size(text: &str) -> usize {
    text.chars()
        .map(|character| match character {
            '"' | '\\' => 2,
            '\0'..='\x1f' => 6,
            _ => character.len_utf8(),
        })
        .sum()
}

impl Report {
    /// The number of trials that are not left out.
    pub fn trials(&self) -> usize {
        self.cases.iter().map(|case| case.trials.len()).sum()
    }

    /// Leaves out all trials but this many of the worst. Verdict, counts and rates stay.
    pub fn keep_worst(&mut self, trials: usize) {
        let kept: BTreeSet<(usize, usize)> = worst_first(self).into_iter().take(trials).collect();
        for (place, case) in self.cases.iter_mut().enumerate() {
            let all = case.trials.len();
            let mut trial = 0..all;
            case.trials.retain(|_| trial.next().is_some_and(|trial| kept.contains(&(place, trial))));
            case.trials_left_out += u64::try_from(all - case.trials.len()).unwrap_or(u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use onerun_domain::Outcome::{Failed, Inconclusive, Passed};

    use super::*;
    use crate::{
        CaseRun, TrialOutcome, TrialReport, Verdict, evaluate,
        fixtures::{case, now, plan, run},
    };

    fn collected(run: CaseRun) -> CaseRun {
        let mut trials = Trials::default();
        run.trials.into_iter().for_each(|trial| trials.push(trial));
        CaseRun { trials: trials.into_vec(), ..run }
    }

    #[test]
    fn collected_trials_keep_the_words_about_the_worst() {
        let plan = plan(vec![case("refund", 400, 20)], Vec::new());
        let outcomes = [Passed, Failed, Inconclusive];
        let mut run = run(&plan.cases[0], |number, place| outcomes[(number as usize + place) % 3]);
        for trial in &mut run.trials {
            trial.persona_summary = "ö".repeat(400);
            for evaluation in &mut trial.evaluations {
                evaluation.score = Some(f64::from(trial.number % 7) / 7.0);
                evaluation.reason = format!("{}\n", trial.number).repeat(1_000);
                evaluation.quotes = vec!["\"".repeat(900); 9];
            }
        }
        run.trials[3].end = TrialEnd::Infra("x".repeat(900));
        run.trials[4].end = TrialEnd::Unfinished;
        let whole = evaluate(&plan, &[run.clone()], None, now());
        let bounded = collected(run);
        let bytes: usize = bounded.trials.iter().map(text_size).sum();
        assert!((MAX_REASON_BYTES / 2..=MAX_REASON_BYTES).contains(&bytes), "{bytes}");
        let report = evaluate(&plan, &[bounded], None, now());
        assert_eq!(
            (report.counts, &report.gates, &report.reasons),
            (whole.counts, &whole.gates, &whole.reasons)
        );
        let (worst, expected) = (report.cases[0].worst_first(), whole.cases[0].worst_first());
        let described = |trials: &[&TrialReport]| {
            trials
                .iter()
                .take_while(|trial| {
                    trial
                        .evaluations
                        .iter()
                        .all(|one| one.outcome == TrialOutcome::Passed || one.reason.is_some())
                })
                .count()
        };
        let count = described(&worst);
        assert!(count > 20, "{count}");
        assert_eq!(worst[..count - 1], expected[..count - 1]);
        assert!(report.reasons_left_out > 0);
        assert!(report.reasons_left_out.abs_diff(whole.reasons_left_out) <= 2);
    }

    #[test]
    fn shortened_report_keeps_the_worst_trials_and_all_counts() {
        let plan = plan(vec![case("refund", 30, 30), case("order", 30, 30)], Vec::new());
        let failed = |number: u32, _| if number == 17 || number == 3 { Failed } else { Passed };
        let runs = [run(&plan.cases[0], failed), run(&plan.cases[1], failed)];
        let whole = evaluate(&plan, &runs, None, now());
        let mut report = whole.clone();
        report.keep_worst(3);
        let kept = |case: usize| -> Vec<u32> {
            report.cases[case].trials.iter().map(|trial| trial.number).collect()
        };
        assert_eq!((kept(0), kept(1), report.trials()), (vec![3, 17], vec![3], 3));
        assert_eq!((report.cases[0].trials_left_out, report.cases[1].trials_left_out), (28, 29));
        assert_eq!(
            (report.counts, &report.gates, report.verdict),
            (whole.counts, &whole.gates, Verdict::Fail)
        );
        for text in [crate::render::markdown(&report), crate::render::html(&report)] {
            assert!(
                text.contains("1 more did not pass") || text.contains("1 conversation that did not pass")
            );
        }
        let junit = crate::render::junit(&report);
        assert!(junit.contains("<system-out>28 conversations are left out.</system-out>"), "{junit}");
        report.keep_worst(0);
        assert_eq!((report.trials(), report.cases[0].trials_left_out), (0, 30));
    }
}
