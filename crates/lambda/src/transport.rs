//! Sends requests to providers of models and to S3, with the HTTP client and the TLS of the AWS SDK.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::{
    dns::{DnsFuture, ResolveDns, ResolveDnsError},
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use onerun_store::with_causes;
use onerun_transport::{MAX_RESPONSE_BYTES, OutboundError, OutboundPolicy, Transport, TransportError};
use tokio::{net::lookup_host, time::timeout};

use crate::aws::TLS;

/// The time to establish a connection, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A transport without redirects, retries, cookies and proxies.
#[derive(Debug)]
pub(crate) struct HttpTransport {
    connector: Connector,
}

impl HttpTransport {
    pub(crate) fn new() -> Self {
        Self { connector: connector(None) }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let request = HttpRequest::try_from(request.map(SdkBody::from)).map_err(|error| broken(&error))?;
        let response = self.connector.call(request).await.map_err(|error| failure(&error))?;
        let (parts, body) =
            HttpResponse::try_into_http1x(response).map_err(|error| broken(&error))?.into_parts();
        Ok(Response::from_parts(parts, read(body).await?))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Bytes>, time: Duration) -> Result<Response<Bytes>, TransportError> {
        timeout(time, self.exchange(request)).await.unwrap_or(Err(TransportError::Timeout))
    }
}

/// A transport to addresses that users name. It calls only those that the policy permits.
#[derive(Debug)]
pub(crate) struct GuardedTransport {
    http: HttpTransport,
    policy: Arc<OutboundPolicy>,
}

impl GuardedTransport {
    pub(crate) fn new(policy: Arc<OutboundPolicy>) -> Self {
        let resolver = GuardedResolver(Arc::clone(&policy));
        Self { http: HttpTransport { connector: connector(Some(resolver)) }, policy }
    }
}

#[async_trait]
impl Transport for GuardedTransport {
    async fn send(&self, request: Request<Bytes>, time: Duration) -> Result<Response<Bytes>, TransportError> {
        self.policy.check_url(request.uri()).map_err(TransportError::Refused)?;
        self.http.send(request, time).await
    }
}

/// Resolves names as the system does, to the addresses that the policy permits.
#[derive(Clone, Debug)]
struct GuardedResolver(Arc<OutboundPolicy>);

impl ResolveDns for GuardedResolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            self.0.permitted(name, found.map(|address| address.ip())).map_err(ResolveDnsError::new)
        })
    }
}

/// Opens connections, to addresses that `resolver` finds or else the system's.
fn connector(resolver: Option<GuardedResolver>) -> Connector {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    // No connection is reused. While a function is frozen, the other side may close an idle one, and it
    // is unknown whether a request that was sent on it was received and billed.
    let builder =
        Connector::builder().connector_settings(settings).pool_max_idle_per_host(0).tls_provider(TLS);
    match resolver {
        Some(resolver) => builder.build_with_resolver(resolver),
        None => builder.build(),
    }
}

/// Reads a body up to the limit.
async fn read(body: SdkBody) -> Result<Bytes, TransportError> {
    let mut stream = ByteStream::new(body);
    let mut received = BytesMut::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| broken(&error))?;
        if received.len() + part.len() > MAX_RESPONSE_BYTES {
            return Err(TransportError::TooLarge);
        }
        received.extend_from_slice(&part);
    }
    Ok(received.freeze())
}

fn broken(error: &(dyn Error + 'static)) -> TransportError {
    TransportError::Broken(with_causes(error))
}

fn failure(error: &ConnectorError) -> TransportError {
    if let Some(refused) = cause::<OutboundError>(error) {
        return TransportError::Refused(refused.clone());
    }
    // The connector has only one time-out, that of connecting.
    if error.is_timeout() || never_connected(error) {
        TransportError::Connect(with_causes(error))
    } else {
        broken(error)
    }
}

/// Whether no connection was established, so that the provider has received nothing.
fn never_connected(error: &ConnectorError) -> bool {
    cause::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The first cause of an error that has this type.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
