//! Imports: simulations whose conversations were held elsewhere.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use onerun_domain::{Job, Outcome, Score, Work};
use onerun_engine::Verdict;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};

use crate::{
    batches::interrupted,
    fixtures::{TestProject, code, data, id, merge, text},
};

/// As many conversations as one import may have.
const MOST: usize = 1_000;

const CARD: &str = "4111 1111 1111 1111";
const PATTERN: &str = r"\d{4} \d{4} \d{4} \d{4}";
const DAY: SignedDuration = SignedDuration::from_hours(24);

impl TestProject<'_> {
    fn wanted_import(&self, conversations: &Value, changes: Value) -> Value {
        let mut body =
            json!({ "agent_id": self.agent, "name": "Last week", "conversations": conversations.clone() });
        merge(&mut body, changes);
        body
    }

    /// Imports conversations, and runs no job.
    async fn begin_import(&self, conversations: &Value, changes: Value) -> Value {
        let body = self.wanted_import(conversations, changes);
        self.client.post(&self.path("/simulations/import"), &body, 200).await
    }

    /// Imports conversations and judges them.
    async fn import(&self, conversations: &Value, changes: Value) -> String {
        let created = self.begin_import(conversations, changes).await;
        self.app.run_jobs_twice().await;
        id(&created)
    }

    /// Place and detail of each error of a refused import.
    async fn refused_import(&self, conversations: &Value, changes: Value) -> Vec<(String, String)> {
        let body = self.wanted_import(conversations, changes);
        let problem = self.client.post(&self.path("/simulations/import"), &body, 422).await;
        assert_eq!(code(&problem), "invalid_request");
        let errors = problem["errors"].as_array().unwrap();
        let pointer = |error| text(error, "pointer").trim_start_matches('#').to_owned();
        errors.iter().map(|error| (pointer(error), text(error, "detail"))).collect()
    }

    fn import_job(&self, simulation: &str, first_seq: u32) -> Job {
        let work = Work::ImportConversations { simulation: simulation.parse().unwrap(), first_seq };
        Job::new(self.id.parse().unwrap(), work)
    }

    /// All conversations of a simulation, by number.
    async fn every_conversation(&self, simulation: &str) -> Vec<Value> {
        let (mut found, mut query) = (Vec::new(), String::new());
        loop {
            let path = format!("/simulations/{simulation}/conversations?limit=100{query}");
            let page = self.get(&path).await;
            found.extend_from_slice(data(&page));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            query = format!("&cursor={cursor}");
        }
        found.sort_by_key(|one| one["seq_id"].as_u64());
        found
    }
}

fn message(role: &str, words: &str) -> Value {
    json!({ "role": role, "content": words })
}

/// A conversation of these words, in which the person begins.
fn talk(words: &[&str]) -> Value {
    let roles = ["user", "assistant"].into_iter().cycle();
    let messages: Vec<_> = roles.zip(words).map(|(role, words)| message(role, words)).collect();
    json!({ "messages": messages })
}

/// The verdicts on each conversation, without ids and times.
fn verdicts(conversations: &[Value]) -> Vec<Value> {
    let of = |conversation: &Value| {
        let of = |evaluation: &Value| {
            let quotes = evaluation["quotes"].as_array().unwrap().iter().map(|quote| quote["text"].clone());
            json!({
                "objective": evaluation["objective"], "outcome": evaluation["outcome"], "score": evaluation["score"],
                "reason": evaluation["reason"], "quotes": quotes.collect::<Vec<_>>(), "judge": evaluation["judge"],
            })
        };
        conversation["evaluations"].as_array().unwrap().iter().map(of).collect::<Value>()
    };
    conversations.iter().map(of).collect()
}

fn judge_calls_kind(app: &TestApp) {
    app.model().on_judge(Behavior::Says(Verdict {
        outcome: Outcome::Passed,
        score: Score::parse(0.8),
        ordinal: Some(4),
        reason: "It is kind.".to_owned(),
        quotes: vec!["refund".to_owned()],
    }));
}

