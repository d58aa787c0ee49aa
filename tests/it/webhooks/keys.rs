//! Events of managed keys.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use onerun_tests::app::{CreatedKey, Received, TestApp, wire_time};
use serde_json::{Value, json};

use super::types;
use crate::fixtures::{TestProject, id, text};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The keys of a project.
impl TestProject<'_> {
    async fn key(&self, terms: Value) -> CreatedKey {
        let mut all = json!({ "name": "CI", "scopes": ["agents:read"], "project_ids": [self.id] });
        crate::fixtures::merge(&mut all, terms);
        self.client.create_key(all).await
    }

    async fn change_key(&self, key: &CreatedKey, rest: &str, body: Value) -> Value {
        self.client.post(&format!("/v1/keys/{}{rest}", key.id), &body, 200).await
    }

    async fn update_key(&self, key: &CreatedKey, change: Value) -> Value {
        self.client.patch(&format!("/v1/keys/{}", key.id), &change, 200).await
    }
}

/// The requests that targets have received since the last call.
async fn told(app: &TestApp) -> Vec<Received> {
    app.run_jobs_twice().await;
    app.target().take_received()
}

async fn told_types(app: &TestApp) -> Vec<String> {
    types(&told(app).await)
}

#[tokio::test]
async fn each_change_of_a_key_is_delivered_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let webhook = project.webhook(json!({})).await;
    app.next_instant();
    let key = project.key(json!({})).await;
    let mut expected = json!({
        "project_id": project.id,
        "key_id": key.id,
        "name": "CI",
        "scopes": ["agents:read"],
        "actor_key_id": "root",
        "created_at": key.answer["created_at"],
        "expires_at": key.answer["expires_at"],
    });
    let body = |kind: &str, data: &Value| json!({ "type": kind, "timestamp": app.now_text(), "data": data });
    let received = told(&app).await;
    let [request] = &received[..] else { panic!("not one request: {received:?}") };
    assert_eq!(request.json(), body("key.created", &expected));
    app.next_instant();
    // The second call changes nothing.
    for _ in 0..2 {
        project.change_key(&key, "/disable", json!({})).await;
    }
    let received = told(&app).await;
    let [request] = &received[..] else { panic!("not one request: {received:?}") };
    assert_eq!(request.json(), body("key.disabled", &expected));
    app.next_instant();
    project.change_key(&key, "/enable", json!({})).await;
    project.update_key(&key, json!({ "name": "Shop" })).await;
    assert_eq!(told_types(&app).await, [""; 0]);
    expected["name"] = json!("Shop");
    let new = project.client.rotate_key(&key.id, json!({ "overlap_seconds": 60 })).await;
    let received = told(&app).await;
    let [request] = &received[..] else { panic!("not one request: {received:?}") };
    let mut rotated = expected.clone();
    rotated["new_key_id"] = json!(new.id);
    rotated["overlap_ends_at"] = json!(wire_time(app.now() + SignedDuration::from_secs(60)));
    assert_eq!(request.json(), body("key.rotated", &rotated));
    for _ in 0..2 {
        project.change_key(&key, "/revoke", json!({})).await;
    }
    let received = told(&app).await;
    let [request] = &received[..] else { panic!("not one request: {received:?}") };
    expected["leaked"] = json!(false);
    assert_eq!(request.json(), body("key.revoked", &expected));
    // Neither a secret nor its digest is in what is stored for webhooks, or shown.
    let stored = project.deliveries(&webhook).await;
    assert_eq!(stored.len(), 4);
    let whole = json!(stored).to_string();
    for key in [&key.key, &new.key] {
        let digest = onerun_domain::sha256_hex([key.as_str()]);
        assert!(!whole.contains(&key[16..]) && !whole.contains(&digest) && !whole.contains("digest"));
    }
}

#[tokio::test]
async fn event_names_the_key_that_made_the_change() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.webhook(json!({ "event_types": ["key.created", "key.revoked"] })).await;
    app.next_instant();
    let admin = project.key(json!({ "scopes": ["keys:read", "keys:write", "agents:read"] })).await;
    let terms = json!({ "name": "Made", "scopes": ["agents:read"], "project_ids": [project.id] });
    let made = app.root().with_key(&admin.key).create_key(terms).await;
    let reported = json!({ "keys": [made.key, made.key, "onr_not-a-key"] });
    app.anonymous().post("/v1/keys/revoke-leaked", &reported, 202).await;
    let received = told(&app).await;
    let shown = |event: &Received| {
        let data = &event.json()["data"];
        (
            text(&event.json(), "type"),
            text(data, "key_id"),
            text(data, "actor_key_id"),
            data["leaked"].clone(),
        )
    };
    let mut shown: Vec<_> = received.iter().map(shown).collect();
    shown.sort_by_key(|(kind, _, actor, _)| (kind.clone(), actor != "root"));
    let created = "key.created".to_owned();
    assert_eq!(
        shown,
        [
            (created.clone(), admin.id.clone(), "root".to_owned(), json!(null)),
            (created, made.id.clone(), admin.id, json!(null)),
            ("key.revoked".to_owned(), made.id.clone(), made.id, json!(true)),
        ]
    );
}

