//! Webhooks: their secrets, the events that they get, and deliveries.

mod keys;
mod real;

use http::Method;
use jiff::SignedDuration;
use onerun_domain::{EventType, WebhookDelivery};
use onerun_tests::app::{Received, TestApp};
use onerun_transport::{OutboundError, TransportError};
use serde_json::{Value, json};

use crate::fixtures::{TestProject, code, data, id, text};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

const URL: &str = "https://example.com/hook";

/// Requests about a project's webhooks.
impl TestProject<'_> {
    async fn webhook(&self, changes: Value) -> Value {
        let mut body = json!({ "url": URL });
        crate::fixtures::merge(&mut body, changes);
        self.client.post(&self.path("/webhooks"), &body, 200).await
    }

    async fn at_webhook(&self, webhook: &Value, rest: &str) -> Value {
        self.get(&format!("/webhooks/{}{rest}", id(webhook))).await
    }

    async fn act_on_webhook(&self, webhook: &Value, rest: &str, status: u16) -> Value {
        let path = self.path(&format!("/webhooks/{}{rest}", id(webhook)));
        self.client.post(&path, &json!({}), status).await
    }

    async fn change_webhook(&self, webhook: &Value, change: Value, status: u16) -> Value {
        self.client.patch(&self.path(&format!("/webhooks/{}", id(webhook))), &change, status).await
    }

    async fn deliveries(&self, webhook: &Value) -> Vec<Value> {
        data(&self.at_webhook(webhook, "/deliveries?limit=100").await).clone()
    }

    /// A simulation of one conversation that has ended. Nothing is delivered yet.
    async fn canceled_simulation(&self) -> String {
        let simulation = self.create(json!({})).await;
        self.order(&simulation, "cancel", 200).await;
        simulation
    }
}

fn types(received: &[Received]) -> Vec<String> {
    received.iter().map(|one| text(&one.json(), "type")).collect()
}

#[tokio::test]
async fn webhook_has_its_shape_on_every_route() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let created =
        project.webhook(json!({ "description": "Team", "event_types": ["simulation.failed"] })).await;
    let secret = text(&created, "secret");
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    let mut expected = json!({
        "id": created["id"],
        "project_id": project.id,
        "url": URL,
        "description": "Team",
        "event_types": ["simulation.failed"],
        "format": "standard",
        "state": "enabled",
        "disabled_reason": null,
        "previous_secret_expires_at": null,
        "created_at": app.now_text(),
        "updated_at": app.now_text(),
        "secret": secret,
    });
    assert_eq!(created, expected);
    expected.as_object_mut().unwrap().remove("secret");
    assert_eq!(project.at_webhook(&created, "").await, expected);
    app.next_instant();
    let all = project.webhook(json!({ "format": "slack", "state": "disabled" })).await;
    let every: Vec<_> = EventType::subscribable().map(EventType::as_str).collect();
    assert_eq!(all["event_types"], json!(every));
    let page = project.get("/webhooks?limit=1").await;
    assert_eq!((id(&data(&page)[0]), &page["has_more"]), (id(&all), &json!(true)), "newest first");
    let next = project.get(&format!("/webhooks?limit=1&cursor={}", text(&page, "next_cursor"))).await;
    assert_eq!((&next["data"], &next["has_more"]), (&json!([expected]), &json!(false)));

    app.next_instant();
    let changed = project.change_webhook(&created, json!({ "state": "disabled" }), 200).await;
    expected["state"] = json!("disabled");
    expected["updated_at"] = json!(app.now_text());
    assert_eq!(changed, expected);
    app.next_instant();
    let unchanged = json!({ "url": URL, "description": null, "event_types": null, "state": "disabled" });
    assert_eq!(project.change_webhook(&created, unchanged, 200).await, expected);

    let other = TestProject::open(&app).await;
    let path = format!("/webhooks/{}", id(&created));
    for rest in ["", "/deliveries", "/deliveries/delivery0000000000001"] {
        let problem = other.client.get(&other.path(&format!("{path}{rest}")), 404).await;
        assert_eq!(code(&problem), "webhook_not_found");
    }
    for rest in ["/rotate_secret", "/test", "/deliveries/delivery0000000000001/replay"] {
        let problem = other.client.post(&other.path(&format!("{path}{rest}")), &json!({}), 404).await;
        assert_eq!(code(&problem), "webhook_not_found");
    }
    for (project, status) in [(&other, 404), (&project, 200), (&project, 404)] {
        project.client.send(Method::DELETE, &project.path(&path), None, status).await;
    }
    assert_eq!(data(&project.get("/webhooks").await).len(), 1);
}

