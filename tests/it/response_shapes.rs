//! Response bodies, paging, order and filters match the published service. Tests compare whole
//! bodies, after checking the form of ids and times.

use http::Method;
use jiff::SignedDuration;
use onerun_api::ROUTES;
use onerun_tests::app::TestApp;
use serde_json::{Value, json};

use crate::fixtures::{SCENARIO, TestProject, data, id, message, text};

/// The id of a value, which has `length` letters or digits.
fn checked_id(value: &Value, length: usize) -> String {
    let id = id(value);
    assert!(id.len() == length && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    id
}

fn ids(page: &Value) -> Vec<String> {
    data(page).iter().map(id).collect()
}

fn names(page: &Value) -> Vec<String> {
    data(page).iter().map(|value| text(value, "name")).collect()
}

/// A simulation as lists show it: the objectives left out, and the agent's description.
fn listed_simulation(simulation: &Value) -> Value {
    let mut listed = simulation.clone();
    listed["objectives"] = json!([]);
    for field in ["description", "summary"] {
        listed["agent"].as_object_mut().unwrap().remove(field);
    }
    listed
}

/// A page with all there is.
fn only(data: &[Value]) -> Value {
    json!({ "data": data, "has_more": false, "next_cursor": null })
}

#[tokio::test]
async fn health_matches_the_published_service() {
    let app = TestApp::start();
    let health = app.anonymous().get("/health", 200).await;
    assert_eq!(health, json!({ "status": "ok", "message": "OneRun API is running" }));
}

#[tokio::test]
async fn document_has_every_operation() {
    let app = TestApp::start();
    let document = app.anonymous().get("/openapi.json", 200).await;
    for route in ROUTES {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        assert_eq!(operation["operationId"], route.operation);
    }
}

#[tokio::test]
async fn project_has_its_shape_on_every_route() {
    let app = TestApp::start();
    let (client, made) = (app.root(), app.now_text());
    let project = client.post("/v1/projects", &json!({ "name": "Support" }), 200).await;
    let id = checked_id(&project, 12);
    assert_eq!(made, "2026-01-05T09:00:00.000000Z");
    let expected =
        json!({ "id": id, "name": "Support", "archived_at": null, "created_at": made, "updated_at": made });
    assert_eq!(project, expected);
    let path = format!("/v1/projects/{id}");
    assert_eq!(client.get(&path, 200).await, expected);
    assert_eq!(client.get("/v1/projects", 200).await, only(&[expected]));

    app.next_instant();
    let renamed = client.patch(&path, &json!({ "name": "Sales" }), 200).await;
    let changed = app.now_text();
    assert_eq!(changed, "2026-01-05T09:00:00.000001Z");
    let expected =
        json!({ "id": id, "name": "Sales", "archived_at": null, "created_at": made, "updated_at": changed });
    assert_eq!(renamed, expected);
    app.next_instant();
    for nothing in [json!({}), json!({ "name": null }), json!({ "name": "Sales" })] {
        assert_eq!(client.patch(&path, &nothing, 200).await, expected, "{nothing}");
    }
    assert_eq!(client.get(&path, 200).await, expected);
}

#[tokio::test]
async fn agent_has_its_shape_on_every_route() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let made = app.now_text();
    app.next_instant();
    let bare = project.client.post(&project.path("/agents"), &json!({ "name": "Bare" }), 200).await;
    assert_eq!(bare["description"], Value::Null);
    assert_eq!(bare["summary"], Value::Null);
    assert_eq!(bare["metadata"], json!({}));

    let metadata = json!({ "z": 1, "a": { "deep": [true, null, 0.5, "\n"] } });
    let body = json!({ "name": "Full", "description": "Answers.\nShortly.", "metadata": metadata });
    app.next_instant();
    let full = project.client.post(&project.path("/agents"), &body, 200).await;
    let id = checked_id(&full, 12);
    let now = app.now_text();
    let mut expected = json!({
        "id": id,
        "project_id": project.id,
        "name": "Full",
        "description": "Answers.\nShortly.",
        "summary": "Answers.\nShortly.",
        "metadata": metadata,
        "last_polled_at": null,
        "archived_at": null,
        "created_at": now,
        "updated_at": now,
        "total_simulations": 0,
        "endpoint": null,
    });
    assert_eq!(full, expected);
    assert_eq!(project.get(&format!("/agents/{id}")).await, expected);
    assert_eq!(data(&project.get("/agents").await)[0], expected);

    app.next_instant();
    let path = project.path(&format!("/agents/{id}"));
    let patched = project.client.patch(&path, &json!({ "description": "Asks.", "name": null }), 200).await;
    expected["description"] = "Asks.".into();
    expected["summary"] = "Asks.".into();
    expected["updated_at"] = app.now_text().into();
    assert_eq!(patched, expected);
    app.next_instant();
    assert_eq!(project.client.patch(&path, &json!({ "description": null }), 200).await, expected);

    project.create(json!({ "agent_id": id })).await;
    project.create(json!({ "agent_id": id })).await;
    expected["total_simulations"] = 2.into();
    assert_eq!(project.get(&format!("/agents/{id}")).await, expected);
    assert_eq!(project.get(&format!("/agents/{}", project.agent)).await["total_simulations"], 0);
    assert_eq!(project.get(&format!("/agents/{}", project.agent)).await["created_at"], made);
}

