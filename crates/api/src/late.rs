//! Bodies that are sent later than their heads.
//!
//! Some clients wait only for a limited time between two bytes, and do not repeat a call. For them a host can send
//! the head of the response and then white space, which JSON allows before a value, until the body is there.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use crate::Response;

/// A body that is not complete yet.
pub type FutureBody = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// The body of a response whose own body is empty. The host takes it from the response's extensions.
#[derive(Clone)]
pub struct LateBody(Arc<Mutex<Option<FutureBody>>>);

impl LateBody {
    /// Takes the late body of a response, if it has one.
    pub fn take(response: &mut Response) -> Option<FutureBody> {
        let Self(body) = response.extensions_mut().remove()?;
        body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A response with this body.
    pub fn response(body: impl Future<Output = Bytes> + Send + 'static) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Self(Arc::new(Mutex::new(Some(Box::pin(body))))));
        response
    }
}

impl fmt::Debug for LateBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LateBody")
    }
}
