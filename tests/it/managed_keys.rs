//! Creating, using, changing and revoking managed keys. `auth_matrix.rs` tests wrong keys.

use std::collections::BTreeMap;

use http::Method;
use jiff::SignedDuration;
use onerun_api::{Body, ROUTES};
use onerun_auth::{Actor, AuditCheck, AuditEntry, AuditEvent, AuditHead};
use onerun_engine::Settings;
use onerun_tests::app::{Client, CreatedKey, TestApp, keys, wire_time};
use serde_json::{Value, json};

use crate::fixtures::{code, data, id};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn with<'a>(app: &'a TestApp, key: &CreatedKey) -> Client<'a> {
    app.anonymous().with_key(&key.key)
}

async fn see(app: &TestApp, key: &CreatedKey) -> Value {
    app.root().get(&format!("/v1/keys/{}", key.id), 200).await
}

async fn act(client: &Client<'_>, key: &CreatedKey, what: &str, status: u16) -> Value {
    client.post_empty(&format!("/v1/keys/{}/{what}", key.id), status).await
}

fn ids(page: &Value) -> Vec<String> {
    data(page).iter().map(id).collect()
}

#[tokio::test]
async fn key_secret_is_shown_only_once() {
    let app = TestApp::start();
    let project = id(&app.root().post("/v1/projects", &json!({ "name": "Shop" }), 200).await);
    let made = app
        .root()
        .create_key(json!({
            "name": "Pipeline of the shop",
            "scopes": ["simulations:read", "simulations:write"],
            "project_ids": [project],
            "expires_in_days": 30,
            "allowed_cidrs": ["127.0.0.1", "2001:DB8::1/32"],
            "rate_limit": { "requests": 10, "window_seconds": 60 },
            "metadata": { "team": "checkout" },
        }))
        .await;
    assert_eq!(made.key.len(), 64);
    assert!(made.key.starts_with(made.answer["prefix"].as_str().unwrap()));

    let shown = see(&app, &made).await;
    let mut answer = made.answer.clone();
    answer.as_object_mut().unwrap().remove("key");
    assert_eq!(shown, answer);
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["scopes"], json!(["simulations:read", "simulations:write"]));
    assert_eq!(shown["project_ids"], json!([project]));
    assert_eq!(shown["expires_at"], wire_time(app.now() + 30 * DAY));
    assert_eq!(shown["allowed_cidrs"], json!(["127.0.0.1/32", "2001:db8::/32"]));
    assert_eq!(shown["rate_limit"], json!({ "requests": 10, "window_seconds": 60 }));
    assert_eq!(shown["metadata"], json!({ "team": "checkout" }));
    assert_eq!(shown["created_by"], "root");

    let who = with(&app, &made).get("/v1/whoami", 200).await;
    assert_eq!((who["key_id"].clone(), who["name"].clone()), (shown["id"].clone(), shown["name"].clone()));
    assert_eq!(
        (who["kind"].clone(), who["expires_at"].clone()),
        (json!("managed"), shown["expires_at"].clone())
    );
    for name in ["scopes", "all_projects", "project_ids", "allowed_cidrs", "rate_limit"] {
        assert_eq!(who[name], shown[name], "{name}");
    }
}

#[tokio::test]
async fn key_expires_after_90_days_by_default() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    assert_eq!(made.answer["expires_at"], wire_time(app.now() + 90 * DAY));
    let endless = app.root().create_key(json!({ "never_expires": true })).await;
    assert_eq!(endless.answer["expires_at"], Value::Null);
    app.advance(3_650 * DAY);
    with(&app, &endless).get("/v1/whoami", 200).await;
    assert_eq!(code(&with(&app, &made).get("/v1/whoami", 401).await), "expired_api_key");
}

#[tokio::test]
async fn key_over_the_limit_is_refused_until_another_ends() {
    let settings = Settings { max_live_keys: 2, ..TestApp::settings() };
    let app = TestApp::start_with(ROUTES, Box::new(keys()), settings);
    let expiring = app.root().create_key(json!({ "expires_in_days": 1 })).await;
    let other = app.root().create_key(json!({})).await;
    let body = json!({ "name": "x", "preset": "ci", "all_projects": true });
    let problem = app.root().post("/v1/keys", &body, 409).await;
    assert_eq!(code(&problem), "too_many_keys");
    assert!(problem["message"].as_str().unwrap().contains("revoke keys"), "{problem}");
    assert_eq!(code(&act(&app.root(), &other, "rotate", 409).await), "too_many_keys");
    app.root().get(&format!("/v1/keys/{}", expiring.id), 200).await;
    app.advance(DAY);
    app.root().post("/v1/keys", &body, 200).await;
    app.root().post("/v1/keys", &body, 409).await;
    act(&app.root(), &other, "revoke", 200).await;
    app.root().post("/v1/keys", &body, 200).await;
}

