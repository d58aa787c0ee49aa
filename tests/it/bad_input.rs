//! Invalid input is refused with a status and the location of each error. Tables and the route list
//! generate the cases, so every route with a body or a query is covered.

mod kind;

use std::fmt::Write as _;

use http::Method;
use onerun_api::{Body, MAX_BODY_BYTES, MAX_PUBLIC_BODY_BYTES, ROUTES, Route};
use onerun_auth::Access;
use onerun_tests::app::{Client, TestApp, documentation};
use serde_json::{Value, json};

use kind::{Kind, quoted};

use crate::{
    fixtures::{TestProject, code, data, id, message},
    seeded_project::{SeededProject, path, valid_status},
};

/// The places of the errors of an answer, in their order.
fn places(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors in {problem}"));
    let place = |error: &Value| {
        ["pointer", "parameter", "header"].iter().find_map(|name| error[*name].as_str().map(str::to_owned))
    };
    errors.iter().filter_map(place).collect()
}

/// The routes that read a body.
fn with_a_body() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().copied().filter(|route| documentation(route.operation).get("requestBody").is_some())
}

async fn refused(client: &Client<'_>, method: &Method, path: &str, body: impl Into<Vec<u8>>) -> Value {
    let reply = client.send_bytes(method.clone(), path, body.into(), 422).await.json();
    assert_eq!(code(&reply), "invalid_request");
    reply
}

/// The alternative field: exactly one of the two is required.
fn alternative(field: &str) -> Option<&'static str> {
    let pairs = [
        ("scopes", "preset"),
        ("project_ids", "all_projects"),
        ("allowed_cidrs", "any_address"),
        ("rate_limit", "no_rate_limit"),
        ("expires_in_days", "never_expires"),
    ];
    let of = |(one, other): &(&'static str, &'static str)| match field {
        _ if field == *one => Some(*other),
        _ if field == *other => Some(*one),
        _ => None,
    };
    pairs.iter().find_map(of)
}

/// Whether a field is one of two alternatives, so that it alone cannot be left out.
fn is_one_of_two(operation: &str, field: &str) -> bool {
    match operation {
        "create_key" => ["scopes", "preset", "project_ids", "all_projects"].contains(&field),
        // The other is `personas`.
        "create_simulation" => field == "target_personas",
        _ => false,
    }
}

/// The fields of an operation with a body: name, kind, and whether null is a value.
fn fields(operation: &str) -> Vec<(&'static str, Kind, bool)> {
    let schema = &documentation(operation)["requestBody"]["content"]["application/json"]["schema"];
    let field = |(name, schema): (&'static String, &Value)| {
        let mut kind = Kind::of(name, schema);
        if is_one_of_two(operation, name) {
            // An empty value counts as absent.
            kind.good.retain(|text| text != "false");
        }
        let is_nullable = schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null")));
        (name.as_str(), kind, is_nullable)
    };
    schema["properties"].as_object().unwrap().iter().map(field).collect()
}

/// A body with one field of this JSON text, which a `Value` may be unable to represent.
fn body_with(good: &Value, field: &str, text: &str) -> String {
    let mut body = String::from("{");
    let other = alternative(field);
    let kept = good.as_object().unwrap().iter();
    for (name, value) in kept.filter(|(name, _)| *name != field && Some(name.as_str()) != other) {
        write!(body, "{}:{value},", quoted(name)).unwrap();
    }
    write!(body, "{}:{text}}}", quoted(field)).unwrap();
    body
}

#[tokio::test]
async fn every_field_refuses_invalid_values_by_name() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let before = seeded.state().await;
    for route in with_a_body() {
        let good = seeded.value(route.operation).unwrap();
        for (field, kind, _) in fields(route.operation) {
            for text in kind.bad {
                let body = body_with(&good, field, &text);
                let problem = refused(&seeded.project.client, &route.method, &seeded.path(route), body).await;
                let shown: String = text.chars().take(40).collect();
                assert_eq!(places(&problem), [format!("#/{field}")], "{} {field}={shown}", route.operation);
            }
        }
    }
    assert_eq!(seeded.state().await, before, "something of a refused request was kept");
}

