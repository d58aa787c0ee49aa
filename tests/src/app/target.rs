//! The targets of webhooks and the endpoints of agents, which a test controls.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use onerun_engine::{MasterKey, Outbound};
use onerun_transport::{OutboundPolicy, Transport, TransportError};
use serde_json::Value;

/// The master key of the applications.
const MASTER_KEY: &str = "u1jdS5ZQv0oM8yVfA3kXr7tWcE9bHnGiPq2LsNwKx4Y=";

/// A request that a target received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The URL.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Received {
    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

/// Answers 204 to each request, or what the test has set.
#[derive(Debug, Default)]
pub struct TestTarget {
    answers: Mutex<VecDeque<Result<Response<Bytes>, TransportError>>>,
    /// The document of all further answers.
    document: Mutex<Option<Value>>,
    received: Mutex<Vec<Received>>,
}

impl TestTarget {
    /// The next answers, after those that were set before.
    pub fn answer(&self, answers: impl IntoIterator<Item = Result<Response<Bytes>, TransportError>>) {
        lock(&self.answers).extend(answers);
    }

    /// Answers with these statuses.
    pub fn answer_with(&self, statuses: impl IntoIterator<Item = u16>) {
        self.answer(statuses.into_iter().map(|status| {
            let response = Response::builder().status(status).header("x-target", "words of the target");
            Ok(response.body(Bytes::from_static(b"words of the target")).expect("a response"))
        }));
    }

    /// Answers all requests for which no other answer is set with status 200 and this document.
    pub fn answer_with_document(&self, document: Value) {
        *lock(&self.document) = Some(document);
    }

    /// The requests since the last call.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *lock(&self.received))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Transport for TestTarget {
    async fn send(&self, request: Request<Bytes>, _: Duration) -> Result<Response<Bytes>, TransportError> {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(body.to_vec()).expect("a body in UTF-8");
        lock(&self.received).push(Received { url: head.uri.to_string(), headers: head.headers, body });
        if let Some(answer) = lock(&self.answers).pop_front() {
            return answer;
        }
        let (status, body) = match &*lock(&self.document) {
            Some(document) => (200, Bytes::from(document.to_string())),
            None => (204, Bytes::new()),
        };
        Ok(Response::builder().status(status).body(body).expect("a response"))
    }
}

/// Calls to `target`, by the policy of a deployment without allowances.
pub(super) fn outbound(target: &Arc<TestTarget>) -> Outbound {
    Outbound {
        policy: Arc::new(OutboundPolicy::default()),
        transport: Arc::clone(target) as _,
        master_key: Arc::new(MasterKey::parse(MASTER_KEY).expect("a master key")),
    }
}
