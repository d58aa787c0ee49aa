//! Requests with slow bodies: the caller is authorized again once the body has arrived.

use http::Method;
use onerun_api::{Body, BodySource, ROUTES, Route};
use onerun_auth::Access;
use onerun_tests::app::{CreatedKey, Reply, TestApp};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{fixtures::code, seeded_project::SeededProject};

/// The routes that change something for callers with a key.
fn changing() -> impl Iterator<Item = &'static Route> {
    let is_changing = |route: &&Route| ![Method::GET, Method::HEAD].contains(&route.method);
    ROUTES.iter().copied().filter(is_changing).filter(|route| route.access != Access::Public)
}

/// Sends a request with a key, whose body arrives after `meanwhile`.
async fn send_slowly(
    app: &TestApp,
    key: &CreatedKey,
    (method, path, body): (Method, &str, Body),
    meanwhile: impl Future<Output = ()>,
) -> (u16, Reply) {
    let (send, sent) = oneshot::channel();
    let (want, wanted) = oneshot::channel();
    let source = BodySource::new(move |_| async move {
        want.send(()).expect("the test waits");
        sent.await.expect("the body is sent")
    });
    let client = app.anonymous().with_key(&key.key);
    let answer = client.ask_slowly(method, path, source);
    let rest = async {
        wanted.await.expect("the request is admitted and its body is read");
        meanwhile.await;
        send.send(body).expect("the body is waited for");
    };
    let (answer, ()) = tokio::join!(answer, rest);
    answer
}

/// The state, without key uses.
async fn state(seeded: &SeededProject<'_>) -> Value {
    let mut state = seeded.state().await;
    if let Some(keys) = state.as_array_mut().and_then(|parts| parts.iter_mut().rev().nth(1)) {
        for key in keys["data"].as_array_mut().into_iter().flatten() {
            let key = key.as_object_mut().expect("a key");
            key.retain(|name, _| {
                !["last_used_at", "scopes_used", "uses_since_replaced"].contains(&name.as_str())
            });
        }
    }
    state
}

/// Calls every changing route with a key that is changed before the body arrives.
async fn refused_everywhere(meanwhile: (Method, &str, Value), status: u16, expected: &str) {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let (method, rest, change) = meanwhile;
    for route in changing() {
        let key = app.root().create_key(json!({})).await;
        let path = seeded.fresh_path(route).await;
        let request = (route.method.clone(), path.as_str(), seeded.body(route));
        let change = async {
            let path = format!("/v1/keys/{}{rest}", key.id);
            app.root().send(method.clone(), &path, Some(&change), 200).await;
        };
        let before = state(&seeded).await;
        let (got, reply) = Box::pin(send_slowly(&app, &key, request, change)).await;
        assert_eq!((got, code(&reply.json())), (status, expected), "{}", route.operation);
        let after = state(&seeded).await;
        // Only the calling key and the audit trail have changed.
        let but_keys = |state: &Value| state.as_array().map(|parts| parts[..parts.len() - 2].to_vec());
        assert_eq!(but_keys(&before), but_keys(&after), "{}", route.operation);
        let entries =
            |state: &Value| state.as_array().unwrap().last().unwrap()["data"].as_array().unwrap().len();
        assert!(entries(&after) <= entries(&before) + 1, "{}: more than the change", route.operation);
    }
}

#[tokio::test]
async fn key_revoked_before_the_body_arrives_changes_nothing() {
    refused_everywhere((Method::POST, "/revoke", json!({})), 401, "revoked_api_key").await;
}

#[tokio::test]
async fn key_disabled_before_the_body_arrives_changes_nothing() {
    refused_everywhere((Method::POST, "/disable", json!({})), 401, "inactive_api_key").await;
}

#[tokio::test]
async fn key_narrowed_before_the_body_arrives_changes_nothing() {
    let narrow = json!({ "scopes": ["projects:read"] });
    refused_everywhere((Method::PATCH, "", narrow), 403, "insufficient_scope").await;
}

#[tokio::test]
async fn key_cidr_changed_before_the_body_changes_nothing() {
    let elsewhere = json!({ "allowed_cidrs": ["192.0.2.0/24"] });
    refused_everywhere((Method::PATCH, "", elsewhere), 403, "wrong_address").await;
}

#[tokio::test]
async fn project_removed_before_the_body_is_forbidden() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let other = app.root().post("/v1/projects", &json!({ "name": "Other" }), 200).await;
    for route in changing().filter(|route| route.parameter_names().contains(&"project_id")) {
        let key = app.root().create_key(json!({})).await;
        let path = seeded.path(route);
        let request = (route.method.clone(), path.as_str(), seeded.body(route));
        let change = async {
            let path = format!("/v1/keys/{}", key.id);
            app.root().patch(&path, &json!({ "project_ids": [other["id"]] }), 200).await;
        };
        let (got, reply) = Box::pin(send_slowly(&app, &key, request, change)).await;
        assert_eq!((got, code(&reply.json())), (403, "wrong_project"), "{}", route.operation);
    }
}

#[tokio::test]
async fn slow_body_is_counted_once_against_a_rate_limit() {
    let app = TestApp::start();
    let limit = json!({ "rate_limit": { "requests": 3, "window_seconds": 60 } });
    let key = app.root().create_key(limit).await;
    let body = || Body::Read(json!({ "name": "Shop" }).to_string().into());
    for _ in 0..3 {
        let (status, reply) = send_slowly(&app, &key, (Method::POST, "/v1/projects", body()), async {}).await;
        assert_eq!(status, 200, "{}", reply.text);
    }
    let client = app.anonymous().with_key(&key.key);
    client.send_body(Method::POST, "/v1/projects", body(), 429).await;
}

#[tokio::test]
async fn key_narrowed_elsewhere_creates_no_wider_key() {
    // This server has cached the key, and another one changes it.
    let app = TestApp::start();
    let beside = app.beside(onerun_auth::KEY_CACHE_TTL);
    for (change, status, expected) in [
        (("revoke", json!({})), 401, "revoked_api_key"),
        (("disable", json!({})), 401, "inactive_api_key"),
        (("", json!({ "scopes": ["keys:write"] })), 403, "exceeds_own_key"),
        (("", json!({ "scopes": ["keys:read"] })), 403, "insufficient_scope"),
    ] {
        let key = app.root().create_key(json!({})).await;
        let other = app.root().create_key(json!({})).await;
        let client = beside.anonymous().with_key(&key.key);
        client.get("/v1/whoami", 200).await;
        let (what, body) = change;
        match what {
            "" => drop(app.root().patch(&format!("/v1/keys/{}", key.id), &body, 200).await),
            what => drop(app.root().post_empty(&format!("/v1/keys/{}/{what}", key.id), 200).await),
        }
        client.get("/v1/whoami", 200).await;
        let new = json!({ "name": "Child", "preset": "admin", "all_projects": true });
        assert_eq!(code(&client.post("/v1/keys", &new, status).await), expected);
        for what in ["rotate", "disable", "enable", "revoke"] {
            let problem = client.post_empty(&format!("/v1/keys/{}/{what}", other.id), status).await;
            assert_eq!(code(&problem), expected, "{what}");
        }
        let rename = json!({ "name": "Renamed" });
        let problem = client.patch(&format!("/v1/keys/{}", other.id), &rename, status).await;
        assert_eq!(code(&problem), expected);
    }
}
