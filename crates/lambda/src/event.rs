//! Requests as API Gateway and function URLs hand them over, and responses as they want them back.
//!
//! There are two shapes: payload 2.0, of HTTP APIs and function URLs, and payload 1.0, of REST APIs and of HTTP APIs
//! that ask for it. `lambda_http` reads both, but by way of a URL that it takes for well formed and of headers that it
//! takes for ASCII: a caller who sends others makes the function fail instead of getting an answer. So events are
//! read here, and nothing that a caller can send is an error; responses are written in its types.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambda_http::aws_lambda_events::{
    apigw::{ApiGatewayProxyResponse, ApiGatewayV2httpResponse},
    encodings::Body as EventBody,
};
use onerun_api::{Body, Found, MAX_BODY_BYTES, Request, Response, Router};
use serde::{Deserialize, Serialize};

/// The stage whose name is no part of a path.
const DEFAULT_STAGE: &str = "$default";

/// An event that is a request: the members that are read of either shape.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Event {
    // Both.
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
}

#[derive(Debug, Deserialize)]
struct HttpContext {
    method: String,
}

/// The shape of an event, in which it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Payload 1.0.
    V1,
    /// Payload 2.0.
    V2,
}

/// The event is no request: whoever invoked the function is not API Gateway and wants no HTTP answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event is no HTTP request; this function takes API Gateway's payloads 1.0 and 2.0 and those of function URLs"
)]
pub(crate) struct NotARequest;

impl Event {
    /// The request that an event is, under the id of its invocation.
    pub(crate) fn into_request(self, id: String, router: &Router) -> Result<(Request, Payload), NotARequest> {
        let context = self.request_context.unwrap_or_default();
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
        Ok((Request { id, method, path, query, headers, body: body.into() }, payload))
    }
}

/// A path without the stage that stands before it where a stage has a name. REST APIs leave it out already, so it is
/// taken off only if the path leads nowhere with it: a stage may well be called `v1`.
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

/// The query of payload 1.0, which comes decoded, encoded again.
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
    // All of them stand in the other as well, where there is one.
    for (name, value) in single.iter().filter(|(name, _)| !multiple.contains_key(*name)) {
        query.append_pair(name, value.as_deref().unwrap_or_default());
    }
    let query = query.finish();
    (!query.is_empty()).then_some(query)
}

/// The header fields. One that cannot be a field is left out: no client sent it.
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

/// A response as its event wants it.
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
                // In one of the two alone, or API Gateway would send each field twice.
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
