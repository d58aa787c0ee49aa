//! The sample events agree with the operations: method, path, parameters and body.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use onerun_api::{Body, Found, Handler, ROUTES, Route, Router};
use onerun_auth::find_managed_keys;
use onerun_domain::{Name, Project};
use onerun_tests::{
    app::{ROOT_KEY, TestApp},
    process::workspace,
};
use serde_json::{Value, json};

use super::{entries, operations};

#[test]
fn no_scanner_finds_a_key_in_an_event() {
    let (events, _) = events();
    for (name, event) in &events {
        let found = find_managed_keys(event.to_string().as_bytes()).next();
        assert_eq!(found, None, "{name}");
    }
}

/// The events by file name, with the expected replies of some.
fn events() -> (BTreeMap<String, Value>, Value) {
    let files = fs::read_dir(workspace().join("events")).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let mut events: BTreeMap<String, Value> = files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    let expected = events.remove("expected.json").unwrap();
    (events, expected)
}

#[test]
fn every_operation_has_events_and_every_event_a_route() {
    let (events, expected) = events();
    let operations = operations();
    for name in events.keys() {
        assert!(operations.contains(name.split('.').next().unwrap()), "{name} is an event of no operation");
    }
    for route in ROUTES {
        assert!(events.contains_key(&format!("{}.json", route.operation)), "{}", route.operation);
        let name = format!("{}.unauthenticated.json", route.operation);
        assert!(events.contains_key(&name), "{name}");
    }
    for name in [
        "run_jobs.json",
        "run_jobs.duplicate.json",
        "run_jobs.buried.json",
        "run_jobs.poison.json",
        "run_outbound_jobs.json",
        "tick.json",
        "run_monitor.json",
        "archive_audit.json",
        "rotate_secret.create_secret.json",
        "rotate_secret.set_secret.json",
        "rotate_secret.test_secret.json",
        "rotate_secret.finish_secret.json",
    ] {
        assert!(events.contains_key(name), "{name}");
    }
    for (name, _) in entries(&expected) {
        assert!(events.contains_key(name), "{name} is expected and not there");
    }
}

#[test]
fn event_is_a_request_of_its_route() {
    let router = Router::new(ROUTES).unwrap();
    let (events, expected) = events();
    for (name, event) in &events {
        let Some(route) = ROUTES.iter().find(|route| Some(route.operation) == name.split('.').next()) else {
            continue;
        };
        let (method, path) = method_and_path(event);
        let found = router.find(&method, path);
        if expected[name]["status"] == 404 {
            assert!(matches!(found, Found::NoRoute), "{name}");
            assert_eq!(event["routeKey"], "$default");
            continue;
        }
        let Found::Route(found, parameters) = found else { panic!("{name} has no route") };
        assert_eq!(found.operation, route.operation, "{name}");
        // A function URL has no routes, and so no path parameters.
        if !name.ends_with(".url.json") {
            let of_event: BTreeMap<&str, &str> = entries(&event["pathParameters"])
                .map(|(name, value)| (name, value.as_str().unwrap()))
                .collect();
            let parameters: BTreeMap<&str, &str> =
                parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(of_event, parameters, "{name}");
        }
        // A function URL has no routes.
        if !name.ends_with(".url.json") && event["version"] == "2.0" {
            assert_eq!(event["routeKey"], format!("{method} {}", route.path), "{name}");
        }
        let key = entries(&event["headers"]).find(|(header, _)| *header == "x-api-key").map(|(_, key)| key);
        assert_eq!(key.is_none(), name.ends_with(".unauthenticated.json"), "{name}");
        // Or the name of a managed key. No file contains the key.
        let is_known = |key: &Value| {
            key == ROOT_KEY || key.as_str().is_some_and(|key| key.starts_with('<') && key.ends_with('>'))
        };
        assert!(key.is_none_or(is_known), "{name}");
    }
}

