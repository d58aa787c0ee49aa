//! Lambda events: parsing never panics, and any text of a caller gives a request whose address is
//! the gateway's.

#![no_main]

// The module alone. The crate needs the AWS SDK, which takes minutes to build and is not used here.
#[path = "../../crates/lambda/src/event.rs"]
mod event;

use std::sync::LazyLock;

use bytes::Bytes;
use http::Method;
use libfuzzer_sys::fuzz_target;
use onerun_api::{ROUTES, Request, Response, Router};
use serde_json::json;

use self::event::{Event, EventResponse, Payload};

/// The source of an event.
const ADDRESS: &str = "203.0.113.9";

static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(ROUTES).expect("the routes differ"));

fuzz_target!(|data: &[u8]| {
    if let Ok(event) = serde_json::from_slice::<Event>(data)
        && let Ok((request, payload)) = event.into_request("id".to_owned(), &ROUTER)
    {
        answer(&request, payload, data);
    }

    let texts: Vec<_> = data.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    if let [stage, path, query, name, value, body, ..] = texts.as_slice() {
        let is_base64 = data.len().is_multiple_of(2);
        let v2 = json!({
            "rawPath": path, "rawQueryString": query, "headers": { name.as_ref(): value },
            "requestContext": { "stage": stage, "http": { "method": "POST", "sourceIp": ADDRESS } },
            "body": body, "isBase64Encoded": is_base64,
        });
        let v1 = json!({
            "path": path, "httpMethod": "POST", "multiValueHeaders": { name.as_ref(): [value, body] },
            "queryStringParameters": { query.as_ref(): value },
            "multiValueQueryStringParameters": { query.as_ref(): [value, name] },
            "requestContext": { "stage": stage, "identity": { "sourceIp": ADDRESS } },
            "body": body, "isBase64Encoded": is_base64,
        });
        for event in [v2, v1] {
            let event: Event = serde_json::from_value(event).expect("these members are read");
            let Ok((request, payload)) = event.into_request("id".to_owned(), &ROUTER) else {
                panic!("texts that a caller sent are no request")
            };
            assert_eq!(request.method, Method::POST);
            assert_eq!(request.address.map(|address| address.to_string()).as_deref(), Some(ADDRESS));
            // The whole path, except a stage before it.
            let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(stage.as_ref()));
            assert!(request.path == *path || rest.is_some_and(|rest| request.path == rest));
            answer(&request, payload, body.as_bytes());
        }
    }
});

/// The processing before authentication, and a reply in the event's format.
fn answer(request: &Request, payload: Payload, body: &[u8]) {
    assert_eq!(request.id, "id");
    assert!(request.query.as_deref() != Some(""));
    let _ = ROUTER.find(&request.method, &request.path);
    let mut response = Response::new(Bytes::copy_from_slice(body));
    for (name, value) in &request.headers {
        response.headers_mut().append(name, value.clone());
    }
    let written = serde_json::to_value(EventResponse::new(response, payload));
    assert!(written.is_ok_and(|written| written["statusCode"] == 200));
}
