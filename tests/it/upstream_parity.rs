//! The numbered defects of the published service, and the behaviour here instead. Each line names
//! the tests.
//!
//! 1. Statuses that its SDK cannot read. Here, and in `sdk`.
//! 2. Objectives of a simulation without what its SDK reads. Here, and in `sdk`.
//! 3. An agent's `summary` and `description`, of which each side knows one. Here.
//! 4. Ending an ended conversation is an error. Here, and in `sdk`.
//! 5. A default order that its SDK cannot ask for. Here.
//! 6. An unknown simulation is a 500. Here.
//! 7. Items are listed by POST alone. Here.
//! 8. Two evaluations on one objective collide. Here.
//! 9. Late work overwrites statuses. Here, and among the store's contract tests, with real
//!    concurrency.
//! 10. Canceling loses a final status, and repeating it is a 500. Here.
//! 11. A conversation of a lost worker is stuck. Here, and in `sdk` with workers that die.
//! 12. A persona that is rejected late is not replaced. Here.
//! 13. Nothing ever fails. Here.
//! 14. Canceling and expiry do not stop conversations. Here.
//! 15. The end of a conversation is a suffix of the persona's words. Here.
//! 16. Numbers without bounds. Here; every bound of every field is in `bad_input`.
//! 17. A repeated or concurrent call for a reply is answered twice. Here; more of it in `turns`.
//! 18. Verdicts show another version than was judged, are partial, unbounded and without evidence. Here; more of it in
//!     `objectives`.
//! 19. Times without a zone. Here.
//! 20. Ids of another project are accepted, simulations are open to all, any origin may call. Here;
//!     every route without a key is in `refusals`, and managed keys are in `managed_keys`.
//! 21. Blocking database calls, and sessions held across model calls. Not here: `bench/` measures it, and the store's
//!     tests show that reads do not wait for writes. That no turn holds up another is in `turns`.
//! 22. Background work waits for a tick of a minute. Here.
//! 23. Old work starves behind new work. Here.
//! 24. Lists without pages, and no totals. Here.

use std::collections::BTreeSet;

use http::Method;
use jiff::SignedDuration;
use onerun_api::{Handler, ROUTES};
use onerun_engine::Reply;
use onerun_tests::app::{Behavior, TestApp};
use serde_json::{Value, json};
use tokio::join;

use crate::{
    fixtures::{TestProject, code, data, id, text},
    seeded_project::{SeededProject, path},
};

/// The statuses of a simulation that the published SDK can read.
const READABLE: [&str; 6] = ["canceled", "completed", "expired", "failed", "in_progress", "pending"];

#[tokio::test]
async fn defect_01_sdk_reads_every_simulation_status() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut seen = BTreeSet::new();
    let mut simulations = Vec::new();
    for _ in 0..5 {
        simulations.push(project.create(json!({ "expires_in_seconds": 3_600 })).await);
    }
    let mut look = async || {
        for simulation in data(&project.get("/simulations").await) {
            seen.insert(text(simulation, "status"));
        }
    };
    look().await;
    app.run_jobs().await;
    look().await;
    // Right after the request, too, while the background has not seen it yet.
    project.order(&simulations[0], "run", 200).await;
    project.order(&simulations[1], "cancel", 200).await;
    look().await;
    app.run_jobs().await;
    project.test_conversations(&simulations[2]).await[0].hold(&[]).await;
    look().await;
    app.run_jobs().await;
    look().await;
    for _ in 0..3 {
        project.test_conversations(&simulations[3]).await[0].start(200).await;
        app.advance(SignedDuration::from_secs(300));
        app.run_jobs().await;
        look().await;
    }
    app.advance(SignedDuration::from_hours(1));
    app.run_jobs().await;
    look().await;
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), READABLE, "each of them, and no other");
}

#[tokio::test]
async fn defect_02_objectives_have_all_fields_of_the_sdk() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: persona ended").await;
    let body = project.wanted(json!({ "objective_ids": [objective] }));
    let created = project.client.post(&project.path("/simulations"), &body, 200).await;
    let got = project.simulation(&id(&created)).await;
    // Lists have none, as in the published service: the SDK reads the empty list.
    assert_eq!(data(&project.get("/simulations").await)[0]["objectives"], json!([]));
    for simulation in [created, got] {
        let objective = &simulation["objectives"][0];
        for field in ["id", "created_at", "criteria", "name", "project_id", "updated_at"] {
            assert!(objective[field].is_string(), "{field} of {objective}");
        }
        assert_eq!(objective["version"], 1);
    }
}