#[tokio::test]
async fn end_of_a_simulation_is_delivered_once_to_each() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    project
        .webhook(json!({ "url": "https://example.org/failures", "event_types": ["simulation.failed"] }))
        .await;
    project.webhook(json!({ "url": "https://example.org/off", "state": "disabled" })).await;
    TestProject::open(&app).await.webhook(json!({ "url": "https://example.org/other" })).await;
    app.next_instant();
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    let conversation = project.converse(json!({ "objective_ids": [objective] })).await;
    conversation.start(200).await;
    conversation.say(Some("A refund is on its way."), 200).await;
    conversation.end(200).await;
    for _ in 0..3 {
        app.run_jobs_twice().await;
    }
    let received = app.target().take_received();
    let [request] = &received[..] else { panic!("not one request: {received:?}") };
    let simulation = project.simulation(&conversation.simulation).await;
    let data = json!({
        "project_id": project.id,
        "simulation_id": conversation.simulation,
        "name": simulation["name"],
        "agent_id": project.agent,
        "agent_name": simulation["agent"]["name"],
        "status": "completed",
        "target_conversations": 1,
        "conversations": { "passed": 1, "failed": 0, "inconclusive": 0 },
        "batch_id": null,
        "monitor_id": null,
        "created_at": simulation["created_at"],
        "ended_at": simulation["updated_at"],
    });
    let body = json!({ "type": "simulation.completed", "timestamp": simulation["updated_at"], "data": data });
    assert_eq!((request.url.as_str(), request.json()), (URL, body.clone()));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-timestamp"), app.now().as_second().to_string());

    let [delivery] = &project.deliveries(&webhook).await[..] else { panic!("not one delivery") };
    let expected = json!({
        "id": request.header("webhook-id"),
        "webhook_id": webhook["id"],
        "event_type": "simulation.completed",
        "payload": body,
        "state": "delivered",
        "error": null,
        "attempts": [{ "at": app.now_text(), "status_code": 204, "error": null }],
        "next_attempt_at": null,
        "created_at": delivery["created_at"],
        "updated_at": app.now_text(),
        "expires_at": delivery["expires_at"],
    });
    assert_eq!(*delivery, expected);
    assert_eq!(project.at_webhook(&webhook, &format!("/deliveries/{}", id(delivery))).await, expected);
}

#[tokio::test]
async fn each_end_of_a_simulation_has_its_type() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.webhook(json!({})).await;
    app.next_instant();
    let canceled = project.canceled_simulation().await;
    // A repeated cancel is no second event.
    project.order(&canceled, "cancel", 200).await;
    app.run_jobs().await;
    project.create(json!({ "expires_in_seconds": 60 })).await;
    app.run_jobs().await;
    app.advance(MINUTE * 2);
    app.run_jobs().await;
    let received = app.target().take_received();
    assert_eq!(types(&received), ["simulation.canceled", "simulation.expired"]);
    assert_eq!(received[0].json()["data"]["simulation_id"], json!(canceled));
    // Events from before a webhook was created are not delivered to it.
    let late = project.canceled_simulation().await;
    app.next_instant();
    let webhook = project.webhook(json!({})).await;
    app.run_jobs().await;
    let received = app.target().take_received();
    assert_eq!(received.len(), 1, "only to the first webhook");
    assert_eq!(received[0].json()["data"]["simulation_id"], json!(late));
    assert_eq!(project.deliveries(&webhook).await, [json!(null); 0]);
}

