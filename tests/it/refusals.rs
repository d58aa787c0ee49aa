//! Authentication on every route, generated from the route table. A new route is covered at once.

use std::collections::BTreeSet;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use onerun_api::{Authenticator, Body, ROUTES, Route, routes};
use onerun_auth::{Access, Credential, Principal, Refusal};
use onerun_tests::app::{Client, OTHER_KEY, PREVIOUS_KEY, PREVIOUS_KEY_ENDS, ROOT_KEY, Reply, TestApp, keys};
use serde_json::{Value, json};

use crate::{
    fixtures::{code, text},
    seeded_project::{SeededProject, in_possible_order, path, valid_status},
};

const NO_KEY: &str = r#"Bearer realm="OneRun""#;
const INVALID_KEY: &str = r#"Bearer realm="OneRun", error="invalid_token""#;

/// Headers and queries of a request without a key.
fn without_a_key() -> Vec<(Vec<(&'static str, String)>, String)> {
    let root = ROOT_KEY.replace('+', "%2B");
    let headers = [
        vec![],
        vec![("x-api-key", String::new())],
        vec![("x-api-key", " \t ".to_owned())],
        vec![("authorization", String::new())],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", "Bearer   ".to_owned())],
        vec![("authorization", format!("Basic {ROOT_KEY}"))],
        vec![("authorization", format!("ApiKey {ROOT_KEY}"))],
        vec![("authorization", ROOT_KEY.to_owned())],
        vec![("x-api-key", String::new()), ("authorization", "Bearer ".to_owned())],
        vec![("cookie", format!("x-api-key={ROOT_KEY}"))],
        vec![("api-key", ROOT_KEY.to_owned())],
        vec![("x-amz-security-token", ROOT_KEY.to_owned())],
    ];
    let queries = ["x-api-key", "X-API-Key", "api_key", "key", "access_token", "authorization"];
    let headers = headers.into_iter().map(|headers| (headers, String::new()));
    headers.chain(queries.iter().map(|name| (vec![], format!("&{name}={root}")))).collect()
}

/// Headers of a request with an unaccepted key or with several keys.
fn with_an_invalid_key() -> Vec<Vec<(&'static str, String)>> {
    let key = |value: &str| vec![("x-api-key", value.to_owned())];
    let bearer = |value: &str| vec![("authorization", format!("Bearer {value}"))];
    let unpadded = ROOT_KEY.trim_end_matches('=');
    vec![
        key(OTHER_KEY),
        bearer(OTHER_KEY),
        // Too short, nearly right, and too long.
        key("a"),
        bearer("a"),
        key(unpadded),
        key(&ROOT_KEY[..ROOT_KEY.len() / 2]),
        key(&ROOT_KEY.to_lowercase()),
        key(&format!("{ROOT_KEY}=")),
        key(&format!("Bearer {ROOT_KEY}")),
        key(&ROOT_KEY.repeat(100)),
        key("undefined"),
        key("\"'; DROP TABLE projects; --"),
        // Two keys, even if one or both are right.
        [key(ROOT_KEY), key(ROOT_KEY)].concat(),
        [key(ROOT_KEY), key(OTHER_KEY)].concat(),
        [key(""), key(ROOT_KEY)].concat(),
        key(&format!("{ROOT_KEY},{ROOT_KEY}")),
        key(&format!("{ROOT_KEY}, {OTHER_KEY}")),
        key(&format!("{ROOT_KEY},")),
        [key(ROOT_KEY), bearer(ROOT_KEY)].concat(),
        [key(ROOT_KEY), bearer(OTHER_KEY)].concat(),
        [key(OTHER_KEY), bearer(ROOT_KEY)].concat(),
        [bearer(ROOT_KEY), bearer(ROOT_KEY)].concat(),
        bearer(&format!("{ROOT_KEY}, Bearer {ROOT_KEY}")),
        bearer(&format!("{ROOT_KEY} {ROOT_KEY}")),
    ]
}

fn client<'a>(app: &'a TestApp, headers: &[(&'static str, String)]) -> Client<'a> {
    headers.iter().fold(app.anonymous(), |client, (name, value)| client.with_header(name, value))
}

fn is_public(route: &Route) -> bool {
    route.access == Access::Public
}

fn protected() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().copied().filter(|route| !is_public(route))
}

/// The reply as its caller sees it, without the request id.
fn seen(status: u16, reply: &Reply) -> String {
    let mut headers: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| *name != "x-request-id")
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort();
    format!("{status}\n{}\n\n{}", headers.join("\n"), reply.text_without_id())
}

#[tokio::test]
async fn every_route_refuses_a_missing_key_identically() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let mut answers = BTreeSet::new();
    for route in protected() {
        for (headers, query) in without_a_key() {
            let path = format!("{}{query}", seeded.path(route));
            let (status, reply) =
                client(&app, &headers).ask(route.method.clone(), &path, seeded.body(route)).await;
            assert_eq!(status, 401, "{}: {headers:?} {query}: {}", route.operation, reply.text);
            assert_eq!(code(&reply.json()), "missing_api_key", "{}: {headers:?}", route.operation);
            assert_eq!(reply.header("www-authenticate"), Some(NO_KEY));
            answers.insert(seen(status, &reply));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn every_route_refuses_invalid_keys_identically() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let mut answers = BTreeSet::new();
    for route in protected() {
        for headers in with_an_invalid_key() {
            let path = seeded.path(route);
            let (status, reply) =
                client(&app, &headers).ask(route.method.clone(), &path, seeded.body(route)).await;
            assert_eq!(status, 401, "{}: {headers:?}: {}", route.operation, reply.text);
            assert_eq!(code(&reply.json()), "invalid_api_key", "{}: {headers:?}", route.operation);
            assert_eq!(reply.header("www-authenticate"), Some(INVALID_KEY));
            answers.insert(seen(status, &reply));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn bad_key_is_reported_before_other_errors() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let client = app.anonymous().with_header("x-api-key", OTHER_KEY);
    let mut answers = BTreeSet::new();
    for route in protected() {
        let known = seeded.path(route);
        // Of a known project, an unknown one, none, and two; with a body that the route does not
        // read.
        let unknown = path(route, |_| None);
        let bare = unknown.split('?').next().unwrap().to_owned();
        let doubled = format!("{known}&project_id=x&limit=0&offset=%ff");
        for path in [known, unknown, bare, doubled] {
            for body in [Body::TooLarge, Body::Read("{".into()), Body::Read("{\"nonsense\": 1}".into())] {
                let client = client.with_header("idempotency-key", "");
                let (status, reply) = client.ask(route.method.clone(), &path, body).await;
                assert_eq!(status, 401, "{}: {path}: {}", route.operation, reply.text);
                answers.insert(seen(status, &reply));
            }
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn refused_requests_change_nothing() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let (before, replies) = (seeded.state().await, app.model().replies());
    app.advance(SignedDuration::from_secs(1));
    for route in protected() {
        for headers in [vec![], vec![("x-api-key", OTHER_KEY.to_owned())]] {
            let path = seeded.path(route);
            let (status, _) =
                client(&app, &headers).ask(route.method.clone(), &path, seeded.body(route)).await;
            assert_eq!(status, 401, "{}", route.operation);
        }
    }
    app.run_jobs().await;
    assert_eq!(seeded.state().await, before);
    assert_eq!(app.model().replies(), replies);
}

#[tokio::test]
async fn every_route_accepts_the_key_in_either_header() {
    for header in [("x-api-key", ROOT_KEY.to_owned()), ("authorization", format!("Bearer {ROOT_KEY}"))] {
        let app = TestApp::start();
        let seeded = SeededProject::new(&app).await;
        for route in in_possible_order() {
            let client = client(&app, std::slice::from_ref(&header));
            let (status, reply) =
                client.ask(route.method.clone(), &seeded.path(route), seeded.body(route)).await;
            // The persona was just approved.
            let refused = route.operation == "reject_persona";
            let expected = if refused { 409 } else { valid_status(route) };
            assert_eq!(status, expected, "{}: {}", route.operation, reply.text);
        }
    }
}

#[tokio::test]
async fn public_routes_accept_no_key_and_any_key() {
    let app = TestApp::start();
    let public: Vec<_> = ROUTES.iter().copied().filter(|route| is_public(route)).collect();
    let operations: Vec<_> = public.iter().map(|route| route.operation).collect();
    assert_eq!(
        operations,
        ["get_health", "get_openapi", "get_dashboard", "revoke_leaked_keys"],
        "a route became public"
    );
    let keys = Body::Read(json!({ "keys": ["none"] }).to_string().into());
    for route in public {
        let mut answers = BTreeSet::new();
        for headers in with_an_invalid_key().into_iter().chain([vec![]]) {
            let (status, reply) =
                client(&app, &headers).ask(route.method.clone(), route.path, keys.clone()).await;
            let expected = if route.operation == "revoke_leaked_keys" { 202 } else { 200 };
            assert_eq!(status, expected, "{}", route.operation);
            answers.insert(seen(status, &reply));
        }
        assert_eq!(answers.len(), 1, "{}", route.operation);
    }
}

#[tokio::test]
async fn replaced_key_works_until_its_end_then_is_expired() {
    let app = TestApp::start();
    let client = app.anonymous().with_header("x-api-key", PREVIOUS_KEY);
    let end: Timestamp = PREVIOUS_KEY_ENDS.parse().unwrap();

    app.set_now(end - SignedDuration::from_micros(1));
    let seen = client.get("/v1/whoami", 200).await;
    assert_eq!(seen["key_id"], "root-previous");
    assert_eq!(seen["expires_at"], "2026-02-01T00:00:00.000000Z");

    app.set_now(end);
    for route in protected() {
        let path = path(route, |_| None);
        let (status, reply) = client.ask(route.method.clone(), &path, Body::Read("".into())).await;
        assert_eq!((status, code(&reply.json())), (401, "expired_api_key"), "{}", route.operation);
        assert_eq!(reply.header("www-authenticate"), Some(INVALID_KEY));
    }
    app.root().get("/v1/whoami", 200).await;
}

#[tokio::test]
async fn whoami_identifies_the_key_without_showing_it() {
    let app = TestApp::start();
    let seen = app.root().get("/v1/whoami", 200).await;
    assert_eq!(text(&seen, "key_id"), "root");
    assert_eq!(text(&seen, "kind"), "root");
    assert_eq!(seen["scopes"].as_array().map(Vec::len), Some(onerun_auth::Scope::ALL.len()));
    assert_eq!(seen["all_projects"], true);
    assert_eq!(seen["project_ids"], json!([]));
    assert_eq!(seen["expires_at"], Value::Null);
}

/// A key source that cannot be read.
struct Unreadable;

#[async_trait::async_trait]
impl Authenticator for Unreadable {
    async fn authenticate(&self, _: &Credential, _: Timestamp) -> Result<Principal, Refusal> {
        Err(Refusal::AuthUnavailable)
    }
}

#[tokio::test]
async fn unreadable_keys_give_503_not_401() {
    let app = TestApp::start_with(ROUTES, Box::new(Unreadable), TestApp::settings());
    for route in protected() {
        let path = path(route, |_| None);
        let (status, reply) = app.root().ask(route.method.clone(), &path, Body::Read("".into())).await;
        assert_eq!((status, code(&reply.json())), (503, "auth_unavailable"), "{}", route.operation);
        assert_eq!(reply.header("retry-after"), Some("5"));
    }
    app.anonymous().get("/health", 200).await;
}

#[test]
fn every_route_requires_the_scope_of_its_action() {
    for route in protected() {
        let scope = match route.access {
            Access::Requires(scope) => scope.as_str(),
            Access::AnyKey => {
                assert_eq!(route.operation, "get_whoami", "any key may call it");
                continue;
            }
            Access::Public => unreachable!("it is protected"),
        };
        let resource = route.path.split('/').rfind(|part| part.ends_with('s') && *part != "results");
        let resource = match resource {
            _ if route.path.starts_with("/v1/batches") => Some("simulations"),
            Some("items" | "responses") => Some("conversations"),
            Some("runs") => Some("monitors"),
            Some("deliveries") => Some("webhooks"),
            // A worker's key, which may write conversations, must not judge or label them.
            Some("evaluations" | "labels") => Some("simulations"),
            // They quote conversations.
            _ if ["get_report", "get_comparison", "export_simulation"].contains(&route.operation) => {
                Some("conversations")
            }
            None if route.path == "/v1/audit" => Some("audit"),
            None if route.path == "/v1/usage" => Some("simulations"),
            other => other,
        };
        // These change as little by POST as by GET.
        let reads =
            route.method == Method::GET || ["read_items", "estimate_simulation"].contains(&route.operation);
        let action = if reads { "read" } else { "write" };
        assert_eq!(Some(scope), resource.map(|resource| format!("{resource}:{action}")).as_deref());
    }
}

#[tokio::test]
async fn other_methods_of_a_path_are_refused() {
    let app = TestApp::start();
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    for route in ROUTES {
        let there: Vec<_> =
            ROUTES.iter().filter(|other| other.path == route.path).map(|other| &other.method).collect();
        let mut allow: Vec<_> = there.iter().map(|method| method.as_str()).collect();
        if allow.contains(&"GET") {
            allow.push("HEAD");
        }
        for method in methods.iter().filter(|method| !there.contains(method)) {
            let path = path(route, |_| None);
            for client in [app.anonymous(), app.root()] {
                let reply = client.send(method.clone(), &path, None, 405).await;
                assert_eq!(code(&reply.json()), "method_not_allowed");
                assert_eq!(reply.header("allow"), Some(allow.join(", ").as_str()), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn head_answers_as_get_does_without_the_body() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
        let path = seeded.path(route);
        for client in [app.root(), app.anonymous(), app.root().with_key(OTHER_KEY)] {
            let (status, get) = client.ask(Method::GET, &path, Body::Read("".into())).await;
            // The kit checks that there is no body.
            let (head_status, head) = client.ask(Method::HEAD, &path, Body::Read("".into())).await;
            assert_eq!(head_status, status, "{path}");
            let mut expected = get.headers.clone();
            expected.insert("content-length", get.text.len().into());
            expected.insert("x-request-id", head.headers["x-request-id"].clone());
            assert_eq!(head.headers, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn known_document_is_not_sent_again() {
    let app = TestApp::start();
    for path in ["/openapi.json", "/"] {
        let sent = app.anonymous().send(Method::GET, path, None, 200).await;
        let client = app.anonymous().with_header("if-none-match", sent.header("etag").unwrap());
        for method in [Method::GET, Method::HEAD] {
            client.send(method, path, None, 304).await;
        }
    }
}

#[tokio::test]
async fn head_of_a_write_only_path_is_refused() {
    let app = TestApp::start();
    let reply = app.root().send(Method::HEAD, "/v1/keys/revoke-leaked", None, 405).await;
    assert_eq!(reply.header("allow"), Some("POST"));
    app.root().send(Method::HEAD, "/v1/nothing", None, 404).await;
}

/// On AWS, API Gateway sends these requests to the functions of `/v1/keys/{key_id}`.
#[tokio::test]
async fn route_of_one_key_finds_no_key_named_revoke_leaked() {
    for (method, route) in [(Method::GET, &routes::GET_KEY), (Method::PATCH, &routes::UPDATE_KEY)] {
        let app = TestApp::start_with(&[route], Box::new(keys()), TestApp::settings());
        let path = "/v1/keys/revoke-leaked";
        app.anonymous().send(method.clone(), path, None, 401).await;
        let body = (method == Method::PATCH).then(|| json!({ "name": "a" }));
        let reply = app.root().send(method, path, body.as_ref(), 404).await;
        assert_eq!(code(&reply.json()), "key_not_found");
    }
}

#[tokio::test]
async fn unknown_paths_are_404_with_any_key() {
    let app = TestApp::start();
    let simulation = "A".repeat(21);
    for path in [
        "",
        "//",
        "/v1",
        "/v1/",
        "/v2/projects",
        "/V1/projects",
        "/v1/Projects",
        "/v1/projects/",
        "/v1//projects",
        "/v1/projects/a/b",
        "/v1/projects%2Fa",
        "/health/",
        "/v1/users",
        "/v1/../v1/projects",
        &format!("/v1/simulations/{simulation}/personas/x"),
        &format!("/v1/simulations/{simulation}/items"),
    ] {
        for client in [app.anonymous(), app.root()] {
            let problem = client.get(path, 404).await;
            assert_eq!(code(&problem), "route_not_found", "{path}");
        }
    }
}
