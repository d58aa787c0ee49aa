use onerun_domain::Outcome::{self, Failed, Inconclusive, Passed};

use super::*;
use crate::{
    TrialEnd,
    fixtures::{case, now, run},
};

/// A simulation of 20 conversations in which `outcome` decides the objective `solved`; `polite` passed.
fn side(name: &str, outcome: impl Fn(u32) -> Outcome) -> Side {
    let planned = case("refund", 20, 20);
    let mut run = run(&planned, |number, place| if place == 1 { outcome(number) } else { Passed });
    run.simulation_id = name.into();
    for trial in &mut run.trials {
        trial.conversation_id = format!("{name}-{}", trial.number);
    }
    Side {
        name: name.into(),
        agent: name.into(),
        scenario: planned.scenario,
        judge: "offline".into(),
        objectives: planned
            .objectives
            .into_iter()
            .map(|objective| SideObjective { id: objective.key, version: 1, name: objective.name })
            .collect(),
        trials: 20,
        personas: 20,
        run,
    }
}

#[test]
fn pairs_are_fixed_broken_or_unchanged() {
    let before = side("old", |number| if number <= 2 { Failed } else { Passed });
    let after = side("new", |number| match number {
        2 | 3 => Failed,
        4 => Inconclusive,
        _ => Passed,
    });
    let found = compare(&before, &after, now());
    let solved = &found.objectives[1];
    let ComparedTrials { fixed, broken, still_passed, still_not_passed, unpaired, p_value } = solved.trials;
    assert_eq!((fixed, broken, still_passed, still_not_passed, unpaired), (1, 2, 16, 1, 0));
    assert!((p_value - 1.0).abs() < 1e-12);
    assert_eq!(found.overall, solved.trials);
    assert_eq!(found.verdict, Verdict::Pass);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let numbers: Vec<u32> = found.changed.iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, [3, 4, 1], "broken ones first");
    assert_eq!(found.changed[0].broken, ["solved"]);
    assert_eq!(found.changed[0].before_conversation_id, "old-3");
    assert_eq!((found.before.counts.failed, found.after.counts.failed), (2, 2));
}

#[test]
fn significant_regression_is_the_verdict() {
    let before = side("old", |_| Passed);
    for (broken, expected) in [(6, Verdict::Pass), (7, Verdict::Fail)] {
        let after = side("new", |number| if number <= broken { Failed } else { Passed });
        let found = compare(&before, &after, now());
        assert_eq!(found.verdict, expected, "{}", found.detail);
        let improved = compare(&after, &before, now());
        assert_eq!(improved.verdict, Verdict::Pass, "an improvement is no regression");
    }
    let after = side("new", |number| if number <= 7 { Failed } else { Passed });
    let corrected = compare(&before, &after, now()).objectives[1].corrected_p_value;
    assert!((corrected - 2.0 * 0.015_625).abs() < 1e-12, "{corrected}");
}

#[test]
fn conversations_without_a_counterpart_are_unpaired() {
    let before = side("old", |_| Passed);
    let mut after = side("new", |_| Passed);
    after.run.trials[0].persona_key = Some("somebody else".into());
    after.run.trials[1].end = TrialEnd::Unfinished;
    after.run.trials.remove(2);
    let found = compare(&before, &after, now());
    assert_eq!((found.overall.still_passed, found.overall.unpaired), (17, 3));
    assert_eq!(found.warnings, ["1 conversations have different personas and are no pairs"]);

    let mut shorter = side("new", |_| Passed);
    shorter.trials = 12;
    shorter.run.trials.truncate(12);
    let found = compare(&before, &shorter, now());
    assert_eq!((found.overall.still_passed, found.overall.unpaired), (12, 8));
}

#[test]
fn different_personas_are_no_comparison() {
    let before = side("old", |_| Passed);
    let mut after = side("new", |_| Passed);
    for trial in &mut after.run.trials {
        trial.persona_key = None;
    }
    let found = compare(&before, &after, now());
    assert_eq!(found.verdict, Verdict::Config);
    assert_eq!(found.overall.unpaired, 20);
    assert!(found.changed.is_empty());
}

#[test]
fn missing_results_leave_a_regression_undecided() {
    let before = side("old", |_| Passed);
    let mut after = side("new", |number| if number <= 6 { Failed } else { Passed });
    after.run.trials[6].end = TrialEnd::Infra("the worker crashed".into());
    assert_eq!(compare(&before, &after, now()).verdict, Verdict::Infra);
    after.run.trials[6].end = TrialEnd::Judged;
    after.run.trials[6].evaluations[1].outcome = Inconclusive;
    assert_eq!(compare(&before, &after, now()).verdict, Verdict::Inconclusive);
}

#[test]
fn differences_of_the_simulations_are_named() {
    let before = side("old", |_| Passed);
    let mut after = side("new", |_| Passed);
    after.scenario = "Another one.".into();
    after.judge = "openai:another".into();
    after.objectives[0].version = 2;
    after.objectives[1].id = "other".into();
    after.run.trials.iter_mut().for_each(|trial| trial.evaluations[1].objective = "other".into());
    let found = compare(&before, &after, now());
    assert_eq!(
        found.warnings,
        [
            "the scenarios differ",
            "the judges differ: `offline` and `openai:another`",
            "the objective `Stays polite` was judged at version 1 and at version 2",
            "only the later simulation has the objective `Solves the problem`",
            "only the earlier simulation has the objective `Solves the problem`",
        ]
    );
    assert_eq!(found.objectives.len(), 1);
    after.objectives.remove(0);
    let nothing = compare(&before, &after, now());
    assert_eq!(nothing.verdict, Verdict::Config);
    assert!(nothing.detail.contains("has no objective"), "{}", nothing.detail);
}

#[test]
fn changed_conversations_are_bounded() {
    let long = |name: &str, outcome: Outcome| {
        let planned = case("refund", 150, 150);
        let mut run = run(&planned, |_, _| outcome);
        run.simulation_id = name.into();
        for trial in &mut run.trials {
            trial.conversation_id = format!("{name}-{}", trial.number);
        }
        Side { trials: 150, run, ..side(name, |_| outcome) }
    };
    let found = compare(&long("old", Passed), &long("new", Failed), now());
    assert_eq!((found.changed.len(), found.changed_left_out), (MAX_CHANGED, 50));
    assert_eq!(found.verdict, Verdict::Fail);
}

#[test]
fn simulation_is_not_compared_with_itself() {
    let one = side("old", |_| Passed);
    let found = compare(&one, &one, now());
    assert_eq!(found.verdict, Verdict::Config);
    assert!(found.detail.contains("is given for two cases"), "{}", found.detail);
}