#[tokio::test]
async fn failing_target_is_tried_over_a_day() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    let refused = Err(TransportError::Refused(OutboundError::Address));
    app.target().answer_with([500, 302]);
    app.target().answer([
        Err(TransportError::Timeout),
        Err(TransportError::Connect("secret-of-the-target".to_owned())),
        Err(TransportError::Broken("secret-of-the-target".to_owned())),
        refused,
        Err(TransportError::TooLarge),
    ]);
    app.target().answer_with([429]);
    let tested = project.act_on_webhook(&webhook, "/test", 200).await;
    assert_eq!((&tested["state"], &tested["attempts"]), (&json!("pending"), &json!([])));
    let started = app.now();
    app.run_jobs_and_retries().await;
    let [delivery] = &project.deliveries(&webhook).await[..] else { panic!("not one delivery") };
    assert_eq!((&delivery["state"], &delivery["error"]), (&json!("failed"), &json!("status")));
    let attempts: Vec<_> = delivery["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| (attempt["status_code"].as_u64(), text(attempt, "error")))
        .collect();
    let expected = [
        (Some(500), "status"),
        (Some(302), "status"),
        (None, "timeout"),
        (None, "connection_failed"),
        (None, "connection_failed"),
        (None, "address_refused"),
        (None, "response_too_large"),
        (Some(429), "status"),
    ];
    assert_eq!(attempts, expected.map(|(status, error)| (status, error.to_owned())));
    let received = app.target().take_received();
    let ids: std::collections::BTreeSet<_> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!((received.len(), ids.len()), (8, 1), "the same id in each attempt");
    let times: std::collections::BTreeSet<_> =
        received.iter().map(|one| one.header("webhook-signature")).collect();
    assert_eq!(times.len(), 8, "each attempt is signed with its own time");
    let hours = app.now().duration_since(started).as_hours();
    assert!((27..=34).contains(&hours), "{hours}");
    let stored = app.kept().await;
    for words in ["words of the target", "secret-of-the-target"] {
        assert!(!stored.windows(words.len()).any(|part| part == words.as_bytes()), "{words} is stored");
    }
}

#[tokio::test]
async fn failed_delivery_is_replayed_with_its_id_and_payload() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    app.target().answer_with([500; 8]);
    let tested = project.act_on_webhook(&webhook, "/test", 200).await;
    let at = format!("/deliveries/{}", id(&tested));
    let problem = project.act_on_webhook(&webhook, &format!("{at}/replay"), 409).await;
    assert_eq!(code(&problem), "delivery_pending");
    app.run_jobs_and_retries().await;
    let first = app.target().take_received();
    let failed = project.at_webhook(&webhook, "/deliveries?state=failed").await;
    assert_eq!(data(&failed).len(), 1);
    project.change_webhook(&webhook, json!({ "state": "disabled" }), 200).await;
    let problem = project.act_on_webhook(&webhook, &format!("{at}/replay"), 409).await;
    assert_eq!(code(&problem), "webhook_disabled");
    project.change_webhook(&webhook, json!({ "state": "enabled" }), 200).await;
    let replayed = project.act_on_webhook(&webhook, &format!("{at}/replay"), 200).await;
    assert_eq!((&replayed["state"], &replayed["error"]), (&json!("pending"), &json!(null)));
    app.run_jobs_twice().await;
    let again = app.target().take_received();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].header("webhook-id"), first[0].header("webhook-id"));
    assert_eq!(again[0].body, first[0].body);
    let delivery = project.at_webhook(&webhook, &at).await;
    assert_eq!(
        (&delivery["state"], delivery["attempts"].as_array().unwrap().len()),
        (&json!("delivered"), 9)
    );
    assert_eq!(*data(&project.at_webhook(&webhook, "/deliveries?state=failed").await), [json!(null); 0]);
    // A delivered one may be replayed, too, and twice under one key is once.
    let client = project.client.with_header("idempotency-key", "again");
    for _ in 0..2 {
        let path = project.path(&format!("/webhooks/{}{at}/replay", id(&webhook)));
        client.post(&path, &json!({}), 200).await;
    }
    app.run_jobs().await;
    assert_eq!(app.target().take_received().len(), 1);
}

