//! Events of API Gateway and function URLs, as requests and responses.
//!
//! There are two formats: payload 2.0 (HTTP APIs and function URLs) and payload 1.0 (REST APIs, and
//! HTTP APIs that are configured for it). `lambda_http` parses both, but it assumes a well-formed
//! URL and ASCII headers; a caller who sends others makes the function fail. So events are parsed
//! here, and no request of a caller is an error. Responses use the types of `lambda_http`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambda_http::aws_lambda_events::{
    apigw::{ApiGatewayProxyResponse, ApiGatewayV2httpResponse},
    encodings::Body as EventBody,
};
use onerun_api::{Body, Found, MAX_BODY_BYTES, Presence, Request, Response, Router};
use serde::{Deserialize, Serialize};

/// The stage whose name is not part of the path.
const DEFAULT_STAGE: &str = "$default";

/// An HTTP request event: the members that are used of both formats.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Event {
    // Both formats.
    headers: Option<BTreeMap<String, Option<String>>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
    request_context: Option<RequestContext>,
    // Payload 2.0.
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    // Payload 1.0.
    http_method: Option<String>,
    path: Option<String>,
    multi_value_headers: Option<BTreeMap<String, Option<Vec<String>>>>,
    query_string_parameters: Option<BTreeMap<String, Option<String>>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Option<Vec<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RequestContext {
    stage: Option<String>,
    http: Option<HttpContext>,
    identity: Option<Identity>,
}

/// Payload 2.0 only.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpContext {
    method: String,
    #[serde(default)]
    source_ip: Option<String>,
}

/// Payload 1.0 only.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    source_ip: Option<String>,
}

/// The format of an event. The response has the same format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    V1,
    V2,
}

/// The event is not an HTTP request: another service invoked the function.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event is not an HTTP request; invoke this function through API Gateway (payload 1.0 or 2.0) or a function URL"
)]
pub(crate) struct NotARequest;

impl Event {
    /// Converts the event. `id` is the id of the invocation.
    pub(crate) fn into_request(self, id: String, router: &Router) -> Result<(Request, Payload), NotARequest> {
        let context = self.request_context.unwrap_or_default();
        // The gateway reports the peer's address. A header such as `x-forwarded-for` comes from the
        // caller and is not trusted.
        let source_ip = match &context.http {
            Some(http) => http.source_ip.as_deref(),
            None => context.identity.as_ref().and_then(|identity| identity.source_ip.as_deref()),
        };
        let address = source_ip.and_then(|text| text.parse().ok());
        let (payload, method, path, query) = match (context.http, self.http_method) {
            (Some(http), _) => {
                let query = self.raw_query_string.filter(|query| !query.is_empty());
                (Payload::V2, http.method, self.raw_path, query)
            }
            (None, Some(method)) => {
                let query = query_string(
                    &self.query_string_parameters.unwrap_or_default(),
                    &self.multi_value_query_string_parameters.unwrap_or_default(),
                );
                (Payload::V1, method, self.path, query)
            }
            (None, None) => return Err(NotARequest),
        };
        let method: Method = method.parse().map_err(|_| NotARequest)?;
        let path = path.ok_or(NotARequest)?;
        let path = without_stage(path, context.stage.as_deref(), &method, router);
        let headers =
            headers(&self.headers.unwrap_or_default(), &self.multi_value_headers.unwrap_or_default());
        let body = body(self.body.unwrap_or_default(), self.is_base64_encoded.unwrap_or(false));
        let presence = Presence::default();
        Ok((Request { id, method, path, query, headers, address, body: body.into(), presence }, payload))
    }
}

/// Removes the stage's name from the beginning of a path. REST APIs remove it themselves, so it is
/// removed only if the path matches no route with it: a stage may be named `v1`.
fn without_stage(path: String, stage: Option<&str>, method: &Method, router: &Router) -> String {
    let is_route = |path: &str| !matches!(router.find(method, path), Found::NoRoute);
    let rest = stage
        .filter(|stage| *stage != DEFAULT_STAGE)
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage))
        .filter(|rest| rest.starts_with('/') && is_route(rest) && !is_route(&path));
    match rest {
        Some(rest) => rest.to_owned(),
        None => path,
    }
}

/// The query string of payload 1.0, whose parameters arrive decoded.
fn query_string(
    single: &BTreeMap<String, Option<String>>,
    multiple: &BTreeMap<String, Option<Vec<String>>>,
) -> Option<String> {
    let mut query = Serializer::new(String::new());
    for (name, values) in multiple {
        for value in values.iter().flatten() {
            query.append_pair(name, value);
        }
    }
    // If the event has both maps, `multiple` contains all of `single`.
    for (name, value) in single.iter().filter(|(name, _)| !multiple.contains_key(*name)) {
        query.append_pair(name, value.as_deref().unwrap_or_default());
    }
    let query = query.finish();
    (!query.is_empty()).then_some(query)
}

