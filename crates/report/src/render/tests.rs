use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::civil::date;
use onerun_domain::Outcome::{self, Failed, Inconclusive, Passed};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    Plan, TrialEnd, Verdict, evaluate,
    fixtures::{case, now, passed, plan, quarantine, run},
};

/// Text that every format must escape.
const HOSTILE: &str = "</style></script><script>alert(1)</script> ]]> \" ' & %0A::error::x\n::error::y\r| `**@ada** \u{1b}[31m\u{202e}\u{0}\u{ffff}";

fn hostile_report() -> Report {
    let mut plan = plan(vec![case("refund", 6, 3), case("order", 2, 2)], Vec::new());
    plan.name = HOSTILE.into();
    plan.cases[0].scenario = HOSTILE.into();
    plan.cases[0].objectives[1].name = HOSTILE.into();
    plan.quarantine = vec![quarantine("order", None, date(2026, 12, 31))];
    plan.quarantine[0].owner = HOSTILE.into();
    plan.quarantine[0].reason = Some(HOSTILE.into());
    let outcomes = [Passed, Failed, Failed, Inconclusive, Passed, Passed];
    let outcome = |number: u32, place: usize| {
        if place == 1 { outcomes[usize::try_from(number).unwrap() - 1] } else { Passed }
    };
    let mut first = run(&plan.cases[0], outcome);
    first.failure = Some(HOSTILE.into());
    for trial in &mut first.trials {
        trial.persona_summary = HOSTILE.into();
        trial.conversation_id = format!("{HOSTILE}{}", trial.number);
        for evaluation in &mut trial.evaluations {
            evaluation.reason = HOSTILE.into();
            evaluation.quotes = vec![HOSTILE.into()];
        }
    }
    first.trials[5].end = TrialEnd::Infra(HOSTILE.into());
    let second = run(&plan.cases[1], |_, _| Failed);
    evaluate(&plan, &[first, second], None, now())
}

fn report_of(trials: u32, outcome: impl FnMut(u32, usize) -> Outcome) -> Report {
    let plan: Plan = plan(vec![case("refund", trials, trials)], Vec::new());
    let runs = [run(&plan.cases[0], outcome)];
    evaluate(&plan, &runs, None, now())
}

/// Whether a text has a character that could change a terminal or the order of a line.
fn has_hidden(text: &str) -> bool {
    text.chars().any(|character| matches!(character, '\0' | '\u{1b}' | '\u{202e}' | '\u{ffff}'))
}

#[test]
fn html_escapes_every_text() {
    let page = html(&hostile_report());
    assert!(!page.contains("<script"), "no script, of us or of others");
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(!has_hidden(&page));
}

#[test]
fn html_loads_nothing_and_names_its_style_by_digest() {
    let page = html(&hostile_report());
    let start = page.find("<style>").unwrap() + "<style>".len();
    let style = &page[start..page.find("</style>").unwrap()];
    let digest = STANDARD.encode(Sha256::digest(style));
    assert!(page.contains(&format!("style-src 'sha256-{digest}'")), "the digest is {digest}");
    for loading in [" src=", " href=", "url(", "@import", " style=", " onclick"] {
        assert!(!page.contains(loading), "{loading}");
    }
}

#[test]
fn html_speaks_of_missing_results_only_if_there_are_some() {
    let missing = "whatever the missing results would have been";
    let plan = plan(vec![case("refund", 4, 4)], Vec::new());
    let mut runs = [run(&plan.cases[0], |_, _| Failed)];
    assert!(!html(&evaluate(&plan, &runs, None, now())).contains(missing));
    runs[0].trials.pop();
    let report = evaluate(&plan, &runs, None, now());
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(html(&report).contains(missing));
}

