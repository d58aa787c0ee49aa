//! The refusal matrix: every route with every kind of wrong key.
//!
//! Rows and columns are generated from the routes. The answer to a key of another project differs by route outside
//! projects, so each of those has its row in [`OUTSIDE_PROJECTS`].

use std::{collections::BTreeSet, convert::Infallible};

use jiff::SignedDuration;
use onerun_api::{Body, Handler, ROUTES, Route};
use onerun_auth::{Access, ManagedKey, Scope};
use onerun_tests::app::{Client, ROOT_KEY, Reply, TestApp};
use serde_json::{Value, json};

use crate::{
    fixtures::code,
    seeded_project::{SeededProject, in_possible_order, valid_status},
};

/// The answer to a key of another project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherProject {
    /// 403 `wrong_project`.
    Refused,
    /// 403 `exceeds_own_key`: the new key would exceed the calling one.
    Exceeds,
    /// 404 `key_not_found`: the caller must not learn that the key exists.
    Hidden,
    /// 200 without data of the project.
    Filtered,
    /// 200: the reply belongs to no project.
    Free,
}

/// The protected routes outside projects. Within a project, each refuses a key of another.
const OUTSIDE_PROJECTS: [(&str, OtherProject); 14] = [
    ("get_whoami", OtherProject::Free),
    ("create_key", OtherProject::Exceeds),
    ("list_keys", OtherProject::Filtered),
    ("get_key", OtherProject::Hidden),
    ("update_key", OtherProject::Hidden),
    ("rotate_key", OtherProject::Hidden),
    ("disable_key", OtherProject::Hidden),
    ("enable_key", OtherProject::Hidden),
    ("revoke_key", OtherProject::Hidden),
    ("list_audit", OtherProject::Refused),
    ("create_project", OtherProject::Refused),
    ("list_projects", OtherProject::Filtered),
    ("get_project", OtherProject::Refused),
    ("update_project", OtherProject::Refused),
];

/// The expected reply to a key of another project.
fn elsewhere(route: &Route) -> OtherProject {
    if matches!(route.handler, Handler::Project(_)) {
        return OtherProject::Refused;
    }
    let row = OUTSIDE_PROJECTS.iter().find(|(operation, _)| *operation == route.operation);
    row.unwrap_or_else(|| panic!("{} needs a row in OUTSIDE_PROJECTS", route.operation)).1
}

const NO_KEY: &str = r#"Bearer realm="OneRun""#;
const INVALID: &str = r#"Bearer realm="OneRun", error="invalid_token""#;
const FORBIDDEN: &str = r#"Bearer realm="OneRun", error="insufficient_scope""#;

/// The expected reply.
#[derive(Clone, Debug)]
struct Expected {
    status: u16,
    code: &'static str,
    challenge: Option<String>,
    retry_after: bool,
}

fn expect(status: u16, code: &'static str, challenge: &str) -> Expected {
    Expected { status, code, challenge: Some(challenge.to_owned()), retry_after: false }
}

/// A key of the right form, of chosen bytes.
fn key_of(fill: impl FnOnce(&mut [u8])) -> String {
    let made = ManagedKey::generate(|buffer| {
        fill(buffer);
        Ok::<(), Infallible>(())
    });
    made.unwrap().expose().to_owned()
}

/// The key with this id and another secret.
fn with_another_secret(key: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let id = URL_SAFE_NO_PAD.decode(&key[4..16]).unwrap();
    key_of(|buffer| {
        buffer.fill(7);
        buffer[..id.len()].copy_from_slice(&id);
    })
}

/// One defect of a request's key.
struct Case<'a> {
    name: &'static str,
    client: Client<'a>,
    /// A suffix of the query.
    query: String,
    expected: Expected,
    /// Whether the caller has proved that it holds the key.
    is_proved: bool,
}

