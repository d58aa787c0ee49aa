//! Sends requests to providers of models and to S3, with the HTTP client and the TLS of the AWS SDK.

use std::{error::Error, time::Duration};

use async_trait::async_trait;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use onerun_store::with_causes;
use onerun_transport::{MAX_RESPONSE_BYTES, Transport, TransportError};
use tokio::time::timeout;

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
        let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
        // No connection is reused. While a function is frozen, the provider may close an idle one, and it
        // is unknown whether a request that was sent on it was received and billed.
        let connector = Connector::builder()
            .connector_settings(settings)
            .pool_max_idle_per_host(0)
            .tls_provider(TLS)
            .build();
        Self { connector }
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
    // The connector has only one time-out, that of connecting.
    if error.is_timeout() || never_connected(error) {
        TransportError::Connect(with_causes(error))
    } else {
        broken(error)
    }
}

/// Whether no connection was established, so that the provider has received nothing.
fn never_connected(error: &ConnectorError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
