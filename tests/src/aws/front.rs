//! A stand-in for API Gateway that only translates. It turns a request into the event of the
//! function that the template routes it to, and the function's reply into the response.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;

use super::{
    event::{Context, Payload, decode},
    function::Function,
    template::{DEFAULT_ROUTE, TemplateRoute},
};
use crate::listener::Listener;

/// API Gateway's timeout for a function.
const DEADLINE: Duration = Duration::from_secs(30);

/// The largest body that API Gateway accepts.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// A request that was answered by a function.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The operation.
    pub operation: String,
    /// The answer's status.
    pub status: u16,
    /// The answer's `x-request-id`.
    pub request_id: Option<String>,
}

/// An HTTP API that listens on this machine.
#[derive(Debug)]
pub struct Front {
    listener: Listener,
    routes: Arc<FrontState>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// The state that answers requests.
#[derive(Debug)]
struct FrontState {
    routes: Vec<(TemplateRoute, Arc<Function>)>,
    requests: AtomicU64,
    /// The cause of each 500, with the function's log.
    failures: Mutex<Vec<String>>,
}

impl Front {
    pub(crate) async fn start(routes: Vec<(TemplateRoute, Arc<Function>)>) -> Self {
        let exchanges: Arc<Mutex<Vec<Exchange>>> = Arc::default();
        let routes = Arc::new(FrontState { routes, requests: AtomicU64::new(1), failures: Mutex::default() });
        let (answering, kept) = (Arc::clone(&routes), Arc::clone(&exchanges));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, move |source, request| {
            let (routes, kept) = (Arc::clone(&answering), Arc::clone(&kept));
            async move { Some(routes.answer(source, request, &kept).await) }
        })
        .await
        .expect("a free port");
        Self { listener, routes, exchanges }
    }

    /// The base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// Every request that a function has answered.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Front {
    #[expect(clippy::print_stderr, reason = "what a test that has failed leaves behind")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for failure in self.routes.failures.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                eprintln!("--- {failure}");
            }
        }
    }
}

impl FrontState {
    async fn answer(
        &self,
        source: SocketAddr,
        request: Request<Bytes>,
        exchanges: &Mutex<Vec<Exchange>>,
    ) -> Response<Bytes> {
        if request.body().len() > MAX_BODY {
            return own(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        let Some((route, parameters, function)) = self.find(&request) else {
            return own(StatusCode::NOT_FOUND, "Not Found");
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::disallowed_methods, reason = "the time of a request is the system's")]
        let time = Timestamp::now();
        let context = Context {
            resource: route.path.clone(),
            parameters,
            source,
            id: format!("gateway-{number}="),
            time,
        };
        let event = Payload::V2.event(&request, &context);
        let Ok(answered) = tokio::time::timeout(DEADLINE, function.invoke(&event)).await else {
            return own(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
        };
        let response = answered.map_err(|failed| format!("{failed:?}"));
        let response = match response.and_then(|answer| Payload::V2.response(&answer)) {
            Ok(response) => response,
            Err(failure) => {
                let failure = format!("{}: {failure}\n{}", route.operation, function.log());
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                return own(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
            }
        };
        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(Exchange {
            operation: route.operation.clone(),
            status: response.status().as_u16(),
            request_id: request_id.map(str::to_owned),
        });
        response
    }

    /// The route with the fewest parameters that matches, or else the default route.
    fn find(
        &self,
        request: &Request<Bytes>,
    ) -> Option<(&TemplateRoute, BTreeMap<String, String>, &Arc<Function>)> {
        let path = decode(request.uri().path());
        let fits = self.routes.iter().filter(|(route, _)| route.method == request.method().as_str());
        let fits = fits.filter_map(|(route, function)| Some((route, route.parameters(&path)?, function)));
        let default = || {
            let found = self.routes.iter().find(|(route, _)| route.path == DEFAULT_ROUTE);
            found.map(|(route, function)| (route, BTreeMap::new(), function))
        };
        fits.min_by_key(|(_, parameters, _)| parameters.len()).or_else(default)
    }
}

/// An answer of the front's own.
fn own(status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(json!({ "message": message }).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