/// Every defect of a key that any route can meet, except a missing scope or project.
async fn cases<'a>(app: &'a TestApp, good: &str) -> Vec<Case<'a>> {
    let root = app.root();
    let key = |key: &str| app.anonymous().with_header("x-api-key", key);
    let now = app.now();
    let unproved = |name, client, query: &str, expected| Case {
        name,
        client,
        query: query.to_owned(),
        expected,
        is_proved: false,
    };
    let invalid = || expect(401, "invalid_api_key", INVALID);
    let bearer = format!("Bearer {good}");
    let mut changed = good.to_owned();
    changed.replace_range(20..21, if &good[20..21] == "A" { "B" } else { "A" });
    let mut cases = vec![
        unproved("none", app.anonymous(), "", expect(401, "missing_api_key", NO_KEY)),
        unproved("empty", key(""), "", expect(401, "missing_api_key", NO_KEY)),
        unproved(
            "in the query",
            app.anonymous(),
            &format!("&x-api-key={good}"),
            expect(401, "missing_api_key", NO_KEY),
        ),
        unproved("malformed", key(&good[..40]), "", invalid()),
        unproved("bad checksum", key(&changed), "", invalid()),
        unproved("unknown id", key(&key_of(|buffer| buffer.fill(9))), "", invalid()),
        unproved("wrong secret", key(&with_another_secret(good)), "", invalid()),
        unproved("doubled header", key(good).with_header("x-api-key", good), "", invalid()),
        unproved("comma-joined", key(&format!("{good},{good}")), "", invalid()),
        unproved("in both headers", key(good).with_header("authorization", &bearer), "", invalid()),
        unproved("with the root key", key(good).with_header("x-api-key", ROOT_KEY), "", invalid()),
    ];

    let hour = SignedDuration::from_hours(1);
    let expired = root.create_key(json!({ "expires_in_days": 1 })).await;
    let early_at = (now + 1_000 * hour).to_string();
    let early = root.create_key(json!({ "not_before": early_at })).await;
    let disabled = root.create_key(json!({})).await;
    root.post_empty(&format!("/v1/keys/{}/disable", disabled.id), 200).await;
    let revoked = root.create_key(json!({})).await;
    root.post_empty(&format!("/v1/keys/{}/revoke", revoked.id), 200).await;
    let replaced = root.create_key(json!({})).await;
    root.rotate_key(&replaced.id, json!({ "overlap_seconds": 3600 })).await;
    let placed = root.create_key(json!({ "allowed_cidrs": ["10.0.0.0/8", "2001:db8::/32"] })).await;
    let limited = root.create_key(json!({ "rate_limit": { "requests": 1, "window_seconds": 86_400 } })).await;
    // Both the expiry and the overlap end with this.
    app.advance(24 * hour);
    key(&limited.key).get("/v1/whoami", 200).await;
    let proved =
        |name, client, expected| Case { name, client, query: String::new(), expected, is_proved: true };
    // Headers written by the caller do not change its address.
    let spoofed = key(&placed.key)
        .at_address(Some("192.0.2.1"))
        .with_header("x-forwarded-for", "10.0.0.1")
        .with_header("forwarded", "for=10.0.0.1")
        .with_header("x-real-ip", "10.0.0.1");
    cases.extend([
        proved("expired", key(&expired.key), expect(401, "expired_api_key", INVALID)),
        proved("not yet valid", key(&early.key), expect(401, "inactive_api_key", INVALID)),
        proved("disabled", key(&disabled.key), expect(401, "inactive_api_key", INVALID)),
        proved("revoked", key(&revoked.key), expect(401, "revoked_api_key", INVALID)),
        proved("after the overlap", key(&replaced.key), expect(401, "expired_api_key", INVALID)),
        proved("wrong address", spoofed, expect(403, "wrong_address", FORBIDDEN)),
        proved("unknown address", key(&placed.key).at_address(None), expect(403, "wrong_address", FORBIDDEN)),
        proved(
            "over its limit",
            key(&limited.key),
            Expected { status: 429, code: "rate_limited", challenge: None, retry_after: true },
        ),
    ]);
    cases
}

fn protected() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().copied().filter(|route| route.access != Access::Public)
}

async fn ask(seeded: &SeededProject<'_>, client: &Client<'_>, route: &Route, query: &str) -> (u16, Reply) {
    let path = format!("{}{query}", seeded.path(route));
    client.ask(route.method.clone(), &path, seeded.body(route)).await
}

