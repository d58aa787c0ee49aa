//! Key failures of other products that cannot happen here. Each test is named after the report.
//!
//! Other tests cover three kinds. Timing of comparisons (meilisearch #6077, totp-rs #13, warpgate
//! #1853): digests have no `==`, which `onerun-auth` shows by code that does not compile, and
//! `bench/` measures it. A stale secret in a frozen function (middy #1063,
//! aws-secretsmanager-caching-python #33): `lambda/keys.rs` and `tests/it/aws/`. The AWS SDK's cost
//! at a cold start (aws-sdk-rust #894, #975): `bench/lambda/`.

use http::Method;
use jiff::SignedDuration;
use onerun_auth::KEY_CACHE_TTL;
use onerun_tests::app::{Client, CreatedKey, TestApp, wire_time};
use serde_json::{Value, json};

use crate::fixtures::{code, data, id};

fn with<'a>(app: &'a TestApp, key: &CreatedKey) -> Client<'a> {
    app.anonymous().with_key(&key.key)
}

async fn act(app: &TestApp, key: &CreatedKey, what: &str) -> Value {
    app.root().post_empty(&format!("/v1/keys/{}/{what}", key.id), 200).await
}

/// A deleted key worked for five more minutes from a cache, although the reply confirmed the
/// deletion. The same for a minute in executor #1870, two in boxlite #1418, ten in `OctopusDeploy`
/// #4779, a day in lmnr #1608.
#[tokio::test]
async fn e2b_infra_3324_revoked_key_survives_in_a_cache() {
    let app = TestApp::start();
    let elsewhere = app.beside(KEY_CACHE_TTL);
    let key = app.root().create_key(json!({})).await;
    with(&elsewhere, &key).get("/v1/whoami", 200).await;
    act(&app, &key, "revoke").await;
    with(&app, &key).get("/v1/whoami", 401).await;
    app.advance(KEY_CACHE_TTL);
    with(&elsewhere, &key).get("/v1/whoami", 401).await;
}

/// A revoked key worked for as long as it was used, because every use extended its cache entry.
#[tokio::test]
async fn langfuse_17651_use_keeps_a_revoked_key_alive() {
    let app = TestApp::start();
    let elsewhere = app.beside(KEY_CACHE_TTL);
    let key = app.root().create_key(json!({})).await;
    with(&elsewhere, &key).get("/v1/whoami", 200).await;
    act(&app, &key, "revoke").await;
    // Every second, as a program in a loop would.
    let mut refused_after = None;
    for second in 1..=10 {
        app.advance(SignedDuration::from_secs(1));
        let (status, _) =
            with(&elsewhere, &key).ask(Method::GET, "/v1/whoami", onerun_api::Body::Read("".into())).await;
        match (status, refused_after) {
            (401, None) => refused_after = Some(second),
            (200, Some(_)) => panic!("it came back after {second} s"),
            _ => {}
        }
    }
    assert_eq!(refused_after, Some(5));
}

/// A revocation applied only after a restart. The same in biocache-service #374.
#[tokio::test]
async fn anytype_api_10_revocation_waits_for_a_restart() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({})).await;
    with(&app, &key).get("/v1/whoami", 200).await;
    act(&app, &key, "revoke").await;
    // No restart happened, and no time has passed.
    assert_eq!(code(&with(&app, &key).get("/v1/whoami", 401).await), "revoked_api_key");
}

/// A rotation revoked the old key at once, so every rotation was an outage.
#[tokio::test]
async fn keypal_7_rotation_revokes_the_old_key_at_once() {
    let app = TestApp::start();
    let old = app.root().create_key(json!({})).await;
    let new = app.root().rotate_key(&old.id, json!({})).await;
    for key in [&old, &new] {
        with(&app, key).get("/v1/whoami", 200).await;
    }
}

/// The grace period of a rotation replaced the old key's expiry, even an earlier one: a key about
/// to expire got more days.
#[tokio::test]
async fn unkey_5892_rotation_extends_the_old_keys_life() {
    let app = TestApp::start();
    let old = app.root().create_key(json!({ "expires_in_days": 1 })).await;
    let end = old.answer["expires_at"].clone();
    app.root().rotate_key(&old.id, json!({ "overlap_seconds": 604_800 })).await;
    let seen = app.root().get(&format!("/v1/keys/{}", old.id), 200).await;
    assert_eq!((&seen["overlap_ends_at"], &seen["expires_at"]), (&end, &end));
    app.advance(SignedDuration::from_hours(24));
    assert_eq!(code(&with(&app, &old).get("/v1/whoami", 401).await), "expired_api_key");
}

