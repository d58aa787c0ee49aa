//! JUnit reports against the schema of Jenkins' xUnit plugin, which most test reporters follow.

use std::fs;

use onerun_domain::Outcome;
use onerun_report::{
    Basis, CaseRun, Gate, Plan, PlannedCase, PlannedObjective, Quarantine, Report, Subject, Trial, TrialEnd,
    TrialEvaluation, Verdict, evaluate, render,
};
use onerun_tests::process::venv;

/// Text that XML cannot hold, that ends other markup, or that changes the order of a line.
const HOSTILE: &str = "]]> --> <!-- <![CDATA[ </testcase>&amp;&#0;&bogus; \"'\u{0}\u{1b}[31m\u{9b}\u{202e}\u{fffe}\u{ffff}\r\n\t\u{2028}👩🏽‍💻";

/// A report with this outcome of one trial, the other one passed. Every text of it is hostile.
fn report(name: &str, outcome: Outcome, end: TrialEnd, min: f64) -> Report {
    let objective = PlannedObjective { key: "polite".into(), name: name.into() };
    let case = PlannedCase {
        key: name.into(),
        agent: name.into(),
        scenario_key: name.into(),
        scenario: name.into(),
        objectives: vec![objective],
        trials: 2,
        personas: 2,
    };
    let trial = |number: u32, outcome, end| Trial {
        number,
        persona: number,
        persona_key: None,
        persona_summary: name.into(),
        conversation_id: format!("{name}{number}"),
        messages: 2,
        end,
        evaluations: vec![TrialEvaluation {
            objective: "polite".into(),
            outcome,
            score: None,
            reason: name.into(),
            quotes: vec![name.into()],
        }],
    };
    let run = CaseRun {
        case: name.into(),
        simulation_id: name.into(),
        status: "completed".into(),
        failure: Some(name.into()),
        cost_usd: None,
        trials: vec![trial(1, outcome, end), trial(2, Outcome::Passed, TrialEnd::Judged)],
    };
    let quarantine = Quarantine {
        case: name.into(),
        objective: Some("polite".into()),
        owner: name.into(),
        until: "2026-01-01".parse().unwrap(),
        reason: Some(name.into()),
    };
    let plan = Plan {
        name: name.into(),
        cases: vec![case],
        gates: vec![Gate::PassRate { of: Subject::All, min, on: Basis::Rate }],
        quarantine: vec![quarantine],
    };
    evaluate(&plan, &[run], None, "2026-11-30T12:00:00Z".parse().unwrap())
}

#[test]
fn junit_of_every_verdict_keeps_to_its_schema() {
    let directory = tempfile::tempdir().unwrap();
    let mut check = venv("python");
    check.args(["tests/checks/junit.py", "tests/checks/junit-10.xsd"]);
    let long = HOSTILE.repeat(10 * 1024 / HOSTILE.len() + 1);
    assert!(long.len() > 10 * 1024);
    for (number, name) in ["Desk", "", HOSTILE, &long].into_iter().enumerate() {
        for (outcome, end, min, verdict) in [
            (Outcome::Passed, TrialEnd::Judged, 1.0, Verdict::Pass),
            (Outcome::Failed, TrialEnd::Judged, 1.0, Verdict::Fail),
            (Outcome::Inconclusive, TrialEnd::Judged, 1.0, Verdict::Inconclusive),
            (Outcome::Passed, TrialEnd::Infra(name.into()), 1.0, Verdict::Infra),
            (Outcome::Passed, TrialEnd::Judged, 0.0, Verdict::Config),
        ] {
            let report = report(name, outcome, end, min);
            assert_eq!(report.verdict, verdict);
            let path = directory.path().join(format!("{verdict}-{number}.xml"));
            fs::write(&path, render::junit(&report)).unwrap();
            check.arg(path);
        }
    }
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "20 documents are valid\n");
}

#[test]
fn check_of_junit_finds_what_the_schema_forbids() {
    let directory = tempfile::tempdir().unwrap();
    let valid = render::junit(&report("Desk", Outcome::Failed, TrialEnd::Judged, 1.0));
    for (place, wrong) in [
        valid.replace("<failure", "<failed").replace("</failure", "</failed"),
        valid.replacen(" tests=", " test=", 1).replacen(" tests=", " test=", 1),
        valid.replacen("Desk", "\u{1b}", 1),
        valid.replace("</testsuites>", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.path().join("report.xml");
        fs::write(&path, wrong).unwrap();
        let mut check = venv("python");
        let output =
            check.args(["tests/checks/junit.py", "tests/checks/junit-10.xsd"]).arg(path).output().unwrap();
        assert!(!output.status.success(), "{place}");
    }
}