/// The reply to a write, without its warnings.
fn written(mut answer: Value) -> Value {
    let warnings = answer.as_object_mut().and_then(|answer| answer.remove("warnings"));
    assert!(warnings.is_some_and(|warnings| warnings.is_array()), "no warnings in {answer}");
    answer
}

#[tokio::test]
async fn objective_shape_has_a_new_version_per_change() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({ "name": "Is kind", "criteria": "The agent is kind.\ncheck: agent replies >= 1" });
    let objective = written(project.client.post(&project.path("/objectives"), &body, 200).await);
    let id = checked_id(&objective, 12);
    let mut expected = json!({
        "id": id,
        "project_id": project.id,
        "version": 1,
        "name": "Is kind",
        "criteria": "The agent is kind.\ncheck: agent replies >= 1",
        "created_at": app.now_text(),
        "updated_at": app.now_text(),
    });
    assert_eq!(objective, expected);
    let path = project.path(&format!("/objectives/{id}"));
    assert_eq!(project.client.get(&path, 200).await, expected);
    assert_eq!(project.get("/objectives").await, only(&[expected.clone()]));

    app.next_instant();
    let patched = written(project.client.patch(&path, &json!({ "name": "Is friendly" }), 200).await);
    expected["name"] = "Is friendly".into();
    expected["version"] = 2.into();
    expected["updated_at"] = app.now_text().into();
    assert_eq!(patched, expected);

    app.next_instant();
    // An ineffective change creates no version: equal versions would make equal evaluations look
    // different.
    for nothing in [json!({}), json!({ "name": "Is friendly", "criteria": null })] {
        assert_eq!(written(project.client.patch(&path, &nothing, 200).await), expected, "{nothing}");
    }
    let patched = written(project.client.patch(&path, &json!({ "criteria": "Other." }), 200).await);
    assert_eq!((&patched["version"], &patched["name"]), (&json!(3), &json!("Is friendly")));
    assert_eq!(patched["updated_at"], app.now_text());
    assert_eq!(
        project.get("/objectives").await,
        only(&[patched]),
        "each objective once, at its newest version"
    );
}