#[tokio::test]
async fn defect_03_agent_description_has_both_names() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({ "name": "Desk", "description": "Answers." });
    let agent = project.client.post(&project.path("/agents"), &body, 200).await;
    let simulation = project.create(json!({ "agent_id": id(&agent) })).await;
    let nested = project.simulation(&simulation).await["agent"].clone();
    let listed = data(&project.get("/agents?name=desk&limit=1").await)[0].clone();
    for agent in [agent, nested, listed] {
        assert_eq!(agent["description"], "Answers.");
        assert_eq!(agent["summary"], "Answers.");
    }
}

#[tokio::test]
async fn defect_04_ending_an_ended_conversation_is_fine() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 3, "max_turns": 3 })).await;
    let conversations = project.test_conversations(&simulation).await;
    conversations[0].hold(&[]).await;
    app.model().on_reply(Behavior::Says(Reply { text: None, ends: true }));
    conversations[1].say(None, 200).await;
    app.model().on_reply(Behavior::Offline);
    conversations[2].say(None, 200).await;
    assert_eq!(conversations[2].say(Some("Hello."), 200).await["ended"], true);
    for (conversation, reason) in
        conversations.iter().zip(["agent_decided", "persona_decided", "max_turns_reached"])
    {
        for _ in 0..2 {
            let before = conversation.see().await;
            assert_eq!(before["end_reason"], reason);
            app.next_instant();
            assert_eq!(conversation.end(200).await, json!({ "message": "Conversation ended successfully" }));
            assert_eq!(conversation.see().await, before);
            // And again after the evaluation, when the simulation has ended.
            app.run_jobs().await;
        }
    }
    assert_eq!(project.status(&simulation).await, "completed");
}

#[tokio::test]
async fn defect_05_default_order_is_newest_first() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        app.next_instant();
        made.push(project.create(json!({})).await);
    }
    let listed = |page: &Value| data(page).iter().map(id).collect::<Vec<_>>();
    assert_eq!(listed(&project.get("/simulations?sort_dir=asc").await), made);
    made.reverse();
    assert_eq!(listed(&project.get("/simulations").await), made);
    assert_eq!(listed(&project.get("/simulations?sort_dir=desc").await), made);
}

#[tokio::test]
async fn defect_06_unknown_simulation_is_404() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let unknown = "A".repeat(21);
    for (method, rest) in [
        (Method::GET, ""),
        (Method::GET, "/results"),
        (Method::GET, "/personas"),
        (Method::GET, "/conversations"),
        (Method::POST, "/run"),
        (Method::POST, "/cancel"),
    ] {
        let path = project.path(&format!("/simulations/{unknown}{rest}"));
        let problem = project.client.send(method, &path, None, 404).await.json();
        assert_eq!(
            (code(&problem), text(&problem, "detail")),
            (
                "simulation_not_found",
                format!("Simulation not found: `{unknown}`; list simulations with `GET /v1/simulations`")
            )
        );
    }
}

#[tokio::test]
async fn defect_07_items_are_listed_by_get() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.say(None, 200).await;
    let got = project.client.get(&conversation.path("/items"), 200).await;
    assert_eq!(data(&got).len(), 1);
    assert_eq!(project.client.post_empty(&conversation.path("/items"), 200).await, got);
}

#[tokio::test]
async fn defect_08_one_objective_judges_many_conversations() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: persona replies >= 1").await;
    let mut evaluations = BTreeSet::new();
    for _ in 0..2 {
        let simulation =
            project.simulate(json!({ "target_conversations": 3, "objective_ids": [objective] })).await;
        for conversation in project.test_conversations(&simulation).await {
            conversation.hold(&[]).await;
        }
        app.run_jobs().await;
        assert_eq!(project.status(&simulation).await, "completed");
        for shown in project.conversations(&simulation).await {
            let [evaluation] = &shown["evaluations"].as_array().unwrap()[..] else { panic!("not one") };
            assert_eq!(evaluation["objective_id"], objective);
            evaluations.insert(id(evaluation));
        }
    }
    assert_eq!(evaluations.len(), 6);
}