#[tokio::test]
async fn imported_words_are_judged_as_those_held_here() {
    let app = TestApp::start();
    judge_calls_kind(&app);
    let project = TestProject::open(&app).await;
    let mut objectives = Vec::new();
    for criteria in [
        "check: agent says /refund/i",
        "check: agent replies <= 1",
        "check: persona ended",
        "check: agent never says /sorry/",
        "The agent is kind.",
    ] {
        objectives.push(project.objective(criteria, criteria).await);
    }
    let changes = json!({
        "target_conversations": 3, "target_personas": 3, "max_turns": 200, "objective_ids": objectives,
    });
    let held = project.simulate(changes).await;
    let conversations = project.test_conversations(&held).await;
    conversations[0].hold(&["Here is your refund.", "I am sorry."]).await;
    conversations[1].hold(&["No."]).await;
    conversations[2].hold(&["A refund is on its way.\nGood bye."]).await;
    app.run_jobs().await;
    let before = project.every_conversation(&held).await;

    let mut imported = Vec::new();
    for (conversation, seen) in conversations.iter().zip(&before) {
        let items = conversation.items().await;
        let messages: Vec<_> =
            items.iter().map(|item| json!({ "role": item["role"], "content": item["content"] })).collect();
        imported.push(json!({
            "messages": messages, "end_reason": seen["end_reason"], "case": seen["persona"]["summary"],
        }));
    }
    let again = project.import(&json!(imported), json!({ "objective_ids": objectives })).await;
    let after = project.every_conversation(&again).await;
    assert_eq!(verdicts(&after), verdicts(&before));
    assert_eq!(project.status(&again).await, "completed");
    for (after, before) in after.iter().zip(&before) {
        for name in ["seq_id", "status", "end_reason", "evaluation_status", "attempt", "item_count"] {
            assert_eq!(after[name], before[name], "{name}");
        }
        assert_eq!(after["persona"]["summary"], before["persona"]["summary"]);
        assert_eq!(after["persona_faults"], json!([]));
    }
    let (mut results, mut expected) = (project.results(&again).await, project.results(&held).await);
    for results in [&mut results, &mut expected] {
        merge(results, json!({ "simulation_id": null, "usage": null, "persona_faults": null }));
    }
    assert_eq!(results, expected);

    // Reports, exports, comparisons and evaluation runs read it as any other.
    let report = project.get(&format!("/simulations/{again}/report")).await;
    assert_eq!(report["verdict"], "fail");
    let path = project.path(&format!("/simulations/{again}/export"));
    let export = app.root().send(http::Method::GET, &path, None, 200).await;
    assert_eq!(export.text.lines().filter(|line| line.starts_with("{\"conversation\"")).count(), 3);
    let path = project.path(&format!("/simulations/{again}/evaluations"));
    let run = project.client.post(&path, &json!({ "judge": "offline" }), 200).await;
    app.run_jobs().await;
    let run = project.get(&format!("/simulations/{again}/evaluations/{}", id(&run))).await;
    assert_eq!(run["conversations"]["judged"], 3);
}