#[tokio::test]
async fn simulation_has_its_shape_on_every_route() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let second = project.objective("Second", "check: persona ended").await;
    let first = project.objective("First", "The agent is kind.").await;
    let body = json!({
        "agent_id": project.agent,
        "name": "Refunds",
        "scenario": SCENARIO,
        "target_conversations": 4,
        "target_personas": 2,
        "objective_ids": [first, second],
    });
    let simulation = written(project.client.post(&project.path("/simulations"), &body, 200).await);
    let id = checked_id(&simulation, 21);
    let mut agent = project.get(&format!("/agents/{}", project.agent)).await;
    for of_agents_alone in ["total_simulations", "endpoint"] {
        agent.as_object_mut().unwrap().remove(of_agents_alone);
    }
    let seed = simulation["seed"].as_u64().expect("a seed of its own");
    assert!(seed < 1 << 53, "every JSON reader holds {seed} exactly");
    let mut expected = json!({
        "id": id,
        "project_id": project.id,
        "agent_id": project.agent,
        "agent": agent,
        "name": "Refunds",
        "scenario": SCENARIO,
        "status": "pending",
        "last_failure_reason": null,
        "target_conversations": 4,
        "target_personas": 2,
        "max_turns": 5,
        "auto_approve": false,
        "personas_from": null,
        "batch_id": null,
        "import": null,
        "monitor_id": null,
        "seed": seed,
        "models": { "persona": "offline", "reply": "offline", "judge": "offline" },
        "max_cost_usd": null,
        "max_tokens": null,
        "metadata": {},
        "objectives": [
            project.get(&format!("/objectives/{first}")).await,
            project.get(&format!("/objectives/{second}")).await,
        ],
        "created_at": app.now_text(),
        "updated_at": app.now_text(),
        "expires_at": "2026-01-06T09:00:00.000000Z",
        "transcripts_deleted_at": null,
    });
    assert_eq!(simulation, expected);
    assert_eq!(project.simulation(&id).await, expected);
    assert_eq!(project.get("/simulations").await, only(&[listed_simulation(&expected)]));

    app.next_instant();
    app.run_jobs().await;
    expected["status"] = "in_progress".into();
    expected["updated_at"] = app.now_text().into();
    assert_eq!(project.simulation(&id).await, expected);
    assert_eq!(project.get("/simulations").await, only(&[listed_simulation(&expected)]));
}

#[tokio::test]
async fn simulation_stores_every_field_of_its_input() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let metadata = json!({ "commit": "abc", "n": [1, 2.5, null] });
    let body = project.wanted(json!({
        "name": "\u{1f600} “Überraschung”",
        "scenario": "One line.\nAnother\tone.",
        "target_conversations": 10_000,
        "target_personas": 10_000,
        "max_turns": 200,
        "auto_approve": true,
        "seed": (1_u64 << 53) - 1,
        "models": { "persona": "offline", "reply": "offline", "judge": "offline" },
        "max_cost_usd": 12.5,
        "max_tokens": 4_294_967_295_u32,
        "metadata": metadata,
        "expires_in_seconds": 1,
    }));
    let simulation = written(project.client.post(&project.path("/simulations"), &body, 200).await);
    for (field, value) in body.as_object().unwrap() {
        if field != "expires_in_seconds" {
            assert_eq!(simulation[field], *value, "{field}");
        }
    }
    assert_eq!(simulation["expires_at"], "2026-01-05T09:00:01.000000Z");
    assert_eq!(project.simulation(&id(&simulation)).await, simulation);
}

#[tokio::test]
async fn personas_are_one_page_newest_first() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let wanted = json!({ "target_personas": 30, "target_conversations": 30, "auto_approve": false });
    let simulation = project.simulate(wanted).await;
    let page = project.get(&format!("/simulations/{simulation}/personas")).await;
    assert_eq!((data(&page).len(), &page["has_more"]), (30, &json!(false)));
    let numbers: Vec<_> = data(&page).iter().map(|persona| persona["seq_id"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=30).rev().collect::<Vec<_>>());

    for persona in data(&page) {
        let attributes = persona["attributes"].as_object().unwrap();
        let known = [
            "age_group",
            "economic_status",
            "education",
            "habits",
            "interests",
            "occupation",
            "personality_traits",
            "speech_patterns",
            "speech_style",
            "stress_reactions",
            "stress_triggers",
            "typical_behavior",
            "values",
            "version",
        ];
        let mut there: Vec<_> = attributes.keys().map(String::as_str).collect();
        there.sort_unstable();
        assert_eq!(there, known);
        assert!(attributes.values().all(Value::is_string), "{persona}");
        let ages = ["teen", "young_adult", "adult", "senior"];
        assert!(ages.contains(&attributes["age_group"].as_str().unwrap()), "{persona}");
        assert!(!attributes["speech_style"].as_str().unwrap().is_empty(), "{persona}");
        assert_eq!(attributes["version"], "1");
        for field in ["summary", "story", "purpose"] {
            assert!(!text(persona, field).is_empty(), "{field} of {persona}");
        }
        assert_eq!(
            *persona,
            json!({
                "id": checked_id(persona, 21),
                "simulation_id": simulation,
                "seq_id": persona["seq_id"],
                "approval_status": "pending",
                "summary": persona["summary"],
                "story": persona["story"],
                "purpose": persona["purpose"],
                "attributes": attributes,
                "metadata": {},
                "created_at": app.now_text(),
                "updated_at": app.now_text(),
            })
        );
    }

    let part = project.get(&format!("/simulations/{simulation}/personas?limit=7&offset=25")).await;
    assert_eq!((data(&part), &part["has_more"]), (&data(&page)[25..].to_vec(), &json!(false)));
    let part = project.get(&format!("/simulations/{simulation}/personas?limit=7")).await;
    assert_eq!((data(&part), &part["has_more"]), (&data(&page)[..7].to_vec(), &json!(true)));
}

