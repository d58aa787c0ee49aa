//! An HTTP client for tests.

use std::{future::Future, panic::Location, sync::Arc, time::Duration};

use reqwest::{
    Method,
    header::{HeaderMap, HeaderValue},
};
use serde_json::Value;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Speaks to one server with one key. Every call names the status it expects, and panics with the answer at any other.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    key: Option<String>,
    headers: HeaderMap,
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
}

impl Client {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:9000`.
    pub fn new(base_url: &str, key: Option<&str>) -> Self {
        let http = builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .expect("an HTTP client without TLS always builds");
        Self { http, base_url: base_url.to_owned(), key: key.map(str::to_owned), headers: HeaderMap::new() }
    }

    /// The server that it speaks to.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The API key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The same server, without a key.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    /// The same server, with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same client with one more header field.
    #[must_use]
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.insert(name, HeaderValue::from_str(value).expect("a value that a header field can have"));
        Self { headers, ..self.clone() }
    }

    /// GET, expecting `status` and a JSON body.
    #[track_caller]
    pub fn get(&self, path: &str, status: u16) -> impl Future<Output = Value> + use<> {
        let reply = self.send(Method::GET, path, None, status);
        async { reply.await.json() }
    }

    /// POST of a JSON body, expecting `status` and a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value, status: u16) -> impl Future<Output = Value> + use<> {
        let reply = self.send(Method::POST, path, Some(body), status);
        async { reply.await.json() }
    }

    /// POST without a body, expecting `status` and a JSON body.
    #[track_caller]
    pub fn post_empty(&self, path: &str, status: u16) -> impl Future<Output = Value> + use<> {
        let reply = self.send(Method::POST, path, None, status);
        async { reply.await.json() }
    }

    /// PATCH of a JSON body, expecting `status` and a JSON body.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value, status: u16) -> impl Future<Output = Value> + use<> {
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
    ) -> impl Future<Output = Reply> + use<> {
        // Taken here, because inside the future the caller is the runtime.
        let caller = Location::caller();
        let what = format!("{caller}: {method} {path}");
        let request = self.request(method, path, body);
        async move {
            let (got, headers, text) =
                exchange(request).await.unwrap_or_else(|error| panic!("{what}: no answer: {error:?}"));
            assert_eq!(got, status, "{what}: answered {text}");
            Reply { headers, text }
        }
    }

    /// Any request to a server that may be killed: the status and JSON body, or `None` if the
    /// connection failed.
    pub async fn attempt(&self, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let (status, _, text) = exchange(self.request(method, path, body)).await.ok()?;
        Some((status, serde_json::from_str(&text).ok()?))
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.base_url);
        let mut request = self.http.request(method, url).headers(self.headers.clone());
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

/// An HTTP client without TLS, key or timeout.
pub fn http_client() -> reqwest::Client {
    builder().build().expect("an HTTP client without TLS always builds")
}

/// Builds an HTTP client without TLS. Its empty set of trusted certificates satisfies the
/// constructor.
fn builder() -> reqwest::ClientBuilder {
    let nobody = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the versions of TLS that are the default")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    // A proxy of the developer's is not meant for loopback.
    reqwest::Client::builder().tls_backend_preconfigured(nobody).no_proxy()
}

async fn exchange(request: reqwest::RequestBuilder) -> reqwest::Result<(u16, HeaderMap, String)> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok((status, headers, response.text().await?))
}