#[tokio::test]
async fn defect_09_late_work_overwrites_no_status() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    // A start after the cancellation.
    let canceled = project.create(json!({})).await;
    project.order(&canceled, "run", 200).await;
    project.order(&canceled, "cancel", 200).await;
    // A request to run while it runs, and one when everything was held but not judged.
    let objective = project.objective("Helps", "check: persona replies >= 1").await;
    let conversation = project.converse(json!({ "objective_ids": [objective] })).await;
    project.order(&conversation.simulation, "run", 200).await;
    conversation.hold(&[]).await;
    project.order(&conversation.simulation, "run", 200).await;
    app.run_jobs().await;
    assert_eq!(project.status(&canceled).await, "canceled");
    assert_eq!(project.status(&conversation.simulation).await, "completed");
    assert_eq!(conversation.see().await["evaluation_status"], "completed");
    // The write that ends the conversation also enqueues the evaluation, so nothing happens in
    // between.
    assert_eq!(conversation.see().await["evaluations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn defect_10_canceling_keeps_a_final_status_and_can_be_repeated() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let completed = project.converse(json!({})).await;
    completed.hold(&[]).await;
    app.run_jobs().await;
    let problem = project.order(&completed.simulation, "cancel", 409).await;
    assert_eq!(problem["message"], "the simulation is already completed");
    app.run_jobs().await;
    assert_eq!(project.status(&completed.simulation).await, "completed");

    let canceled = project.simulate(json!({})).await;
    for _ in 0..3 {
        project.order(&canceled, "cancel", 200).await;
        assert_eq!(project.status(&canceled).await, "canceled");
        app.run_jobs().await;
    }
    // To run it again is refused, not a failure of the server.
    assert_eq!(code(&project.order(&canceled, "run", 409).await), "simulation_over");
    assert_eq!(project.status(&canceled).await, "canceled");
}

#[tokio::test]
async fn defect_11_conversation_of_a_lost_worker_is_retried() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    conversation.start(200).await;
    app.advance(SignedDuration::from_secs(300));
    app.run_jobs().await;
    let queued =
        project.get(&format!("/simulations/{}/conversations?status=queued", conversation.simulation)).await;
    assert_eq!((data(&queued).len(), id(&data(&queued)[0])), (1, conversation.id.clone()));
    conversation.hold(&[]).await;
    app.run_jobs().await;
    assert_eq!(project.status(&conversation.simulation).await, "completed");
}

#[tokio::test]
async fn defect_12_persona_rejected_late_is_replaced() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project
        .simulate(json!({ "auto_approve": false, "target_personas": 2, "target_conversations": 4 }))
        .await;
    app.advance(SignedDuration::from_hours(1));
    app.run_jobs().await;
    let personas = project.personas(&simulation).await;
    project.decide(&simulation, &id(&personas[0]), "reject", 200).await;
    app.run_jobs().await;
    let personas = project.personas(&simulation).await;
    for persona in &personas[1..] {
        project.decide(&simulation, &id(persona), "approve", 200).await;
    }
    app.run_jobs().await;
    let conversations = project.test_conversations(&simulation).await;
    assert_eq!((personas.len(), conversations.len()), (3, 4));
    for conversation in &conversations {
        conversation.hold(&[]).await;
    }
    app.run_jobs().await;
    assert_eq!(project.status(&simulation).await, "completed");
}

#[tokio::test]
async fn defect_13_failures_have_a_reason() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({})).await;
    for _ in 0..3 {
        conversation.start(200).await;
        app.advance(SignedDuration::from_secs(300));
        app.run_jobs().await;
    }
    let shown = conversation.see().await;
    assert_eq!((&shown["status"], &shown["end_reason"]), (&json!("failed"), &json!("lease_expired")));
    let simulation = project.simulation(&conversation.simulation).await;
    assert_eq!(simulation["status"], "failed");
    assert_eq!(simulation["last_failure_reason"], "1 of 1 conversations could not be held in any attempt");
}