fn hold(what: &str, (status, reply): &(u16, Reply), expected: &Expected) {
    let got = (*status, code(&reply.json()).to_owned());
    assert_eq!(got, (expected.status, expected.code.to_owned()), "{what}: {}", reply.text);
    assert_eq!(reply.header("www-authenticate"), expected.challenge.as_deref(), "{what}");
    assert_eq!(reply.header("retry-after").is_some(), expected.retry_after, "{what}");
    assert_eq!(reply.header("ratelimit").is_some(), expected.code == "rate_limited", "{what}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
}

#[test]
fn each_protected_route_outside_projects_has_a_row() {
    let rows: Vec<_> = OUTSIDE_PROJECTS.iter().map(|(operation, _)| *operation).collect();
    let outside = protected().filter(|route| !matches!(route.handler, Handler::Project(_)));
    assert_eq!(rows, outside.map(|route| route.operation).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_route_refuses_each_kind_of_wrong_key() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let good = app.root().create_key(json!({})).await;
    let cases = cases(&app, &good.key).await;
    let before = seeded.state().await;
    for route in protected() {
        for case in &cases {
            let answer = ask(&seeded, &case.client, route, &case.query).await;
            hold(&format!("{}: {}", route.operation, case.name), &answer, &case.expected);
        }
    }
    assert_eq!(seeded.state().await, before, "a refused request changed something");
}

#[tokio::test]
async fn unproven_key_gets_the_same_bytes_for_every_cause() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let good = app.root().create_key(json!({})).await;
    let mut seen = BTreeSet::new();
    for case in cases(&app, &good.key).await.iter().filter(|case| !case.is_proved) {
        for route in protected() {
            let (status, reply) = ask(&seeded, &case.client, route, &case.query).await;
            let mut headers: Vec<_> =
                reply.headers.iter().filter(|(name, _)| *name != "x-request-id").collect();
            headers.sort_by_key(|(name, _)| name.as_str());
            seen.insert(format!("{status} {headers:?} {}", reply.text_without_id()));
        }
    }
    // One reply for a missing key, and one for every wrong key.
    assert_eq!(seen.len(), 2, "{seen:#?}");
}

#[tokio::test]
async fn every_route_refuses_a_key_without_its_scope() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in protected() {
        let Access::Requires(needed) = route.access else { continue };
        let others: Vec<_> =
            Scope::ALL.iter().filter(|scope| **scope != needed).map(|scope| scope.as_str()).collect();
        let key = app.root().create_key(json!({ "scopes": others })).await;
        let answer = ask(&seeded, &app.anonymous().with_key(&key.key), route, "").await;
        let challenge = format!(r#"{FORBIDDEN}, scope="{needed}""#);
        hold(route.operation, &answer, &expect(403, "insufficient_scope", &challenge));
    }
}

#[tokio::test]
async fn every_route_accepts_a_key_with_only_its_scope() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in in_possible_order() {
        let Access::Requires(needed) = route.access else { continue };
        let key = app.root().create_key(json!({ "scopes": [needed.as_str()] })).await;
        let (status, reply) = ask(&seeded, &app.anonymous().with_key(&key.key), route, "").await;
        // The cause is no longer the missing scope: the key would exceed the caller, or its state
        // differs.
        let own = ["create_key", "update_key", "rotate_key", "disable_key", "enable_key", "revoke_key"];
        let expected = match route.operation {
            operation if own.contains(&operation) => 403,
            "reject_persona" => 409,
            _ => valid_status(route),
        };
        assert_eq!(status, expected, "{}: {}", route.operation, reply.text);
        if expected == 403 {
            assert_eq!(code(&reply.json()), "exceeds_own_key", "{}", route.operation);
        }
    }
}

#[tokio::test]
async fn every_route_hides_resources_of_other_projects() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let other = app.root().post("/v1/projects", &json!({ "name": "Other" }), 200).await["id"].clone();
    let key = app.root().create_key(json!({ "project_ids": [other] })).await;
    let client = app.anonymous().with_key(&key.key);
    let before = seeded.state().await;
    for route in protected() {
        let (operation, elsewhere) = (route.operation, elsewhere(route));
        let answer = match elsewhere {
            // Without the query, which names the project.
            OtherProject::Filtered => {
                client.ask(route.method.clone(), route.path, Body::Read("".into())).await
            }
            _ => ask(&seeded, &client, route, "").await,
        };
        match elsewhere {
            OtherProject::Refused => hold(operation, &answer, &expect(403, "wrong_project", FORBIDDEN)),
            OtherProject::Exceeds => {
                assert_eq!((answer.0, code(&answer.1.json())), (403, "exceeds_own_key"), "{operation}");
            }
            OtherProject::Hidden => {
                assert_eq!((answer.0, code(&answer.1.json())), (404, "key_not_found"), "{operation}");
            }
            OtherProject::Filtered => {
                let json = answer.1.json();
                let ids: Vec<_> = json["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
                let own = if operation == "list_keys" { Value::from(key.id.clone()) } else { other.clone() };
                assert_eq!((answer.0, ids), (200, vec![&own]), "{operation}");
            }
            OtherProject::Free => assert_eq!(answer.0, 200, "{operation}"),
        }
    }
    let mut after = seeded.state().await;
    // Only the recorded key use is new.
    let mut before = before;
    for state in [&mut before, &mut after] {
        let keys = state.as_array_mut().unwrap().iter_mut().rev().nth(1).unwrap();
        for key in keys["data"].as_array_mut().unwrap() {
            key["last_used_at"] = Value::Null;
            key["used_scopes"] = json!([]);
        }
    }
    assert_eq!(after, before);
}

#[tokio::test]
async fn unknown_project_is_refused_like_a_forbidden_one() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let other = app.root().post("/v1/projects", &json!({ "name": "Other" }), 200).await["id"].clone();
    let key = app.root().create_key(json!({ "project_ids": [other] })).await;
    let client = app.anonymous().with_key(&key.key);
    let mut seen = BTreeSet::new();
    for route in protected() {
        if elsewhere(route) != OtherProject::Refused {
            continue;
        }
        let unknown = crate::seeded_project::path(route, |name| {
            let known = seeded.ids.iter().find(|(known, _)| *known == name);
            if name == "project_id" { Some("A".repeat(12)) } else { known.map(|(_, id)| id.clone()) }
        });
        for path in [seeded.path(route), unknown] {
            let (status, reply) = client.ask(route.method.clone(), &path, Body::Read("{}".into())).await;
            seen.insert(format!("{status} {}", reply.text_without_id()));
        }
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
}
