//! Privacy: words that are never stored, and transcripts that are deleted.

use jiff::SignedDuration;
use onerun_domain::{DELETED_REASON, Outcome, Score};
use onerun_engine::{Reply, Verdict};
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, message, text};

const CARD: &str = "4111 1111 1111 1111";
const PATTERN: &str = r"\d{4} \d{4} \d{4} \d{4}";
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn says(text: &str, ends: bool) -> Behavior<Reply> {
    Behavior::Says(Reply { text: Some(text.to_owned()), ends })
}

#[tokio::test]
async fn redacted_words_of_both_sides_are_never_stored() {
    let app = TestApp::private(PATTERN, None);
    let project = TestProject::open(&app).await;
    let seen = project.objective("Seen", "check: agent says /redacted/").await;
    let leaked = project.objective("Leaked", "check: persona says /1111/").await;
    let conversation = project.converse(json!({ "objective_ids": [seen, leaked] })).await;
    conversation.start(200).await;
    app.model().on_reply(says(&format!("Mine is {CARD}."), false));
    let client = project.client.with_header("idempotency-key", "one");
    let said = format!("Is it {CARD}?");
    let mut replies = Vec::new();
    // The same call again finds its stored reply by the redacted text.
    for _ in 0..2 {
        let path = conversation.path("/responses");
        replies.push(client.post(&path, &message(Some(&said)), 200).await);
    }
    // The agent is told what is stored.
    assert_eq!(replies[0]["output"][0]["content"][0]["text"], "Mine is [redacted].");
    assert_eq!(replies[0], replies[1]);
    assert_eq!(app.model().replies(), 1);
    let transcript = conversation.transcript().await;
    let texts: Vec<_> = transcript.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["Is it [redacted]?", "Mine is [redacted]."]);
    conversation.end(200).await;
    app.run_jobs().await;
    let evaluations = conversation.see().await["evaluations"].clone();
    let outcomes: Vec<_> =
        data(&json!({ "data": evaluations })).iter().map(|one| text(one, "outcome")).collect();
    assert_eq!(outcomes, ["passed", "failed"], "checks see the stored text");
    let stored = app.kept().await;
    let needle = CARD.as_bytes();
    assert!(!stored.windows(needle.len()).any(|bytes| bytes == needle), "the store has a card's number");
}

/// A completed simulation whose judge quotes the transcript.
async fn completed(project: &TestProject<'_>, conversations: u32) -> String {
    let app = project.app;
    let prose = project.objective("Is kind", "The agent is kind.").await;
    app.model().on_judge(Behavior::Says(Verdict {
        outcome: Outcome::Passed,
        score: Score::parse(0.8),
        ordinal: Some(4),
        reason: "It calls Ann by her name.".to_owned(),
        quotes: vec!["Hello, Ann".to_owned()],
    }));
    // The persona speaks as the agent does, which is a fault with a quote.
    app.model().on_reply(says("Hi. I am Ann.", false));
    let changes = json!({ "target_conversations": conversations, "objective_ids": [prose] });
    let simulation = project.simulate(changes).await;
    for conversation in project.test_conversations(&simulation).await {
        conversation.start(200).await;
        conversation.say(Some("Hello, Ann."), 200).await;
        conversation.end(200).await;
    }
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
    simulation
}

#[tokio::test]
async fn transcripts_are_deleted_after_the_retention() {
    let app = TestApp::private(PATTERN, Some(DAY * 30));
    let project = TestProject::open(&app).await;
    // More than one job deletes.
    let simulation = completed(&project, 60).await;
    app.advance(DAY * 29);
    app.run_jobs().await;
    let before = project.simulation(&simulation).await;
    assert_eq!(before["transcripts_deleted_at"], Value::Null);
    let conversations = project.test_conversations(&simulation).await;
    assert_eq!(conversations[59].items().await.len(), 2);
    let results = project.results(&simulation).await;
    let judged = conversations[0].see().await;
    assert_eq!(judged["evaluations"][0]["quotes"][0]["text"], "Hello, Ann");

    app.advance(DAY);
    app.run_jobs_twice().await;
    let mut after = project.simulation(&simulation).await;
    assert_eq!(after["transcripts_deleted_at"], app.now_text());
    after["transcripts_deleted_at"] = Value::Null;
    assert_eq!(after, before);
    assert_eq!(project.results(&simulation).await, results);
    for conversation in &conversations {
        assert_eq!(conversation.items().await, [] as [Value; 0]);
    }
    let mut kept = conversations[0].see().await;
    assert_eq!(kept["evaluations"][0]["reason"], DELETED_REASON);
    assert_eq!(kept["evaluations"][0]["quotes"], json!([]));
    for (name, value) in [("reason", &judged), ("quotes", &judged)] {
        kept["evaluations"][0][name] = value["evaluations"][0][name].clone();
    }
    assert_eq!(kept, judged, "everything else stays");

    let path = project.path(&format!("/simulations/{simulation}/evaluations"));
    let refused = project.client.post(&path, &json!({ "judge": "offline" }), 409).await;
    assert_eq!(code(&refused), "transcripts_deleted");
}

#[tokio::test]
async fn running_evaluation_run_fails_when_transcripts_are_deleted() {
    let app = TestApp::private(PATTERN, Some(DAY));
    let project = TestProject::open(&app).await;
    let simulation = completed(&project, 1).await;
    let path = project.path(&format!("/simulations/{simulation}/evaluations"));
    let run = project.client.post(&path, &json!({ "judge": "offline" }), 200).await;
    app.advance(DAY);
    // The tick marks the simulation before a job of the run reads the transcript.
    app.run_jobs().await;
    let run = project.get(&format!("/simulations/{simulation}/evaluations/{}", id(&run))).await;
    assert_eq!((&run["conversations"]["judged"], &run["conversations"]["failed"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn transcripts_stay_without_a_retention() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = completed(&project, 1).await;
    app.advance(DAY * 4_000);
    app.run_jobs().await;
    assert_eq!(project.simulation(&simulation).await["transcripts_deleted_at"], Value::Null);
    assert_eq!(project.test_conversations(&simulation).await[0].items().await.len(), 2);
}