#[tokio::test]
async fn family_of_keys_has_a_limit_of_its_own() {
    let settings = Settings { max_family_keys: 3, ..TestApp::settings() };
    let app = TestApp::start_with(ROUTES, Box::new(keys()), settings);
    let maker = app.root().create_key(json!({})).await;
    let child = with(&app, &maker).create_key(json!({})).await;
    let grandchild = with(&app, &child).create_key(json!({})).await;
    let body = json!({ "name": "x", "preset": "ci", "all_projects": true });
    for key in [&maker, &child, &grandchild] {
        let problem = with(&app, key).post("/v1/keys", &body, 409).await;
        assert_eq!(code(&problem), "too_many_keys_of_family");
        let message = problem["message"].as_str().unwrap();
        assert!(message.starts_with("3 keys") && message.contains("revoke those"), "{problem}");
        assert_eq!(code(&act(&with(&app, key), &child, "rotate", 409).await), "too_many_keys_of_family");
    }
    // Neither other keys nor the root key are limited by it, and its replacement is.
    let other = app.root().create_key(json!({})).await;
    with(&app, &other).post("/v1/keys", &body, 200).await;
    let renewed = app.root().rotate_key(&maker.id, json!({})).await;
    let renewed = with(&app, &renewed);
    act(&app.root(), &maker, "revoke", 200).await;
    assert_eq!(code(&renewed.post("/v1/keys", &body, 409).await), "too_many_keys_of_family");
    act(&app.root(), &grandchild, "revoke", 200).await;
    renewed.post("/v1/keys", &body, 200).await;
}

#[tokio::test]
async fn malformed_time_is_refused_with_the_format() {
    let app = TestApp::start();
    for time in ["-000001-01-01T00:00:00Z", "20261123T093000Z", "2026-11-23T09:30:00+01:00[Europe/Paris]"] {
        let body = json!({ "name": "x", "preset": "ci", "all_projects": true, "not_before": time });
        let problem = app.root().post("/v1/keys", &body, 422).await;
        assert_eq!(problem["errors"][0]["pointer"], "#/not_before", "{problem}");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("RFC 3339"), "{problem}");
    }
}

#[tokio::test]
async fn key_without_scopes_or_projects_is_refused() {
    let app = TestApp::start();
    let problem = app.root().post("/v1/keys", &json!({ "name": "x" }), 422).await;
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["#/scopes", "#/project_ids"]);
    let none = app.root().create_key(json!({ "scopes": [] })).await;
    assert_eq!(none.answer["scopes"], json!([]));
    let problem = with(&app, &none).get("/v1/projects", 403).await;
    assert_eq!(code(&problem), "insufficient_scope");
}