#[tokio::test]
async fn defect_14_conversations_stop_with_their_simulation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for expires in [false, true] {
        let wanted = json!({ "target_conversations": 2, "max_turns": 200, "expires_in_seconds": 3_600 });
        let simulation = project.simulate(wanted).await;
        let conversations = project.test_conversations(&simulation).await;
        conversations[0].say(None, 200).await;
        if expires {
            // The worker renews its lease, so only the expiry ends it.
            for _ in 0..12 {
                app.advance(SignedDuration::from_mins(5) - SignedDuration::from_secs(1));
                conversations[0].say(None, 200).await;
            }
            app.advance(SignedDuration::from_mins(5));
            app.run_jobs().await;
        } else {
            project.order(&simulation, "cancel", 200).await;
        }
        // Once stopped, the conversation is final; before that, its simulation is.
        let over = if expires { 400 } else { 409 };
        conversations[1].start(409).await;
        conversations[0].say(Some("Hello."), over).await;
        conversations[0].end(over).await;
        app.run_jobs().await;
        let reason = if expires { "simulation_expired" } else { "simulation_canceled" };
        for conversation in &conversations {
            assert_eq!(conversation.see().await["end_reason"], reason);
        }
    }
}

#[tokio::test]
async fn defect_15_end_marker_is_not_in_the_text() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    // A model marks the end separately from the text, so punctuation does not matter.
    for words in ["Bye.", "Bye.\n", "Bye. ", "Bye"] {
        let conversation = project.converse(json!({ "max_turns": 200 })).await;
        app.model().on_reply(Behavior::Says(Reply { text: Some(words.to_owned()), ends: true }));
        let reply = conversation.say(Some("Hello."), 200).await;
        assert_eq!(
            (&reply["ended"], &reply["output"][0]["content"][0]["text"]),
            (&json!(true), &json!(words))
        );
        assert_eq!(conversation.see().await["end_reason"], "persona_decided");
    }
    // The offline model leaves no marker in the text, and ignores an agent's marker.
    app.model().on_reply(Behavior::Offline);
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    let mut ended = conversation.say(None, 200).await["ended"] == true;
    assert!(!ended);
    while !ended {
        ended =
            conversation.say(Some("I have issued the refund. Good bye. [END]"), 200).await["ended"] == true;
    }
    assert_eq!(conversation.see().await["end_reason"], "persona_decided");
    for (role, words) in conversation.transcript().await {
        assert!(role == "assistant" || !words.contains("END"), "{words}");
    }
}

#[tokio::test]
async fn defect_16_numbers_out_of_bounds_are_refused() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for field in ["max_turns", "target_conversations", "target_personas"] {
        for number in [json!(0), json!(-1), json!(1_000_000), json!(1.5)] {
            let body = project.wanted(json!({ field: number }));
            let problem = project.client.post(&project.path("/simulations"), &body, 422).await;
            assert_eq!(problem["errors"][0]["pointer"], format!("#/{field}"));
        }
    }
}

#[tokio::test]
async fn defect_17_each_call_gets_one_reply() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    conversation.say(None, 200).await;
    // Repeated, because its answer was lost on the way.
    let client = project.client.with_header("idempotency-key", "1");
    let first = conversation.say_with(&client, "/responses", Some("Hello."), 200).await;
    let again = conversation.say_with(&client, "/responses", Some("Hello."), 200).await;
    assert_eq!(again.text, first.text);
    // Twice at once.
    app.model().on_reply(Behavior::Waits);
    join!(conversation.say(Some("One."), 200), async {
        app.model().waits().await;
        conversation.say(Some("Two."), 409).await;
        app.model().release();
    });
    // The persona does not answer itself.
    conversation.say(None, 200).await;
    assert_eq!(app.model().replies(), 3);
    let roles: Vec<_> = conversation.transcript().await.into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
}

