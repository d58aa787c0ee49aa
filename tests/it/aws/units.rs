//! Units of DynamoDB that the hot path consumes, by operation, with bounds. `cargo nextest run … aws::units
//! --no-capture` prints the table.

#![expect(clippy::print_stderr, reason = "the table is for people")]

use std::fmt::Write as _;

use futures_util::future::join_all;
use jiff::SignedDuration;
use onerun_domain::Outcome;
use onerun_engine::{Reply, Verdict};
use onerun_tests::app::{Behavior, Meter, TestApp, Units};
use serde_json::{Value, json};

use crate::fixtures::{TestConversation, TestProject};

/// A row of the table, and the most that it may consume: write units, read units, and calls. Round trips in a row are
/// not bounded: calls that start at once may still follow each other on a busy machine.
type Bound = (&'static str, u32, f64, u32);

const BOUNDS: [Bound; 13] = [
    ("create_simulation", 30, 4.0, 5),
    // DynamoDB Local counts nothing for a query that finds nothing. AWS counts at least one unit.
    ("list of no simulation", 0, 0.0, 2),
    ("list of a simulation", 0, 5.0, 5),
    ("list of 10 conversations", 0, 16.0, 5),
    ("claim of nothing", 0, 1.0, 2),
    ("claim_conversations", 9, 7.0, 9),
    ("start_conversation", 9, 2.0, 2),
    ("create_response, first", 5, 4.0, 8),
    ("create_response", 5, 6.0, 9),
    ("get_conversation", 0, 3.0, 2),
    ("end_conversation", 10, 2.0, 2),
    ("jobs after the end", 19, 12.0, 117),
    ("conversation of 13 messages", 80, 60.0, 183),
];

/// About what an agent says in a support chat.
pub(super) const SAID: &str = "I am sorry to hear that the kettle arrived broken. I can send you a new one, or refund the price to \
                    the card you paid with. Which of the two do you prefer?";

pub(super) const REPLIED: &str = "I would rather have my money back, please. How long does it take until I see it on my account, \
                       and do I have to send the broken kettle back to you first?";

pub(super) fn passes() -> Behavior<Verdict> {
    let reason = "The agent offered a refund.".to_owned();
    Behavior::Says(Verdict {
        ordinal: None,
        outcome: Outcome::Passed,
        score: None,
        reason,
        quotes: Vec::new(),
    })
}

/// A table that is being measured.
struct Table<'a> {
    meter: &'a Meter,
    rows: Vec<(&'static str, Units)>,
}

impl Table<'_> {
    fn row(&mut self, name: &'static str) -> Units {
        let (units, log) = self.meter.take_logged();
        eprintln!("{name}\n{log}");
        self.rows.push((name, units));
        units
    }

    /// The table as text.
    fn text(&self) -> String {
        let mut text = format!("{:28} {:>7} {:>7} {:>6} {:>7}\n", "", "writes", "reads", "calls", "in a row");
        for (name, Units { writes, reads, calls, rounds, .. }) in &self.rows {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name:28} {writes:7} {reads:7} {calls:6} {rounds:7}");
        }
        text
    }

    fn check(&self) {
        let text = self.text();
        eprintln!("{text}");
        for (name, writes, reads, calls) in BOUNDS {
            let (_, units) = self.rows.iter().find(|(row, _)| *row == name).expect("each row is measured");
            let is_within = units.writes <= writes && units.reads <= reads && units.calls <= calls;
            assert!(is_within, "{name} may consume {writes} and {reads} in {calls} calls:\n{text}");
        }
    }
}

/// A call with an `Idempotency-Key`, as clients send it.
pub(super) async fn say(conversation: &TestConversation<'_, '_>, key: &str, text: Option<&str>) -> Value {
    let client = conversation.project.app.root().with_header("idempotency-key", key);
    conversation.say_with(&client, "/responses", text, 200).await.json()
}

/// Polls a list as the SDK's worker does: of the agent's running simulations, or of queued conversations of one.
async fn poll(project: &TestProject<'_>, simulation: Option<&str>) {
    let path = match simulation {
        None => format!("/simulations?agent_id={}&status=in_progress", project.agent),
        Some(simulation) => format!("/simulations/{simulation}/conversations?status=queued"),
    };
    project.client.get(&project.path(&path), 200).await;
}