/// The expected item, with its own id.
fn expected_item(item: &Value, conversation: &str, role: &str, words: &str, made: &str) -> Value {
    json!({
        "id": checked_id(item, 21),
        "conversation_id": conversation,
        "attempt": 1,
        "type": "message",
        "role": role,
        "content": [{ "type": "text", "text": words }],
        "created_at": made,
        "updated_at": made,
    })
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one conversation passes through every status")]
async fn conversation_has_its_shape_in_every_status() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Helps", "check: agent says /refund/i").await;
    let conversation = project.converse(json!({ "objective_ids": [objective], "max_turns": 20 })).await;
    let simulation = conversation.simulation.clone();
    let persona = project.personas(&simulation).await.remove(0);
    let shown = conversation.see().await;
    let made = app.now_text();
    let mut expected = json!({
        "id": checked_id(&shown, 21),
        "simulation_id": simulation,
        "persona_id": persona["id"],
        "persona": persona,
        "seq_id": 1,
        "status": "queued",
        "end_reason": null,
        "evaluation_status": "pending",
        "evaluations": [],
        "attempt": 1,
        "ended_attempts": [],
        "item_count": 0,
        "persona_faults": [],
        "lease_expires_at": null,
        "metadata": {},
        "created_at": made,
        "updated_at": made,
    });
    assert_eq!(shown, expected);
    let list = format!("/simulations/{simulation}/conversations");
    assert_eq!(project.get(&list).await, only(&[expected.clone()]));

    app.next_instant();
    let started = conversation.start(200).await;
    let lease = "2026-01-05T09:05:00.000001Z";
    assert_eq!(
        started,
        json!({ "message": "Conversation started successfully", "attempt": 1, "lease_expires_at": lease, "lease_seconds": 300 })
    );
    expected["status"] = "in_progress".into();
    expected["lease_expires_at"] = lease.into();
    expected["updated_at"] = app.now_text().into();
    assert_eq!(conversation.see().await, expected);

    app.next_instant();
    let reply = conversation.say(Some("Shall I issue a refund?"), 200).await;
    let words = reply["output"][0]["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        reply,
        json!({
            "ended": false,
            "output": [{ "type": "message", "content": [{ "type": "text", "text": words }] }],
        })
    );
    expected["item_count"] = 2.into();
    expected["lease_expires_at"] = "2026-01-05T09:05:00.000002Z".into();
    expected["updated_at"] = app.now_text().into();
    assert_eq!(conversation.see().await, expected);
    let items = conversation.items().await;
    let said = [("assistant", "Shall I issue a refund?"), ("user", words)];
    for (item, (role, words)) in items.iter().zip(said) {
        assert_eq!(*item, expected_item(item, &conversation.id, role, words, &app.now_text()));
    }
    assert_eq!(items.len(), 2);

    app.next_instant();
    assert_eq!(conversation.end(200).await, json!({ "message": "Conversation ended successfully" }));
    expected["status"] = "ended".into();
    expected["end_reason"] = "agent_decided".into();
    expected["ended_attempts"] = json!([{
        "attempt": 1, "end_reason": "agent_decided", "failure_reason": null, "ended_at": app.now_text(),
    }]);
    expected["lease_expires_at"] = Value::Null;
    expected["updated_at"] = app.now_text().into();
    assert_eq!(conversation.see().await, expected);

    app.next_instant();
    app.run_jobs().await;
    let seen = conversation.see().await;
    let evaluation = &seen["evaluations"][0];
    let hash = text(evaluation, "prompt_hash");
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    expected["evaluation_status"] = "completed".into();
    expected["updated_at"] = app.now_text().into();
    expected["evaluations"] = json!([{
        "id": checked_id(evaluation, 21),
        "conversation_id": conversation.id,
        "objective_id": objective,
        "objective_version": 1,
        "objective": project.get(&format!("/objectives/{objective}")).await,
        "outcome": "passed",
        "score": 1.0,
        "ordinal": null,
        "reason": "`check: agent says /refund/i` holds",
        "quotes": [{ "item_id": items[0]["id"], "text": "refund" }],
        "judge": "checks",
        "judge_version": null,
        "judge_usage": null,
        "prompt_hash": hash,
        "created_at": app.now_text(),
        "updated_at": app.now_text(),
    }]);
    assert_eq!(seen, expected);
    expected["evaluations"][0]["objective"] =
        json!({ "id": objective, "version": 1, "name": expected["evaluations"][0]["objective"]["name"] });
    assert_eq!(project.get(&list).await, only(&[expected]), "lists leave the criteria out");
}