#[tokio::test]
async fn imported_simulation_says_where_it_comes_from() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    let conversations = json!([
        {
            "messages": [
                { "role": "system", "content": "The password is swordfish." },
                { "role": "user", "content": "Where is my refund?", "name": "Ada" },
                { "role": "assistant", "content": null, "tool_calls": [{ "id": "call_1", "type": "function" }] },
                { "role": "tool", "tool_call_id": "call_1", "content": "{\"sword\": \"fish\"}" },
                { "role": "assistant", "content": "One moment." },
                { "role": "assistant", "content": [
                    { "type": "text", "text": "Your refund" }, { "type": "output_text", "text": "is on its way." },
                ] },
            ],
            "case": "A late refund",
            "metadata": { "ticket": 117.633_311_394_000_17 },
        },
        { "messages": [message("user", "Hello?")] },
    ]);
    let changes =
        json!({ "objective_ids": [objective], "metadata": { "week": "48" }, "scenario": "Refunds." });
    let created = project.begin_import(&conversations, changes).await;
    assert_eq!(created["status"], "pending");
    let left_out = json!({ "left_out": { "system": 1, "tool": 2 } });
    assert_eq!(created["import"], left_out);
    app.run_jobs().await;
    let seen = project.simulation(&id(&created)).await;
    assert_eq!((&seen["status"], &seen["import"]), (&json!("completed"), &left_out));
    let fields = ["name", "scenario", "target_conversations", "target_personas", "max_turns", "auto_approve"];
    let fields: Vec<_> = fields.iter().map(|name| seen[name].clone()).collect();
    assert_eq!(json!(fields), json!(["Last week", "Refunds.", 2, 2, 3, true]));
    let listed = project.get("/simulations").await;
    assert_eq!(listed["data"][0]["import"], left_out);

    let held = project.test_conversations(&id(&created)).await;
    let transcript = held[0].transcript().await;
    let roles: Vec<_> = transcript.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "assistant"]);
    let parts = held[0].items().await[2]["content"].clone();
    let part = |text: &str| json!({ "type": "text", "text": text });
    assert_eq!(parts, json!([part("Your refund"), part("is on its way.")]));
    let one = held[0].see().await;
    assert_eq!(one["evaluations"][0]["outcome"], "passed");
    assert_eq!(
        (&one["end_reason"], &one["persona"]["summary"]),
        (&json!("agent_decided"), &json!("A late refund"))
    );
    assert_eq!(one["persona"]["metadata"].to_string(), r#"{"ticket":117.63331139400017}"#);
    let other = held[1].see().await;
    assert_eq!(other["persona"]["summary"], format!("Conversation 2 of the import {}", id(&created)));
    // A simulation that was held here has no import.
    let here = project.simulate(json!({})).await;
    assert_eq!(project.simulation(&here).await["import"], Value::Null);
    let kept = app.kept().await;
    for secret in ["swordfish", "call_1"] {
        assert!(!kept.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{secret} was stored");
    }
}

#[tokio::test]
async fn silent_agent_is_inconclusive_as_elsewhere() {
    let app = TestApp::start();
    judge_calls_kind(&app);
    let project = TestProject::open(&app).await;
    let objective = project.objective("Kind", "The agent is kind.").await;
    let conversations = json!([
        { "messages": [message("user", "Hello?"), message("user", "Anyone?")] },
        { "messages": [message("user", "Hello?"), message("assistant", "")] },
    ]);
    let simulation = project.import(&conversations, json!({ "objective_ids": [objective] })).await;
    for conversation in project.every_conversation(&simulation).await {
        let evaluation = &conversation["evaluations"][0];
        assert_eq!(evaluation["outcome"], "inconclusive");
        assert!(text(evaluation, "reason").starts_with("The agent said nothing."), "{evaluation}");
    }
}

#[tokio::test]
async fn every_wrong_message_is_named_at_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut conversations = vec![talk(&["Hi.", "Hello."]); 18];
    conversations[17]["messages"][1]["content"] =
        json!([{ "type": "image_url", "image_url": { "url": "x" } }]);
    conversations[3] = json!({ "messages": [message("system", "Be kind.")] });
    conversations[4] = json!({ "messages": [], "case": "a\u{202e}b", "end_reason": "lease_expired" });
    conversations[5] = json!({ "messages": [message("bot", "Hi.")], "model": "x" });
    conversations[6] = json!(7);
    conversations[7] = json!({ "messages": [message("user", "\u{1b}[2J")], "metadata": [] });
    let changes = json!({ "name": "", "objective_ids": ["x"], "expires_in_seconds": 0 });
    let errors = project.refused_import(&json!(conversations), changes).await;
    let places: BTreeSet<_> = errors.iter().map(|(place, _)| place.as_str()).collect();
    let expected = [
        "/conversations/17/messages/1/content/0/type",
        "/conversations/3/messages",
        "/conversations/4/messages",
        "/conversations/4/case",
        "/conversations/4/end_reason",
        "/conversations/5/messages/0/role",
        "/conversations/5/model",
        "/conversations/6",
        "/conversations/7/messages/0/content",
        "/conversations/7/metadata",
        "/name",
        "/objective_ids/0",
        "/expires_in_seconds",
    ];
    assert_eq!(places, expected.into_iter().collect());
    for (count, place) in [(0, "/conversations"), (MOST + 1, "/conversations")] {
        let errors = project.refused_import(&json!(vec![talk(&["a"]); count]), json!({})).await;
        assert_eq!(errors.iter().map(|(place, _)| place.as_str()).collect::<Vec<_>>(), [place]);
    }
    let path = project.path("/simulations/import");
    let too_large = project.wanted_import(&json!([talk(&["a".repeat(31_000).as_str(); 40])]), json!({}));
    assert_eq!(code(&project.client.post(&path, &too_large, 413).await), "body_too_large");
    for (changes, status, expected) in [
        (json!({ "agent_id": "AbCdEfGhIjKl" }), 404, "agent_not_found"),
        (json!({ "objective_ids": ["AbCdEfGhIjKl"] }), 404, "objectives_not_found"),
        (json!({ "judge": "openai:other" }), 422, "model_not_allowed"),
    ] {
        let body = project.wanted_import(&json!([talk(&["a"])]), changes);
        assert_eq!(code(&project.client.post(&path, &body, status).await), expected);
    }
    assert_eq!(data(&project.get("/simulations").await).len(), 0, "nothing is created");
}