#[tokio::test]
async fn contradictory_key_fields_are_refused() {
    let app = TestApp::start();
    let good = json!({ "name": "x", "preset": "ci", "all_projects": true });
    for (field, value, other, with) in [
        ("scopes", json!(["agents:read"]), "preset", json!("ci")),
        ("project_ids", json!(["AAAAAAAAAAAA"]), "all_projects", json!(true)),
        ("expires_in_days", json!(1), "never_expires", json!(true)),
        ("allowed_cidrs", json!(["10.0.0.0/8"]), "any_address", json!(true)),
        ("rate_limit", json!({ "requests": 1, "window_seconds": 1 }), "no_rate_limit", json!(true)),
    ] {
        let mut body = good.clone();
        body[field] = value;
        body[other] = with;
        let problem = app.root().post("/v1/keys", &body, 422).await;
        assert_eq!(problem["errors"][0]["pointer"], format!("#/{other}"), "{problem}");
    }
    let mut late = good.clone();
    late["not_before"] = json!(wire_time(app.now() + 90 * DAY));
    let problem = app.root().post("/v1/keys", &late, 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/not_before");
    let mut nowhere = good;
    nowhere.as_object_mut().unwrap().remove("all_projects");
    nowhere["project_ids"] = json!(["AAAAAAAAAAAA"]);
    let problem = app.root().post("/v1/keys", &nowhere, 422).await;
    assert_eq!(problem["errors"][0]["pointer"], "#/project_ids");
    assert_eq!(data(&app.root().get("/v1/keys", 200).await).len(), 0, "something of it was kept");
}

#[tokio::test]
async fn key_in_a_key_name_is_refused() {
    let app = TestApp::start();
    // Not created by the kit, which refuses replies with its secrets.
    let body = json!({ "name": "x", "preset": "ci", "all_projects": true });
    let made = app.root().post("/v1/keys", &body, 200).await;
    let path = format!("/v1/keys/{}", id(&made));
    let key = made["key"].as_str().unwrap();
    for (field, value) in
        [("name", json!(format!("key {key}"))), ("metadata", json!({ "a": { "b": [key] } }))]
    {
        let mut with_key = body.clone();
        with_key[field] = value.clone();
        for problem in [
            app.root().post("/v1/keys", &with_key, 422).await,
            app.root().patch(&path, &json!({ field: value }), 422).await,
        ] {
            assert_eq!(problem["errors"][0]["pointer"], format!("#/{field}"));
            assert!(!problem.to_string().contains(key));
        }
    }
}

#[tokio::test]
async fn repeated_create_makes_one_key_and_one_secret() {
    let app = TestApp::start();
    let client = app.root().with_header("idempotency-key", "deploy-17");
    let body = json!({ "name": "ci", "preset": "ci", "all_projects": true });
    let first = client.post("/v1/keys", &body, 200).await;
    assert_eq!(first["key"].as_str().unwrap().len(), 64);
    // The same request in another notation.
    let again = json!({ "all_projects": true, "preset": "ci", "name": "ci" });
    let second = client.post("/v1/keys", &again, 200).await;
    assert_eq!((&second["id"], &second["key"]), (&first["id"], &Value::Null));
    let other =
        client.post("/v1/keys", &json!({ "name": "x", "preset": "ci", "all_projects": true }), 422).await;
    assert_eq!(code(&other), "idempotency_key_reused");
    // Two callers may use the same idempotency key.
    let admin = app.root().create_key(json!({})).await;
    let theirs =
        with(&app, &admin).with_header("idempotency-key", "deploy-17").post("/v1/keys", &body, 200).await;
    assert_ne!(theirs["id"], first["id"]);
    assert_eq!(data(&app.root().get("/v1/keys", 200).await).len(), 3);
}

#[tokio::test]
async fn repeated_rotation_makes_one_key() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    let client = app.root().with_header("idempotency-key", "r");
    let first = act(&client, &made, "rotate", 200).await;
    let second = act(&client, &made, "rotate", 200).await;
    assert_eq!((&second["id"], &second["key"]), (&first["id"], &Value::Null));
    assert_eq!(code(&act(&app.root(), &made, "rotate", 409).await), "key_replaced");
    assert_eq!(data(&app.root().get("/v1/keys", 200).await).len(), 2);
}

#[tokio::test]
async fn keys_are_filtered_by_status_expiry_and_use() {
    let app = TestApp::start();
    let root = app.root();
    let project = id(&root.post("/v1/projects", &json!({ "name": "Shop" }), 200).await);
    let mut made = BTreeMap::new();
    for (name, terms) in [
        ("bound", json!({ "project_ids": [project], "expires_in_days": 60 })),
        ("short", json!({ "expires_in_days": 5 })),
        ("endless", json!({ "never_expires": true })),
        ("early", json!({ "not_before": wire_time(app.now() + 50 * DAY) })),
        ("disabled", json!({})),
        ("revoked", json!({ "expires_in_days": 5 })),
    ] {
        app.next_instant();
        made.insert(name, root.create_key(terms).await);
    }
    act(&root, &made["disabled"], "disable", 200).await;
    act(&root, &made["revoked"], "revoke", 200).await;
    app.advance(4 * DAY);
    with(&app, &made["endless"]).get("/v1/projects", 200).await;
    let found = async |query: &str| {
        let page = root.get(&format!("/v1/keys?limit=100&{query}"), 200).await;
        let name = |id: String| made.iter().find(|(_, key)| key.id == id).map(|(name, _)| *name).unwrap();
        ids(&page).into_iter().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("").await, "revoked disabled early endless short bound", "newest first");
    assert_eq!(found("status=active").await, "endless short bound");
    assert_eq!(found("status=pending").await, "early");
    assert_eq!(found("status=disabled").await, "disabled");
    assert_eq!(found("status=revoked").await, "revoked");
    assert_eq!(found("expiring_within_days=1").await, "short");
    assert_eq!(found("expiring_within_days=0").await, "");
    assert_eq!(found("idle_for_days=4").await, "short bound");
    assert_eq!(found("idle_for_days=5").await, "");
    assert_eq!(found(&format!("project_id={project}&status=active")).await, "endless short bound");
    app.advance(DAY);
    assert_eq!(found("status=expired").await, "short");
    assert_eq!(code(&root.get("/v1/keys?status=gone", 422).await), "invalid_request");
    let page = root.get("/v1/keys?limit=2&offset=2", 200).await;
    assert_eq!(ids(&page), [made["early"].id.clone(), made["endless"].id.clone()]);
    assert_eq!(page["has_more"], true);
}

