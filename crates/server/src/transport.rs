//! Sends requests to providers of models and to agents.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use onerun_transport::{MAX_RESPONSE_BYTES, OutboundError, OutboundPolicy, Transport, TransportError};
use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use rustls::{ClientConfig, crypto::ring};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::lookup_host;

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
        let remote = client()?;
        Ok(Self { remote: build(remote)?, local: build(client()?.no_proxy())? })
    }
}

/// A transport to addresses that users name. It calls only those that the policy permits, and uses no proxy.
pub(crate) struct GuardedTransport {
    client: reqwest::Client,
    policy: Arc<OutboundPolicy>,
}

impl GuardedTransport {
    /// Creates the transport. It trusts the system's root certificates.
    pub(crate) fn new(policy: Arc<OutboundPolicy>) -> Result<Self, HttpError> {
        let resolver = Arc::new(GuardedResolver(Arc::clone(&policy)));
        let client = build(client()?.no_proxy().dns_resolver(resolver))?;
        Ok(Self { client, policy })
    }
}

/// Resolves names as the system does, to the addresses that the policy permits.
struct GuardedResolver(Arc<OutboundPolicy>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let permitted = policy.permitted(name.as_str(), found.map(|address| address.ip()))?;
            let addresses: Addrs = Box::new(permitted.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}

fn client() -> Result<reqwest::ClientBuilder, HttpError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(HttpError::Roots)?
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, HttpError> {
    builder.build().map_err(HttpError::Client)
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let client = if is_this_machine(request.uri()) { &self.local } else { &self.remote };
        exchange(client, request, timeout).await
    }
}

#[async_trait]
impl Transport for GuardedTransport {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        self.policy.check_url(request.uri()).map_err(TransportError::Refused)?;
        exchange(&self.client, request, timeout).await
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Response<Bytes>, TransportError> {
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

fn failure(error: reqwest::Error) -> TransportError {
    // The URL may have a secret in its query.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<OutboundError>() {
            return TransportError::Refused(refused.clone());
        }
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

#[cfg(test)]
mod tests;
