//! Data that is lost never improves a verdict.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::PlannedCase;

/// A plan with results and a baseline, chosen by random numbers.
#[derive(Clone, Debug)]
struct Run {
    plan: Plan,
    runs: Vec<CaseRun>,
    baseline: Report,
}

fn gates() -> impl Strategy<Value = Vec<Gate>> {
    let subject = prop_oneof![
        Just(Subject::All),
        Just(Subject::Objective("polite".into())),
        Just(Subject::Scenario("refund".into())),
    ];
    let min = prop_oneof![Just(0.2), Just(0.5), Just(0.7), Just(1.0)];
    let against = prop_oneof![Just(Against::Baseline), Just(Against::Agent("old".into()))];
    let mode = prop_oneof![
        Just(RegressionMode::EachTrial),
        Just(RegressionMode::Significant { alpha: 0.3 }),
        Just(RegressionMode::Significant { alpha: 0.6 }),
    ];
    let gate = prop_oneof![
        (subject.clone(), min.clone(), any::<bool>()).prop_map(|(of, min, lower)| Gate::PassRate {
            of,
            min: if lower { min / 2.0 } else { min },
            on: if lower { Basis::LowerBound } else { Basis::Rate },
        }),
        (subject, 1_u32..=2, min).prop_map(|(of, k, min)| Gate::PassPower { of, k, min }),
        (against, mode).prop_map(|(against, mode)| Gate::NoRegression { against, mode }),
    ];
    prop::collection::vec(gate, 0..3)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![8 => Just(Passed), 2 => Just(Failed), 1 => Just(Inconclusive)]
}

fn a_run() -> impl Strategy<Value = Run> {
    let outcomes = || prop::collection::vec(outcome(), 64);
    (gates(), 2_u32..=4, 1_u32..=2, outcomes(), outcomes(), any::<bool>()).prop_map(
        |(gates, trials, personas, now_outcomes, before_outcomes, quarantined)| {
            let cases: Vec<PlannedCase> = ["old", "new"]
                .into_iter()
                .flat_map(|agent| {
                    ["refund", "order"].map(|scenario| case_of(agent, scenario, trials, personas))
                })
                .collect();
            let mut plan = plan(cases, gates);
            if quarantined {
                plan.quarantine = vec![quarantine("order@new", Some("polite"), date(2026, 12, 1))];
            }
            let results = |outcomes: &[Outcome]| -> Vec<CaseRun> {
                let mut next = outcomes.iter().copied().cycle();
                plan.cases.iter().map(|case| run(case, |_, _| next.next().unwrap_or(Passed))).collect()
            };
            let ungated = Plan { gates: Vec::new(), ..plan.clone() };
            let baseline = evaluate(&ungated, &results(&before_outcomes), None, now());
            Run { runs: results(&now_outcomes), plan, baseline }
        },
    )
}

/// Removes something, chosen by `what` and `place`; `false` if there is nothing of that kind.
fn remove(run: &mut Run, what: u8, place: &[Index; 3]) -> bool {
    let Run { runs, baseline, .. } = run;
    if what < 6 {
        if runs.is_empty() {
            return false;
        }
        let case = place[0].index(runs.len());
        if what == 0 {
            runs.remove(case);
            return true;
        }
        let trials = &mut runs[case].trials;
        if trials.is_empty() {
            return false;
        }
        if what == 5 {
            let objective = ["polite", "solved"][place[1].index(2)];
            for trial in trials {
                trial.evaluations.retain(|evaluation| evaluation.objective != objective);
            }
            return true;
        }
        let trial = place[1].index(trials.len());
        if what == 1 {
            trials.remove(trial);
            return true;
        }
        if what == 2 {
            trials[trial].end = TrialEnd::Unfinished;
            return true;
        }
        let evaluations = &mut trials[trial].evaluations;
        if evaluations.is_empty() {
            return false;
        }
        let evaluation = place[2].index(evaluations.len());
        if what == 3 {
            evaluations.remove(evaluation);
        } else {
            evaluations[evaluation].score = None;
        }
        return true;
    }
    if baseline.cases.is_empty() {
        return false;
    }
    let case = place[0].index(baseline.cases.len());
    if what == 6 {
        baseline.cases.remove(case);
        return true;
    }
    let case = &mut baseline.cases[case];
    if case.trials.is_empty() || case.objectives.is_empty() {
        return false;
    }
    let trial = place[1].index(case.trials.len());
    let objective = place[2].index(case.objectives.len());
    match what {
        7 => _ = case.trials.remove(trial),
        8 => {
            let removed = case.objectives.remove(objective);
            for trial in &mut case.trials {
                trial.evaluations.retain(|evaluation| evaluation.objective != removed.key);
            }
        }
        _ => {
            let evaluations = &mut case.trials[trial].evaluations;
            evaluations.truncate(evaluations.len().saturating_sub(1));
        }
    }
    true
}