#[tokio::test]
async fn key_change_applies_at_once_on_its_server() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({ "preset": "ci" })).await;
    let client = with(&app, &made);
    client.post("/v1/keys", &json!({}), 403).await;
    client.get("/v1/projects", 200).await;
    let path = format!("/v1/keys/{}", made.id);
    let changed = app
        .root()
        .patch(
            &path,
            &json!({ "name": "Renamed", "scopes": ["agents:read"], "expires_in_days": 1, "metadata": { "a": 1 } }),
            200,
        )
        .await;
    assert_eq!((&changed["name"], &changed["metadata"]), (&json!("Renamed"), &json!({ "a": 1 })));
    assert_eq!(changed["expires_at"], wire_time(app.now() + DAY));
    client.get("/v1/projects", 403).await;
    // Absent and null members stay unchanged.
    let same = app.root().patch(&path, &json!({ "name": null }), 200).await;
    assert_eq!(same["scopes"], json!(["agents:read"]));
    let endless = app.root().patch(&path, &json!({ "never_expires": true, "preset": "worker" }), 200).await;
    assert_eq!((&endless["expires_at"], endless["scopes"].as_array().unwrap().len()), (&Value::Null, 4));
}

#[tokio::test]
async fn disabled_key_can_be_enabled_and_revoked_cannot() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    let client = with(&app, &made);
    act(&app.root(), &made, "disable", 200).await;
    assert_eq!(code(&client.get("/v1/whoami", 401).await), "inactive_api_key");
    act(&app.root(), &made, "enable", 200).await;
    client.get("/v1/whoami", 200).await;
    let revoked = act(&app.root(), &made, "revoke", 200).await;
    app.advance(SignedDuration::from_secs(60));
    assert_eq!(act(&app.root(), &made, "revoke", 200).await, revoked, "a second time changes nothing");
    assert_eq!(code(&client.get("/v1/whoami", 401).await), "revoked_api_key");
    for what in ["enable", "disable", "rotate"] {
        assert_eq!(code(&act(&app.root(), &made, what, 409).await), "key_revoked", "{what}");
    }
    let path = format!("/v1/keys/{}", made.id);
    assert_eq!(code(&app.root().patch(&path, &json!({ "name": "x" }), 409).await), "key_revoked");
}

#[tokio::test]
async fn rotation_without_overlap_survives_a_clock_reset() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    let new = app.root().rotate_key(&made.id, json!({ "overlap_seconds": 0 })).await;
    for moved in [SignedDuration::ZERO, SignedDuration::from_secs(-10)] {
        app.advance(moved);
        assert_eq!(code(&with(&app, &made).get("/v1/whoami", 401).await), "revoked_api_key");
        // Another server that has not read the key before.
        let beside = app.beside(SignedDuration::ZERO);
        assert_eq!(code(&with(&beside, &made).get("/v1/whoami", 401).await), "revoked_api_key");
        with(&app, &new).get("/v1/whoami", 200).await;
    }
    assert_eq!(see(&app, &made).await["status"], "revoked");
}

#[tokio::test]
async fn rotation_shows_remaining_use_of_the_old_key() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({ "preset": "read_only", "expires_in_days": 30 })).await;
    let old = with(&app, &made);
    old.get("/v1/projects", 200).await;
    app.advance(DAY);
    let new = app.root().rotate_key(&made.id, json!({ "overlap_seconds": 3_600 })).await;
    assert_eq!(new.answer["replaces"], made.id);
    assert_eq!(new.answer["expires_at"], wire_time(app.now() + 30 * DAY), "as long a life");
    let seen = see(&app, &made).await;
    assert_eq!(seen["replaced_by"], new.id);
    assert_eq!(seen["overlap_ends_at"], wire_time(app.now() + SignedDuration::from_hours(1)));
    assert_eq!(
        (&seen["uses_since_replaced"], &seen["last_used_since_replaced_at"]),
        (&json!(0), &Value::Null)
    );
    assert!(seen["last_used_at"].is_string(), "from before it was rotated");

    for _ in 0..3 {
        app.advance(SignedDuration::from_mins(2));
        old.get("/v1/projects", 200).await;
        with(&app, &new).get("/v1/projects", 200).await;
    }
    let seen = see(&app, &made).await;
    assert_eq!(seen["uses_since_replaced"], 3);
    assert_eq!(seen["last_used_since_replaced_at"], wire_time(app.now()));
    app.advance(SignedDuration::from_hours(1));
    assert_eq!(code(&old.get("/v1/projects", 401).await), "expired_api_key");
    with(&app, &new).get("/v1/projects", 200).await;
}