/// The end of the grace period was stored, but key checks ignored it.
#[tokio::test]
async fn solana_developer_platform_897_overlap_end_is_not_enforced() {
    let app = TestApp::start();
    let old = app.root().create_key(json!({ "never_expires": true })).await;
    app.root().rotate_key(&old.id, json!({ "overlap_seconds": 60 })).await;
    app.advance(SignedDuration::from_secs(59));
    with(&app, &old).get("/v1/whoami", 200).await;
    app.advance(SignedDuration::from_secs(1));
    assert_eq!(code(&with(&app, &old).get("/v1/whoami", 401).await), "expired_api_key");
}

/// A rotation meant downtime, so operators shared one key. Here both keys work in the overlap, and
/// the remaining use of the old key is visible before its end.
#[tokio::test]
async fn soter_946_rotation_means_downtime() {
    let app = TestApp::start();
    let old = app.root().create_key(json!({})).await;
    app.root().rotate_key(&old.id, json!({ "overlap_seconds": 3_600 })).await;
    let seen = async || app.root().get(&format!("/v1/keys/{}", old.id), 200).await;
    assert_eq!(seen().await["uses_since_replaced"], 0);
    with(&app, &old).get("/v1/whoami", 200).await;
    assert_eq!(seen().await["uses_since_replaced"], 1);
}

/// Every key check wrote to the database, twice. The same in dust #29751 and bunmail #28.
#[tokio::test]
async fn better_auth_10921_every_request_writes_the_key() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({})).await;
    let client = with(&app, &key);
    client.get("/v1/whoami", 200).await;
    let first = app.root().get(&format!("/v1/keys/{}", key.id), 200).await;
    for _ in 0..50 {
        app.advance(SignedDuration::from_secs(1));
        client.get("/v1/whoami", 200).await;
    }
    // The first request's use is the only one written.
    assert_eq!(app.root().get(&format!("/v1/keys/{}", key.id), 200).await, first);
}

/// A request was counted twice.
#[tokio::test]
async fn better_auth_4023_request_is_counted_twice() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({ "rate_limit": { "requests": 2, "window_seconds": 60 } })).await;
    for _ in 0..2 {
        with(&app, &key).get("/v1/whoami", 200).await;
    }
    with(&app, &key).get("/v1/whoami", 429).await;
}

/// An unrequested limit of ten requests a day made keys useless (sparky-fitness #616, opalinehq/cli
/// #150), and turning it off had no effect (better-auth #1886).
#[tokio::test]
async fn better_auth_1886_keys_have_an_unrequested_limit() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({})).await;
    assert_eq!(key.answer["rate_limit"], Value::Null);
    for _ in 0..50 {
        with(&app, &key).get("/v1/whoami", 200).await;
    }
    let limited =
        app.root().create_key(json!({ "rate_limit": { "requests": 1, "window_seconds": 9 } })).await;
    assert_eq!(limited.answer["rate_limit"], json!({ "requests": 1, "window_seconds": 9 }));
}

/// The check of an expired key deleted it with its history.
#[tokio::test]
async fn better_auth_reading_an_expired_key_deletes_it() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({ "expires_in_days": 1, "name": "Nightly" })).await;
    app.advance(SignedDuration::from_hours(24));
    with(&app, &key).get("/v1/whoami", 401).await;
    let seen = app.root().get(&format!("/v1/keys/{}", key.id), 200).await;
    assert_eq!((&seen["name"], &seen["status"]), (&json!("Nightly"), &json!("expired")));
}

/// The database stored keys in plain text. The same in #1237, #4964 and #5437.
#[tokio::test]
async fn kong_33_keys_are_stored_in_plain_text() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({})).await;
    with(&app, &key).get("/v1/whoami", 200).await;
    let kept = app.kept().await;
    let is_kept = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(is_kept(&key.id), "the place to look is the right one");
    // No sixteen characters of it occur, whatever surrounds them.
    for part in key.key.as_bytes()[16..].windows(16) {
        assert!(!is_kept(str::from_utf8(part).unwrap()));
    }
}