#[tokio::test]
async fn thousand_conversations_are_imported_by_one_call() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    let answer = |number: usize| if number.is_multiple_of(3) { "No." } else { "A refund is on its way." };
    let conversations: Vec<_> = (0..MOST)
        .map(|number| {
            let mut one = talk(&["My parcel is late.", answer(number), "Thank you."]);
            one["case"] = json!(format!("Order {number}"));
            one
        })
        .collect();
    let client = project.client.with_header("idempotency-key", "week 48");
    let body = project.wanted_import(&json!(conversations), json!({ "objective_ids": [objective] }));
    let path = project.path("/simulations/import");
    let created = client.post(&path, &body, 200).await;
    app.run_jobs().await;
    assert_eq!(client.post(&path, &body, 200).await, created, "a repeated call is a replay");
    let other = project.wanted_import(&json!([talk(&["a"])]), json!({}));
    assert_eq!(code(&client.post(&path, &other, 422).await), "idempotency_key_reused");
    assert_eq!(data(&project.get("/simulations").await).len(), 1);
    let results = project.results(&id(&created)).await;
    assert_eq!((&results["status"], &results["conversations"]["ended"]), (&json!("completed"), &json!(MOST)));
    assert_eq!((&results["overall"]["passed"], &results["overall"]["failed"]), (&json!(666), &json!(334)));
    let seen = project.every_conversation(&id(&created)).await;
    assert_eq!(seen.len(), MOST);
    for (one, number) in seen.iter().zip(0_u32..) {
        assert_eq!((&one["seq_id"], &one["item_count"]), (&json!(number + 1), &json!(3)));
        assert_eq!(one["persona"]["summary"], format!("Order {number}"));
        let outcome = if number.is_multiple_of(3) { "failed" } else { "passed" };
        assert_eq!(one["evaluations"][0]["outcome"], outcome);
    }
}

#[tokio::test]
async fn interrupted_import_adds_each_conversation_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversations = json!(vec![talk(&["Hi.", "Hello."]); 120]);
    let simulation = id(&project.begin_import(&conversations, json!({})).await);
    let start = Work::StartSimulation { simulation: simulation.parse().unwrap() };
    app.engine().handle_job(&Job::new(project.id.parse().unwrap(), start)).await.unwrap();
    // Interrupted everywhere in each step: from its first read to its last write.
    for first in [1, 101, 1] {
        let job = project.import_job(&simulation, first);
        for polls in (0..60).chain((60..600).step_by(13)) {
            if interrupted(app.engine().handle_job(&job), polls).await {
                break;
            }
        }
        let (one, other) = tokio::join!(app.engine().handle_job(&job), app.engine().handle_job(&job));
        one.and(other).expect("two deliveries at once succeed");
    }
    let worker = json!({ "agent_ids": [project.agent], "limit": 50, "wait_seconds": 0 });
    let claimed = project.client.post(&project.path("/conversations/claim"), &worker, 200).await;
    assert_eq!(claimed["data"], json!([]), "no worker gets an imported conversation");
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
    let seen = project.every_conversation(&simulation).await;
    let numbers: Vec<_> = seen.iter().map(|one| one["seq_id"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=120).collect::<Vec<_>>());
    assert!(seen.iter().all(|one| one["item_count"] == 2 && one["attempt"] == 1));
    assert_eq!(project.personas(&simulation).await.len(), 120);
}