#[tokio::test]
async fn defect_18_evaluation_has_objective_score_and_evidence() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective =
        project.objective("Helps", "check: agent says /refund/i\ncheck: agent says /sorry/i").await;
    let conversation = project.converse(json!({ "objective_ids": [objective] })).await;
    let path = project.path(&format!("/objectives/{objective}"));
    project.client.patch(&path, &json!({ "criteria": "Whatever." }), 200).await;
    conversation.hold(&["A refund."]).await;
    app.run_jobs().await;
    let evaluation = conversation.see().await["evaluations"][0].clone();
    assert_eq!(
        (&evaluation["objective_version"], &evaluation["objective"]["version"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        evaluation["objective"]["criteria"],
        "check: agent says /refund/i\ncheck: agent says /sorry/i"
    );
    assert_eq!((&evaluation["outcome"], &evaluation["score"]), (&json!("failed"), &json!(0.5)));
    assert_eq!(
        evaluation["reason"],
        "`check: agent says /refund/i` holds; `check: agent says /sorry/i` does not hold: nothing matches"
    );
    let said = &conversation.items().await[1];
    assert_eq!(evaluation["quotes"], json!([{ "item_id": id(said), "text": "refund" }]));
}

/// Checks every time in a value; answers how many there were.
fn check_times(value: &Value) -> usize {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| match value {
                Value::String(time) if name.ends_with("_at") => {
                    assert_eq!(time.len(), "2026-01-05T09:00:00.000000Z".len(), "{name}: {time}");
                    assert!(time.ends_with('Z'), "{name}: {time}");
                    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{name}: {time}");
                    1
                }
                other => check_times(other),
            })
            .sum(),
        Value::Array(values) => values.iter().map(check_times).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn defect_19_every_time_is_marked_as_utc() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    assert!(check_times(&seeded.state().await) > 20);
}

#[tokio::test]
async fn defect_20_projects_do_not_reach_each_other() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let other = TestProject::open(&app).await;
    let before = seeded.state().await;
    app.next_instant();
    for route in ROUTES.iter().filter(|route| matches!(route.handler, Handler::Project(_))) {
        let path = path(route, |name| {
            let known = seeded.ids.iter().find(|(known, _)| *known == name);
            if name == "project_id" { Some(other.id.clone()) } else { known.map(|(_, id)| id.clone()) }
        });
        let body = seeded.body(route);
        let (status, reply) = other.client.ask(route.method.clone(), &path, body).await;
        let first = route.path.split('/').find_map(|part| part.strip_prefix('{')?.strip_suffix("_id}"));
        match (first, route.operation) {
            (Some(resource), _) => {
                let expected = format!("{resource}_not_found");
                assert_eq!((status, code(&reply.json())), (404, expected.as_str()), "{}", route.operation);
            }
            // The body names the agent.
            (None, "create_simulation" | "import_simulation" | "create_monitor" | "claim_conversations") => {
                assert_eq!((status, code(&reply.json())), (404, "agent_not_found"));
            }
            (None, "create_batch") => {
                assert_eq!((status, code(&reply.json())), (422, "invalid_request"));
            }
            (None, operation) if route.method == Method::GET => {
                for (_, id) in seeded.ids.iter().filter(|(name, _)| *name != "project_id") {
                    assert!(!reply.text.contains(id), "{operation}: {}", reply.text);
                }
            }
            (None, _) => assert_eq!(status, 200),
        }
    }
    app.run_jobs().await;
    let mut after = seeded.state().await;
    // Except the list of projects, which contains the other project.
    after[0] = before[0].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn defect_20_no_cors_origin_is_allowed() {
    let app = TestApp::start();
    let client = app.root().with_header("origin", "https://elsewhere.example");
    // The client refuses every header that it does not know, so also each of CORS.
    client.get("/v1/projects", 200).await;
    let preflight = client.with_header("access-control-request-method", "POST");
    preflight.send(Method::OPTIONS, "/v1/projects", None, 405).await;
}

#[tokio::test]
async fn defect_22_work_waits_for_no_tick() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_conversations": 60, "target_personas": 30 })).await;
    // Sixty conversations of thirty personas later, no time has passed.
    let conversations = project.test_conversations(&simulation).await;
    assert_eq!(conversations.len(), 60);
    for conversation in &conversations {
        conversation.start(200).await;
        conversation.end(200).await;
    }
    app.run_jobs().await;
    let seen = project.simulation(&simulation).await;
    assert_eq!((&seen["status"], &seen["updated_at"]), (&json!("completed"), &seen["created_at"]));
}

