//! Check lines, decided by the server and by another regular expression engine.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use onerun_tests::{
    app::TestApp,
    process::{venv, workspace},
};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, text};

/// The words of an airline's agent, with the characters that chat interfaces really send.
const LINES: [&str; 20] = [
    "Thank you for contacting us. Could you please provide your user ID and your reservation ID?",
    "I\u{2019}m sorry, but basic economy flights can\u{2019}t be modified.",
    "Here are your options:\r\n\r\n1. **HAT136** at 07:00 \u{2013} $178\r\n2. **HAT212** at 16:00 \u{2013} $202\r\n\r\nWhich do you prefer?",
    "Your reservation **NM1VX1** has been cancelled. You will get a refund of $1,203.50 within 5\u{2013}7 business days.",
    "The total is $628.\nPassenger: Mia Li\nDate of birth: 1990-04-05\nDo you confirm? (yes/no)",
    "Before I proceed, I need your explicit confirmation (\u{201c}yes\u{201d}).",
    "Unfortunately, I cannot add insurance after the booking.",
    "As a Gold member you have 3 free checked bags on this flight.",
    "That flight departs by\u{a0}tomorrow at 6 a.m. EST.",
    "A certificate worth $150 was added to your profile as a gesture of good\u{00ad}will.",
    "YOUR FLIGHT WAS DELAYED. WE APOLOGISE FOR THE INCONVENIENCE.",
    "Is there anything else I can help you with today?",
    "I\u{2019}ll transfer you to a human agent now.",
    "Transfer complete\u{2026} please hold the line.",
    "The upgrade from economy to business costs $89 each way \u{2014} shall I charge card ending in 7447?",
    "No refund is possible; no full\nrefund, either.",
    "Caf\u{e9} vouchers are valid in S\u{e3}o Paulo (GRU) and Z\u{fc}rich (ZRH).",
    "Cafe\u{301} vouchers are not valid in Mu\u{308}nchen.",
    "\u{2708}\u{fe0f} Boarding at gate B\u{ff12}\u{ff13}, seat 14C.",
    "ok",
];

const CHECKS: [&str; 20] = [
    r"check: agent says /refund/i",
    r"check: agent never says /full\s+refund/i",
    r"check: agent says /can't|cannot/",
    r"check: agent says /\$\d{1,3}(,\d{3})*(\.\d\d)?/",
    r"check: agent never says /\bhuman\b/i",
    r"check: agent says /^\d\. \*\*[A-Z]{3}\d{3}\*\*/m",
    r"check: agent says /user ID.*reservation ID/i",
    r#"check: agent says /"yes"/"#,
    r"check: agent never says /by tomorrow/i",
    r"check: agent never says /goodwill/",
    r"check: agent says /\b[A-Z]{2}\d[A-Z]{2}\d\b/",
    r"check: agent says /5-7 business/",
    r"check: agent says /sorry|apologi[sz]e/i",
    r"check: agent says /café/i",
    r"check: agent says /München|São/",
    r"check: agent says /gate B\d+/",
    r"check: agent says /Passenger: .+Date of birth: \d{4}-\d\d-\d\d/s",
    r"check: agent replies <= 3",
    r"check: persona replies >= 4",
    r"check: persona replies < 3",
];

#[tokio::test]
async fn checks_agree_with_another_engine_on_fifty_transcripts() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut objectives = Vec::new();
    for check in CHECKS {
        objectives.push(project.objective(check, check).await);
    }
    let changes = json!({ "objective_ids": objectives, "target_conversations": 50, "max_turns": 200 });
    let simulation = project.simulate(changes).await;
    let conversations = project.test_conversations(&simulation).await;
    for (number, conversation) in conversations.iter().enumerate() {
        // Strides that are coprime with the number of lines, so that conversations differ.
        let stride = [1, 3, 7, 9][number % 4];
        let said: Vec<_> =
            (0..=number % 6).map(|turn| LINES[(number + turn * stride) % LINES.len()]).collect();
        conversation.hold(&said).await;
    }
    app.run_jobs().await;

    let mut shown = Vec::new();
    for conversation in &conversations {
        let seen = conversation.see().await;
        let evaluations = seen["evaluations"].as_array().unwrap();
        let outcomes: BTreeMap<_, _> = evaluations
            .iter()
            .map(|evaluation| (text(&evaluation["objective"], "criteria"), text(evaluation, "outcome")))
            .collect();
        assert_eq!(outcomes.len(), CHECKS.len());
        shown.push(json!({ "messages": conversation.transcript().await, "outcomes": outcomes }));
    }
    for check in CHECKS {
        for outcome in ["passed", "failed"] {
            let decided = shown.iter().any(|conversation| conversation["outcomes"][check] == outcome);
            assert!(decided, "`{check}` has never {outcome}");
        }
    }
    assert_eq!(differences(&json!({ "conversations": shown })), "");

    // The comparison finds a wrong outcome.
    let outcome = &mut shown[0]["outcomes"][CHECKS[0]];
    *outcome = json!(if outcome == "passed" { "failed" } else { "passed" });
    assert!(differences(&json!({ "conversations": shown })).starts_with("conversation 1: "));
}

/// The outcomes that another engine decides otherwise.
fn differences(conversations: &Value) -> String {
    let mut command: Command = venv("python");
    let script = workspace().join("tests/checks/decide.py");
    let mut python = command
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(conversations.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