#[tokio::test]
async fn target_that_is_gone_disables_its_webhook() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    app.next_instant();
    app.target().answer_with([500]);
    let waiting = project.act_on_webhook(&webhook, "/test", 200).await;
    app.run_jobs().await;
    app.target().answer_with([410]);
    let gone = project.act_on_webhook(&webhook, "/test", 200).await;
    app.run_jobs().await;
    let disabled = project.at_webhook(&webhook, "").await;
    let shown = (&disabled["state"], &disabled["disabled_reason"]);
    assert_eq!(shown, (&json!("disabled"), &json!("the target answered 410 Gone")));
    project.canceled_simulation().await;
    app.run_jobs_and_retries().await;
    for (delivery, error) in [(&gone, "status"), (&waiting, "webhook_disabled")] {
        let delivery = project.at_webhook(&webhook, &format!("/deliveries/{}", id(delivery))).await;
        assert_eq!((&delivery["state"], &delivery["error"]), (&json!("failed"), &json!(error)));
    }
    assert_eq!(app.target().take_received().len(), 2, "a disabled webhook gets nothing");
    assert_eq!(project.deliveries(&webhook).await.len(), 2);
    let problem = project.act_on_webhook(&webhook, "/test", 409).await;
    assert_eq!(code(&problem), "webhook_disabled");
    let enabled = project.change_webhook(&webhook, json!({ "state": "enabled" }), 200).await;
    assert_eq!(enabled["disabled_reason"], json!(null));
}

#[tokio::test]
async fn deleted_webhook_takes_its_deliveries_with_it() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    project.act_on_webhook(&webhook, "/test", 200).await;
    let path = project.path(&format!("/webhooks/{}", id(&webhook)));
    project.client.send(Method::DELETE, &path, None, 200).await;
    app.run_jobs_and_retries().await;
    assert_eq!(app.target().take_received().len(), 0);
    let deliveries = project.path(&format!("/webhooks/{}/deliveries", id(&webhook)));
    assert_eq!(code(&project.client.get(&deliveries, 404).await), "webhook_not_found");
}

#[tokio::test]
async fn two_secrets_sign_during_the_overlap() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    let signatures = async || {
        project.act_on_webhook(&webhook, "/test", 200).await;
        app.run_jobs().await;
        let received = app.target().take_received();
        received[0].header("webhook-signature").split(' ').count()
    };
    assert_eq!(signatures().await, 1);
    let rotated = project.act_on_webhook(&webhook, "/rotate_secret", 200).await;
    assert_ne!(rotated["secret"], webhook["secret"]);
    assert_eq!(
        rotated["previous_secret_expires_at"],
        json!(onerun_tests::app::wire_time(app.now() + HOUR * 24))
    );
    assert_eq!(signatures().await, 2);
    app.advance(HOUR * 24);
    assert_eq!(signatures().await, 1);
    let path = project.path(&format!("/webhooks/{}/rotate_secret", id(&webhook)));
    project.client.post(&path, &json!({ "overlap_seconds": 0 }), 200).await;
    assert_eq!(signatures().await, 1);
    let problem = project.client.post(&path, &json!({ "overlap_seconds": 604_801 }), 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/overlap_seconds", "{problem}");
}

