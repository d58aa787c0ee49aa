//! HTTP as a trait: how requests reach providers of models and agents.
//!
//! Each host implements [`Transport`] with its own HTTP client, and tests script it.

mod guard;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

pub use crate::guard::{OutboundError, OutboundPolicy};

/// The maximum size of a response's body, in bytes. A transport must not hold more.
pub const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// Sends one HTTP request. It follows no redirects, retries nothing, and uses no cookies.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and returns the complete response, whatever its status. The time-out bounds
    /// everything from the connection to the last byte of the body. The body is at most
    /// [`MAX_RESPONSE_BYTES`] long; otherwise the error is [`TransportError::TooLarge`].
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError>;
}

#[async_trait]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        (**self).send(request, timeout).await
    }
}

/// Why no response arrived. The texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The time-out passed. The receiver may have done the work.
    #[error("no answer in time")]
    Timeout,
    /// No connection was established, so nothing was received.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke after it was established. The receiver may have done the work.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The response is larger than [`MAX_RESPONSE_BYTES`].
    #[error("the response is too large")]
    TooLarge,
    /// The deployment does not call this address. Nothing was sent.
    #[error("the address is refused: it {0}")]
    Refused(OutboundError),
    /// A recording is replayed and does not contain the request.
    #[error("{0}")]
    NotRecorded(String),
}