#[tokio::test]
async fn every_field_accepts_values_up_to_its_bounds() {
    for route in with_a_body() {
        let app = TestApp::start();
        // Claims would wait as long as they may.
        app.engine().end_waits();
        let seeded = SeededProject::new(&app).await;
        let good = seeded.value(route.operation).unwrap();
        for (field, kind, null) in fields(route.operation) {
            let null = (null && !is_one_of_two(route.operation, field)).then(|| "null".to_owned());
            for text in kind.good.into_iter().chain(null) {
                let body = body_with(&good, field, &text);
                let path = seeded.fresh_path(route).await;
                // The conversation is at its first attempt, and a repeated report changes nothing.
                let names_attempt = ["fail_conversation", "renew_conversation"].contains(&route.operation);
                let is_first = !(names_attempt && field == "attempt")
                    || text.parse::<f64>().is_ok_and(|attempt| attempt < 2.0);
                let status = if is_first { valid_status(route) } else { 409 };
                seeded.project.client.send_bytes(route.method.clone(), &path, body, status).await;
            }
        }
    }
}

#[tokio::test]
async fn missing_or_null_required_fields_are_reported() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in with_a_body() {
        let good = seeded.value(route.operation).unwrap();
        let schema = &documentation(route.operation)["requestBody"]["content"]["application/json"]["schema"];
        let required: Vec<_> = schema["required"].as_array().unwrap().iter().map(Value::as_str).collect();
        for (field, _, null) in fields(route.operation) {
            let path = seeded.path(route);
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(field);
            if required.contains(&Some(field)) {
                let problem = refused(&seeded.project.client, &route.method, &path, body.to_string()).await;
                assert_eq!(places(&problem), [format!("#/{field}")]);
                assert_eq!(problem["errors"][0]["detail"], "is required");
            }
            if !null && !is_one_of_two(route.operation, field) {
                body[field] = Value::Null;
                let problem = refused(&seeded.project.client, &route.method, &path, body.to_string()).await;
                assert_eq!(places(&problem), [format!("#/{field}")], "{}", route.operation);
            }
        }
    }
}

#[tokio::test]
async fn body_must_be_one_json_object_on_every_route() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let cases: [&[u8]; 25] = [
        b"",
        b" \r\n\t",
        b"x",
        b"{",
        b"}",
        b"nul",
        b"NaN",
        b"'a'",
        b"{'name': 'x'}",
        b"{name: 1}",
        b"{} {}",
        b"{},",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"\0",
        b"name=x",
        b"<xml/>",
        b"null",
        b"true",
        b"5",
        b"\"x\"",
        b"[]",
        b"[{}]",
        b"{\"a\": 1, }",
    ];
    for route in with_a_body() {
        let is_required = documentation(route.operation)["requestBody"]["required"] == true;
        for body in cases.iter().filter(|body| is_required || !body.is_empty()) {
            let problem = refused(&seeded.project.client, &route.method, &seeded.path(route), *body).await;
            let places = places(&problem);
            assert_eq!(places, ["#"], "{}: {:?}", route.operation, String::from_utf8_lossy(body));
        }
    }
}

#[tokio::test]
async fn body_limit_is_1_mib_or_16_kib_without_a_key() {
    for route in with_a_body() {
        let app = TestApp::start();
        let seeded = SeededProject::new(&app).await;
        let path = seeded.path(route);
        let mut body = seeded.value(route.operation).unwrap().to_string().into_bytes();
        let is_public = route.access == Access::Public;
        body.resize(if is_public { MAX_PUBLIC_BODY_BYTES } else { MAX_BODY_BYTES } + 1, b' ');
        for body in [Body::Read(body.clone().into()), Body::TooLarge] {
            let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 413).await;
            assert_eq!(code(&reply.json()), "body_too_large");
        }
        body.pop();
        seeded.project.client.send_bytes(route.method.clone(), &path, body, valid_status(route)).await;
    }
}

