use jiff::civil::date;
use onerun_domain::Outcome::{self, Failed, Inconclusive, Passed};

use super::*;
use crate::{
    RegressionMode, TrialEnd,
    fixtures::{case, case_of, now, passed, plan, quarantine, run},
};

mod config;
mod mutations;

fn rate(min: f64) -> Gate {
    Gate::PassRate { of: Subject::All, min, on: Basis::Rate }
}

fn no_regression(against: Against) -> Gate {
    Gate::NoRegression { against, mode: RegressionMode::EachTrial }
}

fn significant(against: Against) -> Gate {
    Gate::NoRegression { against, mode: RegressionMode::Significant { alpha: 0.05 } }
}

fn verdict_of(plan: &Plan, runs: &[CaseRun]) -> Verdict {
    evaluate(plan, runs, None, now()).verdict
}

/// Results of one case with these outcomes of the objective `solved`, by trial; `polite` passed.
fn solved(plan: &Plan, outcomes: &[Outcome]) -> Vec<CaseRun> {
    let place = |number: u32| usize::try_from(number).unwrap() - 1;
    let outcome = |number, objective| if objective == 1 { outcomes[place(number)] } else { Passed };
    vec![run(&plan.cases[0], outcome)]
}

#[test]
fn running_simulation_never_passes() {
    let plan = plan(vec![case("refund", 4, 4)], vec![rate(0.5)]);
    let mut runs = passed(&plan);
    for status in ["pending", "in_progress", "", "a new word"] {
        runs[0].status = status.into();
        let report = evaluate(&plan, &runs, None, now());
        assert_eq!((report.verdict, report.complete), (Verdict::Infra, false), "{status}");
        assert!(report.reasons[0].contains("is not over"), "{:?}", report.reasons);
        assert_eq!(report.gates[0].status, GateStatus::Passed);
    }
    for status in ["completed", "failed", "canceled", "expired"] {
        runs[0].status = status.into();
        assert_eq!(evaluate(&plan, &runs, None, now()).verdict, Verdict::Pass, "{status}");
    }
    runs[0] = run(&plan.cases[0], |_, _| Failed);
    runs[0].status = "in_progress".into();
    assert_eq!(evaluate(&plan, &runs, None, now()).verdict, Verdict::Fail, "whatever follows");
}

#[test]
fn verdicts_have_words_and_exit_codes() {
    let all = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Infra, Verdict::Config];
    assert_eq!(all.map(Verdict::as_str), ["pass", "fail", "inconclusive", "infra", "config"]);
    assert_eq!(all.map(Verdict::exit_code), [0, 1, 2, 3, 4]);
    for verdict in all {
        assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
    }
}

#[test]
fn plan_without_gates_needs_every_trial_to_pass() {
    let plan = plan(vec![case("refund", 2, 1)], Vec::new());
    let report = evaluate(&plan, &passed(&plan), None, now());
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(report.complete && report.reasons.is_empty(), "{:?}", report.reasons);
    assert_eq!(verdict_of(&plan, &solved(&plan, &[Passed, Failed])), Verdict::Fail);
    assert_eq!(verdict_of(&plan, &solved(&plan, &[Passed, Inconclusive])), Verdict::Inconclusive);
    let mut runs = passed(&plan);
    runs[0].trials[1].end = TrialEnd::Infra("the worker crashed".into());
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!(report.verdict, Verdict::Infra);
    assert!(!report.complete);
    assert!(
        report.reasons[1].contains("1 of 2 trials not held or not judged, the first: the worker crashed")
    );
}