fn uses_baseline(plan: &Plan) -> bool {
    plan.gates.iter().any(|gate| matches!(gate, Gate::NoRegression { against: Against::Baseline, .. }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn lost_data_never_makes_a_pass(
        before in a_run(),
        steps in prop::collection::vec((0_u8..10, any::<[Index; 3]>()), 1..6),
    ) {
        let verdict = evaluate(&before.plan, &before.runs, Some(&before.baseline), now()).verdict;
        let mut run = before.clone();
        for (what, place) in steps {
            if !remove(&mut run, what, &place) {
                continue;
            }
            let after = evaluate(&run.plan, &run.runs, Some(&run.baseline), now());
            if verdict != Verdict::Pass {
                prop_assert_ne!(after.verdict, Verdict::Pass, "{:?}", after.gates);
            }
            if what >= 6 && uses_baseline(&run.plan) {
                prop_assert_eq!(after.verdict, Verdict::Config);
            }
            // Without gates every trial must pass, so that each loss matters.
            if what < 6 && what != 4 && run.plan.gates.is_empty() && run.plan.quarantine.is_empty() {
                prop_assert_ne!(after.verdict, Verdict::Pass);
            }
        }
    }

    #[test]
    fn lost_plan_or_baseline_is_config(before in a_run(), what in 0_u8..3, place in any::<[Index; 2]>()) {
        let Run { mut plan, runs, baseline } = before;
        if uses_baseline(&plan) {
            prop_assert_eq!(evaluate(&plan, &runs, None, now()).verdict, Verdict::Config);
        }
        let case = place[0].index(plan.cases.len());
        match what {
            0 => _ = plan.cases.remove(case),
            1 => _ = plan.cases[case].objectives.remove(place[1].index(2)),
            _ => plan.cases[case].trials -= 1,
        }
        prop_assert_eq!(evaluate(&plan, &runs, Some(&baseline), now()).verdict, Verdict::Config);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn gate_is_decided_if_every_completion_agrees(
        run in a_run(),
        places in prop::collection::vec(any::<[Index; 3]>(), 1..6),
    ) {
        let mut lost = run.runs.clone();
        for place in &places {
            let case = place[0].index(lost.len());
            let trials = &mut lost[case].trials;
            let trial = place[1].index(trials.len());
            let evaluations = &mut trials[trial].evaluations;
            let evaluation = place[2].index(evaluations.len());
            evaluations[evaluation].outcome = Inconclusive;
        }
        // In this mode an inconclusive result of the other agent has not passed: it is known.
        let other_is_known = run.plan.gates.iter().any(|gate| {
            let mode = RegressionMode::EachTrial;
            *gate == Gate::NoRegression { against: Against::Agent("old".into()), mode }
        });
        // Every completion is tried, so only a few results are unknown.
        let mut unknown: Vec<(usize, usize, usize)> = Vec::new();
        for (case, results) in lost.iter_mut().enumerate() {
            for (trial, observed) in results.trials.iter_mut().enumerate() {
                for (place, evaluation) in observed.evaluations.iter_mut().enumerate() {
                    if evaluation.outcome != Inconclusive {
                        continue;
                    }
                    if unknown.len() < 6 && !(other_is_known && run.plan.cases[case].agent == "old") {
                        unknown.push((case, trial, place));
                    } else {
                        evaluation.outcome = Failed;
                    }
                }
            }
        }
        let statuses = |runs: &[CaseRun]| -> Vec<GateStatus> {
            let report = evaluate(&run.plan, runs, Some(&run.baseline), now());
            report.gates.iter().map(|gate| gate.status).collect()
        };
        let open = statuses(&lost);
        let completions: Vec<Vec<GateStatus>> = (0..1_u32 << unknown.len())
            .map(|choice| {
                let mut completed = lost.clone();
                for (bit, (case, trial, place)) in unknown.iter().enumerate() {
                    let outcome = if choice & (1 << bit) == 0 { Failed } else { Passed };
                    completed[*case].trials[*trial].evaluations[*place].outcome = outcome;
                }
                statuses(&completed)
            })
            .collect();
        for (place, status) in open.into_iter().enumerate() {
            let all = |status| completions.iter().all(|statuses| statuses[place] == status);
            match status {
                GateStatus::Passed => prop_assert!(all(GateStatus::Passed)),
                GateStatus::Failed => prop_assert!(all(GateStatus::Failed)),
                GateStatus::Config => prop_assert!(all(GateStatus::Config)),
                _ => prop_assert!(!all(GateStatus::Passed) && !all(GateStatus::Failed)),
            }
        }
    }
}