#[tokio::test]
async fn unread_body_is_ignored() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
        for body in [Body::TooLarge, Body::Read("{".into())] {
            let (path, status) = (seeded.path(route), valid_status(route));
            seeded.project.client.send_body(Method::GET, &path, body, status).await;
        }
    }
}

#[tokio::test]
async fn body_may_be_nested_32_levels_deep_at_most() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for route in with_a_body() {
        let path = seeded.path(route);
        let good = seeded.value(route.operation).unwrap();
        for (levels, message) in [(31, "is not a field"), (32, "nested more than 32"), (8_000, "nested")] {
            let body = body_with(&good, "deep", &nested(levels));
            let problem = refused(&seeded.project.client, &route.method, &path, body).await;
            assert!(places(&problem)[0].starts_with("#/deep"), "{problem}");
            let detail = problem["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.contains(message), "{levels} levels: {detail}");
        }
    }
}

#[tokio::test]
async fn unknown_and_duplicate_fields_are_refused_by_name() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in with_a_body() {
        let path = seeded.path(route);
        let good = seeded.value(route.operation).unwrap();
        for (field, pointer) in [
            ("nmae", "#/nmae"),
            ("a/b~c", "#/a~1b~0c"),
            ("", "#/"),
            ("__proto__", "#/__proto__"),
            ("id", "#/id"),
            ("project_id", "#/project_id"),
        ] {
            let body = body_with(&good, field, "1");
            let problem = refused(&seeded.project.client, &route.method, &path, body).await;
            assert_eq!(places(&problem), [pointer], "{}", route.operation);
        }
        let first = good.as_object().unwrap().keys().next().unwrap();
        let body = format!("{{{0}: 1, {0}: 1}}", quoted(first));
        let problem = refused(&seeded.project.client, &route.method, &path, body).await;
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("the name `{first}` occurs twice")), "{detail}");
    }
}

#[tokio::test]
async fn all_errors_of_a_body_are_reported_together() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({
        "agent_id": "x",
        "name": " ",
        "target_conversations": 0,
        "target_personas": 10_001,
        "personas_from": "x",
        "max_turns": 201,
        "auto_approve": "yes",
        "objective_ids": ["x", 5],
        "metadata": [],
        "seed": -1,
        "expires_in_seconds": 0,
        "models": { "persona": "gpt-5", "reply": 5, "judge": "openai:", "other": "offline" },
        "max_cost_usd": 0,
        "max_tokens": 0,
        "expiry": 1,
    });
    let problem =
        refused(&project.client, &Method::POST, &project.path("/simulations"), body.to_string()).await;
    assert_eq!(
        places(&problem),
        [
            "#/agent_id",
            "#/name",
            "#/scenario",
            "#/target_conversations",
            "#/target_personas",
            "#/personas_from",
            "#/auto_approve",
            "#/max_turns",
            "#/objective_ids/0",
            "#/objective_ids/1",
            "#/seed",
            "#/metadata",
            "#/expires_in_seconds",
            "#/models/persona",
            "#/models/reply",
            "#/models/judge",
            "#/models/other",
            "#/max_cost_usd",
            "#/max_tokens",
            "#/expiry",
        ]
    );
    assert_eq!(
        problem["message"],
        "the request is invalid: `agent_id` must be 12 letters or digits; `name` must not be empty; `scenario` is \
         required; and 17 more"
    );
}