fn plus(one: Units, other: Units) -> Units {
    Units {
        writes: one.writes + other.writes,
        reads: one.reads + other.reads,
        calls: one.calls + other.calls,
        rounds: one.rounds + other.rounds,
        conflicts: one.conflicts + other.conflicts,
    }
}

#[tokio::test]
async fn conversation_consumes_no_more_than_its_bounds() {
    let (app, meter) = TestApp::metered().await;
    app.model().on_reply(Behavior::Says(Reply { text: Some(REPLIED.into()), ends: false }));
    app.model().on_judge(passes());
    let mut table = Table { meter: &meter, rows: Vec::new() };
    let project = TestProject::open(&app).await;
    let objective = project.objective("Is kind", "The agent is kind.").await;
    // The first poll notes that the agent's worker is there. The others are what it pays while it waits.
    poll(&project, None).await;
    let claimed = json!({ "agent_ids": [project.agent], "limit": 1 });
    project.client.post(&project.path("/conversations/claim"), &claimed, 200).await;
    meter.take();
    poll(&project, None).await;
    table.row("list of no simulation");
    project.client.post(&project.path("/conversations/claim"), &claimed, 200).await;
    table.row("claim of nothing");
    // A conversation in the middle of a simulation: it is the last of no counter shard.
    let wanted = json!({ "objective_ids": [objective], "target_conversations": 64, "max_turns": 200 });
    let simulation = project.create(wanted).await;
    table.row("create_simulation");
    app.run_jobs().await;
    let conversations = project.test_conversations(&simulation).await;
    // Neither the first nor the one that is claimed.
    let conversation = conversations.iter().rev().nth(1).expect("a conversation");
    conversations[0].start(200).await;
    table.row("personas and queue of 64");
    poll(&project, None).await;
    table.row("list of a simulation");
    poll(&project, Some(&simulation)).await;
    table.row("list of 10 conversations");
    project.client.post(&project.path("/conversations/claim"), &claimed, 200).await;
    table.row("claim_conversations");
    conversation.start(200).await;
    let mut whole = table.row("start_conversation");
    say(conversation, "opening", None).await;
    whole = plus(whole, table.row("create_response, first"));
    for number in 1..=6 {
        app.advance(SignedDuration::from_secs(5));
        say(conversation, &number.to_string(), Some(SAID)).await;
        whole = plus(whole, if number == 6 { table.row("create_response") } else { meter.take() });
    }
    conversation.see().await;
    table.row("get_conversation");
    conversation.end(200).await;
    whole = plus(whole, table.row("end_conversation"));
    app.run_jobs().await;
    whole = plus(whole, table.row("jobs after the end"));
    table.rows.push(("conversation of 13 messages", whole));
    assert_eq!(conversation.see().await["evaluation_status"], "completed");
    assert_eq!(conversation.items().await.len(), 13);
    table.check();
}

/// How many conversations run at once.
const AT_ONCE: usize = 50;

#[tokio::test]
async fn conversations_at_once_are_counted_for_conflicts() {
    let (app, meter) = TestApp::metered().await;
    app.model().on_reply(Behavior::Says(Reply { text: Some(REPLIED.into()), ends: false }));
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": AT_ONCE, "max_turns": 200 })).await;
    let conversations = project.test_conversations(&simulation).await;
    meter.take();
    join_all(conversations.iter().map(|conversation| async {
        conversation.start(200).await;
    }))
    .await;
    let started = meter.take();
    join_all(conversations.iter().map(|conversation| async {
        for _ in 0..3 {
            conversation.say(Some(SAID), 200).await;
        }
    }))
    .await;
    let turns = meter.take();
    join_all(conversations.iter().map(|conversation| async {
        conversation.end(200).await;
    }))
    .await;
    let ended = meter.take();
    eprintln!("{AT_ONCE} conversations at once:\nstart {started:?}\nturns {turns:?}\nend {ended:?}");
    assert_eq!(turns.conflicts, 0, "turns of different conversations meet at one item");
}