#[test]
fn html_shows_the_worst_conversations_with_the_words_that_decided() {
    let mut plan = plan(vec![case("refund", 60, 60)], Vec::new());
    plan.cases[0].scenario = "The customer wants the money back.".into();
    let mut runs = [run(&plan.cases[0], |number, _| if number == 7 { Passed } else { Failed })];
    runs[0].trials[41].evaluations[0].score = Some(0.0);
    runs[0].trials[41].evaluations[0].reason = "`check: agent says /<b>/` does not hold".into();
    let page = html(&evaluate(&plan, &runs, None, now()));
    let worst = page.find("refund, conversation 42").unwrap();
    assert!(worst < page.find("refund, conversation 1<").unwrap(), "the lowest score first");
    assert!(page.contains("<blockquote>I cannot help you</blockquote>"));
    assert!(page.contains("<p><code>check: agent says /&lt;b&gt;/</code> does not hold</p>"));
    assert!(page.contains("9 conversations that did not pass are not shown here"));
    assert!(!page.contains("refund, conversation 7<"));
}

#[test]
fn markdown_escapes_every_text() {
    let text = markdown(&hostile_report());
    assert!(!text.contains("<script") && !text.contains("@ada") && !has_hidden(&text), "{text}");
    assert!(text.contains("\\`\\*\\*&#64;ada\\*\\*"));
    // A text from outside begins no line, so it is no heading, list or table.
    assert!(text.lines().all(|line| !line.starts_with("::error")), "{text}");
    for row in text.lines().filter(|line| line.starts_with("| refund")) {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 8, "{row}");
    }
}

#[test]
fn markdown_stays_within_a_step_summary() {
    let plan = plan(
        (0..2_000).map(|number| case(&format!("{number}{}", "x".repeat(300)), 1, 1)).collect(),
        Vec::new(),
    );
    let text = markdown(&evaluate(&plan, &passed(&plan), None, now()));
    assert!(text.len() < 600 * 1024, "{}", text.len());
    assert!(text.contains("cases are left out"));
}

#[test]
fn annotations_are_ten_with_a_count_of_the_rest() {
    let text = github_annotations(&report_of(30, |_, _| Failed));
    assert_eq!(text.lines().count(), 10);
    assert!(text.starts_with("::error title=Support%3A fail::"), "{text}");
    assert!(text.contains("21 conversations that did not pass are not annotated"), "{text}");
    let none = github_annotations(&report_of(3, |_, _| Passed));
    assert_eq!(none, "::notice title=Support%3A pass::every gate passed\n");
}

#[test]
fn annotations_escape_every_text() {
    let text = github_annotations(&hostile_report());
    assert!(
        text.lines().all(|line| line.starts_with("::error title=") || line.starts_with("::warning title="))
    );
    assert!(text.contains("%250A::error::x") && !has_hidden(&text) && !text.contains('\r'), "{text}");
}

#[test]
fn junit_separates_failures_errors_and_skipped_tests() {
    let report = hostile_report();
    assert_eq!(report.verdict, Verdict::Fail);
    let document = junit(&report);
    assert!(document.contains("tests=\"9\" failures=\"3\" errors=\"1\""), "{document}");
    let suite = |start: &str| document.lines().find(|line| line.contains(start)).unwrap().to_owned();
    assert!(
        suite("<testsuite name=\"gates\"").contains("tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\"")
    );
    assert!(
        suite("<testsuite name=\"refund\"").contains("tests=\"6\" failures=\"2\" errors=\"1\" skipped=\"1\"")
    );
    assert!(
        suite("<testsuite name=\"order\"").contains("tests=\"2\" failures=\"0\" errors=\"0\" skipped=\"2\"")
    );
    assert!(!has_hidden(&document) && !document.contains("]]>"), "{document}");
}

#[test]
fn junit_names_a_wrong_configuration() {
    let report = evaluate(&plan(Vec::new(), Vec::new()), &[], None, now());
    let document = junit(&report);
    assert!(document.contains("<error type=\"config\" message=\"the plan has no case\">"), "{document}");
}

#[test]
fn reports_of_a_wrong_plan_name_the_problem() {
    let report = evaluate(&plan(Vec::new(), Vec::new()), &[], None, now());
    for text in [markdown(&report), html(&report), github_annotations(&report)] {
        assert!(text.contains("the plan has no case"), "{text}");
    }
}
