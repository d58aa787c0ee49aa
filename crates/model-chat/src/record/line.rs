//! One line of a recording.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use onerun_domain::sha256_hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use onerun_transport::TransportError;

use crate::secret::redact;

/// The headers of responses that wires read.
const HEADERS: [&str; 11] = [
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-amzn-errortype",
    "x-ratelimit-remaining",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
];

/// The headers of requests that hold credentials.
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-amz-security-token"];

/// The parameters of a query that belong to the request's meaning. Others may hold a key.
const QUERY: [&str; 1] = ["api-version"];

/// A request without its credentials, in one form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Canonical {
    method: String,
    url: String,
    /// JSON with sorted members, or text.
    body: Value,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// The hash of the request and the number of the trial.
    key: String,
    pub(super) trial: u32,
    pub(super) request: Canonical,
    #[serde(flatten)]
    outcome: Outcome,
}

/// The recorded outcome of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Response(Recorded),
    Error(Failure),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Recorded {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

/// A body, byte for byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Text(String),
    Base64(String),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failure {
    Timeout,
    Connect,
    Broken,
    TooLarge,
    NotRecorded,
}

impl Canonical {
    pub(super) fn new(request: &Request<Bytes>) -> Self {
        let body = serde_json::from_slice(request.body())
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(request.body()).into_owned()));
        Self { method: request.method().to_string(), url: url(request.uri()), body }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Counts trials of the same request.
    pub(super) fn digest(&self) -> String {
        sha256_hex([self.method.as_str(), &self.url, &self.body.to_string()])
    }

    /// Identifies one trial of this request.
    pub(super) fn key(&self, trial: u32) -> String {
        // Members of JSON objects are sorted, so equal requests have equal texts.
        sha256_hex([self.method.as_str(), &self.url, &self.body.to_string(), &trial.to_string()])
    }
}

/// The URL with only the parameters of [`QUERY`].
fn url(uri: &http::Uri) -> String {
    let query: Vec<&str> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| QUERY.contains(&pair.split('=').next().unwrap_or_default()))
        .collect();
    let host = uri.authority().map_or("", http::uri::Authority::as_str);
    let scheme = uri.scheme_str().unwrap_or_default();
    let question = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{host}{}{question}{}", uri.path(), query.join("&"))
}

/// The credentials of a request, which a provider may repeat in an error.
pub(super) fn secrets(request: &Request<Bytes>) -> Vec<String> {
    CREDENTIALS
        .iter()
        .filter_map(|name| request.headers().get(*name)?.to_str().ok())
        .flat_map(|value| value.split([' ', ',', '=']))
        // An access key's id comes before the scope of a signature.
        .flat_map(|word| [word, word.split('/').next().unwrap_or(word)])
        .filter(|word| word.len() >= 12)
        .map(str::to_owned)
        .collect()
}

impl Line {
    pub(super) fn new(
        request: Canonical,
        trial: u32,
        result: &Result<Response<Bytes>, TransportError>,
        secrets: &[String],
    ) -> Self {
        let outcome = match result {
            Ok(response) => Outcome::Response(Recorded {
                status: response.status().as_u16(),
                headers: HEADERS
                    .iter()
                    .filter_map(|name| {
                        let value = response.headers().get(*name)?.to_str().ok()?;
                        Some(((*name).to_owned(), redact(value, secrets.iter().map(String::as_str))))
                    })
                    .collect(),
                body: body(response, secrets),
            }),
            Err(TransportError::Timeout) => Outcome::Error(Failure::Timeout),
            Err(TransportError::Connect(_) | TransportError::Refused(_)) => Outcome::Error(Failure::Connect),
            Err(TransportError::Broken(_)) => Outcome::Error(Failure::Broken),
            Err(TransportError::TooLarge) => Outcome::Error(Failure::TooLarge),
            Err(TransportError::NotRecorded(_)) => Outcome::Error(Failure::NotRecorded),
        };
        Self { key: request.key(trial), trial, request, outcome }
    }

    /// Parses a line. The error names the defect.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let line: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if line.key != line.request.key(line.trial) {
            return Err("its key is not that of its request; record it again".into());
        }
        Ok(line)
    }

    /// The result of the transport when this line was recorded.
    pub(super) fn result(&self) -> Result<Response<Bytes>, TransportError> {
        let recorded = || "as it was recorded".to_owned();
        let response = match &self.outcome {
            Outcome::Response(response) => response,
            Outcome::Error(Failure::Timeout) => return Err(TransportError::Timeout),
            Outcome::Error(Failure::Connect) => return Err(TransportError::Connect(recorded())),
            Outcome::Error(Failure::Broken) => return Err(TransportError::Broken(recorded())),
            Outcome::Error(Failure::TooLarge) => return Err(TransportError::TooLarge),
            Outcome::Error(Failure::NotRecorded) => return Err(TransportError::NotRecorded(recorded())),
        };
        let malformed = |text: &str| TransportError::Broken(format!("the recording has {text}"));
        let bytes = match &response.body {
            Body::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Body::Base64(text) => STANDARD.decode(text).map_err(|_| malformed("a malformed body"))?.into(),
        };
        let mut http = Response::new(bytes);
        *http.status_mut() =
            StatusCode::from_u16(response.status).map_err(|_| malformed("a malformed status"))?;
        *http.headers_mut() = headers(&response.headers);
        Ok(http)
    }
}

/// Bodies are recorded as they are, except for a credential that a provider repeats.
fn body(response: &Response<Bytes>, secrets: &[String]) -> Body {
    match str::from_utf8(response.body()) {
        Ok(text) if secrets.iter().any(|secret| text.contains(secret)) => {
            Body::Text(redact(text, secrets.iter().map(String::as_str)))
        }
        Ok(text) => Body::Text(text.to_owned()),
        Err(_) => Body::Base64(STANDARD.encode(response.body())),
    }
}

fn headers(pairs: &[(String, String)]) -> HeaderMap {
    pairs
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        })
        .collect()
}