#[tokio::test]
async fn event_goes_to_the_projects_of_the_key_only() {
    let app = TestApp::start();
    let [one, two, other] =
        [TestProject::open(&app).await, TestProject::open(&app).await, TestProject::open(&app).await];
    for project in [&one, &two, &other] {
        project.webhook(json!({ "url": format!("https://example.com/{}", project.id) })).await;
    }
    app.next_instant();
    let key = one.key(json!({ "project_ids": [one.id, two.id] })).await;
    let shared = told(&app).await;
    let mut urls: Vec<_> = shared.iter().map(|event| event.url.clone()).collect();
    urls.sort_unstable();
    let mut expected = [&one, &two].map(|project| format!("https://example.com/{}", project.id));
    expected.sort_unstable();
    assert_eq!(urls, expected);
    // Each is told of its own project only.
    for event in &shared {
        let project = text(&event.json()["data"], "project_id");
        assert!(event.url.ends_with(&project), "{event:?}");
        let whole = event.json().to_string();
        let named = [&one, &two, &other].into_iter().filter(|project| whole.contains(&project.id)).count();
        assert_eq!(named, 1, "{whole}");
    }
    // A project that the key has left is not told any more, nor is one that it never named.
    one.update_key(&key, json!({ "project_ids": [two.id] })).await;
    one.change_key(&key, "/revoke", json!({})).await;
    let received = told(&app).await;
    let [event] = &received[..] else { panic!("not one: {received:?}") };
    assert_eq!(event.json()["data"]["project_id"], json!(two.id));
    // A key for all projects belongs to none of them.
    let all = app.root().create_key(json!({ "expires_in_days": 30 })).await;
    app.advance(DAY * 24);
    one.change_key(&all, "/disable", json!({})).await;
    app.root().rotate_key(&one.client.create_key(json!({})).await.id, json!({})).await;
    one.change_key(&all, "/revoke", json!({})).await;
    assert_eq!(told_types(&app).await, [""; 0]);
}

#[tokio::test]
async fn key_of_a_hundred_projects_is_told_to_each() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let mut ids = vec![project.id.clone()];
    while ids.len() < 100 {
        ids.push(id(&app.root().post("/v1/projects", &json!({ "name": "Shop" }), 200).await));
    }
    let mut expected = BTreeSet::new();
    for id in ids.iter().step_by(11) {
        let webhook = json!({ "url": format!("https://example.com/{id}") });
        app.root().post(&format!("/v1/webhooks?project_id={id}"), &webhook, 200).await;
        expected.insert(text(&webhook, "url"));
    }
    app.next_instant();
    let key = project.key(json!({ "project_ids": ids })).await;
    project.client.rotate_key(&key.id, json!({})).await;
    let received = told(&app).await;
    for kind in ["key.created", "key.rotated"] {
        let of_kind = received.iter().filter(|event| event.json()["type"] == kind);
        assert_eq!(of_kind.map(|event| event.url.clone()).collect::<BTreeSet<_>>(), expected, "{kind}");
    }
    assert_eq!(received.len(), 2 * expected.len());
}

#[tokio::test]
async fn key_that_expires_soon_is_told_once() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.webhook(json!({ "event_types": ["key.expiring"] })).await;
    app.next_instant();
    let key = project.key(json!({ "expires_in_days": 100 })).await;
    assert_eq!(told_types(&app).await, [""; 0]);
    // The job looks at the key meanwhile.
    for _ in 0..3 {
        app.advance(DAY * 31 - SignedDuration::from_secs(1));
        assert_eq!(told_types(&app).await, [""; 0]);
    }
    app.advance(SignedDuration::from_secs(2));
    assert_eq!(told_types(&app).await, [""; 0]);
    app.advance(SignedDuration::from_secs(1));
    let received = told(&app).await;
    let [request] = &received[..] else { panic!("not one request: {received:?}") };
    let expected = json!({
        "type": "key.expiring",
        "timestamp": app.now_text(),
        "data": {
            "project_id": project.id,
            "key_id": key.id,
            "name": "CI",
            "scopes": ["agents:read"],
            "actor_key_id": null,
            "created_at": key.answer["created_at"],
            "expires_at": wire_time(app.now() + DAY * 7),
        },
    });
    assert_eq!(request.json(), expected);
    project.update_key(&key, json!({ "name": "Renamed" })).await;
    app.advance(DAY * 8);
    assert_eq!(told_types(&app).await, [""; 0]);
}