#[tokio::test]
async fn secret_is_shown_once_and_never_stored() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let client = project.client.with_header("idempotency-key", "one");
    let path = project.path("/webhooks");
    let body = json!({ "url": URL });
    let first = client.post(&path, &body, 200).await;
    let again = client.post(&path, &body, 200).await;
    assert_eq!((&again["id"], &again["secret"]), (&first["id"], &json!(null)));
    let path = project.path(&format!("/webhooks/{}/rotate_secret", id(&first)));
    let other = project.client.with_header("idempotency-key", "two");
    let rotated = other.post(&path, &json!({}), 200).await;
    let repeated = other.post(&path, &json!({}), 200).await;
    assert_eq!(repeated["secret"], json!(null));
    project.act_on_webhook(&first, "/test", 200).await;
    app.run_jobs().await;
    assert_eq!(
        app.target().take_received()[0].header("webhook-signature").split(' ').count(),
        2,
        "rotated once"
    );
    let stored = app.kept().await;
    for made in [&first, &rotated] {
        let secret = text(made, "secret");
        let secret = secret.strip_prefix("whsec_").unwrap();
        assert!(!stored.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
}

#[tokio::test]
async fn url_of_a_refused_address_is_refused_in_every_notation() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    for url in [
        "http://example.com/",
        "ftp://example.com/",
        "https://example.com:8080/",
        "https://user:password@example.com/",
        "https://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://10.1.2.3/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:7f00:1::]/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1%25eth0]/",
        "https://",
        "https:///path",
        "//example.com/",
        "/path",
        "example.com",
        "",
        "https://example.com/ space",
        "https://exa\u{202e}mple.com/",
        "https://\u{1f600}.example/",
        "https://example.com/\u{1b}[2J",
    ] {
        let body = json!({ "url": url });
        let problem = project.client.post(&project.path("/webhooks"), &body, 422).await;
        assert_eq!(problem["errors"][0]["pointer"], "#/url", "{url}: {problem}");
        project.change_webhook(&webhook, body, 422).await;
    }
    let long = format!("https://example.com/{}", "a".repeat(2_048));
    project.client.post(&project.path("/webhooks"), &json!({ "url": long }), 422).await;
    assert_eq!(data(&project.get("/webhooks").await).len(), 1);
    for url in ["https://example.com", "https://8.8.8.8:8443/a?b=c", "https://[2606:4700::1111]/"] {
        project.change_webhook(&webhook, json!({ "url": url }), 200).await;
    }
}

#[tokio::test]
async fn malformed_webhook_is_refused_with_its_fields() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({
        "url": 1, "description": "\u{0}", "event_types": [], "format": "xml", "state": "on", "secret": "mine",
    });
    let problem = project.client.post(&project.path("/webhooks"), &body, 422).await;
    let fields: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|one| text(one, "pointer")).collect();
    assert_eq!(
        fields,
        ["#/url", "#/description", "#/event_types", "#/format", "#/state", "#/secret"],
        "{problem}"
    );
    for types in [json!(["webhook.test"]), json!(["simulation.*"]), json!("simulation.failed"), json!([null])]
    {
        let body = json!({ "url": URL, "event_types": types });
        project.client.post(&project.path("/webhooks"), &body, 422).await;
    }
}

#[tokio::test]
async fn project_has_at_most_twenty_webhooks() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    for _ in 0..20 {
        project.webhook(json!({})).await;
    }
    let problem = project.client.post(&project.path("/webhooks"), &json!({ "url": URL }), 409).await;
    assert_eq!(code(&problem), "too_many_webhooks");
    TestProject::open(&app).await.webhook(json!({})).await;
}

#[tokio::test]
async fn delivery_beyond_the_pending_ones_fails_and_can_be_replayed() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    let store = app.engine().store().open_project(&project.id.parse().unwrap()).await.unwrap().unwrap();
    let webhook_id = id(&webhook).parse().unwrap();
    for number in 0..1_000 {
        let delivery_id = WebhookDelivery::id_of(&webhook_id, EventType::WebhookTest, &[&number.to_string()]);
        let new = WebhookDelivery::new(
            delivery_id,
            &webhook_id,
            EventType::WebhookTest,
            "{}".to_owned(),
            app.now(),
        );
        store.add_webhook_delivery(new, Vec::new(), None).await.unwrap();
    }
    let refused = project.act_on_webhook(&webhook, "/test", 200).await;
    assert_eq!((&refused["state"], &refused["error"]), (&json!("failed"), &json!("too_many_pending")));
    app.run_jobs().await;
    assert_eq!(app.target().take_received().len(), 0);
    let at = format!("/deliveries/{}/replay", id(&refused));
    let problem = project.act_on_webhook(&webhook, &at, 409).await;
    assert_eq!(code(&problem), "too_many_pending_deliveries");
}