#[tokio::test]
async fn error_in_a_list_points_into_it() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let SeededProject { project, ids } = &seeded;
    let objective = &ids.iter().find(|(name, _)| *name == "objective_id").unwrap().1;
    let simulations = project.path("/simulations");
    let many: Vec<_> = (0..51).map(|number| format!("a{number:011}")).collect();
    for (objectives, pointer) in [
        (json!(["short"]), "#/objective_ids/0"),
        (json!([objective, null]), "#/objective_ids/1"),
        (json!([objective, objective]), "#/objective_ids/1"),
        (json!(many), "#/objective_ids"),
    ] {
        let body = project.wanted(json!({ "objective_ids": objectives })).to_string();
        let problem = refused(&project.client, &Method::POST, &simulations, body).await;
        assert_eq!(places(&problem), [pointer]);
    }

    let part = json!({ "type": "text", "text": "x" });
    let said = json!({ "type": "message", "content": [part] });
    let responses = seeded.path(ROUTES.iter().find(|route| route.operation == "create_response").unwrap());
    for (input, pointers) in [
        (json!(["x"]), vec!["#/input/0"]),
        (json!([null]), vec!["#/input/0"]),
        (json!([{}]), vec!["#/input/0/type", "#/input/0/content"]),
        (json!([said, { "type": "function_call", "content": [part] }]), vec!["#/input/1/type"]),
        (json!([{ "type": "message", "content": "x" }]), vec!["#/input/0/content"]),
        (json!([{ "type": "message", "content": null }]), vec!["#/input/0/content"]),
        (json!([{ "type": "message", "content": [] }]), vec!["#/input/0/content"]),
        (json!([{ "type": "message", "content": vec![&part; 51] }]), vec!["#/input/0/content"]),
        (json!([{ "type": "message", "content": [part, "x"] }]), vec!["#/input/0/content/1"]),
        (
            json!([{ "type": "message", "content": [{ "type": "image", "text": "x" }] }]),
            vec!["#/input/0/content/0/type"],
        ),
        (
            json!([{ "type": "message", "content": [{ "type": "text", "text": 5 }] }]),
            vec!["#/input/0/content/0/text"],
        ),
        (
            json!([{ "type": "message", "content": [{ "type": "text", "text": "\u{0}" }] }]),
            vec!["#/input/0/content/0/text"],
        ),
        (
            json!([{ "type": "message", "content": [{ "type": "text", "text": "x".repeat(32_001) }] }]),
            vec!["#/input/0/content/0/text"],
        ),
        (json!([{ "type": "message", "role": "user", "content": [part] }]), vec!["#/input/0/role"]),
        (json!(vec![&said; 51]), vec!["#/input"]),
    ] {
        let body = json!({ "input": input }).to_string();
        let problem = refused(&project.client, &Method::POST, &responses, body).await;
        assert_eq!(places(&problem), pointers, "{input}");
    }
    let body = r#"{"input": [{"type": "message", "content": [{"type": "text", "text": "\ud800"}]}]}"#;
    let problem = refused(&project.client, &Method::POST, &responses, body).await;
    assert_eq!(places(&problem), ["#/input/0/content/0/text"]);
    assert_eq!(app.model().replies(), 1, "only the opening, which is the furniture's");
}

#[tokio::test]
async fn broken_check_is_refused_with_its_line() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let body = json!({ "name": "x", "criteria": "Is kind.\ncheck: persona ended\ncheck: agent says /(/" });
    let problem =
        refused(&project.client, &Method::POST, &project.path("/objectives"), body.to_string()).await;
    assert_eq!(places(&problem), ["#/criteria"]);
    let detail = problem["errors"][0]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("has a check on line 3 whose pattern is not a regular expression"),
        "{detail}"
    );
}