fn method_and_path(event: &Value) -> (Method, &str) {
    let (method, path) = match event["version"].as_str() {
        Some("1.0") => (&event["httpMethod"], &event["path"]),
        _ => (&event["requestContext"]["http"]["method"], &event["rawPath"]),
    };
    (method.as_str().unwrap().parse().unwrap(), path.as_str().unwrap())
}

/// The query of an event. Its two forms agree.
fn query(event: &Value) -> String {
    let pairs = entries(&event["queryStringParameters"]).map(|(name, value)| (name, value.as_str().unwrap()));
    let pairs: BTreeSet<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    let Some(raw) = event["rawQueryString"].as_str() else {
        return pairs.into_iter().collect::<Vec<_>>().join("&");
    };
    assert_eq!(
        raw.split('&').filter(|pair| !pair.is_empty()).collect::<BTreeSet<_>>(),
        pairs.iter().map(String::as_str).collect()
    );
    raw.to_owned()
}

/// The body of an event, whose length its header has.
fn body(name: &str, event: &Value) -> String {
    let text = event["body"].as_str().unwrap_or_default();
    let bytes = if event["isBase64Encoded"] == true {
        BASE64.decode(text).unwrap()
    } else {
        text.as_bytes().to_vec()
    };
    // A placeholder is shorter than the key that replaces it.
    if let Some(length) = event["headers"]["content-length"].as_str().filter(|_| !text.contains('<')) {
        assert_eq!(length, bytes.len().to_string(), "{name}");
    }
    String::from_utf8(bytes).unwrap()
}

/// The status of a valid request in a store that holds only the project of the events. All other
/// ids are unknown there.
fn status(route: &Route) -> u16 {
    let has_ids = route.path.replace("{project_id}", "").contains('{');
    let names_agents = ["create_simulation", "import_simulation", "create_monitor", "claim_conversations"]
        .contains(&route.operation);
    if route.operation == "create_batch" {
        // It names agents, too, each in an item.
        return 422;
    }
    if has_ids || names_agents { 404 } else { route.status.as_u16() }
}

#[tokio::test]
async fn operation_accepts_parameters_and_body_of_its_events() {
    let app = TestApp::start();
    let project = Project {
        id: "p3Xk81LmQzTb".parse().unwrap(),
        name: Name::parse("Support").unwrap(),
        archived_at: None,
        created_at: app.now(),
        updated_at: app.now(),
    };
    app.engine().store().insert_project(project, None).await.unwrap();
    let (events, expected) = events();
    let mut covered = BTreeSet::new();
    for (name, event) in &events {
        let Some(route) = ROUTES.iter().find(|route| Some(route.operation) == name.split('.').next()) else {
            continue;
        };
        // These are refused for their path or their key.
        if expected[name]["status"].as_u64().is_some_and(|status| status >= 400)
            || name.contains(".unauthenticated.")
        {
            continue;
        }
        covered.insert(route.operation);
        let (method, path) = method_and_path(event);
        let (query, body) = (query(event), body(name, event));
        let client = app.root();
        let send = async |query: &str, body: &str| {
            let path = format!("{path}?{query}");
            let (status, reply) = client.ask(method.clone(), &path, Body::Read(body.to_owned().into())).await;
            (status, reply.text)
        };
        let (got, reply) = send(&query, &body).await;
        assert_eq!(got, status(route), "{name}: {reply}");
        // The parameters and the body were read: otherwise these would be accepted, too.
        if !matches!(route.handler, Handler::Static(_) | Handler::Document(_)) {
            assert_eq!(send(&format!("{query}&unknown=1"), &body).await.0, 422, "{name}");
        }
        if !body.is_empty() {
            let mut other: Value = serde_json::from_str(&body).unwrap();
            other["unknown"] = json!(1);
            assert_eq!(send(&query, &other.to_string()).await.0, 422, "{name}");
        }
    }
    assert_eq!(covered, ROUTES.iter().map(|route| route.operation).collect());
}