#[tokio::test]
async fn items_are_the_same_by_post_and_by_get() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    conversation.say(Some("Hello."), 200).await;
    for rest in
        ["/items", "/items?limit=1", "/items?limit=1&offset=1", "/items?attempt=1", "/items?attempt=2"]
    {
        let got = project.client.send(Method::GET, &conversation.path(rest), None, 200).await;
        let posted = project.client.send(Method::POST, &conversation.path(rest), None, 200).await;
        assert_eq!(got.text, posted.text, "{rest}");
    }
    let page = project.client.get(&conversation.path("/items?limit=1"), 200).await;
    assert_eq!((data(&page).len(), &page["has_more"]), (1, &json!(true)));
    assert_eq!(data(&page)[0]["role"], "assistant", "the oldest first");
}

#[tokio::test]
async fn items_are_one_page_oldest_first() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    let lines: Vec<_> = (0..50).map(|line| format!("Line {line}.")).collect();
    let input: Vec<_> = lines.iter().map(|line| message(Some(line))["input"][0].clone()).collect();
    project.client.post(&conversation.path("/responses"), &json!({ "input": input }), 200).await;
    let transcript = conversation.transcript().await;
    let said: Vec<_> = transcript.iter().filter(|(role, _)| role == "assistant").collect();
    assert_eq!(said.iter().map(|(_, text)| text).collect::<Vec<_>>(), lines.iter().collect::<Vec<_>>());
    assert_eq!(transcript.last().unwrap().0, "user");
}

#[tokio::test]
async fn message_of_several_parts_keeps_its_parts() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 200 })).await;
    let parts = json!([
        { "type": "text", "text": "One." },
        { "type": "text", "text": "" },
        { "type": "text", "text": "Three.\n\tIndented \u{1f600}" },
    ]);
    let input = json!({ "input": [{ "type": "message", "content": parts }] });
    project.client.post(&conversation.path("/responses"), &input, 200).await;
    assert_eq!(conversation.items().await[0]["content"], parts);
}

#[tokio::test]
async fn action_replies_match_the_published_service() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let wanted = json!({ "auto_approve": false, "target_personas": 2, "target_conversations": 2 });
    let simulation = project.simulate(wanted).await;
    let personas = project.personas(&simulation).await;
    let said = |message: &str| json!({ "message": message });
    let approved = project.decide(&simulation, &id(&personas[0]), "approve", 200).await;
    assert_eq!(approved, said("Persona approved successfully"));
    let rejected = project.decide(&simulation, &id(&personas[1]), "reject", 200).await;
    assert_eq!(rejected, said("Persona rejected successfully"));
    assert_eq!(project.order(&simulation, "run", 200).await, said("Simulation run requested"));
    assert_eq!(project.order(&simulation, "cancel", 200).await, said("Simulation cancel requested"));
}

