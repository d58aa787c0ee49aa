//! A client of the application in this process. It checks the invariants of every reply, and
//! returns a reply only once the writes beside it are done.

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    panic::Location,
    sync::{LazyLock, atomic::Ordering},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LINK, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use onerun_api::{Body, BodySource, Found, LateBody, Presence, Request, Response, openapi};
use serde_json::{Value, json};

use super::{OTHER_KEY, PREVIOUS_KEY, ROOT_KEY, TestApp, model::INTERNAL};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The rate limit headers of a reply.
const RATE_LIMIT: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit"), HeaderName::from_static("ratelimit-policy")];

/// Speaks to one application. Every call names the status it expects, and panics with the answer at any other.
#[derive(Clone)]
pub struct Client<'a> {
    app: &'a TestApp,
    headers: HeaderMap,
    address: Option<IpAddr>,
}

/// An answer whose status was the expected one.
#[derive(Debug)]
pub struct Reply {
    /// The header fields.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("a body that is not JSON ({error}): {:?}", self.text))
    }

    /// A header field's value, if it is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("visible characters");
        assert!(values.next().is_none(), "{name} is there twice: {:?}", self.headers);
        Some(value)
    }

    /// The body with the request's id taken out, to compare the answers of two requests byte for byte.
    pub fn text_without_id(&self) -> String {
        self.text.replace(self.header("x-request-id").expect("every answer has an id"), "[request]")
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(app: &'a TestApp) -> Self {
        Self { app, headers: HeaderMap::new(), address: Some(Ipv4Addr::LOCALHOST.into()) }
    }

    /// The same client, connected from another address; `None` for one that the host does not know.
    #[must_use]
    pub fn at_address(&self, address: Option<&str>) -> Self {
        Self { address: address.map(|text| text.parse().expect("an address")), ..self.clone() }
    }

    /// The same client with this key, instead of the one it has.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        let mut client = self.clone();
        client.headers.remove("x-api-key");
        client.with_header("x-api-key", key)
    }

    /// The same client, with one more header field in its requests.
    #[must_use]
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header's value"));
        Self { headers, ..self.clone() }
    }

    /// GET, expecting `status` and a JSON body.
    #[track_caller]
    pub fn get(&self, path: &str, status: u16) -> impl Future<Output = Value> {
        let reply = self.send(Method::GET, path, None, status);
        async { reply.await.json() }
    }

    /// POST of a JSON body, expecting `status` and a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value, status: u16) -> impl Future<Output = Value> {
        let reply = self.send(Method::POST, path, Some(body), status);
        async { reply.await.json() }
    }

    /// POST without a body, expecting `status` and a JSON body.
    #[track_caller]
    pub fn post_empty(&self, path: &str, status: u16) -> impl Future<Output = Value> {
        let reply = self.send(Method::POST, path, None, status);
        async { reply.await.json() }
    }

    /// PATCH of a JSON body, expecting `status` and a JSON body.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value, status: u16) -> impl Future<Output = Value> {
        let reply = self.send(Method::PATCH, path, Some(body), status);
        async { reply.await.json() }
    }

    /// Any request, expecting `status`; for when the header fields matter.
    #[track_caller]
    pub fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> impl Future<Output = Reply> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        self.send_body(method, path, Body::Read(body), status)
    }

    /// A request with these bytes as its body, expecting `status`.
    #[track_caller]
    pub fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        status: u16,
    ) -> impl Future<Output = Reply> {
        self.send_body(method, path, Body::Read(body.into()), status)
    }

    /// Any request with an already read body, expecting `status`.
    #[track_caller]
    pub fn send_body(
        &self,
        method: Method,
        path: &str,
        body: Body,
        status: u16,
    ) -> impl Future<Output = Reply> + use<'a> {
        // Taken here, because inside the future the caller is the runtime.
        let what = format!("{}: {method} {path}", Location::caller());
        let answer = self.ask(method, path, body);
        async move {
            let (got, reply) = answer.await;
            assert_eq!(got, status, "{what}: answered {}", reply.text);
            reply
        }
    }

    /// A request of which it does not matter how it is answered: the status and the answer. What holds of every answer
    /// is checked all the same.
    #[track_caller]
    pub fn ask(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> impl Future<Output = (u16, Reply)> + use<'a> {
        self.ask_slowly(method, path, body.into())
    }

    /// [`ask`](Self::ask), with a body that arrives when the test completes it.
    #[track_caller]
    pub fn ask_slowly(
        &self,
        method: Method,
        path: &str,
        body: BodySource,
    ) -> impl Future<Output = (u16, Reply)> + use<'a> {
        let what = format!("{}: {method} {path}", Location::caller());
        let (app, headers, address) = (self.app, self.headers.clone(), self.address);
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (path.to_owned(), None),
        };
        async move {
            let id = format!("req_{:021}", app.requests.fetch_add(1, Ordering::SeqCst));
            let operation = match app.router.find(&method, &path) {
                Found::Route(route, _) => Some(route.operation),
                Found::NoRoute | Found::MethodNotAllowed(_) => None,
            };
            let is_head = method == Method::HEAD;
            let mut headers = headers;
            headers.entry("content-type").or_insert(HeaderValue::from_static("application/json"));
            let request = Request {
                id: id.clone(),
                method,
                path,
                query,
                headers,
                address,
                body,
                presence: Presence::default(),
            };
            let mut response = app.router.answer(&app.app, request).await;
            // A late body may be an error under the status 200, which is not documented.
            let late = LateBody::take(&mut response);
            let is_late = late.is_some();
            if let Some(body) = late {
                *response.body_mut() = body.await;
            }
            // Key uses are written after the reply. Wait for them, so that tests see all or none.
            app.app.drain().await;
            let (status, reply) = check(&what, &id, is_head, response);
            app.assert_no_secret(&what, &reply);
            if let Some(operation) = operation.filter(|_| !is_head && !is_late) {
                check_documented(&what, operation, status, &reply);
            }
            (status, reply)
        }
    }
}