#[tokio::test]
async fn expiry_is_told_by_its_present_time_and_projects() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let other = TestProject::open(&app).await;
    for one in [&project, &other] {
        one.webhook(json!({ "event_types": ["key.expiring"] })).await;
    }
    app.next_instant();
    // A key for all projects is bound later.
    let later = project.client.create_key(json!({ "expires_in_days": 40 })).await;
    project.update_key(&later, json!({ "project_ids": [project.id] })).await;
    let longer = project.key(json!({ "expires_in_days": 20 })).await;
    project.update_key(&longer, json!({ "expires_in_days": 30 })).await;
    let sooner = project.key(json!({ "expires_in_days": 60 })).await;
    project.update_key(&sooner, json!({ "expires_in_days": 20 })).await;
    let moved = project.key(json!({ "expires_in_days": 50 })).await;
    app.run_jobs().await;
    project.update_key(&moved, json!({ "project_ids": [other.id] })).await;
    let mut found = Vec::new();
    for day in 1..62 {
        app.advance(DAY);
        for event in told(&app).await {
            let data = event.json()["data"].clone();
            found.push((day, text(&data, "key_id"), text(&data, "project_id")));
        }
    }
    let expected = [
        (13, sooner.id, project.id.clone()),
        (23, longer.id, project.id.clone()),
        (33, later.id, project.id.clone()),
        (43, moved.id, other.id.clone()),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn key_that_ends_otherwise_is_not_told_to_expire() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.webhook(json!({ "event_types": ["key.expiring"] })).await;
    app.next_instant();
    project.key(json!({ "expires_in_days": 7 })).await;
    project.key(json!({ "never_expires": true })).await;
    let shortened = project.key(json!({ "expires_in_days": 30 })).await;
    project.update_key(&shortened, json!({ "expires_in_days": 5 })).await;
    let revoked = project.key(json!({ "expires_in_days": 30 })).await;
    let long = project.key(json!({ "expires_in_days": 3_650 })).await;
    let replaced = project.key(json!({ "expires_in_days": 30 })).await;
    app.run_jobs().await;
    app.advance(DAY * 20);
    for key in [&revoked, &long] {
        project.change_key(key, "/revoke", json!({})).await;
    }
    // The new key has its own expiry.
    let new = project.client.rotate_key(&replaced.id, json!({ "overlap_seconds": 604_800 })).await;
    let mut found = Vec::new();
    for day in 21..60 {
        app.advance(DAY);
        for event in told(&app).await {
            found.push((day, text(&event.json()["data"], "key_id")));
        }
    }
    assert_eq!(found, [(43, new.id)]);
    // No job is left that waits for one of them, not even that of a key that was to live ten years.
    let before = app.now();
    app.run_jobs_and_retries().await;
    assert_eq!(app.now(), before);
}

#[tokio::test]
async fn slack_reads_events_of_keys_in_words() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    project.webhook(json!({ "format": "slack" })).await;
    app.next_instant();
    let key = project.key(json!({ "name": "<!channel>", "expires_in_days": 8 })).await;
    let mut texts = vec![];
    let mut tell = async || {
        for event in told(&app).await {
            texts.push(text(&event.json(), "text").replace(&key.id, "ID"));
        }
    };
    tell().await;
    project.change_key(&key, "/disable", json!({})).await;
    tell().await;
    app.advance(DAY);
    tell().await;
    app.anonymous().post("/v1/keys/revoke-leaked", &json!({ "keys": [key.key] }), 202).await;
    tell().await;
    let expiry = text(&key.answer, "expires_at");
    let expected = [
        "was created by root",
        "was disabled by root",
        &format!("expires at {expiry}"),
        "was revoked, because it was reported as leaked",
    ];
    assert_eq!(texts, expected.map(|deed| format!("OneRun: key &lt;!channel&gt; (ID) {deed}")));
}