#[tokio::test]
async fn lists_default_to_ten_newest_first_with_has_more() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for number in 1..=11 {
        app.next_instant();
        let name = format!("{number:02}");
        project.client.post("/v1/projects", &json!({ "name": name }), 200).await;
        project.client.post(&project.path("/agents"), &json!({ "name": name }), 200).await;
        project.objective(&name, "Is kind.").await;
        project.create(json!({ "name": name, "target_conversations": 11 })).await;
    }
    app.run_jobs().await;
    let all: Vec<_> = (1..=11).rev().map(|number| format!("{number:02}")).collect();
    let simulation = ids(&project.get("/simulations?limit=1").await).remove(0);
    // The first project and agent are the project's own.
    for (list, are_named) in [
        (project.path("/agents"), true),
        ("/v1/projects?".to_owned(), true),
        (project.path("/objectives"), true),
        (project.path("/simulations"), true),
        (project.path(&format!("/simulations/{simulation}/conversations")), false),
    ] {
        let page = project.client.get(&list, 200).await;
        assert_eq!((data(&page).len(), &page["has_more"]), (10, &json!(true)), "{list}");
        if are_named {
            assert_eq!(names(&page), all[..10], "{list}");
        } else {
            let numbers: Vec<_> = data(&page).iter().map(|value| value["seq_id"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (2..=11).rev().collect::<Vec<_>>());
        }
        let whole = project.client.get(&format!("{list}&limit=100"), 200).await;
        assert_eq!(whole["has_more"], false);
        // The parts make the whole, at every length of a part.
        for limit in [1, 3, 5, 11, 12] {
            let mut seen = Vec::new();
            loop {
                let path = format!("{list}&limit={limit}&offset={}", seen.len());
                let page = project.client.get(&path, 200).await;
                seen.extend(data(&page).clone());
                assert_eq!(page["has_more"], seen.len() < data(&whole).len(), "{path}");
                if page["has_more"] == false {
                    break;
                }
            }
            assert_eq!(seen, *data(&whole), "{list} by {limit}");
        }
        for offset in [100, 1_000_000] {
            let page = project.client.get(&format!("{list}&offset={offset}"), 200).await;
            assert_eq!(page, only(&[]), "{list}");
        }
    }
}

#[tokio::test]
async fn lists_sort_by_name_or_time() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for name in ["b", "c", "a"] {
        app.next_instant();
        project.client.post("/v1/projects", &json!({ "name": name }), 200).await;
        project.client.post(&project.path("/agents"), &json!({ "name": name }), 200).await;
        project.objective(name, "Is kind.").await;
        project.create(json!({ "name": name })).await;
    }
    for list in [
        "/v1/projects?".to_owned(),
        project.path("/agents"),
        project.path("/objectives"),
        project.path("/simulations"),
    ] {
        for (query, expected) in [
            ("", "acb"),
            ("&sort_dir=desc", "acb"),
            ("&sort_dir=asc", "bca"),
            ("&sort_by=created_at", "acb"),
            ("&sort_by=created_at&sort_dir=asc", "bca"),
            ("&sort_by=name", "cba"),
            ("&sort_by=name&sort_dir=asc", "abc"),
        ] {
            let page = project.client.get(&format!("{list}{query}"), 200).await;
            // Without the fixture's project and agent, which have longer names.
            let seen: String = names(&page).into_iter().filter(|name| name.len() == 1).collect();
            assert_eq!(seen, expected, "{list}{query}");
        }
    }
}

#[tokio::test]
async fn equal_timestamps_have_a_stable_order_across_pages() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for _ in 0..9 {
        project.create(json!({ "name": "Same" })).await;
    }
    for query in ["", "&sort_dir=asc", "&sort_by=name", "&sort_by=name&sort_dir=asc", "&sort_by=status"] {
        let whole = ids(&project.get(&format!("/simulations?limit=100{query}")).await);
        let mut parts = Vec::new();
        for offset in (0..9).step_by(2) {
            parts.extend(ids(&project.get(&format!("/simulations?limit=2&offset={offset}{query}")).await));
        }
        assert_eq!(parts, whole, "{query}");
        assert_eq!(whole.len(), 9);
    }
}

