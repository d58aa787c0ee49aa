//! Sends requests to providers of models and to agents.

use std::{error::Error as _, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use onerun_transport::{MAX_RESPONSE_BYTES, Transport, TransportError};
use reqwest::redirect::Policy;
use rustls::{ClientConfig, crypto::ring};
use rustls_platform_verifier::BuilderVerifierExt;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const USER_AGENT: &str = concat!("onerun/", env!("CARGO_PKG_VERSION"));

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The system has no certificates that can be used.
    #[error("cannot read the system's root certificates")]
    Roots(#[source] rustls::Error),
    /// The HTTP client was not created.
    #[error("cannot create the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A transport over HTTP and HTTPS. Proxies come from the environment, and are not used for this machine.
pub struct HttpTransport {
    remote: reqwest::Client,
    local: reqwest::Client,
}

impl HttpTransport {
    /// Creates the transport. It trusts the system's root certificates.
    pub fn new() -> Result<Self, HttpError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(HttpError::Roots)?
            .with_no_client_auth();
        let client = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .user_agent(USER_AGENT)
                .redirect(Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
        };
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(HttpError::Client);
        Ok(Self { remote: build(client())?, local: build(client().no_proxy())? })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let client = if is_this_machine(request.uri()) { &self.local } else { &self.remote };
        let mut request = reqwest::Request::try_from(request).map_err(failure)?;
        *request.timeout_mut() = Some(timeout);
        let mut response = client.execute(request).await.map_err(failure)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(TransportError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

fn failure(error: reqwest::Error) -> TransportError {
    // The URL may have a secret in its query.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if error.is_connect() {
        TransportError::Connect(text)
    } else if error.is_timeout() {
        TransportError::Timeout
    } else {
        TransportError::Broken(text)
    }
}

fn is_this_machine(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