#[tokio::test]
async fn key_cannot_create_or_change_a_stronger_key() {
    let app = TestApp::start();
    let root = app.root();
    let [mine, other] = ["Mine", "Other"].map(|name| json!({ "name": name }));
    let mine = id(&root.post("/v1/projects", &mine, 200).await);
    let other = id(&root.post("/v1/projects", &other, 200).await);
    let terms = json!({
        "scopes": ["keys:read", "keys:write", "agents:read"],
        "project_ids": [mine],
        "expires_in_days": 10,
        "allowed_cidrs": ["127.0.0.0/8"],
        "rate_limit": { "requests": 1_000, "window_seconds": 60 },
    });
    let maker = root.create_key(terms.clone()).await;
    let client = with(&app, &maker);
    let within = json!({
        "name": "Child", "scopes": ["agents:read"], "project_ids": [mine], "expires_in_days": 9,
        "allowed_cidrs": ["127.0.0.1"], "rate_limit": { "requests": 10, "window_seconds": 60 },
    });
    let child = client.create_key(within.clone()).await;
    // By default it expires with its creator.
    let mut silent = within.clone();
    silent.as_object_mut().unwrap().remove("expires_in_days");
    assert_eq!(client.create_key(silent).await.answer["expires_at"], maker.answer["expires_at"]);

    let beyond = [
        (json!({ "scopes": ["agents:read", "agents:write"] }), "the scope `agents:write`"),
        (json!({ "project_ids": [mine, other] }), "its projects"),
        (json!({ "expires_in_days": 11 }), "its lifetime"),
        (json!({ "allowed_cidrs": ["10.0.0.0/8"] }), "the addresses"),
        (json!({ "rate_limit": { "requests": 1_001, "window_seconds": 60 } }), "its rate limit"),
    ];
    for (more, named) in &beyond {
        let mut body = within.clone();
        crate::fixtures::merge(&mut body, more.clone());
        let problem = client.post("/v1/keys", &body, 403).await;
        assert_eq!(code(&problem), "exceeds_own_key");
        assert!(problem["message"].as_str().unwrap().contains(named), "{problem}");
        // A change cannot extend the child either.
        let problem = client.patch(&format!("/v1/keys/{}", child.id), more, 403).await;
        assert_eq!(code(&problem), "exceeds_own_key", "{named}");
    }
    for more in [
        json!({ "never_expires": true }),
        json!({ "any_address": true }),
        json!({ "no_rate_limit": true }),
        json!({ "all_projects": true }),
        json!({ "preset": "admin" }),
    ] {
        let problem = client.patch(&format!("/v1/keys/{}", child.id), &more, 403).await;
        assert_eq!(code(&problem), "exceeds_own_key", "{more}");
    }
    // It can rotate itself, and gains nothing.
    let next = client.rotate_key(&maker.id, json!({ "overlap_seconds": 600 })).await;
    assert_eq!(next.answer["expires_at"], maker.answer["expires_at"]);
    for name in ["scopes", "project_ids", "allowed_cidrs", "rate_limit"] {
        assert_eq!(next.answer[name], maker.answer[name], "{name}");
    }
    let problem =
        client.post(&format!("/v1/keys/{}/rotate", child.id), &json!({ "expires_in_days": 11 }), 403).await;
    assert_eq!(code(&problem), "exceeds_own_key");
}

#[tokio::test]
async fn weaker_key_cannot_see_or_revoke_a_stronger_one() {
    let app = TestApp::start();
    let root = app.root();
    let mine = id(&root.post("/v1/projects", &json!({ "name": "Mine" }), 200).await);
    let admin = root.create_key(json!({})).await;
    let peer = root.create_key(json!({ "project_ids": [mine] })).await;
    let weak = root.create_key(json!({ "scopes": ["keys:read", "keys:write"], "project_ids": [mine] })).await;
    let client = with(&app, &weak);
    for what in ["disable", "enable", "revoke", "rotate"] {
        assert_eq!(code(&act(&client, &admin, what, 404).await), "key_not_found", "{what}");
        assert_eq!(code(&act(&client, &peer, what, 403).await), "exceeds_own_key", "{what}");
    }
    client.get(&format!("/v1/keys/{}", admin.id), 404).await;
    assert_eq!(ids(&client.get("/v1/keys", 200).await), [weak.id.clone(), peer.id.clone()]);
    with(&app, &admin).get("/v1/whoami", 200).await;
    with(&app, &peer).get("/v1/whoami", 200).await;
}

#[tokio::test]
async fn responder_can_revoke_a_key_that_expires_later() {
    let app = TestApp::start();
    let endless = app.root().create_key(json!({ "never_expires": true })).await;
    let on_call = app.root().create_key(json!({ "expires_in_days": 1 })).await;
    act(&with(&app, &on_call), &endless, "revoke", 200).await;
    with(&app, &endless).get("/v1/whoami", 401).await;
}