#[tokio::test]
async fn simulation_refuses_resources_of_another_project() {
    let app = TestApp::start();
    let (here, there) = (TestProject::open(&app).await, TestProject::open(&app).await);
    let mine = here.objective("Mine", "check: persona ended").await;
    let other = there.objective("Theirs", "check: persona ended").await;
    let path = here.path("/simulations");

    for agent in [there.agent.as_str(), "AAAAAAAAAAAA"] {
        let problem = here.client.post(&path, &here.wanted(json!({ "agent_id": agent })), 404).await;
        let message = format!("Agent not found: `{agent}`; list agents with `GET /v1/agents`");
        assert_eq!((code(&problem), &problem["message"]), ("agent_not_found", &json!(message)));
    }
    let unknown = "AAAAAAAAAAAA";
    let body = here.wanted(json!({ "objective_ids": [other, mine, unknown] }));
    let problem = here.client.post(&path, &body, 404).await;
    assert_eq!(code(&problem), "objectives_not_found");
    let message =
        format!("Objectives not found: {other}, {unknown}; list objectives with `GET /v1/objectives`");
    assert_eq!(problem["message"], message);
    assert!(data(&here.get("/simulations").await).is_empty());
}

/// The error code for an unknown resource of a path parameter.
fn not_found(parameter: &str) -> String {
    parameter.replace("_id", "_not_found")
}

#[tokio::test]
async fn unknown_ids_of_any_form_are_404() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let unknown = ["A".repeat(12), "A".repeat(21)];
    let odd = ["x", "%00", "%ff", "%2e%2e", "..", "*", "'%20OR%201=1", "%E2%80%AE", "null", "{id}", "1"];
    let values: Vec<_> =
        unknown.iter().map(String::as_str).chain(odd).chain(["B".repeat(5_000).leak() as &str]).collect();
    for route in ROUTES {
        let parameters = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        for parameter in parameters {
            for value in &values {
                // The parameters before it are right.
                let path = path(route, |name| {
                    let known = seeded.ids.iter().find(|(known, _)| *known == name);
                    if name == parameter {
                        Some((*value).to_owned())
                    } else {
                        known.map(|(_, id)| id.clone())
                    }
                });
                let body = seeded.body(route);
                let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 404).await;
                assert_eq!(code(&reply.json()), not_found(parameter), "{}: {path}", route.operation);
            }
        }
    }
}

#[tokio::test]
async fn resources_of_another_simulation_are_404() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let other = seeded.project.simulate(json!({})).await;
    for route in ROUTES {
        let Some(last) = route.path.split('/').filter(|part| part.starts_with('{')).nth(1) else { continue };
        if !route.path.contains("{simulation_id}") {
            continue;
        }
        let last = last.trim_matches(['{', '}']);
        let path = path(route, |name| {
            let known = seeded.ids.iter().find(|(known, _)| *known == name);
            if name == "simulation_id" { Some(other.clone()) } else { known.map(|(_, id)| id.clone()) }
        });
        let body = seeded.body(route);
        let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 404).await;
        assert_eq!(code(&reply.json()), not_found(last), "{}", route.operation);
    }
}

/// The parameters of an operation's query: name and schema.
fn query(operation: &str) -> Vec<(&'static str, &'static Value)> {
    let parameters = documentation(operation)["parameters"].as_array().unwrap();
    let query = parameters.iter().filter(|parameter| parameter["in"] == "query");
    query.map(|parameter| (parameter["name"].as_str().unwrap(), &parameter["schema"])).collect()
}

#[tokio::test]
async fn query_numbers_out_of_bounds_are_refused() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let mut covered = 0;
    for route in ROUTES {
        for (name, schema) in
            query(route.operation).into_iter().filter(|(_, schema)| schema["type"] == "integer")
        {
            covered += 1;
            let (min, max) = (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_i64().unwrap());
            let odd = ["", "x", "+5", "1.0", "1e1", "0x1", "%201", "1%00", "٣", "99999999999999999999"];
            let values = [(min - 1).to_string(), (max + 1).to_string()];
            for value in values.iter().map(String::as_str).chain(odd) {
                let path = format!("{}&{name}={value}", seeded.path(route));
                let body = seeded.body(route);
                let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 422).await;
                assert_eq!(places(&reply.json()), [name], "{}: {value}", route.operation);
            }
        }
    }
    // `limit` and `offset` of sixteen lists, two ages of keys, and the `attempt` of four routes with a conversation.
    assert_eq!(covered, 16 * 2 + 2 + 2 + 4, "a query's number appeared or went");
}

