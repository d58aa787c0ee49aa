//! Requests to an agent over HTTP.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use onerun_transport::{Transport, TransportError};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    ConversationInfo, SpecError, TargetError,
    env_text::{EnvText, Resolved},
    secrets::Secrets,
    spec::{Headers, UrlText},
};

/// How often a request is sent. It is repeated only if the agent has not processed it.
const MAX_TRIES: u32 = 3;

/// The wait before the second try. It doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The headers with which an agent can tell conversations apart.
const CONVERSATION_ID: HeaderName = HeaderName::from_static("x-onerun-conversation-id");
const SIMULATION_ID: HeaderName = HeaderName::from_static("x-onerun-simulation-id");

/// Reads environment variables.
pub(crate) type Lookup<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// An address that takes and returns JSON.
pub(crate) struct Endpoint {
    transport: Arc<dyn Transport>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
    secrets: Secrets,
}

impl Endpoint {
    /// Replaces the references to environment variables. `field` is the name of the target, for errors.
    pub(crate) fn new(
        field: &str,
        url: &UrlText,
        headers: &Headers,
        timeout: Duration,
        variables: Lookup<'_>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, SpecError> {
        let mut secrets = Secrets::default();
        let url_field = format!("{field}.url");
        // The URL itself may be shown. A secret belongs in a header.
        let url = resolve(&url_field, &url.0, variables)?.text;
        let uri = parse_url(&url).map_err(|problem| SpecError::new(url_field, problem))?;
        let mut resolved = HeaderMap::new();
        for (name, text) in &headers.0 {
            let field = format!("{field}.headers.{name}");
            let value = resolve(&field, text, variables)?;
            let parsed = header_value(&value.text).map_err(|problem| SpecError::new(&field, problem))?;
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| SpecError::new(field, "is not the name of a header"))?;
            secrets.add(value.secrets);
            resolved.insert(name, parsed);
        }
        let json = HeaderValue::from_static("application/json");
        resolved.entry(header::CONTENT_TYPE).or_insert(json.clone());
        resolved.entry(header::ACCEPT).or_insert(json);
        Ok(Self { transport, method: Method::POST, uri, headers: resolved, timeout, secrets })
    }

    pub(crate) fn with_method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Appends a path, unless the URL ends with it.
    pub(crate) fn with_suffix(self, suffix: &str) -> Self {
        let path = self.uri.path().trim_end_matches('/');
        if path.ends_with(suffix) {
            return self;
        }
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{path}{suffix}{query}");
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = path.try_into().ok();
        match Uri::from_parts(parts) {
            Ok(uri) => Self { uri, ..self },
            Err(_) => self,
        }
    }

    /// Sends a bearer token with each request.
    pub(crate) fn with_token(mut self, token: String) -> Result<Self, String> {
        let value = header_value(&format!("Bearer {}", token.trim()))?;
        self.headers.insert(header::AUTHORIZATION, value);
        self.secrets.add([token]);
        Ok(self)
    }

    /// Sends a document and returns the response's document.
    pub(crate) async fn call(&self, about: &ConversationInfo, body: &Value) -> Result<Value, TargetError> {
        let answered = self.call_with_tries(about, &Bytes::from(body.to_string())).await;
        answered.map_err(|error| error.map_text(|text| self.secrets.excerpt(text)))
    }

    async fn call_with_tries(&self, about: &ConversationInfo, body: &Bytes) -> Result<Value, TargetError> {
        let deadline = Instant::now() + self.timeout;
        let mut tries = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let sent = self.transport.send(self.request(about, body.clone()), left).await;
            let wait = match &sent {
                Err(TransportError::Connect(_)) => Some(Duration::ZERO),
                Ok(response) => asks_to_wait(response),
                Err(_) => None,
            };
            if let Some(asked) = wait.filter(|_| tries < MAX_TRIES) {
                let wait = asked.max(FIRST_WAIT * 2_u32.pow(tries - 1));
                if Instant::now() + wait < deadline {
                    tries += 1;
                    sleep(wait).await;
                    continue;
                }
            }
            let response = sent.map_err(|error| TargetError::of_transport(error, self.timeout))?;
            return read(&response);
        }
    }

    fn request(&self, about: &ConversationInfo, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        for (name, id) in [(CONVERSATION_ID, &about.conversation_id), (SIMULATION_ID, &about.simulation_id)] {
            if let Ok(value) = HeaderValue::from_str(id) {
                request.headers_mut().insert(name, value);
            }
        }
        request
    }

    /// The URL, for errors and logs.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }
}

/// How long the agent asks to wait, if it was too busy to process the request.
fn asks_to_wait(response: &Response<Bytes>) -> Option<Duration> {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    busy.contains(&response.status()).then(|| {
        let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        Duration::from_secs(seconds.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0))
    })
}

fn read(response: &Response<Bytes>) -> Result<Value, TargetError> {
    let text = String::from_utf8_lossy(response.body());
    let status = response.status();
    if !status.is_success() {
        return Err(TargetError::Refused(format!("status {status}: {text}")));
    }
    if text.trim().is_empty() {
        return Err(TargetError::Unusable(format!("status {status} without a body")));
    }
    serde_json::from_slice(response.body())
        .map_err(|_| TargetError::Unusable(format!("it is not JSON: {text}")))
}

/// Replaces references, or names the variable that is missing.
pub(crate) fn resolve(field: &str, text: &EnvText, variables: Lookup<'_>) -> Result<Resolved, SpecError> {
    text.resolve(variables)
        .map_err(|name| SpecError::new(field, format!("the environment variable {name} is not set")))
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "the value is not one line of text".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Parses an http or https URL without user name and password. The error does not repeat the URL, since it
/// may have a password.
pub(crate) fn parse_url(text: &str) -> Result<Uri, String> {
    let example = "write it as `http://localhost:8000/chat`";
    let uri: Uri = text.trim().parse().map_err(|_| format!("is not a URL; {example}"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http || uri.host().is_none_or(str::is_empty) {
        return Err(format!("must start with http:// or https:// and have a host; {example}"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must not have a user name or password; use `headers` with `${env:NAME}`".to_owned());
    }
    Ok(uri)
}
