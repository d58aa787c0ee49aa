//! Holds conversations, and prints the name and the microseconds of each operation: see `bench/README.md`. After each
//! it waits for a line on standard input, so that the reader can count the operation's calls to DynamoDB.
//!
//! The same source is built with an earlier commit's test kit, so it uses only what both have.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its figures, and stops at a failure"
)]

use std::{io, time::Instant};

use jiff::SignedDuration;
use onerun_engine::Reply;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

/// In one simulation. More than one page, so that none of them is the last of a counter shard.
const CONVERSATIONS: usize = 64;

/// How many of them are held.
const HELD: usize = 20;

/// After the opening.
const TURNS: usize = 3;

/// How long the agent thinks. The lease is renewed in each turn.
const THINKS: SignedDuration = SignedDuration::from_secs(5);

const SAID: &str = "I am sorry to hear that the kettle arrived broken. I can send you a new one, or refund the price to the \
                    card you paid with. Which of the two do you prefer?";

const REPLIED: &str = "I would rather have my money back, please. How long does it take until I see it on my account, and do \
                       I have to send the broken kettle back to you first?";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let app = TestApp::start();
    app.model().on_reply(Behavior::Says(Reply { text: Some(REPLIED.into()), ends: false }));
    let client = app.root();
    let project = id(&client.post("/v1/projects", &json!({ "name": "Refund desk" }), 200).await);
    let path = |rest: &str| {
        let joint = if rest.contains('?') { '&' } else { '?' };
        format!("/v1{rest}{joint}project_id={project}")
    };
    let agent = id(&client.post(&path("/agents"), &json!({ "name": "Desk" }), 200).await);
    let objective = json!({ "name": "Is kind", "criteria": "The agent is kind." });
    let objective = id(&client.post(&path("/objectives"), &objective, 200).await);
    let simulation = json!({
        "agent_id": agent,
        "name": "Refunds",
        "scenario": "A customer asks for a refund of a kettle that arrived broken.",
        "target_conversations": CONVERSATIONS,
        "target_personas": 1,
        "auto_approve": true,
        "max_turns": 200,
        "objective_ids": [objective],
        "seed": 7,
    });
    let simulation = id(&client.post(&path("/simulations"), &simulation, 200).await);
    app.run_jobs().await;
    let queued = format!("/simulations/{simulation}/conversations?status=queued");
    let page = client.get(&path(&format!("{queued}&limit=100")), 200).await;
    let conversations = page["data"].as_array().expect("a page has data");
    assert_eq!(conversations.len(), CONVERSATIONS, "conversations that are queued");
    report("ready", Instant::now());
    for conversation in &conversations[..HELD] {
        let conversation = format!("/simulations/{simulation}/conversations/{}", id(conversation));
        hold(&app, &|rest| path(&format!("{conversation}{rest}"))).await;
        let start = Instant::now();
        client.get(&path(&queued), 200).await;
        report("list_conversations", start);
    }
}

async fn hold(app: &TestApp, path: &impl Fn(&str) -> String) {
    let client = app.root();
    let start = Instant::now();
    client.post_empty(&path("/start"), 200).await;
    report("start_conversation", start);
    let content = json!([{ "type": "text", "text": SAID }]);
    let said = json!({ "input": [{ "type": "message", "content": content }] });
    for turn in 0..=TURNS {
        let (name, input) = match turn {
            0 => ("create_response, first", &json!({ "input": [] })),
            _ => ("create_response", &said),
        };
        // As clients send it.
        let client = client.with_header("idempotency-key", &format!("turn {turn}"));
        let start = Instant::now();
        client.post(&path("/responses"), input, 200).await;
        report(name, start);
        app.advance(THINKS);
    }
    let start = Instant::now();
    client.get(&path(""), 200).await;
    report("get_conversation", start);
    let start = Instant::now();
    client.post_empty(&path("/end"), 200).await;
    report("end_conversation", start);
}

/// Reports an operation that began at `start`, and waits until it was read.
fn report(name: &str, start: Instant) {
    println!("{} {name}", start.elapsed().as_micros());
    io::stdin().read_line(&mut String::new()).expect("the reader is there");
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}