#[tokio::test]
async fn simulations_sort_by_status() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let canceled = project.simulate(json!({})).await;
    project.order(&canceled, "cancel", 200).await;
    let running = project.simulate(json!({})).await;
    let pending = project.create(json!({})).await;
    let mut expected = vec![canceled, running, pending];
    for (simulation, status) in expected.iter().zip(["canceled", "in_progress", "pending"]) {
        assert_eq!(project.status(simulation).await, status);
    }
    assert_eq!(ids(&project.get("/simulations?sort_by=status&sort_dir=asc").await), expected, "by the word");
    expected.reverse();
    assert_eq!(ids(&project.get("/simulations?sort_by=status").await), expected);
}

#[tokio::test]
async fn name_filter_is_a_case_insensitive_literal_substring() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let all = ["Refund", "refunds 100%", "a_b", "axb", "Größe", "back\\slash", "it's"];
    for name in all {
        app.next_instant();
        project.client.post(&project.path("/agents"), &json!({ "name": name }), 200).await;
        project.create(json!({ "name": name })).await;
    }
    for list in ["/agents", "/simulations"] {
        for (filter, expected) in [
            ("refund", vec!["refunds 100%", "Refund"]),
            ("EFUN", vec!["refunds 100%", "Refund"]),
            ("%25", vec!["refunds 100%"]),
            ("_", vec!["a_b"]),
            ("gr%C3%B6%C3%9Fe", vec!["Größe"]),
            ("%5C", vec!["back\\slash"]),
            ("%27", vec!["it's"]),
            ("s+100", vec!["refunds 100%"]),
            ("nothing", vec![]),
        ] {
            let page = project.get(&format!("{list}?name={filter}")).await;
            assert_eq!(names(&page), expected, "{list} {filter}");
        }
        let page = project.get(&format!("{list}?name=&limit=100")).await;
        assert!(data(&page).len() >= all.len(), "an empty part is part of every name");
    }
}

#[tokio::test]
async fn status_and_agent_filters_return_only_matches() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let other = id(&project.client.post(&project.path("/agents"), &json!({ "name": "Other" }), 200).await);
    let running = project.simulate(json!({})).await;
    let pending = project.create(json!({ "agent_id": other })).await;
    for (query, expected) in [
        ("status=pending".to_owned(), vec![&pending]),
        ("status=in_progress".to_owned(), vec![&running]),
        ("status=completed".to_owned(), vec![]),
        (format!("agent_id={other}"), vec![&pending]),
        (format!("agent_id={other}&status=in_progress"), vec![]),
        (format!("agent_id={}&status=in_progress", project.agent), vec![&running]),
        ("agent_id=AAAAAAAAAAAA".to_owned(), vec![]),
    ] {
        let page = project.get(&format!("/simulations?{query}")).await;
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for (status, count) in [("queued", 1), ("in_progress", 0), ("ended", 0), ("failed", 0)] {
        let page = project.get(&format!("/simulations/{running}/conversations?status={status}")).await;
        assert_eq!(data(&page).len(), count, "{status}");
    }
}

#[tokio::test]
async fn first_conversation_is_queued_without_delay() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let simulation = project.simulate(json!({})).await;
    let conversation = &project.conversations(&simulation).await[0];
    assert_eq!(conversation["status"], "queued");
    assert_eq!(conversation["created_at"], project.simulation(&simulation).await["created_at"]);
}

#[tokio::test]
async fn times_are_in_utc_to_the_microsecond() {
    let app = TestApp::start();
    app.set_now("2026-03-29T01:59:59.999999Z".parse().unwrap());
    let client = app.root();
    let first = client.post("/v1/projects", &json!({ "name": "a" }), 200).await;
    assert_eq!(first["created_at"], "2026-03-29T01:59:59.999999Z");
    app.advance(SignedDuration::from_micros(1));
    let second = client.post("/v1/projects", &json!({ "name": "b" }), 200).await;
    assert_eq!(second["created_at"], "2026-03-29T02:00:00.000000Z");
    // Also as texts, so that a reader may sort by them.
    assert!(first["created_at"].as_str() < second["created_at"].as_str());
}