/// A caller without a key could create and change keys for any user named in the body.
#[tokio::test]
async fn cve_2025_61928_keys_are_created_for_any_named_user() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({ "scopes": ["agents:read"] })).await;
    let body = json!({ "name": "x", "preset": "admin", "all_projects": true });
    app.anonymous().post("/v1/keys", &body, 401).await;
    app.anonymous().patch(&format!("/v1/keys/{}", key.id), &json!({ "preset": "admin" }), 401).await;
    for name in ["user_id", "userId", "created_by", "id", "key", "digest", "revision"] {
        let mut named = body.clone();
        named[name] = json!("root");
        let problem = app.root().post("/v1/keys", &named, 422).await;
        assert_eq!(problem["errors"][0]["pointer"], format!("#/{name}"));
    }
    assert_eq!(data(&app.root().get("/v1/keys", 200).await).len(), 1);
}

/// A missing permission was reported as a missing key, so users could not fix it (Better Auth
/// answers 401). Here the error names the rule, as Nix asks of a good message.
#[tokio::test]
async fn nixos_org_247_refusal_does_not_name_its_rule() {
    let app = TestApp::start();
    let key = app.root().create_key(json!({ "scopes": ["keys:write"], "expires_in_days": 7 })).await;
    let problem = with(&app, &key).get("/v1/projects", 403).await;
    assert!(problem["message"].as_str().unwrap().contains("`projects:read`"), "{problem}");
    let body = json!({ "name": "x", "scopes": ["keys:write"], "all_projects": true, "expires_in_days": 8 });
    let problem = with(&app, &key).post("/v1/keys", &body, 403).await;
    assert!(problem["message"].as_str().unwrap().ends_with("its lifetime"), "{problem}");
}

/// Each organisation needed its own token, because none could reach exactly two of them.
#[tokio::test]
async fn refined_github_6092_each_project_needs_its_own_key() {
    let app = TestApp::start();
    let mut projects = Vec::new();
    for name in ["One", "Two", "Three"] {
        projects.push(id(&app.root().post("/v1/projects", &json!({ "name": name }), 200).await));
    }
    let key = app.root().create_key(json!({ "project_ids": projects[..2] })).await;
    let client = with(&app, &key);
    for (project, status) in projects.iter().zip([200, 200, 403]) {
        client.get(&format!("/v1/agents?project_id={project}"), status).await;
    }
}

/// A token without scopes dated from before scopes and could do everything; an empty list of crates
/// meant all crates.
#[tokio::test]
async fn crates_io_missing_or_empty_scopes_grant_everything() {
    let app = TestApp::start();
    let root = app.root();
    root.post("/v1/keys", &json!({ "name": "x", "all_projects": true }), 422).await;
    root.post("/v1/keys", &json!({ "name": "x", "preset": "ci" }), 422).await;
    root.post("/v1/keys", &json!({ "name": "x", "preset": "ci", "project_ids": [] }), 422).await;
    let key = root.create_key(json!({ "scopes": [] })).await;
    with(&app, &key).get("/v1/projects", 403).await;
}

/// Idle, expiring and endless keys were not visible.
#[tokio::test]
async fn ninerouter_2351_idle_and_expiring_keys_are_not_shown() {
    let app = TestApp::start();
    let root = app.root();
    let endless = root.create_key(json!({ "never_expires": true })).await;
    app.next_instant();
    let short = root.create_key(json!({ "expires_in_days": 40 })).await;
    app.advance(SignedDuration::from_hours(30 * 24));
    with(&app, &short).get("/v1/projects", 200).await;
    let ids = |page: Value| data(&page).iter().map(id).collect::<Vec<_>>();
    assert_eq!(ids(root.get("/v1/keys?expiring_within_days=14", 200).await), [short.id.as_str()]);
    assert_eq!(ids(root.get("/v1/keys?idle_for_days=30", 200).await), [endless.id.as_str()]);
    let seen = root.get(&format!("/v1/keys/{}", short.id), 200).await;
    assert_eq!(
        (&seen["used_scopes"], &seen["last_used_at"]),
        (&json!(["projects:read"]), &json!(wire_time(app.now())))
    );
}