/// The header fields. Invalid fields are dropped: no client can have sent them.
fn headers(
    single: &BTreeMap<String, Option<String>>,
    multiple: &BTreeMap<String, Option<Vec<String>>>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut append = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    };
    for (name, values) in multiple {
        values.iter().flatten().for_each(|value| append(name, value));
    }
    for (name, value) in single.iter().filter(|(name, _)| !multiple.contains_key(*name)) {
        append(name, value.as_deref().unwrap_or_default());
    }
    headers
}

fn body(text: String, is_base64: bool) -> Body {
    if !is_base64 {
        return if text.len() > MAX_BODY_BYTES { Body::TooLarge } else { Body::Read(Bytes::from(text)) };
    }
    if text.len() / 4 * 3 > MAX_BODY_BYTES + 2 {
        return Body::TooLarge;
    }
    STANDARD.decode(text).map_or(Body::Unreadable, |bytes| Body::Read(Bytes::from(bytes)))
}

/// A response in the format of its event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum EventResponse {
    V1(ApiGatewayProxyResponse),
    V2(ApiGatewayV2httpResponse),
}

impl EventResponse {
    pub(crate) fn new(response: Response, payload: Payload) -> Self {
        let (head, bytes) = response.into_parts();
        let status = head.status.as_u16().into();
        let (body, is_base64_encoded) = match String::from_utf8(bytes.into()) {
            Ok(text) => (EventBody::Text(text), false),
            Err(error) => (EventBody::Binary(error.into_bytes()), true),
        };
        match payload {
            Payload::V1 => {
                let mut response = ApiGatewayProxyResponse::default();
                response.status_code = status;
                // In one of the two maps only: API Gateway would send fields in both maps twice.
                response.multi_value_headers = head.headers;
                response.body = Some(body);
                response.is_base64_encoded = is_base64_encoded;
                Self::V1(response)
            }
            Payload::V2 => {
                let mut response = ApiGatewayV2httpResponse::default();
                response.status_code = status;
                response.headers = head.headers;
                response.body = Some(body);
                response.is_base64_encoded = is_base64_encoded;
                Self::V2(response)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use onerun_api::{ROUTES, routes};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(event: Value) -> Result<(Request, Payload), NotARequest> {
        let router = Router::new(ROUTES).unwrap();
        serde_json::from_value::<Event>(event).unwrap().into_request("id".to_owned(), &router)
    }

    fn request(event: Value) -> Request {
        read(event).unwrap().0
    }

    async fn text(request: Request) -> String {
        match request.body.read(onerun_api::Sender::Caller).await {
            Body::Read(bytes) => String::from_utf8(bytes.into()).unwrap(),
            other => format!("{other:?}"),
        }
    }

    /// The same request in every format: an HTTP API's payload 2.0 and 1.0, a function URL's, a REST API's.
    fn formats() -> Vec<Value> {
        let id = "AbCdEf012345";
        let path = format!("/v1/projects/{id}");
        let context = |stage: &str| json!({ "stage": stage, "http": { "method": "PATCH", "path": path } });
        let v2 = |stage: &str, path: &str| {
            json!({
                "version": "2.0", "routeKey": "PATCH /v1/projects/{project_id}", "rawPath": path,
                "rawQueryString": "a=1&a=2&b=%C3%A9+%26", "cookies": ["c=1"],
                "headers": { "x-api-key": "key", "accept": "a,b" },
                "queryStringParameters": { "a": "1,2", "b": "é &" },
                "requestContext": context(stage), "body": "{\"name\":\"é\"}", "isBase64Encoded": false,
            })
        };
        let v1 = |stage: &str, path: &str| {
            json!({
                "version": "1.0", "resource": "/v1/projects/{project_id}", "path": path, "httpMethod": "PATCH",
                "headers": { "X-Api-Key": "key", "accept": "b" },
                "multiValueHeaders": { "X-Api-Key": ["key"], "accept": ["a", "b"] },
                "queryStringParameters": { "a": "2", "b": "é &" },
                "multiValueQueryStringParameters": { "a": ["1", "2"], "b": ["é &"] },
                "requestContext": { "stage": stage, "httpMethod": "PATCH" },
                "body": STANDARD.encode("{\"name\":\"é\"}"), "isBase64Encoded": true,
            })
        };
        vec![
            v2("$default", &path),
            v2("prod", &format!("/prod{path}")),
            v2("v1", &format!("/v1{path}")),
            v1("$default", &path),
            v1("prod", &path),
            v1("v1", &path),
            v1("prod", &format!("/prod{path}")),
        ]
    }

    #[tokio::test]
    async fn request_is_the_same_in_every_format() {
        for event in formats() {
            let shown = event.to_string();
            let (request, payload) = read(event).unwrap();
            assert_eq!(payload, if shown.contains("rawPath") { Payload::V2 } else { Payload::V1 });
            assert_eq!((request.id.as_str(), &request.method), ("id", &Method::PATCH));
            assert_eq!(request.path, "/v1/projects/AbCdEf012345", "{shown}");
            assert_eq!(request.query.as_deref(), Some("a=1&a=2&b=%C3%A9+%26"), "{shown}");
            assert_eq!(request.headers["x-api-key"], "key");
            let accept: Vec<_> = request.headers.get_all("accept").iter().collect();
            assert!(accept == ["a,b"] || accept == ["a", "b"], "{accept:?}");
            assert_eq!(text(request).await, "{\"name\":\"é\"}");
        }
    }

    #[test]
    fn repeated_key_header_keeps_both_values() {
        let request = request(json!({
            "httpMethod": "GET", "path": "/v1/whoami",
            "headers": { "x-api-key": "b" }, "multiValueHeaders": { "x-api-key": ["a", "b"] },
        }));
        assert_eq!(request.headers.get_all("x-api-key").iter().count(), 2);
    }

    #[tokio::test]
    async fn minimal_event_is_a_request() {
        let least = json!({ "rawPath": "/health", "requestContext": { "http": { "method": "GET" } } });
        let request = request(least);
        assert_eq!((request.path.as_str(), request.query.as_deref()), ("/health", None));
        assert!(request.headers.is_empty());
        assert_eq!(text(request).await, "");
    }

    #[test]
    fn event_that_is_not_a_request_is_refused() {
        for event in [
            json!({}),
            json!({ "Records": [] }),
            json!({ "source": "aws.events" }),
            json!({ "rawPath": "/health" }),
            json!({ "httpMethod": "GET" }),
            json!({ "httpMethod": "G T", "path": "/" }),
        ] {
            assert!(read(event.clone()).is_err(), "{event}");
        }
    }

    #[tokio::test]
    async fn broken_or_too_large_body_is_reported() {
        let with = |body: String, is_base64: bool| {
            request(json!({
                "httpMethod": "POST", "path": "/v1/projects", "body": body, "isBase64Encoded": is_base64,
            }))
        };
        assert_eq!(text(with("%".to_owned(), true)).await, "Unreadable");
        let largest = "a".repeat(MAX_BODY_BYTES);
        assert_eq!(text(with(largest.clone(), false)).await.len(), MAX_BODY_BYTES);
        assert_eq!(text(with(STANDARD.encode(&largest), true)).await.len(), MAX_BODY_BYTES);
        assert_eq!(text(with(format!("{largest}a"), false)).await, "TooLarge");
        assert_eq!(text(with(STANDARD.encode(format!("{largest}aaa")), true)).await, "TooLarge");
    }

    #[test]
    fn response_has_the_format_of_its_event() {
        let response = || {
            let mut response = Response::new(Bytes::from("{\"name\":\"é\"}"));
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            response
        };
        let shown = |payload| serde_json::to_value(EventResponse::new(response(), payload)).unwrap();
        assert_eq!(
            shown(Payload::V2),
            json!({
                "statusCode": 200, "headers": { "content-type": "application/json" }, "multiValueHeaders": {},
                "body": "{\"name\":\"é\"}", "isBase64Encoded": false, "cookies": [],
            })
        );
        assert_eq!(
            shown(Payload::V1),
            json!({
                "statusCode": 200, "headers": {}, "multiValueHeaders": { "content-type": ["application/json"] },
                "body": "{\"name\":\"é\"}", "isBase64Encoded": false,
            })
        );
        let binary = EventResponse::new(Response::new(Bytes::from_static(b"\xff")), Payload::V2);
        let binary = serde_json::to_value(binary).unwrap();
        assert_eq!((&binary["body"], &binary["isBase64Encoded"]), (&json!("/w=="), &json!(true)));
    }

    #[test]
    fn function_serves_only_its_own_route() {
        let router = Router::new(&[&routes::GET_HEALTH]).unwrap();
        assert!(matches!(router.find(&Method::GET, "/health"), Found::Route(..)));
        assert!(matches!(router.find(&Method::GET, "/v1/projects"), Found::NoRoute));
    }

    proptest! {
        #[test]
        fn no_request_of_a_caller_is_an_error(
            path in "\\PC{0,40}",
            query in "\\PC{0,40}",
            name in "\\PC{0,10}",
            value in proptest::collection::vec(any::<char>(), 0..20),
            body in "\\PC{0,40}",
            is_base64: bool,
        ) {
            let value: String = value.into_iter().collect();
            let v2 = json!({
                "rawPath": path, "rawQueryString": query, "headers": { &name: value },
                "requestContext": { "stage": "$default", "http": { "method": "POST" } },
                "body": body, "isBase64Encoded": is_base64,
            });
            let v1 = json!({
                "path": path, "httpMethod": "POST", "multiValueHeaders": { &name: [value] },
                "multiValueQueryStringParameters": { &query: [value] }, "body": body,
                "isBase64Encoded": is_base64,
            });
            for event in [v2, v1] {
                prop_assert_eq!(request(event).path, path.as_str());
            }
        }
    }
}