/// The types of answers that a browser may show.
const OF_PAGES: [&str; 3] = ["text/html; charset=utf-8", "text/markdown; charset=utf-8", "application/xml"];

/// The security headers that only pages have.
const OF_A_PAGE: [&str; 6] = [
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-frame-options",
];

/// Checks the invariants of every reply.
fn check(what: &str, id: &str, is_head: bool, response: Response) -> (u16, Reply) {
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.to_vec())
        .unwrap_or_else(|error| panic!("{what}: a body that is not UTF-8: {error}"));
    let (status, reply) = (head.status.as_u16(), Reply { headers: head.headers, text });

    // Built-in files may be cached by their ETag.
    let is_document = reply.headers.contains_key(ETAG);
    let kept = if is_document { "no-cache" } else { "no-store" };
    assert_eq!(reply.header("cache-control"), Some(kept), "{what}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
    assert_eq!(reply.header("x-request-id"), Some(id), "{what}");
    let is_page = status == 200 && reply.header("content-type").is_some_and(|kind| OF_PAGES.contains(&kind));
    let is_lines = status == 200 && reply.header("content-type") == Some("application/jsonl");
    for name in reply.headers.keys() {
        let allowed = [CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS, X_REQUEST_ID].contains(name)
            || (*name == WWW_AUTHENTICATE && [401, 403].contains(&status))
            || (*name == ALLOW && status == 405)
            || (*name == CONTENT_LENGTH && is_head)
            || (is_document && [ETAG, VARY].contains(name))
            || (*name == RETRY_AFTER && [429, 503].contains(&status))
            || (RATE_LIMIT.contains(name) && status != 401)
            || (is_lines && *name == LINK)
            || (is_page && OF_A_PAGE.contains(&name.as_str()));
        assert!(allowed, "{what}: the header {name} with the status {status}: {:?}", reply.headers);
    }
    assert_eq!(reply.headers.contains_key(ALLOW), status == 405, "{what}");
    assert_eq!(reply.headers.contains_key(RETRY_AFTER), [429, 503].contains(&status), "{what}");
    if status == 401 {
        assert!(reply.headers.contains_key(WWW_AUTHENTICATE), "{what}");
    }
    let whole = format!("{:?}{}", reply.headers, reply.text);
    for secret in [ROOT_KEY, PREVIOUS_KEY, OTHER_KEY, INTERNAL] {
        assert!(!whole.contains(secret), "{what}: a secret in the answer: {whole}");
    }

    if is_head {
        assert_eq!(reply.text, "", "{what}: an answer to HEAD has no body");
        assert!(status == 304 || reply.headers.contains_key(CONTENT_LENGTH), "{what}");
    } else if status == 304 {
        assert!(is_document && reply.text.is_empty(), "{what}: {reply:?}");
    } else if is_page {
        assert!(
            OF_A_PAGE.iter().all(|name| reply.headers.contains_key(*name)),
            "{what}: {:?}",
            reply.headers
        );
    } else if is_lines {
        let line = reply.text.lines().map(serde_json::from_str::<Value>).find_map(Result::err);
        assert!(line.is_none(), "{what}: a line that is not JSON: {line:?}");
    } else if StatusCode::from_u16(status).is_ok_and(|status| status.is_success()) {
        assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
        reply.json();
    } else {
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
        check_problem(what, id, status, &reply.json());
    }
    (status, reply)
}

