//! Each mistake of a plan, of data and of a baseline.

use super::*;
use crate::{PlannedCase, Trial};

#[track_caller]
fn assert_config(plan: &Plan, runs: &[CaseRun], baseline: Option<&Report>, reason: &str) {
    let report = evaluate(plan, runs, baseline, now());
    assert_eq!(report.verdict, Verdict::Config, "{:?}", report.reasons);
    assert!(!report.complete || report.gates.iter().any(|gate| gate.status == GateStatus::Config));
    assert!(report.reasons.iter().any(|found| found.contains(reason)), "{:?}", report.reasons);
}

#[track_caller]
fn assert_wrong_plan(plan: &Plan, reason: &str) {
    let runs: Vec<CaseRun> = plan
        .cases
        .iter()
        .filter(|case| case.personas > 0)
        .take(1)
        .map(|case| run(case, |_, _| Passed))
        .collect();
    assert_config(plan, &runs, None, reason);
}

#[test]
fn plan_needs_cases_trials_personas_and_objectives() {
    let one = |change: fn(&mut PlannedCase)| {
        let mut wrong = case("refund", 4, 2);
        change(&mut wrong);
        plan(vec![wrong], Vec::new())
    };
    assert_wrong_plan(&plan(Vec::new(), Vec::new()), "the plan has no case");
    assert_wrong_plan(&one(|case| case.trials = 0), "case `refund` has no trial");
    assert_wrong_plan(&one(|case| case.personas = 0), "case `refund` has no persona");
    assert_wrong_plan(&one(|case| case.objectives.clear()), "case `refund` has no objective");
    assert_wrong_plan(
        &one(|case| case.objectives[1] = case.objectives[0].clone()),
        "two objectives with the key",
    );
    assert_wrong_plan(
        &plan(vec![case("a", 1, 1), case("a", 1, 1)], Vec::new()),
        "two cases have the key `a`",
    );
    let huge = plan(vec![PlannedCase { trials: u32::MAX, ..case("refund", 1, 1) }], Vec::new());
    assert_config(&huge, &[], None, "more than 10000");
    let wide = plan((0..60).map(|number| case(&number.to_string(), 10_000, 1)).collect(), Vec::new());
    assert_config(&wide, &[], None, "more than 1000000");
}

#[test]
fn gate_about_something_unknown_is_refused() {
    let one = |gate| plan(vec![case("refund", 4, 2)], vec![gate]);
    let of = |of| Gate::PassRate { of, min: 0.5, on: Basis::Rate };
    assert_wrong_plan(&one(of(Subject::Objective("x".into()))), "no case has the objective `x`");
    assert_wrong_plan(&one(of(Subject::Scenario("x".into()))), "no case has the scenario `x`");
    assert_wrong_plan(&one(no_regression(Against::Agent("x".into()))), "no case is about agent `x`");
}

#[test]
fn gate_that_cannot_fail_or_pass_is_refused() {
    let one = |gate| plan(vec![case("refund", 4, 2)], vec![gate]);
    for min in [0.0, -0.1, 1.1, f64::NAN] {
        assert_wrong_plan(&one(rate(min)), "the minimum must be above 0 and at most 1");
    }
    let power = |k, min| Gate::PassPower { of: Subject::All, k, min };
    assert_wrong_plan(&one(power(2, 0.0)), "the minimum must be above 0");
    assert_wrong_plan(&one(power(0, 0.5)), "k must be at least 1");
    assert_wrong_plan(&one(power(3, 0.5)), "plan at least 6 trials for 2 personas");
    let significant = |alpha| Gate::NoRegression {
        against: Against::Baseline,
        mode: RegressionMode::Significant { alpha },
    };
    for alpha in [0.0, 1.0, f64::NAN] {
        assert_wrong_plan(&one(significant(alpha)), "alpha must be between 0 and 1");
    }
    let bound = Gate::PassRate { of: Subject::All, min: 0.9, on: Basis::LowerBound };
    assert_wrong_plan(&one(bound), "plan at least 35 trials");
}

#[test]
fn too_few_pairs_for_significance_are_refused() {
    let cases = vec![case_of("old", "refund", 6, 6), case_of("new", "refund", 6, 6)];
    let plan = plan(cases, vec![super::significant(Against::Agent("old".into()))]);
    assert_config(&plan, &passed(&plan), None, "plan at least 7 trials");
}

#[test]
fn quarantine_of_everything_or_of_something_unknown_is_refused() {
    let day = date(2026, 12, 31);
    let mut all = plan(vec![case("refund", 1, 1)], Vec::new());
    all.quarantine = vec![quarantine("refund", None, day)];
    assert_config(&all, &passed(&all), None, "it covers no trial that counts");
    all.quarantine =
        vec![quarantine("refund", Some("polite"), day), quarantine("refund", Some("solved"), day)];
    assert_config(&all, &passed(&all), None, "it covers no trial that counts");
    all.quarantine = vec![quarantine("x", None, day)];
    assert_wrong_plan(&all, "the quarantine of case `x` has no such case");
    all.quarantine = vec![quarantine("refund", Some("x"), day)];
    assert_wrong_plan(&all, "the quarantine of objective `x` in case `refund` has no such objective");
}