#[tokio::test]
async fn repeated_or_non_utf_8_parameters_are_refused() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    for route in ROUTES {
        // Each metadata filter is a separate parameter; `queries` tests them.
        for (name, _) in query(route.operation).into_iter().filter(|(name, _)| *name != "metadata") {
            let path = seeded.path(route);
            let value = if name == "project_id" { &seeded.project.id } else { "1" };
            let separator = if name == "project_id" { "" } else { &format!("&{name}={value}") };
            for doubled in [format!("{separator}&{name}={value}"), format!("{separator}&{name}=")] {
                let path = format!("{path}{doubled}");
                let body = seeded.body(route);
                let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 422).await;
                assert_eq!(places(&reply.json()), [name], "{}: {path}", route.operation);
                assert_eq!(reply.json()["errors"][0]["detail"], "must be given once");
            }
            for broken in ["%ff", "%c0%af", "%ed%a0%80", "a%80"] {
                let path = format!("{path}&{name}={broken}");
                let body = seeded.body(route);
                let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 422).await;
                assert!(!places(&reply.json()).is_empty(), "{}: {path}", route.operation);
            }
        }
    }
}

#[tokio::test]
async fn every_project_route_needs_an_existing_project() {
    let app = TestApp::start();
    let seeded = SeededProject::new(&app).await;
    let is_in_a_project = |route: &&&Route| {
        let parameters = documentation(route.operation)["parameters"].as_array().unwrap();
        parameters.iter().any(|parameter| {
            parameter["name"] == "project_id" && parameter["in"] == "query" && parameter["required"] == true
        })
    };
    for route in ROUTES.iter().filter(is_in_a_project) {
        let path = seeded.path(route);
        let bare = path.split('?').next().unwrap();
        let body = || seeded.body(route);
        for (query, wrong) in [
            ("", vec!["project_id"]),
            ("?", vec!["project_id"]),
            ("?projectid=x", vec!["projectid", "project_id"]),
            ("?PROJECT_ID=x", vec!["PROJECT_ID", "project_id"]),
            ("?&&=", vec!["", "project_id"]),
        ] {
            let path = format!("{bare}{query}");
            let reply = seeded.project.client.send_body(route.method.clone(), &path, body(), 422).await;
            assert_eq!(places(&reply.json()), wrong, "{}", route.operation);
        }
        for project in ["AAAAAAAAAAAA", "", "x", "%00", "..", "AAAAAAAAAAAAA"] {
            let path = format!("{bare}?project_id={project}");
            // Also before errors of the body.
            for body in [body(), Body::TooLarge, Body::Read("{".into())] {
                let reply = seeded.project.client.send_body(route.method.clone(), &path, body, 404).await;
                assert_eq!(code(&reply.json()), "project_not_found", "{}", route.operation);
                let named = match project {
                    "" | "%00" | ".." => String::new(),
                    id => format!(": `{id}`"),
                };
                let message = format!("Project not found{named}; list projects with `GET /v1/projects`");
                assert_eq!(reply.json()["message"], message);
            }
        }
    }
}

#[tokio::test]
async fn idempotency_key_is_1_to_255_visible_characters() {
    let app = TestApp::start();
    let project = TestProject::open(&app).await;
    let conversation = project.converse(json!({ "max_turns": 20 })).await;
    let client = |key: &str| project.client.with_header("idempotency-key", key);
    for client in [
        client(""),
        client(&"k".repeat(256)),
        client("é"),
        client("a\tb"),
        client("a").with_header("idempotency-key", "a"),
    ] {
        let problem = client.post(&conversation.path("/responses"), &message(None), 422).await;
        assert_eq!(places(&problem), ["Idempotency-Key"]);
    }
    assert_eq!(conversation.see().await["status"], "queued");
    client(&"k".repeat(255)).post(&conversation.path("/responses"), &message(None), 200).await;
    assert_eq!(id(&conversation.see().await), conversation.id);
}