#[tokio::test]
async fn slack_gets_a_text_without_mentions_of_users() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.webhook(json!({ "format": "slack" })).await;
    app.next_instant();
    let simulation = project.create(json!({ "name": "<!channel> & <https://evil.example|here>" })).await;
    project.order(&simulation, "cancel", 200).await;
    app.run_jobs().await;
    let received = app.target().take_received();
    let body = received[0].json();
    let words = text(&body, "text");
    assert_eq!(body, json!({ "text": words }));
    assert!(words.starts_with("OneRun: simulation canceled: &lt;!channel&gt; &amp; &lt;https://"), "{words}");
    assert!(!words.contains(['<', '>']), "{words}");
}

#[tokio::test]
async fn runs_and_alerts_of_a_monitor_are_delivered() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let objective = project.objective("Refunds", "check: agent says /refund/i").await;
    project.webhook(json!({ "event_types": ["monitor.run_finished"] })).await;
    let alerts = json!(["monitor.alert", "monitor.recovered"]);
    project.webhook(json!({ "url": "https://example.org/alerts", "event_types": alerts })).await;
    let mut simulation =
        project.wanted(json!({ "objective_ids": [objective], "target_conversations": 4, "seed": null }));
    simulation.as_object_mut().unwrap().remove("auto_approve");
    let monitor = json!({
        "name": "Refunds",
        "simulation": simulation,
        "schedule": { "expression": "rate(1 hour)" },
        "gate": { "min_pass_rate": 1.0 },
        "alert": { "expected_pass_rate": 0.9, "low_pass_rate": 0.3 },
    });
    let monitor = project.client.post(&project.path("/monitors"), &monitor, 200).await;
    let path = format!("/monitors/{}/runs?limit=1", id(&monitor));
    let run = async |words: &str| {
        app.advance(HOUR);
        app.run_jobs().await;
        let run = data(&project.get(&path).await)[0].clone();
        for conversation in project.test_conversations(&text(&run, "simulation_id")).await {
            conversation.start(200).await;
            conversation.say(Some(words), 200).await;
            conversation.end(200).await;
        }
        app.run_jobs_twice().await;
        (data(&project.get(&path).await)[0].clone(), app.target().take_received())
    };
    let (good, received) = run("A refund is on its way.").await;
    assert_eq!(types(&received), ["monitor.run_finished"]);
    let expected = json!({
        "project_id": project.id,
        "monitor_id": monitor["id"],
        "monitor_name": "Refunds",
        "run_id": good["id"],
        "simulation_id": good["simulation_id"],
        "trigger": "schedule",
        "planned_at": good["planned_at"],
        "ended_at": good["ended_at"],
        "status": "completed",
        "verdict": "pass",
        "conversations": { "passed": 4, "failed": 0, "inconclusive": 0, "infra": 0 },
    });
    assert_eq!(received[0].json()["data"], expected);
    run("No.").await;
    let (bad, mut received) = run("No.").await;
    received.sort_by_key(|one| one.url.clone());
    assert_eq!(types(&received), ["monitor.run_finished", "monitor.alert"]);
    let expected = json!({
        "project_id": project.id,
        "monitor_id": monitor["id"],
        "monitor_name": "Refunds",
        "run_id": bad["id"],
        "simulation_id": bad["simulation_id"],
        "planned_at": bad["planned_at"],
        "expected_pass_rate": 0.9,
        "low_pass_rate": 0.3,
    });
    assert_eq!(received[1].json()["data"], expected);
    let (_, received) = run("A refund is on its way.").await;
    let mut all = types(&received);
    all.sort();
    assert_eq!(all, ["monitor.recovered", "monitor.run_finished"]);
    let (_, received) = run("A refund is on its way.").await;
    assert_eq!(types(&received), ["monitor.run_finished"], "an alert is delivered once");
}