#[tokio::test]
async fn leak_report_revokes_the_key_and_reveals_no_other() {
    let app = TestApp::start();
    let lost = app.root().create_key(json!({ "name": "Lost" })).await;
    let kept = app.root().create_key(json!({ "name": "Kept" })).await;
    let report = async |keys: Value| {
        let reply = app
            .anonymous()
            .send(Method::POST, "/v1/keys/revoke-leaked", Some(&json!({ "keys": keys })), 202)
            .await;
        reply.text
    };
    // One key's id with another's secret, a plain text, and the right key.
    let mixed = format!("{}{}", &kept.key[..16], &lost.key[16..]);
    let nothing = report(json!([mixed, "x", "onr_", kept.id])).await;
    with(&app, &kept).get("/v1/whoami", 200).await;
    let something = report(json!(["x", lost.key, lost.key])).await;
    assert_eq!(nothing, something);
    assert_eq!(code(&with(&app, &lost).get("/v1/whoami", 401).await), "revoked_api_key");
    assert_eq!(report(json!([lost.key])).await, something);
    let audit = app.root().get("/v1/audit", 200).await;
    let (last, count) = (&data(&audit)[0], data(&audit).len());
    assert_eq!((&last["action"], &last["key_id"]), (&json!("revoke_leaked_key"), &json!(lost.id)));
    assert_eq!((&last["actor"]["key_id"], count), (&json!(lost.id), 3), "revoked once");
}

#[tokio::test]
async fn leak_reports_are_limited_per_address() {
    let app = TestApp::start();
    let body = json!({ "keys": ["x"] });
    let here = app.anonymous().at_address(Some("192.0.2.1"));
    for _ in 0..60 {
        here.post("/v1/keys/revoke-leaked", &body, 202).await;
    }
    let reply = here.send(Method::POST, "/v1/keys/revoke-leaked", Some(&body), 429).await;
    assert_eq!(code(&reply.json()), "rate_limited");
    assert!(reply.header("retry-after").is_some());
    app.anonymous().at_address(Some("192.0.2.2")).post("/v1/keys/revoke-leaked", &body, 202).await;
    app.advance(SignedDuration::from_mins(1));
    here.post("/v1/keys/revoke-leaked", &body, 202).await;
}

#[tokio::test]
async fn report_with_a_valid_key_is_accepted_over_the_limit() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    let path = "/v1/keys/revoke-leaked";
    let junk = json!({ "keys": ["x"] });
    for _ in 0..60 {
        app.anonymous().post(path, &junk, 202).await;
    }
    app.anonymous().post(path, &junk, 429).await;
    // After many wrong keys, one that is already revoked.
    let mut keys = vec!["x".to_owned(); 99];
    keys.push(made.key.clone());
    for _ in 0..2 {
        app.anonymous().post(path, &json!({ "keys": keys }), 202).await;
        assert_eq!(code(&with(&app, &made).get("/v1/whoami", 401).await), "revoked_api_key");
    }
    app.anonymous().post(path, &junk, 429).await;
    let wrong = format!("{}A", &made.key[..63]);
    app.anonymous().post(path, &json!({ "keys": [wrong] }), 429).await;
}

#[tokio::test]
async fn malformed_reports_count_against_the_limit() {
    let app = TestApp::start();
    let path = "/v1/keys/revoke-leaked";
    let large = vec![b' '; 16 * 1024 + 1];
    let unknown = format!("{{\"keys\":[{}1]}}", "{\"\":0},".repeat(1_000));
    for _ in 0..15 {
        for (body, status) in [
            (Body::Read("{".into()), 422),
            (Body::Read(unknown.clone().into()), 422),
            (Body::Read(large.clone().into()), 413),
            (Body::Unreadable, 400),
        ] {
            app.anonymous().send_body(Method::POST, path, body, status).await;
        }
    }
    let reply = app.anonymous().send_bytes(Method::POST, path, "{", 429).await;
    assert_eq!(code(&reply.json()), "rate_limited");
}

#[tokio::test]
async fn leak_report_must_be_json() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    let path = "/v1/keys/revoke-leaked";
    let body = json!({ "keys": [made.key] });
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let client = app.anonymous().with_header("content-type", wrong);
        assert_eq!(code(&client.post(path, &body, 415).await), "unsupported_media_type", "{wrong}");
    }
    with(&app, &made).get("/v1/whoami", 200).await;
    let client = app.anonymous().with_header("content-type", "Application/JSON; charset=utf-8");
    client.post(path, &body, 202).await;
    with(&app, &made).get("/v1/whoami", 401).await;
}