#[test]
fn missing_results_decide_only_if_they_could_change_the_gate() {
    let plan = plan(vec![case("refund", 10, 10)], vec![rate(0.8)]);
    let outcomes = |failed: usize, missing: usize| {
        let mut outcomes = [Passed; 10];
        outcomes[..failed].fill(Failed);
        outcomes[failed..failed + missing].fill(Inconclusive);
        solved(&plan, &outcomes)
    };
    for (failed, missing, expected) in [
        (2, 0, Verdict::Pass),
        (0, 2, Verdict::Pass),
        (1, 1, Verdict::Pass),
        (1, 2, Verdict::Inconclusive),
        (0, 10, Verdict::Inconclusive),
        (3, 0, Verdict::Fail),
        (3, 7, Verdict::Fail),
    ] {
        let mut runs = outcomes(failed, missing);
        assert_eq!(verdict_of(&plan, &runs), expected, "{failed} failed, {missing} inconclusive");
        for trial in &mut runs[0].trials[failed..failed + missing] {
            trial.end = TrialEnd::Unfinished;
        }
        let expected = if expected == Verdict::Inconclusive { Verdict::Infra } else { expected };
        assert_eq!(verdict_of(&plan, &runs), expected, "{failed} failed, {missing} unfinished");
    }
}

#[test]
fn evaluations_of_an_infra_trial_do_not_count() {
    let plan = plan(vec![case("refund", 4, 4)], vec![rate(0.5)]);
    let mut runs = solved(&plan, &[Passed, Passed, Failed, Failed]);
    for trial in &mut runs[0].trials[2..] {
        trial.end = TrialEnd::Infra("critical fault of the persona".into());
    }
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!((report.counts.passed, report.counts.failed, report.counts.infra), (2, 0, 2));
    let rate = report.rate.unwrap();
    assert_eq!((rate.passed, rate.judged, rate.low_evidence), (2, 2, true));
}

#[test]
fn lower_bound_is_compared_instead_of_the_rate() {
    let gate = |min| Gate::PassRate { of: Subject::All, min, on: Basis::LowerBound };
    let outcomes = [[Passed; 9].as_slice(), &[Failed]].concat();
    // The interval of 9 in 10 begins at 0.596.
    for (min, expected) in [(0.59, Verdict::Pass), (0.6, Verdict::Fail)] {
        let plan = plan(vec![case("refund", 10, 10)], vec![gate(min)]);
        assert_eq!(verdict_of(&plan, &solved(&plan, &outcomes)), expected);
    }
}

#[test]
fn objective_gate_ignores_other_objectives() {
    let gate = |key: &str| Gate::PassRate { of: Subject::Objective(key.into()), min: 1.0, on: Basis::Rate };
    for (key, expected) in [("polite", Verdict::Pass), ("solved", Verdict::Fail)] {
        let plan = plan(vec![case("refund", 2, 2)], vec![gate(key)]);
        assert_eq!(verdict_of(&plan, &solved(&plan, &[Passed, Failed])), expected);
    }
}

#[test]
fn scenario_gate_ignores_other_scenarios() {
    let gate = |key: &str| Gate::PassRate { of: Subject::Scenario(key.into()), min: 1.0, on: Basis::Rate };
    for (key, expected) in [("refund", Verdict::Fail), ("order", Verdict::Pass)] {
        let plan = plan(vec![case("refund", 1, 1), case("order", 1, 1)], vec![gate(key)]);
        let mut runs = passed(&plan);
        runs[0].trials[0].evaluations[0].outcome = Failed;
        assert_eq!(verdict_of(&plan, &runs), expected);
    }
}

#[test]
fn pass_power_counts_the_trials_of_each_persona() {
    // Trials 1, 3, 5, 7 belong to the first persona, which passes always; the second passes 2 of 4.
    let outcomes = [Passed, Passed, Passed, Failed, Passed, Passed, Passed, Failed];
    // (C(4,2)/C(4,2) + C(2,2)/C(4,2)) / 2 = 7/12
    for (min, expected) in [(0.58, Verdict::Pass), (0.59, Verdict::Fail)] {
        let gate = Gate::PassPower { of: Subject::All, k: 2, min };
        let plan = plan(vec![case("refund", 8, 2)], vec![gate]);
        let report = evaluate(&plan, &solved(&plan, &outcomes), None, now());
        assert_eq!(report.verdict, expected);
        assert_eq!(report.gates[0].detail, "pass^2 is 58.3% over 2 personas");
    }
}

