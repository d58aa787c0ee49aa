//! A relay between functions and an AWS service. It forwards every call that the caller's role
//! allows, records it, and can hold a call or be down.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::{eventually, listener::Listener, rights::Rights};

/// A recorded call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, such as `GetSecretValue`.
    pub operation: String,
    /// The input.
    pub input: Value,
}

/// The point at which a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the service receives the call: nothing has changed.
    Before,
    /// After the service has applied it, before the reply is sent.
    After,
}

/// A call that is held until [`release`](Hold::release), or until the end of the test.
#[derive(Clone, Debug)]
pub struct Hold {
    operation: &'static str,
    when: When,
    reached: Arc<watch::Sender<bool>>,
    released: Arc<Notify>,
}

impl Hold {
    /// Waits until a call is held.
    pub async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        let wait = reached.wait_for(|reached| *reached);
        let waited = tokio::time::timeout(Duration::from_mins(1), wait).await;
        assert!(waited.is_ok(), "no call of {} within a minute", self.operation);
    }

    /// Whether a call is held.
    pub fn is_reached(&self) -> bool {
        *self.reached.borrow()
    }

    /// Releases the call.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

#[derive(Debug)]
struct Traffic {
    rights: Arc<Rights>,
    calls: Mutex<Vec<Call>>,
    hold: Mutex<Option<Hold>>,
    denied: Mutex<Vec<String>>,
    /// Whether every call is refused, as for a role without rights.
    is_closed: AtomicBool,
}

/// A relay to one service.
#[derive(Debug)]
pub struct Relay {
    upstream: String,
    address: SocketAddr,
    traffic: Arc<Traffic>,
    http: reqwest::Client,
    listener: Mutex<Option<Listener>>,
}

impl Relay {
    /// A relay to `upstream` for callers with this role check.
    pub(crate) async fn start(upstream: &str, rights: Arc<Rights>) -> Self {
        let traffic = Traffic {
            rights,
            calls: Mutex::default(),
            hold: Mutex::default(),
            denied: Mutex::default(),
            is_closed: AtomicBool::new(false),
        };
        let relay = Self {
            upstream: upstream.trim_end_matches('/').to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            traffic: Arc::new(traffic),
            http: crate::http_client(),
            listener: Mutex::default(),
        };
        let listener = relay.listen().await.expect("a free port");
        let address = listener.address();
        Self { address, listener: Mutex::new(Some(listener)), ..relay }
    }

    async fn listen(&self) -> std::io::Result<Listener> {
        let (upstream, traffic, http) = (self.upstream.clone(), Arc::clone(&self.traffic), self.http.clone());
        Listener::start(self.address, move |_, request| {
            pass(upstream.clone(), Arc::clone(&traffic), http.clone(), request)
        })
        .await
    }

    /// The base URL for functions.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls since the last call of this method.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.traffic.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The calls that the callers' roles do not allow. They were refused.
    pub fn denied(&self) -> Vec<String> {
        self.traffic.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds the next call of `operation`. There is one hold at a time.
    pub fn hold(&self, operation: &'static str, when: When) -> Hold {
        let hold =
            Hold { operation, when, reached: Arc::new(watch::channel(false).0), released: Arc::default() };
        *self.traffic.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold.clone());
        hold
    }

    /// Cancels a hold that no call has reached.
    pub fn hold_none(&self) {
        *self.traffic.hold.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Revokes or restores all rights.
    pub fn close(&self, is_closed: bool) {
        self.traffic.is_closed.store(is_closed, Ordering::SeqCst);
    }

    /// Refuses new connections and closes the existing ones.
    pub fn down(&self) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Accepts connections again at the same address.
    pub async fn up(&self) {
        let listener = eventually("port of a relay", || async {
            self.listen().await.map_err(|error| error.to_string())
        })
        .await;
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}

async fn pass(
    upstream: String,
    traffic: Arc<Traffic>,
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Option<Response<Bytes>> {
    let (head, body) = request.into_parts();
    let (target, input) = call(&head, &body);
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let caller = head.headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
    if traffic.is_closed.load(Ordering::SeqCst) {
        return refusal("the role has no rights");
    }
    if let Some(lacking) = traffic.rights.lacking(caller.unwrap_or_default(), &target, &input) {
        traffic.denied.lock().unwrap_or_else(PoisonError::into_inner).push(lacking.clone());
        return refusal(&lacking);
    }
    traffic
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Call { operation: operation.clone(), input });
    let hold = {
        let mut hold = traffic.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.take_if(|hold| hold.operation == operation)
    };
    let wait = async |when: When| {
        if let Some(hold) = hold.as_ref().filter(|hold| hold.when == when) {
            hold.reached.send_replace(true);
            hold.released.notified().await;
        }
    };
    wait(When::Before).await;
    let url = format!("{upstream}{}", head.uri);
    let mut headers = head.headers;
    for name in [http::header::HOST, http::header::CONTENT_LENGTH, http::header::CONNECTION] {
        headers.remove(name);
    }
    let sent = http.request(head.method, url).headers(headers).body(body).send().await;
    let answered = match sent {
        Ok(response) => {
            let (status, mut headers) = (response.status(), response.headers().clone());
            for name in
                [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING, http::header::CONNECTION]
            {
                headers.remove(name);
            }
            response.bytes().await.map(|bytes| (status, headers, bytes))
        }
        Err(error) => Err(error),
    };
    wait(When::After).await;
    let Ok((status, headers, bytes)) = answered else {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Bytes::new()).ok();
    };
    let mut response = Response::new(bytes);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

/// The target of a call, such as `DynamoDB_20120810.GetItem`, and its input. A call to S3 has both in its method and
/// path.
fn call(head: &http::request::Parts, body: &[u8]) -> (String, Value) {
    if let Some(target) = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        return (target.to_owned(), serde_json::from_slice(body).unwrap_or(Value::Null));
    }
    let operation = match head.method {
        http::Method::GET => "s3.GetObject",
        http::Method::PUT => "s3.PutObject",
        _ => "",
    };
    let (bucket, key) = head.uri.path().trim_start_matches('/').split_once('/').unwrap_or_default();
    (operation.to_owned(), json!({ "Bucket": bucket, "Key": key }))
}

/// AWS's reply to a call that the role does not allow.
fn refusal(message: &str) -> Option<Response<Bytes>> {
    let body = json!({ "__type": "AccessDeniedException", "message": message }).to_string();
    let response = Response::builder().status(StatusCode::BAD_REQUEST);
    response.header("content-type", "application/x-amz-json-1.1").body(Bytes::from(body)).ok()
}