#[tokio::test]
async fn rate_limit_counts_requests_of_its_window_only() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({ "rate_limit": { "requests": 3, "window_seconds": 60 } })).await;
    let client = with(&app, &made);
    for remaining in [2, 1, 0] {
        // Also for a request refused for another cause.
        let path = if remaining == 1 { "/v1/agents?project_id=AAAAAAAAAAAA" } else { "/v1/whoami" };
        let reply = client.send(Method::GET, path, None, if remaining == 1 { 404 } else { 200 }).await;
        assert_eq!(reply.header("ratelimit-policy"), Some(r#""default";q=3;w=60"#));
        assert_eq!(reply.header("ratelimit"), Some(format!(r#""default";r={remaining};t=60"#).as_str()));
    }
    app.advance(SignedDuration::from_secs(20));
    let reply = client.send(Method::GET, "/v1/whoami", None, 429).await;
    assert_eq!(reply.header("retry-after"), Some("40"));
    assert_eq!(reply.header("ratelimit"), Some(r#""default";r=0;t=40"#));
    app.advance(SignedDuration::from_secs(40));
    client.get("/v1/whoami", 200).await;
    // A raised limit applies at once.
    let path = format!("/v1/keys/{}", made.id);
    client.get("/v1/whoami", 200).await;
    client.get("/v1/whoami", 200).await;
    client.get("/v1/whoami", 429).await;
    app.root().patch(&path, &json!({ "no_rate_limit": true }), 200).await;
    client.get("/v1/whoami", 200).await;
}

#[tokio::test]
async fn processes_share_a_keys_request_count() {
    let app = TestApp::start();
    let other = app.beside(SignedDuration::from_secs(5));
    let made = app.root().create_key(json!({ "rate_limit": { "requests": 4, "window_seconds": 60 } })).await;
    for app in [&app, &other, &app, &other] {
        with(app, &made).get("/v1/whoami", 200).await;
    }
    for app in [&app, &other] {
        with(app, &made).get("/v1/whoami", 429).await;
    }
}

#[tokio::test]
async fn key_use_is_recorded_within_a_minute() {
    let app = TestApp::start();
    let made = app.root().create_key(json!({})).await;
    let client = with(&app, &made);
    assert_eq!(see(&app, &made).await["last_used_at"], Value::Null);
    let first = wire_time(app.now());
    client.get("/v1/projects", 200).await;
    assert_eq!(see(&app, &made).await["last_used_at"], first);
    app.advance(SignedDuration::from_secs(59));
    client.get("/v1/projects", 200).await;
    assert_eq!(see(&app, &made).await["last_used_at"], first, "one writing a minute");
    app.advance(SignedDuration::from_secs(1));
    let second = wire_time(app.now());
    client.get("/v1/projects", 200).await;
    assert_eq!(see(&app, &made).await["last_used_at"], second);
    // Recorded scopes decide how a key can be narrowed, so the first use of a scope is written at
    // once.
    app.advance(SignedDuration::from_secs(1));
    client.get("/v1/audit", 200).await;
    let seen = see(&app, &made).await;
    assert_eq!(seen["last_used_at"], wire_time(app.now()));
    assert_eq!(seen["used_scopes"], json!(["projects:read", "audit:read"]));
}

/// The kit promises this, and every test here that reads uses relies on it.
#[tokio::test]
async fn concurrent_responses_follow_their_recorded_use() {
    let app = TestApp::start();
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(app.root().create_key(json!({})).await);
    }
    let used_by = async |key: &CreatedKey| {
        with(&app, key).get("/v1/whoami", 200).await;
        see(&app, key).await["last_used_at"].clone()
    };
    let seen = tokio::join!(used_by(&made[0]), used_by(&made[1]), used_by(&made[2]), used_by(&made[3]));
    assert_eq!(<[Value; 4]>::from(seen), [(); 4].map(|()| json!(app.now_text())));
}

/// The audit entries from the first, and the head.
async fn trail(app: &TestApp) -> (Vec<AuditEntry>, Option<AuditHead>) {
    let mut entries = Vec::new();
    loop {
        let page =
            app.root().get(&format!("/v1/audit?order=oldest&limit=7&offset={}", entries.len()), 200).await;
        entries.extend(data(&page).iter().map(entry));
        if page["has_more"] == false {
            let head = page["head"].as_object().map(|head| AuditHead {
                sequence: head["sequence"].as_u64().unwrap(),
                hash: head["hash"].as_str().unwrap().to_owned(),
            });
            return (entries, head);
        }
    }
}

fn entry(json: &Value) -> AuditEntry {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let details = json["details"].as_object().unwrap();
    AuditEntry {
        sequence: json["sequence"].as_u64().unwrap(),
        event: AuditEvent {
            at: text(&json["at"]).unwrap(),
            action: text(&json["action"]).unwrap(),
            key_id: text(&json["key_id"]).unwrap(),
            actor: Actor {
                key_id: text(&json["actor"]["key_id"]).unwrap(),
                address: text(&json["actor"]["address"]),
                user_agent: text(&json["actor"]["user_agent"]),
                request_id: text(&json["actor"]["request_id"]).unwrap(),
            },
            details: details.iter().map(|(name, value)| (name.clone(), text(value).unwrap())).collect(),
        },
        previous_hash: text(&json["previous_hash"]).unwrap(),
        hash: text(&json["hash"]).unwrap(),
    }
}

#[tokio::test]
async fn every_key_change_is_in_a_verifiable_audit_trail() {
    let app = TestApp::start();
    assert_eq!(trail(&app).await, (Vec::new(), None));
    let made = app.root().create_key(json!({ "name": "First" })).await;
    let admin = with(&app, &made).at_address(Some("::ffff:203.0.113.9")).with_header("user-agent", "ops/1.0");
    let other = admin.create_key(json!({ "name": "Second" })).await;
    let path = format!("/v1/keys/{}", other.id);
    admin.patch(&path, &json!({ "name": "Renamed", "preset": "ci" }), 200).await;
    act(&admin, &other, "disable", 200).await;
    act(&admin, &other, "disable", 200).await;
    act(&admin, &other, "enable", 200).await;
    let third = admin.rotate_key(&other.id, json!({ "overlap_seconds": 0 })).await;
    act(&admin, &third, "revoke", 200).await;
    app.anonymous().post("/v1/keys/revoke-leaked", &json!({ "keys": [made.key] }), 202).await;
    // Refused and ineffective changes add no entry.
    act(&app.root(), &third, "enable", 409).await;

    let (entries, head) = trail(&app).await;
    let actions: Vec<_> = entries.iter().map(|entry| entry.event.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "create_key",
            "create_key",
            "update_key",
            "disable_key",
            "enable_key",
            "rotate_key",
            "revoke_key",
            "revoke_leaked_key"
        ]
    );
    let mut check = AuditCheck::default();
    for entry in &entries {
        check.take(entry).unwrap();
    }
    check.finish(head.as_ref()).unwrap();
    let changed = &entries[2].event;
    assert_eq!(changed.actor.key_id, made.id);
    assert_eq!(changed.actor.address.as_deref(), Some("203.0.113.9"));
    assert_eq!(changed.actor.user_agent.as_deref(), Some("ops/1.0"));
    let details: Vec<_> = changed.details.keys().map(String::as_str).collect();
    assert_eq!(details, ["name", "scopes"], "what was changed");
    assert_eq!(entries[5].event.details["new_key_id"], third.id);
}

/// How long another server may trust a cached key after a change here, for different clocks.
#[tokio::test]
async fn revocation_applies_everywhere_within_the_cache_ttl() {
    let app = TestApp::start();
    let ttl = SignedDuration::from_secs(5);
    let elsewhere = [app.beside(ttl), app.beside(ttl)];
    for what in ["revoke", "disable"] {
        let made = app.root().create_key(json!({})).await;
        for environment in &elsewhere {
            with(environment, &made).get("/v1/whoami", 200).await;
        }
        act(&app.root(), &made, what, 200).await;
        with(&app, &made).get("/v1/whoami", 401).await;
        app.advance(ttl);
        // Use does not extend the trust.
        for environment in &elsewhere {
            with(environment, &made).get("/v1/whoami", 401).await;
        }
    }
}

#[tokio::test]
async fn frozen_or_reset_clock_invalidates_cached_keys() {
    let app = TestApp::start();
    let elsewhere = app.beside(SignedDuration::from_secs(5));
    // The monotonic clock stops, as it does while an environment is frozen.
    for moved in [SignedDuration::from_hours(1), -SignedDuration::from_secs(2)] {
        let made = app.root().create_key(json!({})).await;
        with(&elsewhere, &made).get("/v1/whoami", 200).await;
        act(&app.root(), &made, "revoke", 200).await;
        app.advance(moved);
        with(&elsewhere, &made).get("/v1/whoami", 401).await;
    }
}

#[tokio::test]
async fn without_a_cache_revocation_applies_at_once() {
    let app = TestApp::start();
    let elsewhere = app.beside(SignedDuration::ZERO);
    let made = app.root().create_key(json!({})).await;
    with(&elsewhere, &made).get("/v1/whoami", 200).await;
    act(&app.root(), &made, "revoke", 200).await;
    with(&elsewhere, &made).get("/v1/whoami", 401).await;
}