#[test]
fn gates_hold_for_each_agent_alone() {
    let plan = plan(vec![case_of("old", "refund", 4, 4), case_of("new", "refund", 4, 4)], vec![rate(0.75)]);
    let mut runs = passed(&plan);
    for trial in &mut runs[1].trials[..2] {
        trial.evaluations[0].outcome = Failed;
    }
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!(report.verdict, Verdict::Fail, "both agents together would pass");
    assert_eq!(
        report.gates.iter().map(|gate| gate.status).collect::<Vec<_>>(),
        [GateStatus::Passed, GateStatus::Failed]
    );
    assert!(report.reasons[0].contains("for agent `new`"), "{:?}", report.reasons);
}

#[test]
fn agent_for_comparison_has_no_gates() {
    let cases = vec![case_of("old", "refund", 4, 4), case_of("new", "refund", 4, 4)];
    let plan = plan(cases, vec![rate(0.5), no_regression(Against::Agent("old".into()))]);
    let mut runs = passed(&plan);
    for trial in &mut runs[0].trials {
        trial.evaluations[0].outcome = Failed;
    }
    assert_eq!(verdict_of(&plan, &runs), Verdict::Pass);
    runs[1].trials[2].evaluations[1].outcome = Failed;
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.reasons[0].contains("`solved` of trial 3 of case `refund@new`"), "{:?}", report.reasons);
    assert!(report.gates.iter().all(|gate| gate.agent == "new"));
}

#[test]
fn missing_result_of_the_other_agent_leaves_a_failure_undecided() {
    let cases = vec![case_of("old", "refund", 1, 1), case_of("new", "refund", 1, 1)];
    let plan = plan(cases, vec![no_regression(Against::Agent("old".into()))]);
    let mut runs = passed(&plan);
    runs[0].trials.clear();
    assert_eq!(verdict_of(&plan, &runs), Verdict::Pass, "whatever the other agent did, this one passes");
    runs[1].trials[0].evaluations[0].outcome = Failed;
    assert_eq!(verdict_of(&plan, &runs), Verdict::Infra);
}

#[test]
fn baseline_fails_only_what_it_passed() {
    let plan = plan(vec![case("refund", 3, 3)], vec![no_regression(Against::Baseline)]);
    let baseline = evaluate(&plan, &solved(&plan, &[Passed, Failed, Inconclusive]), None, now());
    assert_eq!(baseline.verdict, Verdict::Config, "there is no baseline yet");
    let without_gate = Plan { gates: vec![rate(0.1)], ..plan.clone() };
    let baseline = evaluate(&without_gate, &solved(&plan, &[Passed, Failed, Inconclusive]), None, now());
    for (outcomes, expected) in [
        ([Passed, Failed, Failed], Verdict::Pass),
        ([Passed, Passed, Passed], Verdict::Pass),
        ([Failed, Passed, Passed], Verdict::Fail),
        ([Inconclusive, Passed, Passed], Verdict::Inconclusive),
    ] {
        let report = evaluate(&plan, &solved(&plan, &outcomes), Some(&baseline), now());
        assert_eq!(report.verdict, expected, "{:?}", report.reasons);
    }
}

#[test]
fn stored_baseline_is_the_report_that_was_stored() {
    let plan = plan(vec![case("refund", 3, 3)], vec![rate(0.1)]);
    let report = evaluate(&plan, &solved(&plan, &[Passed, Failed, Inconclusive]), None, now());
    let stored = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&stored).unwrap(), report);
}

#[test]
fn results_of_another_persona_are_no_pair() {
    let plan = plan(vec![case("refund", 2, 2)], vec![no_regression(Against::Baseline)]);
    let baseline = evaluate(&Plan { gates: Vec::new(), ..plan.clone() }, &passed(&plan), None, now());
    for key in [None, Some("another".to_owned())] {
        let mut runs = passed(&plan);
        runs[0].trials[1].persona_key = key;
        let report = evaluate(&plan, &runs, Some(&baseline), now());
        assert_eq!(report.verdict, Verdict::Config);
        assert!(report.reasons[0].contains("different or unknown personas"), "{:?}", report.reasons);
    }
}