#[test]
fn agents_that_cannot_be_compared_are_refused() {
    let gates = vec![no_regression(Against::Agent("old".into()))];
    let plan = |cases| plan(cases, gates.clone());
    let new = case_of("new", "refund", 4, 2);
    let more = plan(vec![case_of("old", "refund", 6, 2), new.clone()]);
    assert_wrong_plan(&more, "need the same trials, personas and objectives");
    let missing = plan(vec![case_of("old", "order", 4, 2), new.clone()]);
    assert_wrong_plan(&missing, "agent `old` has no case for the scenario of case `refund@new`");
    let mut twice = case_of("old", "refund", 4, 2);
    twice.key = "second".into();
    assert_wrong_plan(&plan(vec![case_of("old", "refund", 4, 2), twice, new]), "has two cases");
    let alone = plan(vec![case_of("old", "refund", 4, 2)]);
    assert_wrong_plan(&alone, "no agent has a gate");
}

#[test]
fn data_outside_the_plan_or_twice_is_refused() {
    let plan = plan(vec![case("refund", 2, 2), case("order", 2, 2)], Vec::new());
    let assert_wrong = |change: fn(&mut Vec<CaseRun>), reason: &str| {
        let mut runs = passed(&plan);
        change(&mut runs);
        assert_config(&plan, &runs, None, reason);
    };
    let last = |runs: &mut Vec<CaseRun>| -> Trial { runs[0].trials[1].clone() };
    assert_wrong(|runs| runs[0].case = "x".into(), "results of case `x`, which is not planned");
    assert_wrong(|runs| runs.push(runs[0].clone()), "two sets of results of case `refund`");
    assert_wrong(|runs| runs[1].simulation_id = runs[0].simulation_id.clone(), "is given for two cases");
    assert_wrong(|runs| runs[0].trials[0].number = 3, "trial 3 of case `refund` is not planned");
    assert_wrong(|runs| runs[0].trials[0].number = 0, "trial 0 of case `refund` is not planned");
    assert_wrong(|runs| runs[0].trials[0].evaluations[0].objective = "x".into(), "an evaluation of `x`");
    assert_wrong(
        |runs| {
            let again = runs[0].trials[0].evaluations[0].clone();
            runs[0].trials[0].evaluations.push(again);
        },
        "has two evaluations of `polite`",
    );
    let mut runs = passed(&plan);
    let copy = last(&mut runs);
    runs[0].trials.push(copy);
    assert_config(&plan, &runs, None, "trial 2 of case `refund` is there twice");
    assert_config(&plan, &runs, None, "has the conversation of another trial");
}

#[test]
fn baseline_that_lost_a_part_or_does_not_fit_is_refused() {
    let two = |gates| plan(vec![case("refund", 2, 2), case("order", 2, 2)], gates);
    let gated = two(vec![no_regression(Against::Baseline)]);
    let runs = passed(&gated);
    assert_config(&gated, &runs, None, "there is no baseline");
    let whole = evaluate(&two(Vec::new()), &runs, None, now());
    assert_eq!(evaluate(&gated, &runs, Some(&whole), now()).verdict, Verdict::Pass);

    let assert_wrong = |change: fn(&mut Report), reason: &str| {
        let mut baseline = whole.clone();
        change(&mut baseline);
        assert_config(&gated, &runs, Some(&baseline), reason);
    };
    assert_wrong(|baseline| baseline.version = 2, "version 2 of the format");
    assert_wrong(|baseline| baseline.verdict = Verdict::Config, "the verdict `config`");
    assert_wrong(|baseline| baseline.complete = false, "the baseline is incomplete");
    assert_wrong(|baseline| _ = baseline.cases.pop(), "lost a part of its cases");
    assert_wrong(|baseline| _ = baseline.cases[0].trials.pop(), "lost a part of case `refund`");
    assert_wrong(|baseline| _ = baseline.cases[0].objectives.pop(), "lost a part of its cases");
    assert_wrong(
        |baseline| _ = baseline.cases[0].trials[0].evaluations.pop(),
        "lost a part of case `refund`",
    );
    assert_wrong(|baseline| baseline.cases[1].key = "refund".into(), "lost a part of case `refund`");
    let infra =
        |baseline: &mut Report| baseline.cases[0].trials[0].evaluations[0].outcome = TrialOutcome::Infra;
    assert_wrong(infra, "lost a part of case `refund`");

    let smaller = |cases| plan(cases, gated.gates.clone());
    let less = smaller(vec![case("refund", 2, 2)]);
    assert_config(&less, &passed(&less), Some(&whole), "case `order` of the baseline is not planned");
    let fewer = smaller(vec![case("refund", 1, 1), case("order", 2, 2)]);
    assert_config(&fewer, &passed(&fewer), Some(&whole), "has 2 trials, but 1 are planned");
    let mut narrower = smaller(vec![case("refund", 2, 2), case("order", 2, 2)]);
    narrower.cases[0].objectives.pop();
    assert_config(
        &narrower,
        &passed(&narrower),
        Some(&whole),
        "objective `solved` of case `refund` is in the baseline",
    );
}

#[test]
fn case_that_the_baseline_does_not_have_is_named() {
    let baseline = {
        let plan = plan(vec![case("refund", 1, 1)], Vec::new());
        evaluate(&plan, &passed(&plan), None, now())
    };
    let wider = plan(vec![case("refund", 1, 1), case("order", 1, 1)], vec![no_regression(Against::Baseline)]);
    let report = evaluate(&wider, &passed(&wider), Some(&baseline), now());
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!(report.reasons, ["case `order` is new: the baseline does not have it"]);
}