/// Checks the invariants of every error (RFC 9457), including the members that the published SDK
/// reads.
fn check_problem(what: &str, id: &str, status: u16, problem: &Value) {
    let member = |name: &str| {
        let text = problem[name].as_str().unwrap_or_else(|| panic!("{what}: no {name} in {problem}"));
        assert!(!text.is_empty(), "{what}: an empty {name} in {problem}");
        text
    };
    let code = member("code");
    assert_eq!(member("type"), format!("urn:onerun:error:{code}"), "{what}");
    let title = match status {
        // RFC 9110 renamed these two.
        413 => Some("Content Too Large"),
        422 => Some("Unprocessable Content"),
        _ => StatusCode::from_u16(status).expect("a status").canonical_reason(),
    };
    assert_eq!(Some(member("title")), title, "{what}");
    assert_eq!(problem["status"], status, "{what}");
    assert_eq!(member("detail"), member("message"), "{what}");
    assert_eq!(member("request_id"), id, "{what}");

    let is_invalid = status == 422 && code == "invalid_request";
    let errors = problem.get("errors").map(|errors| errors.as_array().expect("a list of errors"));
    assert_eq!(errors.is_some(), is_invalid, "{what}: {problem}");
    for error in errors.into_iter().flatten() {
        let places = ["pointer", "parameter", "header"].iter().filter(|place| error[**place].is_string());
        assert_eq!(places.count(), 1, "{what}: one place of {error}");
        assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {error}");
        assert_eq!(error.as_object().map(serde_json::Map::len), Some(2), "{what}: {error}");
        if let Some(pointer) = error["pointer"].as_str() {
            assert!(pointer == "#" || pointer.starts_with("#/"), "{what}: {pointer}");
        }
    }
    assert!(errors.is_none_or(|errors| !errors.is_empty()), "{what}: {problem}");
    let members = problem.as_object().map(serde_json::Map::len);
    assert_eq!(members, Some(if is_invalid { 8 } else { 7 }), "{what}: {problem}");
}

/// The OpenAPI document, by operation.
static OPERATIONS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.values().flat_map(|path| path.as_object().expect("methods").values());
    operations
        .map(|operation| {
            (operation["operationId"].as_str().expect("an operation's name").to_owned(), operation.clone())
        })
        .collect()
});

/// An operation in the OpenAPI document.
pub fn documentation(operation: &str) -> &'static Value {
    OPERATIONS.get(operation).unwrap_or_else(|| panic!("{operation} is not documented"))
}

/// Checks that the document lists this status, content type and error code for the operation.
fn check_documented(what: &str, operation: &str, status: u16, reply: &Reply) {
    let documented = &documentation(operation)["responses"][status.to_string()];
    let text = &reply.text;
    if status == 304 {
        assert!(documented.is_object(), "{what}: {operation} is not documented to answer {status}");
        return;
    }
    assert!(documented.is_object(), "{what}: {operation} is not documented to answer {status}: {text}");
    let media_type = reply.header("content-type").and_then(|value| value.split(';').next());
    let is_documented = media_type.is_some_and(|media_type| documented["content"][media_type].is_object());
    assert!(is_documented, "{what}: {operation} is not documented to answer {status} with {media_type:?}");
    if status >= 300 {
        let body = reply.json();
        let code = body["code"].as_str().unwrap_or_default();
        let examples = &documented["content"]["application/problem+json"]["examples"];
        assert!(
            examples[code].is_object(),
            "{what}: {operation} is not documented to answer {status} with {code}: {examples}"
        );
    }
}

/// A managed key that a test created.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The public id.
    pub id: String,
    /// The key.
    pub key: String,
    /// The reply that created it.
    pub answer: Value,
}

impl CreatedKey {
    fn of(app: &TestApp, answer: Value) -> Self {
        let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
        let (id, key) = (text("id"), text("key"));
        let made = Self { id, key, answer };
        app.remember_secret(&made.key);
        made
    }
}

impl Client<'_> {
    /// Creates a key with all scopes for all projects, changed by `terms`. No later reply may
    /// contain its secret.
    pub async fn create_key(&self, terms: Value) -> CreatedKey {
        let mut body = json!({ "name": "Test", "preset": "admin", "all_projects": true });
        let body_fields = body.as_object_mut().expect("an object");
        let Value::Object(terms) = terms else { panic!("terms are an object") };
        for (name, value) in terms {
            match name.as_str() {
                "scopes" => drop(body_fields.remove("preset")),
                "project_ids" => drop(body_fields.remove("all_projects")),
                _ => {}
            }
            body_fields.insert(name, value);
        }
        CreatedKey::of(self.app, self.post("/v1/keys", &body, 200).await)
    }

    /// Puts a new key in a key's place.
    pub async fn rotate_key(&self, id: &str, terms: Value) -> CreatedKey {
        CreatedKey::of(self.app, self.post(&format!("/v1/keys/{id}/rotate"), &terms, 200).await)
    }
}