#[test]
fn significant_regression_fails_and_chance_does_not() {
    let cases = vec![case_of("old", "refund", 20, 20), case_of("new", "refund", 20, 20)];
    let plan = plan(cases, vec![significant(Against::Agent("old".into()))]);
    // Two objectives: 7 of 7 (p 0.0156) is significant after Holm's correction, 6 of 6 (p 0.03125) is not.
    for (broken, expected) in [(6, Verdict::Pass), (7, Verdict::Fail)] {
        let mut runs = passed(&plan);
        for trial in &mut runs[1].trials[..broken] {
            trial.evaluations[1].outcome = Failed;
        }
        let report = evaluate(&plan, &runs, None, now());
        assert_eq!(report.verdict, expected, "{:?}", report.gates);
    }
    // The seventh could be broken or not.
    let mut runs = passed(&plan);
    for trial in &mut runs[1].trials[..6] {
        trial.evaluations[1].outcome = Failed;
    }
    runs[1].trials[6].evaluations[1].outcome = Inconclusive;
    assert_eq!(verdict_of(&plan, &runs), Verdict::Inconclusive);
    runs[1].trials.pop();
    assert_eq!(verdict_of(&plan, &runs), Verdict::Infra);
}

#[test]
fn quarantined_results_are_shown_and_not_counted() {
    let mut plan = plan(vec![case("refund", 2, 2), case("order", 2, 2)], Vec::new());
    let mut runs = passed(&plan);
    runs[0].trials[0].evaluations[1].outcome = Failed;
    plan.quarantine = vec![quarantine("refund", Some("solved"), date(2026, 11, 30))];
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    assert_eq!((report.counts.passed, report.counts.failed), (4, 0));
    assert_eq!(report.quarantined[0].counts.failed, 1);
    assert_eq!(report.cases[0].trials[0].evaluations[1].outcome, TrialOutcome::Failed);

    runs[0].trials[0].evaluations[0].outcome = Failed;
    assert_eq!(verdict_of(&plan, &runs), Verdict::Fail, "the other objective counts");
    plan.quarantine = vec![quarantine("refund", None, date(2026, 11, 30))];
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!((report.verdict, report.counts.passed, report.counts.quarantined), (Verdict::Pass, 2, 2));
    assert!(report.cases[0].quarantined);
}

#[test]
fn expired_quarantine_counts_again_with_a_warning() {
    let mut plan = plan(vec![case("refund", 1, 1)], Vec::new());
    plan.quarantine = vec![quarantine("refund", Some("solved"), date(2026, 11, 29))];
    let report = evaluate(&plan, &solved(&plan, &[Failed]), None, now());
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.quarantined[0].expired);
    assert!(report.reasons[1].starts_with("the quarantine of objective `solved` in case `refund` ended"));
}

#[test]
fn reasons_of_the_worst_trials_fit_the_budget() {
    let plan = plan(vec![case("refund", 200, 200)], Vec::new());
    let mut runs = solved(&plan, &[Failed; 200]);
    for trial in &mut runs[0].trials {
        trial.evaluations[1].reason = "\u{1}".repeat(5_000);
        trial.evaluations[1].score = Some(if trial.number == 200 { 0.0 } else { 0.5 });
    }
    let report = evaluate(&plan, &runs, None, now());
    let reason = |number: usize| report.cases[0].trials[number - 1].evaluations[1].reason.as_deref();
    assert_eq!(reason(200).map(|reason| reason.chars().count()), Some(2_001), "the worst first");
    assert_eq!(reason(199), None);
    assert!(report.reasons_left_out > 100);
    assert!(serde_json::to_string(&report).unwrap().len() < 700_000);
}

#[test]
fn cost_is_known_only_if_the_cost_of_every_run_is() {
    let plan = plan(vec![case("refund", 1, 1), case("order", 1, 1)], Vec::new());
    let mut runs = passed(&plan);
    assert_eq!(evaluate(&plan, &runs, None, now()).cost_usd, Some(0.02));
    runs[1].cost_usd = None;
    assert_eq!(evaluate(&plan, &runs, None, now()).cost_usd, None);
}
