//! Reports as JUnit documents.
//!
//! A failure is the agent's, an error is not, and a skipped test is inconclusive or in quarantine.
//! Gates are tests of their own, because a run may pass although some of its conversations fail.

use std::fmt::Write as _;

use super::{Bad, escape::xml, outcome};
use crate::{CaseReport, GateReport, GateStatus, Report, TrialOutcome, Verdict, text::cut};

/// The maximum number of characters of a message, which test reporters show in one line.
const MAX_MESSAGE: usize = 300;

/// A suite of tests.
struct Suite {
    name: String,
    properties: Vec<(&'static str, String)>,
    tests: Vec<Test>,
    /// The number of conversations that are left out of the report.
    left_out: u64,
}

/// A test of a suite.
struct Test {
    name: String,
    result: Result<(), Problem>,
}

/// Why a test did not pass.
struct Problem {
    /// `failure`, `error` or `skipped`.
    element: &'static str,
    kind: &'static str,
    message: String,
    text: String,
}

/// The report as a JUnit document. Quarantined and inconclusive results are skipped tests.
pub fn junit(report: &Report) -> String {
    let mut suites = vec![Suite {
        name: "gates".to_owned(),
        properties: Vec::new(),
        tests: gate_tests(report),
        left_out: 0,
    }];
    for case in &report.cases {
        let properties = vec![
            ("agent", case.agent.clone()),
            ("scenario", case.scenario.clone()),
            ("simulation", case.simulation_id.clone().unwrap_or_default()),
        ];
        suites.push(Suite {
            name: case.key.clone(),
            properties,
            tests: case_tests(case),
            left_out: case.trials_left_out,
        });
    }
    let count = |element: &str| suites.iter().map(|suite| suite.count(element)).sum::<usize>();
    let all: usize = suites.iter().map(|suite| suite.tests.len()).sum();
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    _ = writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{all}\" failures=\"{}\" errors=\"{}\">",
        xml(&report.name),
        count("failure"),
        count("error")
    );
    for suite in &suites {
        suite.write(&mut out, report);
    }
    out.push_str("</testsuites>\n");
    out
}

impl Test {
    fn is(&self, element: &str) -> bool {
        self.result.as_ref().is_err_and(|problem| problem.element == element)
    }
}

impl Suite {
    fn count(&self, element: &str) -> usize {
        self.tests.iter().filter(|test| test.is(element)).count()
    }

    fn write(&self, out: &mut String, report: &Report) {
        let Self { name, properties, tests, left_out } = self;
        _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" timestamp=\"{}\">",
            xml(name),
            tests.len(),
            self.count("failure"),
            self.count("error"),
            self.count("skipped"),
            report.at.strftime("%Y-%m-%dT%H:%M:%S")
        );
        if !properties.is_empty() {
            out.push_str("    <properties>\n");
            for (name, value) in properties {
                _ = writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", xml(value));
            }
            out.push_str("    </properties>\n");
        }
        for test in tests {
            let head = format!(
                "    <testcase name=\"{}\" classname=\"{}.{}\"",
                xml(&test.name),
                xml(&report.name),
                xml(name)
            );
            match &test.result {
                Ok(()) => _ = writeln!(out, "{head}/>"),
                Err(Problem { element, kind, message, text }) => {
                    _ = writeln!(out, "{head}>");
                    _ = writeln!(
                        out,
                        "      <{element} type=\"{kind}\" message=\"{}\">{}</{element}>",
                        xml(&cut(message, MAX_MESSAGE)),
                        xml(text)
                    );
                    out.push_str("    </testcase>\n");
                }
            }
        }
        if *left_out > 0 {
            _ = writeln!(out, "    <system-out>{left_out} conversations are left out.</system-out>");
        }
        out.push_str("  </testsuite>\n");
    }
}

fn gate_tests(report: &Report) -> Vec<Test> {
    let mut tests: Vec<Test> = report.gates.iter().map(gate_test).collect();
    // The gates know nothing of a wrong plan, wrong data, and simulations that are not over.
    let is_blamed = report.gates.iter().any(|gate| match report.verdict {
        Verdict::Config => gate.status == GateStatus::Config,
        _ => gate.status != GateStatus::Passed,
    });
    if report.verdict != Verdict::Pass && !is_blamed {
        let problem = Problem {
            element: "error",
            kind: report.verdict.as_str(),
            message: report.reasons.first().cloned().unwrap_or_default(),
            text: report.reasons.join("\n"),
        };
        let name = if report.verdict == Verdict::Config { "configuration" } else { "simulations" };
        tests.push(Test { name: name.to_owned(), result: Err(problem) });
    }
    tests
}

fn gate_test(gate: &GateReport) -> Test {
    let element = match gate.status {
        GateStatus::Passed => None,
        GateStatus::Failed => Some("failure"),
        GateStatus::Inconclusive => Some("skipped"),
        GateStatus::Infra | GateStatus::Config => Some("error"),
    };
    let result = match element {
        None => Ok(()),
        Some(element) => Err(Problem {
            element,
            kind: gate.status.as_str(),
            message: gate.detail.clone(),
            text: gate.detail.clone(),
        }),
    };
    Test { name: format!("{} ({})", gate.text, gate.agent), result }
}

fn case_tests(case: &CaseReport) -> Vec<Test> {
    let tests = case.trials.iter().map(|trial| {
        let name = match trial.persona_summary.as_str() {
            "" => format!("conversation {}", trial.number),
            summary => format!("conversation {}: {}", trial.number, cut(summary, 100)),
        };
        let (element, kind) = match trial.outcome {
            TrialOutcome::Passed => return Test { name, result: Ok(()) },
            _ if case.quarantined => ("skipped", "quarantine"),
            TrialOutcome::Failed => ("failure", "failed"),
            TrialOutcome::Inconclusive => ("skipped", "inconclusive"),
            TrialOutcome::Infra => ("error", "infra"),
        };
        let bad = Bad { case, trial };
        let mut text = format!("conversation: {}\n", trial.conversation_id.as_deref().unwrap_or("none"));
        if let Some(failure) = &trial.failure {
            _ = writeln!(text, "not judged: {failure}");
        }
        for (name, counts, evaluation) in bad.evaluations() {
            let mark = if counts { "" } else { " (quarantine)" };
            let reason = evaluation.reason.as_deref().unwrap_or("the reason is left out");
            _ = writeln!(text, "{name}{mark}: {}, because {reason}", outcome(evaluation.outcome));
            for quote in &evaluation.quotes {
                _ = writeln!(text, "  \"{quote}\"");
            }
        }
        Test { name, result: Err(Problem { element, kind, message: bad.summary(), text }) }
    });
    tests.collect()
}