#[tokio::test]
async fn redacted_words_of_an_import_are_never_stored() {
    let app = TestApp::private(PATTERN, None);
    let project = TestProject::open(&app).await;
    let seen = project.objective("Seen", "check: persona says /redacted/").await;
    let conversations = json!([talk(&[&format!("Mine is {CARD}."), &format!("Is it {CARD}?")])]);
    let simulation = project.begin_import(&conversations, json!({ "objective_ids": [seen] })).await;
    let is_kept = async || app.kept().await.windows(CARD.len()).any(|bytes| bytes == CARD.as_bytes());
    assert!(!is_kept().await, "the store has a card's number before the import");
    app.run_jobs().await;
    let conversation = &project.test_conversations(&id(&simulation)).await[0];
    let texts: Vec<_> = conversation.transcript().await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["Mine is [redacted].", "Is it [redacted]?"]);
    assert_eq!(conversation.see().await["evaluations"][0]["outcome"], "passed");
    assert!(!is_kept().await, "the store has a card's number");
}

#[tokio::test]
async fn words_of_an_import_are_deleted_after_the_retention() {
    let app = TestApp::private(PATTERN, Some(DAY * 30));
    let project = TestProject::open(&app).await;
    let conversations = json!([talk(&["Swordfish.", "Hello."])]);
    let judged = project.import(&conversations, json!({})).await;
    // Canceled before its conversations are added.
    let canceled = id(&project.begin_import(&conversations, json!({})).await);
    project.order(&canceled, "cancel", 200).await;
    app.run_jobs().await;
    let store = app.engine().store();
    let opened = store.open_project(&project.id.parse().unwrap()).await.unwrap().unwrap();
    let is_waiting = async |id: &str| opened.waiting_import(&id.parse().unwrap()).await.unwrap().is_some();
    assert!(!is_waiting(&judged).await, "what is imported does not wait");
    assert!(is_waiting(&canceled).await);
    app.advance(DAY * 30);
    app.run_jobs_twice().await;
    assert!(!is_waiting(&canceled).await);
    let conversation = &project.test_conversations(&judged).await[0];
    assert_eq!(conversation.items().await, [] as [Value; 0]);
    for simulation in [&judged, &canceled] {
        assert_eq!(project.simulation(simulation).await["transcripts_deleted_at"], app.now_text());
    }
}

#[tokio::test]
async fn comparison_pairs_imports_by_case_and_place() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    let import = async |cases: [Option<&str>; 3], answer: &str| {
        let conversation = |case: Option<&str>| {
            let mut one = talk(&["My parcel is late.", answer]);
            one["case"] = json!(case);
            one
        };
        let conversations: Vec<_> = cases.into_iter().map(conversation).collect();
        project.import(&json!(conversations), json!({ "objective_ids": [objective] })).await
    };
    let before = import([Some("Late"), Some("Broken"), None], "No.").await;
    let after = import([Some("Late"), Some("Lost"), None], "A refund is on its way.").await;
    let compared = project.get(&format!("/simulations/{after}/compare?with={before}")).await;
    let overall = &compared["overall"];
    assert_eq!((&overall["fixed"], &overall["unpaired"]), (&json!(1), &json!(2)), "{compared}");
}

#[tokio::test]
async fn people_of_an_import_are_not_copied_or_replaced() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let changes = json!({ "scenario": crate::fixtures::SCENARIO });
    let simulation = project.import(&json!([talk(&["Hi.", "Hello."])]), changes).await;
    let wanted = project.wanted(json!({ "personas_from": simulation }));
    let refused = project.client.post(&project.path("/simulations"), &wanted, 422).await;
    assert!(refused["errors"][0]["pointer"].as_str().unwrap().ends_with("/personas_from"), "{refused}");
    let persona = id(&project.personas(&simulation).await[0]);
    assert_eq!(code(&project.decide(&simulation, &persona, "reject", 409).await), "simulation_over");
    let conversation = &project.test_conversations(&simulation).await[0];
    assert_eq!(code(&conversation.start(409).await), "conversation_not_queued");
    assert_eq!(code(&conversation.say(Some("Hi."), 400).await), "conversation_over");
}