/// The worker sends the published SDK's queries, and holds what it finds between two polls.
#[tokio::test]
async fn stock_worker_reaches_fifty_simulations_in_ten_polls() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for _ in 0..50 {
        app.next_instant();
        let wanted = json!({ "target_conversations": 30, "target_personas": 3, "max_turns": 200 });
        project.simulate(wanted).await;
    }
    let running = format!("/simulations?agent_id={}&status=in_progress&limit=10", project.agent);
    let mut served = std::collections::BTreeSet::new();
    for _ in 0..10 {
        app.advance(SignedDuration::from_secs(5));
        for simulation in data(&project.get(&running).await) {
            let simulation = id(simulation);
            let page = project.get(&format!("/simulations/{simulation}/conversations?status=queued")).await;
            for conversation in data(&page) {
                let conversation = project.test_conversation(&simulation, &id(conversation));
                conversation.start(200).await;
                conversation.end(200).await;
            }
            served.insert(simulation);
        }
    }
    assert_eq!(served.len(), 50);
}

#[tokio::test]
async fn defect_23_polling_first_pages_starves_no_conversation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut made = Vec::new();
    for _ in 0..12 {
        app.next_instant();
        made.push(project.simulate(json!({ "target_conversations": 11, "max_turns": 200 })).await);
    }
    // Exactly the query of the published SDK.
    let running = format!("/simulations?agent_id={}&status=in_progress", project.agent);
    let queued = |simulation: &str| format!("/simulations/{simulation}/conversations?status=queued");
    let first = project.get(&running).await;
    assert_eq!(data(&first).iter().map(id).collect::<Vec<_>>(), made[..10]);
    let page = project.get(&queued(&made[0])).await;
    let numbers: Vec<_> = data(&page).iter().map(|value| value["seq_id"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>(), "the longest waiting first");

    // A simulation whose conversations are all held makes room for one with a queued conversation.
    let conversations = project.test_conversations(&made[0]).await;
    app.next_instant();
    for conversation in &conversations {
        conversation.start(200).await;
    }
    let second = project.get(&running).await;
    assert_eq!(data(&second).iter().map(id).collect::<Vec<_>>(), made[1..11]);
    // A lost conversation queues behind those that waited before.
    app.advance(SignedDuration::from_secs(300));
    app.run_jobs().await;
    let third = project.get(&format!("{running}&limit=100")).await;
    let order: Vec<_> = data(&third).iter().map(id).collect();
    assert_eq!(order[..11], made[1..]);
    assert_eq!(order[11], made[0]);
    let mut worked = 0;
    // Page by page, a worker reaches every conversation.
    loop {
        let page = project.get(&running).await;
        let Some(simulation) = data(&page).first().map(id) else { break };
        for conversation in data(&project.get(&queued(&simulation)).await) {
            let conversation = project.test_conversation(&simulation, &id(conversation));
            conversation.start(200).await;
            conversation.end(200).await;
            worked += 1;
        }
        app.run_jobs().await;
    }
    assert_eq!(worked, 12 * 11);
}

#[tokio::test]
async fn defect_24_personas_and_items_are_paged() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({ "target_personas": 5, "target_conversations": 5 })).await;
    let conversation = &project.test_conversations(&simulation).await[0];
    conversation.say(Some("Hello."), 200).await;
    let personas = format!("/simulations/{simulation}/personas");
    let items = format!("{personas}/../conversations/{}/items", conversation.id).replace("personas/../", "");
    for (list, count) in [(personas, 5), (items, 2)] {
        let whole = project.get(&list).await;
        assert_eq!((data(&whole).len(), &whole["has_more"]), (count, &json!(false)));
        let mut parts = Vec::new();
        for offset in 0..count {
            let page = project.get(&format!("{list}?limit=1&offset={offset}")).await;
            assert_eq!(page["has_more"], offset + 1 < count);
            parts.extend(data(&page).clone());
        }
        assert_eq!(parts, *data(&whole));
    }
    assert_eq!(
        project.results(&simulation).await["conversations"],
        json!({ "target": 5, "queued": 4, "in_progress": 1, "ended": 0, "failed": 0, "retried": 0 })
    );
}
