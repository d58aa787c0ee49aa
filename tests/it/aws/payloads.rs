//! One request in every payload format.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use onerun_tests::{
    aws::{Cloud, Payload},
    sdk::id,
};
use serde_json::{Value, json};

const PAYLOADS: [Payload; 3] = [Payload::V1, Payload::V2, Payload::FunctionUrl];

#[tokio::test]
async fn every_payload_version_gets_the_same_response() {
    let cloud = Cloud::start().await;
    let key = cloud.secret.key().await;
    let client = cloud.client().await;
    let project = id(&client.post("/v1/projects", &json!({ "name": "Ünï ☂ \"x\"" }), 200).await);
    client.post("/v1/projects", &json!({ "name": "Another" }), 200).await;
    let get = |path: &str| Request::get(path).header("x-api-key", &key);
    let post = |path: &str| Request::post(path).header("x-api-key", &key);
    let json_body = || Bytes::from(json!({ "name": "Ärger – ☂" }).to_string());
    let empty = Bytes::new;
    let cases = [
        ("get_health", Request::get("/health"), empty(), 200),
        ("get_openapi", Request::get("/openapi.json"), empty(), 200),
        ("get_whoami", get("/v1/whoami"), empty(), 200),
        (
            "get_whoami",
            Request::get("/v1/whoami").header("authorization", format!("Bearer {key}")),
            empty(),
            200,
        ),
        ("get_whoami", Request::get("/v1/whoami"), empty(), 401),
        // Two credentials in one request, whether they come as two fields or as one.
        ("get_whoami", get("/v1/whoami").header("x-api-key", &key), empty(), 401),
        ("get_whoami", get("/v1/whoami").header("authorization", format!("Bearer {key}")), empty(), 401),
        ("get_whoami", Request::get("/v1/whoami").header("x-api-key", "ключ"), empty(), 401),
        (
            "get_whoami",
            get("/v1/whoami").header("cookie", "a=b; c=d").header("accept", "a").header("accept", "b"),
            empty(),
            200,
        ),
        (
            "list_agents",
            get(&format!(
                "/v1/agents?project_id={project}&limit=1&sort_by=name&sort_dir=asc&name=%C3%BCn%C3%AF+%E2%98%82"
            )),
            empty(),
            200,
        ),
        ("list_projects", get("/v1/projects?limit=1&limit=2"), empty(), 422),
        ("list_projects", get("/v1/projects?limit=abc&offset=-1"), empty(), 422),
        ("get_project", get(&format!("/v1/projects/{project}")), empty(), 200),
        ("get_project", get("/v1/projects/%41%42%43"), empty(), 404),
        ("get_project", get("/v1/projects/a%3Fc%23d%25"), empty(), 404),
        ("list_agents", get(&format!("/v1/agents?project_id={project}&limit=5")), empty(), 200),
        ("create_project", post("/v1/projects").header("content-type", "application/json"), json_body(), 200),
        // Bodies of a non-text type are base64.
        (
            "create_project",
            post("/v1/projects").header("content-type", "application/octet-stream"),
            json_body(),
            200,
        ),
        ("create_project", post("/v1/projects"), json_body(), 200),
        (
            "create_project",
            post("/v1/projects").header("content-type", "application/json"),
            Bytes::from_static(b"{"),
            422,
        ),
        (
            "create_project",
            post("/v1/projects").header("content-type", "application/json"),
            Bytes::from_static(b"\xff\xfe"),
            422,
        ),
        ("create_project", post("/v1/projects"), empty(), 422),
        ("create_project", post("/v1/projects"), Bytes::from_static(b"{\"name\":7,\"x\":[]}"), 422),
    ];
    for (number, (operation, request, body, status)) in cases.into_iter().enumerate() {
        let request = request.body(body).expect("a request");
        let mut answers = Vec::new();
        for payload in PAYLOADS {
            let asked = cloud.ask(cloud.function(operation), payload, &request).await;
            let response = asked.unwrap_or_else(|failed| {
                panic!("{number} {operation} {payload:?}: {failed:?}: {}", cloud.function(operation).log())
            });
            assert_eq!(response.status(), status, "{number} {operation} {payload:?}: {response:?}");
            answers.push((payload, comparable(&response)));
        }
        for (payload, answer) in &answers[1..] {
            assert_eq!(*answer, answers[0].1, "{number} {operation} {payload:?}");
        }
    }
}

/// A response without the members that differ for each request.
fn comparable(response: &Response<Bytes>) -> (HeaderMap, Value) {
    let mut headers = response.headers().clone();
    assert!(headers.remove("x-request-id").is_some(), "{headers:?}");
    let mut body: Value = serde_json::from_slice(response.body()).expect("JSON");
    for name in ["request_id", "id", "created_at", "updated_at"] {
        if let Some(body) = body.as_object_mut() {
            body.remove(name);
        }
    }
    (headers, body)
}

#[tokio::test]
async fn malformed_event_fails_its_invocation_only() {
    let cloud = Cloud::start().await;
    let key = cloud.secret.key().await;
    let function = cloud.function("get_whoami");
    for event in [
        json!({}),
        json!([]),
        json!("text"),
        json!(null),
        json!({ "Records": [] }),
        json!({ "version": "2.0" }),
    ] {
        let outcome = function.invoke(&event).await;
        assert!(outcome.is_err(), "{event}: {outcome:?}");
    }
    let request = Request::get("/v1/whoami").header("x-api-key", &key).body(Bytes::new()).expect("a request");
    let response = cloud.ask(function, Payload::V2, &request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!((function.environments(), function.log().matches("INIT START").count()), (1, 1));
}
